//! The order in which debootstrap and apt unpack packages: the base system, then everything else behind what it needs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};

use super::control::Paragraph;
use super::relation;
use crate::lock::Role;

/// Part of every base system that has it, as for debootstrap.
const APT: &str = "apt";

/// What debootstrap installs before anything else, in this order.
const FIRST: [&str; 6] = ["base-passwd", "base-files", "dpkg", "libc6", "perl-base", "mawk"];

/// Priorities, highest first, with what each is worth in [`Graph::order`].
const PRIORITIES: [(&str, u32); 4] = [("required", 5), ("important", 4), ("standard", 3), ("optional", 1)];
/// What a package's having `Pre-Depends` is worth there.
const HAS_PRE_DEPENDS: u32 = 50;

/// The dependencies inside a set of packages, by index.
#[derive(Debug)]
pub struct Graph<'p> {
    packages: Vec<&'p Paragraph>,
    /// For each package, whether it was asked for.
    wanted: Vec<bool>,
    by_name: BTreeMap<&'p str, Vec<usize>>,
    /// Virtual packages, by the index of who provides them.
    provided: BTreeMap<&'p str, Vec<usize>>,
    pre_depends: Vec<Vec<usize>>,
    depends: Vec<Vec<usize>>,
}

impl<'p> Graph<'p> {
    /// Of the control paragraphs of a set, and why each is in it.
    pub fn new(packages: impl IntoIterator<Item = (&'p Paragraph, Role)>) -> Result<Graph<'p>> {
        let (packages, wanted) = packages.into_iter().map(|(fields, role)| (fields, role == Role::Wanted)).unzip();
        let mut graph = Graph {
            packages,
            wanted,
            by_name: BTreeMap::new(),
            provided: BTreeMap::new(),
            pre_depends: Vec::new(),
            depends: Vec::new(),
        };
        for index in 0..graph.packages.len() {
            graph.by_name.entry(graph.get(index, "Package")).or_default().push(index);
            for name in graph.names(index, "Provides")? {
                graph.provided.entry(name).or_default().push(index);
            }
        }
        for index in 0..graph.packages.len() {
            let pre_depends = graph.needs(index, "Pre-Depends")?;
            let depends = graph.needs(index, "Depends")?;
            graph.pre_depends.push(pre_depends);
            graph.depends.push(depends);
        }
        Ok(graph)
    }

    fn get(&self, package: usize, field: &str) -> &'p str {
        self.packages[package].get(field).unwrap_or_default()
    }

    /// The names in a field of relations: of alternatives, all.
    fn names(&self, package: usize, field: &str) -> Result<Vec<&'p str>> {
        let mut names = Vec::new();
        for group in relation::groups(self.get(package, field)) {
            let alternatives = relation::alternatives(group)
                .with_context(|| format!("reading {field} of the package {}", self.get(package, "Package")))?;
            names.extend(alternatives.into_iter().map(|relation| relation.name));
        }
        Ok(names)
    }

    /// The packages of a name, or else those that provide it.
    pub fn find(&self, name: &str) -> &[usize] {
        self.by_name.get(name).or_else(|| self.provided.get(name)).map_or(&[], Vec::as_slice)
    }

    fn needs(&self, package: usize, field: &str) -> Result<Vec<usize>> {
        let mut needs: Vec<usize> = Vec::new();
        for name in self.names(package, field)? {
            for found in self.find(name) {
                if *found != package && !needs.contains(found) {
                    needs.push(*found);
                }
            }
        }
        Ok(needs)
    }

    /// A package of these that no other of the set needs.
    pub fn unneeded(&self, among: &BTreeSet<usize>) -> Option<usize> {
        let needed: BTreeSet<&usize> = self.pre_depends.iter().chain(&self.depends).flatten().collect();
        among.iter().rfind(|package| !needed.contains(package)).copied()
    }

    /// The packages of the set that one pre-depends on, directly: of alternatives, all that are there.
    pub fn pre_depends(&self, package: usize) -> &[usize] {
        &self.pre_depends[package]
    }

    /// The packages of the set that one depends on, directly: of alternatives, all that are there.
    pub fn depends(&self, package: usize) -> &[usize] {
        &self.depends[package]
    }

    /// Whether the system itself needs it: what debootstrap calls required. A package may say so of itself where the
    /// archive has overridden it: then nobody asked for it.
    pub fn is_required(&self, package: usize) -> bool {
        self.get(package, "Essential") == "yes" || self.get(package, "Priority") == "required" && self.wanted[package]
    }

    /// These packages and everything they need, transitively.
    pub fn closure(&self, roots: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut closure = BTreeSet::new();
        let mut todo: Vec<usize> = roots.into_iter().collect();
        while let Some(package) = todo.pop() {
            if closure.insert(package) {
                todo.extend(self.pre_depends(package).iter().chain(self.depends(package)));
            }
        }
        closure
    }

    /// The base system, which debootstrap installs before apt installs anything else: the required packages, apt, and
    /// what they need.
    pub fn base(&self) -> BTreeSet<usize> {
        self.closure((0..self.packages.len()).filter(|p| self.is_required(*p) || self.get(*p, "Package") == APT))
    }

