//! From what a recipe asks for to packages: names, versions, priorities, in-house files.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;

use super::pool::{Id, Pool, Source};
use super::relation::is_package_name;
use super::version;
use crate::customise::timezone::is_utc;
use crate::error::{did_you_mean, usage};
use crate::plan::{Packages, Plan};
use crate::ui::list;

/// The package with the time zones.
const TIME_ZONES: &str = "tzdata";

/// A package as it is asked for: `name`, `name=version`, `name/release`, `name:arch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Name.
    pub name: &'a str,
    /// The one version that will do.
    pub version: Option<&'a str>,
    /// The release whose version it is to be.
    pub release: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// Reads a request. Only packages of the image's own architecture can be asked for.
    pub fn parse(text: &'a str, native: &str) -> Result<Request<'a>> {
        let (rest, version, release) = match (text.split_once('='), text.split_once('/')) {
            (Some((rest, version)), _) => (rest, Some(version), None),
            (None, Some((rest, release))) => (rest, None, Some(release)),
            (None, None) => (text, None, None),
        };
        let (name, arch) = rest.split_once(':').unwrap_or((rest, native));
        if !is_package_name(name) || version.is_some_and(|v| version::validate(v).is_err()) || release == Some("") {
            return Err(usage(format!(
                "'{text}' is not a package; write it as name, name=version, name/release or name:{native}"
            )));
        }
        if ![native, "all", "any", "native"].contains(&arch) {
            return Err(usage(format!(
                "'{text}': packages of another architecture than the image's own, {native}, cannot be installed"
            )));
        }
        Ok(Request { name, version, release })
    }
}

/// The requests of a recipe, and what follows from its settings.
pub fn requests<'a>(plan: &'a Plan, native: &str) -> Result<Vec<Request<'a>>> {
    let include = plan.packages.include.iter().map(|text| Request::parse(text, native));
    let mut requests = include.collect::<Result<Vec<_>>>()?;
    if !is_utc(&plan.system.timezone) {
        requests.push(Request { name: TIME_ZONES, version: None, release: None });
    }
    Ok(requests)
}

/// The versions that are asked for, by name. Two versions of one package are a mistake.
pub fn pins<'a>(requests: &[Request<'a>]) -> Result<HashMap<&'a str, &'a str>> {
    let mut pins = HashMap::new();
    for (name, version) in requests.iter().filter_map(|r| Some((r.name, r.version?))) {
        if let Some(other) = pins.insert(name, version).filter(|other| version::compare(other, version).is_ne()) {
            return Err(usage(format!("{name} is asked for in two versions, {other} and {version}")));
        }
    }
    Ok(pins)
}

/// What the solver is to start from.
#[derive(Debug)]
pub struct Selection {
    /// Packages to install, in the order in which they count.
    pub wanted: Vec<Id>,
    /// Packages that must not be installed.
    pub excluded: Vec<Id>,
    /// Names to exclude that no repository has.
    pub unknown: Vec<String>,
}

/// Finds the packages: essential ones, those of the asked priorities, those asked for by name, in-house files.
pub fn select(pool: &Pool<'_>, sources: &[Source], packages: &Packages, requests: &[Request<'_>]) -> Result<Selection> {
    let mut excluded = Vec::new();
    let mut unknown = Vec::new();
    for text in &packages.exclude {
        let request = Request::parse(text, pool.native())?;
        if request.version.is_some() || request.release.is_some() {
            return Err(usage(format!(
                "packages.exclude: '{text}' names a version; exclude {} or ask for another version of it",
                request.name
            )));
        }
        match pool.find(request.name) {
            Some(id) => excluded.push(id),
            None => unknown.push(text.clone()),
        }
    }
    let mut named = Vec::new();
    for request in requests {
        named.push(find(pool, sources, request)?);
    }
    named.extend(pool.iter().filter(|(_, c)| c.repository.is_none()).map(|(id, _)| id));
    if let Some(id) = named.iter().find(|id| excluded.contains(id)) {
        return Err(usage(format!(
            "the package {} is to be installed and excluded at once",
            pool.get(*id).package.name()
        )));
    }
    let base = |by: &dyn Fn(Id) -> bool| {
        let mut ids: Vec<Id> = pool.iter().map(|(id, _)| id).filter(|id| by(*id) && !excluded.contains(id)).collect();
        ids.sort_by_key(|id| pool.get(*id).package.name());
        ids
    };
    let essential = base(&|id| pool.get(id).package.essential());
    let by_priority = base(&|id| packages.priorities.iter().any(|p| p == pool.get(id).package.priority()));
    let mut met = BTreeSet::new();
    let wanted = [essential, by_priority, named].concat().into_iter().filter(|id| met.insert(*id)).collect();
    Ok(Selection { wanted, excluded, unknown })
}

