//! Images of an RPM distribution, made with the real dnf and rpm.

use crate::skip;
use crate::util::mkbase::{Place, test_user};
use crate::util::rpm::{FAILING, mini};
use crate::util::{is_root, sha256, tree};

/// The files of an image that must be there, and what they hold.
#[test]
fn a_mini_distribution_builds_and_has_a_database_of_its_packages() {
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("a_mini_distribution_builds_and_has_a_database_of_its_packages: {why}"),
    };
    let place = Place::new();
    let recipe = mini.recipe(&place, "");
    place.build(&recipe, "image", &[]).arguments(mini.mirrors()).run().success();
    let image = place.out("image");
    let tree = tree::of_tar(&image.join("rootfs.tar"));
    for path in ["usr/bin/bash", "usr/bin/rpm", "usr/lib/sysimage/rpm/rpmdb.sqlite", "etc/os-release"] {
        assert!(tree.contains_key(path), "no {path}");
    }
    for path in tree.keys() {
        let left =
            path.contains(".rpmdb") || path.ends_with("-wal") || path.ends_with("-shm") || path.ends_with(".lock");
        assert!(!left && !path.starts_with("mkbase"), "{path} was left");
        assert!(!path.starts_with("var/cache/dnf/") && !path.starts_with("var/lib/dnf/"), "{path} was left");
    }
    assert_eq!(tree["proc"].mode & 0o7777, 0o555, "the package's own mode of a mount point");
    let manifest = std::fs::read_to_string(image.join("manifest.json")).expect("the manifest");
    assert!(manifest.contains("\"mini-release\"") && !manifest.contains("gpg-pubkey"), "{manifest}");
    place.assert_nothing_left(&["image"]);
}

#[test]
fn the_same_lock_gives_the_same_bytes_to_root_and_to_a_user() {
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("the_same_lock_gives_the_same_bytes_to_root_and_to_a_user: {why}"),
    };
    let first = Place::new();
    let recipe = mini.recipe(&first, "");
    first.mkbase(["lock"]).arguments([&recipe]).arguments(mini.mirrors()).run().success();
    let lock = std::fs::read(first.path().join("mini.lock")).expect("the lock");
    first.build(&recipe, "image", &["--locked"]).arguments(mini.mirrors()).run().success();
    let mut second = Place::new();
    match test_user() {
        Some(user) if is_root() => second = second.of_user(user),
        _ => crate::util::note_skip("the_same_lock_gives_the_same_bytes_to_root_and_to_a_user: no user besides"),
    }
    let recipe = mini.recipe(&second, "");
    second.write("mini.lock", lock);
    second.build(&recipe, "image", &["--locked"]).arguments(mini.mirrors()).run().success();
    let hash = |place: &Place| sha256(&std::fs::read(place.out("image").join("rootfs.tar")).expect("the image"));
    assert_eq!(hash(&first), hash(&second));
    first.assert_nothing_left(&["image"]);
    second.assert_nothing_left(&["image"]);
}

#[test]
fn packages_that_fail_are_named_with_the_reason() {
    packages_that_fail("packages_that_fail_are_named_with_the_reason", "host");
}

#[test]
fn packages_that_fail_in_the_tools_tree_are_named_with_the_reason() {
    packages_that_fail("packages_that_fail_in_the_tools_tree_are_named_with_the_reason", "tree");
}

fn packages_that_fail(test: &str, tools: &str) {
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("{test}: {why}"),
    };
    let place = Place::new();
    let recipe = mini.recipe(&place, &mini.broken());
    let tools = ["--tools", tools];
    for (packages, expected) in [
        ("mini-unsigned", &["mini-unsigned 1.0-1", "it is not signed"][..]),
        ("mini-otherkey", &["mini-otherkey 1.0-1", "signed by", "not by a key of the recipe"]),
        ("mini-tampered", &["mini-tampered 1.0-1", "its payload was changed"]),
        ("mini-forged", &["mini-forged 1.0-1", "its content was changed after"]),
    ]
    .into_iter()
    .chain(FAILING)
    {
        let build = place.build(&recipe, "image", &["--include", packages]).arguments(mini.mirrors());
        build.arguments(tools).run().fails(1, expected);
    }
    let build = place.build(&recipe, "image", &["--include", "mini-hang", "--time-limit", "20"]);
    let texts = ["a scriptlet of mini-hang-1.0-1.mn1.noarch did not end within 20 s", "    mini-hang waits for ever\n"];
    build.arguments(mini.mirrors()).arguments(tools).run().fails(1, &texts);
    let build = place.build(&recipe, "image", &["--include", "mini-nosuch"]).arguments(mini.mirrors());
    build.arguments(tools).run().fails(2, &["no repository has the package 'mini-nosuch'"]);
    for file in ["mini-hello-1.0-1.mn1.noarch.rpm", "http://example.org/x"] {
        let build = place.build(&recipe, "image", &["--include", file]).arguments(mini.mirrors());
        build.run().fails(2, &[&format!("'{file}' is a package file; list it in packages.files")]);
    }
    let build = place.build(&recipe, "image", &["--engine", "native"]).arguments(mini.mirrors());
    build.run().fails(2, &["--engine"]);
    place.assert_nothing_left(&[]);
}
