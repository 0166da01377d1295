//! What an older lock asks of a new one: versions that stay, and repositories that do not go back in time.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;

use super::explain::Impossible;
use super::pool::{Pool, Source};
use super::relation;
use super::repository::Contents;
use super::version;
use crate::family::dates;
use crate::lock::{LockedRepository, Previous};
use crate::plan::{Plan, Repository};

/// Refuses a repository whose index is older than the one in the lock.
pub fn refuse_rollback(plan: &Plan, contents: &[Contents], previous: &Previous) -> Result<()> {
    let found: Vec<_> = plan.repositories.iter().zip(contents).map(|(r, contents)| locked(r, contents)).collect();
    dates::refuse_rollback(&found, previous)
}

/// The repository's line of the lock.
pub fn locked(repository: &Repository, contents: &Contents) -> LockedRepository {
    LockedRepository::new(repository, contents.date, contents.sha256.clone())
}

/// Decides with as many of the held versions as possible: first with all that the repositories still have; where
/// those make it impossible, the ones that stand in the way are let go, until it is possible or none is left.
/// `asked` are versions that the recipe itself asks for. `decide` takes versions by name.
pub fn with_held<T>(
    previous: &Previous,
    sources: &[Source],
    native: &str,
    asked: &HashMap<&str, &str>,
    decide: impl Fn(&HashMap<&str, &str>) -> Result<T>,
) -> Result<T> {
    let free = Pool::new(sources, native, asked)?;
    let mut pinned = pins(previous, sources, &free, asked);
    loop {
        let error = match decide(&pinned) {
            Err(error) if pinned.len() > asked.len() => error,
            other => return other,
        };
        let Some(impossible) = error.downcast_ref::<Impossible>() else { return Err(error) };
        let mut in_the_way: BTreeSet<&str> = impossible.packages.iter().map(String::as_str).collect();
        for group in &impossible.dependencies {
            for alternative in relation::alternatives(group).unwrap_or_default() {
                in_the_way.insert(alternative.name);
                in_the_way.extend(free.satisfying(&alternative).into_iter().map(|id| free.get(id).package.name()));
            }
        }
        let before = pinned.len();
        pinned.retain(|name, _| asked.contains_key(name) || !in_the_way.contains(name));
        if pinned.len() == before {
            pinned.clone_from(asked);
        }
    }
}

/// The versions to begin with: those asked for, and of the held ones those that are there and not what would be
/// chosen anyway. In-house packages are always the ones that the recipe names.
fn pins<'a>(
    previous: &'a Previous,
    sources: &[Source],
    free: &Pool<'_>,
    asked: &HashMap<&'a str, &'a str>,
) -> HashMap<&'a str, &'a str> {
    let newer = |name: &str, version: &str| {
        free.find(name).map(|id| free.get(id)).is_some_and(|candidate| {
            candidate.repository.is_some() && version::compare(candidate.package.version(), version).is_ne()
        })
    };
    let mut held: HashMap<&str, &str> = previous
        .held
        .iter()
        .map(|(name, version)| (name.as_str(), version.as_str()))
        .filter(|(name, version)| !asked.contains_key(name) && newer(name, version))
        .collect();
    let native = free.native();
    let there: BTreeSet<&str> = sources
        .iter()
        .flat_map(|source| source.index.packages())
        .filter(|p| p.arch() == native || p.arch() == "all")
        .filter_map(|p| held.get_key_value(p.name()).filter(|(_, v)| version::compare(v, p.version()).is_eq()))
        .map(|(name, _)| *name)
        .collect();
    held.retain(|name, _| there.contains(name));
    held.extend(asked);
    held
}

#[cfg(test)]
mod tests {
    use super::super::pool::testing::source;
    use super::super::solve::solve;
    use super::*;
    use crate::lock::{Lock, LockedRepository, testing};
    use crate::recipe::Overrides;

    fn previous(held: &[(&str, &str)]) -> Previous {
        let lock = Lock { repositories: Vec::new(), ..testing::lock() };
        let held = held.iter().map(|(name, version)| (name.to_string(), version.to_string())).collect();
        Previous { lock, held, allow_rollback: false }
    }

    /// Names and versions of the solution for these wanted packages.
    fn solution(
        sources: &[Source],
        held: &[(&str, &str)],
        asked: &HashMap<&str, &str>,
        wanted: &[&str],
    ) -> Result<Vec<String>> {
        with_held(&previous(held), sources, "amd64", asked, |pinned| {
            let pool = Pool::new(sources, "amd64", pinned)?;
            let wanted: Vec<_> = wanted.iter().map(|name| pool.find(name).expect("it is there")).collect();
            let mut found: Vec<String> = solve(&pool, &wanted, &[], false)?
                .into_iter()
                .map(|id| format!("{} {}", pool.get(id).package.name(), pool.get(id).package.version()))
                .collect();
            found.sort();
            Ok(found)
        })
    }

