mod faults;

use std::sync::atomic::{AtomicU64, AtomicUsize};

use super::testserver::{Reply, Request, Server};
use super::*;

fn settings() -> Settings {
    Settings {
        offline: false,
        connect: Duration::from_secs(5),
        stall: Duration::from_secs(1),
        attempts: 3,
        backoff: Duration::from_millis(5),
        longest_pause: Duration::from_millis(50),
    }
}

struct Case {
    folder: tempfile::TempDir,
    fetcher: Fetcher,
}

fn case() -> Case {
    case_in_environment(|_| None)
}

fn case_in_environment(env: impl Fn(&str) -> Option<String>) -> Case {
    let folder = tempfile::tempdir().expect("a folder");
    let fetcher = Fetcher::with_environment(&folder.path().join("cache"), 1, settings(), env).expect("a fetcher");
    Case { folder, fetcher }
}

impl Case {
    /// Fetches, and checks what holds however it ends: nothing half is left, and the progress adds up.
    fn fetch(&self, file: &Remote) -> Result<Vec<u8>> {
        let told = AtomicU64::new(0);
        let result = self.fetcher.fetch(file, &|n| {
            told.fetch_add(n, Ordering::Relaxed);
        });
        let halves = self.folder.path().join("cache/sha256/tmp");
        assert_eq!(halves.read_dir().map_or(0, Iterator::count), 0, "half files are left");
        let path = result?;
        assert_eq!(told.load(Ordering::Relaxed), file.size, "progress");
        Ok(std::fs::read(path).expect("readable"))
    }

    fn entries(&self) -> usize {
        let store = self.folder.path().join("cache/sha256");
        let Ok(folders) = store.read_dir() else { return 0 };
        folders.flatten().map(|f| f.path().read_dir().map_or(0, Iterator::count)).sum()
    }
}

fn content() -> Vec<u8> {
    (0..300_000u32).flat_map(|i| (i % 65_521).to_le_bytes()).collect()
}

fn remote(content: &[u8], urls: &[String]) -> Remote {
    let sha256 = crate::hash::sha256(content);
    Remote { urls: urls.to_vec(), sha256, size: content.len() as u64, name: "thing 1.0 (amd64)".into() }
}

fn message(error: &anyhow::Error) -> String {
    format!("{error:#}")
}

