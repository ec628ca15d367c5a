//! Whose packet it is, and how that is known. Never a guess.

use super::Uid;

/// How the owner of a packet is known.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum AttributionSource {
    /// The packet's own socket: who opened it (`NFQA_UID`).
    Socket,
    /// The kernel's socket diagnosis: whom the socket was given to (fchown).
    InetDiag,
    /// The same from `/proc/net/udp` and `udp6`.
    Proc,
    /// Several packages run under the user id, so that it does not tell which of them it is.
    Shared,
    /// Nobody could tell.
    #[default]
    Unknown,
}

/// The number of a control group (`INET_DIAG_CGROUP_ID`), which is that of its folder's inode.
/// On Android each process has one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CgroupId(pub u64);

/// The owner of a packet.
///
/// Invariant: the source is `Unknown` where there is no uid, and only there; it is never `Shared`,
/// which is a matter of the packages there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    uid: Option<Uid>,
    source: AttributionSource,
    cgroup: Option<CgroupId>,
}

impl Attribution {
    /// Nobody could tell.
    pub const UNKNOWN: Self = Self {
        uid: None,
        source: AttributionSource::Unknown,
        cgroup: None,
    };

    /// `uid` opened the socket.
    #[must_use]
    pub const fn socket(uid: Uid) -> Self {
        Self {
            uid: Some(uid),
            source: AttributionSource::Socket,
            cgroup: None,
        }
    }

    /// The socket diagnosis says that the socket is `uid`'s.
    #[must_use]
    pub const fn inet_diag(uid: Uid) -> Self {
        Self {
            source: AttributionSource::InetDiag,
            ..Self::socket(uid)
        }
    }

    /// `/proc/net/udp` or `udp6` says so.
    #[must_use]
    pub const fn proc(uid: Uid) -> Self {
        Self {
            source: AttributionSource::Proc,
            ..Self::socket(uid)
        }
    }

    /// The same with the control group of the process that opened the socket.
    #[must_use]
    pub const fn in_cgroup(self, cgroup: Option<CgroupId>) -> Self {
        Self { cgroup, ..self }
    }

    /// The user id, where it is known.
    #[must_use]
    pub const fn uid(&self) -> Option<Uid> {
        self.uid
    }

    /// How it is known.
    #[must_use]
    pub const fn source(&self) -> AttributionSource {
        self.source
    }

    /// The control group of the process that opened the socket, where it was asked for.
    #[must_use]
    pub const fn cgroup(&self) -> Option<CgroupId> {
        self.cgroup
    }
}

impl From<Option<Uid>> for Attribution {
    /// What the packet itself says of its socket (`NFQA_UID`).
    fn from(opener: Option<Uid>) -> Self {
        opener.map_or(Self::UNKNOWN, Self::socket)
    }
}
