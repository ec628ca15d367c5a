//! Whole HTTP/1.x requests (RFC 9112) at the start of a stream. `parse::http` looks at a request's
//! first lines only, which is all that a decision needs.

use super::Request;
use crate::parse::Detected;
use crate::parse::http::{method_and_target, split_line, starts_request, target_authority};

/// Longest head; servers take 8 KiB.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Longest request that is put together.
pub const MAX_REQUEST_BYTES: usize = 4 << 20;

/// The head of a request, and how its body ends.
struct Head {
    request: Request,
    bytes: usize,
    body: Length,
}

enum Length {
    Bytes(usize),
    Chunked,
}

/// How many bytes there have to be before it is worth while to look again at a stream in which the
/// request is [`Detected::Incomplete`]: each look goes through it from its start.
#[must_use]
pub fn needed_bytes(stream: &[u8]) -> usize {
    const SHORT: usize = 4096;
    match head(stream) {
        Detected::Found(Head {
            bytes,
            body: Length::Bytes(length),
            ..
        }) => bytes.saturating_add(length),
        _ if stream.len() < SHORT => stream.len() + 1,
        _ => stream.len() + stream.len() / 8,
    }
}

/// The request that `stream` starts with, and how many bytes it takes there.
#[must_use]
pub fn request(stream: &[u8]) -> Detected<(Request, usize)> {
    let head = match head(stream) {
        Detected::Found(head) => head,
        Detected::Incomplete => return Detected::Incomplete,
        Detected::NotPresent => return Detected::NotPresent,
    };
    let rest = stream.get(head.bytes..).unwrap_or_default();
    let (body, taken) = match head.body {
        Length::Bytes(length) if length > MAX_REQUEST_BYTES => return Detected::NotPresent,
        Length::Bytes(length) => match rest.get(..length) {
            Some(body) => (body.to_vec(), length),
            None => return Detected::Incomplete,
        },
        Length::Chunked => match chunks(rest) {
            Detected::Found(found) => found,
            Detected::Incomplete => return Detected::Incomplete,
            Detected::NotPresent => return Detected::NotPresent,
        },
    };
    let mut request = head.request;
    request.body = body;
    request.unpack();
    Detected::Found((request, head.bytes + taken))
}

/// The request that `stream` starts with, of which no more was captured: its body is what there is.
#[must_use]
pub fn cut_request(stream: &[u8]) -> Option<Request> {
    let Detected::Found(head) = head(stream) else {
        return None;
    };
    let body = stream.get(head.bytes..).unwrap_or_default().to_vec();
    let of = match head.body {
        Length::Bytes(length) => format!(" of {length}"),
        Length::Chunked => String::new(),
    };
    let damage = format!("cut: {}{of} bytes of the body are there", body.len());
    Some(Request {
        body,
        damage: Some(damage),
        ..head.request
    })
}

