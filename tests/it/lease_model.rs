//! The lease protocol, explored exhaustively: two workers, a sweeper, one job pushed twice, crashes, leases that run
//! out at any moment, and messages that are late, lost or sent again.
//!
//! Time does not appear: the sweeper may take a lease back whenever it likes, which covers every clock and every
//! pause. What holds here holds by fencing and markers alone. The steps are those of the scripts in `src/queue/lua`, and of
//! the transaction that ends a job on one server.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Crashes that set a job aside.
const MAX_CRASHES: u8 = 2;

type Claim = u8;

/// What a worker has asked Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Ask {
    /// Take a message under this claim.
    Claim(Claim),
    /// Give out again what was taken under the first claim; else take a message under the second.
    Reclaim(Claim, Claim),
    /// Note whose the job is; look whether its result stands.
    Register(Claim),
    /// Watch the closing record, and ask whether it stands.
    Look(Claim),
    /// End it in one transaction, unless a record was written since the look.
    Commit(Claim),
    /// Write the closing record and the result, unless a record stands.
    Publish(Claim),
    /// Push the signal and the closing event, unless they stand.
    Announce(Claim),
    /// Acknowledge.
    Ack(Claim),
}

impl Ask {
    fn claims(self) -> Vec<Claim> {
        let mut all = Vec::new();
        self.with(|claim| {
            all.push(claim);
            claim
        });
        all
    }

    fn with(self, mut to: impl FnMut(Claim) -> Claim) -> Self {
        match self {
            Self::Claim(claim) => Self::Claim(to(claim)),
            Self::Reclaim(lost, own) => Self::Reclaim(to(lost), to(own)),
            Self::Register(claim) => Self::Register(to(claim)),
            Self::Look(claim) => Self::Look(to(claim)),
            Self::Commit(claim) => Self::Commit(to(claim)),
            Self::Publish(claim) => Self::Publish(to(claim)),
            Self::Announce(claim) => Self::Announce(to(claim)),
            Self::Ack(claim) => Self::Ack(to(claim)),
        }
    }
}

/// What Redis answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Answer {
    Nothing,
    Took,
    Again,
    MayRun,
    Duplicate,
    Published,
    Done,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Worker {
    Idle,
    /// The job runs.
    Running(Claim),
    /// An answer is awaited.
    Waiting(Ask),
}

impl Worker {
    fn holds(self, claim: Claim) -> bool {
        match self {
            Self::Idle => false,
            Self::Running(own) => own == claim,
            Self::Waiting(ask) => ask.claims().contains(&claim),
        }
    }
}

/// A message on its way. Workers do not take answers to questions they no longer wait on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
    Request(u8, Ask),
    Reply(u8, Ask, Answer),
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// Messages of the list: how many workers died over each.
    list: Vec<u8>,
    /// Leases with their message.
    leases: BTreeMap<Claim, u8>,
    /// Who holds the job, by the record.
    record: Option<Claim>,
    closing: bool,
    /// Claims whose transaction would run. A claim looks once, on the connection that then writes.
    watched: BTreeSet<Claim>,
    results: u8,
    signals: u8,
    workers: [Worker; 2],
    network: Vec<Message>,
    claims: Claim,
    /// Faults that may still happen.
    deaths: u8,
    expiries: u8,
    losses: u8,
    resends: u8,
    transactions: bool,
    marker: bool,
}

impl State {
    fn start(row: &Row) -> Self {
        Self {
            list: vec![0; row.messages],
            leases: BTreeMap::new(),
            record: None,
            closing: false,
            watched: BTreeSet::new(),
            results: 0,
            signals: 0,
            workers: [Worker::Idle; 2],
            network: Vec::new(),
            claims: 0,
            deaths: row.deaths,
            expiries: row.expiries,
            losses: row.losses,
            resends: row.resends,
            transactions: row.transactions,
            marker: row.marker,
        }
    }

    /// Everything that can happen next.
    fn next(&self) -> Vec<Self> {
        let mut next = Vec::new();
        for i in 0..self.network.len() {
            if i == 0 || self.network[i] != self.network[i - 1] {
                next.push(self.deliver(i));
                next.extend(self.lose(i));
            }
        }
        for w in 0..self.workers.len() {
            next.extend(self.act(w));
            next.extend(self.die(w));
            next.extend(self.ask_again(w));
        }
        for claim in self.leases.keys() {
            next.extend(self.expire(*claim));
        }
        next.into_iter().map(Self::tidy).collect()
    }

