//! The figures as one HTML page that needs nothing else.

use std::fmt::Write;

use super::report::{CurvePoint, RoutingReport};

/// Size of the plot, in pixels.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
/// Mistakes shown.
const MAX_MISTAKES: usize = 200;

/// Light and dark; colours of lines come with dashes, for who cannot tell them apart.
const STYLE: &str = ":root{color-scheme:light dark;--line:light-dark(#d0d7de,#2b333d);--text:light-dark(#1a222c,#e4e9ef);\
--quiet:light-dark(#5a6675,#97a3b2);--right:light-dark(#18794e,#4cc38a);--refused:light-dark(#8a5a00,#f0b849);\
--accepted:light-dark(#0b5bd3,#6ba6ff)}\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:var(--text);\
background:light-dark(#fff,#0f1318)}h1,h2{font-weight:600}div{overflow-x:auto}\
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .6rem;border:1px solid var(--line);text-align:left;\
overflow-wrap:break-word;max-width:30rem}th{color:var(--quiet)}.n{text-align:right}i{color:var(--quiet)}\
.right{stroke:var(--right)}.refused{stroke:var(--refused);stroke-dasharray:8 3}\
.accepted{stroke:var(--accepted);stroke-dasharray:3 2}svg{max-width:100%;height:auto}\
polyline{fill:none;stroke-width:2}line{stroke:var(--quiet);stroke-dasharray:4}text{font-size:12px;fill:var(--text)}";

/// The page.
#[must_use]
pub fn page(report: &RoutingReport) -> String {
    let mut html = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        html,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Routing</title>\
         <style>{STYLE}</style><main><h1>Routing with {}</h1>{}<h2>Threshold</h2>{}<h2>Who got what</h2>{}\
         <h2>Mistakes</h2>{}</main></html>",
        escape(&report.embedder),
        figures(report),
        plot(report),
        confusion(report),
        mistakes(report),
    );
    html
}

fn figures(report: &RoutingReport) -> String {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let rows = [
        ("agents", report.agents.to_string()),
        ("queries with an agent", report.in_scope.to_string()),
        ("queries for nobody", report.out_of_scope.to_string()),
        ("right agent first", percent(report.accuracy)),
        ("right agent among five", percent(report.accuracy_at_5)),
        ("decided rightly at the threshold in force", percent(report.decided_right)),
        ("refused, rightly", report.refused_right.to_string()),
        ("refused, wrongly", report.refused_wrong.to_string()),
        ("accepted, wrongly", report.accepted_wrong.to_string()),
        ("threshold in force", report.threshold.map_or_else(|| "-".into(), |t| format!("{t:.3}"))),
        ("calibrated threshold", format!("{:.3}", report.calibrated_threshold)),
        ("nobody's refused where 95 % are accepted", report.refused_at_95.map_or_else(|| "-".into(), percent)),
        ("median time", format!("{:.0} µs", report.median_us)),
    ];
    let rows = rows.map(|(name, value)| format!("<tr><th scope=\"row\">{name}<td class=\"n\">{value}"));
    format!("<div><table>{}</table></div>", rows.concat())
}

fn plot(report: &RoutingReport) -> String {
    let at =
        |threshold: f64, share: f64| format!("{:.1},{:.1} ", 40.0 + threshold * WIDTH, HEIGHT + 10.0 - share * HEIGHT);
    let line = |class: &str, value: &dyn Fn(&CurvePoint) -> Option<f64>| {
        let points = report.curve.iter().filter_map(|point| value(point).map(|share| at(point.threshold, share)));
        format!("<polyline class=\"{class}\" points=\"{}\"/>", points.collect::<String>())
    };
    let mark = 40.0 + report.calibrated_threshold.clamp(0.0, 1.0) * WIDTH;
    let labels =
        [("right", "right agent", 20.0), ("accepted", "accepted", 38.0), ("refused", "nobody's, refused", 56.0)];
    let legend = labels.map(|(class, text, y)| {
        format!(
            "<polyline class=\"{class}\" points=\"540,{y} 565,{y}\"/><text x=\"570\" y=\"{}\">{text}</text>",
            y + 4.0
        )
    });
    format!(
        "<svg width=\"720\" height=\"290\" viewBox=\"0 0 720 290\" role=\"img\" aria-label=\"Shares over the threshold, \
         calibrated at {:.3}\">{}{}{}\
         <line x1=\"{mark:.1}\" x2=\"{mark:.1}\" y1=\"10\" y2=\"250\"/><text x=\"{mark:.1}\" y=\"280\">calibrated</text>\
         <text x=\"8\" y=\"18\">1</text><text x=\"8\" y=\"252\">0</text><text x=\"40\" y=\"266\">0</text>\
         <text x=\"674\" y=\"266\">1</text>{}</svg>",
        report.calibrated_threshold,
        line("right", &|point| Some(point.right)),
        line("accepted", &|point| Some(point.accepted)),
        line("refused", &|point| point.refused),
        legend.concat(),
    )
}

fn confusion(report: &RoutingReport) -> String {
    let name = |id: &Option<String>| id.as_deref().map_or_else(|| "<i>nobody</i>".to_owned(), escape);
    let rows = report.confusion.iter().map(|cell| {
        let mark = if cell.expected == cell.got { "✓" } else { "" };
        format!("<tr><td>{}<td>{}<td class=\"n\">{}<td>{mark}", name(&cell.expected), name(&cell.got), cell.count)
    });
    let head = head(&["expected", "got", "times", "right"]);
    format!("<div><table>{head}{}</table></div>", rows.collect::<String>())
}

fn mistakes(report: &RoutingReport) -> String {
    let name = |id: &Option<String>| id.as_deref().map_or_else(|| "<i>nobody</i>".to_owned(), escape);
    let rows = report.mistakes.iter().take(MAX_MISTAKES).map(|m| {
        let (expected, got, best) = (name(&m.expected), name(&m.got), name(&m.best));
        format!("<tr><td>{}<td>{expected}<td>{got}<td>{best}<td class=\"n\">{:.3}", escape(&m.query), m.score)
    });
    let head = head(&["query", "expected", "got", "best", "its score"]);
    format!("<div><table>{head}{}</table></div>", rows.collect::<String>())
}

fn head(names: &[&str]) -> String {
    let cells = names.iter().map(|name| format!("<th scope=\"col\">{name}"));
    format!("<tr>{}", cells.collect::<String>())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
