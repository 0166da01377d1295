//! Makes an installed tree: verifies every package, and has dnf install exactly these files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::database;
use super::dnf::{Dnf, Job, JobFile, PACKAGES, WORK};
use super::package::{Identity, Package};
use super::rebuild;
use super::sqlite;
use super::sysusers;
use super::traces;
use super::trust::Keys;
use super::verify;
use crate::arch;
use crate::context::Context;
use crate::error::usage;
use crate::family::Fetched;
use crate::lock::{LockedPackage, Role};
use crate::parallel::parallel;
use crate::plan::{Key, Plan, ScriptletErrors};
use crate::root::Root;
use crate::tools;

/// The folders that file systems are mounted on while packages are installed.
const MOUNT_POINTS: [&str; 3] = ["/dev", "/proc", "/sys"];

/// What dnf has to say about an installation.
#[derive(Debug, Deserialize)]
struct Answer {
    /// Scriptlets that failed.
    failures: Vec<Failure>,
    /// Packages that were not installed.
    failed: Vec<String>,
    /// The output of all scriptlets.
    said: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    /// `Error in POSTIN scriptlet in rpm package bash`.
    message: String,
    /// What the scriptlet and rpm said last.
    output: String,
}

/// Makes an installed tree of the packages in the empty root.
pub fn bootstrap(
    context: &Context,
    dnf: &tools::dnf::Dnf,
    plan: &Plan,
    packages: &[Fetched],
    root: &Root,
) -> Result<()> {
    let packages: Vec<&Fetched> = packages.iter().filter(|p| p.package.role != Role::Tool).collect();
    let step = context.ui.step("Verifying");
    let keys = Keys::new(plan)?;
    let sysusers = verify_all(context.jobs, &packages, &keys)?;
    step.done(format_args!("{} packages", packages.len()));

    let step = context.ui.step("Installing");
    let dnf = Dnf::new(context, dnf, plan, "install")?;
    let locked: Vec<&LockedPackage> = packages.iter().map(|p| &p.package).collect();
    let mut job = Job::new("install", plan, arch::host()? != plan.arch);
    job.gpgcheck = keys.cover(&locked)?;
    if !plan.system.docs {
        job.tsflags.push("nodocs");
    }
    let lasting = keys.of_image(&locked);
    job.keys = write_keys(dnf.folder(), &[&lasting[..], &keys.of_build(&locked)].concat())?;
    let inside = |i: usize| format!("{PACKAGES}/{i}.rpm");
    job.files = sysusers.into_iter().enumerate().map(|(i, sysusers)| JobFile { path: inside(i), sysusers }).collect();
    let binds: Vec<(PathBuf, PathBuf)> =
        packages.iter().enumerate().map(|(i, p)| (p.file.clone(), inside(i).into())).collect();
    let answer: Answer = dnf.ask(&job, root, &binds).context("installing with dnf")?;
    for line in answer.said.iter().flat_map(|text| text.lines()) {
        context.ui.detail(line);
    }
    judge(context, plan, &answer)?;

    let path = Path::new(&plan.rpm.dbpath).join("rpmdb.sqlite");
    let path = path.strip_prefix("/").unwrap_or(&path);
    sqlite::settle(root, path).context("settling the RPM database")?;
    database::complete(root, path, &lasting, &MOUNT_POINTS).context("completing the RPM database")?;
    compare(root, &locked)?;
    mount_points(root)?;
    traces::remove(root).context("removing what dnf leaves")?;
    if plan.rpm.rebuild {
        rebuild::rebuild(context, root, path)?;
    }
    step.done(format_args!("{} packages with dnf", packages.len()));
    Ok(())
}

/// Verifies every package, and that it is the one that the lock names. Gives the users and groups that each provides.
fn verify_all(jobs: usize, packages: &[&Fetched], keys: &Keys<'_>) -> Result<Vec<Vec<Vec<String>>>> {
    let all: Vec<usize> = (0..packages.len()).collect();
    parallel(jobs, &all, |i| {
        let Fetched { package: locked, file } = packages[i];
        let place = || format!("verifying the package {} {}", locked.name, locked.version);
        let mut package = Package::open(file).with_context(place)?;
        match keys.of(locked)? {
            Some(keys) => verify::verify(&mut package, keys).with_context(place)?,
            None => verify::check_digests(&mut package).with_context(place)?,
        }
        let found = package.identity().with_context(place)?;
        let wanted = of_lock(locked);
        if found != wanted {
            bail!("the lock has the package {wanted}, and its file is {found}; renew the lock");
        }
        sysusers::lines(&package.header).with_context(place)
    })
}

fn of_lock(package: &LockedPackage) -> Identity {
    Identity { name: package.name.clone(), evr: package.version.clone(), arch: package.arch.clone() }
}

