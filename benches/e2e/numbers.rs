//! [pure] Medians, ranges and percentiles, and how they are written.

/// The median of what several rounds gave, and between which bounds they lay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// None of nothing; what is no number (a ratio to zero) is left out.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let (below, above) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Spread { median: (below + above) / 2.0, low, high })
    }

    /// `12.3 (11.8–12.9)`; a single round has no range.
    pub fn text(&self) -> String {
        let Spread { median, low, high } = *self;
        let digits = digits_for(median);
        if low == high {
            return fixed(median, digits);
        }
        format!("{} ({}–{})", fixed(median, digits), fixed(low, digits), fixed(high, digits))
    }
}

/// A spread, or the sign for none.
pub fn text_of(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| spread.text())
}

/// The value below which `share` of the sorted values lie: the nearest rank, which was really measured.
pub fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// Three digits that mean something, never more than three behind the point.
fn digits_for(value: f64) -> usize {
    match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    }
}

/// With commas between the thousands.
fn fixed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

/// One number, as in a spread.
pub fn plain(value: f64) -> String {
    fixed(value, digits_for(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_median_and_bounds() {
        let spread = Spread::of([3.0, 1.0, f64::NAN, 2.0]).expect("there are three");
        assert_eq!(spread, Spread { median: 2.0, low: 1.0, high: 3.0 });
        assert_eq!(Spread::of([1.0, 2.0]).map(|spread| spread.median), Some(1.5));
        assert_eq!(Spread::of([f64::INFINITY]), None);
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), Some(100.0));
        assert_eq!(percentile(&values, 0.99), Some(198.0));
        assert_eq!(percentile(&values[..1], 0.99), Some(1.0));
        assert_eq!(percentile(&values[..1], 0.0), Some(1.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn numbers_keep_three_digits_and_group_their_thousands() {
        assert_eq!([12345.6, 999.0, 12.345, 1.2345, 0.01234].map(plain), ["12,346", "999", "12.3", "1.23", "0.012"]);
        assert_eq!([1_234_567.0, -1234.0, 0.0].map(plain), ["1,234,567", "-1,234", "0.000"]);
    }

    #[test]
    fn a_range_stands_behind_its_median_unless_there_is_one_round() {
        assert_eq!(text_of(Spread::of([11.0, 12.0, 13.0])), "12.0 (11.0–13.0)");
        assert_eq!(text_of(Spread::of([11.0])), "11.0");
        assert_eq!(text_of(None), "–");
    }
}
