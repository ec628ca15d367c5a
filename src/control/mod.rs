//! The control socket: one JSON object a line, both ways, over a Unix socket that only its owner
//! may open (0600).
//!
//! A client sends a [`protocol::Request`] and reads [`protocol::Reply`] lines until the one that
//! ends the call. The version is in every line; either side refuses one it does not know.

pub mod client;
pub mod lock;
pub mod protocol;
pub mod server;
