//! The tree, before customise and clean, is what the distribution's own tools make of the same packages: debootstrap
//! of the base system, and `apt-get install` in debootstrap's tree of what is included besides.

mod awkward;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use awkward::{AWKWARD, COVERED};

use crate::skip;
use crate::util::lab::{Lab, Seed, recipe_text};
use crate::util::mkbase::Place;
use crate::util::tree::{self, Node};
use crate::util::{has_program, is_root};

/// What may differ.
enum Part {
    /// Everything: it may be there in one of the two only.
    All,
    /// Its content.
    Content,
    /// These lines are left out before the contents are compared.
    Lines(&'static [&'static str]),
    /// The order of its lines.
    Order,
}

/// A difference that is meant, and why. A path that ends with `/` stands for everything below it.
struct Allowed {
    paths: &'static [&'static str],
    part: Part,
    reason: &'static str,
}

#[rustfmt::skip]
const ALLOWED: &[Allowed] = &[
    Allowed { paths: &["debootstrap/", "var/cache/apt/", "var/lib/apt/lists/", "var/cache/debconf/tmp.ci", "run/mount"], part: Part::All, reason: "their working folders" },
    Allowed { paths: &["var/log/bootstrap.log", "var/log/dpkg.log", "var/log/alternatives.log", "var/log/apt/history.log", "var/log/apt/term.log", "var/log/apt/eipp.log.xz"], part: Part::All, reason: "they log their own work, with clock values" },
    Allowed { paths: &["etc/apt/sources.list", "etc/fstab", "etc/hostname", "etc/resolv.conf"], part: Part::All, reason: "debootstrap's settings, from the host; those of mkbase come in customise" },
    Allowed { paths: &["dev/"], part: Part::All, reason: "mkbase's devices are in the sandbox, not in the tree" },
    Allowed { paths: &["etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "var/lib/dpkg/status-old", "var/cache/debconf/config.dat-old", "var/cache/debconf/templates.dat-old", "var/cache/ldconfig/aux-cache"], part: Part::All, reason: "the state before the last change, and inode numbers: clean removes them" },
    Allowed { paths: &["var/lib/dpkg/available", "var/lib/dpkg/cmethopt"], part: Part::All, reason: "lists of dselect, which nothing else reads" },
    Allowed { paths: &["var/lib/dpkg/status"], part: Part::Lines(&["Priority: ", "Section: "]), reason: "debootstrap takes the archive's overrides from the index, mkbase the packages' own fields, as apt does" },
    Allowed { paths: &["var/lib/apt/extended_states"], part: Part::All, reason: "debootstrap has the libraries of the base as asked for; installed() looks at those of apt" },
    Allowed { paths: &["var/lib/dpkg/triggers/File"], part: Part::Order, reason: "dpkg reads it as a set; apt unpacks by the archive's overrides of priorities, which a lock does not have" },
    Allowed { paths: &["etc/machine-id", "var/lib/dbus/machine-id", "etc/ssh/"], part: Part::Content, reason: "a random number, and random keys" },
];

fn allows(path: &str, wanted: fn(&Part) -> bool) -> bool {
    let fits = |pattern: &str| match pattern.strip_suffix('/') {
        Some(folder) => path == folder || path.starts_with(pattern),
        None => path == pattern,
    };
    ALLOWED.iter().any(|allowed| allowed.paths.iter().any(|pattern| fits(pattern)) && wanted(&allowed.part))
}

/// A file's lines but for what may differ of them.
fn filtered(path: &str, root: &Path) -> Option<String> {
    let allowed = ALLOWED.iter().find(|allowed| allowed.paths.contains(&path))?;
    let text = std::fs::read_to_string(root.join(path)).ok()?;
    let mut lines: Vec<&str> = text.lines().collect();
    match allowed.part {
        Part::Lines(starts) => lines.retain(|line| !starts.iter().any(|start| line.starts_with(start))),
        Part::Order => lines.sort_unstable(),
        Part::All | Part::Content => return None,
    }
    Some(lines.join("\n"))
}

/// A release to compare.
struct Suite {
    name: &'static str,
    /// Options of the builds: the mirror of the unstable suite may lag behind its own promise.
    options: &'static [&'static str],
    /// What debootstrap adds by itself to the packages of the archive.
    more: &'static [&'static str],
    /// Awkward packages that differ from one run of apt to the next.
    without: &'static [&'static str],
    seed: OnceLock<Seed>,
    making: Mutex<()>,
}

impl Suite {
    const fn new(
        name: &'static str,
        options: &'static [&'static str],
        more: &'static [&'static str],
        without: &'static [&'static str],
    ) -> Suite {
        Suite { name, options, more, without, seed: OnceLock::new(), making: Mutex::new(()) }
    }

    /// Every package that any of the comparisons has, of one moment of the archive.
    fn seed(&self) -> &Seed {
        // Not inside `get_or_init`: when making it fails, every test that needs it says why.
        let _making = self.making.lock().unwrap_or_else(|e| e.into_inner());
        self.seed.get_or_init(|| {
            let include =
                ["build-essential"].iter().chain(AWKWARD).chain(self.more).copied().collect::<Vec<_>>().join(",");
            let recipe = format!("debian:{}", self.name);
            let mut options =
                vec!["--variant", "minbase", "--set", "packages.priorities=[\"required\"]", "--include", &include];
            options.extend(self.options);
            Seed::of(&recipe, &options)
        })
    }
}

