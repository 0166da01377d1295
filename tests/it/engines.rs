//! The other engine: the real debootstrap in the same pipeline.

use crate::skip;
use crate::util::mkbase::{Place, test_user};
use crate::util::{has_program, is_root, tree};

#[test]
fn debootstrap_makes_the_same_kind_of_image() {
    if !has_program("debootstrap") {
        skip!("debootstrap_makes_the_same_kind_of_image: no debootstrap");
    }
    let place = Place::new();
    place.build("debian:trixie", "other", &["--engine", "debootstrap"]).run().success();
    place.build("debian:trixie", "native", &[]).run().success();
    place.mkbase(["check".as_ref(), place.out("other").as_os_str()]).run().success();
    let trees = ["other", "native"].map(|name| tree::of_tar(&place.out(name).join("rootfs.tar")));
    for (path, node) in &trees[0] {
        let Some(native) = trees[1].get(path) else {
            // Caches and logs of the tool may differ, files of packages may not.
            assert!(!path.starts_with("usr/bin/"), "{path} is only in debootstrap's tree");
            continue;
        };
        if path.starts_with("usr/") && node.kind == 'f' && !path.ends_with(".cache") {
            assert_eq!(
                (node.mode, node.uid, node.gid, &node.content),
                (native.mode, native.uid, native.gid, &native.content),
                "{path}"
            );
        }
    }
    place.assert_nothing_left(&["other", "native"]);
}

/// debootstrap itself has no such variant, and fails where nothing comes after the required packages.
#[test]
fn debootstrap_makes_an_image_of_the_essential_packages_alone() {
    if !has_program("debootstrap") {
        skip!("debootstrap_makes_an_image_of_the_essential_packages_alone: no debootstrap");
    }
    let place = Place::new();
    let essential = ["--variant", "essential"];
    place.build("debian:trixie", "other", &["--engine", "debootstrap"]).arguments(essential).run().success();
    place.build("debian:trixie", "native", &[]).arguments(essential).run().success();
    let [other, native] = ["other", "native"].map(|name| {
        let tar = tree::unpacked(&place.out(name).join("rootfs.tar"));
        let text = tree::file_in_tar(&tar, "var/lib/dpkg/status").expect("dpkg's database");
        (String::from_utf8(text).expect("text"), tree::of_tar_bytes(&tar))
    });
    assert!(other.0.contains("Package: dpkg\nEssential: yes\n") && !other.0.contains("Package: apt\n"), "{}", other.0);
    assert_eq!(other.0, native.0);
    // debconf brings settings for apt, in /etc/apt/apt.conf.d.
    for path in ["etc/apt/sources.list.d", "usr/bin/apt-get", "var/cache/apt", "var/lib/apt"] {
        assert!(!other.1.contains_key(path), "nothing of apt where there is no apt: {path}");
    }
    let only = |one: &tree::Tree, two: &tree::Tree| -> Vec<String> {
        one.keys().filter(|path| !two.contains_key(*path)).cloned().collect()
    };
    assert_eq!((only(&other.1, &native.1), only(&native.1, &other.1)), (Vec::new(), Vec::new()));
    place.assert_nothing_left(&["other", "native"]);
}

#[test]
fn debootstrap_for_an_ordinary_user() {
    let user = if is_root() { test_user() } else { None };
    if !has_program("debootstrap") || (is_root() && user.is_none()) {
        skip!("debootstrap_for_an_ordinary_user: no debootstrap or no MKBASE_TEST_USER");
    }
    let mut place = Place::new();
    if let Some(user) = user {
        place = place.of_user(user);
    }
    place.build("debian:trixie", "image", &["--engine", "debootstrap"]).run().success();
    place.assert_nothing_left(&["image"]);
}

#[test]
fn missing_debootstrap_is_said_with_the_way_to_get_it() {
    let place = Place::new();
    let mut build = place.build("debian:trixie", "image", &["--engine", "debootstrap", "--tools", "host"]);
    if has_program("debootstrap") {
        if !is_root() {
            skip!("missing_debootstrap_is_said_with_the_way_to_get_it: needs root to hide debootstrap");
        }
        // An empty /usr/sbin, for this build alone.
        let script = "mount -t tmpfs tmpfs /usr/sbin && exec \"$@\"; exit 99";
        build = build.through(["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    }
    build.run().fails(1, &["debootstrap", "apt-get install debootstrap"]);
    place.assert_nothing_left(&[]);
}