    /// Forgets answers that nobody waits for: they change nothing.
    fn tidy(mut self) -> Self {
        let workers = self.workers;
        self.network.retain(|message| match message {
            Message::Request(..) => true,
            Message::Reply(w, ask, _) => workers[usize::from(*w)] == Worker::Waiting(*ask),
        });
        self.renumber()
    }

    /// The same state with the lowest numbers for its claims: which number one has makes no difference, as long as
    /// a new one is none that is still known anywhere.
    fn renumber(mut self) -> Self {
        let mut known: BTreeSet<Claim> = self.leases.keys().copied().chain(self.record).collect();
        let asks = self.workers.iter().filter_map(|worker| match worker {
            Worker::Idle => None,
            Worker::Running(claim) => Some(Ask::Publish(*claim)),
            Worker::Waiting(ask) => Some(*ask),
        });
        let sent = self.network.iter().map(|message| match message {
            Message::Request(_, ask) | Message::Reply(_, ask, _) => *ask,
        });
        known.extend(asks.chain(sent).flat_map(Ask::claims));
        let known: Vec<Claim> = known.into_iter().collect();
        let to = |claim: Claim| (known.partition_point(|other| *other < claim) + 1) as Claim;
        self.leases = self.leases.into_iter().map(|(claim, message)| (to(claim), message)).collect();
        self.record = self.record.map(to);
        self.watched = self.watched.into_iter().filter(|claim| known.contains(claim)).map(to).collect();
        for worker in &mut self.workers {
            *worker = match *worker {
                Worker::Idle => Worker::Idle,
                Worker::Running(claim) => Worker::Running(to(claim)),
                Worker::Waiting(ask) => Worker::Waiting(ask.with(to)),
            };
        }
        for message in &mut self.network {
            *message = match *message {
                Message::Request(w, ask) => Message::Request(w, ask.with(to)),
                Message::Reply(w, ask, answer) => Message::Reply(w, ask.with(to), answer),
            };
        }
        self.network.sort();
        self.claims = known.len() as Claim;
        self
    }

    fn send(&mut self, message: Message) {
        let at = self.network.partition_point(|other| *other < message);
        self.network.insert(at, message);
    }

    fn ask(&mut self, w: usize, ask: Ask) {
        self.workers[w] = Worker::Waiting(ask);
        self.send(Message::Request(w as u8, ask));
    }

    /// A worker does something by itself: takes a job, or finishes the one that runs.
    fn act(&self, w: usize) -> Option<Self> {
        let mut next = self.clone();
        match self.workers[w] {
            Worker::Idle if !self.list.is_empty() => {
                next.claims += 1;
                next.ask(w, Ask::Claim(next.claims));
            }
            Worker::Running(claim) if self.transactions => next.ask(w, Ask::Look(claim)),
            Worker::Running(claim) => next.ask(w, Ask::Publish(claim)),
            _ => return None,
        }
        Some(next)
    }

    fn die(&self, w: usize) -> Option<Self> {
        let alive = self.workers[w] != Worker::Idle && self.deaths > 0;
        alive.then(|| {
            let mut next = self.clone();
            next.deaths -= 1;
            next.workers[w] = Worker::Idle;
            next
        })
    }

    /// An answer does not come: the worker asks the same again.
    fn ask_again(&self, w: usize) -> Option<Self> {
        let Worker::Waiting(ask) = self.workers[w] else { return None };
        // Without any message under way nothing else could happen: that one is free.
        let stuck = !self.network.iter().any(|message| match message {
            Message::Request(to, about) | Message::Reply(to, about, _) => usize::from(*to) == w && *about == ask,
        });
        (stuck || self.resends > 0).then(|| {
            let mut next = self.clone();
            next.resends -= u8::from(!stuck);
            match ask {
                Ask::Claim(lost) => {
                    next.claims += 1;
                    next.ask(w, Ask::Reclaim(lost, next.claims));
                }
                // With the connection the watch is gone, and nothing is known: the stages find out.
                Ask::Look(claim) | Ask::Commit(claim) => next.ask(w, Ask::Publish(claim)),
                // It is not asked a third time.
                Ask::Reclaim(..) => next.workers[w] = Worker::Idle,
                ask => next.send(Message::Request(w as u8, ask)),
            }
            next
        })
    }

