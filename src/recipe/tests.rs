//! Recipes in temporary folders, from the file to the plan.

mod faults;

use std::path::Path;

use super::*;
use crate::error::{Exit, exit_code};

pub(super) const STAND_ALONE: &str = r#"
name     = "mini"
family   = "deb"
release  = "two"
releases = ["one", "two"]
archs    = ["amd64", "arm64"]
arch     = "amd64"

[aliases]
stable = "two"
2 = "two"

[[repository]]
name       = "main"
url        = "http://example.org/{name}/"
suite      = "{release}"
components = ["main"]
key        = "keys/main.asc"

[[repository]]
name       = "updates"
url        = "http://example.org/mini"
suite      = "{release}-updates"
components = ["main"]
releases   = ["stable"]
key        = ["keys/main.asc"]

[[repository]]
name       = "ports"
url        = "http://ports.example.org/{arch}"
suite      = "{release}"
components = ["main"]
archs      = ["aarch64"]
trusted    = true

[packages]
include = ["base"]

[on.one]
packages.include = ["only-one"]

[variant.core]
packages.include = ["core-{arch}"]
system.docs = true
"#;

fn no_download(url: &str) -> anyhow::Result<Vec<u8>> {
    anyhow::bail!("{url} was asked for")
}

/// A folder with `mini.toml`, its key, and the given files.
pub(super) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let all = [("mini.toml", STAND_ALONE), ("keys/main.asc", "a key"), ("keys/corp.gpg", "another")];
    for (name, text) in all.iter().chain(files) {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("a folder");
        std::fs::write(path, text).expect("it is written");
    }
    folder
}

pub(super) fn load_in(folder: &Path, spec: &str, overrides: &Overrides) -> anyhow::Result<Plan> {
    load(&format!("{}/{spec}", folder.display()), overrides, &no_download)
}

pub(super) fn with(change: impl FnOnce(&mut Overrides)) -> Overrides {
    let mut overrides = Overrides { variant: Some("core".into()), ..Overrides::default() };
    change(&mut overrides);
    overrides
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.repositories.iter().map(|r| r.name.as_str()).collect()
}

#[test]
fn choices_are_made() {
    let folder = folder(&[]);
    let plan = load_in(folder.path(), "mini.toml:2", &with(|_| ())).expect("it loads");
    assert_eq!((plan.name.as_str(), plan.release.as_str(), plan.arch.deb), ("mini", "two", "amd64"));
    assert_eq!(plan.variant, "core");
    assert_eq!(plan.packages.include, ["base", "core-amd64"]);
    assert!(plan.system.docs);
    assert_eq!(names(&plan), ["main", "updates"]);
    let main = &plan.repositories[0];
    assert_eq!((main.url.as_str(), main.suite.as_str()), ("http://example.org/mini", "two"));
    assert_eq!((main.build_urls[0].as_str(), main.image_url.as_str()), (main.url.as_str(), main.url.as_str()));
    assert_eq!(main.keys, [crate::plan::Key { name: "main.asc".into(), data: b"a key".to_vec() }]);
    assert!(main.check_valid_until && !main.trusted && !main.build_only);
    assert_eq!(plan.image.env["LANG"], "C.UTF-8");

    let other = load_in(folder.path(), "mini.toml:one", &with(|o| o.arch = Some("aarch64".into()))).expect("it loads");
    assert_eq!(names(&other), ["main", "ports"], "updates are for two only, ports for arm64");
    assert_eq!(other.packages.include, ["base", "only-one", "core-arm64"]);
    assert_ne!(plan.digest, other.digest);
    assert_eq!(other.digest.len(), 64);
}

