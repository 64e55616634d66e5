use bytes::Bytes;

use super::*;
use crate::job::ErrorCode;

const LIMITS: JobLimits = JobLimits { max_job_bytes: 4096, max_prompt_bytes: 1024 };

fn parse(text: &str) -> Result<Job, Rejected> {
    Job::parse(&Bytes::copy_from_slice(text.as_bytes()), &LIMITS)
}

#[test]
fn a_full_job_is_read_whole() {
    let job = parse(
        r#"{"version":"1.0","job_id":"uuid-123","run_id":"run-456","node_id":"agent_node","workflow_tag":"main",
        "workflow_owner":"username","prompt":"top 10","current_workflow":{"nodes":[],"edges":[]},
        "context":{"previous_results":[{"node_id":"fetch","result_ref":"cas://sha256:00","data":[{"price":1.10}]}],
        "session_id":"s","workflow_state":{}},"timeout_sec":300,"retry_count":2,"created_at":"2026-01-01T00:00:00Z",
        "priority":"high","budget":{"max_tokens":5},"run_at":"2026-01-01T00:00:00Z","surprise":[1]}"#,
    )
    .unwrap();
    assert_eq!(job.job_id.as_str(), "uuid-123");
    assert_eq!(job.timeout, Some(Duration::from_secs(300)));
    assert_eq!(job.context.previous_results[0].data.as_ref().unwrap().as_str(), r#"[{"price":1.10}]"#);
    assert_eq!(job.run_at_ms, Some(1_767_225_600_000));
    assert_eq!((job.retry_count, job.priority, job.budget.max_tokens), (2, Priority::High, Some(5)));
}

