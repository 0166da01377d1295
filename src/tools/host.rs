//! Whether the programs of the host serve.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::dnf::{self, Dnf, Interface};
use super::{Choice, Tools};
use crate::context::Context;
use crate::root::Root;
use crate::sandbox::tools::PROGRAMS;

/// The first rpm that heeds `SOURCE_DATE_EPOCH`, so that two runs give the same bytes, and that of the tools tree.
const RPM: (u32, u32) = (4, 18);
/// How the answer of `rpm --version` begins.
const RPM_ANSWER: &str = "RPM version ";
/// Fails unless libdnf5 can be driven: it tells what a scriptlet said since 5.2.6, and what rpm said since 5.2.7.
const LIBDNF5: &str = "from libdnf5.base import Transaction as t; t.get_last_script_output; t.get_rpm_messages";

/// dnf and rpm of the host, or why they do not serve. Unless the host's are asked for, only those do that install
/// as those of the tools tree.
pub fn find_dnf(context: &Context, choice: Choice) -> Result<Result<Dnf, String>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = folders(&path);
    let (interface, python) = match dnf::find(&Root::open("/")?, &folders) {
        Ok(found) => found,
        Err(lack) => return Ok(Err(lack.to_string())),
    };
    if !has(&folders, "rpmkeys") {
        return Ok(Err("this machine has no rpmkeys in its PATH (apt-get install rpm)".into()));
    }
    let folder = context.work.path().join("host");
    std::fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
    let amiss = Root::open(&folder).and_then(|root| amiss(&root, interface, &python, choice));
    std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    Ok(match amiss? {
        Some(why) => Err(why),
        None => Ok(Dnf { tools: Tools::Host, interface, python }),
    })
}

/// What is amiss with the versions, as the programs tell them. They run beside an empty folder.
fn amiss(beside: &Root, interface: Interface, python: &Path, choice: Choice) -> Result<Option<String>> {
    let output = Tools::Host.command(beside, "rpmkeys").arg("--version").output();
    let output = output.context("asking rpm for its version")?;
    let answer = String::from_utf8_lossy(&output.stdout);
    let words = answer.trim().strip_prefix(RPM_ANSWER).unwrap_or_default();
    let Some(version) = version(words) else {
        return Ok(Some(format!("the rpm of this machine does not tell its version (exit code {})", output.code)));
    };
    if let Some(why) = unfit(version, words, choice) {
        return Ok(Some(why));
    }
    if interface == Interface::Dnf5 {
        let output = Tools::Host.command(beside, python).args(["-I", "-c", LIBDNF5]).output();
        if output.context("looking for the Python interface of dnf 5")?.code != 0 {
            return Ok(Some(
                "the dnf 5 of this machine has no Python interface, or one older than 5.2.7 (dnf install \
                 python3-libdnf5, apt-get install python3-libdnf5)"
                    .into(),
            ));
        }
    }
    Ok(None)
}

/// Why an rpm of a version does not serve. Later ones than that of the tools tree do what they are asked to, but not
/// always with the same bytes: they have another order for packages that need each other or that recommend one another
/// (4.20, 6.0), which shows where scriptlets add to the same file.
fn unfit(version: (u32, u32), words: &str, choice: Choice) -> Option<String> {
    let (major, minor) = RPM;
    if version < RPM {
        return Some(format!("this machine has rpm {words}, and {major}.{minor} or newer is needed"));
    }
    (version > RPM && choice != Choice::Host).then(|| {
        format!(
            "this machine has rpm {words}, which may order packages otherwise than the {major}.{minor} of the tools \
             tree; --tools host uses it all the same"
        )
    })
}

/// The folders of `PATH` that the sandbox has too, without the slash they begin with.
fn folders(path: &OsStr) -> Vec<PathBuf> {
    let inside = |folder: PathBuf| folder.strip_prefix("/").map(Path::to_owned).ok();
    let folders = std::env::split_paths(path).filter_map(inside);
    folders.filter(|folder| PROGRAMS.iter().any(|name| folder.starts_with(name))).collect()
}

fn has(folders: &[PathBuf], program: &str) -> bool {
    folders.iter().any(|folder| Path::new("/").join(folder).join(program).is_file())
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
        for (text, by_itself, asked_for) in [
            ("4.16.1.3", false, false),
            ("4.9", false, false),
            ("4.18.0", true, true),
            ("4.18~rc1", true, true),
            ("4.20.1", false, true),
            ("5.99.90", false, true),
            ("6.0.0-beta1", false, true),
        ] {
            let version = version(text).expect("a version");
            let serves = |choice| unfit(version, text, choice).is_none();
            assert_eq!((serves(Choice::Auto), serves(Choice::Host)), (by_itself, asked_for), "{text}");
        }
        assert_eq!((version("4"), version("")), (None, None));
        let why = unfit((4, 16), "4.16.1", Choice::Host).expect("too old");
        assert!(why.contains("rpm 4.16.1, and 4.18 or newer is needed"), "{why}");
        let why = unfit((6, 1), "6.1.0", Choice::Auto).expect("too new");
        assert!(why.contains("rpm 6.1.0") && why.contains("--tools host"), "{why}");
    }

    #[test]
    fn programs_are_found_in_the_path_and_where_the_sandbox_has_them() {
        let found = folders(OsStr::new("/usr/bin:bin::/tmp:/binary:/nix/store/x/bin"));
        assert_eq!(found, [Path::new("usr/bin"), Path::new("nix/store/x/bin")]);
        assert!(has(&found, "env") && !has(&found, "mkbase-no-such-program"));
        assert!(!has(&folders(OsStr::new("/nonexistent:/tmp")), "env"));
    }
}
