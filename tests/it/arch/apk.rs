//! Alpine for another architecture, of genuine packages: what the real apk makes of them there, through the same
//! emulator.

use mkbase::arch::Arch;

use super::{assert_no_emulator, assert_programs, emulated, in_container};
use crate::apk_install::{assert_image_of_apk, assert_tree_of_apk};
use crate::skip;
use crate::util::alpine::{Fixture, Lab};
use crate::util::apk::ARCH;
use crate::util::mkbase::{Place, test_user};
use crate::util::{is_root, note_skip, sha256, tree};

/// Scripts of every kind, triggers, a package that makes accounts, set-id programs.
const PACKAGES: [&str; 5] = ["alpine-base", "curl", "dhcpcd", "fixture-hello", "sudo"];

fn lab(test: &str) -> Option<(&'static Arch, Lab)> {
    let arch = emulated(test)?;
    Some((arch, Lab::new(Fixture::of(test, arch.apk)?, &[])))
}

#[test]
fn alpine_tree_for_arm64_is_that_of_the_real_apk() {
    const TEST: &str = "alpine_tree_for_arm64_is_that_of_the_real_apk";
    let Some((_, lab)) = lab(TEST) else { return };
    if !is_root() {
        skip!("{TEST}: apk makes a system as root only");
    }
    assert_tree_of_apk(&lab, &PACKAGES);
}

#[test]
fn alpine_image_for_arm64_is_built_with_an_emulator() {
    const TEST: &str = "alpine_image_for_arm64_is_built_with_an_emulator";
    /// What the image's own programs say in a script: the machine, apk's architecture, and what differs from its package.
    const LOOKS: &str = "[[script]]\nrun = \"{ uname -m; apk --print-arch; apk audit --system; } >/srv/machine\"\n";
    let Some((arch, lab)) = lab(TEST) else { return };
    let mut places = vec![Place::new()];
    match test_user() {
        Some(user) if is_root() => places.push(Place::new().of_user(user)),
        _ => note_skip(&format!("{TEST}: the second of root and a user")),
    }
    let mut hashes = Vec::new();
    for place in &places {
        let recipe = lab.recipe(place, &PACKAGES, LOOKS);
        let ended = place.build(&recipe, "image", &["--arch", "arm64"]).run().success();
        assert!(ended.stderr.contains("Emulating programs for arm64 with /"), "{}", ended.stderr);
        assert!(ended.stdout().contains("docker import --platform linux/arm64/v8 "), "{}", ended.stdout());
        hashes.push(sha256(&std::fs::read(place.out("image").join("rootfs.tar")).expect("the image")));
        place.assert_nothing_left(&["image"]);
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "root and a user get other bytes");

    let place = &places[0];
    let tar = tree::unpacked(&place.out("image").join("rootfs.tar"));
    assert_programs(&tar, arch, 40);
    assert_no_emulator(&tar);
    let text = |path: &str| String::from_utf8(tree::file_in_tar(&tar, path).expect(path)).expect("text");
    assert_eq!(text("srv/machine"), "aarch64\naarch64\n");
    assert_eq!(text("etc/apk/arch"), "aarch64\n");
    let result = |name: &str| std::fs::read_to_string(place.out("image").join(name)).expect("a result");
    assert!(result("Dockerfile").contains("docker build --platform linux/arm64/v8 -t lab:"));
    assert!(result("manifest.json").contains("\"arch\": \"aarch64\""));
    let lock = mkbase::lock::Lock::parse(&result("mkbase.lock"), "mkbase.lock").expect("the lock");
    assert!(lock.arch == "aarch64" && lock.packages.iter().all(|p| ["aarch64", "noarch"].contains(&p.arch.as_str())));
    place.mkbase(["check".as_ref(), place.out("image").as_os_str()]).run().success();
    if is_root() {
        assert_image_of_apk(&lab, place, &place.path().join("lab.toml"), "image");
        place.assert_nothing_left(&["image", "tool"]);
    } else {
        note_skip(&format!("{TEST}: --engine apk-tools makes a system as root only"));
    }
    if let Some(said) = in_container(TEST, place, "alpine", "uname -m; apk audit --system 2>&1; apk --print-arch") {
        assert_eq!(said, "aarch64\naarch64\n");
    }
}

#[test]
fn alpine_package_file_of_another_architecture_is_refused() {
    let Some(fixture) = Fixture::get("alpine_package_file_of_another_architecture_is_refused") else { return };
    let curl = fixture.files().into_iter().find(|path| path.to_string_lossy().contains("/curl-")).expect("curl");
    let lab = Lab::new(fixture, &[]);
    let place = Place::new();
    let recipe = lab.recipe(&place, &["alpine-base"], "");
    let files = format!("packages.files=[{curl:?}]");
    let ended = place.mkbase(["lock".as_ref(), recipe.as_os_str()]).arguments(["--arch", "aarch64", "--set", &files]);
    ended.run().fails(2, &["packages.files: ", &format!("it is for {ARCH}, and the image is for aarch64")]);
    assert!(!place.path().join("lab.lock").exists());
}
