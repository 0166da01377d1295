//! The alternative engine: drives the real debootstrap, debootstrap(8), of the host or of the tools tree, over a
//! throw-away repository that holds exactly the locked packages.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::archive::Deb;
use super::control::Paragraph;
use super::database::{ADMIN, Name};
use super::extended;
use super::native::{graph, open};
use super::order::Graph;
use crate::context::Context;
use crate::family::Fetched;
use crate::family::host_tool::PREPARE;
use crate::hash::sha256;
use crate::lock::Role;
use crate::plan::Plan;
use crate::root::Root;
use crate::sandbox::Sandbox;
use crate::tools::{TARGET, Tools};

/// How to get debootstrap.
const INSTALL: &str =
    "apt-get install debootstrap, dnf install debootstrap, or apk add debootstrap; or use --engine native";
/// Where debootstrap keeps what it knows of suites.
const SCRIPTS: &str = "usr/share/debootstrap/scripts";
/// Where debootstrap of the tools tree finds the repository.
const REPOSITORY: &str = "/mkbase/repository";
/// Where it finds the package files, which the repository links to.
const PACKAGES: &str = "/mkbase/packages";
/// Scripts that fit every later suite of a distribution: debootstrap links those of new releases to them.
const DEBIAN_SCRIPT: &str = "sid";
const UBUNTU_SCRIPT: &str = "gutsy";
/// Packages that debootstrap's scripts add by themselves, depending on the suite, whether they exist or not.
const ADDED: [&str; 2] = ["apt", "usr-is-merged"];

/// Makes an installed tree of the packages in the empty root with debootstrap.
pub fn bootstrap(context: &Context, plan: &Plan, packages: &[Fetched], root: &Root) -> Result<()> {
    let step = context.ui.step("Bootstrapping");
    let tools = context.tools.debootstrap(context, INSTALL)?;
    let packages: Vec<&Fetched> = packages.iter().filter(|p| p.package.role != Role::Tool).collect();
    let (debs, names) = open(context.jobs, plan, &packages)?;
    if let Some(foreign) = names.iter().find(|n| n.arch != plan.arch.deb && n.arch != "all") {
        bail!(
            "debootstrap cannot install {} of the architecture {} into an image for {}; use --engine native",
            foreign.name,
            foreign.arch,
            plan.arch.deb
        );
    }
    let graph = graph(&debs, &packages)?;
    let mut required = graph.closure((0..debs.len()).filter(|p| graph.is_required(*p)));
    if required.len() == debs.len() {
        // debootstrap fails where nothing comes after the required packages.
        graph.unneeded(&required).map(|last| required.remove(&last));
    }
    let repository = context.work.path().join("debootstrap");
    for path in [&repository, &root.path().to_owned()] {
        if tools == Tools::Host && path.to_string_lossy().contains(char::is_whitespace) {
            bail!(
                "debootstrap cannot work in {}: the path has a blank in it; set TMPDIR to another folder",
                path.display()
            );
        }
    }
    let set = Set { packages: &packages, debs: &debs, graph: &graph, required: &required };
    write_repository(&repository, plan, &set, tools != Tools::Host)?;

    // Where the image is mounted on by PREPARE; debootstrap and base-files leave a folder that is there alone.
    root.create_dir("dev", 0o755)?;
    let included: Vec<&str> =
        (0..names.len()).filter(|p| !required.contains(p)).map(|p| names[p].name.as_str()).collect();
    let excluded: Vec<&str> = ADDED.into_iter().filter(|a| graph.find(a).is_empty()).collect();
    let mut arguments = vec![
        format!("--arch={}", plan.arch.deb),
        "--variant=minbase".to_string(),
        // Every package file was verified against the lock, and the lock came from a signed index.
        "--no-check-gpg".to_string(),
        // The set is complete, and its required part is marked as such in the index.
        "--no-resolve-deps".to_string(),
        "--components=main".to_string(),
    ];
    for (option, list) in [("--include", &included), ("--exclude", &excluded)] {
        if !list.is_empty() {
            arguments.push(format!("{option}={}", list.join(",")));
        }
    }
    let (target, source) = match &tools {
        Tools::Host => (root.path(), repository.as_path()),
        Tools::Tree(_) => (Path::new(TARGET), Path::new(REPOSITORY)),
    };
    arguments.extend([
        plan.release.clone(),
        target.display().to_string(),
        format!("file:{}", source.display()),
        script(&tools.path().join(SCRIPTS), &plan.release, &names)?,
    ]);
    let host = Root::open("/")?;
    let mut sandbox = match &tools {
        Tools::Host => Sandbox::on_host(&host, "/bin/sh"),
        Tools::Tree(tree) => Sandbox::beside(root, tree, true, "/bin/sh").bind(&repository, REPOSITORY),
    };
    if tools != Tools::Host {
        for (i, package) in packages.iter().enumerate() {
            sandbox = sandbox.bind(&package.file, format!("{PACKAGES}/{i}.deb"));
        }
    }
    let sandbox = sandbox
        .args(["-c", PREPARE, "sh"])
        .arg(target)
        .arg("debootstrap")
        .args(&arguments)
        .time_limit(context.time_limit)
        // Then debootstrap does not insist on making devices itself.
        .env("container", "lxc");
    context.ui.detail(format_args!("$ debootstrap {}", arguments.join(" ")));
    let output = sandbox.output().context("running debootstrap")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    for line in stdout.lines() {
        context.ui.detail(line);
    }
    if output.code != 0 {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let log = root.read_text_if_there("debootstrap/debootstrap.log")?.unwrap_or_default();
        let said: Vec<&str> = log.lines().rev().take(20).collect();
        let said: Vec<&str> = said.into_iter().rev().chain(stderr.lines()).collect();
        let reason = stdout.lines().chain(stderr.lines()).find(|l| l.starts_with("E:")).unwrap_or("it gave no reason");
        bail!(
            "debootstrap ended with exit code {}: {}; its log ends with:\n    {}",
            output.code,
            reason.trim_start_matches("E:").trim(),
            said.join("\n    ")
        );
    }
    tidy(root, !graph.find("apt").is_empty())?;
    restore_priorities(root, &debs)?;
    std::fs::remove_dir_all(&repository).with_context(|| format!("removing {}", repository.display()))?;
    extended::write(plan, &packages, root)?;
    step.done(format_args!("{} packages with debootstrap", packages.len()));
    Ok(())
}

