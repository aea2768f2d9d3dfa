//! Exact numbers: the two representations agree, rounding modes at ties, parsing.

use proptest::prelude::*;

use super::*;

fn exact(text: &str) -> Exact {
    Exact::parse(text).unwrap()
}

#[test]
fn the_sum_that_rust_decimal_loses_is_kept() {
    let sum = exact("12345678901234567890.123456789").add(&exact("0.0000000001"));
    assert_eq!(sum.to_string(), "12345678901234567890.1234567891");
    assert!(matches!(sum.to_decimal(), Err(ExactError::DoesNotFit(_))), "30 digits are refused");
}

#[test]
fn fractions_are_exact_until_rounded() {
    let day = Exact::ratio(408, 743).unwrap();
    let amount = day.mul(&exact("1000"));
    assert_eq!(amount.round(2, Rounding::HalfAwayFromZero).to_string(), "549.13");
    assert!(amount.to_decimal().is_err());
    let thirds = Exact::ratio(1, 3).unwrap();
    assert_eq!(thirds.add(&thirds).add(&thirds), Exact::ONE);
}

#[test]
fn rounding_modes_at_ties_and_signs() {
    use Rounding::{
        AwayFromZero, Ceiling, Floor, HalfAwayFromZero, HalfCeiling, HalfEven, HalfFloor, HalfOdd,
        HalfTowardsZero, TowardsZero,
    };
    for (value, mode, want) in [
        ("2.5", HalfAwayFromZero, "3"),
        ("-2.5", HalfAwayFromZero, "-3"),
        ("2.5", HalfEven, "2"),
        ("3.5", HalfEven, "4"),
        ("2.5", HalfTowardsZero, "2"),
        ("2.5", HalfOdd, "3"),
        ("-3.5", HalfOdd, "-3"),
        ("-2.5", HalfCeiling, "-2"),
        ("2.5", HalfCeiling, "3"),
        ("-2.5", HalfFloor, "-3"),
        ("2.5", HalfFloor, "2"),
        ("-2.6", HalfCeiling, "-3"),
        ("2.1", AwayFromZero, "3"),
        ("-2.1", AwayFromZero, "-3"),
        ("-2.9", TowardsZero, "-2"),
        ("-2.1", Ceiling, "-2"),
        ("-2.1", Floor, "-3"),
        ("2", AwayFromZero, "2"),
    ] {
        assert_eq!(exact(value).round(0, mode).to_string(), want, "{value} {mode:?}");
    }
    assert_eq!(exact("1251").round(-2, HalfAwayFromZero).to_string(), "1300");
}

proptest! {
    #[test]
    fn small_and_big_paths_agree(a in any::<i128>(), sa in 0u32..28, b in any::<i128>(), sb in 0u32..28) {
        let (x, y) = (Exact::small(a, sa), Exact::small(b, sb));
        prop_assert_eq!(x.add(&y).rational(), x.rational() + y.rational());
        prop_assert_eq!(x.mul(&y).rational(), x.rational() * y.rational());
        prop_assert_eq!(x.cmp(&y), x.rational().cmp(&y.rational()));
        prop_assert_eq!(Exact::parse(&x.to_string()).unwrap(), x);
    }

    #[test]
    fn rounding_small_equals_rounding_big(a in any::<i128>(), scale in 0u32..38, dp in -5i32..20) {
        let value = Exact::small(a, scale);
        for mode in [Rounding::HalfAwayFromZero, Rounding::HalfEven, Rounding::HalfTowardsZero,
                     Rounding::HalfOdd, Rounding::HalfCeiling, Rounding::HalfFloor, Rounding::AwayFromZero, Rounding::TowardsZero, Rounding::Ceiling, Rounding::Floor] {
            prop_assert_eq!(value.round(dp, mode), value.round_big(dp, mode));
        }
    }
}
