//! The tree, before customise and clean, is what the real debootstrap makes of the same packages.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::skip;
use crate::util::lab::{Lab, seed};
use crate::util::mkbase::Place;
use crate::util::tree::{self, Node, Tree};
use crate::util::{has_program, is_root};

/// What may differ.
enum Part {
    /// It is there in one of the two only.
    Presence,
    /// Its content.
    Content,
    /// These lines are left out before the contents are compared.
    Lines(&'static [&'static str]),
}

/// A difference that is meant, and why. A path that ends with `/` stands for everything below it.
struct Allowed {
    path: &'static str,
    part: Part,
    reason: &'static str,
}

const ALLOWED: &[Allowed] = &[
    Allowed { path: "var/log/", part: Part::Presence, reason: "debootstrap logs its own work" },
    Allowed { path: "var/log/", part: Part::Content, reason: "logs have clock values" },
    Allowed { path: "debootstrap/", part: Part::Presence, reason: "debootstrap's own working folder" },
    Allowed { path: "var/cache/apt/archives/", part: Part::Presence, reason: "debootstrap downloads into the tree" },
    Allowed { path: "var/lib/apt/lists/", part: Part::Presence, reason: "debootstrap leaves its index in the tree" },
    Allowed {
        path: "etc/apt/sources.list",
        part: Part::Presence,
        reason: "mkbase writes sources in customise, as deb822",
    },
    Allowed { path: "etc/resolv.conf", part: Part::Presence, reason: "debootstrap copies the host's" },
    Allowed { path: "etc/hostname", part: Part::Presence, reason: "debootstrap copies the host's" },
    Allowed { path: "etc/fstab", part: Part::Presence, reason: "debootstrap writes a comment into it" },
    Allowed { path: "var/lib/dpkg/available", part: Part::Presence, reason: "dselect's list, which nothing reads" },
    Allowed { path: "var/lib/dpkg/available", part: Part::Content, reason: "dselect's list, which nothing reads" },
    Allowed { path: "var/lib/dpkg/cmethopt", part: Part::Presence, reason: "dselect's method, which nothing reads" },
    Allowed { path: "var/lib/dpkg/lock", part: Part::Presence, reason: "a lock file" },
    Allowed { path: "var/lib/dpkg/lock-frontend", part: Part::Presence, reason: "a lock file" },
    Allowed { path: "var/lib/dpkg/triggers/Lock", part: Part::Presence, reason: "a lock file" },
    Allowed {
        path: "var/lib/dpkg/status",
        part: Part::Lines(&["Priority: ", "Section: "]),
        reason: "debootstrap has the archive's overrides from the index, mkbase the packages' own fields, as dpkg -i has",
    },
    Allowed { path: "var/lib/dpkg/status-old", part: Part::Presence, reason: "a backup of dpkg's" },
    Allowed { path: "var/lib/dpkg/status-old", part: Part::Content, reason: "a backup of dpkg's" },
    Allowed { path: "var/lib/dpkg/diversions-old", part: Part::Presence, reason: "a backup of dpkg's" },
    Allowed { path: "var/lib/dpkg/statoverride-old", part: Part::Presence, reason: "a backup of dpkg's" },
    Allowed { path: "var/cache/debconf/", part: Part::Presence, reason: "backups of debconf's, with its own rhythm" },
    Allowed {
        path: "var/cache/debconf/",
        part: Part::Content,
        reason: "the order of questions is that of configuration",
    },
    Allowed { path: "var/cache/ldconfig/aux-cache", part: Part::Content, reason: "it holds inode numbers and times" },
    Allowed { path: "etc/.pwd.lock", part: Part::Presence, reason: "a lock file" },
    Allowed { path: "etc/passwd-", part: Part::Content, reason: "a backup: the state before the last account" },
    Allowed { path: "etc/group-", part: Part::Content, reason: "a backup: the state before the last account" },
    Allowed { path: "etc/shadow-", part: Part::Content, reason: "a backup: the state before the last account" },
    Allowed {
        path: "var/lib/dpkg/diversions-old",
        part: Part::Content,
        reason: "a backup: the state before the last one",
    },
    Allowed { path: "dev/", part: Part::Presence, reason: "mkbase's devices are in the sandbox, not in the tree" },
    Allowed { path: "etc/machine-id", part: Part::Presence, reason: "a random number" },
    Allowed { path: "etc/machine-id", part: Part::Content, reason: "a random number" },
];

fn allows(path: &str, wanted: fn(&Part) -> bool) -> bool {
    ALLOWED.iter().any(|allowed| {
        let hit = match allowed.path.strip_suffix('/') {
            Some(folder) => path == folder || path.starts_with(allowed.path),
            None => path == allowed.path,
        };
        hit && wanted(&allowed.part)
    })
}

/// A file's lines but for those that may differ.
fn filtered(path: &str, root: &Path) -> Option<String> {
    let lines = ALLOWED.iter().find_map(|allowed| match allowed.part {
        Part::Lines(lines) if allowed.path == path => Some(lines),
        _ => None,
    })?;
    let text = std::fs::read_to_string(root.join(path)).ok()?;
    Some(text.lines().filter(|line| !lines.iter().any(|start| line.starts_with(start))).collect::<Vec<_>>().join("\n"))
}

