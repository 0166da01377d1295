//! What comes of packages in a tree: paths that two of them have, configuration, links, owners, the database.

use tar::EntryType;

use super::apk_maker::{Apk, dir, file, link, member, owned_by};
use super::database::{self, Record};
use super::package::Package;
use super::stage::{Staged, unpack};
use super::tree::Tree;
use super::unpack_tests::is_root;
use crate::hash::hex;
use crate::lock::LockedPackage;
use crate::root::Root;

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
