//! The order of packages: what others need comes first, what the system itself needs before everything else.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};

use super::control::Paragraph;
use super::relation;

/// The dependencies inside a set of packages, by index.
#[derive(Debug)]
pub struct Graph<'p> {
    packages: Vec<&'p Paragraph>,
    by_name: BTreeMap<&'p str, Vec<usize>>,
    /// Virtual packages, by the index of who provides them.
    provided: BTreeMap<&'p str, Vec<usize>>,
    pre_depends: Vec<Vec<usize>>,
    depends: Vec<Vec<usize>>,
}

impl<'p> Graph<'p> {
    /// Of the control paragraphs of a set.
    pub fn new(packages: Vec<&'p Paragraph>) -> Result<Graph<'p>> {
        let mut graph = Graph {
            packages,
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

    /// The packages of the set that one pre-depends on, directly: of alternatives, all that are there.
    pub fn pre_depends(&self, package: usize) -> &[usize] {
        &self.pre_depends[package]
    }

    /// The packages of the set that one depends on, directly: of alternatives, all that are there.
    pub fn depends(&self, package: usize) -> &[usize] {
        &self.depends[package]
    }

    /// Whether the system itself needs it: what debootstrap calls required.
    pub fn is_required(&self, package: usize) -> bool {
        self.get(package, "Essential") == "yes" || self.get(package, "Priority") == "required"
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

    /// Every package after those it needs, as far as there is no circle; `Pre-Depends` break circles last. Required
    /// packages come before the others, and names decide the rest, so the order is always the same.
    pub fn order(&self) -> Vec<usize> {
        let mut roots: Vec<usize> = (0..self.packages.len()).collect();
        roots.sort_by_key(|p| (!self.is_required(*p), self.get(*p, "Package"), self.get(*p, "Architecture")));
        let mut order = Vec::with_capacity(roots.len());
        let mut seen = BTreeSet::new();
        for root in roots {
            self.visit(root, &mut seen, &mut order);
        }
        order
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

    #[test]
    fn needed_first_and_always_the_same() {
        let set = paragraphs(&[
            "Package: zsh\nDepends: libc, missing | other\n",
            "Package: apt\nDepends: libc\n",
            "Package: base\nEssential: yes\nPre-Depends: awk\n",
            "Package: mawk\nProvides: awk\nDepends: libc\n",
            "Package: libc\nDepends: libgcc\n",
            "Package: libgcc\nDepends: libc\n",
        ]);
        let graph = Graph::new(set.iter().collect()).expect("good");
        let names = |order: &[usize]| {
            order.iter().map(|i| set[*i].required("Package").expect("a name").to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&graph.order()), ["libgcc", "libc", "mawk", "base", "apt", "zsh"]);
        let mut reversed = set.clone();
        reversed.reverse();
        let graph = Graph::new(reversed.iter().collect()).expect("good");
        let order: Vec<&str> =
            graph.order().iter().map(|i| reversed[*i].required("Package").expect("a name")).collect();
        assert_eq!(order, ["libgcc", "libc", "mawk", "base", "apt", "zsh"]);
        assert_eq!(graph.closure([graph.find("base")[0]]).len(), 4);
        assert!(graph.find("nothing").is_empty());
        let broken = paragraphs(&["Package: a\nDepends: b (\n"]);
        assert!(Graph::new(broken.iter().collect()).is_err());
    }
}
