use super::*;
use crate::error::{Exit, exit_code};
use crate::plan::testing;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A plan with these repositories and nothing else.
pub fn plan(repositories: Vec<Repository>) -> Plan {
    Plan { name: "corp-base".into(), repositories, ..testing::plan() }
}

fn repository(name: &str, url: &str, suite: &str) -> Repository {
    Repository {
        keys: vec![key("archive.asc", &armoured("aGVsbG8="))],
        image_key: KEYRING.into(),
        ..testing::repository(name, url, suite)
    }
}

fn corp(name: &str) -> Repository {
    Repository {
        keys: vec![key("corp.asc", &armoured("Y29ycA=="))],
        image_key: String::new(),
        ..repository(name, "https://packages.example.org/debian", "trixie-corp")
    }
}

fn key(name: &str, data: &str) -> Key {
    Key { name: name.into(), data: data.as_bytes().to_vec() }
}

fn armoured(base64: &str) -> String {
    format!("{}\n\n{base64}\n{}\n", ARMOUR[0], ARMOUR[1])
}

fn debian() -> Vec<Repository> {
    vec![
        repository("main", "http://archive.example.org/debian", "trixie"),
        repository("updates", "http://archive.example.org/debian", "trixie-updates"),
        repository("security", "http://archive.example.org/debian-security", "trixie-security"),
    ]
}

fn tree() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let root = Root::open(dir.path()).expect("it opens");
    for folder in ["etc/apt", "usr/lib", "usr/bin", "usr/share/keyrings"] {
        root.create_dir_all(folder, 0o755).expect(folder);
    }
    root.write("usr/bin/apt-get", "", 0o755).expect("a file");
    root.write(KEYRING, "", 0o644).expect("a file");
    root.write(OLD_LIST, "deb http://user:secret@build.example.org/debian trixie main\n", 0o644).expect("a file");
    root.write("usr/lib/os-release", "NAME=\"Debian\"\nVERSION_ID=\"13\"\nID=debian\n", 0o644).expect("a file");
    root.symlink("../usr/lib/os-release", "etc/os-release").expect("a link");
    (dir, root)
}

/// What apt finds after it, by file name; everything below `etc/apt` is searched for the build's credentials.
fn configured(repositories: Vec<Repository>) -> BTreeMap<String, String> {
    let (_dir, root) = tree();
    configure_repositories(&plan(repositories), &root).expect("configured");
    assert!(!root.exists(OLD_LIST));
    let mut found = BTreeMap::new();
    for entry in root.walk("etc/apt").expect("a walk") {
        if entry.kind() != crate::root::Kind::File {
            continue;
        }
        let text = root.read_text(&entry.path).expect("it reads");
        assert!(!text.contains("secret") && !text.contains("build.example.org"), "{}", entry.path.display());
        let name = entry.path.strip_prefix("etc/apt").expect("below").display().to_string();
        if !name.starts_with("apt.conf.d/") {
            found.insert(name, text);
        }
    }
    found
}

#[test]
fn the_distribution_stands_in_one_file() {
    let found = configured(debian());
    assert_eq!(found.keys().collect::<Vec<_>>(), ["sources.list.d/debian.sources"]);
    assert_eq!(
        found["sources.list.d/debian.sources"],
        "Types: deb\nURIs: http://archive.example.org/debian\nSuites: trixie trixie-updates\nComponents: main\n\
         Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
         Types: deb\nURIs: http://archive.example.org/debian-security\nSuites: trixie-security\nComponents: main\n\
         Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    );
}

#[test]
fn the_image_mirror_is_written() {
    let mut repositories = debian();
    repositories[0].image_url = "https://mirror.example.org/debian".into();
    repositories[1].check_valid_until = false;
    let found = configured(repositories);
    let text = &found["sources.list.d/debian.sources"];
    assert!(text.starts_with(
        "Types: deb\nURIs: https://mirror.example.org/debian\nSuites: trixie\nComponents: main\nSigned-By: "
    ));
    assert!(text.contains("Suites: trixie-updates\n"));
    assert_eq!(text.matches("\nCheck-Valid-Until: no\n").count(), 1);
}

