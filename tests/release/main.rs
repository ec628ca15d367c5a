//! Releases as stock minisign signed them (tests/data/release), whole and tampered with.
#![allow(
    clippy::unwrap_used,
    reason = "the allowance for tests does not reach the functions that tests call"
)]

mod zip;

use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use muzzle::release::{
    Fault, Files, PUBLIC_KEY, PublicKey, ReleaseError, SUMS, SUMS_SIGNATURE, Signature,
    SumsError,
};
use proptest::prelude::*;
use proptest::sample::Index;

use zip::{DEFLATE, Entry, zip_of};

const LIST: &str = include_str!("../data/release/signed/SHA256SUMS");
const MINISIG: &str = include_str!("../data/release/signed/SHA256SUMS.minisig");
const KEY: &str = include_str!("../data/release/signed/muzzle.pub");
const OTHER_KEY: &str = include_str!("../data/release/other.pub");
const OLD_KIND: &str = include_str!("../data/release/old-kind.minisig");

fn key(text: &str) -> PublicKey {
    PublicKey::parse(text.as_bytes()).unwrap()
}

fn signed_by(key: PublicKey) -> Signature {
    Signature::By {
        key,
        comment: "timestamp:1700000000\tfile:SHA256SUMS\thashed".into(),
    }
}

/// The files of the signed release.
fn signed() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new("tests/data/release/signed");
    let listed = LIST.lines().map(|line| line.split_once("  ").unwrap().1);
    listed
        .chain([SUMS, SUMS_SIGNATURE])
        .map(|name| (name.to_owned(), fs::read(folder.join(name)).unwrap()))
        .collect()
}

fn zip(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let entries = files.iter().map(|(name, data)| Entry::stored(name, data));
    zip_of(&entries.collect::<Vec<_>>())
}

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A folder with these files, deleted at the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str, files: &[(String, Vec<u8>)]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _not_there = fs::remove_dir_all(&folder);
        for (name, data) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, data).unwrap();
        }
        Self(folder)
    }

    fn read(&self) -> Files {
        Files::read_folder(&self.0).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ends_anyway = fs::remove_dir_all(&self.0);
    }
}

fn faults(files: &Files) -> Vec<Fault> {
    files.verify(None).unwrap().faults
}

#[test]
fn a_signed_zip_is_whole_and_names_its_signer() {
    let files = Files::read_zip(&zip(&signed())).unwrap();
    for wanted in [None, Some(&key(KEY))] {
        let findings = files.verify(wanted).unwrap();
        assert_eq!(findings.listed, 6);
        assert_eq!(findings.faults, []);
        assert_eq!(findings.signature, signed_by(key(KEY)));
    }
}

#[test]
fn deflated_files_are_unpacked() {
    let data = b"the program\n".repeat(1000);
    let packed = deflate(&data);
    let entry = Entry::deflated("bin/muzzle", &data, &packed);
    let files = Files::read_zip(&zip_of(&[entry])).unwrap();
    assert_eq!(files.get("bin/muzzle"), Some(&data[..]));
}

#[test]
fn every_changed_missing_and_added_file_is_named() {
    let mut files = signed();
    files.retain(|(name, _)| name != "skip_mount");
    files[1].1.push(b'!');
    files.push(("post-fs-data.sh".into(), b"reboot\n".to_vec()));
    let wanted = [
        Fault::Changed("bin/muzzle".into()),
        Fault::Added("post-fs-data.sh".into()),
        Fault::Missing("skip_mount".into()),
    ];
    assert_eq!(faults(&Files::read_zip(&zip(&files)).unwrap()), wanted);
    assert_eq!(faults(&Folder::new("tampered", &files).read()), wanted);
}

