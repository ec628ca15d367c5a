//! Reads what `iptables -S` and `iptables-save` print. Pure.

use super::plan::{CHAIN_PREFIX, Place, WantedChain};

/// What is not as the plan wants it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// The chain is gone.
    #[error("chain {chain} is missing")]
    NoChain {
        /// Its name.
        chain: String,
    },
    /// Nothing leads to the chain.
    #[error("{hook} does not jump to {chain}")]
    NoJump {
        /// The builtin chain.
        hook: String,
        /// Our chain.
        chain: String,
    },
    /// Another program's rule comes first. It works on, for what that rule lets through.
    #[error("{hook} has another rule before the jump to {chain}: {before}")]
    JumpNotFirst {
        /// The builtin chain.
        hook: String,
        /// Our chain.
        chain: String,
        /// The first rule there.
        before: String,
    },
    /// Several jumps: packets would be looked at several times.
    #[error("{hook} jumps to {chain} {count} times")]
    ManyJumps {
        /// The builtin chain.
        hook: String,
        /// Our chain.
        chain: String,
        /// How often.
        count: usize,
    },
    /// The chain holds other rules than it should.
    #[error("chain {chain} holds other rules than were set ({found} instead of {wanted})")]
    OtherRules {
        /// Its name.
        chain: String,
        /// How many rules it should have.
        wanted: usize,
        /// How many it has.
        found: usize,
    },
    /// The table could not be read.
    #[error("it cannot be read back: {reason}")]
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// The text of `iptables -t TABLE -S`.
#[derive(Clone, Copy, Debug)]
pub struct SavedTable<'a>(&'a str);

impl<'a> SavedTable<'a> {
    /// Takes `text` as printed.
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// Our chains, of whatever release.
    pub fn own_chains(self) -> Vec<&'a str> {
        let names = self.0.lines().filter_map(|line| line.strip_prefix("-N "));
        names
            .filter(|name| name.starts_with(CHAIN_PREFIX))
            .collect()
    }

    /// The rules of other chains that lead to a chain of ours, as printed.
    pub fn jumps(self) -> Vec<&'a str> {
        let rules = self.0.lines().filter(|line| line.starts_with("-A "));
        rules
            .filter(|line| !is_own(line) && leads_to(line).is_some())
            .collect()
    }

    /// The rules of other chains that lead to `chain`, as printed.
    pub fn jumps_to(self, chain: &str) -> Vec<String> {
        let jumps = self.jumps().into_iter();
        jumps
            .filter(|line| leads_to(line) == Some(chain))
            .map(str::to_owned)
            .collect()
    }

    /// The queues that our chains hand packets to, whatever release made them; each once.
    pub fn queues(self) -> Vec<u16> {
        let own = self.0.lines().filter(|line| is_own(line));
        let number = |line: &str| {
            let (_, after) = line.split_once("--queue-num ")?;
            after.split_ascii_whitespace().next()?.parse().ok()
        };
        let mut numbers: Vec<u16> = own.filter_map(number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// The rules of `chain` without their `-A CHAIN `.
    fn rules(self, chain: &str) -> Vec<&'a str> {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix("-A "));
        let split = lines.filter_map(|line| line.split_once(' '));
        split
            .filter(|(name, _)| *name == chain)
            .map(|(_, rule)| rule)
            .collect()
    }

    /// Everything that is not as `wanted`.
    pub fn defects(self, wanted: &WantedChain) -> Vec<Defect> {
        let chain = wanted.name.to_owned();
        let hook = wanted.hook.to_owned();
        let mut defects = Vec::new();
        if !self.own_chains().contains(&wanted.name) {
            defects.push(Defect::NoChain {
                chain: chain.clone(),
            });
        } else if !same_rules(&wanted.rules, &self.rules(wanted.name)) {
            let (wanted, found) = (wanted.rules.len(), self.rules(wanted.name).len());
            defects.push(Defect::OtherRules {
                chain: chain.clone(),
                wanted,
                found,
            });
        }
        let jump = format!("-j {chain}");
        let hooked = self.rules(wanted.hook);
        match hooked.iter().filter(|rule| **rule == jump).count() {
            0 => defects.push(Defect::NoJump { hook, chain }),
            1 if wanted.place == Place::First && hooked[0] != jump => {
                let before = hooked[0].to_owned();
                defects.push(Defect::JumpNotFirst {
                    hook,
                    chain,
                    before,
                });
            }
            1 => {}
            count => defects.push(Defect::ManyJumps { hook, chain, count }),
        }
        defects
    }
}

