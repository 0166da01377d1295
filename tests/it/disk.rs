//! Full disks. They need small file systems of their own, so root, and a mount namespace that takes them away again.

use crate::skip;
use crate::util::deb::Package;
use crate::util::is_root;
use crate::util::lab::Lab;
use crate::util::mkbase::{Ended, Place};

/// Runs a build with a file system of `size` on `folder` of the test's place. Standard output holds what is in it
/// after the build, one path a line.
pub fn on_small_disk(place: &Place, recipe: &std::path::Path, folder: &str, size: &str, more: &[&str]) -> Ended {
    let script = format!(
        "mount -t tmpfs -o size={size},mode=1777 tmpfs \"$DISK\" || exit 99\n\"$@\"\ncode=$?\n\
         find \"$DISK\" -mindepth 1\nexit $code"
    );
    place
        .build(recipe, "image", more)
        .env("DISK", place.path().join(folder))
        .through(["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
        .run()
}

#[test]
fn full_disk_at_unpack() {
    if !is_root() {
        skip!("full_disk_at_unpack: needs root to mount a small file system");
    }
    let place = Place::new();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    let ended = on_small_disk(&place, &recipe, "tmp", "20m", &[]).fails(1, &["No space left"]);
    assert_eq!(ended.stdout(), "", "the full disk is empty again");
    place.assert_nothing_left(&[]);
}

#[test]
fn full_disk_at_pack() {
    if !is_root() {
        skip!("full_disk_at_pack: needs root to mount a small file system");
    }
    let place = Place::new();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    for (compress, size) in [("none", "20m"), ("xz:1", "2m"), ("zstd:1", "2m"), ("gzip:1", "2m")] {
        let ended = on_small_disk(&place, &recipe, "out", size, &["--compress", compress]);
        let ended = ended.fails(1, &["No space left"]);
        assert_eq!(ended.stdout(), "", "{compress}: the full disk is empty again");
        place.assert_nothing_left(&[]);
    }
}

#[test]
fn full_disk_in_the_cache() {
    if !is_root() {
        skip!("full_disk_in_the_cache: needs root to mount a small file system");
    }
    let place = Place::new().with_own_cache();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    on_small_disk(&place, &recipe, "cache", "5m", &[]).fails(1, &["No space left"]);
    place.assert_nothing_left(&[]);
}

#[test]
fn maintainer_script_that_fills_the_disk() {
    if !is_root() {
        skip!("maintainer_script_that_fills_the_disk: needs root to mount a small file system");
    }
    let place = Place::new();
    let body = "dd if=/dev/zero of=/usr/share/all-of-it bs=1M 2>&1";
    let lab = Lab::complete(&[Package::new("lab-greedy").script("postinst", body).build()]);
    let recipe = lab.recipe(&place, &["lab-greedy"], "");
    let ended = on_small_disk(&place, &recipe, "tmp", "500m", &[]).fails(1, &["lab-greedy"]);
    assert!(ended.stderr.contains("No space left"), "{}", ended.stderr);
    assert_eq!(ended.stdout(), "", "the full disk is empty again");
    place.assert_nothing_left(&[]);
}

#[test]
fn standard_output_that_is_full_or_gone() {
    let place = Place::new();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    let to = |place: &Place, redirection: &str| {
        let script = format!("\"$@\" {redirection}; exit ${{PIPESTATUS[0]}}");
        place
            .mkbase(["build".as_ref(), recipe.as_os_str(), "-o".as_ref(), "-".as_ref()])
            .through(["bash", "-c", &script, "bash"])
            .run()
    };
    to(&place, ">/dev/full").fails(1, &["No space left"]);
    to(&place, "| head -c 1000000 | wc -c").fails(1, &["standard output"]);
    place.assert_nothing_left(&[]);
}
