//! Instants and numbers as text, fast: the formatters of libraries take longer than all else that a
//! row of CSV needs. Tests hold them against those.

use counterfoil_types::{Timestamp, timestamp::DAY_MICROS};

fn two(out: &mut Vec<u8>, value: i64) {
    let digit = |value: i64| b'0' + u8::try_from(value).unwrap_or(0);
    out.extend_from_slice(&[digit(value / 10), digit(value % 10)]);
}

/// An instant as RFC 3339 in UTC, with as many decimals of a second as it has.
pub(crate) fn instant(out: &mut Vec<u8>, at: Timestamp) {
    let micros = at.micros();
    // The years 1 to 9999; others are written by the library.
    if !(-62_135_596_800_000_000..253_402_300_800_000_000).contains(&micros) {
        out.extend_from_slice(at.to_string().as_bytes());
        return;
    }
    let (days, within) = (micros.div_euclid(DAY_MICROS), micros.rem_euclid(DAY_MICROS));
    let (year, month, day) = civil(days);
    two(out, year / 100);
    two(out, year % 100);
    out.push(b'-');
    two(out, month);
    out.push(b'-');
    two(out, day);
    out.push(b'T');
    let seconds = within / 1_000_000;
    two(out, seconds / 3_600);
    out.push(b':');
    two(out, seconds / 60 % 60);
    out.push(b':');
    two(out, seconds % 60);
    let mut fraction = within % 1_000_000;
    if fraction != 0 {
        let start = out.len();
        out.push(b'.');
        let mut digits = [b'0'; 6];
        for slot in digits.iter_mut().rev() {
            *slot = b'0' + u8::try_from(fraction % 10).unwrap_or(0);
            fraction /= 10;
        }
        out.extend_from_slice(&digits);
        while out.last() == Some(&b'0') && out.len() > start + 2 {
            out.pop();
        }
    }
    out.push(b'Z');
}

/// The day that lies `days` after 1970-01-01 in the Gregorian calendar: eras of 400 years, each
/// year from March on, so that the leap day is its last.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A JSON string.
pub(crate) fn json_string(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing a string to memory cannot fail.
        let _ = serde_json::to_writer(&mut *out, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(at: Timestamp) -> String {
        let mut out = Vec::new();
        instant(&mut out, at);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn instants_are_written_as_the_library_writes_them(
            micros in -62_135_596_800_000_000i64..253_402_207_200_000_000,
            round in 0u32..7,
        ) {
            let unit = 10i64.pow(round);
            let at = Timestamp::from_micros(micros / unit * unit);
            prop_assert_eq!(shown(at), at.to_string());
        }
    }

    #[test]
    fn leap_days_and_ends_of_centuries_are_right() {
        for text in
            ["2024-02-29T23:59:59.999999Z", "1900-03-01T00:00:00Z", "2000-02-29T12:00:00.5Z"]
        {
            assert_eq!(shown(text.parse().unwrap()), text);
        }
    }
}