#[test]
fn others_have_a_file_and_a_key_of_their_own() {
    let mut repositories = debian();
    repositories.push(corp("corp tools"));
    repositories.push(Repository {
        suite: "./".into(),
        components: Vec::new(),
        keys: Vec::new(),
        trusted: true,
        ..corp("flat")
    });
    repositories.push(Repository { build_only: true, ..corp("seed") });
    let found = configured(repositories);
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "keyrings/corp_tools.asc",
            "sources.list.d/corp_tools.sources",
            "sources.list.d/debian.sources",
            "sources.list.d/flat.sources"
        ]
    );
    assert_eq!(found["keyrings/corp_tools.asc"], armoured("Y29ycA=="));
    assert_eq!(
        found["sources.list.d/corp_tools.sources"],
        "Types: deb\nURIs: https://packages.example.org/debian\nSuites: trixie-corp\nComponents: main\n\
         Signed-By: /etc/apt/keyrings/corp_tools.asc\n"
    );
    assert_eq!(
        found["sources.list.d/flat.sources"],
        "Types: deb\nURIs: https://packages.example.org/debian\nSuites: ./\nTrusted: yes\n"
    );
}

#[test]
fn keys_are_written_where_no_package_brings_them() {
    let (_dir, root) = tree();
    root.remove_file(KEYRING).expect("removed");
    let mut repositories = debian();
    repositories[2].keys = vec![key("other.asc", &armoured("b3RoZXI="))];
    configure_repositories(&plan(repositories), &root).expect("configured");
    let text = root.read_text("etc/apt/sources.list.d/debian.sources").expect("there");
    assert!(text.contains("trixie-updates\nComponents: main\nSigned-By: /etc/apt/keyrings/debian.asc\n"), "{text}");
    assert!(text.ends_with("Signed-By: /etc/apt/keyrings/debian-security.asc\n"), "{text}");
    assert_eq!(root.read_text("etc/apt/keyrings/debian-security.asc").expect("there"), armoured("b3RoZXI="));
}

#[test]
fn several_keys_make_one_binary_keyring() {
    let crlf = armoured("aGVsbG8=").replace('\n', "\r\n");
    let two = format!("a comment\n{}{}", armoured("aGVsbG8="), armoured("Y29ycA=="));
    for (keys, extension, content) in [
        (vec![key("a", &crlf)], "asc", armoured("aGVsbG8=").into_bytes()),
        (vec![key("a", &two)], "gpg", b"hellocorp".to_vec()),
        (vec![key("a", &armoured("aGVsbG8=")), key("b", "binary")], "gpg", b"hellobinary".to_vec()),
        (vec![key("a", "binary")], "gpg", b"binary".to_vec()),
    ] {
        assert_eq!(keyring(&keys).expect("a keyring"), (extension, content));
    }
    for broken in [ARMOUR[0].to_owned(), armoured("????")] {
        keyring(&[key("broken.asc", &broken)]).expect_err("broken");
    }
}

#[test]
fn what_must_not_be_written_is_refused() {
    let cases: &[fn(&mut Repository)] = &[
        |r| r.image_url = "https://user:token@mirror.example.org/debian".into(),
        |r| r.image_url = "https://token@mirror.example.org".into(),
        |r| r.image_url = "https://mirror.example.org/ debian".into(),
        |r| r.suite = "trixie\nTrusted: yes".into(),
        |r| r.components = vec!["main".into(), "a b".into()],
        |r| r.suite = String::new(),
    ];
    for (number, change) in cases.iter().enumerate() {
        let (_dir, root) = tree();
        let mut repositories = debian();
        change(&mut repositories[0]);
        let error = configure_repositories(&plan(repositories), &root).expect_err("refused");
        assert_eq!(exit_code(&error), Exit::Usage, "case {number}");
        assert!(error.to_string().contains("repository 'main'") && !error.to_string().contains("token"), "{error}");
    }
    let (_dir, root) = tree();
    let keyless = Repository { keys: Vec::new(), ..corp("corp") };
    configure_repositories(&plan(vec![keyless]), &root).expect_err("no key");
}

#[test]
fn without_apt_only_dpkg_is_configured() {
    let (_dir, root) = tree();
    root.remove_file("usr/bin/apt-get").expect("removed");
    configure_repositories(&plan(debian()), &root).expect("configured");
    assert!(!root.exists("etc/apt/sources.list.d"));
    assert!(root.exists("etc/dpkg/dpkg.cfg.d/container"));
}
