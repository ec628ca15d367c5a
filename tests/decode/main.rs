//! `muzzle decode` on what Java's own classes made and sent (tests/data/decode), whole, in other
//! wrappings, and damaged.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod captures;
mod damage;
#[path = "../replay/write.rs"]
mod write;

use std::process::{Command, Stdio};

use muzzle::cli::decode::{Decoding, Summary};
use serde_json::{Value, json};

const GZIP: &[u8] = include_bytes!("../data/decode/sensors_gzip.form");
const PAGES: &[u8] = include_bytes!("../data/decode/sensors_pages.form");
const PAGE: &[u8] = include_bytes!("../data/decode/sensors_page.url");
const STORED: &[u8] = include_bytes!("../data/decode/sensors_stored.form");
const WAY: &[u8] = include_bytes!("../data/decode/sensors_way.form");
const MI_STAT: &[u8] = include_bytes!("../data/decode/mistat.form");
const ONE_TRACK: &[u8] = include_bytes!("../data/decode/onetrack.body");

/// What came of a file.
struct Told {
    text: String,
    error: Option<String>,
    summary: Summary,
}

fn decode(file: &[u8], json: bool) -> Told {
    let mut decoding = Decoding::new(json);
    let mut out = Vec::new();
    let ended = decoding.read(file, &mut out);
    if !json {
        decoding.sum_up(&mut out).unwrap();
    }
    Told {
        text: anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string(),
        error: ended.err().map(|error| format!("{error:#}")),
        summary: decoding.summary,
    }
}

/// The uploads in a file that can be read to its end.
fn uploads(file: &[u8]) -> Vec<Value> {
    let told = decode(file, true);
    assert_eq!(told.error, None);
    let lines = told.text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn only(file: &[u8]) -> Value {
    let [upload] = <[Value; 1]>::try_from(uploads(file)).unwrap();
    upload
}

/// Names of the events of an upload.
fn names(upload: &Value) -> Vec<&str> {
    let events = upload["events"].as_array().unwrap().iter();
    events
        .map(|event| event["name"].as_str().unwrap())
        .collect()
}

/// `field=value (what it tells)` of each event.
fn identifying(upload: &Value) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let events = upload["events"].as_array().unwrap().iter();
    let fields = events.flat_map(|event| event["identifying"].as_array().unwrap());
    let tell = |it: &Value| {
        let [name, value, identity] = ["name", "value", "identity"].map(|key| word(&it[key]));
        format!("{name}={value} ({identity})")
    };
    fields.map(tell).collect()
}

const SENSORS: [&str; 3] = ["search", "page_load_event_finish", "profile_set"];
const SENSORS_IDENTIFYING: [&str; 9] = [
    "anonymous_id=5f1c9f0e-made-up (user)",
    "distinct_id=5f1c9f0e-made-up (user)",
    "identities.$identity_android_id=9774d56d682e549c (device)",
    "imei=490154203237518 (hardware)",
    "oaid=1f3a9b0c-made-up (advertising)",
    "search_word=\u{4f60}\u{597d} caf\u{e9} (interest)",
    "distinct_id=5f1c9f0e-made-up (user)",
    "url=https://news.example.org/a-private-matter?id=1&x=%20 (interest)",
    "distinct_id=5f1c9f0e-made-up (user)",
];

#[test]
fn sensors_analytics_is_read_in_each_of_its_plain_modes() {
    for (file, mode, has_crc) in [
        (GZIP, "gzip=1: base64 of gzip of JSON", true),
        (PAGES, "base64 of JSON", false),
    ] {
        let upload = only(file);
        assert_eq!(
            (&upload["system"], &upload["mode"]),
            (&json!("sensors-analytics"), &json!(mode))
        );
        assert_eq!(names(&upload), SENSORS, "{mode}");
        assert_eq!(upload["events"][0]["time"], "2020-04-30T09:30:00.000Z");
        assert_eq!(
            upload["events"][0]["event"]["properties"]["$model"],
            "Redmi Note 8"
        );
        let mut told = identifying(&upload);
        told.sort_unstable();
        let mut expected = SENSORS_IDENTIFYING.map(str::to_owned);
        expected.sort_unstable();
        assert_eq!(told, expected, "{mode}");
        let crc = json!([{"name": "crc", "value": "right"}]);
        assert_eq!(upload["fields"], if has_crc { crc } else { json!([]) });
    }
    let page = only(PAGE);
    assert_eq!(page["to"], "https://sa.example.org/sa.gif");
    assert_eq!(names(&page), ["page_load_event_finish"]);
    let fields =
        json!([{"name": "project", "value": "default"}, {"name": "crc", "value": "right"}]);
    assert_eq!(page["fields"], fields);
}

