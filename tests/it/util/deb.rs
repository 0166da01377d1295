//! Makes `.deb` files (deb(5)): honest ones, and such as no archive should ever carry.

use std::collections::BTreeMap;
use std::io::Write as _;

use super::sha256;

/// One member of a package's data tar, written as given: no path is checked or tidied.
pub enum Entry {
    Dir(String),
    File(String, Vec<u8>, u32),
    Symlink(String, String),
    Hardlink(String, String),
}

/// A package to be made.
pub struct Package {
    pub name: String,
    pub version: String,
    fields: Vec<(String, String)>,
    scripts: BTreeMap<&'static str, String>,
    entries: Vec<Entry>,
    conffiles: Vec<String>,
}

/// A package as it lies in a repository's pool.
#[derive(Clone)]
pub struct Deb {
    /// Path below the repository's address.
    pub path: String,
    /// Its stanza in `Packages`, ended by one newline.
    pub stanza: String,
    pub bytes: super::server::Body,
}

impl Package {
    /// A package of the host's architecture with one file of its own.
    pub fn new(name: &str) -> Package {
        Package {
            name: name.into(),
            version: "1.0".into(),
            fields: Vec::new(),
            scripts: BTreeMap::new(),
            entries: ["./", "./usr/", "./usr/share/"].map(|path| Entry::Dir(path.into())).into(),
            conffiles: Vec::new(),
        }
    }

    pub fn version(mut self, version: &str) -> Package {
        self.version = version.into();
        self
    }

    /// A control field besides the usual ones.
    pub fn field(mut self, name: &str, value: &str) -> Package {
        self.fields.push((name.into(), value.into()));
        self
    }

    pub fn depends(self, value: &str) -> Package {
        self.field("Depends", value)
    }

    /// A maintainer script; `body` follows `#!/bin/sh` and `set -e`.
    pub fn script(mut self, name: &'static str, body: &str) -> Package {
        self.scripts.insert(name, format!("#!/bin/sh\nset -e\n{body}\n"));
        self
    }

    pub fn entry(mut self, entry: Entry) -> Package {
        self.entries.push(entry);
        self
    }

    pub fn file(self, path: &str, content: &[u8]) -> Package {
        self.entry(Entry::File(path.into(), content.to_vec(), 0o644))
    }

    pub fn symlink(self, path: &str, target: &str) -> Package {
        self.entry(Entry::Symlink(path.into(), target.into()))
    }

    pub fn hardlink(self, path: &str, target: &str) -> Package {
        self.entry(Entry::Hardlink(path.into(), target.into()))
    }

    pub fn conffile(mut self, path: &str) -> Package {
        self.conffiles.push(path.into());
        self
    }

    fn control(&self) -> String {
        let mut text = format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: Test <test@example.org>\nPriority: optional\n\
             Section: misc\nInstalled-Size: 1\nDescription: a package of a test\n",
            self.name,
            self.version,
            super::deb_arch()
        );
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text
    }

    /// The package file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut control =
            vec![Entry::Dir("./".into()), Entry::File("./control".into(), self.control().into_bytes(), 0o644)];
        if !self.conffiles.is_empty() {
            let list = self.conffiles.join("\n") + "\n";
            control.push(Entry::File("./conffiles".into(), list.into_bytes(), 0o644));
        }
        for (name, body) in &self.scripts {
            control.push(Entry::File(format!("./{name}"), body.clone().into_bytes(), 0o755));
        }
        archive(&gzip(&tar(&control)), &gzip(&tar(&self.entries)))
    }

    /// The package with its place in the pool and its stanza.
    pub fn build(&self) -> Deb {
        let bytes = self.bytes();
        let path = format!("pool/{}_{}_{}.deb", self.name, self.version, super::deb_arch());
        let stanza = format!("{}Filename: {path}\nSize: {}\nSHA256: {}\n", self.control(), bytes.len(), sha256(&bytes));
        Deb { path, stanza, bytes: bytes.into() }
    }
}

/// A package file of two members that are compressed already.
pub fn archive(control: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, content) in [("debian-binary", &b"2.0\n"[..]), ("control.tar.gz", control), ("data.tar.gz", data)] {
        // ar(5): name, time, owner, group, mode, size.
        let header = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len());
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(content);
        if content.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).expect("compressing in memory");
    encoder.finish().expect("compressing in memory")
}

/// A tar of the entries. The names go straight into the headers, because the library refuses hostile ones.
fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let (path, kind, mode, link, content) = match entry {
            Entry::Dir(path) => (path, tar::EntryType::Directory, 0o755, "", &[][..]),
            Entry::File(path, content, mode) => (path, tar::EntryType::Regular, *mode, "", &content[..]),
            Entry::Symlink(path, target) => (path, tar::EntryType::Symlink, 0o777, target.as_str(), &[][..]),
            Entry::Hardlink(path, target) => (path, tar::EntryType::Link, 0o644, target.as_str(), &[][..]),
        };
        let mut header = tar::Header::new_ustar();
        let fields = header.as_ustar_mut().expect("a ustar header");
        fields.name[..path.len()].copy_from_slice(path.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).expect("a tar in memory");
    }
    builder.into_inner().expect("a tar in memory")
}
