//! Odd hosts: what they are like must not show in the image.

use crate::skip;
use crate::util::deb::Package;
use crate::util::lab::Lab;
use crate::util::mkbase::Place;
use crate::util::{is_root, sha256, tree};

fn image(place: &Place, name: &str) -> String {
    sha256(&std::fs::read(place.out(name).join("rootfs.tar")).expect("the image"))
}

/// Packages whose scripts make files and folders with whatever modes their umask gives.
fn lab() -> Lab {
    let body = "mkdir -p /srv/lab/deep\necho x >/srv/lab/deep/file\nmkfifo /srv/lab/pipe";
    Lab::complete(&[Package::new("lab-makes").script("postinst", body).build()])
}

#[test]
fn umask_does_not_show() {
    let place = Place::new();
    let lab = lab();
    let recipe = lab.recipe(&place, &["lab-makes"], "");
    place.build(&recipe, "usual", &[]).umask("022").run().success();
    for mask in ["000", "027", "077", "0777"] {
        if mask == "0777" && !is_root() {
            // An ordinary user cannot even enter the folders that it makes then; nothing is promised.
            continue;
        }
        place.build(&recipe, "image", &[]).umask(mask).run().success();
        assert_eq!(image(&place, "image"), image(&place, "usual"), "umask {mask}");
    }
    let inside = tree::of_tar(&place.out("usual").join("rootfs.tar"));
    assert_eq!(inside["srv/lab/deep"].mode, 0o755);
    assert_eq!(inside["srv/lab/deep/file"].mode, 0o644);
    place.assert_nothing_left(&["usual", "image"]);
}

#[test]
fn output_can_be_read_under_the_usual_umask() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let lab = lab();
    let recipe = lab.recipe(&place, &["lab-makes"], "");
    place.build(&recipe, "image", &[]).umask("022").run().success();
    let mode = |path: std::path::PathBuf| std::fs::metadata(path).expect("a result").permissions().mode() & 0o777;
    assert_eq!(mode(place.out("image")), 0o755, "docker reads the folder as another user");
    for name in ["rootfs.tar", "Dockerfile", ".dockerignore", "mkbase.lock", "manifest.json", "SHA256SUMS"] {
        assert_eq!(mode(place.out("image").join(name)), 0o644, "{name}");
    }
}

#[test]
fn odd_environment_does_not_show() {
    let place = Place::new();
    let lab = lab();
    let recipe = lab.recipe(&place, &["lab-makes"], "");
    place.build(&recipe, "usual", &[]).run().success();
    let odd = place
        .build(&recipe, "image", &[])
        .env("LANG", "tr_TR.UTF-8")
        .env("LC_ALL", "tr_TR.UTF-8")
        .env("TZ", "Pacific/Kiritimati")
        .env("HOME", "/nonexistent")
        .env("POSIXLY_CORRECT", "1")
        .env("DPKG_ROOT", "/nonexistent")
        .env("DPKG_ADMINDIR", "/nonexistent")
        .env("LD_PRELOAD", "")
        .env("SHELL", "/bin/false")
        .env("PATH", "/usr/bin:/bin");
    odd.run().success();
    assert_eq!(image(&place, "image"), image(&place, "usual"));
}

