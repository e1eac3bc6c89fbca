use annals::Auditable;

#[derive(Auditable)]
struct Product {
    id: u64,
    name: String,
}

fn main() {}