    fn lose(&self, i: usize) -> Option<Self> {
        (self.losses > 0).then(|| {
            let mut next = self.clone();
            next.losses -= 1;
            next.network.remove(i);
            next
        })
    }

    /// The sweeper takes a lease back. It may do so to the quickest worker, a bounded number of times; to one that
    /// is gone, always.
    fn expire(&self, claim: Claim) -> Option<Self> {
        let owned = self.workers.iter().any(|worker| worker.holds(claim));
        if owned && self.expiries == 0 {
            return None;
        }
        let mut next = self.clone();
        next.expiries -= u8::from(owned);
        let crashes = next.leases.remove(&claim)? + 1;
        if crashes < MAX_CRASHES {
            next.list.insert(0, crashes);
            return Some(next);
        }
        // It is ended by whoever found it, under a new claim.
        let idle = self.workers.iter().position(|worker| *worker == Worker::Idle)?;
        next.claims += 1;
        next.leases.insert(next.claims, crashes);
        next.ask(idle, Ask::Register(next.claims));
        Some(next)
    }

    fn deliver(&self, i: usize) -> Self {
        let mut next = self.clone();
        match next.network.remove(i) {
            Message::Request(w, ask) => {
                let answer = next.redis(ask);
                next.send(Message::Reply(w, ask, answer));
            }
            Message::Reply(w, ask, answer) => next.hear(usize::from(w), ask, answer),
        }
        next
    }

    /// What the scripts do.
    fn redis(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Reclaim(lost, _) if self.leases.contains_key(&lost) => Answer::Again,
            Ask::Claim(_) | Ask::Reclaim(..) if self.list.is_empty() => Answer::Nothing,
            Ask::Claim(claim) | Ask::Reclaim(_, claim) => {
                let message = self.list.remove(0);
                self.leases.insert(claim, message);
                Answer::Took
            }
            Ask::Register(claim) => {
                let elsewhere = self.record.is_some_and(|holder| holder != claim && self.leases.contains_key(&holder));
                if !elsewhere {
                    self.record = Some(claim);
                }
                if elsewhere || self.closing { Answer::Duplicate } else { Answer::MayRun }
            }
            Ask::Look(_) if self.closing => Answer::Duplicate,
            Ask::Look(claim) => {
                self.watched.insert(claim);
                Answer::MayRun
            }
            Ask::Commit(claim) => {
                if self.marker && !self.watched.contains(&claim) {
                    return Answer::Nothing;
                }
                self.write();
                self.signals += u8::from(self.signals == 0);
                self.acknowledge(claim);
                Answer::Done
            }
            Ask::Publish(_) => {
                if !self.closing || !self.marker {
                    self.write();
                }
                // Whether it was this call or another: what stands is announced.
                Answer::Published
            }
            Ask::Announce(_) => {
                // A signal is only ever pushed for a record that stands.
                self.signals += u8::from(self.closing && self.signals == 0);
                Answer::Done
            }
            Ask::Ack(claim) => {
                self.acknowledge(claim);
                Answer::Done
            }
        }
    }

    /// The closing record and the result; whoever watched for it may not write any more.
    fn write(&mut self) {
        self.closing = true;
        self.results += 1;
        self.watched.clear();
    }

    fn acknowledge(&mut self, claim: Claim) {
        self.leases.remove(&claim);
        self.record = self.record.filter(|holder| *holder != claim);
    }

    fn hear(&mut self, w: usize, ask: Ask, answer: Answer) {
        if self.workers[w] != Worker::Waiting(ask) {
            return;
        }
        match (ask, answer) {
            (Ask::Claim(claim) | Ask::Reclaim(_, claim), Answer::Took) | (Ask::Reclaim(claim, _), Answer::Again) => {
                self.ask(w, Ask::Register(claim));
            }
            (Ask::Register(claim), Answer::MayRun) => self.workers[w] = Worker::Running(claim),
            (Ask::Look(claim), Answer::MayRun) => self.ask(w, Ask::Commit(claim)),
            (Ask::Look(claim), _) | (Ask::Commit(claim), Answer::Nothing) => self.ask(w, Ask::Publish(claim)),
            (Ask::Register(claim), _) | (Ask::Publish(claim), _) => self.ask(w, Ask::Announce(claim)),
            (Ask::Announce(claim), _) => self.ask(w, Ask::Ack(claim)),
            _ => self.workers[w] = Worker::Idle,
        }
    }

    /// Whether the job is over and nothing of it is left.
    fn is_over(&self) -> bool {
        self.list.is_empty() && self.leases.is_empty() && self.workers == [Worker::Idle; 2]
    }

    /// What must hold at every moment.
    fn check(&self) -> Result<(), String> {
        let somewhere = !self.list.is_empty() || !self.leases.is_empty();
        let faults = [
            (self.results > 1, "a second result"),
            (self.signals > 1, "a second signal"),
            (self.signals > self.results, "a signal without a result"),
            (self.closing != (self.results == 1), "a marker without its result"),
            (!somewhere && self.results == 0, "the job is lost"),
            (self.is_over() && (self.results, self.signals) != (1, 1), "it ended without telling anyone"),
        ];
        match faults.iter().find(|(wrong, _)| *wrong) {
            Some((_, what)) => Err(format!("{what}: {self:?}")),
            None => Ok(()),
        }
    }
}

