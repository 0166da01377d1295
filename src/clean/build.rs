//! Tools and settings that only the build needed.

use anyhow::Result;

use super::{Cleaner, Step};
use crate::root::Kind;

pub(super) const STEPS: &[Step] = &[
    Step {
        name: "build/qemu",
        sentence: "Emulators that were put into the tree to run programs of another architecture.",
        run: qemu,
    },
    Step {
        name: "build/git",
        sentence: "The .git folders of checked-out sources, with history, addresses and perhaps credentials.",
        run: git,
    },
    Step { name: "build/proxy", sentence: "Proxies of the build in /etc/environment.", run: proxy },
    Step {
        name: "build/credentials",
        sentence: "Passwords and tokens in .netrc and .git-credentials of every home folder.",
        run: credentials,
    },
];

fn qemu(cleaner: &mut Cleaner<'_>) -> Result<()> {
    let mut emulators = cleaner.named("usr/bin", |name| name.starts_with("qemu-") && name.ends_with("-static"))?;
    emulators.extend(cleaner.named("usr/libexec/qemu-binfmt", |_| true)?);
    emulators.into_iter().try_for_each(|path| cleaner.remove_unowned(path))
}

fn git(cleaner: &mut Cleaner<'_>) -> Result<()> {
    for entry in cleaner.root.walk("")? {
        // A folder of that name that is no repository is somebody's data.
        if entry.path.ends_with(".git") && entry.kind() == Kind::Dir && cleaner.root.exists(entry.path.join("HEAD")) {
            cleaner.remove_unowned(entry.path)?;
        }
    }
    Ok(())
}

/// Whether a line of `/etc/environment` (pam_env(8)) sets a proxy.
fn is_proxy(line: &str) -> bool {
    let line = line.trim_start();
    let name = line.strip_prefix("export ").unwrap_or(line).split('=').next().unwrap_or_default().trim();
    let name = name.to_ascii_lowercase();
    ["http_proxy", "https_proxy", "ftp_proxy", "rsync_proxy", "all_proxy", "no_proxy"].contains(&name.as_str())
}

fn proxy(cleaner: &mut Cleaner<'_>) -> Result<()> {
    const PATH: &str = "etc/environment";
    let Some(text) = cleaner.root.read_text_if_there(PATH)? else { return Ok(()) };
    let kept: String = text.split_inclusive('\n').filter(|line| !is_proxy(line)).collect();
    if kept == text { Ok(()) } else { cleaner.write(PATH, &kept, 0o644) }
}

fn credentials(cleaner: &mut Cleaner<'_>) -> Result<()> {
    for home in cleaner.homes()? {
        cleaner.remove_unowned(home.join(".netrc"))?;
        cleaner.remove_unowned(home.join(".git-credentials"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::STEPS;

    #[test]
    fn emulators_go_unless_a_package_ships_them() {
        let mut tree = Tree::new();
        tree.file("usr/bin/qemu-arm-static", "x").file("usr/bin/qemu-s390x-static", "x").file("usr/bin/qemu-img", "x");
        tree.owns("usr/bin/qemu-s390x-static");
        assert_eq!(tree.step(STEPS, "build/qemu"), ["usr/bin/qemu-arm-static"]);
    }

    #[test]
    fn repositories_go_and_what_they_hold_stays() {
        let mut tree = Tree::new();
        tree.file("opt/app/.git/HEAD", "ref").file("opt/app/.git/objects/x", "x").file("opt/app/main.c", "x");
        tree.file("srv/.git/note", "x").file("usr/share/test/.git/HEAD", "x").owns("usr/share/test/.git/HEAD");
        tree.step(STEPS, "build/git");
        assert!(!tree.has("opt/app/.git") && tree.has("opt/app/main.c"));
        assert!(tree.has("srv/.git/note") && tree.has("usr/share/test/.git/HEAD"));
    }

    #[test]
    fn proxies_go_from_the_environment() {
        let mut tree = Tree::new();
        tree.file("etc/environment", "PATH=/bin\nhttp_proxy=http://u:p@10.0.0.1\nexport HTTPS_PROXY=x\nLANG=C\n");
        tree.step(STEPS, "build/proxy");
        assert_eq!(tree.text("etc/environment"), "PATH=/bin\nLANG=C\n");
    }

    #[test]
    fn credentials_go_unless_the_recipe_placed_them() {
        let mut tree = Tree::new();
        tree.file("root/.netrc", "x").file("root/.git-credentials", "x").places("root/.netrc");
        assert_eq!(tree.step(STEPS, "build/credentials"), ["root/.git-credentials"]);
    }
}
