//! Any bytes as a job or a token: refused with a reason, or within every bound of the contract.
#![no_main]

use agent_runner::job::{ErrorCode, Job, JobLimits, RawJson, Rejected, Token};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

const LIMITS: JobLimits = JobLimits { max_job_bytes: 2048, max_prompt_bytes: 256 };

fn refused(rejected: &Rejected) {
    assert!(matches!(rejected.error.code, ErrorCode::InvalidJob | ErrorCode::UnsupportedVersion));
    assert!(!rejected.error.retryable && !rejected.error.message.is_empty());
    assert!(rejected.error.message.len() < 2048, "a message does not repeat the job");
}

fn bounded(job: &Job, message: &Bytes) {
    assert!(message.len() <= LIMITS.max_job_bytes);
    let id = job.job_id.as_str();
    assert!((1..=200).contains(&id.chars().count()) && !id.chars().any(|c| c.is_whitespace() || c.is_control()));
    assert!(job.prompt_text().len() <= LIMITS.max_prompt_bytes);
    assert!(job.timeout.is_none_or(|time| time.as_secs() <= 7 * 86_400));
    for part in [&job.data, &job.pipeline, &job.patch_spec, &job.current_workflow].into_iter().flatten() {
        RawJson::parse(part.bytes().clone()).expect("a part of a job is JSON");
    }
}

fuzz_target!(|data: &[u8]| {
    let message = Bytes::copy_from_slice(data);
    match Job::parse(&message, &LIMITS) {
        Ok(job) => bounded(&job, &message),
        Err(rejected) => refused(&rejected),
    }
    match Token::parse(&message, &LIMITS) {
        Ok(token) => bounded(&token.job, &message),
        Err(rejected) => refused(&rejected),
    }
});
