//! Whether the files of a tree are as their packages shipped them, by the RPM database: what `rpm --verify` looks at,
//! without the image's own rpm, which not every image has, and which would write beside its database.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Context as _, Result};
use nix::sys::stat::SFlag;

use super::database::{self, CONFIGURATION, GHOST, MISSING_OK, PackageFile};
use super::header::{Header, tag};
use crate::check::Subject;
use crate::clean::{is_documentation, is_foreign};
use crate::family::links::Links;
use crate::hash::sha256_of;
use crate::parallel::parallel;
use crate::root::{Kind, kind};

/// SHA-256 among the digests of OpenPGP (RFC 9580, 9.5). Packages of EL 5 and older have MD5, and are not looked into.
const SHA256: u64 = 8;
/// What rpm verifies of a file, `rpmvf.h`.
const VERIFY_DIGEST: u64 = 1;
const VERIFY_LINK: u64 = 1 << 2;

/// A regular file whose content is to be looked at.
struct Content {
    package: String,
    path: PathBuf,
    digest: String,
}

/// The check `rpm/files`. Modes and owners are not looked at: recipes harden images by changing them.
pub fn check(subject: &Subject<'_>) -> Result<Vec<String>> {
    let mut links = Links::new(subject.root);
    let (mut faults, mut contents) = (Vec::new(), Vec::new());
    for header in database::packages(subject.root)? {
        let package = header.required(tag::NAME, "name").context("reading the RPM database")?;
        let of_package = || format!("reading what the RPM database has of {package}");
        let shipped = Shipped::of(&header).with_context(of_package)?;
        for (i, file) in database::files(&header).with_context(of_package)?.into_iter().enumerate() {
            if !file.there || file.flags & GHOST != 0 {
                continue;
            }
            let path = links.follow_parents(&file.path)?;
            match look(subject, &path, &file, &shipped, i)? {
                Seen::Fine => {}
                Seen::Wrong(what) => faults.push(fault(&path, &package, what)),
                Seen::Content(digest) => contents.push(Content { package: package.clone(), path, digest }),
            }
        }
    }
    let jobs = available_parallelism().map_or(1, usize::from);
    let all: Vec<usize> = (0..contents.len()).collect();
    let changed = parallel(jobs, &all, |i| {
        let Content { package, path, digest } = &contents[i];
        let reading = || format!("reading /{}", path.display());
        let (found, _) = sha256_of(subject.root.open_file(path)?).with_context(reading)?;
        Ok((found != *digest).then(|| fault(path, package, "not as the package shipped it")))
    })?;
    faults.extend(changed.into_iter().flatten());
    Ok(faults)
}

fn fault(path: &Path, package: &str, what: &str) -> String {
    format!("/{} of {package} is {what}; reinstall the package", path.display())
}

/// What a header says of its files.
struct Shipped<'h> {
    digests: Vec<&'h [u8]>,
    links: Vec<&'h [u8]>,
    verified: Vec<u64>,
    is_sha256: bool,
}

impl<'h> Shipped<'h> {
    fn of(header: &'h Header) -> Result<Shipped<'h>> {
        Ok(Shipped {
            digests: header.strings(tag::FILE_DIGESTS)?,
            links: header.strings(tag::FILE_LINKS)?,
            verified: header.numbers(tag::FILE_VERIFY_FLAGS)?,
            is_sha256: header.number(tag::FILE_DIGEST_ALGORITHM)? == Some(SHA256),
        })
    }

    fn verifies(&self, i: usize, what: u64) -> bool {
        self.verified.get(i).is_none_or(|flags| flags & what != 0)
    }
}

/// What a first look at a file shows.
enum Seen {
    Fine,
    Wrong(&'static str),
    /// Its content must have this digest.
    Content(String),
}

fn look(subject: &Subject<'_>, path: &Path, file: &PackageFile, shipped: &Shipped<'_>, i: usize) -> Result<Seen> {
    // The first three belong to the kernel and the container engine, and are emptied.
    let is_elsewhere = ["dev", "proc", "sys", "var/log"].iter().any(|top| path.starts_with(top));
    let is_meant = is_elsewhere || subject.placed.contains(path);
    let Some(stat) = subject.root.lstat(path)? else {
        let is_cleaned = (!subject.system.docs && is_documentation(path)) || is_foreign(path, &subject.system.locale);
        let is_optional = is_meant || is_cleaned || file.flags & MISSING_OK != 0;
        return Ok(if is_optional { Seen::Fine } else { Seen::Wrong("missing") });
    };
    let is_changeable = is_meant || file.flags & CONFIGURATION != 0;
    let Some(wanted) = file.mode.map(|mode| SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits())) else {
        return Ok(Seen::Fine);
    };
    let found = kind(&stat);
    let expected = match wanted {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Dir,
        SFlag::S_IFLNK => Kind::Link,
        _ => Kind::Other,
    };
    if found != expected {
        // A folder may have moved elsewhere.
        let leads_to_folder = subject.root.stat(path)?.is_some_and(|stat| kind(&stat) == Kind::Dir);
        let is_fine = is_changeable || (expected == Kind::Dir && leads_to_folder);
        return Ok(if is_fine { Seen::Fine } else { Seen::Wrong("of another kind") });
    }
    if is_changeable {
        return Ok(Seen::Fine);
    }
    Ok(match (expected, shipped.links.get(i), shipped.digests.get(i)) {
        (Kind::Link, Some(target), _) if shipped.verifies(i, VERIFY_LINK) => {
            let leads_there = subject.root.read_link(path)?.as_os_str() == OsStr::from_bytes(target);
            if leads_there { Seen::Fine } else { Seen::Wrong("not as the package shipped it") }
        }
        (Kind::File, _, Some(digest))
            if shipped.is_sha256 && shipped.verifies(i, VERIFY_DIGEST) && !digest.is_empty() =>
        {
            Seen::Content(String::from_utf8_lossy(digest).into_owned())
        }
        _ => Seen::Fine,
    })
}

#[cfg(test)]
mod tests {
    use super::super::checks::CHECKS;
    use super::super::maker::{Value, make};
    use super::super::sqlite::testing;
    use super::tag;
    use crate::check::testing::{find, look, says};
    use crate::clean::testing::Tree;
    use crate::hash::sha256;

