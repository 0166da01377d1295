//! Mirrors that refuse, fail, stall or redirect, and what the cache is worth then.

use std::path::Path;
use std::time::Duration;

use super::{base, refused};
use crate::util::deb::Package;
use crate::util::key::Key;
use crate::util::lab::{Lab, recipe_text};
use crate::util::mkbase::Place;
use crate::util::server::{Fault, refused_url};

#[test]
fn mirror_that_refuses() {
    let place = Place::new().with_own_cache();
    place.write("lab.asc", Key::new("lab").public());
    let url = refused_url();
    let recipe = place.write("lab.toml", recipe_text(&url, &[], ""));
    refused(&place, &recipe, &[&url]);
}

#[test]
fn mirror_without_the_files() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[]);
    lab.server.remove("/dists/lab/InRelease");
    let recipe = lab.recipe(&place, &[], "");
    refused(&place, &recipe, &["/dists/lab/", "not found"]);
}

#[test]
fn mirror_out_of_service() {
    for (pattern, text) in [("InRelease", "503"), ("by-hash", "503"), ("pool/", "503")] {
        let place = Place::new().with_own_cache();
        let lab = Lab::new(&[base()]);
        lab.server.fault(pattern, Fault::Status(503));
        let recipe = lab.recipe(&place, &[], "");
        refused(&place, &recipe, &[text]);
        assert!(lab.server.count(pattern) > 1, "{pattern}: it was tried again");
    }
}

#[test]
fn mirror_that_recovers() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[base()]);
    for pattern in ["InRelease", "by-hash", "pool/"] {
        lab.server.fault_times(pattern, Fault::Status(503), 1);
        lab.server.fault_times(pattern, Fault::Hangup, 1);
    }
    let recipe = lab.recipe(&place, &[], "");
    let ended = place.build(&recipe, "image", &[]).run();
    assert_eq!(lab.server.count("pool/lab-base"), 3, "two failures and a success:\n{}", ended.stderr);
    place.assert_nothing_left(&[]);
}

#[test]
fn mirror_that_cuts_the_connection() {
    // Always: it fails. Once: it goes on where it was.
    let big = Package::new("lab-base").field("Essential", "yes").file("./usr/share/big", &noise(1 << 20)).build();
    let place = Place::new().with_own_cache();
    let lab = Lab::new(std::slice::from_ref(&big));
    lab.server.fault("pool/", Fault::Cut);
    let recipe = lab.recipe(&place, &[], "");
    refused(&place, &recipe, &["lab-base"]);

    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[big]);
    lab.server.fault_times("pool/", Fault::Cut, 1);
    let recipe = lab.recipe(&place, &[], "");
    let ended = place.build(&recipe, "image", &[]).run();
    let requests: Vec<_> = lab.server.requests().into_iter().filter(|r| r.path.contains("pool/")).collect();
    assert_eq!(requests.len(), 2, "{}", ended.stderr);
    assert!(requests[1].from > 0, "the second half only: {requests:?}");
    place.assert_nothing_left(&[]);
}

#[test]
fn mirror_that_stalls() {
    let big = Package::new("lab-base").field("Essential", "yes").file("./usr/share/big", &noise(1 << 20)).build();
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[big]);
    lab.server.fault_times("pool/", Fault::Stall, 1);
    let recipe = lab.recipe(&place, &[], "");
    // It loses patience, and goes on where it was.
    let ended = place.build(&recipe, "image", &[]).limit(Duration::from_secs(180)).run();
    let requests: Vec<_> = lab.server.requests().into_iter().filter(|r| r.path.contains("pool/")).collect();
    assert_eq!(requests.len(), 2, "{}", ended.stderr);
    assert!(requests[1].from > 0, "the second half only: {requests:?}");
    place.assert_nothing_left(&[]);
}

#[test]
fn mirror_that_redirects() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[base()]);
    lab.server.fault("/dists/lab/InRelease", Fault::Redirect("/round/InRelease".into()));
    lab.server.fault("/round/InRelease", Fault::Redirect("/dists/lab/InRelease".into()));
    let recipe = lab.recipe(&place, &[], "");
    refused(&place, &recipe, &["redirect"]);
    assert!(lab.server.count("InRelease") < 50, "it gave up soon");

    // To somewhere sensible it is followed.
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[base()]);
    let path = format!("/{}", base().path);
    lab.server.put("/elsewhere.deb", base().bytes.read());
    lab.server.fault(&path, Fault::Redirect("/elsewhere.deb".into()));
    let recipe = lab.recipe(&place, &[], "");
    let ended = place.build(&recipe, "image", &[]).run();
    assert_eq!(lab.server.count("/elsewhere.deb"), 1, "{}", ended.stderr);
}

#[test]
fn credentials_are_never_shown() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[base()]);
    lab.server.fault("pool/", Fault::Status(403));
    let recipe = lab.recipe(&place, &[], "");
    let mirror = format!("main={}", lab.server.url().replace("http://", "http://alice:s3cret-word@"));
    let ended = place.build(&recipe, "image", &["-v", "--mirror", &mirror]).run().fails(1, &["lab-base"]);
    assert!(!ended.stderr.contains("s3cret-word"), "{}", ended.stderr);
}

#[test]
fn credentials_of_a_mirror_stay_out_of_everything() {
    let place = Place::new().with_own_cache();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &["locales"], "[system]\nlocale = \"de_DE.UTF-8\"");
    let mirror = format!("main={}", lab.server.url().replace("http://", "http://alice:s3cret-word@"));
    let ended = place.build(&recipe, "image", &["-v", "--mirror", &mirror]).run().success();
    assert!(!ended.stderr.contains("s3cret-word") && !ended.stdout().contains("s3cret-word"), "{}", ended.stderr);
    for name in ["rootfs.tar", "Dockerfile", ".dockerignore", "mkbase.lock", "manifest.json", "SHA256SUMS"] {
        let bytes = std::fs::read(place.out("image").join(name)).expect("a result");
        let found = bytes.windows(11).any(|part| part == b"s3cret-word");
        assert!(!found, "the password is in {name}");
    }
}

#[test]
fn build_with_everything_at_hand_downloads_nothing() {
    let place = Place::new().with_own_cache();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    place.build(&recipe, "image", &[]).run().success();
    let (packages, indexes) = (lab.server.count("pool/"), lab.server.count("by-hash"));
    assert!(packages > 50 && indexes > 0, "{packages} packages and {indexes} indexes at first");
    place.build(&recipe, "image", &[]).run().success();
    assert_eq!((lab.server.count("pool/"), lab.server.count("by-hash")), (packages, indexes), "only the release file");
    // A damaged file in the cache is not used.
    let damaged = damage_one_file(&place.cache().join("sha256"));
    place.build(&recipe, "image", &[]).run().success();
    let again = lab.server.count("pool/") + lab.server.count("by-hash");
    assert_eq!(again, packages + indexes + 1, "{} was fetched anew", damaged.display());
}

/// Changes a byte of a package in the cache.
fn damage_one_file(folder: &Path) -> std::path::PathBuf {
    for entry in std::fs::read_dir(folder).expect("the cache").flatten() {
        for file in std::fs::read_dir(entry.path()).expect("the cache").flatten() {
            let mut bytes = std::fs::read(file.path()).expect("a cached file");
            if bytes.starts_with(b"!<arch>") {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                // The cache makes its files read-only.
                std::fs::remove_file(file.path()).expect("a cached file");
                std::fs::write(file.path(), bytes).expect("a cached file");
                return file.path();
            }
        }
    }
    panic!("no package in {}", folder.display());
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}
