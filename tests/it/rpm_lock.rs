//! The lock of an RPM image: updates of all or of some packages, builds from it without a network, in-house packages,
//! groups and modules.

use std::path::PathBuf;
use std::process::Command;

use crate::skip;
use crate::util::deb::gzip;
use crate::util::mkbase::{Ended, Place};
use crate::util::rpm::{Mini, mini};
use crate::util::{has_program, is_root, now, sha256, tree};

/// A recipe with few packages, and its lock.
struct Case {
    place: Place,
    mini: Mini,
    recipe: PathBuf,
}

impl Case {
    /// Of these packages besides; `more` goes to the end of the recipe, `packages` into its table of that name.
    fn new(include: &str, packages: &str, more: &str) -> Result<Case, String> {
        let (mini, place) = (mini()?, Place::new().with_own_cache());
        let case = Case { recipe: mini.recipe(&place, ""), mini, place };
        case.write(include, packages, more);
        Ok(case)
    }

    fn write(&self, include: &str, packages: &str, more: &str) {
        let recipe = self.mini.recipe(&self.place, more);
        let text = std::fs::read_to_string(&recipe).expect("the recipe");
        let (variants, rest) = text.split_once("[variant.base]").expect("it has variants");
        let (_, rest) = rest.split_once("[image]").expect("it has settings of the image");
        let text = format!("{variants}[variant.base]\npackages.include = [{include}]\n\n[image]{rest}");
        self.place.write("mini.toml", text.replace("[packages]\n", &format!("[packages]\n{packages}\n")));
    }

    fn words(&self, command: &str, more: &[&str]) -> Vec<String> {
        let mut words = vec![command.to_owned(), self.recipe.display().to_string()];
        if command == "build" {
            let output = self.place.out("image").display().to_string();
            words.extend(["--compress".into(), "none".into(), "-o".into(), output]);
        }
        words.extend(self.mini.mirrors());
        words.extend(more.iter().map(|word| word.to_string()));
        words
    }

    fn run(&self, command: &str, more: &[&str]) -> Ended {
        self.place.mkbase(self.words(command, more)).run()
    }

    fn lock_path(&self) -> PathBuf {
        self.place.path().join("mini.lock")
    }

    fn lock_text(&self) -> String {
        std::fs::read_to_string(self.lock_path()).expect("the lock")
    }

    /// What a new lock would have, a line for each package.
    fn packages(&self, more: &[&str]) -> Vec<String> {
        let ended = self.run("lock", &[&["-o", "-"], more].concat()).success();
        let lock = mkbase::lock::Lock::parse(ended.stdout(), "-").expect("a lock");
        lock.packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect()
    }

    fn image(&self) -> String {
        sha256(&std::fs::read(self.place.out("image").join("rootfs.tar")).expect("the image"))
    }
}

/// The case, or the end of a test that cannot have the distribution.
macro_rules! case_or_skip {
    ($test:literal, $($part:expr),*) => {
        match Case::new($($part),*) {
            Ok(case) => case,
            Err(why) => skip!("{}: {why}", $test),
        }
    };
}

/// The lines of `new` that `old` does not have.
fn new_lines<'a>(old: &str, new: &'a str) -> Vec<&'a str> {
    new.lines().filter(|line| !old.lines().any(|known| known == *line)).collect()
}

