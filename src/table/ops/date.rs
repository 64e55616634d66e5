//! Dates as people write them, to ISO 8601.

use jiff::{
    civil,
    fmt::{rfc2822, strtime},
    tz::Offset,
};

use crate::table::TableError;

/// A checked strftime format.
#[derive(Debug)]
pub(super) struct DateFormat(String);

impl DateFormat {
    /// Checks a format: a moment written by it must be read by it too.
    pub(super) fn compile(format: &str) -> Result<Self, TableError> {
        let wrong = |why: String| Err(TableError::invalid(why).with_field("format").with_found(format));
        let now = civil::date(2026, 3, 14).at(15, 9, 26, 0);
        let zoned = now.to_zoned(jiff::tz::TimeZone::UTC);
        match zoned {
            Ok(zoned) => match strtime::format(format, &zoned) {
                Ok(text) if text == format => wrong(format!("the format {format:?} has no date in it, like %Y-%m-%d")),
                Ok(text) => match (strtime::parse(format, &text), Self(format.to_owned())) {
                    (Err(error), _) => wrong(format!("the format {format:?} cannot be read by: {error}")),
                    (Ok(_), checked) if checked.read(&text).is_some() => Ok(checked),
                    _ => wrong(format!("the format {format:?} makes no date: it needs year and month, like %Y-%m-%d")),
                },
                Err(error) => wrong(format!("the format {format:?} cannot be used: {error}")),
            },
            Err(error) => wrong(error.to_string()),
        }
    }

    /// As the plan has it.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// The date in a text as ISO 8601: as much of date, time and offset as the format has.
    pub(super) fn read(&self, text: &str) -> Option<String> {
        let parsed = strtime::parse(&self.0, text.trim_ascii()).ok()?;
        if let Ok(timestamp) = parsed.to_timestamp() {
            let offset = parsed.offset().unwrap_or(Offset::UTC);
            return Some(with_offset(timestamp, offset));
        }
        if parsed.hour().is_some() {
            return parsed.to_datetime().ok().map(|datetime| datetime.to_string());
        }
        match parsed.to_date() {
            Ok(date) => Some(date.to_string()),
            // A month without a day is its first one.
            Err(_) if parsed.day().is_some() => None,
            Err(_) => Some(civil::Date::new(parsed.year()?, parsed.month()?, 1).ok()?.to_string()),
        }
    }
}

/// ISO 8601 with or without time and offset, or RFC 2822, as ISO 8601 with as much as there was.
pub(super) fn iso_date(text: &str) -> Option<String> {
    let text = text.trim_ascii();
    // A text with an offset is a moment, and would also parse as a date and time that forgets it.
    if let Ok(pieces) = jiff::fmt::temporal::DateTimeParser::new().parse_pieces(text) {
        let date = pieces.date();
        return match (pieces.time(), pieces.to_numeric_offset()) {
            (Some(time), Some(offset)) => {
                let timestamp = offset.to_timestamp(date.to_datetime(time)).ok()?;
                Some(with_offset(timestamp, offset))
            }
            (Some(time), None) => Some(date.to_datetime(time).to_string()),
            (None, _) => Some(date.to_string()),
        };
    }
    let zoned = rfc2822::DateTimeParser::new().parse_zoned(text).ok()?;
    Some(with_offset(zoned.timestamp(), zoned.offset()))
}

/// A moment as local time and offset, `Z` for UTC.
fn with_offset(timestamp: jiff::Timestamp, offset: Offset) -> String {
    if offset == Offset::UTC { timestamp.to_string() } else { timestamp.display_with_offset(offset).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_people_write_them() {
        for (text, expected) in [
            ("2026-01-02", Some("2026-01-02")),
            ("20260102", Some("2026-01-02")),
            ("2026-01-02T10:00:00Z", Some("2026-01-02T10:00:00Z")),
            ("2026-01-02 10:00", Some("2026-01-02T10:00:00")),
            ("2026-01-02T10:00:00+02:00", Some("2026-01-02T10:00:00+02:00")),
            ("2026-01-02T10:00:00.5-05:00", Some("2026-01-02T10:00:00.5-05:00")),
            ("Fri, 02 Jan 2026 10:00:00 +0000", Some("2026-01-02T10:00:00Z")),
            ("Fri, 2 Jan 2026 10:00:00 +0200", Some("2026-01-02T10:00:00+02:00")),
            ("2026-02-30", None),
            ("tomorrow", None),
            ("", None),
        ] {
            assert_eq!(iso_date(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn dates_in_a_given_format() {
        for (format, text, expected) in [
            ("%d.%m.%Y", "02.01.2026", Some("2026-01-02")),
            ("%d.%m.%Y %H:%M", "02.01.2026 09:30", Some("2026-01-02T09:30:00")),
            ("%Y-%m-%dT%H:%M:%S%z", "2026-01-02T10:00:00+0200", Some("2026-01-02T10:00:00+02:00")),
            ("%b %d, %Y", "Jan 02, 2026", Some("2026-01-02")),
            ("%s", "1767348000", Some("2026-01-02T10:00:00Z")),
            ("%Y-%m", "2026-03", Some("2026-03-01")),
            ("%d.%m.%Y", "2026-01-02", None),
            ("%d.%m.%Y", "31.02.2026", None),
        ] {
            assert_eq!(DateFormat::compile(format).unwrap().read(text).as_deref(), expected, "{format} {text}");
        }
        for format in ["", "no date", "%!", "%", "%Y", "%H:%M", "%d.%m.", "%A", "%Y-%m-%d %Z", "%C"] {
            assert!(DateFormat::compile(format).is_err(), "{format:?}");
        }
    }
}
