//! A phone and an internet of its own for each test: two network namespaces, a veth pair, and
//! servers. Needs root. Nothing outside these namespaces is touched, and all of it goes away
//! when the [`Lab`] is dropped, also after a panic.
//!
//! ```text
//! phone                        internet
//! wlan0 10.77.0.2   ────────── inet0 10.77.0.1
//!       2001:db8:77::2               2001:db8:77::1
//!       fe80::2                      fe80::1
//!                              lo    203.0.113.53   2001:db8:53::53   dnsmasq
//!                                    203.0.113.54   2001:db8:53::54   another dnsmasq
//!                                    198.51.100.7   2001:db8:7::7     HTTPS (443), web
//!                                    198.51.100.8   2001:db8:7::8     sink
//! ```
//!
//! With [`Lab::tether`] there is a third, of a device that goes online through the phone:
//!
//! ```text
//! client                       phone
//! eth0  10.99.0.2   ────────── ap0    10.99.0.1      masqueraded
//!       fd99::2                       fd99::1        masqueraded
//!       2001:db8:99::2                               as it is
//! ```

// Each test binary that includes the lab uses another part of it.
#![allow(dead_code, unused_imports)]

mod daemon;
mod hang;
mod mounts;
mod namespace;
mod refused;
mod server;
mod tether;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub(crate) use daemon::{Daemon, freeze, send};
pub(crate) use hang::hang_at_next_packet;
pub(crate) use mounts::{SmallDisk, TablesLock};
pub(crate) use namespace::Namespace;
pub(crate) use refused::refuse_socket_diagnosis;
pub(crate) use server::{Connection, End, Server};
pub(crate) use tether::Client;

use muzzle::firewall::Family;

/// The uid of an app, for [`Lab::phone_as`].
pub(crate) const APP_UID: u32 = 10_123;

/// The program under test.
pub(crate) const MUZZLE: &str = env!("CARGO_BIN_EXE_muzzle");

/// What each kind of server is reached under in one family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    /// The phone on its real interface.
    pub(crate) phone: IpAddr,
    /// The resolver.
    pub(crate) dns: IpAddr,
    /// A second resolver, with [`Lab::start_other_dns`].
    pub(crate) other_dns: IpAddr,
    /// What every name resolves to: HTTPS on 443 (with [`Lab::start_https`]), HTTP on 80, 8080.
    pub(crate) web: IpAddr,
    /// Counts what it receives on 53, 80, 443, 8080 and 8443.
    pub(crate) sink: IpAddr,
    /// The legacy program of this family.
    pub(crate) iptables: &'static str,
}

/// The addresses of one family.
pub(crate) fn addresses(family: Family) -> Addresses {
    match family {
        Family::V4 => Addresses {
            phone: Ipv4Addr::new(10, 77, 0, 2).into(),
            dns: Ipv4Addr::new(203, 0, 113, 53).into(),
            other_dns: Ipv4Addr::new(203, 0, 113, 54).into(),
            web: Ipv4Addr::new(198, 51, 100, 7).into(),
            sink: Ipv4Addr::new(198, 51, 100, 8).into(),
            iptables: "iptables-legacy",
        },
        Family::V6 => Addresses {
            phone: Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 2).into(),
            dns: Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 0x53).into(),
            other_dns: Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 0x54).into(),
            web: Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 7).into(),
            sink: Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 8).into(),
            iptables: "ip6tables-legacy",
        },
    }
}

const PROGRAMS: [&str; 2] = ["iptables-legacy", "ip6tables-legacy"];
const TABLES: [&str; 4] = ["raw", "mangle", "nat", "filter"];

/// See the module's text.
pub(crate) struct Lab {
    /// Runs the daemon and the clients.
    pub(crate) phone: Namespace,
    /// Runs the servers.
    pub(crate) internet: Namespace,
    folder: Folder,
    children: Vec<Child>,
    /// Web and sink.
    pub(crate) server: Server,
}

impl Lab {
    /// Two namespaces with addresses and routes, the web and sink servers, and a resolver that
    /// answers every name with the web server's addresses.
    pub(crate) fn new() -> Self {
        Self::with_dns(&["--address=/#/198.51.100.7", "--address=/#/2001:db8:7::7"])
    }

    /// The same with other dnsmasq arguments (`--address=…`, `--cname=…`).
    pub(crate) fn with_dns(arguments: &[&str]) -> Self {
        let mut lab = Self::bare();
        lab.start_dns(arguments);
        lab
    }

