//! Chooses packages as apk does: by deduction and without ever going back.
//!
//! Names are looked at one by one. What all packages that may still give a name have in common is demanded at once;
//! packages that contradict what is demanded drop out; when nothing more follows, the best package that is left for
//! the next name is taken. Which name is next, and which package is best, is what makes two solvers agree, so that
//! this one keeps to the order of apk 3 in everything: of names, of what follows, of what is preferred. `install_if`,
//! tags and provided names take part all along.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};

use super::pool::{NameId, PackageId, Pool, Provider, Relation};

mod changes;
mod discover;
#[cfg(test)]
mod oracle;
mod prefer;
mod reconsider;

/// One thing asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// What, and in which version.
    pub relation: Relation<'a>,
    /// The number of the tag that it has; 0 for none.
    pub tag: usize,
}

/// Why a package cannot be installed as it was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It was the best there is, though it had dropped out or is in a tagged repository.
    Unfit,
    /// Another one has or provides this name.
    SameName(NameId),
    /// This relation of it, by its place, does not hold.
    Unmet(usize),
    /// A package that it needs is broken.
    Needs(PackageId),
}

/// What a name was given to.
#[derive(Debug, Clone, Copy)]
pub struct Chosen<'a> {
    /// The package; `None`: it stays without one.
    pub package: Option<PackageId>,
    /// In which version the package gives it.
    pub version: &'a str,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The packages, in the order in which apk would install them.
    pub packages: Vec<PackageId>,
    /// Names that are needed and that nothing gives.
    pub missing: Vec<NameId>,
    /// Packages that cannot be installed.
    pub faults: Vec<(PackageId, Fault)>,
    /// Whether each package had dropped out.
    pub dropped: Vec<bool>,
}

impl Outcome {
    /// Whether everything asked for can be had.
    pub fn is_possible(&self) -> bool {
        self.missing.is_empty() && self.faults.is_empty()
    }
}

/// Which queue a name waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queue {
    /// Only one package can give it.
    Now,
    /// Some package may be taken for it.
    Selectable,
    /// No package may be taken for it alone.
    Open,
}

/// The place of a name in the queues, higher first: asked for, has packages of its own, and when it was met.
type Rank = (bool, bool, u32);

#[derive(Debug, Clone, Default)]
struct NameState<'a> {
    chosen: Option<Chosen<'a>>,
    rank: Rank,
    /// How many relations demand it.
    requirers: u32,
    /// Of how many candidates in turn all had it among what they need, or among what they give.
    common_need: usize,
    common_gift: usize,
    /// One of those gave it without a version.
    gift_is_virtual: bool,
    seen: bool,
    dirty: bool,
    queue: Option<Queue>,
    reevaluate_needs: bool,
    reevaluate_triggers: bool,
    /// A package that may give it comes by itself.
    has_trigger: bool,
    /// None of them can any more.
    no_trigger: bool,
    /// More than one package may give it.
    has_options: bool,
    /// Some package may be taken for it alone.
    selectable: bool,
    /// Whatever has a relation to it is decided.
    relations_done: bool,
    /// That it is not there makes a package come by itself.
    absence_matters: bool,
}

#[derive(Debug, Clone, Default)]
struct PackageState {
    seen: bool,
    selectable: bool,
    /// How many relations it contradicts.
    conflicts: u32,
    /// The set of tags under which it is allowed.
    tags: u32,
    tag_ok: bool,
    tag_preferred: bool,
    /// It was a candidate when its name was looked at last, and when that had a result.
    merged: bool,
    used: bool,
    triggered: bool,
    trigger_failed: bool,
    faulty: bool,
    changed: bool,
}

/// The state of a search.
#[derive(Debug)]
struct Solver<'p, 'a> {
    pool: &'p Pool<'a>,
    names: Vec<NameState<'a>>,
    packages: Vec<PackageState>,
    dirty: VecDeque<NameId>,
    now: VecDeque<NameId>,
    selectable: BTreeSet<(Reverse<Rank>, NameId)>,
    open: BTreeSet<(Reverse<Rank>, NameId)>,
    asked: BTreeSet<NameId>,
    met: u32,
    outcome: Outcome,
}

/// The set of tags that holds none but "no tag".
const UNTAGGED: u32 = 1;

