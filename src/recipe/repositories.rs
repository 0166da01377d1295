//! The repositories of a plan: those of the chosen release and architecture, with mirrors and keys.

use super::choose::Choice;
use super::keys::{self, PinnedKey};
use super::node::Node;
use super::source::fill;
use super::values::{self, Address};
use crate::arch;
use crate::error::did_you_mean;
use crate::plan::{Key, Repository};
use crate::recipe::FamilyKind;

/// A repository, and what the recipe pins of its keys.
pub struct Resolved {
    /// For the plan.
    pub repository: Repository,
    /// For the digest: which keys, whatever else their files say.
    pub pins: Vec<String>,
}

/// The repositories that the chosen release and architecture have.
pub fn resolve(recipe: &Node, choice: &Choice<'_>) -> anyhow::Result<Vec<Resolved>> {
    check_mirror_names(recipe)?;
    let mut out = Vec::new();
    for node in recipe.list_of("repository") {
        let name = node.text_of("name").unwrap_or_default();
        values::name(name).map_err(|error| node.refuse("repository", error))?;
        if applies(node, name, choice)? {
            out.push(one(recipe, node, name, choice)?);
        }
    }
    if out.is_empty() {
        return Err(crate::error::usage(format!(
            "{} has no repository for {} on {}: add a [[repository]]",
            choice.name,
            choice.release,
            choice.arch.name(choice.family)
        )));
    }
    Ok(out)
}

/// Whether a repository is meant for the chosen release and architecture. All its values are checked all the same.
fn applies(node: &Node, name: &str, choice: &Choice<'_>) -> anyhow::Result<bool> {
    let mut here = node.flag_of("enabled").unwrap_or(true);
    if node.get("releases").is_some() {
        let mut listed = false;
        for release in node.list_of("releases") {
            let text = release.text().unwrap_or_default();
            let known = choice.canonical_release(text);
            listed |=
                known.map_err(|error| release.refuse(&format!("repository.{name}.releases"), error))? == choice.release;
        }
        here &= listed;
    }
    if node.get("archs").is_some() {
        let mut listed = false;
        for one in node.list_of("archs") {
            let known = arch::from_name(one.text().unwrap_or_default());
            listed |= known.map_err(|error| one.refuse(&format!("repository.{name}.archs"), error))? == choice.arch;
        }
        here &= listed;
    }
    Ok(here)
}

fn one(recipe: &Node, node: &Node, name: &str, choice: &Choice<'_>) -> anyhow::Result<Resolved> {
    let key = |part: &str| format!("repository.{name}.{part}");
    let own = address(node, name, choice)?;
    let build = mirror(recipe, "build", name, &own, choice)?;
    let image = mirror(recipe, "image", name, &own, choice)?;
    if let Some((address, node)) = &image
        && address.has_credentials()
    {
        return Err(node.refuse(
            &format!("mirror.image.{name}"),
            "the image would hold a user name or password: take it out, and give it under mirror.build",
        ));
    }
    let (suite, components) = suite_and_components(node, name, choice)?;
    let trusted = node.flag_of("trusted").unwrap_or(false);
    let pinned = keys::read_all(node, name, choice)?;
    if pinned.is_empty() && !trusted {
        return Err(node.refuse(
            &key("key"),
            "this repository has no key: name the file of the key that signs it, or set trusted = true to use it \
             without any verification",
        ));
    }
    let image_key = match node.get("image_key") {
        Some(node) => {
            let path = fill(node, &key("image_key"), &choice.placeholders)?;
            values::absolute(&path).map_err(|error| node.refuse(&key("image_key"), error))?;
            path
        }
        None => String::new(),
    };
    let check_valid_until =
        node.flag_of("check_valid_until").or_else(|| recipe.flag_of("check_valid_until")).unwrap_or(true);
    let image_url = image.map_or_else(|| own.public.clone(), |(address, _)| address.public);
    let repository = Repository {
        name: name.to_string(),
        url: own.public,
        build_url: build.map_or(own.full, |(address, _)| address.full),
        image_url,
        suite,
        components,
        keys: pinned.iter().map(|key| Key { name: key.name.clone(), data: key.data.clone() }).collect(),
        trusted,
        check_valid_until,
        build_only: node.flag_of("build_only").unwrap_or(false),
        image_key,
    };
    Ok(Resolved { repository, pins: pinned.into_iter().map(|PinnedKey { pin, .. }| pin).collect() })
}

