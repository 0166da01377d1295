//! Alpine: which packages, from where, by whose signature.

use std::path::PathBuf;

use mkbase::lock::{Lock, Role};

use crate::skip;
use crate::util::apk::{self, Apk, ApkKey, index_path, index_text, publish};
use crate::util::apk_maker::index;
use crate::util::mkbase::{Ended, Place};
use crate::util::now;
use crate::util::server::Server;

/// A repository `main` of small packages, and `edge`, which has a tag. Good for everything up to the installation.
struct Case {
    place: Place,
    server: Server,
    recipe: PathBuf,
}

impl Case {
    /// With a recipe that asks for these.
    fn new(include: &[&str]) -> Case {
        let place = Place::new().with_own_cache();
        let server = Server::new();
        let key = ApkKey::shared();
        place.write(&format!("keys/{}", key.name), &key.public);
        let repository = |name: &str, more: &str| {
            format!("[[repository]]\nname = \"{name}\"\nurl = \"{}/{name}\"\nkey = \"keys/\"\n{more}\n", server.url())
        };
        let text = format!(
            "name = \"lab\"\nfamily = \"apk\"\nrelease = \"1\"\narch = \"x86_64\"\narchs = [\"x86_64\"]\n{}{}\
             [packages]\ninclude = {include:?}\n",
            repository("main", ""),
            repository("edge", "tag = \"edge\"")
        );
        let recipe = place.write("lab.toml", text);
        let case = Case { place, server, recipe };
        case.publish("main", &packages(), 3600);
        case.publish("edge", &[Apk::new("a 2.0-r0").depends("b>=2"), Apk::new("b 2.0-r0"), Apk::new("own 1-r0")], 3600);
        case
    }

    /// The repository changes: these packages, dated so many seconds ago.
    fn publish(&self, name: &str, packages: &[Apk], age: i64) {
        publish(&self.server, name, packages, ApkKey::shared(), now() - age);
    }

    /// The index of `main` changes.
    fn put_index(&self, bytes: Vec<u8>) {
        self.server.put(index_path("main"), bytes);
    }

    fn run(&self, command: &str, more: &[&str]) -> Ended {
        self.place.mkbase([command, self.recipe.to_str().expect("text")]).arguments(more).run()
    }

    fn lock(&self) -> Lock {
        let text = std::fs::read_to_string(self.place.path().join("lab.lock")).expect("the lock");
        Lock::parse(&text, "lab.lock").expect("a lock")
    }

    /// `name version repository` of all packages.
    fn locked(&self) -> Vec<String> {
        self.lock().packages.iter().map(|p| format!("{} {} {}", p.name, p.version, p.repository)).collect()
    }
}

fn packages() -> Vec<Apk> {
    vec![
        Apk::new("a 1.0-r0").depends("b so:c.so.1"),
        Apk::new("b 1.0-r0").depends("a"),
        Apk::new("c 1.0-r0").provides("so:c.so.1=1 cmd:c=1.0-r0"),
        Apk::new("c-doc 1.0-r0").install_if("c=1.0-r0 docs"),
        Apk::new("docs 1-r0"),
        Apk::new("broken 1-r0").depends("so:none.so.1"),
        Apk::new("against 1-r0").depends("!c"),
    ]
}

#[test]
fn a_lock_says_everything_of_each_package() {
    let case = Case::new(&["a", "docs"]);
    case.run("lock", &[]).success();
    assert_eq!(
        case.locked(),
        ["a 1.0-r0 main", "b 1.0-r0 main", "c 1.0-r0 main", "c-doc 1.0-r0 main", "docs 1-r0 main"]
    );
    let lock = case.lock();
    for package in &lock.packages {
        let served = case.server.body(&format!("/main/{}", package.path)).read();
        assert_eq!(
            (package.size, package.sha256.as_str()),
            (served.len() as u64, crate::util::sha256(&served).as_str())
        );
        assert!(package.checksum.starts_with("Q1") && package.path.starts_with("x86_64/"), "{package:?}");
        assert_eq!(
            package.role,
            if ["a", "docs"].contains(&package.name.as_str()) { Role::Wanted } else { Role::Dependency }
        );
    }
    for repository in &lock.repositories {
        let index = case.server.body(&index_path(&repository.name)).read();
        assert_eq!(repository.index, crate::util::sha256(&index));
        assert!((now() - 3700..now() - 3500).contains(&repository.date), "{repository:?}");
    }
    // All is known now: only the indexes are asked for again.
    let before = case.server.requests().len();
    std::fs::remove_file(case.place.path().join("lab.lock")).expect("the lock");
    case.run("lock", &[]).success();
    assert_eq!(case.server.requests().len(), before + 2);
    assert_eq!(case.lock(), lock);
}

