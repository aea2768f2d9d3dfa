//! The binary `COPY` format of PostgreSQL, as far as the ledger needs it: rows of `bigint`, `uuid`,
//! `bytea`, `text` and `numeric`. Described in the manual under "COPY, Binary Format".

use counterfoil_store::StoreError;

/// Signature, flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What ends the data: a field count of −1.
const TRAILER: [u8; 2] = (-1i16).to_be_bytes();

/// Rows on their way into one table.
pub(crate) struct Rows {
    bytes: Vec<u8>,
    count: u64,
}

impl Rows {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut all = Vec::with_capacity(HEADER.len() + bytes + TRAILER.len());
        all.extend_from_slice(HEADER);
        Self { bytes: all, count: 0 }
    }

    /// How many rows there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Begins a row of `fields` fields, which are to be put into [`Self::bytes`].
    pub(crate) fn row(&mut self, fields: i16) -> &mut Vec<u8> {
        self.count += 1;
        self.bytes.extend_from_slice(&fields.to_be_bytes());
        &mut self.bytes
    }

    /// What was encoded since the last call, to be sent on.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let next = Vec::with_capacity(self.bytes.len());
        std::mem::replace(&mut self.bytes, next)
    }

    /// Ends the data.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&TRAILER);
        self.bytes
    }
}

fn length(bytes: usize) -> Result<[u8; 4], StoreError> {
    i32::try_from(bytes)
        .map(i32::to_be_bytes)
        .map_err(|_| StoreError::Driver(format!("a field of {bytes} bytes is too long to store")))
}

/// A `bigint`.
pub(crate) fn bigint(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&8i32.to_be_bytes());
    out.extend_from_slice(&value.to_be_bytes());
}

/// A `bigint` or NULL.
pub(crate) fn optional_bigint(out: &mut Vec<u8>, value: Option<i64>) {
    match value {
        Some(value) => bigint(out, value),
        None => null(out),
    }
}

/// NULL.
pub(crate) fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(&(-1i32).to_be_bytes());
}

/// A `uuid`.
pub(crate) fn uuid(out: &mut Vec<u8>, value: &[u8; 16]) {
    out.extend_from_slice(&16i32.to_be_bytes());
    out.extend_from_slice(value);
}

/// A `bytea` or a `text`: both travel as they are.
pub(crate) fn bytes(out: &mut Vec<u8>, value: &[u8]) -> Result<(), StoreError> {
    out.extend_from_slice(&length(value.len())?);
    out.extend_from_slice(value);
    Ok(())
}

/// A `numeric` from decimal text (`-12.5`, no exponent): sign, digits in base 10,000, the weight of
/// the first of them, and the number of decimal places.
pub(crate) fn numeric(out: &mut Vec<u8>, text: &str) -> Result<(), StoreError> {
    let refuse = || StoreError::Driver(format!("{text:?} is no plain decimal number"));
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err(refuse());
    }
    let whole = whole.trim_start_matches('0');
    // Groups of four digits, counted from the point both ways.
    let lead = (4 - whole.len() % 4) % 4;
    let tail = (4 - fraction.len() % 4) % 4;
    let digits = std::iter::repeat_n(b'0', lead)
        .chain(whole.bytes())
        .chain(fraction.bytes())
        .chain(std::iter::repeat_n(b'0', tail));
    let mut groups: Vec<i16> = Vec::with_capacity(16);
    let mut group = 0i16;
    for (place, digit) in digits.enumerate() {
        group = group * 10 + i16::from(digit - b'0');
        if place % 4 == 3 {
            groups.push(group);
            group = 0;
        }
    }
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let kept = groups.iter().rposition(|group| *group != 0).map_or(leading, |last| last + 1);
    let significant = groups.get(leading..kept).unwrap_or_default();
    let small = |count: usize| i16::try_from(count).map_err(|_| refuse());
    let weight = if significant.is_empty() {
        0
    } else {
        small((whole.len() + lead) / 4)? - 1 - small(leading)?
    };
    let sign: u16 = if negative && !significant.is_empty() { 0x4000 } else { 0 };
    out.extend_from_slice(&length(8 + 2 * significant.len())?);
    out.extend_from_slice(&small(significant.len())?.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&small(fraction.len())?.to_be_bytes());
    for group in significant {
        out.extend_from_slice(&group.to_be_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digits, weight, sign, decimal places.
    fn parts(text: &str) -> (Vec<i16>, i16, i16, i16) {
        let mut out = Vec::new();
        numeric(&mut out, text).unwrap();
        let words: Vec<i16> =
            out[4..].chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect();
        assert_eq!(out[..4], i32::try_from(out.len() - 4).unwrap().to_be_bytes());
        assert_eq!(usize::try_from(words[0]).unwrap(), words.len() - 4);
        (words[4..].to_vec(), words[1], words[2], words[3])
    }

    #[test]
    fn numerics_are_groups_of_four_around_the_point() {
        assert_eq!(parts("0"), (vec![], 0, 0, 0));
        assert_eq!(parts("-0.00"), (vec![], 0, 0, 2), "no negative zero");
        assert_eq!(parts("1"), (vec![1], 0, 0, 0));
        assert_eq!(parts("-12345.5"), (vec![1, 2345, 5000], 1, 0x4000, 1));
        assert_eq!(parts("10000"), (vec![1], 1, 0, 0));
        assert_eq!(parts("100000000"), (vec![1], 2, 0, 0));
        assert_eq!(parts("0.0001"), (vec![1], -1, 0, 4));
        assert_eq!(parts("0.00000001"), (vec![1], -2, 0, 8));
        assert_eq!(parts("0.12345"), (vec![1234, 5000], -1, 0, 5));
        assert_eq!(parts("99990000.0001"), (vec![9999, 0, 1], 1, 0, 4));
    }

    #[test]
    fn what_is_no_plain_decimal_is_refused() {
        for text in ["", "-", ".5", "1e5", "1,5", "+1", "1.2.3", "NaN", " 1", "１"] {
            assert!(numeric(&mut Vec::new(), text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn rows_have_header_fields_and_trailer() {
        let mut rows = Rows::with_capacity(64);
        let out = rows.row(3);
        bigint(out, -2);
        null(out);
        bytes(out, b"ab").unwrap();
        assert_eq!(rows.count(), 1);
        let all = rows.finish();
        assert_eq!(&all[..11], b"PGCOPY\n\xff\r\n\0");
        assert_eq!(all[19..21], [0, 3]);
        assert_eq!(all[21..33], [0, 0, 0, 8, 255, 255, 255, 255, 255, 255, 255, 254]);
        assert_eq!(all[33..37], [255; 4]);
        assert_eq!(all[37..], [0, 0, 0, 2, b'a', b'b', 255, 255]);
    }
}
