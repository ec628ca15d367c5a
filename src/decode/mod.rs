//! What was uploaded, in plain text: for `muzzle decode`. Pure: bytes in, [`Upload`]s out.
//!
//! [`Request`]s come from HTTP streams ([`http`], [`streams`]), from HAR files ([`har`]), and from
//! what people paste ([`pasted`]); [`Upload::of`] tells which of them are telemetry, and reads them.
//! What is encrypted for the collector alone is named and not guessed at.

#![forbid(unsafe_code)]

mod encrypted;
mod form;
pub mod gzip;
pub mod har;
pub mod http;
mod identity;
mod mistat;
pub mod pasted;
mod printable;
mod sensors;
pub mod streams;

use serde::Serialize;
use serde_json::Value;

pub use form::Form;
pub use identity::Identity;
pub use printable::{printable, printable_json};

/// Events of one upload that are taken apart; SDKs send 50 to 500.
const MAX_EVENTS: usize = 10_000;
/// Fields of one event, and of all events of an upload, from which on no more are looked at.
const MAX_FIELDS: usize = 100_000;
/// How long the names of objects around a field may become in its name.
const MAX_PATH_BYTES: usize = 256;

/// A request, as far as it was captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `POST`, for one; empty where only a body is there.
    pub method: String,
    /// Scheme and authority, as in `http://data.mistat.xiaomi.com`, or the authority alone; empty
    /// where neither is known.
    pub origin: String,
    /// Path without query; empty where it is not known.
    pub path: String,
    /// What follows the `?`.
    pub query: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, as it was before it was packed for the way.
    pub body: Vec<u8>,
    /// Why the body is not what was sent, where it is not: it cannot be unpacked, or is cut.
    pub damage: Option<String>,
    /// When it was captured, in milliseconds since 1970-01-01 UTC.
    pub unix_millis: Option<u64>,
    /// Who sent it, where the capture says so.
    pub app: Option<String>,
}

impl Request {
    /// A request for `url`, with or without scheme and host.
    #[must_use]
    pub fn to(method: &str, url: &str) -> Self {
        let path_at = match url.find("://") {
            Some(scheme) => {
                let after = url.get(scheme + 3..).unwrap_or_default();
                after
                    .find(['/', '?', '#'])
                    .map_or(url.len(), |at| scheme + 3 + at)
            }
            None => 0,
        };
        let (origin, target) = url.split_at(path_at);
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method: method.to_owned(),
            origin: origin.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            ..Self::default()
        }
    }

    /// Where it went, without the query, which may be as long as an upload.
    #[must_use]
    pub fn target(&self) -> String {
        format!("{}{}", self.origin, self.path)
    }

    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(known, _)| known == name);
        header.map(|(_, value)| value.as_str())
    }

    /// The host without its port.
    fn host(&self) -> &str {
        let origin = self.origin.as_str();
        let authority = origin.split_once("://").map_or(origin, |(_, host)| host);
        authority.split(':').next().unwrap_or_default()
    }

    /// Whose uploads go to such a path.
    fn system(&self) -> Option<System> {
        let mut parts = self.path.rsplit('/');
        match (parts.next()?, parts.next()?) {
            ("sa" | "sa.gif", _) => Some(System::SensorsAnalytics),
            ("v2", "mistats") => Some(System::MiStat),
            _ => None,
        }
    }

    /// Takes the packing off the body that the header tells. Where it is already off, as in many
    /// HAR files, nothing changes.
    fn unpack(&mut self) {
        let encoding = self.header("content-encoding").unwrap_or_default();
        let is_packed = encoding.eq_ignore_ascii_case("gzip") && gzip::is_gzip(&self.body);
        if is_packed {
            match gzip::unpack(&self.body) {
                Ok(body) => self.body = body,
                Err(error) => self.damage = Some(format!("Content-Encoding gzip: {error}")),
            }
        }
    }
}

/// Whose format an upload has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Sensors Analytics (Sensors Data).
    SensorsAnalytics,
    /// Mi Stat (Xiaomi).
    MiStat,
    /// OneTrack, which MIUI Analytics sends (Xiaomi).
    OneTrack,
}

impl System {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SensorsAnalytics => "Sensors Analytics",
            Self::MiStat => "Mi Stat",
            Self::OneTrack => "OneTrack",
        }
    }
}

/// An upload, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Upload {
    /// Whose format it has.
    pub system: System,
    /// How it is packed, in words.
    pub mode: String,
    /// What the form says beside the data, where it is worth a look.
    pub fields: Vec<Field>,
    /// The data.
    pub content: Content,
}

