use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use xattr::FileExt;

use super::*;
use crate::hash::sha256;
use crate::ui::{Bar, Level, Ui, Unit};

mod arrangement;
mod privileged;
mod reuse;

const EPOCH: i64 = 1_700_000_000;
const BUILD_START: i64 = 1_800_000_000;
const CLOCK: Clock = Clock { epoch: EPOCH, build_start: BUILD_START };

fn packed_with(root: &Path, compression: &str, jobs: usize) -> (Vec<u8>, Packed) {
    let mut out = Vec::new();
    let bar = Ui::new(Level::Quiet).step("Packing").bar(0, Unit::Bytes);
    let root = Root::open(root).expect("it opens");
    let compression = compression.parse().expect("a compression");
    let packed = pack_whole(&root, compression, jobs, &mut out, &bar).expect("packed");
    (out, packed)
}

fn pack_whole(root: &Root, compression: Compression, jobs: usize, out: &mut dyn Write, bar: &Bar) -> Result<Packed> {
    let unwanted = AtomicBool::new(false);
    let settings = Settings { compression, jobs, cache: None, unwanted: &unwanted };
    pack(root, &Listing::new(root, &BTreeMap::new(), CLOCK)?, settings, out, bar)
}

fn tar(root: &Path) -> Vec<u8> {
    packed_with(root, "none", 2).0
}

fn set_mtime(path: &Path, time: i64) {
    let time = nix::sys::time::TimeSpec::new(time, 123_456_789);
    let nofollow = nix::sys::stat::UtimensatFlags::NoFollowSymlink;
    nix::sys::stat::utimensat(nix::fcntl::AT_FDCWD, path, &time, &time, nofollow).expect("a time");
}

/// A tree with everything in it that an ordinary user can make. `backwards` makes its files in the other order.
fn tree(at: &Path, backwards: bool) {
    let folders = ["", "etc", "etc/empty", "usr", "usr/bin", "dev", "proc", "sys", "run", "tmp"];
    let deep = PathBuf::from("usr").join("d".repeat(90)).join("e".repeat(90)).join("f".repeat(90));
    fs::create_dir_all(at).expect("a folder");
    for folder in folders {
        fs::create_dir_all(at.join(folder)).expect("a folder");
    }
    fs::create_dir_all(at.join(&deep)).expect("a folder");
    let mut files: Vec<(PathBuf, Vec<u8>)> = vec![
        ("etc/passwd".into(), b"root:x:0:0::/root:/bin/sh\n".to_vec()),
        ("etc/empty-file".into(), Vec::new()),
        ("etc-file".into(), b"sorts between etc and etc/...".to_vec()),
        ("usr/bin/block".into(), vec![7; 512]),
        ("usr/bin/large".into(), (0..3_000_000u32).flat_map(|i| (i / 3).to_le_bytes()).collect()),
        (deep.join("n".repeat(200)), b"long name".to_vec()),
        (PathBuf::from("etc").join(std::ffi::OsStr::from_bytes(b"latin-\xe9")), b"1".to_vec()),
        (deep.join(std::ffi::OsStr::from_bytes(&[0xff; 150])), b"2".to_vec()),
        ("dev/leftover".into(), b"not in the image".to_vec()),
    ];
    if backwards {
        files.reverse();
    }
    for (path, content) in &files {
        fs::write(at.join(path), content).expect("a file");
        fs::set_permissions(at.join(path), fs::Permissions::from_mode(0o644)).expect("a mode");
        set_mtime(&at.join(path), EPOCH - 1000);
    }
    fs::set_permissions(at.join("usr/bin/block"), fs::Permissions::from_mode(0o4755)).expect("a mode");
    set_mtime(&at.join("etc/passwd"), BUILD_START + 5);
    set_mtime(&at.join("etc-file"), EPOCH + 5);
    fs::hard_link(at.join("usr/bin/block"), at.join("usr/bin/again")).expect("a link");
    symlink("../etc/passwd", at.join("usr/link")).expect("a link");
    symlink("x".repeat(300), at.join("usr/long-link")).expect("a link");
    nix::unistd::mkfifo(&at.join("run/fifo"), nix::sys::stat::Mode::S_IRUSR).expect("a fifo");
    for name in ["usr/link", "usr/long-link", "run/fifo"] {
        set_mtime(&at.join(name), EPOCH - 50);
    }
    File::open(at.join("etc/passwd")).expect("open").set_xattr("user.note", b"kept=\n%\0").expect("an attribute");
    let mut folders: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    folders.extend(deep.ancestors().map(Path::to_path_buf));
    for folder in folders {
        fs::set_permissions(at.join(&folder), fs::Permissions::from_mode(0o755)).expect("a mode");
        set_mtime(&at.join(&folder), EPOCH - 2000);
    }
}

