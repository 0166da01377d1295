//! Package files that are damaged, exchanged or hostile, and what comes of packages that share paths.

use tar::EntryType;

use super::apk_maker::{Apk, dir, file, gzip, link, member, owned_by};
use super::database::{self, Record};
use super::package::Package;
use super::stage::{Staged, unpack};
use super::tree::Tree;
use crate::hash::hex;
use crate::lock::LockedPackage;
use crate::root::Root;

fn is_root(test: &str) -> bool {
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
    refused(b"ADBd\0\0\0\0schm", "use --engine apk-tools");
    refused(b"ADB.pckg", "format 3");
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

/// Packages in the order of installation, in a tree.
struct Lab {
    dir: tempfile::TempDir,
    packages: Vec<Package>,
    staged: Vec<Staged>,
}

impl Lab {
    fn new(apks: &[(&str, Apk)]) -> Lab {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(dir.path().join("tree")).expect("a folder");
        let (mut packages, mut staged) = (Vec::new(), Vec::new());
        for (number, (name, apk)) in apks.iter().enumerate() {
            let package = Package::open(&apk.write(dir.path(), name)).expect("it is sound");
            staged.push(unpack(&package, dir.path().join(number.to_string())).expect("it is sound"));
            packages.push(package);
        }
        Lab { dir, packages, staged }
    }

    fn tree(&self) -> std::path::PathBuf {
        self.dir.path().join("tree")
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.tree().join(path)).expect(path)
    }

    /// Installs all; the error as the user sees it.
    fn install(&self) -> Result<(), String> {
        let root = Root::open(self.tree()).expect("it opens");
        let mut tree = Tree::new(&root, &self.packages);
        for (number, staged) in self.staged.iter().enumerate() {
            tree.add(number, staged).map_err(|error| format!("{error:#}"))?;
        }
        Ok(())
    }
}

fn with(lines: &str, data: Vec<Vec<u8>>) -> Apk {
    Apk { lines: lines.into(), ..Apk::new(data) }
}

#[test]
fn shared_paths_are_settled_as_apk_does() {
    if !is_root("shared_paths_are_settled_as_apk_does") {
        return;
    }
    let apk = |lines: &str, text: &str| with(lines, vec![dir("usr"), file("usr/x", text.as_bytes())]);
    // Lines of the first and the second package, and whose file is there in the end.
    for (first, second, winner) in [
        ("", "replaces = a\n", "b"),
        ("replaces = b\n", "", "a"),
        ("replaces = b\n", "replaces = a\n", "b"),
        ("replaces = b\nreplaces_priority = 2\n", "replaces = a\nreplaces_priority = 1\n", "a"),
        ("replaces = b\nreplaces_priority = 1\n", "replaces = a\nreplaces_priority = 2\n", "b"),
        ("", "replaces = a<2\n", "b"),
        ("origin = o\n", "origin = o\n", "b"),
    ] {
        let lab = Lab::new(&[("a", apk(first, "a")), ("b", apk(second, "b"))]);
        lab.install().expect("one of them has it");
        assert_eq!(lab.text("usr/x"), winner, "{first} {second}");
    }
    for second in ["", "replaces = a>2\n", "replaces = c\n", "origin = o\n"] {
        let error = Lab::new(&[("a", apk("", "a")), ("b", apk(second, "b"))]).install().expect_err(second);
        assert!(error.contains("/usr/x, which the package a has too"), "{error}");
    }
}

#[test]
fn changed_configuration_stays_and_the_packages_goes_beside_it() {
    if !is_root("changed_configuration_stays_and_the_packages_goes_beside_it") {
        return;
    }
    let apk = || Apk::new(vec![dir("etc"), dir("etc/a"), file("etc/a/x.conf", b"new"), file("etc/same", b"same")]);
    let lab = Lab::new(&[("a", apk())]);
    std::fs::create_dir_all(lab.tree().join("etc/a")).expect("a folder");
    std::fs::write(lab.tree().join("etc/a/x.conf"), "mine").expect("a file");
    std::fs::write(lab.tree().join("etc/same"), "same").expect("a file");
    lab.install().expect("it installs");
    assert_eq!((lab.text("etc/a/x.conf"), lab.text("etc/a/x.conf.apk-new")), ("mine".into(), "new".into()));
    assert!(!lab.tree().join("etc/same.apk-new").exists());
    let lab = Lab::new(&[("a", Apk::new(vec![dir("opt"), file("opt/x.conf", b"new")]))]);
    std::fs::create_dir_all(lab.tree().join("opt")).expect("a folder");
    std::fs::write(lab.tree().join("opt/x.conf"), "mine").expect("a file");
    lab.install().expect("it installs");
    assert_eq!(lab.text("opt/x.conf"), "new", "outside of /etc files are the package's");
}

