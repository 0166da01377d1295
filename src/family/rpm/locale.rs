//! The locale of an image: its files are in a package of the distribution, which the lock has where it is needed.

use anyhow::{Result, bail};

use crate::customise::locale::LocaleName;
use crate::plan::Plan;
use crate::root::Root;

/// Makes sure that the locale of the plan is there, and has programs use it.
pub fn make_locale(plan: &Plan, root: &Root) -> Result<()> {
    let name = &plan.system.locale;
    let locale = LocaleName::parse(name)?;
    let folder = format!("usr/lib/locale/{}", locale.folder());
    if !locale.is_built_in() && !root.exists(&folder) && !root.exists("usr/lib/locale/locale-archive") {
        bail!("the image has no locale {name}: there is no /{folder}; include the package that brings it");
    }
    // locale.conf(5); the folder is a package's where there is one.
    root.create_dir_all("etc", 0o755)?;
    root.write("etc/locale.conf", format!("LANG={name}\n"), 0o644)
}
