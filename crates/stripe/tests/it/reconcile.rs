//! To come.

#![cfg(test)]
