//! `/data/system/packages.list`: which packages are installed, and under which uid. The system
//! server writes it anew at every change; one line per package, fields separated by one space:
//! name, app id, debuggable, data directory, seinfo, groups and, from later releases on, more
//! (AOSP `libpackagelistparser`). Only the first two matter here.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;

use super::uid::{AppId, UidKind, UserId};
use crate::decide::{Attribution, AttributionSource, Uid};

/// Longest package name that is taken, in bytes (Android's limit for a file name).
const MAX_PACKAGE_BYTES: usize = 255;

/// The name of an installed package, like `com.android.browser`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct PackageName(Box<str>);

/// The text is no package name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a package name has letters, digits and _ between its dots, as in com.android.browser")]
pub struct PackageNameError;

impl PackageName {
    /// A package name as Android allows it (`android` itself has no dot).
    ///
    /// # Errors
    /// The text is none.
    pub fn from_text(text: &str) -> Result<Self, PackageNameError> {
        let part_is_good = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if text.len() <= MAX_PACKAGE_BYTES && text.split('.').all(part_is_good) {
            Ok(Self(text.into()))
        } else {
            Err(PackageNameError)
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for PackageName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The installed packages. Empty where the file is not there: off Android.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages {
    /// Packages in the order of the file.
    by_app: HashMap<AppId, Vec<PackageName>>,
    by_name: HashMap<PackageName, AppId>,
    skipped: usize,
}

impl Packages {
    /// Reads the text of `packages.list`. Lines that are malformed are skipped and counted.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut packages = Self::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match parse_line(line) {
                Some((name, app)) => packages.add(name, app),
                None => packages.skipped += 1,
            }
        }
        packages
    }

    /// The whole lines of `text`, and what is wrong where that is not all of it: while the list
    /// is written, or where its writer was interrupted, it ends in half a line. Half a number
    /// would be another app's.
    ///
    /// # Errors
    /// The text is cut or empty; what is wrong with it, in words.
    pub fn whole_lines(text: &str) -> Result<&str, (&str, &'static str)> {
        match text.rfind('\n') {
            Some(end) if end + 1 == text.len() => Ok(text),
            Some(end) => Err((&text[..=end], "it ends in half a line")),
            None if text.is_empty() => Err(("", "it is empty")),
            None => Err(("", "it ends in half a line")),
        }
    }

    /// How many lines were skipped as malformed.
    #[must_use]
    pub const fn skipped(&self) -> usize {
        self.skipped
    }

    /// How many packages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether no package is known, as off Android.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// These packages and `package`: where it is not installed, under a number that no other
    /// has, so that a question about it can be answered on any machine.
    #[must_use]
    pub fn with(mut self, package: &PackageName) -> Self {
        if !self.by_name.contains_key(package) {
            let AppId(first) = *AppId::APPS.start();
            let AppId(last) = *AppId::APPS.end();
            let mut ids = (first..=last).rev().map(AppId);
            if let Some(free) = ids.find(|id| !self.by_app.contains_key(id)) {
                self.add(package.clone(), free);
            }
        }
        self
    }

    /// The packages that run under `uid`, in any Android user, and in the SDK sandbox too; more
    /// than one where they share it, none where that is not known.
    pub fn of(&self, uid: Uid) -> impl Iterator<Item = &PackageName> {
        let app = match uid.app_id().kind() {
            UidKind::SdkSandbox(app) => app,
            _ => uid.app_id(),
        };
        self.by_app.get(&app).into_iter().flatten()
    }

    /// Whether several packages run under `uid`, so that it does not tell which of them it is.
    fn is_shared(&self, uid: Uid) -> bool {
        self.of(uid).nth(1).is_some()
    }

    /// How the app is known: the user id of several does not tell.
    #[must_use]
    pub fn source(&self, attribution: Attribution) -> AttributionSource {
        match attribution.uid() {
            Some(uid) if self.is_shared(uid) => AttributionSource::Shared,
            _ => attribution.source(),
        }
    }

    /// Every number that several packages share, in order.
    #[must_use]
    pub fn shared(&self) -> Vec<AppId> {
        let mut shared: Vec<_> = self
            .by_app
            .iter()
            .filter(|(_, names)| names.len() > 1)
            .map(|(app, _)| *app)
            .collect();
        shared.sort_unstable();
        shared
    }

    /// The number of `package`, where it is installed.
    #[must_use]
    pub fn app_id(&self, package: &PackageName) -> Option<AppId> {
        self.by_name.get(package).copied()
    }

    /// Every number that `package` runs under: its own and that of its SDK sandbox.
    pub fn app_ids(&self, package: &PackageName) -> impl Iterator<Item = AppId> + use<> {
        let app = self.app_id(package);
        app.into_iter().chain(app.and_then(AppId::sandbox))
    }

    /// Who runs under `uid`, in words. Never a guess: what is not known is called unknown.
    #[must_use]
    pub fn label(&self, uid: Uid) -> String {
        let app = uid.app_id();
        let names: Vec<&str> = self.of(uid).map(PackageName::as_str).collect();
        let mut notes = Vec::new();
        let who = match (app.system_name(), app.kind()) {
            (Some(name), _) => name.to_owned(),
            (None, UidKind::Isolated) => {
                notes.push("isolated process, app unknown".to_owned());
                format!("uid {}", uid.0)
            }
            (None, kind) if names.is_empty() => {
                notes.push(unknown(kind).to_owned());
                format!("uid {}", uid.0)
            }
            (None, _) => names.join(", "),
        };
        if app == AppId::DNS_TETHER {
            notes.push("for hotspot clients".to_owned());
        }
        if names.len() > 1 && app.system_name().is_none() {
            notes.push(format!("shared uid {app}"));
        }
        if let UidKind::SdkSandbox(_) = app.kind() {
            notes.push("SDK sandbox".to_owned());
        }
        if uid.user() != UserId(0) {
            notes.push(format!("user {}", uid.user()));
        }
        if notes.is_empty() {
            who
        } else {
            format!("{who} ({})", notes.join(", "))
        }
    }

