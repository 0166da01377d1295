//! From a recipe to a plan: every choice made, every value checked, every file read.

use std::collections::BTreeMap;

use serde::Deserialize as _;

use super::choose::{
    Choice, Download, canonical_release, choose_arch, choose_release, choose_variant, family, name, overlay, releases,
};
use super::digest::digest;
use super::keys::{self, PinnedKey};
use super::node::{Base, Node, Origin, Source, Value};
use super::schema::{OVERLAY, RECIPE, check, find};
use super::set::Setting;
use super::source::{fill, locate, read};
use super::{Image, Overrides, System, UserAccount, merge, repositories, snapshot, values};
use crate::error::{did_you_mean, usage};
use crate::plan::{Key, Packages, PlacedFile, Plan, Rpm, Script, ScriptletErrors};

/// Bytes of a file to place at most: it is held in memory.
const FILE_LIMIT: u64 = 256 << 20;

/// The priorities of Debian policy, section 2.5.
const PRIORITIES: [&str; 5] = ["required", "important", "standard", "optional", "extra"];

/// Makes the plan of a merged recipe. `asked` is the release after the colon.
pub fn make(
    mut recipe: Node,
    asked: Option<&str>,
    overrides: &Overrides,
    download: Download<'_>,
) -> anyhow::Result<Plan> {
    let settings = overrides
        .sets
        .iter()
        .map(|text| Setting::parse(text, |key| option(format!("--set {key}"))))
        .collect::<anyhow::Result<Vec<_>>>()?;
    // What a variant may change is set after it was merged; what chooses and defines variants, before.
    let (late, early): (Vec<_>, Vec<_>) = settings.iter().partition(|setting| find(&OVERLAY, setting.top()).is_some());
    for setting in early {
        setting.apply(&mut recipe, RECIPE)?;
    }
    check(&recipe, RECIPE)?;
    let (releases, aliases) = releases(&recipe);
    let release = choose_release(&recipe, &releases, &aliases, asked, overrides)?;
    overlay(&mut recipe, "on", &release, |name| canonical_release(&releases, &aliases, name))?;
    let variant = choose_variant(&recipe, overrides)?;
    overlay(&mut recipe, "variant", &variant, |name| Ok(name.to_string()))?;
    for setting in late {
        setting.apply(&mut recipe, RECIPE)?;
    }
    apply_options(&mut recipe, overrides)?;
    check(&recipe, RECIPE)?;

    let family = family(&recipe)?;
    let arch = choose_arch(&recipe, &release, overrides)?;
    let name = name(&recipe)?;
    let snapshot = snapshot::of(&recipe)?;
    let mut placeholders =
        BTreeMap::from([("arch", arch.name(family).to_string()), ("name", name.clone()), ("release", release.clone())]);
    placeholders.extend(snapshot.as_ref().map(|snapshot| ("snapshot", snapshot.text.clone())));
    let choice = Choice { name, family, releases, aliases, release, arch, placeholders, snapshot, download };
    fill_plan(&recipe, &choice, variant, overrides)
}

fn fill_plan(recipe: &Node, choice: &Choice<'_>, variant: String, overrides: &Overrides) -> anyhow::Result<Plan> {
    let (repositories, pins): (Vec<_>, Vec<_>) =
        repositories::resolve(recipe, choice, &overrides.auth)?.into_iter().map(|r| (r.repository, r.pins)).unzip();
    let system = system(recipe)?;
    let (packages, package_pins) = packages(recipe, choice)?;
    let mut plan = Plan {
        name: choice.name.clone(),
        family: choice.family,
        release: choice.release.clone(),
        arch: choice.arch,
        variant,
        repositories,
        packages,
        rpm: rpm(recipe, choice)?,
        users: users(recipe)?,
        files: files(recipe, choice)?,
        scripts: scripts(recipe)?,
        clean_skip: words(recipe, "clean"),
        check_skip: words(recipe, "check"),
        image: image(recipe, choice, &system)?,
        system,
        epoch: overrides.epoch.or(choice.snapshot.as_ref().map(|snapshot| snapshot.time)),
        digest: String::new(),
    };
    plan.digest = digest(&plan, &pins, &package_pins);
    Ok(plan)
}

