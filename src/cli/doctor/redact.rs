//! Takes out of foreign text what could tell one owner from another. Pure.
//!
//! What is taken out becomes a placeholder (`v4-public-1`, `NAME-2`), the same one wherever the
//! same thing stands, so that the structure stays visible. Where something could be either, it is
//! taken out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Options of iptables whose argument is free text, or may hold addresses in a form that cannot
/// be read.
const FREE_TEXT: [&str; 7] = [
    "--comment ",
    "--string ",
    "--hex-string ",
    "--bytecode ",
    "--log-prefix ",
    "--nflog-prefix ",
    "--ulog-prefix ",
];
/// Ends of file names that otherwise look like domain names of two labels.
const FILE_SUFFIXES: [&str; 7] = ["toml", "log", "lock", "gz", "conf", "list", "sock"];
/// Digits from which on a number may be an IMEI (14 without its check digit), IMSI or ICCID.
const LONG_NUMBER: usize = 14;
/// Hexadecimal digits from which on a word may be an Android ID (16).
const LONG_HEX: usize = 16;
/// Shorter known values would be found everywhere.
const SHORTEST_SECRET: usize = 4;

/// Redacts the texts of one bundle.
pub struct Redactor<'a> {
    /// Whether everybody may know that a phone looked up this name (lower case).
    is_public_name: &'a dyn Fn(&str) -> bool,
    /// Identifying values known beforehand, in lower case, with what they are.
    secrets: Vec<(String, &'static str)>,
    placeholders: HashMap<(&'static str, String), usize>,
    counts: HashMap<&'static str, usize>,
}

impl std::fmt::Debug for Redactor<'_> {
    /// Without what it knows.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Redactor").finish_non_exhaustive()
    }
}

/// What stands at one place of a text: how many bytes it takes, and what takes its place.
type Found = Option<(usize, String)>;

impl<'a> Redactor<'a> {
    /// Lets the names pass that `is_public_name`.
    pub fn new(is_public_name: &'a dyn Fn(&str) -> bool) -> Self {
        Self {
            is_public_name,
            secrets: Vec::new(),
            placeholders: HashMap::new(),
            counts: HashMap::new(),
        }
    }

    /// Takes out `value` wherever it stands, in either case; `kind` names the placeholder. Values
    /// of less than four bytes are passed over.
    pub fn hide(&mut self, kind: &'static str, value: &str) {
        let value = value.trim();
        if value.len() >= SHORTEST_SECRET {
            self.secrets.push((value.to_ascii_lowercase(), kind));
        }
    }

    /// `text` without what identifies, and without control characters other than line ends and
    /// tabulators.
    pub fn text(&mut self, text: &str) -> String {
        // What a terminal would obey stays out, before anything else is looked at.
        let is_harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
        let text = text.replace(|c| !is_harmless(c), "?");
        let lines: Vec<_> = text.split('\n').map(|line| self.line(line)).collect();
        lines.join("\n")
    }

    /// A name that was looked up: as it is where everybody may know it.
    fn name(&mut self, name: &str) -> String {
        let lower = name.to_lowercase();
        if (self.is_public_name)(&lower) {
            return name.to_owned();
        }
        self.placeholder("NAME", lower)
    }

    /// What takes the place of an address that stands as `written`: itself, where many phones
    /// have or use the same.
    fn address(&mut self, address: impl Into<IpAddr>, written: &str) -> String {
        // `::ffff:192.0.2.1` is an IPv4 address.
        let address = address.into().to_canonical();
        match identifies(address) {
            Some(kind) => self.placeholder(kind, address.to_string()),
            None => written.to_owned(),
        }
    }

    fn placeholder(&mut self, kind: &'static str, value: String) -> String {
        let number = *self.placeholders.entry((kind, value)).or_insert_with(|| {
            let count = self.counts.entry(kind).or_default();
            *count += 1;
            *count
        });
        format!("{kind}-{number}")
    }

