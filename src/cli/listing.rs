//! Lists of things for people: one line each, with ids that can be copied and times as ages.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use jiff::{SignedDuration, Timestamp};

use super::output;

/// Width of a terminal that does not say.
pub(super) const USUAL: u16 = 80;
/// Least room for words.
const WORDS: usize = 18;
/// Characters of words shown.
const MAX_WORDS: usize = 100;

/// How a column is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// Never broken: ids, states.
    Whole,
    /// Never broken; left out where there is no room, those with the greatest number first.
    Spare(u8),
    /// Takes what room is left, over several lines where it must.
    Words,
}

/// Prints a list on stdout, as wide as the terminal is.
pub(super) fn print<const N: usize>(columns: [(&str, Column); N], rows: impl Iterator<Item = [String; N]>) {
    output::line(table(&columns, &rows.collect::<Vec<_>>(), width()));
}

/// Columns of the terminal; nothing where stdout is none.
fn width() -> Option<u16> {
    usable(Table::new().width())
}

/// A width as it can be worked with: pseudo terminals without a size say 0.
pub(super) fn usable(width: Option<u16>) -> Option<u16> {
    width.map(|width| if width == 0 { USUAL } else { width })
}

fn table<const N: usize>(columns: &[(&str, Column); N], rows: &[[String; N]], width: Option<u16>) -> Table {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| output::clean_line(cell))).collect();
    let shown = shown(columns, &rows, width);
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    if let Some(width) = width {
        table.set_width(width);
    }
    table.set_header(shown.iter().map(|i| columns[*i].0));
    for row in &rows {
        table.add_row(shown.iter().map(|i| match columns[*i].1 {
            Column::Words => output::cut(&row[*i], MAX_WORDS),
            Column::Whole | Column::Spare(_) => row[*i].clone(),
        }));
    }
    for (at, i) in shown.iter().enumerate() {
        if columns[*i].1 != Column::Words
            && let Some(column) = table.column_mut(at)
        {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

/// The columns for which there is room.
fn shown<const N: usize>(columns: &[(&str, Column); N], rows: &[[String; N]], width: Option<u16>) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..N).collect();
    let Some(width) = width else { return shown };
    let needs = |i: usize| {
        let widest = rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0).max(columns[i].0.len());
        // Two blanks and a line beside each.
        3 + if columns[i].1 == Column::Words { widest.min(WORDS) } else { widest }
    };
    while 1 + shown.iter().map(|i| needs(*i)).sum::<usize>() > usize::from(width) {
        let rank = |i: usize| if let Column::Spare(rank) = columns[i].1 { Some(rank) } else { None };
        let Some(last) = shown.iter().copied().filter(|i| rank(*i).is_some()).max_by_key(|i| rank(*i)) else { break };
        shown.retain(|i| *i != last);
    }
    shown
}

/// How long ago a time was, in one unit; nothing where it is unknown.
pub(super) fn age(time: Option<&str>) -> String {
    let Some(time) = time.and_then(|time| time.parse::<Timestamp>().ok()) else { return String::new() };
    short(Timestamp::now().duration_since(time).max(SignedDuration::ZERO))
}

/// How long it is until a time.
pub(super) fn until(time: &str) -> String {
    let Ok(time) = time.parse::<Timestamp>() else { return String::new() };
    short(time.duration_since(Timestamp::now()).max(SignedDuration::ZERO))
}

/// From one time to another.
pub(super) fn between(from: Option<&str>, to: Option<&str>) -> String {
    let time = |text: Option<&str>| text.and_then(|text| text.parse::<Timestamp>().ok());
    let (Some(from), Some(to)) = (time(from), time(to)) else { return String::new() };
    let took = to.duration_since(from).max(SignedDuration::ZERO);
    if took.as_secs() < 10 { format!("{} ms", took.as_millis()) } else { short(took) }
}

fn short(time: SignedDuration) -> String {
    let secs = time.as_secs();
    let (number, unit) = match secs {
        ..120 => (secs, "s"),
        120..7200 => (secs / 60, "m"),
        7200..172_800 => (secs / 3600, "h"),
        _ => (secs / 86_400, "d"),
    };
    format!("{number}{unit}")
}

/// A time, or an age like `30m`, `2h` or `7d`: the time that was then.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = match text.strip_suffix('d').map(str::parse::<i64>) {
        Some(Ok(days)) => days.checked_mul(24).and_then(SignedDuration::try_from_hours),
        _ => text.parse().ok(),
    };
    let then = ago.filter(|ago| !ago.is_negative()).and_then(|ago| Timestamp::now().checked_sub(ago).ok());
    then.ok_or_else(|| "a time like 2026-01-01T00:00:00Z, or an age like 30m, 2h or 7d, is needed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [(&str, Column); 5] = [
        ("job", Column::Whole),
        ("state", Column::Whole),
        ("lane", Column::Spare(2)),
        ("age", Column::Spare(1)),
        ("error", Column::Words),
    ];

    fn row(error: &str) -> [String; 5] {
        ["0198c0de-aaaa-bbbb-cccc-0123456789ab", "awaiting_approval", "execute", "3m", error].map(str::to_owned)
    }

    #[test]
    fn ids_are_whole_at_every_width_and_columns_go_before_they_are_broken() {
        let rows = [row(""), row("http_failed: the server at some place far away did not answer in time")];
        for (width, lane, age) in
            [(None, true, true), (Some(200), true, true), (Some(90), false, true), (Some(80), false, false)]
        {
            let text = table(&COLUMNS, &rows, width).to_string();
            assert_eq!(text.matches(&rows[0][0]).count(), 2, "{text}");
            assert_eq!(text.matches("awaiting_approval").count(), 2, "{text}");
            assert_eq!((text.contains("lane"), text.contains("3m")), (lane, age), "{text}");
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or_default();
            assert!(width.is_none_or(|width| widest <= usize::from(width)), "{text}");
        }
    }

    #[test]
    fn a_terminal_without_a_size_is_taken_for_a_usual_one() {
        assert_eq!((usable(Some(0)), usable(Some(120)), usable(None)), (Some(USUAL), Some(120), None));
    }

    #[test]
    fn times_are_read_as_times_and_as_ages() {
        assert_eq!(time("2026-01-01T00:00:00Z").unwrap().to_string(), "2026-01-01T00:00:00Z");
        let hour = |text: &str| {
            let then = time(text).unwrap();
            Timestamp::now().duration_since(then).as_hours()
        };
        assert_eq!((hour("90m"), hour("2h"), hour("7d")), (1, 2, 168));
        for bad in ["", "yesterday", "-2h", "2", "d"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_have_one_unit() {
        for (secs, text) in [(0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172_800, "2d")] {
            assert_eq!(short(SignedDuration::from_secs(secs)), text);
        }
        let (a, b) = (Some("2026-01-01T00:00:00.000Z"), Some("2026-01-01T00:00:01.250Z"));
        assert_eq!((between(a, b), between(a, None), age(None)), ("1250 ms".into(), String::new(), String::new()));
    }
}
