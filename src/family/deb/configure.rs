//! Makes an installed tree of an unpacked one: the preinsts, then the tree's own dpkg, in the sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};

use super::archive::Control;
use super::database::{self, ADMIN, Name};
use super::order::Graph;
use super::stubs::Stubs;
use crate::context::Context;
use crate::family::Fetched;
use crate::root::Root;
use crate::sandbox::{Output, Sandbox, TimedOut};

/// Services are not started while it exits with 101, invoke-rc.d(8).
const POLICY: &str = "usr/sbin/policy-rc.d";
const POLICY_TEXT: &str = "#!/bin/sh\nexit 101\n";

/// Scripts use them where they are. Where systemd is not part of the base system, debootstrap runs the scripts of that
/// before they are.
const SYSTEMD_PROGRAMS: [&str; 3] = ["usr/bin/systemctl", "usr/bin/systemd-sysusers", "usr/bin/systemd-tmpfiles"];
const SYSTEMD_PACKAGES: &str = "systemd";
const HIDDEN: &str = ".hidden";

/// Programs that can be `awk` until its alternative is set, in the order of preference; debootstrap knows the first.
const AWKS: [&str; 3] = ["mawk", "gawk", "original-awk"];

/// Configured before everything else: accounts and the folders of the system, which other scripts take for granted.
const CORE: [&str; 2] = ["base-passwd", "base-files"];

/// Begins a line before the output of each preinst.
const MARK: &str = "mkbase runs the preinst of ";

/// Where the control archives of packages wait for their preinst.
const PREINSTS: &str = "var/lib/dpkg/mkbase.ci";

/// One argument of a command has at most 128 KiB, execve(2), and each preinst takes some 400 bytes of it.
const BATCH: usize = 150;

/// Lines of output that an error shows.
const LINES: usize = 20;

/// What is to be configured.
#[derive(Debug)]
pub struct Packages<'p> {
    /// Names, in the order of the graph's indexes.
    pub names: &'p [Name],
    /// The dependencies between them.
    pub graph: &'p Graph<'p>,
    /// The order of installation.
    pub order: &'p [usize],
    /// Packages with a preinst that is to be run.
    pub preinsts: &'p BTreeMap<usize, &'p Control>,
    /// Packages that the tree's dpkg unpacks: index and file.
    pub for_dpkg: Vec<(usize, &'p Fetched)>,
}

/// Runs the preinsts, has dpkg unpack what only it can, and configures everything.
pub fn configure(context: &Context, root: &Root, epoch: Option<i64>, packages: &Packages<'_>) -> Result<()> {
    let stage = Stage { context, root, epoch, packages };
    stage.link_awk()?;
    root.write(POLICY, POLICY_TEXT, 0o755)?;
    let stubs = Stubs::place(root)?;
    stage.prepare()?;
    stage.dpkg("configuring the packages", &["--configure", "-a"])?;
    stubs.remove(root)?;
    root.remove_file(POLICY)?;
    Ok(())
}

struct Stage<'a> {
    context: &'a Context,
    root: &'a Root,
    epoch: Option<i64>,
    packages: &'a Packages<'a>,
}