// The Python of bullseye writes other bytes of the same code in each run, and its mandb the times of folders.
static BULLSEYE: Suite = Suite::new("bullseye", &[], &[], &["man-db", "python3-minimal"]);
static BOOKWORM: Suite = Suite::new("bookworm", &[], &["usr-is-merged"], &[]);
static TRIXIE: Suite = Suite::new("trixie", &[], &[], &[]);
static SID: Suite = Suite::new("sid", &["--set", "check_valid_until=false"], &[], &[]);

#[test]
fn bullseye_minbase_and_awkward() {
    minbase_and_awkward(&BULLSEYE);
}

#[test]
fn bullseye_buildd() {
    buildd(&BULLSEYE);
}

#[test]
fn bookworm_minbase_and_awkward() {
    minbase_and_awkward(&BOOKWORM);
}

#[test]
fn bookworm_buildd() {
    buildd(&BOOKWORM);
}

#[test]
fn trixie_minbase_and_awkward() {
    minbase_and_awkward(&TRIXIE);
}

#[test]
fn trixie_buildd() {
    buildd(&TRIXIE);
}

#[test]
fn sid_minbase_and_awkward() {
    minbase_and_awkward(&SID);
}

#[test]
fn sid_buildd() {
    buildd(&SID);
}

/// The tools that the comparison needs.
fn ready() -> bool {
    is_root() && has_program("debootstrap") && has_program("unshare")
}

/// The base system of both; then awkward packages, which apt installs into debootstrap's tree, and what dpkg and apt
/// find wrong with ours.
fn minbase_and_awkward(suite: &'static Suite) {
    if !ready() {
        skip!("oracle::{}_minbase_and_awkward: needs root, debootstrap and unshare", suite.name);
    }
    let sides = Sides::new(suite);
    let theirs = sides.debootstrap("minbase");
    let ours = sides.mkbase("minbase", &[]);
    let report = differences(&ours, &theirs);
    assert!(report.is_empty(), "differences from debootstrap's tree (- theirs, + ours):\n{report}");

    let awkward: Vec<&str> = AWKWARD.iter().copied().filter(|name| !suite.without.contains(name)).collect();
    sides.apt_install(&theirs, &awkward);
    let ours = sides.mkbase("awkward", &awkward);
    let report = differences(&ours, &theirs) + &sides.faults(&ours, &theirs, &[suite.more, &awkward].concat());
    assert!(report.is_empty(), "differences from apt's tree (- theirs, + ours), and faults:\n{report}");
    let missing: Vec<&str> = COVERED.iter().filter(|c| !(c.shown)(&theirs)).map(|c| c.what).collect();
    assert!(missing.is_empty(), "nothing of it is among the awkward packages: {missing:?}");
}

fn buildd(suite: &'static Suite) {
    if !ready() {
        skip!("oracle::{}_buildd: needs root, debootstrap and unshare", suite.name);
    }
    let sides = Sides::new(suite);
    let theirs = sides.debootstrap("buildd");
    let ours = sides.mkbase("buildd", &["build-essential"]);
    let report =
        differences(&ours, &theirs) + &sides.faults(&ours, &theirs, &[suite.more, &["build-essential"]].concat());
    assert!(report.is_empty(), "differences from debootstrap's tree (- theirs, + ours), and faults:\n{report}");
}

/// Both tools, with one mirror for both.
struct Sides {
    suite: &'static Suite,
    place: Place,
    lab: Lab,
}

impl Sides {
    fn new(suite: &'static Suite) -> Sides {
        let lab = Lab::with(&suite.seed().debs, |repo| repo.suite = suite.name);
        Sides { suite, place: Place::new(), lab }
    }

    fn debootstrap(&self, variant: &str) -> PathBuf {
        let target = self.place.path().join("debootstrap");
        let keyring = self.place.write("lab.gpg", self.lab.key.public_binary());
        let output = Command::new("debootstrap")
            // Without it the variant buildd of the older releases has no merged /usr, which mkbase always has: it is
            // what every installed system of these releases has, and what later ones need to be upgraded to.
            .args([&format!("--variant={variant}"), "--merged-usr", "--components=main"])
            .arg(format!("--keyring={}", keyring.display()))
            .args([self.suite.name.as_ref(), target.as_os_str(), self.lab.server.url().as_ref()])
            .env("TMPDIR", self.place.tmp())
            .envs(COMMON_ENV)
            .output()
            .expect("debootstrap starts");
        assert!(output.status.success(), "debootstrap:\n{}", String::from_utf8_lossy(&output.stdout));
        target
    }

