//! Bad input: each kind ends with the right exit code and a message that says what is wrong, and leaves nothing.

use std::path::Path;
use std::time::Duration;

use crate::util::deb::{Deb, Package};
use crate::util::key::Key;
use crate::util::lab::{Lab, recipe_text};
use crate::util::mkbase::{Ended, Place, processes_named};
use crate::util::repo::{Signing, change_deb, change_index, index_paths};
use crate::util::server::{Fault, refused_url};
use crate::util::{now, tree};

/// A daemon's argument that no other process on the host has.
const DAEMON: &str = "86399";

/// An essential package that is no system: enough for everything up to unpacking.
fn base() -> Deb {
    Package::new("lab-base").field("Essential", "yes").file("./usr/share/lab-base", b"base\n").build()
}

/// Builds the recipe into `out/image`, expects it to fail with 1 and to leave nothing.
#[track_caller]
fn refused(place: &Place, recipe: &Path, texts: &[&str]) -> Ended {
    let ended = place.build(recipe, "image", &[]).run().fails(1, texts);
    place.assert_nothing_left(&[]);
    ended
}

// ---- recipes and names ------------------------------------------------------------------------------------------

#[test]
fn recipes_with_mistakes() {
    let place = Place::new();
    let nobody = refused_url();
    place.write("lab.asc", Key::new("lab").public());
    let good = recipe_text(&nobody, &["lab-base"], "");
    let cases: &[(&str, String, &[&str])] = &[
        ("an unknown key", format!("{good}[system]\ntimezon = \"UTC\"\n"), &["lab.toml", "timezon", "timezone"]),
        ("an unknown table", format!("{good}[sytem]\ntimezone = \"UTC\"\n"), &["lab.toml", "sytem", "system"]),
        ("a key of an unknown name in a list", good.replace("suite =", "siute ="), &["lab.toml", "siute", "suite"]),
        ("a wrong type", format!("{good}[system]\ndocs = \"yes\"\n"), &["lab.toml", "docs"]),
        ("broken TOML", format!("{good}[system\n"), &["lab.toml"]),
        ("an unknown family", good.replace("\"deb\"", "\"dbe\""), &["lab.toml", "dbe", "deb"]),
        ("no such parent", "extends = \"debain\"\nname = \"x\"\n".into(), &["debain", "debian"]),
        ("itself as its parent", "extends = \"lab.toml\"\nname = \"x\"\n".into(), &["lab.toml"]),
        ("a key file that is not there", good.replace("lab.asc", "gone.asc"), &["gone.asc"]),
        ("an empty file", String::new(), &["lab.toml"]),
    ];
    for (what, text, texts) in cases {
        eprintln!("{what}");
        let recipe = place.write("lab.toml", text);
        place.build(&recipe, "image", &[]).run().fails(2, texts);
    }
    place.assert_nothing_left(&[]);
}

#[test]
fn mistakes_in_recipes_name_the_line() {
    let place = Place::new();
    place.write("lab.asc", Key::new("lab").public());
    let text = recipe_text(&refused_url(), &["lab-base"], "[system]\ntimezon = \"UTC\"");
    let line = 1 + text.lines().position(|l| l.starts_with("timezon ")).expect("the wrong line");
    let recipe = place.write("lab.toml", text);
    place.build(&recipe, "image", &[]).run().fails(2, &[&format!("lab.toml:{line}"), "timezon", "'timezone'"]);

    let text = recipe_text(&refused_url(), &["lab-base"], "[system]\ntimezone = UTC");
    let line = 1 + text.lines().position(|l| l.starts_with("timezone ")).expect("the broken line");
    let recipe = place.write("lab.toml", text);
    place.build(&recipe, "image", &[]).run().fails(2, &[&format!("lab.toml:{line}")]);
}

#[test]
fn unknown_names_and_their_nearest() {
    let place = Place::new();
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("debain", &[], &["debain", "did you mean 'debian'"]),
        ("no/such/recipe.toml", &[], &["no/such/recipe.toml"]),
        ("debian:trixi", &[], &["trixi", "did you mean 'trixie'"]),
        ("debian:42", &[], &["42"]),
        ("debian", &["--arch", "amd46"], &["amd46", "did you mean 'amd64'"]),
        ("debian", &["--variant", "minbas"], &["minbas", "did you mean 'minbase'"]),
    ];
    for (recipe, more, texts) in cases {
        eprintln!("{recipe} {more:?}");
        place.build(recipe, "image", more).run().fails(2, texts);
    }
    place.assert_nothing_left(&[]);
}

