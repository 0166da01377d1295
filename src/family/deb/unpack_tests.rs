//! Unpacking: confinement, conflicts, metadata; the same whatever the number of threads.

use std::path::Path;

use tar::EntryType;

use super::archive::Deb;
use super::deb_maker::{Entry, deb};
use super::unpack::{Outcome, unpack};
use crate::root::Root;
use crate::ui::{Level, Ui, Unit};

/// A package to be made: the start of its control file, other control files, members.
type Package<'a> = (&'a str, &'a [(&'a str, &'a str)], Vec<Entry>);

struct Tree {
    dir: tempfile::TempDir,
    root: Root,
}

impl Tree {
    fn text(&self, path: &str) -> String {
        self.root.read_text(path).unwrap_or_else(|e| format!("{e:#}"))
    }

    fn mode(&self, path: &str) -> u32 {
        self.root.lstat(path).expect("stat").map_or(0, |s| s.st_mode & 0o7777)
    }
}

fn run(packages: &[Package<'_>], jobs: usize) -> (Tree, anyhow::Result<Outcome>) {
    let dir = tempfile::tempdir().expect("a folder");
    let target = dir.path().join("root");
    std::fs::create_dir(&target).expect("a folder");
    std::fs::write(dir.path().join("secret"), "outside").expect("a file");
    let debs: Vec<Deb> = packages
        .iter()
        .map(|(control, more, data)| Deb::open(&deb(dir.path(), control, more, data)).expect("it opens"))
        .collect();
    let root = Root::open(&target).expect("it opens");
    let ui = Ui::new(Level::Quiet);
    let bar = ui.step("Unpacking").bar(0, Unit::Bytes);
    let outcome = unpack(&ui, jobs, &debs, &root, &bar);
    (Tree { dir, root }, outcome)
}

/// Unpacks with one and with four threads, and checks that both give the same lists.
fn good(packages: &[Package<'_>]) -> (Tree, Vec<Vec<String>>) {
    let lists = |outcome: Outcome| -> Vec<Vec<String>> {
        let text = |line: &Vec<u8>| String::from_utf8_lossy(line).into_owned();
        let of = |p: Option<super::unpack::Unpacked>| {
            p.map_or(vec!["for dpkg".into()], |p| p.list.iter().map(text).collect())
        };
        outcome.packages.into_iter().map(of).collect()
    };
    let (_, one) = run(packages, 1);
    let one = lists(one.expect("it unpacks"));
    for _ in 0..20 {
        let (_, four) = run(packages, 4);
        assert_eq!(lists(four.expect("it unpacks")), one);
    }
    let (tree, outcome) = run(packages, 4);
    (tree, lists(outcome.expect("it unpacks")))
}

fn bad(packages: &[Package<'_>], expected: &str) -> Tree {
    let (_, one) = run(packages, 1);
    let (tree, four) = run(packages, 4);
    for outcome in [one, four] {
        let error = outcome.err().map(|e| format!("{e:#}")).unwrap_or_default();
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
    assert_eq!(std::fs::read_to_string(tree.dir.path().join("secret")).expect("it is there"), "outside");
    tree
}

#[test]
fn everything_lands_with_its_metadata() {
    let (tree, lists) = good(&[(
        "Package: a\n",
        &[("conffiles", "/etc/a.conf\nremove-on-upgrade /etc/gone\n")],
        vec![
            Entry::dir("./").mode(0o751),
            Entry::dir("./etc/"),
            Entry::file("./etc/a.conf", "conf"),
            Entry::dir("./opt/").mode(0o2775),
            Entry::file("./opt/su", "x").mode(0o4711),
            Entry::hard("./opt/hard", "./opt/su"),
            Entry::link("./opt/link", "/etc/passwd"),
            Entry::special("./opt/fifo", EntryType::Fifo),
            Entry::dir("./opt/closed/").mode(0o500),
            Entry::file("./opt/closed/x", "y"),
        ],
    )]);
    assert_eq!(tree.text("etc/a.conf.dpkg-new"), "conf");
    assert!(!tree.root.exists("etc/a.conf"));
    assert_eq!(
        [".", "opt", "opt/su", "opt/fifo", "opt/closed"].map(|p| tree.mode(p)),
        [0o751, 0o2775, 0o4711, 0o600, 0o500]
    );
    let inode = |path: &str| tree.root.lstat(path).expect("stat").map(|s| (s.st_ino, s.st_mtime, s.st_mtime_nsec));
    assert_eq!(inode("opt/su"), inode("opt/hard"));
    for path in ["opt/su", "opt/link", "opt/fifo", "opt", "opt/closed", "."] {
        assert_eq!(inode(path).map(|s| (s.1, s.2)), Some((1_000_000, 0)), "{path}");
    }
    assert_eq!(tree.root.read_link("opt/link").expect("a link"), Path::new("/etc/passwd"));
    assert_eq!(lists[0][..4], ["/.", "/etc", "/etc/a.conf", "/opt"]);
}

#[test]
fn the_umask_does_not_count() {
    let umask = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let (tree, outcome) = run(&[("Package: a\n", &[], vec![Entry::dir("./x/"), Entry::file("./x/y", "")])], 1);
    nix::sys::stat::umask(umask);
    outcome.expect("it unpacks");
    assert_eq!([tree.mode("x"), tree.mode("x/y")], [0o755, 0o644]);
}

#[test]
fn nothing_leaves_the_root() {
    let outside = tempfile::tempdir().expect("a folder");
    let away = outside.path().display().to_string();
    let up = "../".repeat(12) + &away[1..];
    for target in [away.as_str(), up.as_str()] {
        let link = || Entry::link("./evil", target);
        // dpkg too goes through links of the package; they lead to folders of the root, as in a chroot.
        let (tree, outcome) = run(&[("Package: a\n", &[], vec![link(), Entry::file("./evil/x", "y")])], 2);
        outcome.expect("it stays inside");
        assert_eq!(tree.text(&format!("{away}/x")), "y");
        let (_, outcome) = run(&[("Package: a\n", &[], vec![link(), Entry::hard("./x", "./evil/secret")])], 2);
        assert!(format!("{:#}", outcome.expect_err("no such file")).contains("is not a file of the package"));
    }
    assert_eq!(std::fs::read_dir(outside.path()).expect("it is there").count(), 0);
    let (tree, _) = good(&[("Package: a\n", &[], vec![Entry::link("./x", "../secret"), Entry::file("./x/y", "z")])]);
    assert_eq!(tree.text("secret/y"), "z");
    bad(&[("Package: a\n", &[], vec![Entry::link("./x", "x"), Entry::file("./x/y", "")])], "not a folder");
    bad(&[("Package: a\n", &[], vec![Entry::file("./../secret", "new")])], "out of the root");
    bad(&[("Package: a\n", &[], vec![Entry::hard("./x", "./secret")])], "not a file of the package");
    // A file through a link at its own name replaces the link.
    let (tree, _) = good(&[("Package: a\n", &[], vec![Entry::link("./x", "../secret"), Entry::file("./x", "new")])]);
    assert_eq!(tree.text("x"), "new");
    assert_eq!(std::fs::read_to_string(tree.dir.path().join("secret")).expect("it is there"), "outside");
}

#[test]
fn merged_usr_is_one_path() {
    let files = |at: &str, text: &str| vec![Entry::dir("./bin/"), Entry::dir("./usr/"), Entry::file(at, text)];
    let (tree, lists) = good(&[
        ("Package: a\n", &[], files("./bin/x", "a")),
        ("Package: b\n", &[], vec![Entry::dir("./usr/"), Entry::dir("./usr/bin/"), Entry::file("./usr/bin/y", "b")]),
        ("Package: base\n", &[], vec![Entry::link("./bin", "usr/bin"), Entry::link("./lib64", "usr/lib64")]),
    ]);
    assert_eq!(tree.root.read_link("bin").expect("a link"), Path::new("usr/bin"));
    assert_eq!(tree.root.read_link("lib64").expect("a link"), Path::new("usr/lib64"));
    assert_eq!((tree.text("usr/bin/x"), tree.text("bin/y")), ("a".into(), "b".into()));
    assert_eq!(lists[0], ["/bin", "/usr", "/bin/x"]);
    bad(
        &[("Package: a\n", &[], files("./bin/x", "a")), ("Package: b\n", &[], vec![Entry::file("./usr/bin/x", "b")])],
        "trying to overwrite '/usr/bin/x'",
    );
    bad(&[("Package: a\n", &[], vec![Entry::link("./bin", "opt")])], "is not usr/bin");
}

/// The folders of each architecture are those that its C library brings; debootstrap links no others either.
#[test]
fn merged_usr_has_a_link_for_each_folder_that_is_shipped() {
    let base = ["./bin/sh", "./sbin/init", "./lib/os-release"];
    for (arch, more) in [
        ("amd64", &["./lib64/ld-linux-x86-64.so.2"][..]),
        ("arm64", &["./lib/ld-linux-aarch64.so.1"]),
        ("i386", &["./lib/ld-linux.so.2"]),
        ("mips64el", &["./lib64/ld.so.1", "./libo32/libc.so.6", "./lib32/libc.so.6"]),
        ("ppc64el", &["./lib64/ld64.so.2"]),
        ("x32", &["./libx32/ld-linux-x32.so.2"]),
    ] {
        let files = base.iter().chain(more).map(|path| Entry::file(path, "x")).collect();
        let (tree, _) = good(&[("Package: base\n", &[], files)]);
        let mut links: Vec<&str> =
            base.iter().chain(more).map(|path| path.split('/').nth(1).expect("a folder")).collect();
        links.sort_unstable();
        links.dedup();
        let mut there = tree.root.read_dir(".").expect("its folders");
        there.sort();
        let expected: Vec<&str> = links.iter().copied().chain(["usr"]).collect();
        assert_eq!(there, expected, "{arch}");
        for link in links {
            assert_eq!(tree.root.read_link(link).expect("a link"), Path::new("usr").join(link), "{arch}");
        }
    }
}

#[test]
fn replaces_decides_in_any_order() {
    let old = || ("Package: old\n", &[][..], vec![Entry::file("./bin/x", "old"), Entry::file("./keep", "k")]);
    let new = || ("Package: new\nReplaces: old (<< 2)\n", &[][..], vec![Entry::file("./usr/bin/x", "new")]);
    for packages in [[old(), new()], [new(), old()]] {
        let (tree, lists) = good(&packages);
        assert_eq!(tree.text("bin/x"), "new");
        let old = lists.iter().find(|l| l.contains(&"/keep".to_string())).expect("its list");
        assert_eq!(*old, ["/keep"]);
        assert!(lists.iter().any(|l| *l == ["/usr/bin/x"]));
    }
    let not = ("Package: new\nReplaces: old (>> 2)\n", &[][..], vec![Entry::file("./usr/bin/x", "new")]);
    bad(&[old(), not], "which is also in");
    // Both replace each other: the later one wins, as with dpkg.
    let (tree, _) = good(&[
        ("Package: a\nReplaces: b\n", &[], vec![Entry::file("./x", "a")]),
        ("Package: b\nReplaces: a\n", &[], vec![Entry::file("./x", "b")]),
    ]);
    assert_eq!(tree.text("x"), "b");
}

#[test]
fn a_conffile_that_was_taken_over_is_obsolete() {
    let (tree, outcome) = run(
        &[
            ("Package: old\n", &[("conffiles", "/etc/x\n")], vec![Entry::file("./etc/x", "old")]),
            ("Package: new\nReplaces: old\n", &[], vec![Entry::file("./etc/x", "new")]),
        ],
        2,
    );
    let packages = outcome.expect("it unpacks").packages;
    assert_eq!(tree.text("etc/x"), "new");
    assert!(!tree.root.exists("etc/x.dpkg-new"));
    assert!(packages[0].as_ref().is_some_and(|p| p.obsolete.contains("/etc/x") && p.list.is_empty()));
}

#[test]
fn the_first_package_sets_a_folder_and_order_settles_links() {
    let dir = |mode| vec![Entry::dir("./shared/").mode(mode), Entry::file(&format!("./shared/{mode}"), "")];
    let (tree, _) = good(&[("Package: a\n", &[], dir(0o700)), ("Package: b\n", &[], dir(0o755))]);
    assert_eq!(tree.mode("shared"), 0o700);
    let link = || ("Package: a\n", &[][..], vec![Entry::dir("./real/"), Entry::link("./at", "real")]);
    let folder = || ("Package: b\n", &[][..], vec![Entry::dir("./at/"), Entry::file("./at/x", "y")]);
    let (tree, lists) = good(&[link(), folder()]);
    assert_eq!((tree.root.read_link("at").ok().as_deref(), tree.text("real/x")), (Some(Path::new("real")), "y".into()));
    assert_eq!(lists[1], ["/at", "/at/x"]);
    let (tree, lists) = good(&[folder(), link()]);
    assert!(tree.root.read_link("at").is_err() && tree.text("at/x") == "y");
    assert_eq!(lists[1], ["/real", "/at"]);
    bad(&[folder(), ("Package: c\n", &[], vec![Entry::file("./at", "file")])], "and a folder there");
}

#[test]
fn a_package_that_diverts_is_left_to_dpkg() {
    let (tree, lists) = good(&[
        ("Package: a\n", &[], vec![Entry::file("./x", "a")]),
        ("Package: b\n", &[("preinst", "#!/bin/sh\ndpkg-divert --rename /x\n")], vec![Entry::file("./x", "b")]),
    ]);
    assert_eq!(tree.text("x"), "a");
    assert_eq!(lists, [vec!["/x"], vec!["for dpkg"]]);
    let diverts = &[("preinst", "#!/bin/sh\ndpkg-divert --rename /x\n")];
    let (tree, lists) = good(&[
        ("Package: a\n", &[], vec![Entry::link("./x", "a")]),
        ("Package: b\n", diverts, vec![Entry::link("./x", "b")]),
    ]);
    assert_eq!(tree.root.read_link("x").expect("a link"), std::path::PathBuf::from("a"));
    assert_eq!(lists, [vec!["/x"], vec!["for dpkg"]]);
}

#[test]
fn two_architectures_share_the_same_file_only() {
    let package = |text: &'static str| ("Package: l\nMulti-Arch: same\n", &[][..], vec![Entry::file("./x", text)]);
    let (tree, lists) = good(&[package("same"), package("same")]);
    assert_eq!((tree.text("x"), lists), ("same".into(), vec![vec!["/x".to_string()]; 2]));
    bad(&[package("one"), package("two")], "other content");
}

#[test]
fn checksums_are_made_where_a_package_has_none() {
    let files = || vec![Entry::dir("./a/"), Entry::file("./a/x", "hello\n"), Entry::hard("./a/y", "./a/x")];
    let (_, outcome) = run(&[("Package: a\n", &[], files())], 1);
    let sums = outcome.expect("it unpacks").packages[0].clone().and_then(|p| p.md5sums).expect("sums");
    let md5 = "b1946ac92492d2347c6235b4d2611184";
    assert_eq!(String::from_utf8_lossy(&sums), format!("{md5}  a/x\n{md5}  a/y\n"));
    let (_, outcome) = run(&[("Package: a\n", &[("md5sums", "")], files())], 1);
    assert_eq!(outcome.expect("it unpacks").packages[0].clone().and_then(|p| p.md5sums), None);
}

#[test]
fn capabilities_and_devices() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: capabilities_and_devices: needs root");
        return;
    }
    // Version 2, effective, cap_net_raw permitted: struct vfs_cap_data of linux/capability.h. No byte of it may be
    // above 127 here, because the maker of tests takes text.
    let capability = "\u{1}\0\0\u{2}\0\u{20}\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let (tree, outcome) = run(
        &[(
            "Package: a\n",
            &[],
            vec![
                Entry::pax(&[("SCHILY.xattr.security.capability", capability), ("SCHILY.xattr.user.other", "x")]),
                Entry::file("./ping", "x"),
                Entry::file("./owned", "x").mode(0o6755).owner(7, 8),
                Entry::special("./null", EntryType::Char),
            ],
        )],
        1,
    );
    let made = match outcome {
        Err(error) if format!("{error:#}").contains("which only real root can make") => false,
        other => other.map(|_| true).expect("it unpacks"),
    };
    let ping = tree.root.path().join("ping");
    assert_eq!(xattr::get(&ping, "security.capability").expect("it reads").as_deref(), Some(capability.as_bytes()));
    assert_eq!(xattr::get(&ping, "user.other").expect("it reads"), None);
    let owned = tree.root.lstat("owned").expect("stat").expect("there");
    assert_eq!((owned.st_uid, owned.st_gid, owned.st_mode & 0o7777), (7, 8, 0o6755));
    if made {
        let null = tree.root.lstat("null").expect("stat").expect("there");
        assert_eq!(null.st_rdev, nix::sys::stat::makedev(1, 3));
    }
}

#[test]
fn the_root_must_be_empty() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("x"), "").expect("a file");
    let ui = Ui::new(Level::Quiet);
    let bar = ui.step("Unpacking").bar(0, Unit::Bytes);
    let root = Root::open(dir.path()).expect("it opens");
    assert!(unpack(&ui, 1, &[], &root, &bar).is_err());
}
