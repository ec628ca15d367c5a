//! What is damaged, hostile or too large.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{GZIP, MI_STAT, PAGES, WAY, decode, only, post, uploads};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The form of an app with these events.
fn form(json: &[u8]) -> Vec<u8> {
    let data = data_encoding::BASE64URL.encode(&gzip(json));
    format!("gzip=1&data_list={data}").into_bytes()
}

/// What is told of the one upload that is damaged.
fn problem(file: &[u8]) -> String {
    let upload = only(file);
    assert_eq!(upload["status"], "damaged");
    upload["why"].as_str().unwrap().to_owned()
}

#[test]
fn every_part_of_a_form_is_an_answer() {
    for whole in [GZIP, PAGES, WAY, MI_STAT] {
        for end in 1..whole.len() {
            let told = decode(&whole[..end], true);
            let is_error = told.error.is_some();
            assert_ne!(is_error, told.summary.uploads == 1, "{end}");
        }
    }
}

#[test]
fn the_crc_tells_what_was_changed() {
    let mut changed = GZIP.to_vec();
    let at = changed.len() - 20;
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    let told = decode(&changed, false).text;
    assert!(told.contains("crc                        wrong: something was lost or changed"));
    assert!(told.contains("Damaged: it is no whole gzip."), "{told}");
}

#[test]
fn what_is_wrong_is_told() {
    for (body, expected) in [
        (
            "gzip=7&data_list=eA",
            "gzip=7 is not known; known are 0, 1, 9 and 13",
        ),
        ("gzip=1&data_list=e30", "it is no whole gzip"),
        ("data_list=%00", "no whole base64"),
        ("data_list=e3", "no whole base64"),
        (
            "data_list=ew",
            "no JSON: EOF while parsing an object at line 1 column 1",
        ),
        ("gzip=9&data_list=eA", "no JSON array of encrypted events"),
        (
            "app_id=1&app_key=2&stat_value=00",
            "app_id, app_key or device_id is missing",
        ),
        (
            "app_id=1&app_key=2&device_id=3&stat_value=0",
            "stat_value is no whole run of",
        ),
        (
            "app_id=1&app_key=2&device_id=3&stat_value=00",
            "stat_value does not open with",
        ),
    ] {
        let told = problem(body.as_bytes());
        assert!(told.starts_with(expected), "{body}: {told}");
    }
}

#[test]
fn bombs_are_not_unpacked() {
    let zeros = gzip(&vec![b' '; 32 << 20]);
    assert!(zeros.len() < 100_000);
    let data = data_encoding::BASE64URL.encode(&zeros);
    let told = problem(format!("gzip=1&data_list={data}").as_bytes());
    assert_eq!(told, "it unpacks to more than 16 MiB");
    let body = post(
        "sa.example.org",
        "/sa",
        "Content-Encoding: gzip\r\n",
        &zeros,
    );
    assert_eq!(
        problem(&body),
        "Content-Encoding gzip: it unpacks to more than 16 MiB"
    );
    // A file that is itself packed.
    let mut file = Vec::new();
    let endless = std::io::repeat(b' ').take(65 << 20);
    let mut encoder = GzEncoder::new(&mut file, Compression::fast());
    std::io::copy(&mut endless.take(65 << 20), &mut encoder).unwrap();
    encoder.finish().unwrap();
    let told = decode(&file, true).error.unwrap();
    assert!(
        told.starts_with("it is larger than 64 MiB, and no capture"),
        "{told}"
    );
}

#[test]
fn nesting_is_bounded() {
    let deep = [&b"["[..]; 100_000].concat();
    assert!(problem(&form(&deep)).contains("recursion limit exceeded"));
    let har = [&b"{\"log\":{\"entries\":"[..], &deep].concat();
    assert!(decode(&har, true).error.is_some());
}

/// Some megabytes that would become gigabytes if each field had its whole path, and more events
/// than anybody sends.
#[test]
fn fields_and_events_are_bounded() {
    let name = "n".repeat(1 << 20);
    let fields: Vec<_> = (0..200_000).map(|at| format!("\"f{at}\":1")).collect();
    let one = format!(
        "[{{\"distinct_id\":\"x\",\"type\":\"track\",\"{name}\":{{{}}}}}]",
        fields.join(",")
    );
    assert_eq!(uploads(&form(one.as_bytes())).len(), 1);
    let many = vec!["{\"distinct_id\":\"x\",\"type\":\"track\"}"; 30_000].join(",");
    let upload = only(&form(format!("[{many}]").as_bytes()));
    assert_eq!(upload["events"].as_array().unwrap().len(), 10_000);
    assert_eq!(upload["events_left_out"], 20_000);
}

#[test]
fn a_terminal_obeys_nothing_of_it() {
    let evil = "\u{1b}[2J\u{9b}31m\u{202e}moc.elgoog\u{7}\r\n";
    let events = serde_json::json!([{
        "distinct_id": evil, "type": evil, "event": evil, evil: evil,
        "properties": {evil: [evil], "url": format!("https://{evil}")},
    }]);
    let body = form(events.to_string().as_bytes());
    let target = "/\u{1b}]0;x\u{7}/sa";
    let file = post("a\u{1b}[31m", target, "", &body);
    for json in [false, true] {
        let told = decode(&file, json).text;
        let is_obeyed = |c: &char| c.is_control() && *c != '\n' || *c == '\u{202e}';
        assert_eq!(told.chars().find(is_obeyed), None, "{told:?}");
        assert!(told.contains("moc.elgoog"));
    }
    assert_eq!(only(&file)["events"][0]["event"]["distinct_id"], evil);
}

#[test]
fn what_is_nothing_that_is_known_is_told_with_what_would_be() {
    for text in [
        "hello",
        "a=1&b=2",
        "data=hello",
        "{}",
        "[1]",
        "\u{0}\u{ff}",
        "MTIz",
        "GET / HTTP/1.1\r\n\r\n",
        // Another collector's event.
        "{\"event\":\"x\",\"distinct_id\":\"y\",\"properties\":{}}",
        "curl",
    ] {
        let error = decode(text.as_bytes(), false).error.unwrap();
        assert!(
            error.contains("there is no upload of a known format in it"),
            "{text}: {error}"
        );
    }
    let told = problem(b"curl https://sa.example.org/sa --data @upload");
    assert_eq!(told, "its body is in the file upload: decode that");
    let error = decode(b"curl https://a.example.org/ --data @upload", false)
        .error
        .unwrap();
    assert!(
        error.contains("its body is in the file upload: decode that"),
        "{error}"
    );
}
