//! One request: which way it goes, its redirects, and what its failure means for a retry.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Timeout};

use super::netrc::Netrc;
use super::proxy::{Proxies, Proxy, absolute_form};
use super::resolve::Names;
use super::url::{Target, percent_decode, public_url, redirect_target};

/// How patient downloads are, and whether there are any.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Ask nobody: only the cache and `file:` addresses are read.
    pub offline: bool,
    /// Until a connection stands, name resolution and TLS included.
    pub connect: Duration,
    /// Without a byte from the server, before a download counts as stalled.
    pub stall: Duration,
    /// Attempts at one address before it is given up. One that brought data on starts the count anew.
    pub attempts: u32,
    /// Pause after the first failed attempt; it doubles with every further one, and varies by half to either side.
    pub backoff: Duration,
    /// The longest pause, also when a server asks for a longer one with `Retry-After`.
    pub longest_pause: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            offline: false,
            connect: Duration::from_secs(20),
            stall: Duration::from_secs(30),
            attempts: 5,
            backoff: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
        }
    }
}

/// Mirrors send a client on once or twice; more is a mistake.
const MAX_REDIRECTS: usize = 10;
/// Idle connections to keep for one host: no fewer than threads that download from it.
pub(super) const MAX_CONNECTIONS: usize = 16;
/// The body of a redirect or an error is read up to here, so that the connection can be used again.
const DRAIN: u64 = 64 << 10;

/// Why an attempt failed, as far as the next step depends on it.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no such file there.
    NotFound(String),
    /// It may be better in a moment; the server may have said when.
    Transient(anyhow::Error, Option<Duration>),
    /// What is there of the file cannot be gone on with; a new beginning may help.
    StartOver(anyhow::Error),
    /// Trying again does not help; another address may.
    Permanent(anyhow::Error),
    /// Nothing helps: the disk is full, the build was interrupted.
    Fatal(anyhow::Error),
}

/// An answer with the body still to be read.
pub(super) struct Response {
    /// The first byte that the body holds.
    pub offset: u64,
    /// Bytes of the body, as the server says.
    pub length: Option<u64>,
    /// The body.
    pub body: Box<dyn Read + Send>,
}

/// Makes requests; keeps connections open between them.
#[derive(Debug)]
pub(super) struct Client {
    pub settings: Settings,
    proxies: Proxies,
    netrc: Netrc,
    names: Names,
    /// By way and by whether it is encrypted: certificates are only read where they are needed.
    agents: Mutex<BTreeMap<(Route, bool), Agent>>,
}

/// The ways a request can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Route {
    Direct,
    /// To a proxy, the whole address in the request line.
    Absolute,
    /// Through a proxy by `CONNECT`.
    Connect,
}

impl Client {
    pub fn new(settings: Settings, env: impl Fn(&str) -> Option<String>) -> Result<Client> {
        let netrc = Netrc::from_env(&env);
        let proxies = Proxies::from_env(env)?;
        Ok(Client { settings, proxies, netrc, names: Names::default(), agents: Mutex::default() })
    }

