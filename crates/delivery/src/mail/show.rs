//! Money and days as people write them: `$1,234.50`, `1 October 2026`.

use counterfoil_types::{Exact, Money, Timestamp, Zone};

/// An amount with its symbol and groups of thousands.
#[must_use]
pub fn money(amount: Money) -> String {
    let plain = amount.to_plain();
    let (sign, plain) = match plain.strip_prefix('-') {
        Some(rest) => ("−", rest),
        None => ("", plain.as_str()),
    };
    let (whole, cents) = plain.split_once('.').unwrap_or((plain, ""));
    let cents = if cents.is_empty() { String::new() } else { format!(".{cents}") };
    let symbol = amount.currency().symbol();
    let code = amount.currency().code();
    // Symbols that several currencies share, or that are none, are said in full.
    if symbol.is_empty() || symbol == code || (symbol == "$" && code != "USD") {
        return format!("{sign}{}{cents} {code}", grouped(whole));
    }
    format!("{sign}{symbol}{}{cents}", grouped(whole))
}

/// A count.
#[must_use]
pub fn count(value: &Exact) -> String {
    let text = value.to_string();
    match text.split_once('.') {
        Some((whole, rest)) => format!("{}.{rest}", grouped(whole)),
        None => grouped(&text),
    }
}

fn grouped(digits: &str) -> String {
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) && out != "-" {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The day an instant falls on in a zone.
#[must_use]
pub fn day(at: Timestamp, zone: &Zone) -> String {
    match zone.civil(at) {
        Ok(local) => local.strftime("%-d %B %Y").to_string(),
        Err(_) => at.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use counterfoil_types::Currency;

    use super::*;

    #[test]
    fn money_reads_as_people_write_it() {
        for (amount, code, shown) in [
            ("1234567.5", "USD", "$1,234,567.50"),
            ("0", "USD", "$0.00"),
            ("-12", "EUR", "−€12.00"),
            ("1000", "JPY", "¥1,000"),
            ("999.99", "CAD", "999.99 CAD"),
        ] {
            let currency: Currency = code.parse().unwrap();
            let money_of = Money::from_exact(&Exact::parse(amount).unwrap(), currency).unwrap();
            assert_eq!(money(money_of), shown);
        }
    }

    #[test]
    fn a_day_is_the_customers() {
        let at: Timestamp = "2026-10-01T02:00:00Z".parse().unwrap();
        assert_eq!(day(at, &Zone::utc()), "1 October 2026");
        assert_eq!(day(at, &"America/New_York".parse().unwrap()), "30 September 2026");
    }
}
