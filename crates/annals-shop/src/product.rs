//! Products: what is for sale.

use annals::{Auditable, Entity, Event, Outcome};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::database::{Row, Transaction};
use crate::people::Person;
use crate::refusal::{Answer, Refusal};
use crate::shop::{Shop, staff};

/// Something for sale.
#[derive(Clone, Debug, Serialize, Auditable)]
#[auditable(entity = "product")]
pub(crate) struct Product {
    #[auditable(id)]
    pub(crate) id: i64,
    name: String,
    /// In cents.
    pub(crate) price: i64,
    pub(crate) stock: i64,
    /// What we pay whom is nobody's business.
    #[auditable(redact)]
    supplier_code: String,
    #[auditable(skip)]
    views: i64,
}

/// What a new product is made of.
#[derive(Debug, Deserialize)]
pub(crate) struct NewProduct {
    name: String,
    price: i64,
    stock: i64,
    supplier_code: String,
}

/// What changes; the rest stays.
#[derive(Debug, Deserialize)]
pub(crate) struct Change {
    name: Option<String>,
    price: Option<i64>,
    stock: Option<i64>,
    supplier_code: Option<String>,
}

impl Product {
    fn from_row(row: &Row<'_>) -> Answer<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            price: row.get(2)?,
            stock: row.get(3)?,
            supplier_code: row.get(4)?,
            views: row.get(5)?,
        })
    }

    pub(crate) fn find(transaction: &mut Transaction<'_>, id: i64) -> Answer<Self> {
        let sql = "SELECT id, name, price, stock, supplier_code, views FROM products WHERE id = $1";
        transaction
            .row_to_change(sql, &[id.into()], Self::from_row)?
            .ok_or(Refusal::NotFound("product"))
    }

    fn insert(transaction: &mut Transaction<'_>, new: NewProduct) -> Answer<Self> {
        let NewProduct { name, price, stock, supplier_code } = new;
        let id = transaction.insert(
            "INSERT INTO products (name, price, stock, supplier_code) VALUES ($1, $2, $3, $4) RETURNING id",
            &[(&name).into(), price.into(), stock.into(), (&supplier_code).into()],
        )?;
        Ok(Self { id, name, price, stock, supplier_code, views: 0 })
    }

    pub(crate) fn save(&self, transaction: &mut Transaction<'_>) -> Answer<()> {
        let Self { id, name, price, stock, supplier_code, views } = self;
        transaction.execute(
            "UPDATE products SET name = $1, price = $2, stock = $3, supplier_code = $4, views = $5 WHERE id = $6",
            &[name.into(), (*price).into(), (*stock).into(), supplier_code.into(), (*views).into(), (*id).into()],
        )
    }
}

/// Fills the shelves of a new shop.
pub(crate) async fn stock(shop: &Shop) -> Answer<()> {
    const FIRST: [(&str, i64, i64); 8] = [
        ("Espresso cup", 1200, 40),
        ("Moka pot", 3400, 25),
        ("Hand grinder", 6900, 12),
        ("Pour-over stand", 4500, 18),
        ("Gooseneck kettle", 8900, 9),
        ("Milk jug", 1900, 30),
        ("Bean canister", 2400, 22),
        ("Cleaning brush", 700, 60),
    ];
    let stocked = shop.database.call(|transaction| {
        let known = transaction.row("SELECT count(*) FROM products", &[], |row| row.get(0))?;
        if known > Some(0_i64) {
            return Ok(Vec::new());
        }
        FIRST
            .into_iter()
            .map(|(name, price, stock)| {
                let supplier_code = format!("SUP-{}", price % 97);
                let new = NewProduct { name: name.to_owned(), price, stock, supplier_code };
                Product::insert(transaction, new)
            })
            .collect()
    });
    stocked.await?.iter().for_each(|product: &Product| shop.created(product));
    Ok(())
}

/// `POST /products`
pub(crate) async fn create(
    State(shop): State<Shop>,
    person: Option<Extension<Person>>,
    Json(new): Json<NewProduct>,
) -> Answer<(StatusCode, Json<Value>)> {
    if !staff(person.as_deref()) {
        return Err(Refusal::Denied("add products"));
    }
    let product = shop.database.call(|transaction| Product::insert(transaction, new)).await?;
    shop.created(&product);
    Ok((StatusCode::CREATED, Json(json!({ "id": product.id }))))
}

/// `PUT /products/{id}`
pub(crate) async fn change(
    State(shop): State<Shop>,
    Path(id): Path<i64>,
    person: Option<Extension<Person>>,
    Json(change): Json<Change>,
) -> Answer<Json<Product>> {
    if !staff(person.as_deref()) {
        // Who tries what they may not is worth knowing.
        shop.record(|| Event::new("updated", Entity::new("product", id)).outcome(Outcome::Denied));
        return Err(Refusal::Denied("change products"));
    }
    let changed = shop.database.call(move |transaction| {
        let before = Product::find(transaction, id)?;
        let mut after = before.clone();
        after.name = change.name.unwrap_or(after.name);
        after.price = change.price.unwrap_or(after.price);
        after.stock = change.stock.unwrap_or(after.stock);
        after.supplier_code = change.supplier_code.unwrap_or(after.supplier_code);
        after.save(transaction)?;
        Ok((before, after))
    });
    let (before, after) = changed.await?;
    shop.updated(&before, &after);
    Ok(Json(after))
}

/// `DELETE /products/{id}`
pub(crate) async fn delete(
    State(shop): State<Shop>,
    Path(id): Path<i64>,
    person: Option<Extension<Person>>,
) -> Answer<()> {
    if !staff(person.as_deref()) {
        return Err(Refusal::Denied("delete products"));
    }
    let deleted = shop.database.call(move |transaction| {
        let product = Product::find(transaction, id)?;
        transaction.execute("DELETE FROM products WHERE id = $1", &[id.into()])?;
        Ok(product)
    });
    shop.deleted(&deleted.await?);
    Ok(())
}

/// `GET /products/{id}`: counts the view, which is not recorded.
pub(crate) async fn show(State(shop): State<Shop>, Path(id): Path<i64>) -> Answer<Json<Product>> {
    let shown = shop.database.call(move |transaction| {
        let before = Product::find(transaction, id)?;
        let mut after = before.clone();
        after.views += 1;
        after.save(transaction)?;
        Ok((before, after))
    });
    let (before, after) = shown.await?;
    shop.updated(&before, &after);
    Ok(Json(after))
}
