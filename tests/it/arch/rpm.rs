//! RPM images for another architecture, whose scriptlets run through an emulator: what the real dnf makes of the same
//! packages there; and packages for an architecture that the image is not of.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use mkbase::arch::{self, Arch};
use mkbase::lock::Lock;

use super::{assert_no_emulator, assert_programs, emulated, in_container};
use crate::rpm_tree::{PACKAGES, assert_tree_of_dnf, assert_verified_by_rpm};
use crate::skip;
use crate::util::mkbase::{Place, test_user};
use crate::util::rpm::{Mini, mini, mini_for};
use crate::util::{is_root, note_skip, now, sha256, tree};

/// The small distribution for the architecture that is emulated.
fn foreign(test: &str) -> Option<(&'static Arch, Mini)> {
    let arch = emulated(test)?;
    match mini_for(arch.rpm) {
        Ok(mini) => Some((arch, mini)),
        Err(why) => {
            note_skip(&format!("{test}: {why}"));
            None
        }
    }
}

fn read_lock(path: &Path) -> Lock {
    Lock::parse(&std::fs::read_to_string(path).expect("the lock"), "a lock").expect("a lock")
}

#[test]
fn rpm_tree_for_arm64_is_that_of_the_real_dnf() {
    const TEST: &str = "rpm_tree_for_arm64_is_that_of_the_real_dnf";
    let Some((_, mini)) = foreign(TEST) else { return };
    if !is_root() {
        skip!("{TEST}: dnf makes a system as root only");
    }
    assert_tree_of_dnf(&mini);
    assert_verified_by_rpm(&mini);
}

#[test]
fn rpm_image_for_arm64_is_built_with_an_emulator() {
    const TEST: &str = "rpm_image_for_arm64_is_built_with_an_emulator";
    /// The machine, for the image's own programs.
    const LOOKS: &str = "[[script]]\nrun = \"{ uname -m; rpm --eval '%{_arch}'; } >/srv/machine\"\n";
    let Some((arch, mini)) = foreign(TEST) else { return };
    let mut places = vec![(Place::new(), "tree")];
    match test_user() {
        Some(user) if is_root() => places.push((Place::new().of_user(user), "host")),
        _ => {
            note_skip(&format!("{TEST}: the second of root and a user"));
            places.push((Place::new(), "host"));
        }
    }
    let mut hashes = Vec::new();
    let include = PACKAGES.join(",");
    for (place, tools) in &places {
        let recipe = mini.recipe(place, LOOKS);
        let build = place.build(&recipe, "image", &["--include", &include, "--tools", tools]);
        let ended = build.arguments(mini.mirrors()).run().success();
        assert!(ended.stderr.contains("Emulating programs for arm64 with /"), "{}", ended.stderr);
        assert!(ended.stdout().contains("docker import --platform linux/arm64/v8 "), "{}", ended.stdout());
        hashes.push(sha256(&std::fs::read(place.out("image").join("rootfs.tar")).expect("the image")));
        place.assert_nothing_left(&["image"]);
    }
    assert_eq!(hashes[0], hashes[1], "root with the tools tree, and a user with the host's dnf");

    let (place, _) = &places[0];
    let out = place.out("image");
    let tar = tree::unpacked(&out.join("rootfs.tar"));
    assert_programs(&tar, arch, 150);
    assert_no_emulator(&tar);
    let text = |path: &str| String::from_utf8(tree::file_in_tar(&tar, path).expect(path)).expect("text");
    assert_eq!(text("srv/machine"), "aarch64\naarch64\n");
    assert!(text("etc/shells").contains("/bin/bash\n"), "%post of bash, in Lua");
    assert!(text("etc/passwd").contains("\nsshd:x:74:74:"), "%pre of openssh-server, in shell");
    let certificates = text("etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem");
    assert!(certificates.contains("BEGIN CERTIFICATE"), "%post of ca-certificates, in shell");
    let loader = tree::file_in_tar(&tar, "etc/ld.so.cache").expect("%post of glibc, which is ldconfig alone");
    assert!(loader.windows(7).any(|part| part == b"aarch64"), "the linker's cache is of the image's libraries");
    let result = |name: &str| std::fs::read_to_string(out.join(name)).expect("a result");
    assert!(result("Dockerfile").contains("docker build --platform linux/arm64/v8 -t mini:1"));
    assert!(result("manifest.json").contains("\"arch\": \"aarch64\""));
    let lock = read_lock(&out.join("mkbase.lock"));
    assert!(lock.arch == "aarch64" && lock.packages.iter().all(|p| ["aarch64", "noarch"].contains(&p.arch.as_str())));
    place.mkbase(["check".as_ref(), out.as_os_str()]).run().success();
    if let Some(said) = in_container(TEST, place, "rpm", "uname -m; rpm -q --qf '%{arch}\\n' bash; rpm -V coreutils") {
        assert_eq!(said, "aarch64\naarch64\n");
    }
}