/// The place of a value from the command line, whose paths start in the working folder.
fn option(name: String) -> Origin {
    let source = Source { name, base: Base::Folder(Default::default()) };
    Origin { source: std::sync::Arc::new(source), line: 0 }
}

/// Puts `--include` and `--mirror` where the recipe has them.
fn apply_options(recipe: &mut Node, overrides: &Overrides) -> anyhow::Result<()> {
    let texts = |list: &[String], name: &str| {
        list.iter().map(|text| Node::new_text(text.as_str(), option(name.into()))).collect::<Vec<_>>()
    };
    let table = |name: &str, entries: BTreeMap<String, Node>| Node {
        value: Value::Table(entries),
        origin: option(name.to_string()),
    };
    let excluded = recipe.get("packages").map_or(&[][..], |packages| packages.list_of("exclude"));
    if let Some(name) = overrides.include.iter().find(|name| excluded.iter().any(|e| e.text() == Some(name.as_str()))) {
        return Err(usage(format!("--include: the recipe excludes {name}; take it out of packages.exclude")));
    }
    let include =
        Node { value: Value::List(texts(&overrides.include, "--include")), origin: option("--include".into()) };
    let packages = table("--include", BTreeMap::from([("include".to_string(), include)]));
    // Given again, a name has one more address.
    let mut mirrors: BTreeMap<String, Node> = BTreeMap::new();
    for (name, url) in &overrides.mirrors {
        let origin = option(format!("--mirror {name}"));
        let list = Node { value: Value::List(Vec::new()), origin: origin.clone() };
        if let Value::List(urls) = &mut mirrors.entry(name.clone()).or_insert(list).value {
            urls.push(Node::new_text(url.as_str(), origin));
        }
    }
    let mirror = table("--mirror", BTreeMap::from([("build".to_string(), table("--mirror", mirrors))]));
    let over = BTreeMap::from([("packages".to_string(), packages), ("mirror".to_string(), mirror)]);
    merge::merge(recipe, table("the command line", over), RECIPE);
    Ok(())
}

/// The packages asked for, and what the recipe pins of the keys of in-house ones.
fn packages(recipe: &Node, choice: &Choice<'_>) -> anyhow::Result<(Packages, Vec<String>)> {
    let mut packages = Packages::default();
    let Some(node) = recipe.get("packages") else { return Ok((packages, Vec::new())) };
    let names = |key: &str| {
        let mut out: Vec<String> = Vec::new();
        for name in node.list_of(key) {
            let full = format!("packages.{key}");
            let text = fill(name, &full, &choice.placeholders)?;
            values::package(&text).map_err(|error| name.refuse(&full, error))?;
            if !out.contains(&text) {
                out.push(text);
            }
        }
        Ok::<_, anyhow::Error>(out)
    };
    packages.recommends = node.flag_of("recommends").unwrap_or(false);
    packages.exclude = names("exclude")?;
    packages.include = names("include")?;
    // A recipe leaves out what its parent includes.
    packages.include.retain(|name| !packages.exclude.contains(name));
    for priority in node.list_of("priorities") {
        let text = priority.text().unwrap_or_default();
        if !PRIORITIES.contains(&text) {
            let hint = did_you_mean(text, PRIORITIES);
            let message = format!("unknown priority '{text}'{hint} (there are {})", PRIORITIES.join(", "));
            return Err(priority.refuse("packages.priorities", message));
        }
        if !packages.priorities.iter().any(|known| known == text) {
            packages.priorities.push(text.to_string());
        }
    }
    for file in node.list_of("files") {
        let path = fill(file, "packages.files", &choice.placeholders)?;
        packages.files.push((locate(file, "packages.files", &path)?, path));
    }
    packages.trusted = node.flag_of("trusted").unwrap_or(false);
    packages.scriptlet_errors = match node.get("scriptlet_errors") {
        None => ScriptletErrors::default(),
        Some(value) => match value.text().unwrap_or_default() {
            "fail" => ScriptletErrors::Fail,
            "warn" => ScriptletErrors::Warn,
            other => {
                let message = format!("'{other}' is none of fail and warn{}", did_you_mean(other, ["fail", "warn"]));
                return Err(value.refuse("packages.scriptlet_errors", message));
            }
        },
    };
    let mut pins = Vec::new();
    for PinnedKey { name, data, pin } in keys::read_all(node, "packages.key", choice)? {
        packages.keys.push(Key { name, data });
        pins.push(pin);
    }
    Ok((packages, pins))
}

