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
