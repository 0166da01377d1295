//! The locale of an image: its files are in a package of the distribution, which the lock has where it is needed.

use anyhow::Result;

use crate::customise::locale::LocaleName;
use crate::error::usage;
use crate::plan::Plan;
use crate::root::Root;

/// Makes sure that the locale of the plan is there, and has programs use it.
pub fn make_locale(plan: &Plan, root: &Root) -> Result<()> {
    let name = &plan.system.locale;
    let locale = LocaleName::parse(name)?;
    let folder = format!("usr/lib/locale/{}", locale.folder());
    if !locale.is_built_in() && !root.exists(&folder) && !root.exists("usr/lib/locale/locale-archive") {
        return Err(usage(format!(
            "system.locale: the image has no '{name}': there is no /{folder}; add the package that brings it to \
             packages.include"
        )));
    }
    // locale.conf(5); the folder is a package's where there is one.
    root.create_dir_all("etc", 0o755)?;
    root.write("etc/locale.conf", format!("LANG={name}\n"), 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clean::testing::Tree;
    use crate::error::{Exit, exit_code};
    use crate::plan::testing::plan;

    #[test]
    fn a_locale_that_is_there_becomes_the_default() {
        let mut plan = plan();
        let mut tree = Tree::new();
        make_locale(&plan, &tree.root).expect("every system has C.UTF-8");
        assert_eq!(tree.text("etc/locale.conf"), "LANG=C.UTF-8\n");
        plan.system.locale = "de_DE.UTF-8".into();
        let error = make_locale(&plan, &tree.root).expect_err("not there");
        assert!(exit_code(&error) == Exit::Usage && error.to_string().contains("/usr/lib/locale/de_DE.utf8;"));
        tree.file("usr/lib/locale/de_DE.utf8/LC_CTYPE", "x");
        make_locale(&plan, &tree.root).expect("now it is");
        assert_eq!(tree.text("etc/locale.conf"), "LANG=de_DE.UTF-8\n");
        plan.system.locale = "fr_FR.UTF-8".into();
        tree.file("usr/lib/locale/locale-archive", "x");
        make_locale(&plan, &tree.root).expect("perhaps there, which a check finds out");
    }
}
