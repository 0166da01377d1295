//! The tree of an Alpine image, before customise and clean, is what the real apk makes of the same packages, file by
//! file, its databases included; and whatever is wrong with a package stops a build with nothing left behind.

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::skip;
use crate::util::alpine::{Apk, Fixture, Lab, dir, file, gzip, installed, link, said};
use crate::util::mkbase::{Ended, Place, processes_named};
use crate::util::tree::{self, Node, Tree};
use crate::util::{is_root, sha256};

/// Paths that may differ, and why. One that ends with `/` stands for everything below it.
#[rustfmt::skip]
const ALLOWED: &[(&str, &str)] = &[
    ("var/log/apk.log", "apk logs its whole command line; clean would remove it"),
    ("var/log/fixture-hello.log", "a script writes the inode of the root into it"),
];

/// The path of the scripts, which are compared unpacked: what compresses them is another release of zlib.
const SCRIPTS: &str = "lib/apk/db/scripts.tar.gz";

/// What is compared of a tree. Times of folders and links are the clock's in both, and so is that of a file that was
/// written since `start`.
fn comparable(root: &Path, start: i64) -> Tree {
    let mut tree = tree::of_folder(root);
    for (path, node) in &mut tree {
        if node.kind != 'f' || node.mtime >= start {
            node.mtime = 0;
        }
        if path == SCRIPTS {
            let mut text = Vec::new();
            let packed = std::fs::File::open(root.join(path)).expect("the scripts");
            flate2::read::GzDecoder::new(packed).read_to_end(&mut text).expect("the scripts");
            (node.content, node.size) = (sha256(&text), 0);
        }
    }
    tree
}

fn is_allowed(path: &str) -> bool {
    ALLOWED.iter().any(|(allowed, _)| path == *allowed || (allowed.ends_with('/') && path.starts_with(allowed)))
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set").as_secs();
    i64::try_from(now).expect("a time within range")
}

/// Builds with some engine up to the installed tree, and gives its place.
fn bootstrap(place: &Place, recipe: &Path, more: &[&str]) -> std::path::PathBuf {
    let mut arguments = vec!["--stop-after", "bootstrap"];
    arguments.extend(more);
    let ended = place.build(recipe, "image", &arguments).run().success();
    std::path::PathBuf::from(ended.stdout().trim())
}

#[track_caller]
fn assert_equal(theirs: &Tree, ours: &Tree) {
    let show = |node: Option<&Node>| node.map_or("not there".to_owned(), |node| format!("{node:?}"));
    let paths: std::collections::BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
    let differing: Vec<String> = paths
        .into_iter()
        .filter(|path| !is_allowed(path) && theirs.get(*path) != ours.get(*path))
        .map(|path| format!("{path}\n    theirs {}\n    ours   {}", show(theirs.get(path)), show(ours.get(path))))
        .collect();
    assert!(differing.is_empty(), "{} paths differ:\n{}", differing.len(), differing.join("\n"));
    assert!(ours.len() > 300, "a tree of {} paths", ours.len());
}

/// All genuine packages but those that cannot be installed.
fn everything(fixture: &Fixture) -> Vec<String> {
    let mut names = Vec::new();
    for path in fixture.files() {
        let file = path.file_name().expect("a name").to_string_lossy().into_owned();
        let Some(stem) = file.strip_suffix(".apk") else { continue };
        let name = stem.rsplitn(3, '-').nth(2).expect("a name, a version and a release");
        if !["fixture-badscript", "fixture-unsatisfiable"].contains(&name) {
            names.push(name.to_owned());
        }
    }
    names
}

#[test]
fn the_tree_is_that_of_the_real_apk() {
    const TEST: &str = "the_tree_is_that_of_the_real_apk";
    let Some(fixture) = Fixture::get(TEST) else { return };
    if !is_root() {
        skip!("{TEST}: apk makes a system as root only");
    }
    let all = everything(&fixture);
    let lab = Lab::new(fixture, &[]);
    let sets: [Vec<&str>; 3] = [
        vec!["alpine-base"],
        vec!["fixture-hello", "curl", "sudo", "alpine-base", "dhcpcd"],
        all.iter().map(String::as_str).collect(),
    ];
    for wanted in sets {
        assert_tree_of_apk(&lab, &wanted);
    }
}

