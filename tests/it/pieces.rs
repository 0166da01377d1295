//! Compressed segments of images in the cache.

use std::path::{Path, PathBuf};

use crate::skip;
use crate::util::deb::Package;
use crate::util::lab::{Lab, seed};
use crate::util::mkbase::{Ended, Mkbase, Place};
use crate::util::repo::Repo;
use crate::util::{has_program, is_root, sha256};

/// The fastest level: it is about segments, not about what they become.
const COMPRESSION: &[&str] = &["-v", "--compress", "xz:0"];

fn digest(place: &Place, name: &str) -> String {
    sha256(&std::fs::read(place.out(name).join("rootfs.tar.xz")).expect("the image"))
}

/// How many segments the cache had, and of how many.
fn reuse(ended: &Ended) -> (usize, usize) {
    let line = ended.stderr.lines().find(|line| line.contains("segments were in the cache"));
    let line = line.unwrap_or_else(|| panic!("a line about segments:\n{}", ended.stderr));
    let words: Vec<&str> = line.split_whitespace().collect();
    let [cached, "of", all, ..] = words[..] else { panic!("{line}") };
    (cached.parse().expect("a number"), all.parse().expect("a number"))
}

fn pieces(place: &Place) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(place.cache().join("pieces")).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).expect("a folder").flatten());
    files.map(|file| file.path()).collect()
}

fn build<'a>(place: &'a Place, recipe: &Path, name: &str) -> Mkbase<'a> {
    place.build(recipe, name, COMPRESSION)
}

#[test]
fn a_second_build_compresses_nothing() {
    let place = Place::new().with_own_cache();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    let (none, all) = reuse(&build(&place, &recipe, "cold").run().success());
    assert!(none == 0 && all > 10, "{none} of {all}");
    assert_eq!(pieces(&place).len(), all);
    let warm = build(&place, &recipe, "warm").run().success();
    assert_eq!(reuse(&warm), (all, all));
    assert_eq!(digest(&place, "warm"), digest(&place, "cold"));
    assert!(!warm.stderr.contains("damaged") && !warm.stderr.contains("not kept"), "{}", warm.stderr);

    // Some are damaged, one is another's: a small one, for what is too long to be a segment's is not even looked at.
    let mut kept = pieces(&place);
    kept.sort_by_key(|path| path.metadata().expect("a piece").len());
    let [first, second, third, ..] = &kept[..] else { panic!("many pieces") };
    let mut bytes = std::fs::read(first).expect("a piece");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(first, &bytes).expect("damages");
    std::fs::write(second, "").expect("damages");
    std::fs::copy(first, third).expect("damages");
    let again = build(&place, &recipe, "again").run().success();
    assert_eq!(reuse(&again), (all - 3, all));
    assert!(again.stderr.contains("warning") && again.stderr.contains("compressed again: 3"), "{}", again.stderr);
    assert_eq!(digest(&place, "again"), digest(&place, "cold"));

    // They are entries of the cache like others.
    let entries = || {
        let info = place.mkbase(["cache", "info"]).run().success();
        let number = info.stdout().lines().find_map(|line| line.strip_prefix("entries")).map(str::trim);
        number.and_then(|number| number.parse::<usize>().ok()).unwrap_or_else(|| panic!("{}", info.stdout()))
    };
    let before = entries();
    std::fs::remove_file(first).expect("a piece");
    assert!(before > all && entries() == before - 1, "{before}");
    place.mkbase(["cache", "prune", "--older-than", "0s"]).run().success();
    assert_eq!(pieces(&place).len(), 0);
    assert_eq!(reuse(&build(&place, &recipe, "last").run().success()), (0, all));
    assert_eq!(digest(&place, "last"), digest(&place, "cold"));
    place.assert_nothing_left(&["cold", "warm", "again", "last"]);
}

#[test]
fn an_update_compresses_what_it_changed() {
    let place = Place::new().with_own_cache();
    // Content that no compression makes small is not needed: segments are measured before it.
    let large = Package::new("large").file("./usr/share/large", "large ".repeat(1 << 20).as_bytes()).build();
    let small = |version: &str| {
        Package::new("small").version(version).file("./usr/share/small", version.repeat(100).as_bytes()).build()
    };
    let lab = Lab::complete(&[large.clone(), small("1.0")]);
    let recipe = lab.recipe(&place, &["large", "small"], "");
    let (_, all) = reuse(&build(&place, &recipe, "old").run().success());
    // The index is a newer one too, and with it the epoch.
    let mut repo = Repo::new(&lab.key, [seed().debs.clone(), vec![large, small("2.0")]].concat());
    repo.date += 600;
    repo.publish(&lab.server);
    let new = build(&place, &recipe, "new").run().success();
    let (cached, of) = reuse(&new);
    assert!(cached * 2 > of && cached < of, "{cached} of {of}");
    assert_eq!(of, all, "nothing else is cut otherwise");
    assert_ne!(digest(&place, "new"), digest(&place, "old"));
    place.forget_segments();
    build(&place, &recipe, "cold").run().success();
    assert_eq!(digest(&place, "new"), digest(&place, "cold"));
}

#[test]
fn a_cache_that_can_only_be_read_is_enough() {
    if !is_root() || !has_program("unshare") {
        skip!("a_cache_that_can_only_be_read_is_enough: needs root and unshare");
    }
    let place = Place::new().with_own_cache();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    build(&place, &recipe, "cold").run().success();
    let lock = place.out("cold").join("mkbase.lock");
    let cache = place.cache().to_str().expect("text");
    let read_only = format!("mount --bind -o ro '{cache}' '{cache}' && exec \"$@\"");
    let from_lock = [COMPRESSION, &["--lock", lock.to_str().expect("text")]].concat();
    let build = |name| {
        let build = place.build(&recipe, name, &from_lock);
        build.through(["unshare", "--mount", "sh", "-c", read_only.as_str(), "sh"]).run().success()
    };
    let warm = build("warm");
    let (cached, all) = reuse(&warm);
    assert_eq!(cached, all);
    for path in pieces(&place).iter().take(2) {
        std::fs::remove_file(path).expect("a piece");
    }
    let some = build("some");
    assert_eq!(reuse(&some), (all - 2, all));
    assert!(some.stderr.contains("not kept") && some.stderr.contains("not writable"), "{}", some.stderr);
    assert_eq!(pieces(&place).len(), all - 2);
    for name in ["warm", "some"] {
        assert_eq!(digest(&place, name), digest(&place, "cold"), "{name}");
    }
}
