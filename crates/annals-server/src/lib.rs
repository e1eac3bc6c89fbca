//! HTTP for annals: events come in at `POST /v1/events`, and with [`Server::reading`] the
//! trail is read and looked after under `/v1`. [`openapi`] describes all of it.
//!
//! Who may do what is decided by keys ([`Server::keys`], [`annals::access`]); without one,
//! programs of this machine may send events in. What is not described in [`openapi`] with a
//! scope lets nobody in. Others than this machine reach it over TLS ([`Tls`]). Even from this
//! machine a web page in someone's browser cannot use it (see [`Server`]).
//!
//! People sign in with a password or by a [`Provider`] of identities ([`Server::people`]), and may by a session what their role
//! lets them; what applications do, they do by keys.
//!
//! # Ingest
//!
//! `POST /v1/events` takes, by its Content-Type,
//!
//! - `application/json`: one event as an object, or an array of them;
//! - `application/x-ndjson`: one event a line; blank lines do not count.
//!
//! The body may be compressed, as its Content-Encoding says: `gzip` or `zstd`.
//!
//! Each event is taken or refused on its own. `202 Accepted` means that every
//! event that was taken is durable in the transport:
//!
//! ```json
//! {"accepted":2,
//!  "rejected":[{"index":1,"reason":"action: must not be empty"}],
//!  "ids":["01a202b2-c57b-71f3-8a2b-5c0d9e4f1a67",null,"01a202b2-c57b-71f3-9a11-0d2b9e4f1a67"]}
//! ```
//!
//! `ids` has one entry for each event of the request, in its order, and `null`
//! where the event was refused; `index` counts from 0 in the same order. An event
//! whose sender named it (by a `UUIDv7`, or by another id or `source_id` together
//! with `occurred_at`) may be sent again as often as one likes: the same request
//! gives the same ids and the same bytes, and the store keeps one.
//!
//! Every other answer is a problem (RFC 9457) with a `detail` for people:
//!
//! | status | when | was anything taken? |
//! |---|---|---|
//! | 400 | the body is not JSON, ended early, or is not what its encoding says; `detail` names the byte | no |
//! | 401 | there is no key, or one that does not let in | no |
//! | 403 | the key has another scope, or it came from a web page | no |
//! | 405 | another method than POST | no |
//! | 408 | the body took longer than [`Limits::body_time`] | no |
//! | 413 | more bytes, decoded too, or more events than [`Limits`] allow | no |
//! | 415 | another content type or encoding | no |
//! | 421 | it listens on loopback, and the Host is another name | no |
//! | 422 | every event was refused; `rejected` names them | no |
//! | 503 | the transport is full or away, or the server is busy; see `Retry-After` | perhaps: send all of it again |
//!
//! # Watching
//!
//! `GET /livez` answers 200 while the process serves. With [`Server::watching`],
//! `GET /metrics` is for Prometheus, and `GET /readyz` answers 200 while the process can do
//! its work: take events in, or move them if it takes none. Otherwise it answers 503; either
//! way it says in lines what is amiss. [`Server::bind_metrics`] serves these alone, for a
//! worker.
//!
//! # Witness
//!
//! [`Server::bind_witness`] serves a witness instead, at any address.

mod access;
mod api;
pub mod body;
mod client;
mod guard;
mod ingest;
mod limits;
mod metrics;
mod pages;
mod places;
mod problem;
mod provider;
mod request_id;
mod sent;
mod server;
mod tls;
mod witness;

pub use api::{Reading, openapi};
pub use limits::Limits;
pub use metrics::Watched;
pub use pages::SignIn;
pub use provider::{Provider, ProviderSettings};
pub use server::{Server, Wire};
pub use tls::{Tls, TlsFiles};
