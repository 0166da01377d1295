//! Images for other architectures: through an emulator, by the kernel alone, and a clear word where neither can.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use mkbase::arch::{self, Arch};
use mkbase::elf::Elf;

use crate::skip;
use crate::util::deb::Package;
use crate::util::lab::Lab;
use crate::util::mkbase::{Place, test_user};
use crate::util::{has_program, is_root, note_skip, tree};

use super::docker;

mod apk;
mod rpm;

/// Whether programs of an architecture run here, outside any sandbox.
fn runs(arch: &Arch) -> bool {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("program");
    std::fs::write(&path, arch.elf.smallest()).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("own file");
    Command::new(path).status().is_ok_and(|status| status.code() == Some(Elf::EXIT_CODE))
}

/// An architecture whose programs do not run here.
fn foreign() -> Option<&'static Arch> {
    // Last those that somebody may be registering meanwhile.
    ["s390x", "ppc64el", "riscv64", "armhf", "arm64"]
        .into_iter()
        .map(|name| arch::from_name(name).expect("known"))
        .find(|arch| !runs(arch))
}

fn lab() -> Lab {
    Lab::new(&[Package::new("lab-base").field("Essential", "yes").build()])
}

/// As an ordinary user, root's tests too; `None` where there is none.
fn users_place() -> Option<Place> {
    if is_root() { Some(Place::new().of_user(test_user()?)) } else { Some(Place::new()) }
}

/// The architecture whose images the tests build with an emulator, where one is registered.
fn emulated(test: &str) -> Option<&'static Arch> {
    let arch = arch::from_name("arm64").expect("known");
    if arch::host().expect("a known machine") == arch || !runs(arch) {
        note_skip(&format!("{test}: no emulator for arm64 is registered, or none is needed"));
        return None;
    }
    Some(arch)
}

/// Asserts that all programs and libraries of an image are of an architecture, and that there are so many.
#[track_caller]
fn assert_programs(tar: &[u8], arch: &Arch, at_least: usize) {
    let mut archive = tar::Archive::new(tar);
    let mut programs = 0;
    for entry in archive.entries().expect("a tar") {
        let entry = entry.expect("a sound tar");
        let path = entry.path().expect("a path").into_owned();
        let mut start = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(entry, 20), &mut start).expect("a sound tar");
        if start.starts_with(b"\x7fELF") {
            assert_eq!(start[4..6], arch.elf.smallest()[4..6], "class and byte order of {}", path.display());
            assert_eq!(start[18..], arch.elf.smallest()[18..20], "machine of {}", path.display());
            programs += 1;
        }
    }
    assert!(programs >= at_least, "only {programs} programs and libraries");
}

