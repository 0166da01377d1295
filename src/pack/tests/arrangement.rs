//! The order of entries, and where they are cut.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BUILD_START, CLOCK, EPOCH, feed, have, packed_with, set_mtime, tar};
use crate::pack::header::kind;
use crate::pack::{Listing, extract, segments};
use crate::root::Root;

/// A tree of files of these sizes. Whoever has the time of the build in its line was written by it.
fn tree(at: &Path, files: &[(&str, usize, i64)]) {
    let mut folders = BTreeSet::from([at.to_path_buf()]);
    for (name, size, mtime) in files {
        let path = at.join(name);
        let folder = path.parent().expect("it has one");
        fs::create_dir_all(folder).expect("a folder");
        folders.extend(folder.ancestors().take_while(|f| f.starts_with(at)).map(Path::to_path_buf));
        let content: Vec<u8> = name.bytes().cycle().take(*size).collect();
        fs::write(&path, content).expect("a file");
        set_mtime(&path, *mtime);
    }
    folders.iter().for_each(|folder| set_mtime(folder, EPOCH - 9));
}

fn arranged(at: &Path, owners: &[(&str, &str)]) -> Listing {
    let owners = owners.iter().map(|(path, package)| (PathBuf::from(path), package.to_string())).collect();
    Listing::new(&Root::open(at).expect("it opens"), &owners, CLOCK).expect("listed")
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.items.iter().map(|item| item.path.to_str().expect("text")).collect()
}

const OWN: i64 = EPOCH - 100;
const NOW: i64 = BUILD_START + 1;

#[test]
fn in_a_folder_what_the_build_wrote_comes_first_and_packages_stand_together() {
    let dir = tempfile::tempdir().expect("a folder");
    let files = [
        ("bin/a", 9, OWN),
        ("bin/b", 9, OWN),
        ("bin/c", 9, OWN),
        ("bin/link", 9, NOW),
        ("bin/own", 9, OWN),
        ("bin/changed", 9, NOW),
        ("big/lib", 3 << 20, OWN),
        ("var/x/y", 9, OWN),
        ("zero", 9, OWN),
    ];
    tree(dir.path(), &files);
    let owners = [("bin/a", "two"), ("bin/b", "one"), ("bin/c", "two"), ("bin/changed", "one"), ("zero", "one")];
    let listing = arranged(dir.path(), &owners);
    let bin = ["bin", "bin/changed", "bin/link", "bin/own", "bin/b", "bin/a", "bin/c"];
    let rest = ["var", "var/x", "var/x/y", "big", "big/lib"];
    assert_eq!(names(&listing), [&["", "zero"][..], &bin, &rest].concat());
}

#[test]
fn a_change_of_the_epoch_alone_changes_no_order() {
    let dir = tempfile::tempdir().expect("a folder");
    tree(dir.path(), &[("b", 9, OWN), ("c", 9, NOW), ("d/e", 9, OWN), ("a", 9, NOW), ("d/f", 9, EPOCH - 1)]);
    let root = Root::open(dir.path()).expect("it opens");
    let of = |epoch| {
        let listing = Listing::new(&root, &BTreeMap::new(), crate::pack::Clock { epoch, ..CLOCK }).expect("listed");
        names(&listing).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of(EPOCH), ["", "a", "c", "b", "d", "d/e", "d/f"]);
    assert_eq!(of(EPOCH), of(EPOCH + 1000));
}

#[test]
fn of_several_names_the_first_in_the_archive_is_the_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    tree(&from, &[("lib/a", 900, OWN), ("lib/b", 3 << 20, OWN), ("bin/z", 9, OWN)]);
    // Across packages and folders: the large folder comes last, so that the name in the other one is the file.
    fs::hard_link(from.join("lib/a"), from.join("bin/name")).expect("a link");
    fs::hard_link(from.join("lib/a"), from.join("lib/again")).expect("a link");
    for folder in ["lib", "bin", ""] {
        set_mtime(&from.join(folder), EPOCH - 9);
    }
    let listing = arranged(&from, &[("bin/name", "one"), ("lib/a", "two"), ("lib/again", "one"), ("bin/z", "a")]);
    let links: Vec<_> = listing
        .items
        .iter()
        .filter_map(|item| Some((item.path.to_str()?, item.same_as.as_ref()?.to_str()?, item.kind == kind::HARD_LINK)))
        .collect();
    assert_eq!(links, [("lib/again", "bin/name", true), ("lib/a", "bin/name", true)]);
    fs::create_dir(&to).expect("a folder");
    extract(tar(&from).as_slice(), &Root::open(&to).expect("it opens")).expect("extracted");
    let inode = |name: &str| fs::metadata(to.join(name)).expect("it is there").ino();
    assert!(inode("lib/a") == inode("bin/name") && inode("lib/again") == inode("bin/name"));
}

