//! What is in a root filesystem, be it a folder or a tar: everything that two trees can differ in but times.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use super::sha256;

/// One file, folder or link.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Node {
    /// `f`, `d`, `l`, `c`, `b`, `p`, `s`; `h` for the second and later names of a file.
    pub kind: char,
    /// Permission bits.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// SHA-256 of the content, the target of a link, the numbers of a device.
    pub content: String,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// Seconds since 1970; the comparison of trees leaves it out.
    pub mtime: i64,
    pub size: u64,
}

/// Everything below a root, by its path without a leading slash.
pub type Tree = BTreeMap<String, Node>;

/// Reads an image's tar, of any compression that the name tells.
pub fn of_tar(file: &Path) -> Tree {
    of_tar_bytes(&unpacked(file))
}

/// The tar of an image, decompressed.
pub fn unpacked(file: &Path) -> Vec<u8> {
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("reading {}: {e}", file.display()));
    let mut out = Vec::new();
    match file.extension().and_then(|e| e.to_str()) {
        Some("xz") => {
            xz2::read::XzDecoder::new_multi_decoder(&bytes[..]).read_to_end(&mut out).expect("valid xz");
        }
        Some("zst") => {
            zstd::stream::Decoder::new(&bytes[..]).expect("valid zstd").read_to_end(&mut out).expect("valid zstd");
        }
        Some("gz") => {
            flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut out).expect("valid gzip");
        }
        _ => out = bytes,
    }
    out
}

/// Reads a tar.
pub fn of_tar_bytes(bytes: &[u8]) -> Tree {
    let mut tree = Tree::new();
    let mut archive = tar::Archive::new(bytes);
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("a sound tar");
        let path = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").trim_matches('/').to_string();
        let mut xattrs = BTreeMap::new();
        if let Some(extensions) = entry.pax_extensions().expect("sound pax headers") {
            for extension in extensions {
                let extension = extension.expect("a sound pax header");
                if let Some(name) = extension.key().ok().and_then(|k| k.strip_prefix("SCHILY.xattr.")) {
                    xattrs.insert(name.to_string(), extension.value_bytes().to_vec());
                }
            }
        }
        let header = entry.header();
        let link = entry.link_name_bytes().map(|l| String::from_utf8_lossy(&l).into_owned()).unwrap_or_default();
        let mut node = Node {
            mode: header.mode().expect("a mode") & 0o7777,
            uid: header.uid().expect("an owner"),
            gid: header.gid().expect("a group"),
            mtime: i64::try_from(header.mtime().expect("a time")).expect("a time within range"),
            size: entry.size(),
            xattrs,
            ..Node::default()
        };
        let kind = header.entry_type();
        match kind {
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                node.kind = 'f';
                let mut content = Vec::new();
                entry.read_to_end(&mut content).expect("a whole file");
                node.content = sha256(&content);
            }
            tar::EntryType::Directory => node.kind = 'd',
            tar::EntryType::Symlink => (node.kind, node.content) = ('l', link),
            tar::EntryType::Link => (node.kind, node.content) = ('h', link),
            tar::EntryType::Char => node.kind = 'c',
            tar::EntryType::Block => node.kind = 'b',
            tar::EntryType::Fifo => node.kind = 'p',
            other => panic!("{path}: unexpected kind {other:?}"),
        }
        assert!(tree.insert(path.clone(), node).is_none(), "{path} is in the tar twice");
    }
    tree
}

/// The content of one file of a tar.
pub fn file_in_tar(bytes: &[u8], path: &str) -> Option<Vec<u8>> {
    let mut archive = tar::Archive::new(bytes);
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("a sound tar");
        if entry.path_bytes().strip_prefix(b"./").unwrap_or(&entry.path_bytes()) == path.as_bytes() {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("a whole file");
            return Some(content);
        }
    }
    None
}

/// Reads a folder. Names of one file: the first in order is the file, the others are `h`.
pub fn of_folder(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut seen = BTreeMap::new();
    walk(root, "", &mut tree);
    let inodes: Vec<_> = tree
        .iter()
        .filter(|(_, node)| node.kind == 'f')
        .map(|(path, _)| {
            let metadata = root.join(path).symlink_metadata().expect("a file of the tree");
            (path.clone(), (metadata.dev(), metadata.ino()))
        })
        .collect();
    for (path, inode) in inodes {
        match seen.get(&inode) {
            None => {
                seen.insert(inode, path);
            }
            Some(first) => {
                let node = tree.get_mut(&path).expect("just listed");
                node.kind = 'h';
                node.content.clone_from(first);
            }
        }
    }
    tree
}

fn walk(root: &Path, folder: &str, tree: &mut Tree) {
    let mut entries: Vec<_> = std::fs::read_dir(root.join(folder))
        .unwrap_or_else(|e| panic!("listing {folder}: {e}"))
        .map(|e| e.expect("an entry of a folder").file_name())
        .collect();
    entries.sort();
    for name in entries {
        let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let full = root.join(&path);
        let metadata = full.symlink_metadata().expect("a file of the tree");
        let kind = metadata.file_type();
        let mut node = Node {
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid().into(),
            gid: metadata.gid().into(),
            mtime: metadata.mtime(),
            size: metadata.size(),
            ..Node::default()
        };
        for name in xattr::list(&full).into_iter().flatten() {
            let value = xattr::get(&full, &name).ok().flatten().unwrap_or_default();
            node.xattrs.insert(name.to_string_lossy().into_owned(), value);
        }
        if kind.is_dir() {
            node.kind = 'd';
            node.size = 0;
            walk(root, &path, tree);
        } else if kind.is_symlink() {
            node.kind = 'l';
            node.content = std::fs::read_link(&full).expect("a link").to_string_lossy().into_owned();
        } else if kind.is_file() {
            node.kind = 'f';
            node.content = sha256(&std::fs::read(&full).expect("a file of the tree"));
        } else if kind.is_char_device() || kind.is_block_device() {
            node.kind = if kind.is_char_device() { 'c' } else { 'b' };
            node.content =
                format!("{}:{}", nix::sys::stat::major(metadata.rdev()), nix::sys::stat::minor(metadata.rdev()));
        } else {
            node.kind = if kind.is_fifo() { 'p' } else { 's' };
        }
        tree.insert(path, node);
    }
}
