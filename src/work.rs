//! The work folder of a build: one place for everything temporary, gone when the process is, however it ends.
//!
//! An ordinary end removes it. For every other end (a crash, `kill -9`) a second process of this program, the
//! janitor, waits in a session of its own for the pipe to the first one to close, and then removes what is left.
//! Should both be killed, the next build finds the folder unlocked and sweeps it.

use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::FsFlags;
use tempfile::TempDir;

use crate::parallel::parallel;
use crate::ui::Ui;

/// The hidden first argument that makes a process of this program a janitor.
pub const JANITOR_ARGUMENT: &str = "__janitor";

/// Begins the name of every work folder.
const PREFIX: &str = "mkbase-";
/// Held locked by the build that owns the folder.
const LOCK: &str = "lock";
/// `FS_TOPDIR_FL` of `<linux/fs.h>`.
const TOP_OF_HIERARCHIES: libc::c_int = 0x0002_0000;
/// So many folders are removed at once: their threads wait for the file system, not for a core.
const REMOVERS: usize = 16;
/// How long the janitor tries again while processes of the sandbox are still dying and writing.
const PATIENCE: Duration = Duration::from_secs(10);

/// The work folder.
#[derive(Debug)]
pub struct Work {
    path: PathBuf,
    janitor: Mutex<Option<(Child, ChildStdin)>>,
    keep: bool,
    _lock: Flock<File>,
}

impl Work {
    /// Makes a work folder below the temporary folder (`TMPDIR`), and sweeps those that dead builds left there.
    pub fn new(ui: &Ui) -> Result<Work> {
        let parent = std::env::temp_dir();
        let parent = std::path::absolute(&parent).with_context(|| format!("resolving {}", parent.display()))?;
        usable(&parent)?;
        sweep(&parent, ui);
        let folder = make_folder(&parent)?;
        spread(folder.path());
        let lock = lock(folder.path())?;
        let janitor = start_janitor()?;
        let work = Work { path: folder.keep(), janitor: Mutex::new(Some(janitor)), keep: false, _lock: lock };
        work.watch(&work.path)?;
        Ok(work)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where in it a tree of many files belongs: a folder that is not there yet. Its name is no other build's, as ext4
    /// chooses the place on the disk by it.
    pub fn tree(&self) -> PathBuf {
        let own = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.path.join(format!("rootfs-{}", own.trim_start_matches(PREFIX)))
    }

    /// Another path that must not outlive the process if it dies: a staged output folder.
    pub fn watch(&self, path: &Path) -> Result<()> {
        let mut line = path.as_os_str().as_bytes().to_vec();
        if line.contains(&b'\n') {
            bail!("{} has a line break in its name", path.display());
        }
        line.push(b'\n');
        let mut janitor = self.janitor.lock().unwrap_or_else(|e| e.into_inner());
        let Some((_, pipe)) = janitor.as_mut() else { return Ok(()) };
        pipe.write_all(&line).context("telling the janitor what to remove")
    }

    /// Leaves the folder there when the process ends well or badly.
    pub fn keep(&mut self) -> Result<()> {
        self.keep = true;
        let mut janitor = self.janitor.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((mut child, _)) = janitor.take() {
            child.kill().context("stopping the janitor")?;
            child.wait().context("waiting for the janitor")?;
        }
        Ok(())
    }

    /// Removes the folder, and says so if it cannot.
    pub fn close(mut self) -> Result<()> {
        self.remove()
    }

    fn remove(&mut self) -> Result<()> {
        if self.keep || self.path.as_os_str().is_empty() {
            return Ok(());
        }
        let path = std::mem::take(&mut self.path);
        let removed = remove_tree(&path).with_context(|| format!("removing the work folder {}", path.display()));
        // The janitor goes after the folder: it has nothing left to do but to see that.
        let mut janitor = self.janitor.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((mut child, pipe)) = janitor.take() {
            drop(pipe);
            child.wait().context("waiting for the janitor")?;
        }
        removed
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("{:>12} {error:#}", "warning");
        }
    }
}

/// Removes a folder of this process with everything in it. Removing a folder makes some file systems wait (ext4: one or
/// two milliseconds each, which for a tree is longer than unpacking it), so that the folders of one depth go at once.
pub fn remove_tree(path: &Path) -> std::io::Result<()> {
    let mut depths = vec![vec![path.to_owned()]];
    while let Some(above) = depths.last().filter(|above| !above.is_empty()) {
        let inside = above.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
        let folders = inside.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        depths.push(folders.map(|entry| entry.path()).collect());
    }
    for folders in depths.iter().skip(1).rev() {
        let places: Vec<usize> = (0..folders.len()).collect();
        // What does not go here is met again below, and its error with it.
        let gone = parallel(REMOVERS, &places, |place| Ok(std::fs::remove_dir_all(&folders[place]).is_ok()));
        if gone.is_err() {
            break;
        }
    }
    std::fs::remove_dir_all(path)
}