#[test]
fn no_resolver_on_the_host() {
    if !is_root() {
        skip!("no_resolver_on_the_host: needs root to hide /etc/resolv.conf");
    }
    let place = Place::new();
    let lab = lab();
    let recipe = lab.recipe(&place, &["lab-makes"], "");
    place.build(&recipe, "usual", &[]).run().success();
    let layer = place.path().join("layer");
    let script = "mount -t tmpfs tmpfs \"$LAYER\" && mkdir \"$LAYER/up\" \"$LAYER/work\" || exit 99\n\
                  mount -t overlay -o lowerdir=/etc,upperdir=\"$LAYER/up\",workdir=\"$LAYER/work\" overlay /etc || exit 99\n\
                  umount -q /etc/resolv.conf\nrm -f /etc/resolv.conf /etc/hostname /etc/hosts\n\
                  test ! -e /etc/resolv.conf || exit 99\nexec \"$@\"";
    std::fs::create_dir(&layer).expect("a folder");
    place
        .build(&recipe, "image", &[])
        .env("LAYER", &layer)
        .through(["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .run()
        .success();
    assert_eq!(image(&place, "image"), image(&place, "usual"));
    place.assert_nothing_left(&["usual", "image"]);
}

#[test]
fn nothing_of_the_host_in_the_image() {
    let place = Place::new();
    let lab = lab();
    let recipe = lab.recipe(&place, &["lab-makes"], "");
    place.build(&recipe, "image", &[]).run().success();
    let tar = tree::unpacked(&place.out("image").join("rootfs.tar"));
    let host = nix::unistd::gethostname().expect("a host name").to_string_lossy().into_owned();
    let folder = place.path().to_str().expect("text").to_string();
    for word in [folder.as_str(), &lab.server.url(), host.as_str()] {
        // Short host names are words that files hold anyway.
        if word.len() < 8 {
            continue;
        }
        let found = tar.windows(word.len()).any(|part| part == word.as_bytes());
        // The recipe's own address is what the image's sources are left with.
        assert!(!found || word.starts_with("http"), "{word} is in the image");
    }
}

#[test]
fn temporary_folder_on_another_file_system() {
    if !is_root() {
        skip!("temporary_folder_on_another_file_system: needs root to mount one");
    }
    let place = Place::new();
    let lab = lab();
    let recipe = lab.recipe(&place, &["lab-makes"], "");
    place.build(&recipe, "usual", &[]).run().success();
    let ended = on_tmp(&place, &recipe, "mode=1777,size=1g").success();
    assert_eq!(ended.stdout(), "", "nothing is left in it");
    assert_eq!(image(&place, "image"), image(&place, "usual"));
    place.assert_nothing_left(&["usual", "image"]);
}

/// Builds with `TMPDIR` on a file system of its own; standard output holds what is left on it.
fn on_tmp(place: &Place, recipe: &std::path::Path, options: &str) -> crate::util::mkbase::Ended {
    let script = format!(
        "mount -t tmpfs -o {options} tmpfs \"$TMPDIR\" || exit 99\n\"$@\" >/dev/null\ncode=$?\n\
         find \"$TMPDIR\" -mindepth 1\nexit $code"
    );
    place
        .build(recipe, "image", &[])
        .through(["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
        .run()
}

#[test]
fn temporary_folder_without_programs_or_devices() {
    if !is_root() {
        skip!("temporary_folder_without_programs_or_devices: needs root to mount one");
    }
    let place = Place::new();
    let lab = lab();
    let recipe = lab.recipe(&place, &["lab-makes"], "");
    for options in ["noexec", "nodev,noexec", "nosuid,nodev,noexec"] {
        let ended = on_tmp(&place, &recipe, &format!("mode=1777,size=1g,{options}"));
        let ended = ended.fails(1, &["noexec", place.tmp().to_str().expect("text"), "TMPDIR"]);
        assert_eq!(ended.stdout(), "", "nothing is left in it");
    }
    // Devices come from the sandbox's own file system, so that nodev alone is no obstacle.
    on_tmp(&place, &recipe, "mode=1777,size=1g,nodev").success();
    place.assert_nothing_left(&["image"]);
}

#[test]
fn folders_with_odd_names() {
    let place = Place::new();
    let lab = lab();
    let recipe = lab.recipe(&place, &["lab-makes"], "");
    place.build(&recipe, "usual", &[]).run().success();
    let odd = "tmp/a b'c\"d$e\u{e4}\\f:g,h;i";
    std::fs::create_dir(place.path().join(odd)).expect("a folder");
    place.build(&recipe, odd, &[]).env("TMPDIR", place.path().join(odd)).run().success();
    let made = std::fs::read(place.out(odd).join("rootfs.tar")).expect("the image");
    assert_eq!(sha256(&made), image(&place, "usual"));
    let left: Vec<_> = std::fs::read_dir(place.path().join(odd)).expect("TMPDIR").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn temporary_folder_that_is_not_there() {
    let place = Place::new();
    let lab = lab();
    let recipe = lab.recipe(&place, &["lab-makes"], "");
    let gone = place.path().join("gone");
    place.build(&recipe, "image", &[]).env("TMPDIR", &gone).run().fails(1, &[gone.to_str().expect("text")]);
    place.assert_nothing_left(&[]);
}
