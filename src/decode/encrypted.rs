//! Uploads that only their collector can read: OneTrack and Mi Stat 3.x, told by where they go.
//! From AndroDesk/File_Manager_V5.0.2.3@11b93bb8 (`com/xiaomi/onetrack/b`, `com/xiaomi/stat/c`).

use super::{Content, Field, Form, Request, System, Upload};

const ONE_TRACK: &str = "the AES key that this installation got from /track/key_get, which the \
                         app keeps; it is not in the upload";
const MI_STAT_3: &str = "the AES key that this installation and the collector agreed on under \
                         /mistats/v3's RSA key (/key_get); it is not in the upload";

/// Names the upload of such a format.
pub(super) fn read(request: &Request) -> Option<Upload> {
    let path = request.path.as_str();
    let has_header = |name| request.header(name).is_some();
    let is_one_track = path.starts_with("/track/v") && request.host().contains("tracking")
        || has_header("ot_sid") && has_header("ot_protocol");
    let (system, mode, needed) = if is_one_track {
        let mode = "encrypted: AES-ECB of gzip of JSON";
        (System::OneTrack, mode, ONE_TRACK)
    } else if path.ends_with("/mistats/v3") {
        let mode = "version 3, encrypted: AES of gzip of JSON";
        (System::MiStat, mode, MI_STAT_3)
    } else {
        return None;
    };
    let headers = request
        .headers
        .iter()
        .filter(|(name, _)| name.starts_with("ot_"));
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_str()));
    let form = Form::read(&request.body);
    // The field `p` is the payload; OneTrack's body is nothing else.
    let fields = form
        .iter()
        .filter(|(name, _)| system == System::MiStat && *name != "p");
    let fields = headers.chain(fields).filter(|(_, value)| !value.is_empty());
    Some(Upload {
        system,
        mode: mode.into(),
        fields: fields
            .map(|(name, value)| Field::new(name, value))
            .collect(),
        content: Content::Encrypted(needed),
    })
}
