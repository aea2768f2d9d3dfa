//! Empty on purpose: everything lives in the single integration binary under `it/`.
