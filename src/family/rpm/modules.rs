//! The module streams that are enabled in an image, and their profiles that are installed: dnf keeps them in
//! `/etc/dnf/modules.d` (dnf.modularity(7)), so that later updates stay in the stream.
//!
//! dnf decides on them when it resolves, and the lock has them. When it installs, it is given files alone, and knows
//! nothing of modules.

use anyhow::{Context as _, Result, bail};

use crate::lock::LockedModule;
use crate::root::Root;

/// Where the states are.
const FOLDER: &str = "etc/dnf/modules.d";

/// What dnf says of modules, for the lock. dnf takes profiles in no certain order.
pub fn locked(mut modules: Vec<LockedModule>) -> Result<Vec<LockedModule>> {
    for module in &mut modules {
        check(module)?;
        module.profiles.sort();
    }
    modules.sort();
    Ok(modules)
}

/// Writes the state of each module.
pub fn write(modules: &[LockedModule], root: &Root) -> Result<()> {
    for module in modules {
        check(module)?;
        let LockedModule { name, stream, profiles } = module;
        let path = format!("{FOLDER}/{name}.module");
        root.create_dir_all(FOLDER, 0o755)?;
        let profiles = profiles.join(", ");
        let state = format!("[{name}]\nname={name}\nstream={stream}\nprofiles={profiles}\nstate=enabled\n");
        root.write(&path, state, 0o644).with_context(|| format!("writing /{path}"))?;
    }
    Ok(())
}

/// Names become file names, and all of it lines of a file.
fn check(module: &LockedModule) -> Result<()> {
    let is_word = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
    };
    let LockedModule { name, stream, profiles } = module;
    let names = [("name", name), ("stream", stream)].into_iter();
    for (what, text) in names.chain(profiles.iter().map(|profile| ("profile", profile))) {
        if !is_word(text) {
            bail!("the module {name:?}: its {what} {text:?} is none");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, stream: &str, profiles: &[&str]) -> LockedModule {
        let profiles = profiles.iter().map(|profile| profile.to_string()).collect();
        LockedModule { name: name.into(), stream: stream.into(), profiles }
    }

    #[test]
    fn states_are_written_as_dnf_does() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = Root::open(dir.path()).expect("it opens");
        write(&[], &root).expect("nothing to write");
        assert!(!root.exists("etc"));
        write(&[module("nodejs", "18", &["common", "s2i"]), module("perl", "5.26", &[])], &root).expect("written");
        for (name, expected) in [
            ("nodejs", "[nodejs]\nname=nodejs\nstream=18\nprofiles=common, s2i\nstate=enabled\n"),
            ("perl", "[perl]\nname=perl\nstream=5.26\nprofiles=\nstate=enabled\n"),
        ] {
            assert_eq!(root.read_text(format!("{FOLDER}/{name}.module")).expect("there"), expected);
        }
    }

    #[test]
    fn what_could_not_be_a_file_name_or_a_line_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = Root::open(dir.path()).expect("it opens");
        for bad in [
            module("../x", "1", &[]),
            module("a/b", "1", &[]),
            module("", "1", &[]),
            module("a", "", &[]),
            module("a", "..", &[]),
            module("a", "1\nstate=disabled", &[]),
            module("a", "1", &["b, c"]),
        ] {
            assert!(locked(vec![bad.clone()]).is_err() && write(std::slice::from_ref(&bad), &root).is_err(), "{bad:?}");
        }
        assert!(!root.exists("etc"));
    }

    #[test]
    fn the_lock_has_them_in_order() {
        let given = vec![module("b", "1", &["y", "x"]), module("a", "2", &[])];
        let expected = [module("a", "2", &[]), module("b", "1", &["x", "y"])];
        assert_eq!(locked(given).expect("they are good"), expected);
    }
}