/// A new folder in `parent`, in which files get no access list: everything in the image would inherit one, and it would
/// be packed. Nobody else can enter it, for the set-uid programs of the image are no business of the host's users.
fn make_folder(parent: &Path) -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).permissions(Permissions::from_mode(0o700));
    let folder = builder.tempdir_in(parent).with_context(|| {
        format!("making a work folder in {}; set TMPDIR to a folder you can write to", parent.display())
    })?;
    for name in ["system.posix_acl_default", "system.posix_acl_access"] {
        match xattr::remove(folder.path(), name) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ENODATA | libc::ENOTSUP)) => {
                return Err(error).with_context(|| format!("removing the access list of {}", folder.path().display()));
            }
            _ => {}
        }
    }
    Ok(folder)
}

/// Makes the lock of a work folder. Under its name it is there only once it is held: another build's sweep would take
/// the folder for a dead one's.
fn lock(folder: &Path) -> Result<Flock<File>> {
    let lock = folder.join(LOCK);
    let doing = || format!("making {}", lock.display());
    let made = lock.with_extension("new");
    let file = File::create(&made).with_context(doing)?;
    let held = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| anyhow!("locking {}: {error}", lock.display()))?;
    std::fs::rename(&made, &lock).with_context(doing)?;
    Ok(held)
}

/// This program's file, for its second processes.
pub fn own_executable() -> Result<PathBuf> {
    // Through /proc it is the running program even if its file was replaced or removed meanwhile.
    let path = PathBuf::from("/proc/self/exe");
    if path.exists() {
        Ok(path)
    } else {
        std::env::current_exe().context("finding the file of this program (is /proc mounted?)")
    }
}

/// Asks the file system to put the folders that will be made in this one far from each other and from others, as it
/// does with the homes of users (chattr(1), attribute `T`).
///
/// ext4 does not use an inode again in the first minutes after its file was removed, and looks at each such inode
/// whenever a file is made near it. Where builds follow one another, thousands of files were removed near any new
/// folder of the temporary one, and making a tree there took twenty times as long. A file system that knows no such
/// attribute does without.
pub fn spread(folder: &Path) {
    let Ok(folder) = File::open(folder) else { return };
    if let Some(flags) = attributes(&folder) {
        let flags = flags | TOP_OF_HIERARCHIES;
        // SAFETY: the descriptor is open; the kernel reads one int, whatever the type in the call's number says.
        #[allow(unsafe_code)]
        unsafe {
            libc::ioctl(folder.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags);
        }
    }
}

/// The attributes of chattr(1), ioctl_iflags(2); `None` where the file system has none.
fn attributes(file: &File) -> Option<libc::c_int> {
    let mut flags: libc::c_int = 0;
    // SAFETY: the descriptor is open; the kernel writes one int, whatever the type in the call's number says.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) };
    (result == 0).then_some(flags)
}

/// Refuses a temporary folder in which programs cannot run.
fn usable(folder: &Path) -> Result<()> {
    let stat = nix::sys::statvfs::statvfs(folder).map_err(std::io::Error::from).with_context(|| {
        format!("looking at the temporary folder {}; set TMPDIR to a folder that is there", folder.display())
    })?;
    if stat.flags().contains(FsFlags::ST_NOEXEC) {
        bail!(
            "the temporary folder {} is on a file system mounted noexec, so the programs of an image cannot run in it; \
             set TMPDIR to a folder on another one",
            folder.display()
        );
    }
    if stat.flags().contains(FsFlags::ST_RDONLY) {
        bail!("the temporary folder {} is read-only; set TMPDIR to one that can be written", folder.display());
    }
    Ok(())
}

/// Removes the work folders of builds that are dead.
fn sweep(parent: &Path, ui: &Ui) {
    let own = nix::unistd::geteuid().as_raw();
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.metadata().is_ok_and(|m| m.is_dir() && m.uid() == own);
        let Some(lock) = ours.then(|| File::open(path.join(LOCK)).ok()).flatten() else { continue };
        // The lock is held while the owner lives; it is let go only after the folder is removed.
        if Flock::lock(lock, FlockArg::LockExclusiveNonblock).is_ok() {
            match std::fs::remove_dir_all(&path) {
                // Its owner had just ended.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Ok(()) => ui.detail(format_args!("removed {}, left by a build that was killed", path.display())),
                Err(error) => {
                    ui.warn(format_args!("cannot remove {}, left by a build that was killed: {error}", path.display()))
                }
            }
        }
    }
}

fn start_janitor() -> Result<(Child, ChildStdin)> {
    let mut child = Command::new(own_executable()?)
        .arg(JANITOR_ARGUMENT)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting the janitor")?;
    let pipe = child.stdin.take().ok_or_else(|| anyhow!("the janitor has no standard input"))?;
    Ok((child, pipe))
}

