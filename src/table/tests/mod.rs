//! The steps' semantics, row by row.

mod basics;
mod columns;
mod docs;
mod errors;
mod groups;
mod joins;
mod json;
mod properties;
mod rows;

use super::*;
use crate::job::ErrorCode;

/// Parses, checks and runs a pipeline of steps over rows.
pub(super) fn pipeline(input: &str, steps: &str) -> Result<Output, TableError> {
    pipeline_with(Some(input), steps, &Inputs::default(), &Limits::default())
}

pub(super) fn pipeline_with(
    input: Option<&str>,
    steps: &str,
    inputs: &Inputs,
    limits: &Limits,
) -> Result<Output, TableError> {
    let plan = Plan::parse(&RawJson::from_trusted(steps.to_owned()), limits)?;
    let body = input.map(json_body);
    plan.check_body(body.as_ref())?;
    let run_on = |threads| run(&plan, body.as_ref(), inputs, limits, &Control { threads, ..Control::default() });
    let (alone, shared) = (run_on(1), run_on(4));
    // However many threads take part, the outcome is the same.
    let outcome = |result: &Result<Output, TableError>| {
        let counts = |stat: &StepStat| (stat.step, stat.rows_in.unwrap(), stat.rows_out.unwrap());
        result.clone().map(|output| {
            let counts: Vec<_> = output.steps.iter().map(counts).collect();
            (output.data.as_str().to_owned(), output.row_count, counts, output.warnings)
        })
    };
    assert_eq!(outcome(&alone), outcome(&shared), "{steps}");
    alone
}

pub(super) fn json_body(text: &str) -> Body {
    Body { bytes: text.to_owned().into(), format: Format::Auto }
}

/// The data that a pipeline gives.
pub(super) fn data(input: &str, steps: &str) -> String {
    match pipeline(input, steps) {
        Ok(output) => output.data.as_str().to_owned(),
        Err(error) => panic!("{steps} over {input}: {error}"),
    }
}

/// Each row: input, steps, expected data, byte for byte.
pub(super) fn expect(rows: &[(&str, &str, &str)]) {
    for (input, steps, expected) in rows {
        assert_eq!(data(input, steps), *expected, "{steps} over {input}");
    }
}

/// Each row: input, steps, code, whole message.
pub(super) fn expect_errors(rows: &[(&str, &str, ErrorCode, &str)]) {
    for (input, steps, code, message) in rows {
        let error = pipeline(input, steps).expect_err(steps);
        assert_eq!((error.code, error.to_string().as_str()), (*code, *message), "{steps} over {input}");
    }
}
