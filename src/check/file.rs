//! Owners and permission bits of every file.

use std::collections::BTreeSet;

use anyhow::Result;
use nix::sys::stat::Mode;

use super::{Check, Subject, show};
use crate::root::{Entry, Kind};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "file/owners",
        sentence: "Every file belongs to a user and a group that the image knows.",
        run: owners,
    },
    Check {
        name: "file/world-writable",
        sentence: "Nothing is writable by everybody, but for folders with the sticky bit.",
        run: world_writable,
    },
    Check {
        name: "file/set-id",
        sentence: "Only programs that packages ship have the set-user-id or set-group-id bit, and no shell or interpreter.",
        run: set_id,
    },
];

/// The number in a field of every line of a colon-separated file.
fn ids(subject: &Subject<'_>, path: &str) -> Result<BTreeSet<u32>> {
    let text = subject.root.read_text_if_there(path)?.unwrap_or_default();
    Ok(text.lines().filter_map(|l| l.split(':').nth(2)?.parse().ok()).collect())
}

fn has(entry: &Entry, bits: Mode) -> bool {
    entry.stat.st_mode & bits.bits() != 0
}

fn owners(subject: &Subject<'_>) -> Result<Vec<String>> {
    let (mut users, mut groups) = (ids(subject, "etc/passwd")?, ids(subject, "etc/group")?);
    // Root needs no entry, and a tree without accounts can have no other owner.
    users.insert(0);
    groups.insert(0);
    let fault = |entry: &Entry| {
        let (uid, gid) = (entry.stat.st_uid, entry.stat.st_gid);
        let unknown = match (users.contains(&uid), groups.contains(&gid)) {
            (true, true) => return None,
            (false, true) => format!("user {uid}"),
            (true, false) => format!("group {gid}"),
            (false, false) => format!("user {uid} and group {gid}"),
        };
        Some(format!("{} belongs to {unknown}, unknown in the image; add it, or chown the file", show(&entry.path)))
    };
    Ok(subject.root.walk("")?.iter().filter_map(fault).collect())
}

fn world_writable(subject: &Subject<'_>) -> Result<Vec<String>> {
    let fault = |entry: &Entry| {
        let fix = match entry.kind() {
            Kind::File => "chmod o-w",
            Kind::Dir if !has(entry, Mode::S_ISVTX) => "chmod +t, or o-w",
            _ => return None,
        };
        has(entry, Mode::S_IWOTH).then(|| format!("{} is writable by everybody; {fix}", show(&entry.path)))
    };
    Ok(subject.root.walk("")?.iter().filter_map(fault).collect())
}

/// Programs that run what they are told: with such a bit everybody is their owner.
const INTERPRETERS: [&str; 13] =
    ["ash", "awk", "bash", "busybox", "dash", "env", "gawk", "ksh", "lua", "perl", "python", "ruby", "zsh"];

fn set_id(subject: &Subject<'_>) -> Result<Vec<String>> {
    let fault = |entry: &Entry| {
        if entry.kind() != Kind::File || !has(entry, Mode::S_ISUID | Mode::S_ISGID) {
            return None;
        }
        let name = entry.path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let base = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        let why = if !subject.owners.paths.contains_key(&entry.path) {
            "no package ships it"
        } else if name == "sh" || INTERPRETERS.contains(&base) {
            "it runs whatever it is given"
        } else {
            return None;
        };
        Some(format!("{} has a set-id bit, but {why}; chmod ug-s", show(&entry.path)))
    };
    Ok(subject.root.walk("")?.iter().filter_map(fault).collect())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{find, look, says};
    use super::*;
    use crate::clean::testing::Tree;

    fn faults(name: &str, tree: &Tree) -> Vec<String> {
        look(find(CHECKS, name), tree, says(""))
    }

    #[test]
    fn owners_are_known() {
        let mut tree = Tree::new();
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        tree.file("etc/passwd", &format!("me:x:{uid}:{gid}::/:\n")).file("etc/group", &format!("me:x:{gid}:\n"));
        assert_eq!(faults("file/owners", &tree), [""; 0]);
        if !uid.is_root() {
            eprintln!("skipped: owners_are_known: needs root");
            return;
        }
        tree.file("srv/x", "");
        tree.root.chown("srv/x", 4321, 0).expect("a new owner");
        assert_eq!(faults("file/owners", &tree).len(), 1);
        tree.root.chown("srv/x", 0, 4321).expect("a new owner");
        let found = faults("file/owners", &tree);
        assert!(found[0].contains("/srv/x belongs to group 4321"), "{found:?}");
    }

    #[test]
    fn writable_by_everybody() {
        let mut tree = Tree::new();
        tree.folder("tmp").mode("tmp", 0o1777).file("etc/x", "").link("x", "etc/link");
        assert_eq!(faults("file/world-writable", &tree), [""; 0]);
        tree.mode("etc/x", 0o666).mode("tmp", 0o777);
        let found = faults("file/world-writable", &tree);
        assert!(found[0].contains("/etc/x") && found[1].contains("/tmp"), "{found:?}");
    }

    #[test]
    fn set_id_programs_are_those_of_packages() {
        let mut tree = Tree::new();
        tree.file("usr/bin/passwd", "").mode("usr/bin/passwd", 0o4755).owns("usr/bin/passwd");
        tree.file("usr/bin/python3.13", "").owns("usr/bin/python3.13").folder("var/mail").mode("var/mail", 0o2775);
        assert_eq!(faults("file/set-id", &tree), [""; 0]);
        tree.file("opt/su", "").mode("opt/su", 0o2755).mode("usr/bin/python3.13", 0o4755);
        let found = faults("file/set-id", &tree);
        assert!(found[0].contains("no package") && found[1].contains("whatever"), "{found:?}");
    }
}
