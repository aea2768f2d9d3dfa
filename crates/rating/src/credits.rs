//! Credits used on an invoice, and how much of a payment may still be credited.

use counterfoil_types::Exact;

/// A use of a credit on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditUse {
    /// Position of the credit.
    pub credit: usize,
    /// Position of the line.
    pub line: usize,
    /// How much of the credit the line took, above zero.
    pub amount: Exact,
}

/// What credits did to lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credited {
    /// Each use, in the order it happened.
    pub uses: Vec<CreditUse>,
    /// What is left of each line.
    pub net_lines: Vec<Exact>,
    /// What is left of each credit.
    pub unused: Vec<Exact>,
}

impl Credited {
    /// Sum of what was used.
    #[must_use]
    pub fn used(&self) -> Exact {
        self.uses.iter().map(|used| &used.amount).sum()
    }

    /// Sum of what is left of the lines.
    #[must_use]
    pub fn total(&self) -> Exact {
        self.net_lines.iter().sum()
    }
}

/// Uses `credits` in order on `lines` in order. Lines and credits of zero or below take no part.
#[must_use]
pub fn apply_credits(lines: &[Exact], credits: &[Exact]) -> Credited {
    let mut net_lines = lines.to_vec();
    let mut unused = credits.to_vec();
    let mut uses = Vec::new();
    for (line, open) in net_lines.iter_mut().enumerate() {
        for (credit, left) in unused.iter_mut().enumerate() {
            let amount = open.at_most(left);
            if amount.is_positive() {
                *open = open.sub(&amount);
                *left = left.sub(&amount);
                uses.push(CreditUse { credit, line, amount });
            }
        }
    }
    Credited { uses, net_lines, unused }
}

/// The part of a `potential` credit that may be given for an amount of which `previous` was
/// credited before: credits never exceed the `original` amount, and are never below zero.
#[must_use]
pub fn cap_credit(potential: &Exact, original: &Exact, previous: &Exact) -> Exact {
    potential.at_most(&original.sub(previous)).at_least(&Exact::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exacts(items: &[&str]) -> Vec<Exact> {
        items.iter().map(|item| Exact::parse(item).unwrap()).collect()
    }

    #[test]
    fn credits_are_used_in_order_on_lines_in_order() {
        let done = apply_credits(&exacts(&["100", "-5", "50"]), &exacts(&["30", "95", "40"]));
        assert_eq!(done.net_lines, exacts(&["0", "-5", "0"]));
        assert_eq!(done.unused, exacts(&["0", "0", "15"]));
        assert_eq!(done.used(), exacts(&["150"])[0]);
        assert_eq!(done.uses.len(), 4);
    }

    #[test]
    fn a_payment_is_not_credited_twice() {
        for (potential, previous, want) in
            [("50", "0", "50"), ("50", "70", "30"), ("50", "120", "0")]
        {
            let [potential, previous, want] =
                [potential, previous, want].map(|t| exacts(&[t]).remove(0));
            assert_eq!(cap_credit(&potential, &Exact::from(100i64), &previous), want);
        }
    }
}
