//! Locks of programs that run no more.

use anyhow::Result;

use super::{Cleaner, Step, tmp};

pub(super) const STEPS: &[Step] = &[
    Step { name: "lock/run", sentence: "Locks in /run/lock and /var/lock, whose holders are gone.", run },
    Step {
        name: "lock/account",
        sentence: "Locks that are held while accounts are changed: /etc/.pwd.lock and those beside passwd, group and shadow.",
        run: account,
    },
];

fn run(cleaner: &mut Cleaner<'_>) -> Result<()> {
    tmp::clear_run(cleaner, "run/lock")?;
    // A link to /run/lock, or on old releases a folder of its own.
    cleaner.remove_unowned_content("var/lock")
}

fn account(cleaner: &mut Cleaner<'_>) -> Result<()> {
    cleaner.remove_unowned("etc/.pwd.lock")?;
    for name in ["passwd", "group", "shadow", "gshadow", "subuid", "subgid"] {
        cleaner.remove_unowned(format!("etc/{name}.lock"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::STEPS;

    #[test]
    fn locks_go_and_their_folder_stays() {
        let mut tree = Tree::new();
        tree.file("run/lock/apache2.lock", "").mode("run/lock", 0o1777).link("/run/lock", "var/lock");
        assert_eq!(tree.step(STEPS, "lock/run"), ["run/lock/apache2.lock"]);
        assert_eq!(tree.mode_of("run/lock"), 0o1777);
        assert!(tree.has("var/lock"));
    }

    #[test]
    fn locks_of_accounts_go() {
        let mut tree = Tree::new();
        tree.file("etc/.pwd.lock", "").file("etc/shadow.lock", "1").file("etc/shadow", "");
        assert_eq!(tree.step(STEPS, "lock/account"), ["etc/.pwd.lock", "etc/shadow.lock"]);
        assert!(tree.has("etc/shadow"));
    }
}
