//! Package files that are damaged, exchanged or hostile.

use tar::EntryType;

use super::apk_maker::{Apk, dir, file, gzip, link, member};
use super::package::Package;
use super::stage::unpack;
use crate::hash::hex;

/// Whether a test can give files away; notes it where not.
pub fn is_root(test: &str) -> bool {
    let is = nix::unistd::geteuid().is_root();
    if !is {
        eprintln!("skipped: {test}: needs root");
    }
    is
}

/// Opens and unpacks a package file; the error as the user sees it.
fn unpacked(bytes: &[u8]) -> Result<(), String> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("a.apk");
    std::fs::write(&path, bytes).expect("a file");
    let package = Package::open(&path).map_err(|error| format!("{error:#}"))?;
    unpack(&package, dir.path().join("0")).map(|_| ()).map_err(|error| format!("{error:#}"))
}

fn refused(bytes: &[u8], says: &str) {
    let error = unpacked(bytes).expect_err(says);
    assert!(error.contains(says), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

fn sample() -> Apk {
    let mut apk = Apk::new(vec![dir("usr"), file("usr/a", b"content"), link("usr/b", "a")]);
    apk.scripts.push(("post-install", "#!/bin/sh\n".into()));
    apk
}

#[test]
fn a_sound_package_is_read() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let package = Package::open(&sample().write(dir.path(), "a")).expect("it is sound");
    assert_eq!((package.info.name.as_str(), package.info.version.as_str()), ("a", "1.0-r0"));
    assert_eq!(package.script("post-install"), Some(&b"#!/bin/sh\n"[..]));
    assert_eq!(package.signatures.len(), 1);
    assert!(package.info.checksum.starts_with("Q1") && package.info.checksum.len() == 30);
}

#[test]
fn a_changed_byte_in_any_member_is_found() {
    if !is_root("a_changed_byte_in_any_member_is_found") {
        return;
    }
    let apk = sample();
    let data = apk.data_member();
    let control = apk.control_member("a", &data);
    let signature = Apk::signature_member();
    let whole = [&signature[..], &control, &data].concat();
    unpacked(&whole).expect("it is sound");
    let ends = [signature.len(), signature.len() + control.len(), whole.len()];
    let mut start = 0;
    for end in ends {
        for at in [start, start + 20, (start + end) / 2, end - 6] {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            assert!(unpacked(&changed).is_err(), "byte {at} of {}", whole.len());
        }
        start = end;
    }
}

#[test]
fn members_of_another_package_are_found() {
    if !is_root("members_of_another_package_are_found") {
        return;
    }
    let (one, other) = (sample(), Apk::new(vec![dir("usr"), file("usr/a", b"evil")]));
    let (data, evil) = (one.data_member(), other.data_member());
    let control = one.control_member("a", &data);
    refused(&[Apk::signature_member(), control.clone(), evil.clone()].concat(), "but its .PKGINFO says");
    let identity = |bytes: &[u8]| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("a.apk"), bytes).expect("a file");
        Package::open(&dir.path().join("a.apk")).expect("it opens").info.checksum
    };
    // Another control member makes it another package, which the index does not name.
    let swapped = [other.control_member("a", &data), data.clone()].concat();
    let genuine = [control.clone(), data.clone()].concat();
    assert_ne!(identity(&swapped), identity(&genuine));
    refused(&[data.clone(), control].concat(), "is where the package should have its control files");
    refused(&[Apk::signature_member(), data].concat(), "is where the package should have its control files");
}

#[test]
fn cut_and_foreign_files_are_refused() {
    let apk = sample();
    let data = apk.data_member();
    let before = [Apk::signature_member(), apk.control_member("a", &data)].concat();
    refused(b"", "it is not an Alpine package");
    refused(b"!<arch>\ndebian-binary", "it is not an Alpine package");
    refused(b"ADBd\0\0\0\0schm", "with --engine apk-tools neither");
    refused(b"ADB.pckg", "format 3, which mkbase does not read");
    refused(&Apk::signature_member(), "it ends early or is damaged");
    refused(&before[..before.len() - 30], "it is cut short");
    if is_root("cut_and_foreign_files_are_refused") {
        let whole = [&before[..], &data].concat();
        for cut in [1, 9, 30, data.len() / 2, data.len()] {
            assert!(unpacked(&whole[..whole.len() - cut]).is_err(), "{cut}");
        }
        refused(&whole[..whole.len() - 30], "it is cut short");
        refused(&[&whole[..], b"more"].concat(), "something follows its data");
        refused(&[&whole[..], &gzip(b"more")].concat(), "something follows its data");
    }
}

