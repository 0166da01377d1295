//! The plan: a recipe with every choice made and every placeholder filled. Plain values, no I/O behind them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::arch::Arch;
use crate::recipe::{FamilyKind, Image, System, UserAccount};

/// Everything the stages after it need to know.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the image.
    pub name: String,
    /// Package family.
    pub family: FamilyKind,
    /// Canonical release name (`trixie`, never `stable` or `13`).
    pub release: String,
    /// Architecture of the image.
    pub arch: &'static Arch,
    /// Chosen variant.
    pub variant: String,
    /// Repositories of this release, placeholders filled.
    pub repositories: Vec<Repository>,
    /// Packages to install.
    pub packages: Packages,
    /// What dnf and rpm need to know of the distribution.
    pub rpm: Rpm,
    /// Time zone, locale, documentation.
    pub system: System,
    /// Accounts to add.
    pub users: Vec<UserAccount>,
    /// Files to place.
    pub files: Vec<PlacedFile>,
    /// Scripts to run in the finished tree.
    pub scripts: Vec<Script>,
    /// Clean steps or groups to leave out.
    pub clean_skip: Vec<String>,
    /// Checks to leave out.
    pub check_skip: Vec<String>,
    /// What goes to the Dockerfile and to image configs.
    pub image: Image,
    /// `SOURCE_DATE_EPOCH` when it is set.
    pub epoch: Option<i64>,
    /// SHA-256 of the merged recipe, see [`crate::lock::Lock::recipe`].
    pub digest: String,
}

/// One repository, ready to be read.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Its name in the recipe.
    pub name: String,
    /// The distribution's own address; what the lock records. Without credentials. Empty where a list has it.
    pub url: String,
    /// The list of its mirrors (rpm), where that is what the recipe has: see [`Repository::list`].
    pub mirrorlist: Option<MirrorList>,
    /// Where this build fetches from, in turn; none where the list says it. May hold credentials: never printed or
    /// recorded.
    pub build_urls: Vec<String>,
    /// What the image is left with. Empty where that is the list.
    pub image_url: String,
    /// Suite; empty where the family has none. Ends with `/` for a flat repository.
    pub suite: String,
    /// Components, for suites.
    pub components: Vec<String>,
    /// The keys that may sign it: OpenPGP certificates (armoured or binary) or RSA public keys, by the name
    /// they have beside the recipe.
    pub keys: Vec<Key>,
    /// Use it without any signature. The one way round verification.
    pub trusted: bool,
    /// Refuse an index past its `Valid-Until`.
    pub check_valid_until: bool,
    /// The moment of a dated archive, in seconds since 1970: a newer index is refused.
    pub snapshot: Option<i64>,
    /// Pin priority of all its packages, as in `apt_preferences(5)`; none: what its own index says.
    pub priority: Option<i16>,
    /// Only packages that are asked for with this tag come from it (apk); empty: all.
    pub tag: String,
    /// Only used to make the image: it is not written into the image's package manager configuration.
    pub build_only: bool,
    /// `Signed-By` written into the image for it: a path in the image that a package owns. Empty: the keys
    /// themselves are written beside the source.
    pub image_key: String,
    /// Whether its index has a signature of its own (rpm): it must be there, is not looked at, or (none) must be good
    /// where it is there.
    pub signed_index: Option<bool>,
}

impl Repository {
    /// The list that says where it is. With a mirror of the build it has no say.
    pub fn list(&self) -> Option<&MirrorList> {
        self.mirrorlist.as_ref().filter(|_| self.build_urls.is_empty())
    }
}

/// A list of a repository's mirrors, `mirrorlist` of dnf.conf(5).
#[derive(Debug, Clone)]
pub struct MirrorList {
    /// Its address, without credentials.
    pub url: String,
    /// Where this build fetches it from. May hold credentials: never printed or recorded.
    pub full_url: String,
}

impl MirrorList {
    /// The address of a mirror with the credentials of the list, if they are on the same server: any other is the
    /// list's choice, not that of who has the password.
    pub fn with_credentials(&self, mirror: &str) -> String {
        /// Scheme and authority.
        fn server(url: &str) -> &str {
            let start = url.find("://").map_or(0, |at| at + 3);
            &url[..url[start..].find(['/', '?']).map_or(url.len(), |at| start + at)]
        }
        match mirror.strip_prefix(server(&self.url)) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{}{rest}", server(&self.full_url)),
            _ => mirror.to_owned(),
        }
    }
}

