//! What the image's apt reads from: `sources.list(5)` in deb822 style, which every apt since 1.1 understands.
//!
//! The distribution's own repositories stand in one file (`debian.sources`), others in a file each, with their key
//! beside (`/etc/apt/keyrings`). Only the image's mirror is written, never the one of the build.

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::{Context as _, Result, bail};
use pgp::armor::Dearmor;

use super::container;
use crate::error::usage;
use crate::plan::{Key, Plan, Repository};
use crate::root::Root;

const SOURCES: &str = "etc/apt/sources.list.d";
const KEYRINGS: &str = "etc/apt/keyrings";
/// The one-line style list of older releases and of debootstrap.
const OLD_LIST: &str = "etc/apt/sources.list";
/// RFC 9580 section 6.2: the lines around an armoured certificate.
const ARMOUR: [&str; 2] = ["-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"];

/// One stanza: repositories that differ in their suite only.
#[derive(Debug, PartialEq, Eq)]
struct Stanza {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: String,
    trusted: bool,
    check_valid_until: bool,
}

/// Writes apt's sources and keys, and the settings of apt and dpkg for a container. Without apt in the tree only
/// those of dpkg.
pub fn configure_repositories(plan: &Plan, root: &Root) -> Result<()> {
    let has_apt = root.exists("usr/bin/apt-get");
    container::configure(plan, has_apt, root)?;
    if !has_apt {
        return Ok(());
    }
    let own_name = distribution(plan, root)?;
    let mut keyrings = Keyrings::default();
    let mut files: BTreeMap<String, Vec<Stanza>> = BTreeMap::new();
    for repository in plan.repositories.iter().filter(|r| !r.build_only) {
        check(repository)?;
        let own = is_of_distribution(repository, plan);
        let name = if own { own_name.clone() } else { file_name(&repository.name) };
        let stanza = Stanza {
            uri: repository.image_url.clone(),
            suites: vec![repository.suite.clone()],
            components: if is_flat(repository) { Vec::new() } else { repository.components.clone() },
            signed_by: keyrings.signed_by(repository, &name, root)?,
            trusted: repository.trusted,
            check_valid_until: repository.check_valid_until,
        };
        let stanzas = files.entry(name).or_default();
        match stanzas.iter_mut().find(|s| s.differs_in_suites_only(&stanza)) {
            Some(same) => same.suites.extend(stanza.suites),
            None => stanzas.push(stanza),
        }
    }
    keyrings.write(root)?;
    root.create_dir_all(SOURCES, 0o755)?;
    for (name, stanzas) in &files {
        let text: Vec<String> = stanzas.iter().map(Stanza::to_text).collect();
        root.write(format!("{SOURCES}/{name}.sources"), text.join("\n"), 0o644)?;
    }
    root.remove_file(OLD_LIST)?;
    Ok(())
}

impl Stanza {
    fn differs_in_suites_only(&self, other: &Stanza) -> bool {
        let rest =
            |s: &Stanza| (s.uri.clone(), s.components.clone(), s.signed_by.clone(), s.trusted, s.check_valid_until);
        rest(self) == rest(other)
    }

    fn to_text(&self) -> String {
        let mut text = format!("Types: deb\nURIs: {}\nSuites: {}\n", self.uri, self.suites.join(" "));
        for (field, value) in [
            ("Components", self.components.join(" ").as_str()),
            ("Signed-By", &self.signed_by),
            ("Trusted", if self.trusted { "yes" } else { "" }),
            ("Check-Valid-Until", if self.check_valid_until { "" } else { "no" }),
        ] {
            if !value.is_empty() {
                text.push_str(&format!("{field}: {value}\n"));
            }
        }
        text
    }
}

/// The keyrings to be written: path in the tree to content.
#[derive(Default)]
struct Keyrings(BTreeMap<String, Vec<u8>>);

