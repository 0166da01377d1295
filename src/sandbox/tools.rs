//! A program that works on a tree from beside it: from the host, or from a tree of tools.
//!
//! Its root is an empty file system in memory. Into that go the folders of programs and libraries of where it comes
//! from, read-only; of `/etc` only what programs need to be loaded, so that the way the host has configured its own
//! package manager, its accounts and its name services are out of reach; and below [`FOLDER`] the tree and what else is
//! bound. Paths are the same wherever the program comes from.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, fchmod};

use super::init::{Bind, Spec};
use super::mounts::{self, Source};

/// Holds everything that does not come with the programs.
pub const FOLDER: &str = "/mkbase";
/// Where the tree is.
pub const TARGET: &str = "/mkbase/target";
/// An empty folder, the home of the command.
pub const HOME: &str = "/mkbase/home";

/// The folders that programs and what they load are in. The last two: NixOS and Guix have everything there.
pub const PROGRAMS: [&str; 9] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "nix", "gnu"];

/// What programs need of `/etc`: the dynamic loader's settings, ld.so(8), and the links of alternatives. `ld.so.preload`
/// is left out: what a host loads into its programs is its own.
pub const SETTINGS: [&str; 4] = ["ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives"];

/// What is made of `/etc`: the one account there is, and no name service but files.
const FILES: [(&str, &str); 4] = [
    ("etc/passwd", "root:x:0:0:root:/mkbase/home:/bin/sh\n"),
    ("etc/group", "root:x:0:\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
];

/// The most that a command may write outside the tree and what is bound, in bytes. It is memory.
const SIZE: &str = "mode=0755,size=256m";

/// What it is mounted on until the command enters it: a folder that every host has, and that nothing is bound from.
const PLACE: &str = "/sys";

/// Makes that root. `mounts` as of [`super::init::Place::Beside`].
pub fn make_root(spec: &Spec, programs: &Path, mounts: bool) -> Result<OwnedFd> {
    let target = Bind { host: spec.root.clone(), inside: TARGET.into(), writable: true };
    let Parts { binds, links } = parts(programs)?;
    let binds: Vec<&Bind> = binds.iter().chain([&target]).chain(&spec.binds).collect();
    let sources = binds.into_iter().map(Source::open).collect::<Result<Vec<_>>>()?;

    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), PLACE, Some("tmpfs"), flags, Some(SIZE))
        .with_context(|| format!("mounting a root for the programs on {PLACE}"))?;
    let root = mounts::open_dir(Path::new(PLACE))?;
    for folder in ["dev", "etc", "proc", "run", "sys", "var/cache", "var/lib", "var/log", "mkbase/home"] {
        mounts::make_dirs(&root, Path::new(folder))?;
    }
    for folder in ["tmp", "var/tmp"] {
        mounts::make_dirs(&root, Path::new(folder))?;
        let folder = mounts::open_in(&root, Path::new(folder), OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        fchmod(&folder, Mode::from_bits_truncate(0o1777)).context("setting the mode of a temporary folder")?;
    }
    for (path, content) in FILES {
        let file = mounts::create_file(&root, Path::new(path))?;
        nix::unistd::write(&file, content.as_bytes()).with_context(|| format!("writing /{path}"))?;
    }
    nix::unistd::symlinkat("../run", &mounts::open_in(&root, Path::new("var"), OFlag::O_PATH)?, "run")
        .context("linking /var/run")?;
    for (target, path) in &links {
        let (folder, name) = mounts::parent(&root, path)?;
        nix::unistd::symlinkat(target, &folder, name).with_context(|| format!("linking /{}", path.display()))?;
    }
    sources.iter().try_for_each(|source| source.mount(&root))?;
    mounts::system(&root, Path::new(""))?;
    if !mounts {
        mounts::system(&root, Path::new("mkbase/target"))?;
    }
    Ok(root)
}

/// What comes with the programs.
#[derive(Debug, Default)]
struct Parts {
    /// Folders and files that are bound.
    binds: Vec<Bind>,
    /// Symbolic links that are made again: target, path.
    links: Vec<(PathBuf, PathBuf)>,
}

/// Finds out what there is in the root filesystem that the programs are in.
fn parts(programs: &Path) -> Result<Parts> {
    let mut parts = Parts::default();
    let settings = SETTINGS.iter().map(|name| Path::new("etc").join(name));
    for path in PROGRAMS.iter().map(PathBuf::from).chain(settings) {
        let host = programs.join(&path);
        match host.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => {
                let target = std::fs::read_link(&host).with_context(|| format!("reading {}", host.display()))?;
                parts.links.push((target, path));
            }
            Ok(_) => parts.binds.push(Bind { host, inside: Path::new("/").join(path), writable: false }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("looking at {}", host.display())),
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn programs_come_without_the_settings_of_their_machine() {
        let dir = tempfile::tempdir().expect("a folder");
        for folder in ["usr/bin", "opt", "root", "etc/alternatives", "etc/dnf", "etc/rpm", "lib"] {
            std::fs::create_dir_all(dir.path().join(folder)).expect("a folder");
        }
        for file in ["etc/ld.so.conf", "etc/passwd", "etc/ld.so.preload"] {
            std::fs::write(dir.path().join(file), "").expect("a file");
        }
        symlink("usr/bin", dir.path().join("bin")).expect("a link");
        let Parts { binds, links } = parts(dir.path()).expect("they are found");
        let inside: Vec<_> = binds.iter().map(|b| b.inside.to_string_lossy().into_owned()).collect();
        assert_eq!(inside, ["/lib", "/usr", "/etc/ld.so.conf", "/etc/alternatives"]);
        assert!(binds.iter().all(|b| !b.writable && b.host.starts_with(dir.path())));
        assert_eq!(links, [(PathBuf::from("usr/bin"), PathBuf::from("bin"))]);
    }
}
