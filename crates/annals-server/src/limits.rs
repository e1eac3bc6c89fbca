//! The bounds of the server.

use std::time::Duration;

/// The bounds of the server. What is beyond one is refused by name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Bytes of all bodies that are held at a time; a body that does not fit is
    /// answered with 503. While it is worked on, a body takes about three times
    /// its size in memory.
    pub held_bytes: usize,
    /// Events of a request.
    pub events: usize,
    /// Connections at a time: a further one gets the place of the one that has idled longest,
    /// or waits for one that idles.
    pub connections: usize,
    /// Requests of one key in a second, and twice as many at once.
    pub requests_per_key: u32,
    /// Requests from one address in a second, likewise; programs of this machine have no
    /// such bound.
    pub requests_per_address: u32,
    /// How long a request's head may take, and how long a connection may idle.
    pub head_time: Duration,
    /// How long a request's body may take.
    pub body_time: Duration,
    /// How long the transport may take to make a request's events durable.
    pub durable_time: Duration,
    /// How long requests in flight may take to finish after the server was told
    /// to stop; then their connections are closed.
    pub stop_time: Duration,
}

impl Default for Limits {
    /// 16 MiB a body and 64 MiB in all, 10,000 events, 256 connections, 5,000 requests a second
    /// of a key and from an address; 15 s for
    /// a head, 30 s for a body, for durability and for stopping.
    fn default() -> Self {
        Self {
            body_bytes: 16 * 1024 * 1024,
            held_bytes: 64 * 1024 * 1024,
            events: 10_000,
            connections: 256,
            requests_per_key: 5_000,
            requests_per_address: 5_000,
            head_time: Duration::from_secs(15),
            body_time: Duration::from_secs(30),
            durable_time: Duration::from_secs(30),
            stop_time: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// Sets the bytes of a request's body, at most.
    #[must_use]
    pub fn body_bytes(mut self, bytes: usize) -> Self {
        self.body_bytes = bytes;
        self.held_bytes = self.held_bytes.max(bytes);
        self
    }

    /// Sets the requests of one key, and those from one address, in a second.
    #[must_use]
    pub fn requests(mut self, per_key: u32, per_address: u32) -> Self {
        (self.requests_per_key, self.requests_per_address) = (per_key, per_address);
        self
    }

    /// Sets the events of a request, at most.
    #[must_use]
    pub fn events(mut self, events: usize) -> Self {
        self.events = events;
        self
    }
}
