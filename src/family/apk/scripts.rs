//! Runs the scripts of packages in the sandbox, with the arguments and the environment that apk gives them
//! (`apk-package(5)`).

use anyhow::{Context as _, Result, anyhow};

use crate::context::Context;
use crate::root::Root;
use crate::sandbox::{Foreign, Sandbox};

/// Where apk puts a script while it runs, if the kernel cannot run one that has no place.
const FOLDER: &str = "lib/apk/exec";
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// Programs of packages that run after every change, with `post-commit`.
const HOOKS: [&str; 2] = ["etc/apk/commit_hooks.d", "lib/apk/commit_hooks.d"];

/// Runs scripts in a tree.
pub struct Scripts<'a> {
    context: &'a Context,
    root: &'a Root,
    epoch: Option<i64>,
}

impl<'a> Scripts<'a> {
    /// `epoch`, in seconds since 1970, is what scripts see as `SOURCE_DATE_EPOCH`.
    pub fn new(context: &'a Context, root: &'a Root, epoch: Option<i64>) -> Scripts<'a> {
        Scripts { context, root, epoch }
    }

    fn sandbox(&self, program: &str, name: &str) -> Sandbox<'_> {
        let sandbox = Sandbox::new(self.root, program)
            .env("PATH", PATH)
            .env("APK_SCRIPT", name)
            .time_limit(self.context.time_limit);
        match self.epoch {
            Some(epoch) => sandbox.epoch(epoch),
            None => sandbox,
        }
    }

    /// Runs a script of a package (`post-install`). One that fails or hangs is an error with what it said.
    pub fn run(&self, package: &str, version: &str, name: &str, text: &[u8], arguments: &[String]) -> Result<()> {
        self.context.ui.detail(format_args!("{package} {version}: {name}"));
        let made = self.make_folder()?;
        let path = format!("{FOLDER}/{package}-{version}.{name}");
        self.root.write(&path, text, 0o755)?;
        let result = self
            .sandbox(&format!("/{path}"), name)
            .args(arguments)
            .env("APK_PACKAGE", package)
            .named(format!("the {name} script of {package} {version}"))
            .run();
        let result = result.map_err(|error| match error.downcast_ref::<Foreign>() {
            Some(_) if !text.starts_with(b"#!") => {
                anyhow!("its {name} script does not begin with #! and an interpreter")
            }
            _ => error,
        });
        result.with_context(|| format!("the package {package} could not be installed"))?;
        self.root.remove_file(&path)?;
        for folder in made.iter().rev() {
            // A script may have put something into it, then it is not ours to remove.
            if self.root.read_dir(folder)?.is_empty() {
                self.root.remove_dir(folder)?;
            }
        }
        Ok(())
    }

    /// Makes the folder of scripts where no package has it. Gives what it made, outermost first.
    fn make_folder(&self) -> Result<Vec<&'static str>> {
        let mut made = Vec::new();
        for path in ["lib", "lib/apk", FOLDER] {
            if !self.root.exists(path) {
                self.root.create_dir(path, 0o755).context("making the folder of scripts")?;
                made.push(path);
            }
        }
        Ok(made)
    }

    /// Runs what packages have put there to be run after every change.
    pub fn post_commit(&self) -> Result<()> {
        const NAME: &str = "post-commit";
        let mut seen = std::collections::BTreeMap::new();
        for folder in HOOKS {
            for name in self.root.read_dir(folder)? {
                let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
                // The first folder that has a name goes before the others.
                seen.entry(name.to_owned()).or_insert_with(|| format!("/{folder}/{name}"));
            }
        }
        for path in seen.values() {
            let sandbox = self.sandbox(path, NAME).arg(NAME);
            sandbox.run().with_context(|| format!("running the commit hook {path}"))?;
        }
        Ok(())
    }
}
