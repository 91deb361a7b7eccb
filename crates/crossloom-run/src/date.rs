//! Points in time as a person reads them.

/// Seconds since 1970 as a date and time: `2025-03-01 14:07 UTC`.
pub fn utc(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (mut days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    let mut year = 1970;
    while days >= year_days(year) {
        days -= year_days(year);
        year += 1;
        if year > 9999 {
            return format!("{seconds} s after 1970");
        }
    }
    let february = if year_days(year) == 366 { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02} {:02}:{:02} UTC", days + 1, minutes / 60, minutes % 60)
}

fn year_days(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if leap { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_know_leap_years() {
        assert_eq!(utc(0.0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_782_400.0), "2000-02-29 00:00 UTC");
        assert_eq!(utc(1_741_615_625.5), "2025-03-10 14:07 UTC");
        assert_eq!(utc(4_102_444_799.0), "2099-12-31 23:59 UTC");
        assert_eq!(utc(-5.0), "1970-01-01 00:00 UTC");
        assert!(utc(f64::MAX).ends_with("s after 1970"));
    }
}
