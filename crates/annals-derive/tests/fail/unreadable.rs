use annals::Auditable;

#[derive(Auditable)]
#[auditable]
struct Product {
    #[auditable(id skip)]
    id: u64,
    #[auditable = "name"]
    name: String,
}

fn main() {}
