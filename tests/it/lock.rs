//! The lock beside a recipe.

mod cache;

use std::path::PathBuf;

use mkbase::lock::Lock;

use crate::util::deb::{Deb, Package};
use crate::util::lab::Lab;
use crate::util::mkbase::{Ended, Mkbase, Place};
use crate::util::now;
use crate::util::repo::Repo;
use crate::util::server::refused_url;

/// A repository of packages that are small and no system: good for everything up to the fetching.
struct Case {
    place: Place,
    lab: Lab,
    recipe: PathBuf,
}

/// These packages are no system, so that no build of them gets further than to install them.
trait Installs {
    fn installs(self, texts: &[&str]) -> Ended;
}

impl Installs for Ended {
    /// Asserts that it had the packages, and that standard error holds these texts.
    #[track_caller]
    fn installs(self, texts: &[&str]) -> Ended {
        let code = self.code.expect("it ended by itself");
        self.fails(code, &[texts, &["installing the packages"]].concat())
    }
}

/// `name version`, and what it depends on.
fn packages(list: &[(&str, &str)]) -> Vec<Deb> {
    list.iter()
        .map(|(name, depends)| {
            let (name, version) = name.split_once(' ').expect("a name and a version");
            let package = Package::new(name).version(version);
            if depends.is_empty() { package.build() } else { package.depends(depends).build() }
        })
        .collect()
}

impl Case {
    /// With a recipe that asks for `a` and `c`.
    fn new(list: &[(&str, &str)]) -> Case {
        let place = Place::new().with_own_cache();
        let lab = Lab::new(&packages(list));
        let recipe = lab.recipe(&place, &["a", "c"], "");
        Case { place, lab, recipe }
    }

    /// The repository changes: these packages, dated so many seconds ago.
    fn publish(&self, list: &[(&str, &str)], age: i64) {
        let mut repo = Repo::new(&self.lab.key, packages(list));
        repo.date = now() - age;
        repo.publish(&self.lab.server);
    }

    fn run(&self, command: &str, more: &[&str]) -> Ended {
        self.command(command, more).run()
    }

    fn command(&self, command: &str, more: &[&str]) -> Mkbase<'_> {
        let recipe = self.recipe.to_str().expect("text");
        let output = self.place.out("image");
        let mut words = vec![command, recipe];
        if command == "build" {
            words.extend(["--compress", "none", "-o", output.to_str().expect("text")]);
        }
        words.extend(more);
        self.place.mkbase(words)
    }

    fn lock_path(&self) -> PathBuf {
        self.place.path().join("lab.lock")
    }

    fn lock_text(&self) -> String {
        std::fs::read_to_string(self.lock_path()).expect("the lock")
    }

    /// `name version` of all packages.
    fn locked(&self) -> Vec<String> {
        let lock = Lock::parse(&self.lock_text(), "lab.lock").expect("a lock");
        lock.packages.iter().map(|p| format!("{} {}", p.name, p.version)).collect()
    }

    /// Puts more TOML at the end of the recipe.
    fn change_recipe(&self, more: &str) {
        let text = std::fs::read_to_string(&self.recipe).expect("the recipe");
        self.place.write("lab.toml", text + more);
    }

    fn requests(&self) -> usize {
        self.lab.server.requests().len()
    }

    /// The cache's file of a package.
    fn entry(&self, name: &str) -> PathBuf {
        let lock = Lock::parse(&self.lock_text(), "lab.lock").expect("a lock");
        let hash = &lock.packages.iter().find(|p| p.name == name).expect("it is locked").sha256;
        self.place.cache().join("sha256").join(&hash[..2]).join(hash)
    }
}

const FIRST: &[(&str, &str)] = &[("a 1.0", "b"), ("b 1.0", ""), ("c 1.0", "")];
const SECOND: &[(&str, &str)] = &[("a 1.1", "b (>= 1.1)"), ("b 1.1", ""), ("c 1.1", ""), ("d 1.0", "")];

#[test]
fn a_lock_is_written_beside_the_recipe_and_left_alone() {
    let case = Case::new(FIRST);
    let ended = case.run("lock", &[]).success();
    assert_eq!(ended.stdout(), "", "all of it is new");
    assert_eq!(case.locked(), ["a 1.0", "b 1.0", "c 1.0"]);
    let text = case.lock_text();
    assert_eq!(text.lines().filter(|line| line.contains("pool/")).count(), 3, "one package a line:\n{text}");
    assert_eq!(case.lab.server.count("/pool/"), 0, "no package is fetched");

    // It fits: nobody is asked, whatever the repository has now.
    case.publish(SECOND, 60);
    let asked = case.requests();
    let ended = case.run("lock", &[]).success();
    assert!(ended.stderr.contains("fits"), "{}", ended.stderr);
    assert_eq!((case.requests(), case.lock_text()), (asked, text));

    let other = case.place.path().join("sub/other.lock");
    std::fs::create_dir(other.parent().expect("it has one")).expect("a folder");
    case.run("lock", &["-o", other.to_str().expect("text")]).success();
    let printed = case.run("lock", &["-o", "-"]).success();
    assert_eq!(printed.stdout(), std::fs::read_to_string(&other).expect("the other lock"));
    assert!(printed.stdout().contains("pool/a_1.1"), "{}", printed.stdout());
    assert_eq!(case.locked(), ["a 1.0", "b 1.0", "c 1.0"], "the first is as it was");
    case.place.assert_nothing_left(&[]);
}

