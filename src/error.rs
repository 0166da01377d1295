//! Errors that a caller must tell apart, and the exit codes they lead to.

use std::process::ExitCode;

/// What the process ends with. The numbers are part of the command line's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The command line or the recipe is wrong.
    Usage = 2,
    /// `check` found faults.
    Faults = 11,
    /// Interrupted by SIGINT or SIGTERM.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// The user's input is wrong: a recipe, an option, a name. Leads to exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The build was interrupted. Leads to exit code 130.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// The image has faults. Leads to exit code 11 from `mkbase check`, and 1 from a build.
#[derive(Debug, thiserror::Error)]
#[error("the image has {0} fault{s}", s = if *.0 == 1 { "" } else { "s" })]
pub struct Faults(pub usize);

/// Makes a usage error: `return Err(usage(format!("unknown release {release}")))`.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}

/// The exit code that an error leads to: the first of the typed errors in its chain decides.
pub fn exit_code(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if cause.is::<Usage>() {
            return Exit::Usage;
        }
        if cause.is::<Interrupted>() {
            return Exit::Interrupted;
        }
        if cause.is::<Faults>() {
            return Exit::Faults;
        }
    }
    Exit::Failed
}

/// The known name nearest to a mistyped one, if any is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(name, k), k))
        .filter(|(distance, k)| *distance <= (k.len().max(name.len()) / 3).max(1))
        .min()
        .map(|(_, k)| k)
}

/// `"; did you mean 'X'?"` for the nearest known name, or nothing.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|k| format!("; did you mean '{k}'?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name() {
        let known = ["timezone", "locale", "docs"];
        assert_eq!(nearest("timezon", known), Some("timezone"));
        assert_eq!(nearest("dcos", known), Some("docs"));
        assert_eq!(nearest("packages", known), None);
    }

    #[test]
    fn exit_codes_survive_context() {
        let error = usage("no such recipe").context("reading the recipe");
        assert_eq!(exit_code(&error), Exit::Usage);
        assert_eq!(exit_code(&anyhow::anyhow!("disk full")), Exit::Failed);
        assert_eq!(exit_code(&anyhow::Error::new(Interrupted).context("unpacking")), Exit::Interrupted);
    }
}
