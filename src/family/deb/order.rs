//! The order of packages: what others need comes first, what the system itself needs before everything else.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::Paragraph;

/// The dependencies inside a set of packages, by index.
#[derive(Debug)]
pub struct Graph<'p> {
    packages: Vec<&'p Paragraph>,
    by_name: BTreeMap<&'p str, Vec<usize>>,
    /// Virtual packages, by the index of who provides them.
    provided: BTreeMap<String, Vec<usize>>,
}

impl<'p> Graph<'p> {
    /// Of the control paragraphs of a set.
    pub fn new(packages: Vec<&'p Paragraph>) -> Graph<'p> {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut provided: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, package) in packages.iter().copied().enumerate() {
            by_name.entry(package.get("Package")).or_default().push(index);
            for relation in package.relations("Provides").into_iter().flatten() {
                provided.entry(relation.name).or_default().push(index);
            }
        }
        Graph { packages, by_name, provided }
    }

    /// The packages of a name, or else those that provide it.
    pub fn find(&self, name: &str) -> &[usize] {
        self.by_name.get(name).or_else(|| self.provided.get(name)).map_or(&[], Vec::as_slice)
    }

    /// The packages of the set that one needs, directly: of alternatives, all that are there.
    pub fn needs(&self, package: usize, fields: &[&str]) -> Vec<usize> {
        let groups = fields.iter().flat_map(|field| self.packages[package].relations(field));
        let mut needs: Vec<usize> = Vec::new();
        for relation in groups.flatten() {
            for found in self.find(&relation.name) {
                if *found != package && !needs.contains(found) {
                    needs.push(*found);
                }
            }
        }
        needs
    }

    /// Whether the system itself needs it: what debootstrap calls required.
    pub fn is_required(&self, package: usize) -> bool {
        let package = self.packages[package];
        package.get("Essential") == "yes" || package.get("Priority") == "required"
    }

    /// These packages and everything they need, transitively.
    pub fn closure(&self, roots: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut closure = BTreeSet::new();
        let mut todo: Vec<usize> = roots.into_iter().collect();
        while let Some(package) = todo.pop() {
            if closure.insert(package) {
                todo.extend(self.needs(package, &["Pre-Depends", "Depends"]));
            }
        }
        closure
    }

    /// Every package after those it needs, as far as there is no circle; `Pre-Depends` break circles last. Required
    /// packages come before the others, and names decide the rest, so the order is always the same.
    pub fn order(&self) -> Vec<usize> {
        let mut roots: Vec<usize> = (0..self.packages.len()).collect();
        let key = |p: &usize| {
            let package = self.packages[*p];
            (!self.is_required(*p), package.get("Package"), package.get("Architecture"))
        };
        roots.sort_by_key(key);
        let mut order = Vec::with_capacity(roots.len());
        let mut seen = BTreeSet::new();
        for root in roots {
            self.visit(root, &mut seen, &mut order);
        }
        order
    }

    /// Depth first without recursion: chains of dependencies may be as long as a hostile repository likes.
    fn visit(&self, root: usize, seen: &mut BTreeSet<usize>, order: &mut Vec<usize>) {
        let mut stack = Vec::new();
        if seen.insert(root) {
            stack.push((root, self.needs(root, &["Pre-Depends", "Depends"]), 0));
        }
        while let Some((package, needs, next)) = stack.last_mut() {
            match needs.get(*next).copied() {
                Some(need) => {
                    *next += 1;
                    if seen.insert(need) {
                        stack.push((need, self.needs(need, &["Pre-Depends", "Depends"]), 0));
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
        let graph = Graph::new(set.iter().collect());
        let names = |order: &[usize]| order.iter().map(|i| set[*i].get("Package").to_string()).collect::<Vec<_>>();
        assert_eq!(names(&graph.order()), ["libgcc", "libc", "mawk", "base", "apt", "zsh"]);
        let mut reversed = set.clone();
        reversed.reverse();
        let graph = Graph::new(reversed.iter().collect());
        let order: Vec<&str> = graph.order().iter().map(|i| reversed[*i].get("Package")).collect();
        assert_eq!(order, ["libgcc", "libc", "mawk", "base", "apt", "zsh"]);
        assert_eq!(graph.closure([graph.find("base")[0]]).len(), 4);
        assert!(graph.find("nothing").is_empty());
    }
}
