//! Every program of the host runs through here.
//!
//! Standard input is empty. Standard output is given to the caller, standard error is kept, and its end is in the
//! error when the program fails. The arguments are shown with `-v`.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::interrupt;
use crate::ui::Ui;

/// Where programs of the system are, besides `PATH`: an ordinary user's often lacks the `sbin` folders.
const SYSTEM: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// More output than this is a program gone wild.
const LIMIT: u64 = 64 << 20;

/// Lines of standard error that an error shows.
const LINES: usize = 20;

/// How often the interrupt flag is looked at while a program runs.
const TICK: Duration = Duration::from_millis(20);

/// Finds a program. `install` tells how to get it: `apt-get install debootstrap`.
pub fn find(program: &str, install: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SYSTEM.iter().map(PathBuf::from));
    folders
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|file| is_program(file))
        .ok_or_else(|| anyhow!("{program} is not installed on this machine; install it ({install})"))
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// A program of the host with its arguments.
#[derive(Debug)]
pub struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Command {
    /// `program` is a path, or a name to be looked up in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command { program: program.as_ref().to_owned(), arguments: Vec::new(), env: Vec::new() }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Command {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Command {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets a variable besides those of this process.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Command {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs it to its end and gives its standard output. It is an error if it cannot be started, ends with another
    /// code than 0, or if the build is interrupted, which kills it.
    pub fn run(&self, ui: &Ui) -> Result<Vec<u8>> {
        let line = self.line();
        ui.detail(format_args!("$ {line}"));
        let mut child = std::process::Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that what it starts can be killed with it.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {line}"))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            let stdout = scope.spawn(|| read(stdout));
            let stderr = scope.spawn(|| read(stderr));
            let status = wait(&mut child).with_context(|| format!("running {line}"))?;
            let join = |reader: std::thread::ScopedJoinHandle<'_, Result<Vec<u8>>>| {
                reader.join().map_err(|_| anyhow!("reading its output"))?
            };
            let stdout = join(stdout).with_context(|| format!("running {line}"))?;
            let stderr = join(stderr).with_context(|| format!("running {line}"))?;
            if status.success() {
                return Ok(stdout);
            }
            let how = match (status.code(), status.signal()) {
                (Some(code), _) => format!("ended with exit code {code}"),
                (None, signal) => format!("was killed by signal {}", signal.unwrap_or_default()),
            };
            bail!("{line} {how}{}", said(&stderr))
        })
    }

    /// The command as a person would type it.
    fn line(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.arguments);
        words.map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }
}

fn read(stream: Option<impl Read>) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    if let Some(stream) = stream {
        let mut stream = stream.take(LIMIT);
        stream.read_to_end(&mut data).context("reading its output")?;
        // The rest is thrown away, so that the program does not wait for a reader.
        std::io::copy(&mut stream.into_inner(), &mut std::io::sink()).context("reading its output")?;
    }
    Ok(data)
}

fn wait(child: &mut Child) -> Result<std::process::ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().context("waiting for it")? {
            return Ok(status);
        }
        if let Err(interrupted) = interrupt::check() {
            let group = nix::unistd::Pid::from_raw(child.id() as i32);
            nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).context("killing it")?;
            child.wait().context("waiting for it")?;
            return Err(interrupted.into());
        }
        std::thread::sleep(TICK);
    }
}

/// The last lines, indented below the error.
fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    if last.is_empty() { ", and said nothing".into() } else { format!("; it said:\n    {}", last.join("\n    ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::Level;

    #[test]
    fn output_and_failure() {
        let ui = Ui::new(Level::Quiet);
        let shell = |script: &str| Command::new("/bin/sh").arg("-c").arg(script).env("X", "y").run(&ui);
        assert_eq!(shell("echo $X; echo noise >&2").expect("it runs"), b"y\n");
        let error = format!("{:#}", shell("echo first >&2; echo broken >&2; exit 3").expect_err("it fails"));
        assert!(error.contains("exit code 3") && error.contains("first\n    broken"), "{error}");
        let error = format!("{:#}", shell("kill -9 $$").expect_err("it is killed"));
        assert!(error.contains("signal 9"), "{error}");
        assert!(Command::new("/nonexistent/program").run(&ui).is_err());
    }

    #[test]
    fn missing_program_says_how_to_get_it() {
        assert!(find("sh", "apt-get install dash").is_ok());
        let error = find("mkbase-no-such-program", "apt-get install it").expect_err("not there").to_string();
        assert!(error.contains("mkbase-no-such-program") && error.contains("apt-get install it"), "{error}");
    }
}