#[test]
fn an_update_renews_all_or_what_is_named() {
    let case = Case::new(FIRST);
    case.run("lock", &["--update"]).success();
    // With other dates alone nothing changes.
    let text = case.lock_text();
    case.publish(FIRST, 1800);
    let ended = case.run("lock", &["--update"]).success();
    assert!(ended.stdout.is_empty() && ended.stderr.contains("up to date"), "{}{}", ended.stdout(), ended.stderr);
    assert_eq!(case.lock_text(), text);

    let both = [FIRST, SECOND].concat();
    case.publish(&both, 1700);
    let ended = case.run("lock", &["--update", "c"]).success();
    assert_eq!(ended.stdout(), "upgraded c 1.0 -> 1.1\n");
    assert_eq!(case.locked(), ["a 1.0", "b 1.0", "c 1.1"]);
    // What the new one needs comes along.
    let ended = case.run("lock", &["--update", "a"]).success();
    assert_eq!(ended.stdout(), "upgraded a 1.0 -> 1.1\nupgraded b 1.0 -> 1.1\n");

    // What goes and what comes.
    case.publish(&[("a 1.2", "e"), ("b 1.1", ""), ("c 1.0", ""), ("e 2.0", "")], 1600);
    let ended = case.run("lock", &["--update"]).success();
    assert_eq!(ended.stdout(), "upgraded a 1.1 -> 1.2\nremoved b 1.1\ndowngraded c 1.1 -> 1.0\nadded e 2.0\n");

    let ended = case.run("lock", &["--update", "aa"]);
    assert!(ended.stdout.is_empty());
    ended.fails(2, &["no package 'aa'", "did you mean 'a'?"]);
    case.run("lock", &["a"]).fails(2, &["one argument too many", "--update"]);
    case.run("lock", &["--update", "-o", "-"]).fails(2, &["-o -"]);
    let other = case.place.path().join("other.lock");
    case.run("lock", &["--update", "a", "-o", other.to_str().expect("text")]).fails(2, &["no lock", "other.lock"]);
    assert!(!other.exists());
    case.place.assert_nothing_left(&[]);
}

#[test]
fn a_changed_recipe_keeps_the_versions_of_the_lock() {
    let case = Case::new(FIRST);
    case.run("lock", &[]).success();
    case.publish(&[FIRST, SECOND].concat(), 60);
    let text = std::fs::read_to_string(&case.recipe).expect("the recipe");
    case.place.write("lab.toml", text.replace("\"c\"", "\"c\", \"d\""));
    assert_eq!(case.run("lock", &[]).success().stdout(), "added d 1.0\n");
    assert_eq!(case.locked(), ["a 1.0", "b 1.0", "c 1.0", "d 1.0"]);

    // Versions that the repository has no more cannot stay.
    case.publish(SECOND, 50);
    case.change_recipe("[system]\ndocs = true\n");
    let ended = case.run("lock", &[]).success();
    assert_eq!(ended.stdout(), "upgraded a 1.0 -> 1.1\nupgraded b 1.0 -> 1.1\nupgraded c 1.0 -> 1.1\n");

    // The lock of something else is not replaced by accident.
    let text = case.lock_text();
    let foreign = text.replace("release = \"lab\"", "release = \"other\"");
    assert_ne!(foreign, text);
    case.place.write("lab.lock", &foreign);
    case.run("lock", &[]).fails(2, &["it is of other", "-o", "--update"]);
    case.run("lock", &["--update", "a"]).fails(2, &["it is of other"]);
    assert_eq!(case.lock_text(), foreign);
    case.run("lock", &["--update"]).success();
    assert_eq!(case.lock_text(), text);
    case.place.assert_nothing_left(&[]);
}

#[test]
fn locked_refuses_everything_else() {
    let case = Case::new(FIRST);
    for command in [&["build", "--locked"][..], &["build", "--offline"], &["fetch"]] {
        case.run(command[0], &command[1..]).fails(2, &["there is no lock", "lab.lock", "mkbase lock"]);
    }
    case.run("lock", &[]).success();
    case.publish(SECOND, 60);
    case.run("fetch", &[]).success();
    assert_eq!(case.lab.server.count("_1.1_"), 0, "the locked versions are fetched");
    let ended = case.run("build", &["--locked"]).installs(&["Locked", "lab.lock"]);
    assert!(!ended.stderr.contains("Resolving"), "{}", ended.stderr);

    case.change_recipe("[system]\ndocs = true\n");
    let asked = case.requests();
    for command in [&["build", "--locked"][..], &["build", "--offline"], &["fetch"], &["build", "--lock", "lab.lock"]] {
        case.run(command[0], &command[1..]).fails(2, &["lab.lock does not fit", "the recipe or its options"]);
    }
    assert_eq!(case.requests(), asked, "nobody was asked");

    // Without the flag: a warning, and the newest packages. The lock stays as it is.
    let text = case.lock_text();
    case.run("build", &[]).installs(&["warning", "lab.lock is not used", "mkbase lock", "Resolving"]);
    assert!(case.lab.server.count("_1.1_") >= 3);
    assert_eq!(case.lock_text(), text);

    case.place.write("lab.lock", "<<<<<<< HEAD\n");
    for command in ["build", "lock", "fetch"] {
        case.run(command, &[]).fails(2, &["reading the lock", "lab.lock"]);
    }
    case.place.assert_nothing_left(&[]);
}

