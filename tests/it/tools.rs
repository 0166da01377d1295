//! Programs that are left to others: those of the host, those of the tools tree, and the recipes that need them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::skip;
use crate::util::key::Key;
use crate::util::mkbase::{Place, shared_cache, test_user};
use crate::util::rpm::{Mini, mini, mini_with_old_rpm};
use crate::util::{has_program, is_root, now, sha256};

/// The hash of the image of a build.
fn image(place: &Place, name: &str) -> String {
    sha256(&std::fs::read(place.out(name).join("rootfs.tar")).expect("the image"))
}

/// The tools trees of a user in the cache of a place.
fn trees(place: &Place, user: u32) -> Vec<PathBuf> {
    let all = std::fs::read_dir(place.cache().join("tools").join(user.to_string())).into_iter().flatten().flatten();
    all.map(|entry| entry.path()).filter(|path| path.join("rootfs").exists()).collect()
}

/// With a cache of its own, for what does something to tools trees, that has the packages of the shared one.
fn own_cache() -> Place {
    let place = Place::new().with_own_cache();
    let packages = shared_cache().join("sha256");
    if packages.exists() {
        let copied = ["-al", "-a"].iter().any(|how| {
            let copied = Command::new("cp").arg(how).arg(&packages).arg(place.cache()).output();
            copied.expect("cp runs").status.success()
        });
        assert!(copied, "copying the packages of the cache");
    }
    place
}

fn own_id() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Adds the mirrors of the small distribution.
fn arguments(mini: &Mini, more: &[&str]) -> Vec<String> {
    mini.mirrors().into_iter().chain(more.iter().map(|word| word.to_string())).collect()
}

#[test]
fn host_and_tree_root_and_user_make_the_same_image() {
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("host_and_tree_root_and_user_make_the_same_image: {why}"),
    };
    let mut places = vec![(Place::new(), own_id())];
    match test_user() {
        Some(user) if is_root() => {
            let id = user.uid.as_raw();
            places.push((Place::new().of_user(user), id));
        }
        _ => crate::util::note_skip("host_and_tree_root_and_user_make_the_same_image: no user besides"),
    }
    let mut images = Vec::new();
    for (place, user) in &places {
        let recipe = mini.recipe(place, "");
        // A PATH without dnf; newuidmap is needed all the same.
        let programs = place.path().join("programs");
        std::fs::create_dir(&programs).expect("a folder");
        for name in ["newuidmap", "newgidmap"] {
            std::os::unix::fs::symlink(Path::new("/usr/bin").join(name), programs.join(name)).expect("a link");
        }
        for (name, more) in [("host", &["--tools", "host"][..]), ("path", &[]), ("tree", &["--tools", "tree"])] {
            let mut build = place.build(&recipe, name, &[]).arguments(arguments(&mini, more));
            if name == "path" {
                build = build.env("PATH", &programs);
            }
            build.run().success();
            images.push(image(place, name));
        }
        place.assert_nothing_left(&["host", "path", "tree"]);
        assert_eq!(trees(place, *user).len(), 1, "there is one tree, found again");
    }
    images.dedup();
    assert_eq!(images.len(), 1, "{images:?}");
}

#[test]
fn a_tree_is_kept_checked_refreshed_and_pruned() {
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("a_tree_is_kept_checked_refreshed_and_pruned: {why}"),
    };
    let place = own_cache();
    let trees = || trees(&place, own_id());
    let recipe = mini.recipe(&place, "");
    let lock = |more: &[&str]| {
        let words = ["--tools", "tree", "-o", "-"].iter().chain(more);
        let words: Vec<String> = words.map(|word| word.to_string()).collect();
        place.mkbase(["lock"]).arguments([&recipe]).arguments(mini.mirrors()).arguments(words).run()
    };
    lock(&[]).success();
    let [tree] = trees().try_into().expect("one tree");
    let ended = lock(&[]).success();
    assert!(!ended.stderr.contains("Tooling"), "it is found");

    // A file that is gone, and what a killed build left.
    std::fs::remove_file(tree.join("rootfs/usr/bin/dnf-3")).expect("removes");
    let ended = lock(&[]).success();
    assert!(ended.stderr.contains("damaged") && ended.stderr.contains("Tooling"), "{}", ended.stderr);
    assert_eq!(trees(), std::slice::from_ref(&tree), "the same one again");
    let ended = lock(&["--refresh-tools"]).success();
    assert!(ended.stderr.contains("Tooling"), "{}", ended.stderr);

    // A tree that is a month old is made anew, or used where that cannot be.
    let [tree] = trees().try_into().expect("one tree");
    let folder = tree.parent().expect("it is in a folder");
    let locks = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    for path in locks.filter(|path| path.extension().is_some_and(|ending| ending == "lock")) {
        let aged = Command::new("touch").args(["-d", "40 days ago"]).arg(path).status();
        assert!(aged.expect("touch runs").success());
    }
    let ended = lock(&["--tools-mirror", "main=http://127.0.0.1:9"]).success();
    assert!(ended.stderr.contains("cannot be made anew"), "{}", ended.stderr);
    place.mkbase(["cache", "info"]).run().success();
    let stdout = place.mkbase(["cache", "prune", "--max-size", "0"]).run().success().stdout().to_string();
    assert!(stdout.starts_with("removed"), "{stdout}");
    assert_eq!(trees(), Vec::<PathBuf>::new());
}