/// Everything in a folder: type and mode, owner, size, time, link target, content, attributes; inodes by first name.
fn listing(at: &Path) -> BTreeMap<PathBuf, String> {
    let mut inodes = BTreeMap::new();
    let mut all = BTreeMap::new();
    let mut queue = vec![PathBuf::new()];
    while let Some(path) = queue.pop() {
        let full = at.join(&path);
        let stat = fs::symlink_metadata(&full).expect("stat");
        let mut line = format!("{:o} {}:{} {}", stat.mode(), stat.uid(), stat.gid(), stat.mtime());
        if stat.is_dir() {
            queue.extend(fs::read_dir(&full).expect("a folder").map(|e| path.join(e.expect("an entry").file_name())));
        } else if stat.is_symlink() {
            line += &format!(" -> {}", fs::read_link(&full).expect("a link").display());
        } else if stat.is_file() {
            line += &format!(" {}", sha256(fs::read(&full).expect("content")));
        }
        if stat.is_dir() || stat.is_file() {
            line += &format!(" {:?}", xattrs::read(&File::open(&full).expect("open")).expect("attributes"));
        }
        if stat.nlink() > 1 && !stat.is_dir() {
            let mut links: Vec<PathBuf> = inodes.remove(&stat.ino()).unwrap_or_default();
            links.push(path.clone());
            inodes.insert(stat.ino(), links);
        }
        all.insert(path, line);
    }
    for mut links in inodes.into_values() {
        links.sort();
        links.iter().for_each(|link| *all.get_mut(link).expect("listed") += &format!(" same as {links:?}"));
    }
    all
}

/// What a tree is expected to be once it went through a tar.
fn expected(at: &Path) -> BTreeMap<PathBuf, String> {
    let mut list = listing(at);
    list.retain(|path, _| path != Path::new("dev/leftover"));
    for (path, time) in [("etc/passwd", BUILD_START + 5), ("etc-file", EPOCH + 5)] {
        let line = list.get_mut(Path::new(path)).expect("it is there");
        *line = line.replace(&time.to_string(), &EPOCH.to_string());
    }
    list
}

fn have(program: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        writeln!(io::stderr(), "skipped: {program} is not installed").expect("stderr");
    }
    there
}

fn feed(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).expect("it reads all"));
        child.wait_with_output().expect("it ends")
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{program} {arguments:?}: {said}");
    output.stdout
}

#[test]
fn gnu_tar_extracts_the_same_tree() {
    if !have("tar") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    tree(&from, false);
    let _socket = UnixListener::bind(from.join("run/socket")).expect("a socket");
    set_mtime(&from.join("run"), EPOCH - 2000);
    fs::create_dir(&to).expect("a folder");
    let archive = tar(&from);
    let to_text = to.to_str().expect("a path");
    feed("tar", &["-xpf", "-", "-C", to_text, "--xattrs", "--xattrs-include=*", "--numeric-owner"], &archive);
    let mut want = expected(&from);
    assert!(want.remove(Path::new("run/socket")).is_some());
    assert_eq!(listing(&to), want);
    let names = String::from_utf8_lossy(&feed("tar", &["-tf", "-", "--quoting-style=escape"], &archive)).into_owned();
    let names: Vec<&str> = names.lines().collect();
    assert_eq!(names[0], "./");
    // What has the epoch stands before what has a time of its own, files before folders.
    let start =
        ["./etc-file", "./dev/", "./etc/", "./etc/passwd", "./etc/empty-file", "./etc/latin-\\351", "./etc/empty/"];
    assert_eq!(names[1..8], start);
    assert_eq!(names[8], "./proc/");
}

