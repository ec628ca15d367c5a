//! What only the calling thread and the commands it starts can see: a small disk, and a lock of
//! the tables that nobody else uses.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};

use super::Lab;
use super::namespace::run;

/// Where iptables has its lock.
const TABLES_LOCK: &str = "/run/xtables.lock";

/// A disk of a quarter of a MiB and a few files more than Muzzle has, in the lab's folder.
pub(crate) struct SmallDisk {
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// The lock of the lab's tables, held until it is dropped.
pub(crate) struct TablesLock {
    _held: Flock<File>,
}

impl Lab {
    /// Mounts a small disk. To be called on the thread that starts the daemon, before it does.
    pub(crate) fn small_disk(&self) -> SmallDisk {
        own_mounts();
        let path = self.folder().join("disk");
        fs::create_dir(&path).expect("the lab's folder is there");
        mount(
            &["-t", "tmpfs", "-o", "size=512k,nr_inodes=48", "disk"],
            &path,
        );
        SmallDisk { path }
    }

    /// Mounts the machine's control groups in the lab's folder; `ip netns exec` hides them
    /// elsewhere. To be called on the thread that starts the daemon, before it does.
    pub(crate) fn control_groups(&self) -> PathBuf {
        own_mounts();
        let path = self.folder().join("cgroup");
        fs::create_dir(&path).expect("the lab's folder is there");
        mount(&["-t", "cgroup2", "none"], &path);
        path
    }

    /// Gives the lab's iptables a lock of their own. To be called on the thread that starts the
    /// daemon, before it does.
    pub(crate) fn own_tables_lock(&self) {
        own_mounts();
        // The one of an earlier lab on this thread, whose file is gone.
        let _none = umount2(TABLES_LOCK, MntFlags::MNT_DETACH);
        let file = self.folder().join("xtables.lock");
        File::create(&file).expect("the lab's folder is there");
        // iptables makes it where nobody has run it yet.
        let made = File::options().create(true).append(true).open(TABLES_LOCK);
        made.expect("root may");
        mount(
            &["--bind", &file.display().to_string()],
            Path::new(TABLES_LOCK),
        );
    }

    /// Holds that lock, as another program would.
    pub(crate) fn hold_tables_lock(&self) -> TablesLock {
        let file = File::open(self.folder().join("xtables.lock")).expect("made before");
        let held = Flock::lock(file, FlockArg::LockExclusive);
        TablesLock {
            _held: held.expect("iptables lets go of it"),
        }
    }
}

impl SmallDisk {
    /// Leaves room for not a byte and not a file more.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.path.join("filling")).expect("there is room");
        while file.write_all(&[0; 1024]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
        let fillers = (0..).map(|number| self.path.join(format!("filling.{number}")));
        for filler in fillers {
            if File::create(filler).is_err() {
                return;
            }
        }
    }

    /// Makes room again.
    pub(crate) fn clear(&self) {
        for entry in fs::read_dir(&self.path).expect("it is there") {
            let path = entry.expect("it is there").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("filling") {
                fs::remove_file(path).expect("just listed");
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It goes with the thread at the latest.
        let _busy = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

/// Mounts of this thread from now on are its own and its commands'.
fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("root may");
    run(std::process::Command::new("mount").args(["--make-rprivate", "/"]));
}

fn mount(arguments: &[&str], target: &Path) {
    run(std::process::Command::new("mount")
        .args(arguments)
        .arg(target));
}