#[test]
fn tree_is_that_of_debootstrap() {
    if !is_root() || !has_program("debootstrap") {
        skip!("tree_is_that_of_debootstrap: needs root and debootstrap");
    }
    let place = Place::new();
    // One mirror with exactly the locked packages for both.
    let lab = Lab::with(&seed().debs, |repo| repo.suite = "trixie");
    let theirs = place.path().join("debootstrap");
    let keyring = place.write("lab.gpg", lab.key.public_binary());
    let include: Vec<&str> = seed().debs.iter().map(|d| d.name.as_str()).collect();
    let output = Command::new("debootstrap")
        .args(["--variant=minbase", "--merged-usr", "--components=main"])
        .arg(format!("--include={}", include.join(",")))
        .arg(format!("--keyring={}", keyring.display()))
        .args(["trixie".as_ref(), theirs.as_os_str(), lab.server.url().as_ref()])
        .env("TMPDIR", place.tmp())
        .output()
        .expect("debootstrap starts");
    assert!(output.status.success(), "debootstrap:\n{}", String::from_utf8_lossy(&output.stdout));

    let recipe = lab.recipe(&place, &include, "");
    let text = std::fs::read_to_string(&recipe)
        .expect("the recipe")
        .replace("\"lab\"\nreleases = [\"lab\"]", "\"trixie\"\nreleases = [\"trixie\"]");
    let recipe = place.write("lab.toml", text);
    let ended = place.build(&recipe, "image", &["--keep", "--stop-after", "bootstrap"]).run().success();
    let ours = PathBuf::from(ended.stdout().trim());
    assert!(ours.join("usr/bin/dpkg").exists(), "the tree is kept and its path printed: {ours:?}\n{}", ended.stderr);

    let report = differences(&ours, &theirs);
    assert!(report.is_empty(), "differences from debootstrap's tree (- theirs, + ours):\n{report}");
}

fn differences(ours: &Path, theirs: &Path) -> String {
    let trees = [tree::of_folder(theirs), tree::of_folder(ours)];
    let mut report = String::new();
    let mut paths: Vec<&String> = trees[0].keys().chain(trees[1].keys()).collect();
    paths.sort();
    paths.dedup();
    for path in paths {
        match (trees[0].get(path), trees[1].get(path)) {
            (Some(theirs), Some(ours)) if theirs == ours => {}
            (Some(_), None) | (None, Some(_)) if allows(path, |part| matches!(part, Part::Presence)) => {}
            (Some(_), None) => writeln!(report, "- {path}").expect("a string takes it"),
            (None, _) => writeln!(report, "+ {path}").expect("a string takes it"),
            (Some(their), Some(our)) => compare(path, (their, theirs), (our, ours), &mut report),
        }
    }
    report
}

fn compare(path: &str, theirs: (&Node, &Path), ours: (&Node, &Path), report: &mut String) {
    let about = |node: &Node| (node.kind, node.mode, node.uid, node.gid, node.xattrs.clone());
    if about(theirs.0) != about(ours.0) {
        writeln!(report, "! {path}: {:?} and {:?}", about(theirs.0), about(ours.0)).expect("a string takes it");
    }
    if theirs.0.content == ours.0.content || allows(path, |part| matches!(part, Part::Content)) {
        return;
    }
    let texts = [theirs.1, ours.1].map(|root| filtered(path, root));
    if texts[0].is_some() && texts[0] == texts[1] {
        return;
    }
    writeln!(report, "~ {path}").expect("a string takes it");
    let texts = [theirs.1, ours.1].map(|root| std::fs::read_to_string(root.join(path)).unwrap_or_default());
    if let Some((number, (their, our))) =
        texts[0].lines().zip(texts[1].lines()).enumerate().find(|(_, (their, our))| their != our)
    {
        writeln!(report, "    first in line {}: {their:?} and {our:?}", number + 1).expect("a string takes it");
    }
    for (sign, text, other) in [('-', &texts[0], &texts[1]), ('+', &texts[1], &texts[0])] {
        let other: Vec<&str> = other.lines().collect();
        for line in text.lines().filter(|line| !other.contains(line)).take(20) {
            writeln!(report, "    {sign} {line}").expect("a string takes it");
        }
    }
}

/// The comparison itself sees every kind of difference: else the test above could not fail.
#[test]
fn comparison_sees_every_difference() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let place = Place::new();
    let roots = [place.path().join("a"), place.path().join("b")];
    for root in &roots {
        std::fs::create_dir_all(root.join("etc")).expect("a folder");
        std::fs::write(root.join("etc/same"), "same").expect("a file");
        std::fs::write(root.join("etc/content"), "a").expect("a file");
        std::fs::write(root.join("etc/mode"), "").expect("a file");
        std::fs::write(root.join("etc/kind"), "").expect("a file");
        symlink("same", root.join("etc/link")).expect("a link");
    }
    assert_eq!(differences(&roots[0], &roots[1]), "");
    std::fs::write(roots[0].join("etc/content"), "b").expect("a file");
    std::fs::set_permissions(roots[0].join("etc/mode"), std::fs::Permissions::from_mode(0o4755)).expect("own file");
    std::fs::remove_file(roots[0].join("etc/kind")).expect("own file");
    std::fs::create_dir(roots[0].join("etc/kind")).expect("a folder");
    std::fs::remove_file(roots[0].join("etc/link")).expect("own link");
    symlink("other", roots[0].join("etc/link")).expect("a link");
    std::fs::write(roots[0].join("etc/extra"), "").expect("a file");
    let report = differences(&roots[0], &roots[1]);
    for line in ["~ etc/content", "! etc/mode", "! etc/kind", "~ etc/link", "+ etc/extra"] {
        assert!(report.contains(line), "{line} in\n{report}");
    }
    assert!(!report.contains("etc/same"), "{report}");
    let reasons: BTreeMap<_, _> = ALLOWED.iter().map(|a| (a.reason, a.path)).collect();
    assert!(reasons.keys().all(|reason| reason.len() > 5), "every difference has its reason");
    let _: &Tree = &tree::of_folder(&roots[0]);
}
