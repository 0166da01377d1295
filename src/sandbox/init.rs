//! The far side of a sandbox: a process of this program that makes the namespaces and is process 1 in them.
//!
//! It is single-threaded, so it may fork, and it trusts nothing in the tree: mount points are opened without
//! following links, and the tree's programs start only after the host's file system is out of reach.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use serde::{Deserialize, Serialize};

use super::sys;

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
    /// Stay on the host's file system.
    pub on_host: bool,
    /// The command can change nothing in the tree.
    pub read_only: bool,
    /// Program and arguments.
    pub arguments: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Paths of the host, and where they appear inside.
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// Process id of the program that asked.
    pub parent: u32,
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
    if !spec.on_host {
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
    if spec.on_host {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), flags, none).context("mounting proc")?;
    } else {
        enter_root(spec)?;
        nix::unistd::sethostname("localhost").context("setting the host name")?;
        nix::unistd::setgroups(&[]).context("dropping supplementary groups")?;
        // Before capabilities go: a filter without no_new_privs needs CAP_SYS_ADMIN, seccomp(2).
        sys::ignore_fsync().context("making fsync cost nothing")?;
        sys::limit_capabilities().context("dropping capabilities")?;
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

/// Makes the tree the root of this mount namespace, with its own `/dev`, `/proc` and `/sys`.
fn enter_root(spec: &Spec) -> Result<()> {
    let none = None::<&str>;
    let root = &spec.root;
    mount(Some(root), root, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .with_context(|| format!("binding {}", root.display()))?;
    let root = open_dir(root)?;
    if spec.read_only {
        make_read_only(&root).context("making the tree read-only")?;
    }
    let noexec = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;

    mount_at(&root, "proc", "proc", noexec, none).context("mounting proc (is /proc of this host masked?)")?;
    mount_at(&root, "sys", "sysfs", noexec | MsFlags::MS_RDONLY, none)?;
    mount_at(&root, "dev", "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, Some("mode=0755,size=1m"))?;
    devices(&root)?;
    if !spec.binds.is_empty() {
        mount_at(&root, "run", "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755"))?;
    }
    for (host, inside) in &spec.binds {
        bind(&root, host, inside)?;
    }

    nix::unistd::fchdir(&root).context("entering the root filesystem")?;
    // pivot_root(2), "pivot_root(".", ".")": the old root ends up below the new one and is taken away at once.
    nix::unistd::pivot_root(".", ".").context("making the tree the root")?;
    umount2(".", MntFlags::MNT_DETACH).context("letting go of the host's file system")?;
    nix::unistd::chdir("/").context("entering the root filesystem")?;
    Ok(())
}

/// The devices every program may expect, bound from the host, since a user namespace cannot make device nodes.
fn devices(root: &OwnedFd) -> Result<()> {
    let none = None::<&str>;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let inside = format!("dev/{name}");
        let target = create_file(root, Path::new(&inside))?;
        let host = format!("/dev/{name}");
        mount(Some(host.as_str()), &proc_path(&target), none, MsFlags::MS_BIND, none)
            .with_context(|| format!("binding {host}"))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        let dev = open_in(root, Path::new("dev"), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        nix::unistd::symlinkat(target, &dev, name).with_context(|| format!("linking /dev/{name}"))?;
    }
    let dev = open_in(root, Path::new("dev"), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    for name in ["pts", "shm"] {
        nix::sys::stat::mkdirat(&dev, name, Mode::from_bits_truncate(0o755))
            .with_context(|| format!("making /dev/{name}"))?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount_at(root, "dev/pts", "devpts", flags, Some("newinstance,ptmxmode=0666,mode=0620,gid=5"))?;
    mount_at(root, "dev/shm", "tmpfs", flags | MsFlags::MS_NODEV, Some("mode=1777"))
}

/// Mounts a new file system on a folder of the tree.
fn mount_at(root: &OwnedFd, inside: &str, kind: &str, flags: MsFlags, options: Option<&str>) -> Result<()> {
    let target = open_in(root, Path::new(inside), OFlag::O_PATH | OFlag::O_DIRECTORY)
        .with_context(|| format!("opening the mount point /{inside}"))?;
    mount(Some(kind), &proc_path(&target), Some(kind), flags, options)
        .with_context(|| format!("mounting {kind} on /{inside}"))
}

/// Shows a path of the host inside, read-only.
fn bind(root: &OwnedFd, host: &Path, inside: &Path) -> Result<()> {
    let none = None::<&str>;
    let context = || format!("binding {} on {}", host.display(), inside.display());
    let inside = inside.strip_prefix("/").with_context(context)?;
    let mut parent = PathBuf::new();
    for part in inside.parent().into_iter().flat_map(Path::components).skip(1) {
        parent = if parent.as_os_str().is_empty() { Path::new("run").join(part) } else { parent.join(part) };
        make_dir(root, &parent)?;
    }
    let target = if host.is_dir() {
        make_dir(root, inside)?;
        open_in(root, inside, OFlag::O_PATH | OFlag::O_DIRECTORY)?
    } else {
        create_file(root, inside)?
    };
    mount(Some(host), &proc_path(&target), none, MsFlags::MS_BIND, none).with_context(context)?;
    // Opened again: the first handle is below the mount.
    let mounted = open_in(root, inside, OFlag::O_PATH)?;
    make_read_only(&mounted).with_context(context)
}

/// Makes the mount of an open folder or file read-only.
fn make_read_only(mounted: &OwnedFd) -> Result<()> {
    let none = None::<&str>;
    // A user namespace may not clear flags that the host's mount has, mount_namespaces(7); they are asked for again.
    let kept = nix::sys::statvfs::fstatvfs(mounted)?.flags();
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    for (has, set) in [
        (nix::sys::statvfs::FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (nix::sys::statvfs::FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (nix::sys::statvfs::FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (nix::sys::statvfs::FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (nix::sys::statvfs::FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (nix::sys::statvfs::FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        if kept.contains(has) {
            flags |= set;
        }
    }
    mount(none, &proc_path(mounted), none, flags, none)?;
    Ok(())
}

fn make_dir(root: &OwnedFd, path: &Path) -> Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = open_in(root, parent, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let name = path.file_name().with_context(|| format!("{} has no last component", path.display()))?;
    match nix::sys::stat::mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("making the folder /{}", path.display())),
    }
}

fn create_file(root: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC)
        .mode(Mode::from_bits_truncate(0o644))
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(root, path, how).with_context(|| format!("making /{} for a bind", path.display()))
}

/// Opens a path in the tree without following any link, so that a hostile tree cannot move a mount elsewhere.
fn open_in(root: &OwnedFd, path: &Path, flags: OFlag) -> Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(root, path, how).with_context(|| format!("opening /{} in the tree", path.display()))
}

fn open_dir(path: &Path) -> Result<OwnedFd> {
    nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .with_context(|| format!("opening {}", path.display()))
}

/// The name by which `mount(2)` reaches an open folder.
fn proc_path(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}