    fn line(&mut self, line: &str) -> String {
        let line = &self.without_secrets(line)[..];
        let is_rule = line.starts_with("-A ") || line.starts_with(['[', ':']);
        // What Muzzle itself compares packets with is no secret.
        let is_own = is_rule && line.contains("-A muzzle_");
        let mut out = String::with_capacity(line.len());
        let (mut at, mut before) = (0, ' ');
        while let Some(first) = line[at..].chars().next() {
            let rest = &line[at..];
            let argument = is_rule.then(|| self.argument(rest, before, is_own));
            let found = argument
                .flatten()
                .or_else(|| self.word(rest, before))
                .or_else(|| self.digits(rest, before))
                .or_else(|| self.colons(rest, before))
                .or_else(|| self.dotted(rest, before));
            if let Some((length, text)) = found {
                out.push_str(&text);
                before = rest[..length].chars().next_back().unwrap_or(before);
                at += length;
            } else {
                out.push(first);
                before = first;
                at += first.len_utf8();
            }
        }
        out
    }

    /// `line` without the values known beforehand.
    fn without_secrets(&mut self, line: &str) -> String {
        let mut line = line.to_owned();
        for (secret, kind) in self.secrets.clone() {
            let placeholder = self.placeholder(kind, secret.clone());
            let mut from = 0;
            // Lower-casing ASCII moves no byte.
            while let Some(at) = line.to_ascii_lowercase()[from..].find(&secret) {
                let at = from + at;
                line.replace_range(at..at + secret.len(), &placeholder);
                from = at + placeholder.len();
            }
        }
        line
    }

    /// Counters, free text and what packets are compared with, in a rule as iptables-save prints
    /// it.
    fn argument(&mut self, rest: &str, before: char, is_own: bool) -> Found {
        if let Some(counters) = rest.strip_prefix('[').and_then(|it| it.split_once(']')) {
            let (packets, bytes) = counters.0.split_once(':').unwrap_or_default();
            // An address and a port in hex may look the same (`50306030:0035`); but no packet is
            // of no bytes, and no counter begins with 0.
            let number = |text: &str| {
                let is_plain = text == "0" || !text.starts_with(['0', '+']);
                text.parse::<u64>().ok().filter(|_| is_plain)
            };
            if let (Some(packets), Some(bytes)) = (number(packets), number(bytes))
                && packets <= bytes
            {
                let length = counters.0.len() + 2;
                return Some((length, rest[..length].to_owned()));
            }
        }
        if before != ' ' {
            return None;
        }
        if let Some(after) = rest.strip_prefix("--u32 ") {
            let length = argument_length(after);
            let text = if is_own {
                after[..length].to_owned()
            } else {
                self.constants(&after[..length])
            };
            return Some((6 + length, format!("--u32 {text}")));
        }
        let option = FREE_TEXT.iter().find(|option| rest.starts_with(**option));
        let option = option.copied().unwrap_or_default();
        let after = &rest[option.len()..];
        if option.is_empty() && !rest.starts_with('"') {
            return None;
        }
        let length = argument_length(after);
        let text = self.placeholder("TEXT", after[..length].to_owned());
        Some((option.len() + length, format!("{option}{text}")))
    }

