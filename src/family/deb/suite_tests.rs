use super::*;
use crate::error::{Exit, exit_code};
use crate::plan::testing;

const NOW: i64 = 1_800_000_000;
const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn repository(suite: &str, components: &[&str]) -> Repository {
    Repository {
        components: components.iter().map(|c| c.to_string()).collect(),
        ..testing::repository("main", "http://example.org/debian", suite)
    }
}

fn release(text: &str) -> Release {
    Release::parse(text).expect(text)
}

#[test]
fn names() {
    for (text, right) in [
        ("Suite: stable\nCodename: trixie\n", Some(false)),
        ("Suite: trixie\nCodename: other\n", Some(false)),
        ("Suite: stable\nCodename: bookworm\n", None),
        ("Suite: stable\n", Some(true)),
        ("Codename: bookworm\n", Some(true)),
        ("Origin: x\n", Some(false)),
    ] {
        let verdict = check_names(&release(text), &repository("trixie", &[]));
        assert_eq!(verdict.ok().map(|doubt| doubt.is_some()), right, "{text}");
    }
    let wrong = release("Suite: stable\nCodename: bookworm\n");
    let error = check_names(&wrong, &repository("trixie", &[])).expect_err("it is another suite");
    assert!(format!("{error}").contains("'bookworm', 'trixie' was asked for"), "{error}");
    assert_eq!(check_names(&wrong, &repository("./", &[])).expect("a flat one has no name"), None);
    let trusted = Repository { trusted: true, ..repository("trixie", &[]) };
    assert!(check_names(&wrong, &trusted).expect("it is trusted").is_some());
}

#[test]
fn times() {
    let at = |date: i64, end: Option<i64>| Release { date: Some(date), valid_until: end, ..Release::default() };
    let strict = repository("trixie", &[]);
    let lax = Repository { check_valid_until: false, ..repository("trixie", &[]) };
    let trusted = Repository { trusted: true, ..repository("trixie", &[]) };
    for (release, right) in [
        (at(NOW, None), true),
        (at(NOW - 900 * 86_400, None), true),
        (at(NOW + FUTURE_TOLERANCE, None), true),
        (at(NOW + FUTURE_TOLERANCE + 1, None), false),
        (at(NOW - 10, Some(NOW)), true),
        (at(NOW - 10, Some(NOW - 1)), false),
        (Release::default(), false),
    ] {
        assert_eq!(check_times(&release, &strict, NOW).is_ok(), right, "{release:?}");
    }
    assert_eq!(check_times(&at(5, Some(6)), &lax, NOW).expect("it may be old"), 5);
    assert_eq!(check_times(&Release::default(), &trusted, NOW).expect("it is trusted"), 0);
    let error = check_times(&at(NOW - 864_000, Some(NOW - 86_400)), &strict, NOW).expect_err("it is old");
    let message = format!("{error}");
    for part in ["Tue, 05 Jan 2027", "Thu, 14 Jan 2027", "Fri, 15 Jan 2027", "--set check_valid_until=false"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let error = check_times(&at(NOW + 86_400, None), &strict, NOW).expect_err("it is of tomorrow");
    assert!(format!("{error}").contains("Sat, 16 Jan 2027"), "{error}");
}

#[test]
fn indexes_in_the_preferred_compressions() {
    let text = format!(
        "Architectures: all amd64\nComponents: updates/main\nSHA256:\n {HASH} 9 main/binary-amd64/Packages\n \
         {HASH} 3 main/binary-amd64/Packages.gz\n {HASH} 2 main/binary-amd64/Packages.xz\n \
         {HASH} 2 main/binary-all/Packages.xz\n"
    );
    let wanted = wanted_indexes(&release(&text), &repository("trixie", &["main"]), "amd64").expect("it is there");
    assert_eq!(wanted.len(), 2);
    assert_eq!((wanted[0].path.as_str(), wanted[0].size), ("main/binary-amd64/Packages", Some(9)));
    assert_eq!(wanted[0].files.iter().map(|(c, _)| *c).collect::<Vec<_>>(), [Codec::Xz, Codec::Gzip, Codec::None]);
    assert_eq!((wanted[1].path.as_str(), wanted[1].size), ("main/binary-all/Packages", None));
    let unnamed = text.replace("all amd64", "amd64");
    assert_eq!(wanted_indexes(&release(&unnamed), &repository("t", &["main"]), "amd64").expect("it is there").len(), 1);
    let each = format!("No-Support-for-Architecture-all: Packages\n{text}");
    assert_eq!(wanted_indexes(&release(&each), &repository("t", &["main"]), "amd64").expect("it is there").len(), 1);
}

#[test]
fn a_flat_repository_has_its_index_beside_the_release() {
    let text = format!("SHA256:\n {HASH} 2 Packages.gz\n");
    let wanted = wanted_indexes(&release(&text), &repository("./", &[]), "amd64").expect("it is there");
    assert_eq!(wanted[0].path, "Packages");
    assert!(wanted_indexes(&release("Origin: x\n"), &repository("./", &[]), "amd64").is_err());
}

#[test]
fn what_is_missing_is_named_with_the_nearest() {
    let text = format!(
        "Architectures: amd64 arm64\nComponents: main contrib\nSHA256:\n {HASH} 9 main/binary-amd64/Packages\n"
    );
    for (components, arch, parts) in [
        (&["mian"], "amd64", ["no component 'mian'; did you mean 'main'?", "main, contrib"]),
        (&["main"], "arm46", ["no architecture 'arm46'; did you mean 'arm64'?", "amd64, arm64"]),
        (&["contrib"], "amd64", ["its Release", "lists no contrib/binary-amd64/Packages"]),
    ] {
        let error = wanted_indexes(&release(&text), &repository("trixie", components), arch).expect_err(arch);
        assert_eq!(exit_code(&error), Exit::Usage);
        for part in parts {
            assert!(format!("{error}").contains(part), "{error}");
        }
    }
}

#[test]
fn signatures_can_be_left_aside() {
    let signed = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSuite: x\n- -dash\n\
                  -----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----\n";
    assert_eq!(without_signature(signed), "Suite: x\n-dash\n");
    assert_eq!(without_signature("Suite: x\n"), "Suite: x\n");
}
