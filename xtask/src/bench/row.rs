//! A row of the table, as a bench printed it.

use serde_json::Value;

/// What was measured; see `crates/annals/benches/bench/row.rs`.
pub(super) struct Row {
    pub(super) bench: String,
    pub(super) what: String,
    pub(super) unit: String,
    pub(super) ours: Vec<f64>,
    pub(super) reference: Vec<f64>,
    pub(super) target: Option<Target>,
}

/// What must hold for the median.
#[derive(Clone, Copy)]
pub(super) enum Target {
    RatioAtMost(f64),
    RatioAtLeast(f64),
    AtMost(f64),
}

impl Row {
    /// Reads a line; `None` if it is none of ours.
    pub(super) fn read(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        let samples = |key: &str| -> Option<Vec<f64>> {
            value.get(key)?.as_array()?.iter().map(Value::as_f64).collect()
        };
        let limit = |name: &str| value.get("target")?.get(name)?.as_f64();
        Some(Self {
            bench: text("bench")?,
            what: text("what")?,
            unit: text("unit")?,
            ours: samples("ours")?,
            reference: samples("reference")?,
            target: limit("ratio_at_most")
                .map(Target::RatioAtMost)
                .or(limit("ratio_at_least").map(Target::RatioAtLeast))
                .or(limit("at_most").map(Target::AtMost)),
        })
    }

    /// The median of each pair's ratio: what disturbs the machine for a while
    /// disturbs both of a pair.
    pub(super) fn ratio(&self) -> Option<f64> {
        let pairs = self.ours.iter().zip(&self.reference);
        let ratios: Vec<f64> = pairs.map(|(ours, reference)| ours / reference).collect();
        (!ratios.is_empty()).then(|| median(&ratios))
    }

    /// Whether the target is met, if there is one.
    pub(super) fn met(&self) -> Option<bool> {
        let ratio = self.ratio().unwrap_or(f64::NAN);
        self.target.map(|target| match target {
            Target::RatioAtMost(limit) => ratio <= limit,
            Target::RatioAtLeast(limit) => ratio >= limit,
            Target::AtMost(limit) => median(&self.ours) <= limit,
        })
    }
}

pub(super) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}