    /// Asks for an address, from byte `offset` on. The answer may begin earlier: see [`Response::offset`].
    pub fn open(&self, url: &str, offset: u64) -> Result<Response, Failure> {
        if url.starts_with("file:") {
            return open_file(url);
        }
        // The one way to the network.
        if self.settings.offline {
            return Err(Failure::Permanent(anyhow!("{}: not asked for, this runs offline", public_url(url))));
        }
        let mut target = Target::parse(url).map_err(Failure::Permanent)?;
        let mut seen = BTreeSet::new();
        loop {
            if !seen.insert(target.uri.to_string()) || seen.len() > MAX_REDIRECTS + 1 {
                let what = if seen.len() > MAX_REDIRECTS + 1 { "too many redirects" } else { "redirects in a circle" };
                return Err(Failure::Permanent(anyhow!("{}: {what}; use another mirror", public_url(url))));
            }
            let mut response = self.request(&target, offset).map_err(|f| f.via(url, &target, seen.len() > 1))?;
            let status = response.status().as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return answer(response, offset).map_err(|f| f.via(url, &target, seen.len() > 1));
            }
            let shown = public_url(url);
            let location = response.headers().get("location").and_then(|v| std::str::from_utf8(v.as_bytes()).ok());
            let location = location
                .ok_or_else(|| Failure::Permanent(anyhow!("{shown}: the server redirects to nowhere (no Location)")))?;
            let next = target
                .join(location)
                .with_context(|| format!("{shown}: the server redirects to {}", redirect_target(location)))
                .map_err(Failure::Permanent)?;
            if target.is_https() && !next.is_https() {
                return Err(Failure::Permanent(anyhow!(
                    "{shown}: the server redirects from https to {}, which is not encrypted; use another mirror",
                    redirect_target(location)
                )));
            }
            drain(&mut response);
            target = next;
        }
    }

    fn request(&self, target: &Target, offset: u64) -> Result<ureq::http::Response<ureq::Body>, Failure> {
        let proxy = self.proxies.for_target(target);
        let route = match proxy {
            None => Route::Direct,
            Some(p) if !target.is_https() && p.takes_absolute_form() => Route::Absolute,
            Some(_) => Route::Connect,
        };
        let agent = self.agent(route, proxy, target.is_https()).map_err(Failure::Permanent)?;
        let mut request = agent.get(&target.uri);
        // What stands in the address goes before what the file says of its host.
        let authorization = match &target.authorization {
            Some(value) => Some(value.clone()),
            None => self.netrc.authorization(target.uri.host().unwrap_or_default()).map_err(Failure::Permanent)?,
        };
        if let Some(value) = authorization {
            request = request.header("Authorization", value);
        }
        if let (Route::Absolute, Some(value)) = (route, proxy.and_then(|p| p.target.authorization.as_ref())) {
            request = request.header("Proxy-Authorization", value);
        }
        if offset > 0 {
            request = request.header("Range", format!("bytes={offset}-"));
        }
        request.call().map_err(|e| self.classify(e))
    }

    /// What an error of the connection means.
    pub fn classify(&self, error: ureq::Error) -> Failure {
        let transient = |message: String| Failure::Transient(anyhow!(message), None);
        match error {
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                transient(format!("no connection within {} s", self.settings.connect.as_secs_f32()))
            }
            ureq::Error::Timeout(_) => {
                transient(format!("the server sent nothing for {} s", self.settings.stall.as_secs_f32()))
            }
            ureq::Error::HostNotFound => Failure::Permanent(anyhow!("no such host; check the address")),
            ureq::Error::Io(e) => classify_io(e),
            ureq::Error::ConnectProxyFailed(why) => {
                Failure::Permanent(anyhow!("the proxy did not connect: {why}; check https_proxy and no_proxy"))
            }
            // Garbage where an answer should be is mostly an answer that was cut off.
            ureq::Error::Protocol(e) => transient(format!("not a valid HTTP answer: {e}")),
            ureq::Error::Rustls(e) => tls(&e),
            other => Failure::Permanent(anyhow!(other)),
        }
    }

    fn agent(&self, route: Route, proxy: Option<&Proxy>, tls: bool) -> Result<Agent> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&(route, tls)) {
            return Ok(agent.clone());
        }
        let agent = self.make_agent(route, proxy, tls)?;
        agents.insert((route, tls), agent.clone());
        Ok(agent)
    }

    fn make_agent(&self, route: Route, proxy: Option<&Proxy>, tls: bool) -> Result<Agent> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("mkbase/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(self.settings.connect))
            .timeout_connect(Some(self.settings.connect))
            .timeout_per_read(Some(self.settings.stall))
            .timeout_per_write(Some(self.settings.stall))
            // A server that drips its header line by line does not hold a build for ever.
            .timeout_recv_response(Some(self.settings.stall * 4))
            .max_idle_connections(2 * MAX_CONNECTIONS)
            .max_idle_connections_per_host(MAX_CONNECTIONS)
            .proxy(None);
        if tls {
            config = config.tls_config(tls_config()?);
        }
        let through =
            |config: ureq::config::Config| Agent::with_parts(config, DefaultConnector::default(), self.names.clone());
        let Some(proxy) = proxy else { return Ok(through(config.build())) };
        if route == Route::Absolute {
            let names = self.names.instead(&proxy.target.uri);
            return Ok(Agent::with_parts(config.build(), absolute_form(), names));
        }
        let connect = ureq::Proxy::new(&proxy.url)
            .map_err(|e| anyhow!("{}: not usable as a proxy: {e}", public_url(&proxy.url)))?;
        Ok(through(config.proxy(Some(connect)).build()))
    }
}

/// The roots built in, or those of `SSL_CERT_FILE` in their place, as OpenSSL takes it.
fn tls_config() -> Result<TlsConfig> {
    let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|p| !p.is_empty()).map(PathBuf::from) else {
        return Ok(TlsConfig::builder().build());
    };
    let doing = || format!("reading the certificates of SSL_CERT_FILE={}", path.display());
    let pem = std::fs::read(&path).with_context(doing)?;
    let mut roots: Vec<Certificate<'static>> = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.with_context(doing)? {
            roots.push(certificate);
        }
    }
    if roots.is_empty() {
        return Err(anyhow!("the file holds no certificate").context(doing()));
    }
    Ok(TlsConfig::builder().root_certs(RootCerts::from(roots)).build())
}

impl Failure {
    /// The address goes before the reason; where redirects led elsewhere, that one too.
    fn via(self, url: &str, target: &Target, redirected: bool) -> Failure {
        let shown = public_url(url);
        let address = if redirected {
            format!("{shown} (redirected to {})", redirect_target(&target.uri.to_string()))
        } else {
            shown.clone()
        };
        match self {
            Failure::NotFound(_) => Failure::NotFound(shown),
            Failure::Transient(e, pause) => Failure::Transient(anyhow!("{address}: {e:#}"), pause),
            Failure::StartOver(e) => Failure::StartOver(anyhow!("{address}: {e:#}")),
            Failure::Permanent(e) => Failure::Permanent(anyhow!("{address}: {e:#}")),
            Failure::Fatal(e) => Failure::Fatal(e),
        }
    }
}

