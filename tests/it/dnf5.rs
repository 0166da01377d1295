//! A host with dnf 5 and rpm 6 makes what one with dnf 4 and rpm 4.18 makes, and says the same of what is wrong.

use std::path::PathBuf;

use crate::skip;
use crate::util::dnf5::{Host, host};
use crate::util::mkbase::{Ended, Place};
use crate::util::rpm::{FAILING, Mini, mini};
use crate::util::{now, sha256};

/// The distribution, the host and a place; the recipe has the packages that fail.
struct Case {
    mini: Mini,
    host: Host,
    place: Place,
    recipe: PathBuf,
}

/// Whose programs are used.
#[derive(Clone, Copy, PartialEq)]
enum Whose {
    /// dnf 4 of this machine, or of the tools tree.
    Dnf4,
    Dnf5,
}

impl Case {
    fn new() -> Result<Case, String> {
        let (mini, host, place) = (mini()?, host()?, Place::new());
        let recipe = mini.recipe(&place, &mini.broken());
        Ok(Case { mini, host, place, recipe })
    }

    fn run(&self, whose: Whose, command: &str, more: &[&str]) -> Ended {
        let run = self.place.mkbase([command]).arguments([&self.recipe]).arguments(self.mini.mirrors()).arguments(more);
        match whose {
            Whose::Dnf4 => run.run(),
            Whose::Dnf5 => run.arguments(["--tools", "host"]).through(self.host.enter("")).run(),
        }
    }

    fn build(&self, whose: Whose, out: &str, more: &[&str]) -> Ended {
        let out = self.place.out(out);
        let out = ["--compress", "none", "-o", out.to_str().expect("text")];
        self.run(whose, "build", &[&out[..], more].concat())
    }

    fn image(&self, out: &str) -> String {
        sha256(&std::fs::read(self.place.out(out).join("rootfs.tar")).expect("the image"))
    }

    fn lock_path(&self) -> PathBuf {
        self.recipe.with_extension("lock")
    }
}

/// The case, or the end of a test that cannot have it.
macro_rules! case_or_skip {
    ($test:literal) => {
        match Case::new() {
            Ok(case) => case,
            Err(why) => skip!("{}: {why}", $test),
        }
    };
}

#[test]
fn the_same_lock_gives_the_same_bytes_with_dnf_5() {
    let case = case_or_skip!("the_same_lock_gives_the_same_bytes_with_dnf_5");
    let asked = ["--variant", "core", "--include", "mini-hello,mini-caps,mini-daemon,mini-weak,openssh-server,tzdata"];
    case.run(Whose::Dnf4, "lock", &asked).success();
    for (whose, out) in [(Whose::Dnf4, "four"), (Whose::Dnf5, "five")] {
        case.build(whose, out, &[&asked[..], &["--locked"]].concat()).success();
    }
    assert_eq!(case.image("four"), case.image("five"));
    case.place.mkbase(["check".as_ref(), case.place.out("five").as_os_str()]).run().success();
    case.place.assert_nothing_left(&["four", "five"]);
}

