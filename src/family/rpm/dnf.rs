//! Runs dnf: the host's, or that of the tools tree, through a small program in Python, which dnf has an interface for
//! (`driver/main.py`).
//!
//! dnf 4 is that of Fedora 22 to 40, of EL 8 to 10 (there `yum` is another name of it) and of Debian; dnf 5 that of Fedora
//! 41 and later. Each has a module of the program that knows its interface. What they are asked and what they answer is
//! the same.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::usage;
use crate::plan::Plan;
use crate::root::Root;
use crate::sandbox::{Output, TimedOut};
use crate::tools::dnf::Interface;
use crate::tools::{self, TARGET};

/// The program, and what it is made of besides the module of an [`Interface`].
const DRIVER: [(&str, &str); 2] =
    [("main.py", include_str!("driver/main.py")), ("keys.py", include_str!("driver/keys.py"))];
/// What makes the users that packages provide: a module of the driver, and a program for rpm.
const SYSUSERS: &str = include_str!("driver/sysusers.py");
/// Bytes that are set aside for an answer: what a full disk was the reason of can be told all the same.
const ANSWER: usize = 256 << 10;
/// Bytes of a scriptlet's output that are of use in an error.
const SAID: u64 = 64 << 10;
/// Where the folder of a job is for dnf.
pub const WORK: &str = "/mkbase/dnf";
/// Where the package files are for dnf.
pub const PACKAGES: &str = "/mkbase/packages";

/// Settings of rpm that decide on bytes of the image, or reach out of it: each host has its own.
const MACROS: &[(&str, &str)] = &[
    ("_db_backend", "sqlite"),
    ("_keyring", "rpmdb"),
    ("_excludedocs", "0"),
    // Where the kernel's file systems are mounted: their owner cannot be set, and for an ordinary user is another one.
    ("_netsharedpath", "/proc:/sys"),
    ("_minimize_writes", "0"),
    ("_flush_io", "0"),
    ("_pkgverify_level", "digest"),
    ("_pkgverify_flags", "0x0"),
    // Since rpm 6 the database has digests of package files besides, unless there is nothing to make.
    ("_pkgverify_digests", "%{nil}"),
    ("_install_script_path", "/sbin:/bin:/usr/sbin:/usr/bin"),
    ("_tmppath", "/var/tmp"),
    ("__transaction_audit", "%{nil}"),
    ("__transaction_dbus_announce", "%{nil}"),
    ("__transaction_fapolicyd", "%{nil}"),
    ("__transaction_fsverity", "%{nil}"),
    ("__transaction_ima", "%{nil}"),
    ("__transaction_prioreset", "%{nil}"),
    ("__transaction_selinux", "%{nil}"),
    ("__transaction_syslog", "%{nil}"),
    ("__transaction_systemd_inhibit", "%{nil}"),
    ("__transaction_unshare", "%{nil}"),
];

/// What dnf is asked; the modules of the interfaces say what becomes of each.
#[derive(Debug, Serialize)]
pub struct Job<'a> {
    /// `resolve` or `install`.
    pub action: &'a str,
    /// The installation root.
    pub root: &'a str,
    /// A folder for what dnf keeps.
    pub work: &'a str,
    /// `$releasever`.
    pub releasever: &'a str,
    /// `$arch`; `$basearch` follows from it.
    pub arch: &'a str,
    /// Programs of the architecture run through an emulator.
    pub foreign: bool,
    /// The platform that modules are built for.
    pub module_platform_id: &'a str,
    /// Weak dependencies too.
    pub weak: bool,
    /// Check signatures of package files once more.
    pub gpgcheck: bool,
    /// `tsflags` of dnf.conf(5).
    pub tsflags: Vec<&'a str>,
    /// What is wanted: names, `name-version-release`, `@group`, `@^environment`, `@module:stream`.
    pub include: Vec<&'a str>,
    /// What must not be chosen.
    pub exclude: Vec<&'a str>,
    /// Where packages come from.
    pub repositories: Vec<JobRepository<'a>>,
    /// Package files.
    pub files: Vec<JobFile>,
    /// Versions to keep, by name.
    pub held: BTreeMap<&'a str, &'a str>,
    /// Key files to check signatures with.
    pub keys: Vec<String>,
}

/// A repository on the local disk.
#[derive(Debug, Serialize)]
pub struct JobRepository<'a> {
    /// Name for dnf.
    pub id: &'a str,
    /// Folder, as dnf sees it.
    pub folder: String,
    /// Priority of dnf.conf(5).
    pub priority: Option<i16>,
}

/// A package file.
#[derive(Debug, Serialize)]
pub struct JobFile {
    /// Its path, as dnf sees it.
    pub path: String,
    /// The users and groups that it provides, as [`super::sysusers::lines`] gives them.
    pub sysusers: Vec<Vec<String>>,
}

