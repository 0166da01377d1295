//! Services that make no sense in a container: they are masked where systemd is there, as official images have it.

use std::path::Path;

use anyhow::Result;

use crate::root::{Kind, Root, kind};

/// What makes an image one with systemd.
const SYSTEMD: &str = "usr/lib/systemd/systemd";
/// Units of packages, and those of the administrator.
const UNITS: &str = "usr/lib/systemd/system";
const OWN: &str = "etc/systemd/system";
/// What a container engine has done already, what needs hardware or a console, and what would make state that a
/// container does not keep. `systemctl unmask` brings one back.
const MASKED: [&str; 11] = [
    "console-getty.service",
    "dev-hugepages.mount",
    "getty.target",
    "sys-fs-fuse-connections.mount",
    "systemd-firstboot.service",
    "systemd-logind.service",
    "systemd-machine-id-commit.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
];
/// What is started unless the administrator chose something else, which would be a desktop.
const TARGET: &str = "multi-user.target";
/// What scripts of System V read before they start anything: where there are such functions, it must be there.
const FUNCTIONS: [&str; 2] = ["etc/rc.d/init.d/functions", "etc/init.d/functions"];
const NETWORK: &str = "etc/sysconfig/network";

/// Settings of the init system, whichever the tree has.
pub fn configure(root: &Root) -> Result<()> {
    if root.exists(SYSTEMD) {
        for unit in MASKED.iter().filter(|unit| root.exists(Path::new(UNITS).join(unit))) {
            mask(root, unit)?;
        }
        default_target(root)?;
    }
    if FUNCTIONS.iter().any(|path| root.exists(path)) && !root.exists(NETWORK) {
        root.create_dir_all("etc/sysconfig", 0o755)?;
        root.write(NETWORK, "NETWORKING=yes\n", 0o644)?;
    }
    Ok(())
}

/// A unit that somebody wrote stays.
fn mask(root: &Root, unit: &str) -> Result<()> {
    let path = Path::new(OWN).join(unit);
    if root.lstat(&path)?.is_some_and(|stat| kind(&stat) != Kind::Link) {
        return Ok(());
    }
    root.create_dir_all(OWN, 0o755)?;
    root.symlink("/dev/null", path)
}

fn default_target(root: &Root) -> Result<()> {
    let path = Path::new(OWN).join("default.target");
    let is_desktop = match root.lstat(&path)? {
        None => true,
        Some(stat) => kind(&stat) == Kind::Link && root.read_link(&path)?.ends_with("graphical.target"),
    };
    let target = Path::new("/").join(UNITS).join(TARGET);
    if !is_desktop || !root.exists(&target) {
        return Ok(());
    }
    root.create_dir_all(OWN, 0o755)?;
    root.symlink(target, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clean::testing::Tree;

    fn unit(tree: &Tree, name: &str) -> Option<String> {
        let path = Path::new(OWN).join(name);
        tree.root.read_link(path).ok().map(|target| target.display().to_string())
    }

    #[test]
    fn units_that_are_there_are_masked() {
        let mut tree = Tree::new();
        tree.file(&format!("{UNITS}/getty.target"), "").file(&format!("{UNITS}/multi-user.target"), "");
        configure(&tree.root).expect("configured");
        assert!(!tree.has(OWN), "no systemd");
        tree.file(SYSTEMD, "").file(&format!("{UNITS}/systemd-udevd.service"), "");
        tree.file(&format!("{OWN}/systemd-udevd.service"), "[Service]\n");
        configure(&tree.root).expect("configured");
        configure(&tree.root).expect("and once more");
        assert_eq!(unit(&tree, "getty.target").as_deref(), Some("/dev/null"));
        assert_eq!(tree.text(&format!("{OWN}/systemd-udevd.service")), "[Service]\n", "somebody's own");
        assert!(unit(&tree, "console-getty.service").is_none(), "not there");
        assert_eq!(unit(&tree, "default.target").as_deref(), Some("/usr/lib/systemd/system/multi-user.target"));
    }

    #[test]
    fn a_chosen_target_stays() {
        for (chosen, stays) in [("rescue.target", true), ("graphical.target", false)] {
            let mut tree = Tree::new();
            tree.file(SYSTEMD, "").file(&format!("{UNITS}/multi-user.target"), "");
            tree.link(&format!("/{UNITS}/{chosen}"), &format!("{OWN}/default.target"));
            configure(&tree.root).expect("configured");
            assert_eq!(unit(&tree, "default.target").expect("a link").ends_with(chosen), stays, "{chosen}");
        }
    }

    #[test]
    fn scripts_of_system_v_find_their_network() {
        let mut tree = Tree::new();
        configure(&tree.root).expect("configured");
        assert!(!tree.has(NETWORK));
        tree.file("etc/rc.d/init.d/functions", "");
        configure(&tree.root).expect("configured");
        assert_eq!(tree.text(NETWORK), "NETWORKING=yes\n");
        tree.file(NETWORK, "NETWORKING=no\n");
        configure(&tree.root).expect("configured");
        assert_eq!(tree.text(NETWORK), "NETWORKING=no\n");
    }
}
