//! What may be wrong with an RPM repository, with packages, and with the machine while they are installed: each ends
//! the build with the reason, and nothing is left behind.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use mkbase::codec::Codec;
use nix::sys::signal::Signal;

use crate::disk::on_small_disk;
use crate::skip;
use crate::util::mkbase::{Ended, Place};
use crate::util::rpm::{Mini, mini};
use crate::util::server::refused_url;
use crate::util::{is_root, now, tree};

/// The distribution, or the end of a test that cannot have it.
macro_rules! mini_or_skip {
    ($test:literal) => {
        match mini() {
            Ok(mini) => mini,
            Err(why) => skip!("{}: {why}", $test),
        }
    };
}

/// Whose dnf is used: the tools tree has the same version on every host, the host's may be another one.
const TOOLS: [&str; 2] = ["host", "tree"];

/// Builds, which must fail with these texts and leave nothing.
#[track_caller]
fn refused(mini: &Mini, place: &Place, recipe: &Path, more: &[&str], code: i32, texts: &[&str]) -> Ended {
    let build = place.build(recipe, "image", more).arguments(mini.mirrors()).limit(Duration::from_secs(240));
    let ended = build.run().fails(code, texts);
    place.assert_nothing_left(&[]);
    ended
}

#[test]
fn a_list_of_metadata_that_is_not_the_signed_one() {
    let place = Place::new().with_own_cache();
    let mini = mini_or_skip!("a_list_of_metadata_that_is_not_the_signed_one");
    let recipe = mini.recipe(&place, "");
    let (ours, broken) = (mini.path("updates"), mini.path("broken"));
    let (list, signature) = (format!("{ours}/repodata/repomd.xml"), format!("{ours}/repodata/repomd.xml.asc"));
    let check = |what: &str, more: &[&str], texts: &[&str]| {
        eprintln!("{what}");
        refused(&mini, &place, &recipe, more, 1, &[&["reading the repository 'updates'"], texts].concat());
        mini.replace(&list, &list);
        mini.replace(&signature, &signature);
    };
    const VERIFYING: &str = "verifying repomd.xml against repomd.xml.asc";

    mini.replace(&list, &format!("{broken}/repodata/repomd.xml"));
    check("another list", &[], &[VERIFYING, "its content was changed after"]);
    mini.server.change(&list, |bytes| bytes.extend(b"<!-- -->"));
    check("one that goes on", &[], &[VERIFYING, "its content was changed after"]);
    mini.replace(&signature, "corp/noarch/repodata/repomd.xml.asc");
    check("a signature by another key", &[], &[VERIFYING, "it is signed by", "not by a key of the recipe"]);
    mini.replace(&signature, &format!("{broken}/repodata/repomd.xml.asc"));
    check("the signature of another list", &[], &[VERIFYING, "its content was changed after"]);
    mini.server.put(&*signature, b"<html>Please log in</html>".to_vec());
    check("no signature, but a page", &[], &[VERIFYING, "it is not signed"]);
    mini.server.put(&*list, b"<html>Please log in</html>".to_vec());
    check("a page instead of it", &["--set", "repository.updates.signed_index=false"], &["repomd.xml", "\"html\""]);
    mini.server.remove(&signature);
    let must = ["--set", "repository.updates.signed_index=true"];
    check(
        "no signature where there must be one",
        &must,
        &["its repomd.xml is not signed", "repomd.xml.asc: not found"],
    );
    mini.server.remove(&list);
    check("nothing there", &[], &["repomd.xml: not found"]);
    assert_eq!(mini.server.count(".rpm"), 0, "no package is asked for");
}

#[test]
fn a_repository_that_does_not_answer() {
    let mini = mini_or_skip!("a_repository_that_does_not_answer");
    let place = Place::new();
    let recipe = mini.recipe(&place, "");
    let nobody = refused_url();
    let dead = ["--mirror", &format!("updates={nobody}")];
    let ended = place.build(&recipe, "image", &[]).arguments(mini.mirrors()[..2].iter()).arguments(dead).run();
    ended.fails(1, &["reading the repository 'updates'", nobody.trim_start_matches("http://")]);
    place.assert_nothing_left(&[]);
}

