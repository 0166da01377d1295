//! What a cache holds, and removing what was not used for long.
//!
//! Only entries are ever touched: files with the names that the store gives, and tools trees. Builds may run meanwhile. While any has
//! the cache open, what was used within the last day stays, since it may be in use; what goes is fetched or made again
//! by whoever comes for it later.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use nix::fcntl::{Flock, FlockArg};

use super::kept::{ADDRESSES, PIECES};
use super::store::{ENTRIES, STALE, is_sha256, open_lock};
use crate::interrupt;
use crate::tools::shelf::{self, Kept};

/// How much there is in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Number of entries.
    pub entries: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// When the one that was used least lately was used last.
    pub oldest: Option<SystemTime>,
}

/// What is to be removed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Everything that was not used for longer than this.
    pub age: Option<Duration>,
    /// What was used least lately, until no more bytes than this are left.
    pub size: Option<u64>,
}

/// What was removed and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Entries that went.
    pub removed: Usage,
    /// Entries that are left.
    pub left: Usage,
    /// Of those left, the ones that only stay because a build may use them.
    pub in_use: usize,
}

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A file that was downloaded, or a piece of an image.
    File,
    /// A folder: a tools tree.
    Tree,
}

impl Usage {
    fn add(&mut self, entry: &Entry) {
        self.entries += 1;
        self.bytes += entry.bytes;
        self.oldest = Some(self.oldest.map_or(entry.used, |oldest| oldest.min(entry.used)));
    }
}

/// Counts the entries of a cache. One that is not there is empty.
pub fn usage(cache: &Path) -> Result<Usage> {
    let mut usage = Usage::default();
    entries(cache)?.iter().for_each(|entry| usage.add(entry));
    Ok(usage)
}

/// Removes entries from a cache.
pub fn prune(cache: &Path, limits: Limits) -> Result<Pruned> {
    let mut pruned = Pruned::default();
    if !cache.is_dir() {
        return Ok(pruned);
    }
    // As long as it is held no build begins with this cache.
    let alone = open_lock(cache).and_then(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).ok());
    let now = SystemTime::now();
    let age = |used: SystemTime| now.duration_since(used).unwrap_or_default();
    let mut entries = entries(cache)?;
    entries.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
    let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
    for entry in &entries {
        interrupt::check()?;
        let unwanted =
            limits.age.is_some_and(|limit| age(entry.used) > limit) || limits.size.is_some_and(|limit| total > limit);
        let in_use = alone.is_none() && age(entry.used) < STALE;
        let remove = match entry.kind {
            Kind::File => remove,
            Kind::Tree => |entry: &Entry| shelf::remove(&entry.path),
        };
        if unwanted && !in_use && remove(entry)? {
            total -= entry.bytes;
            pruned.removed.add(entry);
        } else {
            pruned.left.add(entry);
            pruned.in_use += usize::from(unwanted);
        }
    }
    Ok(pruned)
}

/// Removes an entry. False: it was used in the meantime, and stays.
fn remove(entry: &Entry) -> Result<bool> {
    let doing = || format!("removing {} from the cache", entry.path.display());
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(&entry.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        other => other.with_context(doing)?,
    };
    // Against a build that is just about to mark it as used, see `store::mark_used`.
    let locked = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(locked) => Some(locked),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Ok(false),
        // A file system without locks.
        Err(_) => None,
    };
    let now = fs::symlink_metadata(&entry.path);
    let same = |file: &File| {
        let (ours, there) = (file.metadata(), now.as_ref());
        ours.is_ok_and(|o| there.is_ok_and(|t| t.ino() == o.ino() && t.modified().is_ok_and(|m| m == entry.used)))
    };
    if locked.as_ref().is_some_and(|file| !same(file)) {
        return Ok(false);
    }
    match fs::remove_file(&entry.path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).with_context(doing),
        _ => Ok(true),
    }
}

/// Every entry of a cache, in no order.
fn entries(cache: &Path) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    for top in [ENTRIES, PIECES] {
        for (name, folder) in folder(&cache.join(top))? {
            if name.len() == 2 {
                collect(&folder, |file| is_sha256(file) && file.starts_with(&name), &mut found)?;
            }
        }
    }
    collect(&cache.join(ADDRESSES), is_sha256, &mut found)?;
    found.extend(shelf::kept(cache)?.into_iter().map(|Kept { path, bytes, used }| Entry {
        path,
        bytes,
        used,
        kind: Kind::Tree,
    }));
    Ok(found)
}

/// Adds the files of a folder that have the name of an entry.
fn collect(path: &Path, is_entry: impl Fn(&str) -> bool, found: &mut Vec<Entry>) -> Result<()> {
    for (name, path) in folder(path)? {
        // One that another process has just removed is no entry.
        let Some(file) = is_entry(&name).then(|| fs::symlink_metadata(&path).ok()).flatten() else { continue };
        if file.is_file() {
            let used = file.modified().with_context(|| format!("looking at {}", path.display()))?;
            found.push(Entry { path, bytes: file.len(), used, kind: Kind::File });
        }
    }
    Ok(())
}

