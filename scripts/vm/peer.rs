//! Both ends of the connections in the arm64 machine: apps on the phone, servers on its internet.
//! The standard library only, so that `rustc` alone makes a static program of it.
//!
//!   peer serve LOG ADDRESS...          DNS, HTTP and TLS ports on each address; what comes is
//!                                      written into LOG, one line each
//!   peer as UID PROGRAM ARGUMENT...    runs a program as that uid
//!   peer dns|dnstcp SERVER NAME TYPE   asks; prints the address, the error or "time-out"
//!   peer burst SERVER COUNT            asks so many refused questions without waiting for answers
//!   peer tls|http ADDRESS NAME         sends the first bytes of a connection; prints "answered",
//!                                      "refused" or "time-out"
//!
//! Each client prints what it got and how many milliseconds that took.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long a client waits: longer than the emulated daemon may take to notice a stall.
const PATIENCE: Duration = Duration::from_secs(15);
const ANSWER4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const ANSWER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 7);
const A: u16 = 1;
const AAAA: u16 = 28;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let began = Instant::now();
    let got = match arguments[..] {
        ["serve", log, ref addresses @ ..] => return serve(log, addresses),
        ["as", uid, program, ref rest @ ..] => return run_as(number(uid), program, rest),
        ["dns", server, name, qtype] => ask_udp(address(server), &question(name, qtype)),
        ["dnstcp", server, name, qtype] => ask_tcp(address(server), &question(name, qtype)),
        ["burst", server, count] => burst(address(server), number(count)),
        ["tls", server, name] => connect((address(server), 443).into(), &hello(name)),
        ["http", server, name] => connect((address(server), 80).into(), &request(name)),
        _ => panic!("see the top of peer.rs"),
    };
    let got = got.unwrap_or_else(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "time-out".into(),
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::ConnectionRefused
        | ErrorKind::UnexpectedEof => "refused".into(),
        _ => format!("failed: {error}"),
    });
    println!("{got} {} ms", began.elapsed().as_millis());
    ExitCode::SUCCESS
}

fn number(text: &str) -> u32 {
    text.parse().expect("a number")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The sockets must be the app's from the start: whoever opens a socket owns it.
fn run_as(uid: u32, program: &str, arguments: &[&str]) -> ExitCode {
    let error = Command::new(program)
        .args(arguments)
        .uid(uid)
        .gid(uid)
        .exec();
    panic!("{program}: {error}");
}

// --- the app's end -------------------------------------------------------------------------------

/// A query for `name` (RFC 1035, section 4), with recursion wanted.
fn question(name: &str, qtype: &str) -> Vec<u8> {
    let qtype = if qtype == "AAAA" { AAAA } else { A };
    let id = std::process::id().to_be_bytes();
    let mut query = vec![id[2], id[3], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(short(label.len()));
        query.extend(label.as_bytes());
    }
    query.push(0);
    query.extend(qtype.to_be_bytes());
    query.extend([0, 1]);
    query
}

fn short(length: usize) -> u8 {
    u8::try_from(length).expect("a short text")
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a short text");
    [&length.to_be_bytes(), bytes].concat()
}

fn ask_udp(server: IpAddr, query: &[u8]) -> io::Result<String> {
    let any: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((server, 53))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(query)?;
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer)?;
    Ok(meaning(query, &answer[..length]))
}

fn burst(server: IpAddr, count: u32) -> io::Result<String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((server, 53))?;
    let query = question("sa.api.intl.miui.com", "A");
    for _ in 0..count {
        socket.send(&query)?;
    }
    Ok(format!("{count} sent"))
}

fn ask_tcp(server: IpAddr, query: &[u8]) -> io::Result<String> {
    let mut stream = open((server, 53).into())?;
    stream.write_all(&sized(query))?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok(meaning(query, &answer))
}

fn meaning(query: &[u8], answer: &[u8]) -> String {
    if answer.len() < query.len() || answer[..2] != query[..2] {
        return "failed: not an answer to this".into();
    }
    match (answer[3] & 0x0f, answer[7]) {
        (0, 0) => "nodata".into(),
        // The address is the last of the answer.
        (0, _) if query.ends_with(&[0, 28, 0, 1]) => {
            let bytes: [u8; 16] = answer[answer.len() - 16..].try_into().expect("16 bytes");
            Ipv6Addr::from(bytes).to_string()
        }
        (0, _) => {
            let bytes: [u8; 4] = answer[answer.len() - 4..].try_into().expect("4 bytes");
            Ipv4Addr::from(bytes).to_string()
        }
        (3, _) => "nxdomain".into(),
        (code, _) => format!("rcode {code}"),
    }
}

