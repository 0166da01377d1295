//! The stages of a build, in order.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};

use crate::context::Context;
use crate::emit::{self, Output, Summary};
use crate::error::usage;
use crate::family::{self, Engine, Family, Fetched};
use crate::fetch::{Fetcher, Remote, relative_to_each};
use crate::interrupt;
use crate::lock::{Lock, LockedPackage, LockedRepository, Previous};
use crate::pack::Compression;
use crate::plan::{Plan, Repository};
use crate::root::Root;
use crate::sandbox::{TIME_LIMIT, foreign, userns};
use crate::tools::{Toolbox, Wanted};
use crate::ui::{self, Ui, Unit};
use crate::work::Work;
use crate::{check, clean, customise};

mod packing;

use packing::Packing;

/// How to build, where the recipe has no say.
#[derive(Debug)]
pub struct Options {
    /// The output folder; `None` writes the tar to standard output.
    pub output: Option<PathBuf>,
    /// Compression of the tar.
    pub compression: Compression,
    /// Which engine makes the tree, if not the family's own.
    pub engine: Option<Engine>,
    /// Downloads into the package cache.
    pub fetcher: Fetcher,
    /// Threads at most.
    pub jobs: usize,
    /// Leave the tree there for inspection.
    pub keep: bool,
    /// The recipe as the command line named it, for the notes in the output.
    pub recipe: String,
    /// The words of the command line that decide on the content besides recipe, release, architecture and variant; for
    /// the notes too, so without secrets.
    pub repeat: Vec<String>,
    /// Build exactly this instead of resolving. It is the plan's, see [`Lock::misfit`].
    pub lock: Option<Lock>,
    /// Without a lock to build from, what resolving goes on from.
    pub previous: Option<Previous>,
    /// End after this stage. For the comparison of a tree with the distribution's own tool.
    pub stop_after: Option<Stage>,
    /// The longest a single command in the sandbox may take.
    pub time_limit: Duration,
    /// Where programs come from that are left to others.
    pub tools: Wanted,
}

/// The stages a build can be ended after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Stage {
    /// The packages are installed, nothing else has happened.
    Bootstrap,
    /// The recipe's settings are applied.
    Customise,
    /// The leftovers are gone.
    Clean,
}

/// What a build came to.
#[derive(Debug)]
pub enum Outcome {
    /// The output folder is in place.
    Built(Box<Summary>),
    /// The tar is written to standard output.
    Written,
    /// It was ended early; the tree is here.
    Stopped(PathBuf),
}

/// Builds an image.
pub fn build(plan: &Plan, options: &Options, ui: &Ui) -> Result<Outcome> {
    let family = family::of(plan.family, options.engine)?;
    clean::validate(&plan.clean_skip, family.as_ref())?;
    check::validate(&plan.check_skip, family.as_ref())?;
    let output = options.output.as_deref().map(|path| emit::prepare(path, plan)).transpose()?;

    let mut work = Work::new(ui)?;
    if let Some(output) = &output {
        work.watch(output.staging())?;
    }
    if options.keep || options.stop_after.is_some() {
        work.keep()?;
    }
    let context = Context {
        ui: ui.clone(),
        fetcher: options.fetcher.clone(),
        work,
        jobs: options.jobs,
        time_limit: options.time_limit,
        tools: Toolbox::new(options.tools.clone()),
    };
    let tree = context.work.tree();
    let result = stages(plan, options, family.as_ref(), &context, output);
    let result = result.map_err(or_interrupted);
    if options.keep && tree.exists() {
        let how = if userns::entered() { "; to remove it: unshare --map-root-user --map-auto rm -r" } else { "" };
        ui.info("Kept", format_args!("{}{how}", tree.display()));
    }
    let closed = context.work.close();
    let outcome = result?;
    closed?;
    Ok(outcome)
}

/// Ctrl-C on a terminal reaches the commands of a stage as well: that one of them failed is not what happened.
fn or_interrupted(error: anyhow::Error) -> anyhow::Error {
    interrupt::check_soon().map_or_else(anyhow::Error::from, |()| error)
}

