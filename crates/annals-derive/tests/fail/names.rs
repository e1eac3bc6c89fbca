use annals::Auditable;

#[derive(Auditable)]
#[auditable(entity = "")]
struct Empty {
    #[auditable(id)]
    id: u64,
    #[auditable(rename = "")]
    name: String,
    #[auditable(rename = "$annals")]
    mark: String,
}

#[derive(Auditable)]
#[auditable(entity = "shop:product")]
struct Colon {
    #[auditable(id)]
    id: u64,
}

#[derive(Auditable)]
#[auditable(entity = "nul\0")]
struct Nul {
    #[auditable(id)]
    id: u64,
}

#[derive(Auditable)]
#[auditable(
    entity = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345"
)]
struct Long {
    #[auditable(id)]
    id: u64,
}

#[derive(Auditable)]
#[auditable(rename_all = "Title Case")]
struct Case {
    #[auditable(id)]
    id: u64,
}

fn main() {}
