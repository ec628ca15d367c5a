//! What kind of phone this is: Android, vendor, kernel, SELinux, root managers.

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use super::Context;
use super::command::{file, output, reason};
use super::page::Page;

/// Properties that are the same on every phone of a kind.
const PROPERTIES: [&str; 17] = [
    "ro.build.version.release",
    "ro.build.version.sdk",
    "ro.build.version.security_patch",
    "ro.build.version.incremental",
    "ro.product.brand",
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.product.device",
    "ro.board.platform",
    "ro.product.cpu.abilist",
    "ro.miui.ui.version.name",
    "ro.mi.os.version.name",
    "ro.miui.region",
    "ro.product.mod_device",
    "ro.boot.hwc",
    "ro.config.per_app_memcg",
    "sys.boot_completed",
];

/// Android, the vendor's release and region.
pub(super) fn android(_: &Context, page: &mut Page) {
    for name in PROPERTIES {
        match output("getprop", &[name]) {
            Ok(value) => page.value(name, &value),
            Err(why) => return page.missing("getprop", why),
        }
    }
}

/// Kernel, SELinux, who started this.
pub(super) fn system(_: &Context, page: &mut Page) {
    for (name, path) in [
        ("kernel", "/proc/sys/kernel/osrelease"),
        ("SELinux enforcing", "/sys/fs/selinux/enforce"),
        ("our SELinux context", "/proc/self/attr/current"),
    ] {
        match file(path) {
            Ok(text) => page.value(name, text.trim_end_matches('\0')),
            Err(why) => page.missing(&format!("{name} ({path})"), why),
        }
    }
    page.value("machine", std::env::consts::ARCH);
    match file("/proc/self/cgroup") {
        Ok(text) => {
            page.say("our cgroups:\n");
            page.quote_lines(&text);
        }
        Err(why) => page.missing("our cgroups", why),
    }
    root_managers(page);
}

/// Parts of the names of public modules that work on the network too.
const NETWORK_MODULES: [&str; 16] = [
    "zapret", "nfqws", "zdt", "adguard", "agh", "box", "clash", "mihomo", "sing", "v2ray",
    "xray", "surfing", "hosts", "malwack", "afwall", "muzzle",
];

fn root_managers(page: &mut Page) {
    let managers = [
        ("Magisk", "/data/adb/magisk"),
        ("KernelSU", "/data/adb/ksu"),
        ("APatch", "/data/adb/ap"),
    ];
    let found: Vec<_> = managers
        .iter()
        .filter(|(_, folder)| Path::new(folder).exists())
        .map(|(name, _)| *name)
        .collect();
    page.value("root managers", &found.join(", "));
    if let Ok(version) = output("magisk", &["-c"]) {
        page.value("magisk -c", &version);
    }
    let modules = match std::fs::read_dir("/data/adb/modules") {
        Ok(modules) => modules,
        Err(error) => return page.missing("modules of the root manager", reason(&error)),
    };
    let names: Vec<_> = modules
        .filter_map(|module| module.ok()?.file_name().into_string().ok())
        .collect();
    let mut known: Vec<_> = names
        .iter()
        .filter(|name| {
            let name = name.to_lowercase();
            NETWORK_MODULES.iter().any(|part| name.contains(part))
        })
        .map(String::as_str)
        .collect();
    known.sort_unstable();
    page.value("modules", &names.len().to_string());
    page.value("of them on the network", &known.join(", "));
}

