//! The content-addressed store: `sha256/ab/abcdef…`, whole files only, each read again before it is used.
//!
//! A file comes into being beside the others under a name of its own and is renamed once its hash is right, so
//! builds that share a cache do not disturb each other and a killed one leaves no half entry. Nothing is synced to
//! disk: what a power failure damages does not pass the check at its next use, and is fetched again.
//!
//! The time of modification of an entry is that of its last use, for [`super::tidy`], which removes entries. An entry's
//! own lock keeps the two apart: here it is held while an entry is marked as used, there while it is removed.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Result, anyhow, bail};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::Remote;
use crate::hash::hex;

/// Of buffers for downloads and hashing: large enough that system calls do not count, small enough for every
/// thread to have one.
pub(super) const CHUNK: usize = 128 << 10;
/// The folder of entries in a cache.
pub(super) const ENTRIES: &str = "sha256";
/// The folder of half files, below that of entries.
pub(super) const HALVES: &str = "tmp";
/// The lock of a cache.
const LOCK: &str = "lock";
/// Half files older than this belong to no running build, and so do entries that nothing used for so long.
pub(super) const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Where files are kept.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    /// Files whose entry was there and not intact, by what they are called in messages.
    damaged: Mutex<BTreeSet<String>>,
    /// Held as long as entries may be in use.
    _in_use: Option<Flock<File>>,
}

/// The half files of one batch of downloads, so that they can be removed when it is given up.
#[derive(Debug, Default)]
pub(super) struct HalfFiles {
    paths: Mutex<(bool, BTreeSet<PathBuf>)>,
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Incoming {
    file: NamedTempFile,
    hasher: Sha256,
    /// Bytes written.
    pub written: u64,
    /// Whether it was put together from several answers.
    pub resumed: bool,
}

/// A file of the store that is being read, see [`Store::open`].
#[derive(Debug)]
pub(super) struct Entry {
    file: File,
    hasher: Sha256,
}

impl Store {
    /// The store below a cache folder, which is made if it is not there.
    pub fn new(cache: &Path) -> Result<Store> {
        let mut store = Store { root: cache.join(ENTRIES), damaged: Mutex::default(), _in_use: None };
        store.make_folder(cache)?;
        // In a cache that only others may write nobody can tell that this one reads: it goes without.
        store._in_use = open_lock(cache).and_then(|file| Flock::lock(file, FlockArg::LockShared).ok());
        store.sweep();
        Ok(store)
    }

    /// The folder of the whole cache.
    pub fn cache(&self) -> &Path {
        self.root.parent().unwrap_or(&self.root)
    }

    pub(super) fn halves(&self) -> PathBuf {
        self.root.join(HALVES)
    }

