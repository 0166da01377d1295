//! The near side of a sandbox: starts [`super::init`], collects the output, watches the clock.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::init::Spec;
use super::{Foreign, Output, Sandbox, TimedOut};
use crate::interrupt;

/// Standard output beyond this is dropped: nothing that mkbase reads is near that long.
pub const STDOUT_LIMIT: usize = 64 << 20;
/// As much of the end of standard error is kept.
const STDERR_LIMIT: usize = 256 << 10;
/// How often the clock and the interrupt flag are looked at while the command says nothing.
const TICK: Duration = Duration::from_millis(50);

/// Kills the sandbox if it is left before its end was waited for.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Already waited for in the ordinary case; then both are no-ops.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn run(sandbox: &Sandbox<'_>, shown: &str) -> Result<Output> {
    let spec = Spec {
        // The process works in another folder than this one.
        root: std::path::absolute(sandbox.root.path()).context("finding the root filesystem")?,
        place: sandbox.place.clone(),
        read_only: sandbox.read_only,
        arguments: sandbox.arguments.clone(),
        env: sandbox.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        binds: sandbox.binds.clone(),
        parent: std::process::id(),
    };
    let spec = serde_json::to_vec(&spec).context("describing the sandbox")?;
    let exe = crate::work::own_executable()?;
    let child = Command::new(&exe)
        .arg(super::init::ARGUMENT)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting the sandbox for {shown}"))?;
    let mut guard = Guard(child);
    let child = &mut guard.0;
    let mut stdin = child.stdin.take().ok_or_else(|| anyhow!("the sandbox has no standard input"))?;
    match stdin.write_all(&spec) {
        // It ended before it read all of it: its own message says why.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        other => other.context("telling the sandbox what to run")?,
    }
    drop(stdin);
    let stdout = child.stdout.take().ok_or_else(|| anyhow!("the sandbox has no standard output"))?;
    let stderr = child.stderr.take().ok_or_else(|| anyhow!("the sandbox has no standard error"))?;
    let mut collected = Collected::default();
    let ended = collect(
        [Some(std::os::fd::OwnedFd::from(stdout).into()), Some(std::os::fd::OwnedFd::from(stderr).into())],
        &mut collected,
        Instant::now() + sandbox.time_limit,
    )
    .with_context(|| format!("running {shown}"))?;
    if !ended {
        let output = collected.output(-1);
        return Err(TimedOut { command: shown.to_owned(), limit: sandbox.time_limit, output }.into());
    }
    let status = child.wait().context("waiting for the sandbox")?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    let output = collected.output(code);
    if code == super::init::SETUP_FAILED
        && let Some(message) = super::init::setup_message(&output.stderr)
    {
        if message == super::init::FOREIGN {
            let program = sandbox.arguments.first().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
            return Err(Foreign { program }.into());
        }
        return Err(anyhow!("{message}").context(format!("setting up the sandbox for {shown}")));
    }
    Ok(output)
}

#[derive(Default)]
struct Collected {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Collected {
    fn add(&mut self, stream: usize, data: &[u8]) {
        if stream == 0 {
            let room = STDOUT_LIMIT - self.stdout.len();
            self.stdout.extend_from_slice(&data[..data.len().min(room)]);
        } else {
            self.stderr.extend_from_slice(data);
            if self.stderr.len() > 2 * STDERR_LIMIT {
                self.stderr.drain(..self.stderr.len() - STDERR_LIMIT);
            }
        }
    }

    fn output(self, code: i32) -> Output {
        Output { code, stdout: self.stdout, stderr: self.stderr }
    }
}

/// Reads both streams to their ends. False when the deadline came first; an error when interrupted.
fn collect(mut streams: [Option<File>; 2], collected: &mut Collected, deadline: Instant) -> Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    while streams.iter().any(Option::is_some) {
        interrupt::check()?;
        if Instant::now() >= deadline {
            return Ok(false);
        }
        let open: Vec<usize> = (0..2).filter(|i| streams[*i].is_some()).collect();
        let mut ready = [false; 2];
        {
            let mut fds: Vec<PollFd<'_>> =
                streams.iter().flatten().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)).collect();
            match poll(&mut fds, PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO)) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error).context("waiting for output"),
            }
            for (i, fd) in open.iter().zip(&fds) {
                ready[*i] = fd.any().unwrap_or(false);
            }
        }
        for i in open {
            let Some(stream) = streams[i].as_mut().filter(|_| ready[i]) else { continue };
            match stream.read(&mut buffer) {
                Ok(0) => streams[i] = None,
                Ok(n) => collected.add(i, &buffer[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("reading output"),
            }
        }
    }
    Ok(true)
}
