//! The packages to choose from: for every name the one version that may be installed, and who provides what.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};

use super::index::{Index, Package};
use super::mentions;
use super::relation::{self, Operator, Relation};
use super::version;
use crate::parallel::in_parts;

/// A candidate, by its place in the pool.
pub type Id = u32;

/// An index and the repository it belongs to.
#[derive(Debug)]
pub struct Source {
    /// Place of the repository in the plan; none for in-house files.
    pub repository: Option<usize>,
    /// What its release goes by: suite, code name, and the repository's name in the recipe.
    pub names: Vec<String>,
    /// Versions of a source with a higher priority go before all others (`apt_preferences(5)`);
    /// those of one below 0 are only for who asks for them by version.
    pub priority: i16,
    /// Its packages.
    pub index: Index,
}

impl Source {
    /// Whether it is of this release.
    pub fn is_of(&self, release: &str) -> bool {
        self.names.iter().any(|name| name == release)
    }
}

/// The package that would be installed under its name.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The package.
    pub package: Package<'a>,
    /// Place of its repository in the plan; none for an in-house file.
    pub repository: Option<usize>,
    priority: i16,
}

/// What a package provides under some name.
#[derive(Debug, Clone, Copy)]
struct Provided<'a> {
    id: Id,
    version: Option<&'a str>,
    /// Written with `:any`: only relations with `:any` mean it.
    for_any: bool,
}

/// Who provides what: a name with its hash, sorted by that, and of each name in the order of the candidates. Debian has
/// a hundred thousand of them, of which a build asks for a few hundred; a map of lists takes five times as long to make.
#[derive(Debug)]
struct Providers<'a> {
    hasher: RandomState,
    all: Vec<(u64, &'a str, Provided<'a>)>,
}

impl<'a> Providers<'a> {
    fn new(candidates: &[Candidate<'a>], native: &str) -> Result<Providers<'a>> {
        let hasher = RandomState::new();
        let parts = in_parts(candidates, |first, candidates| -> Result<Vec<_>> {
            let mut found = Vec::new();
            for (id, candidate) in (Id::try_from(first)?..).zip(candidates) {
                provides(id, &candidate.package, native, |name, provided| {
                    found.push((hasher.hash_one(name), name, provided));
                })?;
            }
            Ok(found)
        });
        let mut all = Vec::new();
        for part in parts {
            all.extend(part?);
        }
        all.sort_by_key(|(hash, ..)| *hash);
        Ok(Providers { hasher, all })
    }

    fn names(&self) -> impl Iterator<Item = &'a str> {
        self.all.iter().map(|(_, name, _)| *name)
    }

    fn of(&self, name: &str) -> impl Iterator<Item = &Provided<'a>> {
        let hash = self.hasher.hash_one(name);
        let start = self.all.partition_point(|(other, ..)| *other < hash);
        let same_hash = self.all[start..].iter().take_while(move |(other, ..)| *other == hash);
        same_hash.filter(move |(_, other, _)| *other == name).map(|(.., provided)| provided)
    }
}

/// Gives every name that a package provides to `each`.
fn provides<'a>(
    id: Id,
    package: &Package<'a>,
    native: &str,
    mut each: impl FnMut(&'a str, Provided<'a>),
) -> Result<()> {
    for part in relation::groups(package.provides()) {
        let place = || format!("{}: Provides of {}", package.place(), package.name());
        let provided = Relation::parse(part).with_context(place)?;
        let version = match provided.version {
            None => None,
            Some((Operator::Equal, version)) => Some(version),
            Some(_) => bail!("{}: '{part}' is no version that can be provided, only '=' is", place()),
        };
        let foreign = provided.qualifier.is_some_and(|q| q != "any" && q != "native" && q != native);
        if !foreign {
            each(provided.name, Provided { id, version, for_any: provided.qualifier == Some("any") });
        }
    }
    Ok(())
}

/// All candidates.
#[derive(Debug)]
pub struct Pool<'a> {
    native: &'a str,
    candidates: Vec<Candidate<'a>>,
    names: HashMap<&'a str, Id>,
    providers: Providers<'a>,
    /// Names of packages that only sources below priority 0 have.
    barred: HashSet<&'a str>,
    sources: &'a [Source],
    /// What [`mentions::numbers`] says, from when it is first asked for: it reads every relation there is.
    mentions: OnceLock<Vec<u32>>,
}

