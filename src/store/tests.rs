use futures::FutureExt;

use super::*;
use crate::job::{Budget, ErrorCode, JobError, JobId, Meter, Tokens};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_full_memory_store_forgets_the_oldest() {
    let store = MemoryStore::new(10);
    store.put("a", Bytes::from_static(b"12345"), HOUR).await.unwrap();
    store.put("b", Bytes::from_static(b"12345"), HOUR).await.unwrap();
    store.put("a", Bytes::from_static(b"1234"), HOUR).await.unwrap();
    store.put("c", Bytes::from_static(b"123"), HOUR).await.unwrap();
    assert_eq!(store.get("b").await.unwrap(), None);
    assert_eq!(store.get("a").await.unwrap().unwrap(), "1234");
    assert!(store.put("d", Bytes::from(vec![0; 11]), HOUR).await.is_err());
}

#[tokio::test]
async fn a_key_ends_after_its_time() {
    let store = MemoryStore::new(100);
    store.append("a", Bytes::from_static(b"1"), Duration::ZERO).await.unwrap();
    assert!(store.list("a").await.unwrap().is_empty());
    store.append("a", Bytes::from_static(b"2"), HOUR).await.unwrap();
    store.append("a", Bytes::from_static(b"3"), HOUR).await.unwrap();
    assert_eq!(store.list("a").await.unwrap(), ["2", "3"]);
}

#[tokio::test]
async fn artifacts_are_found_by_reference_and_by_bare_id() {
    let artifacts = Artifacts::new(MemoryStore::new(100), HOUR);
    let reference = artifacts.put(Bytes::from_static(b"[1]")).await.unwrap();
    assert_eq!(artifacts.get(&reference).await.unwrap().unwrap(), "[1]");
    assert_eq!(artifacts.get(reference.strip_prefix("cas://").unwrap()).await.unwrap().unwrap(), "[1]");
    assert_eq!(artifacts.get("artifact://nobody").await.unwrap(), None);
}

#[tokio::test]
async fn a_redelivered_job_does_not_pay_twice() {
    let store = MemoryStore::new(1 << 20);
    let id = JobId::parse("j").unwrap();
    let pay = |meter: &Meter| {
        meter.begin_request().unwrap();
        meter.add("m", Tokens { prompt: 7, completion: 1, cached: 0 }, 0.5);
        async { Ok::<_, JobError>("answer".to_owned()) }
    };
    let first = Meter::new(Budget::default());
    let journal = Journal::new(store.clone(), &id, HOUR, 1000);
    assert_eq!(journal.step("turn:0", &first, async { pay(&first).await }).await.unwrap(), "answer");
    assert!(!journal.mark("patch:sending", &first).await.unwrap());

    let second = Meter::new(Budget::default());
    let journal = Journal::new(store.clone(), &id, HOUR, 1000);
    let again = journal.step::<String, _>("turn:0", &second, async { panic!("paid twice") }).await;
    assert_eq!(again.unwrap(), "answer");
    assert_eq!(second.spend(), first.spend());
    assert!(journal.mark("patch:sending", &second).await.unwrap());
    assert!(!journal.mark("patch:sent", &second).await.unwrap());
}

#[tokio::test]
async fn a_step_that_failed_is_not_on_record() {
    let store = MemoryStore::new(1 << 20);
    let journal = Journal::new(store, &JobId::parse("j").unwrap(), HOUR, 1000);
    let meter = Meter::default();
    let failed: Result<u8, _> = journal.step("a", &meter, async { Err(JobError::new(ErrorCode::Internal, "x")) }).await;
    assert!(failed.is_err());
    assert_eq!(journal.step("a", &meter, async { Ok(2_u8) }).await.unwrap(), 2);
}

