//! Makes package files for tests, hostile ones too.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use tar::EntryType;

/// A member of the data archive. Owned by whoever runs the test, so that it needs no root.
pub struct Entry {
    name: Vec<u8>,
    kind: EntryType,
    link: Vec<u8>,
    mode: u32,
    uid: u32,
    gid: u32,
    data: Vec<u8>,
    size: Option<u64>,
}

impl Entry {
    fn new(name: &str, kind: EntryType, link: &str, mode: u32, data: &[u8]) -> Entry {
        Entry {
            name: name.into(),
            kind,
            link: link.into(),
            mode,
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            data: data.into(),
            size: None,
        }
    }

    pub fn dir(name: &str) -> Entry {
        Entry::new(name, EntryType::Directory, "", 0o755, b"")
    }

    pub fn file(name: &str, data: &str) -> Entry {
        Entry::new(name, EntryType::Regular, "", 0o644, data.as_bytes())
    }

    pub fn link(name: &str, target: &str) -> Entry {
        Entry::new(name, EntryType::Symlink, target, 0o777, b"")
    }

    pub fn hard(name: &str, target: &str) -> Entry {
        Entry::new(name, EntryType::Link, target, 0o644, b"")
    }

    pub fn special(name: &str, kind: EntryType) -> Entry {
        Entry::new(name, kind, "", 0o600, b"")
    }

    pub fn pax(records: &[(&str, &str)]) -> Entry {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = format!(" {key}={value}\n");
            let mut length = rest.len() + 1;
            while format!("{length}{rest}").len() != length {
                length += 1;
            }
            data.extend_from_slice(format!("{length}{rest}").as_bytes());
        }
        Entry { data, ..Entry::new("pax", EntryType::XHeader, "", 0o644, b"") }
    }

    pub fn long_name(name: &str) -> Entry {
        Entry::new("././@LongLink", EntryType::GNULongName, "", 0o644, format!("{name}\0").as_bytes())
    }

    pub fn mode(mut self, mode: u32) -> Entry {
        self.mode = mode;
        self
    }

    pub fn owner(mut self, uid: u32, gid: u32) -> Entry {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// Says another size than it has.
    pub fn says(mut self, size: u64) -> Entry {
        self.size = Some(size);
        self
    }
}

/// A tar archive, the names as they are.
pub fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..entry.name.len()].copy_from_slice(&entry.name);
        header.as_old_mut().linkname[..entry.link.len()].copy_from_slice(&entry.link);
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.uid.into());
        header.set_gid(entry.gid.into());
        header.set_mtime(1_000_000);
        header.set_size(entry.size.unwrap_or(entry.data.len() as u64));
        if matches!(entry.kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(1).expect("it fits");
            header.set_device_minor(3).expect("it fits");
        }
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&entry.data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// An ar archive.
pub fn ar(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, data) in members {
        out.extend_from_slice(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, data.len()).as_bytes(),
        );
        out.extend_from_slice(data);
        if data.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, data).expect("it compresses");
    encoder.finish().expect("it ends")
}

/// A package file with this control file; `more` are other control files.
pub fn deb_bytes(control: &str, more: &[(&str, &str)], data: &[Entry]) -> Vec<u8> {
    let mut files = vec![Entry::dir("./"), Entry::file("./control", control)];
    files.extend(more.iter().map(|(name, text)| Entry::file(&format!("./{name}"), text)));
    ar(&[
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&tar(&files))),
        ("data.tar.gz", gzip(&tar(data))),
    ])
}

/// Writes a package file. `control` begins with the name, and lacks the version and the architecture.
pub fn deb(dir: &Path, control: &str, more: &[(&str, &str)], data: &[Entry]) -> PathBuf {
    let name = control.lines().next().and_then(|l| l.strip_prefix("Package: ")).expect("it begins with the name");
    let control = format!("{control}Version: 1\nArchitecture: amd64\n");
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let path = dir.join(format!("{name}-{}.deb", COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::write(&path, deb_bytes(&control, more, data)).expect("a file");
    path
}
