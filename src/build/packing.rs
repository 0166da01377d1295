//! Checking and packing: the last two stages on the tree, one beside the other where that goes.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::family::{Family, Owners};
use crate::pack::{self, Clock, Compression, Listing, Packed, Reuse};
use crate::plan::Plan;
use crate::root::Root;
use crate::ui::{self, Ui, Unit};
use crate::{check, interrupt};

/// The last two stages on the tree.
pub struct Packing<'a> {
    /// What every stage may use.
    pub context: &'a Context,
    /// With the epoch of the lock.
    pub plan: &'a Plan,
    /// Whose packages they are.
    pub family: &'a dyn Family,
    /// Which package has what in the clean tree: for the checks, and for the order of the tar.
    pub owners: &'a Owners,
    /// The tree.
    pub root: &'a Root,
    /// Compression of the tar.
    pub compression: Compression,
    /// When the making of the tree began, in seconds since 1970.
    pub begin: i64,
}

impl Packing<'_> {
    /// Packs to standard output, once the checks have passed: what is written there cannot be taken back.
    pub fn check_then_print(&self) -> Result<()> {
        self.check()?;
        let packed = self.pack(&self.listing()?, &AtomicBool::new(false), &mut std::io::stdout().lock());
        packed.context("writing the tar to standard output").map(|_| ())
    }

    fn check(&self) -> Result<()> {
        check::check(self.context, self.plan, self.family, self.owners, self.root).context("checking the image")?;
        Ok(interrupt::check()?)
    }

    /// Packs while the checks run, if they leave the tree as it is. If one fails, the tarball goes with the staging
    /// folder it is in.
    pub fn check_and_pack(&self, out: &mut dyn Write, writing: &dyn Fn() -> String) -> Result<Packed> {
        let unwanted = AtomicBool::new(false);
        let beside = self.family.checks_only_read();
        if !beside {
            self.check()?;
        }
        // Made first: where the tree has no folders to mount `/proc` and the like on, they are there during a check.
        let listing = self.listing().with_context(writing)?;
        std::thread::scope(|scope| {
            let check = || {
                let checked = self.check();
                if checked.is_err() {
                    unwanted.store(true, Ordering::Relaxed);
                }
                checked
            };
            let checking = beside.then(|| scope.spawn(check));
            let packed = self.pack(&listing, &unwanted, out).with_context(writing);
            if let Some(checking) = checking {
                checking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            packed
        })
    }

    fn listing(&self) -> Result<Listing> {
        let epoch = self.plan.epoch.context("packing without an epoch")?;
        Listing::new(self.root, &self.owners.paths, Clock { epoch, build_start: self.begin })
    }

    fn pack(&self, listing: &Listing, unwanted: &AtomicBool, out: &mut dyn Write) -> Result<Packed> {
        let step = self.context.ui.step("Packing");
        let bar = step.bar(0, Unit::Bytes);
        let settings = pack::Settings {
            compression: self.compression,
            jobs: self.context.jobs,
            cache: Some(&self.context.fetcher),
            unwanted,
        };
        let packed = pack::pack(self.root, listing, settings, out, &bar)?;
        drop(bar);
        step.done(format_args!("{} into {}", ui::bytes(packed.unpacked), ui::bytes(packed.packed)));
        tell_reuse(&packed.reuse, &self.context.ui);
        Ok(packed)
    }
}

/// Says what the cache had of a tarball, and what was wrong with it.
fn tell_reuse(reuse: &Reuse, ui: &Ui) {
    if reuse.segments > 0 {
        ui.detail(format_args!("{} of {} segments were in the cache, compressed", reuse.cached, reuse.segments));
    }
    if reuse.damaged > 0 {
        ui.warn(format_args!("damaged segments in the cache, which were compressed again: {}", reuse.damaged));
    }
    if let Some(why) = &reuse.not_kept {
        ui.detail(format_args!("compressed segments are not kept for the next build: {why}"));
    }
}
