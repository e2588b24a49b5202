//! Sets of message numbers (RFC 3501, `sequence-set`).

/// Numbers and ranges as a client wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set(Vec<(u32, u32)>);

/// What `*` is written as: the largest number there is, whichever that is.
const STAR: u32 = 0;

impl Set {
    /// `2,4:7,9:*`.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| match text {
            "*" => Some(STAR),
            _ if text.starts_with('+') => None,
            _ => text.parse().ok().filter(|n| *n != STAR),
        };
        let range = |text: &str| match text.split_once(':') {
            Some((from, to)) => Some((number(from)?, number(to)?)),
            None => number(text).map(|n| (n, n)),
        };
        text.split(',').map(range).collect::<Option<_>>().map(Self)
    }

    /// Is `n` in it, where `largest` is what `*` stands for?
    pub fn contains(&self, n: u32, largest: u32) -> bool {
        let known = |n| if n == STAR { largest } else { n };
        self.0.iter().any(|(a, b)| {
            let (a, b) = (known(*a), known(*b));
            (a.min(b)..=a.max(b)).contains(&n)
        })
    }

    /// Its largest number, if it names one.
    pub fn largest(&self) -> u32 {
        self.0.iter().map(|(a, b)| *a.max(b)).max().unwrap_or_default()
    }
}

/// Writes ascending numbers in their shortest form; empty if there are none.
pub fn write(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &n in numbers {
        match ranges.last_mut() {
            Some((_, to)) if to.checked_add(1) == Some(n) => *to = n,
            _ => ranges.push((n, n)),
        }
    }
    let text = |(a, b): &(u32, u32)| if a == b { a.to_string() } else { format!("{a}:{b}") };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}
