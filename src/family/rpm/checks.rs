//! What must hold of an RPM tree besides the list of every image.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::repofile::{self, RepoFile, expand};
use super::{berkeley, database, files, sqlite};
use crate::check::{Check, Subject};
use crate::root::{Kind, Root, kind};

/// The checks of this family.
pub static CHECKS: &[Check] = &[
    Check {
        name: "rpm/database",
        sentence: "The RPM database is sound, and every package in it can be read.",
        run: database_is_sound,
    },
    Check {
        name: "rpm/files",
        sentence: "Every file in the RPM database is as its package shipped it, but for documentation, languages and \
                   changed configuration files.",
        run: files::check,
    },
    Check {
        name: "dnf/repositories",
        sentence: "There is a repository to install from, each is defined once, and the keys they name are there.",
        run: repositories,
    },
];

/// What installs packages in the image.
const MANAGERS: [&str; 4] = ["usr/bin/dnf", "usr/bin/dnf5", "usr/bin/microdnf", "usr/bin/yum"];

fn database_is_sound(subject: &Subject<'_>) -> Result<Vec<String>> {
    let Some(path) = database::find(subject.root) else {
        return Ok(vec!["there is no RPM database; build the image anew".to_owned()]);
    };
    let sound = match path.parent() {
        Some(folder) if path.ends_with(berkeley::PACKAGES) => berkeley::check(subject.root, folder),
        _ => sqlite::check(subject.root, &path),
    };
    let sound = sound.and_then(|()| database::identities(subject.root));
    Ok(sound.err().map(|error| format!("{error:#}; build the image anew")).into_iter().collect())
}

fn repositories(subject: &Subject<'_>) -> Result<Vec<String>> {
    let files = repofile::read_all(subject.root)?;
    let variables = repofile::variables(subject.root, BTreeMap::new())?;
    let mut faults = Vec::new();
    let mut seen: BTreeMap<String, &Path> = BTreeMap::new();
    let mut enabled = 0;
    for (path, file) in &files {
        for id in file.ids() {
            if let Some(first) = seen.insert(id.clone(), path) {
                faults.push(format!(
                    "the repository {id} is defined in /{} and in /{}; remove one of them",
                    first.display(),
                    path.display()
                ));
            }
            if file.is_enabled(&id) {
                enabled += 1;
                faults.extend(faults_of(subject.root, file, &id, &variables)?);
            }
        }
    }
    if enabled == 0 && MANAGERS.iter().any(|program| subject.root.exists(program)) {
        faults.push("no repository is enabled, so nothing can be installed or updated; add a [[repository]]".into());
    }
    Ok(faults)
}

fn faults_of(root: &Root, file: &RepoFile, id: &str, variables: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    if ["baseurl", "mirrorlist", "metalink"].iter().all(|key| file.get(id, key).is_none_or(|value| value.is_empty())) {
        faults.push(format!("the repository {id} has no address; give it a baseurl"));
    }
    let keys = file.get(id, "gpgkey").unwrap_or_default();
    for key in keys.split([' ', ',']).filter_map(|key| key.strip_prefix("file://")) {
        if !is_there(root, &expand(key, variables))? {
            faults.push(format!("the key {key} of the repository {id} is missing; include the package that ships it"));
        }
    }
    Ok(faults)
}

/// Whether a file is there. A variable that only dnf knows (`$releasever`) stands for anything in the name of the file.
fn is_there(root: &Root, path: &str) -> Result<bool> {
    let Some((start, rest)) = path.split_once('$') else { return Ok(root.exists(path)) };
    let Some((folder, start)) = start.rsplit_once('/') else { return Ok(false) };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "{}_".contains(c);
    let end = rest.rsplit('$').next().unwrap_or(rest).trim_start_matches(is_name);
    if end.contains('/') || root.stat(folder)?.is_none_or(|stat| kind(&stat) != Kind::Dir) {
        return Ok(false);
    }
    let fits = |name: &str| name.starts_with(start) && name.ends_with(end);
    Ok(root.read_dir(folder)?.iter().any(|name| name.to_str().is_some_and(fits)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{find, look, says};
    use crate::clean::testing::{Tree, assert_well_formed};

    #[test]
    fn every_check_is_named_and_described() {
        assert_well_formed(CHECKS.iter().map(|check| (check.name, check.sentence)));
    }

    #[test]
    fn repositories_with_an_address_and_keys() {
        let good =
            "[a]\nbaseurl=http://x\ngpgkey=file:///k/KEY-$releasever-x file:///k/KEY-$releasever\n[off]\nenabled=0\n";
        let tree = |text: &str| {
            let mut tree = Tree::new();
            tree.file("etc/yum.repos.d/a.repo", text).file("k/KEY-9-x", "").file("usr/bin/dnf", "");
            tree
        };
        let faults = |tree: &Tree| look(find(CHECKS, "dnf/repositories"), tree, says(""));
        assert_eq!(faults(&tree(good)), [""; 0]);
        for (text, fault) in [
            ("[a]\nenabled=0\n", "no repository is enabled"),
            ("", "no repository is enabled"),
            ("[a]\nname=x\n", "the repository a has no address"),
            ("[a]\nbaseurl=http://x\ngpgkey=file:///k/none\n", "the key /k/none of the repository a is missing"),
            ("[a]\nbaseurl=http://x\ngpgkey=file:///k/OTHER-$releasever\n", "the key /k/OTHER-$releasever of"),
            ("[a]\nbaseurl=http://x\ngpgkey=file:///n/KEY-$releasever\n", "the key /n/KEY-$releasever of"),
        ] {
            let found = faults(&tree(text));
            assert!(found.len() == 1 && found[0].contains(fault), "{text}: {found:?}");
        }
        let mut twice = tree(good);
        twice.file("etc/yum.repos.d/b.repo", "[off]\nenabled=0\n");
        let found = faults(&twice);
        assert!(found.len() == 1 && found[0].contains("/etc/yum.repos.d/a.repo and in /etc/yum.repos.d/b.repo"));
        twice.root.remove_all("etc").expect("it goes");
        twice.root.remove_file("usr/bin/dnf").expect("it goes");
        assert_eq!(faults(&twice), [""; 0], "nothing that installs");
    }
}
