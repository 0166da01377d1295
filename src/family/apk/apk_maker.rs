//! Makes small package files for tests.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha1::{Digest as _, Sha1};
use tar::{EntryType, Header};

use crate::hash::{hex, sha256};

/// One gzip member.
pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).expect("it compresses");
    encoder.finish().expect("it ends")
}

/// A file of a tar archive, with a pax header before it if there are records.
pub fn member(name: &str, kind: EntryType, link: &str, mode: u32, data: &[u8], records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    if !records.is_empty() {
        let mut text = Vec::new();
        for (key, value) in records {
            let bare = key.len() + value.len() + 3;
            // The length counts its own digits.
            let length = (1..6).map(|digits| bare + digits).find(|l| l.to_string().len() + bare == *l).expect("short");
            text.extend_from_slice(format!("{length} {key}=").as_bytes());
            text.extend_from_slice(value);
            text.push(b'\n');
        }
        out.extend_from_slice(&raw("pax", EntryType::XHeader, "", 0o644, &text));
    }
    out.extend_from_slice(&raw(name, kind, link, mode, data));
    out
}

fn raw(name: &str, kind: EntryType, link: &str, mode: u32, data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    // Names as they are: the methods of the library refuse what a hostile package has.
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(data.len() as u64);
    header.set_mtime(1_700_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root").expect("short");
    header.set_groupname("root").expect("short");
    if matches!(kind, EntryType::Char | EntryType::Block) {
        header.set_device_major(1).expect("a number");
        header.set_device_minor(3).expect("a number");
    }
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// Gives the last header of a member to other names.
pub fn owned_by(mut member: Vec<u8>, user: &str, group: &str) -> Vec<u8> {
    let at = member.chunks(512).rposition(|block| &block[257..262] == b"ustar").expect("a header") * 512;
    let mut header = Header::new_ustar();
    header.as_mut_bytes().copy_from_slice(&member[at..at + 512]);
    header.set_username(user).expect("short");
    header.set_groupname(group).expect("short");
    header.set_cksum();
    member[at..at + 512].copy_from_slice(header.as_bytes());
    member
}

/// A folder.
pub fn dir(name: &str) -> Vec<u8> {
    member(name, EntryType::Directory, "", 0o755, b"", &[])
}

/// A regular file with its checksum.
pub fn file(name: &str, data: &[u8]) -> Vec<u8> {
    let sha1 = hex(&Sha1::digest(data));
    member(name, EntryType::Regular, "", 0o644, data, &[("APK-TOOLS.checksum.SHA1", sha1.as_bytes())])
}

/// A symbolic link with its checksum.
pub fn link(name: &str, target: &str) -> Vec<u8> {
    let sha1 = hex(&Sha1::digest(target));
    member(name, EntryType::Symlink, target, 0o777, b"", &[("APK-TOOLS.checksum.SHA1", sha1.as_bytes())])
}

/// A package, put together in the order of its members.
#[derive(Debug, Clone, Default)]
pub struct Apk {
    /// Lines of `.PKGINFO` besides name, version, size and datahash.
    pub lines: String,
    /// Scripts.
    pub scripts: Vec<(&'static str, String)>,
    /// Members of the data archive.
    pub data: Vec<Vec<u8>>,
}

impl Apk {
    /// Of these members of data.
    pub fn new(data: Vec<Vec<u8>>) -> Apk {
        Apk { data, ..Apk::default() }
    }

    /// The compressed data member.
    pub fn data_member(&self) -> Vec<u8> {
        gzip(&[self.data.concat(), vec![0; 1024]].concat())
    }

    /// The compressed control member for some data.
    pub fn control_member(&self, name: &str, data: &[u8]) -> Vec<u8> {
        let info = format!(
            "pkgname = {name}\npkgver = 1.0-r0\narch = noarch\nsize = 1\n{}datahash = {}\n",
            self.lines,
            sha256(data)
        );
        let mut control = member(".PKGINFO", EntryType::Regular, "", 0o644, info.as_bytes(), &[]);
        for (script, text) in &self.scripts {
            control.extend(member(&format!(".{script}"), EntryType::Regular, "", 0o755, text.as_bytes(), &[]));
        }
        gzip(&control)
    }

    /// A signature member; nobody looks at it here.
    pub fn signature_member() -> Vec<u8> {
        gzip(&member(".SIGN.RSA256.test@example.org.rsa.pub", EntryType::Regular, "", 0o644, b"signature", &[]))
    }

    /// The whole package.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let data = self.data_member();
        [Apk::signature_member(), self.control_member(name, &data), data].concat()
    }

    /// Writes the package into a folder.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(format!("{name}-1.0-r0.apk"));
        std::fs::write(&path, self.bytes(name)).expect("it can be written");
        path
    }
}
