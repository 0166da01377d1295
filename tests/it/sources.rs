//! Where packages come from: several repositories and their keys, mirrors in turn, credentials, dated archives,
//! proxies, IPv6, TLS with a private authority.

use std::path::PathBuf;

use crate::skip;
use crate::util::deb::{Deb, Package};
use crate::util::key::Key;
use crate::util::lab::{Lab, recipe_text};
use crate::util::mkbase::{Ended, Place};
use crate::util::now;
use crate::util::repo::{Repo, change_index};
use crate::util::server::{Fault, Server, refused_url};
use crate::util::tls::Tls;

/// What basic authentication makes of `al:pa:ss@wort` (printf 'al:pa:ss@wort' | base64).
const AUTHORIZATION: &str = "Basic YWw6cGE6c3NAd29ydA==";
const CREDENTIALS: &str = "al:pa:ss@wort";
const PASSWORD: &str = "pa:ss@wort";

/// An essential package that is no system: enough for everything up to unpacking.
fn base() -> Deb {
    Package::new("lab-base").field("Essential", "yes").file("./usr/share/lab-base", b"base\n").build()
}

/// A recipe for a repository at this address, signed by this key.
fn recipe(place: &Place, url: &str, key: &Key, more: &str) -> PathBuf {
    place.write("lab.asc", key.public());
    place.write("lab.toml", recipe_text(url, &[], more))
}

/// That a build verified everything and fetched every package: what then fails is that they are no system.
#[track_caller]
fn gets_its_packages(ended: Ended) -> Ended {
    ended.fails(1, &["installing the packages"])
}

// ---- repositories and their keys --------------------------------------------------------------------------------

#[test]
fn flat_and_suite_layouts_and_folders_together() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[base()]);
    let (flat_key, folder_key) = (Key::new("flat"), Key::new("folder"));
    let flat = Repo::new(&flat_key, vec![Package::new("lab-flat").build()]).flat();
    for (name, bytes) in flat {
        // Paths of packages start at the repository's address, not at its flat folder.
        let folder = if name.starts_with("pool/") { "/flat" } else { "/flat/here" };
        lab.server.put(format!("{folder}/{name}"), bytes);
    }
    let folder = Repo::new(&folder_key, vec![Package::new("lab-folder").depends("lab-flat").build()]).flat();
    for (name, bytes) in folder {
        place.write(&format!("my repository/{name}"), bytes);
    }
    place.write("flat.asc", flat_key.public());
    place.write("folder.asc", folder_key.public());
    let more = format!(
        "[[repository]]\nname = \"flat\"\nurl = \"{}/flat\"\nsuite = \"here/\"\nkey = \"flat.asc\"\n\n\
         [[repository]]\nname = \"folder\"\nurl = \"file://{}\"\nsuite = \"./\"\nkey = \"folder.asc\"\n",
        lab.server.url(),
        place.path().join("my%20repository").display()
    );
    let recipe = lab.recipe(&place, &["lab-folder"], &more);
    gets_its_packages(place.build(&recipe, "image", &[]).run());
    assert_eq!((lab.server.count("pool/lab-base"), lab.server.count("flat/pool/lab-flat")), (1, 1));
    place.assert_nothing_left(&[]);
}

