//! Builds without a network, and the cache they have everything from.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mkbase::lock::Lock;

use super::{Case, FIRST};
use crate::skip;
use crate::util::lab::Lab;
use crate::util::mkbase::Place;
use crate::util::server::Fault;
use crate::util::{has_program, is_root, sha256};

/// A build in a network namespace that has no interface but a loopback one that is down.
#[test]
fn offline_builds_without_a_network() {
    if !is_root() || !has_program("unshare") {
        skip!("offline_builds_without_a_network: needs root and unshare");
    }
    let place = Place::new().with_own_cache();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    // A key that the recipe has by address only.
    lab.server.put("/key.asc", lab.key.public().into_bytes());
    let text = std::fs::read_to_string(&recipe).expect("the recipe");
    let by_address =
        format!("key = {{ url = \"{}/key.asc\", fingerprint = \"{}\" }}", lab.server.url(), lab.key.fingerprint());
    place.write("lab.toml", text.replace("key = \"lab.asc\"", &by_address));
    let recipe = recipe.to_str().expect("text");
    let alone = ["unshare", "--net"];

    place.build(recipe, "online", &[]).run().success();
    place.mkbase(["lock", recipe]).run().success();
    let fresh = place.path().join("fresh");
    let with_fresh_cache = |words: &[&str]| {
        let cache = ["--cache", fresh.to_str().expect("text")];
        place.mkbase(words.iter().chain(&cache))
    };
    let image = place.out("image");
    let build = ["build", recipe, "--offline", "--compress", "none", "-o", image.to_str().expect("text")];

    // Nothing is there yet: it says what is missing, first the key, then the packages.
    with_fresh_cache(&build).through(alone).run().fails(1, &["key.asc", "mkbase fetch"]);
    with_fresh_cache(&["fetch", recipe]).run().success();
    let hash = |name: &str| {
        let lock = Lock::parse(&std::fs::read_to_string(place.path().join("lab.lock")).expect("the lock"), "lab.lock");
        lock.expect("a lock").packages.into_iter().find(|p| p.name == name).expect("it is locked").sha256
    };
    let entry = |name: &str| fresh.join("sha256").join(&hash(name)[..2]).join(hash(name));
    for name in ["dash", "grep"] {
        std::fs::remove_file(entry(name)).expect("it was fetched");
    }
    let asked = lab.server.requests().len();
    let ended = with_fresh_cache(&build).run().fails(1, &["dash ", "grep ", "mkbase fetch"]);
    assert!(!ended.stderr.contains("libc6 "), "only what is missing:\n{}", ended.stderr);
    assert_eq!(lab.server.requests().len(), asked, "nobody is asked, though the network is there");
    with_fresh_cache(&["fetch", recipe]).run().success();

    let asked = lab.server.requests().len();
    with_fresh_cache(&build).through(alone).run().success();
    assert_eq!(lab.server.requests().len(), asked);
    let digest = |name: &str| sha256(&std::fs::read(place.out(name).join("rootfs.tar")).expect("the image"));
    assert_eq!(digest("image"), digest("online"));
    // That the namespace is what it is said to be.
    with_fresh_cache(&["fetch", recipe]).through(alone).run().fails(1, &["key.asc"]);
    place.assert_nothing_left(&["image", "online"]);
}

#[test]
fn two_builds_at_once_share_a_cache() {
    let place = Place::new().with_own_cache();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    place.mkbase(["lock", recipe.to_str().expect("text")]).run().success();
    // Slow enough that both are at it at the same time, whatever the host is doing.
    lab.server.fault("/pool/", Fault::Slow(Duration::from_millis(100)));
    let mut builds = [place.build(&recipe, "one", &["--locked"]), place.build(&recipe, "two", &["--locked"])]
        .map(|build| build.start());
    for build in &mut builds {
        assert!(build.wait_for("Locked"));
    }
    for build in builds {
        build.end().success();
    }
    let digest = |name: &str| sha256(&std::fs::read(place.out(name).join("rootfs.tar")).expect("the image"));
    assert_eq!(digest("one"), digest("two"));
    let packages = lab.server.paths().iter().filter(|path| path.starts_with("/pool/")).count();
    assert!(lab.server.count("/pool/") > packages, "both fetched: {} requests", lab.server.count("/pool/"));
    let halves = place.cache().join("sha256/tmp");
    assert_eq!(halves.read_dir().expect("it was used").count(), 0, "no half files are left");
    for (path, content) in entries(place.cache()) {
        assert_eq!(path.file_name().expect("a name").to_str(), Some(sha256(&content).as_str()));
    }
    place.assert_nothing_left(&["one", "two"]);
}

/// The entries of a cache and what is in them.
fn entries(cache: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let folders = std::fs::read_dir(cache.join("sha256")).expect("a cache").flatten().map(|folder| folder.path());
    let files = folders.filter(|f| f.is_dir()).flat_map(|f| std::fs::read_dir(f).expect("a folder").flatten());
    files.map(|file| (file.path(), std::fs::read(file.path()).expect("an entry"))).collect()
}