/// Decides what has to be installed on an empty system for all wishes, which have a name each. `unusable` packages are
/// left out.
pub fn solve<'a>(pool: &Pool<'a>, wishes: &[Wish<'a>], unusable: impl Fn(PackageId) -> bool) -> Outcome {
    let mut wishes = wishes.to_vec();
    let key = |wish: &Wish<'a>| pool.name(wish.relation.name).name;
    wishes.sort_by(|a, b| display_order(key(a), key(b)));
    let mut solver = Solver {
        pool,
        names: vec![NameState::default(); pool.names()],
        packages: vec![PackageState::default(); pool.packages()],
        dirty: VecDeque::new(),
        now: VecDeque::new(),
        selectable: BTreeSet::new(),
        open: BTreeSet::new(),
        asked: wishes.iter().map(|wish| wish.relation.name).collect(),
        met: 0,
        outcome: Outcome::default(),
    };
    for wish in &wishes {
        solver.discover(wish.relation.name, &unusable);
    }
    for wish in &wishes {
        solver.apply(None, &wish.relation, 1 << wish.tag);
    }
    loop {
        while let Some(name) = solver.dirty.pop_front() {
            if std::mem::take(&mut solver.names[name].dirty) {
                solver.reconsider(name);
            }
        }
        match solver.next_name() {
            Some(name) => solver.select(name),
            None => break,
        }
    }
    solver.changes(&wishes);
    solver.outcome.dropped = solver.packages.iter().map(|state| state.seen && !state.selectable).collect();
    solver.outcome
}

/// The order in which apk lists names: without regard to case first.
pub fn display_order(a: &str, b: &str) -> std::cmp::Ordering {
    let folded = |text: &str| text.bytes().map(|b| b.to_ascii_lowercase()).collect::<Vec<_>>();
    folded(a).cmp(&folded(b)).then_with(|| a.cmp(b))
}

impl<'p, 'a> Solver<'p, 'a> {
    /// Whether a relation of a package (of what is asked for: `None`) holds where its name is given so.
    fn holds(&self, of: Option<PackageId>, relation: &Relation<'a>, package: Option<PackageId>, version: &str) -> bool {
        let Some(package) = package else { return relation.dependency.conflict };
        if relation.dependency.conflict && of == Some(package) {
            return true;
        }
        relation.dependency.is_met_by(version, &self.pool.package(package).info.checksum)
    }

    fn queue_dirty(&mut self, name: NameId) {
        let state = &mut self.names[name];
        if state.dirty || state.chosen.is_some() || (state.requirers == 0 && !state.reevaluate_triggers) {
            return;
        }
        state.dirty = true;
        self.dirty.push_back(name);
    }

    /// Puts a name where it belongs now. One that waits already is moved if it has only one package left, or `again`.
    fn enqueue(&mut self, name: NameId, again: bool) {
        let state = &self.names[name];
        let only_one = state.relations_done && state.requirers > 0 && state.selectable && !state.has_options;
        if state.chosen.is_some() {
            return;
        }
        match state.queue {
            Some(Queue::Now) => return,
            Some(_) if !only_one && !again => return,
            None if state.requirers == 0 && !state.has_trigger && !state.absence_matters => return,
            _ => {}
        }
        self.dequeue(name);
        let entry = (Reverse(self.names[name].rank), name);
        let queue = if only_one {
            self.now.push_back(name);
            Queue::Now
        } else if self.names[name].selectable {
            self.selectable.insert(entry);
            Queue::Selectable
        } else {
            self.open.insert(entry);
            Queue::Open
        };
        self.names[name].queue = Some(queue);
    }

    fn dequeue(&mut self, name: NameId) {
        let entry = (Reverse(self.names[name].rank), name);
        match self.names[name].queue.take() {
            Some(Queue::Selectable) => drop(self.selectable.remove(&entry)),
            Some(Queue::Open) => drop(self.open.remove(&entry)),
            // Passed over when its turn comes.
            Some(Queue::Now) | None => {}
        }
    }

    fn next_name(&mut self) -> Option<NameId> {
        while let Some(name) = self.now.pop_front() {
            if self.names[name].queue.take().is_some() {
                return Some(name);
            }
        }
        let (_, name) = self.selectable.pop_first().or_else(|| self.open.pop_first())?;
        self.names[name].queue = None;
        Some(name)
    }

    fn reevaluate_relations(&mut self, name: NameId) {
        let pool = self.pool;
        for other in &pool.name(name).depended_on_by {
            if self.names[*other].seen {
                self.names[*other].reevaluate_needs = true;
                self.queue_dirty(*other);
            }
        }
    }

    fn reevaluate_triggers(&mut self, name: NameId) {
        let pool = self.pool;
        for other in &pool.name(name).triggers {
            let state = &mut self.names[*other];
            if state.seen && !state.no_trigger {
                state.reevaluate_triggers = true;
                self.queue_dirty(*other);
            }
        }
    }

    fn reevaluate_triggers_of(&mut self, package: PackageId) {
        let package = self.pool.package(package);
        self.reevaluate_triggers(package.name);
        for (name, _) in &package.provides {
            self.reevaluate_triggers(*name);
        }
    }

    fn drop_out(&mut self, id: PackageId) {
        let package = self.pool.package(id);
        self.packages[id].selectable = false;
        self.reevaluate_relations(package.name);
        for (name, _) in &package.provides {
            self.reevaluate_relations(*name);
        }
        self.reevaluate_triggers_of(id);
    }

