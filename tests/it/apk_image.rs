//! Alpine images as their users get them: the same bytes for everybody, every setting of the recipe in place, nothing
//! left over; and an apk inside that goes on as if it had made the system itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use crate::skip;
use crate::util::alpine::{self, Fixture, Lab};
use crate::util::apk::ARCH;
use crate::util::mkbase::{Place, test_user};
use crate::util::tree::{self, Tree};
use crate::util::{is_root, note_skip, sha256};

use super::docker::{self, Image};

/// What the image's apk is to read from, at last.
const MIRROR: &str = "https://mirror.example.org/alpine/main";

/// A zone of one time, eight hours before UTC: an empty table, then the rule as text (RFC 9636).
fn zone() -> Vec<u8> {
    let mut part = b"TZif2".to_vec();
    part.extend([0; 15]);
    for count in [0_u32, 0, 0, 0, 1, 4] {
        part.extend(count.to_be_bytes());
    }
    part.extend([0, 0, 0x70, 0x80, 0, 0]);
    part.extend(b"CST\0");
    [&part[..], &part, b"\nCST-8\n"].concat()
}

/// A package `tzdata` with a zone, which the genuine ones lack.
fn tzdata() -> alpine::Apk {
    let mut data = Vec::new();
    for folder in ["usr", "usr/share", "usr/share/zoneinfo", "usr/share/zoneinfo/Asia"] {
        data.push(alpine::dir(folder));
    }
    data.push(alpine::file("usr/share/zoneinfo/Asia/Shanghai", &zone()));
    data.push(alpine::file("usr/share/zoneinfo/UTC", &zone()));
    alpine::Apk::new(data)
}

/// Everything that a recipe can say of a system, but for packages.
fn settings() -> String {
    format!(
        "[mirror]\nimage = {{ main = \"{MIRROR}\" }}\n\n\
         [system]\ntimezone = \"Asia/Shanghai\"\nlocale = \"de_DE.UTF-8\"\n\n\
         [[user]]\nname = \"app\"\ngroups = [\"wheel\"]\n\n[[user]]\nname = \"svc\"\nsystem = true\n\n\
         [[file]]\ncontent = \"greeting\\n\"\npath = \"/srv/app/data\"\nowner = \"app\"\n\
         group = \"app\"\nmode = \"0640\"\n\n\
         [[script]]\nrun = \"id -u app >/srv/uid; date +%Z%z >/srv/zone; apk info >/srv/packages\"\n\n\
         [image]\ncmd = [\"/bin/sh\"]\n"
    )
}

/// A search path without an apk.
fn path() -> OsString {
    let path = std::env::var_os("PATH").expect("a search path");
    let without = std::env::split_paths(&path).filter(|folder| !folder.join("apk").exists());
    std::env::join_paths(without).expect("folders")
}

fn text(tar: &[u8], path: &str) -> String {
    String::from_utf8(tree::file_in_tar(tar, path).unwrap_or_else(|| panic!("no {path}"))).expect("text")
}

/// The line of an account in a file like passwd.
fn line<'t>(text: &'t str, name: &str) -> &'t str {
    let start = format!("{name}:");
    text.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no {name} in:\n{text}"))
}

#[test]
fn an_alpine_image_is_the_same_for_everybody_and_as_its_recipe_says() {
    const TEST: &str = "an_alpine_image_is_the_same_for_everybody_and_as_its_recipe_says";
    let Some(fixture) = Fixture::get(TEST) else { return };
    let lab = Lab::new(fixture, &[("tzdata", tzdata())]);
    let mut places = vec![Place::new()];
    match test_user() {
        Some(user) if is_root() => places.push(Place::new().of_user(user)),
        _ => note_skip(&format!("{TEST}: the second of root and a user")),
    }
    let include = ["alpine-base", "fixture-hello", "curl", "dhcpcd", "sudo"];
    let mut hashes = Vec::new();
    for place in &places {
        let recipe = lab.recipe(place, &include, &settings());
        place.build(&recipe, "image", &[]).env("PATH", path()).run().success();
        hashes.push(sha256(&std::fs::read(place.out("image").join("rootfs.tar")).expect("the image")));
        place.assert_nothing_left(&["image"]);
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "root and a user get other bytes");

    let place = &places[0];
    let out = place.out("image");
    let tar = tree::unpacked(&out.join("rootfs.tar"));
    let inside = tree::of_tar_bytes(&tar);
    accounts(&tar, &inside);
    system(&tar, &inside, &lab);
    leftovers(&inside);
    descriptions(&out);
    let ended = place.mkbase(["check"]).arguments([&out]).run().success();
    assert!(ended.stderr.contains("0 faults"), "{}", ended.stderr);
}

