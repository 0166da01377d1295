//! Signed indexes: changed, unsigned, out of date, cut off, or senseless.

use super::{base, refused};
use crate::util::deb::Package;
use crate::util::key::Key;
use crate::util::lab::Lab;
use crate::util::mkbase::Place;
use crate::util::now;
use crate::util::repo::{Signing, change_index, index_paths};

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
