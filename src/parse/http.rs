//! Host and path of an HTTP/1.x request (RFC 9112 section 3), from the start of a TCP stream.

use super::{Detected, DomainName};

/// Bytes looked at before the search for a host is given up.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// RFC 9110 section 9.3 and PATCH (RFC 5789), each with the space that must follow.
const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"CONNECT ",
    b"PATCH ",
    b"TRACE ",
];

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The host of the target where it has one (RFC 9112 section 3.2.2), else that of the Host
    /// header; none where that is no host name, an IP literal for one.
    pub host: Option<DomainName>,
    /// Path and query as they were sent; empty where the target has none.
    pub path: &'a [u8],
}

/// Takes what people write as the beginning of a request's path and query.
///
/// # Errors
/// What would be right, for text that no request begins with (RFC 9112 section 3.2.1).
pub fn path_start(text: &str) -> Result<Box<str>, &'static str> {
    if text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.into())
    } else {
        Err("must be what a request's path begins with, as in /sa?project=")
    }
}

/// Finds what the HTTP/1.x request at the start of `stream` is for.
///
/// `Found` as soon as the line that holds the host is whole, or the head without one.
#[must_use]
pub fn request(stream: &[u8]) -> Detected<Request<'_>> {
    let window = stream.get(..MAX_HEADER_BYTES).unwrap_or(stream);
    match find(window) {
        Detected::Incomplete if stream.len() >= MAX_HEADER_BYTES => Detected::NotPresent,
        answer => answer,
    }
}

/// Whether a stream starts with a request method. The kernel's prefilter asks the same of its
/// first four bytes (`firewall::expression`).
#[must_use]
pub fn starts_request(stream: &[u8]) -> bool {
    METHODS.iter().any(|method| stream.starts_with(method))
}

fn find(stream: &[u8]) -> Detected<Request<'_>> {
    if !starts_request(stream) {
        let more_may_come = METHODS.iter().any(|method| method.starts_with(stream));
        return if more_may_come {
            Detected::Incomplete
        } else {
            Detected::NotPresent
        };
    }
    let Some((request_line, mut rest)) = split_line(stream) else {
        return Detected::Incomplete;
    };
    let Some((method, target)) = method_and_target(request_line) else {
        return Detected::NotPresent;
    };
    if let Some((authority, path)) = target_authority(method, target) {
        let host = name_of(authority);
        return Detected::Found(Request { host, path });
    }
    let found = |host| Detected::Found(Request { host, path: target });
    while let Some((line, after)) = split_line(rest) {
        if line.is_empty() {
            return found(None);
        }
        if let Some(value) = host_value(line) {
            return found(name_of(value));
        }
        rest = after;
    }
    Detected::Incomplete
}

/// The first line without its end, and what follows it. A bare LF ends a line too (RFC 9112
/// section 2.2).
pub(crate) fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), rest.get(1..)?))
}

/// `method SP request-target SP HTTP/1.x` (RFC 9112 section 3).
pub(crate) fn method_and_target(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut words = line.split(|&byte| byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    (words.next().is_none() && version.starts_with(b"HTTP/1.")).then_some((method, target))
}

/// The authority in the target and what follows it: all of it for CONNECT, between `scheme://` and
/// the path in the absolute form; none in the origin and asterisk forms (RFC 9112 section 3.2).
pub(crate) fn target_authority<'a>(
    method: &[u8],
    target: &'a [u8],
) -> Option<(&'a [u8], &'a [u8])> {
    if method == b"CONNECT" {
        return Some((target, b""));
    }
    let scheme_bytes = target.iter().position(|&byte| !is_scheme_byte(byte))?;
    let (scheme, rest) = target.split_at_checked(scheme_bytes)?;
    let after = rest.strip_prefix(b"://")?;
    let is_end = |byte: &u8| matches!(byte, b'/' | b'?' | b'#');
    let end = after.iter().position(is_end).unwrap_or(after.len());
    let parts = after.split_at_checked(end)?;
    (!scheme.is_empty()).then_some(parts)
}

/// RFC 3986 section 3.1.
const fn is_scheme_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// The value of a Host header line. White space before the colon is no header at all (RFC 9112
/// section 5.1).
fn host_value(line: &[u8]) -> Option<&[u8]> {
    let (name, value) = line.split_at_checked(4)?;
    let value = value.strip_prefix(b":")?;
    name.eq_ignore_ascii_case(b"host")
        .then_some(value.trim_ascii())
}