/// Users as Alpine's adduser makes them, and nobody who gets in without a password.
fn accounts(tar: &[u8], inside: &Tree) {
    let passwd = text(tar, "etc/passwd");
    assert_eq!(line(&passwd, "app"), "app:x:1000:1000::/home/app:/bin/sh");
    let svc: Vec<&str> = line(&passwd, "svc").split(':').collect();
    assert_eq!((svc[5], svc[6]), ("/nonexistent", "/sbin/nologin"));
    let group = text(tar, "etc/group");
    assert_eq!(line(&group, "app"), "app:x:1000:");
    assert!(line(&group, "wheel").ends_with(",app"), "{group}");
    let shadow = text(tar, "etc/shadow");
    assert_eq!(line(&shadow, "root"), "root:*::0:::::", "its empty password is locked");
    assert!(line(&shadow, "app").starts_with("app:!:") && line(&shadow, "app").ends_with(":0:99999:7:::"), "{shadow}");
    assert!(shadow.lines().all(|line| line.contains(":*:") || line.contains(":!:")), "{shadow}");
    for absent in ["etc/gshadow", "etc/subuid", "etc/subgid"] {
        assert!(!inside.contains_key(absent), "{absent}, which Alpine has not");
    }
    let home = &inside["home/app"];
    assert_eq!((home.kind, home.mode, home.uid, home.gid), ('d', 0o700, 1000, 1000));
    let data = &inside["srv/app/data"];
    assert_eq!((data.mode, data.uid, data.gid), (0o640, 1000, 1000));
}

/// What the recipe sets, apk's own configuration, and the links of busybox.
fn system(tar: &[u8], inside: &Tree, lab: &Lab) {
    assert_eq!(inside["etc/localtime"].content, "/usr/share/zoneinfo/Asia/Shanghai");
    assert_eq!(text(tar, "etc/timezone"), "Asia/Shanghai\n");
    assert_eq!(text(tar, "etc/profile.d/10lang.sh"), "export LANG=de_DE.UTF-8\n");
    let extra = format!("{}/extra", lab.server.url());
    assert_eq!(text(tar, "etc/apk/repositories"), format!("{MIRROR}\n{extra}\n"));
    assert_eq!(text(tar, "etc/apk/world"), "alpine-base\ncurl\ndhcpcd\nfixture-hello\nsudo\ntzdata\n");
    assert_eq!(text(tar, "etc/apk/arch"), format!("{ARCH}\n"));
    let (name, key) = lab.fixture.key();
    assert_eq!(tree::file_in_tar(tar, &format!("etc/apk/keys/{name}")).expect("the key"), key);
    assert_eq!((text(tar, "srv/uid"), text(tar, "srv/zone")), ("1000\n".into(), "UTC+0000\n".into()));
    assert!(text(tar, "srv/packages").contains("fixture-hello\n"), "apk runs in a script");
    for command in ["bin/sh", "bin/ls", "usr/bin/vi", "sbin/modprobe"] {
        assert_eq!(inside[command].content, "/bin/busybox", "{command}");
    }
    assert!(inside["usr/bin/sudo"].mode & 0o4000 != 0, "sudo has its set-id bit");
}

fn leftovers(inside: &Tree) {
    const EMPTY: [&str; 8] =
        ["var/cache/apk/", "var/log/", "tmp/", "var/tmp/", "root/", "lib/apk/exec/", "dev/", "proc/"];
    for path in inside.keys() {
        let left = EMPTY.iter().any(|folder| path.starts_with(folder))
            || [".apk-new", ".new", "/lock", "-"].iter().any(|end| path.starts_with("etc/") && path.ends_with(end))
            || path.contains("/.apk.")
            || ["lib/apk/db/lock", "etc/resolv.conf", "etc/machine-id"].contains(&path.as_str());
        assert!(!left, "{path} is left");
    }
    assert!(inside.contains_key("var/cache/apk"), "the folder of a package stays");
}

