//! Named rounding modes. There is no default mode on purpose: each call says which one it means.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a value that does not fit the wanted number of decimals is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// To nearest; a tie goes away from zero (commercial rounding; 0.5 → 1, −0.5 → −1).
    HalfAwayFromZero,
    /// To nearest; a tie goes to the even neighbour (banker's rounding).
    HalfEven,
    /// To nearest; a tie goes towards zero.
    HalfTowardsZero,
    /// To nearest; a tie goes to the odd neighbour.
    HalfOdd,
    /// To nearest; a tie goes towards positive infinity (−2.5 → −2).
    HalfCeiling,
    /// To nearest; a tie goes towards negative infinity (2.5 → 2).
    HalfFloor,
    /// Away from zero.
    AwayFromZero,
    /// Towards zero (truncation).
    TowardsZero,
    /// Towards positive infinity.
    Ceiling,
    /// Towards negative infinity.
    Floor,
}

impl Rounding {
    /// Whether the magnitude of a truncated quotient must grow by one.
    ///
    /// `negative` is the sign of the exact value, `odd` whether the truncated quotient is odd,
    /// `versus_half` how the discarded part compares with one half; `inexact` says whether
    /// anything was discarded at all.
    pub(crate) fn grows(
        self,
        negative: bool,
        odd: bool,
        versus_half: std::cmp::Ordering,
        inexact: bool,
    ) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        if !inexact {
            return false;
        }
        match self {
            Self::AwayFromZero => true,
            Self::TowardsZero => false,
            Self::Ceiling => !negative,
            Self::Floor => negative,
            Self::HalfAwayFromZero
            | Self::HalfEven
            | Self::HalfTowardsZero
            | Self::HalfOdd
            | Self::HalfCeiling
            | Self::HalfFloor => match versus_half {
                Greater => true,
                Less => false,
                Equal => match self {
                    Self::HalfEven => odd,
                    Self::HalfOdd => !odd,
                    Self::HalfCeiling => !negative,
                    Self::HalfFloor => negative,
                    Self::HalfAwayFromZero => true,
                    _ => false,
                },
            },
        }
    }
}
