//! Charts as drawings that need no script, each with the same numbers as a table.

use super::page::{count, duration};
use crate::{
    store::{Minute, Series, StoreError},
    worker::DURATION_BUCKETS,
};

/// Size of a drawing, in its own units.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;

/// Minutes in one column of the day's charts.
const DAY_STEP: usize = 15;

/// Times are counted in buckets, whose bounds are all that is known of them.
const ESTIMATED: &str = "Estimated: jobs are counted by time, up to 1, 5, 20, 100, 250 and 500 ms, 1, 2.5, 10, 30 s and \
                         2 min. A value lies between two of these, and the true one is at most the upper; above 2 min only that is known.";

/// One chart.
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// What its values are, where they do not say so.
    pub(super) unit: &'static str,
    /// What is to be known of the values.
    pub(super) note: &'static str,
    /// What the tallest point stands for, and one of half its height.
    pub(super) top: String,
    pub(super) middle: String,
    /// Labels of its first and last column.
    pub(super) from: String,
    pub(super) to: String,
    /// One sentence for who cannot see it.
    pub(super) summary: String,
    pub(super) lines: Vec<Drawn>,
    /// Labels of the columns and their values, oldest first.
    pub(super) rows: Vec<(String, Vec<String>)>,
}

/// One line of a chart.
pub(super) struct Drawn {
    pub(super) name: &'static str,
    /// Points as SVG wants them.
    pub(super) points: String,
    /// `one`, `two`, `three`: which colour and dash it has.
    pub(super) class: &'static str,
}

/// Values of one line, one a column.
struct Line {
    name: &'static str,
    values: Vec<f64>,
}

/// The charts of the last hour by minute, or of the last day by quarters of an hour.
pub(super) async fn all(series: &Series, day: bool) -> Result<Vec<Chart>, StoreError> {
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default() / 60;
    let (minutes, step) = if day { (24 * 60, DAY_STEP) } else { (60, 1) };
    let minutes = series.minutes(now, minutes).await?;
    Ok(of(&minutes, step))
}

