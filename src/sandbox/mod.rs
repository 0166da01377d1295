//! Runs commands inside a root filesystem: fresh namespaces, a minimal `/dev`, nothing of the host.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::root::Root;

/// The longest a single command may take before it counts as hanging.
pub const TIME_LIMIT: Duration = Duration::from_secs(30 * 60);

/// How a command in the sandbox ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; 128 plus the signal for a killed one.
    pub code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error, or the end of it where it is very long.
    pub stderr: Vec<u8>,
}

/// A command to be run inside a root filesystem.
#[derive(Debug)]
pub struct Sandbox<'a> {
    root: &'a Root,
    arguments: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    binds: Vec<(PathBuf, PathBuf)>,
    time_limit: Duration,
}

impl<'a> Sandbox<'a> {
    /// `program` is looked up in the sandbox's own `PATH`.
    pub fn new(root: &'a Root, program: impl AsRef<OsStr>) -> Sandbox<'a> {
        Sandbox {
            root,
            arguments: vec![program.as_ref().to_os_string()],
            env: BTreeMap::new(),
            binds: Vec::new(),
            time_limit: TIME_LIMIT,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_os_string());
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_os_string()));
        self
    }

    /// Sets a variable besides the fixed ones.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().to_os_string(), value.as_ref().to_os_string());
        self
    }

    /// Shows a file or folder of the host inside, read-only, at a path below `/run` or `/tmp`, which are private
    /// to the sandbox's run when anything is bound.
    pub fn bind(mut self, host: impl Into<PathBuf>, inside: impl Into<PathBuf>) -> Self {
        self.binds.push((host.into(), inside.into()));
        self
    }

    /// Another time limit than [`TIME_LIMIT`].
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Runs it and gives its output whatever the exit code is.
    pub fn output(&self) -> Result<Output> {
        anyhow::bail!("{} {:?} {:?} {:?}", self.root.path().display(), self.arguments, self.env, self.binds)
    }

    /// Runs it; a non-zero exit code is an error that shows the command and the end of what it said.
    pub fn run(&self) -> Result<Vec<u8>> {
        Ok(self.output()?.stdout)
    }
}
