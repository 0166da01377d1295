//! Package files, good and bad.

use std::path::{Path, PathBuf};

use tar::EntryType;

use super::archive::Deb;
use super::deb_maker::{Entry, ar, deb, gzip, tar};
use crate::family::members::Kind;

fn control() -> Vec<u8> {
    tar(&[Entry::dir("./"), Entry::file("./control", "Package: a\nVersion: 1\nArchitecture: all\n")])
}

fn open(bytes: &[u8]) -> anyhow::Result<Deb> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("a.deb");
    std::fs::write(&path, bytes).expect("a file");
    Deb::open(&path)
}

fn error(result: anyhow::Result<impl Sized>) -> String {
    result.err().map(|e| format!("{e:#}")).unwrap_or_default()
}

#[test]
fn every_compression_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = tar(&[Entry::dir("./"), Entry::file("./a", "content")]);
    let xz = |data: &[u8]| {
        let mut encoder = xz2::write::XzEncoder::new(Vec::new(), 1);
        std::io::Write::write_all(&mut encoder, data).expect("it compresses");
        encoder.finish().expect("it ends")
    };
    let zstd = |data: &[u8]| zstd::encode_all(data, 1).expect("it compresses");
    for (ending, control, data) in [
        ("", control(), data.clone()),
        (".gz", gzip(&control()), gzip(&data)),
        (".xz", xz(&control()), xz(&data)),
        (".zst", zstd(&control()), zstd(&data)),
    ] {
        let members = [
            ("debian-binary", b"2.0\n".to_vec()),
            ("_ignored", b"odd".to_vec()),
            (&format!("control.tar{ending}") as &str, control),
            (&format!("data.tar{ending}/") as &str, data),
            ("trailer", b"ignored".to_vec()),
        ];
        let path = dir.path().join("a.deb");
        std::fs::write(&path, ar(&members)).expect("a file");
        let deb = Deb::open(&path).expect("it opens");
        assert_eq!(deb.control().field("Package"), "a");
        let mut seen = Vec::new();
        deb.members(|member, content| {
            let mut text = String::new();
            content.read_to_string(&mut text)?;
            seen.push((member.path, text));
            Ok(())
        })
        .expect("it reads");
        assert_eq!(seen, [(PathBuf::new(), String::new()), (PathBuf::from("a"), "content".into())], "{ending}");
    }
}

#[test]
fn broken_packages_are_refused() {
    let two = || ("debian-binary", b"2.0\n".to_vec());
    let control = || ("control.tar.gz", gzip(&control()));
    let whole = ar(&[two(), control(), ("data.tar", tar(&[]))]);
    assert!(open(&whole).is_ok());
    let no_control = tar(&[Entry::file("./md5sums", "")]);
    let link = tar(&[Entry::link("./control", "/etc/passwd")]);
    let nested = tar(&[Entry::file("./x/control", "Package: a\n")]);
    let garbage = tar(&[Entry::file("./control", "no colon\n")]);
    for (bytes, expected) in [
        (b"!<arch>".to_vec(), "too short"),
        (b"PK\x03\x04 a zip archive".to_vec(), "not a Debian package"),
        (ar(&[("debian-binary", b"3.0\n".to_vec()), control()]), "format 2"),
        (ar(&[two(), ("data.tar", tar(&[]))]), "not control.tar"),
        (ar(&[two(), control()]), "ends early"),
        (ar(&[two(), control(), ("other", Vec::new())]), "not data.tar"),
        (ar(&[two(), ("control.tar.bz2", Vec::new()), ("data.tar", Vec::new())]), ".bz2"),
        (ar(&[two(), ("control.tar.gz", b"not gzip".to_vec())]), "control.tar.gz"),
        (ar(&[two(), ("control.tar", no_control), ("data.tar", Vec::new())]), "no file control"),
        (ar(&[two(), ("control.tar", link), ("data.tar", Vec::new())]), "not a regular file"),
        (ar(&[two(), ("control.tar", nested), ("data.tar", Vec::new())]), "x/control"),
        (ar(&[two(), ("control.tar", garbage), ("data.tar", Vec::new())]), "the file control"),
        (whole[..whole.len() - 100].to_vec(), "cut short"),
    ] {
        let error = error(open(&bytes));
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
}

fn read(data: &[Entry]) -> (Vec<crate::family::members::Member>, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = deb(dir.path(), "Package: a\n", &[], data);
    let mut members = Vec::new();
    let result = Deb::open(&path).expect("it opens").members(|member, content| {
        std::io::copy(content, &mut std::io::sink())?;
        members.push(member);
        Ok(())
    });
    (members, error(result))
}

#[test]
fn names_are_cleaned_and_extended() {
    let long = "d/".repeat(100) + "file";
    let (members, error) = read(&[
        Entry::dir("./a//b/./c/"),
        Entry::file("/absolute", "x"),
        Entry::long_name(&long),
        Entry::file("short", "x"),
        Entry::pax(&[("path", "päx"), ("uid", "7"), ("mtime", "5.5"), ("SCHILY.xattr.security.capability", "cap")]),
        Entry::file("short", "x"),
        Entry::hard("./hard", "./absolute"),
    ]);
    assert_eq!(error, "");
    let paths: Vec<&Path> = members.iter().map(|m| m.path.as_path()).collect();
    assert_eq!(paths, ["a/b/c", "absolute", &long, "päx", "hard"].map(Path::new));
    assert_eq!((members[3].uid, members[3].mtime), (7, 5));
    assert_eq!(members[3].xattrs, [("security.capability".to_string(), b"cap".to_vec())]);
    assert_eq!(members[4].kind, Kind::Hardlink("absolute".into()));
}

#[test]
fn hostile_members_are_refused() {
    let huge = Entry::long_name("x").says(2 << 20);
    let cut = Entry::file("x", "short").says(5000);
    for (entries, expected) in [
        (vec![Entry::file("../x", "")], "out of the root"),
        (vec![Entry::file("a/../../x", "")], "out of the root"),
        (vec![Entry::hard("x", "../etc/passwd")], "out of the root"),
        (vec![Entry::file("a\nb", "")], "line break"),
        (vec![Entry::link("x", "")], "broken target"),
        (vec![Entry::file(".", "")], "the root itself"),
        (vec![Entry::special("x", EntryType::new(b'Z'))], "unknown type"),
        (vec![Entry::long_name(&"x".repeat(5000)), Entry::file("x", "")], "longer than"),
        (vec![huge], "extension header"),
        (vec![cut], "ends in a file"),
        (vec![Entry::pax(&[("size", "9")]), Entry::file("x", "")], "8 GiB"),
        (vec![Entry::pax(&[("uid", "4294967295")]), Entry::file("x", "")], "broken owner"),
    ] {
        let (_, error) = read(&entries);
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
}

#[test]
fn a_bomb_is_stopped() {
    let dir = tempfile::tempdir().expect("a folder");
    let zeros = "\0".repeat(128 << 20);
    let path = deb(dir.path(), "Package: a\nInstalled-Size: 1\n", &[], &[Entry::file("./zeros", &zeros)]);
    let mut bytes = 0;
    let result = Deb::open(&path).expect("it opens").members(|_, content| {
        bytes += std::io::copy(content, &mut std::io::sink())?;
        Ok(())
    });
    let error = error(result);
    assert!(error.contains("Installed-Size"), "{error} after {bytes} bytes");
    let honest = deb(dir.path(), "Package: a\nInstalled-Size: 131072\n", &[], &[Entry::file("./zeros", &zeros)]);
    Deb::open(&honest).expect("it opens").members(|_, _| Ok(())).expect("it says what it is");
}
