//! Student's distribution. The functions of `libm` have the same bits on every platform.

/// The probability that Student's variable of so many degrees of freedom is at least `t` away from zero; for infinitely many, a normal
/// one. 1 where `t` is no number.
fn beyond(t: f64, freedom: f64) -> f64 {
    let t = t.abs();
    if t.is_nan() {
        return 1.0;
    }
    if freedom.is_infinite() {
        return libm::erfc(t / std::f64::consts::SQRT_2);
    }
    incomplete_beta(freedom / 2.0, 0.5, freedom / (freedom + t * t))
}

/// The number that Student's variable stays within, on both sides of zero, with probability `confidence`.
pub(super) fn within(confidence: f64, freedom: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while beyond(high, freedom) > 1.0 - confidence && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if beyond(middle, freedom) > 1.0 - confidence { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The regularized incomplete beta function, by its continued fraction (Lentz's method), which converges fast below the mean.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    const TINY: f64 = 1e-300;
    let nonzero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let front = libm::exp(
        libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * libm::log(x) + b * libm::log1p(-x),
    ) / a;
    let (mut c, mut d) = (1.0, 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for step in 1..500 {
        let m = f64::from(step);
        for term in [
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        ] {
            d = 1.0 / nonzero(1.0 + term * d);
            c = nonzero(1.0 + term / c);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (front * fraction).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_match_the_tables() {
        for (freedom, t) in [(1.0, 12.7062), (2.0, 4.3027), (4.0, 2.7764), (10.0, 2.2281), (100.0, 1.9840)] {
            assert!((within(0.95, freedom) - t).abs() < 1e-4, "{freedom}");
        }
        assert!((within(0.95, f64::INFINITY) - 1.959_964).abs() < 1e-6);
        assert!((within(0.99, 4.0) - 4.6041).abs() < 1e-4);
    }

    #[test]
    fn one_and_two_degrees_have_closed_forms() {
        for t in [0.0_f64, 0.1, 1.0, 3.0, 50.0] {
            let one = 1.0 - 2.0 / std::f64::consts::PI * t.atan();
            assert!((beyond(t, 1.0) - one).abs() < 1e-12, "{t}");
            let two = 1.0 - t / (2.0 + t * t).sqrt();
            assert!((beyond(-t, 2.0) - two).abs() < 1e-12, "{t}");
        }
        assert_eq!(beyond(f64::NAN, 3.0), 1.0);
    }
}
