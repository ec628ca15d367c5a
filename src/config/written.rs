//! The config as written: one function per section. What is not written keeps its default.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::meant::{
    Config, ConnectionSettings, DnsSettings, EncryptedDnsSettings, FirewallSettings,
    HistorySettings, HotspotClients, HotspotSettings, LogSettings, QueueSettings, Recorded,
};
use super::reader::{Problems, Section, Source};
use super::{written_answer, written_rule};
use crate::act::{ConnectionRefusal, DnsRefusal};
use crate::catalogue::Preset;
use crate::decide::{EncryptedDns, Mode, PrivateDns};

/// Bits of marks that nobody else on an Android phone uses: netd has 0 to 20, its strict-mode
/// chains 24 and 25, Xiaomi's traffic limiter 28 to 30, wake-up control 31.
const FREE_MARK_BITS: u32 = 0x0ce0_0000;

/// The words for how a refused question is answered.
pub(super) const DNS_ANSWERS: [(&str, DnsRefusal); 5] = [
    ("nxdomain", DnsRefusal::Nxdomain),
    ("nodata", DnsRefusal::Nodata),
    ("zero", DnsRefusal::Zero),
    ("refused", DnsRefusal::Refused),
    ("drop", DnsRefusal::Drop),
];

/// The words for how a refused connection ends.
pub(super) const CONNECTION_ENDS: [(&str, ConnectionRefusal); 2] = [
    ("reset", ConnectionRefusal::Reset),
    ("drop", ConnectionRefusal::Drop),
];

impl Config {
    /// Understands `text`; `file` is what problems call it. An empty text gives the defaults.
    ///
    /// # Errors
    /// Everything that is wrong with the text, each with its line and with what would be right.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        // Some editors put a byte order mark in front; it means nothing in UTF-8.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Source::read(file, text, read)
    }
}

pub(super) fn read(top: &mut Section<'_, '_, '_>) -> Config {
    let default = Config::default();
    let modes = [("enforce", Mode::Enforce), ("observe", Mode::Observe)];
    let presets = [
        ("careful", Preset::Careful),
        ("standard", Preset::Standard),
        ("strict", Preset::Strict),
    ];
    Config {
        mode: top.word("mode", &modes).unwrap_or(default.mode),
        preset: top.word("preset", &presets).unwrap_or(default.preset),
        catalogue_directory: top
            .section("catalogue", |section| path_or_empty(section, "directory"))
            .flatten(),
        dns: top.section("dns", dns).unwrap_or(default.dns),
        connections: top
            .section("connections", connections)
            .unwrap_or(default.connections),
        encrypted_dns: top
            .section("encrypted_dns", encrypted_dns)
            .unwrap_or_default(),
        hotspot: top.section("hotspot", hotspot).unwrap_or_default(),
        queue: top.section("queue", queue).unwrap_or(default.queue),
        firewall: top
            .section("firewall", firewall)
            .unwrap_or(default.firewall),
        log: top.section("log", log).unwrap_or(default.log),
        history: top.section("history", history).unwrap_or(default.history),
        control_socket: top
            .section("control", |section| path_or_empty(section, "socket"))
            .flatten()
            .unwrap_or(default.control_socket),
        packages_list: top
            .section("apps", |section| section.parse("packages_list", whole_path))
            .flatten()
            .unwrap_or(default.packages_list),
        answers: top
            .sections("answer", written_answer::read)
            .into_iter()
            .flatten()
            .collect(),
        rules: top
            .sections("rule", written_rule::read)
            .into_iter()
            .flatten()
            .collect(),
    }
}

fn dns(section: &mut Section<'_, '_, '_>) -> DnsSettings {
    let default = DnsSettings::default();
    DnsSettings {
        answer: section
            .word("answer", &DNS_ANSWERS)
            .unwrap_or(default.answer),
        ttl: seconds(section, "ttl_secs", 1..=86_400).unwrap_or(default.ttl),
        answers: section.flag("answers").unwrap_or(default.answers),
    }
}

fn connections(section: &mut Section<'_, '_, '_>) -> ConnectionSettings {
    let default = ConnectionSettings::default();
    ConnectionSettings {
        refuse: section
            .word("refuse", &CONNECTION_ENDS)
            .unwrap_or(default.refuse),
        tls_ports: section.ports("tls_ports").unwrap_or(default.tls_ports),
        http_ports: section.ports("http_ports").unwrap_or(default.http_ports),
        quic_ports: section.ports("quic_ports").unwrap_or(default.quic_ports),
    }
}

