//! Muzzle: the life of one packet.

pub mod act;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod decide;
pub mod parse;
