use super::super::deb_maker::deb_bytes;
use super::*;
use crate::error::{Exit, exit_code};
use crate::plan::Packages;
use crate::plan::testing::{self, repository};
use crate::recipe::System;

fn plan(repositories: &[&str], include: &[&str]) -> Plan {
    let repository = |name: &&str| repository(name, &format!("http://example.org/{name}"), "trixie");
    Plan {
        repositories: repositories.iter().map(repository).collect(),
        packages: Packages { include: include.iter().map(|n| n.to_string()).collect(), ..Packages::default() },
        ..testing::plan()
    }
}

/// A package paragraph; `fields` are added as they are.
fn package(name: &str, version: &str, fields: &str) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}_{version}.deb\nSize: 7\n\
         SHA256: {}\n{fields}\n",
        "AB".repeat(32)
    )
}

fn contents(date: i64, packages: &[String]) -> Contents {
    let index = Index::parse(&packages.concat(), "Packages").expect("it is valid");
    Contents { date, sha256: "22".repeat(32), names: Vec::new(), priority: 500, indexes: vec![index] }
}

fn lock(plan: &Plan, contents: Vec<Contents>) -> Result<Lock> {
    decide(plan, &wanted::requests(plan, "amd64")?, contents, local_files(plan, "amd64")?, None).map(|(lock, _)| lock)
}

fn shown(lock: &Lock) -> Vec<String> {
    lock.packages.iter().map(|p| format!("{} {} {} {:?}", p.name, p.version, p.repository, p.role)).collect()
}

fn two_repositories() -> Vec<Contents> {
    vec![
        contents(
            100,
            &[
                package("dash", "1", "Essential: yes\nPre-Depends: libc6\n"),
                package("libc6", "2", ""),
                package("agent", "1", "Depends: libc6 (>= 2), locales | dash\n"),
                package("locales", "2", "Depends: nothing-there\n"),
                package("tzdata", "1", ""),
            ],
        ),
        contents(200, &[package("libc6", "2.1", "")]),
    ]
}

#[test]
fn the_lock_has_roles_sources_and_the_newest_date() {
    let lock = lock(&plan(&["main", "security"], &["agent"]), two_repositories()).expect("it can be solved");
    assert_eq!(shown(&lock), ["agent 1 main Wanted", "dash 1 main Wanted", "libc6 2.1 security Dependency"]);
    assert_eq!(lock.epoch, 200);
    assert_eq!((lock.packages[0].size, lock.packages[0].path.as_str()), (7, "pool/agent_1.deb"));
    assert_eq!(lock.packages[0].sha256, "ab".repeat(32));
    assert_eq!(lock.repositories[1].date, 200);
    assert_eq!(lock.repositories[1].url, "http://example.org/security");
    assert!(!lock.to_text().expect("it can be written").contains("secret"));
}

#[test]
fn time_zone_and_locale_bring_their_packages() {
    for (timezone, locale, wanted) in [
        ("Etc/UTC", "C.utf8", "dash libc6"),
        ("Europe/Berlin", "C.UTF-8", "dash libc6 tzdata"),
        ("UTC", "de_DE.UTF-8", "dash libc6 locales:tool"),
        ("UTC", "POSIX", "dash libc6"),
    ] {
        let mut plan = plan(&["main", "security"], &[]);
        plan.system = System { timezone: timezone.into(), locale: locale.into(), docs: false };
        let lock = lock(&plan, two_repositories()).expect("it can be solved");
        let names: Vec<String> = lock
            .packages
            .iter()
            .map(|p| if p.role == Role::Tool { format!("{}:tool", p.name) } else { p.name.clone() })
            .collect();
        assert_eq!(names.join(" "), wanted);
    }
    let mut plan = plan(&["main"], &[]);
    plan.system.locale = "de_DE.UTF-8".into();
    let error = lock(&plan, vec![contents(1, &[package("dash", "1", "")])]).expect_err("there are no locales");
    assert_eq!(exit_code(&error), Exit::Usage);
}

#[test]
fn the_environment_decides_on_the_epoch() {
    let mut plan = plan(&["main"], &["dash"]);
    let dash = || vec![contents(0, &[package("dash", "1", "")])];
    let error = lock(&plan, dash()).expect_err("there is no date");
    assert!(error.to_string().contains("SOURCE_DATE_EPOCH"), "{error}");
    plan.epoch = Some(5);
    assert_eq!(lock(&plan, dash()).expect("it can be solved").epoch, 5);
}

