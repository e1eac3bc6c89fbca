use annals::Auditable;

#[derive(Auditable)]
#[auditable(table = "products")]
struct Product {
    #[auditable(id)]
    id: u64,
    #[auditable(ignore)]
    name: String,
    #[auditable(serde::skip)]
    other: String,
}

fn main() {}