#[tokio::test]
async fn a_job_that_starts_afresh_has_an_empty_journal_and_a_replay_the_last_full_one() {
    let store = MemoryStore::new(1 << 20);
    let (id, meter) = (JobId::parse("j").unwrap(), Meter::default());
    let journal = || Journal::new(store.clone(), &id, HOUR, 1000);
    let replay = || Journal::replay(store.clone(), &id);
    let first = journal();
    for value in [1_u8, 2] {
        first.step("twice", &meter, async { Ok(value) }).await.unwrap();
    }
    let failure = JobError::new(ErrorCode::HttpFailed, "503");
    let _: Result<u8, _> = first.step("fetch", &meter, async { Err(failure.clone()) }).await;
    first.close().await;
    let again = replay();
    for value in [1_u8, 2] {
        assert_eq!(again.step::<u8, _>("twice", &meter, async { panic!("done again") }).await.unwrap(), value);
    }
    assert_eq!(again.step::<u8, _>("fetch", &meter, async { panic!("done again") }).await.unwrap_err(), failure);
    let missing = again.step::<u8, _>("other", &meter, async { panic!("done") }).await.unwrap_err();
    assert!(missing.message.contains("\"other\" is not on record"), "{missing}");
    assert!(replay().has(&["twi"], &meter).await.unwrap() && !replay().has(&["turn:"], &meter).await.unwrap());

    let second = journal();
    assert_eq!(second.step("twice", &meter, async { Ok(3_u8) }).await.unwrap(), 3, "a fresh start forgets");
    second.close().await;
    assert_eq!(replay().step::<u8, _>("twice", &meter, async { panic!("done again") }).await.unwrap(), 3);
    journal().close().await;
    assert_eq!(store.list("journal:j").await.unwrap().len(), 2, "a journal without entries notes no end");
}

#[tokio::test]
async fn waits_add_up_over_deliveries_and_spending_goes_on_where_it_was() {
    let store = MemoryStore::new(1 << 20);
    let id = JobId::parse("j").unwrap();
    let journal = || Journal::new(store.clone(), &id, HOUR, 1000);
    for delivery in 1..=3 {
        let (journal, meter) = (journal(), Meter::default());
        let before = journal.elapsed(&meter).await.unwrap();
        let secs = Duration::from_secs(delivery - 1);
        assert_eq!(before, Elapsed { used: secs * 3, waited: secs });
        assert_eq!(u64::from(meter.spend().llm_calls), delivery - 1);
        meter.begin_request().unwrap();
        let more =
            Elapsed { used: before.used + Duration::from_secs(3), waited: before.waited + Duration::from_secs(1) };
        journal.put_back(more, &meter).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_is_counted_from_before_it_is_sent_and_once() {
    let store = MemoryStore::new(1 << 20);
    let id = JobId::parse("j").unwrap();
    let journal = || Journal::new(store.clone(), &id, HOUR, 1000);
    for died in 0..3 {
        let meter = Meter::default();
        let journal = journal();
        let asked = journal.paid("turn:0", &meter, async {
            meter.begin_request().unwrap();
            // Whoever drops this future takes the worker's place at its death.
            std::future::pending::<Result<u8, JobError>>().await
        });
        assert!(asked.now_or_never().is_none());
        assert_eq!(meter.spend().llm_calls, died + 1, "the earlier ones and this one");
    }
    let meter = Meter::default();
    let answer = async {
        meter.begin_request().unwrap();
        Ok(1_u8)
    };
    journal().paid("turn:0", &meter, answer).await.unwrap();
    let again = Meter::default();
    journal().paid::<u8, _>("turn:0", &again, async { panic!("paid twice") }).await.unwrap();
    assert_eq!((meter.spend().llm_calls, again.spend().llm_calls), (4, 4));
}

#[tokio::test]
async fn a_line_that_was_written_twice_counts_once_and_bare_lines_are_read() {
    let store = MemoryStore::new(1 << 20);
    let (id, meter) = (JobId::parse("j").unwrap(), Meter::default());
    let journal = || Journal::new(store.clone(), &id, HOUR, 1000);
    journal().step("a", &meter, async { Ok(1_u8) }).await.unwrap();
    let line = store.list("journal:j").await.unwrap().remove(0);
    store.append("journal:j", line, HOUR).await.unwrap();
    let spend = serde_json::to_string(&meter.spend()).unwrap();
    let bare = format!(r#"{{"Step":{{"step":"b","value":2,"spend":{spend}}}}}"#);
    store.append("journal:j", bare.into(), HOUR).await.unwrap();
    let again = journal();
    for (step, fresh, expected) in [("a", 9, 1), ("a", 3, 3), ("b", 9, 2)] {
        assert_eq!(again.step(step, &meter, async move { Ok(fresh) }).await.unwrap(), expected, "{step}");
    }
}

#[tokio::test]
async fn inputs_are_kept_by_content_up_to_a_size() {
    let store = MemoryStore::new(1 << 20);
    let journal = Journal::new(store, &JobId::parse("j").unwrap(), HOUR, 4);
    let hash = journal.keep(&Bytes::from_static(b"1234")).await.unwrap().unwrap();
    assert_eq!(journal.kept(&hash).await.unwrap().unwrap(), "1234");
    assert_eq!(journal.keep(&Bytes::from_static(b"12345")).await.unwrap(), None);
    assert_eq!(journal.kept("gone").await.unwrap(), None);
}
