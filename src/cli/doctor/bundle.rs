//! `muzzle doctor --bundle FILE`: everything that helps to find out why an odd phone is odd, in
//! one text that its owner can read before sending it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};

use super::command::{file, output};
use super::page::Page;
use super::redact::Redactor;
use super::{Context, attribution, netfilter, network, own, phone, timing};
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::firewall::Iptables;
use crate::parse::DomainName;

/// How long one section may take. The slowest waits for a busy lock, or for a resolver.
const LIMIT: Duration = Duration::from_secs(30);

/// One section.
struct Check {
    title: &'static str,
    run: fn(&Context, &mut Page),
    /// It puts a rule into force for some moments.
    is_active: bool,
}

const fn reading(title: &'static str, run: fn(&Context, &mut Page)) -> Check {
    Check {
        title,
        run,
        is_active: false,
    }
}

const fn active(title: &'static str, run: fn(&Context, &mut Page)) -> Check {
    Check {
        title,
        run,
        is_active: true,
    }
}

/// All sections in their order: what is read before and after the active ones shows that they
/// changed nothing.
const CHECKS: [Check; 17] = [
    reading("Muzzle", own::status),
    reading("Android", phone::android),
    reading("Kernel, SELinux, root manager", phone::system),
    reading("Kernel options", phone::kernel_options),
    reading("iptables", netfilter::programs),
    reading("Chains", netfilter::chains),
    reading("Queues", netfilter::queues),
    reading("Packet marks and routing rules", netfilter::marks),
    reading("Interfaces", network::interfaces),
    reading("Private DNS", network::private_dns),
    reading("Apps", own::apps),
    reading("Newest records", own::records),
    active("Doctor", own::findings),
    active("Time that the firewall takes", timing::firewall),
    active(
        "Whose packet: a socket given away",
        attribution::given_socket,
    ),
    active(
        "Whose packet: the system's resolver",
        attribution::system_lookup,
    ),
    reading("Chains afterwards", netfilter::chains_after),
];

const HEAD: &str = "\
This file is for whoever looks into what Muzzle does on this phone. It is plain text so that you
can read all of it before you send it to anybody; nothing was sent by making it, but for one DNS
question for a name below example.com that does not exist.

Left out or replaced: public IP addresses, and local ones that may be made from hardware addresses
(v4-public-1, v6-link-1), hardware addresses (mac-1), names that were looked up, unless Muzzle's own
catalogue has them, and names of apps (NAME-1), free text in firewall rules (TEXT-1), long numbers
(number-1, hex-1). The same placeholder is the same thing throughout this file, and means nothing
in another. Wi-Fi names, serial numbers, accounts and the name of a private DNS server were not
asked for. To be seen are: model and software of the phone, private IPv4 addresses such as
192.168.1.2, names of interfaces and chains, user ids in firewall rules.
";

/// The last line: a file without it is not whole.
const END: &str = "End of the bundle.";

/// Makes the bundle. Nothing is written before all of it is there.
///
/// # Errors
/// There is a file of that name already, or it cannot be written: then none is left.
pub(super) fn create(
    path: &Path,
    with_apps: bool,
    named: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    // Before the work, so that nobody waits for nothing; it counts when the file is made.
    anyhow::ensure!(
        path.symlink_metadata().is_err(),
        "{} is there already: choose another name or delete it first",
        path.display()
    );
    let (config, complaint) = match Config::find(named) {
        Ok((config, _)) => (config, None),
        Err(error) => (Config::default(), Some(error.to_string())),
    };
    let iptables = Iptables::find(config.firewall.iptables.as_deref());
    let context = Arc::new(Context {
        iptables: iptables.map_err(|error| error.to_string()),
        config,
        with_apps,
        saved: OnceLock::new(),
    });
    let text = text(&context, complaint.as_deref());
    write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(
        out,
        "{} is written, {} lines. Read it before you send it to anybody.",
        path.display(),
        text.lines().count()
    )?;
    Ok(())
}

fn text(context: &Arc<Context>, complaint: Option<&str>) -> String {
    let catalogue = Catalogue::built_in();
    let names = catalogue
        .endpoints
        .iter()
        .filter_map(|it| it.pattern.name());
    let public: std::collections::HashSet<_> = names.map(DomainName::to_string).collect();
    let is_public = |name: &str| public.contains(name) || name == "example.com";
    let mut redactor = Redactor::new(&is_public);
    hide_known_values(&mut redactor);
    let apps = if context.with_apps {
        "The owner has asked for the names of apps to be in it (--with-apps).\n"
    } else {
        ""
    };
    let mut text = format!(
        "Muzzle {} doctor's bundle\n\n{HEAD}{apps}",
        env!("CARGO_PKG_VERSION")
    );
    if let Some(complaint) = complaint {
        text.push_str("\nThe config is wrong, its defaults stand in for it:\n");
        text.push_str(&redactor.text(complaint));
        text.push('\n');
    }
    for (number, check) in CHECKS.iter().enumerate() {
        text.push_str(&format!("\n== {}. {}\n", number + 1, check.title));
        match bounded(context, check) {
            Some(page) => text.push_str(&page.redacted(&mut redactor)),
            None => text.push_str(&format!(
                "not done: timed out after {} s\n",
                LIMIT.as_secs()
            )),
        }
    }
    text.push_str(&format!("\n{END}\n"));
    text
}

/// What is the phone's own and could stand anywhere.
fn hide_known_values(redactor: &mut Redactor<'_>) {
    for property in ["ro.serialno", "ro.boot.serialno", "net.hostname"] {
        hide(redactor, "serial", output("getprop", &[property]));
    }
    hide(redactor, "host", file("/proc/sys/kernel/hostname"));
}

/// Values that say nothing, and stand in many texts.
const UNTOLD: [&str; 4] = ["localhost", "unknown", "(none)", "android"];

fn hide(redactor: &mut Redactor<'_>, kind: &'static str, value: Result<String, String>) {
    if let Ok(value) = value
        && !UNTOLD.contains(&value.trim().to_ascii_lowercase().as_str())
    {
        redactor.hide(kind, &value);
    }
}

/// Runs a section on a thread of its own; `None` where it takes too long: the thread is left
/// behind and ends with the program.
fn bounded(context: &Arc<Context>, check: &Check) -> Option<Page> {
    // Whoever has enough of waiting must not leave a rule behind. Threads inherit the mask.
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    let blocked = check.is_active && signals.thread_block().is_ok();
    let (sender, receiver) = mpsc::channel();
    let (context, run) = (Arc::clone(context), check.run);
    thread::spawn(move || {
        let mut page = Page::default();
        run(&context, &mut page);
        // Nobody waits any more where it took too long.
        let _ = sender.send(page);
    });
    let page = receiver.recv_timeout(LIMIT).ok();
    if blocked {
        let _ = signals.thread_unblock();
    }
    page
}

/// Writes a file that only its owner may read. Where the disk is full, none is left.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    if written.is_err() {
        std::fs::remove_file(path)?;
    }
    written
}
