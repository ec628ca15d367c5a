//! The firewall as it is: programs, chains of everybody, queues, marks. Reads only.

use super::Context;
use super::command::{file, output};
use super::page::Page;
use crate::firewall::{Family, Iptables, mark_conflicts};
use crate::queue::OCCUPANCY_TABLE;

/// The bits that Muzzle uses or may use some day (26 and 27).
const OUR_BITS: [u32; 2] = [0x0400_0000, 0x0800_0000];

/// The rules of each family, or why they cannot be read.
pub(super) type Saved = [(Family, Result<String, String>); 2];

/// The programs and their versions.
pub(super) fn programs(context: &Context, page: &mut Page) {
    let iptables = match &context.iptables {
        Ok(iptables) => iptables,
        Err(why) => return page.missing("iptables", why),
    };
    for family in Family::BOTH {
        page.say(format!("{family}: "));
        page.quote(format!("{}: ", iptables.program(family).display()));
        match iptables.version(family) {
            Ok(version) => page.quote_lines(&version),
            Err(error) => page.missing("version", error),
        }
    }
}

/// The chains of all tables.
pub(super) fn chains(context: &Context, page: &mut Page) {
    for (family, saved) in context.saved() {
        page.say(format!("{family}\n"));
        match saved {
            // Comments have the time in the phone's zone.
            Ok(text) => page.quote_lines(&without_comments(text)),
            Err(why) => page.missing("iptables-save", why),
        }
    }
}

/// Whether the chains are still as they were before the active checks.
pub(super) fn chains_after(context: &Context, page: &mut Page) {
    let before = without_counters(context.saved());
    let after = without_counters(&save(&context.iptables));
    if before == after {
        page.say(format!("as before: {} rules and chains\n", after.len()));
        return;
    }
    page.say("not as before, by these checks or by others meanwhile\n");
    let gone = before.iter().filter(|line| !after.contains(line));
    let new = after.iter().filter(|line| !before.contains(line));
    let changes = gone.map(|it| ("gone", it)).chain(new.map(|it| ("new", it)));
    for (what, (place, line)) in changes {
        page.say(format!("{what} in {place}: "));
        page.quote(format!("{line}\n"));
    }
}

fn without_comments(saved: &str) -> String {
    let lines = saved.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

/// What iptables-save prints in each family.
pub(super) fn save(iptables: &Result<Iptables, String>) -> Saved {
    let save = |family| match iptables {
        Ok(iptables) => iptables.save(family).map_err(|error| error.to_string()),
        Err(why) => Err(why.clone()),
    };
    Family::BOTH.map(|family| (family, save(family)))
}

/// Rules and chains with their places. Builtin chains at ACCEPT are left out: they come with the
/// first look at a table.
fn without_counters(saved: &Saved) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for (family, saved) in saved {
        let mut table = family.to_string();
        let (Ok(text) | Err(text)) = saved;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = format!("{family} {name}");
            } else if let Some(chain) = line.strip_prefix(':') {
                let chain = chain.split(" [").next().unwrap_or(chain);
                if !chain.ends_with(" ACCEPT") {
                    lines.push((table.clone(), chain.to_owned()));
                }
            } else if !line.starts_with('#') && line != "COMMIT" {
                lines.push((table.clone(), line.to_owned()));
            }
        }
    }
    lines
}

/// Who has netfilter queues or sends packets to them.
pub(super) fn queues(context: &Context, page: &mut Page) {
    match file(OCCUPANCY_TABLE) {
        Ok(table) => {
            page.say(
                "bound queues: number, netlink port, waiting, copy mode, copy range, dropped as \
                 full, dropped for the buffer, newest packet; who has that port as process id\n",
            );
            for line in table.lines() {
                let port = line.split_ascii_whitespace().nth(1).unwrap_or_default();
                let holder = file(&format!("/proc/{port}/comm"));
                page.say(format!("{line}  "));
                page.quote_lines(&holder.unwrap_or_else(|why| format!("({why})")));
            }
            if table.trim().is_empty() {
                page.say("(none)\n");
            }
        }
        Err(why) => page.missing(OCCUPANCY_TABLE, why),
    }
    page.say("rules of others that send packets to user space\n");
    for (family, saved) in context.saved() {
        let text = saved.as_deref().unwrap_or_default();
        let rules: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("-A ") && !line.starts_with("-A muzzle_"))
            .filter(|line| line.contains("-j NFQUEUE") || line.contains("-j NFLOG"))
            .collect();
        page.say(format!("{family}: {}\n", rules.len()));
        for rule in rules {
            page.quote(format!("{rule}\n"));
        }
    }
}

/// Who else uses the bits of the packet mark that Muzzle uses, and all routing rules.
pub(super) fn marks(context: &Context, page: &mut Page) {
    let mut texts: Vec<_> = context
        .saved()
        .iter()
        .map(|(family, saved)| (format!("{family} rules"), saved.clone()))
        .collect();
    for (family, flag) in Family::BOTH.iter().zip(["-4", "-6"]) {
        let rules = output("ip", &[flag, "rule"]);
        page.say(format!("{family} routing rules\n"));
        match &rules {
            Ok(text) => page.quote_lines(text),
            Err(why) => page.missing("ip rule", why),
        }
        texts.push((format!("{family} routing rules"), rules));
    }
    page.say(format!(
        "our mark: {:#x}; rules of others that use a bit of it, or of {:#x} or {:#x}\n",
        context.config.firewall.mark, OUR_BITS[0], OUR_BITS[1]
    ));
    let bits = OUR_BITS
        .iter()
        .fold(context.config.firewall.mark, |all, bit| all | bit);
    for (what, text) in texts {
        let conflicts = mark_conflicts(&text.unwrap_or_default(), bits);
        page.say(format!("{what}: {}\n", conflicts.len()));
        for rule in conflicts {
            page.quote(format!("{rule}\n"));
        }
    }
}