#[test]
fn an_update_changes_one_package_and_the_old_lock_gives_the_old_bytes() {
    let case =
        case_or_skip!("an_update_changes_one_package_and_the_old_lock_gives_the_old_bytes", "\"mini-hello\"", "", "");
    // A key that the recipe has by address only.
    let key = std::fs::read(case.mini.folder.join("RPM-GPG-KEY-mini-1")).expect("the key");
    let fingerprint = fingerprint(&case.mini, "mini-1");
    case.mini.server.put("/key.asc", key);
    let text = std::fs::read_to_string(&case.recipe).expect("the recipe");
    let by_address =
        format!("key = {{ url = \"{}/key.asc\", fingerprint = \"{fingerprint}\" }}", case.mini.server.url());
    case.place.write("mini.toml", text.replacen("key  = \"RPM-GPG-KEY-mini-1\"", &by_address, 1));

    let start = now();
    case.mini.publish_only("updates", &[], start - 3000);
    assert_eq!(case.run("lock", &[]).success().stdout(), "");
    let old = case.lock_text();
    assert!(old.contains("\"1.0-1.mn1\"") && !old.contains("1.1-1.mn1"), "{old}");
    case.run("build", &["--locked"]).success();
    let image = case.image();
    let manifest = std::fs::read(case.place.out("image").join("manifest.json")).expect("the manifest");

    // Newer dates alone change nothing.
    case.mini.publish_only("updates", &[], start - 2000);
    let ended = case.run("lock", &["--update"]).success();
    assert!(ended.stdout.is_empty() && ended.stderr.contains("up to date"), "{}", ended.stderr);
    assert_eq!(case.lock_text(), old);

    // One package is newer.
    case.mini.publish_only("updates", &["mini-hello"], start - 1000);
    let ended = case.run("lock", &["--update"]).success();
    assert_eq!(ended.stdout(), "upgraded mini-hello 1.0-1.mn1 -> 1.1-1.mn1\n");
    let new = case.lock_text();
    let changed = new_lines(&old, &new);
    let expected = |line: &&str| {
        let of = |name: &str| line.contains(&format!("name = \"{name}\""));
        line.starts_with("epoch = ") || of("updates") || of("mini-hello")
    };
    assert!(changed.len() <= 3 && changed.iter().all(expected), "{changed:#?}");
    assert_eq!(old.lines().count(), new.lines().count());

    // The old lock, with a cache that has nothing yet: what it names is still served.
    case.place.write("mini.lock", &old);
    std::fs::remove_dir_all(case.place.cache()).expect("the cache of this test");
    std::fs::create_dir(case.place.cache()).expect("the cache of this test");
    case.run("build", &["--offline"]).fails(1, &["key.asc", "mkbase fetch"]);
    case.run("fetch", &[]).success();
    let asked = case.mini.server.requests().len();
    let mut build = case.place.mkbase(case.words("build", &["--offline"]));
    if is_root() && has_program("unshare") {
        // A network namespace that has no interface but a loopback one that is down.
        build = build.through(["unshare", "--net"]);
    } else {
        crate::util::note_skip("an_update_changes_one_package: without a network: needs root and unshare");
    }
    build.run().success();
    assert_eq!(case.mini.server.requests().len(), asked, "nobody is asked");
    assert_eq!(case.image(), image);
    assert_eq!(std::fs::read(case.place.out("image").join("manifest.json")).expect("the manifest"), manifest);

    // What the cache lacks is named, and only that.
    let lock = mkbase::lock::Lock::parse(&old, "mini.lock").expect("a lock");
    let gone = lock.packages.iter().find(|package| package.name == "mini-hello").expect("it is locked");
    let entry = case.place.cache().join("sha256").join(&gone.sha256[..2]).join(&gone.sha256);
    std::fs::remove_file(entry).expect("it was fetched");
    let ended = case.run("build", &["--offline"]).fails(1, &["mini-hello 1.0-1.mn1", "mkbase fetch"]);
    assert!(!ended.stderr.contains("coreutils"), "only what is missing:\n{}", ended.stderr);
    // An archive that drops old packages.
    case.mini.server.remove(&format!("{}/{}", case.mini.path("BaseOS"), gone.path));
    case.run("fetch", &[]).fails(1, &["mini-hello 1.0-1.mn1", "not found"]);
    case.place.assert_nothing_left(&["image"]);
}

