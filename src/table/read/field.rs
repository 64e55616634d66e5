//! Names of fields, and how a row's needed fields are found while the row is scanned.

use super::scan::{Scanner, Text};

/// A way into a value: `seats.economy`, `legs[0].from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

impl Path {
    /// Reads a path; none where the text is no path (it may still be a key as it is).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut segments = Vec::new();
        for (i, part) in text.split('.').enumerate() {
            let (key, indexes) = part.find('[').map_or((part, ""), |at| part.split_at(at));
            if !key.is_empty() {
                segments.push(Segment::Key(key.to_owned()));
            } else if indexes.is_empty() || i > 0 {
                return None;
            }
            let mut rest = indexes;
            while !rest.is_empty() {
                let (digits, after) = rest.strip_prefix('[')?.split_once(']')?;
                segments.push(Segment::Index(digits.parse().ok()?));
                rest = after;
            }
        }
        Some(Self(segments))
    }

    /// The well-formed value there.
    pub(crate) fn find<'a>(&self, value: &'a str) -> Option<&'a str> {
        walk(value, &self.0)
    }

    /// The first key, where it starts with one.
    pub(crate) fn head(&self) -> Option<&str> {
        match self.0.first()? {
            Segment::Key(key) => Some(key),
            Segment::Index(_) => None,
        }
    }
}

fn walk<'a>(value: &'a str, segments: &[Segment]) -> Option<&'a str> {
    let mut value = value;
    for segment in segments {
        let mut found = None;
        let mut scanner = Scanner::new(value);
        match segment {
            // A key that stands twice counts as it stood last, here and everywhere.
            Segment::Key(name) => {
                scanner
                    .object(|key, value| {
                        if key.is(name) {
                            found = Some(value);
                        }
                    })
                    .ok()?;
            }
            Segment::Index(index) => {
                let mut place = 0;
                let element = |value| {
                    if place == *index {
                        found = Some(value);
                    }
                    place += 1;
                };
                scanner.array(element).ok()?;
            }
        }
        value = found?;
    }
    Some(value)
}

/// A field as a plan names it: a key as it is, else a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    name: String,
    path: Option<Path>,
}

impl Field {
    pub(crate) fn new(name: &str) -> Self {
        let path = name.contains(['.', '[']).then(|| Path::parse(name)).flatten();
        Self { name: name.to_owned(), path }
    }

    /// A field that is a key as it is, never a path.
    pub(crate) fn literal(name: &str) -> Self {
        Self { name: name.to_owned(), path: None }
    }

    /// As the plan names it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The key that the path starts from, where it is one.
    pub(crate) fn head(&self) -> Option<&str> {
        self.path.as_ref()?.head()
    }
}

/// The keys that a pass looks for in every row.
#[derive(Debug, Default, Clone)]
pub(crate) struct Layout {
    keys: Vec<String>,
    /// The fields that were asked for, with the keys that may hold them.
    fields: Vec<(String, [usize; 2])>,
}

/// The values of a layout's keys in one row.
pub(crate) type Slots<'a> = [Option<&'a str>];

/// Where a pass puts what a field needs.
#[derive(Debug, Clone)]
pub(crate) struct FieldSlot {
    literal: usize,
    path: Option<(usize, Vec<Segment>)>,
}

impl Layout {
    /// Makes sure that `field` is found.
    pub(crate) fn field(&mut self, field: &Field) -> FieldSlot {
        let path = field.path.as_ref().and_then(|path| {
            let slot = self.key(path.head()?);
            Some((slot, path.0[1..].to_vec()))
        });
        let literal = self.key(&field.name);
        let head = path.as_ref().map_or(literal, |(slot, _)| *slot);
        self.fields.push((field.name.clone(), [literal, head]));
        FieldSlot { literal, path }
    }

    /// The fields that no row had, given which keys some row had.
    pub(crate) fn absent<'l>(&'l self, seen: &'l [bool]) -> impl Iterator<Item = &'l str> {
        let absent = self.fields.iter().filter(|(_, slots)| slots.iter().all(|slot| !seen[*slot]));
        absent.map(|(name, _)| name.as_str())
    }

    /// Makes sure that `key` is found.
    pub(crate) fn key(&mut self, key: &str) -> usize {
        self.keys.iter().position(|known| known == key).unwrap_or_else(|| {
            self.keys.push(key.to_owned());
            self.keys.len() - 1
        })
    }

    /// How many values a row has room for.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Where a key's value is wanted.
    pub(crate) fn find(&self, key: Text<'_>) -> Option<usize> {
        self.keys.iter().position(|known| key.is(known))
    }
}

impl FieldSlot {
    /// The field's value in a row; none when it is missing.
    #[inline]
    pub(crate) fn of<'a>(&self, slots: &Slots<'a>) -> Option<&'a str> {
        slots[self.literal].or_else(|| {
            let (head, rest) = self.path.as_ref()?;
            walk(slots[*head]?, rest)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::read::Template;

    #[test]
    fn a_name_is_a_key_first_and_a_path_second() {
        for (row, name, expected) in [
            (r#"{"a.b":1,"a":{"b":2}}"#, "a.b", Some("1")),
            (r#"{"a":{"b":2}}"#, "a.b", Some("2")),
            (r#"{"legs":[{"from":"OSL"},{"from":"ARN"}]}"#, "legs[1].from", Some(r#""ARN""#)),
            (r#"{"m":[[1,2],[3]]}"#, "m[1][0]", Some("3")),
            (r#"{"m[0]":5,"m":[6]}"#, "m[0]", Some("5")),
            (r#"{"a":1,"a":2}"#, "a", Some("2")),
            (r#"{"caf\u00e9":1}"#, "café", Some("1")),
            (r#"{"a":[1]}"#, "a[5]", None),
            (r#"{"a":"text"}"#, "a.b", None),
            (r#"{"a":null}"#, "a.b", None),
            (r#"{"a..b":1}"#, "a..b", Some("1")),
            (r#"{"":1}"#, "", Some("1")),
            (r#"{"a[":1}"#, "a[", Some("1")),
        ] {
            let mut layout = Layout::default();
            let slot = layout.field(&Field::new(name));
            let mut slots = vec![None; layout.len()];
            Template::default().row(&mut Scanner::new(row), &layout, &mut slots).unwrap();
            assert_eq!(slot.of(&slots), expected, "{name} of {row}");
        }
    }
}
