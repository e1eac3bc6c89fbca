//! An axum application whose every event knows where its request came from. It
//! sends itself one request, and prints the event that came of it.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use annals::context::layer::ScopeLayer;
use annals::context::proxy::TrustedProxies;
use annals::transport::Transport;
use annals::transport::Want;
use annals::transport::memory::MemoryTransport;
use annals::{Actor, Audit, AuditOptions, Auditable, Scope};
use axum::Router;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::put;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Auditable)]
struct Product {
    #[auditable(id)]
    id: i64,
    price: i64,
}

/// Somewhere inside the application: nothing here knows of requests.
async fn set_price(State(audit): State<Audit>, Path((id, price)): Path<(i64, i64)>) -> StatusCode {
    let before = Product { id, price: 1000 };
    let after = Product { id, price };
    audit.updated(&before, &after);
    StatusCode::NO_CONTENT
}

/// The application's own middleware knows who signed in, and adds it.
async fn sign_in(request: Request, next: Next) -> Response {
    let scope = Scope::current().actor(Actor::user(7).named("Jo Doe"));
    scope.around(next.run(request)).await
}

fn app(audit: Audit) -> annals::Result<Router> {
    let layer = ScopeLayer::new()
        .service("shop")
        .peer(|extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip()))
        // The reverse proxy, whose X-Forwarded-For is believed.
        .proxies(TrustedProxies::new(["127.0.0.1"])?);
    Ok(Router::new()
        .route("/products/{id}/price/{price}", put(set_price))
        .with_state(audit)
        .layer(from_fn(sign_in))
        // The last layer added is the outermost.
        .layer(layer))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let transport = Arc::new(MemoryTransport::new());
    let audit =
        Audit::start(Arc::clone(&transport) as Arc<dyn Transport>, AuditOptions::default())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = app(audit.clone())?.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });

    let mut client = TcpStream::connect(address).await?;
    let request = "PUT /products/42/price/1200?token=secret HTTP/1.1\r\nHost: shop\r\n\
                   User-Agent: example\r\nX-Forwarded-For: 203.0.113.9\r\nConnection: close\r\n\r\n";
    client.write_all(request.as_bytes()).await?;
    client.read_to_end(&mut Vec::new()).await?;

    audit.shutdown(Duration::from_secs(5)).await?;
    for delivery in transport.receive(Want::up_to(10)).await? {
        println!("{}", String::from_utf8(delivery.body)?);
    }
    Ok(())
}
