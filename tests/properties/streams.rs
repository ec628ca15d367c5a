//! Detectors over the start of a stream: on every prefix "incomplete" until the answer, and then
//! that answer for good.

use muzzle::parse::http::{self, Request};
use muzzle::parse::tls::server_name;
use muzzle::parse::{Detected, DomainName};
use proptest::prelude::*;

use super::damaged;

type Detector = fn(&[u8]) -> Detected<DomainName>;

/// The host of a request, where it has one.
fn host(stream: &[u8]) -> Detected<DomainName> {
    match http::request(stream) {
        Detected::Found(Request {
            host: Some(host), ..
        }) => Detected::Found(host),
        Detected::Found(_) | Detected::NotPresent => Detected::NotPresent,
        Detected::Incomplete => Detected::Incomplete,
    }
}

/// The answer for the whole stream, once all its prefixes have been seen to agree with it.
fn over_every_prefix(detect: Detector, stream: &[u8]) -> Detected<DomainName> {
    let mut answer = Detected::Incomplete;
    for end in 0..=stream.len() {
        let here = detect(&stream[..end]);
        if answer != Detected::Incomplete {
            assert_eq!(here, answer, "changed with {end} bytes");
        }
        answer = here;
    }
    answer
}

fn found(name: &str) -> Detected<DomainName> {
    Detected::Found(DomainName::from_text(name).unwrap())
}

fn host_name() -> impl Strategy<Value = String> {
    "[a-zA-Z][a-zA-Z0-9_-]{0,20}(\\.[a-zA-Z0-9-]{1,20}){0,4}\\.[a-zA-Z]{2,8}"
}

/// Some extension that is not the server name: type and data.
fn extension() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![1_u16..60, Just(0x0a0a), Just(0xfe0d), Just(0xff01)];
    let data = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 1216..1260), // X25519MLKEM768
    ];
    (number, data).prop_map(|(number, data)| with_header(number, &data))
}

fn with_header(number: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    [&number.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

pub(super) fn sni(name: &str) -> Vec<u8> {
    let length = u16::try_from(name.len()).unwrap();
    let list = (length + 3).to_be_bytes();
    let data = [&list[..], &[0], &length.to_be_bytes(), name.as_bytes()].concat();
    with_header(0, &data)
}

/// A ClientHello as a handshake message.
pub(super) fn handshake(session: &[u8], extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([0x5a; 32]);
    body.push(u8::try_from(session.len()).unwrap());
    body.extend(session);
    body.extend([0, 4, 0x2a, 0x2a, 0x13, 1, 1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let [_, length @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1][..], &length, &body].concat()
}

/// A ClientHello in TLS records of at most `record_bytes`.
pub(super) fn client_hello(session: &[u8], extensions: &[u8], record_bytes: usize) -> Vec<u8> {
    let handshake = handshake(session, extensions);
    let mut stream = Vec::new();
    for piece in handshake.chunks(record_bytes) {
        stream.extend([0x16, 3, 1]);
        stream.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
        stream.extend(piece);
    }
    stream
}

/// A session id, extensions, and the name in them, if there is one.
fn parts() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Option<String>)> {
    (
        prop::collection::vec(any::<u8>(), 0..=32),
        prop::collection::vec(extension(), 0..5),
        prop::option::of(host_name()),
        prop::collection::vec(extension(), 0..5),
    )
        .prop_map(|(session, before, name, after)| {
            let sni = name.as_deref().map(sni).unwrap_or_default();
            let extensions = [before.concat(), sni, after.concat()].concat();
            (session, extensions, name)
        })
}

/// A hello and the name in it, if it has one.
fn hello() -> impl Strategy<Value = (Vec<u8>, Option<String>)> {
    let record_bytes = prop_oneof![1_usize..100, 500_usize..4000];
    (parts(), record_bytes).prop_map(|((session, extensions, name), record_bytes)| {
        (client_hello(&session, &extensions, record_bytes), name)
    })
}

/// A hello without records.
pub(super) fn hello_in_handshake() -> impl Strategy<Value = Vec<u8>> {
    parts().prop_map(|(session, extensions, _)| handshake(&session, &extensions))
}

/// A request and the host it is for.
fn request() -> impl Strategy<Value = (Vec<u8>, String)> {
    let header = "(Accept|X-Host|User-Agent|H|Hosts): [ -~]{0,40}";
    (
        prop::sample::select(vec!["GET", "POST", "HEAD", "PUT", "OPTIONS"]),
        prop::option::of(host_name()),
        host_name(),
        prop::collection::vec(header, 0..6),
        prop::sample::select(vec!["Host", "host", "HOST", "hOsT"]),
        prop::sample::select(vec!["", " ", "\t ", "  "]),
        prop::sample::select(vec!["", ":80", ":8080", ":"]),
        prop::sample::select(vec!["\r\n", "\n"]),
    )
        .prop_map(|(method, target, name, headers, host, space, port, end)| {
            let authority = target
                .as_ref()
                .map(|target| format!("http://{target}{port}"));
            let target_text = authority.unwrap_or_default();
            let mut text = format!("{method} {target_text}/sa?project=x HTTP/1.1{end}");
            for header in headers {
                text.push_str(&header);
                text.push_str(end);
            }
            text.push_str(&format!("{host}:{space}{name}{port}{space}{end}{end}body"));
            (text.into_bytes(), target.unwrap_or(name))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_hello_gives_its_name((stream, name) in hello()) {
        let answer = over_every_prefix(server_name, &stream);
        let expected = name.map_or(Detected::NotPresent, |name| found(&name));
        prop_assert_eq!(answer, expected);
    }

    #[test]
    fn a_request_gives_its_host((stream, name) in request()) {
        prop_assert_eq!(over_every_prefix(host, &stream), found(&name));
    }

    #[test]
    fn damaged_streams_get_one_answer_too(
        hello in damaged(hello().prop_map(|(stream, _)| stream)),
        request in damaged(request().prop_map(|(stream, _)| stream)),
        noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        for detect in [server_name as Detector, host] {
            for stream in [&hello, &request, &noise] {
                over_every_prefix(detect, stream);
            }
        }
    }
}

#[test]
fn streams_of_real_clients_get_one_answer() {
    let name = "data.mistat.xiaomi.com";
    for (stream, detect, expected) in [
        (
            &include_bytes!("../data/openssl3_tls13.bin")[..],
            server_name as Detector,
            found(name),
        ),
        (
            include_bytes!("../data/openssl3_tls12.bin"),
            server_name,
            found(name),
        ),
        (
            include_bytes!("../data/openssl3_fragments.bin"),
            server_name,
            found(name),
        ),
        (
            include_bytes!("../data/openssl3_no_sni.bin"),
            server_name,
            Detected::NotPresent,
        ),
        (
            include_bytes!("../data/curl7_http2.bin"),
            server_name,
            found(name),
        ),
        (
            include_bytes!("../data/curl7_http2.bin"),
            host,
            Detected::NotPresent,
        ),
        (
            include_bytes!("../data/java17.bin"),
            server_name,
            found(name),
        ),
        (
            include_bytes!("../data/go1_19.bin"),
            server_name,
            found(name),
        ),
        (include_bytes!("../data/curl7_post.bin"), host, found(name)),
        (include_bytes!("../data/curl7_proxy.bin"), host, found(name)),
        (
            include_bytes!("../data/curl7_proxy.bin"),
            server_name,
            Detected::NotPresent,
        ),
    ] {
        assert_eq!(over_every_prefix(detect, stream), expected);
    }
}
