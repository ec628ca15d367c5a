//! The history: blocks, files, and what becomes of them when something goes wrong.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod blocks;
mod events;
mod files;
mod writer;
