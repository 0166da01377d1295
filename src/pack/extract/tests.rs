use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::*;
use crate::pack::header::{BLOCK, Header, kind};

/// A place with a root in it, and things beside the root that must not change.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(dir.path().join("root")).expect("a folder");
        fs::create_dir(dir.path().join("outside")).expect("a folder");
        fs::write(dir.path().join("outside/secret"), "secret").expect("a file");
        Place { dir }
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn extract(&self, archive: &[u8]) -> Result<Extracted> {
        extract(archive, &Root::open(self.root()).expect("it opens"))
    }

    /// Nothing beside the root is new, gone, or changed.
    fn untouched(&self) {
        let names = |path: &Path| {
            let mut names: Vec<_> =
                fs::read_dir(path).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(self.dir.path()), ["outside", "root"]);
        assert_eq!(names(&self.outside()), ["secret"]);
        let secret = self.outside().join("secret");
        assert_eq!(fs::read_to_string(&secret).expect("it is there"), "secret");
        assert_eq!(fs::metadata(&secret).expect("stat").nlink(), 1);
    }
}

/// Builds archives, good and bad.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn entry(mut self, header: Header<'_>, content: &[u8]) -> Archive {
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        Header { uid, gid, mode: 0o755, mtime: 1000, ..header }.write_to(&mut self.0);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    fn file(self, path: impl AsRef<[u8]>, content: &[u8]) -> Archive {
        let header = Header { path: path.as_ref(), kind: kind::FILE, size: content.len() as u64, ..Header::default() };
        self.entry(header, content)
    }

    fn folder(self, path: impl AsRef<[u8]>) -> Archive {
        self.entry(Header { path: path.as_ref(), kind: kind::DIR, ..Header::default() }, b"")
    }

    fn link(self, kind: u8, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Archive {
        self.entry(Header { path: path.as_ref(), kind, link: target.as_ref(), ..Header::default() }, b"")
    }

    fn symlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Archive {
        self.link(kind::SYMLINK, path, target)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}

#[test]
fn names_that_climb_are_refused() {
    for name in ["../outside/new", "a/../../outside/new", "./..", "..", "a/.."] {
        let place = Place::new();
        for archive in [
            Archive::default().folder("a").file(name, b"x").end(),
            Archive::default().folder("a").folder(name).end(),
            Archive::default().folder("a").symlink(name, "x").end(),
            Archive::default().file("f", b"x").link(kind::HARD_LINK, name, "f").end(),
        ] {
            let error = format!("{:#}", place.extract(&archive).expect_err(name));
            assert!(error.contains("'..'"), "{error}");
            place.untouched();
        }
    }
}

#[test]
fn absolute_names_are_below_the_root() {
    let place = Place::new();
    let target = place.outside().join("new");
    let name = target.to_str().expect("text");
    place.extract(&Archive::default().file(name, b"x").end()).expect("extracted");
    place.untouched();
    assert_eq!(fs::read(place.root().join(&name[1..])).expect("it is inside"), b"x");
}

#[test]
fn links_do_not_lead_out() {
    let place = Place::new();
    let outside = place.outside();
    let outside = outside.to_str().expect("text");
    // Written through links: to a folder outside, to one above, and over a link to a file outside.
    for (target, name) in
        [(outside, "way/new"), ("../outside", "way/new"), ("../../../../../../..", "way/new"), (outside, "way/secret")]
    {
        let place = Place::new();
        // The kernel resolves the link inside the root, where its target may be absent: then it is an error.
        let _ = place.extract(&Archive::default().symlink("way", target).file(name, b"x").end());
        let _ = place.extract(&Archive::default().symlink("way", target).folder(name).end());
        place.untouched();
    }
    let secret = format!("{outside}/secret");
    place.extract(&Archive::default().symlink("f", &secret).file("f", b"new").end()).expect("replaced, not followed");
    assert_eq!(fs::read(place.root().join("f")).expect("a file"), b"new");
    place.untouched();
    // A chain of links, and a link that replaces a folder.
    let chain = Archive::default().folder("d").symlink("d/up", "..").symlink("d/up2", "up/../..");
    let _ = place.extract(&chain.file("d/up2/outside/new", b"x").end());
    place.untouched();
    let swapped = Archive::default().folder("e").symlink("e", outside).file("e/new", b"x").end();
    let _ = place.extract(&swapped);
    place.untouched();
    // A folder over a link takes its place.
    place.extract(&Archive::default().symlink("g", outside).folder("g").file("g/new", b"x").end()).expect("extracted");
    assert!(fs::symlink_metadata(place.root().join("g")).expect("stat").is_dir());
    place.untouched();
}

#[test]
fn hard_links_do_not_lead_out() {
    let place = Place::new();
    let secret = place.outside().join("secret");
    for target in ["../outside/secret", "x/../../outside/secret", secret.to_str().expect("text")] {
        let archive = Archive::default().folder("x").link(kind::HARD_LINK, "stolen", target).end();
        place.extract(&archive).expect_err(target);
        place.untouched();
    }
    // Through a link that leads out, and to a link that does: the second is a link to the link.
    let outside = place.outside();
    let outside = outside.to_str().expect("text");
    let through = Archive::default().symlink("way", outside).link(kind::HARD_LINK, "stolen", "way/secret").end();
    place.extract(&through).expect_err("its target is not in the root");
    place.untouched();
    let to_link = Archive::default().symlink("l", secret.to_str().expect("text")).link(kind::HARD_LINK, "m", "l");
    place.extract(&to_link.file("m", b"new").end()).expect("extracted");
    place.untouched();
}

#[test]
fn what_lay_there_before_does_not_lead_out() {
    let place = Place::new();
    symlink(place.outside(), place.root().join("before")).expect("a link");
    let _ = place.extract(&Archive::default().file("before/new", b"x").end());
    let _ = place.extract(&Archive::default().file("before/secret", b"x").end());
    place.untouched();
}

#[test]
fn damaged_archives_are_refused() {
    let good = Archive::default().file("f", &[1; 2000]).end();
    let place = Place::new();
    place.extract(&good).expect("it is good");
    for (what, archive) in [
        ("empty", Vec::new()),
        ("no tar", b"#!/bin/sh\n".repeat(200)),
        ("cut in a header", good[..300].to_vec()),
        ("cut in content", good[..1500].to_vec()),
        ("no end", good[..good.len() - 2 * BLOCK].to_vec()),
        ("a changed header", [b"g", &good[1..]].concat()),
        ("bzip2", b"BZh91AY".repeat(100)),
    ] {
        place.extract(&archive).expect_err(what);
    }
    for letter in [b'S', b'D', b'M', b'V', b'Z', 0xff] {
        let header = Header { path: b"f", kind: letter, ..Header::default() };
        place.extract(&Archive::default().entry(header, b"").end()).expect_err("an unknown type");
    }
    for name in [vec![b'n'; 5000], b"a\0b".repeat(50), vec![b'n'; 300]] {
        place.extract(&Archive::default().file(&name, b"").end()).expect_err("a name no file can have");
    }
    place.extract(&Archive::default().file("", b"x").end()).expect_err("no name");
    place.extract(&Archive::default().file("./", b"x").end()).expect_err("the root is no file");
    place.extract(&Archive::default().folder("d").file("d/f", b"").file("d", b"x").end()).expect_err("d is in use");
    place.untouched();
}

#[test]
fn damaged_compression_is_refused() {
    use std::io::Write;
    let place = Place::new();
    let tar = Archive::default().file("f", &[1; 20_000]).end();
    let mut xz = xz2::write::XzEncoder::new(Vec::new(), 0);
    xz.write_all(&tar).expect("compressed");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).expect("compressed");
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
    zstd.include_checksum(true).expect("a checksum");
    zstd.write_all(&tar).expect("compressed");
    for good in [xz.finish().expect("xz"), gzip.finish().expect("gzip"), zstd.finish().expect("zstd")] {
        place.extract(&good).expect("it is good");
        place.extract(&good[..good.len() - 3]).expect_err("cut short");
        let mut changed = good.clone();
        let last = changed.len() - if good[0] == 0xfd { 30 } else { 6 };
        changed[last] ^= 0x40;
        place.extract(&changed).expect_err("one bit changed");
    }
}

