//! `name/release`: packages of a chosen release, as `apt-get install name/release` has them.

use std::collections::HashMap;

use anyhow::{Context as _, Result};

use super::index::Package;
use super::pool::{Pool, Source};
use super::relation::{self, Relation};
use super::version;
use super::wanted::Request;
use crate::error::{did_you_mean, usage};

/// Finds the version of each package that is asked for by release, and adds it to the versions that are asked for.
///
/// What such a package depends on is looked at too. Where no candidate is of the wanted version and the same release
/// has one that is, that one becomes the candidate. apt does so as well, but takes all of it back when a part does not
/// work out; here the solver says then what stands against it.
pub fn pin<'a>(
    requests: &[Request<'a>],
    sources: &'a [Source],
    native: &str,
    pins: &mut HashMap<&'a str, &'a str>,
) -> Result<()> {
    let mut found = Vec::new();
    for request in requests {
        let Some(release) = request.release else { continue };
        let Some(package) = newest(sources, request.name, release, native, None) else {
            absent(request.name, release, sources, native)?;
            continue;
        };
        if let Some(other) = pins.insert(request.name, package.version())
            && version::compare(other, package.version()).is_ne()
        {
            return Err(usage(format!(
                "{} is asked for in two versions, {other} and {} of {release}",
                request.name,
                package.version()
            )));
        }
        found.push((package, release));
    }
    while !found.is_empty() {
        let pool = Pool::new(sources, native, pins)?;
        let mut more = Vec::new();
        for (package, release) in std::mem::take(&mut found) {
            for group in relation::groups(package.pre_depends()).chain(relation::groups(package.depends())) {
                let alternatives = relation::alternatives(group)
                    .with_context(|| format!("{}: the relations of {}", package.place(), package.name()))?;
                if alternatives.iter().any(|alternative| !pool.satisfying(alternative).is_empty()) {
                    continue;
                }
                // Without a version in the relation another version does not help.
                let fitting = alternatives.iter().filter(|a| a.version.is_some() && !pins.contains_key(a.name));
                let choice = fitting.filter_map(|a| newest(sources, a.name, release, native, Some(a))).next();
                if let Some(choice) = choice {
                    pins.insert(choice.name(), choice.version());
                    more.push((choice, release));
                }
            }
        }
        found = more;
    }
    Ok(())
}

/// The newest version of a package in a release, perhaps only of those that satisfy a relation.
fn newest<'a>(
    sources: &'a [Source],
    name: &str,
    release: &str,
    native: &str,
    relation: Option<&Relation<'_>>,
) -> Option<Package<'a>> {
    let packages = sources.iter().filter(|source| source.is_of(release)).flat_map(|source| source.index.packages());
    packages
        .filter(|p| p.name() == name && (p.arch() == native || p.arch() == "all"))
        .filter(|p| relation.is_none_or(|relation| relation.version_matches(Some(p.version()))))
        .max_by(|a, b| version::compare(a.version(), b.version()))
}

/// The error for a release that does not have a package. A package that no release has is left to whoever looks for
/// packages by name.
fn absent(name: &str, release: &str, sources: &[Source], native: &str) -> Result<()> {
    let releases = || sources.iter().flat_map(|source| &source.names).map(String::as_str);
    if !releases().any(|known| known == release) {
        let mut known: Vec<&str> = releases().collect();
        known.sort_unstable();
        known.dedup();
        let hint = did_you_mean(release, known.iter().copied());
        return Err(usage(format!(
            "'{name}/{release}': no repository is of the release '{release}'{hint} (there are {})",
            known.join(", ")
        )));
    }
    let has = |source: &&Source| source.names.iter().any(|known| newest(sources, name, known, native, None).is_some());
    let mut others: Vec<&str> =
        sources.iter().filter(has).filter_map(|source| source.names.first()).map(String::as_str).collect();
    others.dedup();
    if others.is_empty() {
        return Ok(());
    }
    Err(usage(format!("{release} has no {name}, only {} has", others.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::super::pool::testing;
    use super::*;

    fn source(place: usize, names: &[&str], priority: i16, text: &str) -> Source {
        let names = names.iter().map(|n| n.to_string()).collect();
        Source { names, priority, ..testing::source(Some(place), text) }
    }

    fn sources() -> Vec<Source> {
        vec![
            source(
                0,
                &["main", "stable", "trixie"],
                500,
                "Package: a\nVersion: 1\n\nPackage: lib\nVersion: 1\n\nPackage: c\nVersion: 1\n\n\
                 Package: other\nVersion: 1\n",
            ),
            source(
                1,
                &["backports", "trixie-backports"],
                100,
                "Package: a\nVersion: 2\nDepends: lib (>= 2), c, x | other\n\n\
                 Package: lib\nVersion: 2\nPre-Depends: c (>= 1.5) | other (>= 9)\n\n\
                 Package: c\nVersion: 2\n\nPackage: other\nVersion: 2\n\nPackage: a\nVersion: 1.5\n",
            ),
        ]
    }

    fn pinned(requests: &[&str]) -> Result<Vec<String>> {
        let sources = sources();
        let requests = requests.iter().map(|text| Request::parse(text, "amd64")).collect::<Result<Vec<_>>>()?;
        let mut pins = super::super::wanted::pins(&requests)?;
        pin(&requests, &sources, "amd64", &mut pins)?;
        let mut pins: Vec<String> = pins.iter().map(|(name, version)| format!("{name}={version}")).collect();
        pins.sort();
        Ok(pins)
    }

    #[test]
    fn a_release_brings_what_it_alone_can_satisfy() {
        for (requests, pins) in [
            (&["a"][..], &[][..]),
            (&["a/trixie-backports"], &["a=2", "c=2", "lib=2"]),
            (&["a/backports"], &["a=2", "c=2", "lib=2"]),
            (&["a/stable", "c/backports"], &["a=1", "c=2"]),
            (&["a:amd64/backports", "lib=1"], &["a=2", "lib=1"]),
            (&["a=2", "a/backports"], &["a=2", "c=2", "lib=2"]),
            (&["nothing/stable"], &[]),
        ] {
            assert_eq!(pinned(requests).expect("it is there"), pins, "{requests:?}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (requests, message) in [
            (
                &["a/trixie-backport"][..],
                "no repository is of the release 'trixie-backport'; did you mean 'trixie-back",
            ),
            (&["a/stable", "a/backports"], "a is asked for in two versions, 1 and 2 of backports"),
            (&["a=1", "a/backports"], "a is asked for in two versions, 1 and 2 of backports"),
        ] {
            let error = pinned(requests).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
        let one = [source(0, &["main"], 500, "Package: a\nVersion: 1\n"), source(1, &["extra"], 500, "")];
        let requests = [Request::parse("a/extra", "amd64").expect("it is a request")];
        let error = pin(&requests, &one, "amd64", &mut HashMap::new()).expect_err("it is not there").to_string();
        assert_eq!(error, "extra has no a, only main has");
    }
}
