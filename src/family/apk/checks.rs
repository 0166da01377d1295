//! The checks of Alpine trees: apk's database, the files it knows, the commands of busybox.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use sha1::{Digest as _, Sha1};

use super::database::WORLD;
use super::dependency::Dependency;
use super::installed::{self, paragraphs, value};
use super::package::checksum;
use super::tree::file_sha1;
use crate::check::{Check, Subject};
use crate::clean::{is_documentation, is_foreign};
use crate::root::{Kind, kind};

/// The checks of this family.
pub static CHECKS: &[Check] = &[
    Check {
        name: "apk/database",
        sentence: "apk can read its database, and every package in it is wholly installed.",
        run: database,
    },
    Check {
        name: "apk/files",
        sentence: "Every file in apk's database is as its package shipped it, but for documentation, languages and \
                   changed files in /etc.",
        run: files,
    },
    Check { name: "apk/world", sentence: "Everything in /etc/apk/world is installed.", run: world },
    Check { name: "apk/busybox", sentence: "Every command of busybox is there.", run: busybox },
    Check {
        name: "ssh/new-keys",
        sentence: "The start script of the ssh server makes host keys where there are none.",
        run: new_keys,
    },
];

const APK: [&str; 2] = ["sbin/apk", "usr/sbin/apk"];

fn database(subject: &Subject<'_>) -> Result<Vec<String>> {
    let text = installed::read(subject.root)?;
    let mut faults = Vec::new();
    for paragraph in paragraphs(&text) {
        // `f`: what went wrong when it was installed; `S` is how its files are named.
        let flags = value(&paragraph, 'f').trim_matches('S');
        if !flags.is_empty() {
            let name = value(&paragraph, 'P');
            faults.push(format!("the package {name} is half installed ('{flags}'); run apk fix {name} in the tree"));
        }
    }
    if APK.iter().any(|path| subject.root.exists(path)) {
        // Without repositories: they are of no interest here, and the sandbox has no network.
        let output = subject.run(&["apk", "--repositories-file", "/dev/null", "info", "--quiet"], &[])?;
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().find(|line| line.starts_with("ERROR") || line.starts_with("WARNING"));
        if output.code != 0 || said.is_some() {
            let said = said.unwrap_or("it gave no reason");
            faults.push(format!(
                "apk cannot read its database (exit code {}: {said}); build the image anew",
                output.code
            ));
        }
    }
    Ok(faults)
}

fn files(subject: &Subject<'_>) -> Result<Vec<String>> {
    let text = installed::read(subject.root)?;
    let mut faults = Vec::new();
    for paragraph in paragraphs(&text) {
        let package = value(&paragraph, 'P');
        let (mut folder, mut path) = (PathBuf::new(), PathBuf::new());
        for (letter, value) in &paragraph {
            match letter {
                'F' => folder = PathBuf::from(value),
                'R' => {
                    path = folder.join(value);
                    // Of a file without a checksum only its being there can be looked at.
                    if let Some(what) = differs(subject, &path, None)? {
                        faults.push(format!("/{} of {package} is {what}; reinstall the package", path.display()));
                    }
                }
                'Z' => {
                    if let Some(what) = differs(subject, &path, Some(value))? {
                        faults.push(format!("/{} of {package} is {what}; reinstall the package", path.display()));
                    }
                }
                _ => {}
            }
        }
    }
    Ok(faults)
}