#[test]
fn bombs_stop_at_the_limits() {
    use std::io::Write;
    let place = Place::new();
    let root = Root::open(place.root()).expect("it opens");
    let limits = Limits { bytes: 1 << 20, entries: 100 };
    let many = (0..200).fold(Archive::default(), |archive, n| archive.folder(format!("d{n}"))).end();
    extract_within(many.as_slice(), &root, limits).expect_err("too many entries");

    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let header = Header { path: b"zeros", kind: kind::FILE, size: 1 << 30, ..Header::default() };
    bomb.write_all(&Archive::default().entry(header, b"").0).expect("compressed");
    bomb.write_all(&vec![0; 8 << 20]).expect("compressed");
    let bomb = bomb.finish().expect("compressed");
    let error = extract_within(bomb.as_slice(), &root, limits).expect_err("too many bytes");
    assert!(format!("{error:#}").contains("more than 1048576 bytes"), "{error:#}");

    // Headers that say they are large: refused before any memory is taken for them.
    for letter in [kind::PAX, kind::PAX_GLOBAL, kind::GNU_LONG_NAME, kind::GNU_LONG_LINK] {
        let header = Header { path: b"x", kind: letter, size: (8 << 30) - 1, ..Header::default() };
        let error = place.extract(&Archive::default().entry(header, b"").end()).expect_err("too large");
        assert!(format!("{error:#}").contains("extended headers"), "{error:#}");
    }
    // Zeros after the end count too.
    let mut padded = Archive::default().folder("d").end();
    padded.resize(2 << 20, 0);
    extract_within(padded.as_slice(), &root, limits).expect_err("too much padding");
    // A size that would overflow with its padding.
    let mut huge = Archive::default().file("h", b"").0;
    huge[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let block: &mut [u8; BLOCK] = (&mut huge[..BLOCK]).try_into().expect("a block");
    let sum = format!("{:06o}\0 ", crate::pack::header::checksum(block));
    block[148..156].copy_from_slice(sum.as_bytes());
    place.extract(&huge).expect_err("no archive is that large");
}

#[test]
fn gnu_names_old_files_and_missing_parents() {
    let place = Place::new();
    let name = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let target = "t".repeat(200);
    let long = |letter, text: &str| {
        let content = format!("{text}\0");
        let header = Header { path: b"././@LongLink", kind: letter, size: content.len() as u64, ..Header::default() };
        Archive::default().entry(header, content.as_bytes()).0
    };
    let mut archive = long(kind::GNU_LONG_NAME, &name);
    archive.extend(Archive::default().file("short", b"x").0);
    archive.extend(long(kind::GNU_LONG_LINK, &target));
    archive.extend(Archive::default().symlink("link", "short").0);
    let old = Header { path: b"old/", kind: kind::OLD_FILE, ..Header::default() };
    let contiguous = Header { path: b"old/f", kind: kind::CONTIGUOUS, size: 1, ..Header::default() };
    archive.extend(Archive::default().entry(old, b"").entry(contiguous, b"y").end());
    place.extract(&archive).expect("extracted");
    assert_eq!(fs::read(place.root().join(name)).expect("it is there"), b"x");
    assert_eq!(fs::read_link(place.root().join("link")).expect("a link"), Path::new(&target));
    assert!(place.root().join("old").is_dir());
    assert_eq!(fs::read(place.root().join("old/f")).expect("it is there"), b"y");
}

#[test]
fn read_only_folders_and_their_times() {
    let place = Place::new();
    let mut archive = Archive::default();
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let header = Header { path: b"d/", kind: kind::DIR, mode: 0o555, mtime: 77, uid, gid, ..Header::default() };
    header.write_to(&mut archive.0);
    place.extract(&archive.file("d/f", b"x").end()).expect("extracted");
    let stat = fs::metadata(place.root().join("d")).expect("stat");
    assert_eq!((stat.mode() & 0o7777, stat.mtime()), (0o555, 77));
    // So that an ordinary user can remove the temporary folder.
    Root::open(place.root()).expect("it opens").chmod("d", 0o755).expect("a mode");
}
