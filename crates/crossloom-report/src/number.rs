//! Numbers as readers expect them: grouped digits, a true minus sign, units, and non-finite values said plainly.

use crate::data::Estimate;

/// The word for a value that is not finite, or `None` for an ordinary number.
pub(crate) fn non_finite(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("∞")
    } else if value == f64::NEG_INFINITY {
        Some("−∞")
    } else {
        None
    }
}

/// `value` with a fixed number of decimals; huge values in scientific form.
pub(crate) fn decimal(value: f64, decimals: usize) -> String {
    if let Some(word) = non_finite(value) {
        return word.to_owned();
    }
    if value.abs() >= 1e9 {
        return scientific(value);
    }
    let text = format!("{value:.decimals$}");
    let is_zero = text.trim_start_matches('-').chars().all(|c| c == '0' || c == '.');
    match text.strip_prefix('-') {
        Some(digits) if is_zero => digits.to_owned(),
        Some(digits) => format!("−{digits}"),
        None => text,
    }
}

/// Like [`decimal`], with a plus sign for positive values.
pub(crate) fn signed(value: f64, decimals: usize) -> String {
    let text = decimal(value, decimals);
    let has_digit = text.chars().any(|c| ('1'..='9').contains(&c));
    if value > 0.0 && (has_digit || value.is_infinite()) { format!("+{text}") } else { text }
}

/// About three significant digits.
pub(crate) fn significant(value: f64) -> String {
    if let Some(word) = non_finite(value) {
        return word.to_owned();
    }
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    match size {
        0.001..0.01 => decimal(value, 5),
        0.01..0.1 => decimal(value, 4),
        0.1..10.0 => decimal(value, 3),
        10.0..100.0 => decimal(value, 2),
        100.0..1000.0 => decimal(value, 1),
        1000.0..1e7 => decimal(value, 0),
        _ => scientific(value),
    }
}

/// Up to three significant digits times a power of ten, such as `2.5×10⁻⁴`.
pub(crate) fn scientific(value: f64) -> String {
    if let Some(word) = non_finite(value) {
        return word.to_owned();
    }
    let text = format!("{value:.2e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.').replace('-', "−");
    let exponent: String = exponent.chars().map(superscript).collect();
    format!("{mantissa}×10{exponent}")
}

fn superscript(digit: char) -> char {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    match digit.to_digit(10) {
        Some(value) => DIGITS.get(value as usize).copied().unwrap_or(digit),
        None => '⁻',
    }
}

/// A count with commas between groups of three digits.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A part of one as percent, one decimal, without the sign.
pub(crate) fn percent(value: f64) -> String {
    decimal(value * 100.0, 1)
}

/// The interval of an estimate in percent, such as `85.1 to 86.4`.
pub(crate) fn percent_interval(estimate: &Estimate) -> String {
    format!("{} to {}", percent(estimate.low), percent(estimate.high))
}

/// A signed difference in points with its interval, such as `+1.4 (+0.9 to +2.0)`.
pub(crate) fn points_interval(estimate: &Estimate) -> String {
    format!("{} to {}", signed(estimate.low * 100.0, 1), signed(estimate.high * 100.0, 1))
}

/// A duration in the unit that suits it.
pub(crate) fn duration(seconds: f64) -> String {
    if let Some(word) = non_finite(seconds) {
        return word.to_owned();
    }
    if seconds < 0.0 {
        return format!("{} s", decimal(seconds, 1));
    }
    if seconds < 0.9995 {
        return format!("{} ms", decimal(seconds * 1e3, if seconds < 0.01 { 2 } else { 0 }));
    }
    if seconds < 59.95 {
        return format!("{} s", decimal(seconds, 1));
    }
    let whole = seconds.round();
    if whole >= 1e9 {
        return format!("{} s", scientific(whole));
    }
    let whole = whole as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{} h {minutes:02} min", count(hours))
    } else {
        format!("{minutes} min {rest:02} s")
    }
}

/// A size in bytes with a decimal prefix.
pub(crate) fn bytes(value: u64) -> String {
    let size = value as f64;
    match value {
        0..1000 => format!("{value} B"),
        1000..1_000_000 => format!("{} kB", decimal(size / 1e3, 1)),
        1_000_000..1_000_000_000 => format!("{} MB", decimal(size / 1e6, 1)),
        _ => format!("{} GB", decimal(size / 1e9, 2)),
    }
}

/// A coordinate for SVG: one decimal, always finite, always with an ASCII minus.
pub(crate) fn coordinate(value: f64) -> String {
    let safe = if value.is_finite() { value.clamp(-1e6, 1e6) } else { 0.0 };
    let text = format!("{safe:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(decimal(-0.04, 1), "0.0");
        assert_eq!(decimal(-1.26, 1), "−1.3");
        assert_eq!(signed(0.01, 1), "0.0");
        assert_eq!(signed(1.26, 1), "+1.3");
        assert_eq!(scientific(0.00025), "2.5×10⁻⁴");
        assert_eq!(scientific(-3e12), "−3×10¹²");
        assert_eq!(significant(0.1312), "0.131");
        assert_eq!(bytes(3_200_000), "3.2 MB");
        assert_eq!(duration(0.0123), "12 ms");
        assert_eq!(duration(59.97), "1 min 00 s");
        assert_eq!(duration(3725.0), "1 h 02 min");
    }

    #[test]
    fn non_finite_values_are_named() {
        for format in [percent, significant, scientific, duration] {
            assert_eq!(format(f64::NAN), "NaN");
            assert_eq!(format(f64::INFINITY), "∞");
            assert_eq!(format(f64::NEG_INFINITY), "−∞");
        }
        assert_eq!(signed(f64::INFINITY, 1), "+∞");
        assert_eq!(coordinate(f64::NAN), "0");
    }
}
