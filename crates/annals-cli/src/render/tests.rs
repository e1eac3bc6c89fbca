use annals::event::accept;
use annals::{Event, Timestamp};

use super::diff::diff;
use super::line::{Clock, line};
use super::table::Table;
use super::{shown, size};

const UPDATED: &str = r#"{"id":"01a202b2-c57b-71f3-8a2b-5c0d9e4f1a67","action":"updated",
    "entity":{"type":"product","id":"42"},
    "actor":{"type":"user","id":"7","name":"Jo Doe","on_behalf_of":{"type":"user","id":"9"}},
    "tenant":"acme","context":{"ip":"203.0.113.9","request_id":"r-1"},
    "old_values":{"price":1000,"name":"Lampe à huile","supplier":{"$annals":{"kind":"redacted"}}},
    "new_values":{"price":1200,"name":"Lamp","supplier":{"$annals":{"kind":"redacted"}}},
    "reason":"new price list","tags":["spring","sale"]}"#;

const CREATED: &str = r#"{"id":"01a202b2-c57b-71f3-8a2b-5c0d9e4f1a67","action":"created",
    "entity":{"type":"product","id":"43"},"actor":{"type":"job","id":"import"},
    "new_values":{"a":1,"bb":"two","ccc":[1,2],"dddd":null,"eeeee":{"x":{"y":1}},"f":true}}"#;

const DENIED: &str = r#"{"id":"01a202b2-c57b-71f3-8a2b-5c0d9e4f1a67","action":"deleted","outcome":"denied",
    "entity":{"type":"product","id":"44"},"old_values":{"price":1,"weight_in_grams":250}}"#;

/// What a stranger might send to make a terminal lie: an escape sequence, a
/// right-to-left override, a line break, a C1 control and a hidden character.
const HOSTILE: &str = "{\"id\":\"01a202b2-c57b-71f3-8a2b-5c0d9e4f1a67\",\"action\":\"up\\u001b[2Jdated\",
    \"entity\":{\"type\":\"product\",\"id\":\"4\u{202e}2\"},\"actor\":{\"name\":\"Jo\\nroot deleted user:1\"},
    \"new_values\":{\"k\\u0007ey\":\"\\u001b]0;title\\u0007\u{9b}31m\",\"b\u{200b}\":[\"\\u001b\",\"\u{2066}\"]},
    \"reason\":\"a\\r\\tb\"}";

fn event(text: &str) -> Event {
    accept(text).unwrap().event
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn one_line_an_event() {
    let lines: Vec<String> = [UPDATED, CREATED, DENIED, HOSTILE]
        .iter()
        .map(|text| plain(&line(&event(text), Clock::Date)))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
    assert!(
        line(&event(UPDATED), Clock::Time).contains("04:00:00") || !lines[0].contains("04:00:00")
    );
}

#[test]
fn one_block_an_event() {
    let blocks: Vec<String> =
        [UPDATED, CREATED, DENIED, HOSTILE].iter().map(|text| plain(&diff(&event(text)))).collect();
    insta::assert_snapshot!(blocks.join("\n"));
}

#[test]
fn colours_are_there_for_those_who_see_them() {
    let coloured = line(&event(UPDATED), Clock::Date);
    assert!(
        coloured.contains("\u{1b}[31m1000\u{1b}[0m -> \u{1b}[32m1200\u{1b}[0m"),
        "{coloured:?}"
    );
}

#[test]
fn nothing_of_an_event_reaches_the_terminal_unescaped() {
    let event = event(HOSTILE);
    for text in [line(&event, Clock::Date), diff(&event)] {
        for (index, row) in plain(&text).split('\n').enumerate() {
            assert_eq!(shown(row), row, "row {index} of {text:?}");
        }
        assert!(!plain(&text).contains("\nroot"));
    }
    assert_eq!(line(&event, Clock::Date).lines().count(), 1);
}

#[test]
fn what_is_harmless_is_shown_as_it_is() {
    for text in ["Jo Doe", "Ωμέγα", "日本", "👩‍👧", "می‌خواهم", "a\\u{1b}b"]
    {
        assert_eq!(shown(text), text);
    }
    assert_eq!(shown("\u{1b}[31m\u{202e}\u{7f}"), "\\u{1b}[31m\\u{202e}\\u{7f}");
}

#[test]
fn tables_align() {
    let mut table = Table::new(&["NAME", ">COUNT", "NOTE"]);
    table.row(["ready", "12,345", "ok"]);
    table.row(["é", "1", ""]);
    assert_eq!(
        plain(&table.to_string()),
        "NAME    COUNT  NOTE\nready  12,345  ok\né           1  \n"
    );
}

#[test]
fn figures_are_rounded_for_reading() {
    assert_eq!(size::count(0), "0");
    assert_eq!(size::count(1_234_567), "1,234,567");
    assert_eq!(size::bytes(1023), "1023 B");
    assert_eq!(size::bytes(1_500_000), "1.4 MiB");
    assert_eq!(size::bytes(u64::MAX), "16777215.9 TiB");
    let before: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
    let after: Timestamp = "2026-11-24T13:30:00Z".parse().unwrap();
    assert_eq!(size::age(after.since(before)), "2d 3h");
    assert_eq!(size::age(std::time::Duration::from_millis(1500)), "1.5s");
    assert_eq!(size::plural(1, "event"), "1 event");
}