#[test]
fn a_key_with_another_fingerprint_than_pinned() {
    let mini = mini_or_skip!("a_key_with_another_fingerprint_than_pinned");
    let place = Place::new().with_own_cache();
    let pinned = "0123456789abcdef0123456789abcdef01234567";
    mini.server.put("/key", std::fs::read(mini.folder.join("RPM-GPG-KEY-mini-1")).expect("the key"));
    let url = mini.server.url();
    let more = format!(
        "[[repository]]\nname = \"corp\"\nurl = \"{url}/corp/noarch\"\n\
         key = {{ url = \"{url}/key\", fingerprint = \"{pinned}\" }}\n"
    );
    let recipe = mini.recipe(&place, &more);
    refused(&mini, &place, &recipe, &[], 1, &["reading the key", "/key", pinned]);
    assert_eq!(mini.server.count("repomd"), 0, "no repository is read");
}

/// Every repository here is unsigned, as those of most distributions are.
#[test]
fn metadata_that_leads_nowhere_or_elsewhere() {
    let mini = mini_or_skip!("metadata_that_leads_nowhere_or_elsewhere");
    let place = Place::new().with_own_cache();
    let recipe = mini.recipe(&place, &mini.broken());
    let primary = mini.metadata("broken", "primary");
    let location = "<location href=\"Packages/mini-clash-1.0-1.mn1.noarch.rpm\"/>";
    assert!(primary.contains(location), "{primary}");
    let with = |location: &str, text: &str| primary.replace(location, text);
    // The part of the package's element from `begin` to `end`.
    let part = |name: &str, begin: &str, end: &str| {
        let mut elements = primary.split("<package ");
        let element = elements.find(|element| element.contains(&format!("<name>{name}</name>"))).expect("it is listed");
        let start = element.find(begin).expect("its begin");
        let length = element[start..].find(end).expect("its end");
        element[start..start + length].to_owned()
    };
    let checksum = |name: &str| part(name, "<checksum type=\"sha256\"", "</checksum>");
    let size = |name: &str| part(name, "<size package=", "/>");
    let sum = |text: &str| primary.replace(&checksum("mini-clash"), text);
    let ask = ["--include", "mini-clash"];
    let place_of = "repository 'broken': the package \"mini-clash\"";
    let path = mini.path("broken");
    for (text, texts) in [
        (
            with(location, "<location href=\"../../../../../mini-clash.rpm\"/>"),
            &[place_of, "leads above the root of the server"],
        ),
        (with(location, "<location href=\"%2e%2e/mini-clash.rpm\"/>"), &[place_of, "not a path from the repository"]),
        (with(location, "<location href=\"/etc/passwd\"/>"), &[place_of, "not a path from the repository"]),
        (
            with(location, "<location href=\"http://example.org/x.rpm\"/>"),
            &[place_of, "not a path from the repository"],
        ),
        (
            with(location, &location.replace("href", "xml:base=\"http://example.org/\" href")),
            &[place_of, "its file is on another server (xml:base)"],
        ),
        (
            sum(&format!("<checksum type=\"sha\" pkgid=\"YES\">{}", "0".repeat(40))),
            &[place_of, "only sha256 is trusted"],
        ),
        (
            sum(&format!("<checksum type=\"sha256\" pkgid=\"YES\">{}", "0".repeat(64))),
            &["mini-clash 1.0-1.mn1", "SHA-256"],
        ),
        (with(location, "<location href=\"Packages/gone.rpm\"/>"), &["mini-clash 1.0-1.mn1", "gone.rpm: not found"]),
        (
            primary
                .replace(&size("mini-clash"), "<size package=\"9000000000000000000\" installed=\"5\" archive=\"512\""),
            &[place_of, "its size of 9000000000000000000 bytes is more than"],
        ),
        // A file that is signed, but not of the package that the metadata says.
        (
            with("mini-clash-1.0-1.mn1.noarch.rpm", "mini-enemy-1.0-1.mn1.noarch.rpm")
                .replace(&checksum("mini-clash"), &checksum("mini-enemy"))
                .replace(&size("mini-clash"), &size("mini-enemy")),
            &[
                "the package mini-clash 1.0-1.mn1 (noarch), and its file is mini-enemy 1.0-1.mn1 (noarch)",
                "renew the lock",
            ],
        ),
    ] {
        mini.publish_primary("broken", &text, now());
        refused(&mini, &place, &recipe, &ask, 1, texts);
    }

    // What the metadata does not tell of a package, dnf finds in its file.
    let requires = part("mini-unsatisfiable", "<rpm:entry name=\"libnosuch", ">");
    mini.publish_primary("broken", &primary.replace(&(requires + ">"), ""), now());
    let texts = ["installing with dnf", "libnosuch.so.1", "mini-unsatisfiable"];
    refused(&mini, &place, &recipe, &["--include", "mini-unsatisfiable"], 1, &texts);

    // The list names what is not there, or what is another file.
    let list = |change: &dyn Fn(&mut Vec<u8>)| {
        mini.publish_primary("broken", &primary, now());
        mini.server.change(&format!("{path}/repodata/repomd.xml"), change);
    };
    let swap = |from: &'static str, to: &'static str| {
        move |bytes: &mut Vec<u8>| *bytes = String::from_utf8_lossy(bytes).replace(from, to).into_bytes()
    };
    list(&swap("repodata/primary.xml", "repodata/gone.xml"));
    refused(&mini, &place, &recipe, &ask, 1, &["'broken'", "primary", "gone.xml: not found"]);
    list(&swap("repodata/primary.xml", "../primary.xml"));
    refused(&mini, &place, &recipe, &ask, 1, &["'broken'", "primary", "not a path below the repository"]);
    list(&|_| ());
    mini.server.change(&format!("{path}/repodata/primary.xml"), |bytes| bytes.make_ascii_uppercase());
    std::fs::remove_dir_all(place.cache().join("sha256")).expect("a cache");
    refused(&mini, &place, &recipe, &ask, 1, &["primary of 'broken'", "SHA-256"]);
    let packages: Vec<_> = mini.server.requests().into_iter().filter(|r| r.path.contains("mini-clash")).collect();
    assert!(packages.iter().all(|request| request.path.starts_with(&path)), "{packages:?}");
}

