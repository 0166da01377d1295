//! The package manager's configuration in an image: the repositories it is left with, and how dnf behaves in a
//! container.

use std::fmt::Write as _;

use anyhow::Result;

use crate::plan::{Plan, Repository};
use crate::root::Root;

/// Where repositories are described, dnf.conf(5).
const REPOSITORIES: &str = "etc/yum.repos.d";
/// Where keys are, by custom.
const KEYS: &str = "etc/pki/rpm-gpg";

/// Writes the repositories of the recipe that are not the distribution's own, and the settings of rpm for later
/// installations.
pub fn configure_repositories(plan: &Plan, root: &Root) -> Result<()> {
    let lasting = plan.repositories.iter().filter(|repository| !repository.build_only);
    for repository in lasting {
        let keys = write_keys(repository, root)?;
        root.create_dir_all(REPOSITORIES, 0o755)?;
        let path = format!("{REPOSITORIES}/{}.repo", repository.name);
        root.write(path, describe(repository, &keys), 0o644)?;
    }
    root.create_dir_all("etc/rpm", 0o755)?;
    let mut macros = format!("%_install_langs {}\n", plan.system.locale);
    if !plan.system.docs {
        macros.push_str("%_excludedocs 1\n");
    }
    root.write("etc/rpm/macros.image", macros, 0o644)
}

/// Gives the addresses of the keys in the image.
fn write_keys(repository: &Repository, root: &Root) -> Result<Vec<String>> {
    if !repository.image_key.is_empty() {
        return Ok(vec![format!("file://{}", repository.image_key)]);
    }
    let mut addresses = Vec::new();
    for (number, key) in repository.keys.iter().enumerate() {
        root.create_dir_all(KEYS, 0o755)?;
        let path = format!("{KEYS}/{}-{number}.asc", repository.name);
        root.write(&path, &key.data, 0o644)?;
        addresses.push(format!("file:///{path}"));
    }
    Ok(addresses)
}

fn describe(repository: &Repository, keys: &[String]) -> String {
    let Repository { name, image_url, .. } = repository;
    let mut text = format!("[{name}]\nname={name}\nbaseurl={image_url}\nenabled=1\n");
    let checked = u8::from(!repository.trusted);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "gpgcheck={checked}");
    if !keys.is_empty() {
        let _ = writeln!(text, "gpgkey={}", keys.join(" "));
    }
    if repository.signed_index == Some(true) {
        text.push_str("repo_gpgcheck=1\n");
    }
    if let Some(priority) = repository.priority {
        let _ = writeln!(text, "priority={priority}");
    }
    text
}