    fn demanded(&mut self, name: NameId) {
        self.enqueue(name, false);
        self.reevaluate_triggers(name);
        self.queue_dirty(name);
    }

    /// A package is allowed under the tags of the one that needs it, or that of the wish (`tags`).
    fn inherit_tags(&mut self, id: PackageId, of: Option<PackageId>, tags: u32) {
        let repositories = self.pool.package(id).repositories;
        match of {
            Some(of) => self.packages[id].tags |= self.packages[of].tags,
            None => {
                self.packages[id].tags |= tags;
                self.packages[id].tag_preferred = repositories & self.pool.repositories_of(tags) != 0;
            }
        }
        self.packages[id].tag_ok |= repositories & self.pool.repositories_of(self.packages[id].tags) != 0;
    }

    /// Demands a relation of a package, or of what is asked for with its tag.
    fn apply(&mut self, of: Option<PackageId>, relation: &Relation<'a>, tag: u32) {
        let name = relation.name;
        if !relation.dependency.conflict {
            self.names[name].requirers += 1;
            if self.names[name].requirers == 1 {
                self.demanded(name);
            }
        }
        let pool = self.pool;
        for provider in &pool.name(name).providers {
            let id = provider.package;
            let holds = self.holds(of, relation, Some(id), provider.version);
            self.packages[id].conflicts += u32::from(!holds);
            if self.packages[id].selectable && self.packages[id].conflicts > 0 {
                self.drop_out(id);
            }
            if holds {
                self.inherit_tags(id, of, tag);
            }
        }
    }

    fn fault(&mut self, id: PackageId, fault: Fault) {
        if !std::mem::replace(&mut self.packages[id].faulty, true) {
            self.outcome.faults.push((id, fault));
        }
    }

    /// Gives a name to a package, or to none.
    fn assign(&mut self, name: NameId, chosen: Chosen<'a>) {
        if let Some(before) = self.names[name].chosen {
            // Any number of packages may provide a name without a version.
            if !before.version.is_empty() || !chosen.version.is_empty() {
                for id in [chosen.package, before.package].into_iter().flatten() {
                    self.fault(id, Fault::SameName(name));
                }
            }
            return;
        }
        self.dequeue(name);
        self.names[name].chosen = Some(chosen);
        self.names[name].dirty = false;
        let pool = self.pool;
        if let Some(id) = chosen.package
            && self.names[name].requirers == 0
            && self.packages[id].triggered
        {
            for relation in &pool.package(id).install_if {
                if self.names[relation.name].chosen.is_none() {
                    self.apply(Some(id), relation, 0);
                }
            }
        }
        for provider in &pool.name(name).providers {
            let both_virtual = chosen.version.is_empty() && provider.version.is_empty();
            if Some(provider.package) != chosen.package && !both_virtual {
                self.drop_out(provider.package);
            }
        }
        self.reevaluate_relations(name);
        match chosen.package {
            Some(id) => self.reevaluate_triggers_of(id),
            None => self.reevaluate_triggers(name),
        }
    }

    /// Takes the best package for a name, or leaves it without one.
    fn select(&mut self, name: NameId) {
        let mut best: Option<Provider<'a>> = None;
        let pool = self.pool;
        if self.names[name].requirers > 0 || self.names[name].has_trigger {
            for provider in &pool.name(name).providers {
                let state = &self.packages[provider.package];
                let by_itself = state.triggered && state.tag_ok && state.selectable;
                if (self.names[name].requirers == 0 && !by_itself) || !self.is_selectable(provider) {
                    continue;
                }
                if best.is_none_or(|best| self.prefers(provider, &best)) {
                    best = Some(*provider);
                }
            }
        }
        let Some(best) = best else {
            self.assign(name, Chosen { package: None, version: "" });
            if self.names[name].requirers > 0 {
                self.outcome.missing.push(name);
            }
            return;
        };
        let id = best.package;
        if !self.packages[id].selectable || !self.packages[id].tag_ok {
            self.fault(id, Fault::Unfit);
        }
        let package = pool.package(id);
        self.assign(package.name, Chosen { package: Some(id), version: &package.info.version });
        for (name, version) in &package.provides {
            self.assign(*name, Chosen { package: Some(id), version });
        }
        for relation in &package.depends {
            self.apply(Some(id), relation, 0);
        }
    }

    /// Whether a package may be taken because its name is demanded. One that provides it without a version is only
    /// taken if it has a priority, or is demanded by its own name too.
    fn is_selectable(&self, provider: &Provider<'a>) -> bool {
        let package = self.pool.package(provider.package);
        !provider.version.is_empty() || package.info.provider_priority > 0 || self.names[package.name].requirers > 0
    }
}
