//! Muzzle: the life of one packet.

pub mod catalogue;
pub mod config;
pub mod decide;
pub mod parse;
