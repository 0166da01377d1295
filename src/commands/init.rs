//! `mkbase init`: a recipe to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::error::usage;
use crate::recipe;
use crate::ui::Ui;

const STARTER: &str = include_str!("starter.toml");

/// The name that the starter has before it gets its own.
const PLACE: &str = "my-base";

/// What `init` did.
#[derive(Debug, PartialEq, Eq)]
pub enum Made {
    /// A recipe to print.
    Text(String),
    /// A file that was written.
    File(PathBuf),
}

/// Runs the command: prints the recipe, or says which file it became.
pub fn run(name: Option<&str>, ui: &Ui) -> Result<()> {
    match init(name, Path::new("."))? {
        Made::Text(text) => super::print(text),
        Made::File(path) => {
            let path = path.strip_prefix(".").unwrap_or(&path);
            ui.info("Wrote", format_args!("{0}; build it with: mkbase build {0}", path.display()));
            Ok(())
        }
    }
}

/// A commented recipe: as text, or with a name as the file `NAME.toml` in `folder`, which must not exist yet.
pub fn init(name: Option<&str>, folder: &Path) -> Result<Made> {
    let Some(name) = name else { return Ok(Made::Text(STARTER.to_string())) };
    let name = name.strip_suffix(".toml").unwrap_or(name);
    recipe::check_name(name).map_err(usage)?;
    let path = folder.join(format!("{name}.toml"));
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(usage(format!("{} exists already: choose another name, or move it away", path.display())));
        }
        Err(error) => return Err(error).with_context(|| format!("making the recipe {}", path.display())),
    };
    file.write_all(STARTER.replace(PLACE, name).as_bytes())
        .with_context(|| format!("writing the recipe {}", path.display()))?;
    Ok(Made::File(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, exit_code};

    fn load(path: &Path) -> Result<crate::plan::Plan> {
        recipe::load(&path.display().to_string(), &recipe::Overrides::default(), &|url| anyhow::bail!("{url}"))
    }

    #[test]
    fn the_starter_loads_and_so_does_every_line_it_shows() {
        let folder = tempfile::tempdir().expect("a folder");
        let Made::File(path) = init(Some("corp"), folder.path()).expect("it is written") else { panic!("a file") };
        assert_eq!(path, folder.path().join("corp.toml"));
        let plan = load(&path).expect("it loads");
        assert_eq!((plan.name.as_str(), plan.release.as_str()), ("corp", "trixie"));

        // What is commented out: `#` directly before it. Comments in words have a space.
        let shown: String = STARTER
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_ne!(shown, STARTER);
        for (name, text) in [("all.toml", shown.as_str()), ("keys/corp.asc", "key"), ("files/corp.crt", "ca")] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            std::fs::write(path, text).expect("it is written");
        }
        std::fs::create_dir(folder.path().join("packages")).expect("a folder");
        std::fs::write(folder.path().join("packages/agent_1.4_amd64.deb"), "deb").expect("it is written");
        load(&folder.path().join("all.toml")).expect("everything it shows is right");
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("corp.toml"), "mine").expect("it is written");
        for name in ["corp", "corp.toml"] {
            let error = init(Some(name), folder.path()).expect_err("it exists");
            assert_eq!(exit_code(&error), Exit::Usage);
            assert!(error.to_string().contains("corp.toml exists already"), "{error}");
        }
        assert_eq!(std::fs::read_to_string(folder.path().join("corp.toml")).expect("it is there"), "mine");
    }

    #[test]
    fn names_stay_in_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["../x", "a/b", "", ".toml", "-x"] {
            assert_eq!(exit_code(&init(Some(name), folder.path()).expect_err(name)), Exit::Usage, "{name}");
        }
        assert_eq!(init(None, folder.path()).expect("it is text"), Made::Text(STARTER.to_string()));
        assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }
}