impl Stage<'_> {
    /// Scripts that run before the package of awk is configured use it.
    fn link_awk(&self) -> Result<()> {
        if self.root.lstat("usr/bin/awk")?.is_some() {
            return Ok(());
        }
        match AWKS.iter().find(|awk| self.root.exists(format!("usr/bin/{awk}"))) {
            Some(awk) => self.root.symlink(awk, "usr/bin/awk"),
            None => Ok(()),
        }
    }

    fn sandbox(&self, program: &str) -> Sandbox<'_> {
        // As debootstrap: what debconf would have asked counts as asked.
        let sandbox = Sandbox::new(self.root, program)
            .env("DEBCONF_NONINTERACTIVE_SEEN", "true")
            .time_limit(self.context.time_limit);
        match self.epoch {
            Some(epoch) => sandbox.epoch(epoch),
            None => sandbox,
        }
    }

    /// Everything but the configuration of what is left in the end.
    ///
    /// Accounts get their numbers in the order in which scripts make them. So that they are those of debootstrap and
    /// apt, the base system is configured before the first script of another package runs, and what a package
    /// pre-depends on before its own preinst.
    fn prepare(&self) -> Result<()> {
        let Packages { names, graph, order, .. } = self.packages;
        let base = graph.base();
        let (base_order, others): (Vec<usize>, Vec<usize>) = order.iter().partition(|p| base.contains(p));
        let required = graph.closure(base_order.iter().copied().filter(|p| graph.is_required(*p)));
        let mut configured = BTreeSet::new();
        let systemd = base.iter().any(|p| names[*p].name.starts_with(SYSTEMD_PACKAGES));
        let mut hidden = Vec::new();
        for program in SYSTEMD_PROGRAMS {
            if !systemd && !others.is_empty() && self.root.lstat(program)?.is_some() {
                self.root.rename(program, format!("{program}{HIDDEN}"))?;
                hidden.push(program);
            }
        }
        self.run_preinsts(base_order.iter().copied(), &required, &mut configured)?;
        self.unpack_with_dpkg(&base_order)?;
        self.configure_core(&mut configured)?;
        if others.is_empty() {
            return Ok(());
        }
        self.configure_some("configuring the base system", &[], &base_order, &mut configured)?;
        for program in hidden {
            self.root.rename(format!("{program}{HIDDEN}"), program)?;
        }
        self.run_preinsts(others.iter().copied(), &base, &mut configured)?;
        self.unpack_with_dpkg(&others)
    }

    /// Runs preinsts in this order. Before that of a package, what it pre-depends on is configured, unless it is in a
    /// set that counts as good enough.
    fn run_preinsts(
        &self,
        packages: impl Iterator<Item = usize>,
        granted: &BTreeSet<usize>,
        configured: &mut BTreeSet<usize>,
    ) -> Result<()> {
        let Packages { graph, preinsts, for_dpkg, .. } = self.packages;
        let mut passed = BTreeSet::new();
        // Only one of them holds something at a time.
        let (mut batch, mut waiting) = (Vec::new(), Vec::new());
        for package in packages {
            let needs = graph.closure(graph.pre_depends(package).iter().copied());
            // In a circle of dependencies one comes before what it needs; and some are for dpkg to unpack, later.
            let missing = |p: &usize| passed.contains(p) && !granted.contains(p) && !configured.contains(p);
            let mut needs: Vec<usize> = needs.into_iter().filter(|p| missing(p) && !waiting.contains(p)).collect();
            if !needs.is_empty() {
                self.run_batch(&std::mem::take(&mut batch))?;
                waiting.append(&mut needs);
            }
            if for_dpkg.iter().any(|(later, _)| *later == package) {
                continue;
            }
            passed.insert(package);
            if preinsts.contains_key(&package) {
                self.configure_needed(&std::mem::take(&mut waiting), configured)?;
                batch.push(package);
            }
        }
        self.run_batch(&batch)?;
        self.configure_needed(&waiting, configured)
    }

    fn configure_needed(&self, needed: &[usize], configured: &mut BTreeSet<usize>) -> Result<()> {
        if needed.is_empty() {
            return Ok(());
        }
        self.configure_core(configured)?;
        // As apt does, which leaves the triggers to the end.
        self.configure_some("configuring what others pre-depend on", &["--no-triggers"], needed, configured)
    }

    /// Several preinsts in one sandbox, with the environment that dpkg gives them (dpkg(1), "INTERNAL ENVIRONMENT").
    fn run_batch(&self, batch: &[usize]) -> Result<()> {
        batch.chunks(BATCH).try_for_each(|chunk| self.run_chunk(chunk))
    }

    fn run_chunk(&self, batch: &[usize]) -> Result<()> {
        // One stream, so that what each script says stays together.
        let mut script = String::from("exec 2>&1\n");
        for package in batch {
            // The names hold nothing that means anything to a shell.
            let Name { name, arch, .. } = &self.packages.names[*package];
            let folder = format!("{PREINSTS}/{package}");
            let Some(control) = self.packages.preinsts.get(package) else { continue };
            database::write_control_folder(self.root, &folder, control)?;
            // debconf reads the package's name and templates from tmp.ci, where dpkg has them.
            script.push_str(&format!(
                "echo '{MARK}{name}'\n\
                 mv /{folder} /{ADMIN}/tmp.ci || exit $?\n\
                 DPKG_MAINTSCRIPT_PACKAGE={name} DPKG_MAINTSCRIPT_ARCH={arch} /{ADMIN}/tmp.ci/preinst install \
                 || exit $?\n\
                 rm -rf /{ADMIN}/tmp.ci || exit $?\n"
            ));
        }
        let sandbox = self.sandbox("/bin/sh").arg("-c").arg(script);
        let sandbox = [
            ("DPKG_MAINTSCRIPT_NAME", "preinst"),
            ("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT", "1"),
            ("DPKG_MAINTSCRIPT_DEBUG", "0"),
            ("DPKG_RUNNING_VERSION", self.dpkg_version().as_str()),
            ("DPKG_ADMINDIR", "/var/lib/dpkg"),
            ("DPKG_ROOT", ""),
        ]
        .into_iter()
        .fold(sandbox, |sandbox, (name, value)| sandbox.env(name, value));
        let what = "running the preinst scripts";
        let output = sandbox.output().map_err(|error| timed_out(error, last_preinst)).context(what)?;
        if output.code != 0 {
            let (name, said) = last_preinst(&output);
            return Err(anyhow!("the preinst of {name} ended with {}{said}", exit(output.code))).context(what);
        }
        self.root.remove_dir(PREINSTS)
    }

    /// The version of dpkg that will configure the packages, without epoch and revision, as dpkg gives it.
    fn dpkg_version(&self) -> String {
        let dpkg = self.packages.names.iter().find(|n| n.name == "dpkg");
        let version = dpkg.map_or("", |n| n.version.as_str());
        let version = version.split_once(':').map_or(version, |(_, v)| v);
        version.split('-').next().unwrap_or_default().to_string()
    }

    /// Packages whose preinst moves a file of another package away, to put its own in its place.
    fn unpack_with_dpkg(&self, among: &[usize]) -> Result<()> {
        let mut files = self.packages.for_dpkg.iter().filter(|(package, _)| among.contains(package)).peekable();
        if files.peek().is_none() {
            return Ok(());
        }
        let mut sandbox = self.sandbox_of_dpkg().args(["--force-depends", "--unpack"]);
        for (package, fetched) in files {
            let inside = PathBuf::from(format!("/run/mkbase/{package}.deb"));
            sandbox = sandbox.bind(&fetched.file, &inside).arg(&inside);
        }
        self.dpkg_output("unpacking packages that divert files", sandbox)
    }

    fn configure_core(&self, configured: &mut BTreeSet<usize>) -> Result<()> {
        for name in CORE {
            let Some(package) = self.packages.names.iter().position(|n| n.name == name) else { continue };
            if configured.insert(package) {
                // What they depend on is unpacked, and good enough as it is for them.
                self.dpkg("configuring the core packages", &["--force-depends", "--configure", name])?;
            }
        }
        Ok(())
    }

    /// Configures those of these packages that are not configured yet.
    fn configure_some(
        &self,
        what: &str,
        options: &[&str],
        packages: &[usize],
        configured: &mut BTreeSet<usize>,
    ) -> Result<()> {
        let todo = packages.iter().filter(|p| !configured.contains(p));
        let names: Vec<String> = todo.map(|p| self.packages.names[*p].qualified()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let arguments = ["--force-depends"].iter().chain(options).copied().chain(["--configure"]);
        self.dpkg(what, &arguments.chain(names.iter().map(String::as_str)).collect::<Vec<_>>())?;
        configured.extend(packages);
        Ok(())
    }

    fn dpkg(&self, what: &str, arguments: &[&str]) -> Result<()> {
        self.dpkg_output(what, self.sandbox_of_dpkg().args(arguments))
    }

    fn sandbox_of_dpkg(&self) -> Sandbox<'_> {
        self.sandbox("/bin/sh")
            // One stream, so that what each package says stays together.
            .args(["-c", "exec dpkg \"$@\" 2>&1", "sh"])
            // A configuration file that is there already was made by a script and stays, as debootstrap has it.
            .args(["--force-unsafe-io", "--force-confold"])
    }

    fn dpkg_output(&self, what: &str, sandbox: Sandbox<'_>) -> Result<()> {
        let output =
            sandbox.output().map_err(|error| timed_out(error, last_package)).with_context(|| what.to_owned())?;
        for line in String::from_utf8_lossy(&output.stdout).lines().filter(|l| l.starts_with("Setting up ")) {
            self.context.ui.detail(line);
        }
        if output.code != 0 {
            return Err(dpkg_failed(&output)).with_context(|| what.to_owned());
        }
        Ok(())
    }
}