#[test]
fn unknown_package_and_its_nearest() {
    let place = Place::new();
    let lab = Lab::new(&[base()]);
    let recipe = lab.recipe(&place, &["lab-bsae"], "");
    place.build(&recipe, "image", &[]).run().fails(2, &["lab-bsae", "did you mean 'lab-base'"]);
    place.assert_nothing_left(&[]);
}

#[test]
fn unmet_dependency_names_both() {
    let place = Place::new();
    let lab = Lab::new(&[base(), Package::new("lab-needs").depends("lab-nowhere (>= 2)").build()]);
    let recipe = lab.recipe(&place, &["lab-needs"], "");
    refused(&place, &recipe, &["lab-needs", "lab-nowhere"]);
}

#[test]
fn unknown_timezone_and_locale() {
    let place = Place::new();
    let lab = Lab::complete(&[]);
    let zone = lab.recipe(&place, &[], "[system]\ntimezone = \"Asia/Shangai\"");
    place.build(&zone, "image", &[]).run().fails(2, &["Asia/Shangai", "Asia/Shanghai"]);
    let locale = lab.recipe(&place, &[], "[system]\nlocale = \"de_ED.UTF-8\"");
    place.build(&locale, "image", &[]).run().fails(2, &["de_ED.UTF-8", "de_DE.UTF-8"]);
    place.assert_nothing_left(&[]);
}

// ---- the signed index -------------------------------------------------------------------------------------------

#[test]
fn sound_repository_gets_as_far_as_its_packages() {
    // The control of all the tests below: without a fault, the same recipe verifies, resolves and downloads.
    for signing in [Signing::Inline, Signing::Detached] {
        for by_hash in [true, false] {
            let place = Place::new().with_own_cache();
            let lab = Lab::with(&[base()], |repo| {
                repo.signing = signing;
                repo.by_hash = by_hash;
            });
            let recipe = lab.recipe(&place, &[], "");
            let ended = place.build(&recipe, "image", &[]).run();
            assert_eq!(lab.server.count("pool/lab-base"), 1, "the package was asked for:\n{}", ended.stderr);
            ended.fails(1, &[]);
            place.assert_nothing_left(&[]);
        }
    }
}

#[test]
fn in_release_with_one_changed_byte() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[base()]);
    lab.server.change("/dists/lab/InRelease", |bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let at = text.find("packages of a test").expect("the description");
        bytes[at] ^= 1;
    });
    let recipe = lab.recipe(&place, &[], "");
    refused(&place, &recipe, &["InRelease", "was changed"]);
    assert_eq!(lab.server.count("Packages") + lab.server.count("by-hash"), 0, "nothing more was read");
}

#[test]
fn text_outside_the_signature_counts_for_nothing() {
    let place = Place::new().with_own_cache();
    let evil = Package::new("lab-evil").field("Essential", "yes").build();
    let lab = Lab::new(&[base()]);
    let other = Lab::new(&[evil]);
    let unsigned = crate::util::repo::release_text(&other.server);
    lab.server.change("/dists/lab/InRelease", |bytes| {
        let mut all = unsigned.clone().into_bytes();
        all.extend_from_slice(b"\n");
        all.extend_from_slice(bytes);
        *bytes = all;
    });
    let recipe = lab.recipe(&place, &[], "");
    let ended = place.build(&recipe, "image", &[]).run().fails(1, &[]);
    assert_eq!(lab.server.count("lab-evil"), 0, "{}", ended.stderr);
    let hash = crate::util::repo::index_hash(&unsigned);
    assert_eq!(lab.server.count(&hash), 0, "the index outside of the signature was asked for:\n{}", ended.stderr);
}

#[test]
fn unsigned_index() {
    let place = Place::new().with_own_cache();
    let lab = Lab::with(&[base()], |repo| repo.signing = Signing::Unsigned);
    let recipe = lab.recipe(&place, &[], "");
    refused(&place, &recipe, &["InRelease", "sign"]);
    assert_eq!(lab.server.count("by-hash"), 0, "nothing more was read");
}

