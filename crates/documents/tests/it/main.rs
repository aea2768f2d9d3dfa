//! Documents as they are read: numbers, names, formats, rules.

#![cfg(test)]

mod einvoices;
mod pages;
mod validator;
mod world;
