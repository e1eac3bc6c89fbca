//! The visitors: who comes from where, and what they are up to.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::client::Client;
use super::dice::Dice;

/// Login, address and browser of each visitor. The last one is nobody whom the
/// shop knows.
pub(super) const VISITORS: [(&str, &str, &str); 7] = [
    ("jo", "203.0.113.9", "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) Safari/605.1.15"),
    ("ada", "203.0.113.24", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Firefox/141.0"),
    ("sam", "198.51.100.77", "stock-scanner/2.3"),
    ("mia", "192.0.2.14", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Mobile/15E148"),
    ("tom", "2001:db8:40::1a", "Mozilla/5.0 (Linux; Android 15) Chrome/138.0.0.0 Mobile"),
    ("lin", "192.0.2.201", "Mozilla/5.0 (X11; Linux x86_64) Chrome/138.0.0.0"),
    ("root", "198.51.100.250", "curl/8.9.1"),
];

/// The products that a new shop has.
const FIRST_PRODUCTS: [i64; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

const REASONS: [&str; 4] =
    ["autumn sale", "supplier raised prices", "rounding", "typo in the catalogue"];
const CITIES: [&str; 5] = ["Lisbon", "Oslo", "Nairobi", "Kyoto", "Montevideo"];
const NOVELTIES: [&str; 4] = ["Cold brew jar", "Tamper", "Cupping spoon", "Travel mug"];

/// One visitor and what they know of the shop.
#[derive(Debug)]
pub(super) struct Visitor {
    index: usize,
    client: Client,
    dice: Dice,
    /// Orders that they placed, customers that they registered, products that
    /// they added.
    orders: Vec<i64>,
    customers: Vec<i64>,
    products: Vec<i64>,
}

/// A request to send, and where to keep the id that it answers.
struct Wish {
    method: &'static str,
    path: String,
    body: Option<Value>,
    reason: Option<&'static str>,
    keep: Keep,
}

#[derive(Clone, Copy)]
enum Keep {
    Nothing,
    Order,
    Customer,
    Product,
}

impl Wish {
    fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), body: None, reason: None, keep: Keep::Nothing }
    }

    fn with(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }
}

impl Visitor {
    pub(super) fn new(index: usize, address: SocketAddr, seed: u64) -> Self {
        let own = u64::try_from(index).unwrap_or(0).wrapping_add(1);
        Self {
            index,
            client: Client::new(address),
            dice: Dice::new(seed ^ own.wrapping_mul(0x9e37_79b9)),
            orders: Vec::new(),
            customers: Vec::new(),
            products: Vec::new(),
        }
    }

    /// Sends one request; answers its status, if there was an answer.
    pub(super) async fn visit(&mut self) -> Option<u16> {
        let wish = match self.index {
            0 | 1 => self.sell(),
            2 => self.stock(),
            3..=5 => self.shop(),
            _ if self.dice.percent(25) => Wish::new("POST", "/login"),
            _ => Wish::new("GET", format!("/products/{}", self.product())),
        };
        let (login, ip, agent) = VISITORS[self.index];
        let mut headers =
            format!("User-Agent: {agent}\r\nX-Forwarded-For: {ip}\r\nX-User: {login}\r\n");
        if let Some(reason) = wish.reason {
            headers.push_str(&format!("X-Reason: {reason}\r\n"));
        }
        let body = wish.body.map(|body| body.to_string()).unwrap_or_default();
        let (status, body) =
            self.client.send(wish.method, &wish.path, &headers, &body).await.ok()?;
        if let Some(id) =
            serde_json::from_slice::<Value>(&body).ok().and_then(|body| body["id"].as_i64())
        {
            match wish.keep {
                Keep::Nothing => {}
                Keep::Order => self.orders.push(id),
                Keep::Customer => self.customers.push(id),
                Keep::Product => self.products.push(id),
            }
        }
        Some(status)
    }

    fn product(&mut self) -> i64 {
        // Some products are more in demand.
        let few = if self.dice.percent(40) { &FIRST_PRODUCTS[..2] } else { &FIRST_PRODUCTS[..] };
        self.dice.one_of(few).unwrap_or(1)
    }

    /// What those who run the shop do: prices, names, new and old products.
    fn sell(&mut self) -> Wish {
        let product = self.product();
        match self.dice.between(1, 10) {
            1..=5 => {
                let price = self.dice.between(6, 90) * 100 - self.dice.between(0, 1) * 10;
                let mut change = json!({ "price": price });
                if self.dice.percent(40) {
                    change["stock"] = json!(self.dice.between(20, 80));
                    change["supplier_code"] = json!(format!("SUP-{}", self.dice.between(100, 999)));
                }
                let mut wish = Wish::new("PUT", format!("/products/{product}")).with(change);
                wish.reason = self.dice.one_of(&REASONS);
                wish
            }
            6 => {
                let code = format!("SUP-{}", self.dice.between(100, 999));
                Wish::new("PUT", format!("/products/{product}"))
                    .with(json!({ "supplier_code": code }))
            }
            7 | 8 => match self.products.pop() {
                Some(own) => Wish::new("DELETE", format!("/products/{own}")),
                None => {
                    let name = self.dice.one_of(&NOVELTIES).unwrap_or("Mug");
                    let new = json!({ "name": name, "price": 1500, "stock": 10, "supplier_code": "SUP-new" });
                    Wish::new("POST", "/products").with(new).keep(Keep::Product)
                }
            },
            9 => Wish::new("POST", "/login"),
            _ => Wish::new("GET", format!("/products/{product}?token=never-recorded")),
        }
    }

    /// What the stockroom does: fills shelves, ships orders.
    fn stock(&mut self) -> Wish {
        if self.dice.percent(60) {
            let product = self.product();
            let stock = self.dice.between(20, 80);
            return Wish::new("PUT", format!("/products/{product}"))
                .with(json!({ "stock": stock }));
        }
        let order = self.dice.between(1, 40);
        Wish::new("POST", format!("/orders/{order}/ship"))
    }

    /// What customers do.
    fn shop(&mut self) -> Wish {
        let Some(customer) = self.customers.first().copied() else {
            let (login, ..) = VISITORS[self.index];
            let city = self.dice.one_of(&CITIES).unwrap_or("Oslo");
            let email = format!("{login}@example.com");
            let new =
                json!({ "name": login, "email": email, "city": city, "password": "correct horse" });
            return Wish::new("POST", "/customers").with(new).keep(Keep::Customer);
        };
        let product = self.product();
        match self.dice.between(1, 20) {
            1..=11 => {
                let quantity = self.dice.between(1, 3);
                let new = json!({ "product_id": product, "quantity": quantity });
                Wish::new("POST", "/orders").with(new).keep(Keep::Order)
            }
            12..=14 => match self.orders.pop() {
                Some(order) => Wish::new("POST", format!("/orders/{order}/cancel")),
                None => Wish::new("GET", format!("/products/{product}")),
            },
            15 => {
                let city = self.dice.one_of(&CITIES).unwrap_or("Oslo");
                Wish::new("PUT", format!("/customers/{customer}")).with(json!({ "city": city }))
            }
            16 => {
                let change = json!({ "newsletter": self.dice.percent(50), "password": format!("pass {}", self.dice.between(1, 99)) });
                Wish::new("PUT", format!("/customers/{customer}")).with(change)
            }
            17 => Wish::new("POST", "/login"),
            // Nobody should try this.
            18 => Wish::new("PUT", format!("/products/{product}")).with(json!({ "price": 1 })),
            _ => Wish::new("GET", format!("/products/{product}")),
        }
    }
}
