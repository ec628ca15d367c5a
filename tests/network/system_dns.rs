//! DNS questions that a system process asks for apps, as Android's resolver does it: as root, each
//! with a socket of its own, connected, and given to the app (fchown).

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muzzle::clock::Moment;
use muzzle::decide::{AttributionSource, Outcome};
use muzzle::firewall::Family;
use muzzle::record::Record;

use crate::clients::{A, AAAA, AT_ONCE, framed, query};
use crate::lab::{APP_UID, Daemon, Lab, addresses, refuse_socket_diagnosis, wait_for};
use crate::load::with_resolver;
use crate::running::{APP, queue, record, records, start, status};

/// Another app, which `packages.list` does not name.
const OTHER_UID: u32 = 10_200;
/// As many records as any of these tests makes.
const ALL: &str = "[log]\nrecent = 100000\n";

fn give<T: AsFd>(socket: &T, uid: u32) {
    let owner = Some(uid.into());
    nix::unistd::fchown(socket, owner, None).expect("root may give sockets away");
}

/// A socket on `port` (0 for any) that asks `resolver` for the app `uid`.
fn asker(lab: &Lab, resolver: IpAddr, uid: u32, port: u16) -> std::io::Result<UdpSocket> {
    let any: IpAddr = match resolver {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    lab.phone.within(|| {
        let socket = UdpSocket::bind((any, port))?;
        give(&socket, uid);
        socket.connect((resolver, 53))?;
        socket.set_read_timeout(Some(AT_ONCE))?;
        Ok(socket)
    })
}

/// Whether the question is refused.
fn is_refused(socket: &UdpSocket, name: &str) -> bool {
    socket.send(&query(7, name, A)).expect("it is connected");
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).expect("an answer at once");
    assert!(length > 12, "no answer");
    answer[3] & 0x0f == 3
}

fn question(lab: &Lab, daemon: &Daemon, name: &str) -> Record {
    record(lab, daemon, |it| it.name.as_deref() == Some(name))
}

fn rules() -> String {
    format!("{ALL}[[rule]]\nname = \"*.one.example\"\napp = \"{APP}\"\naction = \"block\"\n")
}

#[test]
fn a_question_of_the_system_is_that_of_the_app_it_asks_for() {
    let lab = Lab::new();
    let daemon = start(&lab, &rules());
    for family in Family::BOTH {
        let dns = addresses(family).dns;
        for (uid, source, blocked) in [
            (APP_UID, AttributionSource::InetDiag, true),
            (OTHER_UID, AttributionSource::InetDiag, false),
            (1_000_000 + APP_UID, AttributionSource::InetDiag, true),
            // Android 9 and 10, and root's own.
            (1051, AttributionSource::InetDiag, false),
            (0, AttributionSource::InetDiag, false),
        ] {
            let name = format!("u{uid}.{}.one.example", dns.is_ipv6());
            let socket = asker(&lab, dns, uid, 0).expect("a free port");
            assert_eq!(is_refused(&socket, &name), blocked, "{family} {uid}");
            let told = question(&lab, &daemon, &name);
            assert_eq!(
                (told.uid, told.attribution),
                (Some(uid), source),
                "{told:?}"
            );

            // Over TCP the same.
            let name = format!("tcp.{name}");
            let stream = lab.phone.within(|| TcpStream::connect((dns, 53)));
            let mut stream = stream.expect("dnsmasq listens");
            give(&stream, uid);
            std::io::Write::write_all(&mut stream, &framed(&query(8, &name, A)))
                .expect("it is connected");
            let told = question(&lab, &daemon, &name);
            assert_eq!(
                (told.uid, told.attribution),
                (Some(uid), source),
                "{told:?}"
            );
            assert_eq!(told.outcome == Outcome::Blocked, blocked, "{told:?}");
        }
        // A socket that is not connected.
        let name = format!("open.{}.one.example", dns.is_ipv6());
        let socket = asker(&lab, dns, APP_UID, 0).expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        drop(socket);
        let socket = lab.phone.within(|| match dns {
            IpAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)),
            IpAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)),
        });
        let socket = socket.expect("just let go of");
        give(&socket, APP_UID);
        socket
            .send_to(&query(9, &name, A), (dns, 53))
            .expect("there is a route");
        assert_eq!(question(&lab, &daemon, &name).uid, Some(APP_UID));
    }
}

