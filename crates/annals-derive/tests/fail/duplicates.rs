use annals::Auditable;

#[derive(Auditable)]
#[auditable(entity = "a", entity = "b")]
struct Product {
    #[auditable(id)]
    #[auditable(id)]
    id: u64,
    name: String,
    #[auditable(rename = "name")]
    title: String,
}

fn main() {}