impl Keyrings {
    /// The value of `Signed-By`: the keyring that a package of the image owns, else one with the recipe's keys. Empty
    /// for a repository that is trusted without a key.
    fn signed_by(&mut self, repository: &Repository, name: &str, root: &Root) -> Result<String> {
        if !repository.image_key.is_empty() && root.exists(&repository.image_key) {
            return Ok(repository.image_key.clone());
        }
        if repository.keys.is_empty() {
            if repository.trusted {
                return Ok(String::new());
            }
            bail!("repository '{}' has no key to write into the image", repository.name);
        }
        let (extension, content) = keyring(&repository.keys)
            .with_context(|| format!("writing the keys of repository '{}' into the image", repository.name))?;
        let mut path = format!("{KEYRINGS}/{name}.{extension}");
        if self.0.get(&path).is_some_and(|other| *other != content) {
            path = format!("{KEYRINGS}/{name}-{}.{extension}", file_name(&repository.name));
        }
        let signed_by = format!("/{path}");
        self.0.insert(path, content);
        Ok(signed_by)
    }

    fn write(&self, root: &Root) -> Result<()> {
        if !self.0.is_empty() {
            root.create_dir_all(KEYRINGS, 0o755)?;
        }
        // Readable by all: apt drops to the user _apt to verify.
        self.0.iter().try_for_each(|(path, content)| root.write(path, content, 0o644))
    }
}

/// One keyring file of several keys, and its extension, from which apt knows the format. A single armoured block
/// stays readable (`asc`); several become binary (`gpg`), because apt up to 2.2 stops at the first block's end.
fn keyring(keys: &[Key]) -> Result<(&'static str, Vec<u8>)> {
    let mut blocks = Vec::new();
    let mut binary = Vec::new();
    for key in keys {
        let text = String::from_utf8_lossy(&key.data);
        let mut armoured = false;
        for after in text.split(ARMOUR[0]).skip(1) {
            let Some((body, _)) = after.split_once(ARMOUR[1]) else {
                bail!("{}: an armoured key is cut off", key.name)
            };
            armoured = true;
            let block = format!("{}{}{}\n", ARMOUR[0], body.replace('\r', ""), ARMOUR[1]);
            Dearmor::new(block.as_bytes())
                .read_to_end(&mut binary)
                .with_context(|| format!("reading the armoured key {}", key.name))?;
            blocks.push(block);
        }
        if !armoured {
            binary.extend_from_slice(&key.data);
        }
    }
    match (blocks.as_slice(), keys) {
        ([block], [_]) => Ok(("asc", block.clone().into_bytes())),
        _ => Ok(("gpg", binary)),
    }
}

/// Whether a repository is one of the distribution itself: the first one of a recipe is, and those signed by the same
/// keyring are.
fn is_of_distribution(repository: &Repository, plan: &Plan) -> bool {
    plan.repositories.first().is_some_and(|first| {
        let same_keys = repository.image_key == first.image_key
            && (!first.image_key.is_empty() || (repository.keys == first.keys && !first.keys.is_empty()));
        same_keys || repository.name == first.name
    })
}

/// The distribution's name as `os-release(5)` of the tree has it (`debian`), else the recipe's.
fn distribution(plan: &Plan, root: &Root) -> Result<String> {
    let release = root.read_text_if_there("etc/os-release")?.unwrap_or_default();
    let id = release.lines().find_map(|l| l.strip_prefix("ID=")).map(|id| id.trim_matches(['"', '\'']));
    Ok(file_name(id.filter(|id| !id.is_empty()).unwrap_or(&plan.name)))
}

/// apt passes over files whose names hold anything else, sources.list(5).
fn file_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    name.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

/// A suite that is a path: it ends with a slash and has no components.
fn is_flat(repository: &Repository) -> bool {
    repository.suite.ends_with('/')
}

/// Refuses what must not stand in a file that everyone with the image can read, or would break its syntax.
fn check(repository: &Repository) -> Result<()> {
    let Repository { name, image_url, suite, components, .. } = repository;
    let authority = image_url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    if authority.contains('@') {
        return Err(usage(format!(
            "the address of repository '{name}' in the image holds a user name or password, which everyone with the \
             image could read; leave them out of mirror.image.{name} and the repository's url"
        )));
    }
    let breaks = |s: &str| s.is_empty() || s.contains(|c: char| c.is_whitespace() || c.is_control());
    if breaks(image_url) || breaks(suite) || components.iter().any(|c| breaks(c)) {
        return Err(usage(format!(
            "repository '{name}': url, suite and components must not be empty and must not hold spaces"
        )));
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