/// The stages, one after the other; each takes the value of the one before.
fn stages(
    plan: &Plan,
    options: &Options,
    family: &dyn Family,
    context: &Context,
    output: Option<Output>,
) -> Result<Outcome> {
    foreign::ensure(plan.arch, context.work.path(), &context.ui)?;
    let lock = lock(plan, options, context, family)?;
    // From here on the time is that of the lock.
    let plan = &Plan { epoch: Some(lock.epoch), ..plan.clone() };
    let packages = fetch(plan, &lock, &context.fetcher, &context.ui)?;
    let begin = clock(&lock)?;

    let root = make_root(context)?;
    let stopped = |stage| {
        interrupt::check()?;
        Ok::<_, anyhow::Error>((options.stop_after == Some(stage)).then(|| Outcome::Stopped(root.path().to_owned())))
    };
    family.bootstrap(context, plan, &lock, &packages, &root).context("installing the packages")?;
    if let Some(outcome) = stopped(Stage::Bootstrap)? {
        return Ok(outcome);
    }
    customise::customise(context, plan, family, &packages, lock.epoch, &root).context("customising the image")?;
    if let Some(outcome) = stopped(Stage::Customise)? {
        return Ok(outcome);
    }
    let installed = family.installed(&root).context("reading the image's package database")?;
    clean::clean(context, plan, family, lock.epoch, &root).context("cleaning the image")?;
    if let Some(outcome) = stopped(Stage::Clean)? {
        return Ok(outcome);
    }
    let owners = &family.owners(&root).context("reading which package owns what")?;
    let packing = Packing { context, plan, family, owners, root: &root, compression: options.compression, begin };
    let Some(output) = output else {
        packing.check_then_print()?;
        return Ok(Outcome::Written);
    };
    let codec = options.compression.codec;
    let mut file = output.create(codec.file_name())?;
    let writing = || format!("writing {} of {}", codec.file_name(), output.path().display());
    let packed = packing.check_and_pack(&mut file, &writing)?;
    interrupt::check()?;
    let image = emit::Image {
        plan,
        lock: &lock,
        installed: &installed,
        packed: &packed,
        codec,
        recipe: &options.recipe,
        options: &options.repeat,
    };
    Ok(Outcome::Built(Box::new(emit::emit(output, &image, &context.ui)?)))
}

/// When the tree's making begins, in seconds since 1970: whatever has an earlier time came with a package, whatever has
/// a later one was written by this build. That holds only if the clock is right.
fn clock(lock: &Lock) -> Result<i64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("reading the clock")?.as_secs() as i64;
    let newest = lock.repositories.iter().map(|r| r.date).max().unwrap_or(now);
    if now < newest {
        bail!(
            "the clock of this host is wrong: it is {} s behind the date of the newest repository of the lock; set it",
            newest - now
        );
    }
    Ok(now)
}

/// The lock given, or a new one from the repositories.
fn lock(plan: &Plan, options: &Options, context: &Context, family: &dyn Family) -> Result<Lock> {
    match &options.lock {
        Some(lock) => Ok(Lock { epoch: plan.epoch.unwrap_or(lock.epoch), ..lock.clone() }),
        None => decide(plan, options.previous.as_ref(), context, family),
    }
}

/// Decides on the packages of an image without building it. With an older lock it goes on from that.
pub fn resolve(
    plan: &Plan,
    previous: Option<&Previous>,
    fetcher: &Fetcher,
    jobs: usize,
    tools: &Wanted,
    ui: &Ui,
) -> Result<Lock> {
    let family = family::of(plan.family, None)?;
    in_context(fetcher, jobs, tools, ui, |context| decide(plan, previous, context, family.as_ref()))
}

/// Brings the programs into the cache that a build leaves to others, if it does and the host's do not serve.
pub fn provide_tools(plan: &Plan, fetcher: &Fetcher, jobs: usize, tools: &Wanted, ui: &Ui) -> Result<()> {
    let family = family::of(plan.family, None)?;
    in_context(fetcher, jobs, tools, ui, |context| family.provide_tools(context))
}