fn address(node: &Node, name: &str, choice: &Choice<'_>) -> anyhow::Result<Address> {
    let key = format!("repository.{name}.url");
    let url = node.get("url").ok_or_else(|| node.refuse(&key, "this repository has no url"))?;
    Address::parse(&fill(url, &key, &choice.placeholders)?).map_err(|error| url.refuse(&key, error))
}

fn suite_and_components(node: &Node, name: &str, choice: &Choice<'_>) -> anyhow::Result<(String, Vec<String>)> {
    let key = |part: &str| format!("repository.{name}.{part}");
    let mut components = Vec::new();
    for component in node.list_of("components") {
        let text = component.text().unwrap_or_default().to_string();
        values::word(&text).map_err(|error| component.refuse(&key("components"), error))?;
        if !components.contains(&text) {
            components.push(text);
        }
    }
    let Some(suite) = node.get("suite") else {
        return match choice.family {
            FamilyKind::Deb => Err(node.refuse(&key("suite"), "this repository has no suite, as \"{release}\"")),
            _ => Ok((String::new(), components)),
        };
    };
    let text = fill(suite, &key("suite"), &choice.placeholders)?;
    values::word(&text).map_err(|error| suite.refuse(&key("suite"), error))?;
    match (text.ends_with('/'), components.is_empty()) {
        (false, true) if choice.family == FamilyKind::Deb => Err(suite.refuse(
            &key("components"),
            "this repository has no components, as [\"main\"]; the suite of a flat repository ends with '/'",
        )),
        (true, false) => {
            Err(suite.refuse(&key("components"), "a flat repository, whose suite ends with '/', has no components"))
        }
        _ => Ok((text, components)),
    }
}

/// The mirror of a repository: its own, or that of another repository at the same address, so that one mirror of an
/// archive serves all its suites.
fn mirror<'a>(
    recipe: &'a Node,
    side: &str,
    name: &str,
    own: &Address,
    choice: &Choice<'_>,
) -> anyhow::Result<Option<(Address, &'a Node)>> {
    let Some(mirrors) = recipe.get("mirror").and_then(|mirror| mirror.get(side)) else { return Ok(None) };
    let mut found = mirrors.get(name);
    if found.is_none() {
        for other in recipe.list_of("repository") {
            let other_name = other.text_of("name").unwrap_or_default();
            if let Some(node) = mirrors.get(other_name)
                && address(other, other_name, choice)?.public == own.public
            {
                found = Some(node);
                break;
            }
        }
    }
    let Some(node) = found else { return Ok(None) };
    let key = format!("mirror.{side}.{name}");
    let text = fill(node, &key, &choice.placeholders)?;
    Ok(Some((Address::parse(&text).map_err(|error| node.refuse(&key, error))?, node)))
}

fn check_mirror_names(recipe: &Node) -> anyhow::Result<()> {
    let known: Vec<_> = recipe.list_of("repository").iter().filter_map(|node| node.text_of("name")).collect();
    let Some(mirror) = recipe.get("mirror") else { return Ok(()) };
    for side in ["build", "image"] {
        if let Some((name, node)) = mirror.entries_of(side).find(|(name, _)| !known.contains(name)) {
            let hint = did_you_mean(name, known.iter().copied());
            let message = format!("no repository is called '{name}'{hint} (there are {})", known.join(", "));
            return Err(node.refuse(&format!("mirror.{side}"), message));
        }
    }
    Ok(())
}
