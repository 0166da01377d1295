//! A small HTTP/1.1 server on the loopback interface that can misbehave in every way a mirror does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What a path answers.
#[derive(Clone)]
pub enum Body {
    Bytes(Arc<[u8]>),
    File(PathBuf),
}

impl Body {
    pub fn read(&self) -> Vec<u8> {
        match self {
            Body::Bytes(bytes) => bytes.to_vec(),
            Body::File(path) => std::fs::read(path).expect("a file of the test's mirror"),
        }
    }
}

/// What goes wrong.
#[derive(Clone)]
pub enum Fault {
    /// An answer without the file.
    Status(u16),
    /// Half the body, then nothing more; the connection stays open.
    Stall,
    /// Half the body, then the connection is closed.
    Cut,
    /// Sends the client to another path.
    Redirect(String),
    /// Closes the connection without an answer.
    Hangup,
    /// Waits before every answer.
    Slow(Duration),
}

struct Rule {
    pattern: String,
    fault: Fault,
    /// How often it still happens; forever when `None`.
    left: Option<u32>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Body>,
    rules: Vec<Rule>,
    requests: Vec<Request>,
    connections: Vec<TcpStream>,
    /// Who does not send this `Authorization` is refused.
    authorization: Option<String>,
}

/// A request that came in.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    /// First byte of the range asked for.
    pub from: u64,
    /// The value of the header `Authorization`.
    pub authorization: Option<String>,
}

/// The server; it stops when dropped.
pub struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stopped: Arc<AtomicBool>,
}

impl Server {
    pub fn new() -> Server {
        Server::on("127.0.0.1").expect("a port on the loopback interface")
    }

    /// On another address of the host; an error where it has none such.
    pub fn on(host: &str) -> std::io::Result<Server> {
        let listener = TcpListener::bind((host, 0))?;
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(Mutex::new(State::default()));
        let stopped = Arc::new(AtomicBool::new(false));
        let (shared, stop) = (Arc::clone(&state), Arc::clone(&stopped));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&shared);
                let stop = Arc::clone(&stop);
                if let Ok(copy) = stream.try_clone() {
                    lock(&state).connections.push(copy);
                }
                std::thread::spawn(move || {
                    // A client that goes away in the middle is what half of the tests are about.
                    let _ = serve(&stream, &state, &stop);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Ok(Server { address, state, stopped })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on only for who sends this `Authorization`.
    pub fn require(&self, authorization: &str) {
        lock(&self.state).authorization = Some(authorization.into());
    }

    /// Its address, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn put(&self, path: impl Into<String>, bytes: Vec<u8>) {
        self.put_body(path, bytes.into());
    }

    pub fn put_body(&self, path: impl Into<String>, body: Body) {
        lock(&self.state).files.insert(path.into(), body);
    }

    pub fn remove(&self, path: &str) {
        lock(&self.state).files.remove(path).unwrap_or_else(|| panic!("no {path} to remove"));
    }

    pub fn change(&self, path: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut state = lock(&self.state);
        let body = state.files.get_mut(path).unwrap_or_else(|| panic!("no {path} to change"));
        let mut bytes = body.read();
        change(&mut bytes);
        *body = bytes.into();
    }

    pub fn body(&self, path: &str) -> Body {
        lock(&self.state).files.get(path).unwrap_or_else(|| panic!("no {path}")).clone()
    }

    pub fn paths(&self) -> Vec<String> {
        lock(&self.state).files.keys().cloned().collect()
    }

    /// From now on every request whose path has `pattern` in it goes wrong.
    pub fn fault(&self, pattern: &str, fault: Fault) {
        lock(&self.state).rules.push(Rule { pattern: pattern.into(), fault, left: None });
    }

    /// The next `times` requests whose path has `pattern` in it go wrong.
    pub fn fault_times(&self, pattern: &str, fault: Fault, times: u32) {
        lock(&self.state).rules.push(Rule { pattern: pattern.into(), fault, left: Some(times) });
    }

    pub fn requests(&self) -> Vec<Request> {
        lock(&self.state).requests.clone()
    }

    /// How many requests had `pattern` in their path.
    pub fn count(&self, pattern: &str) -> usize {
        self.requests().iter().filter(|r| r.path.contains(pattern)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        for connection in &lock(&self.state).connections {
            let _ = connection.shutdown(Shutdown::Both);
        }
        // The listener only looks at the flag when somebody calls.
        let _ = TcpStream::connect(self.address);
    }
}

/// An address where nobody listens.
pub fn refused_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on the loopback interface");
    format!("http://{}", listener.local_addr().expect("a bound socket has an address"))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|e| e.into_inner())
}