    /// A u32 expression: constants may be addresses, but for small ones and masks. What is not as
    /// iptables-save prints it is told not at all.
    fn constants(&mut self, expression: &str) -> String {
        let is_operator = |c| matches!(c, '&' | '<' | '>' | '=' | ',' | ':' | '@' | '!' | '"');
        let mut words = expression.split(is_operator).filter(|it| !it.is_empty());
        let is_number = |word: &str| {
            let digits = word.strip_prefix("0x").unwrap_or_default();
            (1..=8).contains(&digits.len()) && hex_digits(digits) == digits.len()
        };
        if !words.all(is_number) || expression.contains("::") {
            return self.placeholder("TEXT", expression.to_owned());
        }
        let mut out = String::new();
        let mut parts = expression.split("0x");
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let length = hex_digits(part);
            let value = u32::from_str_radix(&part[..length], 16).unwrap_or(u32::MAX / 3);
            let is_mask = (!value).wrapping_add(1) & !value == 0;
            if value <= 0xffff || is_mask {
                out.push_str("0x");
                out.push_str(&part[..length]);
            } else {
                out.push_str(&self.placeholder("value", part[..length].to_owned()));
            }
            out.push_str(&part[length..]);
        }
        out
    }

    /// Account names and domain names.
    fn word(&mut self, rest: &str, before: char) -> Found {
        let belongs = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | '+');
        if before.is_alphanumeric()
            || before == '_'
            || !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
        {
            return None;
        }
        let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        let token = rest[..end].trim_end_matches(['.', '-', '+', '@', '_']);
        let text = if token.contains('@') && token.contains('.') {
            self.placeholder("account", token.to_lowercase())
        } else if is_name(token) {
            self.name(token)
        } else {
            return None;
        };
        Some((token.len(), text))
    }

    /// Words of hexadecimal digits: addresses as `/proc/net` writes them, long numbers, ids.
    fn digits(&mut self, rest: &str, before: char) -> Found {
        let length = hex_digits(rest);
        if length == 0 || before.is_ascii_hexdigit() {
            return None;
        }
        let (word, after) = rest.split_at(length);
        let decimal = word.bytes().take_while(u8::is_ascii_digit).count();
        let has_port = after
            .strip_prefix(':')
            .is_some_and(|it| hex_digits(it) == 4);
        let text = match length {
            32 => self.address(from_words(word, has_port)?, word),
            8 if has_port => {
                let address = u32::from_str_radix(word, 16).ok()?;
                self.address(Ipv4Addr::from(address.to_ne_bytes()), word)
            }
            // A number behind 0x or in a name, and a mask of /proc/net/route.
            8 if before.is_alphanumeric() || before == '_' => return None,
            8 if word.bytes().all(|it| matches!(it, b'0' | b'F')) => return None,
            8 => self.placeholder("hex", word.to_ascii_lowercase()),
            LONG_HEX.. => self.placeholder("hex", word.to_ascii_lowercase()),
            _ if decimal >= LONG_NUMBER => {
                let number = word[..decimal].to_owned();
                return Some((decimal, self.placeholder("number", number)));
            }
            _ => return None,
        };
        Some((length, text))
    }

    /// MAC and IPv6 addresses.
    fn colons(&mut self, rest: &str, before: char) -> Found {
        if before.is_ascii_hexdigit() {
            return None;
        }
        if let Some(length) = mac_length(rest) {
            let mac = rest[..length].to_ascii_lowercase().replace('-', ":");
            return Some((length, self.placeholder("mac", mac)));
        }
        let belongs = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
        let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        // The longest text of an address has 45 bytes.
        let lengths = (2..=end.min(45)).rev();
        for length in
            lengths.filter(|&it| rest[..it].bytes().filter(|b| *b == b':').count() > 1)
        {
            let (text, after) = rest.split_at(length);
            // In the middle of a group. Behind a colon it may go on: what is there is none's.
            let is_cut = text.ends_with(|c: char| c.is_ascii_hexdigit())
                && after.starts_with(|c: char| c.is_ascii_hexdigit());
            if let (false, Ok(address)) = (is_cut, text.parse::<Ipv6Addr>()) {
                return Some((length, self.address(address, text)));
            }
        }
        None
    }

    /// IPv4 addresses and whatever else has numbers between dots.
    fn dotted(&mut self, rest: &str, before: char) -> Found {
        if before.is_ascii_digit() || !rest.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let run = &rest[..end];
        let run = run.split("..").next().unwrap_or(run).trim_end_matches('.');
        let groups = run.split('.').count();
        let text = match (groups, run.parse::<Ipv4Addr>()) {
            (4, Ok(address)) => self.address(address, run),
            (..4, _) => run.to_owned(),
            _ => self.placeholder("number", run.to_owned()),
        };
        Some((run.len(), text))
    }
}