#[test]
fn gnu_tar_makes_the_same_archive_of_it() {
    if !have("tar") {
        return;
    }
    // The names and numbers of each entry, as GNU tar shows its own archive of the tree and ours.
    let dir = tempfile::tempdir().expect("a temporary folder");
    let from = dir.path().join("from");
    tree(&from, false);
    fs::remove_file(from.join("dev/leftover")).expect("removed");
    set_mtime(&from.join("dev"), EPOCH - 2000);
    let from_text = from.to_str().expect("a path");
    let clamp = format!("--mtime=@{EPOCH}");
    let create = ["--sort=name", "--clamp-mtime", &clamp, "--numeric-owner", "-C", from_text, "-cf", "-", "."];
    let theirs = Command::new("tar").args(create).output().expect("it runs").stdout;
    let show = ["-tvf", "-", "--numeric-owner", "--full-time", "--quoting-style=escape"];
    let lines = |archive: &[u8]| {
        let text = String::from_utf8_lossy(&feed("tar", &show, archive)).into_owned();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&tar(&from)), lines(&theirs));
}

#[test]
fn own_extract_gives_the_same_tree_from_every_compression() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let from = dir.path().join("from");
    tree(&from, false);
    for compression in ["none", "xz:0", "zstd:1", "gzip:1"] {
        let to = dir.path().join(compression);
        fs::create_dir(&to).expect("a folder");
        let (archive, packed) = packed_with(&from, compression, 2);
        let extracted = extract(archive.as_slice(), &Root::open(&to).expect("it opens")).expect("extracted");
        assert_eq!(listing(&to), expected(&from), "{compression}");
        assert_eq!(extracted.bytes, packed.unpacked);
        assert_eq!(tar(&to), tar(&from), "packing it again gives the same archive");
    }
}

#[test]
fn bytes_do_not_depend_on_jobs_order_umask_or_place() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (one, two) = (dir.path().join("one"), dir.path().join("a/longer/place"));
    tree(&one, false);
    tree(&two, true);
    for compression in ["none", "xz:0", "zstd:3", "gzip:6"] {
        let (first, packed) = packed_with(&one, compression, 1);
        assert_eq!(packed.sha256, sha256(&first), "{compression}");
        assert_eq!(packed.packed, first.len() as u64);
        assert_eq!(packed.diff_id, sha256(tar(&one)), "{compression}");
        for (place, jobs) in [(&one, 2), (&one, 3), (&two, 2), (&two, 9)] {
            assert!(packed_with(place, compression, jobs).0 == first, "{compression} with {jobs} jobs");
        }
    }
}

#[test]
fn other_tools_accept_the_compressed_forms() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    tree(&dir.path().join("t"), false);
    let plain = tar(&dir.path().join("t"));
    for (compression, program) in [("xz:1", "xz"), ("zstd:3", "zstd"), ("gzip:9", "gzip")] {
        if have(program) {
            let archive = packed_with(&dir.path().join("t"), compression, 2).0;
            assert!(feed(program, &["-dc"], &archive) == plain, "{program}");
        }
    }
    if have("xz") {
        let file = dir.path().join("t.xz");
        fs::write(&file, packed_with(&dir.path().join("t"), "xz:1", 2).0).expect("written");
        let list = Command::new("xz").args(["--robot", "--list"]).arg(&file).output().expect("it runs").stdout;
        let list = String::from_utf8(list).expect("text");
        // What is before `usr`, what is in it before `usr/bin`, and three for that, which has a file of 12 MB.
        let blocks = 5;
        let totals = list.lines().find(|line| line.starts_with("file")).expect("totals");
        assert!(totals.starts_with(&format!("file\t1\t{blocks}\t")), "{list}");
    }
}

