//! Every fault of one struct is reported in one go.
use annals::Auditable;

#[derive(Auditable)]
#[auditable(entity = "a:b", colour = "red")]
struct Product {
    id: u64,
    #[auditable(skip, redact)]
    name: String,
    #[auditable(rename = "")]
    price: u64,
}

fn main() {}
