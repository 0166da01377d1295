//! Programs that work on a tree from beside it and that mkbase leaves to others (dnf, rpm, debootstrap): those of the
//! host, or those of a tree of tools.
//!
//! Either way they run in the sandbox of [`crate::sandbox::tools`], and see the same at the same paths: the tree at
//! [`TARGET`] with its own `/proc`, `/sys` and `/dev`, what was bound below [`FOLDER`], an empty [`HOME`], and nothing of
//! the settings of the machine they come from. There is no network.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

pub use crate::sandbox::tools::{FOLDER, HOME, TARGET};

use crate::root::Root;
use crate::sandbox::Sandbox;

/// Where programs come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tools {
    /// The host.
    Host,
    /// The root filesystem at this path of the host.
    Tree(PathBuf),
}

impl Tools {
    /// A program, found in the usual folders of where it comes from, that works on the tree `target`. To be given
    /// arguments, binds and the epoch, and run.
    ///
    /// The tree needs the folders `dev`, `proc` and `sys` to mount on. They are made where they are not there, and
    /// stay, for the program may install the package that owns them: whoever cares for their modes makes them first.
    pub fn command<'a>(&self, target: &'a Root, program: impl AsRef<OsStr>) -> Sandbox<'a> {
        Sandbox::beside(target, self.path(), false, program)
    }

    /// The root filesystem that the programs are in.
    pub fn path(&self) -> &Path {
        match self {
            Tools::Host => Path::new("/"),
            Tools::Tree(path) => path,
        }
    }
}