#[test]
fn trusted_repository_needs_no_signature() {
    let place = Place::new().with_own_cache();
    let lab = Lab::with(&[base()], |repo| repo.signing = Signing::Unsigned);
    let recipe = lab.recipe(&place, &[], "");
    let text = std::fs::read_to_string(&recipe).expect("the recipe");
    let recipe = place.write("lab.toml", text.replace("key = \"lab.asc\"", "trusted = true"));
    let ended = place.build(&recipe, "image", &[]).run();
    assert_eq!(lab.server.count("pool/lab-base"), 1, "it was read all the same:\n{}", ended.stderr);
}

#[test]
fn detached_signature_that_is_wrong_or_missing() {
    for missing in [true, false] {
        let place = Place::new().with_own_cache();
        let lab = Lab::with(&[base()], |repo| repo.signing = Signing::Detached);
        if missing {
            lab.server.remove("/dists/lab/Release.gpg");
        } else {
            lab.server.change("/dists/lab/Release", |bytes| bytes[20] ^= 1);
        }
        let recipe = lab.recipe(&place, &[], "");
        refused(&place, &recipe, &["Release"]);
        assert_eq!(lab.server.count("by-hash"), 0, "nothing more was read");
    }
}

#[test]
fn index_signed_by_another_key() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[base()]);
    let recipe = lab.recipe_of_key(&place, &Key::new("other"), &[], "");
    refused(&place, &recipe, &["InRelease", "key"]);
    assert_eq!(lab.server.count("by-hash"), 0, "nothing more was read");
}

#[test]
fn expired_and_future_indexes() {
    let day = 86_400;
    type Change = fn(&mut crate::util::repo::Repo<'_>);
    let cases: [(Change, &[&str]); 2] = [
        (
            |repo| (repo.date, repo.valid_until) = (now() - 9 * 86_400, Some(now() - 86_400)),
            &["'main'", "its Release is expired", "check_valid_until"],
        ),
        (
            |repo| (repo.date, repo.valid_until) = (now() + 3 * 86_400, None),
            &["'main'", "its Release is from the future"],
        ),
    ];
    for (change, texts) in cases {
        let place = Place::new().with_own_cache();
        let lab = Lab::with(&[base()], change);
        let recipe = lab.recipe(&place, &[], "");
        refused(&place, &recipe, texts);
        assert_eq!(lab.server.count("by-hash"), 0, "nothing more was read");
    }
    // An expired one can be asked for by name.
    let place = Place::new().with_own_cache();
    let lab = Lab::with(&[base()], |repo| (repo.date, repo.valid_until) = (now() - 9 * day, Some(now() - day)));
    let recipe = lab.recipe(&place, &[], "");
    let ended = place.build(&recipe, "image", &["--set", "check_valid_until=false"]).run();
    assert_eq!(lab.server.count("pool/lab-base"), 1, "it was read:\n{}", ended.stderr);
}

#[test]
fn broken_indexes() {
    type Break = fn(&Lab);
    let cases: [(&str, Break); 4] = [
        ("one changed byte", |lab| change_index(&lab.server, |bytes| *bytes.last_mut().expect("not empty") ^= 1)),
        ("too long", |lab| change_index(&lab.server, |bytes| bytes.extend([b'\n'; 5000]))),
        ("too short", |lab| change_index(&lab.server, |bytes| bytes.truncate(bytes.len() / 2))),
        ("missing", |lab| index_paths(&lab.server).iter().for_each(|path| lab.server.remove(path))),
    ];
    for (what, fault) in cases {
        eprintln!("{what}");
        let place = Place::new().with_own_cache();
        let lab = Lab::new(&[base()]);
        fault(&lab);
        let recipe = lab.recipe(&place, &[], "");
        refused(&place, &recipe, &["Packages"]);
        assert_eq!(lab.server.count("pool/"), 0, "{what}: no package was asked for");
        // Nothing wrong stayed in the cache: with a sound mirror the same build goes on.
        let healed = Lab::new(&[base()]);
        let recipe = healed.recipe(&place, &[], "");
        let ended = place.build(&recipe, "image", &[]).run();
        assert_eq!(healed.server.count("pool/lab-base"), 1, "{what}: goes on when healed:\n{}", ended.stderr);
    }
}

/// An index whose compressed form becomes much more than the release file says.
#[test]
fn index_that_is_a_bomb() {
    let zeros = std::io::Read::take(std::io::repeat(b'\n'), 256 << 20);
    let bomb = crate::util::repo::xz_of(zeros);
    let place = Place::new().with_own_cache();
    let lab = Lab::with(&[base()], |repo| repo.compressed = Some(bomb));
    let recipe = lab.recipe(&place, &[], "");
    // Memory for what was promised, not for what comes: an address space that the bomb does not fit into.
    let limited = ["sh", "-c", "ulimit -v 2000000; exec \"$@\"", "sh"];
    let ended = place.build(&recipe, "image", &[]).through(limited).run();
    ended.fails(1, &["Packages", "expected"]);
    assert_eq!(lab.server.count("pool/"), 0, "no package was asked for");
    place.assert_nothing_left(&[]);
}

#[test]
fn release_without_the_index() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[base()]);
    let recipe = lab.recipe(&place, &[], "");
    let text = std::fs::read_to_string(&recipe).expect("the recipe").replace("[\"main\"]", "[\"mian\"]");
    let recipe = place.write("lab.toml", text);
    place.build(&recipe, "image", &[]).run().fails(2, &["mian", "main"]);
}

