//! The far side of a sandbox: a process of this program that makes the namespaces and is process 1 in them.
//!
//! It is single-threaded, so it may fork, and it trusts nothing in the tree: mount points are opened without
//! following links, and the tree's programs start only after the host's file system is out of reach.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use serde::{Deserialize, Serialize};

use super::{mounts, sys};

/// The hidden first argument that makes a process of this program a sandbox.
pub const ARGUMENT: &str = "__sandbox";
/// Exit code when the sandbox itself could not be made; the message on standard error begins with [`MARK`].
pub const SETUP_FAILED: i32 = 125;
/// The whole message for a program that the kernel knows no way to run.
pub const FOREIGN: &str = "exec format error";
const MARK: &str = "\u{1}mkbase-sandbox: ";
/// Exit code of a shell for a program that cannot be run.
const CANNOT_RUN: i32 = 126;
/// Exit code of a shell for a program that is not there, or whose interpreter is not.
pub const NOT_FOUND: i32 = 127;

/// Open files a command may have, the usual soft limit. With a huge one, programs that close every possible file
/// descriptor take minutes.
const OPEN_FILES: u64 = 1024;

/// What to run, and where. Passed as JSON on standard input.
#[derive(Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The root filesystem, as a path of the host.
    pub root: PathBuf,
    /// What file system the command sees.
    pub place: Place,
    /// A program of the tree can change nothing in it.
    pub read_only: bool,
    /// Program and arguments.
    pub arguments: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// What of the host appears inside, besides.
    pub binds: Vec<Bind>,
    /// Process id of the program that asked.
    pub parent: u32,
}

/// What file system the command sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The tree.
    Tree,
    /// The host's.
    Host,
    /// That of the programs in another root filesystem, with the tree at a path in it: see [`super::tools`].
    Beside {
        /// Where the programs are: the host's `/`, or a tree.
        programs: PathBuf,
        /// The command mounts things in the tree itself, and gets no mounts there and the capability to.
        mounts: bool,
    },
}

/// Something of the host that appears inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Where it is on the host.
    pub host: PathBuf,
    /// Where it appears.
    pub inside: PathBuf,
    /// Whether it can be changed there.
    pub writable: bool,
}

/// The message of a failed set-up in what the process wrote.
pub fn setup_message(stderr: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    text.split_once(MARK).map(|(_, message)| message.trim_end().to_string())
}

/// Runs as the sandbox; gives the exit code of the process.
pub fn main() -> i32 {
    match outer() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{MARK}{error:#}");
            SETUP_FAILED
        }
    }
}

/// Makes the namespaces, and process 1 in them.
fn outer() -> Result<i32> {
    let spec: Spec = serde_json::from_reader(std::io::stdin().lock()).context("reading what to run")?;
    sys::die_with_parent().context("asking to die with the parent")?;
    // The parent may have died before that request; then nobody waits for this process.
    if nix::unistd::getppid().as_raw() as u32 != spec.parent {
        bail!("the program that asked for the sandbox is gone");
    }
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC;
    if spec.place != Place::Host {
        flags |= CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWNET;
    }
    nix::sched::unshare(flags).context(
        "making namespaces (in a container it needs CAP_SYS_ADMIN, docker run --privileged for one; \
         or run mkbase as an ordinary user)",
    )?;
    match sys::fork().context("starting process 1 of the sandbox")? {
        ForkResult::Child => {
            let code = inner(&spec).unwrap_or_else(|error| {
                eprintln!("{MARK}{error:#}");
                SETUP_FAILED
            });
            std::process::exit(code)
        }
        ForkResult::Parent { child } => loop {
            match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, code)) => return Ok(code),
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as i32),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error).context("waiting for process 1 of the sandbox"),
            }
        },
    }
}

/// Process 1: mounts, drops what is not needed, runs the command, reaps orphans until it ends.
fn inner(spec: &Spec) -> Result<i32> {
    sys::die_with_parent().context("asking to die with the parent")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("making mounts private")?;
    match &spec.place {
        Place::Host => {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("proc"), "/proc", Some("proc"), flags, none).context("mounting proc")?;
        }
        Place::Tree => {
            enter_tree(spec)?;
            seal(true)?;
        }
        Place::Beside { programs, mounts } => {
            let root = super::tools::make_root(spec, programs, *mounts)?;
            enter(&root)?;
            seal(!mounts)?;
        }
    }
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("reading the limit of open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES.min(most), OPEN_FILES.min(most)).context("limiting open files")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("forbidding core dumps")?;
    nix::unistd::setsid().context("leaving the terminal's session")?;
    run(spec)
}

fn run(spec: &Spec) -> Result<i32> {
    let [program, arguments @ ..] = spec.arguments.as_slice() else { bail!("no command to run") };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(spec.env.iter().map(|(n, v)| (n, v))).stdin(Stdio::null());
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => bail!(FOREIGN),
        Err(error) => {
            eprintln!("{}: {error}", program.to_string_lossy());
            return Ok(if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN });
        }
    };
    let command = Pid::from_raw(child.id() as i32);
    // Orphans become children of process 1; they are reaped here, and killed by the kernel when it ends.
    loop {
        match waitpid(None::<Pid>, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == command => return Ok(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => return Ok(128 + signal as i32),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting for the command"),
        }
    }
}

/// What the command cannot do: learn the host's name, be in its groups, wait for the disk, reach beyond the tree.
fn seal(limit: bool) -> Result<()> {
    nix::unistd::sethostname("localhost").context("setting the host name")?;
    nix::unistd::setgroups(&[]).context("dropping supplementary groups")?;
    // Before capabilities go: a filter without no_new_privs needs CAP_SYS_ADMIN, seccomp(2).
    sys::ignore_fsync().context("making fsync cost nothing")?;
    if limit {
        sys::limit_capabilities().context("dropping capabilities")?;
    }
    Ok(())
}

/// Makes the tree the root of this mount namespace, with its own `/dev`, `/proc` and `/sys`.
fn enter_tree(spec: &Spec) -> Result<()> {
    let none = None::<&str>;
    let root = &spec.root;
    mount(Some(root), root, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .with_context(|| format!("binding {}", root.display()))?;
    let root = mounts::open_dir(root)?;
    if spec.read_only {
        mounts::read_only(&root).context("making the tree read-only")?;
    }
    mounts::system(&root, Path::new(""))?;
    if !spec.binds.is_empty() {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mounts::mount_at(&root, Path::new("run"), "tmpfs", flags, Some("mode=0755"))?;
    }
    for bind in &spec.binds {
        mounts::Source::open(bind)?.mount(&root)?;
    }
    enter(&root)
}

/// Makes a mounted folder the root of this mount namespace, and the host's file system unreachable.
fn enter(root: &OwnedFd) -> Result<()> {
    nix::unistd::fchdir(root).context("entering the root filesystem")?;
    // pivot_root(2), "pivot_root(".", ".")": the old root ends up below the new one and is taken away at once.
    nix::unistd::pivot_root(".", ".").context("making the tree the root")?;
    umount2(".", MntFlags::MNT_DETACH).context("letting go of the host's file system")?;
    nix::unistd::chdir("/").context("entering the root filesystem")?;
    Ok(())
}
