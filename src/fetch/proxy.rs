//! Proxies of the environment: `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, as curl(1) reads them.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport};

use super::url::{Target, public_url};

/// A proxy server.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    /// Its address with credentials, as ureq takes it.
    pub url: String,
    /// The same, split.
    pub target: Target,
}

/// Which proxy serves which address.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    bypass: Vec<String>,
}

impl Proxies {
    /// Reads the variables. `env` gives the value of one.
    pub fn from_env(env: impl Fn(&str) -> Option<String>) -> Result<Proxies> {
        let first = |names: &[&str]| -> Result<Option<Proxy>> {
            for name in names {
                if let Some(value) = env(name).filter(|v| !v.trim().is_empty()) {
                    return Proxy::parse(value.trim())
                        .with_context(|| format!("reading the proxy in {name}"))
                        .map(Some);
                }
            }
            Ok(None)
        };
        let bypass = env("no_proxy").or_else(|| env("NO_PROXY")).unwrap_or_default();
        Ok(Proxies {
            http: first(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])?,
            https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
            bypass: bypass.split([',', ' ']).filter_map(bypass_entry).collect(),
        })
    }

    /// The proxy for an address, if it goes through one.
    pub fn for_target(&self, target: &Target) -> Option<&Proxy> {
        let proxy = if target.is_https() { &self.https } else { &self.http }.as_ref()?;
        let host = target.uri.host()?.trim_matches(['[', ']']).to_ascii_lowercase();
        let port = target.uri.port_u16().unwrap_or(if target.is_https() { 443 } else { 80 });
        let direct = self.bypass.iter().any(|entry| bypasses(entry, &host, port));
        (!direct).then_some(proxy)
    }
}

/// An entry of `no_proxy` without the signs that say "and all below", which every name means. Empty: every host.
fn bypass_entry(entry: &str) -> Option<String> {
    let entry = entry.trim().to_ascii_lowercase();
    let name = entry.strip_prefix('*').unwrap_or(&entry).trim_start_matches('.');
    (entry == "*" || !name.is_empty()).then(|| name.to_owned())
}

/// Whether an entry of `no_proxy` covers a host: by name, by a parent domain, by address or by a CIDR range.
fn bypasses(entry: &str, host: &str, port: u16) -> bool {
    if entry.is_empty() {
        return true;
    }
    if let Some((network, bits)) = entry.split_once('/') {
        return match (network.parse(), bits.parse(), host.parse()) {
            (Ok(network), Ok(bits), Ok(host)) => in_network(network, bits, host),
            _ => false,
        };
    }
    let name = match entry.rsplit_once(':') {
        // Not the last group of an IPv6 address.
        Some((name, wanted)) if !name.contains(':') || name.ends_with(']') => {
            if wanted.parse() != Ok(port) {
                return false;
            }
            name
        }
        _ => entry,
    };
    let name = name.trim_matches(['[', ']']);
    host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
}

fn in_network(network: IpAddr, bits: u32, host: IpAddr) -> bool {
    let (network, host, width) = match (network, host) {
        (IpAddr::V4(n), IpAddr::V4(h)) => (u128::from(n.to_bits()), u128::from(h.to_bits()), 32),
        (IpAddr::V6(n), IpAddr::V6(h)) => (n.to_bits(), h.to_bits(), 128),
        _ => return false,
    };
    let Some(shift) = u32::checked_sub(width, bits) else { return false };
    network.checked_shr(shift).unwrap_or(0) == host.checked_shr(shift).unwrap_or(0)
}

impl Proxy {
    fn parse(value: &str) -> Result<Proxy> {
        let url = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let scheme = url.split("://").next().unwrap_or_default().to_ascii_lowercase();
        if scheme != "http" && scheme != "https" {
            bail!("{}: '{scheme}' proxies are not supported; use an http:// proxy", public_url(&url));
        }
        let target = Target::parse(&url)?;
        Ok(Proxy { url, target })
    }

    /// Whether requests for `http:` addresses are sent to it whole, as every proxy takes them. Through a TLS
    /// proxy they go by `CONNECT`.
    pub fn takes_absolute_form(&self) -> bool {
        !self.target.is_https()
    }
}