/// How much may go wrong.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// How often the job was pushed.
    messages: usize,
    deaths: u8,
    /// Leases taken from a worker that lives.
    expiries: u8,
    losses: u8,
    resends: u8,
    /// Whether jobs end in transactions, or stage by stage.
    transactions: bool,
    /// Whether a standing record keeps a second result out.
    marker: bool,
}

pub const fn row(messages: usize, deaths: u8, expiries: u8, losses: u8, resends: u8) -> Row {
    Row { messages, deaths, expiries, losses, resends, transactions: true, marker: true }
}

const SHORT: [Row; 7] = [
    row(1, 1, 1, 0, 0),
    row(1, 0, 1, 0, 1),
    row(1, 0, 1, 1, 0),
    row(2, 1, 0, 0, 0),
    row(2, 0, 1, 0, 0),
    row(2, 0, 0, 0, 1),
    row(2, 0, 0, 1, 0),
];

#[test]
fn no_interleaving_loses_a_job_or_ends_it_twice() {
    for row in &SHORT {
        for transactions in [true, false] {
            let states = explore(&Row { transactions, ..*row }).unwrap();
            assert!(states > 1000, "only {states} states were looked at");
        }
    }
}

#[test]
fn the_explorer_finds_what_is_broken() {
    for transactions in [true, false] {
        let broken = Row { transactions, marker: false, ..row(1, 0, 1, 0, 0) };
        assert!(explore(&broken).unwrap_err().contains("a second result"));
    }
}

/// Looks at every state that can come. Says how many there are, or which of them is wrong.
pub fn explore(row: &Row) -> Result<usize, String> {
    let mut seen: HashMap<State, usize> = HashMap::from([(State::start(row), 0)]);
    let mut before: Vec<Vec<usize>> = vec![Vec::new()];
    let mut over = Vec::new();
    let mut open = VecDeque::from([(State::start(row), 0)]);
    while let Some((state, from)) = open.pop_front() {
        state.check()?;
        if state.is_over() {
            over.push(from);
        }
        for next in state.next() {
            let fresh = before.len();
            let at = *seen.entry(next.clone()).or_insert(fresh);
            if at == fresh {
                before.push(Vec::new());
                open.push_back((next, at));
            }
            before[at].push(from);
        }
    }
    // From wherever things stand there is a way to the end.
    let mut reaches = vec![false; before.len()];
    while let Some(at) = over.pop() {
        if !std::mem::replace(&mut reaches[at], true) {
            over.extend(&before[at]);
        }
    }
    match seen.iter().find(|(_, at)| !reaches[**at]) {
        Some((stuck, _)) => Err(format!("no way to the end from {stuck:?}")),
        None => Ok(seen.len()),
    }
}