/// The kernel's options that decide what Muzzle can do, without `CONFIG_`.
const OPTIONS: [&str; 42] = [
    "NETFILTER_NETLINK_QUEUE",
    "NETFILTER_NETLINK_LOG",
    "NETFILTER_NETLINK_GLUE_CT",
    "NETFILTER_XT_TARGET_NFQUEUE",
    "NETFILTER_XT_TARGET_NFLOG",
    "NETFILTER_XT_TARGET_CT",
    "NETFILTER_XT_TARGET_MARK",
    "NETFILTER_XT_TARGET_CONNMARK",
    "NETFILTER_XT_MATCH_U32",
    "NETFILTER_XT_MATCH_STRING",
    "NETFILTER_XT_MATCH_MARK",
    "NETFILTER_XT_MATCH_CONNMARK",
    "NETFILTER_XT_MATCH_CONNTRACK",
    "NETFILTER_XT_MATCH_CONNBYTES",
    "NETFILTER_XT_MATCH_MULTIPORT",
    "NETFILTER_XT_MATCH_OWNER",
    "NETFILTER_XT_MATCH_QTAGUID",
    "NETFILTER_XT_MATCH_QUOTA2",
    "NETFILTER_XT_MATCH_BPF",
    "NETFILTER_XT_MATCH_SOCKET",
    "NETFILTER_XT_SET",
    "IP_SET",
    "IP_NF_RAW",
    "IP_NF_MANGLE",
    "IP_NF_FILTER",
    "IP_NF_NAT",
    "IP_NF_TARGET_REJECT",
    "IP6_NF_RAW",
    "IP6_NF_MANGLE",
    "IP6_NF_FILTER",
    "IP6_NF_NAT",
    "IP6_NF_TARGET_REJECT",
    "NF_CONNTRACK",
    "NF_CT_NETLINK",
    "NF_CONNTRACK_EVENTS",
    "NF_TABLES",
    "INET_DIAG",
    "INET_UDP_DIAG",
    "INET_DIAG_DESTROY",
    "CGROUP_BPF",
    "ANDROID_PARANOID_NETWORK",
    "ANDROID_DEFAULT_SETTING",
];
/// Largest unpacked `config.gz` that is read, in bytes; they have some 200 KiB.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// The kernel's options, or else what its tables say is loaded.
pub(super) fn kernel_options(_: &Context, page: &mut Page) {
    match unpacked("/proc/config.gz") {
        Ok(config) => {
            for name in OPTIONS {
                page.value(name, option(&config, name));
            }
        }
        Err(why) => page.missing("/proc/config.gz", why),
    }
    for name in [
        "ip_tables_names",
        "ip_tables_matches",
        "ip_tables_targets",
        "ip6_tables_names",
        "ip6_tables_matches",
        "ip6_tables_targets",
    ] {
        match file(&format!("/proc/net/{name}")) {
            Ok(text) => {
                let mut words: Vec<_> = text.split_ascii_whitespace().collect();
                words.sort_unstable();
                words.dedup();
                page.say(format!("loaded, {name}: "));
                page.quote_lines(&words.join(" "));
            }
            Err(why) => page.missing(name, why),
        }
    }
}

fn unpacked(path: &str) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| reason(&error))?;
    let mut bytes = Vec::new();
    let mut unpacking = GzDecoder::new(file).take(MAX_CONFIG_BYTES);
    match unpacking.read_to_end(&mut bytes) {
        Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Err(reason(&error)),
    }
}

/// `y`, `m`, or `no` where the option is not set.
fn option<'a>(config: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| {
        let rest = line.strip_prefix("CONFIG_")?.strip_prefix(name)?;
        rest.strip_prefix('=')
    };
    config.lines().find_map(value).unwrap_or("no")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_by_their_whole_name() {
        let config = "# CONFIG_IP_SET is not set\nCONFIG_NF_CONNTRACK_EVENTS=y\n\
                      CONFIG_NF_CONNTRACK=m\nCONFIG_HZ=300\n";
        assert_eq!(option(config, "NF_CONNTRACK"), "m");
        assert_eq!(option(config, "NF_CONNTRACK_EVENTS"), "y");
        assert_eq!(option(config, "IP_SET"), "no");
    }

    #[test]
    fn what_is_no_gzip_is_said() {
        assert_eq!(unpacked("/nowhere/config.gz"), Err("not found".into()));
        let why = unpacked("/proc/version").unwrap_err();
        assert!(why.contains("gzip"), "{why}");
    }
}
