//! Why packages cannot be installed, in words a person can act on.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;

use anyhow::{Error, anyhow};

use super::pool::{Id, Pool};
use super::relation::{self, Relation};
use super::solve::{Hostile, Origin};

/// Longer explanations are cut to this many lines: the chain to the first contradiction is what helps.
const MAX_LINES: usize = 24;

/// Packages that cannot be installed together, and what the contradiction is made of.
#[derive(Debug)]
pub struct Impossible {
    wish: String,
    /// Names of the packages in it.
    pub packages: BTreeSet<String>,
    /// Dependencies in it: groups of alternatives.
    pub dependencies: BTreeSet<String>,
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.wish)
    }
}

/// The error for relations that contradict each other, with an [`Impossible`] in its chain: the wish on top, below it the chain of packages, in order.
pub fn contradiction(pool: &Pool<'_>, core: &[Origin<'_>]) -> Error {
    let mut lines = chain(pool, core);
    let hidden = lines.len().saturating_sub(MAX_LINES);
    if hidden > 0 {
        lines.truncate(MAX_LINES);
        lines.push(format!("… and {hidden} relations more"));
    }
    // The last line is the innermost cause.
    let mut lines = lines.into_iter().rev();
    let innermost = anyhow!("{}", lines.next().unwrap_or_default());
    let error = lines.fold(innermost, Error::context);
    let mut wanted: Vec<&str> =
        core.iter().filter_map(|o| if let Origin::Wanted(id) = o { Some(name(pool, *id)) } else { None }).collect();
    wanted.sort_unstable();
    let wish = match wanted[..] {
        [] => "no choice of packages satisfies all relations".to_owned(),
        [one] => format!("'{one}' cannot be installed"),
        _ => format!("these packages cannot be installed together: {}", wanted.join(", ")),
    };
    let mut impossible = Impossible { wish, packages: BTreeSet::new(), dependencies: BTreeSet::new() };
    for origin in core {
        let (one, other) = match *origin {
            Origin::Wanted(id) | Origin::Excluded(id) => (id, id),
            Origin::Depends(id, group) => {
                impossible.dependencies.insert(group.to_owned());
                (id, id)
            }
            Origin::Against(one, other, ..) => (one, other),
        };
        impossible.packages.extend([one, other].map(|id| name(pool, id).to_owned()));
    }
    error.context(impossible)
}

/// The lines from what was asked for, along the dependencies, to what stands against it.
fn chain(pool: &Pool<'_>, core: &[Origin<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut met = HashSet::new();
    let mut queue: VecDeque<Id> = VecDeque::new();
    for origin in core {
        if let Origin::Wanted(id) = origin
            && met.insert(*id)
        {
            queue.push_back(*id);
        }
    }
    while let Some(package) = queue.pop_front() {
        for origin in core {
            let Origin::Depends(from, group) = origin else { continue };
            if *from != package {
                continue;
            }
            let candidates = satisfying(pool, group);
            let mut line = format!("{} depends on {}", full(pool, package), one_line(group));
            match (candidates.is_empty(), absence(pool, group)) {
                (true, absence) => line.push_str(&format!(", but {absence}")),
                (false, absence) if !absence.is_empty() => line.push_str(&format!(" ({absence})")),
                _ => {}
            }
            lines.push(line);
            queue.extend(candidates.into_iter().filter(|c| met.insert(*c)));
        }
    }
    for origin in core {
        match origin {
            Origin::Against(one, other, kind, relation) => {
                let verb = match kind {
                    Hostile::Conflicts => "conflicts with",
                    Hostile::Breaks => "breaks",
                };
                let is_it = Relation::parse(relation).is_ok_and(|relation| relation.name == name(pool, *other));
                let how = if is_it { "is" } else { "provides" };
                let relation = one_line(relation);
                lines.push(format!("{} {verb} {relation}, which {} {how}", full(pool, *one), full(pool, *other)));
            }
            Origin::Excluded(id) => lines.push(format!("{} is excluded", name(pool, *id))),
            Origin::Wanted(_) | Origin::Depends(..) => {}
        }
    }
    if lines.is_empty() {
        lines.push("the wish contradicts itself".into());
    }
    lines
}

/// Why nothing satisfies some alternatives of a group; empty where something satisfies each.
fn absence(pool: &Pool<'_>, group: &str) -> String {
    let alternatives = relation::alternatives(group).unwrap_or_default();
    let absent = alternatives.iter().filter(|relation| pool.satisfying(relation).is_empty());
    absent.map(|relation| absence_of(pool, relation)).collect::<Vec<_>>().join(" and ")
}

fn absence_of(pool: &Pool<'_>, relation: &Relation<'_>) -> String {
    let name = relation.name;
    if let Some(id) = pool.find(name) {
        let package = pool.get(id).package;
        if relation.version_matches(Some(package.version())) {
            return format!("{name} {} is of another architecture", package.version());
        }
        return format!("{name} is only there in version {}", package.version());
    }
    match pool.providers(name).next() {
        None if pool.is_barred(name) => {
            format!("{name} is only in a repository whose priority is below 0; ask for it by version")
        }
        Some(id) => format!("what provides {name} ({}) does not in that version", full(pool, id)),
        None => format!("no repository has {name}"),
    }
}

fn satisfying(pool: &Pool<'_>, group: &str) -> Vec<Id> {
    relation::alternatives(group).unwrap_or_default().iter().flat_map(|relation| pool.satisfying(relation)).collect()
}

fn name<'a>(pool: &Pool<'a>, id: Id) -> &'a str {
    pool.get(id).package.name()
}

fn full(pool: &Pool<'_>, id: Id) -> String {
    let package = pool.get(id).package;
    format!("{} {}", package.name(), package.version())
}

/// A relation that was folded over several lines, on one.
fn one_line(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}
