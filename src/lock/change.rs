//! What two locks differ in, package by package and module by module.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use super::{Lock, LockedModule, LockedPackage};

/// One difference. Displayed it is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The package is new.
    Added {
        /// Package name.
        name: String,
        /// Its version.
        version: String,
    },
    /// The package is gone.
    Removed {
        /// Package name.
        name: String,
        /// The version it had.
        version: String,
    },
    /// The package is there in another version.
    Moved {
        /// Package name.
        name: String,
        /// The version it had.
        old: String,
        /// The version it has.
        new: String,
        /// Whether the new version is the lower one.
        down: bool,
    },
    /// The version is the same, and the file is another one.
    Replaced {
        /// Package name.
        name: String,
        /// Its version.
        version: String,
    },
    /// The module is new.
    ModuleAdded(LockedModule),
    /// The module is gone.
    ModuleRemoved(LockedModule),
    /// Another stream of the module is enabled, or other profiles are installed.
    ModuleChanged {
        /// What it was.
        old: LockedModule,
        /// What it is.
        new: LockedModule,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Added { name, version } => write!(f, "added {name} {version}"),
            Change::Removed { name, version } => write!(f, "removed {name} {version}"),
            Change::Moved { name, old, new, down } => {
                write!(f, "{} {name} {old} -> {new}", if *down { "downgraded" } else { "upgraded" })
            }
            Change::Replaced { name, version } => write!(f, "replaced {name} {version} by another file"),
            Change::ModuleAdded(module) => write!(f, "added module {module}"),
            Change::ModuleRemoved(module) => write!(f, "removed module {module}"),
            Change::ModuleChanged { old, new } => write!(f, "changed module {old} -> {new}"),
        }
    }
}

/// The changes from one lock to another, by package name, then by module. `compare` orders versions as the package
/// family does.
pub fn changes(old: &Lock, new: &Lock, compare: impl Fn(&str, &str) -> Ordering) -> Vec<Change> {
    let (mut gone, mut come) = (by_name(old), by_name(new));
    let mut found: Vec<(String, Change)> = Vec::new();
    for (name, mut before) in std::mem::take(&mut gone) {
        let mut after = come.remove(&name).unwrap_or_default();
        // A package may be there for several architectures, or go from one to another.
        before.retain(|package| match after.iter().position(|p| p.arch == package.arch) {
            Some(at) => {
                found.extend(change(package, after.remove(at), &compare).map(|c| (name.clone(), c)));
                false
            }
            None => true,
        });
        while !before.is_empty() && !after.is_empty() {
            found.extend(change(before.remove(0), after.remove(0), &compare).map(|c| (name.clone(), c)));
        }
        let removed = |p: &LockedPackage| Change::Removed { name: p.name.clone(), version: p.version.clone() };
        found.extend(before.into_iter().map(|p| (name.clone(), removed(p))));
        found.extend(after.into_iter().map(|p| (name.clone(), added(p))));
    }
    found.extend(
        come.into_iter()
            .flat_map(|(name, packages)| packages.into_iter().map(move |package| (name.clone(), added(package)))),
    );
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found.into_iter().map(|(_, change)| change).chain(module_changes(&old.modules, &new.modules)).collect()
}

fn module_changes(old: &[LockedModule], new: &[LockedModule]) -> Vec<Change> {
    let by_name = |modules: &[LockedModule]| -> BTreeMap<String, LockedModule> {
        modules.iter().map(|module| (module.name.clone(), module.clone())).collect()
    };
    let (old, mut come) = (by_name(old), by_name(new));
    let mut found = BTreeMap::new();
    for (name, before) in old {
        match come.remove(&name) {
            Some(after) if after == before => {}
            Some(after) => drop(found.insert(name, Change::ModuleChanged { old: before, new: after })),
            None => drop(found.insert(name, Change::ModuleRemoved(before))),
        }
    }
    found.extend(come.into_iter().map(|(name, module)| (name, Change::ModuleAdded(module))));
    found.into_values().collect()
}

