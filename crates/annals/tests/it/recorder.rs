//! The recorder that applications test with.

use annals::testing::Recorder;
use annals::{Actor, Auditable, Scope};

#[derive(Auditable, Clone)]
#[auditable(entity = "product")]
struct Product {
    #[auditable(id)]
    id: i64,
    name: String,
    price: i64,
}

fn tea() -> Product {
    Product { id: 42, name: "tea".to_owned(), price: 1000 }
}

#[test]
fn asserts_what_was_recorded() {
    let recorder = Recorder::new();
    recorder.nothing();
    let before = tea();
    let after = Product { price: 1200, ..before.clone() };
    Scope::new().actor(Actor::user(7)).run(|| {
        drop(recorder.audit().created(&before));
        drop(recorder.audit().updated(&before, &after));
        drop(recorder.audit().updated(&after, &after));
    });
    recorder
        .one("updated", "product:42")
        .changed(&["price"])
        .field("price", 1000, 1200)
        .by("user:7");
    recorder.one("created", "product:42").new_value("name", "tea");
    assert_eq!(recorder.events().len(), 2, "asking does not forget");
}

#[test]
#[should_panic(expected = "expected one deleted product:42, found 0 among:\n  created product:42")]
fn says_what_was_recorded_instead() {
    let recorder = Recorder::new();
    drop(recorder.audit().created(&tea()));
    recorder.one("deleted", "product:42");
}
