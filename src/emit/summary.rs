//! The closing message: what people asked for, on standard output.

use std::cmp::Reverse;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{Image, dockerfile};
use crate::ui::bytes;

/// How many of the largest packages are told.
const LARGEST: usize = 10;

/// What came out of a build.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The output folder, as it was given.
    pub path: PathBuf,
    /// The tarball in it.
    pub tarball: PathBuf,
    /// SHA-256 of the tarball.
    pub sha256: String,
    /// Bytes of the tarball.
    pub packed: u64,
    /// Bytes of the tar before compression.
    pub unpacked: u64,
    /// Number of packages installed.
    pub packages: usize,
    /// The largest packages with their installed size in bytes, the largest first.
    pub largest: Vec<(String, u64)>,
    /// The `docker import` command for it.
    pub import: String,
}

impl Summary {
    /// Of an image whose output folder is `path`.
    pub(super) fn new(image: &Image<'_>, path: &Path) -> Result<Summary> {
        let tarball = path.join(image.codec.file_name());
        let mut largest: Vec<(String, u64)> =
            image.installed.iter().map(|package| (package.name.clone(), package.installed_size)).collect();
        largest.sort_by_key(|(name, size)| (Reverse(*size), name.clone()));
        largest.truncate(LARGEST);
        Ok(Summary {
            import: dockerfile::import(image, &tarball.to_string_lossy())?,
            path: path.to_path_buf(),
            tarball,
            sha256: image.packed.sha256.clone(),
            packed: image.packed.packed,
            unpacked: image.packed.unpacked,
            packages: image.installed.len(),
            largest,
        })
    }

    /// Writes it for people; the largest packages only when `verbose`.
    pub fn write(&self, out: &mut dyn Write, verbose: bool) -> Result<()> {
        self.lines(out, verbose).and_then(|()| out.flush()).context("writing the summary")
    }

    fn lines(&self, out: &mut dyn Write, verbose: bool) -> std::io::Result<()> {
        writeln!(out, "{}", self.tarball.display())?;
        writeln!(out, "  {} packed, {} unpacked", bytes(self.packed), bytes(self.unpacked))?;
        writeln!(out, "  {} package{}", self.packages, if self.packages == 1 { "" } else { "s" })?;
        writeln!(out, "  sha256:{}", self.sha256)?;
        if verbose && !self.largest.is_empty() {
            writeln!(out, "largest packages:")?;
            for (name, size) in &self.largest {
                writeln!(out, "{:>12}  {name}", bytes(*size))?;
            }
        }
        writeln!(out, "{}", self.import)
    }
}
