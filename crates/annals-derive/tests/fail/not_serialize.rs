use annals::Auditable;

struct Money(i64);

#[derive(Auditable)]
struct Product {
    #[auditable(id)]
    id: u64,
    price: Money,
    #[auditable(redact)]
    cost: Option<Money>,
}

fn main() {}
