//! The real archive: every release of the built-in Debian recipe becomes an output folder that holds together.

use std::collections::BTreeMap;
use std::path::Path;

use mkbase::lock::Lock;

use crate::util::deb::Package;
use crate::util::mkbase::{Ended, Place};
use crate::util::{sha256, tree};

/// Builds a release. Where the mirror's index of it has run out, it must say so, and then be told to take it.
fn build(place: &Place, release: &str, more: &[&str]) -> Ended {
    let ended = place.build(format!("debian:{release}"), "image", more).run();
    if ended.code == Some(1) && ended.stderr.contains("expired") {
        assert!(ended.stderr.contains("check_valid_until"), "it says what to do:\n{}", ended.stderr);
        place.assert_nothing_left(&[]);
        eprintln!("the mirror's {release} has expired");
        let more = [more, &["--set", "check_valid_until=false"]].concat();
        return place.build(format!("debian:{release}"), "image", &more).run().success();
    }
    ended.success()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Asserts that the output folder is whole and that its parts agree with each other.
fn assert_sound(place: &Place, codename: &str, rootfs: &str) {
    let out = place.out("image");
    let mut names: Vec<_> = std::fs::read_dir(&out)
        .expect("the output folder")
        .flatten()
        .map(|e| e.file_name().into_string().expect("text"))
        .collect();
    names.sort();
    assert_eq!(names, [".dockerignore", "Dockerfile", "SHA256SUMS", "manifest.json", "mkbase.lock", rootfs]);

    let sums = text(&out.join("SHA256SUMS"));
    for name in names.iter().filter(|n| *n != "SHA256SUMS") {
        let line = format!("{}  {name}", sha256(&std::fs::read(out.join(name)).expect("a result")));
        assert!(sums.lines().any(|l| l == line), "{line} in\n{sums}");
    }

    let dockerfile = text(&out.join("Dockerfile"));
    for line in ["FROM scratch".to_string(), format!("ADD {rootfs} /")] {
        assert!(dockerfile.lines().any(|l| l == line), "{line} in\n{dockerfile}");
    }
    assert!(dockerfile.lines().any(|l| l.starts_with("CMD [\"")), "CMD in exec form in\n{dockerfile}");
    assert!(dockerfile.contains("org.opencontainers.image.") && !dockerfile.contains("MAINTAINER"), "{dockerfile}");
    let ignored = text(&out.join(".dockerignore"));
    assert!(ignored.lines().any(|l| l == "*") && ignored.lines().any(|l| l == format!("!{rootfs}")), "{ignored}");

    let lock = Lock::parse(&text(&out.join("mkbase.lock")), "mkbase.lock").expect("a lock");
    let manifest: serde_json::Value = serde_json::from_str(&text(&out.join("manifest.json"))).expect("JSON");
    let tar = tree::unpacked(&out.join(rootfs));
    let image = tree::of_tar_bytes(&tar);
    let file = |path: &str| {
        let bytes = tree::file_in_tar(&tar, path).unwrap_or_else(|| panic!("{path} in the image"));
        String::from_utf8(bytes).expect("text")
    };

    // The lock, the manifest and dpkg's own database tell of the same packages.
    let locked: BTreeMap<&str, &str> = lock.installed().map(|p| (p.name.as_str(), p.version.as_str())).collect();
    let status = file("var/lib/dpkg/status");
    let mut installed = BTreeMap::new();
    for stanza in status.split("\n\n").filter(|s| !s.trim().is_empty()) {
        let field = |name: &str| {
            stanza
                .lines()
                .find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
                .unwrap_or_else(|| panic!("{name}:\n{stanza}"))
        };
        assert_eq!(field("Status"), "install ok installed", "{stanza}");
        installed.insert(field("Package"), field("Version"));
    }
    assert_eq!(locked, installed, "lock and dpkg");
    let listed: BTreeMap<&str, &str> = manifest["packages"]
        .as_array()
        .expect("the manifest lists packages")
        .iter()
        .map(|p| (p["name"].as_str().expect("a name"), p["version"].as_str().expect("a version")))
        .collect();
    assert_eq!(listed, installed, "manifest and dpkg");
    let digest = format!("{}", manifest["image"]);
    assert!(digest.contains(&sha256(&tar)), "the manifest has the digest of the tar: {digest}");

    // The image.
    let release = file("usr/lib/os-release");
    assert!(
        codename == "sid" || codename == "forky" || release.contains(&format!("VERSION_CODENAME={codename}")),
        "{release}"
    );
    // Only systemd has one; where it is, it is empty.
    assert_eq!(image.get("etc/machine-id").map_or(0, |node| node.size), 0, "machine-id is empty");
    let sources = file("etc/apt/sources.list.d/debian.sources");
    assert!(sources.contains("Signed-By: ") && sources.contains(codename), "{sources}");
    let leftovers: Vec<_> = image
        .keys()
        .filter(|path| {
            let inside = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| !rest.is_empty());
            path.contains("ssh_host_")
                || inside("dev/")
                || inside("proc/")
                || inside("sys/")
                || inside("tmp/")
                || inside("var/tmp/")
                || inside("var/log/") && image[*path].kind == 'f' && image[*path].size > 0
                || path.ends_with(".dpkg-new")
                || path.ends_with(".dpkg-tmp")
                || path.ends_with("-old")
                || path.ends_with(".deb")
                || path.contains("policy-rc.d")
                || ["etc/resolv.conf", "etc/hostname", "etc/passwd-", "etc/shadow-", "etc/.pwd.lock"]
                    .contains(&path.as_str())
                || path.starts_with("var/lib/apt/lists/") && image[*path].kind == 'f'
                || path.starts_with("var/cache/apt/") && image[*path].kind == 'f'
        })
        .collect();
    assert!(leftovers.is_empty(), "left in the image: {leftovers:?}");
    let newer: Vec<_> = image.iter().filter(|(_, node)| node.mtime > lock.epoch).map(|(path, _)| path).collect();
    assert!(newer.is_empty(), "newer than the epoch: {newer:?}");
    // Without the package passwd there is no shadow, and what is there is in passwd itself.
    let accounts = if image.contains_key("etc/shadow") { "etc/shadow" } else { "etc/passwd" };
    for account in file(accounts).lines() {
        let password = account.split(':').nth(1).expect("a password field");
        assert!(password.starts_with(['*', '!']), "no usable password: {account}");
    }
    assert_eq!(image["tmp"].mode, 0o1777);
    assert!(image.get("etc/shadow").is_none_or(|node| node.mode == 0o640));

    place.mkbase(["check".as_ref(), out.as_os_str()]).run().success();
    place.assert_nothing_left(&["image"]);
}

