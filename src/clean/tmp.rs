//! Temporary files, and what people typed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Cleaner, Step};
use crate::root::{Kind, kind};

pub(super) const STEPS: &[Step] = &[
    Step { name: "tmp/tmp", sentence: "Everything in /tmp.", run: |c| c.remove_unowned_content("tmp") },
    Step { name: "tmp/var-tmp", sentence: "Everything in /var/tmp.", run: |c| c.remove_unowned_content("var/tmp") },
    Step {
        name: "tmp/run",
        sentence: "Everything in /run but the folders and links that packages ship or declare in tmpfiles.d.",
        run: |c| clear_run(c, "run"),
    },
    Step {
        name: "tmp/history",
        sentence: "Histories of shells, editors, pagers and database clients in every home folder.",
        run: history,
    },
];

const HISTORY: [&str; 27] = [
    ".ash_history",
    ".bash_history",
    ".history",
    ".sh_history",
    ".zsh_history",
    ".local/share/fish/fish_history",
    ".lesshst",
    ".local/state/lesshst",
    ".viminfo",
    ".vim/.netrwhist",
    ".local/state/nvim",
    ".emacs.d/auto-save-list",
    ".nano/search_history",
    ".nano/filepos_history",
    ".local/share/nano/search_history",
    ".local/share/nano/filepos_history",
    ".joe_state",
    ".python_history",
    ".irb_history",
    ".node_repl_history",
    ".php_history",
    ".mysql_history",
    ".psql_history",
    ".sqlite_history",
    ".rediscli_history",
    ".wget-hsts",
    ".sudo_as_admin_successful",
];

fn history(cleaner: &mut Cleaner<'_>) -> Result<()> {
    for home in cleaner.homes()? {
        HISTORY.iter().try_for_each(|name| cleaner.remove_unowned(home.join(name)))?;
    }
    Ok(())
}

/// Empties `folder`, which is `/run` or below it. In a container no init makes the folders that daemons need there
/// (`/run/sshd`, `/run/postgresql`), so those that tmpfiles.d(5) declares stay, and `/run/lock`.
pub(super) fn clear_run(cleaner: &mut Cleaner<'_>, folder: &str) -> Result<()> {
    let mut declared = declared(cleaner)?;
    declared.insert("run/lock".into());
    clear(cleaner, Path::new(folder), &declared)
}

fn clear(cleaner: &mut Cleaner<'_>, folder: &Path, declared: &BTreeSet<PathBuf>) -> Result<()> {
    for (path, stat) in cleaner.entries(folder)? {
        let is_declared = declared.contains(&path);
        match kind(&stat) {
            Kind::Link if is_declared => {}
            Kind::Dir if is_declared || declared.iter().any(|d| d.starts_with(&path)) => {
                clear(cleaner, &path, declared)?;
                if !is_declared {
                    cleaner.remove_if_empty(path)?;
                }
            }
            _ => cleaner.remove_unowned(path)?,
        }
    }
    Ok(())
}

/// The folders and links below `/run` that tmpfiles.d(5) declares with a plain name.
fn declared(cleaner: &Cleaner<'_>) -> Result<BTreeSet<PathBuf>> {
    let mut declared = BTreeSet::new();
    for folder in ["usr/lib/tmpfiles.d", "etc/tmpfiles.d"] {
        for file in cleaner.named(folder, |name| name.ends_with(".conf"))? {
            // A link is a mask: it leads to /dev/null.
            if cleaner.lstat(&file)?.is_none_or(|s| kind(&s) != Kind::File) {
                continue;
            }
            for line in cleaner.root.read_text(&file)?.lines() {
                let mut words = line.split_whitespace();
                let (Some(what), Some(path)) = (words.next(), words.next()) else { continue };
                let path =
                    path.trim_matches('"').strip_prefix("/var").filter(|p| p.starts_with("/run/")).unwrap_or(path);
                if matches!(what.as_bytes().first(), Some(b'd' | b'D' | b'L')) && path.starts_with("/run/") {
                    declared.insert(path.trim_matches('/').into());
                }
            }
        }
    }
    Ok(declared)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::STEPS;

    #[test]
    fn temporary_files_go_and_the_folders_keep_their_mode() {
        for (step, folder) in [("tmp/tmp", "tmp"), ("tmp/var-tmp", "var/tmp")] {
            let mut tree = Tree::new();
            tree.file(&format!("{folder}/a/b"), "x").file(&format!("{folder}/.hidden"), "x").mode(folder, 0o1777);
            assert_eq!(tree.step(STEPS, step).len(), 3);
            assert_eq!(tree.mode_of(folder), 0o1777);
        }
    }

    #[test]
    fn run_keeps_what_packages_ship_or_declare() {
        let mut tree = Tree::new();
        tree.file("run/adduser", "").file("run/sshd/pid", "1").file("run/mine/x", "").folder("run/owned");
        tree.folder("run/lock").folder("run/systemd/netif").folder("run/systemd/other").link("/dev/shm", "run/shm");
        tree.link("x", "run/undeclared").owns("run").owns("run/owned");
        let declared =
            "# d /run/mine\nd /run/sshd 0755\nd /run/systemd/netif 0755 a a\nL /run/shm - - - - /dev/shm\nd\n";
        tree.file("usr/lib/tmpfiles.d/x.conf", declared);
        let gone = ["run/adduser", "run/mine/x", "run/mine", "run/sshd/pid", "run/systemd/other", "run/undeclared"];
        assert_eq!(tree.step(STEPS, "tmp/run"), gone);
        for stays in ["run/lock", "run/sshd", "run/systemd/netif", "run/shm", "run/owned"] {
            assert!(tree.has(stays), "{stays}");
        }
    }

    #[test]
    fn histories_go_and_settings_stay() {
        let mut tree = Tree::new();
        tree.file("etc/passwd", "app:x:1000:1000::/home/app:\n").file("home/app/.python_history", "x");
        tree.file("root/.bash_history", "x").file("root/.bashrc", "x");
        assert_eq!(tree.step(STEPS, "tmp/history"), ["home/app/.python_history", "root/.bash_history"]);
        assert!(tree.has("root/.bashrc"));
    }
}
