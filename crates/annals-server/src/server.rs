//! The listening socket and its connections.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use annals::proof::Witness;
use annals::redact::Redactor;
use annals::{Audit, AuditOptions, Delivery, Error, ErrorKind, Result, WhenFull};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::guard::guard;
use crate::ingest::{self, Ingest};
use crate::limits::Limits;
use crate::metrics::{self, Watched};
use crate::problem::Problem;
use crate::witness;

/// How long to wait after the system could not accept a connection, as when it
/// has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves HTTP: events in, on loopback, or a witness.
///
/// Until there are keys, whoever reaches the socket may write into the trail, so
/// [`Server::bind`] takes loopback addresses only. A web page that is open on this machine
/// reaches loopback too; it is refused by its Host, Origin and Sec-Fetch-Site
/// headers, and by the content type.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Router,
    /// Whether web pages and other names are kept out.
    guarded: bool,
    limits: Limits,
}

impl Server {
    /// The options that suit a handle for a server: strict, and failing when its
    /// buffer is full. A transport that is away or full then becomes a 503 at
    /// once, and the client keeps the events; with other options it waits for
    /// [`Limits::durable_time`], and what it answered with 503 may be sent later.
    #[must_use]
    pub fn audit_options() -> AuditOptions {
        let mut options = AuditOptions::default();
        options.delivery = Delivery::Strict;
        options.when_full = WhenFull::Fail;
        options
    }

    /// Binds `address`, for events that go to `audit` (see
    /// [`Server::audit_options`]). The caller shuts `audit` down after
    /// [`Server::run`] has returned.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for an address that others can reach,
    /// [`ErrorKind::Away`] when the system refuses the address.
    pub async fn bind(address: SocketAddr, audit: Audit, limits: Limits) -> Result<Self> {
        Self::bind_redacting(address, audit, limits, None).await
    }

    /// As [`Server::bind`]; events are redacted before they are queued.
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub async fn bind_redacting(
        address: SocketAddr,
        audit: Audit,
        limits: Limits,
        redactor: Option<Arc<Redactor>>,
    ) -> Result<Self> {
        refuse_strangers(address, "write events")?;
        let (listener, address) = listen(address).await?;
        let ingest = Arc::new(Ingest::new(audit, limits.clone(), redactor));
        let routes = Router::new()
            .route("/v1/events", post(ingest::ingest).fallback(ingest::post_only))
            .with_state(ingest);
        Ok(Self { listener, address, app: app(routes), guarded: true, limits })
    }

    /// Binds `address` for `/metrics`, `/livez` and `/readyz` alone.
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub async fn bind_metrics(address: SocketAddr, watched: Watched) -> Result<Self> {
        refuse_strangers(address, "read how the trail keeps up")?;
        let (listener, address) = listen(address).await?;
        let (app, limits) = (app(metrics::routes(watched)), Limits::default());
        Ok(Self { listener, address, app, guarded: true, limits })
    }

    /// Answers `/metrics` and `/readyz` too.
    #[must_use]
    pub fn watching(mut self, watched: Watched) -> Self {
        self.app = self.app.merge(metrics::routes(watched));
        self
    }

    /// Binds `address` for a witness. It may be one that others reach: what a witness does
    /// is decided by signatures alone, and what it tells is public.
    ///
    /// # Errors
    /// [`ErrorKind::Away`] when the system refuses the address.
    pub async fn bind_witness(
        address: SocketAddr,
        witness: Arc<Witness>,
        limits: Limits,
    ) -> Result<Self> {
        let (listener, address) = listen(address).await?;
        let app = app(witness::routes(witness, limits.clone()));
        Ok(Self { listener, address, app, guarded: false, limits })
    }

    /// The address that it is bound to, with the port that the system chose if it
    /// was asked for port 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` resolves; then accepts nothing more, and returns when
    /// the requests in flight have been answered, or after [`Limits::stop_time`].
    ///
    /// # Errors
    /// None today; what concerns one connection is logged.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        let (stopping, told) = watch::channel(false);
        let room = Arc::new(Semaphore::new(self.limits.connections));
        let mut connections = JoinSet::new();
        let app = match self.guarded {
            true => self.app.layer(axum::middleware::from_fn_with_state(self.address, guard)),
            false => self.app,
        };
        let mut stop = pin!(stop);
        loop {
            let accepted = async {
                // The semaphore is never closed.
                let place = Arc::clone(&room).acquire_owned().await.ok();
                (place, self.listener.accept().await)
            };
            tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => {}
                (place, accepted) = accepted => match accepted {
                    Ok((stream, _)) => {
                        let work = connection(stream, app.clone(), self.limits.head_time, told.clone());
                        connections.spawn(async move {
                            work.await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(self.listener);
        stopping.send_replace(true);
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(self.limits.stop_time, all).await.is_err() {
            tracing::warn!(
                connections = connections.len(),
                "closing connections that did not finish in time"
            );
        }
        Ok(())
    }
}

/// Refuses an address that others can reach.
fn refuse_strangers(address: SocketAddr, could: &str) -> Result<()> {
    if address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let found =
        format!("not a loopback address: without keys, everyone who reaches it could {could}");
    Err(Error::new(ErrorKind::Usage, format!("listen on {address}"), found)
        .hint(format!("use 127.0.0.1:{}", address.port())))
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let refused = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "another program listens there; choose another port",
            io::ErrorKind::PermissionDenied => "choose a port above 1023",
            _ => "check the address",
        };
        let doing = format!("listen on {address}");
        Error::new(ErrorKind::Away, doing, &error).hint(hint).caused_by(error)
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}

/// The routes, and what every server answers.
fn app(routes: Router) -> Router {
    routes
        .route("/livez", get(|| async { "ok\n" }))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing here") })
}

/// Serves one connection until either side closes it; once told to stop, until
/// the request in flight is answered.
async fn connection(
    stream: TcpStream,
    app: Router,
    head_time: Duration,
    mut told: watch::Receiver<bool>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = async { told.wait_for(|stopping| *stopping).await.is_ok() } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