/// Folders that their owner cannot write to, as RPM distributions have them: whoever extracts needs the depth-first
/// order for the modes, and for the times.
#[test]
fn a_user_can_extract_it_with_gnu_tar() {
    if !have("tar") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    tree(&from, &[("usr/bin/a", 9, OWN), ("usr/bin/b", 9, NOW), ("usr/lib/c", 3 << 20, OWN), ("etc/d", 9, NOW)]);
    for folder in ["usr/bin", "usr/lib", "usr", ""] {
        fs::set_permissions(from.join(folder), fs::Permissions::from_mode(0o555)).expect("a mode");
        set_mtime(&from.join(folder), EPOCH - 9);
    }
    fs::create_dir(&to).expect("a folder");
    let archive = dir.path().join("t.tar");
    fs::write(&archive, tar(&from)).expect("written");
    let mut command = Command::new("tar");
    if nix::unistd::geteuid().is_root() {
        // Root may write everywhere: as somebody else.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("a mode");
        std::os::unix::fs::chown(&to, Some(65534), Some(65534)).expect("an owner");
        use std::os::unix::process::CommandExt;
        command.uid(65534).gid(65534);
    }
    let output = command.arg("-xf").arg(&archive).arg("-C").arg(&to).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for folder in ["usr/bin", "usr/lib", "usr", "etc"] {
        assert_eq!(fs::metadata(to.join(folder)).expect("it is there").mtime(), EPOCH - 9, "{folder}");
    }
    for folder in ["", "usr", "usr/bin", "usr/lib"] {
        // So that it can be removed.
        fs::set_permissions(to.join(folder), fs::Permissions::from_mode(0o755)).expect("a mode");
        fs::set_permissions(from.join(folder), fs::Permissions::from_mode(0o755)).expect("a mode");
    }
}

#[test]
fn large_folders_and_what_the_build_wrote_are_cut_off() {
    const REACH: u64 = 2 << 20;
    let dir = tempfile::tempdir().expect("a folder");
    let files = [
        ("etc/passwd", 900, NOW),
        ("usr/lib/huge", 20 << 20, OWN),
        ("usr/lib/link", 9, NOW),
        ("usr/share/doc", 900, OWN),
        ("var/x", 900, NOW),
        ("zz/large", 3 << 20, OWN),
    ];
    tree(dir.path(), &files);
    let listing = arranged(dir.path(), &[]);
    let starts = segments::starts(&listing.items, REACH);
    let first: Vec<_> = names(&listing).into_iter().zip(starts).filter(|(_, start)| *start).map(|(n, _)| n).collect();
    assert_eq!(first, ["usr", "usr/lib", "usr/lib/huge", "zz"]);
    assert!(segments::starts(&arranged(dir.path(), &[]).items, 1 << 40).iter().all(|start| !start));
}

#[test]
fn a_tree_of_nothing_and_a_file_of_much_are_packed() {
    let dir = tempfile::tempdir().expect("a folder");
    set_mtime(dir.path(), EPOCH - 9);
    for compression in ["none", "xz:0", "zstd:1", "gzip:1"] {
        let (archive, packed) = packed_with(dir.path(), compression, 2);
        // One header and the two blocks of the end.
        assert_eq!(packed.unpacked, 3 * 512, "{compression}");
        assert!(!archive.is_empty());
    }
    tree(dir.path(), &[("huge", 20 << 20, OWN)]);
    let plain = tar(dir.path());
    for (compression, count, program) in [("xz:0", 6, "xz"), ("zstd:1", 6, "zstd"), ("gzip:1", 21, "gzip")] {
        let (archive, packed) = packed_with(dir.path(), compression, 2);
        assert_eq!(packed.reuse.segments, count, "{compression}");
        if have(program) {
            assert!(feed(program, &["-dc"], &archive) == plain, "{program}");
        }
    }
}
