//! What people do at a prompt, and nightly jobs: statements that change many rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals::conformance::Random;
use annals::{Actor, Scope};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Executor};

/// Works beside the visitors until told to stop: transactions of some statements
/// each, of which some are undone, and half say who works.
pub(super) async fn work(url: String, stop: Arc<AtomicBool>) {
    let pool = PgPool::connect(&format!("{url}?application_name=bulk")).await.unwrap();
    let mut random = Random::seeded(3);
    while !stop.load(Ordering::SeqCst) {
        let mut tx = pool.begin().await.unwrap();
        if random.one_in(2) {
            let id: String = sqlx::query_scalar("SELECT pg_current_xact_id()::text")
                .fetch_one(&mut *tx)
                .await
                .unwrap();
            let scope = Scope::new().actor(Actor::new("job", "bulk")).request_id(id);
            scope.tell_triggers(&mut tx).await.unwrap();
        }
        let mut keep = !random.one_in(4);
        for sql in statements(&mut random) {
            let undo = random.one_in(5);
            if undo {
                tx.execute("SAVEPOINT s").await.unwrap();
            }
            if let Err(error) = tx.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await {
                assert!(error.to_string().contains("division by zero"), "{error}");
                keep = false;
                break;
            }
            if undo {
                tx.execute("ROLLBACK TO s").await.unwrap();
            }
        }
        if keep {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
    }
    pool.close().await;
}

/// The statements of a transaction. The shop locks an order before its product; who
/// takes the tables in that order too meets no deadlock.
fn statements(random: &mut Random) -> Vec<String> {
    let mut all = Vec::new();
    for statement in [of_customers, of_orders, of_products] {
        for _ in 0..random.below(3) {
            let (a, b) = (random.below(60), 1 + random.below(9));
            all.push(statement(random.below(8), a, b));
        }
    }
    all
}

fn of_customers(kind: u64, a: u64, b: u64) -> String {
    match kind {
        0 | 1 => format!(
            "INSERT INTO customers (name, email, city, newsletter, password_hash) SELECT 'bulk', g || '@example.com', 'Oslo', g % 2 = 0, 'sample:' || g FROM generate_series(1, {b}) g"
        ),
        2 | 3 => format!(
            "UPDATE customers SET newsletter = NOT newsletter, city = '{a}', email = {a} || email WHERE id % {b} = 0 AND length(email) < 60"
        ),
        4 | 5 => format!("UPDATE customers SET password_hash = 'sample:{a}'"),
        _ => format!("DELETE FROM customers WHERE name = 'bulk' AND id % 10 = {b}"),
    }
}

fn of_orders(kind: u64, a: u64, b: u64) -> String {
    match kind {
        0..3 => format!(
            "INSERT INTO orders (customer_id, product_id, quantity, total, status) SELECT c.id, p.id, {b}, p.price * {b}, 'placed' FROM (SELECT id FROM customers ORDER BY id DESC LIMIT 3) c, (SELECT id, price FROM products ORDER BY id LIMIT {b}) p"
        ),
        3 | 4 => format!(
            "UPDATE orders SET status = 'shipped' WHERE status = 'placed' AND id % 10 = {b}"
        ),
        5 => format!("UPDATE orders SET quantity = quantity, total = total WHERE id > {a}"),
        _ => format!(
            "WITH gone AS (DELETE FROM orders WHERE status <> 'placed' AND id % 7 = {b} RETURNING id) INSERT INTO customers (name, email, city, newsletter, password_hash) SELECT 'bulk', id || '@example.com', 'Kyoto', true, 'sample:' || id FROM gone"
        ),
    }
}

fn of_products(kind: u64, a: u64, b: u64) -> String {
    match kind {
        0 => format!(
            "INSERT INTO products (name, price, stock, supplier_code) SELECT 'bulk ' || g, g * 100, {b}, 'SUP-' || g FROM generate_series({a}, {a} + {b}) g"
        ),
        1 => format!(
            "INSERT INTO products (id, name, price, stock, supplier_code) SELECT 1000000 + g, 'bulk', g, {b}, 'SUP-up' FROM generate_series({a}, {a} + {b}) g ON CONFLICT (id) DO UPDATE SET price = products.price + excluded.price, supplier_code = 'SUP-{b}'"
        ),
        2 => {
            format!("UPDATE products SET price = price + {b}, stock = stock + 5 WHERE id % {b} = 0")
        }
        3 => "UPDATE products SET views = views + 1".to_owned(),
        4 => format!("DELETE FROM products WHERE name LIKE 'bulk%' AND id % 11 = {b}"),
        5 => format!(
            "UPDATE products SET id = id + 10000000 WHERE name LIKE 'bulk%' AND id % 13 = {b} AND id < 1000000"
        ),
        6 => format!(
            "MERGE INTO products p USING generate_series({a}, {a} + 3) s (id) ON p.id = 1000000 + s.id WHEN MATCHED AND p.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET stock = {b} WHEN NOT MATCHED THEN INSERT (id, name, price, stock, supplier_code) VALUES (1000000 + s.id, 'bulk', 1, 1, 'SUP-m')"
        ),
        // Comes upon a row that ends its transaction, after some that it changed.
        _ => format!("UPDATE products SET price = 100 / (id % 20 - {b}) WHERE id > 0"),
    }
}
