//! Records one change, durably. Then, in the same directory:
//! `annals work --drain` and `annals history product:42`.

use std::time::Duration;

use annals::{Actor, Audit, Auditable, Scope};

#[derive(Clone, Auditable)]
struct Product {
    #[auditable(id)]
    id: i64,
    name: String,
    price: i64,
    #[auditable(redact)]
    supplier_code: String,
}

#[tokio::main]
async fn main() -> annals::Result<()> {
    let audit = Audit::open("sqlite:annals-data/queue.db").await?;
    let before =
        Product { id: 42, name: "Moka pot".into(), price: 1000, supplier_code: "S-1".into() };
    let after = Product { price: 1200, ..before.clone() };

    let scope = Scope::new().actor(Actor::user(7).named("Jo Doe")).ip("203.0.113.9");
    let recorded = scope.run(|| audit.updated(&before, &after)); // returns at once
    recorded.await?; // optional: resolves when it is on disk

    audit.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