fn of(minutes: &[Minute], step: usize) -> Vec<Chart> {
    let columns: Vec<&[Minute]> = minutes.chunks(step).collect();
    let labels: Vec<String> = columns.iter().map(|column| clock(column)).collect();
    let sums = |name: &'static str| Line { name, values: columns.iter().map(|column| sum(column, name)).collect() };
    let named = |line: Line, name| Line { name, ..line };
    let percentile =
        |name, share| Line { name, values: columns.iter().map(|column| quantile(column, share)).collect() };
    let average = |name, of| {
        let mean = |column: &&[Minute]| sum(column, of) / sum(column, "looks").max(1.0);
        Line { name, values: columns.iter().map(mean).collect() }
    };
    let dollars = Line { name: "US dollars", values: sums("micro_usd").values.iter().map(|sum| sum / 1e6).collect() };
    let per = if step == 1 { "jobs a minute" } else { "jobs a quarter of an hour" };
    let tokens = if step == 1 { "tokens a minute" } else { "tokens a quarter of an hour" };
    let dollars_per = if step == 1 { "US dollars a minute" } else { "US dollars a quarter of an hour" };
    let whole = |value: f64| if value.fract() == 0.0 { count(value as u64) } else { format!("{value:.1}") };
    let ms = |value: f64| duration(value as u64);
    let usd = |value: f64| format!("${value:.4}");
    vec![
        drawn("Throughput", per, vec![named(sums("completed"), "jobs completed")], &labels, whole),
        drawn("Failures", per, vec![sums("cancelled"), sums("failed")], &labels, whole),
        drawn("Queue", "jobs", vec![average("waiting", "waiting"), average("running", "in_flight")], &labels, whole),
        Chart {
            note: ESTIMATED,
            ..drawn(
                "Time per job",
                "",
                vec![percentile("half", 0.5), percentile("95 %", 0.95), percentile("99 %", 0.99)],
                &labels,
                ms,
            )
        },
        drawn(
            "Tokens",
            tokens,
            vec![
                named(sums("prompt_tokens"), "prompt"),
                named(sums("completion_tokens"), "completion"),
                named(sums("cached_tokens"), "cached"),
            ],
            &labels,
            whole,
        ),
        drawn("Cost", dollars_per, vec![dollars], &labels, usd),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a chart shows three digits")]
fn sum(column: &[Minute], name: &str) -> f64 {
    column.iter().map(|minute| minute.sum(name)).sum::<i64>() as f64
}

/// The time within which this share of a column's jobs ended, in milliseconds: linear inside a bucket.
#[expect(clippy::cast_precision_loss, reason = "a chart shows three digits")]
fn quantile(column: &[Minute], share: f64) -> f64 {
    let counts: Vec<f64> = DURATION_BUCKETS.iter().map(|(name, _)| sum(column, name)).collect();
    let wanted = counts.iter().sum::<f64>() * share;
    let (mut seen, mut from) = (0.0, 0.0);
    for (count, (_, bound)) in counts.iter().zip(DURATION_BUCKETS) {
        // The last bucket has no upper bound: all that is known is where it begins.
        let to = if bound == u64::MAX { from } else { bound as f64 };
        if *count > 0.0 && seen + count >= wanted {
            return from + (to - from) * (wanted - seen) / count;
        }
        seen += count;
        from = to;
    }
    0.0
}

fn clock(column: &[Minute]) -> String {
    let minute = column.first().map_or(0, |minute| minute.number);
    format!("{:02}:{:02}", minute / 60 % 24, minute % 60)
}

fn drawn(
    title: &'static str,
    unit: &'static str,
    lines: Vec<Line>,
    labels: &[String],
    text: impl Fn(f64) -> String,
) -> Chart {
    let top = lines.iter().flat_map(|line| &line.values).copied().fold(0.0, f64::max);
    let last = |line: &Line| format!("{} {}", line.name, text(line.values.last().copied().unwrap_or_default()));
    let latest: Vec<String> = lines.iter().map(last).collect();
    let summary = format!("{title}, UTC: latest {}; at most {}", latest.join(", "), text(top));
    let values = |at: usize| lines.iter().map(|line| text(line.values[at])).collect();
    let rows = labels.iter().enumerate().map(|(at, label)| (label.clone(), values(at))).collect();
    let classes = ["one", "two", "three"];
    let draw =
        |(line, class): (&Line, &'static str)| Drawn { name: line.name, points: points(&line.values, top), class };
    let drawn = lines.iter().zip(classes).map(draw).collect();
    let [from, to] = [labels.first(), labels.last()].map(|label| label.cloned().unwrap_or_default());
    Chart { title, unit, note: "", top: text(top), middle: text(top / 2.0), from, to, summary, lines: drawn, rows }
}

#[expect(clippy::cast_precision_loss, reason = "there are at most a hundred columns")]
fn points(values: &[f64], top: f64) -> String {
    let step = WIDTH / (values.len().max(2) - 1) as f64;
    let height = |value: f64| if top > 0.0 { HEIGHT - value / top * (HEIGHT - 4.0) } else { HEIGHT };
    let point = |(at, value): (usize, &f64)| format!("{:.1},{:.1}", at as f64 * step, height(*value));
    values.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(number: u64, sums: &[(&str, i64)]) -> Minute {
        Minute { number, sums: sums.iter().map(|(name, sum)| ((*name).to_owned(), *sum)).collect() }
    }

    #[test]
    fn quantiles_are_linear_inside_a_bucket() {
        let column = [minute(0, &[("ms_100", 50), ("ms_250", 50)])];
        assert_eq!(quantile(&column, 0.25), 60.0);
        assert_eq!(quantile(&column, 0.5), 100.0);
        assert_eq!(quantile(&column, 1.0), 250.0);
        assert_eq!(quantile(&[minute(0, &[("ms_more", 1)])], 0.5), 120_000.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn a_chart_says_in_words_what_it_shows() {
        let minutes = [minute(61, &[("completed", 4)]), minute(62, &[("completed", 2), ("failed", 1)])];
        let charts = of(&minutes, 1);
        assert_eq!(charts[0].summary, "Throughput, UTC: latest jobs completed 2; at most 4");
        assert_eq!(charts[0].lines[0].points, "0.0,4.0 600.0,62.0");
        assert_eq!((charts[0].from.as_str(), charts[0].to.as_str()), ("01:01", "01:02"));
        assert_eq!((charts[0].unit, charts[0].top.as_str(), charts[0].middle.as_str()), ("jobs a minute", "4", "2"));
        assert!(charts.iter().all(|chart| (chart.title == "Time per job") == chart.note.contains("at most the upper")));
        assert_eq!(charts[1].rows[1], ("01:02".to_owned(), vec!["0".to_owned(), "1".to_owned()]));
        assert_eq!(of(&minutes, 15)[0].rows.len(), 1);
    }
}