#[test]
fn bombs_are_stopped() {
    let zeros = vec![0; 112 << 20];
    let bomb = gzip(&zeros);
    refused(&bomb, "a member before the data unpacks to more than 16 MiB");
    let apk = Apk::new(vec![dir("usr"), file("usr/a", &zeros)]);
    if is_root("bombs_are_stopped") {
        refused(&apk.bytes("a"), "it unpacks to far more than its size in .PKGINFO");
    }
}

#[test]
fn control_members_that_are_none() {
    let text = |name: &str, data: &[u8]| member(name, EntryType::Regular, "", 0o644, data, &[]);
    let with = |members: &[Vec<u8>]| [gzip(&members.concat()), gzip(b"")].concat();
    let info = b"pkgname = a\npkgver = 1\n";
    let hash = format!("datahash = {}\n", hex(&[0; 32]));
    let good = [&info[..], hash.as_bytes()].concat();
    for (bytes, says) in [
        (with(&[text(".PKGINFO", info)]), "its .PKGINFO has no datahash"),
        (with(&[text(".PKGINFO", &good), text(".PKGINFO", &good)]), "it has .PKGINFO twice"),
        (with(&[text(".trigger", b""), text(".trigger", b"")]), "it has .trigger twice"),
        (with(&[text(".trigger", b"")]), "it has no .PKGINFO"),
        (with(&[text(".PKGINFO", &good), text(".SIGN.RSA.x", b"")]), "comes after what it should be of"),
        (with(&[text(".SIGN.RSA.x", b""), text(".PKGINFO", &good)]), "which they are not of"),
        (with(&[member(".PKGINFO", EntryType::Symlink, "/etc/passwd", 0o777, b"", &[])]), "is not a regular file"),
        (with(&[text(".PKGINFO", b"pkgname = ../a\npkgver = 1\n")]), "is not the name of a package"),
        (with(&[text(".PKGINFO", b"\xff")]), "is not UTF-8"),
    ] {
        refused(&bytes, says);
    }
}

#[test]
fn hostile_members_are_refused() {
    if !is_root("hostile_members_are_refused") {
        return;
    }
    let sum = |data: &str| hex(&<sha1::Sha1 as sha1::Digest>::digest(data));
    let plain = |name: &str, kind, link: &str| member(name, kind, link, 0o644, b"", &[]);
    for (data, says) in [
        (vec![file("../a", b"")], "its path leads out of the root"),
        (vec![dir("usr"), file("usr/../../a", b"")], "its path leads out of the root"),
        (vec![file("/etc/passwd", b"")], "it is absolute"),
        (vec![dir("usr"), file("usr//a", b"")], "has an empty part"),
        (vec![file("./a", b"")], "'.' in it"),
        (vec![dir("usr"), file("usr/a\u{1}", b"")], "a control character"),
        (vec![file("a", b""), file("a", b"")], "the package has this path twice"),
        (vec![dir("a"), link("a", "/etc")], "the package has this path twice"),
        (vec![plain("a", EntryType::Link, "../../etc/passwd")], "its path leads out of the root"),
        (vec![plain("a", EntryType::Link, "/etc/passwd")], "it is absolute"),
        (vec![plain("a", EntryType::Link, "etc/passwd")], "no earlier file of the package"),
        (vec![dir("d"), plain("a", EntryType::Link, "d")], "no earlier file of the package"),
        (vec![plain("a", EntryType::Char, "")], "it is a device"),
        (vec![plain("a", EntryType::Block, "")], "it is a device"),
        (vec![plain("a", EntryType::Regular, "")], "it has no checksum"),
        (vec![member("a", EntryType::Regular, "", 0o644, b"x", &[("APK-TOOLS.checksum.SHA1", b"00")])], "is no SHA-1"),
        (
            vec![member("a", EntryType::Regular, "", 0o644, b"x", &[("APK-TOOLS.checksum.SHA1", sum("y").as_bytes())])],
            "its content is not what the package's checksum is of",
        ),
        (
            vec![member("a", EntryType::Symlink, "x", 0o777, b"", &[("APK-TOOLS.checksum.SHA1", sum("y").as_bytes())])],
            "its target is not what the package's checksum is of",
        ),
    ] {
        refused(&Apk::new(data).bytes("a"), says);
    }
}
