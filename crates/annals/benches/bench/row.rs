//! What a bench prints: one line of JSON for each row of the table.

use serde::Serialize;

/// What was measured, in pairs: the samples of ours and of the reference with the
/// same place were taken one right after the other.
#[derive(Serialize)]
pub struct Row<'a> {
    /// The name by which it is run.
    pub bench: &'a str,
    /// The row's first column.
    pub what: &'a str,
    /// Such as `ns` or `events/s`.
    pub unit: &'a str,
    pub ours: Vec<f64>,
    /// Empty if there is none.
    pub reference: Vec<f64>,
    /// `None` for what stands beside another row.
    pub target: Option<Target>,
}

/// What must hold for the median.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Ours over the reference.
    RatioAtMost(f64),
    /// Ours over the reference.
    RatioAtLeast(f64),
    /// Ours alone, in the row's unit.
    AtMost(f64),
}

impl Row<'_> {
    pub fn print(&self) {
        // Figures and names always can be written.
        println!("{}", serde_json::to_string(self).unwrap_or_default());
    }
}

/// The value that this share of the sorted samples does not exceed.
pub fn quantile(sorted: &[u32], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    let at = (last as f64 * share).round() as usize;
    sorted.get(at).copied().map_or(0.0, f64::from)
}
