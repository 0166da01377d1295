//! What dnf and rpm leave behind: the clean steps of RPM trees.

use std::path::Path;

use anyhow::Result;

use super::{berkeley, database, sqlite, sshd};
use crate::clean::{Cleaner, Step};
use crate::root::Kind;

/// The clean steps of this family. Logs, those of dnf and yum among them, are a step of every image.
pub static STEPS: &[Step] = &[
    Step {
        name: "ssh/new-keys",
        sentence: "Where a unit of the ssh server makes no host keys, an addition to it makes those that went.",
        run: sshd::new_keys,
    },
    Step {
        name: "dnf/cache",
        sentence: "Downloaded metadata and packages of dnf, yum and libdnf.",
        run: |c| CACHES.iter().try_for_each(|folder| c.remove_unowned_content(folder)),
    },
    Step {
        name: "dnf/state",
        sentence: "What dnf and yum remember of earlier runs: history, repositories, groups, the id of the machine.",
        run: |c| STATES.iter().try_for_each(|folder| c.remove_unowned_content(folder)),
    },
    Step {
        name: "dnf/scripts",
        sentence: "Notes that scriptlets of packages leave for one another.",
        run: |c| c.remove_unowned_content("var/lib/rpm-state"),
    },
    Step {
        name: "dnf/leftovers",
        sentence: "Files that rpm puts beside those it replaces or keeps: .rpmnew, .rpmsave, .rpmorig.",
        run: beside,
    },
    Step {
        name: "dnf/database",
        sentence: "Locks and logs of the RPM database, and what only the process that wrote it knows; the database \
                   itself stays, and is checked.",
        run: settle_database,
    },
    Step {
        name: "build/stamps",
        sentence: "The times at which systemd last adapted /etc and /var to a changed /usr.",
        run: |c| ["etc/.updated", "var/.updated"].iter().try_for_each(|path| c.remove_unowned(path)),
    },
];

/// Of dnf 4, of yum, of dnf 5.
const CACHES: [&str; 3] = ["var/cache/dnf", "var/cache/yum", "var/cache/libdnf5"];
const STATES: [&str; 4] = ["var/lib/dnf", "var/lib/yum", "usr/lib/sysimage/libdnf5", "var/lib/libdnf5"];

/// rpm does so with configuration files.
fn beside(cleaner: &mut Cleaner<'_>) -> Result<()> {
    for entry in cleaner.root.walk("etc")? {
        let is_beside =
            entry.path.extension().is_some_and(|end| end == "rpmnew" || end == "rpmsave" || end == "rpmorig");
        if is_beside && entry.kind() != Kind::Dir {
            cleaner.remove_unowned(entry.path)?;
        }
    }
    Ok(())
}

fn settle_database(cleaner: &mut Cleaner<'_>) -> Result<()> {
    let Some(path) = database::find(cleaner.root) else { return Ok(()) };
    if path.extension() == Some("sqlite".as_ref()) {
        let settled = sqlite::load(cleaner.root, &path)?;
        cleaner.write(&path, settled, 0o644)?;
        for file in sqlite::beside_of(&path) {
            cleaner.remove(file)?;
        }
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    if path.ends_with(berkeley::PACKAGES) {
        berkeley::settle(cleaner, folder)?;
    }
    // Those with two underscores are the memory that users of Berkeley DB share; the last is of rpm 6.
    let is_lock =
        |name: &str| name.starts_with("__db.") || [".rpm.lock", ".dbenv.lock", ".keyring.lock"].contains(&name);
    cleaner.named(folder, is_lock)?.into_iter().try_for_each(|path| cleaner.remove_unowned(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clean::testing::{Tree, assert_well_formed};
    use crate::family::rpm::bdb;

    #[test]
    fn every_step_is_named_and_described() {
        assert_well_formed(STEPS.iter().map(|step| (step.name, step.sentence)));
    }

    #[test]
    fn what_dnf_and_rpm_leave_goes() {
        let cases = [
            ("dnf/cache", "var/cache/dnf/baseos-0123/repodata/repomd.xml"),
            ("dnf/cache", "var/cache/yum/x86_64/7/timedhosts"),
            ("dnf/cache", "var/cache/libdnf5/baseos.solv"),
            ("dnf/state", "var/lib/dnf/history.sqlite"),
            ("dnf/state", "var/lib/yum/uuid"),
            ("dnf/state", "usr/lib/sysimage/libdnf5/transaction_history.sqlite"),
            ("dnf/scripts", "var/lib/rpm-state/update-icons"),
            ("dnf/leftovers", "etc/shells.rpmnew"),
            ("dnf/leftovers", "etc/pam.d/login.rpmsave"),
            ("dnf/database", "var/lib/rpm/__db.001"),
            ("dnf/database", "var/lib/rpm/.dbenv.lock"),
            ("dnf/database", "var/lib/rpm/.rpm.lock"),
            ("dnf/database", "var/lib/rpm/.keyring.lock"),
            ("build/stamps", "etc/.updated"),
            ("build/stamps", "var/.updated"),
        ];
        for (step, path) in cases {
            let mut tree = Tree::new();
            tree.file("var/lib/rpm/Packages", "x").file("etc/shells", "x").file("etc/own.rpmsave", "x");
            tree.owns("etc/own.rpmsave").owns("var/lib/rpm-state").folder("var/lib/rpm-state").file(path, "x");
            tree.owns("var/cache/dnf").owns("var/lib/dnf");
            assert_eq!(tree.step(STEPS, step).first().map(String::as_str), Some(path));
            for stays in ["var/lib/rpm/Packages", "etc/shells", "etc/own.rpmsave", "var/lib/rpm-state"] {
                assert!(tree.has(stays), "{stays}");
            }
        }
    }

    #[test]
    fn the_database_becomes_one_file() {
        let mut tree = Tree::new();
        tree.folder("usr/lib/sysimage/rpm");
        let path = "usr/lib/sysimage/rpm/rpmdb.sqlite";
        sqlite::testing::make(&tree.root.path().join(path), &[], true);
        tree.file("usr/lib/sysimage/rpm/rpmdb.sqlite-shm", "x").file("usr/lib/sysimage/rpm/.rpm.lock", "");
        tree.step(STEPS, "dnf/database");
        assert_eq!(tree.root.read_dir("usr/lib/sysimage/rpm").expect("a folder"), ["rpmdb.sqlite"]);
    }

    #[test]
    fn files_of_berkeley_db_have_no_id_of_their_writer() {
        let mut tree = Tree::new();
        tree.folder("var/lib/rpm");
        let mut written = bdb::make(&[b"header".to_vec()]);
        // The id of a file, which stands at 52.
        written[52..72].fill(7);
        for name in ["Packages", "Name"] {
            tree.root.write(format!("var/lib/rpm/{name}"), &written, 0o644).expect("a file");
        }
        assert_eq!(tree.step(STEPS, "dnf/database"), ["var/lib/rpm/Name", "var/lib/rpm/Packages"]);
        let [packages, name] =
            ["Packages", "Name"].map(|n| tree.root.read(format!("var/lib/rpm/{n}")).expect("a file"));
        assert!(packages[52..72] != written[52..72] && packages[52..72] != name[52..72], "one for each file");
        assert!(packages[..52] == written[..52] && packages[72..] == written[72..]);
        assert_eq!(tree.step(STEPS, "dnf/database"), [""; 0], "once is enough");
    }
}