#[test]
fn links_of_one_package_lead_no_file_of_another_out() {
    if !is_root("links_of_one_package_lead_no_file_of_another_out") {
        return;
    }
    let outside = tempfile::tempdir().expect("a temporary folder");
    let target = outside.path().to_str().expect("text").to_owned();
    let up = format!("../../../../../../../../..{target}");
    for target in [target.as_str(), up.as_str()] {
        let lab = Lab::new(&[
            ("a", Apk::new(vec![link("x", target)])),
            ("b", Apk::new(vec![dir("x"), file("x/evil", b"evil")])),
        ]);
        let error = lab.install().expect_err("the folder is a link");
        assert!(error.contains("it is a folder in the package and none in the tree"), "{error}");
        assert_eq!(std::fs::read_dir(outside.path()).expect("it is there").count(), 0);
    }
    // Inside the tree a link to a folder is gone through, as in a running system.
    let lab = Lab::new(&[
        ("a", Apk::new(vec![dir("usr"), dir("usr/bin"), link("bin", "/usr/bin")])),
        ("b", Apk::new(vec![dir("bin"), file("bin/tool", b"tool")])),
    ]);
    lab.install().expect("it installs");
    assert_eq!(lab.text("usr/bin/tool"), "tool");
}

#[test]
fn odd_trees_are_refused() {
    if !is_root("odd_trees_are_refused") {
        return;
    }
    for (apks, says) in [
        (vec![("a", Apk::new(vec![file("usr/x", b"")]))], "no entry for its folder"),
        (vec![("a", Apk::new(vec![file("x", b"")])), ("b", Apk::new(vec![dir("x")]))], "none in the tree"),
        (vec![("a", Apk::new(vec![dir("x")])), ("b", Apk::new(vec![file("x", b"")]))], "putting /x in its place"),
    ] {
        let error = Lab::new(&apks).install().expect_err(says);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn hard_links_modes_and_attributes_are_kept() {
    use std::os::unix::fs::MetadataExt as _;
    if !is_root("hard_links_modes_and_attributes_are_kept") {
        return;
    }
    let data = b"program";
    let sum = hex(&<sha1::Sha1 as sha1::Digest>::digest(data));
    // CAP_NET_RAW, as setcap writes it.
    let capability = [&[1, 0, 0, 2, 0, 0x20, 0, 0][..], &[0; 12]].concat();
    let records =
        [("APK-TOOLS.checksum.SHA1", sum.as_bytes()), ("SCHILY.xattr.security.capability", capability.as_slice())];
    let apk = Apk::new(vec![
        dir("bin"),
        member("bin/a", EntryType::Regular, "", 0o4755, data, &records),
        member("bin/b", EntryType::Link, "bin/a", 0o4755, b"", &[]),
        member("bin/c", EntryType::Link, "bin/b", 0o4755, b"", &[]),
    ]);
    let lab = Lab::new(&[("a", apk)]);
    lab.install().expect("it installs");
    let meta = |path: &str| std::fs::metadata(lab.tree().join(path)).expect(path);
    assert_eq!(
        (meta("bin/a").nlink(), meta("bin/a").mode() & 0o7777, meta("bin/a").mtime()),
        (3, 0o4755, 1_700_000_000)
    );
    assert_eq!(meta("bin/a").ino(), meta("bin/c").ino());
    let there = xattr::get(lab.tree().join("bin/b"), "security.capability").expect("it reads");
    assert_eq!(there, Some(capability));
}

#[test]
fn owners_are_who_the_tree_knows_by_their_names() {
    use std::os::unix::fs::MetadataExt as _;
    if !is_root("owners_are_who_the_tree_knows_by_their_names") {
        return;
    }
    let passwd = file("etc/passwd", b"root:x:0:0::/:\nwww:x:82:82::/:\nbad:x:x:1::/:\n");
    let group = file("etc/group", b"root:x:0:\nwww:x:83:\n");
    let set_id = member(
        "srv/tool",
        EntryType::Regular,
        "",
        0o6755,
        b"",
        &[("APK-TOOLS.checksum.SHA1", b"da39a3ee5e6b4b0d3255bfef95601890afd80709")],
    );
    let data = vec![
        owned_by(dir("srv"), "www", "www"),
        owned_by(file("srv/a", b""), "www", "nobody-knows"),
        owned_by(link("srv/l", "a"), "www", "www"),
        owned_by(set_id, "root", "www"),
    ];
    let lab = Lab::new(&[("base", Apk::new(vec![dir("etc"), group, passwd])), ("b", Apk::new(data))]);
    lab.install().expect("it installs");
    let owner = |path: &str| {
        let meta = std::fs::symlink_metadata(lab.tree().join(path)).expect(path);
        (meta.uid(), meta.gid(), meta.mode() & 0o7777)
    };
    assert_eq!(owner("srv"), (82, 83, 0o755));
    assert_eq!(owner("srv/a"), (82, 0, 0o644));
    assert_eq!((owner("srv/l").0, owner("srv/l").1), (82, 83));
    assert_eq!(owner("srv/tool"), (0, 83, 0o6755));
}

#[test]
fn the_database_is_written_as_apk_writes_it() {
    use std::io::Read as _;
    if !is_root("the_database_is_written_as_apk_writes_it") {
        return;
    }
    let name = "b-with-a-name-that-makes-the-path-of-its-script-in-the-archive-longer-than-a-tar-header-holds";
    let lab =
        Lab::new(&[(name, second()), ("a", Apk::new(vec![dir("usr"), file("usr/x", b"1"), file("usr/y", b"y")]))]);
    let root = Root::open(lab.tree()).expect("it opens");
    let mut tree = Tree::new(&root, &lab.packages);
    tree.add(1, &lab.staged[1]).and_then(|()| tree.add(0, &lab.staged[0])).expect("b replaces a");
    let locked: Vec<LockedPackage> = lab.packages.iter().map(|package| locked(&package.info.name)).collect();
    let records = lab.packages.iter().zip(&locked).enumerate().map(|(index, (package, locked))| Record {
        package,
        locked,
        tag: if index == 0 { "edge".into() } else { String::new() },
        index,
    });
    let world = ["a".to_owned(), "b@edge".to_owned()];
    database::write(&root, "x86_64", &world, records.collect(), &tree).expect("it can be written");
    let checksum = |index: usize| &lab.packages[index].info.checksum;
    let expected = format!(
        "C:{}\nP:a\nV:1.0-r0\nA:x86_64\nS:9\nI:1\nT:\nU:\nL:\nF:usr\nR:y\nZ:Q1lcsL/Sl3x2EpjZYk5LTUxyo5l0o=\n\n\
         C:{}\nP:{name}\nV:1.0-r0\nA:x86_64\nS:9\nI:1\nT:second\nU:\nL:\no:o\nt:1700000000\nD:a>=1 !c\np:v\nr:a\nq:7\n\
         s:edge\nF:usr\nR:l\na:0:0:777\nZ:Q1EfatjsUqKYSrqv18O1FlA3hcIHI=\nR:x\nZ:Q12kuSN7rMzfGcB2DKt67EqDWQELA=\n\
         R:z\nZ:Q1OV3498UfAHAZyzAgHEnohLRrkvo=\nF:tmp\nM:0:0:1777\n\n",
        checksum(1),
        checksum(0)
    );
    assert_eq!(lab.text("lib/apk/db/installed"), expected);
    assert_eq!(lab.text("lib/apk/db/triggers"), format!("{} /usr/* +/opt\n", checksum(0)));
    assert_eq!((lab.text("etc/apk/world"), lab.text("etc/apk/arch")), ("a\nb@edge\n".into(), "x86_64\n".into()));
    let packed = std::fs::File::open(lab.tree().join("lib/apk/db/scripts.tar.gz")).expect("the scripts");
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let mut scripts = archive.entries().expect("an archive");
    let mut script = scripts.next().expect("one script").expect("it is sound");
    let path = script.path().expect("a path").display().to_string();
    assert_eq!(path, format!("{name}-1.0-r0.X1{}.trigger", hex(&lab.packages[0].identity)));
    assert_eq!((script.header().mode().ok(), script.header().mtime().ok()), (Some(0o755), Some(1_700_000_000)));
    let mut text = String::new();
    script.read_to_string(&mut text).expect("it reads");
    assert_eq!(text, "#!/bin/sh\n");
    assert!(scripts.next().is_none());
}

/// Takes a file of the package a over.
fn second() -> Apk {
    let mut apk = with(
        "pkgdesc = second\norigin = o\nbuilddate = 1700000000\ndepend = a>=1 !c\nprovides = v\nreplaces = a\n\
         replaces_priority = 7\ntriggers = /usr/* +/opt\n",
        vec![
            dir("usr"),
            file("usr/z", b"z"),
            file("usr/x", b"2"),
            link("usr/l", "x"),
            member("tmp", EntryType::Directory, "", 0o1777, b"", &[]),
        ],
    );
    apk.scripts.push(("trigger", "#!/bin/sh\n".into()));
    apk
}

fn locked(name: &str) -> LockedPackage {
    LockedPackage {
        name: name.into(),
        version: "1.0-r0".into(),
        arch: "x86_64".into(),
        size: 9,
        sha256: String::new(),
        repository: "main".into(),
        path: String::new(),
        checksum: String::new(),
        role: crate::lock::Role::Wanted,
    }
}
