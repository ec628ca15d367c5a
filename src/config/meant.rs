//! The config as meant: every value checked, every default filled in.

use std::path::PathBuf;
use std::time::Duration;

use crate::act::{ConnectionRefusal, DnsRefusal};
use crate::apps::PackageName;
use crate::catalogue::Preset;
use crate::decide::{EncryptedDns, Mode, NamePattern, PrivateDns, Rule};

/// Folder of everything that Muzzle keeps: on Android the one that survives module upgrades.
const ON_ANDROID: bool = cfg!(target_os = "android");

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether blocks are carried out.
    pub mode: Mode,
    /// How cautious the catalogue's blocks are.
    pub preset: Preset,
    /// A folder that replaces the built-in catalogue.
    pub catalogue_directory: Option<PathBuf>,
    /// How refused DNS questions are answered.
    pub dns: DnsSettings,
    /// Which connections are looked at, and how refused ones end.
    pub connections: ConnectionSettings,
    /// What is done about encrypted DNS.
    pub encrypted_dns: EncryptedDnsSettings,
    /// What is done about hotspot clients.
    pub hotspot: HotspotSettings,
    /// The netfilter queues.
    pub queue: QueueSettings,
    /// The netfilter rules.
    pub firewall: FirewallSettings,
    /// What is recorded.
    pub log: LogSettings,
    /// What is kept on the disk of it.
    pub history: HistorySettings,
    /// The socket that the command line talks to.
    pub control_socket: PathBuf,
    /// Where Android says which app has which uid.
    pub packages_list: PathBuf,
    /// How refusals of single endpoints are told, in the order of the file.
    pub answers: Vec<EndpointAnswer>,
    /// The user's rules in the order of the file.
    pub rules: Vec<Rule>,
}

impl Config {
    /// Where the config is looked for when no other file is named.
    #[must_use]
    pub fn default_path() -> PathBuf {
        let path = if ON_ANDROID {
            "/data/adb/muzzle/muzzle.toml"
        } else {
            "/etc/muzzle/muzzle.toml"
        };
        path.into()
    }

    pub(super) fn default_control_socket() -> PathBuf {
        let path = if ON_ANDROID {
            "/data/adb/muzzle/control.sock"
        } else {
            "/run/muzzle/control.sock"
        };
        path.into()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            preset: Preset::default(),
            catalogue_directory: None,
            dns: DnsSettings::default(),
            connections: ConnectionSettings::default(),
            encrypted_dns: EncryptedDnsSettings::default(),
            hotspot: HotspotSettings::default(),
            queue: QueueSettings::default(),
            firewall: FirewallSettings::default(),
            log: LogSettings::default(),
            history: HistorySettings::default(),
            control_socket: Self::default_control_socket(),
            packages_list: "/data/system/packages.list".into(),
            answers: Vec::new(),
            rules: Vec::new(),
        }
    }
}

/// What of DNS is looked at, and how refused questions are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// The answer.
    pub answer: DnsRefusal,
    /// For how long resolvers may remember it.
    pub ttl: Duration,
    /// Whether answers are looked at, for aliases and addresses.
    pub answers: bool,
}

impl DnsSettings {
    /// The time to live as DNS counts it.
    #[must_use]
    pub fn ttl_secs(&self) -> u32 {
        u32::try_from(self.ttl.as_secs()).unwrap_or(u32::MAX)
    }
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            answer: DnsRefusal::default(),
            ttl: Duration::from_secs(60),
            answers: true,
        }
    }
}

/// How refusals of an endpoint are told; what is absent is told as everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointAnswer {
    /// The host, or a host and everything below it.
    pub name: NamePattern,
    /// Only to this app.
    pub app: Option<PackageName>,
    /// How a question is answered.
    pub dns: Option<DnsRefusal>,
    /// How a connection ends.
    pub connections: Option<ConnectionRefusal>,
}

/// Which connections are looked at, and how refused ones end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// How a refused connection ends.
    pub refuse: ConnectionRefusal,
    /// Ports whose first payload is read as TLS; the catalogue adds its own.
    pub tls_ports: Vec<u16>,
    /// Ports whose first payload is read as HTTP; the catalogue adds its own.
    pub http_ports: Vec<u16>,
    /// UDP ports on which QUIC is looked for; the catalogue adds its own.
    pub quic_ports: Vec<u16>,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            refuse: ConnectionRefusal::default(),
            tls_ports: vec![443],
            http_ports: vec![80],
            quic_ports: vec![443],
        }
    }
}

/// The netfilter queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Number of the DNS queue; connections have the next one.
    pub first: u16,
    /// Packets that the kernel holds per queue before it lets further ones pass.
    pub length: u16,
    /// The queue socket's receive buffer, in bytes.
    pub receive_buffer_bytes: u32,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            first: 6453,
            length: 256,
            receive_buffer_bytes: 8 << 20,
        }
    }
}

/// Encrypted DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptedDnsSettings {
    /// What is done about it.
    pub policy: EncryptedDns,
    /// Android's setting, as the user says it is; where unknown, Android is asked.
    pub private_dns: PrivateDns,
}

/// What is done about packets that the phone passes on for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HotspotClients {
    /// They are not looked at.
    #[default]
    Ignore,
    /// They are filtered as the phone's own are, as far as they come by.
    Filter,
}

impl std::fmt::Display for HotspotClients {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Ignore => {
                "clients are not filtered, but for what they ask the phone's own resolver"
            }
            Self::Filter => {
                "clients are filtered, as far as offload lets their packets come by"
            }
        })
    }
}

/// Devices that go online through the phone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HotspotSettings {
    /// What is done about them.
    pub clients: HotspotClients,
}

/// The netfilter rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallSettings {
    /// The iptables program; the platform's own where absent.
    pub iptables: Option<PathBuf>,
    /// The one bit of packet marks that says "forged by Muzzle".
    pub mark: u32,
    /// The one bit of packet and connection marks that says "what the client says first is still
    /// awaited".
    pub follow_mark: u32,
    /// How long to wait for the lock that all iptables programs share.
    pub lock_wait: Duration,
}

impl Default for FirewallSettings {
    fn default() -> Self {
        Self {
            iptables: None,
            mark: 0x0800_0000,
            follow_mark: 0x0400_0000,
            lock_wait: Duration::from_secs(5),
        }
    }
}

/// Which decisions are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Recorded {
    /// All of them.
    #[default]
    All,
    /// Those that a rule or the catalogue had something to say about.
    Matched,
}

/// What is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Which decisions.
    pub record: Recorded,
    /// How many records are kept in memory.
    pub recent: usize,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            record: Recorded::default(),
            recent: 1000,
        }
    }
}

/// What is kept on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// Whether anything is.
    pub enabled: bool,
    /// The folder.
    pub directory: PathBuf,
    /// For how many days records are kept in full.
    pub records_days: u32,
    /// For how many days counts per hour are kept.
    pub counters_days: u32,
    /// For how much room all of it together, in MiB.
    pub max_mib: u32,
    /// How long the first record of a batch waits for more.
    pub batch: Duration,
}

impl Default for HistorySettings {
    fn default() -> Self {
        let directory = if ON_ANDROID {
            "/data/adb/muzzle/history"
        } else {
            "/var/lib/muzzle/history"
        };
        Self {
            enabled: true,
            directory: directory.into(),
            records_days: 30,
            counters_days: 365,
            max_mib: 64,
            batch: Duration::from_secs(60),
        }
    }
}
