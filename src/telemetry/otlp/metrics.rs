//! What a scrape shows, as an OTLP message: one source for both ways out, so that they never differ.

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, Sum, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};

/// When the counting began and when it was read, in nanoseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// When the process began to count.
    pub(super) start: u64,
    /// When `text` was rendered.
    pub(super) end: u64,
}

/// The message that says what `text`, our own Prometheus text, says.
pub(super) fn message(text: &str, resource: &[(String, String)], span: Span) -> ExportMetricsServiceRequest {
    let mut families = Families { span, done: Vec::new(), open: HistogramDataPoint::default() };
    for line in text.lines() {
        families.line(line);
    }
    let attributes = resource.iter().map(|(name, value)| attribute(name, value.clone())).collect();
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: env!("CARGO_PKG_NAME").into(),
                    version: env!("CARGO_PKG_VERSION").into(),
                    ..InstrumentationScope::default()
                }),
                metrics: families.done,
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

fn attribute(name: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
    KeyValue { key: name.into(), value, ..KeyValue::default() }
}

/// The metrics read so far. The recorder writes family by family, and of a histogram series by series: buckets, sum,
/// count.
struct Families {
    span: Span,
    done: Vec<Metric>,
    /// The histogram series that is being read.
    open: HistogramDataPoint,
}

impl Families {
    fn line(&mut self, line: &str) {
        if let Some(said) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = said.split_once(' ') else { return };
            self.family(name, kind);
        } else if let Some(said) = line.strip_prefix("# HELP ") {
            let Some((name, help)) = said.split_once(' ') else { return };
            self.done.push(Metric { name: name.into(), description: help.into(), ..Metric::default() });
        } else if let Some((series, value)) = line.rsplit_once(' ')
            && let Ok(value) = value.parse::<f64>()
        {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            self.sample(name, labels_of(labels), value);
        }
    }

    /// Begins a family, described or not.
    fn family(&mut self, name: &str, kind: &str) {
        if self.done.last().is_none_or(|metric| metric.name != name) {
            self.done.push(Metric { name: name.into(), ..Metric::default() });
        }
        let aggregation_temporality = AggregationTemporality::Cumulative.into();
        let data = match kind {
            "counter" => Data::Sum(Sum { is_monotonic: true, aggregation_temporality, ..Sum::default() }),
            "histogram" => Data::Histogram(Histogram { aggregation_temporality, ..Histogram::default() }),
            _ => Data::Gauge(Gauge::default()),
        };
        if let Some(metric) = self.done.last_mut() {
            metric.data = Some(data);
        }
    }

    fn sample(&mut self, name: &str, labels: Vec<(String, String)>, value: f64) {
        let Some(data) = self.done.last_mut().and_then(|metric| metric.data.as_mut()) else { return };
        let (start_time_unix_nano, time_unix_nano) = (self.span.start, self.span.end);
        let points = match data {
            Data::Sum(sum) => &mut sum.data_points,
            Data::Gauge(gauge) => &mut gauge.data_points,
            Data::Histogram(histogram) => {
                if let Some(done) = part(&mut self.open, name, labels, value) {
                    histogram.data_points.push(HistogramDataPoint { start_time_unix_nano, time_unix_nano, ..done });
                }
                return;
            }
            _ => return,
        };
        points.push(NumberDataPoint {
            attributes: labels.into_iter().map(|(name, value)| attribute(&name, value)).collect(),
            start_time_unix_nano,
            time_unix_nano,
            value: Some(number_data_point::Value::AsDouble(value)),
            ..NumberDataPoint::default()
        });
    }
}

