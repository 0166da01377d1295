//! Images for other architectures: their maintainer scripts need a kernel that runs their programs, itself (i386 on
//! amd64) or through an emulator that the host registered.
//!
//! Whether it does is found out by trying, because nothing else tells for sure: a container may not see what its
//! host registered, and a registered emulator may be out of reach or broken.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use super::binfmt::{MOUNT, Registry};
use super::init::NOT_FOUND;
use super::{Foreign, INSTALL_EMULATOR, Sandbox};
use crate::arch::{self, Arch};
use crate::elf::Elf;
use crate::root::Root;
use crate::ui::Ui;

/// Far longer than any emulator needs to start.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The variable that qemu's user-mode programs take their `-cpu` from.
pub(super) const CPU_VARIABLE: &str = "QEMU_CPU";

/// [`Arch::qemu_cpu`] of the architecture that is emulated.
static CPU: OnceLock<&'static str> = OnceLock::new();

/// The value of `QEMU_CPU` for commands in the sandbox.
pub(super) fn cpu() -> Option<&'static str> {
    CPU.get().copied()
}

/// Fails unless programs of `arch` run in the sandbox, with the reason and what to do. `work` is a folder in which a
/// tree for the trial can be made.
pub fn ensure(arch: &'static Arch, work: &Path, ui: &Ui) -> Result<()> {
    if arch::host().is_ok_and(|host| host == arch) {
        return Ok(());
    }
    let program = arch.elf.smallest();
    let tree = work.join("trial");
    let context = || format!("finding out whether this machine runs programs for {}", arch.deb);
    let mut outcome = try_out(&program, &tree, arch.qemu_cpu).with_context(context)?;
    if outcome == Outcome::Runs {
        if !arch.qemu_cpu.is_empty() {
            CPU.get_or_init(|| arch.qemu_cpu);
        }
    } else if !arch.qemu_cpu.is_empty() {
        // An older emulator may not know what is asked of it.
        outcome = try_out(&program, &tree, "").with_context(context)?;
    }
    let registry = Registry::read(Path::new(MOUNT));
    if outcome != Outcome::Runs {
        return Err(anyhow!(explain(arch, &outcome, &registry)));
    }
    if let Some(entry) = registry.find(&program).filter(|entry| entry.enabled) {
        ui.info("Emulating", format_args!("programs for {} with {}", arch.deb, entry.interpreter.display()));
    }
    Ok(())
}

/// What a trial came to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It did what it should.
    Runs,
    /// The kernel knows no way to run it.
    Foreign,
    /// The kernel found an interpreter for it that is not in the tree.
    Unreachable,
    /// It did something else; what, and what was said.
    Fails(String),
}

/// Runs the program alone in a tree.
fn try_out(program: &[u8], tree: &Path, cpu: &str) -> Result<Outcome> {
    const NAME: &str = "program";
    std::fs::create_dir(tree).with_context(|| format!("making {}", tree.display()))?;
    let root = Root::open(tree)?;
    root.write(NAME, program, 0o755)?;
    let mut sandbox = Sandbox::new(&root, format!("/{NAME}")).time_limit(TIME_LIMIT);
    if !cpu.is_empty() {
        sandbox = sandbox.env(CPU_VARIABLE, cpu);
    }
    let outcome = match sandbox.output() {
        Ok(output) if output.code == Elf::EXIT_CODE => Outcome::Runs,
        Ok(output) if output.code == NOT_FOUND => Outcome::Unreachable,
        Ok(output) => Outcome::Fails(format!("exit code {}{}", output.code, super::said(&output))),
        Err(error) if error.chain().any(|cause| cause.is::<Foreign>()) => Outcome::Foreign,
        Err(error) => return Err(error),
    };
    std::fs::remove_dir_all(tree).with_context(|| format!("removing {}", tree.display()))?;
    Ok(outcome)
}

