use annals::Auditable;

#[derive(Auditable)]
enum Status {
    Open,
}

#[derive(Auditable)]
union Bits {
    a: u32,
    b: f32,
}

#[derive(Auditable)]
struct Pair(u64, String);

#[derive(Auditable)]
struct Nothing;

fn main() {}
