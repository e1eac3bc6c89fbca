//! NDJSON as it comes in: numbered lines of bounded length, read on a thread of
//! their own, so that a slow pipe holds up nothing else.

use std::io::{self, BufRead, Read};
use std::thread;

use annals::event::MAX_EVENT_BYTES;
use tokio::sync::mpsc;

use crate::failure::Failure;

/// Bytes of a line, at most: an event at its limit, with white space and escapes.
const MAX_LINE_BYTES: usize = 4 * MAX_EVENT_BYTES;

/// Lines that wait to be taken.
const WAITING: usize = 64;

/// One line that is not blank.
#[derive(Debug)]
pub(crate) struct Line {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// The text, or what is wrong with it.
    pub(crate) text: Result<String, String>,
}

/// Reads lines from `source` until its end, an error, or until nobody takes them.
pub(crate) fn read<R>(source: R) -> Result<mpsc::Receiver<io::Result<Line>>, Failure>
where
    R: BufRead + Send + 'static,
{
    let (give, take) = mpsc::channel(WAITING);
    let reader = move || {
        let mut lines = Lines { source, number: 0 };
        while let Some(line) = lines.next().transpose() {
            let last = line.is_err();
            if give.blocking_send(line).is_err() || last {
                break;
            }
        }
    };
    // Detached: a read of stdin cannot be interrupted, and the process may leave.
    thread::Builder::new()
        .name("annals-lines".to_owned())
        .spawn(reader)
        .map_err(|error| Failure::failed(format!("read lines: {error}")))?;
    Ok(take)
}

struct Lines<R> {
    source: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let mut bytes = Vec::new();
            let limit = u64::try_from(MAX_LINE_BYTES + 1).unwrap_or(u64::MAX);
            self.source.by_ref().take(limit).read_until(b'\n', &mut bytes)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            self.number += 1;
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
            } else if bytes.len() > MAX_LINE_BYTES {
                self.skip()?;
                let what = format!("longer than the limit of {MAX_LINE_BYTES} bytes a line");
                return Ok(Some(Line { number: self.number, text: Err(what) }));
            }
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let text = String::from_utf8(bytes)
                .map_err(|error| format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()));
            return Ok(Some(Line { number: self.number, text }));
        }
    }

    /// Passes over the rest of a line.
    fn skip(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.source.fill_buf()?;
            if buffer.is_empty() {
                return Ok(());
            }
            match buffer.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.source.consume(end + 1);
                    return Ok(());
                }
                None => {
                    let all = buffer.len();
                    self.source.consume(all);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_bounded_and_checked() {
        let mut input = b"one\n\n  \ntwo\n\xff\xfe\n".to_vec();
        input.extend(vec![b'x'; MAX_LINE_BYTES + 10]);
        input.extend(b"\nlast");
        let mut lines = Lines { source: io::Cursor::new(input), number: 0 };
        let mut seen = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            seen.push((line.number, line.text));
        }
        assert_eq!(seen.len(), 5);
        assert_eq!(seen[0], (1, Ok("one".to_owned())));
        assert_eq!(seen[1], (4, Ok("two".to_owned())));
        assert_eq!(seen[2], (5, Err("not UTF-8 at byte 0".to_owned())));
        assert!(seen[3].0 == 6 && seen[3].1.as_ref().is_err_and(|what| what.contains("limit")));
        assert_eq!(seen[4], (7, Ok("last".to_owned())));
    }
}
