//! What was measured, as it is printed.

/// Seconds, one for each round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series(pub(crate) Vec<f64>);

impl Series {
    /// The middle one.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The median of the ratios within each round: what the machine did to one, it did to both.
    pub(crate) fn over(&self, other: &Self) -> f64 {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect()).median()
    }
}

/// Which way a ratio is to lie of its goal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

/// A row's heading, in front of its figures.
pub(crate) fn heading(text: &str) {
    println!("\n{text}");
}

/// A figure without a goal.
pub(crate) fn figure(what: &str, value: f64, unit: &str) {
    println!("  {what:<44} {value:>9.3} {unit}");
}

/// A figure with one. Answers whether it is met.
pub(crate) fn against(what: &str, value: f64, unit: &str, goal: Goal) -> bool {
    let is_met = goal.is_met(value);
    let (sign, bound) = match goal {
        Goal::AtMost(most) => ('≤', most),
        Goal::AtLeast(least) => ('≥', least),
    };
    let verdict = if is_met { "met" } else { "MISSED" };
    println!("  {what:<44} {value:>9.3} {unit:<7} goal {sign} {bound}: {verdict}");
    is_met
}