    /// The files found damaged since this was last asked.
    pub fn take_damaged(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.damaged.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where a file is or will be.
    pub fn entry(&self, sha256: &str) -> Result<PathBuf> {
        // The hash comes from an index and becomes a path.
        if !is_sha256(sha256) {
            bail!("'{sha256}' is not a SHA-256 in lower-case hexadecimal");
        }
        Ok(self.root.join(&sha256[..2]).join(sha256))
    }

    /// The path of a file if it is here and intact. `check` is called between chunks.
    pub fn intact(&self, file: &Remote, check: &dyn Fn() -> Result<()>) -> Result<Option<PathBuf>> {
        let Some(mut entry) = self.open(file)? else { return Ok(None) };
        let mut chunk = vec![0; CHUNK];
        loop {
            check()?;
            match entry.read(&mut chunk) {
                Ok(0) => break,
                Err(e) if e.kind() != io::ErrorKind::Interrupted => break,
                _ => {}
            }
        }
        if self.close(entry, file) { self.entry(&file.sha256).map(Some) } else { Ok(None) }
    }

    /// A file that is here and has the right size, to be read and then [closed](Store::close): only that tells whether
    /// it is intact.
    pub fn open(&self, file: &Remote) -> Result<Option<Entry>> {
        let path = self.entry(&file.sha256)?;
        // Whatever makes an entry unreadable, a new download settles it or says why not.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let Ok(entry) = OpenOptions::new().read(true).custom_flags(flags).open(&path) else { return Ok(None) };
        if entry.metadata().is_ok_and(|m| m.is_file() && m.len() == file.size) {
            return Ok(Some(Entry { file: entry, hasher: Sha256::new() }));
        }
        self.note_damaged(file);
        Ok(None)
    }

    /// Reads the rest of a file. Whether all of it is right, and it is still there.
    pub fn close(&self, mut entry: Entry, file: &Remote) -> bool {
        // Of one that cannot be read, the hash of what was read is not the right one either.
        let _ = io::copy(&mut entry, &mut io::sink());
        if hex(&entry.hasher.finalize()) == file.sha256 {
            return mark_used(entry.file);
        }
        self.note_damaged(file);
        false
    }

    fn note_damaged(&self, file: &Remote) {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(file.name.clone());
    }

    /// Begins a new file.
    pub fn begin(&self, file: &Remote, halves: &HalfFiles) -> Result<Incoming> {
        self.make_folder(&self.halves())?;
        let mut paths = halves.paths.lock().unwrap_or_else(PoisonError::into_inner);
        if paths.0 {
            bail!("the download was given up");
        }
        let temporary = tempfile::Builder::new()
            .prefix(&format!("{}.", &file.sha256[..8]))
            .tempfile_in(self.halves())
            .map_err(|e| self.trouble(e))?;
        paths.1.insert(temporary.path().to_owned());
        Ok(Incoming { file: temporary, hasher: Sha256::new(), written: 0, resumed: false })
    }

    /// Writes a chunk.
    pub fn write(&self, incoming: &mut Incoming, chunk: &[u8]) -> Result<()> {
        incoming.file.as_file_mut().write_all(chunk).map_err(|e| self.trouble(e))?;
        incoming.hasher.update(chunk);
        incoming.written += chunk.len() as u64;
        Ok(())
    }

    /// Throws away what was written.
    pub fn restart(&self, incoming: &mut Incoming) -> Result<()> {
        let file = incoming.file.as_file_mut();
        file.set_len(0).and_then(|()| file.rewind()).map_err(|e| self.trouble(e))?;
        (incoming.hasher, incoming.written, incoming.resumed) = (Sha256::new(), 0, false);
        Ok(())
    }

    /// Puts a file in its place, whose content was found right.
    pub fn keep(&self, incoming: Incoming, sha256: &str) -> Result<PathBuf> {
        let entry = self.entry(sha256)?;
        if let Some(folder) = entry.parent() {
            self.make_folder(folder)?;
        }
        // Independent of the umask: caches are shared between users.
        incoming.file.as_file().set_permissions(Permissions::from_mode(0o644)).map_err(|e| self.trouble(e))?;
        incoming.file.persist(&entry).map_err(|e| self.trouble(e.error))?;
        Ok(entry)
    }

    pub(super) fn make_folder(&self, folder: &Path) -> Result<()> {
        DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(|e| self.trouble(e))
    }

    /// Says what to do about an error of the cache's disk.
    pub(super) fn trouble(&self, error: io::Error) -> anyhow::Error {
        let cache = self.cache().display();
        let what = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                format!("the disk of the cache {cache} is full; make room, or choose another folder with --cache")
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => format!(
                "the cache {cache} is not writable; give it to this user, or choose another folder with --cache"
            ),
            _ => format!("cannot write to the cache {cache}; choose another folder with --cache"),
        };
        anyhow!(error).context(what)
    }