#[test]
fn an_apps_own_question_needs_no_look_up() {
    let lab = Lab::new();
    let daemon = start(&lab, ALL);
    lab.dig(Family::V4, "own.example", "A").ok();
    let told = question(&lab, &daemon, "own.example");
    assert_eq!(
        (told.uid, told.attribution),
        (Some(APP_UID), AttributionSource::Socket)
    );
    assert_eq!(queue(&lab, &daemon, "dns").counters.owners_asked, 0);
}

/// The daemon is frozen meanwhile, so that what it looks at is the end of each story.
#[test]
fn who_is_gone_is_unknown_and_who_came_after_has_not_asked() {
    let lab = Lab::new();
    let daemon = start(&lab, ALL);
    for family in Family::BOTH {
        let dns = addresses(family).dns;
        let name = |of: &str| format!("{of}.{}.example", dns.is_ipv6());
        let ask = |socket: &UdpSocket, of: &str, qtype| {
            socket
                .send(&query(1, &name(of), qtype))
                .expect("it is connected");
        };
        let open = |uid, port| asker(&lab, dns, uid, port).expect("a free port");
        let port = |socket: &UdpSocket| socket.local_addr().expect("bound").port();
        daemon.freeze();
        let gone = open(APP_UID, 0);
        ask(&gone, "gone", A);
        drop(gone);

        let silent = open(APP_UID, 0);
        ask(&silent, "before-silent", A);
        let its_port = port(&silent);
        drop(silent);
        let silent = open(OTHER_UID, its_port);

        let first = open(APP_UID, 0);
        ask(&first, "before-another", A);
        let its_port = port(&first);
        drop(first);
        let another = open(OTHER_UID, its_port);
        ask(&another, "another", A);

        let both = open(APP_UID, 0);
        ask(&both, "both-a", A);
        ask(&both, "both-aaaa", AAAA);

        let many = open(APP_UID, 0);
        ask(&many, "before-many", A);
        let its_port = port(&many);
        drop(many);
        let many = open(OTHER_UID, its_port);
        (0..5).for_each(|_| ask(&many, "many", A));
        daemon.thaw();
        let uid = |of: &str| question(&lab, &daemon, &name(of)).uid;
        for of in ["gone", "before-silent", "before-another", "before-many"] {
            assert_eq!(uid(of), None, "{family} {of}");
        }
        assert_eq!(uid("another"), Some(OTHER_UID), "{family}");
        assert_eq!(uid("both-a"), Some(APP_UID), "{family}");
        assert_eq!(uid("both-aaaa"), Some(APP_UID), "{family}");
        // Of one that asks more, what it asks later is known all the same.
        ask(&many, "later", A);
        assert_eq!(uid("later"), Some(OTHER_UID), "{family}");
        drop(silent);
    }
}

