//! The folders and files of one package, in the order of apk's database.
//!
//! apk writes folders in the order of the archive, unless that is far from sorted: with more than 32 folders out of
//! order it sorts all it has so far, the next time it looks for one.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::stage::Acl;
use super::tree::by_bytes;

/// As many folders out of order are looked through one by one.
const UNSORTED: usize = 32;

/// A folder of a package, with the package's files in it.
#[derive(Debug)]
pub struct Instance {
    /// Path below the root.
    pub path: PathBuf,
    /// Owner and mode that the package wants.
    pub acl: Acl,
    /// The files, sorted when all are known.
    pub files: Vec<FileRecord>,
}

/// A file of a package.
#[derive(Debug)]
pub struct FileRecord {
    /// Its name in its folder.
    pub name: OsString,
    /// Owner, mode and attributes.
    pub acl: Acl,
    /// SHA-1 of the content, or of a link's target.
    pub sha1: Option<[u8; 20]>,
    /// Its number among the members.
    pub number: usize,
}

/// The folders of one package.
#[derive(Debug, Default)]
pub struct Instances {
    list: Vec<Instance>,
    index: HashMap<PathBuf, usize>,
    current: Option<PathBuf>,
    unsorted: usize,
}

impl Instances {
    /// Whether the package has this folder.
    pub fn has(&mut self, path: &Path) -> bool {
        if self.current.as_deref() != Some(path) {
            self.look();
        }
        self.index.contains_key(path)
    }

    /// The folder, a new one if need be.
    pub fn get(&mut self, path: &Path) -> &mut Instance {
        if self.current.as_deref() != Some(path) {
            self.look();
            if !self.index.contains_key(path) {
                self.add(path);
            }
            self.current = Some(path.to_owned());
        }
        let at = self.index.get(path).copied().unwrap_or_default();
        &mut self.list[at]
    }

    /// What apk does before it looks for a folder.
    fn look(&mut self) {
        if self.unsorted > UNSORTED {
            self.list.sort_by(|a, b| by_bytes(a.path.as_os_str(), b.path.as_os_str()));
            self.index = self.list.iter().enumerate().map(|(at, instance)| (instance.path.clone(), at)).collect();
            self.unsorted = 0;
        }
    }

    fn add(&mut self, path: &Path) {
        let before = |other: &Path| by_bytes(path.as_os_str(), other.as_os_str()).is_lt();
        // What is compared with is the last folder; it is the current one as a rule.
        if self.unsorted > 0 || self.list.last().is_some_and(|last| before(&last.path)) {
            self.unsorted += 1;
        }
        self.index.insert(path.to_owned(), self.list.len());
        self.list.push(Instance { path: path.to_owned(), acl: Acl::DIR, files: Vec::new() });
    }

    /// Sorts the files when all are known.
    pub fn finish(&mut self) {
        for instance in &mut self.list {
            instance.files.sort_by(|a, b| by_bytes(&a.name, &b.name));
        }
    }

    /// The folders in the order of the database.
    pub fn iter(&self) -> impl Iterator<Item = &Instance> {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(paths: &[String]) -> Vec<String> {
        let mut instances = Instances::default();
        for path in paths {
            instances.get(Path::new(path));
        }
        instances.iter().map(|i| i.path.display().to_string()).collect()
    }

    #[test]
    fn folders_stay_in_the_order_of_the_archive_unless_that_is_far_from_sorted() {
        let few: Vec<String> = ["usr", "usr/share", "etc", "etc/a"].map(str::to_owned).to_vec();
        assert_eq!(order(&few), few);
        let mut many: Vec<String> = (0..40).map(|i| format!("d{i:02}")).collect();
        many.insert(0, "z".into());
        // z is before 33 others when the 34th of them is looked for; those after it are in order again, behind d.
        let sorted = order(&many);
        assert_eq!(sorted[0], "d00");
        assert_eq!(sorted.iter().position(|p| p == "z"), Some(33));
    }
}
