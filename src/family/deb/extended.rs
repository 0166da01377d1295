//! Which packages apt counts as installed automatically: `/var/lib/apt/extended_states`.

use anyhow::Result;

use crate::family::Fetched;
use crate::lock::{LockedPackage, Role};
use crate::plan::Plan;
use crate::root::Root;

const FILE: &str = "var/lib/apt/extended_states";

/// Writes it so that `apt-mark showmanual` is what the recipe asked for, and `apt-get autoremove` knows the rest. Of
/// included packages this is what `apt-get install` leaves; of the base system debootstrap has everything as asked
/// for, libraries too, which then nothing ever removes. Nothing is written where there is no apt, or nothing to say.
pub fn write(plan: &Plan, packages: &[&Fetched], root: &Root) -> Result<()> {
    let packages: Vec<&LockedPackage> = packages.iter().map(|p| &p.package).collect();
    let Some(text) = states(plan.arch.deb, &packages) else { return Ok(()) };
    root.create_dir_all("var/lib/apt", 0o755)?;
    root.write(FILE, text, 0o644)
}

/// The text of the file; nothing where there is no apt or every package is manual.
fn states(native: &str, packages: &[&LockedPackage]) -> Option<String> {
    let mut automatic: Vec<(&str, &str)> = packages
        .iter()
        .filter(|package| package.role == Role::Dependency)
        .map(|package| {
            // apt files a package of all architectures under the native one.
            let arch = if package.arch == "all" { native } else { package.arch.as_str() };
            (package.name.as_str(), arch)
        })
        .collect();
    if automatic.is_empty() || !packages.iter().any(|package| package.name == "apt") {
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
    use crate::lock::testing;

    #[test]
    fn what_nobody_asked_for_is_automatic() {
        let package = |(name, arch, role): (&str, &str, Role)| LockedPackage {
            arch: arch.into(),
            role,
            ..testing::package(name, "1")
        };
        let packages = [
            ("base-files", "amd64", Role::Wanted),
            ("vim-runtime", "all", Role::Dependency),
            ("libbase", "amd64", Role::Dependency),
            ("apt", "amd64", Role::Wanted),
        ]
        .map(package);
        let locked: Vec<&LockedPackage> = packages.iter().collect();
        assert_eq!(
            states("amd64", &locked).as_deref(),
            Some(
                "Package: libbase\nArchitecture: amd64\nAuto-Installed: 1\n\n\
                 Package: vim-runtime\nArchitecture: amd64\nAuto-Installed: 1\n\n"
            )
        );
        assert_eq!(states("amd64", &locked[..3]), None, "no apt");
        assert_eq!(states("amd64", &[locked[0], locked[3]]), None, "nothing automatic");
    }
}
