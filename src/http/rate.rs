//! A limit on requests for each client, so that one cannot crowd out the others or try out tokens quickly.

use std::{collections::HashMap, net::IpAddr, time::Instant};

use parking_lot::Mutex;

/// Clients remembered at once. When there are more, those whose allowance is full again are forgotten: a
/// fresh entry would say the same.
const MAX_CLIENTS: usize = 10_000;

/// One token bucket for each address, as large as a minute's allowance.
pub(super) struct Rate {
    per_minute: u32,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    seen: Instant,
}

impl Rate {
    /// At most `per_minute` requests from one client, 0 for no limit.
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute, buckets: Mutex::new(HashMap::new()) }
    }

    /// Takes one request of `client` at `now` from its allowance; false when it is used up.
    pub(super) fn admits(&self, client: IpAddr, now: Instant) -> bool {
        if self.per_minute == 0 {
            return true;
        }
        let full = f64::from(self.per_minute);
        let refilled = |bucket: &Bucket| {
            (bucket.tokens + now.saturating_duration_since(bucket.seen).as_secs_f64() * full / 60.0).min(full)
        };
        let mut buckets = self.buckets.lock();
        if buckets.len() >= MAX_CLIENTS && !buckets.contains_key(&client) {
            buckets.retain(|_, bucket| refilled(bucket) < full);
            if buckets.len() >= MAX_CLIENTS {
                return false;
            }
        }
        let bucket = buckets.entry(client).or_insert(Bucket { tokens: full, seen: now });
        let tokens = refilled(bucket);
        let admitted = tokens >= 1.0;
        *bucket = Bucket { tokens: if admitted { tokens - 1.0 } else { tokens }, seen: now };
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;

    fn client(n: u32) -> IpAddr {
        Ipv4Addr::from(n).into()
    }

    #[test]
    fn an_allowance_is_used_up_and_comes_back_client_by_client() {
        let rate = Rate::new(60);
        let start = Instant::now();
        assert_eq!((0..100).filter(|_| rate.admits(client(1), start)).count(), 60);
        assert!(rate.admits(client(2), start));
        let later = start + Duration::from_secs(5);
        assert_eq!((0..100).filter(|_| rate.admits(client(1), later)).count(), 5);
        assert_eq!((0..100).filter(|_| Rate::new(0).admits(client(1), start)).count(), 100);
    }

    #[test]
    fn many_clients_do_not_fill_the_memory() {
        let rate = Rate::new(60);
        let start = Instant::now();
        let most = u32::try_from(MAX_CLIENTS).unwrap();
        assert_eq!((0..2 * most).filter(|n| rate.admits(client(*n), start)).count(), MAX_CLIENTS);
        let later = start + Duration::from_secs(2);
        assert!(rate.admits(client(3 * most), later));
        assert_eq!(rate.buckets.lock().len(), 1);
    }
}