#[test]
fn what_is_asked_for_is_read_as_apk_does() {
    for (include, exclude, locked) in [
        (&["c"][..], &[][..], &["c 1.0-r0 main"][..]),
        (&["cmd:c>=1"], &[], &["c 1.0-r0 main"]),
        (&["c~1"], &[], &["c 1.0-r0 main"]),
        (&["docs", "c"], &[], &["c 1.0-r0 main", "c-doc 1.0-r0 main", "docs 1-r0 main"]),
        (&["docs", "c"], &["c-doc"], &["c 1.0-r0 main", "docs 1-r0 main"]),
        // The tag goes on to what the package needs.
        (&["a@edge"], &[], &["a 2.0-r0 edge", "b 2.0-r0 edge"]),
        (&["b"], &[], &["a 1.0-r0 main", "b 1.0-r0 main", "c 1.0-r0 main"]),
        (&["b=1.0-r0", "a"], &[], &["a 1.0-r0 main", "b 1.0-r0 main", "c 1.0-r0 main"]),
    ] {
        let case = Case::new(include);
        case.run("lock", &["--set", &format!("packages.exclude={exclude:?}")]).success();
        assert_eq!(case.locked(), locked, "{include:?} {exclude:?}");
    }
}

#[test]
fn what_cannot_be_had_is_explained() {
    for (include, code, texts) in [
        (&["aa"][..], 2, &["no repository has the package 'aa'"][..]),
        (&["own"], 2, &["own is only in a repository with a tag; ask for it as own@edge"]),
        (&["a@egde"], 2, &["no repository has the tag 'egde'; did you mean 'edge'?"]),
        (&["a=3"], 2, &["there is no a=3, only 2.0-r0, 1.0-r0"]),
        (
            &["broken"],
            1,
            &["'broken' cannot be installed", "broken 1-r0 depends on so:none.so.1, which no repository has"],
        ),
        (&["a", "against"], 1, &["cannot be installed together: a, against", "against 1-r0 conflicts with c"]),
    ] {
        Case::new(include).run("lock", &[]).fails(code, texts);
    }
}

#[test]
fn bad_indexes_are_refused() {
    let (key, stranger) = (ApkKey::shared(), ApkKey::new("stranger@example.org-2.rsa.pub"));
    let namesake = ApkKey::new(&key.name);
    let case = Case::new(&["a"]);
    let good = index(&index_text(&packages(), key), now() as u64 - 60);
    let mut changed = key.sign("sha1", &good);
    let end = changed.len() - 20;
    changed[end] ^= 1;
    let signed = |text: &str| key.sign("sha1", &index(text, now() as u64 - 60));
    for (bytes, text) in [
        (good.clone(), "it is not signed"),
        (stranger.sign("sha1", &good), "it is signed by stranger@example.org-2.rsa.pub (RSA)"),
        (namesake.sign("sha256", &good), "does not match: it was changed on the way"),
        (changed, "does not match: it was changed on the way"),
        (b"ADB.and so on".to_vec(), "is of version 3"),
        (b"<html>".to_vec(), "it is not compressed with gzip"),
        (signed("C:Q1x=\nP:../../a\nV:1\n\n"), "is not the name of a package"),
        (signed("C:Q1x=\nP:a\nV:1/2\n\n"), "has the version \"1/2\", which is none"),
        (key.sign("sha1", &index("", now() as u64 + 86_400)), "from the future"),
    ] {
        case.put_index(bytes);
        case.run("lock", &[]).fails(1, &["reading the repository 'main'", text]);
        assert!(!case.place.path().join("lab.lock").exists(), "{text}");
    }
    for digest in ["sha1", "sha256"] {
        case.put_index(key.sign(digest, &good));
        case.run("lock", &["--update"]).success();
    }
}

