//! Customers: who buys.

use annals::Auditable;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::database::{Row, Transaction};
use crate::refusal::{Answer, Refusal};
use crate::shop::Shop;

/// Someone who buys.
#[derive(Clone, Debug, Auditable)]
#[auditable(entity = "customer")]
pub(crate) struct Customer {
    #[auditable(id)]
    id: i64,
    name: String,
    #[auditable(redact)]
    email: String,
    city: String,
    newsletter: bool,
    #[auditable(redact)]
    password_hash: String,
}

/// What a new customer tells.
#[derive(Debug, Deserialize)]
pub(crate) struct NewCustomer {
    name: String,
    email: String,
    city: String,
    password: String,
}

/// What changes; the rest stays.
#[derive(Debug, Deserialize)]
pub(crate) struct Change {
    email: Option<String>,
    city: Option<String>,
    newsletter: Option<bool>,
    password: Option<String>,
}

/// Stands for a real password hash, which takes long on purpose.
fn hash(password: &str) -> String {
    let sum = password.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("sample:{sum:016x}")
}

impl Customer {
    fn from_row(row: &Row<'_>) -> Answer<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            email: row.get(2)?,
            city: row.get(3)?,
            newsletter: row.get(4)?,
            password_hash: row.get(5)?,
        })
    }

    fn find(transaction: &mut Transaction<'_>, id: i64) -> Answer<Self> {
        let sql =
            "SELECT id, name, email, city, newsletter, password_hash FROM customers WHERE id = $1";
        transaction
            .row_to_change(sql, &[id.into()], Self::from_row)?
            .ok_or(Refusal::NotFound("customer"))
    }

    fn save(&self, transaction: &mut Transaction<'_>) -> Answer<()> {
        let Self { id, name, email, city, newsletter, password_hash } = self;
        transaction.execute(
            "UPDATE customers SET name = $1, email = $2, city = $3, newsletter = $4, password_hash = $5 WHERE id = $6",
            &[name.into(), email.into(), city.into(), (*newsletter).into(), password_hash.into(), (*id).into()],
        )
    }
}

/// `POST /customers`
pub(crate) async fn register(
    State(shop): State<Shop>,
    Json(new): Json<NewCustomer>,
) -> Answer<(StatusCode, Json<Value>)> {
    let registered = shop.database.call(move |transaction| {
        let NewCustomer { name, email, city, password } = new;
        let (newsletter, password_hash) = (false, hash(&password));
        let id = transaction.insert(
            "INSERT INTO customers (name, email, city, newsletter, password_hash) VALUES ($1, $2, $3, $4, $5) RETURNING id",
            &[(&name).into(), (&email).into(), (&city).into(), newsletter.into(), (&password_hash).into()],
        )?;
        Ok(Customer { id, name, email, city, newsletter, password_hash })
    });
    let customer = registered.await?;
    shop.created(&customer);
    Ok((StatusCode::CREATED, Json(json!({ "id": customer.id }))))
}

/// `PUT /customers/{id}`
pub(crate) async fn change(
    State(shop): State<Shop>,
    Path(id): Path<i64>,
    Json(change): Json<Change>,
) -> Answer<()> {
    let changed = shop.database.call(move |transaction| {
        let before = Customer::find(transaction, id)?;
        let mut after = before.clone();
        after.email = change.email.unwrap_or(after.email);
        after.city = change.city.unwrap_or(after.city);
        after.newsletter = change.newsletter.unwrap_or(after.newsletter);
        if let Some(password) = change.password {
            after.password_hash = hash(&password);
        }
        after.save(transaction)?;
        Ok((before, after))
    });
    let (before, after) = changed.await?;
    shop.updated(&before, &after);
    Ok(())
}
