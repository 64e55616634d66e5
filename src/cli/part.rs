//! How much of a list a command prints.

use std::{fmt::Display, str::FromStr};

use super::Failure;
use crate::queue::{Cursor, NoCursor, Page};

/// Entries read in one go.
const PAGE: usize = 1_000;

/// Options of every command that prints a list.
#[derive(Debug, clap::Args)]
pub(super) struct Part<P: Clone + Send + Sync + FromStr + 'static> {
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: usize,
    /// Go on where an earlier list ended; it says with which cursor
    #[arg(long, value_parser = parse::<P>)]
    cursor: Option<Cursor<P>>,
    /// All there are
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

fn parse<P: FromStr>(text: &str) -> Result<Cursor<P>, NoCursor> {
    text.parse()
}

impl<P: Clone + Send + Sync + Display + FromStr + 'static> Part<P> {
    /// The entries, page by page; where there are more, stderr says how to go on.
    pub(super) async fn read<T>(
        self,
        page: impl AsyncFn(Option<Cursor<P>>, usize) -> Result<Page<T, P>, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let most = if self.all { usize::MAX } else { self.limit };
        let (mut entries, mut from) = (Vec::new(), self.cursor);
        while entries.len() < most {
            let found = page(from, PAGE.min(most - entries.len())).await?;
            entries.extend(found.items);
            from = found.older;
            if from.is_none() {
                return Ok(entries);
            }
        }
        if let Some(next) = from {
            eprintln!("there are more: --cursor {next}");
        }
        Ok(entries)
    }
}
