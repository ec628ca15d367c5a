//! A release: the zip to flash, or the folder that a root manager made of it. Its file
//! `SHA256SUMS` lists the SHA-256 sum of every other file, in the form of coreutils' `sha256sum`;
//! `SHA256SUMS.minisig` beside it signs that list, and `muzzle.pub` is the signer's key.
//!
//! Pure, but for [`Files::read_folder`].

mod folder;
mod signature;
mod sums;
mod zip;

use std::collections::BTreeMap;

use serde::Serialize;

pub use folder::{FolderError, read_up_to};
pub use signature::{KeyError, PublicKey, Signature};
pub use sums::{Sums, SumsError};
pub use zip::ZipError;

/// The list of sums.
pub const SUMS: &str = "SHA256SUMS";
/// The signature of that list.
pub const SUMS_SIGNATURE: &str = "SHA256SUMS.minisig";
/// The public key of a signed release, in minisign's form.
pub const PUBLIC_KEY: &str = "muzzle.pub";

/// More bytes, packed or unpacked, are no release of Muzzle: some twenty times what one has.
pub const MAX_BYTES: usize = 64 << 20;
/// More files are none either.
pub const MAX_FILES: usize = 1000;

/// The installer's own; managers do not unpack it.
const INSTALLER: &str = "META-INF/";
/// Managers delete it when they have run it.
const INSTALL_SCRIPT: &str = "customize.sh";
const MODULE_PROP: &str = "module.prop";
/// By these managers know what the user wants of an installed module.
const FLAGS: [&str; 3] = ["disable", "remove", "update"];

/// The files of a release by their names, as in `bin/muzzle`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Files {
    content: BTreeMap<String, Vec<u8>>,
    /// A manager took the zip apart: what it takes away, adds and rewrites is no change.
    installed: bool,
}

/// What is not as the list has it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "fault", content = "file", rename_all = "kebab-case")]
pub enum Fault {
    /// The file has another sum.
    Changed(String),
    /// The file is listed and not there.
    Missing(String),
    /// The file is there and not listed.
    Added(String),
}

/// What was found out about a release.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Findings {
    /// How many files are listed.
    pub listed: usize,
    /// In the order of the files' names.
    pub faults: Vec<Fault>,
    /// Of the list.
    pub signature: Signature,
}

/// Why nothing can be said about a release.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// There is nothing to check it against.
    #[error("it has no {SUMS}: no release of Muzzle")]
    NoList,
    /// The list is wrong.
    #[error("{SUMS}, {0}")]
    List(#[from] SumsError),
    /// The key in it is wrong.
    #[error("{PUBLIC_KEY}: {0}")]
    Key(#[from] KeyError),
}

impl Files {
    /// The content of a file.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.content.get(name).map(Vec::as_slice)
    }

    /// The key that came with the release; anyone can put one there.
    ///
    /// # Errors
    /// It is none.
    pub fn own_key(&self) -> Result<Option<PublicKey>, KeyError> {
        self.get(PUBLIC_KEY).map(PublicKey::parse).transpose()
    }

    /// Compares every file with the list, and checks the list's signature: by the key that is
    /// `wanted`, else by [`Files::own_key`].
    ///
    /// # Errors
    /// There is no list, or it or the key cannot be read.
    pub fn verify(&self, wanted: Option<&PublicKey>) -> Result<Findings, ReleaseError> {
        let list = self.get(SUMS).ok_or(ReleaseError::NoList)?;
        let sums = Sums::parse(list)?;
        let own_key = self.own_key()?;
        let signature = self.get(SUMS_SIGNATURE).map_or(Signature::Absent, |text| {
            Signature::check(list, text, wanted, own_key.as_ref())
        });
        Ok(Findings {
            listed: sums.len(),
            faults: self.faults(&sums),
            signature,
        })
    }

    fn faults(&self, sums: &Sums) -> Vec<Fault> {
        let listed = sums.names().filter_map(|name| {
            let Some(content) = self.get(name) else {
                return (!self.may_miss(name)).then(|| Fault::Missing(name.to_owned()));
            };
            let is_same = sums.has(name, content)
                || (self.installed
                    && name == MODULE_PROP
                    && sums.has(name, &without_status(content)));
            (!is_same).then(|| Fault::Changed(name.to_owned()))
        });
        let added = self
            .content
            .keys()
            .filter(|name| !sums.lists(name) && !self.may_have(name))
            .map(|name| Fault::Added(name.clone()));
        let mut faults: Vec<_> = listed.chain(added).collect();
        faults.sort_by(|one, other| one.file().cmp(other.file()));
        faults
    }

    fn may_miss(&self, name: &str) -> bool {
        self.installed && (name.starts_with(INSTALLER) || name == INSTALL_SCRIPT)
    }

    /// Besides what is listed; the list cannot list itself.
    fn may_have(&self, name: &str) -> bool {
        [SUMS, SUMS_SIGNATURE].contains(&name) || (self.installed && FLAGS.contains(&name))
    }
}

impl Fault {
    /// The name of the file.
    #[must_use]
    pub fn file(&self) -> &str {
        let (Self::Changed(name) | Self::Missing(name) | Self::Added(name)) = self;
        name
    }
}

/// `module.prop` before magisk-module/description.sh put how Muzzle is in front of the description.
fn without_status(prop: &[u8]) -> Vec<u8> {
    let key = b"description=";
    let separator = b" | ";
    let lines = prop.split_inclusive(|&byte| byte == b'\n').map(|line| {
        let status_end = line
            .windows(separator.len())
            .rposition(|window| window == separator)
            .map_or(0, |at| at + separator.len());
        if line.starts_with(key) && status_end > 0 {
            [key, &line[status_end..]].concat()
        } else {
            line.to_vec()
        }
    });
    lines.collect::<Vec<_>>().concat()
}
