//! Where tools trees are kept: `tools/USER/DIGEST` in the cache, with the digest of the lock that a tree was made from.
//!
//! Each user has its own, for the owners of its files are the user's subordinate ids. Beside the root filesystem,
//! `rootfs`, lies the file `listing`: what the tree looked like when it was made, so that a damaged one is noticed, its
//! time of modification being that of the last use. Whoever uses a tree holds a shared lock on it, whoever removes one
//! takes it away by one rename first, and only if nobody holds one. The lock of the tree to be used is `ARCH.lock`.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::hash::hex;
use crate::interrupt;
use crate::root::{Kind, Root};
use crate::sandbox::userns;
use crate::work::spread;

/// The folder in a cache.
const FOLDER: &str = "tools";
const ROOT: &str = "rootfs";
const LISTING: &str = "listing";
/// Held by who makes a tree.
const MAKING: &str = "making";
/// Begins the name of what is not finished, or on its way out.
const UNFINISHED: &str = "tmp-";
/// Nothing takes longer to make: what is older was left by somebody who was killed.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// How often a build looks whether another one is done.
const TICK: Duration = Duration::from_millis(50);

/// The trees of this user in a cache.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
}

/// A tree in use.
#[derive(Debug)]
pub struct Tree {
    folder: PathBuf,
    _in_use: Flock<File>,
}

/// A tree as the cache's bookkeeping sees it.
#[derive(Debug)]
pub struct Kept {
    /// Its folder.
    pub path: PathBuf,
    /// Size of its files in bytes.
    pub bytes: u64,
    /// When it was used last.
    pub used: SystemTime,
}

/// Why a tree cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum Missing {
    /// There is none.
    Absent,
    /// It is not as it was made.
    Damaged,
}

impl Tree {
    /// The root filesystem.
    pub fn root(&self) -> PathBuf {
        self.folder.join(ROOT)
    }
}

impl Shelf {
    /// That of this user.
    pub fn new(cache: &Path) -> Shelf {
        Shelf { folder: cache.join(FOLDER).join(userns::owner().to_string()) }
    }