/// What is wrong with a file of a package. With a checksum only that is looked at.
fn differs(subject: &Subject<'_>, path: &Path, wanted: Option<&str>) -> Result<Option<&'static str>> {
    let root = subject.root;
    let is_meant = subject.placed.contains(path) || path.starts_with("var/log");
    let Some(stat) = root.lstat(path)? else {
        let is_cleaned =
            (!subject.system.docs && is_documentation(path)) || is_foreign(path, &subject.system.locale) || is_meant;
        return Ok((wanted.is_none() && !is_cleaned).then_some("missing"));
    };
    // Files in /etc are there to be changed, and apk itself never says so of them.
    let Some(wanted) = wanted.filter(|wanted| wanted.starts_with("Q1")) else { return Ok(None) };
    if is_meant || path.starts_with("etc") {
        return Ok(None);
    }
    let found = match kind(&stat) {
        Kind::File => file_sha1(root, path)?,
        Kind::Link => Sha1::digest(root.read_link(path)?.as_os_str().as_bytes()).into(),
        Kind::Dir | Kind::Other => return Ok(Some("of another kind")),
    };
    Ok((checksum(&found) != wanted).then_some("not as the package shipped it"))
}

fn world(subject: &Subject<'_>) -> Result<Vec<String>> {
    let Some(world) = subject.root.read_text_if_there(WORLD)? else {
        return Ok(vec![format!("/{WORLD} is missing, so the next apk removes everything; build the image anew")]);
    };
    let text = installed::read(subject.root)?;
    let mut names = BTreeSet::new();
    for paragraph in paragraphs(&text) {
        names.insert(value(&paragraph, 'P'));
        let provided = value(&paragraph, 'p').split(' ').filter_map(|word| Dependency::parse(word).ok());
        names.extend(provided.map(|provided| provided.name));
    }
    let missing = |line: &&str| match Dependency::parse_tagged(line) {
        Ok(relation) => !relation.conflict && !names.contains(relation.name),
        Err(_) => true,
    };
    let lines = world.split_whitespace().filter(missing);
    Ok(lines.map(|line| format!("/{WORLD} asks for {line}, which is not installed; run apk fix in the tree")).collect())
}

/// Without its trigger and post-install script busybox is one program without the links by which it is called.
fn busybox(subject: &Subject<'_>) -> Result<Vec<String>> {
    const BUSYBOX: &str = "bin/busybox";
    if !subject.root.exists(BUSYBOX) {
        return Ok(Vec::new());
    }
    let output = subject.run(&["/bin/busybox", "--list-full"], &[])?;
    let text = String::from_utf8_lossy(&output.stdout);
    let missing: Vec<&str> = text.lines().filter(|path| !path.is_empty() && !there(subject, path)).collect();
    Ok(match missing.as_slice() {
        [] => Vec::new(),
        [first, ..] => vec![format!(
            "{} commands of busybox are missing, /{first} among them; run busybox --install -s in the tree",
            missing.len()
        )],
    })
}

/// A command may be at another place, where a package of its own has it.
fn there(subject: &Subject<'_>, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let exists = |path: &str| matches!(subject.root.lstat(path), Ok(Some(_)));
    exists(path) || ["bin", "sbin", "usr/bin", "usr/sbin"].iter().any(|folder| exists(&format!("{folder}/{name}")))
}

/// OpenRC's start script of openssh does so; nothing needs to be added, as long as that stays.
fn new_keys(subject: &Subject<'_>) -> Result<Vec<String>> {
    const SCRIPT: &str = "etc/init.d/sshd";
    let Some(text) = subject.root.read_text_if_there(SCRIPT)? else { return Ok(Vec::new()) };
    if text.contains("ssh-keygen") {
        return Ok(Vec::new());
    }
    Ok(vec![format!("/{SCRIPT} makes no host keys, and the image has none; have it run ssh-keygen -A first")])
}

#[cfg(test)]
mod tests {
    use super::super::database::INSTALLED;
    use super::*;
    use crate::check::testing::{fails, find, look, says};
    use crate::clean::testing::{Tree, assert_well_formed};

    fn tree() -> Tree {
        let mut tree = Tree::new();
        // The checksum is that of "x".
        let text = "P:a\nV:1\np:cmd:a=1 virtual\nF:usr/bin\nR:a\nZ:Q1EfatjsUqKYSrqv18O1FlA3hcIHI=\nF:etc\nR:a.conf\n\
                    Z:Q1AAAA\n\nP:b\nV:1\nF:usr/share/man/man1\nR:b.1\n\n";
        tree.file(INSTALLED, text).file(WORLD, "a>0\nvirtual\n!c\n").file("usr/bin/a", "x").file("etc/a.conf", "y");
        tree
    }

    #[test]
    fn every_check_is_named_and_described() {
        assert_well_formed(CHECKS.iter().map(|check| (check.name, check.sentence)));
    }

    #[test]
    fn a_database_that_fits_its_tree() {
        let tree = tree();
        for check in CHECKS {
            assert_eq!(look(check, &tree, says("")), [""; 0], "{}", check.name);
        }
    }

    #[test]
    fn every_fault_is_found() {
        // A file and what is written into it (nothing: it is removed), and what the check then says.
        for (name, path, text, fault) in [
            ("apk/files", "usr/bin/a", Some("z"), "/usr/bin/a of a is not as the package shipped it"),
            ("apk/files", "etc/a.conf", None, "/etc/a.conf of a is missing"),
            ("apk/world", WORLD, Some("a\nc\n"), "asks for c, which is not installed"),
            ("apk/world", WORLD, None, "is missing"),
            ("apk/database", INSTALLED, Some("P:a\nV:1\nf:s\n\n"), "a is half installed ('s')"),
            ("ssh/new-keys", "etc/init.d/sshd", Some("x"), "makes no host keys"),
        ] {
            let mut tree = tree();
            tree.root.remove_file(path).expect("it goes");
            if let Some(text) = text {
                tree.file(path, text);
            }
            let faults = look(find(CHECKS, name), &tree, says(""));
            assert!(faults.len() == 1 && faults[0].contains(fault), "{name}: {faults:?}");
        }
        let mut tree = tree();
        tree.root.remove_file("usr/bin/a").expect("it goes");
        tree.link("/x", "usr/bin/a");
        assert_eq!(look(find(CHECKS, "apk/files"), &tree, says("")).len(), 1, "another kind of file");
        tree.file("sbin/apk", "").file("bin/busybox", "").file("bin/sh", "");
        let faults = look(find(CHECKS, "apk/database"), &tree, fails(99, "ERROR: Unable to read database\n"));
        assert!(faults[0].contains("99: ERROR: Unable to read"), "{faults:?}");
        assert_eq!(look(find(CHECKS, "apk/busybox"), &tree, says("usr/bin/sh\n")), [""; 0]);
        let faults = look(find(CHECKS, "apk/busybox"), &tree, says("bin/sh\nbin/ls\nbin/cp\n"));
        assert!(faults[0].contains("2 commands of busybox are missing, /bin/ls among"), "{faults:?}");
    }
}