fn head(stream: &[u8]) -> Detected<Head> {
    let window = stream.get(..MAX_HEAD_BYTES).unwrap_or(stream);
    // Whatever is missing of so long a head will not come.
    let incomplete = || match window.len() {
        MAX_HEAD_BYTES => Detected::NotPresent,
        _ => Detected::Incomplete,
    };
    let Some((line, mut rest)) = split_line(window) else {
        return incomplete();
    };
    let Some((method, target)) = method_and_target(line).filter(|_| starts_request(line))
    else {
        return Detected::NotPresent;
    };
    let mut headers = Vec::new();
    loop {
        let Some((line, after)) = split_line(rest) else {
            return incomplete();
        };
        rest = after;
        if line.is_empty() {
            break;
        }
        let mut parts = line.splitn(2, |&byte| byte == b':');
        let (name, value) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        headers.push((lossy(name).to_ascii_lowercase(), lossy(value.trim_ascii())));
    }
    let (authority, path) = match target_authority(method, target) {
        Some((authority, path)) => (Some(lossy(authority)), path),
        None => (None, target),
    };
    let mut request = Request::to(&lossy(method), &lossy(path));
    request.headers = headers;
    let host = authority.as_deref().or(request.header("host"));
    request.origin = host.unwrap_or_default().to_owned();
    let Some(body) = body_length(&request) else {
        return Detected::NotPresent;
    };
    Detected::Found(Head {
        request,
        bytes: window.len() - rest.len(),
        body,
    })
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// RFC 9112 section 6.3; `None` where that cannot be told.
fn body_length(request: &Request) -> Option<Length> {
    let coding = request.header("transfer-encoding").unwrap_or_default();
    if coding.to_ascii_lowercase().contains("chunked") {
        return Some(Length::Chunked);
    }
    let length = request.header("content-length").unwrap_or("0");
    length.parse().ok().map(Length::Bytes)
}

/// A body in chunks (RFC 9112 section 7.1), and how many bytes it takes.
fn chunks(stream: &[u8]) -> Detected<(Vec<u8>, usize)> {
    let (mut body, mut rest) = (Vec::new(), stream);
    loop {
        let Some((line, after)) = split_line(rest) else {
            return match rest.len() {
                // No size is so long.
                0..MAX_HEAD_BYTES => Detected::Incomplete,
                _ => Detected::NotPresent,
            };
        };
        let size = line.split(|&byte| byte == b';').next().unwrap_or_default();
        let size = str::from_utf8(size.trim_ascii()).ok();
        let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
        match size {
            Some(0) => {
                rest = after;
                break;
            }
            Some(size) if size <= MAX_REQUEST_BYTES - body.len() => {
                let Some((chunk, end)) = after.split_at_checked(size) else {
                    return Detected::Incomplete;
                };
                body.extend_from_slice(chunk);
                match split_line(end) {
                    Some((b"", after)) => rest = after,
                    Some(_) => return Detected::NotPresent,
                    None if end.len() < 2 => return Detected::Incomplete,
                    None => return Detected::NotPresent,
                }
            }
            _ => return Detected::NotPresent,
        }
    }
    // Trailers, to the empty line.
    loop {
        match split_line(rest) {
            Some((line, after)) => {
                rest = after;
                if line.is_empty() {
                    return Detected::Found((body, stream.len() - rest.len()));
                }
            }
            None if rest.len() < MAX_HEAD_BYTES => return Detected::Incomplete,
            None => return Detected::NotPresent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(stream: &[u8]) -> (Request, usize) {
        match request(stream) {
            Detected::Found(found) => found,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_whole_with_its_last_byte() {
        let sized = &b"POST /sa?a=1 HTTP/1.1\r\nHost: a.example:8106\r\nX: y:z\r\n\
                       Content-Length: 5\r\n\r\nab\r\nc"[..];
        let chunked = &b"POST http://a.example:8106/sa?a=1 HTTP/1.1\r\nhost: b.example\r\nX: y:z\n\
                         Transfer-Encoding: chunked\r\n\r\n2;q=1\r\nab\r\n3\r\n\r\nc\r\n0\r\nT: 1\r\n\r\n"[..];
        for stream in [sized, chunked] {
            let followed = [stream, b"GET / HT"].concat();
            let (it, bytes) = found(&followed);
            assert_eq!(bytes, stream.len());
            assert_eq!((&it.method[..], &it.query[..]), ("POST", "a=1"));
            assert_eq!(it.target(), "a.example:8106/sa");
            assert_eq!(it.header("x"), Some("y:z"));
            assert_eq!(it.body, b"ab\r\nc");
            for end in 0..stream.len() {
                assert_eq!(request(&stream[..end]), Detected::Incomplete, "{end}");
            }
        }
    }

    #[test]
    fn what_is_no_request_is_not_waited_for() {
        for stream in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "\x16\x03\x01\r\n",
            "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        ] {
            assert_eq!(
                request(stream.as_bytes()),
                Detected::NotPresent,
                "{stream:?}"
            );
        }
    }

    #[test]
    fn a_cut_body_is_told() {
        let it = cut_request(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc").unwrap();
        assert_eq!(
            it.damage.as_deref(),
            Some("cut: 3 of 9 bytes of the body are there")
        );
        assert_eq!(cut_request(b"POST / HTTP/1.1\r\nHost: a"), None);
    }
}