/// Has the real apk install the packages, for the architecture of the fixture, and mkbase up to the installed tree.
#[track_caller]
pub fn assert_tree_of_apk(lab: &Lab, wanted: &[&str]) {
    let place = Place::new();
    let start = now();
    let theirs = place.path().join("theirs");
    std::fs::create_dir(&theirs).expect("a folder");
    let mut apk = lab.fixture.apk(&theirs);
    apk.arg("--repository").arg(format!("{}/main", lab.server.url())).args(["add", "--initdb"]).args(wanted);
    said(&apk.output().expect("apk runs"));
    let recipe = lab.recipe(&place, wanted, "");
    let ours = bootstrap(&place, &recipe, &["--arch", lab.fixture.arch()]);
    assert_eq!(installed(&theirs), installed(&ours));
    assert_equal(&comparable(&theirs, start), &comparable(&ours, start));
    let audited = lab.fixture.apk(&ours).args(["audit", "--system"]).output();
    assert_eq!(said(&audited.expect("apk runs")), "", "nothing differs from its package");
}

#[test]
fn the_engine_of_the_real_apk_makes_the_same_image() {
    const TEST: &str = "the_engine_of_the_real_apk_makes_the_same_image";
    let Some(fixture) = Fixture::get(TEST) else { return };
    if !is_root() {
        skip!("{TEST}: apk makes a system as root only");
    }
    let lab = Lab::new(fixture, &[]);
    let place = Place::new();
    let recipe = lab.recipe(&place, &["alpine-base", "fixture-hello"], "");
    place.build(&recipe, "native", &[]).run().success();
    assert_image_of_apk(&lab, &place, &recipe, "native");
    place.assert_nothing_left(&["native", "tool"]);
}

/// Builds the image `tool` with the host's apk, which must have what the image of that name has.
#[track_caller]
pub fn assert_image_of_apk(lab: &Lab, place: &Place, recipe: &Path, native: &str) {
    let path = format!("{}:{}", lab.fixture.bin().display(), std::env::var("PATH").expect("a search path"));
    let options = ["--engine", "apk-tools", "--arch", lab.fixture.arch()];
    place.build(recipe, "tool", &options).env("PATH", &path).run().success();
    let trees = [native, "tool"].map(|name| tree::of_tar(&place.out(name).join("rootfs.tar")));
    // Compressed by another release of zlib.
    let without = |tree: &Tree| tree.clone().into_iter().filter(|(path, _)| path != SCRIPTS).collect::<Tree>();
    assert_equal(&without(&trees[1]), &without(&trees[0]));
}

