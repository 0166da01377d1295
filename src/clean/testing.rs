//! Tiny trees for the tests of clean steps and checks.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Result;

use super::{Cleaner, Step};
use crate::check::Check;
use crate::context::Context;
use crate::family::{Family, Fetched, Installed, Owners};
use crate::lock::{Lock, Previous};
use crate::plan::Plan;
use crate::recipe::System;
use crate::root::Root;

/// The epoch of the tests: 20 days and an hour after 1970.
pub const EPOCH: i64 = 20 * 86_400 + 3_600;

/// A root filesystem in a temporary folder.
pub struct Tree {
    dir: tempfile::TempDir,
    pub root: Root,
    pub owners: Owners,
    pub system: System,
    pub placed: BTreeSet<PathBuf>,
}

impl Tree {
    pub fn new() -> Tree {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = Root::open(dir.path()).expect("it opens");
        let (owners, system, placed) = (Owners::default(), System::default(), BTreeSet::new());
        Tree { dir, root, owners, system, placed }
    }

    /// Writes a file and makes its folders.
    pub fn file(&mut self, path: &str, text: &str) -> &mut Tree {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("folders");
        std::fs::write(path, text).expect("a file");
        self
    }

    /// Makes a folder and its parents.
    pub fn folder(&mut self, path: &str) -> &mut Tree {
        std::fs::create_dir_all(self.dir.path().join(path)).expect("folders");
        self
    }

    /// Makes a symbolic link and its folders.
    pub fn link(&mut self, target: &str, path: &str) -> &mut Tree {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("folders");
        std::os::unix::fs::symlink(target, path).expect("a link");
        self
    }

    pub fn mode(&mut self, path: &str, mode: u32) -> &mut Tree {
        std::fs::set_permissions(self.dir.path().join(path), PermissionsExt::from_mode(mode)).expect("a mode");
        self
    }

    /// A package owns the path.
    pub fn owns(&mut self, path: &str) -> &mut Tree {
        self.owners.paths.insert(path.into(), "package".into());
        self
    }

    /// The recipe placed the path.
    pub fn places(&mut self, path: &str) -> &mut Tree {
        self.placed.insert(path.into());
        self
    }

    pub fn has(&self, path: &str) -> bool {
        self.root.lstat(path).expect("a look").is_some()
    }

    pub fn text(&self, path: &str) -> String {
        self.root.read_text(path).expect("it reads")
    }

    pub fn mode_of(&self, path: &str) -> u32 {
        self.root.lstat(path).expect("a look").expect("it is there").st_mode & 0o7777
    }

    pub fn cleaner(&self, dry: bool) -> Result<Cleaner<'_>> {
        Cleaner::new(&self.root, &self.owners, &self.system, &self.placed, EPOCH, dry)
    }

    /// Runs something dry and then for real, which must agree; gives the paths it touched.
    pub fn clean(&self, run: impl Fn(&mut Cleaner<'_>) -> Result<()>) -> Vec<String> {
        let paths = |dry| -> Vec<String> {
            let mut cleaner = self.cleaner(dry).expect("a cleaner");
            run(&mut cleaner).expect("it runs");
            cleaner.touched.iter().map(|p| p.display().to_string()).collect()
        };
        let would = paths(true);
        let did = paths(false);
        assert_eq!(would, did);
        assert_eq!(paths(false), [""; 0], "a second run finds nothing");
        did
    }

    /// Runs a step of a table by its name, as [`Tree::clean`] does.
    pub fn step(&self, steps: &[Step], name: &str) -> Vec<String> {
        let step = steps.iter().find(|s| s.name == name).expect("a known step");
        self.clean(step.run)
    }
}

/// Names are `group/thing`, each once, and what they stand for is told in one sentence.
pub fn assert_well_formed(table: impl Iterator<Item = (&'static str, &'static str)>) {
    let mut names = BTreeSet::new();
    for (name, sentence) in table {
        assert!(names.insert(name), "{name} is there twice");
        assert_eq!(name.matches('/').count(), 1, "{name}");
        assert!(sentence.ends_with('.') && !sentence.contains(". "), "{name}");
    }
    assert!(!names.is_empty());
}

/// A family without a package format.
pub struct NoFamily;

impl Family for NoFamily {
    fn resolve(&self, _: &Context, _: &Plan, _: Option<&Previous>) -> Result<Lock> {
        anyhow::bail!("not in this test")
    }
    fn compare_versions(&self, a: &str, b: &str) -> Ordering {
        a.cmp(b)
    }

    fn bootstrap(&self, _: &Context, _: &Plan, _: &Lock, _: &[Fetched], _: &Root) -> Result<()> {
        anyhow::bail!("not in this test")
    }
    fn installed(&self, _: &Root) -> Result<Vec<Installed>> {
        Ok(Vec::new())
    }
    fn owners(&self, _: &Root) -> Result<Owners> {
        Ok(Owners::default())
    }
    fn configure_repositories(&self, _: &Plan, _: &Root) -> Result<()> {
        anyhow::bail!("not in this test")
    }
    fn make_locale(&self, _: &Context, _: &Plan, _: &[Fetched], _: &Root) -> Result<()> {
        anyhow::bail!("not in this test")
    }
    fn clean_steps(&self) -> &'static [Step] {
        &[]
    }
    fn checks(&self) -> &'static [Check] {
        &[]
    }
}
