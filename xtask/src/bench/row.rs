//! A row of the table: as a bench printed it, and as it is kept.

use serde_json::{Value, json};

/// What was measured; see `crates/annals/benches/bench/row.rs`.
pub(super) struct Row {
    pub(super) bench: String,
    pub(super) what: String,
    pub(super) unit: String,
    /// The day.
    pub(super) on: String,
    pub(super) rounds: u64,
    pub(super) ours: Span,
    pub(super) reference: Option<Span>,
    /// The median of each pair's ratio: what disturbs the machine for a while
    /// disturbs both of a pair.
    pub(super) ratio: Option<f64>,
    pub(super) target: Option<Target>,
}

/// How far samples lie apart.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) least: f64,
    pub(super) median: f64,
    pub(super) most: f64,
}

/// What must hold for the median.
#[derive(Clone, Copy)]
pub(super) enum Target {
    RatioAtMost(f64),
    RatioAtLeast(f64),
    AtMost(f64),
    AtLeast(f64),
}

impl Row {
    /// Reads a line that a bench printed today; `None` if it is none of ours.
    pub(super) fn read(line: &str, today: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let samples = |key: &str| -> Option<Vec<f64>> {
            value.get(key)?.as_array()?.iter().map(Value::as_f64).collect()
        };
        let (ours, reference) = (samples("ours")?, samples("reference")?);
        let pairs = ours.iter().zip(&reference);
        let ratios: Vec<f64> = pairs.map(|(ours, reference)| ours / reference).collect();
        Self::of(
            &value,
            today.to_owned(),
            u64::try_from(ours.len()).ok()?,
            Span::of(&ours)?,
            Span::of(&reference),
            Span::of(&ratios).map(|ratios| ratios.median),
        )
    }

    /// Reads a line that [`Self::kept`] wrote.
    pub(super) fn read_kept(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let span = |key: &str| -> Option<Span> {
            let figure = |index: usize| value.get(key)?.get(index)?.as_f64();
            Some(Span { least: figure(0)?, median: figure(1)?, most: figure(2)? })
        };
        Self::of(
            &value,
            value.get("on")?.as_str()?.to_owned(),
            value.get("rounds")?.as_u64()?,
            span("ours")?,
            span("reference"),
            value.get("ratio")?.as_f64(),
        )
    }

    fn of(
        value: &Value,
        on: String,
        rounds: u64,
        ours: Span,
        reference: Option<Span>,
        ratio: Option<f64>,
    ) -> Option<Self> {
        let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        let limit = |name: &str| value.get("target")?.get(name)?.as_f64();
        let target = limit("ratio_at_most")
            .map(Target::RatioAtMost)
            .or(limit("ratio_at_least").map(Target::RatioAtLeast))
            .or(limit("at_most").map(Target::AtMost))
            .or(limit("at_least").map(Target::AtLeast));
        let (bench, what, unit) = (text("bench")?, text("what")?, text("unit")?);
        Some(Self { bench, what, unit, on, rounds, ours, reference, ratio, target })
    }

    /// A line of JSON to keep.
    pub(super) fn kept(&self) -> String {
        let span = |span: Span| json!([span.least, span.median, span.most]);
        let target = self.target.map(|target| match target {
            Target::RatioAtMost(limit) => json!({ "ratio_at_most": limit }),
            Target::RatioAtLeast(limit) => json!({ "ratio_at_least": limit }),
            Target::AtMost(limit) => json!({ "at_most": limit }),
            Target::AtLeast(limit) => json!({ "at_least": limit }),
        });
        json!({
            "bench": self.bench, "what": self.what, "unit": self.unit, "on": self.on,
            "rounds": self.rounds, "ours": span(self.ours), "reference": self.reference.map(span),
            "ratio": self.ratio, "target": target,
        })
        .to_string()
    }

    /// Whether the target is met, if there is one.
    pub(super) fn met(&self) -> Option<bool> {
        let ratio = self.ratio.unwrap_or(f64::NAN);
        self.target.map(|target| match target {
            Target::RatioAtMost(limit) => ratio <= limit,
            Target::RatioAtLeast(limit) => ratio >= limit,
            Target::AtMost(limit) => self.ours.median <= limit,
            Target::AtLeast(limit) => self.ours.median >= limit,
        })
    }
}

impl Span {
    /// `None` without samples.
    fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let half = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            1 => sorted[half],
            _ => f64::midpoint(*sorted.get(half.checked_sub(1)?)?, sorted[half]),
        };
        Some(Self { least: *sorted.first()?, median, most: *sorted.last()? })
    }
}