#[test]
fn hostile_indexes_are_refused() {
    let hash = "ab".repeat(32);
    for (filename, size, sha256, part) in [
        ("/etc/passwd", "7", hash.as_str(), "Filename"),
        ("pool/../../x.deb", "7", &hash, "Filename"),
        ("..", "7", &hash, "Filename"),
        ("pool//x.deb", "7", &hash, "Filename"),
        ("pool\\x.deb", "7", &hash, "Filename"),
        ("", "7", &hash, "Filename"),
        (".", "7", &hash, "Filename"),
        ("x.deb", "", &hash, "Size ''"),
        ("x.deb", "-1", &hash, "Size '-1'"),
        ("x.deb", "7", "", "SHA256"),
        ("x.deb", "7", "abc", "SHA256"),
    ] {
        let text = format!(
            "Package: a\nVersion: 1\nArchitecture: amd64\nFilename: {filename}\nSize: {size}\nSHA256: {sha256}\n"
        );
        let error = lock(&plan(&["main"], &["a"]), vec![contents(1, &[text])]).expect_err(filename);
        let message = format!("{error:#}");
        assert!(message.contains(part) && message.contains("Packages, line 1"), "{message}");
    }
    let version = vec![contents(1, &[package("a", "1/../2", "")])];
    assert!(lock(&plan(&["main"], &["a"]), version).is_err());
    let name = vec![contents(1, &[package("a", "1", "Depends: b\n"), package("../b", "1", "Provides: b\n")])];
    assert!(lock(&plan(&["main"], &["a"]), name).is_err());
    let good = vec![contents(1, &[package("a", "1", "").replace("pool/", "./pool/./")])];
    let good = lock(&plan(&["main"], &["a"]), good).expect("dots are no harm");
    assert_eq!(good.packages[0].path, "pool/a_1.deb");
}

#[test]
fn in_house_files_go_before_the_repositories() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut plan = plan(&["main"], &[]);
    let mut place = |name: &str, control: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, deb_bytes(control, &[], &[])).expect("a file");
        plan.packages.files.push((path, format!("agents/{name}")));
    };
    place("agent.deb", "Package: agent\nVersion: 0.5\nArchitecture: all\nDepends: dash\nDescription: x\n y\n");
    let repository = || vec![contents(1, &[package("agent", "1", ""), package("dash", "1", "")])];
    let lock_of = |plan: &Plan| lock(plan, repository());
    let first = plan.packages.files.clone();
    let locked = lock_of(&plan).expect("it can be solved");
    assert_eq!(shown(&locked), ["agent 0.5  Wanted", "dash 1 main Dependency"]);
    assert_eq!(locked.packages[0].path, "agents/agent.deb");
    assert_eq!(locked.packages[0].size, std::fs::metadata(&first[0].0).expect("a file").len());

    let mut refused = |name: &str, control: &str, part: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, deb_bytes(control, &[], &[])).expect("a file");
        plan.packages.files = first.clone();
        plan.packages.files.push((path, format!("agents/{name}")));
        let error = lock_of(&plan).expect_err(part);
        assert!(format!("{error:#}").contains(part), "{error:#}");
    };
    refused("b.deb", "Package: agent\nVersion: 2\nArchitecture: all\n", "both of the package agent");
    refused("c.deb", "Package: c\nVersion: 2\nArchitecture: arm64\n", "it is for arm64");
    refused("d.deb", "Package: d\nArchitecture: all\n", "agents/d.deb: the field Version is missing");
    refused("e.deb", "Package: e\nVersion: 1\n", "Architecture is missing");
    let path = dir.path().join("f.deb");
    std::fs::write(&path, "PK").expect("a file");
    plan.packages.files = vec![(path, "agents/f.deb".into())];
    let error = lock_of(&plan).expect_err("it is no package");
    assert_eq!(exit_code(&error), Exit::Usage);
    assert_eq!(format!("{error:#}"), "packages.files: agents/f.deb: it is too short for a Debian package");
}

#[test]
fn two_runs_give_the_same_lock() {
    let plan = plan(&["main", "security"], &["agent", "tzdata"]);
    let text = || lock(&plan, two_repositories()).and_then(|l| l.to_text()).expect("it can be solved");
    assert_eq!(text(), text());
}
