//! The boot guard: a phone that keeps restarting soon after Muzzle starts may do so because of
//! Muzzle (a HyperOS hazard, seen with other users of netfilter queues). After a few such boots
//! Muzzle only observes, and says so.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{clock, whole_file};

/// Boots in a row that ended before Muzzle had run for [`SETTLED`], after which it only observes.
const MAX_UNCLEAN: u32 = 3;
/// How long a boot must last to count as a good one.
pub(super) const SETTLED: Duration = Duration::from_secs(180);

const FILE: &str = "boot";

/// What is remembered from one boot to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Memory {
    /// `/proc/sys/kernel/random/boot_id` of the boot that wrote it.
    boot_id: String,
    /// Whether that boot lasted, or Muzzle was stopped in good order.
    settled: bool,
    /// Boots before it, in a row, that did not.
    unclean: u32,
}

impl Memory {
    /// What to remember in this boot, after `last`.
    fn after(last: Option<Self>, boot_id: &str) -> Self {
        let unclean = match last {
            Some(last) if last.boot_id == boot_id => last.unclean,
            Some(last) if !last.settled => last.unclean.saturating_add(1),
            _ => 0,
        };
        Self {
            boot_id: boot_id.to_owned(),
            settled: false,
            unclean,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (boot_id, state, unclean) = (words.next()?, words.next()?, words.next()?);
        Some(Self {
            boot_id: boot_id.to_owned(),
            settled: state == "settled",
            unclean: unclean.parse().ok()?,
        })
    }

    fn text(&self) -> String {
        let state = if self.settled { "settled" } else { "pending" };
        format!("{} {state} {}\n", self.boot_id, self.unclean)
    }
}

/// The guard of this boot.
#[derive(Debug)]
pub(super) struct BootGuard {
    path: PathBuf,
    memory: Memory,
}

impl BootGuard {
    /// Takes note in `folder` that Muzzle starts in this boot. Where that cannot be written, what
    /// the last note says holds all the same.
    ///
    /// # Errors
    /// The boot's id cannot be read.
    pub(super) fn start(folder: &Path) -> io::Result<Self> {
        let boot_id = clock::boot_id()?;
        let path = folder.join(FILE);
        // A note that cannot be read or understood is as good as none.
        let last = fs::read_to_string(&path)
            .ok()
            .and_then(|text| Memory::parse(&text));
        let guard = Self {
            path,
            memory: Memory::after(last, &boot_id),
        };
        guard.note();
        Ok(guard)
    }

    /// Why Muzzle is only to observe in this boot, if it is.
    pub(super) fn objection(&self) -> Option<String> {
        let count = self.memory.unclean;
        (count >= MAX_UNCLEAN).then(|| {
            format!(
                "the phone restarted {count} times soon after Muzzle had started: it only \
                 observes until a boot lasts {} minutes",
                SETTLED.as_secs() / 60
            )
        })
    }

    /// Takes note that this boot is a good one.
    pub(super) fn settle(&mut self) {
        self.memory.settled = true;
        self.memory.unclean = 0;
        self.note();
    }

    fn note(&self) {
        let text = self.memory.text();
        if let Err(error) = whole_file::replace(&self.path, text.as_bytes()) {
            let path = self.path.display();
            log::warn!("this boot is not counted: cannot write {path}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boots(notes: &[(&str, bool)]) -> Memory {
        let mut memory = None;
        for (boot_id, settled) in notes {
            let mut now = Memory::after(memory, boot_id);
            if *settled {
                now.settled = true;
                now.unclean = 0;
            }
            memory = Memory::parse(&now.text());
        }
        memory.unwrap()
    }

    #[test]
    fn short_boots_in_a_row_are_counted_and_a_good_one_ends_the_row() {
        assert_eq!(boots(&[("a", false)]).unclean, 0);
        assert_eq!(boots(&[("a", false), ("b", false)]).unclean, 1);
        assert_eq!(
            boots(&[("a", false), ("b", false), ("c", false), ("d", false)]).unclean,
            3
        );
        assert_eq!(boots(&[("a", false), ("b", true), ("c", false)]).unclean, 0);
    }

    #[test]
    fn starting_again_in_one_boot_counts_once() {
        assert_eq!(
            boots(&[("a", false), ("b", false), ("b", false), ("b", false)]).unclean,
            1
        );
    }

    #[test]
    fn a_damaged_note_is_no_note() {
        for text in ["", "a", "a pending", "a pending many"] {
            assert_eq!(Memory::parse(text), None, "{text}");
        }
    }
}
