//! From chosen names to the packages to install, in the order of their dependencies.

use super::{Fault, NameId, Solver, Wish};
use crate::family::apk::pool::{PackageId, Relation};

/// What was looked at already.
#[derive(Debug)]
struct Done {
    names: Vec<bool>,
}

/// A package on the way to being installed.
#[derive(Debug)]
struct Visit {
    id: PackageId,
    /// The relation that comes next.
    relation: usize,
    /// The relation before that is being seen to: look at what came of it.
    pending: bool,
    /// It is recorded; the name that comes next among those that react to it.
    reacting: Option<usize>,
}

impl<'a> Solver<'_, 'a> {
    /// Lists the packages to install: what a package needs before it, and what comes by itself right after the last of
    /// what makes it come. Packages whose relations do not hold in the end are faulty.
    pub(super) fn changes(&mut self, wishes: &[Wish<'a>]) {
        let mut done = Done { names: vec![false; self.pool.names()] };
        for wish in wishes {
            let mut visits = Vec::new();
            self.begin_change(wish.relation.name, &mut done, &mut visits);
            while let Some(mut visit) = visits.pop() {
                if let Some(next) = self.advance_change(&mut visit, &mut done) {
                    visits.push(visit);
                    self.begin_change(next, &mut done, &mut visits);
                }
            }
        }
    }

    fn begin_change(&mut self, name: NameId, done: &mut Done, visits: &mut Vec<Visit>) {
        if std::mem::replace(&mut done.names[name], true) {
            return;
        }
        let Some(id) = self.names[name].chosen.and_then(|chosen| chosen.package) else { return };
        if std::mem::replace(&mut self.packages[id].changed, true) {
            return;
        }
        let package = self.pool.package(id);
        done.names[package.name] = true;
        for (gift, _) in &package.provides {
            done.names[*gift] = true;
        }
        visits.push(Visit { id, relation: 0, pending: false, reacting: None });
    }

    /// The next name that has to be seen to for a package; none when that is installed.
    fn advance_change(&mut self, visit: &mut Visit, done: &mut Done) -> Option<NameId> {
        let pool = self.pool;
        let package = pool.package(visit.id);
        if visit.reacting.is_none() {
            if std::mem::take(&mut visit.pending) {
                self.look_at_need(visit.id, &package.depends[visit.relation - 1]);
            }
            if let Some(relation) = package.depends.get(visit.relation) {
                let chosen = self.names[relation.name].chosen;
                let holds = match chosen {
                    Some(chosen) => self.holds(Some(visit.id), relation, chosen.package, chosen.version),
                    None => relation.dependency.conflict,
                };
                if !holds {
                    self.fault(visit.id, Fault::Unmet(visit.relation));
                }
                visit.relation += 1;
                visit.pending = true;
                return Some(relation.name);
            }
            self.outcome.packages.push(visit.id);
            visit.reacting = Some(0);
        }
        let own = std::iter::once(package.name).chain(package.provides.iter().map(|(gift, _)| *gift));
        let reacting = own.flat_map(|name| &pool.name(name).triggers).copied();
        for (at, name) in reacting.enumerate().skip(visit.reacting.unwrap_or_default()) {
            visit.reacting = Some(at + 1);
            if self.comes_by_itself(name, done) {
                return Some(name);
            }
        }
        None
    }

    fn look_at_need(&mut self, id: PackageId, relation: &Relation<'a>) {
        let needed = self.names[relation.name].chosen.and_then(|chosen| chosen.package);
        if let Some(needed) = needed.filter(|needed| self.packages[*needed].faulty) {
            self.fault(id, Fault::Needs(needed));
        }
    }

    /// Whether the package that was chosen for a name comes by itself, now that everything it asks for was seen to.
    fn comes_by_itself(&self, name: NameId, done: &Done) -> bool {
        let state = &self.names[name];
        let Some(id) = state.chosen.and_then(|chosen| chosen.package) else { return false };
        state.seen
            && !done.names[name]
            && self.pool.package(id).install_if.iter().all(|relation| {
                let given = self.names[relation.name].chosen;
                (relation.dependency.conflict || done.names[relation.name])
                    && self.holds(
                        Some(id),
                        relation,
                        given.and_then(|given| given.package),
                        given.map_or("", |given| given.version),
                    )
            })
    }
}
