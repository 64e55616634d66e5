//! Paths into a workflow: RFC 6901, with `id:` segments that stand for a place in a list.

use jsonptr::{Pointer, PointerBuf};
use serde_json::Value;

use super::document::{edge_name, ends, list, node_name, text_of};

/// The members of a workflow that a patch may change.
pub(super) const SECTIONS: [&str; 3] = ["nodes", "edges", "metadata"];

/// Longest path, in bytes.
const MAX_PATH_BYTES: usize = 4096;
/// Ids named in a message about one that is missing.
const NAMED_IDS: usize = 12;
/// Ids compared to find the likest.
const MAX_COMPARED_IDS: usize = 2000;
/// Characters shown of an id.
const MAX_NAME_CHARS: usize = 80;

/// Reads a path.
pub(super) fn parse(path: &str) -> Result<PointerBuf, String> {
    if path.len() > MAX_PATH_BYTES {
        return Err(format!("the path has {} bytes: at most {MAX_PATH_BYTES}", path.len()));
    }
    PointerBuf::parse(path).map_err(|_| {
        format!("{path:?} is not a JSON pointer: it starts with / and writes ~ as ~0 and / inside a name as ~1")
    })
}

/// The segments of a path, unescaped.
pub(super) fn segments(pointer: &Pointer) -> Vec<String> {
    pointer.tokens().map(|token| token.decoded().into_owned()).collect()
}

/// Puts segments together.
pub(super) fn join<S: AsRef<str>>(segments: &[S]) -> PointerBuf {
    PointerBuf::from_tokens(segments.iter().map(AsRef::as_ref))
}

/// A path with its places resolved, and what should be said about that.
pub(super) struct Resolved {
    pub(super) pointer: PointerBuf,
    pub(super) warning: Option<String>,
}

/// Turns `/nodes/id:fetch/…` and `/edges/id:a->b/…` into paths with numbers, by the document as it is now.
///
/// A node id or `from->to` without `id:` in that place can mean nothing else and is taken the same way.
/// `adding` is the value of an operation that adds: adding node `x` at `/nodes/id:x` means at the end.
pub(super) fn resolve(document: &Value, path: &str, adding: Option<&Value>) -> Result<Resolved, String> {
    let pointer = parse(path)?;
    let mut segments = segments(&pointer);
    let [section, place, ..] = segments.as_slice() else { return Ok(Resolved { pointer, warning: None }) };
    if !matches!(section.as_str(), "nodes" | "edges") || is_index(place) {
        return Ok(Resolved { pointer, warning: None });
    }
    let wanted = place.strip_prefix("id:").unwrap_or(place);
    let elements = list(document, section);
    let is_called = |element: &Value| match section.as_str() {
        "nodes" => text_of(element, "id") == Some(wanted),
        _ => is_edge(element, wanted),
    };
    let mut found = elements.iter().enumerate().filter(|(_, element)| is_called(element));
    let (first, more) = (found.next(), found.count());
    let warning =
        (more > 0).then(|| format!("{} elements of /{section} are called {wanted}: the first is meant", more + 1));
    let index = match first {
        Some((index, _)) => index.to_string(),
        None if segments.len() == 2 && adding.is_some_and(is_called) => "-".to_owned(),
        None => return Err(missing(section, wanted, elements)),
    };
    segments[1] = index;
    Ok(Resolved { pointer: join(&segments), warning })
}

fn is_index(segment: &str) -> bool {
    segment == "-" || (!segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether `name` is `from->to` of the edge. Ids may hold a dash, so the name is not taken apart but compared.
fn is_edge(edge: &Value, name: &str) -> bool {
    let (from, to) = ends(edge);
    name.strip_prefix(from).and_then(|rest| rest.strip_prefix("->")) == Some(to)
}

fn missing(section: &str, wanted: &str, elements: &[Value]) -> String {
    let one = if section == "nodes" { "node" } else { "edge" };
    let names = elements.iter().enumerate().map(|(index, element)| match section {
        "nodes" => node_name(element, index).into_owned(),
        _ => edge_name(element),
    });
    let names = names.map(|name| name.chars().take(MAX_NAME_CHARS).collect::<String>());
    // The likest first; of a very large workflow the first thousands must do.
    let likeness = |name: String| (strsim::jaro_winkler(wanted, &name), name);
    let mut names: Vec<(f64, String)> = names.take(MAX_COMPARED_IDS).map(likeness).collect();
    if names.is_empty() {
        return format!("there is no {one} {wanted:?}: the workflow has none");
    }
    names.sort_by(|a, b| b.0.total_cmp(&a.0));
    let more = if names.len() > NAMED_IDS { " …" } else { "" };
    let named: Vec<String> = names.into_iter().take(NAMED_IDS).map(|(_, name)| name).collect();
    format!("there is no {one} {wanted:?}: there are {}{more}", named.join(", "))
}