#[test]
fn a_damaged_entry_is_noticed_and_fetched_again() {
    let case = Case::new(FIRST);
    case.run("lock", &[]).success();
    case.run("fetch", &[]).success();
    let entry = case.entry("b");
    let right = std::fs::read(&entry).expect("it was fetched");
    let mut flipped = right.clone();
    flipped[right.len() / 2] ^= 1;
    for (times, damage) in [(2, flipped.as_slice()), (3, &right[..10]), (4, b"")] {
        std::fs::write(&entry, damage).expect("damages");
        case.run("build", &["--offline"]).fails(1, &["b 1.0", "it is damaged", "mkbase fetch"]);
        let ended = case.run("fetch", &[]).success();
        assert!(ended.stderr.contains("warning") && ended.stderr.contains("b 1.0"), "{}", ended.stderr);
        assert_eq!(std::fs::read(&entry).expect("it is there"), right);
        assert_eq!((case.lab.server.count("/b_1.0"), case.lab.server.count("/a_1.0")), (times, 1));
    }
    let quiet = case.run("fetch", &[]).success();
    assert!(!quiet.stderr.contains("damaged"), "{}", quiet.stderr);

    // A mirror that is as damaged does not get into the cache.
    std::fs::write(&entry, &flipped).expect("damages");
    case.lab.server.change("/pool/b_1.0_amd64.deb".replace("amd64", crate::util::deb_arch()).as_str(), |bytes| {
        bytes.clone_from(&flipped);
    });
    case.run("fetch", &[]).fails(1, &["b 1.0", "SHA-256"]);
}

#[test]
fn the_cache_can_be_looked_at_and_pruned() {
    let case = Case::new(FIRST);
    let cache = |words: &[&str]| case.place.mkbase([&["cache"], words].concat()).run();
    let info = cache(&["info"]).success();
    assert!(info.stdout().contains("entries  0\nbytes    0 (0 B)\noldest   -\n"), "{}", info.stdout());
    case.run("lock", &[]).success();
    case.run("fetch", &[]).success();
    let info = cache(&["info"]).success();
    // The packages and the index.
    assert!(info.stdout().contains("entries  4\n"), "{}", info.stdout());
    assert!(info.stdout().contains(case.place.cache().to_str().expect("text")), "{}", info.stdout());

    let old = |name: &str, days: u64| {
        let time = SystemTime::now() - Duration::from_secs(days * 86_400);
        let file = std::fs::File::options().write(true).open(case.entry(name)).expect("it is there");
        file.set_modified(time).expect("sets the time");
    };
    let unknown = case.entry("a").with_file_name("notes");
    std::fs::write(&unknown, "mine").expect("writes");
    old("a", 31);
    old("b", 29);
    let pruned = cache(&["prune"]).success();
    assert!(pruned.stdout().starts_with("removed 1 entry ("), "{}", pruned.stdout());
    assert!(pruned.stdout().contains("3 entries"), "{}", pruned.stdout());
    assert!(!case.entry("a").exists() && case.entry("b").exists() && unknown.exists());

    // What a build uses is not old any more, and what went is fetched again.
    case.run("fetch", &[]).success();
    assert_eq!((case.lab.server.count("/a_1.0"), case.lab.server.count("/b_1.0")), (2, 1));
    assert!(cache(&["prune", "--older-than", "1d"]).success().stdout().starts_with("removed 0 entries"));
    old("c", 2);
    let size = case.entry("a").metadata().expect("it is there").len() * 3;
    cache(&["prune", "--max-size", &size.to_string()]).success();
    assert!(!case.entry("c").exists() && case.entry("a").exists());
    cache(&["prune", "--max-size", "0"]).success();
    assert!(!case.entry("a").exists() && unknown.exists());
    cache(&["prune", "--max-size", "much"]).fails(2, &["max-size", "5G"]);
    cache(&["prune", "--older-than", "30"]).fails(2, &["older-than", "30d"]);
}

/// Pruning everything while builds run: they find what they need, or fetch it again.
#[test]
fn pruning_beside_builds() {
    let case = Case::new(FIRST);
    case.run("lock", &[]).success();
    case.run("fetch", &[]).success();
    let a = std::fs::File::options().write(true).open(case.entry("a")).expect("it is there");
    a.set_modified(SystemTime::now() - Duration::from_secs(3 * 86_400)).expect("sets the time");
    std::fs::remove_file(case.entry("c")).expect("it is there");
    case.lab.server.fault_times("/c_1.0", Fault::Slow(Duration::from_secs(3)), 1);
    let mut fetching = case.command("fetch", &["-v"]).start();
    assert!(fetching.wait_for("Locked"), "it holds the cache");
    let pruned = case.place.mkbase(["cache", "prune", "--older-than", "0s"]).run().success();
    assert!(pruned.stderr.contains("that a build may be using"), "{}", pruned.stderr);
    assert!(case.entry("b").exists(), "it was used lately");
    fetching.end().success();
    for name in ["b", "c"] {
        assert!(case.entry(name).exists(), "{name}");
    }
    case.run("fetch", &[]).success();
    assert!(case.entry("a").exists());
    let pruned = case.place.mkbase(["cache", "prune", "--older-than", "0s"]).run().success();
    assert!(pruned.stdout().contains("0 entries (0 B) left"), "{}", pruned.stdout());
}