#[test]
fn what_a_manager_does_to_a_module_is_no_change_there_but_is_in_a_zip() {
    let mut files = signed();
    files.retain(|(name, _)| !name.starts_with("META-INF") && name != "customize.sh");
    files.push(("disable".into(), Vec::new()));
    let prop = &mut files.iter_mut().find(|it| it.0 == "module.prop").unwrap().1;
    *prop = b"id=muzzle\nversion=v0.1.0\ndescription=off: x   y | Refuses telemetry\n".to_vec();
    assert_eq!(faults(&Folder::new("installed", &files).read()), []);
    let found = faults(&Files::read_zip(&zip(&files)).unwrap());
    let names: Vec<_> = found.iter().map(Fault::file).collect();
    let wanted = [
        "META-INF/updater-script",
        "customize.sh",
        "disable",
        "module.prop",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn the_rest_of_a_rewritten_description_counts() {
    let mut files = signed();
    let prop = &mut files.iter_mut().find(|it| it.0 == "module.prop").unwrap().1;
    *prop = b"id=muzzle\nversion=v9\ndescription=off: x | Refuses telemetry\n".to_vec();
    let folder = Folder::new("rewritten", &files);
    assert_eq!(
        faults(&folder.read()),
        [Fault::Changed("module.prop".into())]
    );
}

#[test]
fn a_link_in_a_module_is_followed_nowhere() {
    let folder = Folder::new("linked", &signed());
    let outside = folder.0.with_extension("outside");
    fs::write(&outside, "the program\n").unwrap();
    fs::remove_file(folder.0.join("bin/muzzle")).unwrap();
    std::os::unix::fs::symlink(&outside, folder.0.join("bin/muzzle")).unwrap();
    std::os::unix::fs::symlink("/", folder.0.join("system")).unwrap();
    let found = faults(&folder.read());
    fs::remove_file(outside).unwrap();
    let wanted = [
        Fault::Changed("bin/muzzle".into()),
        Fault::Added("system".into()),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn another_signer_than_the_wanted_is_named() {
    let files = Files::read_zip(&zip(&signed())).unwrap();
    let findings = files.verify(Some(&key(OTHER_KEY))).unwrap();
    assert_eq!(findings.signature, Signature::ByAnother(Some(key(KEY))));
    assert_eq!(findings.faults, []);
}

#[test]
fn a_key_that_does_not_belong_to_the_signature_is_not_called_the_signer() {
    let mut files = signed();
    files.retain(|(name, _)| name != PUBLIC_KEY);
    let signature = |files: &[_]| {
        Files::read_zip(&zip(files))
            .unwrap()
            .verify(None)
            .unwrap()
            .signature
    };
    assert_eq!(signature(&files), Signature::Unknown);
    files.push((PUBLIC_KEY.into(), OTHER_KEY.into()));
    assert_eq!(signature(&files), Signature::ByAnother(None));
}

#[test]
fn a_release_without_a_signature_is_not_signed() {
    let mut files = signed();
    files.retain(|(name, _)| name != SUMS_SIGNATURE);
    let findings = Files::read_zip(&zip(&files))
        .unwrap()
        .verify(Some(&key(KEY)));
    assert_eq!(findings.unwrap().signature, Signature::Absent);
}

#[test]
fn signatures_of_other_content_and_of_other_forms_are_wrong() {
    let check = |list: &str, minisig: &str| {
        Signature::check(list.as_bytes(), minisig.as_bytes(), Some(&key(KEY)), None)
    };
    let is_wrong = |signature| matches!(signature, Signature::Wrong(_));
    assert_eq!(check(LIST, MINISIG), signed_by(key(KEY)));
    assert!(is_wrong(check(&LIST.replace("bin/", "b1n/"), MINISIG)));
    assert!(is_wrong(check(LIST, &MINISIG.replace("1700", "1800"))));
    assert!(is_wrong(check(LIST, OLD_KIND)));
    assert!(is_wrong(check(LIST, "")));
    assert!(is_wrong(check(LIST, KEY)));
    let half = &MINISIG[..MINISIG.len() / 2];
    assert!(is_wrong(check(LIST, half)));
}

#[test]
fn of_two_signatures_the_worse_one_counts() {
    let by = signed_by(key(KEY));
    let wrong = Signature::Wrong("");
    assert_eq!(Signature::Absent.and(by.clone()), by);
    assert_eq!(by.clone().and(Signature::Absent), by);
    assert_eq!(by.clone().and(wrong.clone()), wrong);
    let another = Signature::ByAnother(None);
    assert_eq!(another.clone().and(by), another);
}

#[test]
fn keys_are_taken_as_a_line_and_as_a_file() {
    let line = KEY.lines().nth(1).unwrap();
    assert_eq!(key(line), key(KEY));
    assert_eq!(key(line).to_string(), line);
    for wrong in ["", "untrusted comment: x", &line[1..], MINISIG, "\u{feff}"] {
        assert!(PublicKey::parse(wrong.as_bytes()).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_wrong_list_is_named_with_its_line() {
    let list = |text: String| {
        let files = [(SUMS.to_owned(), text.into_bytes())];
        match Files::read_zip(&zip(&files)).unwrap().verify(None) {
            Err(ReleaseError::List(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let sum = "0".repeat(64);
    let after = |line: &str| list(format!("{sum}  a\n{line}\n"));
    assert_eq!(list(String::new()), SumsError::Form(1));
    assert_eq!(after(&format!("{sum} b")), SumsError::Form(2));
    assert_eq!(after(&format!("{sum}0  b")), SumsError::Form(2));
    assert_eq!(after(""), SumsError::Form(2));
    assert_eq!(after(&format!("{sum}  a")), SumsError::Duplicate(2));
    for name in ["../b", "/b", "b//c", "b/", "b/./c", "b\\c", "b\r"] {
        assert_eq!(
            after(&format!("{sum}  {name}")),
            SumsError::Name(2),
            "{name}"
        );
    }
    let long = (0..1001).map(|number| format!("{sum}  {number}\n"));
    assert_eq!(list(long.collect()), SumsError::Long);
}

#[test]
fn what_is_no_release_is_said_to_be_none() {
    let files = [("readme".to_owned(), b"hello".to_vec())];
    let found = Files::read_zip(&zip(&files)).unwrap().verify(None);
    assert!(matches!(found, Err(ReleaseError::NoList)));
}

#[test]
fn a_zip_that_is_cut_off_anywhere_is_refused() {
    let zip = zip(&signed());
    for end in 0..zip.len() {
        assert!(
            Files::read_zip(&zip[..end]).is_err(),
            "{end} of {}",
            zip.len()
        );
    }
}

#[test]
fn a_zip_that_programs_would_unpack_differently_is_refused() {
    let (one, two) = (Entry::stored("a", b"one"), Entry::stored("b", b"two"));
    let refused = |zip: &[u8]| Files::read_zip(zip).unwrap_err().to_string();
    assert!(refused(&zip_of(&[one.clone(), one.clone()])).contains("a twice"));
    let named = |local: &str| Entry {
        local_name: local.into(),
        ..one.clone()
    };
    assert!(refused(&zip_of(&[named("A"), two.clone()])).contains("does not follow"));
    let unlisted = Entry {
        is_listed: false,
        ..one.clone()
    };
    assert!(refused(&zip_of(&[unlisted.clone(), two.clone()])).contains("does not follow"));
    assert!(refused(&zip_of(&[two.clone(), unlisted])).contains("does not follow"));
    let prefixed = [b"#!/bin/sh\n", &zip_of(&[one, two])[..]].concat();
    assert!(Files::read_zip(&prefixed).is_err());
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["../a", "/a", "a/../../b", "a\\b", "./a", "a//b"] {
        let zip = zip_of(&[Entry::stored(name, b"x")]);
        let error = Files::read_zip(&zip).unwrap_err().to_string();
        assert!(error.contains("must lead below"), "{name}: {error}");
    }
}

#[test]
fn a_zip_that_grows_too_large_is_refused_early() {
    let bomb = deflate(&vec![0; 65 << 20]);
    let truthful = Entry {
        size: 65 << 20,
        ..Entry::deflated("a", b"", &bomb)
    };
    let lying = Entry::deflated("a", b"0123456789", &bomb);
    for entry in [truthful, lying] {
        let error = Files::read_zip(&zip_of(&[entry])).unwrap_err();
        assert!(
            error.to_string().contains("a cannot be unpacked"),
            "{error}"
        );
    }
    let many: Vec<_> = (0..1001)
        .map(|number| Entry::stored(&number.to_string(), b""))
        .collect();
    let error = Files::read_zip(&zip_of(&many)).unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
}

#[test]
fn other_ways_of_packing_are_refused() {
    let entry = Entry {
        method: DEFLATE + 1,
        ..Entry::stored("a", b"x")
    };
    assert!(Files::read_zip(&zip_of(&[entry])).is_err());
}

proptest! {
    /// minisign's first line is not signed; everything else is.
    #[test]
    fn no_other_signature_passes(at in any::<Index>(), byte in b'!'..=b'~') {
        let unsigned = MINISIG.find('\n').unwrap() + 1;
        let mut changed = MINISIG.as_bytes().to_vec();
        let at = unsigned + at.index(changed.len() - unsigned);
        prop_assume!(changed[at] != byte);
        changed[at] = byte;
        let found = Signature::check(LIST.as_bytes(), &changed, Some(&key(KEY)), None);
        let is_by = matches!(found, Signature::By { .. });
        prop_assert!(!is_by, "{}", String::from_utf8_lossy(&changed));
    }

    #[test]
    fn a_changed_byte_in_a_zip_is_found(at in any::<Index>(), flip in 1..=u8::MAX) {
        let whole = zip(&signed());
        let mut changed = whole.clone();
        let at = at.index(changed.len());
        changed[at] ^= flip;
        let Ok(files) = Files::read_zip(&changed) else { return Ok(()) };
        if let Ok(findings) = files.verify(Some(&key(KEY)))
            && findings.faults.is_empty()
            && matches!(findings.signature, Signature::By { .. })
        {
            // What is left are the zip's times and modes and the line that minisign leaves unsigned.
            for (name, data) in signed() {
                if name != SUMS_SIGNATURE {
                    prop_assert_eq!(files.get(&name), Some(&data[..]), "{}", name);
                }
            }
        }
    }

    #[test]
    fn no_bytes_are_too_strange(bytes: Vec<u8>) {
        let _refused = Files::read_zip(&bytes).is_err();
        let mut files = signed();
        for (name, data) in &mut files {
            if [SUMS, SUMS_SIGNATURE, PUBLIC_KEY].contains(&name.as_str()) {
                data.extend(&bytes);
            }
        }
        if let Ok(findings) = Files::read_zip(&zip(&files)).unwrap().verify(None) {
            let is_same = bytes.is_empty() || !matches!(findings.signature, Signature::By { .. });
            prop_assert!(is_same || !findings.faults.is_empty());
        }
    }
}
