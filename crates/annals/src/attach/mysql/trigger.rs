//! The text of a trigger.
//!
//! Its values are written out for the columns that the table has now, each by its type.
//! A value that is too long is cut and marked; if the event is too long all the same,
//! it is made again with shorter values, so that nothing of it ever stops the
//! application's statement.

use super::super::{AttachOptions, Operation};
use crate::event::{PERSONAL_AFTER, PERSONAL_BEFORE, REDACTED};

/// Bytes of a value that an event holds at first; longer ones are cut and marked.
const LONGEST: usize = 65_536;

/// Bytes that an event may have beside what is known of who acts.
const EVENT: usize = 200_000;

/// One column of a table.
pub(super) struct Column {
    pub(super) name: String,
    /// Its type without its length: `varchar`.
    pub(super) kind: String,
    /// Its type: `varchar(255)`.
    pub(super) whole: String,
    /// Its place in the key, if it is in it.
    pub(super) key: Option<usize>,
}

/// A table and how it is to be attached.
pub(super) struct Table {
    pub(super) name: String,
    pub(super) entity_type: String,
    pub(super) columns: Vec<Column>,
    pub(super) options: AttachOptions,
}

impl Table {
    /// The statements that make the triggers.
    pub(super) fn triggers(&self) -> Vec<String> {
        self.options.operations.iter().map(|operation| self.trigger(*operation)).collect()
    }

    fn trigger(&self, operation: Operation) -> String {
        let name = self.trigger_name(operation);
        let body = match operation {
            Operation::Insert => self.event("created", "NEW", None, Some(&self.all("NEW"))),
            Operation::Delete => self.event("deleted", "OLD", Some(&self.all("OLD")), None),
            Operation::Update => {
                let moved: Vec<String> = self.keys().map(Column::differs).collect();
                let changed: Vec<String> = self.shown().map(Column::differs).collect();
                format!(
                    "IF {} THEN\n{}{}ELSEIF {} THEN\n{}END IF;\n",
                    moved.join(" OR "),
                    self.event("deleted", "OLD", Some(&self.all("OLD")), None),
                    self.event("created", "NEW", None, Some(&self.all("NEW"))),
                    changed.join(" OR "),
                    self.event(
                        "updated",
                        "NEW",
                        Some(&self.changed("OLD")),
                        Some(&self.changed("NEW"))
                    ),
                )
            }
        };
        format!(
            "CREATE TRIGGER {} AFTER {} ON {} FOR EACH ROW\nBEGIN\n\
             DECLARE annals_longest INT;\n\
             DECLARE annals_event LONGTEXT CHARACTER SET utf8mb4;\n{body}END",
            quoted(&name),
            operation.as_str().to_uppercase(),
            quoted(&self.name)
        )
    }

    /// A trigger's name is as long as a table's, at most: 64 characters.
    fn trigger_name(&self, operation: Operation) -> String {
        let name = format!("annals_capture_{}_{}", operation.as_str(), self.name);
        if name.chars().count() <= 64 {
            return name;
        }
        // FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv): the same at each attaching.
        let hash = self.name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let begin: String = name.chars().take(47).collect();
        format!("{begin}_{hash:016x}")
    }

    /// The columns that events show.
    fn shown(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !self.options.exclude.contains(&column.name))
    }

    /// The columns of the key, in its order.
    fn keys(&self) -> impl Iterator<Item = &Column> {
        let mut keys: Vec<&Column> =
            self.columns.iter().filter(|column| column.key.is_some()).collect();
        keys.sort_by_key(|column| column.key);
        keys.into_iter()
    }

    /// The fields of all values of a side, as SQL for a text.
    fn all(&self, side: &str) -> String {
        let field = |column: &Column| {
            format!("{}, {}", text(&format!("{}:", json(&column.name))), self.value(side, column))
        };
        format!("CONCAT({})", self.shown().map(field).collect::<Vec<_>>().join(", ',', "))
    }

    /// The fields of the values of a side that changed, as SQL for a text.
    fn changed(&self, side: &str) -> String {
        let field = |column: &Column| {
            format!(
                "IF({}, CONCAT({}, {}), '')",
                column.differs(),
                text(&format!(",{}:", json(&column.name))),
                self.value(side, column)
            )
        };
        format!("SUBSTRING(CONCAT({}), 2)", self.shown().map(field).collect::<Vec<_>>().join(", "))
    }

    /// A value as JSON, as SQL for a text.
    fn value(&self, side: &str, column: &Column) -> String {
        let value = column.json(side);
        if self.options.redact.contains(&column.name) {
            text(REDACTED)
        } else if self.options.personal.contains(&column.name) {
            format!("CONCAT({}, {value}, {})", text(PERSONAL_BEFORE), text(PERSONAL_AFTER))
        } else {
            value
        }
    }

    /// The statements that enqueue one event.
    fn event(&self, action: &str, side: &str, old: Option<&str>, new: Option<&str>) -> String {
        let part = |column: &Column| {
            let part = column.text(side);
            match self.keys().count() {
                1 => part,
                _ => format!("REPLACE(REPLACE({part}, '%', '%25'), ',', '%2C')"),
            }
        };
        let key = self.keys().map(part).collect::<Vec<_>>().join(", ',', ");
        let key = format!("CONCAT({key})");
        let key = format!(
            "IF(OCTET_LENGTH({key}) > 255, CONCAT(LEFT({key}, 40), '~', SHA2({key}, 256)), {key})"
        );
        let head = format!(
            "\"action\":\"{action}\",\"entity\":{{\"type\":{},\"id\":",
            json(&self.entity_type)
        );
        let values = |name: &str, fields: Option<&str>| match fields {
            Some(fields) => format!(", ',\"{name}\":{{', {fields}, '}}'"),
            None => String::new(),
        };
        format!(
            "SET annals_longest = {LONGEST};\n\
             annals_fit_{action}: LOOP\n\
             SET annals_event = CONCAT({}, JSON_QUOTE({key}), '}}'{}{});\n\
             IF annals_longest < 64 OR OCTET_LENGTH(annals_event) <= {EVENT} THEN LEAVE annals_fit_{action}; END IF;\n\
             SET annals_longest = annals_longest DIV 4;\n\
             END LOOP;\n\
             CALL annals_capture(annals_event, {});\n",
            text(&head),
            values("old_values", old),
            values("new_values", new),
            text(&self.name),
        )
    }
}