/// Names and paths of what is in a folder; nothing where there is none.
fn folder(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let doing = || format!("reading the folder {}", path.display());
    let entries = match fs::read_dir(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        other => other.with_context(doing)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(doing)?;
        // A name that is no text is none of an entry.
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::store::Store;
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    struct Case {
        folder: tempfile::TempDir,
    }

    impl Case {
        fn new() -> Case {
            Case { folder: tempfile::tempdir().expect("a folder") }
        }

        fn cache(&self) -> &Path {
            self.folder.path()
        }

        /// An entry of ten bytes that was used so many days ago.
        fn entry(&self, digit: char, days: u32) -> PathBuf {
            let name = digit.to_string().repeat(64);
            self.file(&format!("{ENTRIES}/{}/{name}", &name[..2]), days)
        }

        fn file(&self, name: &str, days: u32) -> PathBuf {
            let path = self.cache().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            fs::write(&path, "0123456789").expect("writes");
            let time = SystemTime::now() - DAY * days;
            File::options().write(true).open(&path).and_then(|f| f.set_modified(time)).expect("sets the time");
            path
        }
    }

    #[test]
    fn what_is_old_goes_and_what_is_unknown_stays() {
        let case = Case::new();
        let (old, new) = (case.entry('a', 31), case.entry('b', 29));
        let address = case.file(&format!("{ADDRESSES}/{}", "c".repeat(64)), 40);
        let pieces = [("d", 31), ("e", 29)].map(|(digit, days)| {
            let name = digit.repeat(64);
            case.file(&format!("{PIECES}/{}/{name}", &name[..2]), days)
        });
        let unknown = [
            case.file("README", 99),
            case.file(&format!("{ENTRIES}/aa/notes"), 99),
            case.file(&format!("{ENTRIES}/bb/{}", "a".repeat(64)), 99),
            case.file(&format!("{ENTRIES}/{}", "a".repeat(64)), 99),
            case.file(&format!("{ENTRIES}/aa/{}", "A".repeat(64)), 99),
            case.file(&format!("other/aa/{}", "a".repeat(64)), 99),
            case.file(&format!("{PIECES}/dd/{}", "e".repeat(64)), 99),
        ];
        let link = case.cache().join(format!("{ENTRIES}/aa/aa{}", "b".repeat(62)));
        std::os::unix::fs::symlink("/etc/hostname", &link).expect("links");
        let usage = usage(case.cache()).expect("it can be read");
        assert_eq!((usage.entries, usage.bytes), (5, 50));
        let age = usage.oldest.expect("there are entries").elapsed().expect("it is past");
        assert!(age >= DAY * 40 && age < DAY * 41, "{age:?}");

        let limits = Limits { age: Some(DAY * 30), size: None };
        let pruned = prune(case.cache(), limits).expect("it can be pruned");
        assert_eq!((pruned.removed.entries, pruned.removed.bytes, pruned.left.entries), (3, 30, 2));
        assert!(!old.exists() && !address.exists() && new.exists());
        assert_eq!(pieces.map(|path| path.exists()), [false, true]);
        assert!(unknown.iter().all(|path| path.exists()) && link.symlink_metadata().is_ok());
        assert_eq!(prune(case.cache(), limits).expect("again").removed.entries, 0);
    }

    #[test]
    fn the_size_is_kept_by_removing_the_least_lately_used() {
        let case = Case::new();
        let paths = [case.entry('a', 2), case.entry('b', 4), case.entry('c', 3), case.entry('d', 1)];
        let pruned = prune(case.cache(), Limits { age: None, size: Some(25) }).expect("it can be pruned");
        assert_eq!((pruned.removed.bytes, pruned.left.bytes), (20, 20));
        assert_eq!(paths.map(|path| path.exists()), [true, false, false, true]);
        let pruned = prune(case.cache(), Limits { age: None, size: Some(0) }).expect("it can be pruned");
        assert_eq!((pruned.removed.entries, pruned.left), (2, Usage::default()));
    }

    #[test]
    fn a_cache_that_is_not_there_is_empty_and_stays_away() {
        let case = Case::new();
        let cache = case.cache().join("none");
        assert_eq!(usage(&cache).expect("it is empty"), Usage::default());
        let limits = Limits { age: Some(Duration::ZERO), size: None };
        assert_eq!(prune(&cache, limits).expect("it is empty"), Pruned::default());
        assert!(!cache.exists());
    }

    #[test]
    fn what_a_build_may_use_stays() {
        let case = Case::new();
        let (old, new) = (case.entry('a', 2), case.entry('b', 0));
        let build = Store::new(case.cache()).expect("a store");
        let all = Limits { age: Some(Duration::ZERO), size: None };
        let pruned = prune(case.cache(), all).expect("it can be pruned");
        assert_eq!((pruned.removed.entries, pruned.in_use), (1, 1));
        assert!(!old.exists() && new.exists());
        drop(build);
        assert_eq!(prune(case.cache(), all).expect("it can be pruned").left, Usage::default());
        assert!(!new.exists());
    }

    #[test]
    fn what_is_used_just_now_is_not_removed() {
        let case = Case::new();
        let path = case.entry('a', 2);
        let entry = entries(case.cache()).expect("it can be read").remove(0);
        let shared = Flock::lock(File::open(&path).expect("is there"), FlockArg::LockShared).expect("a lock");
        assert!(!remove(&entry).expect("no error"), "it is being marked as used");
        drop(shared);
        case.entry('a', 0);
        assert!(!remove(&entry).expect("no error"), "it was marked as used");
        assert!(path.exists());
        let entry = entries(case.cache()).expect("it can be read").remove(0);
        assert!(remove(&entry).expect("no error") && !path.exists());
        assert!(remove(&entry).expect("no error"), "it is gone anyway");
    }
}
