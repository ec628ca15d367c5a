//! Which fields of an upload tell one person, or one phone, from all others.

use serde::Serialize;

/// What a field tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// An account, or the id by which the collector knows its user.
    User,
    /// A number of the hardware: it stays when the phone is reset.
    Hardware,
    /// An id of this installation of Android or of an app.
    Device,
    /// An id made for advertising, the same in all apps.
    Advertising,
    /// A way to reach the person.
    Contact,
    /// Where the phone is, by coordinates or by the network it is in.
    Place,
    /// What was looked at or searched for.
    Interest,
}

impl Identity {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "who uses it",
            Self::Hardware => "hardware number",
            Self::Device => "id of the installation",
            Self::Advertising => "advertising id",
            Self::Contact => "contact",
            Self::Place => "where it is",
            Self::Interest => "what was looked at",
        }
    }

    /// What the field `name` with this value tells, if anything. `name` may be a path with dots.
    #[must_use]
    pub fn of(name: &str, value: &str) -> Option<Self> {
        if is_nothing(value) {
            return None;
        }
        Self::by_name(name).or_else(|| Self::by_value(value))
    }

    fn by_name(path: &str) -> Option<Self> {
        let last = path.rsplit('.').next().unwrap_or(path);
        let is_kept = |c: &char| c.is_ascii_alphanumeric();
        let name: String = last.chars().filter(is_kept).collect();
        let name = name.to_ascii_lowercase();
        // The SDK's own list of ids: `identities.$identity_android_id` and the like.
        let name = name.strip_prefix("identity").unwrap_or(&name);
        let names = |known: &[&str]| known.contains(&name);
        let found = match () {
            () if names(USER) => Self::User,
            () if names(HARDWARE) => Self::Hardware,
            () if names(DEVICE) => Self::Device,
            () if names(ADVERTISING) => Self::Advertising,
            () if names(CONTACT) => Self::Contact,
            () if names(PLACE) => Self::Place,
            () if names(INTEREST) => Self::Interest,
            () if path.starts_with("identities.") => Self::User,
            () => return None,
        };
        Some(found)
    }

    fn by_value(value: &str) -> Option<Self> {
        if value.contains("://") {
            Some(Self::Interest)
        } else if is_mac(value) || is_imei(value) {
            Some(Self::Hardware)
        } else if is_mail(value) {
            Some(Self::Contact)
        } else {
            None
        }
    }
}

// Names without case and without `$`, `_` and `-`. From the SDK of Sensors Analytics and from what
// apps of Xiaomi send (OneTrack's and Mi Stat's fields among them).
const USER: &[&str] = &[
    "distinctid",
    "anonymousid",
    "loginid",
    "originalid",
    "firstid",
    "secondid",
    "userid",
    "uid",
    "unionid",
    "openid",
    "account",
    "accountid",
    "username",
    "xiaomiid",
    "miid",
    "cuserid",
];
const HARDWARE: &[&str] = &[
    "imei",
    "imei1",
    "imei2",
    "imeimd5",
    "imeisha1",
    "imeis",
    "meid",
    "esn",
    "imsi",
    "iccid",
    "sn",
    "serial",
    "serialno",
    "serialnumber",
    "mac",
    "macaddress",
    "wifimac",
    "btmac",
    "bluetoothmac",
    "devicemac",
    "ethmac",
    "cpuid",
    "fuseid",
];
const DEVICE: &[&str] = &[
    "deviceid",
    "deviceidtv",
    "androidid",
    "ssaid",
    "instanceid",
    "installid",
    "installationid",
    "uuid",
    "guid",
    "clientid",
    "cookieid",
    "utdid",
    "fid",
    "regid",
    "pushid",
    "jpushid",
];
const ADVERTISING: &[&str] = &[
    "oaid",
    "vaid",
    "aaid",
    "gaid",
    "adid",
    "advertisingid",
    "googleadid",
    "idfa",
    "idfv",
    "caid",
];
const CONTACT: &[&str] = &[
    "phone",
    "phonenumber",
    "mobile",
    "msisdn",
    "email",
    "mail",
    "mailaddress",
    "realname",
];
const PLACE: &[&str] = &[
    "latitude",
    "longitude",
    "lat",
    "lng",
    "lon",
    "location",
    "address",
    "city",
    "ip",
    "ipaddress",
    "clientip",
    "bssid",
    "ssid",
    "wifissid",
    "wifibssid",
    "cellid",
    "lac",
    "basestation",
];
const INTEREST: &[&str] = &[
    "url",
    "pageurl",
    "referrer",
    "referer",
    "host",
    "urlhost",
    "latestreferrer",
    "searchword",
    "searchkeyword",
    "keyword",
    "query",
    "latestsearchkeyword",
    "pagetitle",
    "title",
];