#[test]
fn a_missing_index_is_an_error_even_where_another_would_do() {
    let case = Case::new(&["c"]);
    case.server.remove(&index_path("edge"));
    case.run("lock", &[]).fails(1, &["reading the repository 'edge'", "APKINDEX.tar.gz: not found"]);
    case.server.put("/edge/x86_64/Packages.adb", b"ADB".to_vec());
    case.run("lock", &[]).fails(1, &["Packages.adb, is of version 3", "--engine apk-tools"]);
}

#[test]
fn packages_that_are_not_those_of_the_index_are_refused() {
    let case = Case::new(&["c"]);
    let path = "/main/x86_64/c-1.0-r0.apk";
    let good = case.server.body(path).read();
    let other = Apk::new("c 1.0-r0").provides("so:c.so.1=2 cmd:c=1.0-r0").bytes(ApkKey::shared());
    let with_end = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    for (bytes, text) in [
        (with_end(&|bytes| *bytes.last_mut().expect("it is not empty") ^= 1), "the SHA-256 of its data is"),
        (with_end(&|bytes| bytes.truncate(100)), "it has 100 bytes, and the index says"),
        (with_end(&|bytes| bytes.push(0)), "it is longer than"),
    ] {
        case.server.put(path, bytes);
        case.run("lock", &[]).fails(1, &["fetching c 1.0-r0 from the repository 'main'", text]);
    }
    // A right package, and not the one that the index names.
    let size = |bytes: &[u8]| format!("\nS:{}\n", bytes.len());
    let text = index_text(&packages(), ApkKey::shared()).replace(&size(&good), &size(&other));
    case.put_index(ApkKey::shared().sign("sha1", &index(&text, now() as u64 - 60)));
    case.server.put(path, other);
    case.run("lock", &[]).fails(1, &["its control member has the checksum"]);
    // Nothing of that is believed afterwards.
    case.publish("main", &packages(), 60);
    case.run("lock", &[]).success();
}

#[test]
fn held_and_updated() {
    let case = Case::new(&["a", "docs"]);
    case.run("lock", &[]).success();
    let newer: Vec<Apk> = packages()
        .into_iter()
        .chain([
            Apk::new("a 1.1-r0").depends("b so:c.so.1"),
            Apk::new("docs 2-r0"),
            Apk::new("c 1.1-r0").provides("so:c.so.1=1"),
            Apk::new("c-doc 1.1-r0").install_if("c=1.1-r0 docs"),
        ])
        .collect();
    case.publish("main", &newer, 60);
    // The lock fits: nothing is looked at.
    case.run("lock", &[]).success();
    assert!(case.locked().contains(&"a 1.0-r0 main".to_owned()));
    case.run("lock", &["--update", "docs"]).success();
    let locked = case.locked();
    assert!(
        ["a 1.0-r0 main", "c 1.0-r0 main", "docs 2-r0 main"].iter().all(|p| locked.contains(&p.to_string())),
        "{locked:?}"
    );
    case.run("lock", &["--update"]).success();
    assert_eq!(
        case.locked(),
        ["a 1.1-r0 main", "b 1.0-r0 main", "c 1.1-r0 main", "c-doc 1.1-r0 main", "docs 2-r0 main"]
    );
    // An index that is older than the one the lock has seen.
    case.publish("main", &packages(), 7200);
    case.run("lock", &["--update"]).fails(1, &["the index of the repository 'main' is of", "--allow-rollback"]);
    case.run("lock", &["--update", "--allow-rollback"]).success();
    assert!(case.locked().contains(&"a 1.0-r0 main".to_owned()));
}

#[test]
fn a_repository_that_changes_after_the_lock() {
    let case = Case::new(&["c"]);
    case.run("lock", &[]).success();
    let cold = Place::new().with_own_cache();
    let path = "/main/x86_64/c-1.0-r0.apk";
    let good = case.server.body(path).read();
    let fetch = || {
        let recipe = case.recipe.to_str().expect("text").to_owned();
        let lock = case.place.path().join("lab.lock");
        cold.mkbase(["fetch", &recipe, "--lock", lock.to_str().expect("text")]).run()
    };
    case.server.put(path, [&good[..good.len() - 1], b"x"].concat());
    fetch().fails(1, &["c 1.0-r0 (noarch)", "does not match its SHA-256"]);
    case.server.remove(path);
    fetch().fails(1, &["c 1.0-r0 (noarch)", "not found"]);
    case.server.put(path, good);
    fetch().success();
}