/// Runs as the janitor: reads paths, a line each, and removes them when the other end of the pipe is closed.
pub fn janitor_main() -> i32 {
    // Out of the terminal's session, so that neither Ctrl-C nor a hang-up reaches it.
    if nix::unistd::setsid().is_err() {
        return 1;
    }
    let mut paths = Vec::new();
    for line in BufReader::new(std::io::stdin().lock()).split(b'\n') {
        let Ok(line) = line else { break };
        paths.push(PathBuf::from(std::ffi::OsString::from_vec(line)));
    }
    let start = Instant::now();
    for path in paths {
        while path.symlink_metadata().is_ok() && start.elapsed() < PATIENCE {
            if std::fs::remove_dir_all(&path).is_err() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::ui::Level;

    #[test]
    fn folders_of_dead_builds_go_and_those_of_living_ones_stay() {
        let parent = tempfile::tempdir().expect("a folder");
        let dead = make_folder(parent.path()).expect("a folder").keep();
        drop(lock(&dead).expect("it can be locked"));
        let foreign = parent.path().join("mkbase-notes");
        std::fs::create_dir(&foreign).expect("a folder");
        let done = AtomicBool::new(false);
        let ui = Ui::new(Level::Quiet);
        let taken = std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        sweep(parent.path(), &ui);
                    }
                });
            }
            let taken = (0..100).find(|_| {
                let living = make_folder(parent.path()).expect("a folder").keep();
                let held = lock(&living);
                std::thread::yield_now();
                // Where it is gone, that is the fault this is about.
                held.is_err() || std::fs::remove_dir_all(living).is_err()
            });
            done.store(true, Ordering::Relaxed);
            taken
        });
        assert_eq!(taken, None, "another build's sweep took the folder of a living one");
        assert!(!dead.exists() && foreign.exists());
    }

    #[test]
    fn trees_go_whole_and_links_are_not_followed() {
        let parent = tempfile::tempdir().expect("a folder");
        let (tree, kept) = (parent.path().join("tree"), parent.path().join("kept"));
        for folder in ["tree/a/b/c/d", "tree/a/e", "tree/f", "kept/inside"] {
            std::fs::create_dir_all(parent.path().join(folder)).expect("a folder");
        }
        for file in ["tree/1", "tree/a/b/2", "tree/a/b/c/d/3", "kept/inside/4"] {
            std::fs::write(parent.path().join(file), "x").expect("a file");
        }
        std::os::unix::fs::symlink(&kept, tree.join("f/link")).expect("a link");
        std::os::unix::fs::symlink(&kept, tree.join("link")).expect("a link");
        remove_tree(&tree).expect("it goes");
        assert!(!tree.exists() && kept.join("inside/4").exists());
        let error = remove_tree(&tree).expect_err("it is gone");
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    }

    #[test]
    fn folders_are_spread_where_the_file_system_can() {
        let folder = tempfile::tempdir().expect("a folder");
        spread(folder.path());
        let marked = |path: &Path| Some(attributes(&File::open(path).expect("open"))? & TOP_OF_HIERARCHIES != 0);
        let is_ext4 = nix::sys::statfs::statfs(folder.path())
            .is_ok_and(|s| s.filesystem_type() == nix::sys::statfs::EXT4_SUPER_MAGIC);
        if is_ext4 {
            assert_eq!(marked(folder.path()), Some(true));
            let inside = folder.path().join("inside");
            std::fs::create_dir(&inside).expect("made");
            assert_eq!(marked(&inside), Some(false), "a tree's own folders belong together");
        }
        spread(&folder.path().join("absent"));
    }

    #[test]
    fn no_access_list_is_inherited() {
        let parent = tempfile::tempdir().expect("a folder");
        // `user::rwx,user:1:rwx,group::r-x,mask::rwx,other::r-x` as of `linux/posix_acl_xattr.h`.
        let mut list = 2u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in [(1u16, 7u16, u32::MAX), (2, 7, 1), (4, 5, u32::MAX), (16, 7, u32::MAX)] {
            list.extend([&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat());
        }
        list.extend([32, 0, 5, 0, 255, 255, 255, 255]);
        if let Err(error) = xattr::set(parent.path(), "system.posix_acl_default", &list) {
            eprintln!("skipped: no_access_list_is_inherited: {} has no access lists: {error}", parent.path().display());
            return;
        }
        let lists = |path: &Path| {
            let names = xattr::list(path).expect("its attributes");
            names.filter(|name| name.to_string_lossy().starts_with("system.posix_acl")).count()
        };
        let plain = parent.path().join("plain");
        std::fs::create_dir(&plain).expect("a folder");
        assert_eq!(lists(&plain), 2, "the parent's list is inherited");
        let folder = make_folder(parent.path()).expect("it is made");
        assert_eq!(lists(folder.path()), 0);
        assert_eq!(folder.path().metadata().expect("there").permissions().mode() & 0o7777, 0o700);
        let below = folder.path().join("rootfs");
        std::fs::create_dir(&below).expect("a folder");
        assert_eq!(lists(&below), 0);
    }
}
