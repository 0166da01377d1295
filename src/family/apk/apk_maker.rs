//! Makes small package files and indexes for tests, those of the unit and of the integration tests.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha1::{Digest as _, Sha1};
use tar::{EntryType, Header};

use crate::hash::{base64, hex, sha256};

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
pub fn owned_by(member: Vec<u8>, user: &str, group: &str) -> Vec<u8> {
    with_header(member, |header| {
        header.set_username(user).expect("short");
        header.set_groupname(group).expect("short");
    })
}

/// Changes the last header of a member.
fn with_header(mut member: Vec<u8>, change: impl Fn(&mut Header)) -> Vec<u8> {
    let at = member.chunks(512).rposition(|block| &block[257..262] == b"ustar").expect("a header") * 512;
    let mut header = Header::new_ustar();
    header.as_mut_bytes().copy_from_slice(&member[at..at + 512]);
    change(&mut header);
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

/// An index, not signed. `mtime` is in seconds since 1970.
pub fn index(text: &str, mtime: u64) -> Vec<u8> {
    let part = |name: &str, data: &[u8]| {
        with_header(member(name, EntryType::Regular, "", 0o644, data, &[]), |header| header.set_mtime(mtime))
    };
    gzip(&[part("DESCRIPTION", b"test"), part("APKINDEX", text.as_bytes()), vec![0; 1024]].concat())
}

/// A package, put together in the order of its members.
#[derive(Debug, Clone)]
pub struct Apk {
    /// Its version.
    pub version: String,
    /// Lines of `.PKGINFO` besides name, version, size and datahash.
    pub lines: String,
    /// Scripts.
    pub scripts: Vec<(&'static str, String)>,
    /// Members of the data archive.
    pub data: Vec<Vec<u8>>,
}

impl Default for Apk {
    fn default() -> Apk {
        Apk { version: "1.0-r0".into(), lines: String::new(), scripts: Vec::new(), data: Vec::new() }
    }
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
            "pkgname = {name}\npkgver = {}\narch = noarch\nsize = 1\n{}datahash = {}\n",
            self.version,
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

    /// Its paragraph in an index, where the package file has so many bytes.
    pub fn paragraph(&self, name: &str, size: usize) -> String {
        let checksum = base64(&Sha1::digest(self.control_member(name, &self.data_member())));
        let mut text = format!(
            "C:Q1{checksum}\nP:{name}\nV:{}\nA:noarch\nS:{size}\nI:1\nT:test\nU:https://example.org/\nL:MIT\n",
            self.version
        );
        for (letter, key) in [('D', "depend"), ('p', "provides"), ('i', "install_if")] {
            let values: Vec<&str> =
                self.lines.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(" = ")).collect();
            if !values.is_empty() {
                text.push_str(&format!("{letter}:{}\n", values.join(" ")));
            }
        }
        text + "\n"
    }

    /// Name of its file.
    pub fn file_name(&self, name: &str) -> String {
        format!("{name}-{}.apk", self.version)
    }

    /// Writes the package into a folder.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(self.file_name(name));
        std::fs::write(&path, self.bytes(name)).expect("it can be written");
        path
    }
}
