//! Muzzle: an on-device blocker for Xiaomi and Sensors Analytics telemetry, by NFQUEUE.
//!
//! The life of one packet, and the modules in its order:
//!
//! 1. [`firewall`] decides in the kernel which packets are queued; [`queue`] takes them out.
//! 2. [`parse`]: bytes → facts.
//! 3. [`decide`]: facts + one immutable policy → a decision with its reason.
//! 4. [`act`]: decision → verdict and, where one is due, bytes to inject; [`queue`] carries it
//!    out. [`inspect`] is steps 2 to 4 as one pure call.
//! 5. [`record`]: what happened, for counters and the log; [`history`] keeps it on the disk, and
//!    [`report`] sums it up for people.
//!
//! Around it: [`config`], [`choices`], [`catalogue`] and [`apps`] say what the policy is made of,
//! [`daemon`] starts and stops it all, [`control`] and [`cli`] are how people talk to it. [`capture`]
//! reads packets from a file instead, for steps 2 to 4, and [`decode`] what telemetry says in them.
//! [`release`] checks that what is installed is what was built.

pub mod act;
pub mod apps;
pub mod capture;
pub mod catalogue;
pub mod choices;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod decide;
pub mod decode;
pub mod firewall;
pub mod history;
pub mod inspect;
pub mod parse;
mod program;
pub mod queue;
pub mod record;
pub mod release;
pub mod report;
mod whole_file;
