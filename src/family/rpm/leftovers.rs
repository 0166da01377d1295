//! What dnf and rpm leave behind: the clean steps of RPM trees.

use anyhow::Result;

use super::{database, sqlite};
use crate::clean::{Cleaner, Step};

/// The clean steps of this family.
pub static STEPS: &[Step] = &[
    Step {
        name: "dnf/cache",
        sentence: "Downloaded metadata and packages of dnf, yum and libdnf.",
        run: |c| {
            ["var/cache/dnf", "var/cache/yum", "var/cache/libdnf5"].iter().try_for_each(|f| c.remove_unowned_content(f))
        },
    },
    Step {
        name: "dnf/state",
        sentence: "What dnf and yum remember of earlier runs: history, repositories, groups.",
        run: |c| ["var/lib/dnf", "var/lib/yum"].iter().try_for_each(|f| c.remove_unowned_content(f)),
    },
    Step {
        name: "dnf/database",
        sentence: "Locks and logs of the RPM database; the database itself stays, and is checked.",
        run: settle_database,
    },
];

fn settle_database(cleaner: &mut Cleaner<'_>) -> Result<()> {
    let Some(path) = database::find(cleaner.root) else { return Ok(()) };
    if path.extension() == Some("sqlite".as_ref()) {
        let settled = sqlite::load(cleaner.root, &path)?;
        cleaner.write(&path, settled, 0o644)?;
        for file in sqlite::beside_of(&path) {
            cleaner.remove(file)?;
        }
    }
    cleaner.remove_unowned(path.with_file_name(".rpm.lock"))
}