fn rpm(recipe: &Node, choice: &Choice<'_>) -> anyhow::Result<Rpm> {
    let mut rpm = Rpm::of_release(&choice.release);
    let Some(node) = recipe.get("rpm") else { return Ok(rpm) };
    let text = |key: &str, check: fn(&str) -> Result<(), String>| {
        let Some(value) = node.get(key) else { return Ok(None) };
        let full = format!("rpm.{key}");
        let text = fill(value, &full, &choice.placeholders)?;
        check(&text).map_err(|error| value.refuse(&full, error))?;
        Ok::<_, anyhow::Error>(Some(text))
    };
    let dbpath = |text: &str| {
        let known = Rpm::FOLDERS.contains(&text);
        known.then_some(()).ok_or_else(|| format!("'{text}' is none of {}", Rpm::FOLDERS.join(" and ")))
    };
    if let Some(dbpath) = text("dbpath", dbpath)? {
        rpm.dbpath = dbpath;
    }
    if let Some(id) = text("module_platform_id", values::word)? {
        rpm.module_platform_id = id;
    }
    if let Some(releasever) = text("releasever", values::word)? {
        rpm.releasever = releasever;
    }
    rpm.rebuild = node.flag_of("rebuild_database").unwrap_or(rpm.rebuild);
    rpm.language_packs = node.flag_of("language_packs").unwrap_or(rpm.language_packs);
    Ok(rpm)
}

fn system(recipe: &Node) -> anyhow::Result<System> {
    let Some(node) = recipe.get("system") else { return Ok(System::default()) };
    for (key, check) in [("timezone", values::timezone as fn(&str) -> _), ("locale", values::locale)] {
        if let Some(value) = node.get(key) {
            check(value.text().unwrap_or_default()).map_err(|error| value.refuse(&format!("system.{key}"), error))?;
        }
    }
    Ok(System::deserialize(node.to_toml())?)
}

fn users(recipe: &Node) -> anyhow::Result<Vec<UserAccount>> {
    let mut users: Vec<UserAccount> = Vec::new();
    for node in recipe.list_of("user") {
        let name = node.text_of("name").unwrap_or_default();
        let verify = |key: &str, value: &Node, check: fn(&str) -> Result<(), String>| {
            check(value.text().unwrap_or_default()).map_err(|error| value.refuse(&format!("user.{name}.{key}"), error))
        };
        for (key, check) in
            [("name", values::account as fn(&str) -> _), ("home", values::absolute), ("shell", values::absolute)]
        {
            node.get(key).map_or(Ok(()), |value| verify(key, value, check))?;
        }
        for group in node.list_of("groups") {
            verify("groups", group, values::account)?;
        }
        let user = UserAccount::deserialize(node.to_toml())?;
        if let Some(other) = users.iter().find(|other| user.uid.is_some() && other.uid == user.uid) {
            return Err(node.refuse(&format!("user.{name}.uid"), format!("{} has the same id", other.name)));
        }
        users.push(user);
    }
    Ok(users)
}

