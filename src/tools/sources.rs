//! Where a job's first data comes from, and what references stand for.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    job::{ErrorCode, Job, JobError, JobId, Owner, RawJson},
    queue::SharedQueue,
    store::{Artifacts, StoreError, outage},
};

/// Resolves references: artifacts first, then the results that the queue keeps.
pub struct Sources {
    artifacts: Artifacts,
    queue: Option<SharedQueue>,
    /// Whether a job finds only what belongs to its owner.
    apart: bool,
}

impl Sources {
    /// Sources over the artifacts and, where there is a queue, its results.
    #[must_use]
    pub fn new(artifacts: Artifacts, queue: Option<SharedQueue>) -> Self {
        Self { artifacts, queue, apart: false }
    }

    /// With `apart`, a job of an owner finds the artifacts and results of that owner only. What an orchestrator keeps
    /// (`cas:…`) is for all, and a job of nobody finds everything.
    #[must_use]
    pub fn keep_apart(self, apart: bool) -> Self {
        Self { apart, ..self }
    }

    /// The first data of a job: its `input_ref`, else its `data`, else the last previous result that has any.
    pub async fn first_data(&self, job: &Job) -> Result<Option<RawJson>, JobError> {
        if let Some(reference) = &job.input_ref {
            return self.rows(reference, job).await.map(Some);
        }
        if job.data.is_some() {
            return Ok(job.data.clone());
        }
        for previous in job.context.previous_results.iter().rev() {
            if previous.data.is_some() {
                return Ok(previous.data.clone());
            }
            let Some(reference) = &previous.result_ref else { continue };
            if let Some(document) = self.document(reference, job).await? {
                return Ok(Some(rows_of(document)));
            }
        }
        Ok(None)
    }

    /// The data behind `reference`, as `job` may have it: of a result document its `data`.
    pub async fn rows(&self, reference: &str, job: &Job) -> Result<RawJson, JobError> {
        self.document(reference, job).await?.map(rows_of).ok_or_else(|| {
            JobError::new(
                ErrorCode::InvalidPipeline,
                format!("nothing is stored at {reference:?}: it may have expired; run the job that made it again"),
            )
            .with_detail("input_ref", reference)
        })
    }

    /// What is stored behind `reference`, as it is and as far as `job` may have it.
    pub async fn document(&self, reference: &str, job: &Job) -> Result<Option<RawJson>, JobError> {
        let what = || format!("{reference:?} could not be read");
        let owner = if self.apart { job.owner() } else { None };
        if let Some(bytes) = self.stored(reference, owner.as_ref()).await.map_err(|e| e.for_job(&what()))? {
            return RawJson::parse(bytes).map(Some).map_err(|e| {
                JobError::new(ErrorCode::PipelineFailed, format!("what is stored at {reference:?} is not JSON: {e}"))
            });
        }
        let id = reference.strip_prefix("artifact://").unwrap_or(reference);
        let (Some(queue), Ok(id)) = (&self.queue, JobId::parse(id)) else { return Ok(None) };
        let result = match &owner {
            None => queue.result(&id, Duration::ZERO).await,
            Some(_) => queue.job(&id).await.map(|view| view.filter(|view| view.owner == owner)?.result),
        };
        let result = result.map_err(|e| outage(true, format!("{}: {e}", what())))?;
        Ok(result.and_then(|document| member(&document, Member::Result)))
    }
}

impl Sources {
    async fn stored(&self, reference: &str, owner: Option<&Owner>) -> Result<Option<Bytes>, StoreError> {
        match owner {
            Some(owner) if !Artifacts::is_of(self.artifacts.store(), reference, owner).await? => {
                self.artifacts.foreign(reference).await
            }
            _ => self.artifacts.get(reference).await,
        }
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
        let anybody = job(r#""data":[]"#);
        assert_eq!(sources.rows(&reference, &anybody).await.unwrap().as_str(), r#"[{"id":1}]"#);
        let error = sources.rows("artifact://gone", &anybody).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidPipeline);
        assert!(error.message.contains("artifact://gone"));
    }

    #[tokio::test]
    async fn what_is_kept_apart_is_found_by_its_owner_and_by_jobs_of_nobody() {
        let (sources, artifacts) = sources();
        let sources = sources.keep_apart(true);
        let owned = artifacts.put_for(Owner::of("ann b").as_ref(), Bytes::from_static(b"[1]")).await.unwrap();
        let nobodys = artifacts.put(Bytes::from_static(b"[2]")).await.unwrap();
        let mut found = Vec::new();
        for owner in ["ann b", "bob", ""] {
            let job = job(&format!(r#""workflow_owner":"{owner}""#));
            let disguised = owned.replace("cas://", "");
            for reference in [&owned, &disguised, &nobodys] {
                found.push(sources.rows(reference, &job).await.is_ok());
            }
        }
        assert_eq!(found, [true, true, false, false, false, false, true, true, true]);
    }
}
