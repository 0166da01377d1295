//! The order of installation: apk's, which follows what was asked for, name by name, what a package needs before it,
//! and what comes by itself right after the last package it waits for.

use std::collections::{HashMap, HashSet};

use super::dependency::Dependency;
use super::package::Package;
use super::triggers::bucket;

/// The packages in the order of installation, as indexes. `world` is what was asked for, one relation each, sorted.
pub fn order(packages: &[Package], world: &[String]) -> Vec<usize> {
    let mut order = Order::new(packages);
    for line in world {
        if let Ok(relation) = Dependency::parse_tagged(line) {
            order.name(relation.name);
        }
    }
    // What nothing in world leads to; a lock made elsewhere may have such.
    for package in packages {
        order.name(&package.info.name);
    }
    order.done
}

struct Order<'a> {
    packages: &'a [Package],
    /// Who stands for a name, and in which version.
    chosen: HashMap<&'a str, (usize, &'a str)>,
    /// By a name, the names of packages that come by themselves when it is there, in apk's order.
    waiting: HashMap<&'a str, Vec<&'a str>>,
    processed: HashSet<String>,
    begun: HashSet<usize>,
    done: Vec<usize>,
}

impl<'a> Order<'a> {
    fn new(packages: &'a [Package]) -> Order<'a> {
        let mut chosen: HashMap<&str, (usize, &str)> = HashMap::new();
        // Several packages may provide a name without a version: one of them stands for it.
        let mut by_priority: Vec<usize> = (0..packages.len()).collect();
        by_priority.sort_by_key(|i| std::cmp::Reverse(packages[*i].info.provider_priority));
        for (index, package) in packages.iter().enumerate() {
            chosen.insert(&package.info.name, (index, &package.info.version));
        }
        for versioned in [true, false] {
            for &index in &by_priority {
                for provided in packages[index].info.provides.iter().filter(|p| p.version.is_empty() != versioned) {
                    chosen.entry(provided.name).or_insert((index, provided.version));
                }
            }
        }
        let mut waiting: HashMap<&str, Vec<&str>> = HashMap::new();
        for package in packages {
            for relation in package.info.install_if.iter() {
                let names = waiting.entry(relation.name).or_default();
                names.push(package.info.name.as_str());
                names.extend(package.info.provides.iter().map(|provided| provided.name));
            }
        }
        for names in waiting.values_mut() {
            names.sort_by_key(|name| bucket(name.as_bytes()));
        }
        Order {
            packages,
            chosen,
            waiting,
            processed: HashSet::new(),
            begun: HashSet::new(),
            done: Vec::with_capacity(packages.len()),
        }
    }

    fn name(&mut self, name: &str) {
        if !self.processed.insert(name.to_owned()) {
            return;
        }
        let Some(&(index, _)) = self.chosen.get(name) else { return };
        if !self.begun.insert(index) {
            return;
        }
        let info = &self.packages[index].info;
        self.processed.insert(info.name.clone());
        self.processed.extend(info.provides.iter().map(|provided| provided.name.to_owned()));
        for relation in info.depends.iter() {
            self.name(relation.name);
        }
        self.done.push(index);
        for name in std::iter::once(info.name.as_str()).chain(info.provides.iter().map(|provided| provided.name)) {
            for waiting in self.waiting.get(name).cloned().unwrap_or_default() {
                self.by_itself(waiting);
            }
        }
    }

    /// Installs what comes by itself if all that it waits for is there.
    fn by_itself(&mut self, name: &str) {
        if self.processed.contains(name) {
            return;
        }
        let Some(&(index, _)) = self.chosen.get(name) else { return };
        let all = self.packages[index].info.install_if.iter().all(|relation| {
            let met = match self.chosen.get(relation.name) {
                Some(&(other, version)) => relation.is_met_by(version, &self.packages[other].checksum()),
                None => relation.conflict,
            };
            met && (relation.conflict || self.processed.contains(relation.name))
        });
        if all {
            self.name(name);
        }
    }
}