fn files(recipe: &Node, choice: &Choice<'_>) -> anyhow::Result<Vec<PlacedFile>> {
    let mut files = Vec::new();
    for node in recipe.list_of("file") {
        let path = node.text_of("path").unwrap_or_default();
        let key = |part: &str| format!("file.{path:?}.{part}");
        values::absolute(path).map_err(|error| node.refuse("file.path", error))?;
        let data = match (node.get("source"), node.get("content")) {
            (Some(source), None) => {
                read(source, &key("source"), &fill(source, &key("source"), &choice.placeholders)?, FILE_LIMIT)?
            }
            (None, Some(content)) => content.text().unwrap_or_default().into(),
            _ => return Err(node.refuse(&format!("file.{path:?}"), "give either source or content")),
        };
        let mode = match node.get("mode") {
            Some(mode) => {
                values::mode(mode.text().unwrap_or_default()).map_err(|error| mode.refuse(&key("mode"), error))?
            }
            None => 0o644,
        };
        let account = |part: &str| match node.get(part) {
            Some(value) => {
                let text = value.text().unwrap_or_default();
                values::owner(text).map_err(|error| value.refuse(&key(part), error))?;
                Ok::<_, anyhow::Error>(text.to_string())
            }
            None => Ok("root".to_string()),
        };
        let (owner, group) = (account("owner")?, account("group")?);
        files.push(PlacedFile { path: path.to_string(), data, mode, owner, group });
    }
    Ok(files)
}

fn scripts(recipe: &Node) -> anyhow::Result<Vec<Script>> {
    let mut scripts = Vec::new();
    for (position, node) in recipe.list_of("script").iter().enumerate() {
        let key = format!("script.{position}.run");
        let run = node.text_of("run").unwrap_or_default();
        if run.trim().is_empty() {
            return Err(node.refuse(&key, "there is nothing to run"));
        }
        let env = variables(node, &format!("script.{position}.env"))?;
        scripts.push(Script { run: run.to_string(), env });
    }
    Ok(scripts)
}

fn variables(node: &Node, key: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut env = BTreeMap::new();
    for (name, value) in node.entries_of("env") {
        values::variable(name).map_err(|error| value.refuse(key, error))?;
        env.insert(name.to_string(), value.text().unwrap_or_default().to_string());
    }
    Ok(env)
}

/// The `skip` list of `[clean]` or `[check]`. The names are known to whoever has the steps.
fn words(recipe: &Node, key: &str) -> Vec<String> {
    let list = recipe.get(key).map_or(&[][..], |node| node.list_of("skip"));
    list.iter().filter_map(Node::text).map(str::to_string).collect()
}

fn image(recipe: &Node, choice: &Choice<'_>, system: &System) -> anyhow::Result<Image> {
    let mut image = match recipe.get("image") {
        Some(node) => Image::deserialize(node.to_toml())?,
        None => Image::default(),
    };
    if let Some(node) = recipe.get("image") {
        image.env = variables(node, "image.env")?;
        for (name, label) in node.entries_of("labels") {
            image.labels.insert(name.to_string(), fill(label, &format!("image.labels.{name}"), &choice.placeholders)?);
        }
        if let Some(workdir) = node.get("workdir").filter(|workdir| workdir.text() != Some("/")) {
            values::absolute(workdir.text().unwrap_or_default())
                .map_err(|error| workdir.refuse("image.workdir", error))?;
        }
        if let Some(user) = node.get("user") {
            // Docker's form: a user or a user and a group.
            let text = user.text().unwrap_or_default();
            text.splitn(2, ':').try_for_each(values::owner).map_err(|error| user.refuse("image.user", error))?;
        }
    }
    // Programs find their language in the environment: without it the locale of the image would be a dead letter.
    image.env.entry("LANG".into()).or_insert_with(|| system.locale.clone());
    Ok(image)
}