#[test]
fn stable_by_default_with_xz() {
    let place = Place::new();
    build(&place, "stable", &["--compress", "xz"]);
    assert_sound(&place, "trixie", "rootfs.tar.xz");
}

#[test]
fn bookworm_by_its_number() {
    let place = Place::new();
    build(&place, "12", &["--compress", "zstd"]);
    assert_sound(&place, "bookworm", "rootfs.tar.zst");
}

#[test]
fn bullseye() {
    let place = Place::new();
    build(&place, "bullseye", &["--compress", "gzip:1"]);
    assert_sound(&place, "bullseye", "rootfs.tar.gz");
}

#[test]
fn forky() {
    let place = Place::new();
    build(&place, "forky", &[]);
    assert_sound(&place, "forky", "rootfs.tar");
}

#[test]
fn sid() {
    let place = Place::new();
    build(&place, "sid", &[]);
    assert_sound(&place, "sid", "rootfs.tar");
}

#[test]
fn essential_is_smaller_and_has_no_apt() {
    let place = Place::new();
    build(&place, "stable", &["--variant", "essential"]);
    let lock = Lock::parse(&text(&place.out("image").join("mkbase.lock")), "mkbase.lock").expect("a lock");
    assert!(lock.packages.iter().all(|p| p.name != "apt"));
    assert!(lock.packages.iter().any(|p| p.name == "dpkg"));
}

#[test]
fn buildd_variant_can_compile() {
    let place = Place::new();
    build(&place, "stable", &["--variant", "buildd"]);
    let image = tree::of_tar(&place.out("image").join("rootfs.tar"));
    for path in ["usr/bin/gcc", "usr/bin/make", "usr/bin/dpkg-buildpackage"] {
        assert!(image.contains_key(path), "{path}");
    }
}

#[test]
fn ubuntu_recipe_is_sound() {
    // Its archive may be out of reach; the recipe itself must not be what is wrong.
    let place = Place::new();
    let nobody = crate::util::server::refused_url();
    let printed = place.mkbase(["recipes", "ubuntu"]).run().success();
    let recipe: toml::Table = printed.stdout().parse().expect("a recipe is TOML");
    for release in recipe["releases"].as_array().expect("releases") {
        let release = release.as_str().expect("a release is a name");
        let mirrors: Vec<String> = recipe["repository"]
            .as_array()
            .expect("repositories")
            .iter()
            .map(|r| format!("--mirror={}={nobody}", r["name"].as_str().expect("a name")))
            .collect();
        let more: Vec<&str> = mirrors.iter().map(String::as_str).collect();
        let ended = place.build(format!("ubuntu:{release}"), "image", &more).run();
        ended.fails(1, &[&nobody]);
    }
    place.assert_nothing_left(&[]);
}