    /// The order in which packages are unpacked, on which the numbers of the accounts depend that maintainer scripts
    /// make. The base system is first, as debootstrap has it, by name. The others are behind what they need, as far as
    /// there is no circle, as apt has them: those with `Pre-Depends` before those without, then by priority and name.
    pub fn order(&self) -> Vec<usize> {
        let base = self.base();
        let first = |p: &usize| FIRST.iter().position(|name| *name == self.get(*p, "Package")).unwrap_or(FIRST.len());
        let mut order: Vec<usize> = base.iter().copied().collect();
        order.sort_by_key(|p| (first(p), self.get(*p, "Package"), self.get(*p, "Architecture")));
        let mut roots: Vec<usize> = (0..self.packages.len()).filter(|p| !base.contains(p)).collect();
        roots.sort_by_key(|p| (Reverse(self.score(*p)), self.get(*p, "Package"), self.get(*p, "Architecture")));
        let mut seen = base;
        for root in roots {
            self.visit(root, &mut seen, &mut order);
        }
        order
    }

    /// The higher, the earlier apt unpacks a package.
    fn score(&self, package: usize) -> u32 {
        let priority = self.get(package, "Priority");
        let priority = PRIORITIES.iter().find(|(name, _)| *name == priority).map_or(0, |(_, worth)| *worth);
        priority + if self.get(package, "Pre-Depends").is_empty() { 0 } else { HAS_PRE_DEPENDS }
    }

    /// Depth first without recursion: chains of dependencies may be as long as a hostile repository likes.
    fn visit(&self, root: usize, seen: &mut BTreeSet<usize>, order: &mut Vec<usize>) {
        if !seen.insert(root) {
            return;
        }
        let mut stack = vec![(root, 0)];
        while let Some((package, next)) = stack.last_mut() {
            match self.pre_depends(*package).iter().chain(self.depends(*package)).nth(*next) {
                Some(need) => {
                    *next += 1;
                    if seen.insert(*need) {
                        stack.push((*need, 0));
                    }
                }
                None => {
                    order.push(*package);
                    stack.pop();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paragraphs(texts: &[&str]) -> Vec<Paragraph> {
        texts.iter().map(|t| Paragraph::parse(t).expect("good")).collect()
    }

    fn graph_of(set: &[Paragraph]) -> Result<Graph<'_>> {
        let role = |fields: &Paragraph| if fields.get("Asked").is_some() { Role::Wanted } else { Role::Dependency };
        Graph::new(set.iter().map(|fields| (fields, role(fields))))
    }

    fn ordered(set: &[Paragraph]) -> Vec<&str> {
        let graph = graph_of(set).expect("good");
        graph.order().iter().map(|i| set[*i].required("Package").expect("a name")).collect()
    }

    #[test]
    fn the_base_first_and_always_the_same() {
        let mut set = paragraphs(&[
            "Package: zsh\nDepends: libc6, missing | other\n",
            "Package: apt\nDepends: libc6\n",
            "Package: a\nDepends: zsh\n",
            "Package: base-files\nEssential: yes\nPre-Depends: awk\n",
            "Package: mawk\nProvides: awk\nDepends: libc6\n",
            "Package: libc6\nDepends: libgcc\n",
            "Package: libgcc\nDepends: libc6\n",
        ]);
        let order = ["base-files", "libc6", "mawk", "apt", "libgcc", "zsh", "a"];
        assert_eq!(ordered(&set), order);
        let graph = graph_of(&set).expect("good");
        assert_eq!(graph.closure([graph.find("base-files")[0]]).len(), 4);
        assert_eq!(graph.base().len(), 5, "all but a and zsh");
        assert_eq!(graph.unneeded(&graph.base()), Some(3), "base-files");
        assert_eq!(graph.unneeded(&BTreeSet::from([0, 4, 5])), None);
        assert!(graph.find("nothing").is_empty());
        set.reverse();
        assert_eq!(ordered(&set), order);
        let broken = paragraphs(&["Package: a\nDepends: b (\n"]);
        assert!(graph_of(&broken).is_err());
    }

    #[test]
    fn outside_the_base_as_apt_unpacks() {
        let set = paragraphs(&[
            "Package: a\nPriority: optional\nDepends: z\n",
            "Package: b\nPriority: important\nDepends: libc\n",
            "Package: c\nPriority: extra\nPre-Depends: libc\n",
            "Package: d\nPriority: important\nPre-Depends: d-accounts\nDepends: e\n",
            "Package: d-accounts\nPriority: optional\n",
            "Package: e\nPriority: optional\n",
            "Package: f\nPriority: optional\n",
            "Package: z\nPriority: optional\n",
            "Package: apt\nPriority: important\nDepends: f\n",
            "Package: libc\nPriority: required\nAsked: yes\n",
            "Package: overridden\nPriority: required\n",
        ]);
        assert_eq!(ordered(&set), ["apt", "f", "libc", "d-accounts", "e", "d", "c", "overridden", "b", "z", "a"]);
    }
}
