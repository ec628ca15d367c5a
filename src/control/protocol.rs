//! What is said over the control socket.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::choices::Change;
use crate::config::HotspotClients;
use crate::decide::Action;
use crate::inspect::Checked;
use crate::record::{CounterValues, Record};

/// Version of this protocol. A change that an older client would misread raises it.
pub const VERSION: u32 = 1;
/// Longest request line in bytes; longer ones are refused.
pub const MAX_REQUEST_BYTES: u64 = 4096;

/// A line from the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`].
    pub v: u32,
    /// What is asked for.
    #[serde(flatten)]
    pub call: Call,
}

/// What a client may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "kebab-case")]
pub enum Call {
    /// How the daemon is. Answered by one [`Body::Status`].
    Status,
    /// Read config, catalogue and packages again. Answered by [`Body::Done`] or [`Body::Error`].
    Reload,
    /// Change what is decided by command. Answered by [`Body::Changed`] or [`Body::Error`].
    Change(Change),
    /// Write what is not in the history yet. Answered by [`Body::Done`] when it is, or by
    /// [`Body::Error`].
    Flush,
    /// Records. Answered by [`Body::Record`] lines, oldest first, and then, unless `follow`,
    /// [`Body::Done`].
    Log {
        /// How many of the newest records to begin with.
        recent: usize,
        /// Whether to go on with each new record.
        follow: bool,
    },
}

/// A line from the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// [`VERSION`].
    pub v: u32,
    /// What is said.
    #[serde(flatten)]
    pub body: Body,
}

/// What the daemon may say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// How the daemon is.
    Status(Box<Status>),
    /// One record of the log.
    Record(Arc<Record>),
    /// A change of what is decided by command is in force and on the disk.
    Changed(Box<Changed>),
    /// The follower was too slow: this many records were left out.
    Missed(u64),
    /// The call is done; a sentence for the user, perhaps empty.
    Done(String),
    /// The call failed; why, and what to do.
    Error(String),
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// A sentence for the user.
    pub done: String,
    /// Connections that were ended, because they are refused from now on.
    pub open_ended: u64,
    /// What is decided now about the name or address that it was about; absent for a pause.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub now: Option<Checked>,
    /// Whether that is as it was asked for.
    pub as_asked: bool,
}

impl Changed {
    /// With what was `wanted` for the name or address, where something was.
    #[must_use]
    pub fn new(
        done: String,
        open_ended: u64,
        now: Option<Checked>,
        wanted: Option<Action>,
    ) -> Self {
        let as_asked = match (&now, wanted) {
            (Some(checked), Some(action)) => checked.is(action),
            _ => true,
        };
        Self {
            done,
            open_ended,
            now,
            as_asked,
        }
    }
}

/// How the daemon is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of Muzzle.
    pub version: String,
    /// Process id of the supervisor, which is the one to send signals to.
    pub pid: u32,
    /// How often the supervisor had to start the worker again.
    pub restarts: u32,
    /// From the phone's boot to the first packet decided on, in milliseconds, time asleep
    /// included; absent while there was none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_verdict_after_boot_millis: Option<u64>,
    /// Since when it runs: milliseconds since 1970-01-01 UTC.
    pub since_unix_millis: u64,
    /// `enforce` or `observe`.
    pub mode: String,
    /// `careful`, `standard` or `strict`.
    pub preset: String,
    /// The config file in force.
    pub config: String,
    /// Entries of the catalogue.
    pub endpoints: usize,
    /// The user's own rules.
    pub rules: usize,
    /// What was decided by command and has not ended.
    #[serde(default)]
    pub choices: usize,
    /// Everything passes until then: seconds since 1970-01-01 UTC. Absent while nothing is paused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub paused_until_unix_seconds: Option<i64>,
    /// Packages known by name.
    pub packages: usize,
    /// Connections that were ended because they were open when rules came into force that refuse
    /// them.
    pub open_ended: u64,
    /// What is done about hotspot clients here, which may be less than the config asks for.
    #[serde(default)]
    pub hotspot: HotspotClients,
    /// Each queue.
    pub queues: Vec<QueueStatus>,
    /// What is kept on the disk; absent where nothing is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub history: Option<HistoryStatus>,
    /// What does not work here and what follows from it.
    pub warnings: Vec<String>,
}

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// `dns` or `connections`.
    pub purpose: String,
    /// Queue number.
    pub number: u16,
    /// Packets the kernel let pass unseen, because the queue or its buffer was full; absent
    /// where the rules' counters cannot be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub passed_unseen: Option<u64>,
    /// What became of the packets that were seen.
    pub counters: CounterValues,
}

/// What is kept on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryStatus {
    /// The folder.
    pub folder: PathBuf,
    /// Records in full.
    pub records: u64,
    /// The time of the oldest, in milliseconds since 1970-01-01 UTC; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since_unix_millis: Option<u64>,
    /// Bytes of all its files.
    pub bytes: u64,
    /// How often something was written in the last hour.
    pub writes_last_hour: usize,
    /// Bytes that wait to be written.
    pub pending_bytes: usize,
    /// Records that were lost because the disk took none for too long.
    pub lost: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_what_the_documentation_says() {
        let line = r#"{"v":1,"call":"log","recent":20,"follow":true}"#;
        let request: Request = serde_json::from_str(line).unwrap();
        assert_eq!(
            request,
            Request {
                v: 1,
                call: Call::Log {
                    recent: 20,
                    follow: true
                }
            }
        );
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
    }

    #[test]
    fn replies_carry_one_body_by_name() {
        let reply = Reply {
            v: 1,
            body: Body::Done("reloaded".into()),
        };
        let line = r#"{"v":1,"done":"reloaded"}"#;
        assert_eq!(serde_json::to_string(&reply).unwrap(), line);
        assert_eq!(serde_json::from_str::<Reply>(line).unwrap(), reply);
    }
}
