//! Logs of the build.

use anyhow::Result;

use super::{Cleaner, Step};
use crate::root::Kind;

pub(super) const STEPS: &[Step] = &[
    Step {
        name: "log/journal",
        sentence: "Journals of systemd, whose folders are named by the machine id.",
        run: |c| c.remove_unowned_content("var/log/journal"),
    },
    Step {
        name: "log/files",
        sentence: "Files under /var/log: those that no package owns go, the others are emptied.",
        run: files,
    },
];

/// Logins. Programs write them only if they are there (utmp(5)), and base-files makes them with a group that an
/// administrator would have to know, so they stay, emptied.
const LOGINS: [&str; 4] = ["btmp", "faillog", "lastlog", "wtmp"];

fn files(cleaner: &mut Cleaner<'_>) -> Result<()> {
    for entry in cleaner.root.walk("var/log")? {
        let is_login = LOGINS.iter().any(|name| entry.path == std::path::Path::new("var/log").join(name));
        match entry.kind() {
            Kind::File if is_login || cleaner.is_owned(&entry.path) => cleaner.truncate(entry.path)?,
            Kind::File | Kind::Other => cleaner.remove_unowned(entry.path)?,
            // Folders have owners that daemons need; links lead logs elsewhere (to standard output, for one).
            Kind::Dir | Kind::Link => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::STEPS;

    #[test]
    fn unowned_logs_go_owned_ones_are_emptied_folders_and_links_stay() {
        let mut tree = Tree::new();
        tree.file("var/log/dpkg.log", "x").file("var/log/apt/history.log", "x").file("var/log/owned", "x");
        tree.file("var/log/wtmp", "x").mode("var/log/wtmp", 0o664).mode("var/log/owned", 0o640);
        tree.link("/dev/stdout", "var/log/app.log").folder("var/log/mysql").mode("var/log/mysql", 0o2750);
        tree.owns("var/log/owned").owns("var/log/apt").owns("var/log");
        let touched = ["var/log/apt/history.log", "var/log/dpkg.log", "var/log/owned", "var/log/wtmp"];
        assert_eq!(tree.step(STEPS, "log/files"), touched);
        assert!(!tree.has("var/log/dpkg.log") && tree.has("var/log/apt") && tree.has("var/log/app.log"));
        assert_eq!((tree.text("var/log/owned").as_str(), tree.mode_of("var/log/owned")), ("", 0o640));
        assert_eq!((tree.text("var/log/wtmp").as_str(), tree.mode_of("var/log/wtmp")), ("", 0o664));
        assert_eq!(tree.mode_of("var/log/mysql"), 0o2750);
    }

    #[test]
    fn journal_folders_go_but_not_the_one_above() {
        let mut tree = Tree::new();
        tree.file("var/log/journal/0123/system.journal", "x").mode("var/log/journal", 0o2755);
        assert_eq!(tree.step(STEPS, "log/journal").len(), 2);
        assert_eq!(tree.mode_of("var/log/journal"), 0o2755);
    }
}
