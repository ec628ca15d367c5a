//! `muzzle replay` on files written here: each format and link type, and files that are damaged.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod damage;
mod formats;
mod pcapdroid;
mod write;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use etherparse::PacketBuilder;
use muzzle::apps::Packages;
use muzzle::catalogue::Catalogue;
use muzzle::cli::replay::{Replay, Rules};
use muzzle::config::Config;
use serde_json::Value;

/// 2024-02-29T12:34:56.789012Z.
const AT: u64 = 1_709_210_096_789_012_000;

const BLOCKED: &str = "data.mistat.xiaomi.com";
const HELLO: &[u8] = include_bytes!("../data/openssl3_tls13.bin");

/// What was printed, and the error that ended it.
struct Told {
    lines: Vec<String>,
    error: Option<String>,
    malformed: u64,
    packets: u64,
}

/// No rules but the built-in catalogue's, which take a while to be made.
static DEFAULT: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(
        Config::default(),
        Catalogue::built_in(),
        Packages::default(),
    )
});

fn rules(config: &str, packages: &str) -> Rules {
    if config.is_empty() && packages.is_empty() {
        return DEFAULT.clone();
    }
    let config = Config::from_bytes("config", config.as_bytes()).unwrap();
    Rules::new(config, Catalogue::built_in(), Packages::parse(packages))
}

/// Replays `file` with these rules beside the built-in catalogue.
fn replay(file: &[u8], config: &str, packages: &str, all: bool, json: bool) -> Told {
    let mut replay = Replay::new(rules(config, packages), all, json);
    let mut out = Vec::new();
    let ended = replay.read(file, &mut out);
    let text = String::from_utf8(out).unwrap();
    Told {
        lines: text.lines().map(str::to_owned).collect(),
        error: ended.err().map(|error| format!("{error:#}")),
        malformed: replay.summary.malformed,
        packets: replay.summary.packets,
    }
}

/// All of a whole file as JSON.
fn all(file: &[u8]) -> Vec<Value> {
    let told = replay(file, "", "", true, true);
    assert_eq!(told.error, None);
    parsed(&told.lines)
}

fn parsed(lines: &[String]) -> Vec<Value> {
    let parse = |line: &String| serde_json::from_str(line).unwrap();
    lines.iter().map(parse).collect()
}

/// Evidence and name of each line.
fn names(lines: &[Value]) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let tell = |line: &Value| format!("{} {}", word(&line["evidence"]), word(&line["name"]));
    lines.iter().map(tell).collect()
}

fn builder(
    from: SocketAddr,
    to: SocketAddr,
) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64)
        }
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            PacketBuilder::ipv6(from.ip().octets(), to.ip().octets(), 64)
        }
        _ => panic!("of two families"),
    }
}

fn segment(from: &str, to: &str, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let tcp = builder(from, to).tcp(from.port(), to.port(), sequence, 4096);
    let mut packet = Vec::new();
    tcp.psh().ack(1).write(&mut packet, payload).unwrap();
    packet
}

fn datagram(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let udp = builder(from, to).udp(from.port(), to.port());
    let mut packet = Vec::new();
    udp.write(&mut packet, payload).unwrap();
    packet
}

/// A question for the addresses of `name`.
fn query(name: &str) -> Vec<u8> {
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The answer of a resolver that knows nothing of `name`.
fn answer(name: &str) -> Vec<u8> {
    let mut message = query(name);
    (message[2], message[3]) = (0x81, 0x83);
    message
}

/// A question over IPv4, a hello over IPv6, a request, and what is nobody's business: an answer to
/// nothing that was asked for one.
fn traffic() -> Vec<Vec<u8>> {
    let (phone4, phone6) = ("10.77.0.2:40000", "[2001:db8:77::2]:40000");
    let request = b"GET / HTTP/1.1\r\nHost: free.example\r\n\r\n";
    let second_flight = [&[0x16, 3, 3, 0, 70, 16][..], &[0x2a; 69]].concat();
    vec![
        datagram(phone4, "203.0.113.53:53", &query("free.example")),
        datagram("203.0.113.53:53", phone4, &answer("answer.example")),
        segment(phone6, "[2001:db8:7::7]:443", 1, HELLO),
        segment("[2001:db8:7::7]:443", phone6, 1, HELLO),
        segment(phone4, "198.51.100.8:443", 1, &second_flight),
        segment(phone4, "198.51.100.7:80", 1, request),
    ]
}

/// What is to be told of [`traffic`].
const TOLD: [&str; 3] = [
    "dns free.example",
    "sni data.mistat.xiaomi.com",
    "host free.example",
];

/// A file that is gone when the test is over.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(bytes: &[u8]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("muzzle-replay-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // The test has passed or failed by now; a file left behind changes neither.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The program itself, with an empty config, reading `input`.
fn muzzle(arguments: &[&str], input: Stdio) -> Output {
    muzzle_with("", arguments, input)
}

/// The same with this config.
fn muzzle_with(config: &str, arguments: &[&str], input: Stdio) -> Output {
    let config = TemporaryFile::new(config.as_bytes());
    let mut command = Command::new(env!("CARGO_BIN_EXE_muzzle"));
    command
        .args(["replay", "--config", config.path()])
        .args(arguments);
    command.stdin(input).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
