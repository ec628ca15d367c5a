//! The module's folder: root managers put a file `disable` or `remove` into it, and show the
//! description of its `module.prop`.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Files of a root manager that ask Muzzle to get out of the way.
const OFF_FLAGS: [&str; 2] = ["disable", "remove"];

/// The folder itself was deleted or moved away.
const SELF_GONE: AddWatchFlags =
    AddWatchFlags::IN_DELETE_SELF.union(AddWatchFlags::IN_MOVE_SELF);

/// The folder of the installed module, watched.
#[derive(Debug)]
pub(super) struct Module {
    folder: PathBuf,
    changes: Inotify,
    told: Option<(&'static str, String)>,
    describing: Option<Child>,
}

impl Module {
    /// Begins to watch `folder`.
    ///
    /// # Errors
    /// It is not there, or the kernel has no inotify.
    pub(super) fn watch(folder: &Path) -> nix::Result<Self> {
        let changes = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let module = Self {
            folder: folder.to_owned(),
            changes,
            told: None,
            describing: None,
        };
        module.add_watch()?;
        Ok(module)
    }

    /// Watches what is at the folder's path now.
    fn add_watch(&self) -> nix::Result<()> {
        let events = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | SELF_GONE;
        self.changes.add_watch(&self.folder, events).map(drop)
    }

    /// Whether somebody has deleted the folder.
    pub(super) fn is_gone(&self) -> bool {
        !self.folder.exists()
    }

    /// Whether the root manager wants Muzzle to run.
    pub(super) fn is_enabled(&self) -> bool {
        !OFF_FLAGS.iter().any(|flag| self.folder.join(flag).exists())
    }

    /// Takes the changes in, so that the next wait sleeps.
    pub(super) fn take_changes(&self) {
        loop {
            match self.changes.read_events() {
                // What changed is asked of the folder itself.
                Ok(events) if !events.is_empty() => {
                    if events.iter().any(|event| event.mask.intersects(SELF_GONE)) {
                        // Another may be in its place; where none is, that is asked next.
                        let _gone = self.add_watch();
                    }
                }
                Ok(_) | Err(Errno::EAGAIN) => return,
                Err(errno) => {
                    log::warn!("cannot watch {}: {errno}", self.folder.display());
                    return;
                }
            }
        }
    }

    /// Shows how Muzzle is in the module's description, through the module's own script: each
    /// root manager has another way. Does nothing where it stands there already.
    pub(super) fn describe(&mut self, state: &'static str, text: &str) {
        let script = self.folder.join("description.sh");
        let telling = (state, text.to_owned());
        if self.told.as_ref() == Some(&telling) || !script.exists() {
            return;
        }
        self.reap();
        let child = Command::new("sh")
            .arg(script)
            .args([state, text])
            .stdin(Stdio::null())
            .spawn();
        match child {
            Ok(child) => {
                self.told = Some(telling);
                self.describing = Some(child);
            }
            Err(error) => log::warn!("cannot set the module's description: {error}"),
        }
    }

    /// Lets a script that has ended go.
    pub(super) fn reap(&mut self) {
        if let Some(child) = &mut self.describing
            && !matches!(child.try_wait(), Ok(None))
        {
            self.describing = None;
        }
    }
}

impl AsFd for Module {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}
