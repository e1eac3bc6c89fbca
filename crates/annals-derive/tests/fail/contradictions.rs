use annals::Auditable;

#[derive(Auditable)]
struct Customer {
    #[auditable(id, redact)]
    id: u64,
    #[auditable(skip, redact)]
    card: String,
    #[auditable(skip)]
    #[auditable(rename = "notes")]
    note: String,
}

fn main() {}