fn open(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn connect(server: SocketAddr, first: &[u8]) -> io::Result<String> {
    let mut stream = open(server)?;
    stream.write_all(first)?;
    let mut answer = [0; 64];
    match stream.read(&mut answer)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok("answered".into()),
    }
}

/// A ClientHello (RFC 8446, section 4.1.2) that names `name` (RFC 6066, section 3).
fn hello(name: &str) -> Vec<u8> {
    let server_name = sized(&[&[0], &sized(name.as_bytes())[..]].concat());
    let versions = [2, 0x03, 0x04];
    let extensions = [
        &[0, 0][..],
        &sized(&server_name),
        &[0, 43],
        &sized(&versions),
    ]
    .concat();
    let body = [
        &[0x03, 0x03][..],
        &[0x5a; 32],
        &[0],
        &sized(&[0x13, 0x01]),
        &[1, 0],
        &sized(&extensions),
    ]
    .concat();
    let handshake = [&[1, 0][..], &sized(&body)].concat();
    [&[0x16, 0x03, 0x01][..], &sized(&handshake)].concat()
}

fn request(name: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {name}\r\nAccept: */*\r\n\r\n").into_bytes()
}

// --- the internet's end --------------------------------------------------------------------------

type Log = Arc<Mutex<std::fs::File>>;

fn note(log: &Log, line: &str) {
    let mut log = log.lock().expect("no other thread fails");
    // One write a line, for those who read meanwhile.
    log.write_all(format!("{line}\n").as_bytes())
        .expect("the log can be written");
}

fn serve(log: &str, addresses: &[&str]) -> ExitCode {
    let log = std::fs::File::create(log).expect("the log can be made");
    let log = Arc::new(Mutex::new(log));
    for text in addresses {
        let place = address(text);
        let socket = UdpSocket::bind((place, 53)).expect("a free port");
        let udp_log = Arc::clone(&log);
        thread::spawn(move || answer_udp(&socket, &udp_log));
        for port in [53, 80, 443] {
            let listener = TcpListener::bind((place, port)).expect("a free port");
            let log = Arc::clone(&log);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let log = Arc::clone(&log);
                    thread::spawn(move || receive(stream, port, &log));
                }
            });
        }
    }
    note(&log, "ready");
    loop {
        thread::park();
    }
}

fn answer_udp(socket: &UdpSocket, log: &Log) {
    let mut query = [0; 1500];
    loop {
        if let Ok((length, client)) = socket.recv_from(&mut query) {
            let answer = answer(&query[..length], "udp", log);
            // A client that is gone needs no answer.
            let _gone = socket.send_to(&answer, client);
        }
    }
}

/// Answers with the one address there is, whatever the name.
fn answer(query: &[u8], over: &str, log: &Log) -> Vec<u8> {
    let mut name = String::new();
    let mut at = 12;
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        name.push_str(&String::from_utf8_lossy(&query[at + 1..end]));
        name.push('.');
        at = end;
    }
    note(log, &format!("dns {over} {}", name.trim_end_matches('.')));
    let end = at + 5;
    let address = if query[at + 2] == 28 {
        ANSWER6.octets().to_vec()
    } else {
        ANSWER4.octets().to_vec()
    };
    let mut answer = query[..end].to_vec();
    answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    // The name by reference, its type and class, a minute to live.
    answer.extend([0xc0, 12]);
    answer.extend(&query[at + 1..end]);
    answer.extend([0, 0, 0, 60]);
    answer.extend(sized(&address));
    answer
}

/// Answers the first bytes, and notes how many there were when the connection ends.
fn receive(mut stream: TcpStream, port: u16, log: &Log) {
    let mut total = 0;
    let mut bytes = [0; 4096];
    let mut end = "closed";
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => {
                total += length;
                let reply = match port {
                    53 => sized(&answer(&bytes[2..length], "tcp", log)),
                    _ => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
                };
                // Its end is told by the next read.
                let _gone = stream.write_all(&reply);
            }
            Err(_) => {
                end = "reset";
                break;
            }
        }
    }
    note(log, &format!("tcp {port} {total} bytes, {end}"));
}