/// A key by its file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// File name, for messages and for the image.
    pub name: String,
    /// The file's bytes.
    pub data: Vec<u8>,
}

/// The packages asked for.
#[derive(Debug, Clone, Default)]
pub struct Packages {
    /// Names (for deb also `name=version`, `name/release`, `name:arch`; for apk what `world` may hold).
    pub include: Vec<String>,
    /// Names that must not be installed.
    pub exclude: Vec<String>,
    /// Install what packages recommend, too (deb).
    pub recommends: bool,
    /// Every package with one of these priorities too (deb).
    pub priorities: Vec<String>,
    /// In-house package files: absolute path, and the path as the recipe gives it.
    pub files: Vec<(PathBuf, String)>,
    /// Keys that in-house packages may be signed with, besides those of the repositories (rpm).
    pub keys: Vec<Key>,
    /// Install in-house packages without any signature (rpm).
    pub trusted: bool,
    /// What becomes of a scriptlet that fails (rpm).
    pub scriptlet_errors: ScriptletErrors,
}

/// What becomes of a scriptlet that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScriptletErrors {
    /// The build fails.
    #[default]
    Fail,
    /// It is told, and the build goes on.
    Warn,
}

/// What dnf and rpm need to know of a distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rpm {
    /// Folder of the RPM database in the image.
    pub dbpath: String,
    /// The platform that modules are built for (`platform:el9`); empty where there are none.
    pub module_platform_id: String,
    /// `$releasever` of dnf.
    pub releasever: String,
    /// The image's own rpm makes the database anew, for it does not read SQLite.
    pub rebuild: bool,
    /// Locales come in packages `glibc-langpack-LANGUAGE`.
    pub language_packs: bool,
}

impl Rpm {
    /// Folders that a database may be in: of Fedora and EL 10, and of earlier releases.
    pub const FOLDERS: [&str; 2] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm"];

    /// What holds where a recipe says nothing.
    pub fn of_release(release: &str) -> Rpm {
        Rpm {
            dbpath: Rpm::FOLDERS[0].to_owned(),
            module_platform_id: String::new(),
            releasever: release.to_owned(),
            rebuild: false,
            language_packs: true,
        }
    }
}

/// A file to place in the image, its content already read.
#[derive(Debug, Clone)]
pub struct PlacedFile {
    /// Absolute path in the image.
    pub path: String,
    /// Content.
    pub data: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner: a name in the image or a number.
    pub owner: String,
    /// Group: a name in the image or a number.
    pub group: String,
}

/// A script to run in the finished tree.
#[derive(Debug, Clone)]
pub struct Script {
    /// Passed to `/bin/sh -euc`.
    pub run: String,
    /// Extra environment.
    pub env: BTreeMap<String, String>,
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A plan of trixie for amd64 with nothing in it.
    pub fn plan() -> Plan {
        Plan {
            name: "test".into(),
            family: FamilyKind::Deb,
            release: "trixie".into(),
            arch: crate::arch::from_name("amd64").expect("a known architecture"),
            variant: "minbase".into(),
            repositories: Vec::new(),
            packages: Packages::default(),
            rpm: Rpm::of_release("trixie"),
            system: System::default(),
            users: Vec::new(),
            files: Vec::new(),
            scripts: Vec::new(),
            clean_skip: Vec::new(),
            check_skip: Vec::new(),
            image: Image::default(),
            epoch: None,
            digest: "11".repeat(32),
        }
    }

    /// A repository without keys, whose packages come from a mirror with a password.
    pub fn repository(name: &str, url: &str, suite: &str) -> Repository {
        Repository {
            name: name.into(),
            url: url.into(),
            mirrorlist: None,
            build_urls: vec!["http://user:secret@build.example.org/debian".into()],
            image_url: url.into(),
            suite: suite.into(),
            components: vec!["main".into()],
            keys: Vec::new(),
            trusted: false,
            check_valid_until: true,
            snapshot: None,
            priority: None,
            tag: String::new(),
            build_only: false,
            image_key: String::new(),
            signed_index: None,
        }
    }
}
