//! Emit: the output folder, put in place with one rename.
//!
//! [`prepare`] is called before a build begins, so that a folder that cannot be written or must not be replaced is known
//! at once; [`emit`] after packing. Nothing written here depends on the user, the host, the clock or the place.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::codec::Codec;
use crate::family::Installed;
use crate::hash::sha256;
use crate::lock::Lock;
use crate::pack::Packed;
use crate::plan::Plan;
use crate::ui::Ui;

pub mod checksums;
mod dockerfile;
mod manifest;
mod output;
mod quote;
mod summary;

#[cfg(test)]
mod tests;

pub use output::Output;
pub use summary::Summary;

/// The lock's name in an output folder.
pub const LOCK: &str = "mkbase.lock";
/// The name of the file with the hashes of all others.
pub const CHECKSUMS: &str = "SHA256SUMS";
/// The manifest's name.
pub const MANIFEST: &str = "manifest.json";

/// The first Docker Engine that unpacks zstd (moby pull request 41759).
const DOCKER_WITH_ZSTD: &str = "23.0";

/// Everything the files of an output folder tell.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// What was asked for.
    pub plan: &'a Plan,
    /// What it was made of.
    pub lock: &'a Lock,
    /// What is installed, as recorded before the tree was cleaned.
    pub installed: &'a [Installed],
    /// The tarball.
    pub packed: &'a Packed,
    /// How the tarball is compressed.
    pub codec: Codec,
    /// The recipe as the command line named it, without release and without the folder it lies in: `debian`,
    /// `corp.toml`.
    pub recipe: &'a str,
    /// The words of the command line that decide on the content besides recipe, release, architecture and variant.
    pub options: &'a [String],
}

/// Makes ready for an output folder at `path`: checks that the image's settings can be written to a Dockerfile, that
/// the folder may be replaced, and that its parent can be written.
pub fn prepare(path: &Path, plan: &Plan) -> Result<Output> {
    dockerfile::validate(&plan.image)?;
    Output::prepare(path)
}

/// Writes the files beside the tarball, which must be in the staging folder by now under its
/// [`Codec::file_name`], and puts the whole folder in place.
pub fn emit(output: Output, image: &Image<'_>, ui: &Ui) -> Result<Summary> {
    let tarball = image.codec.file_name();
    let size = output.size(tarball)?;
    if size != image.packed.packed {
        bail!("{tarball} has {size} bytes, but {} were written to it", image.packed.packed);
    }
    let mut files = vec![
        ("Dockerfile", dockerfile::render(image)?),
        (".dockerignore", format!("# The image is made of the tarball and nothing else.\n*\n!{tarball}\n")),
        (LOCK, image.lock.to_text()?),
        (MANIFEST, manifest::render(image)?),
    ];
    let mut sums = vec![(tarball, image.packed.sha256.clone())];
    for (name, text) in &files {
        sums.push((name, sha256(text)));
    }
    sums.sort();
    // Two blanks: text mode, as sha256sum writes it.
    files.push((CHECKSUMS, sums.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect()));
    for (name, text) in &files {
        output.write(name, text.as_bytes()).with_context(|| format!("writing {name} of the output"))?;
    }
    if image.codec == Codec::Zstd {
        ui.warn(format_args!("{tarball} can be imported and built by Docker Engine {DOCKER_WITH_ZSTD} or newer only"));
    }
    let summary = Summary::new(image, output.path())?;
    output.put_in_place(ui)?;
    Ok(summary)
}
