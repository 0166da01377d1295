//! Name resolution with a memory: ureq asks anew for every request, and a hundred packages are a hundred requests to
//! one host.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// As long as name servers of large mirrors let an answer live.
const LIFETIME: Duration = Duration::from_secs(60);

type Entry = Arc<Mutex<Option<(Instant, ResolvedSocketAddrs)>>>;

/// The answers so far; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// By scheme, host and port.
    known: Arc<Mutex<BTreeMap<String, Entry>>>,
    /// A server to go to instead of those that addresses name: a proxy.
    instead: Option<Uri>,
}

impl Names {
    /// The same memory, for requests that all go to one server.
    pub fn instead(&self, server: &Uri) -> Names {
        Names { known: Arc::clone(&self.known), instead: Some(server.clone()) }
    }

    fn entry(&self, uri: &Uri) -> Entry {
        let key = format!("{}://{}", uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", |a| a.as_str()));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(key).or_default())
    }
}

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let uri = self.instead.as_ref().unwrap_or(uri);
        let entry = self.entry(uri);
        // Held while the question is open: threads that start together ask once.
        let mut answer = entry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((time, addresses)) = answer.as_ref()
            && time.elapsed() < LIFETIME
        {
            return Ok(addresses.clone());
        }
        let addresses = DefaultResolver::default().resolve(uri, config, timeout)?;
        *answer = Some((Instant::now(), addresses.clone()));
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_for_once() {
        let names = Names::default();
        let config = Config::default();
        let ask = |names: &Names, url: &'static str| {
            names.resolve(&Uri::from_static(url), &config, NextTimeout::default()).expect("an address").to_vec()
        };
        let time = || {
            let entry = names.entry(&Uri::from_static("http://127.0.0.1:81/"));
            let answer = entry.lock().expect("no panic");
            answer.as_ref().map(|(time, _)| *time)
        };
        assert_eq!(time(), None);
        let first = ask(&names, "http://127.0.0.1:81/a");
        assert_eq!(first, ["127.0.0.1:81".parse().expect("an address")]);
        let asked = time();
        assert!(asked.is_some());
        assert_eq!(ask(&names, "http://127.0.0.1:81/b"), first);
        assert_eq!(ask(&names.instead(&Uri::from_static("http://127.0.0.1:81/")), "http://mirror.example/"), first);
        assert_eq!(time(), asked);
        assert_eq!(ask(&names, "http://127.0.0.1/"), ["127.0.0.1:80".parse().expect("an address")]);
    }
}