    /// Path, type and permissions, content or target, flags.
    const FILES: [(&str, u32, &str, u32); 6] = [
        ("/usr/bin/a", 0o100755, "program", 0),
        ("/usr/bin/link", 0o120777, "a", 0),
        ("/usr/share/a/", 0o040755, "", 0),
        ("/etc/a.conf", 0o100644, "setting", 1),
        ("/var/lib/a.db", 0o100644, "state", 64),
        ("/usr/share/doc/a/README", 0o100644, "words", 2),
    ];

    /// The tree of one package, and its database.
    fn tree() -> Tree {
        let mut tree = Tree::new();
        let (mut folders, mut names, mut digests, mut links) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (path, mode, content, _) in FILES {
            let path = path.trim_end_matches('/');
            let (folder, name) = path.rsplit_once('/').expect("an absolute path");
            folders.push(format!("{folder}/"));
            names.push(name);
            let (is_file, is_link) = (mode >> 12 == 0o10, mode >> 12 == 0o12);
            digests.push(if is_file { sha256(content) } else { String::new() });
            links.push(if is_link { content } else { "" });
            let path = path.trim_start_matches('/');
            if is_file {
                tree.file(path, content);
            } else if is_link {
                tree.link(content, path);
            } else {
                tree.folder(path);
            }
        }
        let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
        let digests: Vec<&str> = digests.iter().map(String::as_str).collect();
        let blob = make(&[
            (tag::NAME, Value::Text("a")),
            (tag::VERSION, Value::Text("1")),
            (tag::RELEASE, Value::Text("1")),
            (tag::ARCH, Value::Text("noarch")),
            (tag::DIR_NAMES, Value::Texts(&folders)),
            (tag::BASE_NAMES, Value::Texts(&names)),
            (tag::DIR_INDEXES, Value::Numbers(&[0, 1, 2, 3, 4, 5])),
            (tag::FILE_MODES, Value::Numbers(&FILES.map(|file| file.1))),
            (tag::FILE_FLAGS, Value::Numbers(&FILES.map(|file| file.3))),
            (tag::FILE_DIGESTS, Value::Texts(&digests)),
            (tag::FILE_LINKS, Value::Texts(&links)),
            (tag::FILE_DIGEST_ALGORITHM, Value::Numbers(&[8])),
        ]);
        tree.folder("usr/lib/sysimage/rpm");
        testing::make(&tree.root.path().join("usr/lib/sysimage/rpm/rpmdb.sqlite"), &[blob], true);
        tree
    }

    fn faults(tree: &Tree) -> Vec<String> {
        look(find(CHECKS, "rpm/files"), tree, says(""))
    }

    #[test]
    fn a_tree_as_its_packages_shipped_it() {
        let mut tree = tree();
        assert_eq!(faults(&tree), [""; 0]);
        // What may be changed, and what clean removes.
        tree.file("etc/a.conf", "other").file("var/lib/a.db", "other");
        tree.root.remove_file("usr/share/doc/a/README").expect("it goes");
        assert_eq!(faults(&tree), [""; 0]);
        tree.system.docs = true;
        assert!(faults(&tree)[0].contains("/usr/share/doc/a/README of a is missing"));
    }

    #[test]
    fn every_fault_is_found() {
        for (path, fault) in [
            ("usr/bin/a", "/usr/bin/a of a is missing; reinstall"),
            ("usr/bin/link", "/usr/bin/link of a is missing"),
            ("usr/share/a", "/usr/share/a of a is missing"),
            ("etc/a.conf", "/etc/a.conf of a is missing"),
        ] {
            let tree = tree();
            tree.root.remove_all(path).expect("it goes");
            let found = faults(&tree);
            assert!(found.len() == 1 && found[0].contains(fault), "{found:?}");
        }
        let mut tree = tree();
        tree.file("usr/bin/a", "another").places("usr/bin/a");
        assert_eq!(faults(&tree), [""; 0], "the recipe's own");
        tree.placed.clear();
        tree.root.symlink("b", "usr/bin/link").expect("a link");
        let found = faults(&tree);
        let expected = ["/usr/bin/link of a is not as", "/usr/bin/a of a is not as"];
        assert!(found.len() == 2 && found.iter().zip(expected).all(|(a, b)| a.contains(b)), "{found:?}");
        tree.root.remove_file("usr/bin/link").expect("it goes");
        tree.folder("usr/bin/link");
        assert!(faults(&tree)[0].contains("/usr/bin/link of a is of another kind"));
    }
}
