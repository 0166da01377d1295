//! The order in which apt's cache meets the names of packages: its last word on which of several providers it takes.
//!
//! apt numbers a name when it first comes up: as the name of a package, or in a relation of one that stands earlier.
//! It reads the indexes in the order of its sources, and of each package the fields in the order below. Of providers
//! that nothing else tells apart it prefers the higher number (`CompareProviders` in apt's depcache.cc).

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};

use super::index::{Index, Package};
use super::pool::Id;
use crate::parallel::in_parts;

/// For each candidate the number apt would give its name, counted among the candidates alone.
///
/// `names` tells the candidates, below `count`, by name; `indexes` are in the order in which apt would read them.
pub fn numbers<'a>(
    indexes: impl Iterator<Item = &'a Index>,
    native: &str,
    names: &HashMap<&str, Id>,
    count: usize,
) -> Vec<u32> {
    // A million names are looked up. By their hashes alone that takes a third of the time: nothing but this small table
    // is read for it.
    let hasher = RandomState::new();
    let mut by_id = vec![""; count];
    names.iter().for_each(|(name, id)| by_id[*id as usize] = name);
    let hashes = in_parts(&by_id, |_, names| names.iter().map(|name| hasher.hash_one(name)).collect::<Vec<_>>());
    let ids: HashMap<u64, Id, Hashed> = hashes.into_iter().flatten().zip(0..).collect();
    let packages: Vec<Package<'_>> =
        indexes.flat_map(Index::packages).filter(|p| p.arch() == native || p.arch() == "all").collect();
    // In the order of the packages, however many threads there are.
    let met = in_parts(&packages, |_, packages| {
        let mut met = Vec::new();
        let mut is_met = vec![false; count];
        let mut meet = |name: &str| {
            if let Some(id) = ids.get(&hasher.hash_one(name))
                && !is_met[*id as usize]
                && by_id[*id as usize] == name
            {
                is_met[*id as usize] = true;
                met.push(*id);
            }
        };
        for package in packages {
            meet(package.name());
            fields(package).into_iter().for_each(|field| mentioned(field, native, &mut meet));
        }
        met
    });
    let mut numbers = vec![None; count];
    for (number, id) in (0..).zip(met.into_iter().flatten()) {
        numbers[id as usize].get_or_insert(number);
    }
    numbers.into_iter().map(|number| number.unwrap_or(u32::MAX)).collect()
}

/// For keys that are hashes themselves.
type Hashed = BuildHasherDefault<Same>;

/// A number as its own hash.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// The fields with relations, in the order in which apt reads them, whatever theirs in the index is.
fn fields<'a>(package: &Package<'a>) -> [&'a str; 9] {
    [
        package.pre_depends(),
        package.depends(),
        package.conflicts(),
        package.breaks(),
        package.recommends(),
        package.suggests(),
        package.replaces(),
        package.enhances(),
        package.provides(),
    ]
}

/// Gives the names in a field to `meet`. One with `:any` is another name for apt, and so is one of a foreign
/// architecture.
///
/// Fields that nobody else reads may hold anything: a part that is no relation counts for what its first word says.
fn mentioned(field: &str, native: &str, meet: &mut impl FnMut(&str)) {
    let mut rest = field.as_bytes();
    let mut start = 0;
    while !rest.is_empty() {
        let blanks = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let word = &rest[blanks..];
        let length = word.iter().take_while(|b| !matches!(b, b',' | b'|' | b'(') && !b.is_ascii_whitespace()).count();
        // It ends at an ASCII character, and begins after one.
        let name = &field[start + blanks..start + blanks + length];
        match name.split_once(':') {
            None => meet(name),
            Some((name, qualifier)) if qualifier == "native" || qualifier == native => meet(name),
            Some(_) => {}
        }
        let end = word[length..].iter().position(|b| matches!(b, b',' | b'|'));
        let taken = end.map_or(rest.len(), |end| blanks + length + end + 1);
        rest = &rest[taken..];
        start += taken;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_from_where_it_is_first_met() {
        // Every candidate but the first is named by something before its own paragraph, most by a field of `a`.
        const ALL: &str = "Package: z\nProvides: y\n\n\
             Package: a\nProvides: n8:native, n9:amd64, c:any, b:arm64\nEnhances: n7\nReplaces: n6\nSuggests: n5 (>= 1)|n1\n\
             Recommends: n4\nBreaks: n3(<< 2)\nConflicts: n2\nDepends: n1 | b:any,\n n0\nPre-Depends: c:any, p\n\n\
             Package: b\n\nPackage: foreign\nArchitecture: arm64\nDepends: c\n\n\
             Package: x\n\nPackage: c\nDepends: z\n\n\
             Package: n9\n\nPackage: p";
        let paragraphs: Vec<String> = ALL
            .split("\n\n")
            .map(|p| match p.contains("Architecture:") {
                true => format!("{p}\nVersion: 1\n"),
                false => format!("{p}\nVersion: 1\nArchitecture: all\n"),
            })
            .collect();
        let order = ["z", "y", "a", "p", "n1", "n0", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9", "b", "x", "c"];
        let mut names: Vec<&str> = order.to_vec();
        names.sort_unstable();
        let ids: HashMap<&str, Id> = names.iter().copied().zip(0..).collect();
        // The same in one index and spread over several.
        for indexes in [vec![paragraphs.join("\n")], paragraphs] {
            let indexes: Vec<Index> =
                indexes.iter().map(|text| Index::parse(text, "test").expect("it is valid")).collect();
            let numbers = numbers(indexes.iter(), "amd64", &ids, names.len());
            let mut met = names.clone();
            met.sort_by_key(|name| numbers[ids[name] as usize]);
            assert_eq!(met, order);
        }
    }
}
