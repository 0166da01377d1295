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

/// Whether programs of an architecture run here, outside any sandbox.
fn runs(arch: &Arch) -> bool {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("program");
    std::fs::write(&path, arch.elf.smallest()).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("own file");
    Command::new(path).status().is_ok_and(|status| status.code() == Some(Elf::EXIT_CODE))
}

/// An architecture whose programs do not run here.
pub fn foreign() -> Option<&'static Arch> {
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

/// The bytes of a file in a tar.
fn content(tar: &std::path::Path, path: &str) -> Vec<u8> {
    let mut archive = tar::Archive::new(std::fs::File::open(tar).expect("the image"));
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("a sound tar");
        if entry.path().expect("a path").strip_prefix(".").is_ok_and(|p| p == std::path::Path::new(path)) {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).expect("a sound tar");
            return bytes;
        }
    }
    panic!("no {path} in {}", tar.display())
}

/// The class, byte order and machine of an ELF file's header.
fn machine(program: &[u8]) -> (u8, u8, u16) {
    assert!(program.starts_with(b"\x7fELF"), "a program");
    let number = [program[18], program[19]];
    let little = program[5] == 1;
    (program[4], program[5], if little { u16::from_le_bytes(number) } else { u16::from_be_bytes(number) })
}

#[test]
fn architecture_that_cannot_run_is_refused_before_any_download() {
    let Some(arch) = foreign() else {
        skip!("architecture_that_cannot_run_is_refused_before_any_download: every architecture runs here");
    };
    let lab = lab();
    for place in [Some(Place::new()), users_place()].into_iter().flatten() {
        let recipe = lab.recipe(&place, &[], "");
        let says = [arch.deb, "/proc/sys/fs/binfmt_misc", "apt-get install qemu-user-static"];
        place.build(&recipe, "image", &["--arch", arch.deb]).run().fails(1, &says);
        assert_eq!(lab.server.requests().len(), 0, "it says so before it downloads anything");
        place.assert_nothing_left(&[]);
    }
}

#[test]
fn checks_that_need_an_emulator_say_so() {
    let Some(arch) = foreign() else {
        skip!("checks_that_need_an_emulator_say_so: every architecture runs here");
    };
    let place = Place::new();
    place.write("tree/var/lib/dpkg/status", "");
    for name in ["bin/sh", "usr/bin/dpkg"] {
        let program = place.write(&format!("tree/{name}"), arch.elf.smallest());
        std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).expect("own file");
    }
    let ended = place.mkbase(["check".as_ref(), place.path().join("tree").as_os_str()]).run().fails(11, &[]);
    let fault = ended.stdout().lines().find(|line| line.starts_with("dpkg/audit: ")).expect("it needs dpkg");
    assert!(fault.contains("another kind of machine") && fault.contains("qemu-user-static"), "{fault}");
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
    let arch = arch::from_name("arm64").expect("known");
    if arch::host().expect("a known machine") == arch || !runs(arch) {
        skip!("{name}: no emulator for arm64 is registered, or none is needed");
    }
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
    let tar = place.out("image").join("rootfs.tar");
    assert_eq!(machine(&content(&tar, "usr/bin/dash")), (2, 1, 183));
    let machine = String::from_utf8(content(&tar, "srv/machine")).expect("text");
    assert!(machine.starts_with("aarch64\narm64\n"), "{machine}");
    let inside = tree::of_tar(&tar);
    assert_eq!(inside.keys().filter(|path| path.contains("qemu")).collect::<Vec<_>>(), Vec::<&String>::new());
    let text = |name: &str| std::fs::read_to_string(place.out("image").join(name)).expect("a result");
    assert!(text("Dockerfile").contains("docker build --platform linux/arm64/v8 -t foreign:"));
    assert!(text("manifest.json").contains("\"arch\": \"arm64\""));
    let lock = mkbase::lock::Lock::parse(&text("mkbase.lock"), "mkbase.lock").expect("the lock");
    assert!(lock.arch == "arm64" && lock.packages.iter().all(|p| ["arm64", "all"].contains(&p.arch.as_str())));
    place.assert_nothing_left(&["image"]);

    if docker::engine_answers() {
        let image = docker::Image::named("arm64");
        // Not `docker import`: engines before 23 take no architecture from its --platform.
        let out = place.out("image");
        docker::run(&["build", "--platform", "linux/arm64/v8", "--tag", &image.0, out.to_str().expect("text")]);
        let about = docker::run(&["inspect", "--format", "{{.Os}}/{{.Architecture}}", &image.0]);
        assert_eq!(about.trim(), "linux/arm64");
        let run = ["run", "--rm", "--network", "none", "--platform", "linux/arm64", &image.0];
        let said =
            docker::run(&[&run[..], &["sh", "-euc", "uname -m; dpkg --audit; dpkg --print-architecture"]].concat());
        assert_eq!(said, "aarch64\narm64\n");
    } else {
        note_skip(&format!("{name}: the run in a container: no docker engine"));
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
    let tar = place.out("image").join("rootfs.tar");
    assert_eq!(machine(&content(&tar, "usr/bin/dash")), (1, 1, 3));
    place.assert_nothing_left(&["image"]);
}
