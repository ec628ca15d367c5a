//! The firewall's part of the daemon: what this kernel can do, and the plan in force.

use anyhow::Context;

use super::queues::QUEUES;
use super::rules::Loaded;
use super::sweep::{Sweep, Swept};
use crate::config::{Config, HotspotClients};
use crate::firewall::apply::Finding;
use crate::firewall::{Capability, Defect, Error, Iptables, Plan};
use crate::queue;

/// The tables of this machine and what Muzzle has put into them.
pub(super) struct Filter {
    iptables: Iptables,
    capabilities: Vec<Capability>,
    /// Rules keep forged answers out of connection tracking.
    pub(super) notrack: bool,
    /// Rules have connections followed until they name their host.
    pub(super) follows: bool,
    in_force: Option<Plan>,
    warnings: Vec<String>,
}

impl Filter {
    /// Finds iptables and what the kernel can do; changes nothing.
    pub(super) fn prepare(config: &Config) -> anyhow::Result<Self> {
        let settings = &config.firewall;
        let iptables =
            Iptables::find(settings.iptables.as_deref())?.with_lock_wait(settings.lock_wait);
        refuse_beside_another(&iptables)?;
        let capabilities = iptables.probe()?;
        for (key, mark) in [
            ("mark", settings.mark),
            ("follow_mark", settings.follow_mark),
        ] {
            let conflicts = iptables.mark_conflicts(mark)?;
            anyhow::ensure!(
                conflicts.is_empty(),
                "[firewall] {key} {mark:#010x} is used by other rules; choose another bit:\n{}",
                conflicts.join("\n")
            );
        }
        let able = Plan::default().fitted(&capabilities)?;
        Ok(Self {
            iptables,
            capabilities,
            notrack: able.notrack,
            follows: able.follow,
            in_force: None,
            warnings: Vec::new(),
        })
    }

    /// The plan for `loaded` on this machine.
    fn plan(&self, loaded: &Loaded, queues: [u16; QUEUES]) -> anyhow::Result<Plan> {
        let [dns_queue, connection_queue] = queues;
        let plan = Plan {
            mark: loaded.config.firewall.mark,
            follow_mark: loaded.config.firewall.follow_mark,
            dns_queue,
            connection_queue,
            answers: loaded.config.dns.answers,
            tls_ports: loaded.ruleset.named_ports.tls.clone(),
            http_ports: loaded.ruleset.named_ports.http.clone(),
            udp_ranges: loaded.ruleset.udp_ranges.clone(),
            quic_ports: loaded.ruleset.named_ports.quic.clone(),
            notrack: true,
            conntrack: true,
            follow: true,
            forwarded: loaded.config.hotspot.clients == HotspotClients::Filter,
            ipv6: true,
        };
        Ok(plan.fitted(&self.capabilities)?)
    }

    /// Puts the plan for `loaded` into force; says whether that changed anything. On failure the
    /// plan that was in force stays so.
    pub(super) fn apply(
        &mut self,
        loaded: &Loaded,
        queues: [u16; QUEUES],
    ) -> anyhow::Result<bool> {
        let plan = self.plan(loaded, queues)?;
        if self.in_force.as_ref() == Some(&plan) {
            return Ok(false);
        }
        match self.iptables.apply(&plan) {
            Ok(applied) => {
                let missing = self
                    .capabilities
                    .iter()
                    .filter(|it| !it.present)
                    .map(lacking);
                let warnings = applied.warnings.iter().map(ToString::to_string);
                self.warnings = warnings.chain(missing).collect();
                self.in_force = Some(plan);
                Ok(true)
            }
            Err(error) => {
                if let Some(plan) = &self.in_force {
                    // A failed apply has removed everything; the old plan worked before.
                    let _ = self
                        .iptables
                        .apply(plan)
                        .context("and the old rules are gone too")?;
                }
                Err(error.into())
            }
        }
    }

    /// Looks whether the plan in force still is, and puts it into force again where somebody has
    /// taken it apart; says what was wrong. Another program's rule that has come before ours is
    /// left there: two programs that both want to be first would never end.
    ///
    /// # Errors
    /// The tables cannot be listed or written.
    pub(super) fn mend(&self) -> Result<Vec<String>, Error> {
        let Some(plan) = &self.in_force else {
            return Ok(Vec::new());
        };
        let findings = self.iptables.verify(plan)?;
        let wrong = |it: &&Finding| !matches!(it.defect, Defect::JumpNotFirst { .. });
        let wrong: Vec<_> = findings
            .iter()
            .filter(wrong)
            .map(ToString::to_string)
            .collect();
        if !wrong.is_empty() {
            // Its warnings are those of the first time.
            let _same_as_before = self.iptables.apply(plan)?;
        }
        Ok(wrong)
    }

    /// Takes everything away, jumps first, as far as that can be done now. What is left is for
    /// later tries.
    pub(super) fn remove(&mut self) -> Option<Sweep> {
        self.in_force = None;
        let mut sweep = Sweep::new(self.iptables.clone());
        (sweep.attempt() == Swept::NotYet).then_some(sweep)
    }

    /// How many packets the rules in force have sent to each queue; `None` where that cannot be
    /// read, or nothing is in force.
    pub(super) fn sent_to(&self, queues: [u16; QUEUES]) -> Option<[u64; QUEUES]> {
        let sent = self.iptables.sent_to(self.in_force.as_ref()?, queues);
        if let Err(error) = &sent {
            log::warn!("packets that passed unseen cannot be counted: {error}");
        }
        sent.ok()
    }

    /// What the rules in force do about hotspot clients.
    pub(super) fn hotspot_clients(&self) -> HotspotClients {
        match &self.in_force {
            Some(plan) if plan.forwarded => HotspotClients::Filter,
            _ => HotspotClients::Ignore,
        }
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// A daemon with another control socket may be at work here. Its chains have the names of ours:
/// what we did to them would leave it blind.
///
/// Chains that a killed daemon left are told by their queues: not all of them have a listener.
fn refuse_beside_another(iptables: &Iptables) -> anyhow::Result<()> {
    let listener = |number| Some((number, queue::occupancy(number)?.port));
    let queues = iptables.queues_in_use()?;
    let listeners: Option<Vec<(u16, u32)>> = queues.into_iter().map(listener).collect();
    if let Some(&[(number, port), ..]) = listeners.as_deref() {
        anyhow::bail!(
            "another Muzzle daemon is at work here with another control socket: queue {number} \
             of its rules belongs to netlink port {port}, most likely the process with that id; \
             stop it first"
        );
    }
    Ok(())
}

fn lacking(capability: &Capability) -> String {
    format!(
        "{} has no {}: {}",
        capability.family, capability.name, capability.consequence
    )
}
