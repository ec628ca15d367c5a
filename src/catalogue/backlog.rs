//! What keeps what it could not send, and sends it later: there a block delays only.

/// A library that stores what it collects until it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Backlog {
    /// The library.
    pub library: &'static str,
    /// Systems of the catalogue that use it.
    pub systems: &'static [&'static str],
    /// How much or how long it keeps, as far as its code says.
    pub keeps: &'static str,
    /// Where this is known from.
    pub source: &'static str,
}

/// Every library known to do so.
pub const BACKLOGS: &[Backlog] = &[
    Backlog {
        library: "Sensors Analytics",
        systems: &["Sensors Analytics", "Mi Browser and Mint Browser"],
        keeps: "up to 32 MB in each app, unless the app sets another limit",
        source: "https://github.com/sensorsdata/sa-sdk-android (AnalyticsMessages, setMaxCacheSize)",
    },
    Backlog {
        library: "Mi Stat",
        systems: &["Mi Stat"],
        keeps: "three days of events, and some beyond",
        source: "https://github.com/likaci/gitv (Mi Stat in an app: com.xiaomi.mistatistic.sdk.controller.i)",
    },
    Backlog {
        library: "OneTrack",
        systems: &["MIUI Analytics (OneTrack)"],
        keeps: "events in a database until they are sent",
        source: "https://github.com/Little-W/miui-home-sourse (OneTrack in the launcher: com.xiaomi.onetrack)",
    },
];

/// The library that `system` uses, where it keeps what could not be sent.
#[must_use]
pub fn backlog(system: &str) -> Option<&'static Backlog> {
    BACKLOGS.iter().find(|it| it.systems.contains(&system))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    #[test]
    fn every_system_is_one_of_the_catalogue() {
        let catalogue = Catalogue::built_in();
        for system in BACKLOGS.iter().flat_map(|it| it.systems) {
            let mut endpoints = catalogue.endpoints.iter();
            assert!(endpoints.any(|it| it.system == *system), "{system}");
        }
    }
}
