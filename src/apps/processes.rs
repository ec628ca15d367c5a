//! Which process opened a socket, where its user id does not tell: by the control group, of which
//! Android gives each process one (system/core, `libprocessgroup`).

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::decide::{CgroupId, Uid};

/// Groups remembered; the oldest makes room.
const REMEMBERED: usize = 64;
/// Entries of a folder that are looked at: a user id has some dozens of processes.
const MAX_ENTRIES: usize = 512;
/// Folders that hold those of a user id, below where the second version of control groups is
/// mounted; in the last two since Android 15.
const PARENTS: [&str; 3] = ["", "apps", "system"];

/// The names of processes by their control groups.
#[derive(Debug)]
pub struct Processes {
    /// Where the second version of control groups is mounted.
    mount: Option<PathBuf>,
    /// Also of groups whose process could not be found: it will not be.
    known: VecDeque<(CgroupId, Option<Arc<str>>)>,
}

impl Default for Processes {
    /// Those of this machine.
    fn default() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        // Another file system may be mounted above it.
        let is_there = |it: &PathBuf| it.join("cgroup.controllers").exists();
        Self::below(mount_points(&mounts).find(is_there))
    }
}

impl Processes {
    fn below(mount: Option<PathBuf>) -> Self {
        Self {
            mount,
            known: VecDeque::with_capacity(REMEMBERED),
        }
    }

    /// The name of the process that `cgroup`, a group of `uid`, was made for; none where it has
    /// ended, or the group is not for one process.
    pub fn name(&mut self, uid: Uid, cgroup: CgroupId) -> Option<Arc<str>> {
        if let Some((_, name)) = self.known.iter().find(|(known, _)| *known == cgroup) {
            return name.clone();
        }
        let name = self.find(uid, cgroup);
        if self.known.len() == REMEMBERED {
            self.known.pop_front();
        }
        self.known.push_back((cgroup, name.clone()));
        name
    }

    fn find(&self, uid: Uid, cgroup: CgroupId) -> Option<Arc<str>> {
        let mount = self.mount.as_deref()?;
        PARENTS.iter().find_map(|parent| {
            let folder = mount.join(parent).join(format!("uid_{}", uid.0));
            let entries = fs::read_dir(folder).ok()?.take(MAX_ENTRIES);
            let its = |entry: &fs::DirEntry| entry.ino() == cgroup.0;
            let entry = entries.filter_map(Result::ok).find(its)?;
            let pid = entry
                .file_name()
                .to_str()?
                .strip_prefix("pid_")?
                .parse()
                .ok()?;
            name_of(pid, mount, &entry.path())
        })
    }
}

/// The name of process `pid`, as its command line begins, where it is in that group: another may
/// have got its number.
fn name_of(pid: u32, mount: &Path, group: &Path) -> Option<Arc<str>> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let path = group.strip_prefix(mount).ok()?;
    let line = format!("0::/{}", path.display());
    let groups = fs::read_to_string(proc.join("cgroup")).ok()?;
    if !groups.lines().any(|it| it == line) {
        return None;
    }
    let line = fs::read(proc.join("cmdline")).ok()?;
    let name = line.split(|&byte| byte == 0).next()?;
    let name = std::str::from_utf8(name).ok()?;
    (!name.is_empty()).then(|| name.into())
}

/// Where the second version of control groups is mounted, as `/proc/self/mounts` says.
fn mount_points(mounts: &str) -> impl Iterator<Item = PathBuf> {
    mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (place, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| place.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_point_is_read_from_the_kernels_list() {
        let mounts =
            "none /dev/cpuset cgroup rw 0 0\nnone /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        let found: Vec<_> = mount_points(mounts).collect();
        assert_eq!(found, [Path::new("/sys/fs/cgroup")]);
        assert_eq!(mount_points("proc /proc proc rw 0 0\n\n").count(), 0);
    }

    #[test]
    fn nobody_is_found_where_there_are_no_groups_and_that_is_remembered() {
        let mut processes = Processes::below(None);
        for number in 0..1000 {
            assert_eq!(processes.name(Uid(1000), CgroupId(number)), None);
        }
        assert_eq!(processes.known.len(), REMEMBERED);
    }
}
