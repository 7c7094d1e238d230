//! The distributions behind the P-values: complementary error function, normal distribution, regularised incomplete gamma function.

use libm::{erfc, exp, fabs, lgamma, log};

/// Terms after which either expansion has long converged for the arguments that occur (a up to 10^4).
const TERMS_MAX: u32 = 10_000;
/// Where both expansions stop: below the resolution of a double.
const PRECISION: f64 = 1e-15;
/// Keeps the continued fraction's denominators off zero.
const TINY: f64 = 1e-300;

/// Both values of a statistic that is standard normal under the hypothesis: two-sided P, and Q, which is uniform.
pub(crate) fn of_normal(v: f64) -> (f64, f64) {
    let scaled = v / core::f64::consts::SQRT_2;
    (erfc(fabs(scaled)), erfc(scaled) / 2.0)
}

/// Both values of a statistic that has chi-square distribution with `freedom` degrees of freedom: they are the same.
pub(crate) fn of_chi_square(freedom: f64, v: f64) -> (f64, f64) {
    let p = upper_gamma(freedom / 2.0, v / 2.0);
    (p, p)
}

/// Φ, the normal distribution function.
pub(crate) fn normal_cdf(x: f64) -> f64 {
    erfc(-x / core::f64::consts::SQRT_2) / 2.0
}

/// Q(a, x) = Γ(a, x) / Γ(a) for a > 0: by the series below a + 1, by Lentz's continued fraction above.
pub(crate) fn upper_gamma(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let front = exp(a * log(x) - x - lgamma(a));
    let value = if x < a + 1.0 { 1.0 - front * lower_series(a, x) } else { front * upper_fraction(a, x) };
    value.clamp(0.0, 1.0)
}

/// Σ x^k / (a (a+1) … (a+k)).
fn lower_series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum, mut next) = (1.0 / a, 1.0 / a, a);
    for _ in 0..TERMS_MAX {
        next += 1.0;
        term *= x / next;
        sum += term;
        if term < sum * PRECISION {
            break;
        }
    }
    sum
}

/// 1 / (x + 1 − a − 1(1 − a) / (x + 3 − a − …)).
fn upper_fraction(a: f64, x: f64) -> f64 {
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / TINY, 1.0 / b);
    let mut value = d;
    for step in 1..TERMS_MAX {
        let numerator = -f64::from(step) * (f64::from(step) - a);
        b += 2.0;
        d = off_zero(numerator * d + b).recip();
        c = off_zero(b + numerator / c);
        value *= c * d;
        if fabs(c * d - 1.0) < PRECISION {
            break;
        }
    }
    value
}

fn off_zero(value: f64) -> f64 {
    if fabs(value) < TINY { TINY } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For whole a the function is a finite sum: Q(a, x) = e^−x Σ x^k / k!, k < a.
    #[test]
    fn upper_gamma_is_the_poisson_sum_for_whole_a() {
        for a in [1u32, 2, 3, 16, 50, 128] {
            for x in [0.01, 0.5, 1.0, 3.0, 15.0, 16.5, 60.0, 127.0, 200.0] {
                let (mut term, mut sum) = (1.0, 1.0);
                for k in 1..a {
                    term *= x / f64::from(k);
                    sum += term;
                }
                let expected: f64 = exp(-x) * sum;
                let found = upper_gamma(f64::from(a), x);
                assert!((found - expected).abs() < 1e-12, "Q({a}, {x}) = {found}, not {expected}");
            }
        }
    }

    /// Upper points of chi-square, Abramowitz and Stegun, table 26.8.
    #[test]
    fn chi_square_meets_published_points() {
        for (freedom, v, p) in [
            (1.0, 3.841_46, 0.05),
            (1.0, 6.634_90, 0.01),
            (3.0, 11.344_9, 0.01),
            (6.0, 16.811_9, 0.01),
            (9.0, 14.683_7, 0.1),
            (30.0, 50.892_2, 0.01),
            (100.0, 124.342, 0.05),
        ] {
            let found = of_chi_square(freedom, v).0;
            assert!((found - p).abs() < 2e-6, "{freedom} degrees, {v}: {found}, not {p}");
        }
    }

    #[test]
    fn normal_meets_published_points() {
        for (x, value) in [(0.0, 0.5), (1.0, 0.841_344_746_07), (1.959_963_984_5, 0.975), (-3.0, 0.001_349_898_03)] {
            assert!((normal_cdf(x) - value).abs() < 1e-10, "{x}");
        }
        let (p, q) = of_normal(1.959_963_984_5);
        assert!((p - 0.05).abs() < 1e-10 && (q - 0.025).abs() < 1e-10);
        assert!((of_normal(-1.959_963_984_5).1 - 0.975).abs() < 1e-10);
    }
}
