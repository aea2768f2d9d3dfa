//! The integration tests, one binary: each module checks one area of the promises in
//! `docs/guarantees.md`.

mod vectors;
