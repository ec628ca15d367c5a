//! A TCP server on threads of the test that remembers what each connection sent, and answers
//! HTTP requests on ports 80 and 8080.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Namespace, wait_for};

/// How often threads look whether they should end.
const TICK_MILLISECONDS: u8 = 100;
/// As much of a connection's bytes as is kept.
const KEPT_BYTES: usize = 16 * 1024;

/// How a connection ended, as the server saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It has not.
    Open,
    /// With a FIN.
    Closed,
    /// With a RST.
    Reset,
}

/// One connection as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// The server's end.
    pub(crate) local: SocketAddr,
    /// The phone's end.
    pub(crate) peer: SocketAddr,
    /// How many bytes came.
    pub(crate) received: usize,
    /// The first of them.
    pub(crate) bytes: Vec<u8>,
    /// How it ended.
    pub(crate) end: End,
}

type Connections = Arc<Mutex<Vec<Connection>>>;

/// Counts and answers. Stopped with the lab.
pub(crate) struct Server {
    connections: Connections,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(namespace: &Namespace, addresses: &[SocketAddr]) -> Self {
        let connections = Connections::default();
        let stop = Arc::new(AtomicBool::new(false));
        let bind = |address: &SocketAddr| {
            TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"))
        };
        let listeners: Vec<_> = namespace.within(|| addresses.iter().map(bind).collect());
        let thread = {
            let (connections, stop) = (connections.clone(), stop.clone());
            // The sockets stay in the namespace they were made in: the threads need not enter.
            thread::spawn(move || accept_all(&listeners, &connections, &stop))
        };
        Self {
            connections,
            stop,
            thread: Some(thread),
        }
    }

    /// Every connection to `address` so far.
    pub(crate) fn connections(&self, address: SocketAddr) -> Vec<Connection> {
        let all = lock(&self.connections);
        all.iter()
            .filter(|connection| connection.local == address)
            .cloned()
            .collect()
    }

    /// How many bytes came in all to `address`.
    pub(crate) fn received(&self, address: SocketAddr) -> usize {
        self.connections(address)
            .iter()
            .map(|connection| connection.received)
            .sum()
    }

    /// Waits until `bytes` or more have come to `address`.
    #[track_caller]
    pub(crate) fn wait_received(&self, address: SocketAddr, bytes: usize) {
        let what = format!("{bytes} bytes at {address}");
        wait_for(&what, Duration::from_secs(5), || {
            self.received(address) >= bytes
        });
    }

    pub(super) fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(connections: &Mutex<Vec<Connection>>) -> MutexGuard<'_, Vec<Connection>> {
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept_all(listeners: &[TcpListener], connections: &Connections, stop: &Arc<AtomicBool>) {
    let mut threads = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let fd = |listener| PollFd::new(AsFd::as_fd(listener), PollFlags::POLLIN);
        let mut fds: Vec<_> = listeners.iter().map(fd).collect();
        if poll(&mut fds, PollTimeout::from(TICK_MILLISECONDS)).is_err() {
            continue;
        }
        for (listener, fd) in listeners.iter().zip(&fds) {
            if fd.any() != Some(true) {
                continue;
            }
            let Ok((stream, peer)) = listener.accept() else {
                continue;
            };
            let Ok(local) = stream.local_addr() else {
                continue;
            };
            let index = {
                let mut all = lock(connections);
                let bytes = Vec::new();
                all.push(Connection {
                    local,
                    peer,
                    received: 0,
                    bytes,
                    end: End::Open,
                });
                all.len() - 1
            };
            let (connections, stop) = (connections.clone(), stop.clone());
            threads.push(thread::spawn(move || {
                serve(stream, local, index, &connections, &stop)
            }));
        }
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn serve(
    mut stream: TcpStream,
    local: SocketAddr,
    index: usize,
    connections: &Connections,
    stop: &AtomicBool,
) {
    let tick = Duration::from_millis(TICK_MILLISECONDS.into());
    if stream.set_read_timeout(Some(tick)).is_err() {
        return;
    }
    let mut buffer = [0; 16 * 1024];
    while !stop.load(Ordering::Relaxed) {
        let end = match stream.read(&mut buffer) {
            Ok(0) => End::Closed,
            Ok(count) => {
                let mut all = lock(connections);
                let connection = &mut all[index];
                connection.received += count;
                let room = KEPT_BYTES.saturating_sub(connection.bytes.len());
                connection
                    .bytes
                    .extend_from_slice(&buffer[..count.min(room)]);
                let asked = connection
                    .bytes
                    .windows(4)
                    .any(|bytes| bytes == b"\r\n\r\n");
                drop(all);
                if !(asked && matches!(local.port(), 80 | 8080)) {
                    continue;
                }
                let answer =
                    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nlab";
                let _ = stream.write_all(answer);
                End::Closed
            }
            Err(error)
                if matches!(
                    error.kind(),
                    // A read with a time-out is not resumed when a child stops or goes on.
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(_) => End::Reset,
        };
        lock(connections)[index].end = end;
        return;
    }
}
