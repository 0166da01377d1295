//! What the cache keeps under a name that is not the hash of its content: small files by their address
//! (`addresses/…`), and pieces of images by what they were made of (`pieces/ab/abcdef…`).
//!
//! Nothing here says whether such a file is right. Whoever reads it must know by other means, as everybody does who may
//! have write access to a cache that others use. They come into being as entries of the store do, and are marked as used
//! like them.

use std::fs::{OpenOptions, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use tempfile::NamedTempFile;

use super::store::{Store, is_sha256, mark_used};
use crate::hash::sha256;

/// The folder of small files that are kept by the hash of their address.
pub(super) const ADDRESSES: &str = "addresses";
/// The folder of pieces of images.
pub(super) const PIECES: &str = "pieces";

impl Store {
    /// A small file that was kept under an address, see [`Store::keep_address`].
    pub fn of_address(&self, url: &str, limit: u64) -> Option<Vec<u8>> {
        read(&self.address_entry(url), limit)
    }

    /// Keeps a small file under its address.
    pub fn keep_address(&self, url: &str, content: &[u8]) -> Result<()> {
        self.keep_at(&self.address_entry(url), &[content])
    }

    /// A piece that was kept under a hash, see [`Store::keep_piece`].
    pub fn piece(&self, hash: &str, limit: u64) -> Option<Vec<u8>> {
        read(&self.piece_entry(hash).ok()?, limit)
    }

    /// Keeps a piece, whose parts follow one another, under the hash of what it was made of.
    pub fn keep_piece(&self, hash: &str, parts: &[&[u8]]) -> Result<()> {
        self.keep_at(&self.piece_entry(hash)?, parts)
    }

    fn address_entry(&self, url: &str) -> PathBuf {
        self.cache().join(ADDRESSES).join(sha256(url))
    }

    fn piece_entry(&self, hash: &str) -> Result<PathBuf> {
        if !is_sha256(hash) {
            bail!("'{hash}' is not a SHA-256 in lower-case hexadecimal");
        }
        Ok(self.cache().join(PIECES).join(&hash[..2]).join(hash))
    }

    fn keep_at(&self, entry: &Path, parts: &[&[u8]]) -> Result<()> {
        self.make_folder(entry.parent().unwrap_or(self.cache()))?;
        self.make_folder(&self.halves())?;
        let mut file = NamedTempFile::new_in(self.halves()).map_err(|e| self.trouble(e))?;
        for part in parts {
            file.write_all(part).map_err(|e| self.trouble(e))?;
        }
        file.as_file().set_permissions(Permissions::from_mode(0o644)).map_err(|e| self.trouble(e))?;
        file.persist(entry).map_err(|e| self.trouble(e.error))?;
        Ok(())
    }
}

/// The content of an entry, at most so many bytes; none where it cannot be had.
fn read(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let entry = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let mut content = Vec::new();
    (&entry).take(limit + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= limit && mark_used(entry)).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_kept_by_address() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path()).expect("a store");
        assert_eq!(store.of_address("http://h/key", 10), None);
        store.keep_address("http://h/key", b"one").expect("it is kept");
        store.keep_address("http://h/key", b"two").expect("it is kept");
        assert_eq!(store.of_address("http://h/key", 10).as_deref(), Some(&b"two"[..]));
        assert_eq!(store.of_address("http://h/key", 2), None);
        assert_eq!(store.of_address("http://h/other", 10), None);
    }

    #[test]
    fn pieces_are_kept_by_a_hash() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path()).expect("a store");
        let hash = "ab".repeat(32);
        assert_eq!(store.piece(&hash, 10), None);
        store.keep_piece(&hash, &[b"one", b"two"]).expect("it is kept");
        assert_eq!(store.piece(&hash, 6).as_deref(), Some(&b"onetwo"[..]));
        assert_eq!(store.piece(&hash, 5), None);
        let path = folder.path().join("pieces/ab").join(&hash);
        assert_eq!(path.metadata().expect("is there").permissions().mode() & 0o777, 0o644);
        assert_eq!(store.halves().read_dir().expect("is there").count(), 0);
        std::fs::remove_file(&path).expect("removes");
        std::os::unix::fs::symlink("/etc/hostname", &path).expect("links");
        assert_eq!(store.piece(&hash, 1000), None, "a link is no entry");
        for bad in ["", "../../x", &"A".repeat(64), &format!("../{}", "a".repeat(61))] {
            assert!(store.keep_piece(bad, &[b"x"]).is_err() && store.piece(bad, 10).is_none(), "{bad}");
        }
    }
}
