//! Which dnf there is, and how it is driven.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::Tools;
use crate::root::Root;

/// What dnf 4 is called: beside dnf 5, by itself, and where it took the place of yum (EL 8 and later).
const DNF4: [&str; 3] = ["dnf-3", "dnf", "yum"];
/// What dnf 5 is called: of Fedora 41 and later, where `dnf` and `yum` are links to it.
const DNF5: [&str; 3] = ["dnf5", "dnf", "yum"];
/// What every program of dnf 4 loads, and that of yum 3 does not.
const LOADED: &[u8] = b"dnf.cli";
/// What programs for Linux begin with, elf(5).
const ELF: &[u8] = b"\x7fELF";
/// Bytes of a program that are looked at: that of dnf 4 is shorter, of others the beginning tells enough.
const HEAD: u64 = 8 << 10;
/// What yum 3 (EL 7 and earlier) is called.
const YUM: &str = "yum";
/// The Python that the interface of dnf 5 is for.
const PYTHON: &str = "python3";

/// A generation of dnf: each has a Python interface of its own. The commands are not driven: that of dnf 4 tells
/// neither the checksums of what it chose nor which scriptlet failed, and that of dnf 5 (`--store`, `replay`,
/// `repoquery`) does not do so either: there is no query for checksums, and failures are lines for people, other ones
/// in each release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// dnf 4, written in Python: its modules `dnf` and `hawkey`.
    Dnf4,
    /// dnf 5, written in C++: the module `libdnf5`, which is packaged apart from it.
    Dnf5,
}

/// A dnf, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dnf {
    /// Where it comes from.
    pub tools: Tools,
    /// How it is driven.
    pub interface: Interface,
    /// The Python that has its interface.
    pub python: PathBuf,
}

impl Dnf {
    /// That of the tools tree.
    pub(super) fn of_tree(path: PathBuf) -> Result<Dnf> {
        let root = Root::open(&path)?;
        let Ok((interface, python)) = find(&root, &["usr/bin".into()]) else {
            bail!("the tools tree {} has no dnf; give --refresh-tools", path.display());
        };
        Ok(Dnf { tools: Tools::Tree(path), interface, python })
    }
}

/// Why no dnf can be driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Lack {
    #[error("this machine has no dnf 4 or 5 in its PATH (apt-get install dnf, dnf install python3-dnf)")]
    Nothing,
    #[error("the yum of this machine is yum 3, and dnf 4 or 5 is needed")]
    Yum3,
    #[error("the dnf 5 of this machine has no Python to be driven with (dnf install python3-libdnf5)")]
    Python,
}

/// The dnf in these folders of a root filesystem, with the Python to drive it with. dnf 4 comes first: it is what
/// the tools tree has, so that both resolve alike.
pub(super) fn find(root: &Root, folders: &[PathBuf]) -> Result<(Interface, PathBuf), Lack> {
    let programs =
        |names: &'static [&str]| folders.iter().flat_map(move |folder| names.iter().map(move |name| folder.join(name)));
    if let Some(python) = programs(&DNF4).find_map(|path| python_of(&head(root, &path)?)) {
        return Ok((Interface::Dnf4, python));
    }
    let begins = |path: &Path, begin: &[u8]| head(root, path).is_some_and(|head| head.starts_with(begin));
    if programs(&DNF5).any(|path| begins(&path, ELF)) {
        let python = programs(&[PYTHON]).find(|path| root.exists(path)).ok_or(Lack::Python)?;
        return Ok((Interface::Dnf5, Path::new("/").join(python)));
    }
    let has_yum = programs(&[YUM]).any(|path| begins(&path, b"#!"));
    Err(if has_yum { Lack::Yum3 } else { Lack::Nothing })
}

/// What a program begins with.
fn head(root: &Root, path: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let file = root.open_file(path).ok()?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, HEAD), &mut head).ok()?;
    Some(head)
}

/// The Python that dnf 4 runs with, if this is how its program begins.
fn python_of(head: &[u8]) -> Option<PathBuf> {
    let line = String::from_utf8_lossy(head.split(|byte| *byte == b'\n').next()?).into_owned();
    let program = line.strip_prefix("#!")?.split_whitespace().next()?.to_owned();
    let is_dnf = program.contains("python") && head.windows(LOADED.len()).any(|part| part == LOADED);
    is_dnf.then(|| program.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "# SPDX\nimport sys\nfrom dnf.cli import main\nmain.user_main(sys.argv[1:])\n";

    #[test]
    fn the_interface_and_its_python_are_found() {
        let dnf4 = format!("#!/usr/bin/python3\n{SCRIPT}");
        let platform = format!("#! /usr/libexec/platform-python -s\n{SCRIPT}");
        let yum3 = "#!/usr/bin/python\nimport yummain\nyummain.user_main(sys.argv[1:])\n";
        let found = |interface, python: &str| Ok((interface, PathBuf::from(python)));
        let dnf5 = ("dnf5", "\x7fELF\x02\x01 dnf.cli");
        let python = ("python3", "\x7fELF");
        for (files, expected) in [
            (&[][..], Err(Lack::Nothing)),
            (&[("dnf", &*dnf4)], found(Interface::Dnf4, "/usr/bin/python3")),
            (&[("yum", &*platform)], found(Interface::Dnf4, "/usr/libexec/platform-python")),
            (&[("yum", yum3)], Err(Lack::Yum3)),
            (&[("yum", yum3), python], Err(Lack::Yum3)),
            (&[("dnf", "#!/bin/sh\nexec python3 -m dnf.cli")], Err(Lack::Nothing)),
            (&[dnf5], Err(Lack::Python)),
            (&[dnf5, python], found(Interface::Dnf5, "/usr/bin/python3")),
            (&[("yum", dnf5.1), python], found(Interface::Dnf5, "/usr/bin/python3")),
            (&[dnf5, python, ("dnf-3", &*dnf4)], found(Interface::Dnf4, "/usr/bin/python3")),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let programs = folder.path().join("usr/bin");
            std::fs::create_dir_all(&programs).expect("a folder");
            for (name, content) in files {
                std::fs::write(programs.join(name), content).expect("writes");
            }
            let root = Root::open(folder.path()).expect("it opens");
            assert_eq!(find(&root, &["usr/sbin".into(), "usr/bin".into()]), expected, "{files:?}");
            let of_tree = Dnf::of_tree(folder.path().to_owned());
            assert_eq!(of_tree.ok().map(|dnf| (dnf.interface, dnf.python)), expected.ok(), "{files:?}");
        }
    }
}
