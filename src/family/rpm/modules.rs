//! The module streams that are enabled in an image: dnf keeps them in `/etc/dnf/modules.d` (dnf.modularity(7)), so that
//! later updates stay in the stream.
//!
//! dnf decides on them when it resolves. When it installs, it is given files alone; which streams those come from, their
//! own labels say.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

use crate::plan::Plan;
use crate::root::Root;

/// Where the states are.
const FOLDER: &str = "etc/dnf/modules.d";

/// Writes the state of each module that packages with these labels come from.
pub fn write(plan: &Plan, labels: &[String], root: &Root) -> Result<()> {
    let modules = streams(labels)?;
    for (name, stream) in &modules {
        let path = format!("{FOLDER}/{name}.module");
        root.create_dir_all(FOLDER, 0o755)?;
        let profiles = profiles(plan, name);
        let state = format!("[{name}]\nname={name}\nstream={stream}\nprofiles={profiles}\nstate=enabled\n");
        root.write(&path, state, 0o644).with_context(|| format!("writing /{path}"))?;
    }
    Ok(())
}

/// Name and stream of every module among `name:stream:version:context` labels.
fn streams(labels: &[String]) -> Result<BTreeMap<&str, &str>> {
    let mut modules = BTreeMap::new();
    for label in labels {
        let mut parts = label.split(':');
        let (Some(name), Some(stream)) = (parts.next(), parts.next()) else {
            bail!("a package has the module label {label:?}, which names no stream");
        };
        let word = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b)) && text != ".."
        };
        if !word(name) || !word(stream) {
            bail!("a package has the module label {label:?}, which is none");
        }
        if let Some(other) = modules.insert(name, stream).filter(|other| *other != stream) {
            bail!("packages come from two streams of the module {name}: {other} and {stream}");
        }
    }
    Ok(modules)
}

/// The profiles that the recipe asks for by name, `@module:stream/profile`.
fn profiles(plan: &Plan, name: &str) -> String {
    let asked = plan.packages.include.iter().filter_map(|spec| spec.strip_prefix('@')?.split_once('/'));
    let of_module = asked.filter(|(module, _)| module.split(':').next() == Some(name));
    of_module.map(|(_, profile)| profile).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing;

    #[test]
    fn labels_give_the_states_of_modules() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = Root::open(dir.path()).expect("it opens");
        let mut plan = testing::plan();
        plan.packages.include = vec!["@nodejs:18/minimal".into(), "bash".into()];
        let labels = ["nodejs:18:8080:63b", "nodejs:18:8090:63b", "perl:5.26:1:c"].map(str::to_owned);
        write(&plan, &labels, &root).expect("written");
        assert_eq!(root.read_dir(FOLDER).expect("listed").len(), 2);
        assert_eq!(
            root.read_text(format!("{FOLDER}/nodejs.module")).expect("there"),
            "[nodejs]\nname=nodejs\nstream=18\nprofiles=minimal\nstate=enabled\n"
        );
        for bad in ["nodejs", "../x:1:2", "a:..:1", "a/b:1", ":1", "a:"] {
            assert!(write(&plan, &[bad.to_owned()], &root).is_err(), "{bad}");
        }
        assert!(streams(&["a:1:x".to_owned(), "a:2:x".to_owned()]).is_err());
    }
}
