use annals::Auditable;

#[derive(serde::Serialize)]
struct Key(u64);

#[derive(Auditable)]
struct Product {
    #[auditable(id)]
    id: Key,
}

#[derive(Auditable)]
struct Line {
    #[auditable(id)]
    order: u64,
    #[auditable(id)]
    line: Key,
}

fn main() {}
