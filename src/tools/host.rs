//! Whether the programs of the host serve.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Tools;
use crate::context::Context;
use crate::root::Root;
use crate::sandbox::tools::PROGRAMS;

/// What dnf 4 is called: beside dnf 5, by itself, and where it took the place of yum.
const DNF: [&str; 3] = ["dnf-3", "dnf", "yum"];
/// The first rpm that heeds `SOURCE_DATE_EPOCH` in its database, so that two runs give the same bytes.
const RPM: (u32, u32) = (4, 18);
/// How the answer of `rpm --version` begins.
const RPM_ANSWER: &str = "RPM version ";

/// Why dnf and rpm of the host do not serve, if they do not.
pub fn lacks_dnf(context: &Context) -> Result<Option<String>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !DNF.iter().any(|name| find(&path, name).is_some_and(|file| is_python(&file))) {
        return Ok(Some("this machine has no dnf 4 in its PATH (apt-get install dnf, dnf install python3-dnf)".into()));
    }
    if find(&path, "rpmkeys").is_none() {
        return Ok(Some("this machine has no rpmkeys in its PATH (apt-get install rpm)".into()));
    }
    let folder = context.work.path().join("host");
    std::fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
    let output = Tools::Host.command(&Root::open(&folder)?, "rpmkeys").arg("--version").output();
    std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    let output = output.context("asking rpm for its version")?;
    let answer = String::from_utf8_lossy(&output.stdout);
    let words = answer.trim().strip_prefix(RPM_ANSWER).unwrap_or_default();
    Ok(match version(words) {
        Some(version) if version >= RPM => None,
        Some(_) => Some(format!("this machine has rpm {words}, and {}.{} or newer is needed", RPM.0, RPM.1)),
        None => Some(format!("the rpm of this machine does not tell its version (exit code {})", output.code)),
    })
}

/// A program in `PATH`, in a folder that the sandbox has too.
fn find(path: &OsStr, program: &str) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| PROGRAMS.iter().any(|name| folder.starts_with(Path::new("/").join(name))))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Whether a program is one in Python, as dnf 4 is and dnf 5 is not.
fn is_python(file: &Path) -> bool {
    let mut start = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(128).read_to_end(&mut start));
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    read.is_ok() && line.starts_with(b"#!") && line.windows(6).any(|word| word == b"python")
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(['.', '-', '~']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, serves) in [
            ("4.18.0", true),
            ("4.16.1.3", false),
            ("4.9", false),
            ("4.20.1", true),
            ("5.99.90", true),
            ("6.0.0-beta1", true),
            ("4.18~rc1", true),
            ("4", false),
            ("", false),
        ] {
            assert_eq!(version(text).is_some_and(|v| v >= RPM), serves, "{text}");
        }
    }

    #[test]
    fn programs_are_found_in_the_path_and_where_the_sandbox_has_them() {
        assert!(find(OsStr::new("/usr/bin:/bin"), "env").is_some());
        assert!(find(OsStr::new("/nonexistent:/tmp"), "env").is_none());
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("dnf"), "#!/usr/bin/python3\n").expect("writes");
        assert!(find(folder.path().as_os_str(), "dnf").is_none(), "the sandbox has no such folder");
    }

    #[test]
    fn dnf_4_is_a_program_in_python() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("dnf");
        for (content, expected) in [
            (&b"#!/usr/bin/python3\nimport dnf"[..], true),
            (b"#!/usr/libexec/platform-python -s\n", true),
            (b"#!/bin/sh\nexec python3 x", false),
            (b"\x7fELF\x02\x01\x01 python", false),
            (b"", false),
        ] {
            std::fs::write(&file, content).expect("writes");
            assert_eq!(is_python(&file), expected, "{}", String::from_utf8_lossy(content));
        }
        assert!(!is_python(&folder.path().join("gone")));
    }
}