#[test]
fn indexes_that_make_no_sense() {
    let deb = base();
    let stanza = deb.stanza.clone();
    let cases = [
        ("no name", stanza.replace("Package: lab-base\n", "")),
        ("no hash", stanza.lines().filter(|l| !l.starts_with("SHA256")).collect::<Vec<_>>().join("\n") + "\n"),
        ("no size", stanza.lines().filter(|l| !l.starts_with("Size")).collect::<Vec<_>>().join("\n") + "\n"),
        ("a path out of the archive", stanza.replace("Filename: pool/", "Filename: ../../")),
        ("a name that is a path", stanza.replace("Package: lab-base", "Package: ../lab-base")),
        ("a stray line", format!("what is this\n{stanza}")),
        ("bytes that are no text", stanza.replace("a package", "\u{0}\u{1}")),
    ];
    for (what, index) in cases {
        eprintln!("{what}");
        let place = Place::new().with_own_cache();
        let lab = Lab::with(std::slice::from_ref(&deb), |repo| repo.index = index.into_bytes());
        let recipe = lab.recipe(&place, &["lab-base"], "");
        // Whatever it makes of them: it fails in an orderly way and unpacks nothing from outside of the archive.
        let ended = place.build(&recipe, "image", &[]).run();
        assert!(matches!(ended.code, Some(1 | 2)), "{what}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{what}: {}", ended.stderr);
        assert!(lab.server.requests().iter().all(|r| !r.path.contains("..")), "{what}: {:?}", lab.server.requests());
        place.assert_nothing_left(&[]);
    }
}

// ---- packages ---------------------------------------------------------------------------------------------------

#[test]
fn broken_packages() {
    type Break = fn(&Lab, &Deb);
    let cases: [(&str, Break); 4] = [
        ("one changed byte", |lab, deb| change_deb(&lab.server, deb, |bytes| bytes[100] ^= 1)),
        ("too long", |lab, deb| change_deb(&lab.server, deb, |bytes| bytes.push(b'\n'))),
        ("too short", |lab, deb| change_deb(&lab.server, deb, |bytes| bytes.truncate(bytes.len() - 1))),
        ("missing", |lab, deb| lab.server.remove(&format!("/{}", deb.path))),
    ];
    for (what, fault) in cases {
        eprintln!("{what}");
        let place = Place::new().with_own_cache();
        let deb = base();
        let lab = Lab::new(std::slice::from_ref(&deb));
        fault(&lab, &deb);
        let recipe = lab.recipe(&place, &[], "");
        refused(&place, &recipe, &["lab-base"]);
        assert!(lab.server.count("pool/lab-base") > 0, "{what}: it was asked for");
    }
}

/// Builds with a package whose paths lead out; whatever the program does, the host must be as it was.
fn hostile(name: &str, make: impl Fn(Package, &Path) -> Package, texts: &[&str]) {
    let place = Place::new().with_own_cache();
    let victim = place.path().join("victim");
    std::fs::create_dir(&victim).expect("a folder");
    std::fs::write(victim.join("file"), "untouched").expect("a file");
    let package = make(Package::new(name), &victim).build();
    let lab = Lab::complete(&[package]);
    let recipe = lab.recipe(&place, &[name], "");
    let ended = place.build(&recipe, "image", &["--keep"]).run();
    let names: Vec<_> = std::fs::read_dir(&victim).expect("the folder").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["file"], "{name}: nothing was added");
    assert_eq!(std::fs::read_to_string(victim.join("file")).expect("the file"), "untouched", "{name}");
    assert!(!Path::new("/mkbase-escaped").exists(), "{name}: written to the host's root");
    if !texts.is_empty() {
        ended.fails(1, texts);
    }
}

