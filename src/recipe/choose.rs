//! What is chosen among what a recipe offers: release, variant, architecture.

use std::collections::BTreeMap;

use super::node::Node;
use super::schema::RECIPE;
use super::snapshot::Snapshot;
use super::{FamilyKind, Overrides, merge, values};
use crate::arch::{self, Arch};
use crate::error::{did_you_mean, usage};

/// Fetches a key from an address.
pub type Download<'a> = &'a dyn Fn(&str) -> anyhow::Result<Vec<u8>>;

/// What was chosen among what a recipe offers.
pub struct Choice<'a> {
    /// Name of the image.
    pub name: String,
    /// Package family.
    pub family: FamilyKind,
    /// Every release, by its canonical name.
    pub releases: Vec<String>,
    /// Other names of releases.
    pub aliases: BTreeMap<String, String>,
    /// The chosen release.
    pub release: String,
    /// The chosen architecture.
    pub arch: &'static Arch,
    /// What `{…}` stands for.
    pub placeholders: BTreeMap<&'static str, String>,
    /// The moment that dated archives are read at.
    pub snapshot: Option<Snapshot>,
    /// How keys are fetched.
    pub download: Download<'a>,
}

impl Choice<'_> {
    /// The canonical name of a release or alias, or what is wrong with it.
    pub fn canonical_release(&self, name: &str) -> Result<String, String> {
        canonical_release(&self.releases, &self.aliases, name)
    }
}

/// All releases and aliases. A recipe that lists none has the one it names.
pub fn releases(recipe: &Node) -> (Vec<String>, BTreeMap<String, String>) {
    let mut releases: Vec<String> =
        recipe.list_of("releases").iter().filter_map(Node::text).map(str::to_string).collect();
    if releases.is_empty() {
        releases.extend(recipe.text_of("release").map(str::to_string));
    }
    let aliases = recipe
        .entries_of("aliases")
        .filter_map(|(name, node)| node.text().map(|release| (name.to_string(), release.to_string())))
        .collect();
    (releases, aliases)
}

pub fn canonical_release(
    releases: &[String],
    aliases: &BTreeMap<String, String>,
    name: &str,
) -> Result<String, String> {
    let canonical = aliases.get(name).map_or(name, String::as_str);
    if releases.iter().any(|release| release == canonical) {
        return Ok(canonical.to_string());
    }
    let known = releases.iter().chain(aliases.keys()).map(String::as_str);
    Err(format!("unknown release '{name}'{} (there are {})", did_you_mean(name, known), releases.join(", ")))
}

pub fn choose_release(
    recipe: &Node,
    releases: &[String],
    aliases: &BTreeMap<String, String>,
    asked: Option<&str>,
    overrides: &Overrides,
) -> anyhow::Result<String> {
    for (alias, node) in recipe.entries_of("aliases") {
        let target = node.text().unwrap_or_default();
        if !releases.iter().any(|release| release == target) {
            let hint = did_you_mean(target, releases.iter().map(String::as_str));
            return Err(node.refuse(&format!("aliases.{alias}"), format!("unknown release '{target}'{hint}")));
        }
    }
    let chosen = match (asked, overrides.release.as_deref()) {
        (Some(one), Some(two)) if one != two => {
            return Err(usage(format!("two releases are asked for: {one} and {two}")));
        }
        (Some(name), _) | (None, Some(name)) => canonical_release(releases, aliases, name).map_err(usage)?,
        (None, None) => {
            let node = recipe
                .get("release")
                .ok_or_else(|| usage(format!("{}: the recipe has no release: add one", recipe.origin.source.name)))?;
            let name = node.text().unwrap_or_default();
            canonical_release(releases, aliases, name).map_err(|error| node.refuse("release", error))?
        }
    };
    // It becomes part of addresses and file names.
    values::name(&chosen).map_err(|error| usage(format!("release: {error}")))?;
    Ok(chosen)
}

pub fn choose_variant(recipe: &Node, overrides: &Overrides) -> anyhow::Result<String> {
    let known: Vec<_> = recipe.entries_of("variant").map(|(name, _)| name).collect();
    let unknown = |name: &str| {
        let hint = did_you_mean(name, known.iter().copied());
        let list =
            if known.is_empty() { "the recipe has none".into() } else { format!("there are {}", known.join(", ")) };
        format!("unknown variant '{name}'{hint} ({list})")
    };
    match (overrides.variant.as_deref(), recipe.get("default_variant")) {
        (Some(name), _) if known.contains(&name) => Ok(name.to_string()),
        (Some(name), _) => Err(usage(unknown(name))),
        (None, Some(node)) => {
            let name = node.text().unwrap_or_default();
            if known.contains(&name) { Ok(name.to_string()) } else { Err(node.refuse("variant", unknown(name))) }
        }
        (None, None) if known.is_empty() => Ok(String::new()),
        (None, None) => Err(usage(format!("choose a variant: there are {}", known.join(", ")))),
    }
}

/// Merges the table of the chosen release or variant over the rest.
pub fn overlay(
    recipe: &mut Node,
    key: &str,
    chosen: &str,
    canonical: impl Fn(&str) -> Result<String, String>,
) -> anyhow::Result<()> {
    let mut over = Vec::new();
    for (name, node) in recipe.entries_of(key) {
        if canonical(name).map_err(|error| node.refuse(&format!("{key}.{name}"), error))? == chosen {
            over.push(node.clone());
        }
    }
    for mut node in over {
        if let Some(table) = node.table_mut() {
            // It describes the variant, not the recipe.
            table.remove("description");
        }
        merge::merge(recipe, node, RECIPE);
    }
    Ok(())
}

pub fn family(recipe: &Node) -> anyhow::Result<FamilyKind> {
    let node = recipe
        .get("family")
        .ok_or_else(|| usage(format!("{}: the recipe has neither extends nor family", recipe.origin.source.name)))?;
    match node.text().unwrap_or_default() {
        "deb" => Ok(FamilyKind::Deb),
        "rpm" => Ok(FamilyKind::Rpm),
        "apk" => Ok(FamilyKind::Apk),
        other => {
            let hint = did_you_mean(other, ["deb", "rpm", "apk"]);
            Err(node.refuse("family", format!("unknown family '{other}'{hint} (there are deb, rpm, apk)")))
        }
    }
}

pub fn name(recipe: &Node) -> anyhow::Result<String> {
    let node = recipe
        .get("name")
        .ok_or_else(|| usage(format!("{}: the recipe has no name: add one", recipe.origin.source.name)))?;
    let name = node.text().unwrap_or_default();
    values::name(name).map_err(|error| node.refuse("name", error))?;
    Ok(name.to_string())
}

pub fn choose_arch(recipe: &Node, release: &str, overrides: &Overrides) -> anyhow::Result<&'static Arch> {
    let mut known = Vec::new();
    for node in recipe.list_of("archs") {
        known.push(arch::from_name(node.text().unwrap_or_default()).map_err(|error| node.refuse("archs", error))?);
    }
    let chosen = match (overrides.arch.as_deref(), recipe.get("arch")) {
        (Some(name), _) => arch::from_name(name)?,
        (None, Some(node)) => {
            arch::from_name(node.text().unwrap_or_default()).map_err(|error| node.refuse("arch", error))?
        }
        (None, None) => arch::host()?,
    };
    if recipe.get("archs").is_some() && !known.contains(&chosen) {
        let list: Vec<_> = known.iter().map(|arch| arch.deb).collect();
        return Err(usage(format!("{release} does not exist for {} (there are {})", chosen.deb, list.join(", "))));
    }
    Ok(chosen)
}
