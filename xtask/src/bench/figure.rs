//! Figures: rates and ratios in integers (floats are refused in this repository), printed as a
//! table and a JSON line.

use std::time::Duration;

use crate::Outcome;

/// Things per second.
pub(super) fn per_second(count: u64, took: Duration) -> u64 {
    let nanos = took.as_nanos().max(1);
    u64::try_from(u128::from(count) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

/// A ratio in thousandths.
fn thousandths(value: u64, baseline: u64) -> u64 {
    u64::try_from(u128::from(value) * 1000 / u128::from(baseline.max(1))).unwrap_or(u64::MAX)
}

fn decimal(thousandths: u64) -> String {
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

/// A benchmark's outcome.
pub(super) struct Figure<'a> {
    pub(super) bench: &'a str,
    pub(super) value: u64,
    pub(super) unit: &'a str,
    /// What it is compared with: a measured baseline by name, or the goal itself.
    pub(super) baseline: Option<(&'a str, u64)>,
    pub(super) goal: &'a str,
    /// Further lines of the table.
    pub(super) details: Vec<(String, String)>,
}

impl Figure<'_> {
    /// Table and JSON line.
    pub(super) fn report(&self) -> Outcome<String> {
        let mut lines = vec![
            format!("{}: {} {}", self.bench, self.value, self.unit),
            format!("  goal: {}", self.goal),
        ];
        let ratio = self.baseline.map(|(name, value)| {
            let ratio = decimal(thousandths(self.value, value));
            lines.push(format!("  baseline: {value} {} ({name}), ratio {ratio}", self.unit));
            ratio
        });
        lines.extend(self.details.iter().map(|(name, value)| format!("  {name}: {value}")));
        // The ratio is a JSON number; its text is made of digits and one point.
        let number = |text: String| text.parse::<serde_json::Number>();
        let json = serde_json::json!({
            "bench": self.bench,
            "value": self.value,
            "unit": self.unit,
            "baseline": self.baseline.map(|(name, value)| serde_json::json!({"name": name, "value": value})),
            "ratio": ratio.map(number).transpose()?,
            "goal": self.goal,
        });
        lines.push(json.to_string());
        Ok(lines.join("\n"))
    }
}