#[test]
fn metadata_that_is_damaged_or_a_bomb() {
    let mini = mini_or_skip!("metadata_that_is_damaged_or_a_bomb");
    let place = Place::new().with_own_cache();
    let recipe = mini.recipe(&place, &mini.broken());
    let lists = mini.metadata("broken", "filelists");
    let publish = |primary: &[u8], name: &str| {
        let files = [("primary", name, primary), ("filelists", "filelists.xml", lists.as_bytes())];
        mini.publish("broken", &files, now());
    };
    // One member of a gzip file after the other, and frames of zstd: a small file with more than a gigabyte in it.
    let part = vec![b' '; 64 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&part).expect("it compresses");
    let gzip = gzip.finish().expect("it ends");
    let zstd = zstd::encode_all(&part[..], 1).expect("it compresses");
    let limit = "more than the 1024 MiB that it may have when it is unpacked";
    for (bytes, name) in [(gzip.repeat(17), "primary.xml.gz"), (zstd.repeat(17), "primary.xml.zst")] {
        assert!(bytes.len() < 2 << 20, "{} bytes", bytes.len());
        publish(&bytes, name);
        refused(&mini, &place, &recipe, &[], 1, &["reading the repository 'broken'", name, limit]);
    }
    let mut cut = gzip;
    cut.truncate(1000);
    for (bytes, name, texts) in [
        (&cut[..], "primary.xml.gz", &["primary.xml.gz", "unpacking it"][..]),
        (b"not compressed", "primary.xml.xz", &["primary.xml.xz", "unpacking it"]),
        (b"BZh9", "primary.xml.bz2", &["compressed as .bz2, which is not read"]),
    ] {
        publish(bytes, name);
        refused(&mini, &place, &recipe, &[], 1, texts);
    }
    assert_eq!(Codec::ALL.len(), 4, "each compression that is read has a case");

    // A list that says it has more than a disk.
    publish(b"small", "primary.xml");
    let list = format!("{}/repodata/repomd.xml", mini.path("broken"));
    mini.server.change(&list, |bytes| {
        let text = String::from_utf8_lossy(bytes).replace("<size>5</size>", "<size>1000000000000</size>");
        *bytes = text.into_bytes();
    });
    refused(&mini, &place, &recipe, &[], 1, &["its entry of type primary", "1000000000000 bytes, more than"]);
}