#[test]
fn the_sample_of_the_design_works() {
    let sample = r#"
extends = "debian"
name    = "corp-base"
release = "bookworm"
arch    = "amd64"
variant = "minbase"

[[repository]]
name       = "corp"
url        = "https://packages.corp.example/debian"
suite      = "{release}-corp"
components = ["main"]
key        = "keys/corp.gpg"

[mirror]
build = { main = "http://u:secret@10.0.0.5/debian" }
image = { main = "https://mirror.corp.example/debian" }

[packages]
include = ["ca-certificates"]
exclude = ["e2fsprogs"]
files   = ["agents/agent_1.4_amd64.deb"]

[system]
timezone = "Asia/Shanghai"
locale   = "zh_CN.UTF-8"
docs     = false

[[user]]
name = "app"
uid  = 1000

[[file]]
source = "corp-ca.crt"
path   = "/usr/local/share/ca-certificates/corp.crt"

[[script]]
run = "update-ca-certificates"

[clean]
skip = ["apt/lists"]

[image]
cmd    = ["sh", "-l"]
env    = { FOO = "bar" }
labels = { "org.opencontainers.image.vendor" = "Corp" }
"#;
    let folder = folder(&[("corp.toml", sample), ("agents/agent_1.4_amd64.deb", "deb"), ("corp-ca.crt", "ca")]);
    let plan = load_in(folder.path(), "corp.toml", &Overrides::default()).expect("it loads");
    assert_eq!(
        (plan.name.as_str(), plan.release.as_str(), plan.variant.as_str()),
        ("corp-base", "bookworm", "minbase")
    );
    assert_eq!(names(&plan), ["main", "updates", "security", "corp"]);
    let urls: Vec<_> = plan.repositories.iter().map(|r| (r.build_urls[0].as_str(), r.image_url.as_str())).collect();
    let mirrors = ("http://u:secret@10.0.0.5/debian", "https://mirror.corp.example/debian");
    let security = plan.repositories[2].url.as_str();
    assert_eq!(urls[0], mirrors);
    assert_eq!(urls[1], mirrors, "updates are in the same archive as main");
    assert_eq!(urls[2], (security, security));
    assert!(plan.repositories.iter().all(|r| !r.url.contains("secret") && !r.image_url.contains("secret")));
    assert_eq!(plan.repositories[3].suite, "bookworm-corp");
    assert_eq!(plan.repositories[3].keys[0].data, b"another");
    assert_eq!(plan.packages.include, ["ca-certificates", "apt"], "the variant comes last");
    assert_eq!(plan.packages.exclude, ["e2fsprogs"]);
    let (path, given) = &plan.packages.files[0];
    assert_eq!(given, "agents/agent_1.4_amd64.deb");
    assert!(path.is_absolute() && path.is_file());
    assert_eq!(plan.users[0].uid, Some(1000));
    assert_eq!((plan.files[0].data.as_slice(), plan.files[0].mode), (b"ca".as_slice(), 0o644));
    assert_eq!(plan.scripts[0].run, "update-ca-certificates");
    assert_eq!(plan.clean_skip, ["apt/lists"]);
    assert_eq!(plan.image.cmd, ["sh", "-l"], "a command replaces the parent's");
    assert_eq!(plan.image.env["LANG"], "zh_CN.UTF-8", "the locale of the image is its language");
    assert_eq!(plan.image.labels["org.opencontainers.image.title"], "corp-base");
    assert_eq!(plan.image.labels["org.opencontainers.image.vendor"], "Corp");
}

#[test]
fn every_built_in_recipe_of_the_deb_family_has_suites_and_keys() {
    for recipe in super::names() {
        let toml: toml::Table = text(recipe).expect("it is there").parse().expect("it is TOML");
        if toml["family"].as_str() != Some("deb") {
            continue;
        }
        let strings = |key: &str| -> Vec<String> {
            let list = toml[key].as_array().expect("a list").iter();
            list.map(|value| value.as_str().expect("a string").to_string()).collect()
        };
        let variants: Vec<String> = toml["variant"].as_table().expect("a table").keys().cloned().collect();
        for release in strings("releases") {
            for variant in &variants {
                let overrides =
                    Overrides { arch: Some("amd64".into()), variant: Some(variant.clone()), ..Overrides::default() };
                let plan = load(&format!("{recipe}:{release}"), &overrides, &no_download).expect("it loads");
                assert_eq!(&plan.variant, variant);
                for repository in &plan.repositories {
                    assert!(!repository.keys.is_empty() && !repository.trusted, "{recipe} {}", repository.name);
                }
                if plan.family == FamilyKind::Deb {
                    assert_eq!(plan.packages.include.iter().any(|p| p == "apt"), variant != "essential");
                    for repository in &plan.repositories {
                        assert!(!repository.image_key.is_empty());
                        assert!(repository.suite.starts_with(&release), "{}", repository.suite);
                    }
                }
                if plan.family == FamilyKind::Apk {
                    assert!(!plan.packages.include.is_empty());
                    let branch = format!("/{}{release}/", if release == "edge" { "" } else { "v" });
                    assert!(
                        plan.repositories.iter().all(|r| r.url.contains(&branch) && r.suite.is_empty()),
                        "{release}"
                    );
                }
            }
        }
    }
}

