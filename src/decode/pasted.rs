//! What people have at hand: a request as text, a URL, a `curl` command, the body of a form, or
//! the data cut out of it.

use super::http::{cut_request, request};
use super::{Request, Upload, sensors};
use crate::parse::Detected;
use crate::parse::http::starts_request;

/// What a text was taken for.
#[derive(Clone, Debug, PartialEq)]
pub enum Pasted {
    /// HTTP requests, one after the other.
    Requests(Vec<Request>),
    /// `curl` commands, as developer tools copy them.
    Curl(Vec<Request>),
    /// URLs, one a line.
    Urls(Vec<Request>),
    /// The body of a request.
    Body(Request),
    /// Base64.
    Base64(Box<Upload>),
}

impl Pasted {
    /// For people.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Requests(_) => "HTTP requests",
            Self::Curl(_) => "curl commands",
            Self::Urls(_) => "URLs",
            Self::Body(_) => "the body of a request",
            Self::Base64(_) => "base64",
        }
    }
}

/// Tells what `bytes` are, by what they start with.
#[must_use]
pub fn read(bytes: &[u8]) -> Pasted {
    let text = str::from_utf8(bytes).unwrap_or_default().trim();
    if starts_request(bytes) {
        return Pasted::Requests(requests(bytes));
    }
    if text.starts_with("curl ") {
        return Pasted::Curl(commands(text).iter().map(|it| curl(it)).collect());
    }
    let is_url = |line: &str| line.starts_with("http://") || line.starts_with("https://");
    if is_url(text) {
        let lines = text.lines().map(str::trim).filter(|line| is_url(line));
        return Pasted::Urls(lines.map(|url| Request::to("GET", url)).collect());
    }
    if let Some(upload) = sensors::read_base64(text) {
        return Pasted::Base64(Box::new(upload));
    }
    // Editors end a file with a line end; forms and JSON do not need theirs.
    let body = if text.is_empty() {
        bytes
    } else {
        text.as_bytes()
    };
    Pasted::Body(Request {
        body: body.to_vec(),
        ..Request::default()
    })
}

fn requests(bytes: &[u8]) -> Vec<Request> {
    let (mut all, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        match request(rest) {
            Detected::Found((request, taken)) => {
                all.push(request);
                // Between pasted requests there may be empty lines.
                rest = rest.get(taken..).unwrap_or_default().trim_ascii_start();
            }
            _ => break,
        }
    }
    // Of the last one, there may be more or less than its head says.
    all.extend(cut_request(rest));
    all
}

/// Commands of a shell, each as its words (POSIX, Shell Command Language, section 2.2). `$'...'` is
/// read too, and nothing is expanded.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                word.extend(chars.by_ref().take_while(|c| *c != '\''));
            }
            '$' if chars.peek() == Some(&'\'') => {
                chars.next();
                ansi_quoted(&mut chars, word.get_or_insert_default());
            }
            '"' => {
                let word = word.get_or_insert_default();
                while let Some(c) = chars.next().filter(|c| *c != '"') {
                    match (c, chars.peek()) {
                        ('\\', Some(&next @ ('"' | '\\' | '$' | '`'))) => {
                            word.push(next);
                            chars.next();
                        }
                        _ => word.push(c),
                    }
                }
            }
            // A line end after it goes on with the command.
            '\\' => match chars.next() {
                Some('\n') | None => {}
                Some('\r') => drop(chars.next_if_eq(&'\n')),
                Some(next) => word.get_or_insert_default().push(next),
            },
            _ if c.is_whitespace() || matches!(c, ';' | '&') => {
                let command = commands.last_mut();
                if let Some((command, word)) = command.zip(word.take()) {
                    command.push(word);
                }
                if matches!(c, '\n' | ';' | '&') {
                    commands.push(Vec::new());
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    if let Some((command, word)) = commands.last_mut().zip(word) {
        command.push(word);
    }
    commands.retain(|words| words.first().is_some_and(|word| word == "curl"));
    commands
}

/// The rest of `$'...'`, as far as developer tools write it: `\n`, `\uXXXX` and the like.
fn ansi_quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, word: &mut String) {
    while let Some(c) = chars.next().filter(|c| *c != '\'') {
        if c != '\\' {
            word.push(c);
            continue;
        }
        let digits = match chars.next() {
            Some('n') => {
                word.push('\n');
                continue;
            }
            Some('r') => {
                word.push('\r');
                continue;
            }
            Some('t') => {
                word.push('\t');
                continue;
            }
            Some('u') => 4,
            Some('x') => 2,
            Some(other) => {
                word.push(other);
                continue;
            }
            None => return,
        };
        let mut code = 0;
        for _ in 0..digits {
            let digit = chars.next_if(char::is_ascii_hexdigit);
            code = digit
                .and_then(|it| it.to_digit(16))
                .map_or(code, |it| code * 16 + it);
        }
        word.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
}

/// The request that a `curl` command makes.
fn curl(words: &[String]) -> Request {
    let (mut url, mut method) = (String::new(), None);
    let (mut headers, mut body): (Vec<(String, String)>, Vec<String>) = Default::default();
    let mut damage = None;
    let mut words = words.iter().skip(1).map(String::as_str);
    while let Some(word) = words.next() {
        // `--data=x` and `-dx` are the same as with a blank between.
        let (option, joined) = match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(value)),
            _ => match word.split_at_checked(2) {
                Some((option @ ("-d" | "-H" | "-X"), value)) if !value.is_empty() => {
                    (option, Some(value))
                }
                _ => (word, None),
            },
        };
        let mut value = || joined.or_else(|| words.next()).unwrap_or_default();
        match option {
            "-d" | "--data" | "--data-ascii" | "--data-binary" => {
                let value = value();
                if let Some(file) = value.strip_prefix('@') {
                    damage = Some(format!("its body is in the file {file}: decode that"));
                } else {
                    body.push(value.to_owned());
                }
            }
            "--data-raw" => body.push(value().to_owned()),
            "-H" | "--header" => {
                let (name, value) = value().split_once(':').unwrap_or_default();
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            "-X" | "--request" => method = Some(value().to_owned()),
            "--url" => value().clone_into(&mut url),
            _ if word.contains("://") && !word.starts_with('-') => word.clone_into(&mut url),
            _ => {}
        }
    }
    let usual = if body.is_empty() && damage.is_none() {
        "GET"
    } else {
        "POST"
    };
    let mut request = Request::to(method.as_deref().unwrap_or(usual), &url);
    request.headers = headers;
    request.body = body.join("&").into_bytes();
    request.damage = damage;
    request
}
