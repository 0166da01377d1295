//! Servers that fail, and what is made of it.

use super::*;

#[test]
fn faults_that_pass() {
    type Fault = fn(&Request) -> Reply;
    let faults: [(&str, Fault); 9] = [
        ("503", |_| Reply::status(503)),
        ("429 with Retry-After", |_| Reply::status(429).with("Retry-After", "3600")),
        ("500", |_| Reply::status(500)),
        ("no answer", |_| Reply::ok(&content()).unsized_body().cut(0)),
        ("cut", |_| Reply::ok(&content()).cut(200_000)),
        ("cut without a length", |_| Reply::ok(&content()).unsized_body().cut(200_000)),
        ("stall", |_| Reply::ok(&content()).stall(200_000)),
        ("stall at once", |_| Reply::ok(&content()).stall(0)),
        ("too short", |_| Reply::ok(&content()[..1000])),
    ];
    for (name, fault) in faults {
        let server = Server::start(move |r| match (r.before, r.offset()) {
            (0, _) => fault(r),
            (_, Some(offset)) => Reply::part(&content(), offset),
            (_, None) => Reply::ok(&content()),
        });
        let case = case();
        let file = remote(&content(), &[format!("{}/a", server.url)]);
        assert_eq!(case.fetch(&file).expect(name), content(), "{name}");
        // On a busy machine the good answer may look like a stall, too.
        assert!(server.requests().len() >= 2, "{name}");
    }
}

#[test]
fn faults_that_stay() {
    type Fault = fn(&Request) -> Reply;
    let faults: [(&str, Fault, usize, &str); 11] = [
        ("503", |_| Reply::status(503), 3, "tried 3 times"),
        ("stall", |_| Reply::ok(&content()).stall(10), 3, "sent nothing for 1 s"),
        ("too short", |_| Reply::ok(&content()[..10]), 2, "ended after 10 of 1200000 bytes"),
        ("404", |_| Reply::status(404), 1, "not found"),
        ("410", |_| Reply::status(410), 1, "not found"),
        ("403", |_| Reply::status(403), 1, "refuses (403"),
        ("401", |_| Reply::status(401), 1, "password"),
        ("too long", |_| Reply::ok(&[content(), vec![0]].concat()), 1, "longer than the 1200000 bytes"),
        ("endless", |_| Reply::ok(&content().repeat(3)).unsized_body(), 1, "longer than the 1200000 bytes"),
        ("wrong content", |_| Reply::ok(&vec![0; content().len()]), 1, "does not match"),
        ("redirect to nowhere", |_| Reply::status(302), 1, "no Location"),
    ];
    for (name, fault, requests, words) in faults {
        let server = Server::start(fault);
        let case = case();
        let file = remote(&content(), &[format!("{}/a", server.url.replace("://", "://user:secret@"))]);
        let error = case.fetch(&file).expect_err(name);
        let text = message(&error);
        assert_eq!(server.requests().len(), requests, "{name}: {text}");
        assert!(text.contains(words), "{name}: {text}");
        assert!(text.contains(&format!("{}/a", server.url)), "{name}: {text}");
        assert!(text.contains("thing 1.0 (amd64)"), "{name}: {text}");
        assert!(!text.contains("secret"), "{name}: {text}");
        let kind = match error.chain().find_map(|e| e.downcast_ref()) {
            Some(FetchError::NotFound { .. }) => "absent",
            Some(FetchError::Mismatch { .. }) => "other",
            Some(FetchError::Offline { .. }) | None => "",
        };
        let expected = match name {
            "404" | "410" => "absent",
            "too short" | "too long" | "endless" | "wrong content" => "other",
            _ => "",
        };
        assert_eq!(kind, expected, "{name}");
        assert_eq!(case.entries(), 0, "{name}");
    }
}