#[test]
fn a_key_is_trusted_for_its_own_repository_only() {
    let (main, corp) = (Lab::new(&[base()]), Lab::new(&[Package::new("lab-agent").build()]));
    let with_key = |place: &Place, key: &str| {
        place.write("corp.asc", corp.key.public());
        let more = format!(
            "[[repository]]\nname = \"corp\"\nurl = \"{}\"\nsuite = \"lab\"\ncomponents = [\"main\"]\nkey = \"{key}\"\n",
            corp.server.url()
        );
        main.recipe(place, &["lab-agent"], &more)
    };
    let place = Place::new().with_own_cache();
    let right = with_key(&place, "corp.asc");
    gets_its_packages(place.build(&right, "image", &[]).run());
    assert_eq!(corp.server.count("pool/lab-agent"), 1);

    // The key of the one repository on the other.
    let place = Place::new().with_own_cache();
    let crossed = with_key(&place, "lab.asc");
    place.build(&crossed, "image", &[]).run().fails(1, &["the repository 'corp'", "InRelease", "key"]);
    assert_eq!(corp.server.count("pool/lab-agent"), 1, "its package was not asked for");

    // And an index of the one repository, rightly signed by its key, in the place of the other's.
    let place = Place::new().with_own_cache();
    let right = with_key(&place, "corp.asc");
    main.server.put_body("/dists/lab/InRelease", corp.server.body("/dists/lab/InRelease"));
    place.build(&right, "image", &[]).run().fails(1, &["the repository 'main'", "InRelease", "key"]);
    place.assert_nothing_left(&[]);
}

// ---- mirrors ----------------------------------------------------------------------------------------------------

#[test]
fn mirrors_are_tried_in_turn() {
    let place = Place::new().with_own_cache();
    let deb = base();
    let (good, empty) = (Lab::new(std::slice::from_ref(&deb)), Server::new());
    // One whose index is right and whose package is not there.
    let half = Server::new();
    Repo::new(&good.key, vec![deb.clone()]).publish(&half);
    half.remove(&format!("/{}", deb.path));
    let nobody = refused_url();
    let recipe = good.recipe(&place, &[], "");
    let mirrors: Vec<String> = [nobody.clone(), empty.url(), half.url(), good.server.url()]
        .iter()
        .map(|url| format!("--mirror=main={url}"))
        .collect();
    let mirrors: Vec<&str> = mirrors.iter().map(String::as_str).collect();
    let ended = gets_its_packages(place.build(&recipe, "image", &mirrors).run());
    assert!(ended.stderr.contains("going on with the next mirror"), "{}", ended.stderr);
    assert_eq!((half.count("InRelease"), good.server.count("InRelease")), (1, 0));
    assert_eq!(good.server.count("pool/lab-base"), 1);

    let place = Place::new().with_own_cache();
    let text = format!("[mirror]\nbuild.main = [\"{nobody}\", \"{}\"]\n", empty.url());
    let recipe = good.recipe(&place, &[], &text);
    place.build(&recipe, "image", &[]).run().fails(1, &["none of its 2 mirrors has it", &nobody, &empty.url()]);
    place.assert_nothing_left(&[]);
}

#[test]
fn a_mirror_in_the_middle_of_an_update_is_read_again() {
    let place = Place::new().with_own_cache();
    let lab = Lab::with(&[base()], |repo| repo.by_hash = false);
    // Each compression once, then the update is through.
    lab.server.fault_times("binary-", Fault::Status(404), 2);
    let recipe = lab.recipe(&place, &[], "");
    gets_its_packages(place.build(&recipe, "image", &[]).run());
    assert_eq!(lab.server.count("InRelease"), 2, "it was read again");
    place.assert_nothing_left(&[]);
}

#[test]
fn a_mirror_that_stays_out_of_step_is_left_for_the_next() {
    type Break = fn(&Server);
    let cases: [(&str, Break); 3] = [
        ("other content", |server| change_index(server, |bytes| *bytes.last_mut().expect("not empty") ^= 1)),
        ("longer", |server| change_index(server, |bytes| bytes.push(b'\n'))),
        ("shorter", |server| change_index(server, |bytes| bytes.truncate(bytes.len() / 2))),
    ];
    for (what, fault) in cases {
        eprintln!("{what}");
        let place = Place::new().with_own_cache();
        let good = Lab::new(&[base()]);
        let stale = Server::new();
        Repo::new(&good.key, vec![base()]).publish(&stale);
        fault(&stale);
        let recipe = good.recipe(&place, &[], "");
        let mirrors = [&stale, &good.server].map(|server| format!("--mirror=main={}", server.url()));
        gets_its_packages(place.build(&recipe, "image", &[&mirrors[0], &mirrors[1]]).run());
        assert_eq!((stale.count("InRelease"), good.server.count("InRelease")), (3, 1), "{what}");
        place.assert_nothing_left(&[]);
    }
}