#[test]
fn debian_as_released() {
    let load = |spec: &str, arch: &str| {
        load(spec, &Overrides { arch: Some(arch.into()), ..Overrides::default() }, &no_download)
    };
    let suites = |spec: &str, arch: &str| -> Vec<String> {
        let plan = load(spec, arch).expect(spec);
        plan.repositories.iter().map(|r| format!("{}:{}", r.name, r.suite)).collect()
    };
    assert_eq!(suites("debian:13", "amd64"), ["main:trixie", "updates:trixie-updates", "security:trixie-security"]);
    assert_eq!(suites("debian:stable", "riscv64"), suites("debian", "amd64"));
    assert_eq!(suites("debian:unstable", "amd64"), ["main:sid"]);
    assert_eq!(suites("debian:bookworm", "s390x"), ["main:bookworm", "updates:bookworm-updates"]);
    assert_eq!(load("debian:12", "amd64").expect("12").release, "bookworm");
    let message = load("debian:bullseye", "riscv64").expect_err("it has none").to_string();
    assert!(message.contains("bullseye does not exist for riscv64 (there are amd64, arm64, armhf, i386)"), "{message}");
    let message = load("debian:trixi", "amd64").expect_err("it is unknown").to_string();
    assert!(message.contains("unknown release 'trixi'; did you mean 'trixie'?"), "{message}");
    let ubuntu = load("ubuntu:22.04", "arm64").expect("22.04");
    assert_eq!(ubuntu.release, "jammy");
    assert!(ubuntu.repositories.iter().all(|r| r.url.contains("ports")));
    assert_eq!(load("ubuntu", "amd64").expect("ubuntu").repositories.len(), 3);
}

#[test]
fn the_command_line_has_the_last_word() {
    let folder = folder(&[]);
    let plan = load_in(
        folder.path(),
        "mini.toml",
        &with(|o| {
            o.include = vec!["vim".into(), "base".into()];
            o.mirrors = vec![("main".into(), "http://mirror/{release}".into())];
            o.epoch = Some(7);
            o.sets = [
                "system.docs=false",
                "system.timezone=Asia/Tokyo",
                "repository.main.check_valid_until=false",
                "variant.core.packages.include=[\"other\"]",
                "name=renamed",
                "image.labels.a.b=c",
            ]
            .map(String::from)
            .to_vec();
        }),
    )
    .expect("it loads");
    assert_eq!(plan.packages.include, ["base", "other", "vim"]);
    assert!(!plan.system.docs, "--set beats the variant");
    assert_eq!(plan.system.timezone, "Asia/Tokyo");
    assert_eq!(plan.repositories[0].build_urls, ["http://mirror/two"]);
    assert_eq!(plan.repositories[0].url, "http://example.org/renamed");
    assert!(!plan.repositories[0].check_valid_until);
    assert_eq!(plan.name, "renamed");
    assert_eq!(plan.image.labels["a.b"], "c");
    assert_eq!(plan.epoch, Some(7));
}

