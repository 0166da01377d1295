//! Runs the program as people do, and looks at what it leaves behind.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::{Pid, User};

/// The longest that one run may take: a hanging program is a failed test, not a hanging one.
const TIME_LIMIT: Duration = Duration::from_secs(600);
/// How long processes and folders of a build that ended may take to be gone.
const SETTLE: Duration = Duration::from_secs(15);

/// The folder of one test: `tmp` is the program's `TMPDIR`, `out` is for its results. Gone when dropped.
pub struct Place {
    dir: tempfile::TempDir,
    cache: PathBuf,
    user: Option<User>,
}

/// The package cache that all tests share, so that the real archive is asked once.
pub fn shared_cache() -> PathBuf {
    let cache = std::env::var_os("MKBASE_TEST_CACHE")
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"), PathBuf::from);
    std::fs::create_dir_all(&cache).expect("a folder for the shared cache");
    cache
}

/// The ordinary user that root runs tests as: `MKBASE_TEST_USER`, which `scripts/test` makes.
pub fn test_user() -> Option<User> {
    let name = std::env::var("MKBASE_TEST_USER").ok()?;
    User::from_name(&name).expect("the user database can be read")
}

impl Place {
    /// With the shared cache.
    pub fn new() -> Place {
        Place::at(&std::env::temp_dir())
    }

    /// Below another folder than the temporary one.
    pub fn at(parent: &Path) -> Place {
        let dir = tempfile::Builder::new().prefix("mkbase-test-").tempdir_in(parent).expect("a temporary folder");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("own folder");
        for name in ["tmp", "out"] {
            std::fs::create_dir(dir.path().join(name)).expect("a folder in an empty one");
        }
        Place { dir, cache: shared_cache(), user: None }
    }

    /// With a cache of its own, empty at first.
    pub fn with_own_cache(mut self) -> Place {
        self.cache = self.dir.path().join("cache");
        std::fs::create_dir(&self.cache).expect("a folder for the cache");
        self
    }

    /// With a cache of its own that starts with the downloads of the shared one, and no segments of images.
    pub fn with_copied_cache(mut self) -> Place {
        self = self.with_own_cache();
        let copied = Command::new("cp").arg("-a").arg(shared_cache().join(".")).arg(&self.cache).status();
        assert!(copied.expect("cp runs").success(), "copying the cache");
        self.forget_segments();
        self
    }

    /// Empties the cache of compressed segments. Only for a cache of one's own.
    pub fn forget_segments(&self) {
        match std::fs::remove_dir_all(self.cache.join("pieces")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("forgetting segments: {error}"),
            _ => {}
        }
    }