#[test]
fn failing_writer_names_the_act_and_ends_at_once() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::Error::from(io::ErrorKind::StorageFull))?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    tree(&dir.path().join("t"), false);
    let root = Root::open(dir.path().join("t")).expect("it opens");
    let bar = Ui::new(Level::Quiet).step("Packing").bar(0, Unit::Bytes);
    for (compression, room) in [("none", 1 << 20), ("none", 0), ("xz:0", 100), ("zstd:1", 0), ("gzip:1", 5000)] {
        let compression = compression.parse().expect("a compression");
        let failed = pack_whole(&root, compression, 2, &mut Full(room), &bar);
        let text = format!("{:#}", failed.expect_err("the disk is full"));
        assert!(text.starts_with("writing the tarball: "), "{text}");
    }
}

#[test]
fn what_nobody_wants_is_not_packed() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    tree(&dir.path().join("t"), false);
    let root = Root::open(dir.path().join("t")).expect("it opens");
    let bar = Ui::new(Level::Quiet).step("Packing").bar(0, Unit::Bytes);
    let unwanted = AtomicBool::new(true);
    for compression in ["none", "xz:0", "zstd:1", "gzip:1"] {
        let compression = compression.parse().expect("a compression");
        let settings = Settings { compression, jobs: 2, cache: None, unwanted: &unwanted };
        let mut out = Vec::new();
        let listing = Listing::new(&root, &BTreeMap::new(), CLOCK).expect("listed");
        let failed = pack(&root, &listing, settings, &mut out, &bar);
        assert!(failed.expect_err("it is not wanted").to_string().contains("nobody waits"));
    }
}

#[test]
fn unreadable_file_is_named() {
    if nix::unistd::geteuid().is_root() {
        writeln!(io::stderr(), "skipped: unreadable_file_is_named: root reads everything").expect("stderr");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::write(dir.path().join("secret"), "x").expect("a file");
    fs::set_permissions(dir.path().join("secret"), fs::Permissions::from_mode(0o000)).expect("a mode");
    let bar = Ui::new(Level::Quiet).step("Packing").bar(0, Unit::Bytes);
    let root = Root::open(dir.path()).expect("it opens");
    let none = Compression { codec: Codec::None, level: None };
    let failed = pack_whole(&root, none, 1, &mut Vec::new(), &bar).expect_err("unreadable");
    assert!(format!("{failed:#}").starts_with("packing /secret: "), "{failed:#}");
}

#[test]
fn compressions_by_name() {
    for (text, codec, level) in [
        ("xz", Codec::Xz, 6),
        ("xz:9", Codec::Xz, 9),
        ("xz:0", Codec::Xz, 0),
        ("zstd:3", Codec::Zstd, 3),
        ("gzip", Codec::Gzip, 9),
        ("none", Codec::None, 0),
    ] {
        let compression: Compression = text.parse().expect(text);
        assert_eq!((compression.codec, compression.level()), (codec, level), "{text}");
    }
    for bad in ["", "xy", "xz:", "xz:10", "xz:-1", "zstd:20", "zstd:0", "gzip:0", "none:1", "xz:6:6", "XZ"] {
        let error = bad.parse::<Compression>().expect_err(bad);
        assert_eq!(crate::error::exit_code(&error), crate::error::Exit::Usage, "{bad}");
    }
    let error = "zstdd".parse::<Compression>().expect_err("unknown");
    assert!(error.to_string().contains("did you mean 'zstd'?"), "{error}");
}

#[test]
fn name_that_is_no_text_comes_back_byte_by_byte() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir_all(&from).expect("a folder");
    fs::create_dir_all(&to).expect("a folder");
    let name = std::ffi::OsString::from_vec([&[0xc3, 0x28, b'\n', b'\\'][..], &[0xfe; 240]].concat());
    fs::write(from.join(&name), "x").expect("a file");
    extract(tar(&from).as_slice(), &Root::open(&to).expect("it opens")).expect("extracted");
    assert_eq!(fs::read(to.join(&name)).expect("it is there"), b"x");
}
