//! The table and the page it stands on.

use super::row::{Row, Span, Target};
use crate::machine;

/// What each reference does, by bench.
const REFERENCES: [(&str, &str); 23] = [
    (
        "record",
        "Ours is `audit.updated(&before, &after)`: it takes the difference of two values of a \
         type with eight fields, all of which changed, checks and encodes the event with what \
         the scope knows, numbers it and puts it into the buffer. The reference serializes the \
         same event (id, time and sequence number made in the call, the same context and actor, \
         the same two values through `#[derive(Serialize)]`) with serde_json into a vector that \
         it reuses, and writes that to tracing-appender's non-blocking writer; it compares \
         nothing and checks nothing. Behind both, a thread counts what arrives and drops it. \
         Bursts of 1,000 calls in turns, each waited out; a program that drops events fails.",
    ),
    (
        "latency",
        "The same two calls, each timed alone. A caller makes one every 100 us and gives its turn \
         away in between. The clock's rows do the same with an empty call: what they show is the \
         machine's doing, not the code's. In the rows after sleeping, each call comes right after \
         the thread slept, with cold caches.",
    ),
    (
        "durable",
        "Ours: 64 tasks that each await the receipt of one event after the other, into the \
         SQLite transport with `synchronous=FULL`. The reference appends 600 bytes to a file \
         and calls fdatasync, on one thread, again and again.",
    ),
    (
        "drain",
        "Ours: a worker empties the SQLite transport (leases, acknowledgements) into the SQLite \
         store (columns read from the event, duplicates found, salts, leaves, tiles, head). \
         The reference selects a batch from a queue table whose columns are ready, inserts it \
         into a table with the same columns (no salt) and the same indexes, commits with \
         `synchronous=FULL`, deletes it and commits with `synchronous=NORMAL`, as ours; the \
         same pragmas, the same 30,000 events.",
    ),
    (
        "drain-file",
        "Ours: a worker empties a transport into a file: one in memory, so that the file's part \
         shows, and the SQLite transport, whose reads, leases and acknowledgements then count \
         too. The reference has the same events in memory, and writes and syncs (fdatasync) \
         them batch by batch: it reads no queue and takes nothing out of one.",
    ),
    (
        "history",
        "An entity's 100 events, evenly spread over the store, read through the library; another \
         entity each time, so that their pages are not in the connection's cache. The reference \
         of the last row is the first row.",
    ),
    (
        "outbox",
        "A transaction on PostgreSQL that inserts one row and then an event, taken by difference \
         and encoded, with `record_in`; the reference inserts a row of the same bytes into a plain \
         table instead. Microseconds a transaction and writer, over a connection each.",
    ),
    (
        "drain-postgres",
        "Ours: a worker empties a transport in memory into the PostgreSQL store. The reference \
         sends the same rows, encoded before the clock runs, as a binary COPY a batch into the \
         same partition with the same indexes, without log; with two workers, over two connections \
         that take turns. A new database each time, and no checkpoint while it runs, here and in \
         the next two.",
    ),
    (
        "log-postgres",
        "The same with one worker, beside the same worker with a store that has no log: it makes \
         the rows of a batch and copies them into the same partition, without hashes, tiles and \
         head, and without a look for duplicates.",
    ),
    (
        "move-postgres",
        "Ours: a worker moves events from the PostgreSQL transport to the store in the same \
         database. The reference has a queue table with the store's columns ready, and moves a \
         batch with one statement, `DELETE … RETURNING` into `INSERT … SELECT`, without lease or \
         log; nothing leaves the server.",
    ),
    (
        "attach",
        "One statement updates 10,000 rows of a table with ten columns, or one row (the best of \
         50). The usual way: a row-level trigger that inserts `to_jsonb(old)` and `to_jsonb(new)` \
         into a table.",
    ),
    (
        "lag",
        "Four writers commit 2,000 transactions a second in all, each with a `record_in`; a worker \
         (batches of up to 1,000, a flush interval of 2 ms) moves them to the store in the same \
         database; a reader asks for new positions every millisecond. From the return of COMMIT to \
         the return of the read.",
    ),
    (
        "history-postgres",
        "Events spread over twelve months, a hundred of each entity and of each actor, read through \
         the library, and proved; batches of 100 appended to the large store and the small one in \
         turns; then months pruned as `annals prune` does it, listed, signed and told of, the oldest \
         first, while batches of 100 are appended.",
    ),
    (
        "drain-laravel",
        "Rows that a real application pushed, each with an id of its own, from a Redis list into the \
         table `audits` as its package made it; ours with batches of 1,000. The PHP worker does what \
         the application's own does, without a framework: LPOP one by one, json_decode, and an \
         insert of a hundred rows with a statement prepared each time (php-redis and PDO). The bulk \
         load has the same rows encoded before the clock runs, and sends 1,000 at a time over one \
         connection, as a binary COPY.",
    ),
    (
        "drain-laravel-mariadb",
        "The same on MariaDB; the bulk load is a multi-row INSERT that stays prepared.",
    ),
    (
        "request",
        "The sample shop on loopback under its driver, 500 requests a second, with a buffered \
         handle on the SQLite transport and without any; a new shop each time.",
    ),
    (
        "server",
        "`annals serve` as a process of its own on the embedded default, asked over kept \
         connections by a process on the same two cores. Ingest: eight connections with batches \
         of 100 events of 600 bytes, 64 with one event a request; the reference encodes the same \
         events and sends them into such a queue, eight batches side by side. A page is asked for \
         300 times a round. Tail: from an event's own time to when each of the listeners has read \
         it, 25 events each 50 ms.",
    ),
    (
        "memory",
        "`annals work` as a process of its own, batches of 100: the peak of its resident memory \
         (VmHWM) while it drains for some seconds; and of `annals verify` over what was stored.",
    ),
    (
        "record-redis",
        "Ours is `audit.updated(&before, &after)` with a Redis (`appendfsync always`) as transport, \
         the reference the same call with the SQLite transport. Bursts of 1,000 calls in turns, each \
         waited out until it is durable, which is not counted.",
    ),
    (
        "redis-away",
        "One caller, a call every 500 us, each timed alone: a minute with Redis there, then a minute \
         with Redis stopped, in parts of ten seconds. Then it is started, and the bench fails if an \
         event is missing or comes before its predecessor.",
    ),
    (
        "drain-redis",
        "As drain-postgres with one worker, but from a Redis stream (`appendfsync always`), whose \
         reads, leases and acknowledgements then count too; beside the same COPY.",
    ),
    (
        "verify",
        "`verify` of a million events, through the library, on two cores. The reference reads the same \
         rows in the same stretches and looks at none of them. The bytes are those of the tables of \
         the log, by PostgreSQL's own count, and of the salt.",
    ),
    (
        "seal",
        "A worker empties a transport in memory into a store and seals two of the eight fields of \
         each event, in old and new values, for a thousand subjects; the reference is the same \
         worker without a sealer. Four sealed values make an event of 640 bytes one of 1,170: \
         beside events as long, what is left is sealing itself.",
    ),
];