    #[test]
    fn what_can_stay_stays() {
        let sources = [
            source(
                Some(0),
                "Package: a\nVersion: 1\nDepends: b\n\nPackage: b\nVersion: 1\n\nPackage: c\nVersion: 1\n\n\
                 Package: d\nVersion: 1\nDepends: v1\n\nPackage: p\nVersion: 1\nProvides: v1\n\n\
                 Package: e\nVersion: 1\n",
            ),
            source(
                Some(1),
                "Package: a\nVersion: 2\nDepends: b (>= 2)\n\nPackage: b\nVersion: 2\n\nPackage: c\nVersion: 2\n\n\
                 Package: d\nVersion: 2\nDepends: v2\n\nPackage: p\nVersion: 2\nProvides: v2\n\n\
                 Package: e\nVersion: 2\nBreaks: c (<< 2)\n",
            ),
            source(None, "Package: own\nVersion: 2\n"),
        ];
        let none = HashMap::new();
        let old: &[(&str, &str)] =
            &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("p", "1"), ("e", "1"), ("own", "1"), ("gone", "1")];
        let but = |free: &[&str]| old.iter().filter(|(name, _)| !free.contains(name)).copied().collect::<Vec<_>>();
        let all = ["a", "c", "d", "e", "own"];
        for (free, expected) in [
            (&[][..], &["a 1", "b 1", "c 1", "d 1", "e 1", "own 2", "p 1"][..]),
            (&["c"], &["a 1", "b 1", "c 2", "d 1", "e 1", "own 2", "p 1"]),
            (&["b"], &["a 1", "b 2", "c 1", "d 1", "e 1", "own 2", "p 1"]),
            // The new one needs a new one of what is held, by name, by what it provides, or because it breaks it.
            (&["a"], &["a 2", "b 2", "c 1", "d 1", "e 1", "own 2", "p 1"]),
            (&["d"], &["a 1", "b 1", "c 1", "d 2", "e 1", "own 2", "p 2"]),
            (&["e"], &["a 1", "b 1", "c 2", "d 1", "e 2", "own 2", "p 1"]),
        ] {
            assert_eq!(solution(&sources, &but(free), &none, &all).expect("it can be solved"), expected, "{free:?}");
        }
        // A version that is gone is not held, and one that the recipe asks for comes before the lock's.
        let elsewhere = [("c", "0.5"), ("b", "1")];
        assert_eq!(solution(&sources, &elsewhere, &none, &["b", "c"]).expect("it can be solved"), ["b 1", "c 2"]);
        let asked = HashMap::from([("b", "2")]);
        assert_eq!(solution(&sources, &elsewhere, &asked, &["b", "c"]).expect("it can be solved"), ["b 2", "c 2"]);
    }

    #[test]
    fn what_is_impossible_anyway_is_an_error() {
        let sources = [
            source(Some(0), "Package: a\nVersion: 1\nDepends: gone\n\nPackage: b\nVersion: 1\n"),
            source(Some(1), "Package: a\nVersion: 2\nDepends: gone\n\nPackage: b\nVersion: 2\n"),
        ];
        let held = [("a", "1"), ("b", "1")];
        let error = solution(&sources, &held, &HashMap::new(), &["a", "b"]).expect_err("it is impossible");
        assert!(format!("{error:#}").contains("a 2 depends on gone"), "of the free versions: {error:#}");
    }

    #[test]
    fn an_older_index_is_refused() {
        let overrides = Overrides { arch: Some("amd64".into()), ..Overrides::default() };
        let plan = crate::recipe::load("debian:trixie", &overrides, &|url| panic!("{url}: needs no download"))
            .expect("a plan");
        let contents = |date| {
            plan.repositories
                .iter()
                .map(|_| Contents {
                    date,
                    sha256: String::new(),
                    priority: 500,
                    names: Vec::new(),
                    indexes: Vec::new(),
                })
                .collect::<Vec<_>>()
        };
        let mut previous = previous(&[]);
        let first = &plan.repositories[0];
        previous.lock.repositories.push(LockedRepository::new(first, 1_700_000_000, String::new()));
        refuse_rollback(&plan, &contents(1_700_000_000), &previous).expect("it is as old");
        let error = refuse_rollback(&plan, &contents(1_699_999_999), &previous).expect_err("it is older").to_string();
        for words in [first.name.as_str(), "2023-11-14T22:13:19Z", "2023-11-14T22:13:20Z", "--allow-rollback"] {
            assert!(error.contains(words), "{words} in {error}");
        }
        previous.allow_rollback = true;
        refuse_rollback(&plan, &contents(1), &previous).expect("it is allowed");
        previous.allow_rollback = false;
        previous.lock.repositories[0].suite = "sid".into();
        refuse_rollback(&plan, &contents(1), &previous).expect("it is another suite");
    }
}
