//! The same lock gives the same bytes.

use crate::skip;
use crate::util::lab::{Lab, SEED, SEED_OPTIONS, seed};
use crate::util::mkbase::{Place, test_user};
use crate::util::{has_program, is_root, sha256, tree};

fn digest(place: &Place, name: &str, file: &str) -> String {
    sha256(&std::fs::read(place.out(name).join(file)).expect("the image"))
}

/// Root and a user, umask 022 and 077, one job and two, today and tomorrow, in different folders, with the real
/// archive's packages and the default compression.
#[test]
fn same_lock_same_bytes() {
    let first = Place::new();
    let lock = first.write("mkbase.lock", seed().lock.to_text().expect("a lock can be written"));
    let lock = lock.to_str().expect("text");
    let more = [&SEED_OPTIONS[..], &["--compress", "xz", "--jobs", "1", "--lock", lock]].concat();
    first.build(SEED, "a", &more).umask("022").run().success();
    first.assert_nothing_left(&["a"]);
    let expected = digest(&first, "a", "rootfs.tar.xz");

    // Either way without the first one's compressed segments.
    let other = Place::at(std::path::Path::new("/var/tmp"));
    let other = match test_user() {
        Some(user) if is_root() => other.of_user(user),
        _ => {
            crate::util::note_skip("same_lock_same_bytes: the second build as another user: no MKBASE_TEST_USER");
            other.with_copied_cache()
        }
    };
    let lock = other.write("mkbase.lock", seed().lock.to_text().expect("a lock can be written"));
    let lock = lock.to_str().expect("text");
    let more = [&SEED_OPTIONS[..], &["--compress", "xz", "--jobs", "2", "--lock", lock]].concat();
    let build = other.build(SEED, "deep/er/b", &more);
    let in_odd_umask = "umask 077; exec \"$@\"";
    if has_program("faketime") {
        // The clock only: the times that files have on the disk are no lies.
        let build = build.env("NO_FAKE_STAT", "1");
        build.through(["faketime", "+1 day", "sh", "-c", in_odd_umask, "sh"]).run().success();
    } else {
        crate::util::note_skip("same_lock_same_bytes: the second build on another day: no faketime");
        build.umask("077").run().success();
    }
    if digest(&other, "deep/er/b", "rootfs.tar.xz") != expected {
        let trees = [first.out("a"), other.out("deep/er/b")].map(|folder| tree::of_tar(&folder.join("rootfs.tar.xz")));
        let differs = |path: &&String| trees[0].get(*path) != trees[1].get(*path);
        let differences: Vec<_> = trees[0].keys().chain(trees[1].keys()).filter(differs).take(20).collect();
        panic!("another sha256 of rootfs.tar.xz; what differs, if not the packing: {differences:?}");
    }
    let locks = [first.out("a"), other.out("deep/er/b")]
        .map(|folder| std::fs::read(folder.join("mkbase.lock")).expect("a lock"));
    assert!(locks[0] == locks[1], "the lock that comes out is the same");
    for name in ["Dockerfile", "manifest.json", "SHA256SUMS", ".dockerignore"] {
        let files =
            [first.out("a"), other.out("deep/er/b")].map(|folder| std::fs::read(folder.join(name)).expect(name));
        assert!(files[0] == files[1], "{name} differs");
    }
    other.assert_nothing_left(&["deep"]);
}

/// Every compression: the same tar inside, the same bytes with one job and with several, and from a warm cache.
#[test]
fn every_compression_on_any_number_of_cores() {
    let place = Place::new().with_own_cache();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    place.build(&recipe, "plain", &[]).run().success();
    let plain = sha256(&tree::unpacked(&place.out("plain").join("rootfs.tar")));
    for (compress, file) in [("xz:1", "rootfs.tar.xz"), ("zstd:3", "rootfs.tar.zst"), ("gzip:1", "rootfs.tar.gz")] {
        let digests = [("1", true), ("3", true), ("2", false)].map(|(jobs, cold)| {
            if cold {
                place.forget_segments();
            }
            place.build(&recipe, "image", &["--compress", compress, "--jobs", jobs]).run().success();
            assert_eq!(
                sha256(&tree::unpacked(&place.out("image").join(file))),
                plain,
                "{compress} --jobs {jobs}: the tar"
            );
            digest(&place, "image", file)
        });
        assert_eq!(digests[0], digests[1], "{compress}: one job and three");
        assert_eq!(digests[0], digests[2], "{compress}: cold and warm");
    }
}

