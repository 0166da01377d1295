//! Which of two packages is the better one for a name.

use std::cmp::Ordering;

use super::Solver;
use crate::family::apk::pool::Provider;
use crate::family::apk::version;

impl Solver<'_, '_> {
    /// Whether `a` is better than `b`.
    pub(super) fn prefers(&self, a: &Provider<'_>, b: &Provider<'_>) -> bool {
        let (state_a, state_b) = (&self.packages[a.package], &self.packages[b.package]);
        let (package_a, package_b) = (self.pool.package(a.package), self.pool.package(b.package));
        let own_version = || match package_a.name == package_b.name {
            true => version::compare(&package_a.info.version, &package_b.info.version),
            false => Ordering::Equal,
        };
        state_a
            .selectable
            .cmp(&state_b.selectable)
            .then_with(|| state_a.used.cmp(&state_b.used))
            .then_with(|| state_b.conflicts.cmp(&state_a.conflicts))
            .then_with(|| state_a.tag_ok.cmp(&state_b.tag_ok))
            .then_with(|| state_a.tag_preferred.cmp(&state_b.tag_preferred))
            .then_with(|| version::compare(a.version, b.version))
            .then_with(own_version)
            .then_with(|| package_a.info.provider_priority.cmp(&package_b.info.provider_priority))
            .then_with(|| place(package_b.repositories).cmp(&place(package_a.repositories)))
            .is_gt()
    }
}

/// The first repository of a set, counted from 1; in-house files come before all.
fn place(repositories: u32) -> u32 {
    if repositories == 0 { 0 } else { repositories.trailing_zeros() + 1 }
}
