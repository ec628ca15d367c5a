//! `muzzle decode`: uploads that are built here come out as they went in, however they are packed
//! and sent, and any bytes are an answer.

use std::io::Write;
use std::net::SocketAddr;

use muzzle::cli::decode::Decoding;
use muzzle::decide::{FlowKey, Protocol};
use muzzle::decode::streams::{Captured, Streams};
use muzzle::decode::{Content, Request, Upload};
use muzzle::parse::tcp::{TcpFlags, TcpSegment};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::damaged;

const FILES: [&[u8]; 5] = [
    include_bytes!("../data/decode/sensors_gzip.form"),
    include_bytes!("../data/decode/sensors_page.url"),
    include_bytes!("../data/decode/sensors_way.form"),
    include_bytes!("../data/decode/mistat.form"),
    include_bytes!("../data/decode/uploads.pcap"),
];

fn events() -> impl Strategy<Value = Vec<Value>> {
    let event = (any::<String>(), any::<String>(), any::<i64>());
    let event = event.prop_map(|(name, value, time)| {
        json!({"distinct_id": value, "type": "track", "event": name, "time": time,
               "properties": {name: [time, {"x": value}]}})
    });
    prop::collection::vec(event, 1..6)
}

/// As the SDK for apps packs them, or as that for pages does.
fn form(events: &[Value], is_gzip: bool) -> Vec<u8> {
    let json = Value::from(events).to_string().into_bytes();
    let bytes = if is_gzip {
        let level = flate2::Compression::default();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
        encoder.write_all(&json).unwrap();
        encoder.finish().unwrap()
    } else {
        json
    };
    let data = data_encoding::BASE64.encode(&bytes);
    let data = data
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3d");
    let mode = if is_gzip { "gzip=1&" } else { "" };
    format!("{mode}data_list={data}").into_bytes()
}

fn whole(upload: &Upload) -> Vec<Value> {
    let Content::Events {
        events,
        left_out: 0,
    } = &upload.content
    else {
        panic!("{upload:?}");
    };
    events.iter().map(|event| event.whole.clone()).collect()
}

/// Everything that is said of a file, and that no terminal obeys any of it.
fn told(file: &[u8], json: bool) -> String {
    let mut decoding = Decoding::new(json);
    let mut out = Vec::new();
    let ended = decoding.read(file, &mut out);
    decoding.sum_up(&mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let out = anstream::adapter::strip_str(&out).to_string();
    let error = ended.err().map(|error| format!("{error:#}"));
    let said = format!("{out}{}", error.unwrap_or_default());
    let is_obeyed = |c: char| c.is_control() && c != '\n';
    assert!(!said.contains(is_obeyed), "{said:?}");
    let summary = &decoding.summary;
    assert!(summary.encrypted + summary.damaged <= summary.uploads);
    assert!(summary.uploads <= summary.requests);
    said
}

proptest! {
    #[test]
    fn what_was_packed_is_unpacked(events in events(), is_gzip: bool) {
        let request = Request { body: form(&events, is_gzip), ..Request::default() };
        prop_assert_eq!(whole(&Upload::of(&request).unwrap()), events);
    }

    /// Requests one after the other on a connection, in segments that come late and twice.
    #[test]
    fn requests_come_through_however_they_are_sent(
        uploads in prop::collection::vec((events(), any::<bool>()), 1..4),
        start: u32,
        size in 1_usize..400,
        is_chunked: bool,
        shuffle in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut stream = Vec::new();
        for (events, is_gzip) in &uploads {
            let body = form(events, *is_gzip);
            let head = "POST /sa HTTP/1.1\r\nHost: a.example\r\n";
            if is_chunked {
                write!(stream, "{head}Transfer-Encoding: chunked\r\n\r\n").unwrap();
                for chunk in body.chunks(100) {
                    write!(stream, "{:x}\r\n", chunk.len()).unwrap();
                    stream.extend([chunk, b"\r\n"].concat());
                }
                stream.extend(b"0\r\n\r\n");
            } else {
                write!(stream, "{head}Content-Length: {}\r\n\r\n", body.len()).unwrap();
                stream.extend(body);
            }
        }
        let first = start.wrapping_add(1);
        let mut segments: Vec<(u32, &[u8])> = Vec::new();
        for (at, piece) in stream.chunks(size).enumerate() {
            let offset = u32::try_from(at * size).unwrap();
            segments.push((first.wrapping_add(offset), piece));
        }
        for at in &shuffle {
            // Neighbours swap, and one comes again.
            let at = at.index(segments.len());
            let next = (at + 1).min(segments.len() - 1);
            segments.swap(at, next);
            segments.push(segments[at]);
        }
        let flow = FlowKey {
            protocol: Protocol::Tcp,
            local: SocketAddr::from(([10, 0, 0, 2], 4000)),
            remote: SocketAddr::from(([192, 0, 2, 1], 80)),
        };
        let segment = |sequence, flags, payload| TcpSegment {
            source_port: 4000,
            destination_port: 80,
            sequence,
            acknowledgment: 0,
            flags,
            payload,
        };
        let mut streams = Streams::default();
        let mut requests = Vec::new();
        let captured = Captured::default;
        let syn = segment(start, TcpFlags::SYN, b"");
        streams.segment(flow, &syn, captured(), &mut |it| requests.push(it));
        for (sequence, piece) in segments {
            let data = segment(sequence, TcpFlags::ACK, piece);
            streams.segment(flow, &data, captured(), &mut |it| requests.push(it));
        }
        streams.finish(&mut |it| requests.push(it));
        let read: Vec<_> = requests.iter().map(|it| whole(&Upload::of(it).unwrap())).collect();
        let sent: Vec<_> = uploads.into_iter().map(|(events, _)| events).collect();
        prop_assert_eq!(read, sent);
    }

    #[test]
    fn any_bytes_are_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..600), json: bool) {
        told(&bytes, json);
    }

    #[test]
    fn what_is_nearly_an_upload_is_an_answer(
        file in prop::sample::select(&FILES[..])
            .prop_flat_map(|file| damaged(Just(file.to_vec()))),
        json: bool,
    ) {
        told(&file, json);
    }
}
