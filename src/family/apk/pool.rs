//! The packages to choose from, and every name they know of: their own, those they provide, need and react to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use anyhow::{Result, bail};

use super::dependency::{Dependencies, Dependency};
use super::info::Info;

/// A name, by its place in the pool.
pub type NameId = usize;
/// A package, by its place in the pool.
pub type PackageId = usize;

/// apk keeps its names in a table of so many buckets, and its folders in another one. The order in which it meets the
/// names of equal right follows from that, and with it some of its choices.
const BUCKETS: u32 = 20_000;
/// What apk's hash function starts from.
const SEED: u32 = 5381;
/// apk has no more repositories and no more tags than fit into this set.
const MAX_SETS: usize = u32::BITS as usize;

/// Packages that belong together: a repository, or the in-house files.
#[derive(Debug)]
pub struct Source<'a> {
    /// Place of the repository in the plan; none for in-house files, which come last.
    pub repository: Option<usize>,
    /// The tag without which its packages are not used.
    pub tag: Option<&'a str>,
    /// Its packages.
    pub packages: &'a [Info],
}

/// What a name is given by.
#[derive(Debug, Clone, Copy)]
pub struct Provider<'a> {
    /// The package.
    pub package: PackageId,
    /// In which version; empty where the name is provided without one.
    pub version: &'a str,
}

/// A relation to a name of the pool.
#[derive(Debug, Clone, Copy)]
pub struct Relation<'a> {
    /// The name.
    pub name: NameId,
    /// The relation.
    pub dependency: Dependency<'a>,
}

/// A package.
#[derive(Debug)]
pub struct Package<'a> {
    /// All that its index says of it.
    pub info: &'a Info,
    /// Its own name.
    pub name: NameId,
    /// What it needs and what it conflicts with.
    pub depends: Vec<Relation<'a>>,
    /// The other names it goes by, with a version or the empty one.
    pub provides: Vec<(NameId, &'a str)>,
    /// What makes it come by itself.
    pub install_if: Vec<Relation<'a>>,
    /// The set of the repositories it is in, a bit each; none for an in-house file.
    pub repositories: u32,
    /// Place of the first of these in the plan.
    pub repository: Option<usize>,
    /// It can be installed on this architecture.
    pub usable: bool,
}

/// A name.
#[derive(Debug, Default)]
pub struct Name<'a> {
    /// The name itself.
    pub name: &'a str,
    /// Who has or provides it, in the order of the sources.
    pub providers: Vec<Provider<'a>>,
    /// Names whose providers have a relation to it.
    pub depended_on_by: Vec<NameId>,
    /// Names whose providers come by themselves depending on it.
    pub triggers: Vec<NameId>,
}

/// All packages and names.
#[derive(Debug)]
pub struct Pool<'a> {
    names: Vec<Name<'a>>,
    packages: Vec<Package<'a>>,
    by_name: HashMap<&'a str, NameId>,
    /// Sets of repositories by tag; that without a tag is first.
    tags: Vec<(Option<&'a str>, u32)>,
}

