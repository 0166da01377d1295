//! A real docker engine imports, builds and runs what comes out.

use std::process::{Command, Stdio};

use crate::skip;
use crate::util::mkbase::Place;

/// A docker client for the engine that `scripts/test` started, or the host's own.
pub fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    // The classic builder: the other one is a plugin that small engines lack.
    command.args(arguments).env("DOCKER_BUILDKIT", "0").stdin(Stdio::null());
    command
}

pub fn engine_answers() -> bool {
    docker(&["version", "--format", "{{.Server.Version}}"]).output().is_ok_and(|o| o.status.success())
}

/// Runs a client command and gives its standard output.
#[track_caller]
pub fn run(arguments: &[&str]) -> String {
    let output = docker(arguments).output().expect("docker starts");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "docker {arguments:?}:\n{text}{error}");
    text
}

/// An image of the engine; removed when dropped.
pub struct Image(pub String);

impl Image {
    pub fn named(name: &str) -> Image {
        Image(format!("mkbase-test-{name}-{}:latest", std::process::id()))
    }

    /// Runs a shell command in a container without a network.
    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        run(&["run", "--rm", "--network", "none", &self.0, "sh", "-euc", script])
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = docker(&["rmi", "--force", &self.0]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

#[test]
fn image_is_imported_built_and_run() {
    if !engine_answers() {
        skip!("image_is_imported_built_and_run: no docker engine");
    }
    let place = Place::new();
    let made = place.build("debian:trixie", "image", &["--compress", "xz"]).run().success();
    let out = place.out("image");
    let rootfs = out.join("rootfs.tar.xz");
    assert!(
        format!("{}{}", made.stdout(), made.stderr).contains("docker import"),
        "the closing lines show how to go on:\n{}",
        made.stderr
    );

    let imported = Image::named("imported");
    run(&["import", rootfs.to_str().expect("text"), &imported.0]);
    let built = Image::named("built");
    let log = run(&["build", "--tag", &built.0, out.to_str().expect("text")]);
    assert!(log.contains("FROM scratch"), "{log}");

    for image in [&imported, &built] {
        assert_eq!(image.shell("date +%Z").trim(), "UTC");
        assert!(image.shell("cat /etc/debian_version").starts_with("13"), "trixie is 13");
        assert_eq!(image.shell("dpkg --audit"), "");
        // Documentation and translations are left out on purpose; nothing else may be missing or changed.
        let verified =
            image.shell("dpkg --verify | grep -Ev '^missing +/usr/share/(doc|info|lintian|locale|man)/' || :");
        assert_eq!(verified, "");
        assert!(image.shell("LANG=C.UTF-8 locale").contains("LC_CTYPE=\"C.UTF-8\""), "the locale is set");
        let warnings = image.shell("LANG=C.UTF-8 LC_ALL=C.UTF-8 locale 2>&1 >/dev/null");
        assert_eq!(warnings, "", "the locale works");
        assert_eq!(image.shell("test ! -s /etc/machine-id && echo none").trim(), "none", "no machine id");
        assert_eq!(image.shell("find / -xdev -nouser -o -xdev -nogroup"), "");
    }
    let command =
        run(&["inspect", "--format", "{{json .Config.Cmd}} {{json .Config.Env}} {{json .Config.Labels}}", &built.0]);
    assert!(command.contains("bash") && command.contains("org.opencontainers.image."), "{command}");
    place.assert_nothing_left(&["image"]);
}

#[test]
fn packages_can_be_installed_in_the_image() {
    if !engine_answers() {
        skip!("packages_can_be_installed_in_the_image: no docker engine");
    }
    let place = Place::new();
    place.build("debian:trixie", "image", &[]).run().success();
    let image = Image::named("apt");
    run(&["import", place.out("image").join("rootfs.tar").to_str().expect("text"), &image.0]);
    // The host's network: an engine without a bridge has no other.
    let script = "apt-get update && apt-get install -y --no-install-recommends hello && hello";
    let said = run(&["run", "--rm", "--network", "host", &image.0, "sh", "-euc", script]);
    assert!(said.contains("Hello, world!"), "{said}");
}

#[test]
fn stream_goes_straight_into_the_engine() {
    if !engine_answers() {
        skip!("stream_goes_straight_into_the_engine: no docker engine");
    }
    let place = Place::new();
    let image = Image::named("stream");
    let pipe = format!("set -o pipefail; \"$@\" | docker import - {}", image.0);
    let build = place.mkbase(["build", "debian:bookworm", "-o", "-"]).through(["bash", "-c", &pipe, "bash"]);
    let ended = build.run().success();
    assert!(ended.stdout().starts_with("sha256:"), "docker's word is all that is left on stdout: {}", ended.stdout());
    assert!(image.shell("cat /etc/debian_version").starts_with("12"), "bookworm is 12");
    place.assert_nothing_left(&[]);
}
