//! The listening socket and its connections.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::access::Known;
use annals::context::proxy::TrustedProxies;
use annals::proof::Witness;
use annals::redact::Redactor;
use annals::{Audit, AuditOptions, Delivery, Error, ErrorKind, Result, WhenFull};
use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_service::Service;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{Access, Cookies, Door, LOOK_EVERY, LOOK_TIME, Needs, Trail, admit};
use crate::api::{self, Members, Reading};
use crate::guard::{Ours, guard};
use crate::ingest::{self, Ingest};
use crate::limits::Limits;
use crate::metrics::{self, Watched};
use crate::pages::{self, Pages, SignIn};
use crate::places::{Place, Places};
use crate::problem::Problem;
use crate::tls::Tls;
use crate::{client, request_id, witness};

/// How long to wait after the system could not accept a connection, as when it
/// has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves HTTP: events in, on loopback, what is read of them, or a witness.
///
/// A web page that is open on this machine reaches loopback too; it is refused by its Host,
/// Origin and Sec-Fetch-Site headers, and by the content type.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    serves: Serves,
    limits: Limits,
    wire: Wire,
    /// Whether it was told to stop.
    stopping: watch::Sender<bool>,
}

/// What it serves.
#[derive(Debug)]
enum Serves {
    /// What a key, or loopback, lets in.
    Guarded(Box<Guarded>),
    /// What is for everybody.
    Public(Router),
}

#[derive(Debug, Default)]
struct Guarded {
    ingest: Option<Arc<Ingest>>,
    audit: Option<Audit>,
    watched: Option<Watched>,
    reading: Option<Reading>,
    keys: Option<Arc<Known>>,
    /// Whether programs of this machine may send events in without a key.
    open_ingest: bool,
    sign_in: Option<SignIn>,
    proxies: TrustedProxies,
}

/// How what goes over the wire is kept from others.
#[derive(Clone, Debug)]
pub enum Wire {
    /// It does not leave this machine: loopback addresses alone.
    Loopback,
    /// TLS.
    Tls(Tls),
    /// Not at all: something before it speaks TLS, or the network is trusted.
    Plain,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

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
    /// [`Server::run`] has returned. Without [`Server::keys`] programs of this machine may
    /// send events in, and nobody else anything.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for an address that others can reach,
    /// [`ErrorKind::Away`] when the system refuses the address.
    pub async fn bind(address: SocketAddr, audit: Audit, limits: Limits) -> Result<Self> {
        Self::bind_redacting(address, Wire::Loopback, audit, limits, None).await
    }

    /// As [`Server::bind`]; events are redacted before they are queued. An address that others
    /// can reach wants [`Wire::Tls`] or [`Wire::Plain`], and [`Server::keys`].
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub async fn bind_redacting(
        address: SocketAddr,
        wire: Wire,
        audit: Audit,
        limits: Limits,
        redactor: Option<Arc<Redactor>>,
    ) -> Result<Self> {
        refuse_strangers(address, &wire)?;
        let ingest = Some(Arc::new(Ingest::new(audit.clone(), limits.clone(), redactor)));
        let audit = Some(audit);
        let guarded = Guarded { ingest, audit, open_ingest: true, ..Guarded::default() };
        Self::listen(address, wire, Serves::Guarded(Box::new(guarded)), limits).await
    }

    /// Binds `address` for `/metrics`, `/livez` and `/readyz` alone.
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub async fn bind_metrics(address: SocketAddr, watched: Watched) -> Result<Self> {
        refuse_strangers(address, &Wire::Loopback)?;
        let guarded = Guarded { watched: Some(watched), ..Guarded::default() };
        let serves = Serves::Guarded(Box::new(guarded));
        Self::listen(address, Wire::Loopback, serves, Limits::default()).await
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
        let routes = witness::routes(witness, limits.clone()).route("/livez", get(livez));
        Self::listen(address, Wire::Plain, Serves::Public(routes), limits).await
    }

    async fn listen(
        address: SocketAddr,
        wire: Wire,
        serves: Serves,
        limits: Limits,
    ) -> Result<Self> {
        let (listener, address) = listen(address).await?;
        let stopping = watch::Sender::new(false);
        Ok(Self { listener, address, serves, limits, wire, stopping })
    }

    /// Answers `/metrics` and `/readyz` too.
    #[must_use]
    pub fn watching(self, watched: Watched) -> Self {
        self.with(|guarded| guarded.watched = Some(watched))
    }

    /// Lets in whoever shows one of these keys, each look at them two seconds after the last.
    /// `open_ingest` says whether programs of this machine may send events in without one.
    #[must_use]
    pub fn keys(self, keys: Arc<Known>, open_ingest: bool) -> Self {
        self.with(|guarded| (guarded.keys, guarded.open_ingest) = (Some(keys), open_ingest))
    }