/// What is in an upload.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// It is plain.
    Events {
        /// The first ones.
        events: Vec<Event>,
        /// How many more there are, beyond what is taken apart.
        left_out: usize,
    },
    /// It is encrypted, and the key is not in it. What would be needed to read it.
    Encrypted(&'static str),
    /// It is not what its format demands. What is wrong with it.
    Damaged(String),
}

impl Content {
    /// Takes events as they are made, up to the limits.
    fn events(all: impl IntoIterator<Item = Event>) -> Self {
        let mut all = all.into_iter();
        let (mut events, mut fields) = (Vec::new(), 0);
        while events.len() < MAX_EVENTS && fields < MAX_FIELDS {
            let Some(event) = all.next() else {
                break;
            };
            fields += event.fields.len();
            events.push(event);
        }
        let left_out = all.count();
        Self::Events { events, left_out }
    }
}

impl Upload {
    /// Reads the upload in a request; `None` where it is no telemetry that is known.
    #[must_use]
    pub fn of(request: &Request) -> Option<Self> {
        let read = encrypted::read(request)
            .or_else(|| mistat::read(request))
            .or_else(|| sensors::read(request));
        let Some(damage) = &request.damage else {
            return read;
        };
        // Of a body that is not whole, what tells its format may be what is missing.
        let mut upload = read.or_else(|| {
            Some(Self {
                system: request.system()?,
                mode: "told by its path".into(),
                fields: Vec::new(),
                content: Content::Damaged(String::new()),
            })
        })?;
        if matches!(upload.content, Content::Damaged(_)) {
            upload.content = Content::Damaged(damage.clone());
        }
        Some(upload)
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened: `search`, for one.
    pub name: String,
    /// What kind of event its format calls it.
    pub kind: String,
    /// When it happened by the phone's clock, in milliseconds since 1970-01-01 UTC.
    pub unix_millis: Option<i64>,
    /// All of it, as it was sent.
    pub whole: Value,
    /// What it says, without name, kind and time.
    pub fields: Vec<Field>,
}

/// A name and a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Where in the event it stands, the names of the objects around it before it.
    pub name: String,
    /// Its value as text.
    pub value: String,
    /// What it tells of the person, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
}

impl Field {
    fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        let identity = Identity::of(&name, &value);
        Self {
            name,
            value,
            identity,
        }
    }
}

/// The scalars in `value`, each under the names that lead to it. The JSON reader bounds how deep
/// it goes.
fn flatten(name: &str, value: &Value, fields: &mut Vec<Field>) {
    let below = |part: &str| match name {
        "" => part.to_owned(),
        // The same long name around many fields would be written as often.
        name if name.len() > MAX_PATH_BYTES => format!("\u{2026}.{part}"),
        name => format!("{name}.{part}"),
    };
    match value {
        _ if fields.len() >= MAX_FIELDS => {}
        Value::Object(members) => {
            for (member, value) in members {
                flatten(&below(member), value, fields);
            }
        }
        Value::Array(items) if items.iter().any(|it| it.is_object() || it.is_array()) => {
            for (at, item) in items.iter().enumerate() {
                flatten(&below(&at.to_string()), item, fields);
            }
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(scalar).collect();
            fields.push(Field::new(name, items.join(", ")));
        }
        value => fields.push(Field::new(name, scalar(value))),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The text of a member that is there as text.
fn text<'v>(object: &'v Value, member: &str) -> Option<&'v str> {
    object.get(member).and_then(Value::as_str)
}

/// Reads JSON.
///
/// # Errors
/// In words. JSON that goes deeper than 128 levels is refused too.
fn json(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("no JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, origin, path, query) in [
            (
                "https://a.example/sa?project=x&y",
                "https://a.example",
                "/sa",
                "project=x&y",
            ),
            ("http://a.example:8106", "http://a.example:8106", "", ""),
            ("http://a.example?x#y", "http://a.example", "", "x"),
            ("/sa.gif?data=1", "", "/sa.gif", "data=1"),
            ("", "", "", ""),
            ("://", "://", "", ""),
        ] {
            let request = Request::to("GET", url);
            assert_eq!(
                (&request.origin[..], &request.path[..], &request.query[..]),
                (origin, path, query),
                "{url}"
            );
        }
    }

    #[test]
    fn json_becomes_fields_with_their_paths() {
        let value =
            serde_json::json!({"a": {"$b": [1, "x"], "c": [{"d": null}, [true]]}, "e": 1.5});
        let mut fields = Vec::new();
        flatten("", &value, &mut fields);
        let told: Vec<_> = fields
            .iter()
            .map(|it| format!("{}={}", it.name, it.value))
            .collect();
        assert_eq!(told, ["a.$b=1, x", "a.c.0.d=null", "a.c.1=true", "e=1.5"]);
    }
}
