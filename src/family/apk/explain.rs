//! Why packages cannot be installed, in words a person can act on.

use std::cell::RefCell;
use std::collections::BTreeSet;

use anyhow::{Error, anyhow};

use super::pool::{NameId, PackageId, Pool, Relation};
use super::solve::{Fault, Outcome, Wish};
use super::version;
use crate::error::{did_you_mean, usage};

/// Most names listed in one message.
const MAX_NAMES: usize = 12;
/// Of what needs a package that cannot be had, so much is said.
const MAX_NEEDED: usize = 3;
/// So many packages are looked at for reasons.
const MAX_EXPLAINED: usize = 50;
/// Longer explanations are cut to this many lines.
const MAX_LINES: usize = 24;

/// The error for an outcome that is not possible.
pub fn explain(pool: &Pool<'_>, wishes: &[Wish<'_>], outcome: &Outcome) -> Error {
    let explanation = Explanation { pool, wishes, outcome, seen: RefCell::default() };
    if let Some(mistake) = wishes.iter().find_map(|wish| explanation.mistake(wish)) {
        return usage(mistake);
    }
    let mut lines: Vec<String> = Vec::new();
    let mut add = |line: String| {
        if !lines.contains(&line) {
            lines.push(line);
        }
    };
    outcome.missing.iter().for_each(|name| explanation.missing(*name, &mut add));
    outcome.faults.iter().for_each(|(id, fault)| explanation.fault(*id, *fault, &mut add));
    if lines.is_empty() {
        let faulty = outcome.faults.iter().map(|(id, _)| explanation.full(*id)).collect::<BTreeSet<_>>();
        lines.push(format!("no choice of packages satisfies all relations of {}", list(&faulty)));
    }
    let hidden = lines.len().saturating_sub(MAX_LINES);
    if hidden > 0 {
        lines.truncate(MAX_LINES);
        lines.push(format!("… and {hidden} relations more"));
    }
    let asked: Vec<String> = wishes.iter().map(|wish| wish.relation.dependency.to_string()).collect();
    let top = match asked.as_slice() {
        [one] => format!("'{one}' cannot be installed"),
        _ => format!("these packages cannot be installed together: {}", list(&asked)),
    };
    // The last line is the innermost cause.
    let mut lines = lines.into_iter().rev();
    let innermost = anyhow!("{}", lines.next().unwrap_or_default());
    lines.fold(innermost, Error::context).context(top)
}

struct Explanation<'e, 'a> {
    pool: &'e Pool<'a>,
    wishes: &'e [Wish<'a>],
    outcome: &'e Outcome,
    /// Packages that were explained.
    seen: RefCell<BTreeSet<PackageId>>,
}