    /// Takes `name` in as a package that runs under `app`, unless it is known already.
    pub fn add(&mut self, name: PackageName, app: AppId) {
        // The file names each package once; should it not, the first line counts.
        if self.by_name.contains_key(&name) {
            self.skipped += 1;
            return;
        }
        self.by_app.entry(app).or_default().push(name.clone());
        self.by_name.insert(name, app);
    }
}

const fn unknown(kind: UidKind) -> &'static str {
    match kind {
        UidKind::System => "unknown system service",
        _ => "unknown app",
    }
}

fn parse_line(line: &str) -> Option<(PackageName, AppId)> {
    let mut fields = line.split_ascii_whitespace();
    let name = PackageName::from_text(fields.next()?).ok()?;
    let uid: u32 = fields.next()?.parse().ok()?;
    Some((name, Uid(uid).app_id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
com.android.browser 10123 0 /data/user/0/com.android.browser platform:targetSdkVersion=33 3002,3003 0 1
com.xiaomi.a 10200 0 /data/user/0/com.xiaomi.a default none
com.xiaomi.b 10200 0 /data/user/0/com.xiaomi.b default none
android 1000 0 /data/system platform none
com.android.settings 1000 0 /data/user_de/0/com.android.settings platform none
com.example.modem 1234 0 /data/user/0/com.example.modem platform none
";

    fn package(text: &str) -> PackageName {
        PackageName::from_text(text).unwrap()
    }

    #[test]
    fn labels_say_who_and_never_guess() {
        let packages = Packages::parse(LIST);
        for (uid, label) in [
            (10_123, "com.android.browser"),
            (99_910_123, "com.android.browser (user 999)"),
            (10_200, "com.xiaomi.a, com.xiaomi.b (shared uid 10200)"),
            (
                99_910_200,
                "com.xiaomi.a, com.xiaomi.b (shared uid 10200, user 999)",
            ),
            (20_123, "com.android.browser (SDK sandbox)"),
            (0, "root"),
            (1000, "system"),
            (1052, "dns_tether (for hotspot clients)"),
            (1_001_073, "network_stack (user 10)"),
            (1234, "com.example.modem"),
            (1235, "uid 1235 (unknown system service)"),
            (12_345, "uid 12345 (unknown app)"),
            (1_012_345, "uid 1012345 (unknown app, user 10)"),
            (99_001, "uid 99001 (isolated process, app unknown)"),
        ] {
            assert_eq!(packages.label(Uid(uid)), label);
        }
    }

    #[test]
    fn malformed_lines_are_skipped_and_counted() {
        let text = "com.a 10001 0 /x\nnot-a-package 10002\ncom.b\ncom.c ten\ncom.d -1\n\n\
                    com.a 10003\ncom.e 10004\r\n\u{feff}com.f 10005\n\0\n";
        let packages = Packages::parse(text);
        assert_eq!((packages.len(), packages.skipped()), (2, 7));
        assert_eq!(packages.app_id(&package("com.a")), Some(AppId(10_001)));
        assert_eq!(packages.app_id(&package("com.e")), Some(AppId(10_004)));
    }

    #[test]
    fn a_list_that_is_cut_is_told_from_a_whole_one() {
        assert_eq!(Packages::whole_lines(LIST), Ok(LIST));
        assert!(Packages::whole_lines("").is_err());
        let ends: Vec<_> = LIST.match_indices('\n').map(|(at, _)| at + 1).collect();
        for end in 1..LIST.len() {
            let whole = Packages::whole_lines(&LIST[..end]);
            assert_eq!(whole.is_ok(), ends.contains(&end), "{end}");
            // Whoever is in there is who it was meant to be.
            let (Ok(lines) | Err((lines, _))) = whole;
            let (cut, all) = (Packages::parse(lines), Packages::parse(LIST));
            for name in ["com.xiaomi.a", "com.example.modem"].map(package) {
                let id = cut.app_id(&name);
                assert!(id.is_none() || id == all.app_id(&name), "{end}");
            }
        }
    }

    #[test]
    fn all_candidates_of_a_shared_uid_are_listed() {
        let packages = Packages::parse(LIST);
        let names: Vec<_> = packages.of(Uid(1000)).map(PackageName::as_str).collect();
        assert_eq!(names, ["android", "com.android.settings"]);
    }

    #[test]
    fn an_app_has_its_own_number_and_that_of_its_sandbox() {
        let packages = Packages::parse(LIST);
        let ids = |name| packages.app_ids(&package(name)).collect::<Vec<_>>();
        assert_eq!(ids("com.android.browser"), [AppId(10_123), AppId(20_123)]);
        assert_eq!(ids("android"), [AppId(1000)]);
        assert_eq!(ids("com.absent"), []);
    }

    #[test]
    fn a_package_that_is_not_installed_gets_a_number_of_its_own() {
        let taken = Packages::parse("com.a 19999 0\n");
        let with = taken.clone().with(&package("com.b"));
        assert_eq!(with.app_id(&package("com.b")), Some(AppId(19_998)));
        assert_eq!(taken.clone().with(&package("com.a")), taken);
    }
}
