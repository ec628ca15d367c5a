//! What the daemon says over its socket, to its own program and to strangers.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use muzzle::decide::Outcome;
use muzzle::firewall::Family;

use crate::clients::{A, AT_ONCE, UdpAsker, query};
use crate::lab::{APP_UID, Daemon, Lab, MUZZLE, addresses};
use crate::running::{BLOCKED, ask, record, records, refused, start, status};

/// A client that says what it likes.
struct Stranger(BufReader<UnixStream>);

impl Stranger {
    fn new(daemon: &Daemon) -> Self {
        let stream = UnixStream::connect(&daemon.socket).expect("the daemon listens");
        stream.set_read_timeout(Some(AT_ONCE)).expect("above 0");
        Self(BufReader::new(stream))
    }

    /// The one line said in answer to `bytes`.
    fn say(&mut self, bytes: &[u8]) -> String {
        // The daemon may have had enough before the end.
        let _ = self.0.get_mut().write_all(bytes);
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer at once");
        line
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.0.read(&mut [0; 16]), Ok(1..))
    }
}

const STATUS: &[u8] = b"{\"v\":1,\"call\":\"status\"}\n";

#[test]
fn strangers_are_answered_and_do_no_harm() {
    let lab = Lab::bare();
    let daemon = start(&lab, "");
    let mode = |path: &std::path::Path| {
        let metadata = std::fs::metadata(path).expect("it is there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(&daemon.socket), 0o600);
    assert_eq!(mode(daemon.socket.parent().expect("a folder")), 0o700);

    let mut stranger = Stranger::new(&daemon);
    let cases: [(&[u8], &str); 6] = [
        (b"hello\n", "not a request"),
        (b"\n", "not a request"),
        (b"\xff\xfe\n", "not a request"),
        (b"{\"v\":1}\n", "not a request"),
        (b"{\"v\":1,\"call\":\"explode\"}\n", "not a request"),
        (b"{\"v\":2,\"call\":\"status\"}\n", "version 1, not 2"),
    ];
    for (bytes, wanted) in cases {
        let said = stranger.say(bytes);
        assert!(said.starts_with("{\"v\":1,\"error\":\""), "{said}");
        assert!(said.contains(wanted), "{said}");
    }
    // After all that it is still listened to.
    assert!(stranger.say(STATUS).contains("\"status\""));
    // A line that is too long ends the conversation.
    let said = stranger.say(&[b'x'; 10_000]);
    assert!(said.contains("at most 4096 bytes"), "{said}");
    assert!(stranger.has_ended());
    // Half a line, and then nothing.
    let mut half = Stranger::new(&daemon);
    half.0.get_mut().write_all(b"{\"v\":1").expect("it listens");
    half.0
        .get_mut()
        .shutdown(std::net::Shutdown::Write)
        .expect("open");
    assert!(half.line().contains("error"));
    assert_eq!(status(&lab, &daemon).mode, "enforce");
}

#[test]
fn more_clients_than_there_is_room_for_are_told_so() {
    let lab = Lab::bare();
    let daemon = start(&lab, "");
    // One after the other: what was said before has ended by then.
    let mut clients: Vec<_> = (0..16)
        .map(|_| {
            let mut client = Stranger::new(&daemon);
            assert!(client.say(STATUS).contains("\"status\""));
            client
        })
        .collect();
    let said = Stranger::new(&daemon).line();
    assert!(said.contains("16 clients"), "{said}");
    let said = ask(&lab, &daemon, "status");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("16 clients"), "{said:?}");
    // One goes, the next may come.
    clients.pop();
    crate::lab::wait_for("a place", AT_ONCE, || {
        ask(&lab, &daemon, "status").code == Some(0)
    });
}

/// `muzzle log --follow` at work.
struct Follower {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Follower {
    fn start(lab: &Lab, daemon: &Daemon) -> Self {
        let mut command = lab.phone.command("timeout");
        command.args([
            "20", MUZZLE, "log", "--follow", "--json", "--recent", "1", "--config",
        ]);
        command.arg(&daemon.config).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it can be started");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, lines }
    }

    fn record(&mut self) -> muzzle::record::Record {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a pipe can be read");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }
}

#[test]
fn the_program_shows_what_happens() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    let askers = Family::BOTH.map(|family| UdpAsker::new(&lab, addresses(family).dns));
    askers[0]
        .ask(&query(1, "first.example", A))
        .expect("an answer");
    record(&lab, &daemon, |it| {
        it.name.as_deref() == Some("first.example")
    });
    let mut follower = Follower::start(&lab, &daemon);
    assert_eq!(follower.record().name.as_deref(), Some("first.example"));
    let mut number = 1;
    for asker in &askers {
        for (name, outcome) in [
            (BLOCKED, Outcome::Blocked),
            ("free.example", Outcome::Allowed),
        ] {
            asker.ask(&query(2, name, A)).expect("an answer");
            let record = follower.record();
            number += 1;
            assert_eq!(record.number, number);
            assert_eq!(
                (record.name.as_deref(), record.outcome),
                (Some(name), outcome)
            );
            assert_eq!(record.local, asker.local());
            assert_eq!(record.qtype.as_deref(), Some("A"));
        }
    }
    assert_eq!(records(&lab, &daemon).len(), 5);
    let text = ask(&lab, &daemon, "log --recent 2").ok();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(
        text.contains("blocked") && text.contains("your rule 1"),
        "{text}"
    );

    let status = status(&lab, &daemon);
    assert_eq!(status.pid.cast_signed(), daemon.pid().as_raw());
    assert_eq!((status.packages, status.rules), (1, 1));
    assert_eq!(status.warnings, [""; 0]);
    let numbers: Vec<_> = status.queues.iter().map(|queue| queue.number).collect();
    assert_eq!(numbers, [6453, 6454]);
    let text = ask(&lab, &daemon, "status").ok();
    assert!(
        text.contains("queue 6453: 5 packets seen, 3 passed, 2 refused"),
        "{text}"
    );

    let rules = lab.saved_rules();
    let found = ask(&lab, &daemon, "doctor --json").ok();
    let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
    let capabilities = found["capabilities"].as_array().expect("a list");
    assert!(
        capabilities.iter().all(|it| it["present"] == true),
        "{found}"
    );
    assert_eq!(lab.saved_rules(), rules, "the doctor changes nothing");

    // The follower hears of the end.
    assert!(daemon.stop().success());
    let mut rest = String::new();
    follower
        .lines
        .read_to_string(&mut rest)
        .expect("a pipe can be read");
    assert_eq!(rest, "");
    follower.child.wait().expect("it ends");
}

#[test]
fn without_a_daemon_or_without_root_it_says_so() {
    let lab = Lab::bare();
    let daemon = start(&lab, "");
    let config = daemon.config.display().to_string();
    for call in ["status", "log", "reload", "doctor"] {
        let said = lab.phone_as(APP_UID, &format!("{MUZZLE} --config {config} {call}"));
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(
            said.stderr.contains("only root") || said.stderr.contains("root is needed"),
            "{said:?}"
        );
    }
    let socket = daemon.socket.display().to_string();
    daemon.stop();
    for call in ["status", "log", "reload"] {
        let said = lab.muzzle(&format!("--config {config} {call}"));
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains("Muzzle is not running"), "{said:?}");
        assert!(said.stderr.contains(&socket), "{said:?}");
    }
    // Another user's daemon: in a folder of its own, so that nothing but root is missing.
    let folder = lab.folder().join("open");
    std::fs::create_dir(&folder).expect("the lab's folder is there");
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)).expect("ours");
    let file = lab.folder().join("open.toml");
    let text = format!("[control]\nsocket = \"{}/control.sock\"", folder.display());
    std::fs::write(&file, text).expect("the lab's folder is there");
    for file in [file.display().to_string(), config] {
        let said = lab.phone_as(65_534, &format!("{MUZZLE} --config {file} daemon"));
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains("root"), "{said:?}");
    }
    let said = refused(&lab, "[control]\nsocket = \"/proc/nowhere/control.sock\"");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stderr.contains("cannot make /proc/nowhere"),
        "{said:?}"
    );
}
