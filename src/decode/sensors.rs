//! Sensors Analytics: `data_list` of the SDKs for apps, `data` of those for web pages. From
//! sensorsdata/sa-sdk-android (`AnalyticsMessages`, `SADataHelper`, `EncryptDataOperation`) and
//! sensorsdata/sa-sdk-javascript.

use data_encoding::BASE64_NOPAD;
use serde_json::Value;

use super::{Content, Event, Field, Form, Request, System, Upload, flatten, gzip, json, text};

/// Fields of the form that are the data or its packing.
const CARRIERS: [&str; 4] = ["data", "data_list", "gzip", "crc"];
/// Members of an event that are told beside the event's fields, not among them.
const TOLD: [&str; 3] = ["event", "type", "time"];

const NEEDED: &str = "the AES key in `ekey`, which only the collector's private key (RSA or EC) \
                      opens; nobody else can read it";

/// Reads an upload of this format.
pub(super) fn read(request: &Request) -> Option<Upload> {
    let body = Form::read(&request.body);
    let query = Form::read(request.query.as_bytes());
    let value = |name| body.value(name).or_else(|| query.value(name));
    let (list, data) = (value("data_list"), value("data"));
    if let Some(packed_data) = list.or(data) {
        let upload = packed(packed_data, &body, &query);
        // Others call a field so too: the path or the fields beside it tell, or what is in it.
        let last = request.path.rsplit('/').next().unwrap_or_default();
        let is_alone = list.is_some() && last.is_empty();
        let is_marked = matches!(last, "sa" | "sa.gif") || is_alone || value("crc").is_some();
        return (is_marked || is_telling(&upload.content)).then_some(upload);
    }
    let whole = serde_json::from_slice(&request.body).ok()?;
    plain(whole)
}

/// Base64 alone, as somebody may have cut it out of a form. `None` where it holds no events.
pub(super) fn read_base64(text: &str) -> Option<Upload> {
    // It may still be percent-encoded.
    let form = Form::read(format!("data={text}").as_bytes());
    let upload = packed(form.value("data")?, &form, &Form::default());
    is_telling(&upload.content).then_some(upload)
}

/// Whether the content says by itself that it is of this format.
fn is_telling(content: &Content) -> bool {
    match content {
        Content::Events { events, .. } => events.iter().any(|event| is_event(&event.whole)),
        Content::Encrypted(_) => true,
        Content::Damaged(_) => false,
    }
}

/// Events that somebody else has unpacked.
fn plain(whole: Value) -> Option<Upload> {
    let first = whole.get(0).unwrap_or(&whole);
    (is_event(first) || is_encrypted(first)).then(|| Upload {
        system: System::SensorsAnalytics,
        mode: "JSON".into(),
        fields: Vec::new(),
        content: content(whole),
    })
}

/// Others have a `distinct_id` too, but not these types.
fn is_event(value: &Value) -> bool {
    let kind = text(value, "type").unwrap_or_default();
    let is_known = ["track", "profile_", "item_"]
        .iter()
        .any(|it| kind.starts_with(it));
    is_known && (value.get("distinct_id").or(value.get("item_id"))).is_some()
}

/// An event that was encrypted when it was stored or sent (`EncryptDataOperation`).
fn is_encrypted(value: &Value) -> bool {
    value.get("ekey").is_some() && (value.get("payloads").or(value.get("payload"))).is_some()
}

/// The value of `data` or `data_list`, by what the other fields say of it.
fn packed(data: &str, body: &Form, query: &Form) -> Upload {
    let beside = |name| body.value(name).or_else(|| query.value(name));
    let (mode, content) = match beside("gzip") {
        Some("1") => unpacked("gzip=1: ", data, Some(true)),
        Some("0") => unpacked("gzip=0: ", data, Some(false)),
        None => unpacked("", data, None),
        Some("9") => encrypted("gzip=9: encrypted when it was stored", data),
        Some("13") => encrypted("gzip=13: encrypted for the way", data),
        Some(other) => {
            let problem = format!("gzip={other} is not known; known are 0, 1, 9 and 13");
            (format!("gzip={other}"), Content::Damaged(problem))
        }
    };
    let mut fields: Vec<_> = body
        .iter()
        .chain(query.iter())
        .filter(|(name, value)| !CARRIERS.contains(name) && !value.is_empty())
        .map(|(name, value)| Field::new(name, value))
        .collect();
    // Pages write `ext=crc=<n>`.
    let extension = beside("ext").and_then(|it| it.strip_prefix("crc="));
    if let Some(said) = beside("crc").or(extension) {
        let is_right = said == java_hash(data).to_string();
        let told = if is_right {
            "right"
        } else {
            "wrong: something was lost or changed"
        };
        fields.retain(|field| field.name != "ext");
        fields.push(Field::new("crc", told));
    }
    Upload {
        system: System::SensorsAnalytics,
        mode,
        fields,
        content,
    }
}

