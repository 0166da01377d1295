//! Runs commands inside a root filesystem: fresh namespaces, a minimal `/dev`, nothing of the host.
//!
//! A command is run by a second process of this program ([`init`]), which makes the namespaces, is process 1 in
//! them, and ends when the command does. The kernel then ends every process and mount of the namespaces, so there is
//! nothing to clean up, whatever way the command, this program or its parent ended.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::root::Root;
use init::{Bind, Place};

mod binfmt;
pub mod foreign;
pub mod init;
mod mounts;
mod run;
mod sys;
pub mod tools;
pub mod userns;

/// The longest a single command may take before it counts as hanging.
pub const TIME_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Where commands are looked for in the sandbox.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Held by a sandbox whose tree lacks folders that something is mounted on, as long as they are there for it.
static MOUNT_POINTS: Mutex<()> = Mutex::new(());

/// How a command in the sandbox ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; 128 plus the signal for a killed one.
    pub code: i32,
    /// Its standard output, at most [`run::STDOUT_LIMIT`] bytes.
    pub stdout: Vec<u8>,
    /// The end of its standard error.
    pub stderr: Vec<u8>,
}

/// It did not end within its time limit and was killed. What it had said is kept.
#[derive(Debug, thiserror::Error)]
#[error("{command} did not end within {} s and was killed{}", limit.as_secs(), said(.output))]
pub struct TimedOut {
    /// The command line.
    pub command: String,
    /// The limit.
    pub limit: Duration,
    /// Its output so far.
    pub output: Output,
}

/// How to get an emulator for programs of other machines.
const INSTALL_EMULATOR: &str = "install one that registers itself (apt-get install qemu-user-static binfmt-support, \
                                dnf install qemu-user-static), for a container on its host";

/// The kernel cannot run the program, which is one for another kind of machine.
#[derive(Debug, thiserror::Error)]
#[error("{program} is a program for another kind of machine, and no emulator is registered for it; {INSTALL_EMULATOR}")]
pub struct Foreign {
    /// The program.
    pub program: String,
}

/// A command to be run inside a root filesystem.
#[derive(Debug)]
pub struct Sandbox<'a> {
    root: &'a Root,
    place: Place,
    read_only: bool,
    arguments: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    binds: Vec<Bind>,
    time_limit: Duration,
    name: Option<String>,
}

