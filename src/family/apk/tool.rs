//! The alternative engine: drives the host's real apk, of version 2 or 3, over a throw-away repository that holds
//! exactly the locked packages.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::install::Set;
use super::installed;
use crate::command;
use crate::context::Context;
use crate::family::Fetched;
use crate::family::host_tool::PREPARE;
use crate::lock::Role;
use crate::plan::Plan;
use crate::root::Root;
use crate::sandbox::{Output, Sandbox};

/// How to get apk.
const INSTALL: &str = "apt-get install apk-tools, or a static apk from Alpine's package apk-tools-static; or use \
                       --engine native";

/// Mounts what scripts see as `/proc`, which apk else looks for in the host's.
const PROC: &str = r#"mount -t proc proc "$0/proc" && exec "$@""#;

/// Makes an installed tree of the packages in the empty root with the host's apk.
pub fn bootstrap(context: &Context, plan: &Plan, set: &Set<'_>, root: &Root) -> Result<()> {
    let step = context.ui.step("Bootstrapping");
    let apk = command::find("apk", INSTALL)?;
    let packages: Vec<&Fetched> = set.packages.iter().filter(|p| p.package.role != Role::Tool).collect();
    let repository = context.work.path().join("apk-tools");
    let folder = repository.join(plan.arch.apk);
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    for fetched in &packages {
        let name = format!("{}-{}.apk", fetched.package.name, fetched.package.version);
        let file =
            std::path::absolute(&fetched.file).with_context(|| format!("resolving {}", fetched.file.display()))?;
        symlink(&file, folder.join(&name)).with_context(|| format!("linking {name} to {}", file.display()))?;
    }
    let host = Root::open("/")?;
    index(context, &host, &apk, plan, &packages, &folder)?;

    // Where the private devices and processes are mounted.
    root.create_dir("dev", 0o755)?;
    root.create_dir("proc", 0o755)?;
    let mut sandbox = Sandbox::on_host(&host, "/bin/sh")
        .args(["-c", PREPARE, "sh"])
        .arg(root.path())
        .args(["/bin/sh", "-c", PROC])
        .arg(root.path())
        .arg(&apk)
        .arg("--root")
        .arg(root.path())
        .args(["--arch", plan.arch.apk, "--repository"])
        .arg(&repository)
        // Every package file was verified against the lock, and the lock came from a signed index.
        .args(["--allow-untrusted", "--no-cache", "--no-network", "add", "--initdb"])
        .args(set.world)
        .time_limit(context.time_limit)
        .named("apk add");
    if let Some(epoch) = plan.epoch {
        sandbox = sandbox.epoch(epoch);
    }
    context.ui.detail(format_args!("$ {} --root {} add {}", apk.display(), root.path().display(), set.world.join(" ")));
    let output = sandbox.output().context("running apk")?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        context.ui.detail(line);
    }
    if let Some(fault) = fault(&output) {
        bail!("apk add failed (exit code {}): {fault}", output.code);
    }
    std::fs::remove_dir_all(&repository).with_context(|| format!("removing {}", repository.display()))?;
    compare(&packages, root)?;
    step.done(format_args!("{} packages with apk", packages.len()));
    Ok(())
}

/// Has apk write the index of the folder. An architecture that the real index gave to packages for all counts.
fn index(context: &Context, host: &Root, apk: &Path, plan: &Plan, packages: &[&Fetched], folder: &Path) -> Result<()> {
    let mut sandbox = Sandbox::on_host(host, apk)
        .args(["--allow-untrusted", "index", "--quiet", "--no-warnings", "--output"])
        .arg(folder.join("APKINDEX.tar.gz"))
        .time_limit(context.time_limit)
        .named("apk index");
    if packages.iter().all(|p| p.package.arch == plan.arch.apk) {
        sandbox = sandbox.args(["--rewrite-arch", plan.arch.apk]);
    }
    for fetched in packages {
        sandbox = sandbox.arg(folder.join(format!("{}-{}.apk", fetched.package.name, fetched.package.version)));
    }
    let output = sandbox.output().context("running apk")?;
    match fault(&output) {
        Some(fault) => bail!("apk index failed (exit code {}): {fault}", output.code),
        None => Ok(()),
    }
}

/// What apk says went wrong. Of a repository that it cannot use, or a package that it passes over, it only warns and
/// then counts it as success.
fn fault(output: &Output) -> Option<String> {
    const LINES: usize = 20;
    let text = [String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout)].join("\n");
    let is_fault = |line: &&str| line.starts_with("ERROR: ") || line.starts_with("WARNING: ");
    let fault = text.lines().find(is_fault);
    if output.code == 0 && fault.is_none() {
        return None;
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join("\n    ");
    Some(format!("{}; it said:\n    {last}", fault.unwrap_or("it gave no reason")))
}

/// What is installed must be what the lock says, all of it and nothing else.
fn compare(packages: &[&Fetched], root: &Root) -> Result<()> {
    let there = installed::installed(root)?;
    let there: BTreeSet<(&str, &str)> = there.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
    let wanted: BTreeSet<(&str, &str)> =
        packages.iter().map(|p| (p.package.name.as_str(), p.package.version.as_str())).collect();
    if let Some((name, version)) = wanted.difference(&there).next() {
        bail!("apk did not install {name} {version}, which the lock has; make the lock anew");
    }
    if let Some((name, version)) = there.difference(&wanted).next() {
        bail!("apk installed {name} {version}, which the lock has not; make the lock anew");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_faults_whatever_the_exit_code() {
        let output = |code, stdout: &str, stderr: &str| Output { code, stdout: stdout.into(), stderr: stderr.into() };
        assert_eq!(fault(&output(0, "OK: 10 KiB in 2 packages\n", "")), None);
        for (code, stdout, stderr, reason) in [
            (
                0,
                "OK\n",
                "WARNING: opening http://127.0.0.1/x: No such file\n",
                "WARNING: opening http://127.0.0.1/x: No",
            ),
            (
                1,
                "* said\nERROR: a-1: script exited with error 3\n",
                "",
                "ERROR: a-1: script exited with error 3; it said:\n    * said",
            ),
            (1, "odd\n", "", "it gave no reason; it said:\n    odd"),
        ] {
            let fault = fault(&output(code, stdout, stderr)).expect("it failed");
            assert!(fault.starts_with(reason), "{fault}");
        }
    }
}