    /// Lets people sign in, where their browsers keep a cookie to themselves: on this machine,
    /// over TLS, or by an origin that something before it serves over TLS. That needs
    /// [`Server::keys`].
    #[must_use]
    pub fn people(self, sign_in: SignIn) -> Self {
        self.with(|guarded| guarded.sign_in = Some(sign_in))
    }

    /// Answers who reads the trail, and who looks after it; that needs [`Server::keys`].
    #[must_use]
    pub fn reading(self, reading: Reading) -> Self {
        self.with(|guarded| guarded.reading = Some(reading))
    }

    /// Believes these proxies about who sent a request.
    #[must_use]
    pub fn proxies(self, proxies: TrustedProxies) -> Self {
        self.with(|guarded| guarded.proxies = proxies)
    }

    fn with(mut self, change: impl FnOnce(&mut Guarded)) -> Self {
        if let Serves::Guarded(guarded) = &mut self.serves {
            change(guarded);
        }
        self
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
        let told = self.stopping.subscribe();
        let places = Places::new(self.limits.connections);
        let mut connections = JoinSet::new();
        self.refuse_without_keys()?;
        let mut beside = JoinSet::new();
        self.look_for_keys(&mut beside);
        let tls = match &self.wire {
            Wire::Tls(tls) => {
                beside.spawn(tls.clone().follow());
                Some(tls.clone())
            }
            _ => None,
        };
        let app = self.serves.app(self.address, tls.is_some(), &self.limits, &self.stopping);
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        // Who waits here has been accepted; the next ones wait for it.
                        let place = tokio::select! {
                            () = &mut stop => break,
                            place = places.take() => Arc::new(place),
                        };
                        let (app, peer) = (app.clone(), Peer(peer));
                        let (head_time, told) = (self.limits.head_time, told.clone());
                        // What is read now may be another certificate than before.
                        let acceptor = tls.as_ref().map(Tls::acceptor);
                        connections.spawn(async move {
                            match acceptor {
                                None => connection(stream, peer, app, head_time, told, place).await,
                                Some(acceptor) => {
                                    let shaken = tokio::select! {
                                        () = place.is_wanted() => return,
                                        shaken = timeout(head_time, acceptor.accept(stream)) => shaken,
                                    };
                                    match shaken {
                                        Ok(Ok(stream)) => connection(stream, peer, app, head_time, told, place).await,
                                        Ok(Err(error)) => tracing::debug!(%error, "a client speaks no TLS"),
                                        Err(_late) => tracing::debug!("a client took too long for TLS"),
                                    }
                                }
                            }
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
        self.stopping.send_replace(true);
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(self.limits.stop_time, all).await.is_err() {
            tracing::warn!(
                connections = connections.len(),
                "closing connections that did not finish in time"
            );
        }
        Ok(())
    }

    /// Refuses to let others in before there is anything that says who they are.
    fn refuse_without_keys(&self) -> Result<()> {
        let loopback = self.address.ip().to_canonical().is_loopback();
        match &self.serves {
            Serves::Guarded(guarded) if !loopback && guarded.keys.is_none() => Err(Error::new(
                ErrorKind::Usage,
                format!("listen on {}", self.address),
                "the store keeps no keys: everyone who reaches it could write events",
            )
            .hint("use a store in SQLite, PostgreSQL or MariaDB, or listen on loopback")),
            _ => Ok(()),
        }
    }

    /// Looks for keys that were made, changed or revoked, until it is ended.
    fn look_for_keys(&self, beside: &mut JoinSet<()>) {
        let Serves::Guarded(guarded) = &self.serves else { return };
        let Some(known) = guarded.keys.as_ref().map(Arc::clone) else { return };
        beside.spawn(async move {
            let mut away = false;
            loop {
                let looked = timeout(LOOK_TIME, known.refresh()).await;
                let seen = matches!(looked, Ok(Ok(())));
                if !seen && !away {
                    let error = looked.ok().and_then(Result::err).map(|error| error.to_string());
                    let error = error.unwrap_or_else(|| "no answer in time".to_owned());
                    tracing::warn!(
                        error,
                        "cannot look for keys; those that are known go on working"
                    );
                }
                away = !seen;
                sleep(LOOK_EVERY).await;
            }
        });
    }
}

impl Serves {
    /// The routes, and what stands before them.
    fn app(
        self,
        address: SocketAddr,
        tls: bool,
        limits: &Limits,
        stopping: &watch::Sender<bool>,
    ) -> Router {
        let guarded = match self {
            Self::Guarded(guarded) => guarded,
            Self::Public(routes) => return routes.fallback(nothing_here),
        };
        let cookies = guarded.cookies(address, tls);
        let Guarded { ingest, audit, watched, reading, keys, open_ingest, sign_in, proxies } =
            *guarded;
        let is_asked = ingest.is_some() || reading.is_some();
        let mut routes = described();
        if let Some(ingest) = ingest {
            routes = routes.merge(ingest::routes(ingest));
        }
        if let Some(reading) = reading {
            routes = routes.merge(api::routes(reading, stopping.subscribe()));
        }
        if let Some(watched) = watched {
            routes = routes.merge(metrics::routes(watched));
        }
        let mut people = None;
        if let (Some(known), Some(audit)) = (&keys, &audit) {
            let told = known.people().telling(audit.clone());
            let keyring = known.keyring().telling(audit.clone());
            let members = Members::new(Arc::clone(known), keyring, told.clone());
            routes = routes.merge(api::member_routes(members));
            people = Some(told);
        }
        let (routes, description) = api::document(routes);
        let access = Arc::new(Access {
            door: Door::new(keys.clone(), open_ingest, address, cookies, limits),
            needs: Needs::described_by(&description),
            trail: Trail::new(audit),
        });
        let origin = sign_in.as_ref().and_then(SignIn::origin).map(str::to_owned);
        let ours = Arc::new(Ours { address, tls, origin });
        let mut app = routes.route_layer(from_fn_with_state(Arc::clone(&access), admit));
        if let (Some(sign_in), Some(cookies), Some(known), Some(people)) =
            (sign_in, cookies, keys, people)
        {
            let pages = Pages::new(access, Arc::clone(&ours), known, people, cookies, &sign_in);
            app = app.merge(pages::routes(Arc::new(pages)));
        }
        if is_asked {
            app = app.merge(pages::assets());
        }
        app.fallback(nothing_here)
            .layer(from_fn(api::etag))
            .layer(from_fn_with_state(ours, guard))
            .layer(from_fn(request_id::name))
            .layer(from_fn_with_state(proxies, client::find))
    }
}

impl Guarded {
    /// What those have who sign in, if a browser can keep it to itself.
    fn cookies(&self, address: SocketAddr, tls: bool) -> Option<Cookies> {
        let (sign_in, _) = (self.sign_in.as_ref()?, self.keys.as_ref()?);
        let https = tls || sign_in.origin().is_some_and(|origin| origin.starts_with("https://"));
        let kept = https || address.ip().to_canonical().is_loopback();
        if !kept {
            tracing::warn!(
                "nobody can sign in: set access.url to the https:// address by which people reach this server"
            );
        }
        kept.then(|| Cookies::new(https))
    }
}

/// What every server answers.
pub(crate) fn described<S: Clone + Send + Sync + 'static>() -> OpenApiRouter<S> {
    OpenApiRouter::new().routes(routes!(livez)).routes(routes!(description))
}

/// Ask whether this process serves
#[utoipa::path(
    get,
    path = "/livez",
    tag = "watching",
    security(()),
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
)]
async fn livez() -> &'static str {
    "ok\n"
}