/// The name of debootstrap's script: that of the release, or for one that is newer than the host's debootstrap that
/// of its distribution.
fn script(folder: &Path, release: &str, names: &[Name]) -> Result<String> {
    if folder.join(release).exists() {
        return Ok(release.to_string());
    }
    let ubuntu = names.iter().any(|n| n.name == "base-files" && n.version.contains("ubuntu"));
    let general = if ubuntu { UBUNTU_SCRIPT } else { DEBIAN_SCRIPT };
    if !folder.join(general).exists() {
        bail!(
            "this debootstrap knows neither {release} nor {general} ({} has no such file); \
             install a newer one ({INSTALL})",
            folder.display()
        );
    }
    Ok(general.to_string())
}

struct Set<'a> {
    packages: &'a [&'a Fetched],
    debs: &'a [Deb],
    graph: &'a Graph<'a>,
    required: &'a BTreeSet<usize>,
}

/// A repository of one suite and one component, with links to the files of the cache, or where they are `bound`.
fn write_repository(folder: &Path, plan: &Plan, set: &Set<'_>, bound: bool) -> Result<()> {
    let pool = folder.join("pool");
    let suite = folder.join("dists").join(&plan.release);
    let binary = format!("main/binary-{}", plan.arch.deb);
    for folder in [&pool, &suite.join(&binary)] {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let mut index = String::new();
    for (i, package) in set.packages.iter().enumerate() {
        let name = format!("pool/{i}.deb");
        let file = if bound {
            PathBuf::from(format!("{PACKAGES}/{i}.deb"))
        } else {
            std::path::absolute(&package.file).with_context(|| format!("resolving {}", package.file.display()))?
        };
        symlink(&file, folder.join(&name)).with_context(|| format!("linking {name} to {}", file.display()))?;
        index.push_str(&stanza(set, i, &name));
        index.push('\n');
    }
    let sum = sha256(index.as_bytes());
    let release = format!(
        "Suite: {0}\nCodename: {0}\nArchitectures: {1}\nComponents: main\nSHA256:\n {sum} {2} {binary}/Packages\n",
        plan.release,
        plan.arch.deb,
        index.len()
    );
    write(&suite.join(binary).join("Packages"), &index)?;
    write(&suite.join("Release"), &release)
}

fn write(path: &PathBuf, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// A package's paragraph in the index. Its dependencies are those it has inside the set, one name each, because
/// debootstrap takes the first alternative whether it is there or not.
fn stanza(set: &Set<'_>, index: usize, file: &str) -> String {
    let (package, control) = (&set.packages[index].package, set.debs[index].control());
    let mut text = Paragraph::default();
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            text.set(name, value);
        }
    };
    add("Package", &package.name);
    add("Version", &package.version);
    add("Architecture", &package.arch);
    for name in ["Essential", "Multi-Arch", "Maintainer", "Installed-Size", "Section"] {
        add(name, control.field(name));
    }
    add("Priority", if set.required.contains(&index) { "required" } else { control.field("Priority") });
    for (name, needs) in [("Pre-Depends", set.graph.pre_depends(index)), ("Depends", set.graph.depends(index))] {
        let needs: Vec<&str> = needs.iter().map(|n| set.packages[*n].package.name.as_str()).collect();
        add(name, &needs.join(", "));
    }
    add("Filename", file);
    add("Size", &package.size.to_string());
    add("SHA256", &package.sha256);
    add("Description", control.field("Description").lines().next().unwrap_or_default());
    text.to_string()
}