#[test]
fn package_with_parent_folders_in_its_paths() {
    hostile(
        "lab-dots",
        |p, _| p.file("./../../../../../../../../mkbase-escaped", b"x"),
        &["lab-dots", "out of the root"],
    );
    hostile(
        "lab-dots2",
        |p, _| p.file("usr/../../../../../../../mkbase-escaped", b"x"),
        &["lab-dots2", "out of the root"],
    );
}

#[test]
fn package_with_absolute_paths() {
    let absolute = |p: Package, victim: &Path| p.file(victim.join("new").to_str().expect("text"), b"x");
    hostile("lab-absolute", absolute, &[]);
}

#[test]
fn package_that_writes_through_its_own_link() {
    let through = |p: Package, victim: &Path| {
        p.symlink("./usr/share/door", victim.to_str().expect("text"))
            .file("./usr/share/door/file", b"changed")
            .file("./usr/share/door/new", b"x")
    };
    hostile("lab-door", through, &[]);
    let replaced = |p: Package, victim: &Path| {
        p.symlink("./usr/share/name", victim.join("file").to_str().expect("text")).file("./usr/share/name", b"changed")
    };
    hostile("lab-name", replaced, &[]);
    let relative = |p: Package, _: &Path| {
        p.symlink("./usr/share/up", "../../../../../../../../..").file("./usr/share/up/mkbase-escaped", b"x")
    };
    hostile("lab-up", relative, &[]);
}

#[test]
fn package_that_links_to_a_file_of_the_host() {
    let hard = |p: Package, victim: &Path| {
        p.hardlink("./usr/share/grab", victim.join("file").to_str().expect("text")).file("./usr/share/grab", b"changed")
    };
    hostile("lab-grab", hard, &["lab-grab"]);
    let dots = |p: Package, _: &Path| p.hardlink("./usr/share/grab", "../../../../../../../../etc/passwd");
    hostile("lab-grab-dots", dots, &["lab-grab-dots"]);
}

#[test]
fn files_that_are_no_packages() {
    let junk = [
        ("empty", Vec::new()),
        ("text", b"this is no package\n".to_vec()),
        ("no members", b"!<arch>\n".to_vec()),
        ("garbage members", crate::util::deb::archive(b"garbage", b"garbage")),
        ("a control archive that is a bomb", {
            let zeros = crate::util::deb::gzip(&vec![0; 256 << 20]);
            crate::util::deb::archive(&zeros, &zeros)
        }),
        ("members of other length", {
            let mut bytes = base().bytes.read();
            bytes.truncate(bytes.len() - 40);
            bytes
        }),
    ];
    for (what, bytes) in junk {
        eprintln!("{what}");
        let mut deb = base();
        let stanza: Vec<String> = deb
            .stanza
            .lines()
            .map(|line| match line.split(':').next() {
                Some("Size") => format!("Size: {}", bytes.len()),
                Some("SHA256") => format!("SHA256: {}", crate::util::sha256(&bytes)),
                _ => line.to_string(),
            })
            .collect();
        deb.stanza = stanza.join("\n") + "\n";
        deb.bytes = bytes.into();
        let place = Place::new().with_own_cache();
        let lab = Lab::new(&[deb]);
        let recipe = lab.recipe(&place, &[], "");
        refused(&place, &recipe, &["lab-base"]);
    }
}

// ---- mirrors ----------------------------------------------------------------------------------------------------

#[test]
fn mirror_that_refuses() {
    let place = Place::new().with_own_cache();
    place.write("lab.asc", Key::new("lab").public());
    let url = refused_url();
    let recipe = place.write("lab.toml", recipe_text(&url, &[], ""));
    refused(&place, &recipe, &[&url]);
}

#[test]
fn mirror_without_the_files() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[]);
    lab.server.remove("/dists/lab/InRelease");
    let recipe = lab.recipe(&place, &[], "");
    refused(&place, &recipe, &["/dists/lab/", "not found"]);
}

#[test]
fn mirror_out_of_service() {
    for (pattern, text) in [("InRelease", "503"), ("by-hash", "503"), ("pool/", "503")] {
        let place = Place::new().with_own_cache();
        let lab = Lab::new(&[base()]);
        lab.server.fault(pattern, Fault::Status(503));
        let recipe = lab.recipe(&place, &[], "");
        refused(&place, &recipe, &[text]);
        assert!(lab.server.count(pattern) > 1, "{pattern}: it was tried again");
    }
}