#[test]
fn recipe_with_everything() {
    let place = Place::new();
    place.write("corp-ca.crt", "not really a certificate\n");
    let agent = Package::new("agent").version("1.4").depends("hello").file("./usr/share/agent", b"x");
    place.write("agent.deb", agent.file("./etc/agent.conf", b"on = yes\n").conffile("/etc/agent.conf").bytes());
    let recipe = place.write(
        "corp.toml",
        r#"
extends = "debian"
name = "corp-base"

[mirror]
image = { main = "https://mirror.corp.example/debian" }

[packages]
include = ["ca-certificates"]
files = ["agent.deb"]

[system]
timezone = "Asia/Shanghai"
locale = "zh_CN.UTF-8"

[[user]]
name = "app"
uid = 1000

[[file]]
source = "corp-ca.crt"
path = "/usr/local/share/corp.txt"

[[script]]
run = "echo done >/usr/local/share/script; date +%Z >>/usr/local/share/script"

[image]
cmd = ["bash"]
env = { LANG = "zh_CN.UTF-8" }
labels = { "org.opencontainers.image.vendor" = "Corp" }
"#,
    );
    place.build(&recipe, "image", &[]).run().success();
    place.mkbase(["check".as_ref(), place.out("image").as_os_str()]).run().success();
    let tar = tree::unpacked(&place.out("image").join("rootfs.tar"));
    let image = tree::of_tar_bytes(&tar);
    let file = |path: &str| {
        let bytes = tree::file_in_tar(&tar, path).unwrap_or_else(|| panic!("{path} in the image"));
        String::from_utf8(bytes).expect("text")
    };
    assert_eq!(file("etc/timezone").trim(), "Asia/Shanghai");
    assert!(image["etc/localtime"].content.ends_with("/Asia/Shanghai"), "{:?}", image["etc/localtime"]);
    assert_eq!(file("usr/local/share/corp.txt"), "not really a certificate\n");
    assert!(file("usr/local/share/script").starts_with("done\n"));
    let is_app = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        fields[0] == "app" && ["x", "*"].contains(&fields[1]) && fields[2..4] == ["1000", "1000"]
    };
    assert!(file("etc/passwd").lines().any(is_app), "{}", file("etc/passwd"));
    assert!(file("etc/apt/sources.list.d/debian.sources").contains("https://mirror.corp.example/debian"));
    let status = file("var/lib/dpkg/status");
    for name in ["agent", "hello", "ca-certificates"] {
        assert!(status.contains(&format!("Package: {name}\n")), "{name} is installed");
    }
    let dockerfile = text(&place.out("image").join("Dockerfile"));
    for part in ["org.opencontainers.image.vendor", "Corp", "zh_CN.UTF-8", "CMD [\"bash\"]"] {
        assert!(dockerfile.contains(part), "{part} in\n{dockerfile}");
    }
    let locales: Vec<_> = image
        .keys()
        .filter_map(|p| p.strip_prefix("usr/lib/locale/"))
        .filter(|p| !p.contains('/') && !p.starts_with("C."))
        .collect();
    assert!(!locales.is_empty(), "the locale is generated");
    assert!(locales.iter().all(|l| l.starts_with("zh_CN") || *l == "locale-archive"), "{locales:?}");
    place.assert_nothing_left(&["image"]);
}

/// `mkbase check` sees what a build would never leave.
#[test]
fn check_finds_what_is_wrong() {
    let place = Place::new();
    let lab = crate::util::lab::Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    place.build(&recipe, "image", &[]).run().success();
    let tar = place.out("image").join("rootfs.tar");
    place.mkbase(["check".as_ref(), tar.as_os_str()]).run().success();

    let sound = std::fs::read(&tar).expect("the image");
    let mut builder = tar::Builder::new(Vec::new());
    let mut archive = tar::Archive::new(&sound[..]);
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("a sound tar");
        if entry.path_bytes().ends_with(b"etc/machine-id") {
            continue;
        }
        let (path, link) = (entry.path().expect("a path").into_owned(), entry.link_name().expect("a link"));
        let mut header = entry.header().clone();
        let link = link.map(std::borrow::Cow::into_owned);
        match link {
            Some(link) => builder.append_link(&mut header, path, link).expect("a tar in memory"),
            None => builder.append_data(&mut header, path, &mut entry).expect("a tar in memory"),
        }
    }
    for (path, content) in
        [("etc/ssh/ssh_host_rsa_key", "key"), ("etc/machine-id", "0123456789abcdef0123456789abcdef\n")]
    {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content.as_bytes()).expect("a tar in memory");
    }
    let faulty = place.write("faulty.tar", builder.into_inner().expect("a tar in memory"));
    let ended = place.mkbase(["check".as_ref(), faulty.as_os_str()]).run();
    for fault in ["ssh_host_rsa_key", "machine-id"] {
        let said = format!("{}{}", ended.stdout(), ended.stderr);
        assert!(said.contains(fault), "{fault} in\n{said}");
    }
    ended.fails(11, &[]);
    place.mkbase(["check".as_ref(), place.path().join("nothing").as_os_str()]).run().fails(2, &["nothing"]);
    place.assert_nothing_left(&["image"]);
}
