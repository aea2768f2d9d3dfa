//! Documents as they are read: numbers, names, formats, rules.

#![cfg(test)]

mod einvoices;
mod pages;
#[cfg(feature = "pdf")]
mod paper;
mod samples;
mod validator;
mod world;
