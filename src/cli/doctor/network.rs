//! The network as it is: interfaces, 464xlat, private DNS. Reads only.

use super::Context;
use super::command::{file, output, reason};
use super::page::Page;

/// Interfaces, their addresses, and whether one of them translates IPv4 into IPv6.
pub(super) fn interfaces(_: &Context, page: &mut Page) {
    let mut names = match std::fs::read_dir("/sys/class/net") {
        Ok(folder) => folder
            .filter_map(|it| it.ok()?.file_name().into_string().ok())
            .collect::<Vec<_>>(),
        Err(error) => return page.missing("interfaces", reason(&error)),
    };
    names.sort_unstable();
    for name in &names {
        let read = |what: &str| {
            let text = file(&format!("/sys/class/net/{name}/{what}"));
            text.unwrap_or_else(|why| why).trim().to_owned()
        };
        let (state, flags, mtu) = (read("operstate"), read("flags"), read("mtu"));
        page.quote(format!("{name}: {state}, flags {flags}, mtu {mtu}\n"));
    }
    let translating: Vec<_> = names
        .iter()
        .filter(|name| name.starts_with("v4-"))
        .collect();
    page.say(format!(
        "464xlat (an interface v4-*): {}\n",
        if translating.is_empty() { "no" } else { "yes" }
    ));
    page.say("addresses\n");
    match output("ip", &["-o", "addr"]) {
        Ok(text) => page.quote_lines(&text),
        Err(why) => page.missing("ip addr", why),
    }
}

/// Whether Android asks its DNS questions encrypted. The server's name is not asked for.
pub(super) fn private_dns(_: &Context, page: &mut Page) {
    for setting in ["private_dns_mode", "private_dns_default_mode"] {
        match output("settings", &["get", "global", setting]) {
            Ok(mode) => match mode.trim() {
                known @ ("off" | "opportunistic" | "hostname" | "null") => {
                    page.value(setting, known);
                }
                _ => page.value(setting, "something else"),
            },
            Err(why) => return page.missing(setting, why),
        }
    }
}
