//! `mkbase check`: the image checklist on any tree, tarball or output folder.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::check::{Fault, Settings, check_tree};
use crate::cli::CheckArgs;
use crate::codec::Codec;
use crate::emit;
use crate::error::{Faults, usage};
use crate::family;
use crate::pack;
use crate::root::Root;
use crate::ui::{Ui, bytes};
use crate::work::Work;

/// Checks what the arguments name. Faults go to standard output, a line each, and are an error.
pub fn check(arguments: &CheckArgs, ui: &Ui) -> Result<()> {
    let path = &arguments.path;
    let metadata = path.metadata().map_err(|error| usage(format!("looking at {}: {error}", path.display())))?;
    let faults = if metadata.is_file() {
        check_tarball(path, arguments, ui)?
    } else if path.join(emit::LOCK).is_file() && path.join(emit::CHECKSUMS).is_file() {
        emit::checksums::verify(path).with_context(|| format!("checking the output folder {}", path.display()))?;
        check_tarball(&tarball_of(path)?, arguments, ui)?
    } else {
        look(&Root::open(path)?, arguments, ui)?
    };
    for fault in &faults {
        super::print(format!("{}: {}\n", fault.check, fault.message))?;
    }
    match faults.len() {
        0 => {
            ui.info("Passed", path.display());
            Ok(())
        }
        count => Err(Faults(count).into()),
    }
}

/// The tarball of an output folder.
fn tarball_of(folder: &Path) -> Result<PathBuf> {
    let found = Codec::ALL.into_iter().map(|codec| folder.join(codec.file_name())).find(|path| path.is_file());
    match found {
        Some(path) => Ok(path),
        None => bail!("{} holds no rootfs.tar in any compression", folder.display()),
    }
}

fn check_tarball(path: &Path, arguments: &CheckArgs, ui: &Ui) -> Result<Vec<Fault>> {
    let work = Work::new(ui)?;
    let tree = work.tree();
    std::fs::create_dir(&tree).with_context(|| format!("making {}", tree.display()))?;
    let root = Root::open(&tree)?;
    let step = ui.step("Extracting");
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let extracted = pack::extract(file, &root).with_context(|| format!("extracting {}", path.display()))?;
    for omitted in &extracted.omitted {
        ui.warn(format_args!("the device node /{} cannot be made here and is not checked", omitted.display()));
    }
    step.done(format_args!("{} entries, {}", extracted.entries, bytes(extracted.bytes)));
    let faults = look(&root, arguments, ui);
    work.close()?;
    faults
}

fn look(root: &Root, arguments: &CheckArgs, ui: &Ui) -> Result<Vec<Fault>> {
    let family = family::of_tree(root)?;
    let mut settings = Settings::of_tree(root)?;
    // One list serves both: what is no leftover to the user is no fault either.
    let is_clean = |name: &String| crate::clean::validate(std::slice::from_ref(name), family.as_ref()).is_ok();
    let (clean, check): (Vec<_>, Vec<_>) = arguments.skip.iter().cloned().partition(is_clean);
    settings.clean_skip.extend(clean);
    let step = ui.step("Checking");
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let owners = family.owners(root).context("reading which package owns what")?;
    let faults = check_tree(ui, family.as_ref(), &owners, root, &settings, &check, jobs)?;
    step.done(format_args!("{} fault{}", faults.len(), if faults.len() == 1 { "" } else { "s" }));
    Ok(faults)
}