/// The fingerprint of a key of the distribution.
fn fingerprint(mini: &Mini, name: &str) -> String {
    let key = mini.folder.join(format!("RPM-GPG-KEY-{name}"));
    let home = tempfile::tempdir().expect("a folder");
    let output = Command::new("gpg")
        .arg("--homedir")
        .arg(home.path())
        .args(["--batch", "--quiet", "--with-colons", "--show-keys"])
        .arg(key)
        .output()
        .expect("gpg runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("fpr:")).unwrap_or_else(|| panic!("no fingerprint: {text}"));
    line.split(':').nth(9).expect("a fingerprint").to_owned()
}

#[test]
fn an_update_of_named_packages_holds_the_others() {
    let case = case_or_skip!("an_update_of_named_packages_holds_the_others", "\"mini-hello\"", "", "");
    let start = now();
    case.mini.publish_only("updates", &[], start - 3000);
    case.run("lock", &[]).success();
    let old = case.lock_text();
    case.mini.publish_only("updates", &["mini-hello", "bash"], start - 2000);
    let ended = case.run("lock", &["--update", "mini-hello"]).success();
    assert_eq!(ended.stdout(), "upgraded mini-hello 1.0-1.mn1 -> 1.1-1.mn1\n");
    let ended = case.run("lock", &["--update", "mini-hello"]).success();
    assert!(ended.stderr.contains("up to date"), "bash is held: {}", ended.stderr);
    case.run("lock", &["--update", "mini-helo"]).fails(2, &["mini-helo", "mini-hello"]);

    // What remains to be renewed.
    let ended = case.run("lock", &["--update"]).success();
    assert!(ended.stdout().starts_with("upgraded bash ") && ended.stdout().lines().count() == 1, "{}", ended.stdout());

    // What the named package needs is not held.
    case.place.write("mini.lock", &old);
    let bash = old.lines().find(|line| line.contains("name = \"bash\"")).expect("bash is locked");
    let version = bash.split("version = \"").nth(1).and_then(|rest| rest.split('-').next()).expect("its version");
    let primary = case.mini.metadata("updates", "primary");
    let any = "<rpm:entry name=\"bash\" pre=\"1\"/>";
    let newer =
        format!("<rpm:entry name=\"bash\" flags=\"GE\" epoch=\"0\" ver=\"{version}\" rel=\"2.mn1\" pre=\"1\"/>");
    assert!(primary.contains(any), "{primary}");
    case.mini.publish_primary("updates", &primary.replace(any, &newer), start - 2000);
    let ended = case.run("lock", &["--update", "mini-hello"]).success();
    let lines: Vec<&str> = ended.stdout().lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("upgraded bash ") && lines[1].contains("mini-hello"), "{lines:?}");
    case.mini.publish_only("updates", &["mini-hello", "bash"], start - 2000);

    // A change of the recipe leaves the versions of what stays.
    case.place.write("mini.lock", &old);
    case.write("\"mini-hello\", \"mini-weak\"", "", "");
    let ended = case.run("lock", &[]).success();
    assert_eq!(ended.stdout(), "added mini-weak 1.0-1.mn1\n");

    // A metadata list that is older than the one the lock has seen.
    case.run("lock", &["--update"]).success();
    let text = case.lock_text();
    case.mini.publish_only("updates", &[], start - 2500);
    for more in [&["--update"][..], &["--update", "bash"]] {
        case.run("lock", more).fails(1, &["the index of the repository 'updates'", "--allow-rollback"]);
        assert_eq!(case.lock_text(), text);
    }
    let ended = case.run("lock", &["--update", "--allow-rollback"]).success();
    let downgraded = |name: &str| ended.stdout().contains(&format!("downgraded {name} "));
    assert!(downgraded("bash") && downgraded("mini-hello"), "{}", ended.stdout());

    // What does not fit is refused without asking anybody.
    let asked = case.mini.server.requests().len();
    case.write("\"mini-hello\"", "recommends = true", "");
    for command in [&["build", "--locked"][..], &["build", "--offline"], &["fetch"]] {
        case.run(command[0], &command[1..]).fails(2, &["mini.lock does not fit", "the recipe or its options"]);
    }
    assert_eq!(case.mini.server.requests().len(), asked, "nobody was asked");
    case.place.assert_nothing_left(&[]);
}