#[test]
fn metadata_that_dnf_cannot_read() {
    let mini = mini_or_skip!("metadata_that_dnf_cannot_read");
    let place = Place::new();
    let recipe = mini.recipe(&place, &mini.broken());
    // Entities of entities.
    let mut entities = "<!ENTITY e0 \"ha\">".to_owned();
    for number in 1..12 {
        entities += &format!("<!ENTITY e{number} \"{}\">", format!("&e{};", number - 1).repeat(10));
    }
    let primary = mini.metadata("broken", "primary");
    let (declaration, rest) = primary.split_once('\n').expect("lines");
    let laughing = rest.replacen("<summary>", "<summary>&e11;", 1);
    let laughing = format!("{declaration}<!DOCTYPE x [{entities}]>{laughing}");
    for (primary, text) in [(laughing.as_str(), "entities"), ("not XML", "syntax error")] {
        mini.publish_primary("broken", primary, now());
        for tools in TOOLS {
            refused(&mini, &place, &recipe, &["--tools", tools], 1, &["resolving with dnf", "'broken'", text]);
        }
    }
}

#[test]
fn a_key_counts_for_its_own_repository_only() {
    let mini = mini_or_skip!("a_key_counts_for_its_own_repository_only");
    let place = Place::new();
    let corp = |key: &str, more: &str| {
        let url = mini.server.url();
        format!("[[repository]]\nname = \"corp\"\nurl = \"{url}/corp/noarch\"\nkey = \"{key}\"\n{more}")
    };
    // The other vendor's key is in the recipe, and signed a package of the distribution's repository.
    let recipe = mini.recipe(&place, &(mini.broken() + &corp("RPM-GPG-KEY-corp", "")));
    let texts = ["mini-otherkey 1.0-1", "signed by", "not by a key of the recipe"];
    refused(&mini, &place, &recipe, &["--include", "mini-otherkey,corp-agent"], 1, &texts);
    // The distribution's key does not make the other vendor's packages good.
    let recipe = mini.recipe(&place, &corp("RPM-GPG-KEY-mini-1", "signed_index = false"));
    let texts = ["corp-agent 2.0-1", "signed by", "not by a key of the recipe"];
    refused(&mini, &place, &recipe, &["--include", "corp-agent"], 1, &texts);
    let recipe = mini.recipe(&place, &corp("RPM-GPG-KEY-mini-1", ""));
    refused(&mini, &place, &recipe, &[], 1, &["reading the repository 'corp'", "repomd.xml.asc", "signed by"]);
}

