//! The native engine: unpacks the packages, writes dpkg's database, runs the maintainer scripts.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};

use super::archive::{Control, Deb};
use super::configure::{Packages, configure};
use super::database::{self, Name};
use super::extended;
use super::order::Graph;
use super::unpack::unpack;
use crate::context::Context;
use crate::error::usage;
use crate::family::Fetched;
use crate::lock::Role;
use crate::parallel::parallel;
use crate::plan::Plan;
use crate::root::Root;
use crate::ui::Unit;

/// Makes an installed tree of the packages in the empty root, without any program of the host. Packages of
/// [`Role::Tool`] are left out.
pub fn bootstrap(context: &Context, plan: &Plan, packages: &[Fetched], root: &Root) -> Result<()> {
    let packages: Vec<&Fetched> = packages.iter().filter(|p| p.package.role != Role::Tool).collect();
    let step = context.ui.step("Unpacking");
    let (debs, names) = open(context.jobs, plan, &packages)?;
    let order = graph(&debs, &packages)?.order();
    // From here on an index is a place in the order of installation.
    let debs = permute(debs, &order);
    let names = permute(names, &order);
    let packages = permute(packages, &order);
    let graph = graph(&debs, &packages)?;
    let order: Vec<usize> = (0..debs.len()).collect();

    let total = debs.iter().map(Deb::data_size).sum();
    let bar = step.bar(total, Unit::Bytes);
    let outcome = unpack(&context.ui, context.jobs, &debs, root, &bar)?;
    drop(bar);
    let unpacked: Vec<(&Name, &Control, _)> = names
        .iter()
        .zip(&debs)
        .zip(&outcome.packages)
        .filter_map(|((name, deb), unpacked)| Some((name, deb.control(), unpacked.as_ref()?)))
        .collect();
    database::write(root, &unpacked)?;
    step.done(format_args!("{} packages", debs.len()));

    let step = context.ui.step("Configuring");
    before_scripts(root, &names)?;
    for required in graph.closure(order.iter().copied().filter(|i| graph.is_required(*i))) {
        if let Some(unpacked) = &outcome.packages[required] {
            database::place_conffiles(root, debs[required].control(), unpacked)
                .with_context(|| format!("placing the configuration files of {}", names[required].name))?;
        }
    }
    let for_dpkg: Vec<(usize, &Fetched)> =
        order.iter().filter(|i| outcome.packages[**i].is_none()).map(|i| (*i, packages[*i])).collect();
    let preinsts = order
        .iter()
        .filter(|i| outcome.packages[**i].is_some() && debs[**i].control().file("preinst").is_some())
        .map(|i| (*i, debs[*i].control()))
        .collect();
    let set = Packages { names: &names, graph: &graph, order: &order, preinsts: &preinsts, for_dpkg };
    configure(context, root, plan.epoch, &set)?;
    extended::write(plan, &packages, root)?;
    step.done(format_args!("{} packages", debs.len()));
    Ok(())
}

/// The dependencies between opened packages.
pub fn graph<'d>(debs: &'d [Deb], packages: &[&Fetched]) -> Result<Graph<'d>> {
    Graph::new(debs.iter().zip(packages).map(|(deb, fetched)| (&deb.control().fields, fetched.package.role)))
}

/// Reads every control archive, and checks that each package is the one that the lock names.
pub fn open(jobs: usize, plan: &Plan, packages: &[&Fetched]) -> Result<(Vec<Deb>, Vec<Name>)> {
    let all: Vec<usize> = (0..packages.len()).collect();
    let opened = parallel(jobs, &all, |i| {
        let Fetched { package, file } = packages[i];
        let deb =
            Deb::open(file).with_context(|| format!("opening the package {} {}", package.name, package.version))?;
        let name = Name::new(deb.control()).with_context(|| format!("reading {}", file.display()))?;
        if (&name.name, &name.version, &name.arch) != (&package.name, &package.version, &package.arch) {
            bail!(
                "{} is {} {} {}, but the lock says {} {} {}; make the lock anew",
                file.display(),
                name.name,
                name.version,
                name.arch,
                package.name,
                package.version,
                package.arch
            );
        }
        Ok((deb, name))
    })?;
    if !opened.iter().any(|(_, name)| name.name == "dpkg") {
        if plan.packages.exclude.iter().any(|name| name == "dpkg") {
            return Err(usage(
                "the image is to have no dpkg, which configures its packages; take it out of packages.exclude",
            ));
        }
        bail!(
            "no repository of the recipe has dpkg as an essential package, and it configures the others; add one that has"
        );
    }
    let mut seen = BTreeSet::new();
    for (_, name) in &opened {
        if !seen.insert((&name.name, &name.arch)) {
            bail!("the lock has {} for {} twice", name.name, name.arch);
        }
    }
    Ok(opened.into_iter().unzip())
}

fn permute<T>(items: Vec<T>, order: &[usize]) -> Vec<T> {
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    order.iter().filter_map(|i| items[*i].take()).collect()
}

/// What debootstrap puts there before any script runs, and scripts look for.
fn before_scripts(root: &Root, names: &[Name]) -> Result<()> {
    if names.iter().any(|n| n.name == "apt") {
        root.write(format!("{}/cmethopt", database::ADMIN), "apt apt\n", 0o644)?;
    }
    // The time zone is UTC until it is chosen. Without the link, the package tzdata would ask for one.
    if root.exists("etc") && root.lstat("etc/localtime")?.is_none() {
        root.symlink("/usr/share/zoneinfo/UTC", "etc/localtime")?;
    }
    Ok(())
}