fn descriptions(out: &Path) {
    let text = |name: &str| std::fs::read_to_string(out.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let dockerfile = text("Dockerfile");
    assert!(dockerfile.ends_with("ENV LANG=\"de_DE.UTF-8\"\nCMD [\"/bin/sh\"]\n"), "{dockerfile}");
    assert!(!dockerfile.contains("()"), "{dockerfile}");
    let manifest: serde_json::Value = serde_json::from_str(&text("manifest.json")).expect("JSON");
    let packages: BTreeMap<&str, &serde_json::Value> = manifest["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| (package["name"].as_str().expect("a name"), package))
        .collect();
    let of =
        |name: &str, key: &str| packages[name][key].as_str().unwrap_or_else(|| panic!("{key} of {name}")).to_owned();
    assert_eq!((of("libcurl", "source"), of("libcurl", "licence")), ("curl".into(), "curl".into()));
    assert_eq!((of("libcrypto3", "source"), of("libcrypto3", "licence")), ("openssl".into(), "Apache-2.0".into()));
    assert_eq!(of("libcurl", "repository"), "main");
    assert_eq!(of("tzdata", "repository"), "extra");
    assert_eq!(of("libcurl", "sha256").len(), 64);
}

#[test]
fn apk_in_a_container_goes_on() {
    const TEST: &str = "apk_in_a_container_goes_on";
    let Some(fixture) = Fixture::get(TEST) else { return };
    if !docker::engine_answers() {
        skip!("{TEST}: no docker engine");
    }
    // A container without a network reads the repositories from a folder.
    let folder = std::path::absolute(fixture.folder()).expect("a path");
    let volume = format!("{}:/repositories:ro", folder.display());
    let lab = Lab::new(fixture, &[("tzdata", tzdata())]);
    let place = Place::new();
    let recipe = lab.recipe(&place, &["alpine-base", "fixture-hello", "curl"], &settings());
    place.build(&recipe, "image", &["--compress", "xz"]).run().success();
    let out = place.out("image");

    let imported = Image::named("alpine");
    docker::run(&["import", out.join("rootfs.tar.xz").to_str().expect("text"), &imported.0]);
    let shell = |script: &str| {
        let script = format!("printf '/repositories/main\\n/repositories/updates\\n' >/etc/apk/repositories\n{script}");
        docker::run(&["run", "--rm", "--network", "none", "--volume", &volume, &imported.0, "sh", "-euc", &script])
    };
    let packages = shell("apk info -v");
    assert!(packages.contains("fixture-hello-1.0-r0\n") && packages.contains("tzdata-1.0-r0\n"), "{packages}");
    assert_eq!(shell("apk audit --system 2>&1"), "", "nothing differs from its package");
    let fixed = shell("apk fix --simulate 2>&1");
    assert!(fixed.starts_with("OK: ") && fixed.lines().count() == 1, "{fixed}");
    let verified = shell(&format!("apk verify /repositories/main/{ARCH}/curl-[0-9]*.apk 2>&1"));
    assert!(verified.trim().ends_with(".apk: OK") && verified.lines().count() == 1, "{verified}");
    let upgraded =
        shell("apk update >/dev/null\napk upgrade 2>&1\ncut -d' ' -f1 /var/log/fixture-hello.log\napk info -v");
    assert!(upgraded.contains("(1/1) Upgrading fixture-hello (1.0-r0 -> 1.1-r0)"), "{upgraded}");
    assert!(upgraded.contains("\npre-upgrade\npost-upgrade\ntrigger\n"), "its scripts ran: {upgraded}");
    assert!(upgraded.contains("fixture-hello-1.1-r0\n") && !upgraded.contains("WARNING"), "{upgraded}");
    // From the signed index to a new package, and away again.
    let added = shell("apk add --no-cache sudo 2>&1\nsudo -V\napk del sudo 2>&1\ntest ! -e /usr/bin/sudo");
    assert!(added.contains("Sudo version"), "{added}");

    let said = imported.shell(
        "date +%Z%z; su app -c 'id -un; id -Gn; cd; pwd'; sh -lc 'echo $LANG'; adduser -D second; \
         tail -n 1 /etc/passwd; readlink /bin/ls",
    );
    let expected = [
        "CST+0800",
        "app",
        "app wheel",
        "/home/app",
        "de_DE.UTF-8",
        "second:x:1001:1001::/home/second:/bin/sh",
        "/bin/busybox",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);

    let built = Image::named("alpine-built");
    docker::run(&["build", "--tag", &built.0, out.to_str().expect("text")]);
    let config = docker::run(&["inspect", "--format", "{{json .Config.Cmd}} {{json .Config.Env}}", &built.0]);
    assert!(config.contains("[\"/bin/sh\"]") && config.contains("\"LANG=de_DE.UTF-8\""), "{config}");
    assert_eq!(built.shell("cat /srv/app/data"), "greeting\n");
    place.assert_nothing_left(&["image"]);
}

#[test]
fn a_time_zone_without_tzdata_is_an_error() {
    let Some(fixture) = Fixture::get("a_time_zone_without_tzdata_is_an_error") else { return };
    let lab = Lab::new(fixture, &[]);
    let place = Place::new();
    let recipe = lab.recipe(&place, &["alpine-base"], "[system]\ntimezone = \"Asia/Shanghai\"");
    place.build(&recipe, "image", &[]).run().fails(2, &["system.timezone: 'Asia/Shanghai' needs the package tzdata"]);
    let lab = Lab::new(lab.fixture, &[("tzdata", tzdata())]);
    let recipe = lab.recipe(&place, &["alpine-base"], "[system]\ntimezone = \"Asia/Shangai\"");
    place.build(&recipe, "image", &[]).run().fails(2, &["system.timezone", "did you mean 'Asia/Shanghai'?"]);
    place.assert_nothing_left(&[]);
}