/// The names of the keys in the image's database.
fn keys(case: &Case) -> String {
    let tar = tree::unpacked(&case.place.out("image").join("rootfs.tar"));
    let database = tree::file_in_tar(&tar, "usr/lib/sysimage/rpm/rpmdb.sqlite").expect("the database");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("rpmdb.sqlite"), database).expect("writes");
    let mut rpm = Command::new("rpm");
    rpm.arg("--dbpath").arg(folder.path()).args(["--define", "_db_backend sqlite"]);
    let output = rpm.args(["-qa", "--qf", "%{summary}\\n", "gpg-pubkey*"]).output().expect("rpm runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn in_house_packages_are_signed_or_trusted() {
    let case = case_or_skip!("in_house_packages_are_signed_or_trusted", "", "", "");
    let read = |path: &str| std::fs::read(case.mini.folder.join(path.trim_start_matches('/'))).expect("a package");
    let failing = |name: &str| read(&format!("{}/Packages/{name}-1.0-1.mn1.noarch.rpm", case.mini.path("broken")));
    let agent = read("corp/noarch/Packages/corp-agent-2.0-1.mn1.noarch.rpm");
    case.place.write("copy.rpm", &agent);
    let key = "files = [\"agent.rpm\"]\nkey = \"RPM-GPG-KEY-corp\"";

    // What is wrong with a file is found before anything is asked for.
    for (content, packages, code, texts) in [
        (agent.clone(), "files = [\"agent.rpm\"]", 1, &["packages.files: agent.rpm", "signed by", "not by a key"][..]),
        (failing("mini-unsigned"), key, 1, &["packages.files: agent.rpm", "it is not signed"]),
        (failing("mini-tampered"), key, 1, &["packages.files: agent.rpm", "its payload was changed"]),
        (failing("mini-forged"), key, 1, &["packages.files: agent.rpm", "its content was changed after"]),
        (
            failing("mini-tampered"),
            "files = [\"agent.rpm\"]\ntrusted = true",
            1,
            &["packages.files: agent.rpm", "its payload was changed"],
        ),
        (b"#!/bin/sh\n".to_vec(), key, 2, &["packages.files: agent.rpm", "it is no RPM package"]),
        (
            agent.clone(),
            "files = [\"agent.rpm\", \"copy.rpm\"]\nkey = \"RPM-GPG-KEY-corp\"",
            2,
            &["agent.rpm and copy.rpm are both of the package corp-agent"],
        ),
        (agent[..1000].to_vec(), key, 2, &["packages.files: agent.rpm", "longer than it may be"]),
    ] {
        case.place.write("agent.rpm", content);
        case.write("", packages, "");
        case.run("build", &[]).fails(code, texts);
        case.place.assert_nothing_left(&[]);
    }
    assert_eq!(case.mini.server.requests().len(), 0);

    case.place.write("agent.rpm", &agent);
    case.write("", key, "");
    case.run("lock", &[]).success();
    let line = case.lock_text().lines().find(|line| line.contains("corp-agent")).expect("it is locked").to_owned();
    assert!(line.contains("path = \"agent.rpm\"") && !line.contains("repository"), "{line}");
    case.run("build", &["--locked"]).success();
    let tar = tree::unpacked(&case.place.out("image").join("rootfs.tar"));
    let conf = tree::file_in_tar(&tar, "etc/corp-agent.conf").expect("its configuration");
    assert!(String::from_utf8_lossy(&conf).contains("installed=yes"), "its %post ran");
    let keys = keys(&case);
    assert!(keys.contains("mini-1@example.org") && !keys.contains("corp@example.org"), "{keys}");

    // Another file of that name does not fit, and without a signature it must be trusted.
    case.place.write("agent.rpm", failing("mini-unsigned"));
    case.run("build", &["--locked"]).fails(2, &["mini.lock does not fit", "agent.rpm"]);
    case.write("", "files = [\"agent.rpm\"]\ntrusted = true", "");
    let ended = case.run("lock", &[]).success();
    assert_eq!(ended.stdout(), "removed corp-agent 2.0-1.mn1\nadded mini-unsigned 1.0-1.mn1\n");
    case.run("build", &["--locked"]).success();
    let tree = tree::of_tar(&case.place.out("image").join("rootfs.tar"));
    assert!(tree.contains_key("usr/share/mini-unsigned/file"));
    case.place.assert_nothing_left(&["image"]);
}

