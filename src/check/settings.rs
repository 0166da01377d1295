//! What an image should be like, from its recipe or from what the tree claims of itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::clean::is_documentation;
use crate::recipe::System;
use crate::root::{Kind, Root};

/// What the checks compare a tree with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Time zone, locale, documentation.
    pub system: System,
    /// The time that replaced clock values, in seconds since 1970.
    pub epoch: i64,
    /// The files that the recipe placed.
    pub placed: BTreeSet<PathBuf>,
    /// Clean steps and groups that the recipe skips.
    pub clean_skip: Vec<String>,
}

impl Settings {
    /// The settings of a tree whose recipe is not known: the time zone and the locale it says it has, documentation
    /// if there is any.
    pub fn of_tree(root: &Root) -> Result<Settings> {
        let default = System::default();
        let system = System {
            timezone: timezone(root)?.unwrap_or(default.timezone),
            locale: locale(root)?.unwrap_or(default.locale),
            docs: has_docs(root)?,
        };
        Ok(Settings { system, epoch: epoch(root)?, placed: BTreeSet::new(), clean_skip: Vec::new() })
    }
}

fn timezone(root: &Root) -> Result<Option<String>> {
    let written = root.read_text_if_there("etc/timezone")?;
    if let Some(name) = written.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
        return Ok(Some(name.to_string()));
    }
    if root.lstat("etc/localtime")?.is_none_or(|s| crate::root::kind(&s) != Kind::Link) {
        return Ok(None);
    }
    let target = root.read_link("etc/localtime")?;
    Ok(target.to_str().and_then(|t| t.split_once("zoneinfo/")).map(|(_, name)| name.to_string()))
}

/// `LANG` as the login programs of Debian and of systemd read it, and as shells do where it is set for them alone.
pub(super) fn locale(root: &Root) -> Result<Option<String>> {
    for path in ["etc/default/locale", "etc/locale.conf", crate::customise::locale::PROFILE] {
        let text = root.read_text_if_there(path)?.unwrap_or_default();
        let assigned = |line| str::trim(line).trim_start_matches("export ").strip_prefix("LANG=");
        let value = text.lines().filter_map(assigned).next_back();
        if let Some(value) = value.map(|v| v.trim_matches(['"', '\''])).filter(|v| !v.is_empty()) {
            return Ok(Some(value.to_string()));
        }
    }
    Ok(None)
}

fn has_docs(root: &Root) -> Result<bool> {
    for folder in ["usr/share/doc", "usr/share/man"] {
        if root.walk(folder)?.iter().any(|e| e.kind() == Kind::File && is_documentation(&e.path)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The epoch as far as the tree tells: the first day in `/etc/shadow`, with which all others must agree.
pub(super) fn epoch(root: &Root) -> Result<i64> {
    let shadow = root.read_text_if_there(Path::new("etc/shadow"))?.unwrap_or_default();
    let day = |line: &str| line.split(':').nth(2)?.parse::<i64>().ok().filter(|day| *day > 0);
    Ok(shadow.lines().find_map(day).unwrap_or(0).saturating_mul(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clean::testing::Tree;

    #[test]
    fn a_tree_tells_its_settings() {
        let mut tree = Tree::new();
        let settings = Settings::of_tree(&tree.root).expect("settings");
        assert_eq!((settings.system, settings.epoch), (System::default(), 0));
        tree.link("/usr/share/zoneinfo/Asia/Shanghai", "etc/localtime")
            .file("etc/default/locale", "LANG=\"zh_CN.UTF-8\"\n");
        tree.file("usr/share/man/man1/a.1", "x").file("etc/shadow", "root:*:0::::::\napp:*:100::::::\n");
        let settings = Settings::of_tree(&tree.root).expect("settings");
        assert_eq!(settings.system.timezone, "Asia/Shanghai");
        assert_eq!(settings.system.locale, "zh_CN.UTF-8");
        assert_eq!((settings.system.docs, settings.epoch), (true, 100 * 86_400));
        tree.file("etc/timezone", "Europe/Rome\n");
        assert_eq!(Settings::of_tree(&tree.root).expect("settings").system.timezone, "Europe/Rome");
    }
}
