//! Android's uid arithmetic and the uids that are the same on every phone (AOSP
//! `private/android_filesystem_config.h`).

use std::fmt;

use crate::decide::Uid;

/// Uids per Android user (`AID_USER_OFFSET`).
const UIDS_PER_USER: u32 = 100_000;
/// First uid of installed apps (`AID_APP_START`); below it are the system's own.
const FIRST_APP: u32 = 10_000;
/// From an app to its SDK sandbox (`AID_SDK_SANDBOX_PROCESS_START` − `AID_APP_START`).
const SANDBOX_OFFSET: u32 = 10_000;

/// What an app's uids have in common over all Android users: uid % 100000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct AppId(pub u32);

/// An Android user: 0 is the owner, 999 usually the dual-app user; uid / 100000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct UserId(pub u32);

/// What kind of process runs under a uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UidKind {
    /// Part of the system, or several system apps together.
    System,
    /// An installed app, or several that share one uid.
    App,
    /// The SDK sandbox of the app with this id (Android 13+): advertising SDKs run here.
    SdkSandbox(AppId),
    /// A process without rights of its own. Which app started it cannot be told.
    Isolated,
    /// A number that Android gives to no process.
    Unassigned,
}

impl Uid {
    /// The app's number, the same for every Android user.
    #[must_use]
    pub const fn app_id(self) -> AppId {
        AppId(self.0 % UIDS_PER_USER)
    }

    /// The Android user.
    #[must_use]
    pub const fn user(self) -> UserId {
        UserId(self.0 / UIDS_PER_USER)
    }
}

impl AppId {
    /// The first and last number that Android gives to installed apps.
    pub const APPS: std::ops::RangeInclusive<Self> = Self(FIRST_APP)..=Self(19_999);

    /// The resolver that the phone runs for hotspot clients (`AID_DNS_TETHER`).
    pub const DNS_TETHER: Self = Self(1052);

    /// This app's uid for `user`.
    #[must_use]
    pub const fn uid(self, user: UserId) -> Uid {
        Uid(user.0.saturating_mul(UIDS_PER_USER).saturating_add(self.0))
    }

    /// What kind of process has this number.
    #[must_use]
    pub const fn kind(self) -> UidKind {
        match self.0 {
            0..FIRST_APP => UidKind::System,
            10_000..=19_999 => UidKind::App,
            20_000..=29_999 => UidKind::SdkSandbox(Self(self.0 - SANDBOX_OFFSET)),
            90_000..=99_999 => UidKind::Isolated,
            _ => UidKind::Unassigned,
        }
    }

    /// The number of this app's SDK sandbox, for those that can have one.
    #[must_use]
    pub const fn sandbox(self) -> Option<Self> {
        match self.kind() {
            UidKind::App => Some(Self(self.0 + SANDBOX_OFFSET)),
            _ => None,
        }
    }

    /// What Android itself calls this number, for those that are the same on every phone.
    #[must_use]
    pub const fn system_name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "root",
            1000 => "system",
            1001 => "radio",
            1002 => "bluetooth",
            1010 => "wifi",
            1013 => "media",
            1016 => "vpn",
            1020 => "mdnsr",
            1021 => "gps",
            1027 => "nfc",
            1029 => "clat",
            1051 => "dns",
            1052 => "dns_tether",
            1068 => "secure_element",
            1073 => "network_stack",
            2000 => "shell",
            9999 => "nobody",
            65_534 => "overflow",
            _ => return None,
        })
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_split_into_user_and_app_and_back() {
        for (uid, user, app) in [(0, 0, 0), (10_123, 0, 10_123), (99_910_123, 999, 10_123)] {
            let uid = Uid(uid);
            assert_eq!((uid.user(), uid.app_id()), (UserId(user), AppId(app)));
            assert_eq!(uid.app_id().uid(uid.user()), uid);
        }
    }

    #[test]
    fn ranges_have_kinds_up_to_their_borders() {
        for (id, kind) in [
            (9_999, UidKind::System),
            (10_000, UidKind::App),
            (19_999, UidKind::App),
            (20_000, UidKind::SdkSandbox(AppId(10_000))),
            (29_999, UidKind::SdkSandbox(AppId(19_999))),
            (30_000, UidKind::Unassigned),
            (89_999, UidKind::Unassigned),
            (90_000, UidKind::Isolated),
            (99_999, UidKind::Isolated),
        ] {
            assert_eq!(AppId(id).kind(), kind, "{id}");
        }
    }
}