/// What every answer begins with.
#[derive(Debug, Deserialize)]
struct Failure {
    error: Option<String>,
    #[serde(default)]
    usage: bool,
}

impl<'a> Job<'a> {
    /// A job for a plan with nothing in it.
    pub fn new(action: &'a str, plan: &'a Plan, foreign: bool) -> Job<'a> {
        Job {
            action,
            root: TARGET,
            work: WORK,
            releasever: plan.rpm.releasever.as_str(),
            arch: plan.arch.rpm_packages[0],
            foreign,
            module_platform_id: plan.rpm.module_platform_id.as_str(),
            weak: plan.packages.recommends,
            gpgcheck: true,
            tsflags: Vec::new(),
            include: Vec::new(),
            exclude: Vec::new(),
            repositories: Vec::new(),
            files: Vec::new(),
            held: BTreeMap::new(),
            keys: Vec::new(),
        }
    }
}

/// dnf, ready to be asked.
pub struct Dnf<'a> {
    context: &'a Context,
    dnf: &'a tools::dnf::Dnf,
    /// A folder of this build that it may write to.
    folder: PathBuf,
    epoch: Option<i64>,
}

/// What dnf may read besides its folder: paths of the host, and where it finds them.
pub type Binds = [(PathBuf, PathBuf)];

impl<'a> Dnf<'a> {
    /// Gets dnf ready for a plan, with a folder of that name.
    pub fn new(context: &'a Context, dnf: &'a tools::dnf::Dnf, plan: &Plan, name: &str) -> Result<Dnf<'a>> {
        let folder = context.work.path().join(name);
        let doing = || format!("making {}", folder.display());
        std::fs::create_dir_all(folder.join("home")).with_context(doing)?;
        for (name, text) in DRIVER.into_iter().chain([module(dnf.interface)]) {
            std::fs::write(folder.join(name), text).with_context(doing)?;
        }
        let program = format!("#!{} -I\n{SYSUSERS}", dnf.python.display());
        std::fs::write(folder.join("sysusers.py"), program).with_context(doing)?;
        std::fs::set_permissions(folder.join("sysusers.py"), Permissions::from_mode(0o755)).with_context(doing)?;
        std::fs::write(folder.join("home/.rpmmacros"), macros(plan)).with_context(doing)?;
        Ok(Dnf { context, dnf, folder, epoch: plan.epoch })
    }

    /// The folder it may write to: [`WORK`] for it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Asks dnf, which works on `target`.
    pub fn ask<T: DeserializeOwned>(&self, job: &Job<'_>, target: &Root, binds: &Binds) -> Result<T> {
        let (question, answer) = (self.folder.join("job.json"), self.folder.join("answer.json"));
        let text = serde_json::to_vec(job).context("writing down the job")?;
        for (path, bytes) in [(&question, text), (&answer, vec![b' '; ANSWER])] {
            std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))?;
        }
        let mut command = self
            .dnf
            .tools
            .command(target, &self.dnf.python)
            // Nothing from the environment.
            .arg("-I")
            .arg(format!("{WORK}/main.py"))
            .arg(module(self.dnf.interface).0.trim_end_matches(".py"))
            .arg(format!("{WORK}/job.json"))
            .arg(format!("{WORK}/answer.json"))
            .env("HOME", format!("{WORK}/home"))
            .bind_writable(&self.folder, WORK)
            .time_limit(self.context.time_limit)
            .named("dnf");
        for (host, inside) in binds {
            command = command.bind(host, inside);
        }
        if let Some(epoch) = self.epoch {
            command = command.epoch(epoch);
        }
        let output = command.output().map_err(|error| overdue(error, &self.folder.join("said")))?;
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            self.context.ui.detail(line);
        }
        read(&answer, &output)
    }
}

/// The answer, or why there is none.
fn read<T: DeserializeOwned>(path: &Path, output: &Output) -> Result<T> {
    let last = || {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
    };
    if output.code == crate::sandbox::init::NOT_FOUND {
        bail!("the Python of dnf cannot be run: {}; build with --tools tree", last());
    }
    if output.code != 0 {
        if last().contains("No module named") {
            bail!("the Python interface of dnf is not complete ({}); build with --tools tree", last());
        }
        bail!("dnf ended with exit code {}: {}", output.code, last());
    }
    let text = std::fs::read(path).with_context(|| format!("reading the answer of dnf, {}", path.display()))?;
    let Failure { error, usage: is_usage } = serde_json::from_slice(&text).context("reading the answer of dnf")?;
    if let Some(error) = error {
        let error = one_line(&error);
        return Err(if is_usage { usage(error) } else { anyhow::anyhow!(error) });
    }
    serde_json::from_slice(&text).context("reading the answer of dnf")
}

