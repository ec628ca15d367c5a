//! Requests in HAR files (HTTP Archive 1.2), as browsers and intercepting proxies export them.

use data_encoding::BASE64;
use serde::Deserialize;

use super::Request;

/// As much of the format as is of use; what came back is passed over.
#[derive(Debug, Deserialize)]
struct Har {
    log: Log,
}

#[derive(Debug, Deserialize)]
struct Log {
    entries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    started_date_time: String,
    request: HarRequest,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HarRequest {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<Named>,
    #[serde(default)]
    post_data: Option<PostData>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
struct PostData {
    #[serde(default)]
    text: Option<String>,
    /// Not in the standard: `base64` for bodies that are no text.
    #[serde(default)]
    encoding: Option<String>,
    /// Instead of the text, or beside it.
    #[serde(default)]
    params: Vec<Named>,
}

/// Whether a JSON document is meant to be a HAR file: an object that starts with `log`.
#[must_use]
pub fn is_har(document: &[u8]) -> bool {
    let rest = document.trim_ascii_start().strip_prefix(b"{");
    let rest = rest.map(<[u8]>::trim_ascii_start);
    rest.is_some_and(|rest| rest.starts_with(b"\"log\""))
}

/// The requests of a HAR file.
///
/// # Errors
/// It is none, or is cut short: where, in words.
pub fn requests(document: &[u8]) -> Result<Vec<Request>, serde_json::Error> {
    let har: Har = serde_json::from_slice(document)?;
    Ok(har.log.entries.into_iter().map(request).collect())
}

fn request(entry: Entry) -> Request {
    let mut request = Request::to(&entry.request.method, &entry.request.url);
    let headers = entry.request.headers.into_iter();
    let lower = |it: Named| (it.name.to_ascii_lowercase(), it.value);
    request.headers = headers.map(lower).collect();
    let time: Option<jiff::Timestamp> = entry.started_date_time.parse().ok();
    let millis = time.map(jiff::Timestamp::as_millisecond);
    request.unix_millis = millis.and_then(|millis| u64::try_from(millis).ok());
    if let Some(data) = entry.request.post_data {
        request.body = body(data).unwrap_or_else(|| {
            request.damage = Some("its postData is no whole base64".into());
            Vec::new()
        });
    }
    request.unpack();
    request
}

/// `None` where it says that it is base64 and is not.
fn body(data: PostData) -> Option<Vec<u8>> {
    let text = data.text.unwrap_or_default();
    if data.encoding.as_deref() == Some("base64") {
        return BASE64.decode(text.as_bytes()).ok();
    }
    if !text.is_empty() {
        return Some(text.into_bytes());
    }
    // Parameters are told without their percent-encoding.
    let mut body = Vec::new();
    for parameter in data.params {
        for (part, end) in [(parameter.name, b'='), (parameter.value, b'&')] {
            for byte in part.into_bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => body.push(byte),
                    byte => body.extend(format!("%{byte:02x}").into_bytes()),
                }
            }
            body.push(end);
        }
    }
    Some(body)
}