impl<'a> Pool<'a> {
    /// Chooses the candidates of all sources for one architecture: an in-house file before everything else, then as apt
    /// does the source with the highest priority, the highest version, the first source. `pinned` names versions that
    /// were asked for: others of those packages are left out.
    pub fn new(sources: &'a [Source], native: &'a str, pinned: &HashMap<&str, &str>) -> Result<Pool<'a>> {
        let size = sources.iter().map(|source| source.index.packages().len()).sum();
        let mut candidates: Vec<Candidate<'a>> = Vec::with_capacity(size);
        let mut names: HashMap<&'a str, Id> = HashMap::with_capacity(size);
        let mut barred = HashSet::new();
        for source in sources {
            for package in source.index.packages().filter(|p| p.arch() == native || p.arch() == "all") {
                let candidate = Candidate { package, repository: source.repository, priority: source.priority };
                match pinned.get(package.name()) {
                    Some(v) if version::compare(v, package.version()).is_ne() => continue,
                    None if source.priority < 0 => {
                        barred.insert(package.name());
                        continue;
                    }
                    _ => {}
                }
                match names.get(package.name()) {
                    None => {
                        names.insert(package.name(), Id::try_from(candidates.len())?);
                        candidates.push(candidate);
                    }
                    Some(&id) => {
                        let old = &mut candidates[id as usize];
                        let better = match (old.repository, candidate.repository) {
                            (None, Some(_)) => false,
                            (Some(_), None) => true,
                            _ => candidate
                                .priority
                                .cmp(&old.priority)
                                .then_with(|| version::compare(package.version(), old.package.version()))
                                .is_gt(),
                        };
                        if better {
                            *old = candidate;
                        }
                    }
                }
            }
        }
        barred.retain(|name| !names.contains_key(name));
        let providers = Providers::new(&candidates, native)?;
        Ok(Pool { native, candidates, names, providers, barred, sources, mentions: OnceLock::new() })
    }

    /// The architecture of the image.
    pub fn native(&self) -> &'a str {
        self.native
    }

    /// The number of candidates: ids are below it.
    pub fn count(&self) -> usize {
        self.candidates.len()
    }

    /// A candidate.
    pub fn get(&self, id: Id) -> &Candidate<'a> {
        &self.candidates[id as usize]
    }

    /// The candidate of a name.
    pub fn find(&self, name: &str) -> Option<Id> {
        self.names.get(name).copied()
    }

    /// Whether a package is only there in repositories below priority 0, which are not to be used by themselves.
    pub fn is_barred(&self, name: &str) -> bool {
        self.barred.contains(name)
    }

    /// Every candidate with its id, in the order in which the sources name them first.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &Candidate<'a>)> {
        (0..).zip(&self.candidates)
    }

    /// Every name of a package or provided by one.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.names.keys().copied().chain(self.providers.names())
    }

    /// Those that provide a name, whatever their version.
    pub fn providers(&self, name: &str) -> impl Iterator<Item = Id> {
        self.providers.of(name).map(|provided| provided.id)
    }

    /// The candidates that satisfy a relation, the preferred one first: the package of that name, then those that
    /// provide it in apt's order: essential ones, important ones, higher priority, the name that its cache met last.
    pub fn satisfying(&self, relation: &Relation<'_>) -> Vec<Id> {
        let mut found = Vec::new();
        if let Some(id) = self.find(relation.name) {
            let package = self.get(id).package;
            if relation.version_matches(Some(package.version())) && self.arch_matches(relation, package) {
                found.push(id);
            }
        }
        let mut others: Vec<Id> = self
            .providers
            .of(relation.name)
            .filter(|provided| {
                let arch_matches = match provided.for_any {
                    true => relation.qualifier == Some("any"),
                    false => self.arch_matches(relation, self.get(provided.id).package),
                };
                relation.version_matches(provided.version) && arch_matches && !found.contains(&provided.id)
            })
            .map(|provided| provided.id)
            .collect();
        let rank = |id: Id| {
            let package = self.get(id).package;
            (!package.essential(), !package.important(), priority_rank(package.priority()))
        };
        others.sort_by(|a, b| rank(*a).cmp(&rank(*b)).then_with(|| self.met_later(*a, *b)));
        others.dedup();
        found.extend(others);
        found
    }

    /// The one whose name apt's cache met later goes before the other. apt reads in-house files after all repositories.
    fn met_later(&self, one: Id, other: Id) -> Ordering {
        if one == other {
            return Ordering::Equal;
        }
        let numbers = self.mentions.get_or_init(|| {
            let (of_repositories, files): (Vec<_>, Vec<_>) = self.sources.iter().partition(|s| s.repository.is_some());
            let indexes = of_repositories.into_iter().chain(files).map(|source| &source.index);
            mentions::numbers(indexes, self.native, &self.names, self.count())
        });
        numbers[other as usize].cmp(&numbers[one as usize])
    }

    /// Whether the architecture qualifier of a relation lets this package satisfy it (Multi-Arch specification):
    /// `:any` asks for `Multi-Arch: allowed`.
    fn arch_matches(&self, relation: &Relation<'_>, package: Package<'_>) -> bool {
        match relation.qualifier {
            None | Some("native") => true,
            Some("any") => package.multi_arch() == "allowed",
            Some(arch) => arch == self.native,
        }
    }
}

