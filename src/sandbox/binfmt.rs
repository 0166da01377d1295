//! What the kernel was told about programs it cannot run itself: binfmt_misc
//! (`Documentation/admin-guide/binfmt-misc.rst` of the kernel).

use std::path::{Path, PathBuf};

/// Where it is mounted by everyone.
pub const MOUNT: &str = "/proc/sys/fs/binfmt_misc";

/// As much of a program's start is compared (`BINPRM_BUF_SIZE`); shorter files count as filled up with zeros.
const START: usize = 256;

/// What is registered, as far as it can be seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registry {
    /// It is not mounted, or has another form than known.
    Unseen,
    /// Switched off as a whole.
    Off,
    /// The entries.
    Entries(Vec<Entry>),
}

/// An interpreter for programs that begin in a certain way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name of the entry.
    pub name: String,
    /// Whether it is in use.
    pub enabled: bool,
    /// The program that runs the others.
    pub interpreter: PathBuf,
    /// Letters of its flags; `F`: the interpreter was opened when it was registered, so it is found in every root.
    pub flags: String,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Registry {
    /// Reads what is mounted at `folder`. What cannot be read is as good as not there: this only explains what a real
    /// try has shown.
    pub fn read(folder: &Path) -> Registry {
        match std::fs::read_to_string(folder.join("status")) {
            Ok(status) if status.trim_end() == "enabled" => {}
            Ok(_) => return Registry::Off,
            Err(_) => return Registry::Unseen,
        }
        let mut entries: Vec<Entry> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|file| {
                let text = std::fs::read_to_string(file.path()).ok()?;
                Entry::parse(&file.file_name().to_string_lossy(), &text)
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Registry::Entries(entries)
    }

    /// The entry that the kernel uses for a program, or else one that is switched off.
    pub fn find(&self, program: &[u8]) -> Option<&Entry> {
        let Registry::Entries(entries) = self else { return None };
        let matching = || entries.iter().filter(|entry| entry.matches(program));
        matching().find(|entry| entry.enabled).or_else(|| matching().next())
    }
}

impl Entry {
    /// Reads the text of an entry's file. `None` for one that goes by the extension of file names, and for what is no
    /// entry at all.
    fn parse(name: &str, text: &str) -> Option<Entry> {
        let mut lines = text.lines();
        let enabled = match lines.next()? {
            "enabled" => true,
            "disabled" => false,
            _ => return None,
        };
        let mut entry = Entry {
            name: name.to_owned(),
            enabled,
            interpreter: PathBuf::new(),
            flags: String::new(),
            offset: 0,
            magic: Vec::new(),
            mask: Vec::new(),
        };
        for line in lines {
            // `flags:` has a colon, the others have none.
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "interpreter" => entry.interpreter = value.into(),
                "flags:" => entry.flags = value.to_owned(),
                "offset" => entry.offset = value.parse().ok()?,
                "magic" => entry.magic = unhex(value)?,
                "mask" => entry.mask = unhex(value)?,
                _ => {}
            }
        }
        // Without a mask every bit counts.
        entry.mask.resize(entry.magic.len(), 0xff);
        (!entry.magic.is_empty() && entry.offset.checked_add(entry.magic.len())? <= START).then_some(entry)
    }

    /// Whether the interpreter is found whatever the root is.
    pub fn is_fixed(&self) -> bool {
        self.flags.contains('F')
    }

    fn matches(&self, program: &[u8]) -> bool {
        let byte = |i: usize| program.get(self.offset + i).copied().unwrap_or(0);
        self.magic.iter().zip(&self.mask).enumerate().all(|(i, (magic, mask))| (byte(i) ^ magic) & mask == 0)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch;

    /// Entries as kernels show them: of Debian's qemu-user-static, of a container image that registers qemu, without
    /// `F`, switched off, and what is none of an emulator.
    const FILES: &[(&str, &str)] = &[
        (
            "qemu-aarch64",
            "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POF\noffset 0\n\
             magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n",
        ),
        (
            "qemu-arm",
            "disabled\ninterpreter /usr/bin/qemu-arm-static\nflags: OCF\noffset 0\n\
             magic 7f454c4601010100000000000000000002002800\nmask ffffffffffffff00fffffffffffffffffeffffff\n",
        ),
        (
            "qemu-ppc64le",
            "enabled\ninterpreter /usr/bin/qemu-ppc64le\nflags: \noffset 0\n\
             magic 7f454c4602010100000000000000000002001500\nmask fffffffffffffffcfffffffffffffffffeffff00\n",
        ),
        (
            "qemu-s390x",
            "enabled\ninterpreter /usr/bin/qemu-s390x-static\nflags: F\noffset 0\n\
             magic 7f454c4602020100000000000000000000020016\nmask fffffffffffffffcfffffffffffffffffffeffff\n",
        ),
        ("jar", "enabled\ninterpreter /usr/bin/jexec\nflags: \noffset 0\nmagic 504b0304\n"),
        ("python3.11", "enabled\ninterpreter /usr/bin/python3.11\nflags: \noffset 0\nmagic a70d0d0a\n"),
        ("wine", "enabled\ninterpreter /usr/bin/wine\nflags: \nextension .exe\n"),
    ];

    fn mounted(status: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files.iter().chain(&[("status", status), ("register", "")]) {
            std::fs::write(dir.path().join(name), text).expect("a file");
        }
        dir
    }

    #[test]
    fn the_entry_of_an_architecture_is_found() {
        let dir = mounted("enabled\n", FILES);
        let registry = Registry::read(dir.path());
        let Registry::Entries(entries) = &registry else { panic!("{registry:?}") };
        // What goes by extensions is none of ours.
        assert_eq!(entries.len(), 6);
        for (name, expected) in [
            ("arm64", Some(("qemu-aarch64", true, true, "/usr/libexec/qemu-binfmt/aarch64-binfmt-P"))),
            ("armhf", Some(("qemu-arm", false, true, "/usr/bin/qemu-arm-static"))),
            ("ppc64el", Some(("qemu-ppc64le", true, false, "/usr/bin/qemu-ppc64le"))),
            ("s390x", Some(("qemu-s390x", true, true, "/usr/bin/qemu-s390x-static"))),
            ("riscv64", None),
            ("amd64", None),
            ("i386", None),
        ] {
            let found = registry.find(&arch::from_name(name).expect(name).elf.smallest());
            let found =
                found.map(|e| (e.name.as_str(), e.enabled, e.is_fixed(), e.interpreter.to_str().expect("text")));
            assert_eq!(found, expected, "{name}");
        }
        assert_eq!(registry.find(b"PK\x03\x04 and more").map(|e| e.name.as_str()), Some("jar"));
        assert_eq!(registry.find(b"PK"), None);
    }

    #[test]
    fn an_entry_in_use_comes_before_one_that_is_off() {
        let (_, text) = FILES[0];
        let off = text.replace("enabled", "disabled");
        let dir = mounted("enabled\n", &[("a", &off), ("b", text), ("c", &off)]);
        let program = arch::from_name("arm64").expect("known").elf.smallest();
        assert_eq!(Registry::read(dir.path()).find(&program).map(|e| e.name.as_str()), Some("b"));
    }

    #[test]
    fn what_is_not_there_or_off_is_told_apart() {
        let empty = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(Registry::read(empty.path()), Registry::Unseen);
        assert_eq!(Registry::read(Path::new("/nonexistent")), Registry::Unseen);
        assert_eq!(Registry::read(mounted("disabled\n", FILES).path()), Registry::Off);
        assert_eq!(Registry::read(mounted("enabled\n", &[]).path()), Registry::Entries(Vec::new()));
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        for text in [
            "",
            "enabled",
            "on\nmagic 00\n",
            "enabled\nmagic 0\n",
            "enabled\nmagic zz\n",
            "enabled\nmagic é0\n",
            "enabled\nmagic \n",
            "enabled\noffset x\nmagic 00\n",
            "enabled\noffset -1\nmagic 00\n",
            "enabled\noffset 256\nmagic 00\n",
            "enabled\noffset 18446744073709551615\nmagic 00\n",
        ] {
            assert_eq!(Entry::parse("x", text), None, "{text:?}");
        }
    }

    #[test]
    fn offsets_and_masks_count() {
        let entry = Entry::parse("x", "enabled\noffset 2\nmagic a0ff\nmask f00f\n").expect("an entry");
        for (program, expected) in
            [(&[0, 0, 0xa7, 0x0f][..], true), (&[9, 9, 0xaf, 0xff], true), (&[0, 0, 0xb0, 0xff], false), (&[], false)]
        {
            assert_eq!(entry.matches(program), expected, "{program:?}");
        }
        let zeros = Entry::parse("x", "enabled\noffset 0\nmagic 0000\n").expect("an entry");
        assert!(zeros.matches(&[]), "the kernel compares with zeros beyond the end");
    }
}