#[test]
fn mirror_that_recovers() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[base()]);
    for pattern in ["InRelease", "by-hash", "pool/"] {
        lab.server.fault_times(pattern, Fault::Status(503), 1);
        lab.server.fault_times(pattern, Fault::Hangup, 1);
    }
    let recipe = lab.recipe(&place, &[], "");
    let ended = place.build(&recipe, "image", &[]).run();
    assert_eq!(lab.server.count("pool/lab-base"), 3, "two failures and a success:\n{}", ended.stderr);
    place.assert_nothing_left(&[]);
}

#[test]
fn mirror_that_cuts_the_connection() {
    // Always: it fails. Once: it goes on where it was.
    let big = Package::new("lab-base").field("Essential", "yes").file("./usr/share/big", &noise(1 << 20)).build();
    let place = Place::new().with_own_cache();
    let lab = Lab::new(std::slice::from_ref(&big));
    lab.server.fault("pool/", Fault::Cut);
    let recipe = lab.recipe(&place, &[], "");
    refused(&place, &recipe, &["lab-base"]);

    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[big]);
    lab.server.fault_times("pool/", Fault::Cut, 1);
    let recipe = lab.recipe(&place, &[], "");
    let ended = place.build(&recipe, "image", &[]).run();
    let requests: Vec<_> = lab.server.requests().into_iter().filter(|r| r.path.contains("pool/")).collect();
    assert_eq!(requests.len(), 2, "{}", ended.stderr);
    assert!(requests[1].from > 0, "the second half only: {requests:?}");
    place.assert_nothing_left(&[]);
}

#[test]
fn mirror_that_stalls() {
    let big = Package::new("lab-base").field("Essential", "yes").file("./usr/share/big", &noise(1 << 20)).build();
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[big]);
    lab.server.fault_times("pool/", Fault::Stall, 1);
    let recipe = lab.recipe(&place, &[], "");
    // It loses patience, and goes on where it was.
    let ended = place.build(&recipe, "image", &[]).limit(Duration::from_secs(180)).run();
    let requests: Vec<_> = lab.server.requests().into_iter().filter(|r| r.path.contains("pool/")).collect();
    assert_eq!(requests.len(), 2, "{}", ended.stderr);
    assert!(requests[1].from > 0, "the second half only: {requests:?}");
    place.assert_nothing_left(&[]);
}

#[test]
fn mirror_that_redirects() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[base()]);
    lab.server.fault("/dists/lab/InRelease", Fault::Redirect("/round/InRelease".into()));
    lab.server.fault("/round/InRelease", Fault::Redirect("/dists/lab/InRelease".into()));
    let recipe = lab.recipe(&place, &[], "");
    refused(&place, &recipe, &["redirect"]);
    assert!(lab.server.count("InRelease") < 50, "it gave up soon");

    // To somewhere sensible it is followed.
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[base()]);
    let path = format!("/{}", base().path);
    lab.server.put("/elsewhere.deb", base().bytes.read());
    lab.server.fault(&path, Fault::Redirect("/elsewhere.deb".into()));
    let recipe = lab.recipe(&place, &[], "");
    let ended = place.build(&recipe, "image", &[]).run();
    assert_eq!(lab.server.count("/elsewhere.deb"), 1, "{}", ended.stderr);
}

#[test]
fn credentials_are_never_shown() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[base()]);
    lab.server.fault("pool/", Fault::Status(403));
    let recipe = lab.recipe(&place, &[], "");
    let mirror = format!("main={}", lab.server.url().replace("http://", "http://alice:s3cret-word@"));
    let ended = place.build(&recipe, "image", &["-v", "--mirror", &mirror]).run().fails(1, &["lab-base"]);
    assert!(!ended.stderr.contains("s3cret-word"), "{}", ended.stderr);
}

#[test]
fn credentials_of_a_mirror_stay_out_of_everything() {
    let place = Place::new().with_own_cache();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &["locales"], "[system]\nlocale = \"de_DE.UTF-8\"");
    let mirror = format!("main={}", lab.server.url().replace("http://", "http://alice:s3cret-word@"));
    let ended = place.build(&recipe, "image", &["-v", "--mirror", &mirror]).run().success();
    assert!(!ended.stderr.contains("s3cret-word") && !ended.stdout().contains("s3cret-word"), "{}", ended.stderr);
    for name in ["rootfs.tar", "Dockerfile", ".dockerignore", "mkbase.lock", "manifest.json", "SHA256SUMS"] {
        let bytes = std::fs::read(place.out("image").join(name)).expect("a result");
        let found = bytes.windows(11).any(|part| part == b"s3cret-word");
        assert!(!found, "the password is in {name}");
    }
}