fn serve(stream: &TcpStream, state: &Mutex<State>, stop: &AtomicBool) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream.try_clone()?;
    loop {
        let Some((request, head)) = read_request(&mut reader)? else { return Ok(()) };
        let (body, fault) = {
            let mut state = lock(state);
            state.requests.push(request.clone());
            let fault = take_fault(&mut state.rules, &request.path);
            let barred = state.authorization.is_some() && state.authorization != request.authorization;
            let fault = if barred { Some(Fault::Status(401)) } else { fault };
            (state.files.get(&request.path).cloned(), fault)
        };
        match fault {
            Some(Fault::Status(status)) => respond(&mut out, status, "", b"sorry\n", head)?,
            Some(Fault::Redirect(to)) => respond(&mut out, 302, &format!("Location: {to}\r\n"), b"", head)?,
            Some(Fault::Hangup) => return Ok(()),
            Some(Fault::Slow(time)) => {
                std::thread::sleep(time);
                answer(&mut out, body.as_ref(), &request, head)?;
            }
            Some(half @ (Fault::Stall | Fault::Cut)) => {
                let bytes = body.map(|b| b.read()).unwrap_or_default();
                write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len())?;
                out.write_all(&bytes[..bytes.len() / 2])?;
                out.flush()?;
                while matches!(half, Fault::Stall) && !stop.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(50));
                }
                return Ok(());
            }
            None => answer(&mut out, body.as_ref(), &request, head)?,
        }
    }
}

fn take_fault(rules: &mut [Rule], path: &str) -> Option<Fault> {
    let rule = rules.iter_mut().find(|r| path.contains(&r.pattern) && r.left != Some(0))?;
    if let Some(left) = &mut rule.left {
        *left -= 1;
    }
    Some(rule.fault.clone())
}

/// The next request of the connection, and whether it asks for the head only.
fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<(Request, bool)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let head = words.next() == Some("HEAD");
    let path = decoded(words.next().unwrap_or_default());
    let mut from = 0;
    let mut authorization = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(Some((Request { path, from, authorization }, head)));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("authorization")
        {
            authorization = Some(value.trim().to_string());
        }
        if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            from = range.split('-').next().and_then(|n| n.trim().parse().ok()).unwrap_or(0);
        }
    }
}

/// A path with its `%2b` resolved: apt writes `+` so.
fn decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_string();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte.into());
                decoded.push_str(&part[2..]);
            }
            None => {
                decoded.push('%');
                decoded.push_str(part);
            }
        }
    }
    decoded
}

fn answer(out: &mut TcpStream, body: Option<&Body>, request: &Request, head: bool) -> std::io::Result<()> {
    let Some(body) = body else { return respond(out, 404, "", b"not found\n", head) };
    let bytes = body.read();
    let total = bytes.len();
    match usize::try_from(request.from) {
        Ok(0) => respond(out, 200, "Accept-Ranges: bytes\r\n", &bytes, head),
        Ok(from) if from < total => {
            let range = format!("Content-Range: bytes {from}-{}/{total}\r\n", total - 1);
            respond(out, 206, &range, &bytes[from..], head)
        }
        _ => respond(out, 416, &format!("Content-Range: bytes */{total}\r\n"), b"", head),
    }
}

fn respond(out: &mut TcpStream, status: u16, headers: &str, body: &[u8], head: bool) -> std::io::Result<()> {
    write!(out, "HTTP/1.1 {status} Test\r\n{headers}Content-Length: {}\r\n\r\n", body.len())?;
    if !head {
        out.write_all(body)?;
    }
    out.flush()
}
