use super::*;
use crate::{agents::route::RouteOptions, embed::Lexical};

const AGENTS: &str = "
agents:
  - {id: kitchen, description: cooking and recipes}
  - {id: garden, description: flowers and trees}
";

fn registry() -> Arc<Registry> {
    Arc::new(Registry::parse(AGENTS, &Vec::new()).unwrap())
}

#[test]
fn lines_are_read_and_every_fault_is_named() {
    let registry = registry();
    let good = "{\"query\":\"a\",\"expected\":\"garden\"}\n\n{\"query\":\"b\",\"expected\":null,\"acceptable\":[\"kitchen\"]}\n";
    assert_eq!(cases(good, &registry).unwrap().len(), 2);
    let bad = "{\"query\":\"a\",\"expected\":\"gardn\"}\n{\"expected\":null}\nnonsense";
    let faults = cases(bad, &registry).unwrap_err();
    assert_eq!(faults.len(), 3);
    assert!(faults[0].contains("line 1") && faults[0].contains("gardn"), "{faults:?}");
    assert!(cases("\n", &registry).is_err());
}

#[tokio::test]
async fn figures_are_counted_as_they_are_named() {
    let registry = registry();
    let lines = r#"{"query":"recipes for cooking","expected":"kitchen"}
{"query":"trees with flowers","expected":"garden"}
{"query":"flowers in the soup","expected":"kitchen","acceptable":["garden"]}
{"query":"flowers","expected":"kitchen"}
{"query":"quarks","expected":null}
{"query":"trees","expected":null}"#;
    let router = Router::new(Arc::new(Lexical), None, RouteOptions { show_top_n: 5, ..RouteOptions::default() });
    let report = evaluate(&router, &registry, &cases(lines, &registry).unwrap(), &|| ()).await.unwrap();
    assert_eq!((report.in_scope, report.out_of_scope), (4, 2));
    assert!((report.accuracy - 0.75).abs() < 1e-9 && (report.accuracy_at_5 - 1.0).abs() < 1e-9);
    assert_eq!((report.refused_right, report.accepted_wrong, report.refused_wrong), (1, 1, 0));
    assert!((report.decided_right - 4.0 / 6.0).abs() < 1e-9);
    // Both questions for nobody are below what all four others reach but "trees", which is as good as any.
    assert_eq!(report.refused_at_95, Some(0.5));
    assert_eq!(report.confusion.iter().map(|cell| cell.count).sum::<usize>(), 6);
    assert_eq!(report.mistakes.len(), 2);
    assert!(report.curve.windows(2).all(|pair| pair[0].accepted >= pair[1].accepted));
    assert!(report.median_us > 0.0 && report.threshold.is_some());
}

#[tokio::test]
async fn the_page_is_whole_and_nothing_in_it_is_markup_of_others() {
    let registry = registry();
    let lines = "{\"query\":\"<script>alert(1)</script> flowers\",\"expected\":\"kitchen\"}";
    let router = Router::new(Arc::new(Lexical), None, RouteOptions::default());
    let report = evaluate(&router, &registry, &cases(lines, &registry).unwrap(), &|| ()).await.unwrap();
    let html = page(&report);
    assert!(html.contains("&lt;script&gt;") && !html.contains("<script"));
    assert!(html.contains("polyline") && html.ends_with("</html>\n"));
}
