//! Which packages to install: everything wanted, and what it depends on, chosen as apt chooses.
//!
//! apt goes depth-first through `Pre-Depends` and `Depends` in their order. A dependency that something chosen earlier
//! satisfies is passed; else the first alternative that can be installed is taken. That order is kept here, on top of
//! a solver that finds every solution there is: where apt's greedy way fails, the search goes on.
//!
//! `docs/solver.md` tells how that is tested, where the answers differ, and why there is no solver from elsewhere in it.

use std::collections::HashMap;

use anyhow::{Context as _, Result};

use super::explain;
use super::pool::{Id, Pool};
use super::relation::{self, Relation};
use crate::interrupt;
use crate::sat::{ClauseId, Learned, Literal, Sat};

/// Why a clause is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// The package was asked for.
    Wanted(Id),
    /// The package must not be installed.
    Excluded(Id),
    /// The package depends on this group of alternatives.
    Depends(Id, &'a str),
    /// The first package and the second cannot be installed together, says this relation of the first.
    Against(Id, Id, Hostile, &'a str),
}

/// The relations that keep packages apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hostile {
    /// `Conflicts`
    Conflicts,
    /// `Breaks`
    Breaks,
}

/// Decides on every package, in the order in which they are chosen: first the wanted ones as given. Neither list may
/// hold a package of the other. With `recommends` what packages recommend is chosen too, where that can be. An error
/// names the chain of packages that makes the wish impossible.
pub fn solve(pool: &Pool<'_>, wanted: &[Id], excluded: &[Id], recommends: bool) -> Result<Vec<Id>> {
    let mut solver = Solver {
        pool,
        recommends,
        sat: Sat::new(pool.count()),
        origins: HashMap::new(),
        dependencies: vec![None; pool.count()],
        chosen: Vec::new(),
        is_chosen: vec![false; pool.count()],
        preferred: Vec::new(),
        was_preferred: vec![false; pool.count()],
    };
    for &id in excluded {
        solver.add(vec![Literal::no(id)], Origin::Excluded(id));
    }
    for &id in wanted {
        solver.add(vec![Literal::yes(id)], Origin::Wanted(id));
    }
    loop {
        interrupt::check()?;
        match solver.attempt(wanted)? {
            Attempt::Answer if solver.preferred.iter().all(|id| solver.is_chosen[*id as usize]) => {
                return Ok(solver.chosen);
            }
            // What recommended it gave way to it: the question does not arise.
            Attempt::Answer => {
                let is_chosen = &solver.is_chosen;
                solver.preferred.retain(|id| is_chosen[*id as usize]);
                solver.sat.restart();
            }
            Attempt::Displaced(id) => {
                solver.preferred.insert(0, id);
                solver.sat.restart();
            }
            Attempt::Conflict => {
                if let Learned::Contradiction(core) = solver.sat.learn() {
                    let core: Vec<Origin<'_>> = core.iter().filter_map(|id| solver.origins.get(id)).copied().collect();
                    return Err(explain::contradiction(pool, &core));
                }
            }
        }
    }
}

/// How going through the dependencies ended.
enum Attempt {
    /// Everything is satisfied.
    Answer,
    /// What was decided cannot stand.
    Conflict,
    /// This package is recommended, and only choices made before it are in its way.
    Displaced(Id),
}

struct Solver<'p, 'a> {
    pool: &'p Pool<'a>,
    recommends: bool,
    sat: Sat,
    origins: HashMap<ClauseId, Origin<'a>>,
    /// Of packages looked at so far: for each dependency, and recommendations after them, what satisfies it, the
    /// preferred one first.
    dependencies: Vec<Option<Vec<Vec<Id>>>>,
    chosen: Vec<Id>,
    is_chosen: Vec<bool>,
    /// Recommended packages that go before other choices, the most preferred first.
    preferred: Vec<Id>,
    /// Those that were it once: there is no second time.
    was_preferred: Vec<bool>,
}

