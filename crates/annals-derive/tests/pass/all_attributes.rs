use annals::Auditable;

#[derive(Auditable)]
#[auditable(entity = "order line", rename_all = "kebab-case")]
struct Line<T>
where
    T: Clone,
{
    #[auditable(id)]
    order: u64,
    #[auditable(id, skip)]
    number: u32,
    #[auditable(rename = "unit price")]
    price: T,
    #[auditable(redact, rename = "note")]
    r#type: Option<String>,
    #[auditable(skip)]
    handle: fn(),
}

#[derive(Auditable)]
struct Minimal {
    #[auditable(id)]
    id: String,
}

fn main() {
    let line = Line { order: 1, number: 2, price: 3, r#type: None, handle: main };
    assert_eq!(line.entity().to_string(), "order line:1,2");
    let _ = (line.price, line.r#type, line.handle);
    assert_eq!(Minimal { id: "x".to_owned() }.entity().to_string(), "minimal:x");
}
