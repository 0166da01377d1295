//! Architectures, in the spelling of everyone who has one.

use anyhow::Result;

use crate::elf::Elf;
use crate::error::{did_you_mean, usage};
use crate::recipe::FamilyKind;

/// One row of the table: the same architecture in every spelling.
#[derive(Debug, PartialEq, Eq)]
pub struct Arch {
    /// Debian (`dpkg-architecture`), and the name mkbase uses itself.
    pub deb: &'static str,
    /// RPM (`basearch`).
    pub rpm: &'static str,
    /// What RPM packages are built for that can be installed there besides `noarch`, the best first.
    pub rpm_packages: &'static [&'static str],
    /// Alpine.
    pub apk: &'static str,
    /// OCI `architecture`.
    pub oci: &'static str,
    /// OCI `variant`, empty where there is none.
    pub oci_variant: &'static str,
    /// Rust `std::env::consts::ARCH`.
    pub rust: &'static str,
    /// `qemu-NAME` of user-mode emulation.
    pub qemu: &'static str,
    /// What else it is called: by the kernel, by container tools.
    pub other: &'static [&'static str],
    /// Its programs.
    pub elf: Elf,
    /// What qemu is to emulate (`QEMU_CPU` of its user-mode programs), empty for its own choice.
    pub qemu_cpu: &'static str,
}

/// Every architecture that mkbase makes images for.
///
/// Sources: `dpkg-architecture -L` and dpkg's `cputable`; dnf's `basearch` map and libsolv's `poolarch.c`; Alpine's
/// `APKBUILD` reference; the OCI image-spec, which takes Go's `GOARCH` and its table of variants; qemu's `qemu-NAME`
/// user-mode programs; the psABI of each architecture, and the kernel's tables of system calls for the number of
/// `exit`.
static ARCHS: &[Arch] = &[
    Arch {
        deb: "amd64",
        rpm: "x86_64",
        rpm_packages: &["x86_64", "i686", "i586", "i486", "i386"],
        apk: "x86_64",
        oci: "amd64",
        oci_variant: "",
        rust: "x86_64",
        qemu: "x86_64",
        other: &["x86-64"],
        elf: Elf {
            bits: 64,
            little_endian: true,
            machine: 62,
            flags: 0,
            // mov $60,%eax; mov $42,%edi; syscall
            exit: &[0xb8, 60, 0, 0, 0, 0xbf, 42, 0, 0, 0, 0x0f, 0x05],
        },
        qemu_cpu: "",
    },
    Arch {
        deb: "arm64",
        rpm: "aarch64",
        rpm_packages: &["aarch64"],
        apk: "aarch64",
        oci: "arm64",
        oci_variant: "v8",
        rust: "aarch64",
        qemu: "aarch64",
        other: &["arm64/v8"],
        elf: Elf {
            bits: 64,
            little_endian: true,
            machine: 183,
            flags: 0,
            // mov x8,#93; mov x0,#42; svc #0
            exit: &[0xa8, 0x0b, 0x80, 0xd2, 0x40, 0x05, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4],
        },
        // All features, as by itself, but a pointer signature of qemu's own: the one of the architecture's manual
        // makes a shell script ten times as slow (qemu, "ARM CPU features").
        qemu_cpu: "max,pauth-impdef=on",
    },
    Arch {
        deb: "armhf",
        rpm: "armhfp",
        rpm_packages: &["armv7hl", "armv6hl"],
        apk: "armv7",
        oci: "arm",
        oci_variant: "v7",
        rust: "arm",
        qemu: "arm",
        other: &["armv7l", "armv7hl", "arm/v7"],
        elf: Elf {
            bits: 32,
            little_endian: true,
            machine: 40,
            flags: 0x0500_0400,
            // mov r7,#1; mov r0,#42; svc #0
            exit: &[0x01, 0x70, 0xa0, 0xe3, 42, 0x00, 0xa0, 0xe3, 0x00, 0x00, 0x00, 0xef],
        },
        qemu_cpu: "",
    },
    Arch {
        deb: "i386",
        rpm: "i386",
        rpm_packages: &["i686", "i586", "i486", "i386"],
        apk: "x86",
        oci: "386",
        oci_variant: "",
        rust: "x86",
        qemu: "i386",
        other: &["i586", "i686"],
        elf: Elf {
            bits: 32,
            little_endian: true,
            machine: 3,
            flags: 0,
            // mov $1,%eax; mov $42,%ebx; int $0x80
            exit: &[0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80],
        },
        qemu_cpu: "",
    },
    Arch {
        deb: "ppc64el",
        rpm: "ppc64le",
        rpm_packages: &["ppc64le"],
        apk: "ppc64le",
        oci: "ppc64le",
        oci_variant: "",
        // Rust has one name for both byte orders: see `host`.
        rust: "powerpc64",
        qemu: "ppc64le",
        other: &["powerpc64le"],
        elf: Elf {
            bits: 64,
            little_endian: true,
            machine: 21,
            flags: 2,
            // li r0,1; li r3,42; sc
            exit: &[1, 0x00, 0x00, 0x38, 42, 0x00, 0x60, 0x38, 0x02, 0x00, 0x00, 0x44],
        },
        qemu_cpu: "",
    },
    Arch {
        deb: "riscv64",
        rpm: "riscv64",
        rpm_packages: &["riscv64"],
        apk: "riscv64",
        oci: "riscv64",
        oci_variant: "",
        rust: "riscv64",
        qemu: "riscv64",
        other: &[],
        elf: Elf {
            bits: 64,
            little_endian: true,
            machine: 243,
            flags: 5,
            // li a7,93; li a0,42; ecall
            exit: &[0x93, 0x08, 0xd0, 0x05, 0x13, 0x05, 0xa0, 0x02, 0x73, 0x00, 0x00, 0x00],
        },
        qemu_cpu: "",
    },
    Arch {
        deb: "s390x",
        rpm: "s390x",
        rpm_packages: &["s390x", "s390"],
        apk: "s390x",
        oci: "s390x",
        oci_variant: "",
        rust: "s390x",
        qemu: "s390x",
        other: &[],
        elf: Elf {
            bits: 64,
            little_endian: false,
            machine: 22,
            flags: 0,
            // lghi %r2,42; svc 1
            exit: &[0xa7, 0x29, 0x00, 42, 0x0a, 1],
        },
        qemu_cpu: "",
    },
];