/// The host of `[user@]host[:port]` (RFC 3986 section 3.2).
fn name_of(authority: &[u8]) -> Option<DomainName> {
    let host_and_port = authority.rsplit(|&byte| byte == b'@').next()?;
    let colon = host_and_port.iter().rposition(|&byte| byte == b':');
    let host = match colon.and_then(|colon| host_and_port.split_at_checked(colon)) {
        Some((host, port)) if port.iter().skip(1).all(u8::is_ascii_digit) => host,
        _ => host_and_port,
    };
    DomainName::from_ascii(host).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURL_POST: &[u8] = include_bytes!("../../tests/data/curl7_post.bin");
    const CURL_PROXY: &[u8] = include_bytes!("../../tests/data/curl7_proxy.bin");

    /// The host of a request, where it has one.
    fn host(stream: &[u8]) -> Detected<DomainName> {
        match request(stream) {
            Detected::Found(Request {
                host: Some(host), ..
            }) => Detected::Found(host),
            Detected::Found(_) | Detected::NotPresent => Detected::NotPresent,
            Detected::Incomplete => Detected::Incomplete,
        }
    }

    fn found(name: &str) -> Detected<DomainName> {
        Detected::Found(DomainName::from_text(name).unwrap())
    }

    #[test]
    fn requests_of_real_clients() {
        for request in [CURL_POST, CURL_PROXY] {
            assert_eq!(host(request), found("data.mistat.xiaomi.com"));
        }
    }

    #[test]
    fn the_host_header_in_any_writing() {
        for header in [
            "Host: sa.api.intl.miui.com",
            "HOST:SA.api.intl.miui.com",
            "host: \t sa.api.intl.miui.com. \t",
            "hOsT: sa.api.intl.miui.com:8080",
            "Host: sa.api.intl.miui.com:",
        ] {
            for end in ["\r\n", "\n"] {
                let request =
                    format!("POST /sa?x=1 HTTP/1.1{end}Accept: */*{end}{header}{end}");
                let answer = host(request.as_bytes());
                assert_eq!(answer, found("sa.api.intl.miui.com"), "{request:?}");
            }
        }
    }

    #[test]
    fn the_host_of_the_target_wins() {
        for (target, name) in [
            ("GET http://a.example/path", "a.example"),
            ("GET HTTP://user@A.example:81?query", "a.example"),
            ("OPTIONS http://a.example", "a.example"),
            ("CONNECT a.example:443", "a.example"),
            ("GET /?u=http://a.example/", "b.example"),
            ("OPTIONS *", "b.example"),
        ] {
            let request = format!("{target} HTTP/1.1\r\nHost: b.example\r\n\r\n");
            assert_eq!(host(request.as_bytes()), found(name), "{target}");
        }
    }

    #[test]
    fn the_path_is_what_follows_the_host() {
        for (line, expected) in [
            (
                "POST /sa?project=a&token=b HTTP/1.1",
                "/sa?project=a&token=b",
            ),
            ("GET http://a.example/path?x HTTP/1.1", "/path?x"),
            ("GET http://a.example HTTP/1.1", ""),
            ("GET http://a.example?x HTTP/1.1", "?x"),
            ("CONNECT a.example:443 HTTP/1.1", ""),
            ("OPTIONS * HTTP/1.1", "*"),
        ] {
            for headers in ["Host: b.example\r\n", "Host: 192.0.2.1\r\n", "\r\n"] {
                let text = format!("{line}\r\n{headers}");
                let Detected::Found(found) = request(text.as_bytes()) else {
                    panic!("{text:?}");
                };
                assert_eq!(found.path, expected.as_bytes(), "{text:?}");
            }
        }
    }

    #[test]
    fn no_host_name_is_not_present() {
        for request in [
            "GET / HTTP/1.0\r\nAccept: */*\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n",
            "GET / HTTP/1.1\r\nHost: 192.0.2.1:80\r\n",
            "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n",
            "GET / HTTP/1.1\r\nHost: a.example:http\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n",
            "GET http://192.0.2.1/ HTTP/1.1\r\nHost: b.example\r\n",
            "GET / HTTP/1.1\r\nHost : a.example\r\n\r\n",
            "GET / HTTP/1.1\r\nX-Host: a.example\r\n\r\n",
            "GET / HTTP/2.0\r\n",
            "GET /\r\n",
            "GET  / HTTP/1.1\r\n",
            "get / HTTP/1.1\r\n",
            "SSH-2.0-x\r\n",
            "\r\n",
        ] {
            assert_eq!(
                host(request.as_bytes()),
                Detected::NotPresent,
                "{request:?}"
            );
        }
    }

    #[test]
    fn until_the_line_is_whole_it_is_incomplete() {
        let request = b"DELETE / HTTP/1.1\r\nHost: a.example\r\n";
        for end in 0..request.len() {
            assert_eq!(host(&request[..end]), Detected::Incomplete, "{end} bytes");
        }
    }

    #[test]
    fn the_search_is_bounded() {
        let mut request = b"GET / HTTP/1.1\r\nCookie: ".to_vec();
        request.resize(MAX_HEADER_BYTES - 1, b'a');
        assert_eq!(host(&request), Detected::Incomplete);
        request.extend(b"a\r\nHost: a.example\r\n\r\n");
        assert_eq!(host(&request), Detected::NotPresent);
    }
}
