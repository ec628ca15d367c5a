//! When `packages.list` has changed. The system server writes it under another name and renames it,
//! so the folder is watched; nothing is polled.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::watch::at;

/// An installation changes the list several times.
const SETTLED: Duration = Duration::from_millis(500);
/// But no longer than this after the first change.
const UNSETTLED: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Changes(Inotify);

impl AsRawFd for Changes {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// The folder of the list.
#[derive(Debug)]
pub(super) struct PackageWatch {
    folder: Option<AsyncFd<Changes>>,
    name: OsString,
    settled_at: Option<Instant>,
    /// When the list is read at the latest.
    latest_at: Option<Instant>,
}

impl PackageWatch {
    /// Begins to watch for `list`. Where its folder is not there, as off Android, it does not
    /// change; that the folder cannot be watched otherwise is said.
    pub(super) fn start(list: &Path) -> Self {
        let folder = list.parent().filter(|folder| folder.is_dir());
        let watched = folder.and_then(|folder| {
            watch(folder)
                .inspect_err(|error| log::warn!("cannot watch {}: {error}", folder.display()))
                .ok()
        });
        Self {
            folder: watched,
            name: list.file_name().unwrap_or_default().to_owned(),
            settled_at: None,
            latest_at: None,
        }
    }

    /// Waits until the list has changed and is still. May be dropped and called again.
    pub(super) async fn changed(&mut self) {
        loop {
            let settled_at = self.settled_at;
            tokio::select! {
                () = at(settled_at) => {
                    (self.settled_at, self.latest_at) = (None, None);
                    return;
                }
                is_named = named(self.folder.as_ref(), &self.name) => if is_named {
                    let now = Instant::now();
                    let latest = *self.latest_at.get_or_insert(now + UNSETTLED);
                    self.settled_at = Some(latest.min(now + SETTLED));
                }
            }
        }
    }
}

#[allow(
    unsafe_code,
    reason = "tokio takes descriptors of other kinds in no other way"
)]
fn watch(folder: &Path) -> std::io::Result<AsyncFd<Changes>> {
    let changes = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let events = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE;
    changes.add_watch(folder, events)?;
    // SAFETY: the descriptor is the one of `changes`, open and the same until that is dropped, which
    // the result owns and gives to nobody to be changed.
    Ok(unsafe { AsyncFd::register(Changes(changes)) }?)
}

/// Waits for changes in the folder; whether the list was among them, or may have been.
async fn named(folder: Option<&AsyncFd<Changes>>, name: &OsString) -> bool {
    let Some(folder) = folder else {
        return std::future::pending().await;
    };
    let Ok(mut ready) = folder.readable().await else {
        return std::future::pending().await;
    };
    match folder.get_ref().0.read_events() {
        Ok(events) => events.iter().any(|event| {
            let is_lost = event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
            is_lost || event.name.as_ref() == Some(name)
        }),
        Err(_) => {
            ready.clear_ready();
            false
        }
    }
}