#[test]
fn each_variant_has_a_lock_of_its_own() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&packages(SECOND));
    let recipe = lab.recipe(&place, &["a"], "[variant.big]\npackages.include = [\"d\"]\n[variant.small]");
    let case = Case { place, lab, recipe };
    case.run("lock", &["--variant", "small"]).success();
    case.run("build", &["--locked", "--variant", "big"]).fails(2, &["lab.lock does not fit", "big"]);
    case.run("build", &["--variant", "big"]).installs(&["warning", "lab.lock is not used: it is of lab", "big"]);
    case.run("lock", &["--variant", "big"]).fails(2, &["big", "-o", "--update"]);
    case.run("lock", &["--variant", "big", "-o", "big.lock"]).success();
    case.run("build", &["--variant", "big", "--lock", "big.lock"]).installs(&[]);
    case.run("build", &["--locked", "--variant", "small"]).installs(&[]);
}

#[test]
fn a_build_can_renew_the_lock() {
    let case = Case::new(FIRST);
    case.run("lock", &[]).success();
    case.publish(&[FIRST, SECOND].concat(), 60);
    let ended = case.run("build", &["--update", "c"]).installs(&[]);
    assert_eq!(ended.stdout(), "upgraded c 1.0 -> 1.1\n");
    assert_eq!(case.locked(), ["a 1.0", "b 1.0", "c 1.1"]);
    let ended = case.run("build", &["--update", "-o", "-"]);
    assert_eq!(ended.code, Some(2), "-o is given twice");
    let recipe = case.recipe.to_str().expect("text");
    let ended = case.place.mkbase(["build", recipe, "--update", "-o", "-"]).run();
    assert!(ended.stdout.is_empty(), "standard output is the image's");
    ended.installs(&["upgraded a 1.0 -> 1.1"]);
    case.place.assert_nothing_left(&[]);
}

#[test]
fn an_older_index_is_refused() {
    let case = Case::new(FIRST);
    case.publish(SECOND, 600);
    case.run("lock", &[]).success();
    let text = case.lock_text();
    case.publish(FIRST, 1200);
    for more in [&["--update"][..], &["--update", "c"]] {
        case.run("lock", more).fails(1, &["the index of the repository 'main'", "--allow-rollback"]);
        assert_eq!(case.lock_text(), text);
    }
    // A build that takes the newest packages, because the recipe has changed, is not led back either.
    case.change_recipe("[system]\ndocs = true\n");
    case.run("lock", &[]).fails(1, &["--allow-rollback"]);
    case.run("build", &[]).fails(1, &["--allow-rollback"]);
    case.run("build", &["--allow-rollback"]).installs(&[]);
    let ended = case.run("lock", &["--update", "--allow-rollback"]).success();
    assert_eq!(ended.stdout(), "downgraded a 1.1 -> 1.0\ndowngraded b 1.1 -> 1.0\ndowngraded c 1.1 -> 1.0\n");
    case.place.assert_nothing_left(&[]);
}

#[test]
fn a_changed_package_file_does_not_fit() {
    let case = Case::new(FIRST);
    case.place.write("agent.deb", Package::new("agent").bytes());
    let text = std::fs::read_to_string(&case.recipe).expect("the recipe");
    case.place.write("lab.toml", text.replace("[packages]", "[packages]\nfiles = [\"agent.deb\"]"));
    case.run("lock", &[]).success();
    case.run("fetch", &[]).success();
    case.place.write("agent.deb", Package::new("agent").version("1.1").bytes());
    case.run("build", &["--locked"]).fails(2, &["agent.deb"]);
    assert_eq!(case.run("lock", &[]).success().stdout(), "upgraded agent 1.0 -> 1.1\n");
    case.run("build", &["--locked"]).installs(&[]);
}

#[test]
fn a_lock_of_a_built_in_recipe_is_in_the_current_folder() {
    let place = Place::new().with_own_cache();
    let nobody = refused_url();
    let mirrors = ["main", "updates", "security"].map(|name| format!("--mirror={name}={nobody}"));
    let words = |command: &'static str| [&[command, "debian"][..], &mirrors.each_ref().map(String::as_str)].concat();
    place.mkbase(words("lock")).run().fails(1, &[nobody.trim_start_matches("http://")]);
    place.mkbase(words("fetch")).run().fails(2, &["there is no lock debian.lock"]);
    place.write("debian.lock", "version = 99\n");
    place.mkbase(words("fetch")).run().fails(2, &["debian.lock"]);
    place.assert_nothing_left(&[]);
}