fn queue(section: &mut Section<'_, '_, '_>) -> QueueSettings {
    let default = QueueSettings::default();
    QueueSettings {
        first: section.number("first", 1..=65_000).unwrap_or(default.first),
        length: section
            .number("length", 16..=65_535)
            .unwrap_or(default.length),
        receive_buffer_bytes: section
            .number("receive_buffer_bytes", 65_536..=67_108_864)
            .unwrap_or(default.receive_buffer_bytes),
    }
}

fn encrypted_dns(section: &mut Section<'_, '_, '_>) -> EncryptedDnsSettings {
    let policies = [
        ("report", EncryptedDns::Report),
        ("fall-back", EncryptedDns::FallBack),
    ];
    let settings = [
        ("auto", PrivateDns::Unknown),
        ("off", PrivateDns::Off),
        ("opportunistic", PrivateDns::Opportunistic),
        ("strict", PrivateDns::Strict),
    ];
    EncryptedDnsSettings {
        policy: section.word("policy", &policies).unwrap_or_default(),
        private_dns: section.word("private_dns", &settings).unwrap_or_default(),
    }
}

fn hotspot(section: &mut Section<'_, '_, '_>) -> HotspotSettings {
    let clients = [
        ("ignore", HotspotClients::Ignore),
        ("filter", HotspotClients::Filter),
    ];
    HotspotSettings {
        clients: section.word("clients", &clients).unwrap_or_default(),
    }
}

fn firewall(section: &mut Section<'_, '_, '_>) -> FirewallSettings {
    let default = FirewallSettings::default();
    let mark = section.parse("mark", mark_bit).unwrap_or(default.mark);
    let other_bit = |text: &str| {
        let bit = mark_bit(text)?;
        (bit != mark)
            .then_some(bit)
            .ok_or_else(|| format!("must be another bit than mark, {mark:#010x}"))
    };
    let spare = if mark == default.follow_mark {
        default.mark
    } else {
        default.follow_mark
    };
    FirewallSettings {
        iptables: path_or_empty(section, "iptables"),
        mark,
        follow_mark: section.parse("follow_mark", other_bit).unwrap_or(spare),
        lock_wait: seconds(section, "lock_wait_secs", 1..=60).unwrap_or(default.lock_wait),
    }
}

fn log(section: &mut Section<'_, '_, '_>) -> LogSettings {
    let default = LogSettings::default();
    let records = [("all", Recorded::All), ("matched", Recorded::Matched)];
    LogSettings {
        record: section.word("record", &records).unwrap_or(default.record),
        recent: section
            .number("recent", 0..=100_000)
            .unwrap_or(default.recent),
    }
}

fn history(section: &mut Section<'_, '_, '_>) -> HistorySettings {
    let default = HistorySettings::default();
    HistorySettings {
        enabled: section.flag("enabled").unwrap_or(default.enabled),
        directory: path_or_empty(section, "directory").unwrap_or(default.directory),
        records_days: section
            .number("records_days", 1..=3650)
            .unwrap_or(default.records_days),
        counters_days: section
            .number("counters_days", 1..=3650)
            .unwrap_or(default.counters_days),
        max_mib: section
            .number("max_mib", 4..=4096)
            .unwrap_or(default.max_mib),
        batch: seconds(section, "batch_secs", 1..=3600).unwrap_or(default.batch),
    }
}

fn seconds(
    section: &mut Section<'_, '_, '_>,
    key: &str,
    range: std::ops::RangeInclusive<u64>,
) -> Option<Duration> {
    section.number(key, range).map(Duration::from_secs)
}

/// A path, or "" for the default.
fn path_or_empty(section: &mut Section<'_, '_, '_>, key: &str) -> Option<PathBuf> {
    section
        .parse(key, |text| match text {
            "" => Ok(None),
            _ => whole_path(text).map(Some),
        })
        .flatten()
}

/// The daemon is started by others, in a folder that the user does not know of: a relative path
/// would mean something else each time.
fn whole_path(text: &str) -> Result<PathBuf, &'static str> {
    if text.contains('\0') {
        return Err("a path holds no NUL");
    }
    if !Path::new(text).is_absolute() {
        return Err("must be a whole path, from / on");
    }
    Ok(text.into())
}

fn mark_bit(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x").unwrap_or_default();
    let mark = u32::from_str_radix(digits, 16)
        .map_err(|_| "must be a number in hex, as in 0x08000000".to_owned())?;
    if mark.count_ones() == 1 && mark & FREE_MARK_BITS != 0 {
        return Ok(mark);
    }
    let free: Vec<String> = (0..u32::BITS)
        .map(|bit| 1 << bit)
        .filter(|bit| bit & FREE_MARK_BITS != 0)
        .map(|bit: u32| format!("{bit:#010x}"))
        .collect();
    Err(format!(
        "must be one bit that nobody else on the phone uses: {}",
        free.join(", ")
    ))
}