/// The row in one line, for whoever watches.
pub(super) fn line(row: &Row) -> String {
    cells(row).join("  ")
}

/// All rows as a Markdown table.
pub(super) fn table(rows: &[Row]) -> String {
    let head = ["what", "ours", "reference", "ratio", "target", "met"].map(str::to_owned);
    let mut lines = vec![head];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: [usize; 6] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            out.push_str(&match column {
                0 => format!("| {cell:width$} "),
                _ => format!("| {cell:>width$} "),
            });
        }
        out.push_str("|\n");
        if number == 0 {
            out.push_str("|---|--:|--:|--:|--:|--:|\n");
        }
    }
    out
}

/// The whole page.
pub(super) fn page(rows: &[Row]) -> String {
    let mut page = format!(
        "# Benchmarks\n\n\
         Written by `cargo xtask bench` from `benchmarks.jsonl`; not edited by hand.\n\n\
         {}\n\
         Each figure is the median of the rounds, on the day, in the last table. Ours and its \
         reference run in turns in one process; the ratio (ours over the reference) is the \
         median of the pairs' ratios, since what disturbs the machine for a while disturbs both \
         of a pair.\n\n\
         The machine:\n\n{}\n\
         ## What is compared\n\n",
        table(rows),
        machine::description(),
    );
    for (bench, text) in REFERENCES {
        page.push_str(&format!("**{bench}.** {text}\n\n"));
    }
    page.push_str("## How far the rounds lie apart\n\n");
    page.push_str("| bench | what | on | rounds | ours, least to most | reference, least to most |\n|---|---|---|--:|--:|--:|\n");
    for row in rows {
        let spread = |span: Span| format!("{} to {}", number(span.least), number(span.most));
        page.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            row.bench,
            row.what,
            row.on,
            row.rounds,
            spread(row.ours),
            row.reference.map_or("-".to_owned(), spread),
        ));
    }
    page
}

fn cells(row: &Row) -> [String; 6] {
    let shown = |span: Span| format!("{} {}", number(span.median), row.unit);
    let target = match row.target {
        None => "-".to_owned(),
        Some(Target::RatioAtMost(limit)) => format!("ratio ≤ {limit}"),
        Some(Target::RatioAtLeast(limit)) => format!("ratio ≥ {limit}"),
        Some(Target::AtMost(limit)) => format!("≤ {limit} {}", row.unit),
        Some(Target::AtLeast(limit)) => format!("≥ {limit} {}", row.unit),
    };
    let met = match row.met() {
        None => "-",
        Some(true) => "yes",
        Some(false) => "no",
    };
    [
        row.what.clone(),
        shown(row.ours),
        row.reference.map_or("-".to_owned(), shown),
        row.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
        target,
        met.to_owned(),
    ]
}

/// Three digits that count, with the thousands apart.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        10_000.0.. => return thousands(value),
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
