//! Puts a [`Plan`] into the kernel, checks that it is there, and takes it out again.
//!
//! One `iptables-restore --noflush` batch per family and table: the kernel swaps the table in
//! one step, so there is no moment with half of the rules, and the lock is held for
//! milliseconds (netd gives up on its own commands after 5 s).

use std::error::Error as _;

use super::iptables::{CommandError, Iptables};
use super::plan::{Family, Plan, Table, WantedChain, deletion};
use super::saved::{Defect, SavedTable, mark_conflicts, sent_to_queue};

/// Which step failed. The command line and what it said are in the cause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A plan could not be put into force. What this attempt had installed is gone again, and
    /// with it all else of ours; where it had installed nothing, all is as it was before.
    #[error("the firewall rules are not in force{}", also(.undo))]
    NotApplied {
        /// The step that failed.
        source: Box<Self>,
        /// What could not be taken back.
        undo: Vec<Self>,
    },
    /// A table could not be listed.
    #[error("cannot list the {family} {table} table")]
    List {
        /// Which family.
        family: Family,
        /// Which table.
        table: Table,
        /// The cause.
        source: CommandError,
    },
    /// A chain could not be installed.
    #[error("cannot install {family} chain {chain}")]
    Install {
        /// Which family.
        family: Family,
        /// Our chain.
        chain: &'static str,
        /// The cause.
        source: CommandError,
    },
    /// A chain was installed without complaint, and yet is not there as wanted.
    #[error("{family} chain {chain} is not as installed: {}", list(.defects))]
    NotAsInstalled {
        /// Which family.
        family: Family,
        /// Our chain.
        chain: &'static str,
        /// What is wrong.
        defects: Vec<Defect>,
    },
    /// A jump to a chain of ours could not be deleted.
    #[error("cannot delete `{jump}` from the {family} {table} table")]
    DeleteJump {
        /// Which family.
        family: Family,
        /// Which table.
        table: Table,
        /// The jump as printed.
        jump: String,
        /// The cause.
        source: CommandError,
    },
    /// A chain of ours could not be deleted.
    #[error("cannot delete {family} chain {chain}")]
    DeleteChain {
        /// Which family.
        family: Family,
        /// Our chain.
        chain: String,
        /// The cause.
        source: CommandError,
    },
    /// The rules could not be saved as text.
    #[error("cannot save the {family} rules")]
    Save {
        /// Which family.
        family: Family,
        /// The cause.
        source: CommandError,
    },
}

/// What was left undone although the plan holds otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Warning {
    /// The kernel or the system has no IPv6 tables.
    #[error("IPv6 is not filtered: {0}")]
    NoIpv6(CommandError),
    /// A chain that an earlier plan or release left could not be removed.
    #[error("an old chain is still there: {0}{cause}", cause = cause(.0))]
    Leftover(Error),
}

/// A plan in force.
#[derive(Debug)]
#[must_use = "the warnings are for the user"]
pub struct Applied {
    /// The families filtered.
    pub families: Vec<Family>,
    /// What is left undone, for the user.
    pub warnings: Vec<Warning>,
}

/// Something that is not as the plan wants it, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{family} {table}: {defect}")]
pub struct Finding {
    /// Which family.
    pub family: Family,
    /// Which table.
    pub table: Table,
    /// What is wrong.
    pub defect: Defect,
}

impl Iptables {
    /// Makes the tables as `plan` wants them and reads them back. May be repeated, and starts
    /// over whatever a killed daemon left.
    ///
    /// # Errors
    /// [`Error::NotApplied`] with the first step that failed.
    pub fn apply(&self, plan: &Plan) -> Result<Applied, Error> {
        let mut applied = Applied {
            families: Vec::new(),
            warnings: Vec::new(),
        };
        let mut installed = false;
        let mut clean = Vec::new();
        for &family in plan.families() {
            if family == Family::V6
                && let Err(error) = self.list(family, Table::Raw)
                && means_no_ipv6(&error)
            {
                applied.warnings.push(Warning::NoIpv6(error));
                continue;
            }
            applied.families.push(family);
            for chain in plan.chains(family) {
                match self.install(family, &chain) {
                    Ok(text) if SavedTable::new(&text).own_chains() == [chain.name] => {
                        clean.push((family, chain.table));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        installed |= error.may_have_installed();
                        let families = if installed {
                            &applied.families[..]
                        } else {
                            &[]
                        };
                        let undo = self.remove_from(families);
                        return Err(Error::NotApplied {
                            source: Box::new(error),
                            undo,
                        });
                    }
                }
                installed = true;
            }
        }
        let leftovers = self.remove_unwanted(plan, &clean).into_iter();
        applied.warnings.extend(leftovers.map(Warning::Leftover));
        Ok(applied)
    }