/// Writes keys into the folder of the job, and gives their paths as dnf finds them. The same key twice is one.
fn write_keys(folder: &Path, keys: &[&Key]) -> Result<Vec<String>> {
    let mut seen: Vec<&[u8]> = Vec::new();
    for key in keys {
        if !seen.contains(&key.data.as_slice()) {
            seen.push(&key.data);
        }
    }
    let mut paths = Vec::new();
    for (number, data) in seen.into_iter().enumerate() {
        let name = format!("key-{number}.asc");
        std::fs::write(folder.join(&name), data).with_context(|| format!("writing the key {name}"))?;
        paths.push(format!("{WORK}/{name}"));
    }
    Ok(paths)
}

/// Fails where a scriptlet did: to dnf that is a warning for most kinds.
fn judge(context: &Context, plan: &Plan, answer: &Answer) -> Result<()> {
    let messages: Vec<String> = answer.failures.iter().map(describe).collect();
    if !answer.failed.is_empty() {
        let packages = answer.failed.join(", ");
        if messages.is_empty() {
            bail!("dnf could not install {packages}, and gave no reason");
        }
        bail!("{}; not installed: {packages}", messages.join("; "));
    }
    match plan.packages.scriptlet_errors {
        ScriptletErrors::Warn => messages.iter().for_each(|message| context.ui.warn(message)),
        ScriptletErrors::Fail if !messages.is_empty() => {
            bail!("{}; to go on in spite of it, set scriptlet_errors = \"warn\" in [packages]", messages.join("; "))
        }
        ScriptletErrors::Fail => {}
    }
    Ok(())
}

/// One line for a failure: `%post of bash failed: OUTPUT`.
fn describe(failure: &Failure) -> String {
    let said: Vec<&str> = failure.output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said = if said.is_empty() { "it said nothing".to_owned() } else { said.join("; ") };
    let words: Vec<&str> = failure.message.split(' ').collect();
    match words.as_slice() {
        ["Error", "in", kind, "scriptlet", "in", "rpm", "package", name] => {
            format!("{} of {name} failed: {said}", section(kind))
        }
        _ => format!("{}: {said}", failure.message),
    }
}

/// What packagers call a scriptlet, by rpm's name of its tag.
fn section(kind: &str) -> String {
    let name = match kind.to_ascii_uppercase().as_str() {
        "PREIN" => "%pre",
        "POSTIN" => "%post",
        "PREUN" => "%preun",
        "POSTUN" => "%postun",
        "PRETRANS" => "%pretrans",
        "POSTTRANS" => "%posttrans",
        "SYSUSERS" => "making the users and groups",
        "TRIGGERIN" => "%triggerin",
        "TRIGGERPREIN" => "%triggerprein",
        "FILETRIGGERIN" => "%filetriggerin",
        "TRANSFILETRIGGERIN" => "%transfiletriggerin",
        // What dnf calls a kind that it does not know.
        "<UNKNOWN>" => "a scriptlet",
        _ => return format!("the scriptlet {kind}"),
    };
    name.to_owned()
}

/// Whether the database has exactly the packages of the lock.
fn compare(root: &Root, locked: &[&LockedPackage]) -> Result<()> {
    let mut wanted: Vec<Identity> = locked.iter().map(|package| of_lock(package)).collect();
    wanted.sort();
    let found = database::identities(root)?;
    let missing: Vec<String> = wanted.iter().filter(|p| !found.contains(p)).map(ToString::to_string).collect();
    let more: Vec<String> = found.iter().filter(|p| !wanted.contains(p)).map(ToString::to_string).collect();
    if !missing.is_empty() || !more.is_empty() {
        bail!(
            "the image's database does not have the packages of the lock: missing {}; besides {}",
            crate::ui::list(&missing),
            crate::ui::list(&more)
        );
    }
    Ok(())
}

/// Gives the folders that file systems were mounted on the modes that their package gives them.
fn mount_points(root: &Root) -> Result<()> {
    for (path, mode) in database::modes(root, &MOUNT_POINTS)? {
        root.chmod(&path, mode).with_context(|| format!("setting the mode of {}", path.display()))?;
    }
    Ok(())
}

/// Refuses what dnf cannot be asked for.
pub fn check_requests(plan: &Plan) -> Result<()> {
    if let Some(priority) = plan.packages.priorities.first() {
        return Err(usage(format!("packages.priorities: only Debian packages have priorities such as '{priority}'")));
    }
    // dnf takes these for files, which nobody has verified.
    if let Some(file) = plan.packages.include.iter().find(|spec| spec.ends_with(".rpm") || spec.contains("://")) {
        return Err(usage(format!("packages.include: '{file}' is a package file; list it in packages.files")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_name_section_package_and_output() {
        let failure = |message: &str, output: &str| Failure { message: message.into(), output: output.into() };
        for (failure, expected) in [
            (
                failure("Error in POSTIN scriptlet in rpm package bash", "no\nwarning: x\n"),
                "%post of bash failed: no; warning: x",
            ),
            (
                failure("Error in <lua> scriptlet in rpm package bash", ""),
                "the scriptlet <lua> of bash failed: it said nothing",
            ),
            (failure("Error unpacking rpm package bash", "cpio: x"), "Error unpacking rpm package bash: cpio: x"),
        ] {
            assert_eq!(describe(&failure), expected);
        }
    }
}