/// Plain HTTP through a proxy with the whole address in the request line (RFC 9112, section 3.2.2). ureq itself
/// only knows `CONNECT`, which caching proxies and most companies' proxies refuse for port 80.
pub(super) fn absolute_form() -> impl Connector {
    TcpConnector::default().chain(AbsoluteForm)
}

#[derive(Debug)]
struct AbsoluteForm;

impl<In: Transport> Connector<In> for AbsoluteForm {
    type Out = Rewriting<In>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Rewriting<In>>, ureq::Error> {
        let authority = details.uri.authority().map_or("", |a| a.as_str());
        let prefix = format!("http://{authority}").into_bytes();
        Ok(chained.map(|inner| Rewriting { inner, prefix }))
    }
}

#[derive(Debug)]
struct Rewriting<In> {
    inner: In,
    prefix: Vec<u8>,
}

impl<In: Transport> Transport for Rewriting<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        const METHOD: usize = "GET ".len();
        let output = self.inner.buffers().output();
        let mut total = amount;
        // Only requests begin so: a GET has no body.
        if output[..amount].starts_with(b"GET /") {
            total += self.prefix.len();
            if total > output.len() {
                return Err(ureq::Error::LargeResponseHeader(total, output.len()));
            }
            output.copy_within(METHOD..amount, METHOD + self.prefix.len());
            output[METHOD..METHOD + self.prefix.len()].copy_from_slice(&self.prefix);
        }
        self.inner.transmit_output(total, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(vars: &[(&str, &str)]) -> Result<Proxies> {
        Proxies::from_env(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    fn chosen(proxies: &Proxies, url: &str) -> Option<String> {
        let target = Target::parse(url).expect("a valid address");
        proxies.for_target(&target).map(|p| p.target.uri.to_string())
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let p = proxies(&[("http_proxy", "u:p@one:3142"), ("HTTPS_PROXY", "http://two:8080")]).expect("valid");
        assert_eq!(chosen(&p, "http://example.org/").as_deref(), Some("http://one:3142/"));
        assert_eq!(chosen(&p, "https://example.org/").as_deref(), Some("http://two:8080/"));
        let p = proxies(&[("all_proxy", "http://one/"), ("http_proxy", "")]).expect("valid");
        assert_eq!(chosen(&p, "http://example.org/").as_deref(), Some("http://one/"));
        assert_eq!(chosen(&proxies(&[]).expect("valid"), "http://example.org/"), None);
    }

    #[test]
    fn no_proxy_entries() {
        for (entry, url, direct) in [
            ("example.org", "http://example.org/", true),
            ("example.org", "http://EXAMPLE.org/", true),
            ("example.org", "http://deb.example.org/", true),
            (".example.org", "http://deb.example.org/", true),
            ("*.example.org", "http://deb.example.org/", true),
            ("example.org", "http://badexample.org/", false),
            ("a, example.org", "http://example.org/", true),
            ("*", "http://example.org/", true),
            ("", "http://example.org/", false),
            (",", "http://example.org/", false),
            ("example.org:8080", "http://example.org:8080/", true),
            ("example.org:8080", "http://example.org/", false),
            ("10.0.0.0/8", "http://10.1.2.3/", true),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("10.0.0.0/99", "http://10.1.2.3/", false),
            ("::1", "http://[::1]/", true),
            ("fd00::/8", "http://[fd12::1]:80/", true),
            ("0.0.0.0/0", "http://10.1.2.3/", true),
        ] {
            let p = proxies(&[("http_proxy", "http://one/"), ("no_proxy", entry)]).expect("valid");
            assert_eq!(chosen(&p, url).is_none(), direct, "{entry} {url}");
        }
    }

    #[test]
    fn a_bad_proxy_is_named_without_its_password() {
        for value in ["socks5://u:secret@h", "http://u:secret@/", "http://u:secret%@h/"] {
            let e = format!("{:#}", proxies(&[("http_proxy", value)]).expect_err(value));
            assert!(e.contains("http_proxy") && !e.contains("secret"), "{e}");
        }
    }
}
