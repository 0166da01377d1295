//! Meets every name and package that can matter, and gives each name its rank.

use super::{NameId, Solver, UNTAGGED};
use crate::family::apk::pool::PackageId;

/// Where the visit of a name stands.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// At this relation of this provider.
    Needs { provider: usize, relation: usize },
    /// At this name that reacts to it.
    Triggers(usize),
    /// At what this provider gives: first the names that react to its own name, then the others it goes by.
    Gifts { provider: usize, at: usize },
    /// Everything before is met.
    Rank,
    /// At this relation of what makes this provider come by itself.
    InstallIf { provider: usize, relation: usize },
}

/// A name that is being visited.
#[derive(Debug)]
struct Visit {
    name: NameId,
    step: Step,
    no_trigger: bool,
}

impl Solver<'_, '_> {
    /// Visits a name and, before it, what it leads to. A list of open visits stands for recursion: chains of packages
    /// can be long.
    pub(super) fn discover(&mut self, name: NameId, unusable: &impl Fn(PackageId) -> bool) {
        let mut visits = Vec::new();
        self.begin_visit(name, &mut visits);
        while let Some(mut visit) = visits.pop() {
            if let Some(next) = self.advance(&mut visit, unusable) {
                visits.push(visit);
                self.begin_visit(next, &mut visits);
            }
        }
    }

    fn begin_visit(&mut self, name: NameId, visits: &mut Vec<Visit>) {
        let state = &mut self.names[name];
        if !std::mem::replace(&mut state.seen, true) {
            state.no_trigger = true;
            visits.push(Visit { name, step: Step::Needs { provider: 0, relation: 0 }, no_trigger: true });
        }
    }

    /// The next name that a visit leads to; none when it is over.
    fn advance(&mut self, visit: &mut Visit, unusable: &impl Fn(PackageId) -> bool) -> Option<NameId> {
        let pool = self.pool;
        let name = pool.name(visit.name);
        loop {
            match visit.step {
                Step::Needs { provider, relation } => {
                    let Some(given) = name.providers.get(provider) else {
                        self.names[visit.name].no_trigger = visit.no_trigger;
                        visit.step = Step::Triggers(0);
                        continue;
                    };
                    let package = pool.package(given.package);
                    // Another visit may be in the middle of this package already.
                    let begun = relation > 0 || self.meet(given.package, unusable);
                    match package.depends.get(relation).filter(|_| begun) {
                        Some(next) => {
                            visit.step = Step::Needs { provider, relation: relation + 1 };
                            return Some(next.name);
                        }
                        None => {
                            visit.no_trigger &= self.packages[given.package].trigger_failed;
                            visit.step = Step::Needs { provider: provider + 1, relation: 0 };
                        }
                    }
                }
                Step::Triggers(at) => match name.triggers.get(at) {
                    Some(next) => {
                        visit.step = Step::Triggers(at + 1);
                        return Some(*next);
                    }
                    None => visit.step = Step::Gifts { provider: 0, at: 0 },
                },
                Step::Gifts { provider, at } => {
                    let Some(given) = name.providers.get(provider) else {
                        visit.step = Step::Rank;
                        continue;
                    };
                    let package = pool.package(given.package);
                    let triggers = &pool.name(package.name).triggers;
                    let next = triggers.get(at).copied().or_else(|| {
                        let gift = package.provides.get(at.checked_sub(triggers.len())?)?;
                        Some(gift.0)
                    });
                    match next {
                        Some(next) => {
                            visit.step = Step::Gifts { provider, at: at + 1 };
                            return Some(next);
                        }
                        None => visit.step = Step::Gifts { provider: provider + 1, at: 0 },
                    }
                }
                Step::Rank => {
                    self.met += 1;
                    let has_own = name.providers.iter().any(|p| pool.package(p.package).name == visit.name);
                    self.names[visit.name].rank = (self.asked.contains(&visit.name), has_own, self.met);
                    visit.step = Step::InstallIf { provider: 0, relation: 0 };
                }
                Step::InstallIf { provider, relation } => {
                    let given = name.providers.get(provider)?;
                    match pool.package(given.package).install_if.get(relation) {
                        Some(next) => {
                            visit.step = Step::InstallIf { provider, relation: relation + 1 };
                            return Some(next.name);
                        }
                        None => visit.step = Step::InstallIf { provider: provider + 1, relation: 0 },
                    }
                }
            }
        }
    }

    /// Sets a package up. False: that was done before.
    fn meet(&mut self, id: PackageId, unusable: &impl Fn(PackageId) -> bool) -> bool {
        let package = self.pool.package(id);
        let state = &mut self.packages[id];
        if std::mem::replace(&mut state.seen, true) {
            return false;
        }
        let is_file = package.repositories == 0;
        state.tags = UNTAGGED;
        state.selectable = package.usable && !unusable(id);
        state.trigger_failed = package.install_if.is_empty();
        // A package without files is taken from wherever it is.
        state.tag_preferred = is_file
            || package.info.installed_size == 0
            || package.repositories & self.pool.repositories_of(UNTAGGED) != 0;
        state.tag_ok = state.tag_preferred;
        true
    }
}
