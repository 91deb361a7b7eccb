//! Numbers as a person reads them.

use std::time::Duration;

/// Bytes in binary units: `512 B`, `1.5 KiB`, `12.0 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A count in decimal units: `999`, `12.3 k`, `1.05 G`.
pub fn scaled(count: u64) -> String {
    const UNITS: [&str; 5] = ["k", "M", "G", "T", "P"];
    if count < 1000 {
        return count.to_string();
    }
    let (mut value, mut unit) = (count as f64 / 1e3, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A count with its digits in groups of three: `1,234,567`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 edge`, `2 edges`.
pub fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// A time span: `850 µs`, `12.3 ms`, `4.1 s`, `3:05`, `2:10:00`.
pub fn duration(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    let whole = seconds.round() as u64;
    match seconds {
        s if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 59.95 => format!("{s:.1} s"),
        _ if whole < 3600 => format!("{}:{:02}", whole / 60, whole % 60),
        _ => format!("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts_keep_three_digits_and_change_units_where_they_round_up() {
        let sizes = [0, 1023, 1024, 1536, 1024 * 1024 - 1, 13 << 30];
        assert_eq!(sizes.map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "13.0 GiB"]);
        let counts = [0, 999, 1000, 12_345, 999_400, 999_999, 7_000_000_000];
        assert_eq!(counts.map(scaled), ["0", "999", "1.00 k", "12.3 k", "999 k", "1.00 M", "7.00 G"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn times_are_short() {
        let spans = [0.000_85, 0.012_3, 4.1, 59.99, 185.0, 7800.0];
        let shown = spans.map(|seconds| duration(Duration::from_secs_f64(seconds)));
        assert_eq!(shown, ["850 µs", "12.3 ms", "4.1 s", "1:00", "3:05", "2:10:00"]);
    }
}