/// Base64 of JSON, or of gzip of JSON where `is_gzip`; where the form does not say, the data do.
fn unpacked(said: &str, data: &str, is_gzip: Option<bool>) -> (String, Content) {
    let damaged =
        |mode: &str, problem: String| (format!("{said}{mode}"), Content::Damaged(problem));
    let Some(bytes) = base64(data) else {
        return damaged("base64", "no whole base64".into());
    };
    let is_gzip = is_gzip.unwrap_or_else(|| gzip::is_gzip(&bytes));
    let (mode, bytes) = if is_gzip {
        let mode = "base64 of gzip of JSON";
        match gzip::unpack(&bytes) {
            Ok(bytes) => (mode, bytes),
            Err(error) => return damaged(mode, error.to_string()),
        }
    } else {
        ("base64 of JSON", bytes)
    };
    match json(&bytes) {
        Ok(whole) => (format!("{said}{mode}"), content(whole)),
        Err(problem) => damaged(mode, problem),
    }
}

/// How many events there are can be told, and no more.
fn encrypted(mode: &str, data: &str) -> (String, Content) {
    let Ok(Value::Array(items)) = json(data.as_bytes()) else {
        return (
            mode.into(),
            Content::Damaged("no JSON array of encrypted events".into()),
        );
    };
    let payloads = |item: &Value| {
        item.get("payloads")
            .and_then(Value::as_array)
            .map_or(1, Vec::len)
    };
    let count: usize = items.iter().map(payloads).sum();
    (
        format!("{mode}, {count} payloads"),
        Content::Encrypted(NEEDED),
    )
}

/// What is in the JSON: events, or events that are encrypted one by one.
fn content(whole: Value) -> Content {
    let items = match whole {
        Value::Array(items) => items,
        one => vec![one],
    };
    if items.iter().any(is_encrypted) {
        return Content::Encrypted(NEEDED);
    }
    Content::events(items.into_iter().map(event))
}

fn event(whole: Value) -> Event {
    let mut fields = Vec::new();
    if let Some(members) = whole.as_object() {
        for (name, value) in members {
            // The properties are what an event is about: they go without the name of their object.
            let shown = if name == "properties" { "" } else { name };
            if !TOLD.contains(&name.as_str()) {
                flatten(shown, value, &mut fields);
            }
        }
    } else {
        flatten("", &whole, &mut fields);
    }
    let kind = text(&whole, "type").unwrap_or_default();
    Event {
        // Profiles and items have a type only.
        name: text(&whole, "event").unwrap_or(kind).to_owned(),
        kind: kind.to_owned(),
        unix_millis: whole.get("time").and_then(Value::as_i64),
        whole,
        fields,
    }
}

/// Base64 in either alphabet, in any number of lines, with or without its padding. A `+` that was
/// not percent-encoded has become a blank in the form.
fn base64(text: &str) -> Option<Vec<u8>> {
    let bytes = text
        .trim()
        .bytes()
        .filter(|byte| !matches!(byte, b'\r' | b'\n' | b'\t'));
    let standard = bytes.map(|byte| match byte {
        b' ' | b'-' => b'+',
        b'_' => b'/',
        byte => byte,
    });
    let standard: Vec<u8> = standard.collect();
    let padding = standard
        .iter()
        .rev()
        .take_while(|byte| **byte == b'=')
        .count();
    let digits = standard.get(..standard.len() - padding)?;
    (!digits.is_empty()).then(|| BASE64_NOPAD.decode(digits).ok())?
}

/// `String.hashCode` of Java, which is what `crc` is.
fn java_hash(text: &str) -> i32 {
    let units = text.encode_utf16();
    units.fold(0, |hash: i32, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}
