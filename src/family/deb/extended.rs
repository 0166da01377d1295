//! Which packages apt counts as installed automatically: `/var/lib/apt/extended_states`.

use anyhow::Result;

use super::order::Graph;
use crate::family::Fetched;
use crate::lock::Role;
use crate::plan::Plan;
use crate::root::Root;

const FILE: &str = "var/lib/apt/extended_states";

/// Writes it as `apt-get install INCLUDE` in a tree of debootstrap would: what the base system needs is manual, what
/// only the included packages need is automatic. Nothing is written where there is no apt, or nothing to say.
pub fn write(plan: &Plan, packages: &[&Fetched], graph: &Graph<'_>, root: &Root) -> Result<()> {
    let included = |name: &str| plan.packages.include.iter().any(|i| i.split([':', '=']).next() == Some(name));
    let base = (0..packages.len()).filter(|i| {
        let package = &packages[*i].package;
        // apt is part of debootstrap's base system, however the recipe names it.
        let wanted = package.role == Role::Wanted && !package.repository.is_empty() && !included(&package.name);
        graph.is_required(*i) || wanted || package.name == "apt"
    });
    let base = graph.closure(base);
    let mut automatic: Vec<(&str, &str)> = (0..packages.len())
        .filter(|i| packages[*i].package.role == Role::Dependency && !base.contains(i))
        .map(|i| {
            let package = &packages[i].package;
            // apt files a package of all architectures under the native one.
            let arch = if package.arch == "all" { plan.arch.deb } else { package.arch.as_str() };
            (package.name.as_str(), arch)
        })
        .collect();
    if automatic.is_empty() || graph.find("apt").is_empty() {
        return Ok(());
    }
    automatic.sort_unstable();
    let text: String = automatic
        .iter()
        .map(|(name, arch)| format!("Package: {name}\nArchitecture: {arch}\nAuto-Installed: 1\n\n"))
        .collect();
    root.create_dir_all("var/lib/apt", 0o755)?;
    root.write(FILE, text, 0o644)
}