#[test]
fn mi_stat_opens_with_the_key_of_its_own_fields() {
    let upload = only(MI_STAT);
    assert_eq!(upload["system"], "mi-stat");
    assert_eq!(
        names(&upload),
        ["mistat_session", "mistat_pv", "mistat_pv", "song_played"]
    );
    assert_eq!(upload["events"][3]["event"]["params"]["title"], "A Song");
    let fields = upload["fields"].as_array().unwrap();
    let device = fields
        .iter()
        .find(|field| field["name"] == "device_id")
        .unwrap();
    assert_eq!(device["identity"], "hardware");
    let told = decode(MI_STAT, false).text;
    assert!(
        told.contains("pages                      MainActivity, Album\n"),
        "{told}"
    );
    // Another device's key does not open it.
    let changed = String::from_utf8(MI_STAT.to_vec()).unwrap();
    let changed = changed.replace("app_id=1000271", "app_id=1000272");
    let upload = only(changed.as_bytes());
    assert_eq!(
        (&upload["status"], &upload["events"]),
        (&json!("damaged"), &json!([]))
    );
}

#[test]
fn what_is_encrypted_is_named_and_not_guessed_at() {
    for (file, mode) in [
        (STORED, "gzip=9: encrypted when it was stored, 2 payloads"),
        (WAY, "gzip=13: encrypted for the way, 2 payloads"),
    ] {
        let upload = only(file);
        assert_eq!(
            (&upload["status"], &upload["mode"]),
            (&json!("encrypted"), &json!(mode))
        );
        assert!(upload["why"].as_str().unwrap().contains("private key"));
    }
    let requests = [
        (
            "tracking.intl.miui.com",
            "/track/v4",
            "one-track",
            ONE_TRACK,
        ),
        (
            "data.mistat.intl.xiaomi.com",
            "/mistats/v3",
            "mi-stat",
            b"ai=1&p=AbCd&sid=x",
        ),
    ];
    for (host, path, system, body) in requests {
        let upload = only(&post(host, path, "", body));
        assert_eq!(
            (&upload["status"], &upload["system"]),
            (&json!("encrypted"), &json!(system))
        );
        assert!(
            upload["why"]
                .as_str()
                .unwrap()
                .contains("not in the upload")
        );
        assert_eq!(upload["to"], format!("{host}{path}"));
    }
}

/// An HTTP request as text.
fn post(host: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// `data_list` of a form, as it stands there.
fn data_list(form: &[u8]) -> &str {
    let form = str::from_utf8(form).unwrap();
    form.split("data_list=").nth(1).unwrap()
}

#[test]
fn the_same_is_read_out_of_whatever_was_copied() {
    let form = str::from_utf8(GZIP).unwrap();
    let url = "https://sa.example.org/sa?project=p";
    let data = data_list(GZIP);
    let bare = data
        .replace("%2B", "+")
        .replace("%2F", "/")
        .replace("%3D", "=");
    let lines: Vec<_> = bare
        .as_bytes()
        .chunks(76)
        .map(|it| str::from_utf8(it).unwrap())
        .collect();
    for (what, text) in [
        ("the body of a request", format!("{form}\n")),
        ("the body of a request", format!("data_list={bare}&gzip=1")),
        (
            "HTTP requests",
            String::from_utf8(post("sa.example.org", "/sa", "", GZIP)).unwrap(),
        ),
        ("base64", bare.clone()),
        ("base64", format!("  {data}\n")),
        ("base64", lines.join("\n")),
        (
            "curl commands",
            format!("curl '{url}' -H 'accept: */*' --data-raw '{form}' --compressed"),
        ),
        (
            "curl commands",
            format!("curl \"{url}\" \\\n  -d \"{form}\""),
        ),
        (
            "curl commands",
            format!(
                "curl --url {url} --data=$'{}'",
                form.replace('&', "\\u0026")
            ),
        ),
        ("URLs", format!("{url}&gzip=1&data_list={data}\n")),
    ] {
        let told = decode(text.as_bytes(), true);
        assert_eq!((told.summary.input, told.error), (what, None), "{text}");
        let upload: Value = serde_json::from_str(&told.text).unwrap();
        assert_eq!(names(&upload), SENSORS, "{text}");
    }
    // Unpacked by somebody else.
    let events = only(PAGES)["events"].clone();
    let events = events
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["event"].clone());
    let whole = Value::Array(events.collect());
    for text in [whole.to_string(), whole[0].to_string()] {
        assert_eq!(names(&only(text.as_bytes()))[0], "search");
    }
}