fn tls(error: &dyn std::fmt::Display) -> Failure {
    Failure::Permanent(anyhow!(
        "the encrypted connection failed: {error}; check the clock, or name the certificates of a private \
         authority with SSL_CERT_FILE"
    ))
}

fn classify_io(error: io::Error) -> Failure {
    use io::ErrorKind as Kind;
    let text = error.to_string();
    match error.kind() {
        Kind::ConnectionRefused => Failure::Transient(anyhow!("connection refused"), None),
        Kind::UnexpectedEof | Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => {
            Failure::Transient(anyhow!("the connection was cut"), None)
        }
        // rustls reports faults of the handshake so.
        Kind::InvalidData => tls(&text),
        // getaddrinfo(3): only EAI_AGAIN passes; its texts in glibc and musl.
        _ if text.contains("lookup address") && !text.contains("Temporary") && !text.contains("Try again") => {
            Failure::Permanent(anyhow!("no such host ({text}); check the address and the name server"))
        }
        _ => Failure::Transient(anyhow!(text), None),
    }
}

/// Sorts an answer by its status (RFC 9110, section 15).
fn answer(mut response: ureq::http::Response<ureq::Body>, offset: u64) -> Result<Response, Failure> {
    let status = response.status();
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let failure = match status.as_u16() {
        200 => None,
        206 => {
            let start = header("content-range").as_deref().and_then(range_start);
            if offset > 0 && start == Some(offset) {
                let length = response.body().content_length();
                return Ok(Response { offset, length, body: Box::new(response.into_body().into_reader()) });
            }
            Some(Failure::StartOver(anyhow!("the server sent another part than the one asked for")))
        }
        416 => Some(Failure::StartOver(anyhow!("the server cannot go on from byte {offset}"))),
        404 | 410 => Some(Failure::NotFound(String::new())),
        401 => Some(Failure::Permanent(anyhow!(
            "the server wants a user name and a password ({status}); put them into ~/.netrc, or into the variable \
             MKBASE_AUTH_REPOSITORY (the repository's name in capitals) as user:password"
        ))),
        407 => Some(Failure::Permanent(anyhow!(
            "the proxy wants a user name and a password ({status}); put them into its address"
        ))),
        code @ (408 | 425 | 429 | 500..=599) => {
            let pause = header("retry-after").and_then(|v| v.trim().parse().ok()).map(Duration::from_secs);
            let what = if code == 429 { "too many requests, says the server" } else { "the server is in trouble" };
            Some(Failure::Transient(anyhow!("{what} ({status})"), pause))
        }
        _ => {
            Some(Failure::Permanent(anyhow!("the server refuses ({status}); check the address or use another mirror")))
        }
    };
    if let Some(failure) = failure {
        drain(&mut response);
        return Err(failure);
    }
    let length = response.body().content_length();
    Ok(Response { offset: 0, length, body: Box::new(response.into_body().into_reader()) })
}

/// The first byte of `bytes 5-9/10`.
fn range_start(value: &str) -> Option<u64> {
    value.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.parse().ok()
}

/// Reads what is left of a small body. Failing only costs the connection.
fn drain(response: &mut ureq::http::Response<ureq::Body>) {
    let _ = io::copy(&mut response.body_mut().as_reader().take(DRAIN), &mut io::sink());
}

/// Opens a `file:` address (RFC 8089).
fn open_file(url: &str) -> Result<Response, Failure> {
    let path = file_path(url).map_err(Failure::Permanent)?;
    let trouble = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => Failure::NotFound(url.to_owned()),
        _ => Failure::Permanent(anyhow!(e).context(format!("reading {}", path.display()))),
    };
    let file = File::open(&path).map_err(trouble)?;
    let metadata = file.metadata().map_err(trouble)?;
    if !metadata.is_file() {
        return Err(Failure::Permanent(anyhow!("{}: not a regular file", path.display())));
    }
    Ok(Response { offset: 0, length: Some(metadata.len()), body: Box::new(file) })
}

fn file_path(url: &str) -> Result<PathBuf> {
    let rest = url.strip_prefix("file:").unwrap_or(url);
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
        None => rest,
    };
    if !path.starts_with('/') {
        return Err(anyhow!("{}: names no absolute path; write file:///path", public_url(url)));
    }
    let bytes = percent_decode(path).map_err(|why| anyhow!("{}: {why}", public_url(url)))?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_addresses() {
        for (url, path) in [
            ("file:///srv/a", Some("/srv/a")),
            ("file:/srv/a", Some("/srv/a")),
            ("file://localhost/srv/a%20b", Some("/srv/a b")),
            ("file://host/srv", None),
            ("file:srv", None),
            ("file:///%z", None),
        ] {
            assert_eq!(file_path(url).ok(), path.map(PathBuf::from), "{url}");
        }
    }

    #[test]
    fn ranges() {
        for (value, start) in [("bytes 5-9/10", Some(5)), ("bytes */10", None), ("items 5-9/10", None), ("", None)] {
            assert_eq!(range_start(value), start, "{value}");
        }
    }
}