fn find(pool: &Pool<'_>, sources: &[Source], request: &Request<'_>) -> Result<Id> {
    let name = request.name;
    if let Some(id) = pool.find(name) {
        return Ok(id);
    }
    if let Some(version) = request.version {
        let mut there: Vec<&str> = sources
            .iter()
            .flat_map(|source| source.index.packages())
            .filter(|package| package.name() == name)
            .map(|package| package.version())
            .collect();
        there.sort_by(|a, b| version::compare(b, a));
        there.dedup();
        if !there.is_empty() {
            return Err(usage(format!("there is no {name} in version {version}, only in {}", list(&there))));
        }
    }
    if pool.is_barred(name) {
        return Err(usage(format!(
            "{name} is only in a repository whose priority is below 0; ask for it by version, as {name}=VERSION"
        )));
    }
    let mut providers: Vec<Id> = pool.providers(name).collect();
    providers.sort_unstable();
    providers.dedup();
    match providers[..] {
        [] => Err(usage(format!("no repository has the package '{name}'{}", did_you_mean(name, pool.names())))),
        [only] if request.version.is_none() => Ok(only),
        _ => {
            let names: Vec<&str> = providers.iter().map(|id| pool.get(*id).package.name()).collect();
            Err(usage(format!("'{name}' is a virtual package; ask for one that provides it: {}", list(&names))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pool::testing::source;
    use super::*;
    use crate::error::{Exit, exit_code};

    const TEXT: &str = "Package: libc6\nVersion: 2\nPriority: optional\n\n\
                        Package: dpkg\nVersion: 1\nEssential: yes\nPriority: required\n\n\
                        Package: bash\nVersion: 5\nEssential: yes\nPriority: required\n\n\
                        Package: bash\nVersion: 4\nEssential: yes\nPriority: required\n\n\
                        Package: login\nVersion: 1\nPriority: required\n\n\
                        Package: mawk\nVersion: 1\nPriority: required\nProvides: awk\n\n\
                        Package: gawk\nVersion: 1\nPriority: optional\nProvides: awk, gnuawk\n";

    fn sources() -> Vec<Source> {
        vec![source(Some(0), TEXT), source(None, "Package: agent\nVersion: 1\n")]
    }

    fn selected(include: &[&str], exclude: &[&str], priorities: &[&str]) -> Result<(String, String)> {
        let strings = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let packages = Packages { exclude: strings(exclude), priorities: strings(priorities), ..Packages::default() };
        let requests = include.iter().map(|text| Request::parse(text, "amd64")).collect::<Result<Vec<_>>>()?;
        let sources = sources();
        let pool = Pool::new(&sources, "amd64", &pins(&requests)?)?;
        let selection = select(&pool, &sources, &packages, &requests)?;
        let names =
            selection.wanted.iter().map(|id| pool.get(*id).package).map(|p| format!("{}={}", p.name(), p.version()));
        Ok((names.collect::<Vec<_>>().join(" "), selection.unknown.join(" ")))
    }

    #[test]
    fn what_is_wanted_and_in_which_order() {
        for (include, exclude, priorities, wanted, unknown) in [
            (&[][..], &[][..], &[][..], "bash=5 dpkg=1 agent=1", ""),
            (&["libc6", "bash:amd64"], &[], &[], "bash=5 dpkg=1 libc6=2 agent=1", ""),
            (&["bash=4"], &[], &["required"], "bash=4 dpkg=1 login=1 mawk=1 agent=1", ""),
            (&[], &["dpkg", "mawk:amd64", "nothing"], &["required"], "bash=5 login=1 agent=1", "nothing"),
            (&["gnuawk"], &[], &[], "bash=5 dpkg=1 gawk=1 agent=1", ""),
        ] {
            let found = selected(include, exclude, priorities).expect("it is there");
            assert_eq!(found, (wanted.to_owned(), unknown.to_owned()));
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (include, exclude, message) in [
            (&["libc7"][..], &[][..], "no repository has the package 'libc7'; did you mean 'libc6'?"),
            (&["awk"], &[], "'awk' is a virtual package; ask for one that provides it: mawk, gawk"),
            (&["bash=3"], &[], "there is no bash in version 3, only in 5, 4"),
            (&["bash=4", "bash=5"], &[], "bash is asked for in two versions, 4 and 5"),
            (&["bash:arm64"], &[], "of another architecture than the image's own, amd64"),
            (&["/sid"], &[], "'/sid' is not a package; write it as name, name=version, name/release or name:amd64"),
            (&["bash="], &[], "'bash=' is not a package"),
            (&["bash/"], &[], "'bash/' is not a package"),
            (&[], &["bash=4"], "packages.exclude: 'bash=4' names a version"),
            (&["gawk"], &["gawk"], "the package gawk is to be installed and excluded at once"),
            (&[], &["agent"], "the package agent is to be installed and excluded at once"),
        ] {
            let error = selected(include, exclude, &[]).expect_err(message);
            assert!(error.to_string().contains(message), "{error}");
            assert_eq!(exit_code(&error), Exit::Usage);
        }
    }
}