/// dnf writes a list of problems one below the other.
pub fn one_line(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("- ")).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ").replace(":;", ":")
}

/// Of a run that took too long, which package had its scriptlet running, and what that had said: it writes to a file in
/// this folder.
fn overdue(error: anyhow::Error, folder: &Path) -> anyhow::Error {
    let timed_out = match error.downcast::<TimedOut>() {
        Ok(timed_out) => timed_out,
        Err(error) => return error,
    };
    let text = String::from_utf8_lossy(&timed_out.output.stderr).into_owned();
    let running = text.lines().rev().find_map(|line| {
        let (begin, package) = line.strip_prefix("after ")?.split_once(" bytes running a scriptlet of ")?;
        Some((begin.parse().ok()?, package))
    });
    let Some((begin, package)) = running else { return timed_out.into() };
    let stderr = newest_file(folder, begin).unwrap_or_else(|error| format!("(unreadable: {error})").into_bytes());
    let output = Output { stdout: Vec::new(), stderr, ..timed_out.output };
    TimedOut { command: format!("a scriptlet of {package}"), output, ..timed_out }.into()
}

/// What is in the newest file of a folder from that byte on; of more than [`SAID`] bytes the end.
fn newest_file(folder: &Path, begin: u64) -> std::io::Result<Vec<u8>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    let mut said = Vec::new();
    if let Some((_, path)) = files.into_iter().max() {
        let mut file = std::fs::File::open(path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(begin.max(end.saturating_sub(SAID))))?;
        file.take(SAID).read_to_end(&mut said)?;
    }
    Ok(said)
}

/// The module that knows an interface: its file name and text.
fn module(interface: Interface) -> (&'static str, &'static str) {
    match interface {
        Interface::Dnf4 => ("dnf4.py", include_str!("driver/dnf4.py")),
        Interface::Dnf5 => ("dnf5.py", include_str!("driver/dnf5.py")),
    }
}

/// The settings of rpm for an image.
fn macros(plan: &Plan) -> String {
    let locale = plan.system.locale.as_str();
    // rpm notes it in the database (Installcolor). By itself it takes that of the machine it runs on.
    let color = if plan.arch.elf.bits == 64 { "3" } else { "0" };
    // Since rpm 4.19.
    let sysusers = format!("{WORK}/sysusers.py");
    let own = [
        ("_dbpath", plan.rpm.dbpath.as_str()),
        ("_install_langs", locale),
        ("_transaction_color", color),
        ("__systemd_sysusers", &sysusers),
    ];
    MACROS.iter().chain(&own).map(|(name, value)| format!("%{name} {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{arch, plan};

    #[test]
    fn settings_follow_the_architecture_of_the_image() {
        for (name, expected) in [("amd64", "3"), ("arm64", "3"), ("armhf", "0"), ("i386", "0")] {
            let plan = Plan { arch: arch::from_name(name).expect("known"), ..plan::testing::plan() };
            let line = format!("%_transaction_color {expected}\n");
            assert!(macros(&plan).contains(&line), "{name}");
        }
    }

    #[test]
    fn errors_of_dnf_become_one_line() {
        assert_eq!(one_line("\n Problem: a\n  - b\n\n"), "Problem: a; b");
        assert_eq!(one_line("Transaction test error:\n  file /x"), "Transaction test error: file /x");
    }

    #[test]
    fn a_scriptlet_that_hangs_is_named_with_what_it_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let timed_out = |stderr: &str| TimedOut {
            command: "dnf".into(),
            limit: std::time::Duration::from_secs(9),
            output: Output { code: -1, stdout: Vec::new(), stderr: stderr.into() },
        };
        let shown = |error: anyhow::Error| overdue(error, folder.path()).to_string();
        assert_eq!(shown(anyhow::anyhow!("another one")), "another one");
        let other = shown(timed_out("x").into());
        assert!(other.starts_with("dnf did not end within 9 s") && other.ends_with("x"), "{other}");
        let running =
            || timed_out("after 0 bytes running a scriptlet of a-1\nafter 5 bytes running a scriptlet of b-2\nx\n");
        assert!(shown(running().into()).ends_with(", and said nothing"));
        std::fs::write(folder.path().join("tmpx"), "of a\nof b\n").expect("writes");
        let expected = "a scriptlet of b-2 did not end within 9 s and was killed; it said:\n    of b";
        assert_eq!(shown(running().into()), expected);
        std::fs::write(folder.path().join("tmpx"), "y".repeat(100_000)).expect("writes");
        assert_eq!(newest_file(folder.path(), 5).expect("it is read").len() as u64, SAID);
    }
}