    /// Removes our chains that `plan` has no use for: of a plan with more, of another release.
    /// Their queues may be in use again. In tables that are `clean` there are none.
    fn remove_unwanted(&self, plan: &Plan, clean: &[(Family, Table)]) -> Vec<Error> {
        let mut errors = Vec::new();
        for (family, table) in everywhere(&Family::BOTH) {
            if clean.contains(&(family, table)) {
                continue;
            }
            let covered = plan.families().contains(&family);
            let chains = if covered {
                plan.chains(family)
            } else {
                Vec::new()
            };
            let is_wanted = |name: &str| {
                chains
                    .iter()
                    .any(|chain| chain.table == table && chain.name == name)
            };
            errors.extend(self.remove_chains(family, table, |name| !is_wanted(name)));
        }
        errors
    }

    /// Installs one chain and reads its table back.
    fn install(&self, family: Family, wanted: &WantedChain) -> Result<String, Error> {
        let mut outcome = self.replace(family, wanted);
        if matches!(&outcome, Err(Error::Install { source, .. }) if source.is_refusal()) {
            // Somebody may have deleted a jump between the listing and the batch.
            outcome = self.replace(family, wanted);
        }
        outcome?;
        // What cannot be read back is not there as far as anybody knows.
        let defects = match self.list(family, wanted.table) {
            Ok(text) => {
                let defects = SavedTable::new(&text).defects(wanted);
                if defects.is_empty() {
                    return Ok(text);
                }
                defects
            }
            Err(error) => vec![Defect::Unreadable {
                reason: error.to_string(),
            }],
        };
        Err(Error::NotAsInstalled {
            family,
            chain: wanted.name,
            defects,
        })
    }

    fn replace(&self, family: Family, wanted: &WantedChain) -> Result<(), Error> {
        let (table, chain) = (wanted.table, wanted.name);
        let text = self.list(family, table);
        let text = text.map_err(|source| Error::List {
            family,
            table,
            source,
        })?;
        let stale = SavedTable::new(&text).jumps_to(chain);
        let outcome = self.restore(family, &wanted.batch(&stale));
        outcome.map_err(|source| Error::Install {
            family,
            chain,
            source,
        })
    }

    /// Everything that is not as `plan` wants it; empty when all is well.
    ///
    /// # Errors
    /// A table cannot be listed.
    pub fn verify(&self, plan: &Plan) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        for &family in plan.families() {
            for wanted in plan.chains(family) {
                let table = wanted.table;
                let text = match self.list(family, table) {
                    Ok(text) => text,
                    Err(error) if family == Family::V6 && means_no_ipv6(&error) => continue,
                    Err(source) => {
                        return Err(Error::List {
                            family,
                            table,
                            source,
                        });
                    }
                };
                let defects = SavedTable::new(&text).defects(&wanted).into_iter();
                findings.extend(defects.map(|defect| Finding {
                    family,
                    table,
                    defect,
                }));
            }
        }
        Ok(findings)
    }

    /// The queues that chains of ours in the IPv4 raw table hand packets to: those of a daemon
    /// that runs or was killed.
    ///
    /// # Errors
    /// The table cannot be listed.
    pub fn queues_in_use(&self) -> Result<Vec<u16>, Error> {
        let (family, table) = (Family::V4, Table::Raw);
        match self.list(family, table) {
            Ok(text) => Ok(SavedTable::new(&text).queues()),
            Err(source) => Err(Error::List {
                family,
                table,
                source,
            }),
        }
    }

    /// How many packets the rules in force have sent to each of these queues, in the families
    /// of `plan`.
    ///
    /// # Errors
    /// The rules cannot be saved.
    pub fn sent_to<const N: usize>(
        &self,
        plan: &Plan,
        queues: [u16; N],
    ) -> Result<[u64; N], Error> {
        let mut sent = [0; N];
        for &family in plan.families() {
            for &table in plan.tables() {
                let text = match self.save_counters(family, table) {
                    Ok(text) => text,
                    Err(error) if family == Family::V6 && means_no_ipv6(&error) => break,
                    Err(source) => return Err(Error::Save { family, source }),
                };
                for (sent, number) in sent.iter_mut().zip(queues) {
                    *sent += sent_to_queue(&text, number);
                }
            }
        }
        Ok(sent)
    }

    /// Removes every chain of ours and every jump to it, in both families, whatever release
    /// made it. What is not there is not missed. Goes on after an error, but not where another
    /// program holds the lock.
    ///
    /// # Errors
    /// All that went wrong.
    pub fn remove(&self) -> Result<(), Vec<Error>> {
        let errors = self.remove_from(&Family::BOTH);
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    fn remove_from(&self, families: &[Family]) -> Vec<Error> {
        let mut errors = Vec::new();
        for (family, table) in everywhere(families) {
            errors.extend(self.remove_chains(family, table, |_| true));
            // One lock is for all tables: for the others it would be waited for in vain.
            if errors.iter().any(Error::is_for_now) {
                break;
            }
        }
        errors
    }

    /// Removes those of our chains in one table that `is_meant`: jumps first.
    pub(super) fn remove_chains(
        &self,
        family: Family,
        table: Table,
        is_meant: impl Fn(&str) -> bool,
    ) -> Vec<Error> {
        let text = match self.list(family, table) {
            Ok(text) => text,
            // No such table, no such family: nothing of ours can be there.
            Err(CommandError::Refused { .. }) => return Vec::new(),
            Err(error) if family == Family::V6 && means_no_ipv6(&error) => return Vec::new(),
            Err(source) => {
                return vec![Error::List {
                    family,
                    table,
                    source,
                }];
            }
        };
        let saved = SavedTable::new(&text);
        let chains: Vec<_> = saved
            .own_chains()
            .into_iter()
            .filter(|name| is_meant(name))
            .collect();
        if chains.is_empty() {
            return Vec::new();
        }
        let jumps: Vec<_> = chains
            .iter()
            .flat_map(|chain| saved.jumps_to(chain))
            .collect();
        match self.restore(family, &removal(table, &jumps, &chains)) {
            Ok(()) => Vec::new(),
            // One line that the kernel refuses must not keep the others.
            Err(error) if error.is_refusal() => {
                self.remove_singly(family, table, &jumps, &chains)
            }
            Err(source) => {
                vec![Error::DeleteChain {
                    family,
                    chain: chains.join(", "),
                    source,
                }]
            }
        }
    }

    fn remove_singly(
        &self,
        family: Family,
        table: Table,
        jumps: &[String],
        chains: &[&str],
    ) -> Vec<Error> {
        let mut errors = Vec::new();
        for jump in jumps {
            let batch = removal(table, std::slice::from_ref(jump), &[]);
            if let Err(source) = self.restore(family, &batch) {
                errors.push(Error::DeleteJump {
                    family,
                    table,
                    jump: jump.clone(),
                    source,
                });
            }
        }
        // All are emptied before any is deleted: they may jump to one another.
        for option in ["-F", "-X"] {
            for chain in chains {
                if let Err(source) = self.edit(family, table, &[option, chain]) {
                    errors.push(Error::DeleteChain {
                        family,
                        chain: (*chain).to_owned(),
                        source,
                    });
                }
            }
        }
        errors
    }

    /// The firewall and routing rules of others that use a bit of `mark`, as printed.
    ///
    /// # Errors
    /// The IPv4 rules cannot be saved. IPv6 and routing rules that cannot be read are passed
    /// over: the phone may have neither.
    pub fn mark_conflicts(&self, mark: u32) -> Result<Vec<String>, Error> {
        let mut conflicts = Vec::new();
        for family in Family::BOTH {
            match self.save(family) {
                Ok(text) => conflicts.extend(mark_conflicts(&text, mark)),
                Err(_) if family == Family::V6 => {}
                Err(source) => return Err(Error::Save { family, source }),
            }
            let routing = self.routing_rules(family).unwrap_or_default();
            conflicts.extend(mark_conflicts(&routing, mark));
        }
        Ok(conflicts)
    }
}