    /// Makes its folder where it is not there.
    pub fn prepare(&self) -> Result<()> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("making {}; choose another cache with --cache", self.folder.display()))?;
        spread(&self.folder);
        Ok(())
    }

    /// Where the lock of the tree for an architecture is.
    pub fn lock(&self, arch: &str) -> PathBuf {
        self.folder.join(format!("{arch}.lock"))
    }

    /// Waits until nobody else makes a tree.
    pub fn alone(&self, waiting: impl FnOnce()) -> Result<Flock<File>> {
        let path = self.folder.join(MAKING);
        let doing = || format!("locking {}", path.display());
        let mut file = File::create(&path).with_context(doing)?;
        let mut waiting = Some(waiting);
        loop {
            interrupt::check()?;
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((file, nix::errno::Errno::EWOULDBLOCK)) => file,
                Err((_, error)) => return Err(error).with_context(doing),
            };
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            std::thread::sleep(TICK);
        }
    }

    /// The tree of that digest, if it is there and intact.
    pub fn find(&self, digest: &str) -> Result<Result<Tree, Missing>> {
        let folder = self.folder.join(digest);
        let path = folder.join(LISTING);
        let Ok(listing) = File::open(&path) else {
            return Ok(Err(if folder.exists() { Missing::Damaged } else { Missing::Absent }));
        };
        let in_use = Flock::lock(listing, FlockArg::LockShared)
            .map_err(|(_, error)| anyhow!(error).context(format!("locking {}", path.display())))?;
        let is_there = |m: fs::Metadata| in_use.metadata().is_ok_and(|ours| ours.ino() == m.ino());
        if !fs::metadata(&path).is_ok_and(is_there) {
            // It was taken away in the meantime.
            return Ok(Err(Missing::Absent));
        }
        let expected = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let found = Root::open(folder.join(ROOT)).and_then(|root| survey(&root));
        if found.ok().as_ref() != Some(&expected) {
            return Ok(Err(Missing::Damaged));
        }
        in_use.set_modified(SystemTime::now()).with_context(|| format!("marking {} as used", path.display()))?;
        Ok(Ok(Tree { folder, _in_use: in_use }))
    }

    /// A folder for a tree to be made in. It is gone when dropped.
    pub fn begin(&self) -> Result<(TempDir, Root)> {
        self.sweep();
        let folder = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.folder)
            .with_context(|| format!("making a folder in {}", self.folder.display()))?;
        let root = folder.path().join(ROOT);
        fs::create_dir(&root).with_context(|| format!("making {}", root.display()))?;
        let root = Root::open(root)?;
        root.chmod("/", 0o755)?;
        Ok((folder, root))
    }

    /// Puts a finished tree in its place. One of the same digest that is there goes.
    pub fn put(&self, folder: TempDir, root: &Root, digest: &str) -> Result<()> {
        let listing = folder.path().join(LISTING);
        fs::write(&listing, survey(root)?).with_context(|| format!("writing {}", listing.display()))?;
        let place = self.folder.join(digest);
        if place.exists() {
            take_away(&place)?;
        }
        fs::rename(folder.path(), &place).with_context(|| format!("putting the tools tree at {}", place.display()))?;
        // It is there no longer under the name that would be removed.
        let _ = folder.keep();
        Ok(())
    }

    /// Writes the lock of the tree to be used.
    pub fn write_lock(&self, arch: &str, text: &str) -> Result<()> {
        let path = self.lock(arch);
        let doing = || format!("writing {}", path.display());
        let mut builder = tempfile::Builder::new();
        builder.prefix(UNFINISHED).permissions(Permissions::from_mode(0o644));
        let mut file = builder.tempfile_in(&self.folder).with_context(doing)?;
        file.write_all(text.as_bytes()).with_context(doing)?;
        file.persist(&path).with_context(doing)?;
        Ok(())
    }

    /// Removes the trees of which no lock speaks any more and that nobody uses.
    pub fn tidy(&self) -> Result<()> {
        let mut wanted = Vec::new();
        for (name, path) in list(&self.folder)? {
            if name.ends_with(".lock") {
                let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                wanted.push(crate::hash::sha256(&text));
            }
        }
        for (name, path) in list(&self.folder)? {
            if is_digest(&name) && !wanted.contains(&name) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Removes what killed builds left. It is tidiness only: no failure of it stops a build.
    fn sweep(&self) {
        for (name, path) in list(&self.folder).unwrap_or_default() {
            let age = fs::metadata(&path).and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
            if name.starts_with(UNFINISHED) && age.is_some_and(|age| age > STALE) {
                let _ = fs::remove_dir_all(&path);
            }
        }
    }
}

/// Whether this user has trees in a cache.
pub fn has_trees(cache: &Path) -> bool {
    Shelf::new(cache).folder.exists()
}

/// The trees in a cache: those of this user, for root those of every user.
pub fn kept(cache: &Path) -> Result<Vec<Kept>> {
    let folders = match userns::owner() {
        0 => list(&cache.join(FOLDER))?.into_iter().map(|(_, path)| path).collect(),
        _ => vec![Shelf::new(cache).folder],
    };
    let mut kept = Vec::new();
    for folder in folders {
        for (name, path) in list(&folder)? {
            let listing = fs::metadata(path.join(LISTING)).and_then(|m| m.modified());
            if let (true, Ok(used)) = (is_digest(&name), listing) {
                kept.push(Kept { bytes: size(&path)?, path, used });
            }
        }
    }
    Ok(kept)
}

/// Removes a tree. False: somebody uses it, and it stays.
pub fn remove(tree: &Path) -> Result<bool> {
    let listing = match File::open(tree.join(LISTING)) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return take_away(tree).map(|()| true),
        Err(error) => return Err(error).with_context(|| format!("opening {}", tree.display())),
    };
    match Flock::lock(listing, FlockArg::LockExclusiveNonblock) {
        Ok(_alone) => take_away(tree).map(|()| true),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(false),
        Err((_, error)) => Err(error).with_context(|| format!("locking {}", tree.display())),
    }
}

/// Removes a folder, by one rename for whoever looks for it.
fn take_away(folder: &Path) -> Result<()> {
    let doing = || format!("removing {}", folder.display());
    let parent = folder.parent().ok_or_else(|| anyhow!("{} is in no folder", folder.display()))?;
    let away = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(parent).with_context(doing)?;
    match fs::rename(folder, away.path().join("tree")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(doing),
        _ => {}
    }
    away.close().with_context(doing)
}

/// What a tree looks like: a hash over every path with its type, mode, owner, and for files size and time.
fn survey(root: &Root) -> Result<String> {
    let mut hasher = Sha256::new();
    for entry in root.walk("")? {
        let stat = entry.stat;
        let (size, time) = if entry.kind() == Kind::Dir { (0, 0) } else { (stat.st_size, stat.st_mtime) };
        hasher.update(entry.path.as_os_str().as_encoded_bytes());
        for number in [0, i64::from(stat.st_mode), i64::from(stat.st_uid), i64::from(stat.st_gid), size, time] {
            hasher.update(number.to_le_bytes());
        }
    }
    Ok(hex(&hasher.finalize()))
}

