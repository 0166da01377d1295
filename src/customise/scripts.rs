//! The recipe's scripts, run in the finished tree.

use anyhow::Result;

use crate::context::Context;
use crate::plan::Script;
use crate::root::Root;
use crate::sandbox::Sandbox;

/// Runs every script in turn. The first that fails ends the build; what it said is in the error.
pub fn run(context: &Context, scripts: &[Script], epoch: i64, root: &Root) -> Result<()> {
    for (number, script) in scripts.iter().enumerate() {
        crate::interrupt::check()?;
        // -e: a failing command fails the script; -u: so does a mistyped variable.
        let mut sandbox =
            Sandbox::new(root, "/bin/sh").args(["-euc", &script.run]).epoch(epoch).time_limit(context.time_limit);
        for (name, value) in &script.env {
            sandbox = sandbox.env(name, value);
        }
        let said = sandbox.named(format!("script[{number}].run `{}`", title(&script.run))).run()?;
        for line in String::from_utf8_lossy(&said).lines() {
            context.ui.detail(format_args!("script[{number}]: {line}"));
        }
    }
    Ok(())
}

/// The first line that says something, short enough for a message.
fn title(run: &str) -> String {
    const WIDTH: usize = 60;
    let mut lines = run.lines().map(str::trim).filter(|l| !l.is_empty());
    let first = lines.next().unwrap_or_default();
    let cut: String = first.chars().take(WIDTH).collect();
    if cut.len() < first.len() || lines.next().is_some() { format!("{cut} …") } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_one_short_line() {
        assert_eq!(title("update-ca-certificates"), "update-ca-certificates");
        assert_eq!(title("\n  a\n  b\n"), "a …");
        assert_eq!(title(&"ä".repeat(100)).chars().count(), 62);
    }
}