#[test]
fn a_har_file_is_read_with_its_bodies_in_any_form() {
    let base64 = data_encoding::BASE64.encode(GZIP);
    let list = data_list(GZIP)
        .replace("%2B", "+")
        .replace("%2F", "/")
        .replace("%3D", "=");
    let params = json!([{"name": "gzip", "value": "1"}, {"name": "data_list", "value": list}]);
    let entry = |post: Value| {
        json!({
            "startedDateTime": "2024-02-29T12:34:56.789Z", "time": 1,
            "request": {
                "method": "POST", "url": "https://sa.api.intl.miui.com/sa?project=p",
                "httpVersion": "h2", "headers": [{"name": "X", "value": "y"}], "postData": post,
            },
            "response": {"status": 200, "content": {"text": "x".repeat(1000)}},
        })
    };
    let mut entries = vec![
        entry(json!({"mimeType": "", "text": str::from_utf8(GZIP).unwrap()})),
        entry(json!({"mimeType": "", "text": base64, "encoding": "base64"})),
        entry(json!({"mimeType": "", "params": params})),
    ];
    entries.push(json!({"request": {"method": "GET", "url": "https://www.example.org/"}}));
    let har = json!({"log": {"version": "1.2", "creator": {}, "entries": entries}});
    let har = serde_json::to_string_pretty(&har).unwrap();
    let told = decode(har.as_bytes(), true);
    assert_eq!((told.error, told.summary.input), (None, "HAR"));
    assert_eq!((told.summary.requests, told.summary.uploads), (4, 3));
    for line in told.text.lines() {
        let upload: Value = serde_json::from_str(line).unwrap();
        assert_eq!(names(&upload), SENSORS);
        assert_eq!(upload["time"], "2024-02-29T12:34:56.789Z");
        assert_eq!(upload["to"], "https://sa.api.intl.miui.com/sa");
    }
    let cut = decode(&har.as_bytes()[..har.len() / 2], true);
    assert!(
        cut.error
            .unwrap()
            .starts_with("it is no whole HAR file: EOF while parsing")
    );
}

#[test]
fn the_end_sums_up_who_it_is() {
    let told = decode(GZIP, false).text;
    let at = told.find("What tells who this is").unwrap();
    for line in [
        "who uses it            distinct_id          5f1c9f0e-made-up  in 3 of 3 events",
        "hardware number        imei                 490154203237518  in 1 of 3 events",
        "advertising id         oaid                 1f3a9b0c-made-up  in 1 of 3 events",
    ] {
        assert!(told[at..].contains(line), "{told}");
    }
    assert!(told.contains("! imei                       490154203237518  <- hardware number"));
}

fn muzzle(arguments: &[&str], input: Stdio) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muzzle"));
    let command = command.arg("decode").args(arguments).env("TZ", "UTC");
    command.stdin(input).output().unwrap()
}

#[test]
fn the_program_reads_files_and_standard_input() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/decode/sensors_gzip.form"
    );
    let file = || Stdio::from(std::fs::File::open(path).unwrap());
    let named = muzzle(&[path], Stdio::null());
    for output in [&named, &muzzle(&[], file()), &muzzle(&["-"], file())] {
        assert!(output.status.success());
        assert_eq!(output.stdout, named.stdout);
        let text = str::from_utf8(&output.stdout).unwrap();
        assert!(
            text.contains("  2020-04-30 09:30:00.000  search (track)\n"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
        let notes = str::from_utf8(&output.stderr).unwrap();
        let expected = "the body of a request: 1 requests, 1 uploads of telemetry (0 encrypted, 0 \
                        damaged), 3 events\n";
        assert_eq!(notes, expected);
    }
    let missing = muzzle(&["/nonexistent/file"], Stdio::null());
    assert_eq!(missing.status.code(), Some(1));
    let nothing = muzzle(&[], Stdio::null());
    assert_eq!(nothing.status.code(), Some(1));
    let told = str::from_utf8(&nothing.stderr).unwrap();
    assert_eq!(told, "muzzle: standard input: there is nothing to decode\n");
}
