//! The output names everything by its full path.
#![no_implicit_prelude]

#[derive(::annals::Auditable)]
struct Product<T> {
    #[auditable(id)]
    id: u64,
    #[auditable(redact)]
    secret: T,
}

fn main() {
    let product = Product { id: 1, secret: true };
    let _ = ::annals::Event::created(&product);
}
