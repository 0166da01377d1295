//! The repositories that an image is left with. Those of the recipe, at the image's mirrors, each defined once.
//!
//! A distribution's release package brings definitions of its own, as configuration files. One of a repository of the
//! recipe (the same id, or the same address) is changed in place, and only where it does not lead to the image's mirror
//! already: an upgrade of the package then leaves it alone (`%config(noreplace)`), and there is no second definition,
//! which dnf would warn of. Definitions that the recipe knows nothing of stay; but where the image has another mirror
//! than the distribution's own, those of the same package would lead past it, and are switched off.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::database;
use super::repofile::{self, RepoFile, expand};
use crate::plan::{Plan, Repository};
use crate::root::Root;

/// Where repositories are described, dnf.conf(5).
const FOLDER: &str = "etc/yum.repos.d";
/// Where keys are, by custom.
const KEYS: &str = "etc/pki/rpm-gpg";

type Files = BTreeMap<PathBuf, RepoFile>;
type Variables = BTreeMap<String, String>;
/// A file and the id in it.
type Definition = (PathBuf, String);

/// Writes the repositories of the recipe that stay.
pub fn configure(plan: &Plan, root: &Root) -> Result<()> {
    let before = repofile::read_all(root)?;
    let variables = repofile::variables(root, repofile::known_variables(plan))?;
    let mut files = before.clone();
    let mut known = BTreeSet::new();
    let mut moved = BTreeSet::new();
    let lasting: Vec<&Repository> = plan.repositories.iter().filter(|repository| !repository.build_only).collect();
    for repository in &lasting {
        let is_other = |id: &str| id != repository.name && lasting.iter().any(|other| other.name == id);
        let mut definitions = definitions(&before, repository, &variables);
        definitions.retain(|(_, id)| !is_other(id));
        let mut definitions = definitions.into_iter();
        let Some((path, id)) = definitions.next() else {
            write_own(repository, &before, root)?;
            continue;
        };
        if let Some(file) = files.get_mut(&path) {
            adapt(file, &id, repository, &variables, root)?;
        }
        if !repository.image_url.is_empty() && !same_address(&repository.image_url, &repository.url) {
            moved.insert(path.clone());
        }
        known.insert((path, id));
        for (path, id) in definitions {
            switch_off(&mut files, &path, &id);
            known.insert((path, id));
        }
    }
    if !moved.is_empty() {
        for (path, id) in of_same_packages(&before, &moved, root)? {
            if !known.contains(&(path.clone(), id.clone())) {
                switch_off(&mut files, &path, &id);
            }
        }
    }
    for (path, file) in files {
        if before.get(&path) != Some(&file) {
            let mode = root.stat(&path)?.map_or(0o644, |stat| stat.st_mode & 0o7777);
            root.write(&path, file.text(), mode)?;
        }
    }
    Ok(())
}

