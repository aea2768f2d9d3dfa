//! Delivering, against real sockets: a receiver of web hooks and a mail server that misbehave as
//! they are told, on both stores.

#![cfg(test)]

mod events;
mod letters;
mod mails;
mod receiver;
mod relays;
mod schema;
mod smtp;
mod smtp_tls;
mod webhooks;
mod world;