impl<'a> Pool<'a> {
    /// Of these sources, the preferred one first, for an architecture.
    pub fn new(sources: &[Source<'a>], arch: &str) -> Result<Pool<'a>> {
        let mut pool = Pool { names: Vec::new(), packages: Vec::new(), by_name: HashMap::new(), tags: vec![(None, 0)] };
        let mut by_checksum = HashMap::new();
        let (repositories, files): (Vec<_>, Vec<_>) = sources.iter().partition(|source| source.repository.is_some());
        if repositories.len() > MAX_SETS {
            bail!("there are {} repositories, and apk can work with {MAX_SETS} at most", repositories.len());
        }
        for (at, source) in repositories.iter().enumerate() {
            let bit = 1 << at;
            match pool.tags.iter_mut().find(|(tag, _)| *tag == source.tag) {
                Some((_, set)) => *set |= bit,
                None => pool.tags.push((source.tag, bit)),
            }
            pool.add_source(source, bit, arch, &mut by_checksum);
        }
        pool.reverse_relations();
        // apk meets files given by name after its repositories, and their relations too.
        for source in files {
            let known = pool.packages.len();
            pool.add_source(source, 0, arch, &mut by_checksum);
            for package in known..pool.packages.len() {
                pool.relate_file(package);
            }
        }
        Ok(pool)
    }

    fn add_source(&mut self, source: &Source<'a>, bit: u32, arch: &str, by_checksum: &mut HashMap<&'a str, PackageId>) {
        for info in source.packages {
            match by_checksum.entry(info.checksum.as_str()) {
                Entry::Occupied(known) => self.packages[*known.get()].repositories |= bit,
                Entry::Vacant(place) => {
                    place.insert(self.packages.len());
                    self.add(info, source.repository, bit, arch);
                }
            }
        }
    }

    fn add(&mut self, info: &'a Info, repository: Option<usize>, bit: u32, arch: &str) {
        let id = self.packages.len();
        // apk reads the fields of a paragraph in this order; it decides about the order of names.
        let name = self.name_id(&info.name);
        let depends = self.relations(&info.depends);
        let provides: Vec<_> =
            info.provides.iter().map(|provided| (self.name_id(provided.name), provided.version)).collect();
        let install_if = self.relations(&info.install_if);
        self.names[name].providers.push(Provider { package: id, version: &info.version });
        for (provided, version) in &provides {
            self.names[*provided].providers.push(Provider { package: id, version });
        }
        let fits = info.arch.is_empty() || info.arch == "noarch" || info.arch == arch;
        let usable = fits && info.unusable.is_none();
        self.packages.push(Package {
            info,
            name,
            depends,
            provides,
            install_if,
            repositories: bit,
            repository,
            usable,
        });
    }

    fn relations(&mut self, dependencies: &'a Dependencies) -> Vec<Relation<'a>> {
        dependencies.iter().map(|dependency| Relation { name: self.name_id(dependency.name), dependency }).collect()
    }

    /// The place of a name, which is made if there is none.
    pub fn name_id(&mut self, name: &'a str) -> NameId {
        match self.by_name.entry(name) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => {
                self.names.push(Name { name, ..Name::default() });
                *place.insert(self.names.len() - 1)
            }
        }
    }

    /// Notes for every name which names are related to it.
    fn reverse_relations(&mut self) {
        let mut order: Vec<NameId> = (0..self.names.len()).collect();
        // Within a bucket the name that came last is first.
        order.sort_by_key(|id| (bucket(self.names[*id].name.as_bytes()), std::cmp::Reverse(*id)));
        // Which name was noted last at each.
        let mut depended = vec![NameId::MAX; self.names.len()];
        let mut triggered = vec![NameId::MAX; self.names.len()];
        let Pool { names, packages, .. } = self;
        for name in order {
            for at in 0..names[name].providers.len() {
                let package = &packages[names[name].providers[at].package];
                for relation in &package.depends {
                    if std::mem::replace(&mut depended[relation.name], name) != name {
                        names[relation.name].depended_on_by.push(name);
                    }
                }
                for relation in &package.install_if {
                    if std::mem::replace(&mut triggered[relation.name], name) != name {
                        names[relation.name].triggers.push(name);
                    }
                }
            }
        }
    }

    fn relate_file(&mut self, id: PackageId) {
        let package = &self.packages[id];
        let own: Vec<NameId> =
            std::iter::once(package.name).chain(package.provides.iter().map(|(name, _)| *name)).collect();
        let add = |list: &mut Vec<NameId>| {
            for name in &own {
                if !list.contains(name) {
                    list.push(*name);
                }
            }
        };
        for relation in &package.depends {
            add(&mut self.names[relation.name].depended_on_by);
        }
        for relation in &package.install_if {
            add(&mut self.names[relation.name].triggers);
        }
    }

    /// A name's own text, its providers and relations.
    pub fn name(&self, id: NameId) -> &Name<'a> {
        &self.names[id]
    }

    /// A package.
    pub fn package(&self, id: PackageId) -> &Package<'a> {
        &self.packages[id]
    }

    /// How many names there are.
    pub fn names(&self) -> usize {
        self.names.len()
    }

    /// How many packages there are.
    pub fn packages(&self) -> usize {
        self.packages.len()
    }

    /// The names that some package has or provides.
    pub fn provided_names(&self) -> impl Iterator<Item = &'a str> {
        self.names.iter().filter(|name| !name.providers.is_empty()).map(|name| name.name)
    }

    /// The number of a tag; that of no tag is 0.
    pub fn tag(&self, tag: Option<&str>) -> Option<usize> {
        self.tags.iter().position(|(known, _)| *known == tag)
    }

    /// The tags there are.
    pub fn tags(&self) -> impl Iterator<Item = &'a str> {
        self.tags.iter().filter_map(|(tag, _)| *tag)
    }

    /// The repositories of a set of tags.
    pub fn repositories_of(&self, tags: u32) -> u32 {
        self.tags.iter().enumerate().filter(|(at, _)| tags & (1 << at) != 0).fold(0, |all, (_, (_, set))| all | set)
    }
}

/// Where apk keeps a name (or the path of a folder) in its tables: it goes through them in this order.
pub fn bucket(name: &[u8]) -> u32 {
    hash(name, SEED) % BUCKETS
}

/// MurmurHash3 of 32 bits, a function in the public domain.
fn hash(key: &[u8], seed: u32) -> u32 {
    let mix = |k: u32| k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut state = seed;
    let mut blocks = key.chunks_exact(4);
    for block in &mut blocks {
        let word = block.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        state = (state ^ mix(word)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let tail = blocks.remainder().iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
    state ^= mix(tail) ^ key.len() as u32;
    state = (state ^ state >> 16).wrapping_mul(0x85eb_ca6b);
    state = (state ^ state >> 13).wrapping_mul(0xc2b2_ae35);
    state ^ state >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_public_one() {
        for (key, seed, wanted) in [
            ("", 0, 0),
            ("", 1, 0x514e_28b7),
            ("test", 0, 0xba6b_d213),
            ("Hello, world!", 0, 0xc036_3e43),
            ("Hello, world!", 0x9747_b28c, 0x2488_4cba),
            ("aaa", 0x9747_b28c, 0x283e_0130),
            ("aa", 0x9747_b28c, 0x5d21_1726),
            ("a", 0x9747_b28c, 0x7fa0_9ea6),
        ] {
            assert_eq!(hash(key.as_bytes(), seed), wanted, "{key}");
        }
    }
}
