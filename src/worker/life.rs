//! One job's life: lease → attempt → result → acknowledgement.
//!
//! [`live`] is the only function that ends a lease, after everything the job did is on record.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    Runner, approval,
    attempt::{Notes, Surroundings, attempt},
    clock::Clock,
    conclude::{self, Times},
    deferral, retry,
};
use crate::{
    job::{ErrorCode, Event, EventKind, Job, JobError, JobId, JobResult, Meter, RawJson, Rejected},
    lanes::{LaneEnd, handoff},
    queue::{Delivery, End, Finished, Lease, LeaseEnd, SharedQueue, Source, Standing},
    store::{Elapsed, Journal},
    telemetry::names,
    tools,
};

/// Lives one delivered job from lease to acknowledgement. `hand_back` fires when the process must go at once.
pub(super) async fn live(runner: Arc<Runner>, queue: SharedQueue, lease: Lease, hand_back: CancellationToken) {
    let again = lease.delivery.attempt > 1 || lease.delivery.crashes > 0;
    let journal = lease.delivery.job.as_ref().ok().map(|job| runner.journal(job).of_delivery(lease.claim(), again));
    let noted = runner.note(&lease.delivery).await;
    let end = tokio::select! {
        biased;
        () = hand_back.cancelled() => Some(End::HandBack),
        end = end_of(&runner, &queue, &lease, journal.as_ref()) => end,
    };
    // Without an end the lease was lost: whoever has it now answers.
    let Some(end) = end else { return };
    let noted = runner.noted(&lease, &end, noted).await;
    let delivery = &lease.delivery;
    let (job_id, attempt) = (delivery.job.as_ref().ok().map(|job| job.job_id.clone()), delivery.attempt);
    let journal = journal.filter(|_| matches!(end, End::Result { .. }));
    let finished = lease.finish(end).await;
    if let (Ok(Finished::Done | Finished::Superseded), Some(noted)) = (&finished, noted) {
        runner.record(noted);
    }
    match finished {
        // Only now: until the result stands a redelivered job goes on from its journal.
        Ok(Finished::Done) => {
            if let Some(journal) = journal {
                journal.close().await;
            }
        }
        Ok(what) => {
            tracing::info!(
                job_id = job_id.as_ref().map(JobId::as_str),
                attempt,
                ?what,
                "the end was not ours to write"
            );
        }
        Err(error) => {
            tracing::error!(job_id = job_id.as_ref().map(JobId::as_str), %error, "the job's end could not be written; it will be delivered again");
        }
    }
}

/// How this delivery ends; nothing when its lease was lost.
async fn end_of(runner: &Runner, queue: &SharedQueue, lease: &Lease, journal: Option<&Journal>) -> Option<End> {
    let delivery = &lease.delivery;
    let times = Times { attempt: delivery.attempt, queue: delivery.queue_time, ..Times::default() };
    match (&delivery.job, delivery.standing) {
        (_, Standing::Duplicate) => Some(End::Duplicate),
        (Err(rejected), _) => Some(rejection(runner, delivery, rejected, times)),
        (Ok(job), Standing::Cancelled) => {
            let meter = Meter::default();
            // What it had paid for before it was put back is its bill all the same.
            let (waited, taken) = match journal {
                Some(journal) => (
                    journal.elapsed(&meter).await.unwrap_or_default(),
                    journal.has(&[""], &meter).await.unwrap_or_default(),
                ),
                None => (Elapsed::default(), false),
            };
            let put_aside = taken || waited != Elapsed::default();
            let when =
                if put_aside { "while it waited for approval or its next attempt" } else { "before it was taken" };
            let error = JobError::new(ErrorCode::Cancelled, format!("the job was cancelled {when}"));
            let times = Times { waited: waited.waited, ..times };
            let document = conclude::result(job, Err(error), Notes::default(), meter.spend(), times);
            Some(ending(runner, delivery, document, None))
        }
        // A job that could be read has a journal.
        (Ok(job), Standing::Runnable) => run(runner, queue, lease, job, journal?).await,
    }
}

