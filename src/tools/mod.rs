//! Programs that work on a tree from beside it and that mkbase leaves to others (dnf, rpm, debootstrap): those of the
//! host, or those of a tree of tools that mkbase makes itself and keeps in its cache.
//!
//! Either way they run in the sandbox of [`crate::sandbox::tools`], and see the same at the same paths: the tree at
//! [`TARGET`] with its own `/proc`, `/sys` and `/dev`, what was bound below [`FOLDER`], an empty [`HOME`], and nothing of
//! the settings of the machine they come from. There is no network.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};

pub use crate::sandbox::tools::{FOLDER, HOME, TARGET};

use crate::command;
use crate::context::Context;
use crate::root::Root;
use crate::sandbox::Sandbox;
use dnf::Dnf;
use shelf::Tree;

pub mod dnf;
mod host;
mod make;
pub mod shelf;

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

/// Which of the two is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Choice {
    /// The host's where they serve, else those of the tools tree
    #[default]
    Auto,
    /// The host's
    Host,
    /// Those of the tools tree, which mkbase makes and keeps in its cache
    Tree,
}

/// How programs are to be come by.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// From where.
    pub choice: Choice,
    /// Make the tools tree anew, with the newest packages.
    pub refresh: bool,
    /// Mirrors to make the tools tree from: name of a repository of its recipe, address. May hold credentials.
    pub mirrors: Vec<(String, String)>,
}

/// The programs of one build. What was found or made once is not looked for again.
#[derive(Debug, Default)]
pub struct Toolbox {
    wanted: Wanted,
    /// The tree; its being held keeps it from being removed.
    tree: Mutex<Option<Tree>>,
}

impl Toolbox {
    /// With nothing in it yet.
    pub fn new(wanted: Wanted) -> Toolbox {
        Toolbox { wanted, tree: Mutex::default() }
    }

    /// dnf and rpm: the host's if they serve, else the tools tree, which may have to be made first.
    pub fn dnf(&self, context: &Context) -> Result<Dnf> {
        match self.of_host(context, || host::find_dnf(context, self.wanted.choice))? {
            Ok(dnf) => Ok(dnf),
            Err(why) => Dnf::of_tree(self.tree(context, why)?),
        }
    }

    /// debootstrap: the host's if it has one, else that of the tools tree. `install` tells how to get it.
    pub fn debootstrap(&self, context: &Context, install: &str) -> Result<Tools> {
        let find = || Ok(command::find("debootstrap", install).map_err(|error| error.to_string()));
        match self.of_host(context, find)? {
            Ok(_) => Ok(Tools::Host),
            Err(why) => Ok(Tools::Tree(self.tree(context, why)?)),
        }
    }

    /// What the host has, unless the tools tree is wanted, or it does not serve: then the reason. `find` finds it, or
    /// gives that.
    fn of_host<T>(
        &self,
        context: &Context,
        find: impl FnOnce() -> Result<Result<T, String>>,
    ) -> Result<Result<T, Option<String>>> {
        if self.wanted.choice == Choice::Tree {
            return Ok(Err(None));
        }
        match (find()?, self.wanted.choice) {
            (Ok(found), _) => Ok(Ok(found)),
            (Err(why), Choice::Host) => bail!("{why}, or use --tools tree"),
            (Err(why), _) => {
                context.ui.detail(format_args!("not with the host's programs: {why}"));
                Ok(Err(Some(why)))
            }
        }
    }

    /// The root filesystem of the tools tree. `why` the host's programs do not serve instead.
    fn tree(&self, context: &Context, why: Option<String>) -> Result<PathBuf> {
        let mut tree = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        let tree = match &mut *tree {
            Some(tree) => tree,
            none => {
                let made = make::get(context, &self.wanted);
                none.insert(match why {
                    Some(why) => made.with_context(|| format!("not with the host's programs: {why}"))?,
                    None => made?,
                })
            }
        };
        Ok(tree.root())
    }
}