#[test]
fn a_cut_download_goes_on_where_it_was() {
    let server = Server::start(|r| match r.offset() {
        None => Reply::ok(&content()).cut(500_000),
        Some(offset) if r.before < 2 => Reply::part(&content(), offset).cut(300_000),
        Some(offset) => Reply::part(&content(), offset),
    });
    let case = case();
    let file = remote(&content(), &[format!("{}/a", server.url)]);
    assert_eq!(case.fetch(&file).expect("fetched"), content());
    let offsets: Vec<_> = server.requests().iter().map(Request::offset).collect();
    assert_eq!(offsets, [None, Some(500_000), Some(800_000)]);
}

#[test]
fn servers_that_cannot_resume() {
    type Answer = fn(usize) -> Reply;
    let answers: [(&str, Answer, usize); 3] = [
        ("the whole file", |_| Reply::ok(&content()), 2),
        ("416", |_| Reply::status(416), 3),
        ("another part", |offset| Reply::part(&content(), offset - 1), 3),
    ];
    for (name, answer, requests) in answers {
        let server = Server::start(move |r| match (r.before, r.offset()) {
            (0, _) => Reply::ok(&content()).cut(500_000),
            (_, Some(offset)) => answer(offset),
            (_, None) => Reply::ok(&content()),
        });
        let case = case();
        let file = remote(&content(), &[format!("{}/a", server.url)]);
        assert_eq!(case.fetch(&file).expect(name), content(), "{name}");
        assert_eq!(server.requests().len(), requests, "{name}");
    }
}

#[test]
fn a_part_of_another_file_means_starting_over() {
    let server = Server::start(|r| match (r.before, r.offset()) {
        (0, _) => Reply::ok(&vec![7; content().len()]).cut(500_000),
        (_, Some(offset)) => Reply::part(&content(), offset),
        (_, None) => Reply::ok(&content()),
    });
    let case = case();
    let file = remote(&content(), &[format!("{}/a", server.url)]);
    assert_eq!(case.fetch(&file).expect("fetched"), content());
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn progress_renews_the_attempts() {
    // Each attempt brings 1.2 MB: more attempts than are allowed in a row.
    let big = content().repeat(6);
    let server = Server::start(|r| {
        let big = content().repeat(6);
        match r.offset() {
            None => Reply::ok(&big).cut(1_200_000),
            Some(offset) => Reply::part(&big, offset).cut(1_200_000),
        }
    });
    let case = case();
    assert_eq!(case.fetch(&remote(&big, std::slice::from_ref(&server.url))).expect("fetched"), big);
    assert_eq!(server.requests().len(), 6);
}

#[test]
fn addresses_are_tried_in_turn() {
    let server = Server::start(|r| match r.target.as_str() {
        "/good" => Reply::ok(b"content"),
        "/wrong" => Reply::ok(b"c0ntent"),
        "/long" => Reply::ok(b"content and more"),
        "/busy" => Reply::status(503),
        _ => Reply::status(404),
    });
    let case = case();
    let urls = |paths: &[&str]| paths.iter().map(|p| format!("{}/{p}", server.url)).collect::<Vec<_>>();
    for first in ["absent", "wrong", "long", "busy"] {
        let case = self::case();
        assert_eq!(case.fetch(&remote(b"content", &urls(&[first, "good"]))).expect(first), b"content");
    }
    let error = case.fetch(&remote(b"content", &urls(&["a", "b"]))).expect_err("both are absent");
    assert!(matches!(error.downcast_ref(), Some(FetchError::NotFound { url }) if url.ends_with("/b")), "{error:#}");
    let error = case.fetch(&remote(b"content", &urls(&["a", "wrong"]))).expect_err("one is wrong");
    assert!(matches!(error.downcast_ref(), Some(FetchError::Mismatch { .. })), "{error:#}");
    assert!(message(&error).contains("/a: not found; ") && message(&error).contains("does not match"), "{error:#}");
}

#[test]
fn refused_connections() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let error = case().fetcher.get(&format!("http://u:secret@127.0.0.1:{port}/x"), 10).expect_err("nobody listens");
    let text = message(&error);
    assert!(
        text.contains("connection refused") && text.contains("tried 3 times") && !text.contains("secret"),
        "{text}"
    );
}