/// The place of a priority in their order (policy 2.5); `extra` is the old name of `optional` but sorts after it.
fn priority_rank(priority: &str) -> usize {
    const ORDER: [&str; 5] = ["required", "important", "standard", "optional", "extra"];
    ORDER.iter().position(|known| *known == priority).unwrap_or(ORDER.len())
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// A source of priority 500 with these packages, for amd64 where they do not say otherwise.
    pub fn source(repository: Option<usize>, text: &str) -> Source {
        let paragraphs = text.trim_end().split("\n\n").filter(|p| !p.is_empty()).map(|paragraph| {
            match paragraph.contains("Architecture:") {
                true => format!("{paragraph}\n\n"),
                false => format!("{paragraph}\nArchitecture: amd64\n\n"),
            }
        });
        let index = Index::parse(&paragraphs.collect::<String>(), "test").expect("it is valid");
        Source { repository, names: Vec::new(), priority: 500, index }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::source;
    use super::*;

    fn names(pool: &Pool<'_>, relation: &str) -> Vec<String> {
        let relation = Relation::parse(relation).expect("it is valid");
        pool.satisfying(&relation).iter().map(|id| pool.get(*id).package.name().to_owned()).collect()
    }

    #[test]
    fn the_highest_version_wins_and_of_equals_the_first() {
        let sources = [
            source(Some(0), "Package: a\nVersion: 1\n\nPackage: b\nVersion: 1\n\nPackage: c\nVersion: 1\n"),
            source(Some(1), "Package: a\nVersion: 1.1\n\nPackage: b\nVersion: 1\n\nPackage: c\nVersion: 0\n"),
            source(None, "Package: c\nVersion: 0.1\n"),
        ];
        let pool = Pool::new(&sources, "amd64", &HashMap::new()).expect("it is valid");
        let from = |name: &str| pool.get(pool.find(name).expect("it is there")).repository;
        assert_eq!((from("a"), from("b"), from("c")), (Some(1), Some(0), None));
        let pool = Pool::new(&sources, "amd64", &HashMap::from([("a", "1")])).expect("it is valid");
        assert_eq!(pool.get(pool.find("a").expect("it is there")).package.version(), "1");
        let pool = Pool::new(&sources, "amd64", &HashMap::from([("a", "7")])).expect("it is valid");
        assert!(pool.find("a").is_none());
    }

    #[test]
    fn a_source_of_lower_priority_is_used_for_what_no_other_has() {
        let low = |text| Source { priority: 100, ..source(Some(0), text) };
        let sources = [
            low("Package: a\nVersion: 9\n\nPackage: b\nVersion: 1\n"),
            source(Some(1), "Package: a\nVersion: 1\n"),
            low("Package: a\nVersion: 10\n"),
        ];
        let version = |pins: &HashMap<&str, &str>, name: &str| {
            let pool = Pool::new(&sources, "amd64", pins).expect("it is valid");
            pool.find(name).map(|id| pool.get(id).package.version().to_owned())
        };
        assert_eq!(version(&HashMap::new(), "a").as_deref(), Some("1"));
        assert_eq!(version(&HashMap::new(), "b").as_deref(), Some("1"));
        assert_eq!(version(&HashMap::from([("a", "9")]), "a").as_deref(), Some("9"));
    }

    #[test]
    fn a_source_below_0_is_only_for_who_asks() {
        let sources = [
            Source { priority: -1, ..source(Some(0), "Package: a\nVersion: 9\n\nPackage: b\nVersion: 1\n") },
            source(Some(1), "Package: a\nVersion: 1\n"),
        ];
        let pool = Pool::new(&sources, "amd64", &HashMap::new()).expect("it is valid");
        assert_eq!(pool.get(pool.find("a").expect("it is there")).package.version(), "1");
        assert!(pool.find("b").is_none() && pool.is_barred("b") && !pool.is_barred("a"));
        let pool = Pool::new(&sources, "amd64", &HashMap::from([("b", "1")])).expect("it is valid");
        assert!(pool.find("b").is_some() && !pool.is_barred("b"));
    }

    #[test]
    fn other_architectures_are_left_out() {
        let text = "Package: a\nVersion: 1\nArchitecture: arm64\n\nPackage: b\nVersion: 1\nArchitecture: all\n";
        let sources = [source(Some(0), text)];
        let pool = Pool::new(&sources, "amd64", &HashMap::new()).expect("it is valid");
        assert!(pool.find("a").is_none() && pool.find("b").is_some() && pool.count() == 1);
    }

    #[test]
    fn providers_come_in_order() {
        let sources = [source(
            Some(0),
            "Package: p1\nVersion: 1\nProvides: v (= 2), w\nPriority: optional\n\n\
             Package: p2\nVersion: 1\nProvides: v\nPriority: required\n\n\
             Package: p3\nVersion: 1\nProvides: v (= 3)\nPriority: optional\nEssential: yes\n\n\
             Package: p4\nVersion: 1\nProvides: v, v (= 1)\nPriority: optional\n\n\
             Package: w\nVersion: 1\nMulti-Arch: allowed\n\n\
             Package: f\nVersion: 1\nMulti-Arch: foreign\nProvides: q:any\n",
        )];
        let pool = Pool::new(&sources, "amd64", &HashMap::new()).expect("it is valid");
        assert_eq!(names(&pool, "v"), ["p3", "p2", "p4", "p1"]);
        assert_eq!(names(&pool, "v (>= 2)"), ["p3", "p1"]);
        assert_eq!(names(&pool, "w"), ["w", "p1"]);
        assert_eq!(names(&pool, "w:any"), ["w"]);
        // As apt: neither for what is `foreign`, nor without the qualifier for what is provided with it.
        assert_eq!(names(&pool, "q:any"), ["f"]);
        assert!(names(&pool, "f:any").is_empty() && names(&pool, "q").is_empty());
        assert_eq!(names(&pool, "w:amd64"), ["w", "p1"]);
        assert!(names(&pool, "w:arm64").is_empty());
        assert!(names(&pool, "nothing").is_empty());
    }

    #[test]
    fn of_equal_providers_the_name_that_was_met_last_goes_first() {
        let sources = [
            source(None, "Package: own\nVersion: 1\nProvides: v\n"),
            source(Some(0), "Package: a\nVersion: 1\nSuggests: p3\n\nPackage: p1\nVersion: 1\nProvides: v\n"),
            source(
                Some(1),
                "Package: p2\nVersion: 1\nProvides: v\nEnhances: p1\n\nPackage: p3\nVersion: 1\nProvides: v\n",
            ),
        ];
        let pool = Pool::new(&sources, "amd64", &HashMap::new()).expect("it is valid");
        assert_eq!(names(&pool, "v"), ["own", "p2", "p1", "p3"]);
    }

    #[test]
    fn bad_provides_name_the_place() {
        for provides in ["v (>= 2)", "v w"] {
            let sources = [source(Some(0), &format!("Package: p\nVersion: 1\nProvides: {provides}\n"))];
            let error = Pool::new(&sources, "amd64", &HashMap::new()).map(|_| ()).expect_err(provides);
            assert!(format!("{error:#}").contains("test, line 1"), "{error:#}");
        }
    }
}