/// A stream of a module with one package.
fn module(platform: &str) -> String {
    format!(
        "---\ndocument: modulemd\nversion: 2\ndata:\n  name: greeter\n  stream: \"1\"\n  version: 1\n  context: c0ffee42\n  \
         arch: {}\n  summary: Greets\n  description: Greets.\n  license:\n    module: [MIT]\n  dependencies:\n  \
         - buildrequires: {{platform: [{platform}]}}\n    requires: {{platform: [{platform}]}}\n  profiles:\n    \
         default:\n      rpms: [mini-hello]\n  artifacts:\n    rpms:\n    - mini-hello-0:1.1-1.mn1.noarch\n...\n",
        std::env::consts::ARCH
    )
}

#[test]
fn groups_environments_and_modules_are_asked_for() {
    let case = case_or_skip!(
        "groups_environments_and_modules_are_asked_for",
        "",
        "",
        "[rpm]\nmodule_platform_id = \"platform:mn1\"\n"
    );
    let has = |packages: &[String], start: &str| packages.iter().any(|package| package.starts_with(start));
    for request in ["@core", "@^minimal-environment"] {
        let packages = case.packages(&["--include", request]);
        for name in ["shadow-utils ", "util-linux ", "openssh-server "] {
            assert!(has(&packages, name), "{request} brings what is mandatory or default, {name}: {packages:?}");
        }
        assert!(!has(&packages, "mini-hello "), "{request} does not bring what is optional: {packages:?}");
    }
    for request in ["@nosuch", "@^nosuch", "@greeter:1"] {
        case.run("lock", &["--include", request]).fails(2, &["no repository has the group or module", request]);
    }

    // Also where the groups are compressed, in a file of the name that they have in RHEL.
    let read = |kind: &str| case.mini.metadata("BaseOS", kind).into_bytes();
    let (primary, lists, groups) = (read("primary"), read("filelists"), gzip(&read("comps")));
    let files = [
        ("primary", "primary.xml", &primary[..]),
        ("filelists", "filelists.xml", &lists),
        ("group_gz", "1c45-comps-BaseOS.x86_64.xml.gz", &groups),
    ];
    case.mini.publish("BaseOS", &files, now());
    assert!(has(&case.packages(&["--include", "@core"]), "openssh-server "));

    // Packages of a module are there only for who asks for it.
    let publish = |platform: &str| {
        let (primary, lists) = (case.mini.metadata("updates", "primary"), case.mini.metadata("updates", "filelists"));
        let files = [
            ("primary", "primary.xml", primary.as_bytes()),
            ("filelists", "filelists.xml", lists.as_bytes()),
            ("modules", "modules.yaml.gz", &gzip(module(platform).as_bytes())),
        ];
        case.mini.publish("updates", &files, now());
    };
    publish("mn1");
    assert!(has(&case.packages(&["--include", "mini-hello"]), "mini-hello 1.0-1.mn1"));
    assert!(has(&case.packages(&["--include", "@greeter:1/default"]), "mini-hello 1.1-1.mn1"));
    case.run("lock", &["--include", "@greeter:9"]).fails(2, &["@greeter:9"]);
    publish("other9");
    case.run("lock", &["--include", "@greeter:1/default"]).fails(2, &["greeter"]);
    case.place.assert_nothing_left(&[]);
}
