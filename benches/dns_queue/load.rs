//! An app that asks one question after the other, and a resolver that answers at once.

use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use muzzle::firewall::Family;
use nix::unistd::Uid;

use crate::lab::{Namespace, addresses};

const APP: Uid = Uid::from_raw(10_123);

/// A closed loop of queries.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) time: Duration,
    /// Whether every second name is one of the catalogue's.
    pub(crate) blocked: bool,
    pub(crate) sockets: Sockets,
}

/// Where the queries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sockets {
    /// One socket of an app's own.
    One,
    /// One for each query, of the app's own.
    OneEach,
    /// One for each query, opened by root and given to the app, as Android's resolver does it.
    GivenEach,
}

impl Sockets {
    fn open(self) -> UdpSocket {
        // What the kernel calls the opener is the thread's file-system user.
        let opener = match self {
            Self::One | Self::OneEach => APP,
            Self::GivenEach => Uid::from_raw(0),
        };
        nix::unistd::setfsuid(opener);
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        nix::unistd::setfsuid(Uid::from_raw(0));
        if self == Self::GivenEach {
            nix::unistd::fchown(&socket, Some(APP), None).unwrap();
        }
        socket.connect(resolver()).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        socket
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    pub(crate) median_micros: f64,
    pub(crate) p99_micros: f64,
    pub(crate) cpu_micros: f64,
}

impl Load {
    /// Runs the loop on the phone; `filter` is the process whose CPU time is counted.
    pub(crate) fn run(&self, phone: &Namespace, filter: Option<u32>) -> Sample {
        let load = *self;
        phone.within(move || load.closed_loop(filter))
    }

    fn closed_loop(self, filter: Option<u32>) -> Sample {
        let mut socket = self.sockets.open();
        let queries: Vec<_> = (0..1000).map(|number| self.query(number)).collect();
        let mut answer = [0; 512];
        let mut latencies = Vec::with_capacity(1 << 20);
        let cpu_before = filter.map_or(0, cpu_nanos);
        let start = Instant::now();
        while start.elapsed() < self.time {
            let (query, blocked) = &queries[latencies.len() % queries.len()];
            if self.sockets != Sockets::One {
                socket = self.sockets.open();
            }
            let asked = Instant::now();
            socket.send(query).unwrap();
            let length = socket.recv(&mut answer).unwrap();
            latencies.push(asked.elapsed());
            assert_eq!(answer[..2], query[..2], "an answer to another query");
            let refused = length > 3 && answer[3] & 0x0f == 3;
            assert_eq!(refused, *blocked, "a wrong decision");
        }
        let elapsed = start.elapsed();
        let cpu = filter.map_or(0, cpu_nanos) - cpu_before;
        let count = latencies.len();
        latencies.sort_unstable();
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        Sample {
            per_second: count as f64 / elapsed.as_secs_f64(),
            median_micros: micros(latencies[count / 2]),
            p99_micros: micros(latencies[count * 99 / 100]),
            cpu_micros: cpu as f64 / 1000.0 / count as f64,
        }
    }

    fn query(self, number: u16) -> (Vec<u8>, bool) {
        let blocked = self.blocked && number.is_multiple_of(2);
        let name = if blocked {
            "sa.api.intl.miui.com".to_owned()
        } else {
            format!("host{number}.shop.example.org")
        };
        let mut query = number.to_be_bytes().to_vec();
        query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend(label.as_bytes());
        }
        query.extend([0, 0, 1, 0, 1]);
        (query, blocked)
    }
}

impl Sample {
    /// Each figure's median.
    pub(crate) fn median(samples: &[Self]) -> Self {
        let median = |figure: fn(&Self) -> f64| {
            let mut figures: Vec<_> = samples.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        Self {
            per_second: median(|it| it.per_second),
            median_micros: median(|it| it.median_micros),
            p99_micros: median(|it| it.p99_micros),
            cpu_micros: median(|it| it.cpu_micros),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{:>11.0} {:>11.1} {:>8.1} {:>17.2}",
            self.per_second, self.median_micros, self.p99_micros, self.cpu_micros
        )
    }
}

/// CPU time of all threads of a process and of its children, from the scheduler's own account.
fn cpu_nanos(pid: u32) -> u64 {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let account = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        sum += account
            .split_whitespace()
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap();
    }
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let children = children
        .split_whitespace()
        .map(|child| cpu_nanos(child.parse().unwrap()));
    sum + children.sum::<u64>()
}

fn resolver() -> SocketAddr {
    SocketAddr::new(addresses(Family::V4).dns, 53)
}

/// Answers every query at once: with an alias, and an address for that.
pub(crate) struct Responder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Responder {
    pub(crate) fn start(internet: &Namespace) -> Self {
        let socket = internet.within(|| UdpSocket::bind(resolver()).unwrap());
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let serve = move || {
            let mut message = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, client)) = socket.recv_from(&mut message) {
                    let (query, room) = message.split_at_mut(length);
                    query[2] |= 0x80;
                    query[7] = 2;
                    // `cdn` before the name asked for; then that one's address, another for
                    // each id.
                    let alias = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03cdn\xc0\x0c";
                    let target = u16::try_from(length + 12).unwrap() | 0xc000;
                    let records = [
                        alias,
                        &target.to_be_bytes()[..],
                        b"\0\x01\0\x01\0\0\0\x3c\0\x04\xc6\x12",
                        &query[..2],
                    ]
                    .concat();
                    room[..records.len()].copy_from_slice(&records);
                    let answer = &message[..length + records.len()];
                    socket.send_to(answer, client).unwrap();
                }
            }
        };
        Self {
            stop,
            thread: std::thread::spawn(serve),
        }
    }

    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}