#[test]
fn fetch_brings_the_tree_for_a_build_without_network() {
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("fetch_brings_the_tree_for_a_build_without_network: {why}"),
    };
    let place = own_cache();
    let recipe = mini.recipe(&place, "");
    place.mkbase(["lock"]).arguments([&recipe]).arguments(mini.mirrors()).run().success();
    let offline = || place.build(&recipe, "image", &["--offline", "--tools", "tree"]);
    place.mkbase(["fetch"]).arguments([&recipe]).arguments(arguments(&mini, &["--tools", "host"])).run().success();
    offline().run().fails(1, &["without the network", "no tools tree", "mkbase fetch"]);
    place.mkbase(["fetch"]).arguments([&recipe]).arguments(arguments(&mini, &["--tools", "tree"])).run().success();
    let before = mini.server.requests().len();
    offline().run().success();
    assert_eq!(mini.server.requests().len(), before);
    place.assert_nothing_left(&["image"]);
}

#[test]
fn debootstrap_of_the_tools_tree() {
    let place = Place::new();
    place.build("debian:trixie", "tree", &["--engine", "debootstrap", "--tools", "tree"]).run().success();
    place.mkbase(["check".as_ref(), place.out("tree").as_os_str()]).run().success();
    if has_program("debootstrap") {
        place.build("debian:trixie", "host", &["--engine", "debootstrap", "--tools", "host"]).run().success();
        assert_eq!(image(&place, "tree"), image(&place, "host"));
    }
    place.assert_nothing_left(&["tree", "host"]);
}

/// The repositories of a built-in recipe, and the folders of the small distribution that each gets as a stand-in.
fn repositories(recipe: &str, release: &str) -> Vec<(&'static str, &'static str)> {
    match (recipe, release) {
        ("centos", "7") => vec![("base", "BaseOS"), ("updates", "standin")],
        ("amazonlinux", _) => vec![("amazonlinux", "all")],
        ("fedora", "rawhide") => vec![("rawhide", "all")],
        ("fedora", _) => vec![("fedora", "BaseOS"), ("updates", "standin")],
        ("oraclelinux", "8") => vec![("ol8_baseos_latest", "BaseOS"), ("ol8_appstream", "standin")],
        ("oraclelinux", "9") => vec![("ol9_baseos_latest", "BaseOS"), ("ol9_appstream", "standin")],
        ("oraclelinux", "10") => vec![("ol10_baseos_latest", "BaseOS"), ("ol10_appstream", "standin")],
        _ => vec![("baseos", "BaseOS"), ("appstream", "standin")],
    }
}

/// The real addresses are out of reach of tests. A tree of repositories laid out as theirs, signed with another key,
/// builds through the recipe all the same.
#[test]
fn the_built_in_recipes_build_from_repositories_laid_out_as_theirs() {
    let (mini, old) = match mini().and_then(|mini| Ok((mini, mini_with_old_rpm()?))) {
        Ok(both) => both,
        Err(why) => skip!("the_built_in_recipes_build_from_repositories_laid_out_as_theirs: {why}"),
    };
    let place = Place::new();
    // As the real ones have it: packages for i686 too, which none of the recipes asks for.
    for distribution in [&mini, &old] {
        distribution.publish_with_i686("BaseOS", now());
    }
    // Amazon's metadata is signed, and must be.
    let signer = Key::new("signer");
    place.write("signer.asc", signer.public());
    let signer_key = place.path().join("signer.asc");
    let cases = [
        ("rocky", &["8", "9", "10"][..]),
        ("almalinux", &["8", "9", "10"]),
        ("centos", &["7", "9", "10"]),
        ("fedora", &["43", "44", "rawhide"]),
        ("oraclelinux", &["8", "9", "10"]),
        ("amazonlinux", &["2023"]),
    ];
    let all = mini.publish_version("0123", &["1/BaseOS/x86_64/os", "standin/noarch"], now());
    let list = String::from_utf8(mini.server.body(&format!("{all}/repodata/repomd.xml")).read()).expect("text");
    mini.server.put(format!("{all}/repodata/repomd.xml.asc"), signer.sign_detached(&list).into_bytes());
    for (recipe, releases) in cases {
        for release in releases {
            let shown = format!("{recipe}:{release}");
            let text = place.mkbase(["recipes", recipe]).run().success().stdout().to_string();
            let mut more: Vec<String> = ["--arch", "x86_64"].map(String::from).into();
            // With an rpm of the kind that the release has.
            let mini = if matches!(*release, "7" | "8") { &old } else { &mini };
            let keys = [&mini.folder.join("RPM-GPG-KEY-mini-1"), &signer_key].map(|key| format!("{key:?}")).join(", ");
            if *release == "7" {
                more.extend(["--include", "mini-old-rpm"].map(String::from));
            }
            for (name, stand_in) in repositories(recipe, release) {
                assert!(text.contains(&format!("= \"{name}\"")), "{recipe} has the repository {name}");
                let folder = match stand_in {
                    "standin" => "/standin/noarch",
                    "all" => &all,
                    _ => "/1/BaseOS/x86_64/os",
                };
                let url = format!("{}{folder}", mini.server.url());
                more.extend(["--set".into(), format!("repository.{name}.key=[{keys}]")]);
                if text.contains("mirrorlist") {
                    mini.server.put("/mirror.list", url.into_bytes());
                    let list = format!("{}/mirror.list", mini.server.url());
                    more.extend(["--set".into(), format!("repository.{name}.mirrorlist={list}")]);
                } else {
                    more.extend(["--mirror".into(), format!("{name}={url}")]);
                }
            }
            place.build(&shown, "image", &[]).arguments(more).run().success();
            let os_release = place.out("image").join("manifest.json");
            let manifest = std::fs::read_to_string(os_release).expect("the manifest");
            assert!(manifest.contains("-release\""), "{shown}: {manifest}");
            assert!(!manifest.contains("\"i686\""), "{shown}: {manifest}");
        }
    }
    place.assert_nothing_left(&["image"]);
}
