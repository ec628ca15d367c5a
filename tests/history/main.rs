//! The history: blocks, files, and what becomes of them when something goes wrong.

mod blocks;
mod events;
mod files;
mod writer;
