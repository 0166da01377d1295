//! The tools tree: found in the cache, or made there with the deb engine.

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow};

use super::Wanted;
use super::shelf::{Missing, Shelf, Tree};
use crate::build::fetch;
use crate::context::Context;
use crate::family;
use crate::hash::sha256;
use crate::lock::Lock;
use crate::plan::Plan;
use crate::recipe::{self, FamilyKind, Overrides};
use crate::root::Root;
use crate::sandbox::tools::{PROGRAMS, SETTINGS};

/// The recipe of the tools tree.
const RECIPE: &str = "tools/dnf";
/// When the packages of the tree are looked up again.
const AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// What programs do not read.
const UNUSED: [&str; 6] = ["doc", "info", "lintian", "locale", "man", "perl"];

/// What the cache has.
enum Found {
    /// The tree, made lately enough.
    Fresh(Tree),
    /// One that was made long ago.
    Old(Tree),
    /// The lock of one that is not there, or damaged.
    Lock(Box<Lock>),
    /// Nothing that is of use.
    Nothing,
}

/// The tree, made if it is not there, or if that is wanted.
pub fn get(context: &Context, wanted: &Wanted) -> Result<Tree> {
    let overrides = Overrides { mirrors: wanted.mirrors.clone(), auth: recipe::credentials(), ..Overrides::default() };
    let plan = recipe::load_own(RECIPE, &overrides).context("reading the recipe of the tools tree")?;
    let shelf = Shelf::new(context.fetcher.cache());
    if let (Found::Fresh(tree), false) = (find(context, &shelf, &plan)?, wanted.refresh) {
        return Ok(tree);
    }
    shelf.prepare()?;
    let waiting = || context.ui.info("Waiting", "for another build that makes the tools tree");
    let _alone = shelf.alone(waiting)?;
    // Another build may just have made it.
    let old = match find(context, &shelf, &plan)? {
        Found::Fresh(tree) if !wanted.refresh => return Ok(tree),
        Found::Lock(lock) if !wanted.refresh => return make(context, &shelf, &plan, Some(*lock)),
        Found::Fresh(tree) | Found::Old(tree) => Some(tree),
        Found::Lock(_) | Found::Nothing => None,
    };
    match (make(context, &shelf, &plan, None), old) {
        (Err(error), Some(tree)) if !wanted.refresh && error.downcast_ref::<crate::error::Interrupted>().is_none() => {
            context.ui.warn(format_args!("the tools tree is old, and cannot be made anew: {error:#}"));
            Ok(tree)
        }
        (made, _) => made,
    }
}

/// Looks at what the cache has for a plan.
fn find(context: &Context, shelf: &Shelf, plan: &Plan) -> Result<Found> {
    let path = shelf.lock(plan.arch.deb);
    let Ok(text) = fs::read_to_string(&path) else { return Ok(Found::Nothing) };
    let age = fs::metadata(&path).and_then(|m| m.modified()).map(|time| SystemTime::now().duration_since(time));
    let is_old = age.is_ok_and(|age| age.is_ok_and(|age| age > AGE)) && !context.fetcher.is_offline();
    let lock = match Lock::parse(&text, &path.display().to_string()) {
        Ok(lock) if lock.misfit(plan)?.is_none() => lock,
        // Of another version of the recipe, or damaged.
        _ => return Ok(Found::Nothing),
    };
    Ok(match shelf.find(&sha256(&text))? {
        Ok(tree) if is_old => Found::Old(tree),
        Ok(tree) => Found::Fresh(tree),
        Err(_) if is_old => Found::Nothing,
        Err(why) => {
            if why == Missing::Damaged {
                context.ui.warn("the tools tree in the cache was damaged, and is made anew");
            }
            Found::Lock(Box::new(lock))
        }
    })
}

/// Makes the tree, of the packages of a lock or of the newest.
fn make(context: &Context, shelf: &Shelf, plan: &Plan, lock: Option<Lock>) -> Result<Tree> {
    let what = "making the tools tree";
    let step = context.ui.step("Tooling");
    let deb = family::of(FamilyKind::Deb, None)?;
    let lock = match lock {
        Some(lock) => lock,
        None if context.fetcher.is_offline() => {
            return Err(anyhow!(
                "without the network, and the cache has no tools tree; let 'mkbase fetch' make it, with the same \
                 recipe and options"
            ));
        }
        None => deb.resolve(context, plan, None).context("resolving its packages").context(what)?,
    };
    let plan = &Plan { epoch: Some(lock.epoch), ..plan.clone() };
    let packages = fetch(plan, &lock, &context.fetcher, &context.ui).context(what)?;
    let text = lock.to_text()?;
    let digest = sha256(&text);
    let (folder, root) = shelf.begin().context(what)?;
    context.work.watch(folder.path())?;
    deb.bootstrap(context, plan, &lock, &packages, &root).context("installing its packages").context(what)?;
    strip(&root).context("removing what no program reads").context(what)?;
    shelf.put(folder, &root, &digest)?;
    shelf.write_lock(plan.arch.deb, &text)?;
    shelf.tidy()?;
    let tree = shelf.find(&digest)?.map_err(|why| anyhow!("the new tools tree is {why:?}").context(what))?;
    step.done(format_args!("{} packages in {}", packages.len(), tree.root().display()));
    Ok(tree)
}

/// Removes what the sandbox does not show, and what programs do not read.
fn strip(root: &Root) -> Result<()> {
    for name in root.read_dir("/")? {
        if !PROGRAMS.iter().any(|kept| name == *kept) && name != "etc" {
            root.remove_all(&name)?;
        }
    }
    for name in root.read_dir("etc")? {
        if !SETTINGS.iter().any(|kept| name == *kept) {
            root.remove_all(std::path::Path::new("etc").join(name))?;
        }
    }
    UNUSED.iter().try_for_each(|name| root.remove_all(std::path::Path::new("usr/share").join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch;

    #[test]
    fn the_recipe_of_the_tools_tree_is_right() {
        let plan = recipe::load_own(RECIPE, &Overrides::default()).expect("it loads");
        assert_eq!((plan.family, plan.arch), (FamilyKind::Deb, arch::host().expect("a known machine")));
        assert!(plan.packages.include.iter().any(|name| name == "dnf"));
        assert!(recipe::names().all(|name| !name.contains('/')), "it is no recipe for images");
    }

    #[test]
    fn what_no_program_reads_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Root::open(folder.path()).expect("it opens");
        for path in ["usr/share/doc/dnf", "usr/share/dnf", "usr/bin", "etc/dnf", "etc/alternatives", "var/lib", "root"]
        {
            root.create_dir_all(path, 0o755).expect("a folder");
        }
        root.symlink("usr/bin", "bin").expect("a link");
        root.write("etc/ld.so.cache", "x", 0o644).expect("a file");
        strip(&root).expect("it goes");
        let left: Vec<_> = root.walk("").expect("a walk").iter().map(|e| e.path.display().to_string()).collect();
        let expected =
            ["bin", "etc", "etc/alternatives", "etc/ld.so.cache", "usr", "usr/bin", "usr/share", "usr/share/dnf"];
        assert_eq!(left, expected);
    }
}