fn by_name(lock: &Lock) -> BTreeMap<String, Vec<&LockedPackage>> {
    let mut names: BTreeMap<String, Vec<&LockedPackage>> = BTreeMap::new();
    for package in &lock.packages {
        names.entry(package.name.clone()).or_default().push(package);
    }
    names
}

fn added(package: &LockedPackage) -> Change {
    Change::Added { name: package.name.clone(), version: package.version.clone() }
}

fn change(old: &LockedPackage, new: &LockedPackage, compare: impl Fn(&str, &str) -> Ordering) -> Option<Change> {
    let name = old.name.clone();
    if old.version != new.version {
        let down = compare(&old.version, &new.version).is_gt();
        return Some(Change::Moved { name, old: old.version.clone(), new: new.version.clone(), down });
    }
    (old.sha256 != new.sha256).then(|| Change::Replaced { name, version: new.version.clone() })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    /// `name version arch hash` each.
    fn lock(packages: &[&str]) -> Lock {
        let package = |text: &&str| {
            let words: Vec<&str> = text.split(' ').collect();
            let [name, version, arch, hash] = words[..] else { panic!("{text}") };
            LockedPackage { arch: arch.into(), sha256: hash.repeat(64), ..testing::package(name, version) }
        };
        Lock { packages: packages.iter().map(package).collect(), ..testing::lock() }
    }

    #[test]
    fn modules_are_compared_too() {
        // `name stream profile…` each.
        let lock = |modules: &[&str]| {
            let module = |text: &&str| {
                let mut words = text.split(' ').map(str::to_owned);
                let mut word = || words.next().expect("a word");
                let (name, stream) = (word(), word());
                LockedModule { name, stream, profiles: words.collect() }
            };
            Lock { modules: modules.iter().map(module).collect(), ..testing::lock() }
        };
        let shown = |old: &[&str], new: &[&str]| {
            let found = changes(&lock(old), &lock(new), |a, b| a.cmp(b));
            found.iter().map(Change::to_string).collect::<Vec<_>>()
        };
        let expected = [
            "changed module a:1 -> a:2/x, y",
            "removed module b:1/x",
            "changed module c:1/x -> c:1",
            "added module d:3",
        ];
        assert_eq!(shown(&["a 1", "b 1 x", "c 1 x", "e 1"], &["a 2 x y", "c 1", "d 3", "e 1"]), expected);
        assert!(shown(&["a 1 x"], &["a 1 x"]).is_empty());
    }

    #[test]
    fn every_kind_of_change() {
        let old =
            ["a 1 amd64 0", "b 9 all 0", "c 2 amd64 0", "d 1 amd64 0", "e 1 amd64 0", "m 1 amd64 0", "m 1 i386 0"];
        let new =
            ["a 1 amd64 0", "b 10 amd64 1", "c 1 amd64 1", "d 1 amd64 1", "f 1 all 0", "m 1 amd64 0", "m 2 i386 1"];
        let numbers = |a: &str, b: &str| a.parse::<u32>().expect("a number").cmp(&b.parse().expect("a number"));
        let shown = |old: &[&str], new: &[&str]| {
            changes(&lock(old), &lock(new), numbers).iter().map(Change::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            shown(&old, &new),
            [
                "upgraded b 9 -> 10",
                "downgraded c 2 -> 1",
                "replaced d 1 by another file",
                "removed e 1",
                "added f 1",
                "upgraded m 1 -> 2",
            ]
        );
        assert!(shown(&old, &old).is_empty());
        assert_eq!(shown(&[], &["m 1 amd64 0", "m 1 i386 0"]), ["added m 1", "added m 1"]);
        assert_eq!(shown(&["m 1 amd64 0", "m 1 i386 0"], &["m 1 amd64 0"]), ["removed m 1"]);
    }
}
