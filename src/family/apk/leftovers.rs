//! What apk leaves behind: the clean steps of Alpine trees.

use std::path::Path;

use anyhow::Result;

use super::database::FOLDER;
use crate::clean::{Cleaner, Step};
use crate::root::Kind;

/// The clean steps of this family. Logs, apk's among them, are a step of every image.
pub static STEPS: &[Step] = &[
    Step {
        name: "apk/cache",
        sentence: "Indexes of repositories and downloaded packages, which apk gets anew.",
        run: cache,
    },
    Step {
        name: "apk/lock",
        sentence: "The lock of apk's database, and databases that were not put in place.",
        run: lock,
    },
    Step {
        name: "apk/leftovers",
        sentence: "Files that an apk which was stopped had not put in their places yet (.apk.*).",
        run: unfinished,
    },
    Step { name: "apk/scripts", sentence: "Scripts of packages that were left where they ran.", run: scripts },
];

/// The second is where a machine that keeps its packages has them; it is a link then.
fn cache(cleaner: &mut Cleaner<'_>) -> Result<()> {
    cleaner.remove_unowned_content("var/cache/apk")?;
    cleaner.remove_unowned_content("etc/apk/cache")
}

fn lock(cleaner: &mut Cleaner<'_>) -> Result<()> {
    for name in ["lock", "installed.new", "triggers.new", "scripts.tar.new", "scripts.tar.gz.new"] {
        cleaner.remove_unowned(Path::new(FOLDER).join(name))?;
    }
    cleaner.remove_unowned("etc/apk/world.new")
}

/// `.apk.` and 48 hexadecimal digits.
fn unfinished(cleaner: &mut Cleaner<'_>) -> Result<()> {
    let is_unfinished = |name: &str| {
        name.strip_prefix(".apk.").is_some_and(|rest| rest.len() == 48 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    for entry in cleaner.root.walk("")? {
        let name = entry.path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if entry.kind() != Kind::Dir && is_unfinished(name) {
            cleaner.remove_unowned(entry.path)?;
        }
    }
    Ok(())
}

fn scripts(cleaner: &mut Cleaner<'_>) -> Result<()> {
    cleaner.remove_unowned_content("lib/apk/exec")
}

#[cfg(test)]
mod tests {
    use super::STEPS;
    use crate::clean::testing::{Tree, assert_well_formed};

    #[test]
    fn every_step_is_named_and_described() {
        assert_well_formed(STEPS.iter().map(|step| (step.name, step.sentence)));
    }

    #[test]
    fn what_apk_leaves_goes_and_its_database_stays() {
        let hex = "0123456789abcdef".repeat(3);
        let unfinished = format!("etc/.apk.{hex}");
        let cases = [
            ("apk/cache", "var/cache/apk/APKINDEX.0123.tar.gz"),
            ("apk/cache", "etc/apk/cache/a-1-r0.apk"),
            ("apk/lock", "lib/apk/db/lock"),
            ("apk/lock", "lib/apk/db/installed.new"),
            ("apk/leftovers", unfinished.as_str()),
            ("apk/scripts", "lib/apk/exec/a-1-r0.post-install"),
        ];
        for (step, path) in cases {
            let mut tree = Tree::new();
            tree.file("lib/apk/db/installed", "x").file("etc/.apk.conf", "x").file("etc/apk/world", "x");
            tree.file(path, "x").owns("var/cache/apk");
            assert_eq!(tree.step(STEPS, step).first().map(String::as_str), Some(path));
            for stays in ["lib/apk/db/installed", "etc/.apk.conf", "etc/apk/world"] {
                assert!(tree.has(stays), "{stays}");
            }
        }
    }
}
