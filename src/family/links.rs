//! Links in the paths that packages give: those of the merged `/usr`, for most.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use anyhow::Result;

use crate::root::{Kind, Root, kind};

/// Links that are followed in a path; the kernel follows as many, path_resolution(7).
const LINK_LIMIT: usize = 40;

/// Follows links in the folders of a path, inside the root.
#[derive(Debug)]
pub struct Links<'r> {
    root: &'r Root,
    resolved: HashMap<PathBuf, PathBuf>,
}

impl<'r> Links<'r> {
    /// For the paths of a tree, which must not change meanwhile.
    pub fn new(root: &'r Root) -> Links<'r> {
        Links { root, resolved: HashMap::new() }
    }

    /// The path below the root, with every link but the last component followed.
    pub fn follow_parents(&mut self, path: &Path) -> Result<PathBuf> {
        let path = path.strip_prefix("/").unwrap_or(path);
        let Some(name) = path.file_name() else { return Ok(PathBuf::new()) };
        Ok(self.resolve(path.parent().unwrap_or(Path::new("")), 0)?.join(name))
    }

    fn resolve(&mut self, dir: &Path, links: usize) -> Result<PathBuf> {
        if let Some(known) = self.resolved.get(dir) {
            return Ok(known.clone());
        }
        let Some(name) = dir.file_name() else { return Ok(PathBuf::new()) };
        let parent = self.resolve(dir.parent().unwrap_or(Path::new("")), links)?;
        let mut path = parent.join(name);
        if links < LINK_LIMIT && self.root.lstat(&path)?.is_some_and(|s| kind(&s) == Kind::Link) {
            let target = self.root.read_link(&path)?;
            path = if target.is_absolute() { PathBuf::new() } else { parent };
            for component in target.components() {
                match component {
                    Component::Normal(name) => path = self.resolve(&path.join(name), links + 1)?,
                    Component::ParentDir => {
                        path.pop();
                    }
                    Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
                }
            }
        }
        self.resolved.insert(dir.to_owned(), path.clone());
        Ok(path)
    }
}
