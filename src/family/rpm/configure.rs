//! The package manager's configuration in an image: the repositories it is left with, and how dnf and rpm behave in a
//! container.

use anyhow::Result;

use super::repofile::RepoFile;
use super::{repositories, systemd};
use crate::plan::Plan;
use crate::root::{Kind, Root, kind};

/// Read by every rpm after the macros of packages, so that it holds for rpm, yum, microdnf and each dnf alike.
const MACROS: &str = "etc/rpm/macros.image";
/// Settings of dnf 4 and microdnf, which have no place for additions.
const DNF: &str = "etc/dnf/dnf.conf";
/// Additions to those of dnf 5, dnf5.conf(5).
const DNF5: &str = "etc/dnf/libdnf5.conf.d";
/// Programs that read dnf.conf alone.
const DNF4: [&str; 2] = ["usr/bin/dnf-3", "usr/bin/microdnf"];

/// Writes all of it.
pub fn configure(plan: &Plan, root: &Root) -> Result<()> {
    repositories::configure(plan, root)?;
    variables(root)?;
    macros(plan, root)?;
    if !plan.packages.recommends {
        without_weak_dependencies(root)?;
    }
    systemd::configure(root)
}

/// Languages and documentation of packages that are installed later: as in the image itself. A file of its own: the
/// settings of dnf that do the same (`tsflags`) are in a file of its package, and rpm does not read them.
fn macros(plan: &Plan, root: &Root) -> Result<()> {
    root.create_dir_all("etc/rpm", 0o755)?;
    let mut macros = format!("%_install_langs {}\n", plan.system.locale);
    if !plan.system.docs {
        macros.push_str("%_excludedocs 1\n");
    }
    root.write(MACROS, macros, 0o644)
}

/// What this is, for whoever counts machines at mirror lists.
fn variables(root: &Root) -> Result<()> {
    // With dnf the second is a link to the first, or is not there.
    for folder in ["etc/dnf", "etc/yum"] {
        if !root.lstat(folder)?.is_some_and(|stat| kind(&stat) == Kind::Dir) {
            continue;
        }
        let variables = format!("{folder}/vars");
        if root.lstat(&variables)?.is_none_or(|stat| kind(&stat) == Kind::Dir) {
            root.create_dir_all(&variables, 0o755)?;
            root.write(format!("{variables}/infra"), "container\n", 0o644)?;
        }
    }
    Ok(())
}

/// Has the image's dnf leave out what packages only recommend, as the image itself does.
fn without_weak_dependencies(root: &Root) -> Result<()> {
    const KEY: &str = "install_weak_deps";
    if root.exists(DNF5) {
        root.write(format!("{DNF5}/20-image.conf"), format!("[main]\n{KEY}=False\n"), 0o644)?;
    }
    if !DNF4.iter().any(|program| reads_dnf_conf(root, program)) {
        return Ok(());
    }
    let Some(text) = root.read_text_if_there(DNF)? else { return Ok(()) };
    let mut file = RepoFile::parse(&text);
    file.set("main", KEY, "False");
    let mode = root.stat(DNF)?.map_or(0o644, |stat| stat.st_mode & 0o7777);
    root.write(DNF, file.text(), mode)
}

/// The microdnf of dnf 5 is a link to it.
fn reads_dnf_conf(root: &Root, program: &str) -> bool {
    matches!(root.lstat(program), Ok(Some(stat)) if kind(&stat) == Kind::File)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clean::testing::Tree;
    use crate::plan::testing::plan;

    #[test]
    fn later_installations_are_as_this_one() {
        let tree = Tree::new();
        let mut plan = plan();
        configure(&plan, &tree.root).expect("configured");
        assert_eq!(tree.text(MACROS), "%_install_langs C.UTF-8\n%_excludedocs 1\n");
        assert!(!tree.has("etc/dnf") && !tree.has("etc/yum"), "nothing for a dnf that is not there");
        plan.system.docs = true;
        configure(&plan, &tree.root).expect("configured");
        assert_eq!(tree.text(MACROS), "%_install_langs C.UTF-8\n");
    }

    #[test]
    fn weak_dependencies_are_left_out_where_the_image_does() {
        let setting = "install_weak_deps=False\n";
        let mut tree = Tree::new();
        tree.file("usr/bin/dnf-3", "").file(DNF, "[main]\ngpgcheck=1\n\n# the end\n").mode(DNF, 0o640);
        let mut plan = plan();
        configure(&plan, &tree.root).expect("configured");
        assert_eq!(tree.text(DNF), format!("[main]\ngpgcheck=1\n\n# the end\n{setting}"));
        assert_eq!(tree.mode_of(DNF), 0o640);

        let mut tree = Tree::new();
        tree.file("usr/bin/dnf5", "").link("dnf5", "usr/bin/microdnf").folder(DNF5).file(DNF, "[main]\n");
        plan.packages.recommends = true;
        configure(&plan, &tree.root).expect("configured");
        assert!(!tree.has("etc/dnf/libdnf5.conf.d/20-image.conf"));
        plan.packages.recommends = false;
        configure(&plan, &tree.root).expect("configured");
        assert_eq!(tree.text("etc/dnf/libdnf5.conf.d/20-image.conf"), format!("[main]\n{setting}"));
        assert_eq!(tree.text(DNF), "[main]\n", "a configuration file that need not change");
    }

    #[test]
    fn the_image_says_that_it_is_a_container() {
        let mut tree = Tree::new();
        tree.folder("etc/dnf").link("../dnf/vars", "etc/yum/vars");
        configure(&plan(), &tree.root).expect("configured");
        assert_eq!(tree.text("etc/dnf/vars/infra"), "container\n");
        let mut tree = Tree::new();
        tree.file("etc/yum/vars/infra", "stock\n");
        configure(&plan(), &tree.root).expect("configured");
        assert_eq!(tree.text("etc/yum/vars/infra"), "container\n");
        assert!(!tree.has("etc/dnf"));
    }
}
