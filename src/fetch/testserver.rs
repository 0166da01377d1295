//! An HTTP server for tests that can misbehave in every way a mirror does.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// The target of the request line.
    pub target: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// How many requests for this target came before.
    pub before: usize,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first byte asked for with `Range`.
    pub fn offset(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What the server does.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    length: Option<usize>,
    body: Vec<u8>,
    stall: bool,
}

impl Reply {
    /// A whole file.
    pub fn ok(body: &[u8]) -> Reply {
        Reply { status: 200, headers: vec![], length: Some(body.len()), body: body.to_vec(), stall: false }
    }

    /// An answer without a file.
    pub fn status(status: u16) -> Reply {
        Reply { status, ..Reply::ok(b"sorry") }
    }

    /// A redirect.
    pub fn redirect(to: &str) -> Reply {
        Reply::status(302).with("Location", to)
    }

    /// The file from `offset` on.
    pub fn part(body: &[u8], offset: usize) -> Reply {
        let range = format!("bytes {offset}-{}/{}", body.len() - 1, body.len());
        Reply { status: 206, ..Reply::ok(&body[offset..]) }.with("Content-Range", &range)
    }

    /// With one more header.
    pub fn with(mut self, name: &'static str, value: &str) -> Reply {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Sends only so many bytes of the body, then closes the connection.
    pub fn cut(mut self, bytes: usize) -> Reply {
        self.body.truncate(bytes);
        self
    }

    /// Sends only so many bytes of the body, then nothing more.
    pub fn stall(self, bytes: usize) -> Reply {
        Reply { stall: true, ..self.cut(bytes) }
    }

    /// Says nothing about the length; the end of the connection ends the body.
    pub fn unsized_body(mut self) -> Reply {
        self.length = None;
        self
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A running server; stops when dropped.
pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    handler: Box<Handler>,
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
}

impl Server {
    /// Starts a server.
    pub fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if for_thread.stopped.load(Ordering::Relaxed) {
                    break;
                }
                for_thread.connections.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&for_thread);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Server { url, shared }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("no panic").clone()
    }

    /// The connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // Wakes the listener; it is gone if this fails.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

/// Serves one connection. A client that goes away ends it, which is no failure of a test.
fn serve(stream: TcpStream, shared: &Shared) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
        let target = line.split(' ').nth(1)?.to_owned();
        let mut headers = Vec::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok().filter(|&n| n > 0)?;
            match header.trim_end().split_once(':') {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => break,
            }
        }
        let request = {
            let mut requests = shared.requests.lock().ok()?;
            let before = requests.iter().filter(|r| r.target == target).count();
            requests.push(Request { target, headers, before });
            requests.last()?.clone()
        };
        let reply = (shared.handler)(&request);
        let mut head = format!("HTTP/1.1 {} Reason\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(length) = reply.length {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str("\r\n");
        writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&reply.body)).ok()?;
        while reply.stall && !shared.stopped.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if reply.length != Some(reply.body.len()) {
            return None;
        }
    }
}
