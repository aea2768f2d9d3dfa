//! When a correction may be taken: it must name an event of its own source, customer and type
//! that is no correction itself and has not been reversed.

use thiserror::Error;

use crate::event::{CorrectionKind, Event};

/// Why a correction was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CorrectionError {
    /// No such event.
    #[error("`{kind}` names event {target:?}, which source {source_name:?} never sent")]
    UnknownTarget {
        /// `reverses` or `amends`.
        kind: &'static str,
        /// The id it names.
        target: String,
        /// The source looked in.
        source_name: String,
    },
    /// The target belongs to someone else.
    #[error("`{kind}` names event {target:?} of customer {owner:?}, not of {given:?}")]
    OtherCustomer {
        /// `reverses` or `amends`.
        kind: &'static str,
        /// The id it names.
        target: String,
        /// Whose the target is.
        owner: String,
        /// Whose the correction is.
        given: String,
    },
    /// The target has another type.
    #[error("`{kind}` names event {target:?} of type {stored:?}, not {given:?}")]
    OtherType {
        /// `reverses` or `amends`.
        kind: &'static str,
        /// The id it names.
        target: String,
        /// The target's type.
        stored: String,
        /// The correction's type.
        given: String,
    },
    /// The target is a correction.
    #[error("event {0:?} is itself a correction; correct the original event instead")]
    TargetIsCorrection(String),
    /// The target was reversed before.
    #[error("event {0:?} was reversed before; send a new event instead")]
    AlreadyReversed(String),
}

/// Checks a correction against the event it names and that event's earlier corrections.
///
/// # Errors
/// See [`CorrectionError`].
pub fn check_correction(
    correction: &Event,
    target: Option<&Event>,
    earlier: &[CorrectionKind],
) -> Result<(), CorrectionError> {
    let Some(this) = &correction.correction else { return Ok(()) };
    let kind = this.kind.as_str();
    let Some(stored) = target else {
        return Err(CorrectionError::UnknownTarget {
            kind,
            target: this.target.clone(),
            source_name: correction.source.clone(),
        });
    };
    if stored.correction.is_some() {
        return Err(CorrectionError::TargetIsCorrection(this.target.clone()));
    }
    if stored.customer != correction.customer {
        return Err(CorrectionError::OtherCustomer {
            kind,
            target: this.target.clone(),
            owner: stored.customer.to_string(),
            given: correction.customer.to_string(),
        });
    }
    if stored.event_type != correction.event_type {
        return Err(CorrectionError::OtherType {
            kind,
            target: this.target.clone(),
            stored: stored.event_type.clone(),
            given: correction.event_type.clone(),
        });
    }
    if earlier.contains(&CorrectionKind::Reverses) {
        return Err(CorrectionError::AlreadyReversed(this.target.clone()));
    }
    Ok(())
}