// ---- credentials ------------------------------------------------------------------------------------------------

#[test]
fn credentials_from_netrc_and_the_environment() {
    let lab = Lab::new(&[base()]);
    lab.server.require(AUTHORIZATION);
    let place = Place::new().with_own_cache();
    let recipe = lab.recipe(&place, &[], "");
    let build = || place.build(&recipe, "image", &["-v"]);
    let hints = ["user name and a password (401", "netrc", "MKBASE_AUTH_"];
    build().env("HOME", place.path()).run().fails(1, &hints);
    let netrc = place.write("credentials", format!("machine 127.0.0.1 login al password {PASSWORD}\n"));
    place.write(
        ".netrc",
        format!("machine other.example login al password wrong\nmachine 127.0.0.1\n login al\n password {PASSWORD}\n"),
    );
    for (variable, value) in
        [("NETRC", netrc.as_os_str()), ("HOME", place.path().as_os_str()), ("MKBASE_AUTH_MAIN", CREDENTIALS.as_ref())]
    {
        let asked = lab.server.count("InRelease");
        let ended = gets_its_packages(build().env("HOME", place.tmp()).env(variable, value).run());
        assert!(lab.server.count("InRelease") > asked, "{variable}");
        assert!(!ended.stderr.contains(PASSWORD), "{variable}: {}", ended.stderr);
    }
    // A file that was named must be there, and what is wrong in one is said without what it says.
    let broken = place.write("broken", format!("machine 127.0.0.1 login al pasword {PASSWORD}\n"));
    let ended = build().env("NETRC", &broken).run().fails(1, &["broken", "line 1"]);
    assert!(!ended.stderr.contains(PASSWORD), "{}", ended.stderr);
    build().env("NETRC", place.path().join("gone")).run().fails(1, &["gone"]);
    place.assert_nothing_left(&[]);
}

#[test]
fn credentials_are_in_nothing_that_is_written() {
    let lab = Lab::complete(&[]);
    lab.server.require(AUTHORIZATION);
    let place = Place::new();
    let recipe = lab.recipe(&place, &["apt"], "");
    let ended = place.build(&recipe, "image", &["-v"]).env("MKBASE_AUTH_MAIN", CREDENTIALS).run().success();
    let secrets = [PASSWORD, "pa%3Ass%40wort", AUTHORIZATION.trim_start_matches("Basic ")];
    let mut places = vec![("the log".to_string(), ended.stderr.into_bytes()), ("stdout".to_string(), ended.stdout)];
    for entry in std::fs::read_dir(place.out("image")).expect("the output folder").flatten() {
        places.push((entry.path().display().to_string(), std::fs::read(entry.path()).expect("a file of the output")));
    }
    assert!(places.len() > 6, "the tar, the lock and the rest are there");
    for (name, bytes) in &places {
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} is in {name}");
        }
    }
    place.assert_nothing_left(&["image"]);
}

// ---- dated archives ---------------------------------------------------------------------------------------------