/// Does something that is less than a build.
fn in_context<T>(
    fetcher: &Fetcher,
    jobs: usize,
    tools: &Wanted,
    ui: &Ui,
    work: impl FnOnce(&Context) -> Result<T>,
) -> Result<T> {
    let context = Context {
        ui: ui.clone(),
        fetcher: fetcher.clone(),
        work: Work::new(ui)?,
        jobs,
        time_limit: TIME_LIMIT,
        tools: Toolbox::new(tools.clone()),
    };
    let result = work(&context).map_err(or_interrupted);
    let closed = context.work.close();
    let result = result?;
    closed?;
    Ok(result)
}

fn decide(plan: &Plan, previous: Option<&Previous>, context: &Context, family: &dyn Family) -> Result<Lock> {
    let step = context.ui.step("Resolving");
    let lock = family.resolve(context, plan, previous).context("resolving the packages")?;
    // Sizes come from indexes, and may say anything.
    let size = lock.packages.iter().fold(0, |sum: u64, p| sum.saturating_add(p.size));
    step.done(format_args!("{} packages, {}", lock.packages.len(), ui::bytes(size)));
    tell_damaged(&context.fetcher, &context.ui);
    Ok(lock)
}

/// Says which entries of the cache were damaged: the disk may be at fault.
fn tell_damaged(fetcher: &Fetcher, ui: &Ui) {
    for name in fetcher.take_damaged() {
        ui.warn(format_args!("the cache's copy of {name} was damaged, and it was fetched again"));
    }
}

/// Brings every package of the lock into the cache.
pub fn fetch(plan: &Plan, lock: &Lock, fetcher: &Fetcher, ui: &Ui) -> Result<Vec<Fetched>> {
    let step = ui.step("Fetching");
    let offline = fetcher.is_offline();
    let remotes = lock.packages.iter().map(|p| remote(plan, lock, p, offline)).collect::<Result<Vec<_>>>()?;
    let total = remotes.iter().fold(0, |sum: u64, r| sum.saturating_add(r.size));
    let bar = step.bar(total, Unit::Bytes);
    let files = fetcher.fetch_all(&remotes, &|n| bar.add(n)).context("fetching the packages")?;
    drop(bar);
    tell_damaged(fetcher, ui);
    step.done(format_args!("{} packages", files.len()));
    Ok(lock.packages.iter().cloned().zip(files).map(|(package, file)| Fetched { package, file }).collect())
}

/// Where a locked package is to be had. Offline it need not be known.
fn remote(plan: &Plan, lock: &Lock, package: &LockedPackage, offline: bool) -> Result<Remote> {
    let urls = if package.repository.is_empty() {
        let file = plan.packages.files.iter().find(|(_, name)| *name == package.path);
        let (path, _) = file.ok_or_else(|| {
            usage(format!("the lock names the package file {}, and the recipe does not; renew the lock", package.path))
        })?;
        vec![format!("file://{}", path.display())]
    } else {
        let repository = plan.repositories.iter().find(|r| r.name == package.repository).ok_or_else(|| {
            usage(format!(
                "the lock has {} from the repository '{}', and the recipe has none of that name; renew the lock",
                package.name, package.repository
            ))
        })?;
        let mirrors = mirrors(repository, lock);
        if mirrors.is_empty() && !offline {
            return Err(usage(format!(
                "the lock has no address of the repository '{0}', for it was made with a mirror of the build; name that \
                 with --mirror {0}=URL, or renew the lock",
                repository.name
            )));
        }
        relative_to_each(&mirrors, &package.path).with_context(|| format!("the package {}", package.name))?
    };
    Ok(Remote {
        urls,
        sha256: package.sha256.clone(),
        size: package.size,
        name: format!("{} {} ({})", package.name, package.version, package.arch),
    })
}

/// Where a repository's packages are: at the build's mirrors, or where a list of mirrors led when the lock was made. By
/// now it may lead to others, which need not have these packages.
fn mirrors(repository: &Repository, lock: &Lock) -> Vec<String> {
    let Some(list) = repository.list() else { return repository.build_urls.clone() };
    let locked = lock.repositories.iter().filter(|locked| locked.name == repository.name);
    locked.flat_map(LockedRepository::addresses).map(|url| list.with_credentials(url)).collect()
}

/// The empty folder that becomes the image, with the mode every root folder has.
fn make_root(context: &Context) -> Result<Root> {
    let path = context.work.tree();
    std::fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
    let root = Root::open(path)?;
    root.chmod("/", 0o755)?;
    Ok(root)
}
