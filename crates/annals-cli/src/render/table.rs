//! Columns.

use std::fmt::{self, Display};

use anstyle::Style;

use super::style::BOLD;

/// How wide a text stands on a terminal, near enough: one column a character.
pub(crate) fn width(text: &str) -> usize {
    text.chars().count()
}

/// Rows of aligned columns under a heading. The cells are plain text that is
/// safe to show; a row may have a style of its own.
#[derive(Debug)]
pub(crate) struct Table {
    heading: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<(Style, Vec<String>)>,
}

impl Table {
    /// A table with these headings; one that begins with `>` heads numbers, which
    /// stand to the right.
    pub(crate) fn new(heading: &[&'static str]) -> Self {
        Self {
            heading: heading.iter().map(|title| title.trim_start_matches('>')).collect(),
            right: heading.iter().map(|title| title.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// A table of names and values, without a heading.
    pub(crate) fn plain() -> Self {
        Self { heading: Vec::new(), right: Vec::new(), rows: Vec::new() }
    }

    pub(crate) fn row<I, C>(&mut self, cells: I)
    where
        I: IntoIterator<Item = C>,
        C: Into<String>,
    {
        self.styled(Style::new(), cells);
    }

    pub(crate) fn styled<I, C>(&mut self, style: Style, cells: I)
    where
        I: IntoIterator<Item = C>,
        C: Into<String>,
    {
        self.rows.push((style, cells.into_iter().map(Into::into).collect()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.heading.iter().map(|title| width(title)).collect();
        for (_, cells) in &self.rows {
            widths.resize(widths.len().max(cells.len()), 0);
            for (known, cell) in widths.iter_mut().zip(cells) {
                *known = (*known).max(width(cell));
            }
        }
        widths
    }

    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        style: Style,
        cells: &[&str],
        widths: &[usize],
    ) -> fmt::Result {
        for (index, (cell, most)) in cells.iter().zip(widths).enumerate() {
            let pad = most.saturating_sub(width(cell));
            let right = self.right.get(index).copied().unwrap_or(false);
            let last = index + 1 == cells.len();
            let (before, after) = if right { (pad, 0) } else { (0, if last { 0 } else { pad }) };
            let gap = if last { 0 } else { 2 };
            write!(f, "{:before$}{style}{cell}{style:#}{:after$}{:gap$}", "", "", "")?;
        }
        writeln!(f)
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        if !self.heading.is_empty() {
            self.write(f, BOLD, &self.heading, &widths)?;
        }
        for (style, cells) in &self.rows {
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            self.write(f, *style, &cells, &widths)?;
        }
        Ok(())
    }
}
