//! The names of everything in Redis.
//!
//! `agent:jobs` has no hash tag, so its cluster slot is that of the whole name, and a key that begins with
//! `{agent:jobs}` lands in the same slot. Producers need to know nothing about it.

use std::sync::Arc;

use crate::{
    job::JobId,
    queue::Source,
    settings::{self, Settings},
};

/// One place jobs come from, with its private keys, all in its own slot.
#[derive(Debug)]
pub(super) struct Intake {
    /// The foreign list.
    pub(super) name: Arc<str>,
    pub(super) source: Source,
    pub(super) weight: u32,
    pub(super) inbox: String,
    pub(super) ready: String,
    pub(super) high: String,
    pub(super) low: String,
    pub(super) leases: String,
    pub(super) bodies: String,
    pub(super) jobs: String,
    pub(super) cancelled: String,
    pub(super) delayed: String,
    pub(super) parked: String,
    pub(super) dead: String,
    pub(super) recent: String,
    /// Jobs that failed lately, and jobs that were cancelled lately.
    pub(super) failed: String,
    pub(super) gone: String,
    pub(super) paused: String,
    /// For the length of a script.
    pub(super) scratch: String,
    /// Set where the foreign key is a stream.
    pub(super) stream: Option<Stream>,
}

/// What reading a stream takes besides its name.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) group: String,
    /// One for the whole fleet: the leases say who has what, and no consumer is left behind by a process.
    pub(super) consumer: String,
    /// Entries that are in our hands, wherever.
    pub(super) entries: String,
}

impl Intake {
    fn new(name: &str, source: Source, weight: u32) -> Self {
        let key = |part: &str| companion(name, part);
        Self {
            name: name.into(),
            source,
            weight,
            inbox: key("inbox"),
            ready: key("ready"),
            high: key("high"),
            low: key("low"),
            leases: key("leases"),
            bodies: key("bodies"),
            jobs: key("jobs"),
            cancelled: key("cancelled"),
            delayed: key("delayed"),
            parked: key("parked"),
            dead: key("dead"),
            recent: key("recent"),
            failed: key("failed"),
            gone: key("gone"),
            paused: key("paused"),
            scratch: key("scratch"),
            stream: None,
        }
    }
}

impl Intake {
    /// `keys`, and after them what acknowledging an entry needs.
    pub(super) fn with_stream<'a>(&'a self, keys: &[&'a str]) -> Vec<&'a str> {
        let own = self.stream.iter().flat_map(|stream| [&*self.name, stream.entries.as_str()]);
        keys.iter().copied().chain(own).collect()
    }

    /// The group that reads the stream; empty for a list.
    pub(super) fn group(&self) -> &str {
        self.stream.as_ref().map_or("", |stream| &stream.group)
    }
}

/// All names, as configured.
#[derive(Debug)]
pub(super) struct Names {
    prefix: String,
    /// Pub/sub: `wake` and `cancel <id>`, to be quick; nothing depends on it.
    pub(super) control: String,
    pub(super) signal_list: String,
    pub(super) intakes: Vec<Intake>,
}

impl Names {
    /// `one_server`: keys of several slots may meet in one script.
    pub(super) fn new(settings: &Settings, one_server: bool) -> Self {
        let queue = &settings.queue;
        let prefix = queue.prefix.clone();
        let mut intakes = Vec::new();
        if queue.intake.contains(&settings::Intake::List) {
            let list = |name: &str, weight| Intake::new(name, Source::List(name.into()), weight);
            if queue.lists.is_empty() {
                intakes.push(list(&format!("{prefix}:jobs"), 1));
            }
            intakes.extend(queue.lists.iter().map(|one| list(&one.name, one.weight)));
        }
        if queue.intake.contains(&settings::Intake::Stream) {
            let mut stream = Intake::new(&queue.stream, Source::Stream, 1);
            stream.stream = Some(Stream {
                group: queue.stream_group.clone(),
                consumer: settings.service.name.clone(),
                entries: companion(&queue.stream, "entries"),
            });
            if one_server {
                // Where that is possible there is one list of dead letters.
                let list = intakes.first().map(|list: &Intake| list.dead.clone());
                stream.dead = list.unwrap_or_else(|| companion(&format!("{prefix}:jobs"), "dead"));
            }
            intakes.push(stream);
        }
        Self { control: format!("{prefix}:control"), signal_list: queue.signal_list.clone(), intakes, prefix }
    }

    /// Every list of dead letters, once.
    pub(super) fn dead_lists(&self) -> Vec<&str> {
        let mut lists: Vec<&str> = Vec::new();
        for keys in &self.intakes {
            if !lists.contains(&keys.dead.as_str()) {
                lists.push(&keys.dead);
            }
        }
        lists
    }

    /// Where an orchestrator keeps what `reference` names: under the reference, with or without its scheme.
    pub(super) fn blobs(reference: &str) -> Vec<String> {
        let bare = reference.strip_prefix("cas://").unwrap_or(reference);
        let mut keys = vec![format!("cas:{reference}")];
        if bare != reference {
            keys.push(format!("cas:{bare}"));
        }
        keys
    }

    /// Where a producer reads; also the channel.
    pub(super) fn result(&self, job: &JobId) -> String {
        format!("{}:results:{job}", self.prefix)
    }

    /// The closing record, in the result's slot.
    pub(super) fn closing(&self, job: &JobId) -> String {
        companion(&self.result(job), "done")
    }

    /// The closing record before a retry, in the result's slot.
    pub(super) fn former(&self, job: &JobId) -> String {
        companion(&self.result(job), "former")
    }

    pub(super) fn events(&self, job: &JobId) -> String {
        format!("{}:events:{job}", self.prefix)
    }

    pub(super) fn pending(&self, job: &JobId) -> String {
        format!("{}:pending:{job}", self.prefix)
    }

    /// Says that a job's signal was pushed, in the signal list's slot.
    pub(super) fn signalled(&self, job: &JobId) -> String {
        companion(&self.signal_list, &format!("sent:{job}"))
    }
}

/// A key beside `key`, in the same cluster slot.
pub(super) fn companion(key: &str, part: &str) -> String {
    let tagged = key.split_once('{').and_then(|(_, rest)| rest.find('}')).is_some_and(|at| at > 0);
    match (tagged, key.contains('}')) {
        (true, _) => format!("{key}:{part}"),
        (false, false) => format!("{{{key}}}:{part}"),
        // A brace that closes nothing ends every tag around it: a number with the same slot stands in.
        (false, true) => {
            let slot = slot(key.as_bytes());
            let stand_in = (0u32..).find(|n| self::slot(n.to_string().as_bytes()) == slot).unwrap_or_default();
            format!("{{{stand_in}}}:{key}:{part}")
        }
    }
}

/// The cluster slot of a tag: CRC16 (XMODEM) of it, modulo 16384.
fn slot(tag: &[u8]) -> u16 {
    let crc = tag.iter().fold(0u16, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 },
        )
    });
    crc % 16384
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slot a cluster computes for a whole key.
    fn slot_of(key: &str) -> u16 {
        let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
        slot(tag.filter(|tag| !tag.is_empty()).unwrap_or(key).as_bytes())
    }

    #[test]
    fn a_companion_shares_the_slot_of_its_key() {
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(companion("agent:jobs", "dead"), "{agent:jobs}:dead");
        for key in ["agent:jobs", "jobs:{0}", "agent:results:a{b}c", "agent:results:a}b", "a{}b", "{", "x{y"] {
            assert_eq!(slot_of(&companion(key, "done")), slot_of(key), "{key}");
        }
    }
}
