//! Mi Stat 2.x: the form of `com.xiaomi.mistatistic.sdk` (`RemoteDataUploadJob`, `AesUtils`,
//! `RemoteDataPackingJob`), as found in nckmml/ANXGallery@392f7a28. Its key is made of what stands
//! beside the data.

use std::fmt::Write as _;

use aes::Aes128;
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use data_encoding::HEXLOWER_PERMISSIVE;
use md5::{Digest, Md5};
use serde_json::Value;

use super::{
    Content, Event, Field, Form, Identity, Request, System, Upload, flatten, json, text,
};

const MODE: &str =
    "stat_value: AES-128-CBC of JSON, with a key of app_id, app_key and device_id";

/// Reads an upload of this format: a form with `stat_value`, or another of the same SDK.
pub(super) fn read(request: &Request) -> Option<Upload> {
    let body = Form::read(&request.body);
    let form = match body.value("app_key") {
        Some(_) => body,
        None => Form::read(request.query.as_bytes()),
    };
    let value = form.value("stat_value");
    let is_its_host = request.host().contains("mistat");
    form.value("app_id")?;
    if value.is_none() && !(is_its_host && form.value("app_key").is_some()) {
        return None;
    }
    let fields = form.iter();
    let fields = fields.filter(|(name, value)| *name != "stat_value" && !value.is_empty());
    let id_type = form.value("id_type");
    let fields = fields.map(|(name, value)| match Field::new(name, value) {
        id if name == "device_id" && is_of_hardware(id_type, value) => Field {
            identity: Some(Identity::Hardware),
            ..id
        },
        other => other,
    });
    let (mode, content) = match value {
        Some(value) => (MODE, decrypted(&form, value)),
        None => ("a form", Content::events([])),
    };
    Some(Upload {
        system: System::MiStat,
        mode: mode.into(),
        fields: fields.collect(),
        content,
    })
}

/// Whether a `device_id` is a sum over the IMEI, with the Android id and the serial number
/// (`id_type` 1) or alone (2; where there is no IMEI it is a UUID), not one that is made anew (0).
fn is_of_hardware(id_type: Option<&str>, device_id: &str) -> bool {
    let is_sum = device_id.len() >= 32 && device_id.bytes().all(|it| it.is_ascii_hexdigit());
    is_sum && matches!(id_type, Some("1" | "2"))
}

fn decrypted(form: &Form, value: &str) -> Content {
    let damaged = |problem: &str| Content::Damaged(problem.into());
    let named = ["app_id", "app_key", "device_id"].map(|name| form.value(name));
    let [Some(app_id), Some(app_key), Some(device_id)] = named else {
        return damaged("app_id, app_key or device_id is missing: they make the key");
    };
    let Ok(bytes) = HEXLOWER_PERMISSIVE.decode(value.trim().as_bytes()) else {
        return damaged("stat_value is no whole run of hexadecimal digits");
    };
    let (key, iv) = (
        seed(app_id, app_key, device_id),
        seed(device_id, app_key, app_id),
    );
    let cipher = Decryptor::<Aes128>::new(&key.into(), &iv.into());
    let plain = cipher.decrypt_padded_vec::<Pkcs7>(&bytes);
    match plain.ok().and_then(|plain| json(&plain).ok()) {
        Some(whole) => events(&whole),
        None => damaged(
            "stat_value does not open with the key of these fields: it is cut or changed, or of \
             another version",
        ),
    }
}

/// The first 16 of the upper-case hexadecimal digits of an MD5.
fn seed(first: &str, second: &str, third: &str) -> [u8; 16] {
    let sum = Md5::digest(format!("seed:{first}-{second}-{third}"));
    let mut digits = String::with_capacity(32);
    for byte in sum {
        // A String takes everything.
        let _ = write!(digits, "{byte:02X}");
    }
    digits.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// Sessions of `{startTS, endTS, content}`, each content a category with its values.
fn events(whole: &Value) -> Content {
    let is_sessions = whole.get(0).is_some_and(|it| it.get("content").is_some());
    if !is_sessions {
        // Not as this SDK packs it: all of it, then.
        return Content::events([event(&Value::Null, &Value::Null, whole)]);
    }
    Content::events(items(Some(whole)).flat_map(|session| {
        items(session.get("content")).flat_map(move |content| {
            items(content.get("values")).map(move |value| event(session, content, value))
        })
    }))
}

fn items(array: Option<&Value>) -> impl Iterator<Item = &Value> {
    array.and_then(Value::as_array).into_iter().flatten()
}

fn event(session: &Value, content: &Value, value: &Value) -> Event {
    let kind = text(content, "category").unwrap_or_default();
    let mut fields = Vec::new();
    match (value, text(content, "index")) {
        // Page views are numbers of pages, which the index names.
        (Value::String(numbers), Some(index)) => {
            fields.push(Field::new("pages", page_names(numbers, index)));
        }
        (Value::Object(members), _) => {
            for (name, value) in members.iter().filter(|(name, _)| *name != "key") {
                flatten(name, value, &mut fields);
            }
        }
        _ => flatten("value", value, &mut fields),
    }
    let time = value.get("start").or_else(|| session.get("startTS"));
    Event {
        name: text(value, "key").unwrap_or(kind).to_owned(),
        kind: kind.to_owned(),
        unix_millis: time.and_then(Value::as_i64),
        whole: value.clone(),
        fields,
    }
}

/// `1,2` with the index `Main,Settings` is `Main, Settings`. Where there are more pages than an app
/// has, the numbers stay.
fn page_names(numbers: &str, index: &str) -> String {
    const MAX_INDEX_BYTES: usize = 4096;
    const MAX_PAGES: usize = 64;
    let numbers: Vec<_> = numbers.split(',').take(MAX_PAGES + 1).collect();
    if index.len() > MAX_INDEX_BYTES || numbers.len() > MAX_PAGES {
        return numbers.join(", ");
    }
    let names: Vec<_> = index.split(',').collect();
    let name = |number: &&str| {
        let at = number.parse::<usize>().ok()?.checked_sub(1)?;
        names.get(at).copied()
    };
    let pages: Vec<_> = numbers.iter().map(|it| name(it).unwrap_or(it)).collect();
    pages.join(", ")
}
