//! `mkbase completions` and `mkbase man`: what clap makes of the command line's definition.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;

/// The completions of a shell, as a script.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mkbase", &mut out);
    out
}

/// Writes the manual pages of all commands into a folder, which is made where it is missing.
pub fn man(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("writing manual pages into {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let script = String::from_utf8(completions(shell)).expect("it is text");
            for word in ["recipes", "init", "check", "completions", "engine"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().expect("a folder");
        let pages = folder.path().join("share/man1");
        man(&pages).expect("they are written");
        for name in ["mkbase", "mkbase-build", "mkbase-recipes", "mkbase-init", "mkbase-check", "mkbase-man"] {
            let page = std::fs::read_to_string(pages.join(format!("{name}.1"))).expect(name);
            assert!(page.contains(".SH SYNOPSIS") && page.contains("Examples:"), "{name}");
        }
        let build = std::fs::read_to_string(pages.join("mkbase-build.1")).expect("it is there");
        assert!(build.contains("docker import"));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let message = man(&file.path().join("man1")).expect_err("a file is in the way").to_string();
        assert!(message.starts_with("making the folder /"), "{message}");
    }
}