#[test]
fn apk_inside_goes_on_from_the_database() {
    const TEST: &str = "apk_inside_goes_on_from_the_database";
    let Some(fixture) = Fixture::get(TEST) else { return };
    if !is_root() {
        skip!("{TEST}: apk changes a system as root only");
    }
    let lab = Lab::new(fixture, &[]);
    lab.serve("updates");
    let place = Place::new();
    let recipe = lab.recipe(&place, &["alpine-base", "fixture-hello"], "");
    let root = bootstrap(&place, &recipe, &[]);
    let apk = |arguments: &[&str]| said(&lab.fixture.apk(&root).args(arguments).output().expect("apk runs"));
    let nowhere = ["--repositories-file", "/dev/null"];
    let with = |more: &[&'static str]| [&nowhere[..], more].concat();
    assert!(apk(&with(&["info", "-v"])).contains("fixture-hello-1.0-r0\n"));
    assert_eq!(apk(&with(&["audit", "--system"])), "", "nothing differs from its package");
    let updates = format!("{}/updates", lab.server.url());
    let main = format!("{}/main", lab.server.url());
    let upgraded = apk(&["--repository", &main, "--repository", &updates, "upgrade"]);
    assert!(upgraded.contains("Upgrading fixture-hello (1.0-r0 -> 1.1-r0)"), "{upgraded}");
    let log = std::fs::read_to_string(root.join("var/log/fixture-hello.log")).expect("the log of its scripts");
    let scripts: Vec<&str> = log.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(scripts, ["pre-install", "post-install", "trigger", "pre-upgrade", "post-upgrade", "trigger"]);
    let conf = std::fs::read_to_string(root.join("etc/fixture-hello.conf")).expect("its configuration");
    assert_eq!(conf, "greeting=hello 1.1-r0\n", "it was not changed, so the new one took its place");
}

/// Builds the recipe into `out/image`, expects it to fail with 1 and to leave nothing.
#[track_caller]
fn refused(place: &Place, recipe: &Path, more: &[&str], texts: &[&str]) -> Ended {
    let ended = place.build(recipe, "image", more).limit(Duration::from_secs(180)).run().fails(1, texts);
    place.assert_nothing_left(&[]);
    ended
}

fn shell(lines: &str, script: &'static str, text: &str) -> Apk {
    let data = vec![dir("usr"), dir("usr/share"), dir("usr/share/lab"), file("usr/share/lab/file", b"x")];
    Apk {
        lines: format!("depend = /bin/sh\n{lines}"),
        scripts: vec![(script, format!("#!/bin/sh\n{text}\n"))],
        ..Apk::new(data)
    }
}

#[test]
fn scripts_that_fail() {
    let Some(fixture) = Fixture::get("scripts_that_fail") else { return };
    let text = "echo starting; echo 'no luck today' >&2; exit 7";
    let packages = [
        ("lab-pre", shell("", "pre-install", text)),
        ("lab-post", shell("", "post-install", text)),
        ("lab-trigger", shell("triggers = /usr/share/la*\n", "trigger", text)),
        ("lab-killed", shell("", "post-install", "echo 'no luck today' >&2; kill -9 $$")),
    ];
    let lab = Lab::new(fixture, &packages);
    let place = Place::new();
    for (name, script, how) in [
        ("lab-pre", "the pre-install script of lab-pre 1.0-r0", "exit code 7"),
        ("lab-post", "the post-install script of lab-post 1.0-r0", "exit code 7"),
        ("lab-trigger", "the trigger script of lab-trigger 1.0-r0", "exit code 7"),
        ("lab-killed", "the post-install script of lab-killed 1.0-r0", "signal 9"),
        ("fixture-badscript", "the post-install script of fixture-badscript 1.0-r0", "this script fails on purpose"),
    ] {
        let recipe = lab.recipe(&place, &["alpine-base", name], "");
        let said = if name.starts_with("lab") { "no luck today" } else { "exit code 3" };
        refused(&place, &recipe, &[], &[&format!("the package {name} could not be installed"), script, how, said]);
    }
}

#[test]
fn scripts_that_hang() {
    /// A number that no other process on the host has.
    const SLEEP: &str = "864123";
    let Some(fixture) = Fixture::get("scripts_that_hang") else { return };
    let lab = Lab::new(fixture, &[("lab-hangs", shell("", "post-install", &format!("echo waiting; sleep {SLEEP}")))]);
    let place = Place::new();
    let recipe = lab.recipe(&place, &["alpine-base", "lab-hangs"], "");
    let texts = ["the package lab-hangs could not be installed", "did not end within 5 s", "waiting"];
    refused(&place, &recipe, &["--time-limit", "5"], &texts);
    assert!(processes_named(SLEEP).is_empty(), "the hanging script is gone");
}

#[test]
fn scripts_that_cannot_run() {
    let Some(fixture) = Fixture::get("scripts_that_cannot_run") else { return };
    let script = |text: &str| Apk { scripts: vec![("post-install", text.into())], ..shell("", "trigger", "") };
    let packages = [("lab-none", script("echo x\n")), ("lab-gone", script("#!/no/such/shell\n"))];
    let lab = Lab::new(fixture, &packages);
    let place = Place::new();
    for (name, says) in [("lab-none", "does not begin with #!"), ("lab-gone", "exit code 127")] {
        let recipe = lab.recipe(&place, &["alpine-base", name], "");
        refused(&place, &recipe, &[], &[name, "post-install", says]);
    }
}

#[test]
fn scripts_see_what_apk_shows_them() {
    let Some(fixture) = Fixture::get("scripts_see_what_apk_shows_them") else { return };
    let text = "{ echo \"$# $1 $2\"; echo \"$APK_SCRIPT $APK_PACKAGE $PATH\"; pwd; id -u; ls /usr/share/lab; } \
                >>/usr/share/lab-$APK_SCRIPT 2>/dev/null";
    let mut apk = shell("triggers = /usr/share/lab /usr/shar? +/usr/none\n", "pre-install", text);
    apk.scripts.extend(["post-install", "trigger"].map(|name| (name, format!("#!/bin/sh\n{text}\n"))));
    apk.scripts[0].1 = format!("#!/bin/sh\nmkdir -p /usr/share\n{text}\nexit 0\n");
    let lab = Lab::new(fixture, &[("lab-looks", apk)]);
    let place = Place::new();
    let recipe = lab.recipe(&place, &["alpine-base", "lab-looks"], "");
    place.build(&recipe, "image", &[]).env("LAB_SECRET", "s3cret-word").run().success();
    let tar = tree::unpacked(&place.out("image").join("rootfs.tar"));
    let text = |script: &str| {
        let bytes = tree::file_in_tar(&tar, &format!("usr/share/lab-{script}")).expect("written by the script");
        String::from_utf8(bytes).expect("text")
    };
    let path = "/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(text("pre-install"), format!("1 1.0-r0 \npre-install lab-looks {path}\n/\n0\n"));
    assert_eq!(text("post-install"), format!("1 1.0-r0 \npost-install lab-looks {path}\n/\n0\nfile\n"));
    let trigger = text("trigger");
    assert!(trigger.starts_with("2 /usr/share"), "{trigger}");
    assert!(trigger.contains(&format!("\ntrigger lab-looks {path}\n/\n0\nfile\n")), "{trigger}");
    let inside = tree::of_tar_bytes(&tar);
    assert!(!inside.keys().any(|path| path.starts_with("lib/apk/exec/")), "no script is left where it ran");
    place.assert_nothing_left(&["image"]);
}

#[test]
fn packages_that_were_changed() {
    let Some(fixture) = Fixture::get("packages_that_were_changed") else { return };
    let apk = || shell("", "post-install", "true");
    let other = Apk::new(vec![dir("usr"), file("usr/evil", b"evil")]);
    let data = apk().data_member();
    let control = apk().control_member("lab", &data);
    let signature = Apk::signature_member().len();
    let lab = Lab::new(fixture, &[("lab", apk())]);
    let place = Place::new().with_own_cache();
    let recipe = lab.recipe(&place, &["alpine-base", "lab"], "");
    let good = lab.server.body(&lab.path("lab")).read();
    let at = |place: usize| {
        let mut bytes = good.clone();
        bytes[place] ^= 0x10;
        bytes
    };
    for (what, bytes) in [
        ("a changed control member", at(signature + control.len() / 2)),
        ("a changed data member", at(signature + control.len() + data.len() / 2)),
        (
            "another control member",
            [Apk::signature_member(), other.control_member("lab", &data), data.clone()].concat(),
        ),
        ("other data", [Apk::signature_member(), control.clone(), other.data_member()].concat()),
        ("swapped members", [Apk::signature_member(), data.clone(), control.clone()].concat()),
        ("a file that is cut short", good[..good.len() - 100].to_vec()),
        ("something behind it", [&good[..], &gzip(b"more")].concat()),
    ] {
        eprintln!("{what}");
        lab.server.put(lab.path("lab"), bytes);
        refused(&place, &recipe, &[], &["lab"]);
    }
}

#[test]
fn packages_that_reach_out() {
    let Some(fixture) = Fixture::get("packages_that_reach_out") else { return };
    let hard = |target: &str| crate::util::alpine::member("a", tar::EntryType::Link, target, 0o644, b"", &[]);
    let device = crate::util::alpine::member("a", tar::EntryType::Char, "", 0o666, b"", &[]);
    let zeros = vec![0; 112 << 20];
    let packages = [
        ("lab-up", vec![file("../../evil", b"evil")], "its path leads out of the root"),
        ("lab-root", vec![file("/etc/evil", b"evil")], "it is absolute"),
        ("lab-hard", vec![hard("../../etc/passwd")], "its path leads out of the root"),
        ("lab-device", vec![device], "it is a device"),
        ("lab-twice", vec![dir("lab"), link("lab", "/etc")], "the package has this path twice"),
        ("lab-file", vec![dir("bin"), file("bin/busybox", b"evil")], "which the package busybox has too"),
        ("lab-bomb", vec![file("zeros", &zeros)], "it unpacks to far more"),
    ];
    let apks: Vec<(&str, Apk)> = packages.iter().map(|(name, data, _)| (*name, Apk::new(data.clone()))).collect();
    let lab = Lab::new(fixture, &apks);
    let place = Place::new();
    for (name, _, says) in &packages {
        let recipe = lab.recipe(&place, &["alpine-base", name], "");
        refused(&place, &recipe, &[], &[name, says]);
    }
}
