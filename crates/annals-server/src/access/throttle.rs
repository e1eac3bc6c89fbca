//! How many requests somebody may send.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

/// Of so many the last requests are remembered.
const MOST: usize = 10_000;

/// Seconds' worth of requests that may come at once.
const BURST: f64 = 2.0;

/// Lets so many requests a second through, of each.
#[derive(Debug)]
pub(crate) struct Throttle<K> {
    rate: f64,
    /// How many may come at once.
    most: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

/// What somebody may send now, as of a time (a token bucket).
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Eq + Hash> Throttle<K> {
    /// `rate` a second.
    pub(crate) fn new(rate: u32) -> Self {
        let rate = f64::from(rate.max(1));
        Self { rate, most: rate * BURST, buckets: Mutex::default() }
    }

    /// So many at once, and one more every so often.
    pub(crate) fn slow(most: u32, every: Duration) -> Self {
        let rate = 1.0 / every.as_secs_f64().max(0.001);
        Self { rate, most: f64::from(most.max(1)), buckets: Mutex::default() }
    }

    /// As if one had not come.
    pub(crate) fn give_back(&self, whose: &K) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(whose) {
            bucket.tokens = (bucket.tokens + 1.0).min(self.most);
        }
    }

    /// Lets one more through.
    ///
    /// # Errors
    /// How long until there is room for one.
    pub(crate) fn take(&self, whose: K, now: Instant) -> Result<(), Duration> {
        let most = self.most;
        let filled = |bucket: &Bucket| {
            (bucket.tokens + now.duration_since(bucket.at).as_secs_f64() * self.rate).min(most)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST && !buckets.contains_key(&whose) {
            // Who has not sent anything for a while is as who never did.
            buckets.retain(|_, bucket| filled(bucket) < most);
            if buckets.len() >= MOST {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(whose).or_insert(Bucket { tokens: most, at: now });
        let tokens = filled(bucket);
        if tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - tokens) / self.rate));
        }
        *bucket = Bucket { tokens: tokens - 1.0, at: now };
        Ok(())
    }
}

/// Whom an address stands for: of IPv6 the network that somebody is given as a whole.
pub(crate) fn home(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_and_the_wait_is_honest() {
        let throttle = Throttle::new(10);
        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(throttle.take("a", begun), Ok(()));
        }
        let wait = throttle.take("a", begun).unwrap_err();
        assert_eq!(throttle.take("b", begun), Ok(()), "each has its own");
        assert!(throttle.take("a", begun + wait.mul_f64(0.9)).is_err());
        assert_eq!(throttle.take("a", begun + wait.mul_f64(1.01)), Ok(()));
        // In the long run, the rate: whoever asks too early loses nothing.
        let mut through = 0;
        for millis in 1..=10_000 {
            let at = begun + Duration::from_millis(200 + millis);
            through += u32::from(throttle.take("a", at).is_ok());
        }
        assert!((99..=102).contains(&through), "{through}");
    }

    #[test]
    fn a_slow_one_lets_few_through_and_takes_back() {
        let throttle = Throttle::slow(3, Duration::from_secs(60));
        let begun = Instant::now();
        for _ in 0..3 {
            assert_eq!(throttle.take("a", begun), Ok(()));
        }
        let wait = throttle.take("a", begun).unwrap_err();
        assert!(wait > Duration::from_secs(59) && wait <= Duration::from_secs(60), "{wait:?}");
        throttle.give_back(&"a");
        assert_eq!(throttle.take("a", begun), Ok(()));
        assert!(throttle.take("a", begun).is_err());
        assert_eq!(throttle.take("a", begun + Duration::from_secs(61)), Ok(()));
    }

    #[test]
    fn it_remembers_no_more_than_its_bound() {
        let throttle = Throttle::new(1);
        let now = Instant::now();
        for number in 0..3 * MOST {
            let _ = throttle.take(number, now);
        }
        assert!(throttle.buckets.lock().unwrap().len() <= MOST);
    }

    #[test]
    fn a_network_of_ipv6_is_one_home() {
        let home = |text: &str| super::home(text.parse().unwrap());
        assert_eq!(home("2001:db8::1"), home("2001:db8::ffff:1"));
        assert_ne!(home("2001:db8::1"), home("2001:db8:0:1::1"));
        assert_eq!(home("::ffff:192.0.2.1"), home("192.0.2.1"));
        assert_ne!(home("192.0.2.1"), home("192.0.2.2"));
    }
}
