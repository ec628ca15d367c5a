//! DNS that is encrypted, so that its questions are not seen (DNS over TLS, RFC 7858; over QUIC, RFC
//! 9250; over HTTPS, RFC 8484).

use std::fmt;

use super::{Evidence, Facts, Protocol, Uid};
use crate::catalogue::Category;

/// Port of DNS over TLS (RFC 7858 section 3.1) and of DNS over QUIC (RFC 9250 section 4.1.1).
pub const ENCRYPTED_DNS_PORT: u16 = 853;
/// `AID_DNS` (system/core, `android_filesystem_config.h`): Android's resolver runs as root, and gives
/// the sockets of its encrypted questions to this user (packages/modules/DnsResolver,
/// `DnsTlsSocket.cpp`).
const SYSTEM_RESOLVER: Uid = Uid(1051);

/// What is done about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncryptedDns {
    /// It is shown.
    #[default]
    Report,
    /// That of the system is refused where it then asks in the open, which Muzzle sees.
    FallBack,
}

/// Android's setting "Private DNS".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrivateDns {
    /// The system asks in the open.
    Off,
    /// "Automatic": encrypted where the network's resolver can, in the open where not.
    Opportunistic,
    /// One server, by name, and nothing without it.
    Strict,
    /// It could not be found out.
    #[default]
    Unknown,
}

impl PrivateDns {
    /// What Android's global settings `private_dns_mode` and `private_dns_default_mode` come to.
    /// Where neither is set, "automatic" is in force (packages/modules/Connectivity,
    /// `ConnectivitySettingsManager`).
    #[must_use]
    pub fn from_settings(mode: &str, default_mode: &str) -> Self {
        let is_set = |word: &&str| !matches!(*word, "" | "null");
        let set = [mode.trim(), default_mode.trim()].into_iter().find(is_set);
        match set.unwrap_or("opportunistic") {
            "off" => Self::Off,
            "opportunistic" => Self::Opportunistic,
            "hostname" => Self::Strict,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for PrivateDns {
    /// The setting, and what Muzzle sees with it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unseen = "the system's DNS questions";
        let seen = "names in TLS, QUIC and HTTP, and addresses, are judged all the same";
        match self {
            Self::Off => write!(out, "off: {unseen} are seen"),
            Self::Opportunistic => write!(
                out,
                "automatic: {unseen} are not seen where the network's resolver takes them \
                 encrypted; {seen}"
            ),
            Self::Strict => write!(out, "a server of your own: {unseen} are not seen; {seen}"),
            Self::Unknown => write!(out, "unknown: perhaps {unseen} are not seen; {seen}"),
        }
    }
}

/// Whether this is the start of a connection for DNS over TLS or over QUIC.
pub(super) fn has_own_port(facts: &Facts<'_>) -> bool {
    let starts = match facts.flow.protocol {
        Protocol::Tcp => matches!(facts.evidence, Evidence::Syn { .. }),
        Protocol::Udp => matches!(facts.evidence, Evidence::Sni(_) | Evidence::Unnamed),
    };
    starts && facts.flow.remote.port() == ENCRYPTED_DNS_PORT
}

/// Whether the system's resolver asks encrypted here: at the port for that or over HTTP/3 to a host
/// `listed` as a resolver. Android 14's has DNS over TLS, and HTTP/3 with the server names
/// dns.google, dns64.dns.google and cloudflare-dns.com (packages/modules/DnsResolver,
/// `PrivateDnsConfiguration.h`, `mAvailableDoHProviders`).
pub(super) fn is_of_system(facts: &Facts<'_>, listed: Option<Category>) -> bool {
    let is_doh3 = facts.flow.protocol == Protocol::Udp
        && matches!(facts.evidence, Evidence::Sni(_))
        && listed == Some(Category::EncryptedDns);
    facts.attribution.uid() == Some(SYSTEM_RESOLVER) && (has_own_port(facts) || is_doh3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_android_reads_them() {
        use PrivateDns::{Off, Opportunistic, Strict, Unknown};
        for (mode, default_mode, expected) in [
            ("off\n", "null\n", Off),
            ("opportunistic", "off", Opportunistic),
            ("hostname", "", Strict),
            ("null", "off", Off),
            ("null", "null", Opportunistic),
            ("", "", Opportunistic),
            ("something new", "off", Unknown),
        ] {
            let found = PrivateDns::from_settings(mode, default_mode);
            assert_eq!(found, expected, "{mode:?} {default_mode:?}");
        }
    }
}
