//! Standard Webhooks signatures: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`, one for
//! each secret that is accepted, so that a receiver may change over at any moment of a rotation.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

/// Front of a secret.
const FRONT: &str = "whsec_";
/// Bytes of a new secret.
const BYTES: usize = 32;

/// What is wrong with a secret.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SecretError {
    /// Not what the specification says.
    #[error("a secret reads whsec_ and base64 of 24 to 64 bytes; leave it out and one is made")]
    Malformed,
}

/// A new secret.
#[must_use]
pub fn new_secret(random: &dyn counterfoil_types::Random) -> String {
    let mut bytes = [0; BYTES];
    random.fill(&mut bytes);
    format!("{FRONT}{}", STANDARD.encode(bytes))
}

/// The key in a secret.
///
/// # Errors
/// [`SecretError::Malformed`].
pub fn key_of(secret: &str) -> Result<Vec<u8>, SecretError> {
    let text = secret.strip_prefix(FRONT).ok_or(SecretError::Malformed)?;
    let key = STANDARD.decode(text).map_err(|_| SecretError::Malformed)?;
    if (24..=64).contains(&key.len()) { Ok(key) } else { Err(SecretError::Malformed) }
}

/// The value of `webhook-signature`.
///
/// # Errors
/// [`SecretError::Malformed`].
pub fn sign<'a>(
    secrets: impl IntoIterator<Item = &'a str>,
    id: &str,
    seconds: i64,
    body: &[u8],
) -> Result<String, SecretError> {
    let mut signatures = Vec::new();
    for secret in secrets {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&key_of(secret)?).map_err(|_| SecretError::Malformed)?;
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        signatures.push(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
    }
    Ok(signatures.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the specification's own libraries.
    #[test]
    fn the_published_vector_is_met() {
        let signed = sign(
            ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_that_are_none_are_refused() {
        for secret in
            ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_!"]
        {
            assert_eq!(key_of(secret), Err(SecretError::Malformed), "{secret:?}");
        }
    }
}