/// An error for a script that hangs, naming its package.
fn timed_out(error: anyhow::Error, last: fn(&Output) -> (String, String)) -> anyhow::Error {
    let Some(timed_out) = error.downcast_ref::<TimedOut>() else { return error };
    let (name, said) = last(&timed_out.output);
    anyhow!(
        "the package {name} did not get installed within {} s: a maintainer script of it hangs{said}",
        timed_out.limit.as_secs()
    )
}

/// Begins the output of dpkg about one package.
const STARTS: [&str; 3] = ["Setting up ", "Unpacking ", "Processing triggers for "];
const FAILED: &str = "dpkg: error processing ";

/// The error for a dpkg that failed: the first package it names as the reason.
fn dpkg_failed(output: &Output) -> anyhow::Error {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let Some(at) = lines.iter().position(|l| l.starts_with(FAILED)) else {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return anyhow!("dpkg ended with {}{}", exit(output.code), said(text.lines().chain(stderr.lines())));
    };
    let rest = &lines[at][FAILED.len()..];
    let rest = rest.strip_prefix("package ").or_else(|| rest.strip_prefix("archive ")).unwrap_or(rest);
    let name = rest.split(' ').next().unwrap_or_default();
    let reason = lines.get(at + 1).map(|l| format!(": {}", l.trim())).unwrap_or_default();
    let begins = |line: &&str| STARTS.iter().any(|s| line.starts_with(s));
    let start = lines[..at].iter().rposition(begins).map_or(0, |start| start + 1);
    anyhow!("the package {name} could not be installed{reason}{}", said(lines[start..at].iter().copied()))
}

