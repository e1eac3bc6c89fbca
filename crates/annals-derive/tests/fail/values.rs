use annals::Auditable;

#[derive(Auditable)]
#[auditable(entity)]
struct Product {
    #[auditable(id = true)]
    id: u64,
    #[auditable(rename)]
    name: String,
    #[auditable(rename = 7)]
    price: u64,
    #[auditable(skip("always"))]
    views: u64,
}

fn main() {}
