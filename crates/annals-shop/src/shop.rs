//! The shop: its routes, who asks, and what the trail is told.

use std::error::Error;
use std::net::SocketAddr;

use annals::context::layer::ScopeLayer;
use annals::context::proxy::TrustedProxies;
use annals::{Actor, Audit, Auditable, Event, Outcome, Scope};
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{post, put};
use tokio::net::TcpListener;

use crate::database::Database;
use crate::people::Person;
use crate::refusal::{Answer, Refusal};
use crate::{customer, order, product};

/// What every handler works with.
#[derive(Clone, Debug)]
pub struct Shop {
    pub(crate) database: Database,
    audit: Option<Audit>,
}

impl Shop {
    /// Opens the shop's database (`sqlite:PATH` or `postgres://…`), stocks it when it
    /// is new, and gives its routes. Without `audit` the shop itself records nothing;
    /// triggers on its tables in PostgreSQL are told who acts all the same.
    ///
    /// # Errors
    /// What the database says.
    pub async fn open(
        url: &str,
        audit: Option<Audit>,
    ) -> Result<Router, Box<dyn Error + Send + Sync>> {
        let shop = Self { database: Database::open(url).await?, audit };
        let opening = Scope::new().actor(Actor::new("job", "opening").named("opening job"));
        opening.service("shop").reason("first stock").around(product::stock(&shop)).await?;
        Ok(shop.routes())
    }

    fn routes(self) -> Router {
        let layer = ScopeLayer::new()
            .service("shop")
            .peer(|extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip()))
            // The load balancer of a shop stands on its own machine.
            .proxies(TrustedProxies::new(["127.0.0.0/8", "::1"]).unwrap_or_default());
        Router::new()
            .route("/products", post(product::create))
            .route(
                "/products/{id}",
                put(product::change).delete(product::delete).get(product::show),
            )
            .route("/orders", post(order::place))
            .route("/orders/{id}/cancel", post(order::cancel))
            .route("/orders/{id}/ship", post(order::ship))
            .route("/customers", post(customer::register))
            .route("/customers/{id}", put(customer::change))
            .route("/login", post(login))
            .with_state(self)
            .layer(axum::middleware::from_fn(who_asks))
            .layer(layer)
    }

    pub(crate) fn created<T: Auditable>(&self, value: &T) {
        if let Some(audit) = &self.audit {
            audit.created(value);
        }
    }

    pub(crate) fn updated<T: Auditable>(&self, before: &T, after: &T) {
        if let Some(audit) = &self.audit {
            audit.updated(before, after);
        }
    }

    pub(crate) fn deleted<T: Auditable>(&self, value: &T) {
        if let Some(audit) = &self.audit {
            audit.deleted(value);
        }
    }

    pub(crate) fn record(&self, event: impl FnOnce() -> Event) {
        if let Some(audit) = &self.audit {
            audit.record(event());
        }
    }
}

/// Adds to the scope who asks, and why if they say so.
async fn who_asks(mut request: Request, next: Next) -> Response {
    let text = |headers: &HeaderMap, name| headers.get(name)?.to_str().ok().map(str::to_owned);
    let mut scope = Scope::current();
    if let Some(reason) = text(request.headers(), "x-reason") {
        scope = scope.reason(reason);
    }
    let login = text(request.headers(), "x-user").unwrap_or_default();
    if let Some(person) = Person::with_login(&login) {
        scope = scope.actor(person.actor());
        request.extensions_mut().insert(person);
    }
    scope.around(next.run(request)).await
}

/// The person whom [`who_asks`] found, if it is one of the staff.
pub(crate) fn staff(person: Option<&Person>) -> bool {
    person.is_some_and(|person| person.staff)
}

/// Signs in. Who is not known is refused, and the trail says so.
async fn login(State(shop): State<Shop>, headers: HeaderMap) -> Answer<()> {
    let login = headers.get("x-user").and_then(|login| login.to_str().ok()).unwrap_or_default();
    if let Some(person) = Person::with_login(login) {
        shop.record(|| Event::new("logged_in", annals::Entity::new("account", person.login)));
        return Ok(());
    }
    let login: String = login.chars().take(64).collect();
    shop.record(|| {
        Event::new("logged_in", annals::Entity::new("account", login)).outcome(Outcome::Failure)
    });
    Err(Refusal::Denied("sign in"))
}

/// Serves the shop until `stop` resolves.
///
/// # Errors
/// What the socket says.
pub async fn serve(
    listener: TcpListener,
    shop: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let service = shop.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop).await
}
