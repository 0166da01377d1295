//! The order in which apt's cache meets the names of packages: its last word on which of several providers it takes.
//!
//! apt numbers a name when it first comes up: as the name of a package, or in a relation of one that stands earlier.
//! It reads the indexes in the order of its sources, and of each package the fields in the order below. Of providers
//! that nothing else tells apart it prefers the higher number (`CompareProviders` in apt's depcache.cc).

use std::collections::HashMap;

use super::index::{Index, Package};
use super::pool::Id;
use super::relation;

/// For each candidate the number apt would give its name, counted among the candidates alone.
///
/// `names` tells the candidates, below `count`, by name; `indexes` are in the order in which apt would read them.
pub fn numbers<'a>(
    indexes: impl Iterator<Item = &'a Index>,
    native: &str,
    names: &HashMap<&str, Id>,
    count: usize,
) -> Vec<u32> {
    let mut numbers = vec![None; count];
    let mut next = 0;
    let mut meet = |name: &str| {
        if let Some(number @ None) = names.get(name).map(|id| &mut numbers[*id as usize]) {
            *number = Some(next);
            next += 1;
        }
    };
    for package in indexes.flat_map(Index::packages).filter(|p| p.arch() == native || p.arch() == "all") {
        meet(package.name());
        fields(&package).into_iter().flat_map(|field| mentioned(field, native)).for_each(&mut meet);
    }
    numbers.into_iter().map(|number| number.unwrap_or(next)).collect()
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

/// The names in a field. One with `:any` is another name for apt, and so is one of a foreign architecture.
///
/// Fields that nobody else reads may hold anything: a part that is no relation counts for what its first word says.
fn mentioned<'a>(field: &'a str, native: &str) -> impl Iterator<Item = &'a str> {
    relation::groups(field).flat_map(|group| group.split('|')).filter_map(move |part| {
        let part = part.trim_start();
        let end = part.find(|c: char| c.is_ascii_whitespace() || c == '(').unwrap_or(part.len());
        match part[..end].split_once(':') {
            None => Some(&part[..end]),
            Some((name, qualifier)) => (qualifier == "native" || qualifier == native).then_some(name),
        }
    })
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
