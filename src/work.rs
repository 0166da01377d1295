//! The work folder of a build: one place for everything temporary, gone when the process is, however it ends.

use std::path::{Path, PathBuf};

/// The work folder.
#[derive(Debug)]
pub struct Work {
    path: PathBuf,
}

impl Work {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