    fn apt_install(&self, tree: &Path, packages: &[&str]) {
        // In a folder that may differ.
        let key = "var/cache/apt/lab.gpg";
        std::fs::write(tree.join(key), self.lab.key.public_binary()).expect("the key in the tree");
        let source = format!("deb [signed-by=/{key}] {} {} main\n", self.lab.server.url(), self.suite.name);
        std::fs::write(tree.join("etc/apt/sources.list"), source).expect("the tree's list of sources");
        let policy = tree.join("usr/sbin/policy-rc.d");
        std::fs::write(&policy, "#!/bin/sh\nexit 101\n").expect("the tree's policy");
        std::fs::set_permissions(&policy, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("own file");
        in_tree(tree, "apt-get -q update && apt-get -q -y --no-install-recommends install \"$@\"", packages);
        std::fs::remove_file(policy).expect("own file");
    }

    fn mkbase(&self, name: &str, include: &[&str]) -> PathBuf {
        self.place.write("lab.asc", self.lab.key.public());
        let include: Vec<&str> = ["apt"].iter().chain(self.suite.more).chain(include).copied().collect();
        let suite = format!("\"{}\"", self.suite.name);
        let text = recipe_text(&self.lab.server.url(), &include, "priorities = [\"required\"]")
            .replace("release = \"lab\"", &format!("release = {suite}"))
            .replace("releases = [\"lab\"]", &format!("releases = [{suite}]"));
        let recipe = self.place.write(&format!("{name}.toml"), text);
        let build = self.place.build(&recipe, name, &["--keep", "--stop-after", "bootstrap"]);
        let ended = COMMON_ENV.iter().fold(build, |build, (name, value)| build.env(name, value)).run().success();
        let tree = PathBuf::from(ended.stdout().trim());
        assert!(
            tree.join("usr/bin/dpkg").exists(),
            "the tree is kept and its path printed: {tree:?}\n{}",
            ended.stderr
        );
        tree
    }

    /// What dpkg and apt themselves find wrong with a tree.
    fn faults(&self, ours: &Path, theirs: &Path, include: &[&str]) -> String {
        let mut report = String::new();
        let mut check = |command: &str, expected: &str| {
            let said = in_tree(ours, command, &[]);
            if said.trim() != expected {
                writeln!(report, "{command}: {said}").expect("a string takes it");
            }
        };
        // `--verify` knows no checksums of configuration files that a maintainer script changed: none is meant to be.
        check("dpkg --verify", "");
        check("dpkg --audit", "");
        check("apt-get -qq check", "");
        check("cd / && for sums in /var/lib/dpkg/info/*.md5sums; do md5sum --quiet -c \"$sums\"; done", "");
        check("apt-get -qq --dry-run autoremove", "");
        let manual = |tree: &Path| -> BTreeSet<String> {
            in_tree(tree, "apt-mark showmanual", &[]).lines().map(str::to_string).collect()
        };
        let (ours_manual, theirs_manual) = (manual(ours), manual(theirs));
        let index = self.suite.seed().debs.iter().map(|deb| &deb.stanza);
        let required = index.filter(|stanza| {
            field(stanza, "Essential") == Some("yes") || field(stanza, "Priority") == Some("required")
        });
        let mut asked: BTreeSet<String> =
            required.filter_map(|stanza| Some(field(stanza, "Package")?.to_string())).collect();
        asked.extend(include.iter().chain(&["apt"]).map(|name| name.to_string()));
        for name in ours_manual.symmetric_difference(&asked) {
            writeln!(report, "apt-mark showmanual: {name}").expect("a string takes it");
        }
        // Of what debootstrap did not install, apt says the same.
        for name in ours_manual.difference(&theirs_manual) {
            writeln!(report, "automatic for apt-get install: {name}").expect("a string takes it");
        }
        report
    }
}

/// The value of a field of an index's paragraph.
fn field<'s>(stanza: &'s str, name: &str) -> Option<&'s str> {
    stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// What all of them work with: one date, for programs that write dates (those of passwords) or other things where there
/// is one (byte code that is checked by its hash). And no need to wait for the disk.
const COMMON_ENV: [(&str, &str); 2] = [("SOURCE_DATE_EPOCH", "1000000000"), ("DPKG_FORCE", "unsafe-io")];

/// Runs a shell command in a tree, with the environment that apt has in a chroot of an administrator, and gives what
/// it said.
fn in_tree(tree: &Path, command: &str, arguments: &[&str]) -> String {
    // The mounts and whatever still runs are gone with the namespaces.
    let outside = "echo localhost >/proc/sys/kernel/hostname && mount -t proc proc \"$1/proc\" && exec chroot \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "--uts", "--pid", "--fork", "--kill-child", "sh", "-c", outside, "sh"])
        .arg(tree)
        .args(["sh", "-ec", command, "sh"])
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", "/root")
        .envs(COMMON_ENV)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("unshare starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}:\n{said}");
    said
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
            _ if allows(path, |part| matches!(part, Part::All)) => {}
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
    assert!(ALLOWED.len() <= 10 && ALLOWED.iter().all(|a| a.reason.len() > 5), "few differences, each with its reason");
}
