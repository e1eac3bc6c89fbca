//! `#[derive(Auditable)]`: what is recorded of a value, and what of a change.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use annals::change::{Fields, diff};
use annals::event::composite_id;
use annals::{Auditable, Event, Object};
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Clone, Auditable)]
#[auditable(entity = "product")]
struct Product {
    #[auditable(id)]
    id: i64,
    name: String,
    #[auditable(rename = "unit_price")]
    price: i64,
    #[auditable(redact)]
    supplier_code: String,
    #[auditable(skip)]
    views: u64,
}

fn product() -> Product {
    Product {
        id: 42,
        name: "Mug".to_owned(),
        price: 1000,
        supplier_code: "S-17-SECRET".to_owned(),
        views: 3,
    }
}

fn of<T: Auditable>(value: &T) -> Object {
    Fields::of(value).into_object().unwrap()
}

/// The old and the new values of a change, as text.
fn change<T: Auditable>(before: &T, after: &T) -> Option<(String, String)> {
    let changed = diff(before, after).unwrap();
    changed.map(|(old, new)| (old.as_str().to_owned(), new.as_str().to_owned()))
}

#[test]
fn records_fields_in_order_under_their_names() {
    let entity = product().entity();
    assert_eq!(entity.to_string(), "product:42");
    assert_eq!(
        of(&product()).as_str(),
        r#"{"id":42,"name":"Mug","unit_price":1000,"supplier_code":{"$annals":{"kind":"redacted"}}}"#
    );
}

