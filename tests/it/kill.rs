//! Ctrl-C and `kill -9` in every stage: nothing is left, and the next build works.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::util::deb::Package;
use crate::util::lab::Lab;
use crate::util::mkbase::Place;
use crate::util::server::Fault;
use crate::util::sha256;

/// Stages shorter than this are over before a signal can arrive in them.
const SHORT: Duration = Duration::from_millis(5);

/// A stage of an undisturbed build: the line that ends it, and how long it took.
struct Stage {
    /// The first word of its line.
    verb: String,
    took: Duration,
}

/// A build with a slow mirror and a slow maintainer script, so that every stage has a middle.
fn slow_lab() -> Lab {
    let package = Package::new("lab-slow").script("preinst", "sleep 0.5").script("postinst", "sleep 0.5").build();
    let lab = Lab::complete(&[package]);
    lab.server.fault("InRelease", Fault::Slow(Duration::from_millis(300)));
    lab.server.fault("pool/lab-slow", Fault::Slow(Duration::from_millis(500)));
    lab
}

fn stages(place: &Place, recipe: &std::path::Path) -> Vec<Stage> {
    let mut running = place.build(recipe, "whole", &["--compress", "xz:1"]).start();
    let mut stages = Vec::new();
    let mut last = Instant::now();
    while let Some(line) = running.next_line() {
        let verb = line.split_whitespace().next().unwrap_or_default().to_string();
        if line.contains(" in ") && line.trim_end().ends_with(" s") {
            stages.push(Stage { verb, took: last.elapsed() });
            last = Instant::now();
        }
    }
    running.end().success();
    stages
}

#[test]
fn interrupted_or_killed_in_every_stage() {
    let lab = slow_lab();
    let place = Place::new().with_own_cache();
    let recipe = lab.recipe(&place, &["lab-slow"], "[[script]]\nrun = \"sleep 0.5\"");
    let stages = stages(&place, &recipe);
    let verbs: Vec<_> = stages.iter().map(|s| s.verb.as_str()).collect();
    let expected =
        ["Resolving", "Fetching", "Unpacking", "Configuring", "Customising", "Cleaning", "Checking", "Packing"];
    assert_eq!(verbs, expected, "a line for every stage");
    let image = |place: &Place, name| sha256(&std::fs::read(place.out(name).join("rootfs.tar.xz")).expect("the image"));
    let whole = image(&place, "whole");

    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        for (number, stage) in stages.iter().enumerate().filter(|(_, stage)| stage.took > SHORT) {
            // It goes the way of Ctrl-C, except that the commands of the sandbox do not get it.
            if signal == Signal::SIGTERM && !["Unpacking", "Configuring"].contains(&stage.verb.as_str()) {
                continue;
            }
            // The download stage needs something to download.
            std::fs::remove_dir_all(place.cache()).expect("the cache of this test");
            std::fs::create_dir(place.cache()).expect("the cache of this test");
            let mut running = place.build(&recipe, "image", &["--compress", "xz:1"]).start();
            if let Some(before) = number.checked_sub(1).map(|n| &stages[n]) {
                assert!(running.wait_for(&format!("{} ", before.verb)), "the stage {} ends", before.verb);
            }
            std::thread::sleep(stage.took / 2);
            match signal {
                // A terminal sends it to the whole group.
                Signal::SIGINT => running.signal_all(signal),
                _ => running.signal(signal),
            }
            let sent = Instant::now();
            let ended = running.end();
            let what = format!("{signal} in {}", stage.verb);
            // The image is put in place by one rename; what comes after that only tidies up.
            let finished = place.out("image").exists();
            if finished {
                assert!(ended.code == Some(0) || ended.signal == Some(9), "{what}: {}", ended.stderr);
                assert!(place.out("image").join("SHA256SUMS").exists(), "{what}: the image is not whole");
                assert_eq!(image(&place, "image"), whole, "{what}");
                std::fs::remove_dir_all(place.out("image")).expect("a finished image");
            } else if signal == Signal::SIGKILL {
                assert_eq!(ended.signal, Some(9), "{what}: {}", ended.stderr);
            } else {
                assert_eq!(ended.code, Some(130), "{what}: {}", ended.stderr);
                assert!(sent.elapsed() < Duration::from_secs(10), "{what}: it took {:?}", sent.elapsed());
            }
            eprintln!("{what}: {}", if finished { "came too late" } else { "ended" });
            place.assert_nothing_left(&["whole"]);
        }
    }

    // With the cache that the last killed build left, the next one gives what an undisturbed one gives.
    place.build(&recipe, "image", &["--compress", "xz:1"]).run().success();
    assert_eq!(image(&place, "image"), whole);
    place.assert_nothing_left(&["whole", "image"]);
}

#[test]
fn killed_while_replacing_keeps_one_whole_image() {
    let lab = Lab::complete(&[]);
    let place = Place::new();
    let recipe = lab.recipe(&place, &[], "");
    place.build(&recipe, "image", &[]).run().success();
    let sums = std::fs::read(place.out("image").join("SHA256SUMS")).expect("the checksums");
    for delay in [0, 5, 20] {
        let mut running = place.build(&recipe, "image", &[]).start();
        assert!(running.wait_for("Checking "), "it packs");
        std::thread::sleep(Duration::from_millis(delay));
        running.signal(Signal::SIGKILL);
        running.end();
        assert_eq!(std::fs::read(place.out("image").join("SHA256SUMS")).expect("the checksums"), sums);
        let image = std::fs::read(place.out("image").join("rootfs.tar")).expect("the image");
        let listed = String::from_utf8(sums.clone()).expect("text");
        assert!(listed.contains(&sha256(&image)), "the image is the one of the checksums");
        place.assert_nothing_left(&["image"]);
    }
}

#[test]
fn several_builds_share_a_cache_at_once() {
    let lab = Lab::complete(&[]);
    let place = Place::new().with_own_cache();
    let recipe = lab.recipe(&place, &[], "");
    let names = ["one", "two", "three"];
    let running: Vec<_> = names.iter().map(|name| place.build(&recipe, name, &[]).start()).collect();
    for build in running {
        build.end().success();
    }
    let images = names.map(|name| sha256(&std::fs::read(place.out(name).join("rootfs.tar")).expect("the image")));
    assert!(images.iter().all(|image| *image == images[0]), "{images:?}");
    place.assert_nothing_left(&names);
}