/// Read this description
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    tag = "watching",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
async fn description() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], api::openapi()).into_response()
}

async fn nothing_here() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here")
}

/// The answer to a request that came when its connection was to be closed already.
fn no_place() -> Response {
    let mut response = Problem::retry_after("there are too many connections; nothing was taken", 1)
        .into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Refuses an address that others can reach, if nothing keeps it from those on the way.
fn refuse_strangers(address: SocketAddr, wire: &Wire) -> Result<()> {
    if address.ip().to_canonical().is_loopback() || !matches!(wire, Wire::Loopback) {
        return Ok(());
    }
    let found = "not a loopback address: without TLS, everyone on the way would read its keys";
    Err(Error::new(ErrorKind::Usage, format!("listen on {address}"), found).hint(format!(
        "set tls.certificate and tls.key, use 127.0.0.1:{}, or set tls.plain = \"anywhere\" if \
             something before it speaks TLS",
        address.port()
    )))
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

/// Serves one connection until either side closes it; once told to stop, or somebody else
/// wants its place, until the request in flight is answered.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    app: Router,
    head_time: Duration,
    mut told: watch::Receiver<bool>,
    place: Arc<Place>,
) {
    let begun = AtomicBool::new(false);
    let answer = service_fn(|mut request: hyper::Request<Incoming>| {
        begun.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(peer);
        let (busy, mut app) = (place.begin(), app.clone());
        async move {
            let Some(busy) = busy else { return Ok(no_place()) };
            let answer: Result<Response, Infallible> = app.call(request).await;
            answer.map(|answer| answer.map(|body| busy.until_given(body)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = async { told.wait_for(|stopping| *stopping).await.is_ok() } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = place.is_wanted() => {
            // Without a request there is no answer that could be cut off.
            if !begun.load(Ordering::Relaxed) {
                return;
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
