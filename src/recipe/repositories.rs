//! The repositories of a plan: those of the chosen release and architecture, with mirrors and keys.

use super::choose::Choice;
use super::keys::{self, PinnedKey};
use super::node::{Node, Value};
use super::source::fill;
use super::values::{self, Address};
use crate::arch;
use crate::error::did_you_mean;
use crate::plan::{Key, MirrorList, Repository};
use crate::recipe::FamilyKind;

/// What stands for the moment of a snapshot in an address.
const DATED: &str = "{snapshot}";

/// A repository, and what the recipe pins of its keys.
pub struct Resolved {
    /// For the plan.
    pub repository: Repository,
    /// For the digest: which keys, whatever else their files say.
    pub pins: Vec<String>,
}

/// The repositories that the chosen release and architecture have. `auth` holds credentials of the environment, see
/// [`super::credentials`].
pub fn resolve(recipe: &Node, choice: &Choice<'_>, auth: &[(String, String)]) -> anyhow::Result<Vec<Resolved>> {
    check_mirror_names(recipe)?;
    let mut out = Vec::new();
    for node in recipe.list_of("repository") {
        let name = node.text_of("name").unwrap_or_default();
        values::name(name).map_err(|error| node.refuse("repository", error))?;
        if applies(node, name, choice)? {
            out.push(one(recipe, node, name, choice, auth)?);
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
    if let (Some(node), Some(_)) = (recipe.get("snapshot"), &choice.snapshot)
        && out.iter().all(|resolved| resolved.repository.snapshot.is_none())
    {
        return Err(node.refuse("snapshot", "no repository has a dated form: give one a snapshot_url"));
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

fn one(
    recipe: &Node,
    node: &Node,
    name: &str,
    choice: &Choice<'_>,
    auth: &[(String, String)],
) -> anyhow::Result<Resolved> {
    let key = |part: &str| format!("repository.{name}.{part}");
    let Own { address: own, is_list } = own(node, name, choice)?;
    let dated = dated(node, name, choice)?;
    let mut build = Vec::new();
    for node in mirrors(recipe, "build", name, &own, choice)? {
        let full = format!("mirror.build.{name}");
        if dated.is_some() && !node.text().is_some_and(|text| text.contains(DATED)) {
            let message =
                format!("the recipe has a snapshot: name a mirror that keeps them, with {DATED} in its address");
            return Err(node.refuse(&full, message));
        }
        build.push(parse(node, &full, choice)?);
    }
    let image = match mirrors(recipe, "image", name, &own, choice)? {
        [node, ..] => Some((parse(node, &format!("mirror.image.{name}"), choice)?, node)),
        [] => None,
    };
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
    let pinned = keys::read_all(node, &key("key"), choice)?;
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
    // The image's package manager goes on from the snapshot, not back to it.
    let image_url = match image {
        Some((address, _)) => address.public,
        None if is_list => String::new(),
        None => own.public.clone(),
    };
    let snapshot = dated.as_ref().and(choice.snapshot.as_ref()).map(|snapshot| snapshot.time);
    let source = dated.or_else(|| (!is_list).then(|| own.clone()));
    if build.is_empty() {
        build.extend(source.clone());
    }
    let credentials = credentials(recipe, name, &own, choice, auth)?;
    let allowed = |address: Address| match credentials {
        Some(credentials) => address.with_credentials(credentials).full,
        None => address.full,
    };
    let build_urls = build.into_iter().map(allowed).collect();
    let mirrorlist = is_list.then(|| MirrorList { url: own.public.clone(), full_url: allowed(own.clone()) });
    let priority = node.get("priority").and_then(|node| match node.value {
        Value::Number(number) => i16::try_from(number).ok(),
        _ => None,
    });
    let tag = node.get("tag").map(|node| tag(node, &key("tag"), choice)).transpose()?.unwrap_or_default();
    let repository = Repository {
        name: name.to_string(),
        url: source.map(|address| address.public).unwrap_or_default(),
        mirrorlist,
        build_urls,
        image_url,
        suite,
        components,
        keys: pinned.iter().map(|key| Key { name: key.name.clone(), data: key.data.clone() }).collect(),
        trusted,
        check_valid_until,
        snapshot,
        priority,
        tag,
        build_only: node.flag_of("build_only").unwrap_or(false),
        image_key,
        signed_index: node.flag_of("signed_index"),
    };
    Ok(Resolved { repository, pins: pinned.into_iter().map(|PinnedKey { pin, .. }| pin).collect() })
}

/// The tag of a repository, which only apk has.
fn tag(node: &Node, key: &str, choice: &Choice<'_>) -> anyhow::Result<String> {
    let text = node.text().unwrap_or_default();
    values::name(text).map_err(|error| node.refuse(key, error))?;
    match choice.family {
        FamilyKind::Apk => Ok(text.to_string()),
        _ => Err(node.refuse(key, "only repositories of apk have tags; give it a priority instead")),
    }
}

/// What a repository is known by.
struct Own {
    /// Where it is.
    address: Address,
    /// It is the address of a list of its mirrors.
    is_list: bool,
}

fn own(node: &Node, name: &str, choice: &Choice<'_>) -> anyhow::Result<Own> {
    let key = |part: &str| format!("repository.{name}.{part}");
    let list = match (node.get("url"), node.get("mirrorlist")) {
        (Some(url), None) => return Ok(Own { address: parse(url, &key("url"), choice)?, is_list: false }),
        (None, Some(list)) => list,
        (Some(_), Some(list)) => {
            return Err(list.refuse(&key("mirrorlist"), "this repository has a url too: give one of the two"));
        }
        (None, None) if choice.family == FamilyKind::Rpm => {
            return Err(node.refuse(&key("url"), "this repository has neither url nor mirrorlist"));
        }
        (None, None) => return Err(node.refuse(&key("url"), "this repository has no url")),
    };
    let key = key("mirrorlist");
    if choice.family != FamilyKind::Rpm {
        let message =
            "only repositories of rpm have lists of mirrors; give it a url, and more mirrors under mirror.build";
        return Err(list.refuse(&key, message));
    }
    let address = Address::parse_file(&fill(list, &key, &choice.placeholders)?);
    Ok(Own { address: address.map_err(|error| list.refuse(&key, error))?, is_list: true })
}

fn parse(node: &Node, key: &str, choice: &Choice<'_>) -> anyhow::Result<Address> {
    Address::parse(&fill(node, key, &choice.placeholders)?).map_err(|error| node.refuse(key, error))
}

/// The address at the moment of the snapshot; none where the recipe has no snapshot, or the repository no dated form.
fn dated(node: &Node, name: &str, choice: &Choice<'_>) -> anyhow::Result<Option<Address>> {
    if choice.snapshot.is_none() {
        return Ok(None);
    }
    match node.get("snapshot_url") {
        Some(dated) => {
            let key = format!("repository.{name}.snapshot_url");
            if !dated.text().is_some_and(|text| text.contains(DATED)) {
                return Err(dated.refuse(&key, format!("it must have {DATED} where the moment stands")));
            }
            parse(dated, &key, choice).map(Some)
        }
        None if node.text_of("url").is_some_and(|url| url.contains(DATED)) => {
            own(node, name, choice).map(|own| Some(own.address))
        }
        None => Ok(None),
    }
}

/// The `user:password` for a repository: under its own name, or that of another one at the same address.
fn credentials<'a>(
    recipe: &Node,
    name: &str,
    own: &Address,
    choice: &Choice<'_>,
    auth: &'a [(String, String)],
) -> anyhow::Result<Option<&'a str>> {
    if auth.is_empty() {
        return Ok(None);
    }
    let find = |name: &str| {
        let variable: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        auth.iter().find(|(known, value)| *known == variable && !value.is_empty()).map(|(_, value)| value.as_str())
    };
    shared(recipe, name, own, choice, find)
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

/// The mirrors of a repository, in turn.
fn mirrors<'a>(
    recipe: &'a Node,
    side: &str,
    name: &str,
    own: &Address,
    choice: &Choice<'_>,
) -> anyhow::Result<&'a [Node]> {
    let Some(mirrors) = recipe.get("mirror").and_then(|mirror| mirror.get(side)) else { return Ok(&[]) };
    let found = shared(recipe, name, own, choice, |name| mirrors.get(name))?;
    Ok(found.map_or(&[], |node| match &node.value {
        Value::List(list) => list.as_slice(),
        _ => std::slice::from_ref(node),
    }))
}

/// What is given for a repository: under its own name, or that of another repository at the same address, so that one
/// mirror of an archive serves all its suites.
fn shared<T>(
    recipe: &Node,
    name: &str,
    own: &Address,
    choice: &Choice<'_>,
    find: impl Fn(&str) -> Option<T>,
) -> anyhow::Result<Option<T>> {
    if let Some(found) = find(name) {
        return Ok(Some(found));
    }
    for other in recipe.list_of("repository") {
        let other_name = other.text_of("name").unwrap_or_default();
        if let Some(found) = find(other_name)
            && self::own(other, other_name, choice)?.address.public == own.public
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
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
