//! Recipes: what an image is to be, as TOML.
//!
//! [`load`] goes all the way: `source` finds a recipe and those it extends, `node` parses them with places kept,
//! `schema` knows every key, `merge` and `set` join them with the command line, `plan` makes the choices.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::Plan;

mod choose;
mod digest;
mod keys;
mod merge;
mod node;
mod plan;
mod repositories;
mod schema;
mod set;
mod snapshot;
mod source;
mod values;

#[cfg(test)]
mod distributions_test;
#[cfg(test)]
mod reference_test;
#[cfg(test)]
mod sources_tests;
#[cfg(test)]
mod tests;

pub use choose::Download;
pub use keys::KEY_LIMIT;
pub use set::split as split_setting;
pub use source::{lock_path, names, text};
pub use values::{Address, name as check_name};

/// What the command line changes in a recipe.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Release or alias; the one after the colon of the spec says the same.
    pub release: Option<String>,
    /// Architecture, in any spelling.
    pub arch: Option<String>,
    /// Variant.
    pub variant: Option<String>,
    /// Packages to install besides those of the recipe.
    pub include: Vec<String>,
    /// Mirrors of the build: name of a repository, address. One name may have several. May hold credentials.
    pub mirrors: Vec<(String, String)>,
    /// User names and passwords of repositories, see [`credentials`].
    pub auth: Vec<(String, String)>,
    /// `KEY=VALUE` each, in turn.
    pub sets: Vec<String>,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970.
    pub epoch: Option<i64>,
}

/// The plan of `RECIPE[:RELEASE]`, where RECIPE is a built-in name or the path of a file.
///
/// `download` fetches a key that the recipe names by address, at most [`KEY_LIMIT`] bytes; it is not called for
/// recipes without such keys. Whatever is wrong with the recipe or the overrides is a usage error.
pub fn load(spec: &str, overrides: &Overrides, download: Download<'_>) -> anyhow::Result<Plan> {
    let spec = source::parse_spec(spec)?;
    plan::make(source::load(&spec.recipe)?, spec.release.as_deref(), overrides, download)
}

/// The plan of a built-in recipe that the program itself uses, and that is none of [`names`]: for the host's
/// architecture. It names no keys by address.
pub fn load_own(name: &'static str, overrides: &Overrides) -> anyhow::Result<Plan> {
    let download = |url: &str| anyhow::bail!("a built-in recipe of the program's own names a key by address: {url}");
    plan::make(source::load(&source::Which::BuiltIn(name))?, None, overrides, &download)
}

/// The family of `RECIPE[:RELEASE]`, before any choice is made.
pub fn family_of(spec: &str) -> anyhow::Result<FamilyKind> {
    choose::family(&source::load(&source::parse_spec(spec)?.recipe)?)
}

/// The package families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FamilyKind {
    /// Debian, Ubuntu and what descends from them.
    Deb,
    /// Fedora, RHEL and what descends from them.
    Rpm,
    /// Alpine.
    Apk,
}

/// `[system]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct System {
    /// IANA time zone name.
    pub timezone: String,
    /// Locale name with charset.
    pub locale: String,
    /// Keep documentation and manual pages.
    pub docs: bool,
}

impl Default for System {
    fn default() -> Self {
        System { timezone: "Etc/UTC".into(), locale: "C.UTF-8".into(), docs: false }
    }
}

/// `[[user]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserAccount {
    /// Login name.
    pub name: String,
    /// User id; the next free one from 1000 when left out.
    pub uid: Option<u32>,
    /// Group id of the user's own group; the user id when left out.
    pub gid: Option<u32>,
    /// Supplementary groups, which must exist.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Home folder; `/home/NAME` when left out.
    pub home: Option<String>,
    /// Login shell; `/bin/sh` when left out.
    pub shell: Option<String>,
    /// A system account: ids from 999 downwards, no home folder.
    #[serde(default)]
    pub system: bool,
}

/// `[image]`: goes to the Dockerfile and to every image config.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Image {
    /// Default command, exec form.
    pub cmd: Vec<String>,
    /// Entry point, exec form.
    pub entrypoint: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// OCI labels.
    pub labels: BTreeMap<String, String>,
    /// User the command runs as.
    pub user: String,
    /// Working directory.
    pub workdir: String,
}

/// The beginning of the variables with user names and passwords: `MKBASE_AUTH_CORP_DEV` is for the repository `corp-dev`.
const AUTH: &str = "MKBASE_AUTH_";

/// The credentials in the environment: the end of each variable's name, and its `user:password`.
pub fn credentials() -> Vec<(String, String)> {
    let text = |text: std::ffi::OsString| text.into_string().ok();
    let variables = std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?)));
    variables.filter_map(|(name, value)| Some((name.strip_prefix(AUTH)?.to_string(), value))).collect()
}

/// `SOURCE_DATE_EPOCH` in seconds since 1970, if it is set. Nothing else reads it.
pub fn source_date_epoch() -> anyhow::Result<Option<i64>> {
    let value = std::env::var_os("SOURCE_DATE_EPOCH");
    values::epoch(value.as_deref().map(std::ffi::OsStr::to_string_lossy).as_deref()).map_err(crate::error::usage)
}