impl<'a> Explanation<'_, 'a> {
    /// What is wrong with something that is asked for, before it is put beside anything else.
    fn mistake(&self, wish: &Wish<'a>) -> Option<String> {
        let Relation { name, dependency } = wish.relation;
        if dependency.conflict {
            return None;
        }
        let text = dependency.name;
        let providers = &self.pool.name(name).providers;
        if providers.is_empty() {
            let hint = did_you_mean(text, self.pool.provided_names());
            return Some(format!("no repository has the package '{text}'{hint}"));
        }
        let right = |at: &usize| {
            dependency.is_met_by(providers[*at].version, &self.pool.package(providers[*at].package).info.checksum)
        };
        let (right, wrong): (Vec<usize>, Vec<usize>) = (0..providers.len()).partition(right);
        if right.is_empty() {
            let there: Vec<String> = wrong.iter().map(|at| providers[*at].version.to_owned()).collect();
            return Some(format!("there is no {dependency}, only {}", self.versions(text, there)));
        }
        if self.outcome.missing.contains(&name) {
            let names: BTreeSet<&str> = right.iter().map(|at| self.name(providers[*at].package)).collect();
            return Some(format!("'{text}' is a virtual package; ask for one that provides it: {}", list(&names)));
        }
        let allowed = self.pool.repositories_of(1 | 1 << wish.tag);
        let is_allowed = |at: &usize| {
            let package = self.pool.package(providers[*at].package);
            package.repositories == 0 || package.info.installed_size == 0 || package.repositories & allowed != 0
        };
        if !right.iter().any(is_allowed) {
            let tags: BTreeSet<&str> = right.iter().flat_map(|at| self.tags(providers[*at].package)).collect();
            let asked = |tag: &str| format!("{text}@{tag}");
            let ways: Vec<String> = tags.iter().map(|tag| asked(tag)).collect();
            return Some(format!("{dependency} is only in a repository with a tag; ask for it as {}", list(&ways)));
        }
        None
    }

    fn missing(&self, name: NameId, add: &mut dyn FnMut(String)) {
        let providers: BTreeSet<&str> =
            self.pool.name(name).providers.iter().map(|provider| self.name(provider.package)).collect();
        for (who, relation) in self.relations_to(&[name]) {
            if relation.dependency.conflict {
                continue;
            }
            add(if providers.is_empty() {
                format!("{who} {}, which no repository has", relation.dependency)
            } else {
                format!(
                    "{who} {}, which several packages provide: ask for one of them ({})",
                    relation.dependency,
                    list(&providers)
                )
            });
        }
    }

    fn fault(&self, id: PackageId, fault: Fault, add: &mut dyn FnMut(String)) {
        let package = self.pool.package(id);
        match fault {
            Fault::Unfit if self.is_tagged(id) => {
                // It was what is left when the packages of the other repositories had dropped out.
                let others = self.pool.name(package.name).providers.iter().map(|provider| provider.package);
                let others: Vec<PackageId> = others.filter(|other| *other != id && !self.is_tagged(*other)).collect();
                others.iter().take(MAX_NEEDED).for_each(|other| self.unfit(*other, add));
                let tags: Vec<&str> = self.tags(id).collect();
                add(format!("{} is only in the repository with the tag {}", self.full(id), list(&tags)));
            }
            Fault::Unfit => self.unfit(id, add),
            Fault::SameName(name) => {
                let others =
                    self.outcome.faults.iter().filter(|(other, fault)| *other != id && *fault == Fault::SameName(name));
                for (other, _) in others {
                    let (one, two) = if id < *other { (id, *other) } else { (*other, id) };
                    add(format!(
                        "{} and {} both provide {}",
                        self.full(one),
                        self.full(two),
                        self.pool.name(name).name
                    ));
                }
            }
            Fault::Unmet(at) => {
                let relation = &package.depends[at];
                // What nothing gives is said already.
                if !self.outcome.missing.contains(&relation.name) {
                    add(format!("{} {}{}", self.full(id), verb(relation), self.instead(relation)));
                }
            }
            // Said of that package.
            Fault::Needs(_) => {}
        }
    }

    /// Why a package dropped out: relations to it that it does not meet, or its own that nothing meets.
    fn unfit(&self, id: PackageId, add: &mut dyn FnMut(String)) {
        if self.seen.borrow().len() > MAX_EXPLAINED || !self.seen.borrow_mut().insert(id) {
            return;
        }
        let package = self.pool.package(id);
        let mut names = vec![package.name];
        names.extend(package.provides.iter().map(|(name, _)| *name));
        let mut needed = Vec::new();
        let mut stands_against = false;
        for (who, relation) in self.relations_to(&names) {
            // A conflict of a package with its own name means others.
            if who.id == Some(id) {
                continue;
            }
            let mut given = self.pool.name(relation.name).providers.iter().filter(|provider| provider.package == id);
            if given.all(|provider| relation.dependency.is_met_by(provider.version, &package.info.checksum)) {
                if !relation.dependency.conflict && relation.name != package.name {
                    needed.push(format!("{who} {}, which {} gives", relation.dependency, self.full(id)));
                } else if !relation.dependency.conflict {
                    needed.push(format!("{who} {}", relation.dependency));
                }
                continue;
            }
            stands_against = true;
            add(match (who.id, relation.dependency.conflict) {
                (None, true) => format!("{} is excluded", plain(&relation)),
                _ => format!("{who} {}, and {} does not fit that", plain(&relation), self.full(id)),
            });
        }
        for name in &names {
            for (other, version) in self.rivals(id, *name) {
                let (one, two) = if id < other { (id, other) } else { (other, id) };
                let given = self.pool.name(*name).name;
                add(format!("{} and {} both provide {given}{version}", self.full(one), self.full(two)));
            }
        }
        if stands_against {
            needed.into_iter().take(MAX_NEEDED).for_each(&mut *add);
        }
        for relation in &package.depends {
            if relation.dependency.conflict {
                let against = self.pool.name(relation.name).providers.iter().find(|provider| {
                    let other = self.pool.package(provider.package);
                    provider.package != id
                        && self.outcome.packages.contains(&provider.package)
                        && !relation.dependency.is_met_by(provider.version, &other.info.checksum)
                });
                if let Some(provider) = against {
                    add(format!("{} {}, and {} is needed", self.full(id), verb(relation), self.full(provider.package)));
                }
            } else if self.pool.name(relation.name).providers.is_empty() {
                add(format!("{} depends on {}, which no repository has", self.full(id), relation.dependency));
            } else if !self.can_be_met(relation) {
                add(format!("{} {}{}", self.full(id), verb(relation), self.instead(relation)));
            } else {
                self.ruled_out(id, relation, add);
            }
        }
        if let Some(reason) = &package.info.unusable {
            add(format!("{} cannot be installed: {reason}", self.full(id)));
        } else if !package.usable {
            add(format!("{} is for the architecture {}", self.full(id), package.info.arch));
        }
    }

    /// Packages to be installed that have a name too, where only one may have it.
    fn rivals(&self, id: PackageId, name: NameId) -> Vec<(PackageId, &'static str)> {
        let providers = &self.pool.name(name).providers;
        let own =
            providers.iter().filter(|provider| provider.package == id).all(|provider| provider.version.is_empty());
        let chosen = providers.iter().filter(|provider| self.outcome.packages.contains(&provider.package));
        let others = chosen.filter(|provider| provider.package != id && !(own && provider.version.is_empty()));
        others.map(|provider| (provider.package, if own { ", one of them in a version" } else { "" })).collect()
    }

    /// What was to meet a relation of a package, where all of that had dropped out, and why it had.
    fn ruled_out(&self, id: PackageId, relation: &Relation<'a>, add: &mut dyn FnMut(String)) {
        let right = self.pool.name(relation.name).providers.iter().filter(|provider| {
            let package = self.pool.package(provider.package);
            relation.dependency.is_met_by(provider.version, &package.info.checksum)
        });
        let right: Vec<PackageId> = right.map(|provider| provider.package).filter(|other| *other != id).collect();
        let is_out = |other: &PackageId| self.outcome.dropped[*other] && !self.outcome.packages.contains(other);
        if right.is_empty() || !right.iter().all(is_out) {
            return;
        }
        let names: BTreeSet<String> = right.iter().map(|other| self.full(*other)).collect();
        let gift = if names.len() == 1 { "which gives it, is" } else { "which give it, are" };
        add(format!("{} {}, and {}, {gift} ruled out", self.full(id), verb(relation), list(&names)));
        right.iter().take(MAX_NEEDED).for_each(|other| self.unfit(*other, add));
    }

    /// Whether it comes from repositories with a tag only.
    fn is_tagged(&self, id: PackageId) -> bool {
        let package = self.pool.package(id);
        package.repositories != 0 && package.repositories & self.pool.repositories_of(1) == 0
    }

    fn can_be_met(&self, relation: &Relation<'_>) -> bool {
        self.pool.name(relation.name).providers.iter().any(|provider| {
            let package = self.pool.package(provider.package);
            relation.dependency.is_met_by(provider.version, &package.info.checksum)
        })
    }

    /// What there is in place of what a relation asks for.
    fn instead(&self, relation: &Relation<'_>) -> String {
        let providers = &self.pool.name(relation.name).providers;
        let chosen = providers.iter().find(|provider| self.outcome.packages.contains(&provider.package));
        match (chosen, relation.dependency.conflict) {
            (Some(provider), true) => format!(", and {} is needed", self.full(provider.package)),
            (Some(provider), false) => format!(", and {} is taken", self.full(provider.package)),
            (None, _) => {
                let there = providers.iter().map(|provider| provider.version.to_owned()).collect();
                format!(", and there is only {}", self.versions(relation.dependency.name, there))
            }
        }
    }

    fn versions(&self, name: &str, mut versions: Vec<String>) -> String {
        versions.sort_by(|a, b| version::compare(b, a));
        versions.dedup();
        if versions.iter().all(String::is_empty) { format!("{name} without a version") } else { list(&versions) }
    }

    /// Everything asked for and every chosen package that has a relation to one of these names.
    fn relations_to(&self, names: &[NameId]) -> Vec<(Who, Relation<'a>)> {
        let asked =
            self.wishes.iter().map(|wish| (Who { text: "what is asked for includes".into(), id: None }, wish.relation));
        let needed = self.outcome.packages.iter().flat_map(|id| {
            self.pool.package(*id).depends.iter().map(|relation| {
                (Who { text: format!("{} {}", self.full(*id), word(relation)), id: Some(*id) }, *relation)
            })
        });
        asked.chain(needed).filter(|(_, relation)| names.contains(&relation.name)).collect()
    }

    fn tags(&self, id: PackageId) -> impl Iterator<Item = &'a str> {
        let repositories = self.pool.package(id).repositories;
        self.pool.tags().filter(move |tag| {
            let number = self.pool.tag(Some(tag)).unwrap_or_default();
            self.pool.repositories_of(1 << number) & repositories != 0
        })
    }

    fn name(&self, id: PackageId) -> &'a str {
        &self.pool.package(id).info.name
    }

    fn full(&self, id: PackageId) -> String {
        let info = self.pool.package(id).info;
        format!("{} {}", info.name, info.version)
    }
}

/// Who has a relation, and the verb of it.
struct Who {
    text: String,
    id: Option<PackageId>,
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn word(relation: &Relation<'_>) -> &'static str {
    if relation.dependency.conflict { "conflicts with" } else { "depends on" }
}

/// The relation without the sign of a conflict, which the verb has.
fn plain(relation: &Relation<'_>) -> String {
    relation.dependency.to_string().trim_start_matches('!').to_owned()
}

fn verb(relation: &Relation<'_>) -> String {
    format!("{} {}", word(relation), plain(relation))
}

/// Names for a message, not too many.
fn list<'t, T: AsRef<str> + 't>(names: impl IntoIterator<Item = &'t T>) -> String {
    let names: Vec<&str> = names.into_iter().map(AsRef::as_ref).collect();
    let shown = names.iter().take(MAX_NAMES).copied().collect::<Vec<_>>().join(", ");
    if names.len() > MAX_NAMES { format!("{shown} and {} more", names.len() - MAX_NAMES) } else { shown }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
