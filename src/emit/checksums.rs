//! Reads an output folder's checksums back.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::CHECKSUMS;
use crate::hash::sha256_of;

/// Compares every file of an output folder with its line of `SHA256SUMS`, as `sha256sum --check` would.
pub fn verify(folder: &Path) -> Result<()> {
    let list = std::fs::read_to_string(folder.join(CHECKSUMS)).with_context(|| format!("reading {CHECKSUMS}"))?;
    for (number, line) in list.lines().enumerate() {
        let Some((expected, name)) = line.split_once("  ").filter(|(_, name)| is_plain(name)) else {
            bail!("{CHECKSUMS} line {} is not `HASH  NAME`", number + 1);
        };
        let file = File::open(folder.join(name)).with_context(|| format!("opening {name}"))?;
        let (actual, _) = sha256_of(file).with_context(|| format!("reading {name}"))?;
        if actual != expected {
            bail!("{name} is not as it was built: its SHA-256 is {actual}, {CHECKSUMS} has {expected}; build it anew");
        }
    }
    Ok(())
}

/// A name in the folder itself, so that a hostile list cannot make anyone read elsewhere.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != ".." && name != "." && !name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_and_missing_files_are_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let sums = dir.path().join(CHECKSUMS);
        std::fs::write(dir.path().join("a"), "abc").expect("a file");
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for (list, expected) in [
            (format!("{abc}  a\n"), None),
            (format!("{}  a\n", abc.replace('b', "c")), Some("a is not as it was built")),
            (format!("{abc}  b\n"), Some("opening b")),
            (format!("{abc}  ../a\n"), Some("line 1 is not")),
            (format!("{abc} a\n"), Some("line 1 is not")),
        ] {
            std::fs::write(&sums, &list).expect("a file");
            let said = verify(dir.path()).err().map(|e| format!("{e:#}"));
            assert_eq!(said.is_some(), expected.is_some(), "{list}: {said:?}");
            if let (Some(said), Some(expected)) = (said, expected) {
                assert!(said.contains(expected), "{said}");
            }
        }
    }
}