#[test]
fn stream_is_the_same_image() {
    let place = Place::new();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    place.build(&recipe, "image", &[]).run().success();
    let streamed = place.mkbase(["build".as_ref(), recipe.as_os_str(), "-o".as_ref(), "-".as_ref()]).run().success();
    assert_eq!(sha256(&streamed.stdout), digest(&place, "image", "rootfs.tar"));
    place.assert_nothing_left(&["image"]);
}

#[test]
fn epoch_is_honoured() {
    let place = Place::new();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    let epoch = 1_600_000_000;
    place.build(&recipe, "image", &[]).env("SOURCE_DATE_EPOCH", epoch.to_string()).run().success();
    let tree = tree::of_tar(&place.out("image").join("rootfs.tar"));
    let newer: Vec<_> = tree.iter().filter(|(_, node)| node.mtime > epoch).map(|(path, _)| path).collect();
    assert!(newer.is_empty(), "newer than the epoch: {newer:?}");
    let wrong = place.build(&recipe, "image", &[]).env("SOURCE_DATE_EPOCH", "yesterday").run();
    wrong.fails(2, &["SOURCE_DATE_EPOCH", "yesterday"]);
}

#[test]
fn lock_of_another_recipe_is_refused() {
    let place = Place::new();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    place.build(&recipe, "image", &[]).run().success();
    let lock = place.out("image").join("mkbase.lock");
    let other =
        place.write("other.toml", std::fs::read_to_string(&recipe).expect("the recipe") + "[system]\ndocs = true\n");
    let ended = place.build(&other, "other", &["--lock", lock.to_str().expect("text")]).run();
    assert!(matches!(ended.code, Some(1 | 2)) && ended.stderr.contains("lock"), "{ended:?}");
    let broken = place.write("broken.lock", "version = 1\nname = ");
    place.build(&recipe, "other", &["--lock", broken.to_str().expect("text")]).run().fails(2, &["broken.lock"]);
    let Some(gone) = place.path().join("gone.lock").to_str().map(str::to_string) else {
        skip!("a path that is no text")
    };
    place.build(&recipe, "other", &["--lock", &gone]).run().fails(2, &["gone.lock"]);
    place.assert_nothing_left(&["image"]);
}

/// A lock stands for itself: it still builds when the archive has moved on, as long as the packages are there.
#[test]
fn lock_needs_no_index() {
    let place = Place::new().with_own_cache();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    place.build(&recipe, "image", &[]).run().success();
    let lock = place.out("image").join("mkbase.lock");
    for path in lab.server.paths().iter().filter(|path| path.contains("/dists/")) {
        lab.server.remove(path);
    }
    std::fs::remove_dir_all(place.cache()).expect("the cache of this test");
    std::fs::create_dir(place.cache()).expect("the cache of this test");
    place.build(&recipe, "again", &["--lock", lock.to_str().expect("text")]).run().success();
    assert_eq!(digest(&place, "again", "rootfs.tar"), digest(&place, "image", "rootfs.tar"));
}

/// Packages that the mirror has changed since the lock was made are refused by their hash.
#[test]
fn lock_with_a_changed_archive() {
    let place = Place::new();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    place.build(&recipe, "image", &[]).run().success();
    let lock = std::fs::read_to_string(place.out("image").join("mkbase.lock")).expect("the lock");
    let at = lock.find("sha256 = \"").expect("a hash") + "sha256 = \"".len();
    let mut wrong = lock.clone();
    wrong.replace_range(at..at + 8, "00000000");
    let wrong = place.write("wrong.lock", wrong);
    place.build(&recipe, "other", &["--lock", wrong.to_str().expect("text")]).run().fails(1, &["SHA-256"]);
    place.assert_nothing_left(&["image"]);
}
