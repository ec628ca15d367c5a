//! The firewall as it is: programs, chains of everybody, queues, marks. Reads only.

use super::Context;
use super::command::{file, output};
use super::page::Page;
use crate::firewall::{Family, mark_conflicts};
use crate::queue::OCCUPANCY_TABLE;

/// The bits that Muzzle uses or may use some day (26 and 27).
const OUR_BITS: [u32; 2] = [0x0400_0000, 0x0800_0000];

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

/// The chains of all tables, and what they are for the comparison at the end.
pub(super) fn chains(context: &Context, page: &mut Page) {
    for (family, saved) in saved(context) {
        page.say(format!("{family}\n"));
        match &saved {
            Ok(text) => page.quote_lines(text),
            Err(why) => page.missing("iptables-save", why),
        }
    }
    // The first one stays.
    let _ = context.chains.set(without_counters(context));
}

/// Whether the chains are still as they were before the active checks.
pub(super) fn chains_after(context: &Context, page: &mut Page) {
    let Some(before) = context.chains.get() else {
        return page.missing("comparison", "the chains could not be read before");
    };
    let after = without_counters(context);
    let gone = before.iter().filter(|line| !after.contains(line));
    let new = after.iter().filter(|line| !before.contains(line));
    let changes: Vec<_> = gone
        .map(|line| ("gone", line))
        .chain(new.map(|line| ("new", line)))
        .collect();
    if changes.is_empty() {
        page.say(format!("as before: {} lines\n", after.len()));
    }
    for (what, line) in changes {
        page.say(format!("{what}: "));
        // Separate, so that it is read as the rule it is.
        page.quote(format!("{line}\n"));
    }
}

fn saved(context: &Context) -> Vec<(Family, Result<String, String>)> {
    let save = |family| match &context.iptables {
        Ok(iptables) => iptables.save(family).map_err(|error| error.to_string()),
        Err(why) => Err(why.clone()),
    };
    Family::BOTH
        .iter()
        .map(|&family| (family, save(family)))
        .collect()
}

/// Rules and chains of both families; the text of one that cannot be read counts as a line.
fn without_counters(context: &Context) -> Vec<String> {
    let texts = saved(context).into_iter().map(|(_, saved)| saved);
    let text: String = texts.map(|it| it.unwrap_or_else(|why| why)).collect();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| match line.strip_prefix(':') {
            Some(chain) => chain.split(" [").next().unwrap_or(chain).to_owned(),
            None => line.to_owned(),
        })
        .collect()
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
    for (family, saved) in saved(context) {
        let saved = saved.unwrap_or_default();
        let rules: Vec<_> = saved
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
    let mut texts: Vec<_> = saved(context)
        .into_iter()
        .map(|(family, saved)| (format!("{family} rules"), saved))
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