    /// Everything runs as this user, with a copied cache.
    pub fn of_user(mut self, user: User) -> Place {
        self = self.with_copied_cache();
        let owner = format!("{}:{}", user.uid, user.gid);
        let owned = Command::new("chown").arg("-R").arg(owner).arg(self.dir.path()).status();
        assert!(owned.expect("chown runs").success(), "giving the test's folder to its user");
        self.user = Some(user);
        self
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn tmp(&self) -> PathBuf {
        self.path().join("tmp")
    }

    /// A path for results.
    pub fn out(&self, name: &str) -> PathBuf {
        self.path().join("out").join(name)
    }

    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Writes a file beside the results and gives its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("a folder in the test's own");
        }
        std::fs::write(&path, content).expect("a file in the test's folder");
        path
    }

    /// The program with these arguments.
    pub fn mkbase<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Mkbase<'_> {
        Mkbase {
            place: self,
            wrapper: Vec::new(),
            arguments: arguments.into_iter().map(|a| a.as_ref().into()).collect(),
            env: vec![("TMPDIR".into(), self.tmp().into()), ("MKBASE_CACHE".into(), self.cache.clone().into())],
            limit: TIME_LIMIT,
            terminal: false,
        }
    }

    /// `mkbase build RECIPE -o OUT --compress none` and more arguments.
    pub fn build(&self, recipe: impl AsRef<OsStr>, out: &str, more: &[&str]) -> Mkbase<'_> {
        let mut arguments: Vec<OsString> =
            vec!["build".into(), recipe.as_ref().into(), "-o".into(), self.out(out).into()];
        if !more.contains(&"--compress") {
            arguments.extend(["--compress".into(), "none".into()]);
        }
        arguments.extend(more.iter().map(OsString::from));
        self.mkbase(arguments)
    }

    /// Asserts that nothing of a build is left: no folder in `TMPDIR`, no unexpected thing beside the results, no
    /// mount, no process. Waits a little, because a killed program's children need a moment.
    pub fn assert_nothing_left(&self, results: &[&str]) {
        let start = Instant::now();
        loop {
            let found = self.leftovers(results);
            if found.is_empty() {
                return;
            }
            assert!(start.elapsed() < SETTLE, "left behind: {found:#?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn leftovers(&self, results: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for (folder, expected) in [("tmp", &[][..]), ("out", results)] {
            for entry in std::fs::read_dir(self.path().join(folder)).expect("the test's folder").flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !expected.contains(&name.as_str()) {
                    found.push(format!("{folder}/{name}"));
                }
            }
        }
        found.extend(processes_with(self.path()));
        found
    }
}

/// Processes that work in or show a folder: through their mounts (in whatever namespace), their working folder
/// or their root, other than this test's own.
fn processes_with(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let name = folder.file_name().expect("a test's folder has a name").to_string_lossy().into_owned();
    for entry in std::fs::read_dir("/proc").expect("/proc is mounted").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let proc = entry.path();
        let mounts = std::fs::read_to_string(proc.join("mountinfo")).unwrap_or_default();
        if let Some(line) = mounts.lines().find(|l| l.contains(&name)) {
            found.push(format!("mount seen by process {pid}: {line}"));
        }
        if pid == std::process::id() {
            continue;
        }
        for link in ["cwd", "root", "exe"] {
            if std::fs::read_link(proc.join(link)).is_ok_and(|target| target.starts_with(folder)) {
                found.push(format!("process {pid}: its {link} is in the folder"));
            }
        }
    }
    found
}

/// Processes, of any namespace, whose command line holds this word.
pub fn processes_named(word: &str) -> Vec<u32> {
    std::fs::read_dir("/proc")
        .expect("/proc is mounted")
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(word.len()).any(|part| part == word.as_bytes())
        })
        .collect()
}

/// A run to be.
pub struct Mkbase<'a> {
    place: &'a Place,
    wrapper: Vec<OsString>,
    arguments: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    limit: Duration,
    terminal: bool,
}