/// Values that are sent where there is none.
fn is_nothing(value: &str) -> bool {
    let value = value.trim();
    let is_filler = |c: char| matches!(c, '0' | '-' | ':' | '.');
    let word = value.to_ascii_lowercase();
    value.chars().all(is_filler)
        || matches!(
            word.as_str(),
            "null" | "none" | "nil" | "unknown" | "undefined" | "false" | "true"
        )
        // What Android tells instead of the real one.
        || word == "02:00:00:00:00:00"
}

/// Six pairs of hexadecimal digits with colons or hyphens between.
fn is_mac(value: &str) -> bool {
    let pairs = || value.split([':', '-']);
    let is_pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|it| it.is_ascii_hexdigit());
    value.len() == 17 && pairs().count() == 6 && pairs().all(is_pair)
}

/// Fifteen digits whose last one is the check digit (3GPP TS 23.003 annex B: Luhn).
fn is_imei(value: &str) -> bool {
    let digits = value
        .bytes()
        .rev()
        .map(|byte| u32::from(byte) - u32::from(b'0'));
    let is_number = value.len() == 15 && value.bytes().all(|byte| byte.is_ascii_digit());
    is_number && {
        let doubled = digits
            .enumerate()
            .map(|(at, digit)| match (at % 2, digit * 2) {
                (0, _) => digit,
                (_, twice) if twice > 9 => twice - 9,
                (_, twice) => twice,
            });
        doubled.sum::<u32>().is_multiple_of(10)
    }
}

/// `name@host.tld`, in one word.
fn is_mail(value: &str) -> bool {
    value.split_once('@').is_some_and(|(name, host)| {
        let is_word = |c: char| c.is_alphanumeric() || "._+-".contains(c);
        let has_dot = host.trim_matches('.').contains('.');
        !name.is_empty() && has_dot && name.chars().chain(host.chars()).all(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_known_by_their_names_in_any_writing() {
        use Identity::{Advertising, Device, Hardware, Interest, Place, User};
        for (name, expected) in [
            ("distinct_id", User),
            ("identities.$identity_mp_id", User),
            ("identities.$identity_android_id", Device),
            ("properties.$device_id", Device),
            ("androidId", Device),
            ("H.android_id", Device),
            ("IMEI", Hardware),
            ("imei_md5", Hardware),
            ("H.sn", Hardware),
            ("oaid", Advertising),
            ("$ip", Place),
            ("search_word", Interest),
            ("$referrer", Interest),
        ] {
            assert_eq!(Identity::of(name, "x1"), Some(expected), "{name}");
            for nothing in ["", "0", "null", "00000000-0000-0000-0000-000000000000"] {
                assert_eq!(Identity::of(name, nothing), None, "{name} {nothing}");
            }
        }
        for name in [
            "$model",
            "lib.$lib_version",
            "_track_id",
            "time",
            "uidle",
            "",
        ] {
            assert_eq!(Identity::of(name, "12.1.4.0"), None, "{name}");
        }
    }

    #[test]
    fn values_are_known_by_their_form_under_any_name() {
        for (value, expected) in [
            ("490154203237518", Some(Identity::Hardware)),
            ("490154203237519", None),
            ("158823900000012", None),
            ("1588239000000", None),
            ("a4:50:46:12:34:5f", Some(Identity::Hardware)),
            ("02:00:00:00:00:00", None),
            ("a4:50:46:12:34", None),
            ("a.person+tag@example.org", Some(Identity::Contact)),
            ("a person@example.org", None),
            ("@example.org", None),
            ("user@localhost", None),
            ("https://news.example.org/a", Some(Identity::Interest)),
            ("content://media/1", Some(Identity::Interest)),
            ("Redmi Note 8", None),
        ] {
            assert_eq!(Identity::of("x", value), expected, "{value}");
        }
    }
}
