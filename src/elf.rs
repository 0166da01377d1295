//! Programs of each architecture as the kernel tells them apart (elf(5)), and the smallest one that can be run.

/// Where the smallest program is loaded: above `vm.mmap_min_addr`, and on a page border whatever the size of a page.
const ADDRESS: u64 = 0x40_0000;
/// The largest page of any architecture here.
const PAGE: u64 = 0x1_0000;

/// What the header of a program says about the machine it is for.
#[derive(Debug, PartialEq, Eq)]
pub struct Elf {
    /// Size of an address: 32 or 64.
    pub bits: u8,
    /// Whether the lowest byte of a number comes first.
    pub little_endian: bool,
    /// `e_machine`.
    pub machine: u16,
    /// `e_flags`: the ABI, where a machine has several.
    pub flags: u32,
    /// Instructions of `exit(42)`, in the machine's own byte order.
    pub exit: &'static [u8],
}

impl Elf {
    /// The exit code of [`Elf::smallest`].
    pub const EXIT_CODE: i32 = 42;

    /// A whole program that does nothing but end with [`Elf::EXIT_CODE`]. Whether it can be run says whether programs
    /// of the architecture can.
    pub fn smallest(&self) -> Vec<u8> {
        let wide = self.bits == 64;
        // Sizes of the file header, a program header and a section header.
        let (header, segment, section) = if wide { (64, 56, 64) } else { (52, 32, 40) };
        let code = header + segment;
        let size = code + self.exit.len() as u64;
        let mut out = Writer { bytes: Vec::new(), wide, little_endian: self.little_endian };
        // Class, byte order, version, System V ABI, padding.
        out.bytes.extend_from_slice(b"\x7fELF");
        out.bytes.extend([if wide { 2 } else { 1 }, if self.little_endian { 1 } else { 2 }, 1]);
        out.bytes.extend([0; 9]);
        out.half(2); // ET_EXEC
        out.half(self.machine);
        out.word(1);
        out.address(ADDRESS + code);
        out.address(header);
        out.address(0);
        out.word(self.flags);
        for number in [header as u16, segment as u16, 1, section, 0, 0] {
            out.half(number);
        }
        // One segment (PT_LOAD) of the whole file, to be read and executed. Its flags stand elsewhere in 32 bits.
        const LOAD: u32 = 1;
        const READ_AND_EXECUTE: u32 = 5;
        out.word(LOAD);
        if wide {
            out.word(READ_AND_EXECUTE);
        }
        for number in [0, ADDRESS, ADDRESS, size, size] {
            out.address(number);
        }
        if !wide {
            out.word(READ_AND_EXECUTE);
        }
        out.address(PAGE);
        out.bytes.extend_from_slice(self.exit);
        out.bytes
    }
}

/// Writes numbers as the machine has them.
struct Writer {
    bytes: Vec<u8>,
    wide: bool,
    little_endian: bool,
}

impl Writer {
    fn half(&mut self, number: u16) {
        self.bytes.extend(if self.little_endian { number.to_le_bytes() } else { number.to_be_bytes() });
    }

    fn word(&mut self, number: u32) {
        self.bytes.extend(if self.little_endian { number.to_le_bytes() } else { number.to_be_bytes() });
    }

    /// The size of an address. Every number written here fits into 32 bits.
    fn address(&mut self, number: u64) {
        match (self.wide, self.little_endian) {
            (true, true) => self.bytes.extend(number.to_le_bytes()),
            (true, false) => self.bytes.extend(number.to_be_bytes()),
            (false, _) => self.word(number as u32),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;
    use crate::arch;

    #[test]
    fn headers_are_those_of_real_programs() {
        // The first 20 bytes of /bin/true of each architecture, but for the type, and the flags where there are any.
        for (name, start, flags) in [
            ("amd64", "7f454c460201010000000000000000000200 3e00", 0),
            ("arm64", "7f454c460201010000000000000000000200 b700", 0),
            ("armhf", "7f454c460101010000000000000000000200 2800", 0x0500_0400),
            ("i386", "7f454c460101010000000000000000000200 0300", 0),
            ("ppc64el", "7f454c460201010000000000000000000200 1500", 2),
            ("riscv64", "7f454c460201010000000000000000000200 f300", 5),
            ("s390x", "7f454c460202010000000000000000000002 0016", 0),
        ] {
            let elf = &arch::from_name(name).expect(name).elf;
            let program = elf.smallest();
            let hex: String = program[..20].iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hex, start.replace(' ', ""), "{name}");
            assert_eq!(elf.flags, flags, "{name}");
            assert!(program.len() < 256 && program.ends_with(elf.exit), "{name}");
        }
    }

    #[test]
    fn the_smallest_program_runs() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("program");
        let run = |command: &mut Command| command.status().expect("it starts").code();
        for arch in arch::all() {
            std::fs::write(&path, arch.elf.smallest()).expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("own file");
            if arch == arch::host().expect("tests run on a known machine") {
                assert_eq!(run(&mut Command::new(&path)), Some(Elf::EXIT_CODE), "{}", arch.deb);
            }
            let emulator = PathBuf::from(format!("/usr/bin/qemu-{}-static", arch.qemu));
            if emulator.exists() {
                assert_eq!(run(Command::new(&emulator).arg(&path)), Some(Elf::EXIT_CODE), "{}", arch.deb);
            } else {
                eprintln!("skipped: the_smallest_program_runs for {}: no {}", arch.deb, emulator.display());
            }
        }
    }
}