#[test]
fn packages_for_all_go_on_top_and_the_images_rpm_makes_its_database() {
    const TEST: &str = "packages_for_all_go_on_top_and_the_images_rpm_makes_its_database";
    let Some((arch, mini)) = foreign(TEST) else { return };
    let place = Place::new();
    let agent = mini.folder.join("corp/noarch/Packages/corp-agent-2.0-1.mn1.noarch.rpm");
    place.write("agent.rpm", std::fs::read(agent).expect("a package"));
    let recipe = mini.recipe(&place, "[rpm]\nrebuild_database = true\n");
    let files = ["--set", "packages.files=[\"agent.rpm\"]", "--set", "packages.key=\"RPM-GPG-KEY-corp\""];
    place.build(&recipe, "image", &files).arguments(mini.mirrors()).run().success();
    let tar = tree::unpacked(&place.out("image").join("rootfs.tar"));
    assert_programs(&tar, arch, 100);
    let conf = tree::file_in_tar(&tar, "etc/corp-agent.conf").expect("of the package");
    assert!(conf.ends_with(b"installed=yes\n"), "its %post ran: {}", String::from_utf8_lossy(&conf));
    place.mkbase(["check".as_ref(), place.out("image").as_os_str()]).run().success();
    place.assert_nothing_left(&["image"]);
}

#[test]
fn rpm_package_file_of_another_architecture_is_refused() {
    const TEST: &str = "rpm_package_file_of_another_architecture_is_refused";
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("{TEST}: {why}"),
    };
    let place = Place::new();
    let recipe = mini.recipe(&place, "");
    let name = format!("mini-caps-1.0-1.mn1.{}.rpm", mini.arch);
    let file = mini.folder.join(format!("{}/Packages/{name}", mini.path("BaseOS").trim_start_matches('/')));
    place.write(&name, std::fs::read(file).expect("a package"));
    let other = if mini.arch == "aarch64" { "x86_64" } else { "aarch64" };
    let files = format!("packages.files=[{name:?}]");
    let ended = place.mkbase(["lock".as_ref(), recipe.as_os_str()]).arguments(["--arch", other, "--set", &files]);
    let says = format!("packages.files: {name}: it is for {}, and the image is for {other}", mini.arch);
    ended.arguments(mini.mirrors()).run().fails(2, &[&says]);
    assert!(!place.path().join("mini.lock").exists());
    assert!(mini.server.requests().is_empty(), "it says so before it downloads anything");
}

#[test]
fn packages_for_i686_come_to_x86_64_only_where_asked_for() {
    const TEST: &str = "packages_for_i686_come_to_x86_64_only_where_asked_for";
    let mini = match mini() {
        Ok(mini) if mini.arch == "x86_64" => mini,
        Ok(_) => skip!("{TEST}: x86_64 alone has such packages"),
        Err(why) => skip!("{TEST}: {why}"),
    };
    let place = Place::new().with_own_cache();
    let recipe = mini.recipe(&place, "");
    let lock = |more: &[&str]| {
        let path = place.path().join("new.lock");
        let options = [&["-o", path.to_str().expect("text")], more].concat();
        let lock = place.mkbase(["lock"]).arguments([&recipe]).arguments(mini.mirrors()).arguments(options);
        lock.arguments(["--update"]).run().success();
        let lock = read_lock(&path);
        lock.packages.into_iter().map(|p| format!("{}.{}", p.name, p.arch)).collect::<BTreeSet<_>>()
    };
    let everything = ["--variant", "core", "--include", "bash,mini-hello,mini-caps,tar,/usr/bin/sed,libz*"];
    let before = lock(&everything);
    for repository in ["BaseOS", "updates"] {
        mini.publish_with_i686(repository, now());
    }
    let after = lock(&everything);
    assert_eq!(before, after);
    assert!(after.iter().all(|name| name.ends_with(".x86_64") || name.ends_with(".noarch")), "{after:?}");
    let asked = lock(&["--include", "zlib.i686"]);
    assert!(["zlib.i686", "glibc.i686", "glibc.x86_64"].iter().all(|name| asked.contains(*name)), "{asked:?}");
}

#[test]
fn package_architectures_are_those_of_dnf() {
    const TEST: &str = "package_architectures_are_those_of_dnf";
    const ASKS: &str = "import hawkey, sys\nsack = hawkey.Sack(arch=sys.argv[1], cachedir=sys.argv[2], \
                        make_cache_dir=True)\nprint(*sack.list_arches())";
    let ask = |arch: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let output = Command::new("/usr/bin/python3").args(["-c", ASKS, arch]).arg(folder.path()).output();
        output.ok().filter(|output| output.status.success()).map(|o| String::from_utf8(o.stdout).expect("text"))
    };
    if ask("x86_64").is_none() {
        skip!("{TEST}: no dnf 4 for /usr/bin/python3");
    }
    for arch in arch::all() {
        let expected = ask(arch.rpm_packages[0]).expect("dnf knows it");
        assert_eq!(format!("noarch {}", arch.rpm_packages.join(" ")), expected.trim());
    }
}
