//! Where the rows come from, and which of them by position.

use super::{select::Found, stage::Stage, vocabulary::ROWS};
use crate::planner::rules::{cursor::Cursor, lex::Kind};

/// `skip the first 10`, `limit 5`, `rows 11 to 20`.
pub(super) fn slice(at: &mut Cursor<'_>, stage: &mut Stage) -> Found {
    #[rustfmt::skip]
    const SLICE_WORDS_1: &[&str] = &[
        "limit it to", "limit to", "limit the output to", "limit the result to", "limit the results to",
        "limited to", "limit", "no more than", "at most", "not more than", "a maximum of", "max",
    ];
    #[rustfmt::skip]
    const SLICE_WORDS: &[&str] = &[
        "skip the first", "skipping the first", "skip first", "skipping", "skip", "offset by", "offset",
        "starting after row", "after the first",
    ];
    let start = at.look();
    if stage.offset.is_some() && at.eat_any(&["the next", "next", "the following"]).is_some() {
        if let Some(limit) = at.count().filter(|limit| *limit > 0) {
            at.eat_any(ROWS);
            stage.limit = Some(limit);
            return Ok(true);
        }
        *at = start;
    }
    let row = |at: &mut Cursor<'_>| {
        at.eat_any(ROWS);
    };
    if at.eat_any(SLICE_WORDS).is_some() {
        if let Some(offset) = at.count() {
            row(at);
            stage.offset = Some(offset);
            return Ok(true);
        }
    } else if at.eat_any(SLICE_WORDS_1).is_some() {
        let strict = start.sees("limit") || start.sees("limited to");
        if let Some(limit) = at.count().filter(|_| strict || ROWS.contains(&at.word(0))) {
            row(at);
            if limit == 0 {
                return Err("0 rows (ask for one at least)".into());
            }
            stage.limit = Some(limit);
            return Ok(true);
        }
    } else if at.eat_any(&["rows", "results", "records", "entries", "lines"]).is_some() {
        let from = at.count();
        let to = from.filter(|_| at.eat_any(&["to", "through", "-", "until"]).is_some()).and_then(|_| at.count());
        if let (Some(from), Some(to)) = (from, to) {
            if from == 0 || to < from {
                return Err(format!("rows {from} to {to} (rows are counted from 1)"));
            }
            stage.offset = Some(from - 1);
            stage.limit = Some(to - from + 1);
            return Ok(true);
        }
    }
    *at = start;
    Ok(false)
}

/// `from URL https://…`.
pub(super) fn address(at: &mut Cursor<'_>, stage: &mut Stage) -> Found {
    let start = at.look();
    at.eat_any(&["fetch", "get", "load", "download", "read", "pull", "take", "call", "request"]);
    at.articles();
    let format = at.eat_key(&[("csv", "csv"), ("json", "json"), ("ndjson", "ndjson"), ("json lines", "ndjson")]);
    at.eat_any(&["rows", "records", "data", "file", "table", "dataset", "list", "api", "contents", "content"]);
    at.eat_any(&["from the", "from", "at", "of", "under", "behind", "found at", "located at"]);
    at.articles();
    at.eat_any(&["url", "address", "endpoint", "api", "link", "page", "website"]);
    at.eat_any(&["at", ":"]);
    let Some(token) = at.peek(0).filter(|token| token.kind == Kind::Url) else {
        *at = start;
        return Ok(false);
    };
    at.at += 1;
    if stage.url.is_some() {
        return Err("data from two addresses".into());
    }
    stage.url = Some((token.raw.clone(), format));
    Ok(true)
}