async fn run(runner: &Runner, queue: &SharedQueue, lease: &Lease, job: &Job, journal: &Journal) -> Option<End> {
    let delivery = &lease.delivery;
    let started = Instant::now();
    let emit = |event: Event| queue.emit(&job.job_id, event);
    emit(Event::new(EventKind::Started).with("attempt", delivery.attempt).with("crashes", delivery.crashes));
    let (meter, mut notes) = (Meter::of(job), Notes::default());
    let taken = (delivery.attempt, delivery.queue_time);
    let (clock, unread) = match Clock::of(runner, job, taken, journal, &meter).await {
        Ok(clock) => (clock, None),
        Err(error) => (Clock::fresh(runner, job), Some(error)),
    };
    let outcome = match (unread, &delivery.approval) {
        (Some(error), _) => Err(error),
        (None, Some(approval)) if approval::ends_the_job(approval) => {
            emit(approval::rejection());
            Err(JobError::new(ErrorCode::Cancelled, "the change was rejected by the person asked for approval"))
        }
        (None, approval) => {
            let around = Surroundings { stop: lease.stop(), emit: &emit, approval: approval.as_ref(), journal, clock };
            attempt(runner, job, &meter, &around, &mut notes).await
        }
    };
    if lease.ended() == Some(LeaseEnd::Lost) {
        return None;
    }
    let outcome = handoff::cut_off(&mut notes.record, outcome).await;
    let left = clock.left();
    if let (Some(after), Err(error)) = (deferral::wait(&outcome, left), &outcome)
        && put_off(journal, &clock, &meter, after, error).await
    {
        return Some(End::Defer { after });
    }
    let outcome = match outcome.map_err(|error| deferral::too_late(error, left)) {
        Ok(LaneEnd::Parked(pending)) => return Some(park(pending)),
        Err(error) => match again(runner, job, delivery, &error, left) {
            Some((after, end)) => {
                note(journal, clock.put_back(after, false), &meter).await;
                let event = Event::new(EventKind::Retry).with("error", error.code.as_str());
                emit(event.with("reason", error.message).with("delay_ms", after.as_millis()));
                return Some(end);
            }
            None => Err(error),
        },
        done => done,
    };
    let dead = outcome.as_ref().err().filter(|error| error.retryable).cloned();
    let (attempt, queue) = (delivery.attempt, delivery.queue_time);
    let times = Times { attempt, queue, waited: clock.waited(), execution: started.elapsed() };
    let columns = notes.columns.take();
    let document = conclude::result(job, outcome, notes, meter.spend(), times);
    match runner.keep_large(job, document).await {
        Ok(document) => {
            runner.remember(job, &document).await;
            runner.learn(job, &document, columns).await;
            Some(ending(runner, delivery, document, dead))
        }
        // The result could not be kept: the job is not done.
        Err(error) => {
            if let Some(after) = deferral::wait(&Err::<(), _>(error.clone()), clock.left())
                && put_off(journal, &clock, &meter, after, &error).await
            {
                return Some(End::Defer { after });
            }
            let last = Duration::from_millis(runner.settings.retry.max_ms);
            let end = again(runner, job, delivery, &error, Duration::MAX).map(|(_, end)| end);
            Some(end.unwrap_or(End::Retry { after: last, error }))
        }
    }
}

/// Notes that the job waits in the queue, and says whether it may. A limit is waited for in any case; a store that is
/// away only where the wait could be noted, since nothing else would end it.
async fn put_off(journal: &Journal, clock: &Clock, meter: &Meter, after: Duration, why: &JobError) -> bool {
    let outage = why.code == ErrorCode::Internal;
    tracing::debug!(error = %why, ?after, "it is too early; the job waits in the queue");
    note(journal, clock.put_back(after, !outage), meter).await || !outage
}

/// Another attempt after a wait, where the error, the policy and the job's time allow one.
fn again(runner: &Runner, job: &Job, delivery: &Delivery, error: &JobError, left: Duration) -> Option<(Duration, End)> {
    let made = delivery.attempt.saturating_add(job.retry_count);
    let after = retry::next_attempt(error, made, &runner.settings.retry, rand::random())?;
    if after >= left {
        return None;
    }
    metrics::counter!(names::RETRIES_TOTAL, "error" => error.code.as_str()).increment(1);
    tracing::info!(job_id = %job.job_id, attempt = delivery.attempt, %error, ?after, "the attempt failed and is tried again");
    Some((after, End::Retry { after, error: error.clone() }))
}

/// What this delivery has used of the job's time and money counts for the job, whose next one begins with it. False where
/// it could not be noted.
async fn note(journal: &Journal, elapsed: Elapsed, meter: &Meter) -> bool {
    let noted = journal.put_back(elapsed, meter).await;
    if let Err(error) = &noted {
        tracing::warn!(%error, "what the job has used of its time could not be noted");
    }
    noted.is_ok()
}

fn park(pending: RawJson) -> End {
    let event = Event::new(EventKind::Approval).with_json("pending", &pending);
    let event = match tools::why_it_waits(&pending) {
        Some(reason) => event.with("reason", reason),
        None => event,
    };
    End::Park { pending, event }
}

/// A message that is no job: its sender is told where there is one, and else it is kept for people.
fn rejection(runner: &Runner, delivery: &Delivery, rejected: &Rejected, times: Times) -> End {
    let Some(job_id) = rejected.job_id.clone() else {
        return End::Dead { error: rejected.error.clone() };
    };
    ending(runner, delivery, conclude::rejection(job_id, rejected, times), None)
}

/// The end with `document` as the one result.
fn ending(runner: &Runner, delivery: &Delivery, document: JobResult, dead: Option<JobError>) -> End {
    let wants_signal = delivery.source == Source::Stream || runner.settings.queue.signal_completion;
    let signal = wants_signal.then(|| RawJson::of(&crate::job::completion_signal(&document)));
    let event = conclude::closing_event(&document);
    count(&document);
    runner.tally.note(&document);
    let (status, lane) = (document.status, document.lane);
    let document = conclude::published(document, runner.settings.results.inline_max_bytes);
    End::Result { result: RawJson::of(&document), status, lane, event, signal, dead }
}

fn count(document: &JobResult) {
    let lane = document.lane.map_or("none", |lane| lane.as_str());
    metrics::counter!(names::JOBS_TOTAL, "lane" => lane, "status" => document.status.as_str()).increment(1);
    let seconds = |ms| Duration::from_millis(ms).as_secs_f64();
    metrics::histogram!(names::JOB_DURATION_SECONDS, "lane" => lane)
        .record(seconds(document.metadata.execution_time_ms));
    if document.metadata.waited_ms > 0 {
        metrics::histogram!(names::LIMIT_WAIT_SECONDS).record(seconds(document.metadata.waited_ms));
    }
}
