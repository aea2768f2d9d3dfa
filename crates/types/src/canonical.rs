//! Canonical bytes and digests: a version byte and length-prefixed fields, so that no two
//! different values share an encoding. Everything that is hashed in Counterfoil is written here.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// RFC 9162 leaf hash: SHA-256(0x00 ‖ bytes).
    #[must_use]
    pub fn leaf(bytes: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([0u8]);
        hasher.update(bytes);
        Self(hasher.finalize().into())
    }

    /// RFC 9162 interior node: SHA-256(0x01 ‖ left ‖ right).
    #[must_use]
    pub fn node(left: &Self, right: &Self) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([1u8]);
        hasher.update(left.0);
        hasher.update(right.0);
        Self(hasher.finalize().into())
    }

    /// The first 16 bytes, used as a narrow index key. The full identity is always compared too.
    #[must_use]
    pub fn prefix16(&self) -> [u8; 16] {
        let mut prefix = [0u8; 16];
        for (to, from) in prefix.iter_mut().zip(self.0) {
            *to = from;
        }
        prefix
    }

    /// The first twelve hex digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string().chars().take(12).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The text is not 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a SHA-256 digest in hex")]
pub struct NotADigest(String);

impl FromStr for Digest {
    type Err = NotADigest;
    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let refuse = || NotADigest(text.chars().take(70).collect());
        let bytes: Vec<u8> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| {
                let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2);
                pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())
            })
            .collect::<Option<_>>()
            .ok_or_else(refuse)?;
        bytes.try_into().map(Self).map_err(|_| refuse())
    }
}
impl TryFrom<&[u8]> for Digest {
    type Error = NotADigest;
    fn try_from(bytes: &[u8]) -> Result<Self, NotADigest> {
        bytes.try_into().map(Self).map_err(|_| NotADigest(format!("{} bytes", bytes.len())))
    }
}
impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Writes fields in canonical form.
#[derive(Debug, Default)]
pub struct CanonicalWriter {
    bytes: Vec<u8>,
}

impl CanonicalWriter {
    /// Starts a record of the given kind and format version.
    #[must_use]
    pub fn new(kind: &str, version: u8) -> Self {
        let mut writer = Self { bytes: Vec::with_capacity(256) };
        writer.bytes.push(version);
        writer.str(kind);
        writer
    }

    /// Appends a byte string with its length.
    pub fn bytes(&mut self, field: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        self.bytes.extend_from_slice(field);
        self
    }

    /// Appends text.
    pub fn str(&mut self, field: &str) -> &mut Self {
        self.bytes(field.as_bytes())
    }

    /// Appends optional text; absent and empty differ.
    pub fn opt_str(&mut self, field: Option<&str>) -> &mut Self {
        match field {
            Some(text) => self.u8(1).str(text),
            None => self.u8(0),
        }
    }

    /// Appends one byte.
    pub fn u8(&mut self, field: u8) -> &mut Self {
        self.bytes.push(field);
        self
    }

    /// Appends an unsigned integer.
    pub fn u64(&mut self, field: u64) -> &mut Self {
        self.bytes.extend_from_slice(&field.to_be_bytes());
        self
    }

    /// Appends a signed integer.
    pub fn i64(&mut self, field: i64) -> &mut Self {
        self.bytes.extend_from_slice(&field.to_be_bytes());
        self
    }

    /// The bytes written so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the bytes written.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_borders_are_unambiguous() {
        let mut a = CanonicalWriter::new("t", 1);
        a.str("ab").str("c");
        let mut b = CanonicalWriter::new("t", 1);
        b.str("a").str("bc");
        assert_ne!(a.digest(), b.digest());
        let mut c = CanonicalWriter::new("t", 1);
        c.opt_str(None);
        let mut d = CanonicalWriter::new("t", 1);
        d.opt_str(Some(""));
        assert_ne!(c.digest(), d.digest());
    }

    #[test]
    fn digests_round_trip_through_hex() {
        let digest = Digest::of(b"abc");
        assert_eq!(
            digest.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!("zz".parse::<Digest>().is_err());
    }
}