#[test]
fn the_digest_is_of_content() {
    let digest = |files: &[(&str, &str)], overrides: &Overrides| {
        let folder = folder(files);
        load_in(folder.path(), "corp.toml", overrides).expect("it loads").digest
    };
    let recipe = "extends = \"mini.toml\"\nname = \"corp\"\n[[file]]\npath = \"/a\"\nsource = \"a\"\n";
    let base = digest(&[("corp.toml", recipe), ("a", "1")], &with(|_| ()));
    assert_eq!(base, digest(&[("corp.toml", recipe), ("a", "1")], &with(|_| ())), "another folder");
    let moved = recipe.replace("\"a\"", "\"sub/a\"");
    assert_eq!(base, digest(&[("corp.toml", &moved), ("sub/a", "1")], &with(|_| ())), "the file lies elsewhere");
    let mirror = with(|o| o.mirrors = vec![("main".into(), "http://u:p@mirror/".into())]);
    assert_eq!(base, digest(&[("corp.toml", recipe), ("a", "1")], &mirror), "another mirror of the build");
    let comment = format!("# a comment\n{recipe}");
    assert_eq!(base, digest(&[("corp.toml", &comment), ("a", "1")], &with(|_| ())), "a comment");

    assert_ne!(base, digest(&[("corp.toml", recipe), ("a", "2")], &with(|_| ())), "content of a file");
    assert_ne!(base, digest(&[("corp.toml", recipe), ("a", "1"), ("keys/main.asc", "b")], &with(|_| ())), "a key");
    let image = format!("{recipe}[mirror]\nimage.main = \"http://other/\"\n");
    assert_ne!(base, digest(&[("corp.toml", &image), ("a", "1")], &with(|_| ())), "a mirror of the image");
    let set = with(|o| o.sets = vec!["system.docs=false".into()]);
    assert_ne!(base, digest(&[("corp.toml", recipe), ("a", "1")], &set), "a setting");
}

#[test]
fn keys_can_be_downloaded() {
    const RING: &[u8] = include_bytes!("../../recipes/keys/debian-archive.asc");
    let recipe = |fingerprint: &str| {
        format!(
            "extends = \"mini.toml\"\n[[repository]]\nname = \"main\"\n\
             key = {{ url = \"https://example.org/{{release}}.asc\", fingerprint = \"{fingerprint}\" }}\n"
        )
    };
    let load = |fingerprint: &str| {
        let folder = folder(&[("corp.toml", &recipe(fingerprint))]);
        let spec = format!("{}/corp.toml", folder.path().display());
        load(&spec, &with(|_| ()), &|url| {
            assert_eq!(url, "https://example.org/two.asc");
            Ok(RING.to_vec())
        })
    };
    let plan = load("4158 7F7D B8C7 74BC CF13  1416 762F 67A0 B2C3 9DE4").expect("the key is pinned");
    assert_eq!(plan.repositories[0].keys.len(), 1);
    assert!(plan.repositories[0].keys[0].data.len() < RING.len());
    let error = load(&"0".repeat(40)).expect_err("another key came");
    assert_eq!(exit_code(&error), Exit::Failed);
    assert_eq!(exit_code(&load("B2C39DE4").expect_err("a short id pins nothing")), Exit::Usage);
}

#[test]
fn excluding_takes_back_what_a_parent_includes() {
    let folder = folder(&[("corp.toml", "extends = \"mini.toml\"\n[packages]\nexclude = [\"base\"]\n")]);
    let plan = load_in(folder.path(), "corp.toml", &with(|_| ())).expect("it loads");
    assert_eq!(plan.packages.include, ["core-amd64"]);
    let error = load_in(folder.path(), "corp.toml", &with(|o| o.include = vec!["base".into()])).expect_err("both");
    assert!(error.to_string().contains("--include: the recipe excludes base"), "{error}");
}

#[test]
fn a_repository_can_be_switched_off_and_must_not_be_the_last() {
    let off = "extends = \"mini.toml\"\n[[repository]]\nname = \"updates\"\nenabled = false\n";
    let folder = folder(&[("corp.toml", off)]);
    let plan = load_in(folder.path(), "corp.toml", &with(|_| ())).expect("it loads");
    assert_eq!(names(&plan), ["main"]);
    let set = with(|o| o.sets = vec!["repository.main.enabled=false".into()]);
    let error = load_in(folder.path(), "corp.toml", &set).expect_err("there is none");
    assert!(error.to_string().contains("corp has no repository for two on amd64"), "{error}");
}

#[test]
fn credentials_of_a_repository_are_for_the_build_only() {
    let own = "extends = \"mini.toml\"\n[[repository]]\nname = \"main\"\nurl = \"http://u:secret@own/x/\"\n";
    let folder = folder(&[("corp.toml", own)]);
    let plan = load_in(folder.path(), "corp.toml", &with(|_| ())).expect("it loads");
    let main = &plan.repositories[0];
    assert_eq!((main.url.as_str(), main.image_url.as_str()), ("http://own/x", "http://own/x"));
    assert_eq!(main.build_urls, ["http://u:secret@own/x"]);
}