/// The size of all files in a folder, in bytes.
fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for (_, path) in list(folder)? {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        bytes += if metadata.is_dir() { size(&path)? } else { metadata.len() };
    }
    Ok(bytes)
}

/// Names and paths of what is in a folder; nothing where there is none, or none that this user may read.
fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let doing = || format!("reading the folder {}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            return Ok(Vec::new());
        }
        other => other.with_context(doing)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(doing)?;
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    Ok(found)
}

fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn shelf(cache: &Path) -> Shelf {
        let shelf = Shelf::new(cache);
        shelf.prepare().expect("a folder");
        shelf
    }

    fn put(shelf: &Shelf, digest: &str) {
        let (folder, root) = shelf.begin().expect("it begins");
        root.create_dir("bin", 0o755).expect("a folder");
        root.write("bin/dnf", "#!/usr/bin/python3", 0o755).expect("a file");
        root.symlink("dnf", "bin/yum").expect("a link");
        shelf.put(folder, &root, digest).expect("it is put in place");
    }

    #[test]
    fn a_tree_is_found_until_it_is_damaged() {
        let cache = tempfile::tempdir().expect("a folder");
        let shelf = shelf(cache.path());
        let find = || shelf.find(DIGEST).expect("no error");
        assert_eq!(find().expect_err("nothing yet"), Missing::Absent);
        let damages: [fn(&Path); 5] = [
            |root| fs::write(root.join("bin/dnf"), "short").expect("writes"),
            |root| fs::remove_file(root.join("bin/yum")).expect("removes"),
            |root| fs::write(root.join("bin/new"), "").expect("writes"),
            |root| fs::remove_dir_all(root).expect("removes"),
            |root| fs::remove_file(root.with_file_name(LISTING)).expect("removes"),
        ];
        for damage in damages {
            put(&shelf, DIGEST);
            let root = find().expect("it is there").root();
            assert!(root.join("bin/yum").exists());
            damage(&root);
            assert_eq!(find().expect_err("damaged"), Missing::Damaged);
        }
        put(&shelf, DIGEST);
        assert!(find().is_ok(), "another one took its place");
        assert!(list(&shelf.folder).expect("reads").iter().all(|(name, _)| !name.starts_with(UNFINISHED)));
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let cache = tempfile::tempdir().expect("a folder");
        let shelf = shelf(cache.path());
        drop(shelf.begin().expect("it begins"));
        assert_eq!(list(&shelf.folder).expect("reads"), []);
    }

    #[test]
    fn trees_that_no_lock_names_go_unless_they_are_used() {
        let cache = tempfile::tempdir().expect("a folder");
        let shelf = shelf(cache.path());
        shelf.write_lock("amd64", "abc").expect("writes");
        let others = ["1", "2"].map(|digit| digit.repeat(64));
        for digest in others.iter().map(String::as_str).chain([DIGEST]) {
            put(&shelf, digest);
        }
        let used = shelf.find(&others[0]).expect("no error").expect("it is there");
        shelf.tidy().expect("tidies");
        let there = |digest: &str| shelf.folder.join(digest).exists();
        assert!(there(DIGEST) && there(&others[0]) && !there(&others[1]));
        assert!(!remove(&used.folder).expect("no error"), "it is used");
        drop(used);
        assert_eq!(kept(cache.path()).expect("reads").len(), 2);
        shelf.tidy().expect("tidies");
        let kept = kept(cache.path()).expect("reads");
        assert_eq!(kept.iter().map(|k| k.path.clone()).collect::<Vec<_>>(), [shelf.folder.join(DIGEST)]);
        assert!(kept[0].bytes > 64 && kept[0].used.elapsed().is_ok_and(|age| age < STALE));
        assert!(remove(&kept[0].path).expect("no error") && !there(DIGEST));
    }

    #[test]
    fn one_makes_and_the_other_waits() {
        let cache = tempfile::tempdir().expect("a folder");
        let shelf = shelf(cache.path());
        let first = shelf.alone(|| panic!("nobody is there")).expect("a lock");
        let waited = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| shelf.alone(|| waited.store(true, std::sync::atomic::Ordering::SeqCst)));
            while !waited.load(std::sync::atomic::Ordering::SeqCst) {
                std::thread::sleep(TICK);
            }
            drop(first);
            assert!(second.join().expect("no panic").is_ok());
        });
    }
}