/// Takes away what debootstrap leaves of the host, of the throw-away repository and of its own work.
fn tidy(root: &Root, apt: bool) -> Result<()> {
    if !apt {
        // debootstrap downloads to apt's folders whether there is apt or not.
        for path in ["var/lib/apt", "var/cache/apt", "var/lib/dpkg/cmethopt"] {
            root.remove_all(path)?;
        }
    }
    for file in ["etc/resolv.conf", "etc/hostname", "etc/fstab", "etc/apt/sources.list", "var/log/bootstrap.log"] {
        root.remove_file(file)?;
    }
    if !apt && root.lstat("etc/apt")?.is_some() && root.read_dir("etc/apt")?.is_empty() {
        root.remove_dir("etc/apt")?;
    }
    // The index of the throw-away repository.
    root.remove_file(format!("{ADMIN}/available"))?;
    for folder in ["var/cache/apt/archives", "var/lib/apt/lists"] {
        for name in root.read_dir(folder)? {
            // `partial` and `lock` are apt's own.
            let path = Path::new(folder).join(name);
            if root.lstat(&path)?.is_some_and(|s| crate::root::kind(&s) == crate::root::Kind::File) {
                root.remove_file(&path)?;
            }
        }
    }
    // mount(8) kept its notes there.
    root.remove_all("run/mount")
}

/// dpkg took the priorities of the throw-away index over into its database, where every package that debootstrap was to
/// unpack first is called required. They become what the packages themselves say.
fn restore_priorities(root: &Root, debs: &[Deb]) -> Result<()> {
    let priorities: BTreeMap<&str, &str> =
        debs.iter().map(|d| (d.control().field("Package"), d.control().field("Priority"))).collect();
    for file in ["status", "status-old"] {
        let path = format!("{ADMIN}/{file}");
        let Some(text) = root.read_text_if_there(&path)? else { continue };
        let mut restored = String::new();
        for mut paragraph in Paragraph::parse_all(&text).with_context(|| format!("reading /{path}"))? {
            match priorities.get(paragraph.required("Package")?) {
                Some(priority) if !priority.is_empty() => paragraph.set("Priority", *priority),
                _ => {
                    paragraph.remove("Priority");
                }
            }
            restored.push_str(&format!("{paragraph}\n"));
        }
        root.write(&path, restored, 0o644)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_of_a_release_that_debootstrap_does_not_know() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let name = |version: &str| {
            let text = format!("Package: base-files\nVersion: {version}\nArchitecture: amd64\n");
            let fields = Paragraph::parse(&text).expect("good");
            Name::new(&super::super::archive::Control { fields, files: Vec::new() }).expect("good")
        };
        let (debian, ubuntu) = ([name("13")], [name("12ubuntu4")]);
        let error = script(dir.path(), "forky", &debian).expect_err("no scripts").to_string();
        assert!(error.contains("forky") && error.contains("apt-get install debootstrap"), "{error}");
        for script in ["trixie", DEBIAN_SCRIPT, UBUNTU_SCRIPT] {
            std::fs::write(dir.path().join(script), "").expect("a file");
        }
        assert_eq!(script(dir.path(), "trixie", &debian).expect("known"), "trixie");
        assert_eq!(script(dir.path(), "forky", &debian).expect("general"), DEBIAN_SCRIPT);
        assert_eq!(script(dir.path(), "zany", &ubuntu).expect("general"), UBUNTU_SCRIPT);
    }
}