impl Error {
    /// Whether the step may succeed later: another program held the lock of the tables, or
    /// iptables was silent for so long that it was killed.
    #[must_use]
    pub fn is_for_now(&self) -> bool {
        match self {
            Self::NotApplied { source, .. } => source.is_for_now(),
            Self::NotAsInstalled { .. } => false,
            Self::List { source, .. }
            | Self::Install { source, .. }
            | Self::DeleteJump { source, .. }
            | Self::DeleteChain { source, .. }
            | Self::Save { source, .. } => source.is_for_now(),
        }
    }

    /// Whether the step may have changed the kernel's rules although it failed.
    fn may_have_installed(&self) -> bool {
        match self {
            Self::NotAsInstalled { .. } => true,
            Self::Install { source, .. } => matches!(source, CommandError::Silent { .. }),
            _ => false,
        }
    }
}

/// Every table of `families`.
pub(super) fn everywhere(families: &[Family]) -> impl Iterator<Item = (Family, Table)> {
    families
        .iter()
        .flat_map(|&family| Table::ALL.map(|table| (family, table)))
}

/// Whether listing an IPv6 table failed because there is none. A held lock or a lack of rights
/// says nothing about IPv6.
fn means_no_ipv6(error: &CommandError) -> bool {
    matches!(
        error,
        CommandError::Refused { .. } | CommandError::Start { .. }
    )
}

/// The batch that deletes `jumps` and `chains`.
pub(super) fn removal(table: Table, jumps: &[String], chains: &[&str]) -> String {
    let mut text = format!("*{table}\n");
    for jump in jumps {
        text.push_str(&deletion(jump));
    }
    for option in ["-F", "-X"] {
        for chain in chains {
            text.push_str(&format!("{option} {chain}\n"));
        }
    }
    text.push_str("COMMIT\n");
    text
}

fn list(defects: &[Defect]) -> String {
    defects
        .iter()
        .map(Defect::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

fn also(undo: &[Error]) -> String {
    undo.iter()
        .map(|error| format!(" ({error}{})", cause(error)))
        .collect()
}

fn cause(error: &Error) -> String {
    error
        .source()
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default()
}
