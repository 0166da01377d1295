//! Which packages apt counts as installed automatically: `/var/lib/apt/extended_states`.

use anyhow::Result;

use super::order::Graph;
use crate::family::Fetched;
use crate::lock::{LockedPackage, Role};
use crate::plan::Plan;
use crate::root::Root;

const FILE: &str = "var/lib/apt/extended_states";

/// Writes it as `apt-get install INCLUDE` in a tree of debootstrap would: what the base system needs is manual, what
/// only the included packages need is automatic. Nothing is written where there is no apt, or nothing to say.
pub fn write(plan: &Plan, packages: &[&Fetched], graph: &Graph<'_>, root: &Root) -> Result<()> {
    let packages: Vec<&LockedPackage> = packages.iter().map(|p| &p.package).collect();
    let Some(text) = states(&plan.packages.include, plan.arch.deb, &packages, graph) else { return Ok(()) };
    root.create_dir_all("var/lib/apt", 0o755)?;
    root.write(FILE, text, 0o644)
}

/// The text of the file; nothing where there is no apt or every package is manual.
fn states(include: &[String], native: &str, packages: &[&LockedPackage], graph: &Graph<'_>) -> Option<String> {
    let included = |name: &str| include.iter().any(|i| i.split([':', '=']).next() == Some(name));
    let base = (0..packages.len()).filter(|i| {
        let package = packages[*i];
        // apt is part of debootstrap's base system, however the recipe names it.
        let wanted = package.role == Role::Wanted && !package.repository.is_empty() && !included(&package.name);
        graph.is_required(*i) || wanted || package.name == "apt"
    });
    let base = graph.closure(base);
    let mut automatic: Vec<(&str, &str)> = (0..packages.len())
        .filter(|i| packages[*i].role == Role::Dependency && !base.contains(i))
        .map(|i| {
            let package = packages[i];
            // apt files a package of all architectures under the native one.
            let arch = if package.arch == "all" { native } else { package.arch.as_str() };
            (package.name.as_str(), arch)
        })
        .collect();
    if automatic.is_empty() || graph.find("apt").is_empty() {
        return None;
    }
    automatic.sort_unstable();
    let paragraph =
        |(name, arch): &(&str, &str)| format!("Package: {name}\nArchitecture: {arch}\nAuto-Installed: 1\n\n");
    Some(automatic.iter().map(paragraph).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::deb::control::Paragraph;

    #[test]
    fn what_only_included_packages_need_is_automatic() {
        let set = [
            ("base-files", Role::Wanted, "main", "Priority: required\nDepends: libbase\n"),
            ("libbase", Role::Dependency, "main", "X: y\n"),
            ("apt", Role::Wanted, "main", "Depends: libapt\n"),
            ("libapt", Role::Dependency, "main", "X: y\n"),
            ("vim", Role::Wanted, "main", "Depends: vim-runtime, libbase\n"),
            ("vim-runtime", Role::Dependency, "main", "X: y\n"),
            ("agent", Role::Wanted, "", "Depends: libagent\n"),
            ("libagent", Role::Dependency, "main", "X: y\n"),
        ];
        let paragraphs: Vec<Paragraph> =
            set.iter().map(|(n, _, _, f)| Paragraph::parse(&format!("Package: {n}\n{f}")).expect("good")).collect();
        let packages: Vec<LockedPackage> = set
            .iter()
            .map(|(name, role, repository, _)| LockedPackage {
                name: (*name).into(),
                version: "1".into(),
                arch: if name.starts_with("lib") { "amd64" } else { "all" }.into(),
                size: 1,
                sha256: String::new(),
                repository: (*repository).into(),
                path: String::new(),
                role: *role,
            })
            .collect();
        let include = ["apt".to_string(), "vim:amd64".to_string()];
        let locked: Vec<&LockedPackage> = packages.iter().collect();
        let graph = Graph::new(paragraphs.iter().collect()).expect("good");
        let text = states(&include, "amd64", &locked, &graph).expect("there are some");
        let automatic: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("Package: ")).collect();
        assert_eq!(automatic, ["libagent", "vim-runtime"]);
        assert!(!text.contains("Architecture: all") && text.ends_with("Auto-Installed: 1\n\n"));
        let graph = Graph::new(paragraphs.iter().take(2).collect()).expect("good");
        assert_eq!(states(&include, "amd64", &locked[..2], &graph), None);
    }
}