#[test]
fn a_failed_scriptlet_can_be_passed_over() {
    let mini = mini_or_skip!("a_failed_scriptlet_can_be_passed_over");
    let place = Place::new();
    let recipe = mini.recipe(&place, &mini.broken());
    for tools in TOOLS {
        let warn = ["--set", "packages.scriptlet_errors=warn", "--tools", tools];
        let asked = [&["--include", "mini-badpost,mini-badposttrans"], &warn[..]].concat();
        let ended = place.build(&recipe, "image", &asked).arguments(mini.mirrors()).run().success();
        for text in [
            "warning",
            "%post of mini-badpost failed: mini-badpost fails on purpose",
            "%posttrans of mini-badposttrans",
        ] {
            assert!(ended.stderr.contains(text), "no {text:?} in:\n{}", ended.stderr);
        }
        let tree = tree::of_tar(&place.out("image").join("rootfs.tar"));
        assert!(
            ["mini-badpost", "mini-badposttrans"]
                .map(|n| format!("usr/share/{n}/file"))
                .iter()
                .all(|p| tree.contains_key(p))
        );
        place.assert_nothing_left(&["image"]);
        // One whose %pre fails is not there, which no image may keep quiet about.
        std::fs::remove_dir_all(place.out("image")).expect("the image");
        let asked = [&["--include", "mini-badpre"], &warn[..]].concat();
        refused(&mini, &place, &recipe, &asked, 1, &["%pre of mini-badpre failed", "not installed: mini-badpre"]);
    }
}

#[test]
fn a_disk_that_is_full_in_the_transaction() {
    let mini = mini_or_skip!("a_disk_that_is_full_in_the_transaction");
    if !is_root() {
        skip!("a_disk_that_is_full_in_the_transaction: needs root to mount a small file system");
    }
    let place = Place::new();
    let recipe = mini.recipe(&place, &mini.broken());
    let mirrors = mini.mirrors();
    for (package, size, tools, texts) in [
        ("mini-large", "70m", "host", &["installing with dnf", "mini-large", "space"][..]),
        ("mini-greedy", "200m", "host", &["mini-greedy", "No space left"]),
        ("mini-greedy", "200m", "tree", &["mini-greedy", "No space left"]),
    ] {
        let mut more = vec!["--include", package, "--tools", tools];
        more.extend(mirrors.iter().map(String::as_str));
        let ended = on_small_disk(&place, &recipe, "tmp", size, &more).fails(1, texts);
        assert_eq!(ended.stdout(), "", "{package}: the full disk is empty again");
        place.assert_nothing_left(&[]);
    }
}

/// Whether a path is below the root of some build in the folder.
fn unpacked(folder: &Path, path: &str) -> bool {
    let works = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    works.flat_map(|work| std::fs::read_dir(work).into_iter().flatten().flatten()).any(|e| e.path().join(path).exists())
}

#[test]
fn interrupted_or_killed_in_the_transaction() {
    let mini = mini_or_skip!("interrupted_or_killed_in_the_transaction");
    let place = Place::new();
    let recipe = mini.recipe(&place, &mini.broken());
    for (signal, tools) in [
        (Signal::SIGINT, "host"),
        (Signal::SIGTERM, "host"),
        (Signal::SIGKILL, "host"),
        (Signal::SIGINT, "tree"),
        (Signal::SIGKILL, "tree"),
    ] {
        let build = place.build(&recipe, "image", &["--include", "mini-hang", "--tools", tools]);
        let build = build.arguments(mini.mirrors());
        let mut running = build.limit(Duration::from_secs(240)).start();
        assert!(running.wait_for("Verifying"), "it gets as far as the packages");
        let begin = Instant::now();
        while !unpacked(&place.tmp(), "usr/share/mini-hang/file") {
            assert!(begin.elapsed() < Duration::from_secs(200), "{signal}: its package is not unpacked");
            std::thread::sleep(Duration::from_millis(20));
        }
        // What it waits for never ends by itself.
        std::thread::sleep(Duration::from_millis(200));
        match signal {
            // A terminal sends it to the whole group.
            Signal::SIGINT => running.signal_all(signal),
            _ => running.signal(signal),
        }
        let sent = Instant::now();
        let ended = running.end();
        match signal {
            Signal::SIGKILL => assert_eq!(ended.signal, Some(9), "{}", ended.stderr),
            _ => assert_eq!(ended.code, Some(130), "{signal}: {}", ended.stderr),
        }
        assert!(sent.elapsed() < Duration::from_secs(10), "{signal}: it took {:?}", sent.elapsed());
        place.assert_nothing_left(&[]);
    }
}
