//! Muzzle: the life of one packet.

pub mod act;
pub mod catalogue;
pub mod clock;
pub mod config;
pub mod decide;
pub mod parse;
pub mod queue;