/// Why a trial failed, and what to do.
fn explain(arch: &Arch, outcome: &Outcome, registry: &Registry) -> String {
    let (why, remedy) = match (outcome, registry.find(&arch.elf.smallest())) {
        (_, Some(entry)) if !entry.enabled => (
            format!("their emulator is switched off in {MOUNT}"),
            format!("as root run: echo 1 > {MOUNT}/{}", entry.name),
        ),
        (Outcome::Unreachable, Some(entry)) if !entry.is_fixed() => (
            format!(
                "their emulator {} is not to be found inside an image, because {MOUNT}/{} lacks the flag F",
                entry.interpreter.display(),
                entry.name
            ),
            "register it with that flag, as Debian's package qemu-user-static does".to_owned(),
        ),
        (Outcome::Unreachable, Some(entry)) => (
            format!("the libraries of their emulator {} are not inside an image", entry.interpreter.display()),
            "take one that is statically linked, as that of Debian's package qemu-user-static".to_owned(),
        ),
        (Outcome::Unreachable, None) => (
            "the emulator that is registered for them is not to be found inside an image".to_owned(),
            "register a statically linked one with the flag F, for a container on its host".to_owned(),
        ),
        (Outcome::Fails(how), entry) => {
            let name = entry.map(|entry| format!(" {}", entry.interpreter.display())).unwrap_or_default();
            (format!("their emulator{name} failed with {how}"), "install a newer one".to_owned())
        }
        (Outcome::Runs | Outcome::Foreign, _) => match registry {
            Registry::Off => {
                (format!("every emulator is switched off in {MOUNT}"), format!("as root run: echo 1 > {MOUNT}/status"))
            }
            Registry::Unseen => (
                format!("no emulator is registered for them ({MOUNT} is not mounted here)"),
                INSTALL_EMULATOR.to_owned(),
            ),
            Registry::Entries(_) => {
                (format!("no emulator is registered for them in {MOUNT}"), INSTALL_EMULATOR.to_owned())
            }
        },
    };
    format!("this machine cannot run programs for {}, and so no scripts of its packages: {why}; {remedy}", arch.deb)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(text: &str) -> Registry {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let magic = "offset 0\nmagic 7f454c460201010000000000000000000200b700\n";
        std::fs::write(dir.path().join("status"), "enabled\n").expect("a file");
        std::fs::write(dir.path().join("qemu-aarch64"), format!("{text}\n{magic}")).expect("a file");
        Registry::read(dir.path())
    }

    #[test]
    fn the_reason_and_the_remedy_are_named() {
        let ready = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF";
        let fails = |how: &str| Outcome::Fails(how.into());
        for (outcome, registry, parts) in [
            (Outcome::Foreign, Registry::Unseen, ["is not mounted here", "apt-get install qemu-user-static"]),
            (Outcome::Foreign, Registry::Entries(Vec::new()), ["no emulator is registered", "apt-get install"]),
            (
                Outcome::Foreign,
                Registry::Off,
                ["every emulator is switched off", "echo 1 > /proc/sys/fs/binfmt_misc/status"],
            ),
            (
                Outcome::Foreign,
                registry("disabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: F"),
                ["switched off", "echo 1 > /proc/sys/fs/binfmt_misc/qemu-aarch64"],
            ),
            (
                Outcome::Unreachable,
                registry("enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OC"),
                ["/usr/bin/qemu-aarch64-static", "lacks the flag F"],
            ),
            (Outcome::Unreachable, registry(ready), ["/usr/bin/qemu-aarch64-static", "statically linked"]),
            (Outcome::Unreachable, Registry::Unseen, ["not to be found inside", "on its host"]),
            (
                fails("exit code 139"),
                registry(ready),
                ["/usr/bin/qemu-aarch64-static failed with exit code 139", "newer"],
            ),
            (fails("exit code 1"), Registry::Unseen, ["their emulator failed with exit code 1", "newer"]),
        ] {
            let text = explain(arch::from_name("arm64").expect("known"), &outcome, &registry);
            assert!(text.starts_with("this machine cannot run programs for arm64"), "{text}");
            for part in parts {
                assert!(text.contains(part), "{part:?} in {text}");
            }
        }
    }

    #[test]
    fn the_host_needs_no_trial() {
        let host = arch::host().expect("tests run on a known machine");
        let ui = Ui::new(crate::ui::Level::Quiet);
        ensure(host, Path::new("/nonexistent"), &ui).expect("its own programs run");
    }
}