#[test]
fn build_with_everything_at_hand_downloads_nothing() {
    let place = Place::new().with_own_cache();
    let lab = Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    place.build(&recipe, "image", &[]).run().success();
    let (packages, indexes) = (lab.server.count("pool/"), lab.server.count("by-hash"));
    assert!(packages > 50 && indexes > 0, "{packages} packages and {indexes} indexes at first");
    place.build(&recipe, "image", &[]).run().success();
    assert_eq!((lab.server.count("pool/"), lab.server.count("by-hash")), (packages, indexes), "only the release file");
    // A damaged file in the cache is not used.
    let damaged = damage_one_file(&place.cache().join("sha256"));
    place.build(&recipe, "image", &[]).run().success();
    let again = lab.server.count("pool/") + lab.server.count("by-hash");
    assert_eq!(again, packages + indexes + 1, "{} was fetched anew", damaged.display());
}

/// Changes a byte of a package in the cache.
fn damage_one_file(folder: &Path) -> std::path::PathBuf {
    for entry in std::fs::read_dir(folder).expect("the cache").flatten() {
        for file in std::fs::read_dir(entry.path()).expect("the cache").flatten() {
            let mut bytes = std::fs::read(file.path()).expect("a cached file");
            if bytes.starts_with(b"!<arch>") {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                // The cache makes its files read-only.
                std::fs::remove_file(file.path()).expect("a cached file");
                std::fs::write(file.path(), bytes).expect("a cached file");
                return file.path();
            }
        }
    }
    panic!("no package in {}", folder.display());
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

// ---- maintainer scripts -----------------------------------------------------------------------------------------

#[test]
fn maintainer_script_that_fails() {
    for (script, said) in [("preinst", "preinst"), ("postinst", "post-installation script")] {
        let place = Place::new();
        let package = Package::new("lab-fails").script(script, "echo 'no luck today' >&2\nexit 7").build();
        let lab = Lab::complete(&[package]);
        let recipe = lab.recipe(&place, &["lab-fails"], "");
        refused(&place, &recipe, &["lab-fails", said, "no luck today"]);
    }
}

#[test]
fn maintainer_script_that_hangs() {
    let place = Place::new();
    let package = Package::new("lab-hangs").script("postinst", &format!("sleep {DAEMON}1")).build();
    let lab = Lab::complete(&[package]);
    let recipe = lab.recipe(&place, &["lab-hangs"], "");
    let ended = place.build(&recipe, "image", &["--time-limit", "10"]).limit(Duration::from_secs(120)).run();
    ended.fails(1, &["lab-hangs", "10 s"]);
    place.assert_nothing_left(&[]);
    assert!(processes_named(&format!("{DAEMON}1")).is_empty(), "the hanging script is gone");
}

#[test]
fn maintainer_script_that_leaves_a_daemon() {
    let place = Place::new();
    let body = format!("setsid sleep {DAEMON}2 >/dev/null 2>&1 </dev/null &\nsleep {DAEMON}2 &");
    let lab = Lab::complete(&[Package::new("lab-daemon").script("postinst", &body).build()]);
    let recipe = lab.recipe(&place, &["lab-daemon"], "");
    place.build(&recipe, "image", &[]).limit(Duration::from_secs(300)).run().success();
    place.assert_nothing_left(&["image"]);
    assert!(processes_named(&format!("{DAEMON}2")).is_empty(), "the daemons are gone");
}

#[test]
fn maintainer_script_that_writes_to_devices() {
    let place = Place::new();
    let body = "test -c /dev/null\necho gone >/dev/null\necho gone 2>/dev/null >&2\n\
                test -c /dev/null\ntest -z \"$(cat /dev/null)\"\nhead -c 4 /dev/urandom >/dev/null\n\
                test \"$(head -c 4 /dev/zero | wc -c)\" = 4\necho shared >/dev/shm/x";
    let lab = Lab::complete(&[Package::new("lab-null").script("postinst", body).build()]);
    let recipe = lab.recipe(&place, &["lab-null"], "");
    place.build(&recipe, "image", &[]).run().success();
    let image = tree::of_tar(&place.out("image").join("rootfs.tar"));
    let inside: Vec<_> = image.keys().filter(|path| path.starts_with("dev/")).collect();
    assert!(inside.is_empty(), "/dev is empty in the image: {inside:?}");
    place.assert_nothing_left(&["image"]);
}

#[test]
fn maintainer_script_sees_nothing_of_the_host() {
    let place = Place::new();
    let body = "env | sort >/usr/share/lab-env\nhostname >/usr/share/lab-host\ncat </dev/stdin >/usr/share/lab-in\n\
                ls /sys/class/net >/usr/share/lab-net 2>/dev/null || :\n\
                if touch /sys/kernel/x 2>/dev/null; then exit 9; fi";
    let lab = Lab::complete(&[Package::new("lab-looks").script("postinst", body).build()]);
    let recipe = lab.recipe(&place, &["lab-looks"], "");
    let build = place.build(&recipe, "image", &[]).env("LAB_SECRET", "s3cret-word").env("LC_ALL", "de_DE.UTF-8");
    build.env("http_proxy", "").run().success();
    let tar = tree::unpacked(&place.out("image").join("rootfs.tar"));
    let file = |name: &str| {
        String::from_utf8(tree::file_in_tar(&tar, &format!("usr/share/{name}")).expect("written by the script"))
            .expect("text")
    };
    let env = file("lab-env");
    assert!(!env.contains("s3cret-word") && !env.contains("de_DE"), "{env}");
    assert!(env.contains("DEBIAN_FRONTEND=noninteractive\n") && env.contains("TZ=UTC\n"), "{env}");
    assert_eq!(file("lab-host").trim(), "localhost");
    assert_eq!(file("lab-in"), "", "no standard input");
    assert!(file("lab-net").lines().all(|l| l == "lo"), "no network: {}", file("lab-net"));
}

// ---- output -----------------------------------------------------------------------------------------------------

#[test]
fn output_that_cannot_be_written() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[base()]);
    let recipe = lab.recipe(&place, &[], "");
    let file = place.write("file", "in the way");
    let under_file = file.join("image");
    // /proc takes no new folders from anybody, root included.
    for out in [under_file.as_path(), Path::new("/proc/mkbase-image")] {
        let arguments = ["build".as_ref(), recipe.as_os_str(), "-o".as_ref(), out.as_os_str()];
        place.mkbase(arguments).run().fails(1, &[out.to_str().expect("text")]);
        assert_eq!(lab.server.count("pool/"), 0, "it says so before it downloads anything");
    }
    assert_eq!(std::fs::read_to_string(file).expect("the file"), "in the way");
    place.assert_nothing_left(&[]);
}