#[test]
fn an_update_names_only_what_changed() {
    let after = Product { price: 1200, ..product() };
    let event = Event::updated(&product(), &after).unwrap().unwrap();
    assert_eq!(event.action, "updated");
    assert_eq!(event.entity.to_string(), "product:42");
    assert_eq!(event.old_values.unwrap().as_str(), r#"{"unit_price":1000}"#);
    assert_eq!(event.new_values.unwrap().as_str(), r#"{"unit_price":1200}"#);
}

#[test]
fn an_update_that_changes_nothing_makes_no_event() {
    assert_eq!(Event::updated(&product(), &product()).unwrap(), None);
    // A skipped field is not looked at.
    let after = Product { views: product().views + 1, ..product() };
    assert_eq!(Event::updated(&product(), &after).unwrap(), None);
}

#[test]
fn a_created_event_has_new_values_and_a_deleted_one_old() {
    let (created, deleted) =
        (Event::created(&product()).unwrap(), Event::deleted(&product()).unwrap());
    let restored = Event::restored(&product()).unwrap();
    assert_eq!((created.old_values, created.new_values), (None, Some(of(&product()))));
    assert_eq!((deleted.old_values, deleted.new_values), (Some(of(&product())), None));
    assert_eq!((restored.old_values, restored.new_values), (None, Some(of(&product()))));
}

#[test]
fn a_redacted_field_shows_that_it_changed_but_no_value() {
    let after = Product { supplier_code: "S-18-SECRET".to_owned(), ..product() };
    let event = Event::updated(&product(), &after).unwrap().unwrap();
    let mark = r#"{"supplier_code":{"$annals":{"kind":"redacted"}}}"#;
    assert_eq!(event.old_values.as_ref().unwrap().as_str(), mark);
    assert_eq!(event.new_values.as_ref().unwrap().as_str(), mark);
    for event in [event, Event::created(&after).unwrap(), Event::deleted(&after).unwrap()] {
        let bytes = String::from_utf8(event.encode().unwrap()).unwrap();
        assert!(!bytes.contains("SECRET"), "{bytes}");
    }
}

#[test]
fn the_fault_of_a_redacted_field_does_not_quote_it() {
    #[derive(Auditable)]
    struct Vault {
        #[auditable(id)]
        id: u8,
        #[auditable(redact)]
        keys: BTreeMap<String, BTreeMap<String, u8>>,
    }
    let reserved = BTreeMap::from([("$annals".to_owned(), 1)]);
    let vault = Vault { id: 1, keys: BTreeMap::from([("SECRET".to_owned(), reserved)]) };
    let fault = Event::created(&vault).unwrap_err();
    assert_eq!(fault.to_string(), "keys: cannot be written as JSON");
}

#[test]
fn several_ids_are_joined_in_order_and_escaped() {
    #[derive(Auditable)]
    struct OrderLine {
        note: String,
        #[auditable(id)]
        order: String,
        #[auditable(id, skip)]
        line: u32,
    }
    let line = OrderLine { note: "gift".to_owned(), order: "a,b%c".to_owned(), line: 7 };
    assert_eq!(line.entity().to_string(), "order_line:a%2Cb%25c,7");
    assert_eq!(line.entity_id(), composite_id(["a,b%c", "7"]));
    assert_eq!(of(&line).as_str(), r#"{"note":"gift","order":"a,b%c"}"#);
}

#[test]
fn rename_all_writes_the_names_that_have_no_own() {
    #[derive(Auditable)]
    #[auditable(rename_all = "camelCase")]
    struct HTTPRoute {
        #[auditable(id)]
        route_id: u8,
        r#type: u8,
        #[auditable(rename = "as_is")]
        other_name: u8,
    }
    let route = HTTPRoute { route_id: 1, r#type: 2, other_name: 3 };
    assert_eq!(HTTPRoute::ENTITY_TYPE, "http_route");
    assert_eq!(of(&route).as_str(), r#"{"routeId":1,"type":2,"as_is":3}"#);
}

#[test]
fn generic_structs_ask_of_their_parameters_what_they_use() {
    struct NotSerialize;
    impl Display for NotSerialize {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("shown")
        }
    }
    #[derive(Auditable)]
    struct Wrapper<'a, Id, T, U, const N: usize>
    where
        T: Clone,
    {
        #[auditable(id, skip)]
        id: Id,
        many: Vec<T>,
        fixed: [u8; N],
        borrowed: &'a str,
        #[auditable(skip)]
        _free: U,
    }
    let value = Wrapper {
        id: NotSerialize,
        many: vec![1],
        fixed: [7; 2],
        borrowed: "b",
        _free: NotSerialize,
    };
    assert_eq!(value.entity().to_string(), "wrapper:shown");
    assert_eq!(of(&value).as_str(), r#"{"many":[1],"fixed":[7,7],"borrowed":"b"}"#);
}

#[test]
fn a_struct_that_a_macro_wrote_can_be_audited() {
    macro_rules! model {
        ($name:ident, $field:ident: $ty:ty) => {
            #[derive(Auditable)]
            struct $name {
                #[auditable(id)]
                id: u8,
                $field: $ty,
            }
        };
    }
    model!(Made, value: Option<u8>);
    assert_eq!(of(&Made { id: 1, value: None }).as_str(), r#"{"id":1,"value":null}"#);
}

#[derive(Auditable)]
struct Holder<T> {
    #[auditable(id)]
    id: u8,
    value: T,
}

fn holder<T>(value: T) -> Holder<T> {
    Holder { id: 1, value }
}

#[test]
fn not_a_number_is_null_and_equals_itself() {
    assert_eq!(change(&holder(f64::NAN), &holder(f64::NAN)), None);
    let changed = change(&holder(1.5), &holder(f64::NAN)).unwrap();
    assert_eq!(changed, (r#"{"value":1.5}"#.to_owned(), r#"{"value":null}"#.to_owned()));
}

#[test]
fn a_map_in_another_order_is_no_change() {
    let ordered = |keys: &[&str]| {
        let pairs: Vec<String> =
            keys.iter().map(|key| format!(r#""{key}":{{"a":1,"b":[2]}}"#)).collect();
        RawValue::from_string(format!("{{{}}}", pairs.join(","))).unwrap()
    };
    assert_eq!(change(&holder(ordered(&["x", "y"])), &holder(ordered(&["y", "x"]))), None);
    // Two hash maps of the same content seldom agree on an order.
    let hashed = || (0..50).map(|key| (key.to_string(), key)).collect::<HashMap<_, _>>();
    assert_eq!(change(&holder(vec![hashed()]), &holder(vec![hashed()])), None);
    assert!(change(&holder(vec![1, 2]), &holder(vec![2, 1])).is_some());
    assert!(change(&holder(ordered(&["x"])), &holder(ordered(&["x", "y"]))).is_some());
}

#[test]
fn numbers_that_no_float_tells_apart_do_differ() {
    let one = BTreeMap::from([("n", u128::MAX)]);
    let other = BTreeMap::from([("n", u128::MAX - 1)]);
    assert!(change(&holder(one), &holder(other)).is_some());
}

#[test]
fn raw_json_is_made_compact_and_checked() {
    let raw = |text: &str| holder(RawValue::from_string(text.to_owned()).unwrap());
    assert_eq!(of(&raw("{ \"a\" :\n1 }")).as_str(), r#"{"id":1,"value":{"a":1}}"#);
    let fault = |text: &str| Event::created(&raw(text)).unwrap_err().to_string();
    assert_eq!(fault(r#"{"a":1,"a":2}"#), "value: a: the key stands twice in one object");
    assert_eq!(
        fault("1e999"),
        "value: the number 1e999 is beyond what a 64-bit float holds (about 1.8e308)"
    );
    assert_eq!(
        fault(r#"[{"$annals":{"kind":"redacted"}}]"#),
        "value: [0]: the key \"$annals\" is reserved for the marks that Annals writes"
    );
}

#[test]
fn a_value_that_is_not_json_is_a_fault_of_its_field() {
    let fault = Event::created(&holder(HashMap::from([((1, 2), 3)]))).unwrap_err();
    assert_eq!(fault.to_string(), "value: cannot be written as JSON: key must be a string");
    let change = Event::updated(&holder(HashMap::new()), &holder(HashMap::from([((1, 2), 3)])));
    assert_eq!(change.unwrap_err(), fault);
}

#[test]
fn deep_values_are_refused_at_capture() {
    #[derive(Serialize)]
    struct Deep(Option<Box<Deep>>);
    #[derive(Serialize)]
    struct Wrap {
        inner: Option<Box<Wrap>>,
    }
    let deep = (0..65).fold(Wrap { inner: None }, |inner, _| Wrap { inner: Some(Box::new(inner)) });
    let fault = Event::created(&holder(deep)).unwrap_err();
    assert!(fault.to_string().ends_with("nested deeper than 64 levels"), "{fault}");
    // A newtype does not nest.
    let flat = (0..65).fold(Deep(None), |inner, _| Deep(Some(Box::new(inner))));
    assert!(Event::created(&holder(flat)).is_ok());
}

#[test]
fn fields_named_by_hand_are_checked_when_running() {
    struct ByHand(&'static [&'static str]);
    impl Auditable for ByHand {
        const ENTITY_TYPE: &'static str = "by_hand";
        fn entity_id(&self) -> String {
            "1".to_owned()
        }
        fn fields(&self, fields: &mut Fields) {
            for (index, name) in self.0.iter().enumerate() {
                fields.add(*name, &index);
            }
        }
    }
    let fault = |names| Event::created(&ByHand(names)).unwrap_err().to_string();
    assert_eq!(fault(&["a", "b", "a"]), "a: is named twice");
    assert_eq!(
        fault(&["$annals"]),
        "$annals: is the key that is reserved for the marks that Annals writes"
    );
    // Fields that only one side has are a change of their own.
    let changed = change(&ByHand(&["a", "b"]), &ByHand(&["b", "c"])).unwrap();
    assert_eq!(changed, (r#"{"a":0,"b":1}"#.to_owned(), r#"{"b":0,"c":1}"#.to_owned()));
}