impl<'a> Sandbox<'a> {
    /// `program` is looked up in the sandbox's own `PATH`.
    pub fn new(root: &'a Root, program: impl AsRef<OsStr>) -> Sandbox<'a> {
        let mut env = BTreeMap::new();
        for (name, value) in [
            ("PATH", PATH),
            ("HOME", "/root"),
            ("LANG", "C.UTF-8"),
            ("TZ", "UTC"),
            ("DEBIAN_FRONTEND", "noninteractive"),
        ] {
            env.insert(name.into(), value.into());
        }
        if let Some(cpu) = foreign::cpu() {
            env.insert(foreign::CPU_VARIABLE.into(), cpu.into());
        }
        Sandbox {
            root,
            place: Place::Tree,
            read_only: false,
            arguments: vec![program.as_ref().to_os_string()],
            env,
            binds: Vec::new(),
            time_limit: TIME_LIMIT,
            name: None,
        }
    }

    /// A program of the host that mounts things itself (debootstrap): it sees the host's file system and devices, but
    /// runs in namespaces of its own, so that no mount and no process outlives it. `root` is the host's `/`.
    pub fn on_host(root: &'a Root, program: impl AsRef<OsStr>) -> Sandbox<'a> {
        Sandbox { place: Place::Host, ..Sandbox::new(root, program) }
    }

    /// A program of another root filesystem (the host's `/`, or a tree of tools) that works on the tree `root`, which it
    /// finds at [`tools::TARGET`]; [`tools`] says what else it sees. `mounts`: it mounts things in the tree itself
    /// (debootstrap), so it finds none there, and keeps the capabilities to.
    pub fn beside(root: &'a Root, programs: &Path, mounts: bool, program: impl AsRef<OsStr>) -> Sandbox<'a> {
        let place = Place::Beside { programs: programs.to_owned(), mounts };
        Sandbox { place, ..Sandbox::new(root, program) }.env("HOME", tools::HOME)
    }

    /// A program of the tree then can change nothing in it.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
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

    /// Sets a variable besides (or instead of) the fixed ones.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().to_os_string(), value.as_ref().to_os_string());
        self
    }

    /// Sets `SOURCE_DATE_EPOCH` (reproducible-builds.org), in seconds since 1970.
    pub fn epoch(self, epoch: i64) -> Self {
        self.env("SOURCE_DATE_EPOCH", epoch.to_string())
    }

    /// Shows a file or folder of the host inside, read-only: at a path below `/run`, which is then an empty file system
    /// of the command's own; for a program beside the tree at one below [`tools::FOLDER`].
    pub fn bind(self, host: impl Into<PathBuf>, inside: impl Into<PathBuf>) -> Self {
        self.show(host.into(), inside.into(), false)
    }

    /// As [`Sandbox::bind`], but what is shown can be changed by the command.
    pub fn bind_writable(self, host: impl Into<PathBuf>, inside: impl Into<PathBuf>) -> Self {
        self.show(host.into(), inside.into(), true)
    }

    fn show(mut self, host: PathBuf, inside: PathBuf, writable: bool) -> Self {
        self.binds.push(Bind { host, inside, writable });
        self
    }

    /// Another time limit than [`TIME_LIMIT`].
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// What messages call it, where its command line would say less.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Runs it and gives its output whatever the exit code is. Fails if it cannot be started, or with [`TimedOut`].
    pub fn output(&self) -> Result<Output> {
        let below = if matches!(self.place, Place::Beside { .. }) { tools::FOLDER } else { "/run" };
        for Bind { inside, .. } in &self.binds {
            let allowed = inside.starts_with(below) && inside != Path::new(below) && !inside.starts_with(tools::TARGET);
            if !allowed || inside.components().any(|c| c.as_os_str() == "..") {
                bail!("binding {} into the sandbox: only paths below {below} can be bound", inside.display());
            }
        }
        // Several sandboxes may run at once, but not beside one that takes its mount points away at its end.
        let alone = MOUNT_POINTS.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self.make_mount_points()?;
        let alone = (!made.is_empty()).then_some(alone);
        let output = run::run(self, &self.command_line());
        for path in made.iter().rev() {
            self.root.remove_dir(path)?;
        }
        drop(alone);
        output
    }

    /// Runs it and gives its standard output; a non-zero exit code is an error that shows the command and the end of
    /// what it said.
    pub fn run(&self) -> Result<Vec<u8>> {
        let output = self.output()?;
        if output.code != 0 {
            let command = self.command_line();
            match output.code {
                killed @ 129.. => bail!("{command} was killed by signal {}{}", killed - 128, said(&output)),
                code => bail!("{command} ended with exit code {code}{}", said(&output)),
            }
        }
        Ok(output.stdout)
    }

    /// Its name, or the command as a person would type it, long arguments cut.
    fn command_line(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let words: Vec<String> = self
            .arguments
            .iter()
            .map(|a| {
                let text = a.to_string_lossy();
                if text.chars().count() > 80 {
                    text.chars().take(80).chain("…".chars()).collect()
                } else {
                    text.into_owned()
                }
            })
            .collect();
        let line = words.join(" ");
        if line.chars().count() > 300 { line.chars().take(300).chain("…".chars()).collect() } else { line }
    }

    /// The folders that file systems are mounted on, where the tree does not have them. Gives those it made.
    fn make_mount_points(&self) -> Result<Vec<&'static Path>> {
        let (run, stay) = match &self.place {
            Place::Host | Place::Beside { mounts: true, .. } => return Ok(Vec::new()),
            Place::Tree => ((!self.binds.is_empty()).then_some("run"), false),
            // The program may be the one that installs the package which owns them.
            Place::Beside { mounts: false, .. } => (None, true),
        };
        let mut made = Vec::new();
        for name in ["dev", "proc", "sys"].into_iter().chain(run) {
            if self.root.lstat(name)?.is_none() {
                self.root.create_dir(name, 0o755).context("making a mount point for the sandbox")?;
                made.push(Path::new(name));
            }
        }
        if stay {
            made.clear();
        }
        Ok(made)
    }
}

/// The last lines of what a command said, indented, for an error.
fn said(output: &Output) -> String {
    const LINES: usize = 20;
    let text = if output.stderr.iter().all(u8::is_ascii_whitespace) { &output.stdout } else { &output.stderr };
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
    if lines.is_empty() {
        return ", and said nothing".into();
    }
    let last = &lines[lines.len().saturating_sub(LINES)..];
    format!("; it said:\n    {}", last.join("\n    "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_end_of_what_was_said() {
        let output = |stdout: &str, stderr: &str| Output { code: 1, stdout: stdout.into(), stderr: stderr.into() };
        assert_eq!(said(&output("", " \n")), ", and said nothing");
        assert_eq!(said(&output("a\n", "")), "; it said:\n    a");
        let long: String = (0..100).map(|i| format!("line {i}\n")).collect();
        let shown = said(&output("ignored", &long));
        assert!(shown.ends_with("line 99") && shown.contains("line 80") && !shown.contains("line 79"), "{shown}");
        assert!(!shown.contains("ignored"));
    }

    #[test]
    fn binds_stay_below_run() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = Root::open(dir.path()).expect("it opens");
        for inside in ["/etc/passwd", "/run/../etc", "run/x"] {
            let error = Sandbox::new(&root, "true").bind("/etc/hosts", inside).output().expect_err("refused");
            assert!(error.to_string().contains("only paths below /run"), "{error}");
        }
        for inside in ["/run/x", "/mkbase", "/mkbase/../etc", "/mkbase/target/etc", "mkbase/x"] {
            let sandbox = Sandbox::beside(&root, Path::new("/"), false, "true");
            let error = sandbox.bind_writable("/etc/hosts", inside).output().expect_err("refused");
            assert!(error.to_string().contains("only paths below /mkbase"), "{error}");
        }
    }
}