/// Asserts that nothing in an image has the name of the emulator.
#[track_caller]
fn assert_no_emulator(tar: &[u8]) {
    let inside = tree::of_tar_bytes(tar);
    assert_eq!(inside.keys().filter(|path| path.contains("qemu")).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// What a command says in a container of the image for arm64 in a place; none where no engine is.
fn in_container(test: &str, place: &Place, name: &str, script: &str) -> Option<String> {
    if !docker::engine_answers() {
        note_skip(&format!("{test}: the run in a container: no docker engine"));
        return None;
    }
    let image = docker::Image::named(&format!("arm64-{name}"));
    // Not `docker import`: engines before 23 take no architecture from its --platform.
    let out = place.out("image");
    docker::run(&["build", "--platform", "linux/arm64/v8", "--tag", &image.0, out.to_str().expect("text")]);
    let about = docker::run(&["inspect", "--format", "{{.Os}}/{{.Architecture}}", &image.0]);
    assert_eq!(about.trim(), "linux/arm64");
    let run = ["run", "--rm", "--network", "none", "--platform", "linux/arm64", &image.0];
    Some(docker::run(&[&run[..], &["sh", "-euc", script]].concat()))
}

#[test]
fn architecture_that_cannot_run_is_refused_before_any_download() {
    let Some(arch) = foreign() else {
        skip!("architecture_that_cannot_run_is_refused_before_any_download: every architecture runs here");
    };
    let lab = lab();
    for place in [Some(Place::new()), users_place()].into_iter().flatten() {
        let other = |family: &str| {
            let url = lab.server.url();
            let text = format!(
                "name = \"lab\"\nfamily = \"{family}\"\nrelease = \"1\"\nreleases = [\"1\"]\n\n[[repository]]\n\
                 name = \"main\"\nurl = \"{url}/{family}\"\ntrusted = true\n\n[packages]\ninclude = [\"a\"]\n"
            );
            place.write(&format!("{family}.toml"), text)
        };
        for recipe in [lab.recipe(&place, &[], ""), other("apk"), other("rpm")] {
            let says = [arch.deb, "/proc/sys/fs/binfmt_misc", "apt-get install qemu-user-static"];
            place.build(&recipe, "image", &["--arch", arch.deb]).run().fails(1, &says);
            assert_eq!(lab.server.requests().len(), 0, "it says so before it downloads anything");
            place.assert_nothing_left(&[]);
        }
    }
}

#[test]
fn checks_that_need_an_emulator_say_so() {
    let Some(arch) = foreign() else {
        skip!("checks_that_need_an_emulator_say_so: every architecture runs here");
    };
    let place = Place::new();
    let check = |tree: &str, database: &str, program: &str| {
        place.write(&format!("{tree}/{database}"), "");
        for name in ["bin/sh", program] {
            let program = place.write(&format!("{tree}/{name}"), arch.elf.smallest());
            std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).expect("own file");
        }
        place.mkbase(["check".as_ref(), place.path().join(tree).as_os_str()]).run()
    };
    let ended = check("deb", "var/lib/dpkg/status", "usr/bin/dpkg").fails(11, &[]);
    let fault = ended.stdout().lines().find(|line| line.starts_with("dpkg/audit: ")).expect("it needs dpkg");
    assert!(fault.contains("another kind of machine") && fault.contains("qemu-user-static"), "{fault}");
    // A database of SUSE, which the image's own rpm has to read.
    let says = ["reading /usr/lib/sysimage/rpm/Packages.db", "another kind of machine", "qemu-user-static"];
    check("rpm", "usr/lib/sysimage/rpm/Packages.db", "usr/bin/rpmdb").fails(1, &says);
}

/// Runs the rest of the command line with a registry of its own, which holds the entry of the first argument. Since
/// Linux 6.7 each user namespace may have one.
const OWN_REGISTRY: &str = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 99\n\
                            [ -z \"$1\" ] || printf '%s\\n' \"$1\" >/proc/sys/fs/binfmt_misc/register || exit 98\n\
                            eval \"$2\"; shift 2; exec \"$@\"";

fn own_registry<'a>(entry: &'a str, then: &'a str) -> [&'a str; 11] {
    ["unshare", "--user", "--map-root-user", "--map-auto", "--mount", "sh", "-c", OWN_REGISTRY, "sh", entry, then]
}

#[test]
fn unusable_emulators_are_explained() {
    let name = "unusable_emulators_are_explained";
    let Some(place) = users_place() else { skip!("{name}: no MKBASE_TEST_USER") };
    let trial = has_program("unshare").then(|| place.mkbase(["--version"]).through(own_registry("", "")).run());
    if trial.is_none_or(|ended| ended.code != Some(0)) {
        skip!("{name}: no registry of its own for a user namespace (Linux 6.7), or no unshare that maps ids");
    }
    let arch = arch::from_name(if cfg!(target_arch = "aarch64") { "s390x" } else { "arm64" }).expect("known");
    let magic: String = arch.elf.smallest()[..20].iter().map(|b| format!("\\x{b:02x}")).collect();
    let entry = |interpreter: &str, flags: &str| format!(":lab:M::{magic}::{interpreter}:{flags}");
    let lab = lab();
    let recipe = lab.recipe(&place, &[], "");
    let off = "echo 0 >/proc/sys/fs/binfmt_misc";
    let mut cases = vec![
        (String::new(), String::new(), ["no emulator is registered", "apt-get install qemu-user-static"]),
        (entry("/bin/sh", ""), String::new(), ["/bin/sh is not to be found inside", "flag F"]),
        (entry("/bin/sh", "F"), String::new(), ["libraries of their emulator /bin/sh", "statically linked"]),
        (entry("/bin/sh", "F"), format!("{off}/lab"), ["switched off", "echo 1 > /proc/sys/fs/binfmt_misc/lab"]),
        (entry("/bin/sh", "F"), format!("{off}/status"), ["switched off", "echo 1 > /proc/sys/fs/binfmt_misc/status"]),
    ];
    // The emulator of a third architecture refuses the program.
    let wrong = "/usr/bin/qemu-riscv64-static";
    if std::path::Path::new(wrong).exists() {
        cases.push((entry(wrong, "F"), String::new(), ["their emulator /usr/bin/qemu-riscv64-static failed", "newer"]));
    }
    for (entry, then, says) in cases {
        let build = place.build(&recipe, "image", &["--arch", arch.deb]);
        build.through(own_registry(&entry, &then)).run().fails(1, &says);
    }
    assert_eq!(lab.server.requests().len(), 0);
    place.assert_nothing_left(&[]);
}

#[test]
fn arm64_image_is_built_with_an_emulator() {
    let name = "arm64_image_is_built_with_an_emulator";
    let Some(arch) = emulated(name) else { return };
    let place = Place::new();
    let recipe = place.write(
        "foreign.toml",
        "extends = \"debian\"\nname = \"foreign\"\n[[script]]\n\
         run = \"{ uname -m; dpkg --print-architecture; env | grep -i qemu || :; } >/srv/machine\"\n",
    );
    let options = ["--arch", "aarch64", "--variant", "essential"];
    let ended = place.build(&recipe, "image", &options).run().success();
    assert!(ended.stderr.contains("Emulating programs for arm64 with /"), "{}", ended.stderr);
    assert!(ended.stdout().contains("docker import --platform linux/arm64/v8 "), "{}", ended.stdout());
    let tar = tree::unpacked(&place.out("image").join("rootfs.tar"));
    assert_programs(&tar, arch, 200);
    let machine = tree::file_in_tar(&tar, "srv/machine").expect("written by the script");
    assert!(machine.starts_with(b"aarch64\narm64\n"), "{}", String::from_utf8_lossy(&machine));
    assert_no_emulator(&tar);
    let text = |name: &str| std::fs::read_to_string(place.out("image").join(name)).expect("a result");
    assert!(text("Dockerfile").contains("docker build --platform linux/arm64/v8 -t foreign:"));
    assert!(text("manifest.json").contains("\"arch\": \"arm64\""));
    let lock = mkbase::lock::Lock::parse(&text("mkbase.lock"), "mkbase.lock").expect("the lock");
    assert!(lock.arch == "arm64" && lock.packages.iter().all(|p| ["arm64", "all"].contains(&p.arch.as_str())));
    place.assert_nothing_left(&["image"]);

    if let Some(said) = in_container(name, &place, "deb", "uname -m; dpkg --audit; dpkg --print-architecture") {
        assert_eq!(said, "aarch64\narm64\n");
    }

    let Some(place) = users_place() else { skip!("{name}: for an ordinary user: no MKBASE_TEST_USER") };
    let lab = lab();
    // It goes on to what the repository offers, which is nothing for arm64.
    let ended = place.build(lab.recipe(&place, &[], ""), "image", &["--arch", "arm64"]).run();
    assert_ne!(ended.code, Some(0));
    assert!(
        ended.stderr.contains("Emulating programs for arm64") && !lab.server.requests().is_empty(),
        "{}",
        ended.stderr
    );
}

#[test]
fn i386_image_needs_no_emulator() {
    let arch = arch::from_name("i386").expect("known");
    if !cfg!(target_arch = "x86_64") || !runs(arch) {
        skip!("i386_image_needs_no_emulator: this kernel does not run programs for i386");
    }
    let place = Place::new();
    // From one repository: this is not about what is newest.
    let one = ["--set", "repository.security.enabled=false", "--set", "repository.updates.enabled=false"];
    let options = [&["--arch", "386", "--variant", "essential"][..], &one].concat();
    place.build("debian:trixie", "image", &options).run().success();
    assert_programs(&tree::unpacked(&place.out("image").join("rootfs.tar")), arch, 200);
    place.assert_nothing_left(&["image"]);
}