#[test]
fn output_folder_of_something_else_is_left_alone() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[base()]);
    let recipe = lab.recipe(&place, &[], "");
    std::fs::create_dir(place.out("image")).expect("a folder");
    std::fs::write(place.out("image").join("thesis.txt"), "years of work").expect("a file");
    place.build(&recipe, "image", &[]).run().fails(2, &[place.out("image").to_str().expect("text"), "-o"]);
    assert_eq!(std::fs::read_to_string(place.out("image").join("thesis.txt")).expect("the file"), "years of work");
    place.assert_nothing_left(&["image"]);
}

#[test]
fn output_is_replaced_whole_or_not_at_all() {
    let place = Place::new();
    let lab = Lab::complete(&[Package::new("lab-fails").script("postinst", "exit 1").build()]);
    let good = lab.recipe(&place, &[], "");
    place.build(&good, "image", &[]).run().success();
    let before = folder(&place.out("image"));

    let text = std::fs::read_to_string(&good).expect("the recipe").replace("include = []", "include = [\"lab-fails\"]");
    let bad = place.write("bad.toml", text);
    place.build(&bad, "image", &[]).run().fails(1, &["lab-fails"]);
    assert_eq!(folder(&place.out("image")), before, "a failed build changes nothing");
    place.assert_nothing_left(&["image"]);

    place.build(&good, "image", &["--compress", "gzip"]).run().success();
    let after = folder(&place.out("image"));
    assert!(
        after.contains_key("rootfs.tar.gz") && !after.contains_key("rootfs.tar"),
        "replaced whole: {:?}",
        after.keys()
    );
    place.assert_nothing_left(&["image"]);
}

fn folder(path: &Path) -> std::collections::BTreeMap<String, String> {
    tree::of_folder(path).into_iter().map(|(name, node)| (name, node.content)).collect()
}