/// Where packages define a repository: that with its id first.
fn definitions(files: &Files, repository: &Repository, variables: &Variables) -> Vec<Definition> {
    let mut found: Vec<(bool, Definition)> = Vec::new();
    for (path, file) in files {
        for id in file.ids() {
            let named = id == repository.name;
            if named
                || leads_to_list(file, &id, repository, variables)
                || leads_to(file, &id, &repository.url, variables)
            {
                found.push((!named, (path.clone(), id)));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, definition)| definition).collect()
}

/// Whether the list of mirrors of a definition is that of the recipe.
fn leads_to_list(file: &RepoFile, id: &str, repository: &Repository, variables: &Variables) -> bool {
    let list = file.get(id, "mirrorlist").map(|list| expand(&list, variables));
    list.is_some() && list.as_ref() == repository.mirrorlist.as_ref().map(|list| &list.url)
}

/// Whether one of the addresses of a definition is this one.
fn leads_to(file: &RepoFile, id: &str, url: &str, variables: &Variables) -> bool {
    let addresses = file.get(id, "baseurl").unwrap_or_default();
    let mut addresses = addresses.split([' ', ',']).filter(|address| !address.is_empty());
    addresses.any(|address| same_address(&expand(address, variables), url))
}

fn same_address(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

/// The keys that say where a repository is, dnf.conf(5).
const PLACES: [&str; 3] = ["metalink", "mirrorlist", "baseurl"];

/// Where a repository is for the image: the key and its value. A recipe's list of mirrors is one for the image too,
/// unless that has a mirror of its own.
fn place(repository: &Repository) -> (&'static str, &str) {
    match &repository.mirrorlist {
        Some(list) if repository.image_url.is_empty() => ("mirrorlist", &list.url),
        _ => ("baseurl", &repository.image_url),
    }
}

/// Has a definition lead to the image's mirror and nowhere else.
fn adapt(file: &mut RepoFile, id: &str, repository: &Repository, variables: &Variables, root: &Root) -> Result<()> {
    let (key, value) = place(repository);
    let only = PLACES.into_iter().all(|other| other == key || file.get(id, other).is_none());
    let single = file.get(id, "baseurl").is_none_or(|value| !value.contains([' ', ',']));
    let leads_there = match key {
        "mirrorlist" => leads_to_list(file, id, repository, variables),
        _ => leads_to(file, id, value, variables),
    };
    if !only || !single || !leads_there {
        PLACES.into_iter().filter(|other| *other != key).for_each(|other| file.comment_out(id, other));
        file.set(id, key, value);
    }
    if !file.is_enabled(id) {
        file.set(id, "enabled", "1");
    }
    if repository.trusted {
        file.set(id, "gpgcheck", "0");
    } else if file.get(id, "gpgkey").is_none() {
        let keys = write_keys(repository, root)?;
        if !keys.is_empty() {
            file.set(id, "gpgkey", &keys.join(" "));
        }
    }
    if let Some(priority) = repository.priority.map(|priority| priority.to_string()) {
        file.set(id, "priority", &priority);
    }
    Ok(())
}

fn switch_off(files: &mut Files, path: &Path, id: &str) {
    if let Some(file) = files.get_mut(path).filter(|file| file.is_enabled(id)) {
        file.set(id, "enabled", "0");
    }
}

/// Every definition in a file whose package has one of these files too.
fn of_same_packages(files: &Files, among: &BTreeSet<PathBuf>, root: &Root) -> Result<Vec<Definition>> {
    let owners = database::owners(root).context("reading whose files the repositories are in")?;
    let packages: BTreeSet<_> = among.iter().map(|path| owners.paths.get(path)).collect();
    let theirs = files.iter().filter(|(path, _)| packages.contains(&owners.paths.get(*path)));
    Ok(theirs.flat_map(|(path, file)| file.ids().into_iter().map(|id| (path.clone(), id))).collect())
}

/// Writes a definition of a repository that no package has one of, in a file that is no package's.
fn write_own(repository: &Repository, files: &Files, root: &Root) -> Result<()> {
    let keys = write_keys(repository, root)?;
    root.create_dir_all(FOLDER, 0o755)?;
    let plain = Path::new(FOLDER).join(format!("{}.repo", repository.name));
    let path = if files.contains_key(&plain) {
        Path::new(FOLDER).join(format!("image-{}.repo", repository.name))
    } else {
        plain
    };
    root.write(path, describe(repository, &keys), 0o644)
}

/// Gives the addresses of the keys in the image: that of the package which has them, or of files written here.
fn write_keys(repository: &Repository, root: &Root) -> Result<Vec<String>> {
    if !repository.image_key.is_empty() && root.exists(&repository.image_key) {
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
    let (name, (key, value)) = (&repository.name, place(repository));
    let mut text = format!("[{name}]\nname={name}\n{key}={value}\nenabled=1\n");
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

#[cfg(test)]
mod tests {
    use super::super::sqlite;
    use super::*;
    use crate::plan::testing;
    use crate::plan::{Key, MirrorList};
    use crate::recipe::{self, Overrides};

    const RELEASE: &str = "[baseos]\nname=Base\nmirrorlist=https://lists.example.org/$releasever\n\
        #baseurl=https://dl.example.org/x\ngpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY\n\n[extras]\nname=Extras\n\
        metalink=https://lists.example.org/extras\nenabled=1\n\n[debug]\nenabled=0\n";
    const OWN: &str = "https://dl.example.org/1/BaseOS";

    /// A tree with an empty database, these files, and a plan with repositories: name, address, the image's mirror. An
    /// address with a query is that of a list.
    fn configured(files: &[(&str, &str)], repositories: &[(&str, &str, &str)]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().expect("a folder");
        let root = Root::open(dir.path()).expect("it opens");
        std::fs::create_dir_all(dir.path().join("usr/lib/sysimage/rpm")).expect("a folder");
        sqlite::testing::make(&dir.path().join("usr/lib/sysimage/rpm/rpmdb.sqlite"), &[], true);
        root.create_dir_all(FOLDER, 0o755).expect("a folder");
        for (name, text) in files {
            root.write(Path::new(FOLDER).join(name), text, 0o640).expect("a file");
        }
        let mut plan = testing::plan();
        plan.rpm.releasever = "1".into();
        for (name, url, image_url) in repositories {
            let mut repository = testing::repository(name, url, "");
            repository.image_url = (*image_url).into();
            if url.contains('?') {
                let (url, full_url) = (std::mem::take(&mut repository.url), String::new());
                repository.mirrorlist = Some(MirrorList { url, full_url });
            }
            repository.keys = vec![Key { name: "k".into(), data: b"KEY".to_vec() }];
            plan.repositories.push(repository);
        }
        configure(&plan, &root).expect("configured");
        configure(&plan, &root).expect("and once more");
        (dir, root)
    }

    fn text(root: &Root, name: &str) -> String {
        root.read_text(Path::new(FOLDER).join(name)).expect("a file")
    }

    #[test]
    fn a_repository_of_the_recipe_alone_gets_a_file_with_its_keys() {
        let (_dir, root) = configured(&[("corp.repo", "[other]\n")], &[("corp", OWN, OWN), ("x", OWN, OWN)]);
        assert_eq!(text(&root, "corp.repo"), "[other]\n", "the file of somebody else");
        let expected = format!(
            "[corp]\nname=corp\nbaseurl={OWN}\nenabled=1\ngpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/corp-0.asc\n"
        );
        assert_eq!(text(&root, "image-corp.repo"), expected);
        assert_eq!(text(&root, "x.repo"), expected.replace("corp", "x"));
        assert_eq!(root.read_text("etc/pki/rpm-gpg/x-0.asc").expect("the key"), "KEY");
    }

    #[test]
    fn keys_of_packages_are_used_where_they_are() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = Root::open(dir.path()).expect("it opens");
        let mut repository = testing::repository("x", OWN, "");
        repository.image_key = "/etc/pki/rpm-gpg/RPM-GPG-KEY-x".into();
        repository.keys = vec![Key { name: "k".into(), data: b"KEY".to_vec() }];
        assert_eq!(write_keys(&repository, &root).expect("keys"), ["file:///etc/pki/rpm-gpg/x-0.asc"]);
        root.write("etc/pki/rpm-gpg/RPM-GPG-KEY-x", "KEY", 0o644).expect("a file");
        assert_eq!(write_keys(&repository, &root).expect("keys"), ["file:///etc/pki/rpm-gpg/RPM-GPG-KEY-x"]);
    }

    #[test]
    fn mirror_lists_give_way_to_the_address_of_the_image() {
        let (_dir, root) = configured(&[("mini.repo", RELEASE)], &[("baseos", OWN, OWN)]);
        let now = text(&root, "mini.repo");
        assert!(now.contains("\n#mirrorlist=https://lists") && now.contains(&format!("\nbaseurl={OWN}\n")), "{now}");
        assert!(now.contains("\nenabled=1\n"), "the others stay where the mirror is the distribution's own: {now}");
        assert!(!root.exists("etc/yum.repos.d/baseos.repo") && !root.exists(KEYS));
        assert_eq!(root.stat("etc/yum.repos.d/mini.repo").expect("stat").expect("there").st_mode & 0o777, 0o640);
    }

    #[test]
    fn the_image_has_the_recipes_list_of_mirrors() {
        let list = "https://lists.example.org/?release=1&arch=x86_64";
        let (_dir, root) = configured(&[], &[("corp", list, "")]);
        let own = text(&root, "corp.repo");
        assert!(own.starts_with(&format!("[corp]\nname=corp\nmirrorlist={list}\nenabled=1\n")), "{own}");
        assert!(!own.contains("baseurl"), "{own}");

        // A package has it already, under its own or another name.
        let release = "[corp]\nmirrorlist=https://lists.example.org/?release=$releasever&arch=$basearch\ngpgkey=file:///x\n\
            [more]\nenabled=1\n";
        for release in [release.to_owned(), release.replace("corp", "other")] {
            let (_dir, root) = configured(&[("mini.repo", &release)], &[("corp", list, "")]);
            assert_eq!(text(&root, "mini.repo"), release);
            assert!(!root.exists("etc/yum.repos.d/corp.repo"));
        }
        // What leads elsewhere, or there and elsewhere too.
        for (from, gone) in [
            ("baseurl=https://dl.example.org/1", "#baseurl"),
            ("mirrorlist=https://lists.example.org/?release=2", ""),
            (
                "metalink=https://lists.example.org/metalink\nmirrorlist=https://lists.example.org/?release=1&arch=x86_64",
                "#met",
            ),
        ] {
            let (_dir, root) =
                configured(&[("m.repo", &format!("[corp]\n{from}\ngpgkey=file:///x\n"))], &[("corp", list, "")]);
            let now = text(&root, "m.repo");
            assert!(now.contains(&format!("\nmirrorlist={list}\n")) && now.contains(gone), "{now}");
            assert!(!now.contains("\nbaseurl") && !now.contains("\nmetalink"), "{now}");
        }

        // A mirror of the image takes the list's place, and the package's other repositories would lead past it.
        let mirror = "https://mirror.corp.example/1";
        let (_dir, root) = configured(&[("mini.repo", release)], &[("corp", list, mirror)]);
        let now = text(&root, "mini.repo");
        assert!(now.contains("\n#mirrorlist=") && now.contains(&format!("\nbaseurl={mirror}\n")), "{now}");
        assert!(now.contains("[more]\nenabled=0\n"), "{now}");
    }

    /// Amazon's definition has the version of the image's release package where the recipe has the newest one.
    #[test]
    fn a_list_with_variables_stays() {
        let key = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/keys/debian-archive.asc");
        let overrides = Overrides {
            arch: Some("x86_64".into()),
            sets: vec![format!("repository.amazonlinux.key={key}")],
            ..Overrides::default()
        };
        let plan = recipe::load("amazonlinux", &overrides, &|url| panic!("{url}: the key is given")).expect("a plan");
        let list = plan.repositories[0].mirrorlist.as_ref().expect("it has a list");
        let list = list.url.replace("latest", "$releasever").replace("x86_64", "$basearch");
        let release = format!("[amazonlinux]\nmirrorlist={list}\nenabled=1\ngpgkey=file:///x\n\n[source]\nenabled=0\n");
        let dir = tempfile::tempdir().expect("a folder");
        let root = Root::open(dir.path()).expect("it opens");
        root.create_dir_all(FOLDER, 0o755).expect("a folder");
        root.write(Path::new(FOLDER).join("amazonlinux.repo"), &release, 0o644).expect("a file");
        configure(&plan, &root).expect("configured");
        assert_eq!(text(&root, "amazonlinux.repo"), release);
        assert_eq!(root.read_dir(FOLDER).expect("a folder").len(), 1, "there is no other definition");
    }

    #[test]
    fn another_mirror_is_not_led_past() {
        let mirror = "https://mirror.corp.example/BaseOS";
        let more = "[more]\nmirrorlist=https://lists.example.org/more\n";
        let (_dir, root) = configured(&[("mini.repo", RELEASE), ("more.repo", more)], &[("baseos", OWN, mirror)]);
        let now = text(&root, "mini.repo") + &text(&root, "more.repo");
        assert!(now.contains(&format!("\nbaseurl={mirror}\n")) && now.matches("\nenabled=0\n").count() == 3, "{now}");
    }

    #[test]
    fn a_definition_that_leads_there_stays_as_it_is() {
        let release = "[mini]\nbaseurl=https://dl.example.org/$releasever/BaseOS/\ngpgkey=file:///x\n";
        let (_dir, root) = configured(&[("mini.repo", release)], &[("baseos", OWN, OWN)]);
        assert_eq!(text(&root, "mini.repo"), release);
        assert!(!root.exists("etc/yum.repos.d/baseos.repo"));
        // Switched off by its package, and a second one of the same repository.
        let off = format!("{release}enabled=0\n");
        let files = [("a.repo", off.as_str()), ("b.repo", &release.replace("mini", "again"))];
        let (_dir, root) = configured(&files, &[("mini", OWN, OWN)]);
        assert_eq!(text(&root, "a.repo"), off.replace("enabled=0", "enabled=1"));
        assert!(text(&root, "b.repo").contains("enabled=0\n"));
    }
}