#[test]
fn dnf_5_decides_on_the_packages_that_dnf_4_does() {
    let case = case_or_skip!("dnf_5_decides_on_the_packages_that_dnf_4_does");
    for more in [
        &[][..],
        &["--include", "@core"],
        &["--include", "@^minimal-environment,mini-weak", "--set", "packages.recommends=true"],
        &["--include", "mini-h*,bash-5.2.15", "--set", "packages.exclude=[\"tzdata\"]"],
        &["--include", "/usr/bin/mini-setuid"],
    ] {
        let lock = |whose| case.run(whose, "lock", &[&["-o", "-"], more].concat()).success();
        let (four, five) = (lock(Whose::Dnf4), lock(Whose::Dnf5));
        assert_eq!(four.stdout(), five.stdout(), "{more:?}");
    }
    for (more, code, texts) in [
        (&["--include", "mini-nosuch"][..], 2, &["no repository has the package 'mini-nosuch'"][..]),
        (&["--include", "@nosuch"], 2, &["no repository has the group or module '@nosuch'"]),
        (&["--include", "@greeter:1"], 2, &["no repository has the group or module '@greeter:1'"]),
        (&["--set", "packages.exclude=[\"mini-nosuch\"]"], 0, &["no repository has the package 'mini-nosuch'"]),
    ] {
        case.run(Whose::Dnf5, "lock", &[&["-o", "-"], more].concat()).fails(code, texts);
    }

    // What is not named keeps its version.
    let start = now();
    case.mini.publish_only("updates", &[], start - 3000);
    let asked = ["--include", "mini-hello"];
    case.run(Whose::Dnf5, "lock", &asked).success();
    case.mini.publish_only("updates", &["mini-hello", "bash"], start - 2000);
    let ended = case.run(Whose::Dnf5, "lock", &[&["--update", "mini-hello"], &asked[..]].concat()).success();
    assert_eq!(ended.stdout(), "upgraded mini-hello 1.0-1.mn1 -> 1.1-1.mn1\n");
    let held = std::fs::read_to_string(case.lock_path()).expect("the lock");
    case.run(Whose::Dnf4, "lock", &[&["--update", "mini-hello"], &asked[..]].concat()).success();
    assert_eq!(held, std::fs::read_to_string(case.lock_path()).expect("the lock"));

    let (primary, lists) = (case.mini.metadata("broken", "primary"), case.mini.metadata("broken", "filelists"));
    let files = [
        ("primary", "primary.xml", primary.as_bytes()),
        ("filelists", "filelists.xml", lists.as_bytes()),
        ("modules", "modules.yaml", b"---\n"),
    ];
    case.mini.publish("broken", &files, start);
    let texts = ["the repository 'broken' has modules", "--tools tree"];
    case.run(Whose::Dnf5, "lock", &["-o", "-"]).fails(1, &texts);
    case.place.assert_nothing_left(&[]);
}

#[test]
fn dnf_5_names_packages_that_fail_with_the_reason() {
    let case = case_or_skip!("dnf_5_names_packages_that_fail_with_the_reason");
    for (packages, texts) in FAILING {
        case.build(Whose::Dnf5, "image", &["--include", packages]).fails(1, texts);
    }
    let hangs = ["--include", "mini-hang", "--time-limit", "10"];
    let texts = [
        "a scriptlet of mini-hang-1.0-1.mn1.noarch did not end within 10 s",
        "said:\n",
        "    mini-hang waits for ever",
    ];
    case.build(Whose::Dnf5, "image", &hangs).fails(1, &texts);
    case.place.assert_nothing_left(&[]);
    let warn = ["--include", "mini-badpost", "--set", "packages.scriptlet_errors=warn"];
    let ended = case.build(Whose::Dnf5, "image", &warn).success();
    assert!(ended.stderr.contains("%post of mini-badpost failed: mini-badpost fails on purpose"), "{}", ended.stderr);
    case.place.assert_nothing_left(&["image"]);
}

#[test]
fn a_host_that_does_not_serve_says_why() {
    let case = case_or_skip!("a_host_that_does_not_serve_says_why");
    let lock = |more: &[&str], hidden: &str| {
        let run = case.place.mkbase(["lock", "-o", "-", "-v"]).arguments([&case.recipe]);
        run.arguments(case.mini.mirrors()).arguments(more).through(case.host.enter(hidden)).run()
    };
    // By itself its rpm is not taken, but that of the tools tree.
    let ended = lock(&[], "").success();
    let why = "not with the host's programs: this machine has rpm 6.";
    assert!(ended.stderr.contains(why) && ended.stderr.contains("--tools host"), "{}", ended.stderr);
    let texts = ["no Python interface", "python3-libdnf5", "--tools tree"];
    lock(&["--tools", "host"], &case.host.interface()).fails(1, &texts);
    case.place.assert_nothing_left(&[]);
}
