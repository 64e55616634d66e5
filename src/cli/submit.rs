//! `agent-runner submit`: put a job into the queue.

use std::{io::Read, path::PathBuf, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Failure, assemble, output};
use crate::{
    job::{Job, JobId, RawJson},
    queue::Submission,
    settings::Settings,
};

/// Put a job into the queue; prints its id, or its result with --wait
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  agent-runner submit job.json --wait
  echo '{\"prompt\":\"sort by price\",\"data\":[{\"price\":2},{\"price\":1}]}' | agent-runner submit - --wait")]
pub(super) struct Args {
    /// A job document; - or nothing reads it from stdin
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Wait for the result and print it
    #[arg(long)]
    wait: bool,
    /// Longest wait, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    timeout: u64,
}

pub(super) async fn run(settings: Settings, args: Args) -> Result<(), Failure> {
    let (job, raw) = read(&settings, &args)?;
    let queue = assemble::redis_queue(&settings).await?;
    let submission = Submission {
        job_id: job.job_id.clone(),
        raw,
        priority: job.priority,
        run_at_ms: job.run_at_ms,
        delay_ms: job.delay_ms,
        owner: job.owner(),
    };
    queue.submit(submission).await.map_err(assemble::queue_failed)?;
    let done = if args.wait {
        wait(&queue, &job.job_id, args.timeout).await
    } else {
        output::line(&job.job_id);
        Ok(())
    };
    queue.close().await;
    done
}

fn read(settings: &Settings, args: &Args) -> Result<(Job, Bytes), Failure> {
    let mut text = String::new();
    let read = if args.file.as_os_str() == "-" {
        std::io::stdin().lock().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(&args.file).map(|content| text = content)
    };
    read.map_err(|e| Failure::Usage(format!("{}: {e}", args.file.display())))?;
    let mut document: Value =
        serde_json::from_str(&text).map_err(|e| Failure::Usage(format!("the job document is not JSON: {e}")))?;
    let raw = match document.as_object_mut() {
        Some(members) if !members.contains_key("job_id") => {
            members.insert("job_id".into(), json!(JobId::random().as_str()));
            RawJson::of(&document).bytes().clone()
        }
        _ => Bytes::from(text),
    };
    let job =
        Job::parse(&raw, &settings.job_limits()).map_err(|rejected| Failure::Usage(rejected.error.to_string()))?;
    Ok((job, raw))
}

async fn wait(queue: &crate::queue::SharedQueue, id: &JobId, seconds: u64) -> Result<(), Failure> {
    let result = queue.result(id, Duration::from_secs(seconds)).await.map_err(assemble::queue_failed)?;
    let result = result.ok_or_else(|| Failure::Failed(format!("{id} has no result after {seconds} s; it goes on")))?;
    output::line(result.as_str());
    let completed = result.to_value().is_ok_and(|document| document["status"] == "completed");
    if completed { Ok(()) } else { Err(Failure::Told) }
}
