//! Maintainer scripts that fail, hang, leave a daemon, or look at the host.

use std::time::Duration;

use super::refused;
use crate::util::deb::Package;
use crate::util::lab::Lab;
use crate::util::mkbase::{Place, processes_named};
use crate::util::tree;

/// A daemon's argument that no other process on the host has.
const DAEMON: &str = "86399";

#[test]
fn maintainer_script_that_fails() {
    for (script, said) in [("preinst", "preinst"), ("postinst", "post-installation script")] {
        let place = Place::new();
        let package = Package::new("lab-fails").script(script, "echo 'no luck today' >&2\nexit 7").build();
        let lab = Lab::complete(&[package]);
        let recipe = lab.recipe(&place, &["lab-fails"], "");
        refused(&place, &recipe, &["lab-fails", said, "no luck today"]);
    }
}

#[test]
fn maintainer_script_that_hangs() {
    let place = Place::new();
    let package = Package::new("lab-hangs").script("postinst", &format!("sleep {DAEMON}1")).build();
    let lab = Lab::complete(&[package]);
    let recipe = lab.recipe(&place, &["lab-hangs"], "");
    let ended = place.build(&recipe, "image", &["--time-limit", "10"]).limit(Duration::from_secs(120)).run();
    ended.fails(1, &["lab-hangs", "10 s"]);
    place.assert_nothing_left(&[]);
    assert!(processes_named(&format!("{DAEMON}1")).is_empty(), "the hanging script is gone");
}

#[test]
fn maintainer_script_that_leaves_a_daemon() {
    let place = Place::new();
    let body = format!("setsid sleep {DAEMON}2 >/dev/null 2>&1 </dev/null &\nsleep {DAEMON}2 &");
    let lab = Lab::complete(&[Package::new("lab-daemon").script("postinst", &body).build()]);
    let recipe = lab.recipe(&place, &["lab-daemon"], "");
    place.build(&recipe, "image", &[]).limit(Duration::from_secs(300)).run().success();
    place.assert_nothing_left(&["image"]);
    assert!(processes_named(&format!("{DAEMON}2")).is_empty(), "the daemons are gone");
}

#[test]
fn maintainer_script_that_writes_to_devices() {
    let place = Place::new();
    let body = "test -c /dev/null\necho gone >/dev/null\necho gone 2>/dev/null >&2\n\
                test -c /dev/null\ntest -z \"$(cat /dev/null)\"\nhead -c 4 /dev/urandom >/dev/null\n\
                test \"$(head -c 4 /dev/zero | wc -c)\" = 4\necho shared >/dev/shm/x";
    let lab = Lab::complete(&[Package::new("lab-null").script("postinst", body).build()]);
    let recipe = lab.recipe(&place, &["lab-null"], "");
    place.build(&recipe, "image", &[]).run().success();
    let image = tree::of_tar(&place.out("image").join("rootfs.tar"));
    let inside: Vec<_> = image.keys().filter(|path| path.starts_with("dev/")).collect();
    assert!(inside.is_empty(), "/dev is empty in the image: {inside:?}");
    place.assert_nothing_left(&["image"]);
}

#[test]
fn maintainer_script_sees_nothing_of_the_host() {
    let place = Place::new();
    let body = "env | sort >/usr/share/lab-env\nhostname >/usr/share/lab-host\ncat </dev/stdin >/usr/share/lab-in\n\
                ls /sys/class/net >/usr/share/lab-net 2>/dev/null || :\n\
                if touch /sys/kernel/x 2>/dev/null; then exit 9; fi";
    let lab = Lab::complete(&[Package::new("lab-looks").script("postinst", body).build()]);
    let recipe = lab.recipe(&place, &["lab-looks"], "");
    let build = place.build(&recipe, "image", &[]).env("LAB_SECRET", "s3cret-word").env("LC_ALL", "de_DE.UTF-8");
    build.env("http_proxy", "").run().success();
    let tar = tree::unpacked(&place.out("image").join("rootfs.tar"));
    let file = |name: &str| {
        String::from_utf8(tree::file_in_tar(&tar, &format!("usr/share/{name}")).expect("written by the script"))
            .expect("text")
    };
    let env = file("lab-env");
    assert!(!env.contains("s3cret-word") && !env.contains("de_DE"), "{env}");
    assert!(env.contains("DEBIAN_FRONTEND=noninteractive\n") && env.contains("TZ=UTC\n"), "{env}");
    assert_eq!(file("lab-host").trim(), "localhost");
    assert_eq!(file("lab-in"), "", "no standard input");
    assert!(file("lab-net").lines().all(|l| l == "lo"), "no network: {}", file("lab-net"));
}