/// Whether the rules are the wanted ones, told by number, order and what each does.
///
/// Conditions are not compared: versions of iptables (1.6.1 to 1.8.11 on Android) may print them
/// differently, and a phone must not go unprotected for a blank.
fn same_rules(wanted: &[String], found: &[&str]) -> bool {
    let wanted = wanted.iter().map(|rule| effect(rule));
    wanted.eq(found.iter().map(|rule| effect(rule)))
}

/// From the target on: `-j NFQUEUE --queue-num 1 --queue-bypass`.
fn effect(rule: &str) -> &str {
    rule.find("-j ").map_or("", |at| rule[at..].trim_end())
}

/// Whether a line (`-A CHAIN …`) is a rule of a chain of ours.
fn is_own(line: &str) -> bool {
    line.strip_prefix("-A ")
        .is_some_and(|rest| rest.starts_with(CHAIN_PREFIX))
}

/// The chain of ours that a rule jumps or goes to.
fn leads_to(line: &str) -> Option<&str> {
    let mut words = line.split_ascii_whitespace();
    words.find(|word| matches!(*word, "-j" | "-g"))?;
    words
        .next()
        .filter(|target| target.starts_with(CHAIN_PREFIX))
}

/// How many packets the rules of ours have sent to queue `number`, from the text of
/// `iptables-save -c`.
pub fn sent_to_queue(saved: &str, number: u16) -> u64 {
    let target = format!("-j NFQUEUE --queue-num {number} --queue-bypass");
    let packets = |line: &str| {
        let (counters, rule) = line.strip_prefix('[')?.split_once("] ")?;
        let ours = is_own(rule) && rule.trim_end().ends_with(&target);
        let (packets, _bytes) = counters.split_once(':')?;
        ours.then(|| packets.parse::<u64>().ok())?
    };
    saved.lines().filter_map(packets).sum()
}

/// The rules of others that use a bit of `mark`, from the text of `iptables-save` or `ip rule`.
///
/// A rule uses a bit when its value has it, or when its mask picks it out. A wide mask whose
/// value leaves the bit at zero only sweeps over it: netd writes `0x…/0xffefffff` on the way in.
pub fn mark_conflicts(saved: &str, mark: u32) -> Vec<String> {
    let foreign = saved.lines().map(str::trim).filter(|line| !is_own(line));
    foreign
        .filter(|line| uses(line, mark))
        .map(str::to_owned)
        .collect()
}

/// Most bits a mask may have that is meant for one purpose.
const NARROW_MASK_BITS: u32 = 8;

fn uses(line: &str, mark: u32) -> bool {
    let mut words = line.split_ascii_whitespace().peekable();
    while let Some(word) = words.next() {
        let named = match word {
            "--mark" | "--set-mark" | "--set-xmark" | "--tproxy-mark" | "fwmark" => {
                words.peek().and_then(|text| masked(text))
            }
            // Saving and restoring a connmark: no value, only what is carried over.
            "--nfmask" | "--ctmask" => words.peek().and_then(|text| Some((0, number(text)?))),
            _ => None,
        };
        if let Some((value, mask)) = named {
            let narrow = mask & mark != 0 && mask.count_ones() <= NARROW_MASK_BITS;
            if value & mark != 0 || narrow {
                return true;
            }
        }
    }
    false
}

/// Parses `VALUE` or `VALUE/MASK`.
fn masked(text: &str) -> Option<(u32, u32)> {
    let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    Some((number(value)?, number(mask)?))
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