    /// Removes half files that a killed build left. It is tidiness only: no failure of it stops a build.
    fn sweep(&self) {
        let Ok(files) = self.halves().read_dir() else { return };
        for file in files.flatten() {
            let age = file.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
            if age.is_some_and(|a| a > STALE) {
                let _ = std::fs::remove_file(file.path());
            }
        }
    }
}

/// Whether a word has the form of a SHA-256 in lower-case hexadecimal, which entries have as names.
pub(super) fn is_sha256(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The lock that every user of a cache holds shared, and who removes all it may remove, exclusively.
pub(super) fn open_lock(cache: &Path) -> Option<File> {
    let path = cache.join(LOCK);
    let mut create = OpenOptions::new();
    create.read(true).write(true).create(true).truncate(false).mode(0o644);
    create.open(&path).or_else(|_| File::open(&path)).ok()
}

/// Notes that an entry is in use, as far as this user may. False: it was removed in the meantime.
pub(super) fn mark_used(entry: File) -> bool {
    let entry = match Flock::lock(entry, FlockArg::LockShared) {
        Ok(entry) => entry,
        // A file system without locks.
        Err((entry, _)) => return entry.metadata().is_ok_and(|m| m.nlink() > 0),
    };
    // Setting a time needs the owner; somebody else's cache then counts as unused by this user.
    let _ = entry.set_modified(SystemTime::now());
    entry.metadata().is_ok_and(|m| m.nlink() > 0)
}

impl Read for Entry {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

impl Incoming {
    /// The hash of what was written.
    pub fn digest(&self) -> String {
        hex(&self.hasher.clone().finalize())
    }
}

impl HalfFiles {
    /// Removes those that are left, and lets no new one begin.
    pub fn give_up(&self) {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.0 = true;
        for path in std::mem::take(&mut paths.1) {
            // Most were renamed or removed by their own download.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::sha256;

    fn remote(content: &[u8]) -> Remote {
        Remote { urls: vec![], sha256: sha256(content), size: content.len() as u64, name: "x".into() }
    }

    fn put(store: &Store, content: &[u8]) -> PathBuf {
        let mut incoming = store.begin(&remote(content), &HalfFiles::default()).expect("begins");
        store.write(&mut incoming, b"rubbish").expect("writes");
        store.restart(&mut incoming).expect("restarts");
        store.write(&mut incoming, content).expect("writes");
        assert_eq!(incoming.digest(), remote(content).sha256);
        store.keep(incoming, &remote(content).sha256).expect("keeps")
    }

    #[test]
    fn entries_are_checked_at_every_use() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path()).expect("a store");
        let intact = |content: &[u8]| store.intact(&remote(content), &|| Ok(())).expect("no error");
        assert_eq!(intact(b"abc"), None);
        let path = put(&store, b"abc");
        // sha256sum of abc, FIPS 180-2 appendix B.1.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(path, folder.path().join("sha256/ba").join(digest));
        assert_eq!(intact(b"abc"), Some(path.clone()));
        assert_eq!(path.metadata().expect("is there").permissions().mode() & 0o777, 0o644);
        for damage in [&b"abd"[..], b"ab", b"abcd", b""] {
            std::fs::write(&path, damage).expect("damages");
            assert_eq!(intact(b"abc"), None, "{damage:?}");
            assert_eq!(store.take_damaged(), BTreeSet::from(["x".to_string()]), "{damage:?}");
        }
        assert!(store.take_damaged().is_empty());
        std::fs::remove_file(&path).expect("removes");
        std::os::unix::fs::symlink("/etc/hostname", &path).expect("links");
        assert_eq!(intact(b"abc"), None);
        assert_eq!(put(&store, b"abc"), path);
        assert_eq!(intact(b"abc"), Some(path));
        assert_eq!(store.halves().read_dir().expect("is there").count(), 0);
    }

    #[test]
    fn use_is_noted_and_what_was_removed_meanwhile_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path()).expect("a store");
        let path = put(&store, b"abc");
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        File::options().write(true).open(&path).and_then(|f| f.set_modified(long_ago)).expect("sets the time");
        assert!(store.intact(&remote(b"abc"), &|| Ok(())).expect("no error").is_some());
        let age = path.metadata().and_then(|m| m.modified()).expect("is there").elapsed().expect("it is past");
        assert!(age < STALE, "{age:?}");

        let entry = File::open(&path).expect("is there");
        std::fs::remove_file(&path).expect("removes");
        assert!(!mark_used(entry));
    }

    #[test]
    fn hashes_cannot_lead_out_of_the_store() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path()).expect("a store");
        for bad in ["", "../../x", &"A".repeat(64), &format!("../{}", "a".repeat(61)), &"a".repeat(65)] {
            assert!(store.entry(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn stale_halves_go_and_fresh_ones_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path()).expect("a store");
        std::fs::create_dir_all(store.halves()).expect("a folder");
        let (old, new) = (store.halves().join("old"), store.halves().join("new"));
        for path in [&old, &new] {
            std::fs::write(path, "x").expect("writes");
        }
        let time = std::time::SystemTime::now() - STALE - Duration::from_secs(60);
        std::fs::File::options().write(true).open(&old).and_then(|f| f.set_modified(time)).expect("sets the time");
        Store::new(folder.path()).expect("a store");
        assert!(!old.exists() && new.exists());
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path()).expect("a store");
        let halves = HalfFiles::default();
        let incoming = store.begin(&remote(b"abc"), &halves).expect("begins");
        halves.give_up();
        assert_eq!(store.halves().read_dir().expect("is there").count(), 0);
        assert!(store.keep(incoming, &remote(b"abc").sha256).is_err());
        assert!(store.begin(&remote(b"abc"), &halves).is_err());
    }

    #[test]
    fn full_and_unwritable_disks_say_what_to_do() {
        let store = Store { root: PathBuf::from("/cache/sha256"), damaged: Mutex::default(), _in_use: None };
        for (code, words) in [(libc::ENOSPC, "is full"), (libc::EROFS, "not writable"), (libc::EACCES, "not writable")]
        {
            let message = format!("{:#}", store.trouble(io::Error::from_raw_os_error(code)));
            assert!(message.contains(words) && message.contains("/cache") && message.contains("--cache"), "{message}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("writes");
        assert!(Store::new(&file.join("cache")).is_err());
    }
}
