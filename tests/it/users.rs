//! The program for ordinary users: the same image as root makes, and a clear word where the host is not set up.

use std::path::Path;

use nix::unistd::User;

use crate::skip;
use crate::util::deb::Package;
use crate::util::lab::Lab;
use crate::util::mkbase::{Place, test_user};
use crate::util::{is_root, sha256};

#[test]
fn user_and_root_make_the_same_image() {
    if !is_root() {
        skip!("user_and_root_make_the_same_image: needs root for one of the two");
    }
    let Some(user) = test_user() else { skip!("user_and_root_make_the_same_image: no MKBASE_TEST_USER") };
    // Owners, groups, set-id bits and capabilities that an ordinary user cannot give on its own.
    let body = "touch /srv/a /srv/b /srv/c\nchown www-data:tape /srv/a\nchmod 6755 /srv/a\nchown 65534:65534 /srv/b\n\
                chown 60000:60001 /srv/c";
    let lab = Lab::complete(&[Package::new("lab-owners").script("postinst", body).build()]);
    let skip_owners = "[check]\nskip = [\"file\"]";
    let mut images = Vec::new();
    for place in [Place::new(), Place::new().of_user(user)] {
        let recipe = lab.recipe(&place, &["lab-owners"], skip_owners);
        place.build(&recipe, "image", &[]).run().success();
        images.push(sha256(&std::fs::read(place.out("image").join("rootfs.tar")).expect("the image")));
        place.assert_nothing_left(&["image"]);
    }
    assert_eq!(images[0], images[1]);
}

#[test]
fn user_without_subordinate_ids_is_told_what_to_set_up() {
    if !is_root() {
        skip!("user_without_subordinate_ids_is_told_what_to_set_up: needs root to become such a user");
    }
    let nobody = User::from_name("nobody").expect("the user database").expect("nobody");
    let listed = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
    if listed.lines().any(|l| l.starts_with("nobody:") || l.starts_with(&format!("{}:", nobody.uid))) {
        skip!("user_without_subordinate_ids_is_told_what_to_set_up: nobody has subordinate ids here");
    }
    let lab = Lab::new(&[Package::new("lab-base").field("Essential", "yes").build()]);
    let place = Place::new().of_user(nobody);
    let recipe = lab.recipe(&place, &[], "");
    place.build(&recipe, "image", &[]).run().fails(1, &["/etc/subuid", "nobody", "usermod --add-subuids"]);
    assert_eq!(lab.server.requests().len(), 0, "it says so before it downloads anything");
    place.assert_nothing_left(&[]);
}

#[test]
fn user_without_newuidmap_is_told_what_to_install() {
    let user = if is_root() { test_user() } else { None };
    if is_root() && user.is_none() {
        skip!("user_without_newuidmap_is_told_what_to_install: no MKBASE_TEST_USER");
    }
    let lab = Lab::new(&[Package::new("lab-base").field("Essential", "yes").build()]);
    let mut place = Place::new();
    if let Some(user) = user {
        place = place.of_user(user);
    }
    let empty = place.path().join("no-programs");
    std::fs::create_dir(&empty).expect("a folder");
    let recipe = lab.recipe(&place, &[], "");
    let build = place.build(&recipe, "image", &[]).env("PATH", &empty);
    build.run().fails(1, &["newuidmap", "uidmap"]);
    place.assert_nothing_left(&[]);
}

#[test]
fn user_can_keep_and_remove_the_tree() {
    if !is_root() {
        skip!("user_can_keep_and_remove_the_tree: needs root to become another user");
    }
    let Some(user) = test_user() else { skip!("user_can_keep_and_remove_the_tree: no MKBASE_TEST_USER") };
    let lab = Lab::complete(&[]);
    let place = Place::new().of_user(user);
    let recipe = lab.recipe(&place, &[], "");
    let ended = place.build(&recipe, "image", &["--keep"]).run().success();
    let kept = place.tmp();
    let names: Vec<_> = std::fs::read_dir(&kept).expect("TMPDIR").flatten().map(|e| e.path()).collect();
    assert_eq!(names.len(), 1, "one folder is kept: {names:?}");
    assert!(ended.stderr.contains(names[0].to_str().expect("text")), "it says where:\n{}", ended.stderr);
    assert!(find(&names[0], "os-release"), "the tree is in it");
}

fn find(folder: &Path, name: &str) -> bool {
    std::fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let path = entry.path();
            entry.file_name() == name || (path.is_dir() && !path.is_symlink() && find(&path, name))
        })
    })
}