#[test]
fn a_snapshot_is_read_at_its_address_and_may_be_expired() {
    const MOMENT: &str = "20260101T000000Z";
    const TIME: i64 = 1_767_225_600;
    let key = Key::new("lab");
    let server = Server::new();
    let mut repo = Repo::new(&key, vec![base()]);
    (repo.date, repo.valid_until) = (TIME - 3600, Some(TIME + 3600));
    repo.publish_at(&server, &format!("/snapshot/{MOMENT}/debian"));
    let dated = |moment: &str| {
        format!(
            "[[on.lab.repository]]\nname = \"main\"\nsnapshot_url = \"{}/snapshot/{{snapshot}}/debian\"\n\n\
             [on.lab]\nsnapshot = \"{moment}\"\n",
            server.url()
        )
    };
    // In TOML a table comes before those below it.
    let dated = |moment: &str| {
        let text = dated(moment);
        let (list, table) = text.split_once("\n\n").expect("two parts");
        format!("{table}\n{list}\n")
    };
    let place = Place::new().with_own_cache();
    let plain = recipe(&place, &refused_url(), &key, &dated(MOMENT));
    gets_its_packages(place.build(&plain, "image", &[]).run());
    assert_eq!(server.count(&format!("/snapshot/{MOMENT}/debian/pool/lab-base")), 1);

    // A mirror that gives what it has now.
    let place = Place::new().with_own_cache();
    let mut newer = Repo::new(&key, vec![base()]);
    newer.date = TIME + 1;
    newer.publish_at(&server, &format!("/snapshot/{MOMENT}/debian"));
    let plain = recipe(&place, &refused_url(), &key, &dated(MOMENT));
    place.build(&plain, "image", &[]).run().fails(1, &["later than the snapshot", "does not keep snapshots"]);

    // A moment that is still to come would be another archive every day.
    let future = jiff::Timestamp::from_second(now() + 86_400).expect("a time").strftime("%Y%m%dT%H%M%SZ").to_string();
    repo.publish_at(&server, &format!("/snapshot/{future}/debian"));
    let plain = recipe(&place, &refused_url(), &key, &dated(&future));
    place.build(&plain, "image", &[]).run().fails(2, &["still to come"]);
    place.assert_nothing_left(&[]);
}

// ---- ways to a server -------------------------------------------------------------------------------------------

#[test]
fn a_server_at_an_ipv6_address() {
    let Ok(server) = Server::on("::1") else { skip!("a_server_at_an_ipv6_address: no IPv6 on the loopback interface") };
    let key = Key::new("lab");
    Repo::new(&key, vec![base()]).publish(&server);
    assert!(server.url().starts_with("http://[::1]:"), "{}", server.url());
    let place = Place::new().with_own_cache();
    let recipe = recipe(&place, &server.url(), &key, "");
    gets_its_packages(place.build(&recipe, "image", &[]).run());
    assert_eq!(server.count("pool/lab-base"), 1);
    // The name of the machine in netrc has no brackets.
    server.require(AUTHORIZATION);
    let netrc = place.write("netrc", format!("machine ::1 login al password {PASSWORD}"));
    gets_its_packages(place.build(&recipe, "image", &[]).env("NETRC", netrc).run());
    place.assert_nothing_left(&[]);
}

#[test]
fn a_private_authority() {
    let lab = Lab::new(&[base()]);
    let tls = Tls::before(&lab.server);
    let place = Place::new().with_own_cache();
    let recipe = recipe(&place, &tls.url(), &lab.key, "");
    place.build(&recipe, "image", &[]).run().fails(1, &["encrypted connection failed", "SSL_CERT_FILE"]);
    assert_eq!(lab.server.requests().len(), 0, "nothing was asked for");
    let authority = place.write("authority.pem", &tls.authority);
    gets_its_packages(place.build(&recipe, "image", &[]).env("SSL_CERT_FILE", &authority).run());
    assert_eq!(lab.server.count("pool/lab-base"), 1);
    let other = place.write("other.pem", Tls::before(&lab.server).authority.as_bytes());
    place.build(&recipe, "image", &[]).env("SSL_CERT_FILE", &other).run().fails(1, &["encrypted connection failed"]);
    place.assert_nothing_left(&[]);
}

#[test]
fn a_proxy_of_the_environment() {
    let key = Key::new("lab");
    let proxy = Server::new();
    // A request that goes through a proxy has the whole address.
    Repo::new(&key, vec![base()]).publish_at(&proxy, "http://lab.invalid/debian");
    let place = Place::new().with_own_cache();
    let recipe = recipe(&place, "http://lab.invalid/debian", &key, "");
    gets_its_packages(place.build(&recipe, "image", &[]).env("http_proxy", proxy.url()).run());
    assert_eq!(proxy.count("http://lab.invalid/debian/pool/lab-base"), 1);
    place.assert_nothing_left(&[]);
}