impl Arch {
    /// Its name in a package family.
    pub fn name(&self, family: FamilyKind) -> &'static str {
        match family {
            FamilyKind::Deb => self.deb,
            FamilyKind::Rpm => self.rpm,
            FamilyKind::Apk => self.apk,
        }
    }

    /// Every spelling that a user may give. Rust's is not among them: its `powerpc64` is big-endian to everyone else.
    fn spellings(&self) -> impl Iterator<Item = &'static str> {
        [self.deb, self.rpm, self.apk, self.oci, self.qemu].into_iter().chain(self.other.iter().copied())
    }
}

/// Every architecture, by name.
pub fn all() -> impl Iterator<Item = &'static Arch> {
    ARCHS.iter()
}

/// The architecture of a name in any spelling; an unknown one is a usage error that names the nearest.
pub fn from_name(name: &str) -> Result<&'static Arch> {
    ARCHS.iter().find(|arch| arch.spellings().any(|spelling| spelling == name)).ok_or_else(|| {
        let hint = did_you_mean(name, ARCHS.iter().flat_map(Arch::spellings));
        let known: Vec<_> = ARCHS.iter().map(|arch| arch.deb).collect();
        usage(format!("unknown architecture '{name}'{hint} (there are {})", known.join(", ")))
    })
}

/// The architecture this program runs on.
pub fn host() -> Result<&'static Arch> {
    host_of(std::env::consts::ARCH, cfg!(target_endian = "little"))
}

fn host_of(rust: &str, little_endian: bool) -> Result<&'static Arch> {
    ARCHS.iter().find(|arch| arch.rust == rust && (little_endian || arch.deb == "s390x")).ok_or_else(|| {
        usage(format!("mkbase has no name for this machine's architecture, {rust}: choose one with --arch"))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn any_spelling_is_understood() {
        for (name, deb) in [
            ("amd64", "amd64"),
            ("x86_64", "amd64"),
            ("aarch64", "arm64"),
            ("armv7", "armhf"),
            ("armhfp", "armhf"),
            ("arm", "armhf"),
            ("386", "i386"),
            ("x86", "i386"),
            ("i686", "i386"),
            ("ppc64le", "ppc64el"),
            ("riscv64", "riscv64"),
            ("s390x", "s390x"),
        ] {
            assert_eq!(from_name(name).expect(name).deb, deb);
        }
    }

    #[test]
    fn no_spelling_means_two_architectures() {
        let mut seen = BTreeMap::new();
        for arch in ARCHS {
            for spelling in arch.spellings() {
                assert_eq!(*seen.entry(spelling).or_insert(arch.deb), arch.deb, "{spelling}");
            }
        }
    }

    #[test]
    fn the_best_rpm_packages_are_its_own() {
        for arch in ARCHS {
            let best = arch.rpm_packages.first().expect(arch.rpm);
            assert_eq!(from_name(best).expect(best), arch);
        }
    }

    #[test]
    fn unknown_ones_name_the_nearest() {
        let error = from_name("amd46").expect_err("it is unknown");
        assert_eq!(crate::error::exit_code(&error), crate::error::Exit::Usage);
        assert!(error.to_string().contains("did you mean 'amd64'?"), "{error}");
        assert!(from_name("powerpc64").is_err());
        assert!(from_name("").is_err());
    }

    #[test]
    fn hosts() {
        for arch in ARCHS {
            assert_eq!(host_of(arch.rust, arch.deb != "s390x").expect(arch.rust), arch);
        }
        assert!(host_of("powerpc64", false).is_err(), "big-endian");
        assert!(host_of("m68k", false).is_err());
        assert_eq!(host().expect("tests run on a known machine").rust, std::env::consts::ARCH);
    }

    #[test]
    fn families_spell_it_their_way() {
        let arch = from_name("armhf").expect("it is known");
        let names = [FamilyKind::Deb, FamilyKind::Rpm, FamilyKind::Apk].map(|family| arch.name(family));
        assert_eq!(names, ["armhf", "armhfp", "armv7"]);
    }
}
