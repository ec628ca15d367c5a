//! The core decides, the shell does: these folders know no I/O, no clock and no kernel.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders and files of the core, with what each may use beyond the rule.
const CORE: &[&str] = &[
    "parse",
    "decide",
    "act",
    "inspect",
    "apps/packages.rs",
    "apps/proc_net.rs",
    "apps/sender.rs",
    "apps/uid.rs",
    "capture/link.rs",
    "capture/pcapdroid.rs",
    "capture/prefilter.rs",
    "catalogue/backlog.rs",
    "catalogue/lint.rs",
    "catalogue/export.rs",
    "catalogue/preset.rs",
    "choices/target.rs",
    "cli/doctor/redact.rs",
    "decode/encrypted.rs",
    "decode/form.rs",
    "decode/har.rs",
    "decode/http.rs",
    "decode/identity.rs",
    "decode/mistat.rs",
    "decode/mod.rs",
    "decode/pasted.rs",
    "decode/printable.rs",
    "decode/sensors.rs",
    "decode/streams.rs",
    "daemon/restarts.rs",
    "daemon/stall.rs",
    "firewall/plan.rs",
    "firewall/expression.rs",
    "firewall/saved.rs",
    "history/block.rs",
    "history/coding.rs",
    "history/decode.rs",
    "history/encode.rs",
    "history/query.rs",
    "history/row.rs",
    "history/tally.rs",
    "queue/message.rs",
    "record/connection_names.rs",
    "record/resolved.rs",
    "release/mod.rs",
    "release/signature.rs",
    "release/sums.rs",
    "release/zip.rs",
    "report",
];

const FORBIDDEN: &[&str] = &[
    "std::fs",
    "std::io",
    "std::process",
    "std::thread",
    "std::env",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "Instant",
    "SystemTime",
    "Moment::since_boot",
    "Moment::awake",
    "unix_millis()",
    "tokio",
    "nix::",
    "libc",
    "log::",
    "println!",
    "unsafe {",
];

#[test]
fn the_core_has_no_io_no_clock_and_no_kernel() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for part in CORE {
        let path = source.join(part);
        assert!(
            path.exists(),
            "{} is not there any more: edit CORE",
            path.display()
        );
        collect(&path, &mut files);
    }
    let mut found = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        // Unit tests may read files; the code above them may not.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            for word in FORBIDDEN.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{}:{}: {word}", file.display(), number + 1));
            }
        }
    }
    assert!(
        found.is_empty(),
        "the core reaches outside:\n{}",
        found.join("\n")
    );
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder of the sources") {
            collect(&entry.expect("an entry of it").path(), files);
        }
    } else {
        files.push(path.to_owned());
    }
}
