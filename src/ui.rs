//! What people see while it works: steps with times, progress bars, warnings. All of it on standard error.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How much to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Warnings only.
    Quiet,
    /// A line a stage.
    #[default]
    Normal,
    /// Details of every stage.
    Verbose,
}

/// A handle on the terminal; clones share it.
#[derive(Debug, Clone)]
pub struct Ui {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    level: Level,
    terminal: bool,
    colour: bool,
    bar: Mutex<Option<ProgressBar>>,
}

/// What a bar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things.
    Items,
}

impl Ui {
    /// The ui of a process: colours and bars only on a terminal, colours never with `NO_COLOR` (no-color.org).
    pub fn new(level: Level) -> Ui {
        let terminal = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Ui { inner: Arc::new(Inner { level, terminal, colour, bar: Mutex::new(None) }) }
    }

    /// Whether details are wanted.
    pub fn verbose(&self) -> bool {
        self.inner.level == Level::Verbose
    }

    /// Begins a stage. `verb` is its name as people see it: `Resolving`.
    pub fn step(&self, verb: &str) -> Step {
        let spinner = self.show(ProgressBar::new_spinner(), "{prefix:>12} {spinner} {elapsed}", verb);
        spinner.enable_steady_tick(TICK);
        Step { ui: self.clone(), verb: verb.to_string(), start: Instant::now(), spinner }
    }

    /// Makes a bar the one that is on the terminal. Without a terminal it shows nothing.
    fn show(&self, bar: ProgressBar, template: &str, verb: &str) -> ProgressBar {
        let visible = self.inner.terminal && self.inner.level >= Level::Normal;
        bar.set_draw_target(if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
        // The templates are constants; a wrong one would show in the first test on a terminal.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(verb.to_string());
        *self.inner.bar.lock().unwrap_or_else(|e| e.into_inner()) = Some(bar.clone());
        bar
    }

    /// Takes a bar off the terminal, if it is the one there.
    fn hide(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        self.inner.bar.lock().unwrap_or_else(|e| e.into_inner()).take_if(|shown| shown.is_finished());
    }

    /// Something that did not stop the build but that people should know.
    pub fn warn(&self, message: impl Display) {
        self.line("warning", "33", message);
    }

    /// Something wrong with an image, by the name of the check that found it.
    pub fn fault(&self, check: &str, message: impl Display) {
        self.line("fault", "31", format_args!("{check}: {message}"));
    }

    /// A fact that belongs to the result.
    pub fn info(&self, verb: &str, message: impl Display) {
        if self.inner.level >= Level::Normal {
            self.line(verb, "32", message);
        }
    }

    /// A detail, shown with `-v`.
    pub fn detail(&self, message: impl Display) {
        if self.verbose() {
            self.line("", "2", message);
        }
    }

    /// Says why it failed: the error, its causes below.
    pub fn error(&self, error: &anyhow::Error) {
        self.line("error", "31", error);
        for cause in error.chain().skip(1) {
            self.line("", "2", format_args!("because: {cause}"));
        }
    }

    fn line(&self, verb: &str, colour: &str, message: impl Display) {
        let verb = format!("{verb:>12}");
        let verb = if self.inner.colour { format!("\x1b[1;{colour}m{verb}\x1b[0m") } else { verb };
        let bar = self.inner.bar.lock().unwrap_or_else(|e| e.into_inner());
        let print = || {
            // A reader of standard error that went away is no reason to stop a build.
            let _ = writeln!(std::io::stderr().lock(), "{verb} {message}");
        };
        match bar.as_ref() {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

/// A stage that is under way.
#[derive(Debug)]
pub struct Step {
    ui: Ui,
    verb: String,
    start: Instant,
    spinner: ProgressBar,
}

/// How often a stage without a bar shows that it is alive.
const TICK: Duration = Duration::from_millis(120);

impl Step {
    /// A bar for this stage. Without a terminal it shows nothing.
    pub fn bar(&self, total: u64, unit: Unit) -> Bar {
        self.spinner.finish_and_clear();
        let count = match unit {
            Unit::Bytes => "{decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}",
            Unit::Items => "{pos}/{len}",
        };
        let template = format!("{{prefix:>12}} [{{bar:30}}] {count} {{msg}}");
        let bar = self.ui.show(ProgressBar::new(total), &template, &self.verb);
        Bar { bar, ui: self.ui.clone() }
    }

    /// Ends the stage with its line: what was done, and the time it took.
    pub fn done(self, what: impl Display) {
        self.ui.hide(&self.spinner);
        self.ui.info(&self.verb, format_args!("{what} in {}", seconds(self.start.elapsed())));
    }
}

/// A progress bar; gone when dropped.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    ui: Ui,
}

impl Bar {
    /// Sets what the bar counts to, for work whose size is known only once it has begun.
    pub fn total(&self, total: u64) {
        self.bar.set_length(total);
    }

    /// Moves on.
    pub fn add(&self, n: u64) {
        self.bar.inc(n);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.ui.hide(&self.bar);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.ui.hide(&self.spinner);
    }
}

/// A duration as people read it: `0.42 s`, `12.3 s`, `2 min 05 s`.
pub fn seconds(time: Duration) -> String {
    let s = time.as_secs_f64();
    if s < 10.0 {
        format!("{s:.2} s")
    } else if s < 60.0 {
        format!("{s:.1} s")
    } else {
        format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
    }
}

/// A number of bytes as people read it, in powers of 1000 as disks and registries count: `31.4 MB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Names for a message, not too many.
pub fn list(names: &[impl AsRef<str>]) -> String {
    /// More than these are only counted.
    const MOST: usize = 12;
    let shown = names.iter().take(MOST).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if names.len() > MOST { format!("{shown} and {} more", names.len() - MOST) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_for_people() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1000), "1.0 kB");
        assert_eq!(bytes(31_400_000), "31.4 MB");
        assert_eq!(bytes(999_960), "1.0 MB");
        assert_eq!(seconds(Duration::from_millis(420)), "0.42 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 05 s");
    }
}