/// Adds one line of a histogram series; its last line, the count, gives the whole. A scrape counts all observations up to
/// each bound, OTLP those between two.
fn part(
    open: &mut HistogramDataPoint,
    name: &str,
    labels: Vec<(String, String)>,
    value: f64,
) -> Option<HistogramDataPoint> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, written as a whole number")]
    let count = value as u64;
    if name.ends_with("_bucket") {
        let bound = labels.iter().find(|(name, _)| name == "le").and_then(|(_, le)| le.parse::<f64>().ok())?;
        let below: u64 = open.bucket_counts.iter().sum();
        open.bucket_counts.push(count.saturating_sub(below));
        if bound.is_finite() {
            open.explicit_bounds.push(bound);
        }
        return None;
    }
    if name.ends_with("_sum") {
        open.sum = Some(value);
        return None;
    }
    let attributes = labels.into_iter().map(|(name, value)| attribute(&name, value)).collect();
    Some(HistogramDataPoint { attributes, count, ..std::mem::take(open) })
}

/// The labels of `a="1",b="2"}`, unescaped.
fn labels_of(mut text: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, other)) => value.push(other),
                    None => {}
                },
                c => value.push(c),
            }
        }
        labels.push((name.trim_start_matches(',').to_owned(), value));
        text = &rest[end..];
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Metric> {
        let mut request = message(text, &[], Span { start: 1, end: 2 });
        request.resource_metrics.remove(0).scope_metrics.remove(0).metrics
    }

    #[test]
    fn counters_and_gauges_keep_labels_and_values() {
        let metrics = read(
            "# HELP jobs_total Jobs that ended.\n# TYPE jobs_total counter\njobs_total{lane=\"a\\\"b\\\\c\\n\",s=\"x\"} 3\n\
             # TYPE depth gauge\ndepth 1.5\n\n",
        );
        assert_eq!(metrics.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["jobs_total", "depth"]);
        assert_eq!(metrics[0].description, "Jobs that ended.");
        let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("{metrics:?}") };
        assert!(sum.is_monotonic);
        assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsDouble(3.0)));
        assert_eq!(sum.data_points[0].attributes, [attribute("lane", "a\"b\\c\n".into()), attribute("s", "x".into())]);
        let Some(Data::Gauge(gauge)) = &metrics[1].data else { panic!("{metrics:?}") };
        assert_eq!(gauge.data_points[0].value, Some(number_data_point::Value::AsDouble(1.5)));
    }

    #[test]
    fn a_histogram_counts_between_its_bounds_series_by_series() {
        let metrics = read(concat!(
            "# TYPE t histogram\n",
            "t_bucket{lane=\"a\",le=\"0.1\"} 2\nt_bucket{lane=\"a\",le=\"1\"} 5\nt_bucket{lane=\"a\",le=\"+Inf\"} 6\n",
            "t_sum{lane=\"a\"} 7.5\nt_count{lane=\"a\"} 6\n",
            "t_bucket{lane=\"b\",le=\"0.1\"} 0\nt_bucket{lane=\"b\",le=\"+Inf\"} 0\nt_sum{lane=\"b\"} 0\nt_count{lane=\"b\"} 0\n",
        ));
        let Some(Data::Histogram(histogram)) = &metrics[0].data else { panic!("{metrics:?}") };
        let [first, second] = &histogram.data_points[..] else { panic!("{histogram:?}") };
        assert_eq!((first.count, first.sum), (6, Some(7.5)));
        assert_eq!((&first.bucket_counts[..], &first.explicit_bounds[..]), (&[2, 3, 1][..], &[0.1, 1.0][..]));
        assert_eq!(first.attributes, [attribute("lane", "a".into())]);
        assert_eq!((second.count, &second.bucket_counts[..]), (0, &[0, 0][..]));
    }

    #[test]
    fn everything_that_a_scrape_shows_is_in_the_message() {
        let text = crate::telemetry::install().render();
        let shown: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let metrics = read(&text);
        assert_eq!(metrics.iter().map(|metric| metric.name.as_str()).collect::<Vec<_>>(), shown);
        assert!(metrics.iter().all(|metric| metric.data.is_some()), "{metrics:?}");
    }
}