    /// Without a resolver.
    pub(crate) fn bare() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mz{}-{number}", std::process::id());
        let folder = Folder::new(std::env::temp_dir().join(&name));
        let phone = Namespace::new(&format!("{name}-phone"));
        let internet = Namespace::new(&format!("{name}-internet"));
        phone.set_resolver(addresses(Family::V4).dns);
        connect(&phone, &internet);
        make_phone_like(&phone);
        let sockets = Family::BOTH.map(|family| {
            let addresses = addresses(family);
            let web = [80, 8080].map(|port| SocketAddr::new(addresses.web, port));
            let sink =
                [53, 80, 443, 8080, 8443].map(|port| SocketAddr::new(addresses.sink, port));
            [&web[..], &sink[..]].concat()
        });
        let server = Server::start(&internet, &sockets.concat());
        Self {
            phone,
            internet,
            folder,
            children: Vec::new(),
            server,
        }
    }

    /// The lab's own folder, deleted with it.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.0
    }

    fn start_dns(&mut self, arguments: &[&str]) {
        let log = self.query_log();
        let listen = "--listen-address=203.0.113.53,2001:db8:53::53,fe80::1";
        self.start_dnsmasq(&log, &[&[listen], arguments].concat());
        wait_for("dnsmasq", Duration::from_secs(5), || {
            self.internet
                .is_listening("udp", addresses(Family::V6).dns, 53)
        });
    }

    /// Starts a second resolver at [`Addresses::other_dns`], which answers every name with the
    /// sink's addresses.
    pub(crate) fn start_other_dns(&mut self) {
        let log = self.folder.0.join("other-queries.log");
        let arguments = [
            "--listen-address=203.0.113.54,2001:db8:53::54",
            "--address=/#/198.51.100.8",
            "--address=/#/2001:db8:7::8",
        ];
        self.start_dnsmasq(&log, &arguments);
        wait_for("the other dnsmasq", Duration::from_secs(5), || {
            self.internet
                .is_listening("udp", addresses(Family::V6).other_dns, 53)
        });
    }

    fn start_dnsmasq(&mut self, log: &Path, arguments: &[&str]) {
        let mut command = self.internet.command("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
            "--bind-interfaces",
            "--pid-file=",
            "--log-queries",
            "--local-ttl=60",
        ]);
        command
            .arg(format!("--log-facility={}", log.display()))
            .args(arguments);
        self.children.push(start(&mut command));
    }

    /// Starts `openssl s_server` on port 443 of the web server's addresses, with a certificate
    /// that nobody trusts (`curl --insecure`). `arguments`: `-tls1_2`, for one.
    pub(crate) fn start_https(&mut self, arguments: &[&str]) {
        let (key, certificate) = (
            self.folder.0.join("key.pem"),
            self.folder.0.join("cert.pem"),
        );
        let subject = format!("-keyout {} -out {}", key.display(), certificate.display());
        let line = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
                    -days 30 -subj /CN=lab.example";
        self.phone(&format!("{line} {subject}")).ok();
        for family in Family::BOTH {
            let web = SocketAddr::new(addresses(family).web, 443);
            let mut command = self.internet.command("openssl");
            command.args(["s_server", "-quiet", "-www", "-accept", &web.to_string()]);
            command
                .arg("-key")
                .arg(&key)
                .arg("-cert")
                .arg(&certificate)
                .args(arguments);
            self.children.push(start(&mut command));
            wait_for("openssl s_server", Duration::from_secs(5), || {
                self.internet.is_listening("tcp", web.ip(), 443)
            });
        }
    }

    /// Runs a command on the phone as root and waits for it. Words are split at blanks.
    pub(crate) fn phone(&self, line: &str) -> Finished {
        Finished::of(line, words(&self.phone, line))
    }

    /// The same in the internet.
    pub(crate) fn internet(&self, line: &str) -> Finished {
        Finished::of(line, words(&self.internet, line))
    }

    /// The same with a shell's script, for blanks in words, pipes and the like.
    pub(crate) fn phone_script(&self, script: &str) -> Finished {
        let mut command = words(&self.phone, "sh -c");
        command.arg(script);
        Finished::of(script, command)
    }

    /// `muzzle` with these arguments on the phone.
    pub(crate) fn muzzle(&self, arguments: &str) -> Finished {
        self.phone(&format!("{MUZZLE} {arguments}"))
    }

    /// The same as [`Lab::phone`] as an app with this uid.
    pub(crate) fn phone_as(&self, uid: u32, line: &str) -> Finished {
        let line =
            format!("setpriv --reuid={uid} --regid={uid} --clear-groups --no-new-privs {line}");
        self.phone(&line)
    }

    /// Starts a command on the phone; it ends with the lab at the latest.
    pub(crate) fn spawn(&mut self, line: &str) -> u32 {
        let child = start(&mut words(&self.phone, line));
        let pid = child.id();
        self.children.push(child);
        pid
    }

    /// The same in the internet.
    pub(crate) fn spawn_in_internet(&mut self, line: &str) {
        let child = start(&mut self.internet.command_line(line));
        self.children.push(child);
    }

    /// `dig +short` of `name` as an app; empty when there was no answer.
    pub(crate) fn dig(&self, family: Family, name: &str, qtype: &str) -> Finished {
        let dns = addresses(family).dns;
        self.phone_as(
            APP_UID,
            &format!("dig +tries=1 +time=2 +short @{dns} {name} {qtype}"),
        )
    }

    /// Whether the resolver was asked for `name`.
    pub(crate) fn was_asked_for(&self, name: &str) -> bool {
        let log = std::fs::read_to_string(self.query_log()).unwrap_or_default();
        log.lines().any(|line| {
            let mut words = line.split_ascii_whitespace();
            words.any(|word| word.starts_with("query[")) && words.next() == Some(name)
        })
    }

    fn query_log(&self) -> PathBuf {
        self.folder.0.join("queries.log")
    }

    /// Every rule of every table and family on the phone, without counters and comments.
    pub(crate) fn saved_rules(&self) -> String {
        let texts = PROGRAMS.map(|program| self.phone(&format!("{program}-save")).ok());
        let lines = texts.iter().flat_map(|text| text.lines());
        let lines = lines.filter(|line| !line.starts_with('#'));
        // Chains carry their counters as `:OUTPUT ACCEPT [12:3456]`.
        lines
            .map(|line| format!("{}\n", line.split(" [").next().unwrap_or(line)))
            .collect()
    }

    /// How many packets the phone has sent on its real interface.
    pub(crate) fn sent_packets(&self) -> u64 {
        let text = self
            .phone("cat /sys/class/net/wlan0/statistics/tx_packets")
            .ok();
        text.trim().parse().expect("a counter is a number")
    }

    /// Counts packets that arrive in the internet and match `rule` (`-p udp --dport 53`), from
    /// now on; read with [`Lab::arrived`].
    pub(crate) fn count_arriving(&self, family: Family, name: &str, rule: &str) {
        let program = addresses(family).iptables;
        let line = format!(
            "{program} -w 5 -t raw -A PREROUTING -i inet0 {rule} -m comment --comment {name}"
        );
        self.internet(&line).ok();
    }

    /// The packets counted under `name`.
    pub(crate) fn arrived(&self, family: Family, name: &str) -> u64 {
        let program = addresses(family).iptables;
        let line = format!("{program} -w 5 -t raw -nvxL PREROUTING");
        let text = self.internet(&line).ok();
        let comment = format!("/* {name} */");
        let line = text
            .lines()
            .find(|line| line.contains(&comment))
            .expect("it was counted");
        let count = line
            .split_ascii_whitespace()
            .next()
            .expect("a line begins with packets");
        count.parse().expect("a counter is a number")
    }

    /// Starts `muzzle daemon` on the phone and waits until its control socket is there.
    /// `config` must hold `[control] socket = "PATH"`; [`Lab::folder`] is a place for it.
    pub(crate) fn start_daemon(&self, config: &str) -> Daemon {
        Daemon::start(&self.phone, self.folder(), config, &[], true)
    }

    /// The same with the config, and what belongs beside it, in another folder.
    pub(crate) fn start_daemon_in(&self, folder: &Path, config: &str) -> Daemon {
        Daemon::start(&self.phone, folder, config, &[], true)
    }

    /// The same as a module's `service.sh` does it; `module` is the module's folder.
    pub(crate) fn start_service(&self, config: &str, module: &Path) -> Daemon {
        self.start_service_with(config, module, true)
    }

    /// The same; without `wait` the daemon may not be ready when this returns.
    pub(crate) fn start_service_with(&self, config: &str, module: &Path, wait: bool) -> Daemon {
        let module = module.to_str().expect("the lab's paths are text");
        let arguments = ["--service", "--module", module];
        Daemon::start(&self.phone, self.folder(), config, &arguments, wait)
    }

    /// The same with a log file.
    pub(crate) fn start_logging_service(
        &self,
        config: &str,
        module: &Path,
        log: &Path,
        wait: bool,
    ) -> Daemon {
        let [module, log] =
            [module, log].map(|path| path.to_str().expect("the lab's paths are text"));
        let arguments = ["--service", "--module", module, "--log-file", log];
        Daemon::start(&self.phone, self.folder(), config, &arguments, wait)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.server.stop();
        // The folder and the namespaces go with their fields, and with these the veth pair and
        // every rule.
    }
}

