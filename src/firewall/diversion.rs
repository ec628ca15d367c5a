//! A rule of a few moments that sends chosen packets to a queue, for `muzzle doctor --bundle`.
//!
//! Should the program die meanwhile, `--queue-bypass` lets these packets pass, and the next start
//! of the daemon takes the chain away: its name begins as all of ours do.

use super::apply::Error;
use super::iptables::Iptables;
use super::plan::{Family, Table};

const CHAIN: &str = "muzzle_doctor";

/// A rule in force in raw OUTPUT, before all others; gone when this is dropped.
#[derive(Debug)]
#[must_use = "the rule goes with it"]
pub struct Diversion<'a> {
    iptables: &'a Iptables,
    family: Family,
}

impl Iptables {
    /// Sends outgoing packets that match `condition` (`-p udp -m udp --dport 53`) to `queue`.
    /// What somebody killed left behind goes first.
    ///
    /// # Errors
    /// The rule is refused, or the tables cannot be worked on.
    pub fn divert(
        &self,
        family: Family,
        condition: &str,
        queue: u16,
    ) -> Result<Diversion<'_>, Error> {
        let diversion = Diversion {
            iptables: self,
            family,
        };
        diversion.remove();
        let table = Table::Raw;
        let batch = format!(
            "*{table}\n:{CHAIN} - [0:0]\n\
             -A {CHAIN} {condition} -j NFQUEUE --queue-num {queue} --queue-bypass\n\
             -I OUTPUT 1 -j {CHAIN}\nCOMMIT\n"
        );
        self.restore(family, &batch)
            .map_err(|source| Error::Install {
                family,
                chain: CHAIN,
                source,
            })?;
        Ok(diversion)
    }

    /// Makes a chain and deletes it in one batch, which leaves the raw table as it was: to see
    /// that a batch works, and how long it takes.
    ///
    /// # Errors
    /// The tables cannot be worked on.
    pub fn rehearse(&self, family: Family) -> Result<(), Error> {
        let table = Table::Raw;
        let batch = format!("*{table}\n:{CHAIN} - [0:0]\n-X {CHAIN}\nCOMMIT\n");
        self.restore(family, &batch)
            .map_err(|source| Error::Install {
                family,
                chain: CHAIN,
                source,
            })
    }
}

impl Diversion<'_> {
    fn remove(&self) {
        // Nobody could do anything about an error here; who looks at the chains sees it.
        let _ = self
            .iptables
            .remove_chains(self.family, Table::Raw, |name| name == CHAIN);
    }
}

impl Drop for Diversion<'_> {
    fn drop(&mut self) {
        self.remove();
    }
}
