//! Where a job's first data comes from, and what references stand for.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    job::{ErrorCode, Job, JobError, JobId, RawJson},
    queue::SharedQueue,
    store::{Artifacts, outage},
};

/// Resolves references: artifacts first, then the results that the queue keeps.
pub struct Sources {
    artifacts: Artifacts,
    queue: Option<SharedQueue>,
}

impl Sources {
    /// Sources over the artifacts and, where there is a queue, its results.
    #[must_use]
    pub fn new(artifacts: Artifacts, queue: Option<SharedQueue>) -> Self {
        Self { artifacts, queue }
    }

    /// The first data of a job: its `input_ref`, else its `data`, else the last previous result that has any.
    pub async fn first_data(&self, job: &Job) -> Result<Option<RawJson>, JobError> {
        if let Some(reference) = &job.input_ref {
            return self.rows(reference).await.map(Some);
        }
        if job.data.is_some() {
            return Ok(job.data.clone());
        }
        for previous in job.context.previous_results.iter().rev() {
            if previous.data.is_some() {
                return Ok(previous.data.clone());
            }
            let Some(reference) = &previous.result_ref else { continue };
            if let Some(document) = self.document(reference).await? {
                return Ok(Some(rows_of(document)));
            }
        }
        Ok(None)
    }

    /// The data behind `reference`: of a result document its `data`.
    pub async fn rows(&self, reference: &str) -> Result<RawJson, JobError> {
        self.document(reference).await?.map(rows_of).ok_or_else(|| {
            JobError::new(
                ErrorCode::InvalidPipeline,
                format!("nothing is stored at {reference:?}: it may have expired; run the job that made it again"),
            )
            .with_detail("input_ref", reference)
        })
    }

    /// What is stored behind `reference`, as it is.
    pub async fn document(&self, reference: &str) -> Result<Option<RawJson>, JobError> {
        let what = || format!("{reference:?} could not be read");
        if let Some(bytes) = self.artifacts.get(reference).await.map_err(|e| e.for_job(&what()))? {
            return RawJson::parse(bytes).map(Some).map_err(|e| {
                JobError::new(ErrorCode::PipelineFailed, format!("what is stored at {reference:?} is not JSON: {e}"))
            });
        }
        let id = reference.strip_prefix("artifact://").unwrap_or(reference);
        let (Some(queue), Ok(id)) = (&self.queue, JobId::parse(id)) else { return Ok(None) };
        let result = queue.result(&id, Duration::ZERO).await;
        let result = result.map_err(|e| outage(true, format!("{}: {e}", what())))?;
        Ok(result.and_then(|document| member(&document, Member::Result)))
    }
}

/// The rows in a stored document: the `data` of an execute result, or all of it.
fn rows_of(document: RawJson) -> RawJson {
    member(&document, Member::Data).unwrap_or(document)
}

enum Member {
    Result,
    Data,
}

fn member(document: &RawJson, which: Member) -> Option<RawJson> {
    #[derive(Deserialize)]
    struct Known<'a> {
        status: Option<&'a str>,
        #[serde(borrow)]
        result: Option<&'a RawValue>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    let known: Known<'_> = serde_json::from_str(document.as_str()).ok()?;
    let raw = match which {
        Member::Result => known.result?,
        Member::Data if known.status == Some("success") => known.data?,
        Member::Data => return None,
    };
    Some(RawJson::slice_of(document.bytes(), raw))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{job::JobLimits, store::MemoryStore};

    fn sources() -> (Sources, Artifacts) {
        let artifacts = Artifacts::new(MemoryStore::new(1 << 20), Duration::from_secs(60));
        (Sources::new(artifacts.clone(), None), artifacts)
    }

    fn job(members: &str) -> Job {
        let limits = JobLimits { max_job_bytes: 1 << 20, max_prompt_bytes: 1 << 20 };
        Job::parse(&Bytes::from(format!(r#"{{"job_id":"a","prompt":"x",{members}}}"#)), &limits).unwrap()
    }

    #[tokio::test]
    async fn input_ref_comes_before_data_and_data_before_context() {
        let (sources, artifacts) = sources();
        let reference = artifacts.put(Bytes::from_static(b"[{\"a\":1.10}]")).await.unwrap();
        let context = r#""context":{"previous_results":[{"data":[1]},{"data":[2]},{"preview":{}}]}"#;
        let rows = [
            (format!(r#""input_ref":"{reference}","data":[3],{context}"#), Some("[{\"a\":1.10}]")),
            (format!(r#""data":[3],{context}"#), Some("[3]")),
            (context.to_owned(), Some("[2]")),
            (
                format!(r#""context":{{"previous_results":[{{"data":[1]}},{{"result_ref":"{reference}"}}]}}"#),
                Some("[{\"a\":1.10}]"),
            ),
            (r#""context":{"previous_results":[{"result_ref":"cas://sha256:00"}]}"#.to_owned(), None),
        ];
        for (members, expected) in rows {
            let data = sources.first_data(&job(&members)).await.unwrap();
            assert_eq!(data.as_ref().map(RawJson::as_str), expected, "{members}");
        }
    }

    #[tokio::test]
    async fn a_stored_result_stands_for_its_rows_and_a_lost_one_is_named() {
        let (sources, artifacts) = sources();
        let reference = artifacts
            .put(Bytes::from_static(br#"{"status":"success","data":[{"id":1}],"row_count":1}"#))
            .await
            .unwrap();
        assert_eq!(sources.rows(&reference).await.unwrap().as_str(), r#"[{"id":1}]"#);
        let error = sources.rows("artifact://gone").await.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidPipeline);
        assert!(error.message.contains("artifact://gone"));
    }
}