impl Column {
    /// Whether its value is another than before, to the byte.
    fn differs(&self) -> String {
        let name = quoted(&self.name);
        match self.is_plain() {
            true => format!("NOT (OLD.{name} <=> NEW.{name})"),
            false => format!("NOT (CAST(OLD.{name} AS BINARY) <=> CAST(NEW.{name} AS BINARY))"),
        }
    }

    /// Whether it is a number or a time, which is equal when it reads the same.
    fn is_plain(&self) -> bool {
        self.is_number() || matches!(&*self.kind, "date" | "time" | "datetime" | "timestamp")
    }

    fn is_number(&self) -> bool {
        matches!(
            &*self.kind,
            "tinyint"
                | "smallint"
                | "mediumint"
                | "int"
                | "bigint"
                | "decimal"
                | "float"
                | "double"
                | "year"
                | "bit"
        )
    }

    fn is_binary(&self) -> bool {
        self.kind.ends_with("binary") || self.kind.ends_with("blob")
    }

    /// Its value as text, as SQL; null stays null.
    fn text(&self, side: &str) -> String {
        let value = format!("{side}.{}", quoted(&self.name));
        match &*self.kind {
            "bit" => format!("CAST({value} + 0 AS CHAR)"),
            _ if self.whole.contains("zerofill") => format!("CAST({value} + 0 AS CHAR)"),
            // It is shown in the session's time zone otherwise.
            "timestamp" => format!(
                "CAST(IFNULL(CONVERT_TZ({value}, @@session.time_zone, '+00:00'), {value}) AS CHAR)"
            ),
            "char" | "varchar" | "enum" | "set" => format!("CONVERT({value} USING utf8mb4)"),
            kind if kind.ends_with("text") => format!("CONVERT({value} USING utf8mb4)"),
            _ if self.is_binary() => format!("CONCAT('\\\\x', LOWER(HEX({value})))"),
            "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geometry" | "geometrycollection" | "geomcollection" => {
                format!("ST_AsText({value})")
            }
            _ => format!("CAST({value} AS CHAR)"),
        }
    }

    /// Its value as JSON, as SQL for a text.
    fn json(&self, side: &str) -> String {
        let value = format!("{side}.{}", quoted(&self.name));
        let text = self.text(side);
        if self.is_number() {
            return format!("IFNULL({text}, 'null')");
        }
        if self.is_plain() {
            return format!("IFNULL(JSON_QUOTE({text}), 'null')");
        }
        let mark = format!(
            "CONCAT('{{\"$annals\":{{\"kind\":\"truncated\",\"length\":', OCTET_LENGTH({value}), \
             ',\"sha256\":\"', SHA2({value}, 256), '\"}}}}')"
        );
        let longest = if self.is_binary() { "annals_longest DIV 2" } else { "annals_longest" };
        // Looked at before it is quoted, which may be more than a packet holds.
        format!(
            "IFNULL(IF(OCTET_LENGTH({value}) > {longest}, {mark}, \
             IF(OCTET_LENGTH(JSON_QUOTE({text})) > annals_longest * 2, {mark}, JSON_QUOTE({text}))), 'null')"
        )
    }
}

/// A name as SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as SQL.
fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A text as JSON.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