impl Mkbase<'_> {
    /// More arguments.
    pub fn arguments<S: AsRef<OsStr>>(mut self, more: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(more.into_iter().map(|a| a.as_ref().into()));
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().into()));
        self
    }

    /// The program is started by another one: `faketime`, `unshare`, `sh -c '…; exec "$@"' sh`.
    pub fn through<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = wrapper.into_iter().map(|a| a.as_ref().into()).collect();
        self
    }

    pub fn umask(self, mask: &str) -> Self {
        self.through(["sh", "-c", &format!("umask {mask}; exec \"$@\""), "sh"])
    }

    /// Less patience than usual, for tests of what hangs.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Standard error is a terminal.
    pub fn on_terminal(mut self) -> Self {
        self.terminal = true;
        self.env("TERM", "xterm")
    }

    fn command(&self) -> Command {
        let program = OsString::from(env!("CARGO_BIN_EXE_mkbase"));
        let mut words = self.wrapper.iter().chain([&program]).chain(&self.arguments);
        let mut command = Command::new(words.next().expect("there is a program"));
        command.args(words).current_dir(self.place.path()).stdin(Stdio::null());
        for name in ["SOURCE_DATE_EPOCH", "NO_COLOR", "MKBASE_CACHE", "NETRC", "http_proxy", "https_proxy"] {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(user) = &self.place.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).env("HOME", self.place.path());
            command.env("USER", &user.name).env("LOGNAME", &user.name);
        }
        // A group of its own, so that a signal from the terminal can be played: it goes to the whole group.
        command.process_group(0);
        // When the tests are broken off, so is what they started.
        let die = || Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?);
        // SAFETY: between fork and exec it only makes one system call.
        unsafe { command.pre_exec(die) };
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it and gives a handle to watch it with.
    pub fn start(&self) -> Running {
        let mut command = self.command();
        let mut terminal = None;
        if self.terminal {
            let pty = nix::pty::openpty(None, None).expect("a terminal");
            command.stderr(pty.slave);
            terminal = Some(std::fs::File::from(pty.master));
        }
        let mut child = command.spawn().expect("the program starts");
        // It holds the other end of the terminal.
        drop(command);
        let mut stdout = child.stdout.take().expect("a piped stdout");
        let stdout = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).expect("reading a pipe");
            bytes
        });
        let (sender, lines) = channel();
        let stderr: Box<dyn Read + Send> = match terminal {
            Some(terminal) => Box::new(terminal),
            None => Box::new(child.stderr.take().expect("a piped stderr")),
        };
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                // The test may have lost interest.
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Running { child, stdout: Some(stdout), lines, said: String::new(), limit: self.limit, start: Instant::now() }
    }

    /// Runs it to its end.
    pub fn run(&self) -> Ended {
        self.start().end()
    }
}

/// A program that runs. Killed when dropped.
pub struct Running {
    child: Child,
    stdout: Option<std::thread::JoinHandle<Vec<u8>>>,
    lines: Receiver<String>,
    said: String,
    limit: Duration,
    start: Instant,
}

impl Running {
    /// Waits for a line on standard error that holds `text`. False when the program ended without one.
    pub fn wait_for(&mut self, text: &str) -> bool {
        loop {
            match self.next_line() {
                Some(line) if line.contains(text) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }

    pub fn next_line(&mut self) -> Option<String> {
        let left = self.limit.saturating_sub(self.start.elapsed());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.said.push_str(&line);
                self.said.push('\n');
                Some(line)
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                self.signal_all(Signal::SIGKILL);
                panic!("still running after {} s; it said:\n{}", self.limit.as_secs(), self.said);
            }
        }
    }

    /// Sends a signal to the program alone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        // It may have ended by itself just now.
        let _ = nix::sys::signal::kill(pid, signal);
    }

    /// Sends a signal to the program and its children, as Ctrl-C on a terminal does.
    pub fn signal_all(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        let _ = nix::sys::signal::killpg(pid, signal);
    }

    /// Waits for the end.
    pub fn end(mut self) -> Ended {
        while self.next_line().is_some() {}
        let status = self.child.wait().expect("the program can be waited for");
        let stdout = self.stdout.take().expect("ended once").join().expect("the reader of stdout");
        Ended { code: status.code(), signal: status.signal(), stdout, stderr: std::mem::take(&mut self.said) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.stdout.is_some() {
            self.signal_all(Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ended {
    #[track_caller]
    pub fn success(self) -> Ended {
        assert_eq!(self.code, Some(0), "it failed (signal {:?}):\n{}", self.signal, self.stderr);
        self
    }

    /// Asserts the exit code and that standard error holds every one of these texts.
    #[track_caller]
    pub fn fails(self, code: i32, texts: &[&str]) -> Ended {
        assert_eq!(self.code, Some(code), "another end (signal {:?}) than expected:\n{}", self.signal, self.stderr);
        for text in texts {
            assert!(self.stderr.contains(text), "no {text:?} in:\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "it panicked:\n{}", self.stderr);
        self
    }

    #[track_caller]
    pub fn stdout(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text on stdout")
    }
}