#[test]
fn second_time_from_the_cache() {
    let server = Server::start(|_| Reply::ok(&content()));
    let case = case();
    let file = remote(&content(), &[format!("{}/a", server.url)]);
    assert_eq!(case.fetch(&file).expect("fetched"), content());
    assert_eq!(case.fetch(&file).expect("cached"), content());
    assert_eq!(server.requests().len(), 1);
    let agent = format!("mkbase/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(server.requests()[0].header("user-agent"), Some(agent.as_str()));
}

#[test]
fn offline_only_the_cache_and_local_files_are_read() {
    let server = Server::start(|_| Reply::ok(&content()));
    let mut case = case();
    let here = remote(b"here", &[format!("{}/here", server.url)]);
    let gone: Vec<Remote> = [&b"gone 1"[..], b"gone 2"]
        .iter()
        .map(|c| Remote { name: String::from_utf8_lossy(c).into_owned(), ..remote(c, &[format!("{}/x", server.url)]) })
        .collect();
    let local = case.folder.path().join("local");
    std::fs::write(&local, "local").expect("writes");
    let local = remote(b"local", &[format!("file://{}", local.display())]);
    let entry = case.folder.path().join("cache/sha256").join(&here.sha256[..2]).join(&here.sha256);
    std::fs::create_dir_all(entry.parent().expect("it has one")).expect("a folder");
    std::fs::write(&entry, "here").expect("writes");
    case.fetcher.get_kept(&format!("{}/key", server.url), 1 << 21).expect("online");

    let settings = Settings { offline: true, ..settings() };
    case.fetcher = Fetcher::with_settings(&case.folder.path().join("cache"), 1, settings).expect("a fetcher");
    let asked = server.requests().len();
    assert_eq!(case.fetch(&here).expect("cached"), b"here");
    assert_eq!(case.fetch(&local).expect("a local file"), b"local");
    std::fs::write(&entry, "herf").expect("damages");
    let all = [here, gone[0].clone(), local, gone[1].clone()];
    let error = case.fetcher.fetch_all(&all, &|_| {}).expect_err("some are missing");
    let text = message(&error);
    for words in ["thing 1.0 (amd64) (it is damaged)", "gone 1, gone 2;", "mkbase fetch"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert_eq!(case.fetcher.get_kept(&format!("{}/key", server.url), 1 << 21).expect("it was kept"), content());
    let other = case.fetcher.get_kept(&format!("{}/other", server.url), 1 << 21).expect_err("it was not kept");
    assert!(message(&other).contains("/other; fill it with"), "{other:#}");
    assert!(message(&case.fetcher.get(&server.url, 10).expect_err("offline")).contains("offline"));
    assert_eq!(server.requests().len(), asked, "nobody was asked");
}

#[test]
fn damaged_cache_entry_is_fetched_again() {
    let server = Server::start(|_| Reply::ok(b"content"));
    let case = case();
    let file = remote(b"content", &[format!("{}/a", server.url)]);
    case.fetch(&file).expect("fetched");
    let path = case.fetcher.fetch(&file, &|_| ()).expect("cached");
    std::fs::write(&path, b"c0ntent").expect("damages");
    assert_eq!(case.fetch(&file).expect("fetched again"), b"content");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn what_was_made_here_is_kept_under_its_hash_and_nothing_else_is() {
    let case = case();
    let content = content();
    let file = remote(&content, &[]);
    assert!(case.fetcher.cached(&file).expect("no fault").is_none());
    let keep = |content: &[u8]| -> Result<PathBuf> {
        let mut keeping = case.fetcher.keep(&file)?;
        content.chunks(1000).try_for_each(|chunk| keeping.write(chunk))?;
        keeping.finish()
    };
    let error = keep(&content[1..]).expect_err("it is another file");
    assert!(message(&error).contains("thing 1.0 (amd64) does not match"), "{error:#}");
    drop(case.fetcher.keep(&file).expect("it begins"));
    assert_eq!(case.entries(), 0);
    let path = keep(&content).expect("it is the file");
    assert_eq!(case.fetcher.cached(&file).expect("no fault"), Some(path.clone()));
    assert_eq!(case.fetch(&file).expect("it needs no address"), content);
    std::fs::write(path, "damaged").expect("written");
    assert!(case.fetcher.cached(&file).expect("no fault").is_none());
}

#[test]
fn redirects() {
    let other = Server::start(|_| Reply::ok(b"content"));
    let there = other.url.clone();
    let server = Server::start(move |r| match r.target.as_str() {
        "/near" => Reply::redirect("content"),
        "/far" => Reply::redirect(&format!("{there}/x")),
        "/circle" => Reply::redirect("/elcric"),
        "/elcric" => Reply::redirect("/circle"),
        "/leak" => Reply::redirect("http://a:hidden@127.0.0.1:1/x?sig=hidden"),
        "/file" => Reply::redirect("file:///etc/passwd"),
        "/content" => Reply::ok(b"content"),
        path => Reply::redirect(&format!("{path}x")),
    });
    let case = case();
    let get = |path: &str| {
        let url = format!("{}{path}", server.url.replace("://", "://user:secret@"));
        case.fetcher.get(&url, 100).map_err(|e| message(&e))
    };
    assert_eq!(get("/near").expect("a redirect on the same host"), b"content");
    let authorized = |requests: Vec<Request>| requests.iter().filter(|r| r.header("authorization").is_some()).count();
    assert_eq!(authorized(server.requests()), 2);
    assert_eq!(server.requests()[0].header("authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
    assert_eq!(get("/far").expect("a redirect to another host"), b"content");
    assert_eq!(authorized(other.requests()), 0, "credentials go to their own host only");
    for (path, words) in [
        ("/circle", "in a circle"),
        ("/endless", "too many redirects"),
        ("/leak", "redirected to http://127.0.0.1:1/x?…"),
        ("/file", "not supported"),
    ] {
        let text = get(path).expect_err(path);
        assert!(text.contains(words), "{path}: {text}");
        assert!(!text.contains("secret") && !text.contains("hidden"), "{path}: {text}");
    }
}

#[test]
fn small_files() {
    let server = Server::start(|r| match r.target.as_str() {
        "/index" => Reply::ok(b"0123456789"),
        "/unsized" => Reply::ok(b"0123456789").unsized_body(),
        "/flaky" if r.before == 0 => Reply::ok(b"0123456789").cut(3),
        "/flaky" => Reply::ok(b"0123456789"),
        _ => Reply::status(404),
    });
    let case = case();
    let get = |path: &str, limit| case.fetcher.get(&format!("{}{path}", server.url), limit);
    for path in ["/index", "/unsized", "/flaky"] {
        assert_eq!(get(path, 10).expect(path), b"0123456789", "{path}");
        assert!(message(&get(path, 9).expect_err(path)).contains("longer than 9 bytes"));
    }
    assert!(matches!(get("/none", 9).expect_err("absent").downcast_ref(), Some(FetchError::NotFound { .. })));
    assert_eq!(case.entries(), 0);
}

#[test]
fn local_files() {
    let case = case();
    let path = case.folder.path().join("a b");
    std::fs::write(&path, content()).expect("writes");
    let url = format!("file://{}/a%20b", case.folder.path().display());
    assert_eq!(case.fetcher.get(&url, 2_000_000).expect("there"), content());
    assert!(case.fetcher.get(&url, 10).is_err());
    assert_eq!(case.fetch(&remote(&content(), std::slice::from_ref(&url))).expect("there"), content());
    let wrong = case.fetch(&remote(b"other", std::slice::from_ref(&url))).expect_err("another file");
    assert!(message(&wrong).contains("longer than the 5 bytes"));
    let absent = case.fetcher.get(&format!("{url}x"), 10).expect_err("absent");
    assert!(matches!(absent.downcast_ref(), Some(FetchError::NotFound { .. })));
    assert!(case.fetcher.get(&format!("file://{}", case.folder.path().display()), 10).is_err());
}

#[test]
fn many_files_in_parallel_over_few_connections() {
    let running = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let seen = Arc::clone(&running);
    let server = Server::start(move |r| {
        seen.1.fetch_max(seen.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(5));
        seen.0.fetch_sub(1, Ordering::SeqCst);
        Reply::ok(r.target.as_bytes())
    });
    let case = case();
    let files: Vec<Remote> =
        (0..60).map(|i| remote(format!("/{i}").as_bytes(), &[format!("{}/{i}", server.url)])).collect();
    let told = AtomicU64::new(0);
    let paths = case
        .fetcher
        .fetch_all(&files, &|n| {
            told.fetch_add(n, Ordering::Relaxed);
        })
        .expect("all of them");
    for (i, path) in paths.iter().enumerate() {
        assert_eq!(std::fs::read_to_string(path).expect("readable"), format!("/{i}"));
    }
    assert_eq!(told.load(Ordering::Relaxed), files.iter().map(|f| f.size).sum::<u64>());
    assert!(server.connections() <= MIN_THREADS, "{} connections", server.connections());
    assert!(running.1.load(Ordering::SeqCst) > 1, "nothing ran at the same time");
    assert!(case.fetcher.fetch_all(&[], &|_| ()).expect("nothing to do").is_empty());
}

#[test]
fn the_first_failure_stops_the_rest_at_once() {
    let server = Server::start(|r| match r.target.as_str() {
        "/absent" => Reply::status(404),
        _ => Reply::ok(&content()).stall(100),
    });
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings { stall: Duration::from_secs(60), ..settings() };
    let fetcher = Fetcher::with_environment(folder.path(), 1, settings, |_| None).expect("a fetcher");
    let files = [remote(&content(), &[format!("{}/a", server.url)]), remote(b"x", &[format!("{}/absent", server.url)])];
    let start = Instant::now();
    let error = fetcher.fetch_all(&files, &|_| ()).expect_err("one is absent");
    assert!(start.elapsed() < Duration::from_secs(10), "it waited for the other");
    assert!(error.downcast_ref::<FetchError>().is_some(), "{error:#}");
    assert_eq!(folder.path().join("sha256/tmp").read_dir().expect("is there").count(), 0);
}

#[test]
fn a_proxy_gets_the_whole_address() {
    let proxy = Server::start(|_| Reply::ok(b"content"));
    let url = proxy.url.replace("://", "://me:secret@");
    let case = case_in_environment(|name| match name {
        "http_proxy" => Some(url.clone()),
        "no_proxy" => Some("127.0.0.1".into()),
        _ => None,
    });
    for path in ["/a?b", "/c"] {
        assert_eq!(case.fetcher.get(&format!("http://mirror.example:8080{path}"), 10).expect("fetched"), b"content");
    }
    let targets: Vec<String> = proxy.requests().iter().map(|r| r.target.clone()).collect();
    assert_eq!(targets, ["http://mirror.example:8080/a?b", "http://mirror.example:8080/c"]);
    assert_eq!(proxy.requests()[0].header("host"), Some("mirror.example:8080"));
    assert_eq!(proxy.requests()[0].header("proxy-authorization"), Some("Basic bWU6c2VjcmV0"));
    assert_eq!(proxy.connections(), 1);
    case.fetcher.get(&format!("{}/direct", proxy.url), 10).expect("without the proxy");
    assert_eq!(proxy.requests()[2].target, "/direct");
    assert_eq!(proxy.requests()[2].header("proxy-authorization"), None);
}

#[test]
fn a_proxy_that_does_not_connect() {
    let proxy = Server::start(|_| Reply::status(403));
    let url = proxy.url.replace("://", "://me:secret@");
    let case = case_in_environment(|name| (name == "https_proxy").then(|| url.clone()));
    let text = message(&case.fetcher.get("https://mirror.example/x", 10).expect_err("refused"));
    assert!(text.contains("https://mirror.example/x: the proxy did not connect"), "{text}");
    assert!(text.contains("403") && !text.contains("secret"), "{text}");
    assert_eq!(proxy.requests()[0].target, "mirror.example:443");
    assert_eq!(proxy.requests()[0].header("proxy-authorization"), Some("Basic bWU6c2VjcmV0"));
}

#[test]
fn an_unwritable_cache_says_so() {
    if nix::unistd::geteuid().is_root() {
        eprintln!("skipped: an_unwritable_cache_says_so: needs an ordinary user");
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o555)).expect("sets the mode");
    let error = Fetcher::new(&folder.path().join("cache"), 1).expect_err("not writable");
    assert!(message(&error).contains("--cache"), "{error:#}");
}
