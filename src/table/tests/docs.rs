//! The examples of `docs/pipeline.md` are true.

use super::*;

/// The fenced blocks of the page, with what stands behind their opening fence.
fn blocks() -> Vec<(&'static str, String)> {
    let page = include_str!("../../../docs/pipeline.md");
    let mut blocks = Vec::new();
    let mut open: Option<(&str, Vec<&str>)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(_), Some((kind, lines))) => blocks.push((kind, lines.join("\n"))),
            (Some(kind), None) => open = Some((kind, Vec::new())),
            (None, Some((kind, mut lines))) => {
                lines.push(line);
                open = Some((kind, lines));
            }
            (None, None) => {}
        }
    }
    blocks
}

#[test]
fn every_example_gives_what_the_page_says() {
    let (mut input, mut steps, mut answer) = (None, None, None);
    let mut shown = std::collections::HashSet::new();
    for (kind, text) in blocks() {
        match kind {
            "json input" => input = Some(text),
            "json steps" | "json request" => steps = Some(text),
            "json answer" => answer = Some(text),
            "json output" => {
                let steps = steps.take().expect("steps before an output");
                let mut inputs = Inputs::default();
                answer.take().into_iter().for_each(|answer: String| inputs.add(0, json_body(&answer)));
                let output = pipeline_with(input.take().as_deref(), &steps, &inputs, &Limits::default());
                assert_eq!(
                    output.map(|output| output.data.as_str().to_owned()).as_deref(),
                    Ok(text.as_str()),
                    "{steps}"
                );
                let plan = Plan::parse(&RawJson::from_trusted(steps), &Limits::default()).unwrap();
                shown.extend(plan.step_names());
            }
            _ => {}
        }
    }
    for name in step_names() {
        assert!(shown.contains(name), "no example of {name}");
    }
}