#[test]
fn without_the_socket_diagnosis_the_kernels_tables_tell() {
    let lab = Lab::new();
    refuse_socket_diagnosis();
    let daemon = start(&lab, &rules());
    let warnings = status(&lab, &daemon).warnings.join("\n");
    assert!(
        warnings.contains("/proc/net/udp, 20 times a second"),
        "{warnings}"
    );
    for family in Family::BOTH {
        let dns = addresses(family).dns;
        for (uid, blocked) in [(APP_UID, true), (OTHER_UID, false)] {
            let name = format!("u{uid}.{}.one.example", dns.is_ipv6());
            let socket = asker(&lab, dns, uid, 0).expect("a free port");
            assert_eq!(is_refused(&socket, &name), blocked, "{family} {uid}");
            let told = question(&lab, &daemon, &name);
            let expected = (Some(uid), AttributionSource::Proc);
            assert_eq!((told.uid, told.attribution), expected, "{told:?}");
        }
        // As many as are looked up, and more; each is answered.
        let socket = asker(&lab, dns, APP_UID, 0).expect("a free port");
        let refused = (0..60).filter(|number| {
            is_refused(&socket, &format!("n{number}.{}.one.example", dns.is_ipv6()))
        });
        let refused = refused.count();
        assert!(refused > 0 && refused < 60, "{family}: {refused}");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Asks for `uid`, each time with a new socket on the same port, and lets go of it at once; the
/// name says for whom. What pauses there are nobody chose.
fn fight(lab: &Lab, resolver: IpAddr, uid: u32, over: &AtomicBool) {
    const PORT: u16 = 47_053;
    let (mut asked, mut chance) = (0_u32, uid);
    while !over.load(Ordering::Relaxed) {
        // The other may have the port.
        let Ok(socket) = asker(lab, resolver, uid, PORT) else {
            continue;
        };
        for _ in 0..=asked % 3 {
            let name = format!("u{uid}.n{asked}.example");
            // Nobody listens any more where what was asked before is told of.
            let _refused = socket.send(&query(1, &name, A));
            asked += 1;
        }
        drop(socket);
        chance = chance.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        std::thread::sleep(Duration::from_micros(u64::from(chance >> 16)) / 50);
    }
}

#[test]
fn of_two_that_fight_for_a_port_neither_is_taken_for_the_other() {
    let lab = Lab::bare();
    for family in Family::BOTH {
        let daemon = start(&lab, &format!("{ALL}[queue]\nlength = 4096\n"));
        let resolver = addresses(family).sink;
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for uid in [APP_UID, OTHER_UID] {
                let (lab, over) = (&lab, &over);
                scope.spawn(move || fight(lab, resolver, uid, over));
            }
            std::thread::sleep(Duration::from_secs(5));
            over.store(true, Ordering::Relaxed);
        });
        let (mut known, mut unknown) = (0, 0);
        for told in settled(&lab, &daemon) {
            match told.uid {
                Some(uid) => {
                    let its_name = format!("u{uid}.");
                    let name = told.name.as_deref().unwrap_or_default();
                    assert!(name.starts_with(&its_name), "{told:?}");
                    known += 1;
                }
                None => unknown += 1,
            }
        }
        assert!(daemon.stop().success());
        assert!(
            known > 0 && unknown > 0,
            "{family}: {known} known, {unknown} not"
        );
    }
}

/// All records, as soon as no more come.
fn settled(lab: &Lab, daemon: &Daemon) -> Vec<Record> {
    let mut before = 0;
    wait_for("the log to be still", Duration::from_secs(20), || {
        std::thread::sleep(Duration::from_millis(300));
        let now = queue(lab, daemon, "dns").counters.packets;
        std::mem::replace(&mut before, now) == now
    });
    records(lab, daemon)
}

#[test]
fn two_thousand_questions_a_second_are_their_apps() {
    const RATE: u64 = 2000;
    const QUESTIONS: u32 = 4000;
    let lab = Lab::bare();
    for family in Family::BOTH {
        let daemon = start(&lab, ALL);
        let resolver = SocketAddr::new(addresses(family).sink, 53);
        let answered = with_resolver(&lab, resolver, || {
            let start = Moment::awake();
            let mut open = VecDeque::new();
            let mut answered = 0;
            let uids = [APP_UID, OTHER_UID, 1_000_000 + APP_UID];
            for (number, uid) in (0..QUESTIONS).zip(uids.into_iter().cycle()) {
                let socket = asker(&lab, resolver.ip(), uid, 0).expect("a free port");
                let name = format!("u{uid}.n{number}.example");
                socket.send(&query(1, &name, A)).expect("it is connected");
                open.push_back(socket);
                let due = u64::from(number) * 1000 / RATE;
                let early = due.saturating_sub(Moment::awake().millis_since(start));
                std::thread::sleep(Duration::from_millis(early));
                // Each lives until it has its answer, and no more wait than a queue has room for.
                while let Some(socket) = open.front()
                    && (open.len() > 100 || is_readable(socket))
                {
                    answered += open.pop_front().map_or(0, answers);
                }
            }
            answered + open.into_iter().map(answers).sum::<u32>()
        });
        assert_eq!(answered, QUESTIONS, "{family}");
        let mut right = 0;
        for told in settled(&lab, &daemon) {
            if let Some(uid) = told.uid {
                let name = told.name.as_deref().unwrap_or_default();
                assert!(name.starts_with(&format!("u{uid}.")), "{told:?}");
                right += 1;
            }
        }
        assert!(daemon.stop().success());
        assert!(
            right >= QUESTIONS * 99 / 100,
            "{family}: {right} of {QUESTIONS}"
        );
    }
}

fn is_readable(socket: &UdpSocket) -> bool {
    socket.set_nonblocking(true).expect("it may be set");
    let waits = socket.peek(&mut [0; 1]).is_ok();
    socket.set_nonblocking(false).expect("it may be set");
    waits
}

fn answers(socket: UdpSocket) -> u32 {
    socket.recv(&mut [0; 512]).is_ok().into()
}
