//! What only root can make: owners, capabilities, device nodes, user namespaces.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use xattr::FileExt;

use super::{EPOCH, feed, have, listing, set_mtime, tar};
use crate::pack::extract;
use crate::root::Root;

#[test]
fn capabilities_and_device_nodes_are_kept() {
    if !nix::unistd::geteuid().is_root() {
        writeln!(io::stderr(), "skipped: capabilities_and_device_nodes_are_kept: needs root").expect("stderr");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let from = dir.path().join("from");
    fs::create_dir(&from).expect("a folder");
    fs::write(from.join("ping"), "x").expect("a file");
    std::os::unix::fs::chown(from.join("ping"), Some(3_000_000), Some(7)).expect("an owner");
    let capability = capability(0);
    let file = File::open(from.join("ping")).expect("open");
    file.set_xattr("security.capability", &capability).expect("an attribute");
    let device = nix::sys::stat::makedev(1, 3);
    let made = nix::sys::stat::mknod(
        &from.join("null"),
        nix::sys::stat::SFlag::S_IFCHR,
        nix::sys::stat::Mode::from_bits_truncate(0o600),
        device,
    );
    if made.is_err() {
        writeln!(io::stderr(), "skipped: device nodes: not allowed in this namespace").expect("stderr");
    }
    for name in ["ping", "null", ""] {
        if name != "null" || made.is_ok() {
            set_mtime(&from.join(name), EPOCH - 5);
        }
    }
    let to = dir.path().join("to");
    fs::create_dir(&to).expect("a folder");
    let archive = tar(&from);
    let extracted = extract(archive.as_slice(), &Root::open(&to).expect("it opens")).expect("extracted");
    assert!(extracted.omitted.is_empty());
    assert_eq!(listing(&to), listing(&from));
    let back = File::open(to.join("ping")).expect("open").get_xattr("security.capability").expect("read");
    assert_eq!(back.as_deref(), Some(&capability[..]));
    if made.is_ok() {
        assert_eq!(fs::metadata(to.join("null")).expect("stat").rdev(), device);
    }
    if have("tar") {
        let other = dir.path().join("other");
        fs::create_dir(&other).expect("a folder");
        let other_text = other.to_str().expect("a path");
        feed("tar", &["-xpf", "-", "-C", other_text, "--xattrs", "--xattrs-include=*", "--numeric-owner"], &archive);
        assert_eq!(listing(&other), listing(&from));
    }
}

#[test]
fn user_namespace_gives_the_same_bytes_as_root() {
    // Access lists hold ids, capabilities the id of the namespace's root: both are written as the owner sees them.
    if !nix::unistd::geteuid().is_root() || !have("nsenter") {
        writeln!(io::stderr(), "skipped: user_namespace_gives_the_same_bytes_as_root: needs root").expect("stderr");
        return;
    }
    if !Command::new("unshare").args(["--user", "true"]).status().is_ok_and(|status| status.success()) {
        writeln!(io::stderr(), "skipped: user_namespace_gives_the_same_bytes_as_root: no user namespaces here")
            .expect("stderr");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let mut archives = Vec::new();
    for (name, offset) in [("root", 0u32), ("mapped", 200_000)] {
        let from = dir.path().join(name);
        fs::create_dir(&from).expect("a folder");
        fs::write(from.join("file"), "x").expect("a file");
        fs::write(from.join("ping"), "x").expect("a file");
        for (path, id) in [("", 0), ("file", 5), ("ping", 0)] {
            let path = from.join(path);
            std::os::unix::fs::chown(&path, Some(offset + id), Some(offset + id)).expect("an owner");
        }
        let file = File::open(from.join("file")).expect("open");
        file.set_xattr("system.posix_acl_access", &access_list(offset + 33)).expect("an access list");
        let ping = File::open(from.join("ping")).expect("open");
        ping.set_xattr("security.capability", &capability(offset)).expect("an attribute");
        for path in ["", "file", "ping"] {
            set_mtime(&from.join(path), EPOCH - 5);
        }
        archives.push(if offset == 0 { tar(&from) } else { tar_in_namespace(&from, offset) });
    }
    assert!(!archives[1].is_empty());
    assert!(archives[0] == archives[1]);
}

/// `cap_net_raw=ep` as setcap writes it, for the namespace whose root has this id on the host.
fn capability(namespace: u32) -> Vec<u8> {
    let mut value = vec![1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    if namespace > 0 {
        value[3] = 3;
        value.extend(namespace.to_le_bytes());
    }
    value
}

/// `user::rw-,user:ID:r--,group::r--,mask::r--,other::---` as of `linux/posix_acl_xattr.h`.
fn access_list(id: u32) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, bits, id) in [(1u16, 6u16, u32::MAX), (2, 4, id), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
    {
        value.extend(tag.to_le_bytes());
        value.extend(bits.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// Runs this test binary again in a user namespace that maps its ids from `offset`.
fn tar_in_namespace(root: &Path, offset: u32) -> Vec<u8> {
    let out = root.with_extension("tar");
    let mut holder =
        Command::new("unshare").args(["--user", "sleep", "600"]).stdin(Stdio::null()).spawn().expect("it starts");
    let process = PathBuf::from(format!("/proc/{}", holder.id()));
    let own = fs::read_link("/proc/self/ns/user").expect("a namespace");
    while fs::read_link(process.join("ns/user")).expect("a namespace") == own {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    for map in ["uid_map", "gid_map"] {
        fs::write(process.join(map), format!("0 {offset} 65536")).expect("the map is written");
    }
    // Where it was built the namespace may not look.
    let helper = root.with_extension("helper");
    fs::copy(std::env::current_exe().expect("this program"), &helper).expect("copied");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("a mode");
    let output = Command::new("nsenter")
        .args(["--user", "--target", &holder.id().to_string()])
        .arg(&helper)
        .args(["--ignored", "--exact", "pack::tests::privileged::helper_that_packs", "--nocapture"])
        .env("MKBASE_TEST_ROOT", root)
        .stdin(File::create(&out).expect("a file"))
        .output()
        .expect("it runs");
    holder.kill().expect("it is there");
    holder.wait().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    fs::read(&out).expect("the archive")
}

#[test]
#[ignore = "run by another test, in a user namespace"]
fn helper_that_packs() {
    let Some(root) = std::env::var_os("MKBASE_TEST_ROOT") else { return };
    let archive = tar(Path::new(&root));
    // The namespace may not open the file by its path; standard input is the open file.
    let mut rest = archive.as_slice();
    while !rest.is_empty() {
        let written = nix::unistd::write(io::stdin(), rest).expect("written");
        rest = &rest[written..];
    }
}
