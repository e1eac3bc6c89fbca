//! The few colours.

use anstyle::{AnsiColor, Style};

/// What stands back: times, ids.
pub(crate) const DIM: Style = Style::new().dimmed();
/// What stands out: an entity, a heading.
pub(crate) const BOLD: Style = Style::new().bold();
/// What was, what is wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// What is now, what is right.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What wants attention.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// What to do.
pub(crate) const HINT: Style = AnsiColor::Cyan.on_default();