/// What kind of address it is, where it may tell phones or owners apart. Free to be seen are those
/// that are the same everywhere, private IPv4 ones, masks, and the public resolvers of the large
/// providers.
fn identifies(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            let is_shared = a == 100 && b & 0xc0 == 64;
            let is_protocol = [a, b, c] == [192, 0, 0];
            let is_free = address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || is_shared
                || is_protocol
                || a == 0
                || a >= 224
                || RESOLVERS_V4.contains(&address.octets());
            (!is_free).then_some("v4-public")
        }
        IpAddr::V6(address) => {
            let segments = address.segments();
            // What follows the prefix may be made from the MAC address, or drawn once for all.
            let bare = segments[1..7] == [0; 6];
            match segments[0] {
                0 if bare && segments[7] <= 1 => None,
                0x2000 if bare && segments[7] == 0 => None,
                0x64 if segments[1] == 0xff9b && segments[2..] == [0; 6] => None,
                0xfc00..=0xffff if bare => None,
                0xfc00..=0xfdff => Some("v6-local"),
                0xfe80..=0xfebf => Some("v6-link"),
                0xff00.. => Some("v6-multicast"),
                _ => Some("v6-public"),
            }
        }
    }
}

/// Google, Cloudflare, Quad9, 114DNS, AliDNS, DNSPod.
const RESOLVERS_V4: [[u8; 4]; 8] = [
    [8, 8, 8, 8],
    [8, 8, 4, 4],
    [1, 1, 1, 1],
    [1, 0, 0, 1],
    [9, 9, 9, 9],
    [114, 114, 114, 114],
    [223, 5, 5, 5],
    [119, 29, 29, 29],
];

/// An IPv6 address of 32 digits: of 32-bit words in the machine's byte order, as
/// `/proc/net/udp6` writes it before a port, else byte by byte as `/proc/net/if_inet6` does.
fn from_words(word: &str, has_port: bool) -> Option<Ipv6Addr> {
    let mut bytes = u128::from_str_radix(word, 16).ok()?.to_be_bytes();
    if has_port && cfg!(target_endian = "little") {
        bytes.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    }
    Some(bytes.into())
}

/// Whether `token` is a domain name (or the name of a package, which looks the same), not a file's
/// or a version.
fn is_name(token: &str) -> bool {
    let mut labels = token.split('.').skip(1);
    let is_file = token
        .split_once('.')
        .is_some_and(|(_, suffix)| FILE_SUFFIXES.contains(&suffix));
    !is_file && labels.any(|it| it.chars().count() > 1 && it.starts_with(char::is_alphabetic))
}

fn hex_digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_hexdigit).count()
}

/// The length of six or more pairs of hexadecimal digits with the same separator between them.
fn mac_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let separator = *bytes.get(2).filter(|it| matches!(it, b':' | b'-'))?;
    let is_pair = |at: usize| hex_digits(text.get(at..).unwrap_or_default()) == 2;
    let mut length = 0;
    let mut pairs = 0;
    while is_pair(length) {
        pairs += 1;
        length += 2;
        if bytes.get(length) != Some(&separator) || !is_pair(length + 1) {
            break;
        }
        length += 1;
    }
    (pairs >= 6).then_some(length)
}

/// The length of an argument as iptables-save writes it: a word, or a quoted text in which
/// backslashes protect.
fn argument_length(text: &str) -> usize {
    if !text.starts_with('"') {
        return text.find(' ').unwrap_or(text.len());
    }
    let mut protected = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !protected => return at + 1,
            '\\' if !protected => protected = true,
            _ => protected = false,
        }
    }
    text.len()
}