#[test]
fn who_can_be_answered_is_answered_and_who_cannot_is_not() {
    // (message, has an id, code, part of the text)
    let rows = [
        ("", false, "invalid_job", "not a JSON object"),
        ("[1]", false, "invalid_job", "not a JSON object"),
        (r#"{"prompt":"x"}"#, false, "invalid_job", "no job_id"),
        (r#"{"job_id":7,"prompt":"x"}"#, false, "invalid_job", "`job_id` must be text, found 7"),
        (r#"{"job_id":"a b","prompt":"x"}"#, false, "invalid_job", "space"),
        (r#"{"job_id":null,"prompt":"x"}"#, false, "invalid_job", "no job_id"),
        (r#"{"job_id":"a","prompt":"x""#, false, "invalid_job", "not a JSON object"),
        (r#"{"job_id":"a"}"#, true, "invalid_job", "nothing to do"),
        (r#"{"job_id":"a","prompt":"  "}"#, true, "invalid_job", "nothing to do"),
        (r#"{"job_id":"a","prompt":["x"]}"#, true, "invalid_job", "`prompt` must be text"),
        (r#"{"job_id":"a","prompt":"x","version":"2.0"}"#, true, "unsupported_version", "2.0"),
        (r#"{"job_id":"a","prompt":"x","version":"0.9"}"#, true, "unsupported_version", "0.9"),
        (r#"{"job_id":"a","prompt":"x","version":"one"}"#, true, "invalid_job", "`version`"),
        (r#"{"job_id":"a","prompt":"x","timeout_sec":"soon"}"#, true, "invalid_job", "`timeout_sec`"),
        (r#"{"job_id":"a","prompt":"x","timeout_sec":-1}"#, true, "invalid_job", "`timeout_sec`"),
        (r#"{"job_id":"a","prompt":"x","timeout_sec":1e300}"#, true, "invalid_job", "`timeout_sec`"),
        (r#"{"job_id":"a","prompt":"x","lane":"fast"}"#, true, "invalid_job", "`lane`"),
        (r#"{"job_id":"a","prompt":"x","priority":1}"#, true, "invalid_job", "`priority`"),
        (r#"{"job_id":"a","prompt":"x","run_at":"tomorrow"}"#, true, "invalid_job", "`run_at`"),
        (r#"{"job_id":"a","prompt":"x","context":[]}"#, true, "invalid_job", "`context`"),
        (r#"{"job_id":"a","prompt":"x","context":{"previous_results":{}}}"#, true, "invalid_job", "previous_results"),
        (r#"{"job_id":"a","prompt":"x","budget":{"max_cost_usd":-1}}"#, true, "invalid_job", "max_cost_usd"),
        (r#"{"job_id":"a","handoff":"route"}"#, true, "invalid_job", "`handoff`"),
        (r#"{"job_id":"a","prompt":"x","handoff":{"mode":"swarm"}}"#, true, "invalid_job", "found \"swarm\""),
        (r#"{"job_id":"a","prompt":"x","handoff":{"mode":7}}"#, true, "invalid_job", "`mode` must be text"),
        (r#"{"job_id":"a","prompt":"x","lane":"execute","handoff":{"mode":"swarm"}}"#, true, "invalid_job", "swarm"),
        (r#"{"job_id":"a","prompt":"x","handoff":{"threshold":1.5}}"#, true, "invalid_job", "between -1 and 1"),
        (r#"{"job_id":"a","prompt":"x","handoff":{"num_tiers":0}}"#, true, "invalid_job", "from 1 to 100"),
        (r#"{"job_id":"a","prompt":"x","handoff":{"mode":"pool"}}"#, true, "invalid_job", "handoff.pool is missing"),
        (
            r#"{"job_id":"a","prompt":"x","handoff":{"mode":"network"}}"#,
            true,
            "invalid_job",
            "handoff.agent is missing",
        ),
        (r#"{"job_id":"a","prompt":" ","handoff":{"pool":"p"}}"#, true, "invalid_job", "`prompt` is missing"),
    ];
    for (message, has_id, code, part) in rows {
        let rejected = parse(message).expect_err(message);
        assert_eq!(rejected.job_id.is_some(), has_id, "{message}");
        assert_eq!(rejected.error.code.as_str(), code, "{message}");
        assert!(rejected.error.message.contains(part), "{message}: {}", rejected.error.message);
    }
}

#[test]
fn a_handoff_lacks_nothing_that_it_does_not_need() {
    for members in [
        r#""handoff":{}"#,
        r#""handoff":{"mode":null,"threshold":-1}"#,
        r#""handoff":{"pool":"p","dry_run":true}"#,
        r#""dry_run":true,"handoff":{"tiers":"default"}"#,
        r#""prompt":"x","handoff":{"mode":"network"},"context":{"session_id":"s"}"#,
        // It is not what runs.
        r#""patch_spec":{},"handoff":{"mode":"pool"}"#,
        r#""pipeline":[],"lane":"execute","handoff":{"mode":"network"}"#,
    ] {
        parse(&format!(r#"{{"job_id":"a",{members}}}"#)).expect(members);
    }
}

#[test]
fn versions_1_x_are_one_version() {
    for version in [r#""1.0""#, r#""1""#, r#""1.7""#, "1", "1.0", "null"] {
        assert!(parse(&format!(r#"{{"job_id":"a","prompt":"x","version":{version}}}"#)).is_ok(), "{version}");
    }
}

#[test]
fn bounds_are_checked_before_the_content() {
    let long = "x".repeat(1025);
    let error = parse(&format!(r#"{{"job_id":"a","prompt":"{long}"}}"#)).unwrap_err().error;
    assert!(error.message.contains("1025 bytes"), "{error}");
    let huge = "x".repeat(5000);
    let rejected = parse(&format!(r#"{{"job_id":"a","prompt":"x","data":"{huge}"}}"#)).unwrap_err();
    assert_eq!(rejected.error.code, ErrorCode::InvalidJob);
    assert!(rejected.error.message.contains("input_ref"), "{}", rejected.error);
}

#[test]
fn text_that_is_not_utf8_has_no_owner() {
    let rejected = Job::parse(&Bytes::from_static(b"{\"job_id\":\"a\",\"prompt\":\"\xff\"}"), &LIMITS).unwrap_err();
    assert_eq!(rejected.job_id, None);
    assert!(rejected.error.message.contains("UTF-8"));
}

#[test]
fn task_stands_for_prompt_and_the_last_of_two_keys_counts() {
    let job = parse(r#"{"job_id":"a","task":"sort by price","job_id":"b"}"#).unwrap();
    assert_eq!((job.job_id.as_str(), job.prompt_text()), ("b", "sort by price"));
}

#[test]
fn deep_nesting_inside_ignored_members_is_harmless() {
    let deep = "[".repeat(1500) + &"]".repeat(1500);
    assert!(parse(&format!(r#"{{"job_id":"a","prompt":"x","extra":{deep}}}"#)).is_ok());
}