#[test]
fn in_house_packages() {
    let case = Case::new(&["a"]);
    case.place.write("agent.apk", Apk::new("agent 1-r0").depends("docs").bytes(ApkKey::shared()));
    let files = |list: &str| format!("packages.files={list}");
    case.run("lock", &["--set", &files(&format!("[{:?}]", case.place.path().join("agent.apk")))]).success();
    let lock = case.lock();
    let agent = lock.packages.iter().find(|p| p.name == "agent").expect("it is locked");
    assert_eq!((agent.repository.as_str(), agent.role), ("", Role::Wanted));
    assert!(case.locked().contains(&"docs 1-r0 main".to_owned()));
    case.place.write("bad.apk", b"hello");
    case.run("lock", &["--set", &files(&format!("[{:?}]", case.place.path().join("bad.apk")))])
        .fails(2, &["packages.files:", "it is not an Alpine package"]);
}

/// A recipe for the repository of genuine packages.
fn genuine(place: &Place, server: &Server, more: &str) -> Option<PathBuf> {
    let folder = apk::folder()?;
    for name in ["main", "updates"] {
        apk::serve(server, &folder, name);
    }
    for key in folder.join("keys").read_dir().expect("its keys").flatten() {
        let name = key.file_name().to_string_lossy().into_owned();
        place.write(&format!("keys/{name}"), std::fs::read(key.path()).expect("a key"));
    }
    let text = format!(
        "name = \"genuine\"\nfamily = \"apk\"\nrelease = \"3.23\"\narch = \"x86_64\"\narchs = [\"x86_64\"]\n\
         [[repository]]\nname = \"main\"\nurl = \"{0}/main\"\nkey = \"keys/\"\n\
         [[repository]]\nname = \"updates\"\nurl = \"{0}/updates\"\nkey = \"keys/\"\ntag = \"updates\"\n{more}",
        server.url()
    );
    Some(place.write("genuine.toml", text))
}

#[test]
fn a_locked_build_needs_only_the_lock_and_the_cache() {
    let (place, server) = (Place::new().with_own_cache(), Server::new());
    let packages = "[packages]\ninclude = [\"alpine-base\", \"fixture-hello@updates\"]\n";
    let Some(recipe) = genuine(&place, &server, packages) else { skip!("a locked build of Alpine: no packages") };
    if std::env::consts::ARCH != apk::ARCH {
        skip!("a locked build of Alpine: its packages are for {}", apk::ARCH);
    }
    let recipe = recipe.to_str().expect("text").to_owned();
    place.mkbase(["lock", &recipe]).run().success();
    place.mkbase(["fetch", &recipe]).run().success();
    let requests = server.requests().len();
    place.build(&recipe, "first", &["--locked", "--offline", "--compress", "none"]).run().success();
    assert_eq!(server.requests().len(), requests, "nothing was asked for");
    place.build(&recipe, "second", &["--locked", "--compress", "none"]).run().success();
    let read = |name: &str| std::fs::read(place.out(name).join("rootfs.tar")).expect("the tar");
    let first = read("first");
    assert!(first == read("second"), "the same lock gives the same bytes");
    let file = |path: &str| crate::util::tree::file_in_tar(&first, path).expect(path);
    let text = |path: &str| String::from_utf8(file(path)).expect("text");
    assert_eq!(text("etc/apk/world"), "alpine-base\nfixture-hello@updates\n");
    let url = server.url();
    assert_eq!(text("etc/apk/repositories"), format!("{url}/main\n@updates {url}/updates\n"));
    assert_eq!(text("etc/fixture-hello.conf"), "greeting=hello 1.1-r0\n");
    assert!(text("lib/apk/db/installed").contains("\nP:fixture-hello\nV:1.1-r0\n"));
}
