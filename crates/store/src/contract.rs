//! The contract suite every backend passes.