impl<'a> Solver<'_, 'a> {
    fn add(&mut self, literals: Vec<Literal>, origin: Origin<'a>) {
        let id = self.sat.add(literals);
        self.origins.insert(id, origin);
    }

    /// Goes through all dependencies once.
    fn attempt(&mut self, wanted: &[Id]) -> Result<Attempt> {
        self.chosen.clear();
        self.is_chosen.fill(false);
        if !self.propagate()? {
            return Ok(Attempt::Conflict);
        }
        for &id in wanted {
            self.choose(id);
        }
        // The packages behind the first decisions.
        let mut decided = Vec::with_capacity(self.preferred.len());
        for at in 0..self.preferred.len() {
            let id = self.preferred[at];
            if self.sat.value(id).is_none() {
                decided.push(id);
            }
            if !self.decide(id)? {
                return Ok(Attempt::Conflict);
            }
        }
        for &id in wanted {
            // The packages on the way down, and for each the dependency to look at next.
            let mut way = vec![(id, 0)];
            while let Some((package, next)) = way.last_mut() {
                let dependencies = self.dependencies[*package as usize].as_deref().unwrap_or_default();
                let Some(candidates) = dependencies.get(*next) else {
                    way.pop();
                    continue;
                };
                *next += 1;
                if candidates.iter().any(|c| self.is_chosen[*c as usize]) {
                    continue;
                }
                // Of a dependency one is left: were all of them ruled out, propagation would have met a conflict. A
                // recommendation is no clause: without a candidate it is passed over, and one that turns out to be in
                // the way of something later is ruled out by what is learned from the conflict.
                let Some(&choice) = candidates.iter().find(|c| self.sat.value(**c) != Some(false)) else {
                    // apt takes back for a recommendation what it chose before, if nobody asked for that.
                    let only_choices = |id: Id| match self.sat.settled_by(id) {
                        None | Some(0) => false,
                        Some(at) => decided.get(at - 1).is_none_or(|first| self.is_chosen[*first as usize]),
                    };
                    let can_be = |id: &&Id| !self.was_preferred[**id as usize] && only_choices(**id);
                    if let Some(&displaced) = candidates.iter().find(can_be) {
                        self.was_preferred[displaced as usize] = true;
                        return Ok(Attempt::Displaced(displaced));
                    }
                    continue;
                };
                if !self.decide(choice)? {
                    return Ok(Attempt::Conflict);
                }
                self.choose(choice);
                way.push((choice, 0));
            }
        }
        Ok(Attempt::Answer)
    }

    /// Decides for a package, if it is still open. `false`: it ran into a conflict.
    fn decide(&mut self, id: Id) -> Result<bool> {
        if self.sat.value(id).is_some() {
            return Ok(true);
        }
        self.sat.decide(Literal::yes(id));
        self.propagate()
    }

    fn choose(&mut self, id: Id) {
        if !std::mem::replace(&mut self.is_chosen[id as usize], true) {
            self.chosen.push(id);
        }
    }

    /// Follows everything known to its end, bringing in the relations of packages as they turn out to be installed.
    fn propagate(&mut self) -> Result<bool> {
        while let Some(literal) = self.sat.step() {
            if !literal.is_yes() {
                continue;
            }
            self.load(literal.variable())?;
            // Where there is a choice, the relations of the alternatives tell which of them are out of the question.
            let choices = self.dependencies[literal.variable() as usize].iter().flatten().filter(|c| c.len() > 1);
            for id in choices.flatten().copied().collect::<Vec<_>>() {
                self.load(id)?;
            }
        }
        Ok(!self.sat.in_conflict())
    }

    /// Brings in the relations of one package.
    fn load(&mut self, id: Id) -> Result<()> {
        if self.dependencies[id as usize].is_some() {
            return Ok(());
        }
        let package = self.pool.get(id).package;
        let place = || format!("{}: the relations of {}", package.place(), package.name());
        let mut dependencies = Vec::new();
        let needed = relation::groups(package.pre_depends()).chain(relation::groups(package.depends()));
        let recommended = relation::groups(if self.recommends { package.recommends() } else { "" });
        for (group, is_needed) in needed.map(|g| (g, true)).chain(recommended.map(|g| (g, false))) {
            let mut candidates: Vec<Id> = Vec::new();
            for alternative in relation::alternatives(group).with_context(place)? {
                let found = self.pool.satisfying(&alternative);
                candidates.extend(found.into_iter().filter(|c| !candidates.contains(c)).collect::<Vec<_>>());
            }
            if candidates.contains(&id) {
                continue;
            }
            if is_needed {
                let clause = std::iter::once(Literal::no(id)).chain(candidates.iter().map(|c| Literal::yes(*c)));
                self.add(clause.collect(), Origin::Depends(id, group));
            }
            dependencies.push(candidates);
        }
        self.dependencies[id as usize] = Some(dependencies);
        for (field, kind) in [(package.conflicts(), Hostile::Conflicts), (package.breaks(), Hostile::Breaks)] {
            for part in relation::groups(field) {
                // `:any` does not narrow what a package is against: so dpkg reads it (`deparchsatisfied`), and refuses
                // what apt, which means `Multi-Arch: allowed` by it here too, would give it.
                let against = Relation::parse(part).with_context(place)?;
                let against = Relation { qualifier: against.qualifier.filter(|q| *q != "any"), ..against };
                for other in self.pool.satisfying(&against) {
                    if other != id {
                        let clause = vec![Literal::no(id), Literal::no(other)];
                        self.add(clause, Origin::Against(id, other, kind, part));
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "solve_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "solve_oracle.rs"]
mod oracle;
