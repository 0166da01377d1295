//! A tree as entries of a tar.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag, major, minor};

use super::header::{BLOCK, Header, kind};
use super::stream::Sink;
use super::xattrs;
use crate::interrupt;
use crate::root::Root;

/// Folders whose content is the business of whoever runs a container.
const FILLED_AT_RUN_TIME: [&str; 3] = ["dev", "proc", "sys"];

/// How times are made independent of when the build ran.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// No entry is newer, in seconds since 1970.
    pub epoch: i64,
    /// When the build began, in seconds since 1970.
    pub build_start: i64,
}

impl Clock {
    /// Whether an entry gets the epoch itself.
    pub fn is_epoch(self, mtime: i64) -> bool {
        self.clamp(mtime) == self.clamp(i64::MAX)
    }

    /// The time an entry gets in the tar.
    fn clamp(self, mtime: i64) -> u64 {
        let time = if mtime >= self.build_start { self.epoch } else { mtime.min(self.epoch) };
        u64::try_from(time).unwrap_or(0)
    }
}

/// One entry to be.
#[derive(Debug)]
pub struct Item {
    /// Path below the root; empty for the root itself.
    pub(super) path: PathBuf,
    pub(super) stat: FileStat,
    /// One of [`kind`].
    pub(super) kind: u8,
    /// The earlier entry that this is another name of.
    pub(super) same_as: Option<PathBuf>,
    /// Something that ends or begins before it has so many bytes.
    pub(super) divides: u64,
}

impl Item {
    /// Bytes of content in the tar.
    fn size(&self) -> u64 {
        if self.kind == kind::FILE { u64::try_from(self.stat.st_size).unwrap_or(0) } else { 0 }
    }

    /// Of a file that has several names, what they have in common.
    pub fn inode(&self) -> Option<(libc::dev_t, libc::ino_t)> {
        (self.kind != kind::DIR && self.stat.st_nlink > 1).then_some((self.stat.st_dev, self.stat.st_ino))
    }

    /// Bytes it takes in the tar, where it needs no extended header.
    pub fn tar_size(&self) -> u64 {
        BLOCK as u64 + self.size().next_multiple_of(BLOCK as u64)
    }
}

/// Everything in the tree that goes into the tar: the root itself, then parents before children.
pub fn items(root: &Root) -> Result<Vec<Item>> {
    let stat = nix::sys::stat::fstat(root.as_fd()).with_context(|| format!("looking at {}", root.path().display()))?;
    let item = |path, stat, kind| Item { path, stat, kind, same_as: None, divides: 0 };
    let mut items = vec![item(PathBuf::new(), stat, kind::DIR)];
    for entry in root.walk("/")? {
        let Some(kind) = entry_kind(&entry.stat) else { continue };
        if FILLED_AT_RUN_TIME.iter().any(|top| entry.path.starts_with(top) && entry.path != Path::new(top)) {
            continue;
        }
        items.push(item(entry.path, entry.stat, kind));
    }
    Ok(items)
}

/// The type in the tar; none for a socket, which is nothing without the process that listens on it.
fn entry_kind(stat: &FileStat) -> Option<u8> {
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => Some(kind::FILE),
        SFlag::S_IFDIR => Some(kind::DIR),
        SFlag::S_IFLNK => Some(kind::SYMLINK),
        SFlag::S_IFCHR => Some(kind::CHAR),
        SFlag::S_IFBLK => Some(kind::BLOCK),
        SFlag::S_IFIFO => Some(kind::FIFO),
        _ => None,
    }
}

/// Writes the whole tar. `starts` says for each item whether a segment begins with it.
pub fn write(root: &Root, items: &[Item], starts: &[bool], clock: Clock, sink: &mut Sink<'_>) -> Result<()> {
    let mut header = Vec::new();
    for (item, start) in items.iter().zip(starts) {
        interrupt::check()?;
        if *start {
            sink.cut()?;
        }
        header.clear();
        write_item(root, item, clock, &mut header, sink)
            .with_context(|| format!("packing /{}", item.path.display()))?;
    }
    // Two empty blocks are the end of an archive.
    sink.write(&[0; 2 * BLOCK])
}

fn write_item(root: &Root, item: &Item, clock: Clock, header: &mut Vec<u8>, sink: &mut Sink<'_>) -> Result<()> {
    let path = archive_name(&item.path, item.kind == kind::DIR);
    // Links and devices can hold no attribute that belongs to an image.
    let file = match item.kind {
        kind::FILE => Some(root.open_file(&item.path)?),
        kind::DIR => {
            let path = if item.path.as_os_str().is_empty() { Path::new("/") } else { &item.path };
            Some(File::from(root.open_at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)?))
        }
        _ => None,
    };
    let xattrs = file.as_ref().map(xattrs::read).transpose()?.unwrap_or_default();
    let link = match (&item.same_as, item.kind) {
        (Some(first), _) => archive_name(first, false),
        (None, kind::SYMLINK) => root.read_link(&item.path)?.as_os_str().as_bytes().to_vec(),
        _ => Vec::new(),
    };
    Header {
        path: &path,
        kind: item.kind,
        // Linux gives every symbolic link these bits, other systems the umask's.
        mode: if item.kind == kind::SYMLINK { 0o777 } else { item.stat.st_mode & 0o7777 },
        uid: item.stat.st_uid,
        gid: item.stat.st_gid,
        size: item.size(),
        mtime: clock.clamp(item.stat.st_mtime),
        link: &link,
        device: (major(item.stat.st_rdev), minor(item.stat.st_rdev)),
        xattrs: &xattrs,
    }
    .write_to(header);
    sink.write(header)?;
    if let (Some(mut file), kind::FILE) = (file, item.kind) {
        sink.copy(&mut file, item.size())?;
        let padding = item.size().next_multiple_of(BLOCK as u64) - item.size();
        sink.write(&[0; BLOCK][..padding as usize])?;
    }
    Ok(())
}

/// The name in the archive: `./` and the path, as `tar -c .` writes it, so that the root's own mode has an entry.
fn archive_name(path: &Path, folder: bool) -> Vec<u8> {
    let mut name = b"./".to_vec();
    name.extend_from_slice(path.as_os_str().as_bytes());
    if folder && !path.as_os_str().is_empty() {
        name.push(b'/');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_do_not_depend_on_the_clock() {
        let clock = Clock { epoch: 1000, build_start: 5000 };
        for (mtime, want) in [(0, 0), (999, 999), (1000, 1000), (1001, 1000), (5000, 1000), (9999, 1000), (-5, 0)] {
            assert_eq!(clock.clamp(mtime), want, "{mtime}");
            assert_eq!(clock.is_epoch(mtime), want == 1000, "{mtime}");
        }
        // An epoch in the build's future: what the build wrote gets it, what packages brought keeps its own time.
        let clock = Clock { epoch: 9000, build_start: 5000 };
        for (mtime, want) in [(4999, 4999), (5000, 9000), (5001, 9000), (9500, 9000)] {
            assert_eq!(clock.clamp(mtime), want, "{mtime}");
            assert_eq!(clock.is_epoch(mtime), want == 9000, "{mtime}");
        }
    }
}
