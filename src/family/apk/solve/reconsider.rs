//! Looks at a name again: which packages may still give it, and what follows from what they have in common.

use super::{NameId, Solver};
use crate::family::apk::pool::PackageId;

/// Counts a candidate that has something, if all candidates before it had it: `count` is their number then.
fn count_up(count: &mut usize, candidates: usize) -> bool {
    let all_had_it = *count == candidates;
    if all_had_it {
        *count += 1;
    }
    all_had_it
}

/// Whether all candidates had it; begins anew.
fn had_by_all(count: &mut usize, candidates: usize) -> bool {
    std::mem::take(count) == candidates
}

impl Solver<'_, '_> {
    pub(super) fn reconsider(&mut self, name: NameId) {
        let pool = self.pool;
        let again_needs = std::mem::take(&mut self.names[name].reevaluate_needs);
        let again_triggers = std::mem::take(&mut self.names[name].reevaluate_triggers);
        let (mut has_trigger, mut no_trigger) = (false, true);
        let mut selectable = false;
        let mut first = None;
        let (mut candidates, mut badly_tagged) = (0, 0);
        for provider in &pool.name(name).providers {
            let id = provider.package;
            self.packages[id].merged = false;
            if again_needs && self.packages[id].selectable && !self.can_be_met(id) {
                self.drop_out(id);
            }
            if !self.packages[id].selectable {
                continue;
            }
            if again_triggers {
                self.evaluate_trigger(id);
            }
            let state = &self.packages[id];
            has_trigger |= state.triggered;
            no_trigger &= state.trigger_failed;
            selectable |= state.triggered;
            if self.names[name].requirers == 0 {
                continue;
            }
            badly_tagged += usize::from(!state.tag_ok);
            self.packages[id].merged = true;
            first = first.or(Some(id));
            self.merge(id, provider.version, candidates);
            candidates += 1;
            selectable |= self.is_selectable(provider);
        }
        let state = &mut self.names[name];
        state.has_options = candidates > 1 || badly_tagged > 0;
        state.has_trigger = has_trigger;
        state.no_trigger = no_trigger;
        let moved = std::mem::replace(&mut state.selectable, selectable) != selectable;
        if let Some(first) = first {
            self.propagate(name, first, candidates);
        }
        self.names[name].relations_done = pool
            .name(name)
            .depended_on_by
            .iter()
            .all(|other| !self.names[*other].seen || self.names[*other].chosen.is_some());
        self.enqueue(name, moved);
    }

    /// Whether every relation of a package can still come to hold.
    fn can_be_met(&self, id: PackageId) -> bool {
        let of = Some(id);
        self.pool.package(id).depends.iter().all(|relation| {
            let state = &self.names[relation.name];
            if let Some(chosen) = state.chosen {
                return self.holds(of, relation, chosen.package, chosen.version);
            }
            let absent = state.requirers == 0 && relation.dependency.conflict;
            absent
                || self.pool.name(relation.name).providers.iter().any(|provider| {
                    self.packages[provider.package].selectable
                        && self.holds(of, relation, Some(provider.package), provider.version)
                })
        })
    }

    /// Whether a package comes by itself: once all that it asks for is decided.
    fn evaluate_trigger(&mut self, id: PackageId) {
        let pool = self.pool;
        let conditions = &pool.package(id).install_if;
        if !self.packages[id].triggered && !self.packages[id].trigger_failed {
            self.packages[id].triggered = true;
            for relation in conditions {
                let holds = match self.names[relation.name].chosen {
                    Some(chosen) => self.holds(Some(id), relation, chosen.package, chosen.version),
                    None => {
                        if relation.dependency.conflict {
                            self.names[relation.name].absence_matters = true;
                            self.enqueue(relation.name, false);
                        }
                        self.packages[id].triggered = false;
                        break;
                    }
                };
                if !holds {
                    self.packages[id].triggered = false;
                    self.packages[id].trigger_failed = true;
                    break;
                }
            }
        }
        if self.packages[id].triggered {
            for relation in conditions {
                let of = self.names[relation.name].chosen.and_then(|chosen| chosen.package);
                self.inherit_tags(id, of, 0);
            }
        }
    }

    /// Notes what a candidate, the one of this number, needs and gives.
    fn merge(&mut self, id: PackageId, version: &str, number: usize) {
        let package = self.pool.package(id);
        for relation in package.depends.iter().filter(|relation| !relation.dependency.conflict) {
            count_up(&mut self.names[relation.name].common_need, number);
        }
        let own = &mut self.names[package.name];
        if count_up(&mut own.common_gift, number) {
            own.gift_is_virtual |= version.is_empty();
        }
        for (gift, version) in &package.provides {
            let gift = &mut self.names[*gift];
            if count_up(&mut gift.common_gift, number) {
                gift.gift_is_virtual |= version.is_empty();
            }
        }
    }

    /// Demands what all candidates of a name need, and rules out what cannot stand beside what all of them give.
    fn propagate(&mut self, name: NameId, first: PackageId, candidates: usize) {
        let pool = self.pool;
        for provider in &pool.name(name).providers {
            let state = &mut self.packages[provider.package];
            state.used = state.merged;
        }
        let package = pool.package(first);
        for relation in &package.depends {
            let needed = relation.name;
            if !had_by_all(&mut self.names[needed].common_need, candidates) {
                continue;
            }
            if candidates == 1 {
                self.apply(Some(first), relation, 0);
            } else if self.names[needed].requirers == 0 {
                self.names[needed].requirers += 1;
                self.demanded(needed);
                for provider in &pool.name(needed).providers {
                    self.inherit_tags(provider.package, Some(first), 0);
                }
            }
        }
        let own = std::iter::once(package.name);
        for gift in own.chain(package.provides.iter().map(|(gift, _)| *gift)) {
            if had_by_all(&mut self.names[gift].common_gift, candidates) {
                self.rule_out(gift, name, self.names[gift].gift_is_virtual);
            }
        }
        self.names[package.name].gift_is_virtual = false;
        for (gift, _) in &package.provides {
            self.names[*gift].gift_is_virtual = false;
        }
    }

    /// Whoever is to give `gift` must give `name` too, or else two packages would have the one name.
    fn rule_out(&mut self, gift: NameId, name: NameId, but_virtual: bool) {
        if gift == name {
            return;
        }
        let pool = self.pool;
        for provider in &pool.name(gift).providers {
            let package = pool.package(provider.package);
            let stays = package.name == name
                || !self.packages[provider.package].selectable
                || (but_virtual && provider.version.is_empty())
                || package
                    .provides
                    .iter()
                    .any(|(other, version)| *other == name || (but_virtual && version.is_empty()));
            if !stays {
                self.drop_out(provider.package);
            }
        }
    }
}
