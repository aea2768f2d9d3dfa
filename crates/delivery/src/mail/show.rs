//! Money, counts and days as people write them: `$1,234.50`, `1.234,50 €`, `1 October 2026`.

use counterfoil_types::{Exact, Money, Rounding, Timestamp, Zone};

use super::language::Language;

/// Decimals of a count that are shown; usage may have more.
const DECIMALS: i32 = 3;

/// An amount with its symbol and groups of thousands.
#[must_use]
pub fn money(amount: Money, language: &Language) -> String {
    let plain = amount.to_plain();
    let (sign, plain) = match plain.strip_prefix('-') {
        Some(rest) => ("−", rest),
        None => ("", plain.as_str()),
    };
    let (whole, cents) = plain.split_once('.').unwrap_or((plain, ""));
    let number = joined(whole, cents, language);
    let symbol = amount.currency().symbol();
    let code = amount.currency().code();
    // Symbols that several currencies share, or that are none, are said in full.
    if symbol.is_empty() || symbol == code || (symbol == "$" && code != "USD") {
        return format!("{sign}{number} {code}");
    }
    if language.symbol_first {
        return format!("{sign}{symbol}{number}");
    }
    format!("{sign}{number} {symbol}")
}

/// A count, with three decimals at most.
#[must_use]
pub fn count(value: &Exact, language: &Language) -> String {
    let text = value.round(DECIMALS, Rounding::HalfAwayFromZero).to_string();
    let (whole, rest) = text.split_once('.').unwrap_or((text.as_str(), ""));
    joined(whole, rest, language)
}

fn joined(whole: &str, rest: &str, language: &Language) -> String {
    let rest = if rest.is_empty() { String::new() } else { format!("{}{rest}", language.decimal) };
    format!("{}{rest}", grouped(whole, &language.group))
}

fn grouped(digits: &str, separator: &str) -> String {
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) && out != "-" {
            out.push_str(separator);
        }
        out.push(digit);
    }
    out
}

/// The day an instant falls on in a zone.
#[must_use]
pub fn day(at: Timestamp, zone: &Zone, language: &Language) -> String {
    match zone.civil(at) {
        Ok(local) => language.day(local.day(), local.month(), local.year()),
        Err(_) => at.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use counterfoil_types::Currency;

    use super::*;

    #[test]
    fn money_reads_as_people_write_it() {
        let (english, german) = (Language::of(None), Language::of(Some("de")));
        for (amount, code, shown, gezeigt) in [
            ("1234567.5", "USD", "$1,234,567.50", "1.234.567,50 $"),
            ("0", "USD", "$0.00", "0,00 $"),
            ("-12", "EUR", "−€12.00", "−12,00 €"),
            ("1000", "JPY", "¥1,000", "1.000 ¥"),
            ("999.99", "CAD", "999.99 CAD", "999,99 CAD"),
        ] {
            let currency: Currency = code.parse().unwrap();
            let money_of = Money::from_exact(&Exact::parse(amount).unwrap(), currency).unwrap();
            assert_eq!(money(money_of, english), shown);
            assert_eq!(money(money_of, german), gezeigt);
        }
        let third = Exact::parse("4000/3").unwrap();
        assert_eq!(count(&third, english), "1,333.333");
        assert_eq!(count(&third, german), "1.333,333");
    }

    #[test]
    fn a_day_is_the_customers() {
        let at: Timestamp = "2026-10-01T02:00:00Z".parse().unwrap();
        let english = Language::of(None);
        assert_eq!(day(at, &Zone::utc(), english), "1 October 2026");
        assert_eq!(day(at, &"America/New_York".parse().unwrap(), english), "30 September 2026");
    }
}
