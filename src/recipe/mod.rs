//! Recipes: what an image is to be, as TOML.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