/// The package whose preinst ran last, and what it said.
fn last_preinst(output: &Output) -> (String, String) {
    let text = String::from_utf8_lossy(&output.stdout);
    let (name, rest) = text.rsplit_once(MARK).and_then(|(_, rest)| rest.split_once('\n')).unwrap_or_default();
    (name.to_string(), said(rest.lines()))
}

/// The package that dpkg was last busy with, and what was said since.
fn last_package(output: &Output) -> (String, String) {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let start = |line: &&str| STARTS.iter().any(|s| line.starts_with(s));
    let at = lines.iter().rposition(start);
    let name = at.and_then(|at| STARTS.iter().find_map(|s| lines[at].strip_prefix(s)));
    let name = name.and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    (name.to_string(), said(lines[at.map_or(0, |at| at + 1)..].iter().copied()))
}

fn exit(code: i32) -> String {
    match code {
        killed @ 129.. => format!("signal {}", killed - 128),
        code => format!("exit code {code}"),
    }
}

/// The last lines, indented below the error.
fn said<'l>(lines: impl Iterator<Item = &'l str>) -> String {
    let lines: Vec<&str> = lines.map(str::trim_end).filter(|l| !l.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    if last.is_empty() { ", and said nothing".into() } else { format!("; it said:\n    {}", last.join("\n    ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(stdout: &str) -> Output {
        Output { code: 1, stdout: stdout.into(), stderr: Vec::new() }
    }

    #[test]
    fn a_failing_postinst_is_named_with_what_it_said() {
        let failed = output(
            "Setting up a (1) ...\nfine\nSetting up broken:amd64 (2) ...\nabout to fail\ncp: cannot stat 'x'\ndpkg: \
             error processing package broken:amd64 (--configure):\n installed broken:amd64 package post-installation \
             script subprocess returned error exit status 3\nSetting up c (1) ...\nnoise\nErrors were encountered\n",
        );
        let text = format!("{:#}", dpkg_failed(&failed));
        for part in ["broken:amd64", "exit status 3", "about to fail", "cannot stat 'x'"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("noise") && !text.contains("fine"), "{text}");
        let text = format!("{:#}", dpkg_failed(&output("dpkg: unrecoverable fatal error, aborting\n")));
        assert!(text.contains("exit code 1") && text.contains("unrecoverable"), "{text}");
    }

    #[test]
    fn a_hanging_script_is_named() {
        let hung = output("Setting up a (1) ...\nSetting up b (1) ...\nwaiting\n");
        let limit = std::time::Duration::from_secs(7);
        let error = anyhow::Error::new(TimedOut { command: "dpkg".into(), limit, output: hung });
        let text = format!("{:#}", timed_out(error.context("outer"), last_package));
        assert!(text.contains("package b ") && text.contains("7 s") && text.contains("waiting"), "{text}");
        let other = timed_out(anyhow!("something else"), last_package);
        assert_eq!(other.to_string(), "something else");
    }

    #[test]
    fn a_failing_preinst_is_named() {
        let (name, said) = last_preinst(&output(&format!("{MARK}a\nfine\n{MARK}b\nout\nbad\n")));
        assert_eq!(name, "b");
        assert_eq!(said, "; it said:\n    out\n    bad");
    }
}