/// A folder, deleted on drop: also when the lab fails while it is built.
struct Folder(PathBuf);

impl Folder {
    fn new(path: PathBuf) -> Self {
        std::fs::create_dir_all(&path).expect("a folder for the lab can be made");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The cable and the addresses on both sides.
fn connect(phone: &Namespace, internet: &Namespace) {
    let peer = internet.name();
    phone.ip(&format!(
        "link add wlan0 type veth peer name inet0 netns {peer}"
    ));
    for (namespace, device) in [(phone, "wlan0"), (internet, "inet0")] {
        // Duplicate address detection would cost a second or more.
        namespace.write_sysctl("net/ipv6/conf/all/accept_dad", "0");
        namespace.write_sysctl(&format!("net/ipv6/conf/{device}/accept_dad"), "0");
        namespace.write_sysctl(&format!("net/ipv6/conf/{device}/accept_ra"), "0");
    }
    phone.ip_batch(
        "link set lo up
         link set wlan0 up
         addr add 10.77.0.2/24 dev wlan0
         addr add 2001:db8:77::2/64 dev wlan0 nodad
         addr add fe80::2/64 dev wlan0 nodad
         route add default via 10.77.0.1
         -6 route add default via 2001:db8:77::1",
    );
    internet.ip_batch(
        "link set lo up
         link set inet0 up
         addr add 10.77.0.1/24 dev inet0
         addr add 2001:db8:77::1/64 dev inet0 nodad
         addr add fe80::1/64 dev inet0 nodad
         addr add 203.0.113.53/32 dev lo
         addr add 203.0.113.54/32 dev lo
         addr add 198.51.100.7/32 dev lo
         addr add 198.51.100.8/32 dev lo
         addr add 2001:db8:53::53/128 dev lo nodad
         addr add 2001:db8:53::54/128 dev lo nodad
         addr add 2001:db8:7::7/128 dev lo nodad
         addr add 2001:db8:7::8/128 dev lo nodad",
    );
}

/// A phone always has connection tracking and NAT at work, a namespace only once a rule asks for
/// them. Every table is in use, so that saved rules before and after a test are comparable.
fn make_phone_like(phone: &Namespace) {
    for (program, tethered) in PROGRAMS.iter().zip(["10.99.0.0/16", "fd99::/16"]) {
        let mut text = String::new();
        for table in TABLES {
            text.push_str(&format!("*{table}\n"));
            text.push_str(match table {
                "filter" => "-A INPUT -m conntrack --ctstate ESTABLISHED\n",
                _ => "",
            });
            if table == "nat" {
                text.push_str(&format!("-A POSTROUTING -s {tethered} -j MASQUERADE\n"));
            }
            text.push_str("COMMIT\n");
        }
        phone.feed(&format!("{program}-restore --noflush -w 5"), &text);
    }
}

/// A finished command.
#[derive(Debug)]
pub(crate) struct Finished {
    line: String,
    /// Its exit code; none if it was killed.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it complained of.
    pub(crate) stderr: String,
}

impl Finished {
    fn of(line: &str, mut command: Command) -> Self {
        let output = command.stdin(Stdio::null()).output();
        Self::from_output(
            line,
            output.unwrap_or_else(|error| panic!("`{line}`: {error}")),
        )
    }

    fn from_output(line: &str, output: Output) -> Self {
        Self {
            line: line.to_owned(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// What it printed.
    ///
    /// # Panics
    /// It did not succeed.
    #[track_caller]
    pub(crate) fn ok(&self) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "`{}`: {}{}",
            self.line,
            self.stdout,
            self.stderr
        );
        self.stdout.clone()
    }
}

/// A command in `namespace` from one line; bounded, so that no test hangs.
fn words(namespace: &Namespace, line: &str) -> Command {
    let mut command = namespace.command("timeout");
    command
        .args(["--kill-after=1", "20"])
        .args(line.split_ascii_whitespace());
    command
}

fn start(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Waits until `is_so`, asking every 10 ms.
///
/// # Panics
/// It is not so within `limit`.
#[track_caller]
pub(crate) fn wait_for(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
    // Counted in pauses: tests need no clock.
    for _ in 0..=limit.as_millis() / 10 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: not within {limit:?}");
}
