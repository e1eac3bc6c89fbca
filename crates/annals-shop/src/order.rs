//! Orders: who bought what.

use annals::Auditable;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::database::{Row, Transaction};
use crate::people::Person;
use crate::product::Product;
use crate::refusal::{Answer, Refusal};
use crate::shop::{Shop, staff};

/// Something bought.
#[derive(Clone, Debug, Auditable)]
#[auditable(entity = "order")]
pub(crate) struct Order {
    #[auditable(id)]
    id: i64,
    customer_id: i64,
    product_id: i64,
    quantity: i64,
    /// In cents.
    total: i64,
    status: Status,
}

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Placed,
    Shipped,
    Cancelled,
}

impl Status {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Placed, "placed"), (Self::Shipped, "shipped"), (Self::Cancelled, "cancelled")];

    fn word(self) -> &'static str {
        Self::ALL.into_iter().find(|(status, _)| *status == self).map_or("", |(_, word)| word)
    }

    fn from_word(word: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|(_, known)| *known == word)
            .map_or(Self::Placed, |(status, _)| status)
    }
}

/// What a customer asks for.
#[derive(Debug, Deserialize)]
pub(crate) struct NewOrder {
    product_id: i64,
    quantity: i64,
}

impl Order {
    fn from_row(row: &Row<'_>) -> Answer<Self> {
        Ok(Self {
            id: row.get(0)?,
            customer_id: row.get(1)?,
            product_id: row.get(2)?,
            quantity: row.get(3)?,
            total: row.get(4)?,
            status: Status::from_word(&row.get::<String>(5)?),
        })
    }

    fn find(transaction: &mut Transaction<'_>, id: i64) -> Answer<Self> {
        let sql =
            "SELECT id, customer_id, product_id, quantity, total, status FROM orders WHERE id = $1";
        transaction
            .row_to_change(sql, &[id.into()], Self::from_row)?
            .ok_or(Refusal::NotFound("order"))
    }

    fn insert(
        transaction: &mut Transaction<'_>,
        customer_id: i64,
        new: &NewOrder,
        price: i64,
    ) -> Answer<Self> {
        let &NewOrder { product_id, quantity } = new;
        let (total, status) = (price * quantity, Status::Placed);
        let id = transaction.insert(
            "INSERT INTO orders (customer_id, product_id, quantity, total, status) VALUES ($1, $2, $3, $4, $5) RETURNING id",
            &[customer_id.into(), product_id.into(), quantity.into(), total.into(), status.word().into()],
        )?;
        Ok(Self { id, customer_id, product_id, quantity, total, status })
    }

    /// Moves a placed order on.
    fn become_(transaction: &mut Transaction<'_>, id: i64, status: Status) -> Answer<(Self, Self)> {
        let before = Self::find(transaction, id)?;
        if before.status != Status::Placed {
            return Err(Refusal::Conflict(format!(
                "the order is {} already",
                before.status.word()
            )));
        }
        transaction.execute(
            "UPDATE orders SET status = $1 WHERE id = $2",
            &[status.word().into(), id.into()],
        )?;
        let after = Self { status, ..before.clone() };
        Ok((before, after))
    }
}

/// Takes from the shelf, or puts back.
fn move_stock(transaction: &mut Transaction<'_>, id: i64, by: i64) -> Answer<(Product, Product)> {
    let before = Product::find(transaction, id)?;
    let mut after = before.clone();
    after.stock += by;
    if after.stock < 0 {
        return Err(Refusal::Conflict(format!("only {} left", before.stock)));
    }
    after.save(transaction)?;
    Ok((before, after))
}

/// `POST /orders`: the order, and the stock that it takes.
pub(crate) async fn place(
    State(shop): State<Shop>,
    person: Option<Extension<Person>>,
    Json(new): Json<NewOrder>,
) -> Answer<(StatusCode, Json<Value>)> {
    let Some(Extension(person)) = person else { return Err(Refusal::Denied("order")) };
    if new.quantity < 1 {
        return Err(Refusal::Conflict("order at least one".to_owned()));
    }
    let placed = shop.database.call(move |transaction| {
        let (before, after) = move_stock(transaction, new.product_id, -new.quantity)?;
        let order = Order::insert(transaction, person.id, &new, after.price)?;
        Ok((order, before, after))
    });
    let (order, before, after) = placed.await?;
    shop.created(&order);
    shop.updated(&before, &after);
    Ok((StatusCode::CREATED, Json(json!({ "id": order.id }))))
}

/// `POST /orders/{id}/cancel`: and its stock is back.
pub(crate) async fn cancel(State(shop): State<Shop>, Path(id): Path<i64>) -> Answer<()> {
    let cancelled = shop.database.call(move |transaction| {
        let order = Order::become_(transaction, id, Status::Cancelled)?;
        let stock = match move_stock(transaction, order.0.product_id, order.0.quantity) {
            Ok(stock) => Some(stock),
            // The product has been deleted since.
            Err(Refusal::NotFound(_)) => None,
            Err(other) => return Err(other),
        };
        Ok((order, stock))
    });
    let (order, stock) = cancelled.await?;
    shop.updated(&order.0, &order.1);
    if let Some((before, after)) = stock {
        shop.updated(&before, &after);
    }
    Ok(())
}

/// `POST /orders/{id}/ship`
pub(crate) async fn ship(
    State(shop): State<Shop>,
    Path(id): Path<i64>,
    person: Option<Extension<Person>>,
) -> Answer<()> {
    if !staff(person.as_deref()) {
        return Err(Refusal::Denied("ship orders"));
    }
    let shipped =
        shop.database.call(move |transaction| Order::become_(transaction, id, Status::Shipped));
    let (before, after) = shipped.await?;
    shop.updated(&before, &after);
    Ok(())
}
