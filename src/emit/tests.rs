use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::error::{Exit, exit_code};
use crate::hash::sha256;
use crate::lock::{self, LockedPackage, Role};
use crate::plan::testing;
use crate::recipe;
use crate::ui::Level;

fn plan() -> Plan {
    Plan {
        name: "debian".into(),
        arch: crate::arch::from_name("armhf").expect("a known architecture"),
        image: recipe::Image {
            cmd: vec!["bash".into()],
            env: BTreeMap::from([("LANG".into(), "C.UTF-8".into())]),
            ..recipe::Image::default()
        },
        ..testing::plan()
    }
}

fn locked(name: &str, repository: &str, role: Role) -> LockedPackage {
    LockedPackage { arch: "armhf".into(), repository: repository.into(), role, ..lock::testing::package(name, "1.0") }
}

fn lock() -> Lock {
    Lock {
        arch: "armhf".into(),
        packages: vec![locked("bash", "main", Role::Wanted), locked("agent", "", Role::Wanted)],
        ..lock::testing::lock()
    }
}

fn installed(name: &str, size: u64) -> Installed {
    Installed {
        name: name.into(),
        version: "1.0".into(),
        arch: "armhf".into(),
        source: name.into(),
        source_version: "1.0".into(),
        installed_size: size,
        licence_files: vec![format!("/usr/share/doc/{name}/copyright")],
        licence: if name == "bash" { "GPL-3.0-or-later".into() } else { String::new() },
    }
}

struct Case {
    plan: Plan,
    lock: Lock,
    installed: Vec<Installed>,
    packed: Packed,
    codec: Codec,
    options: Vec<String>,
}

impl Case {
    fn new() -> Case {
        let content = b"a tarball";
        let sha256 = sha256(content);
        Case {
            plan: plan(),
            lock: lock(),
            installed: vec![installed("script-made", 1), installed("bash", 7_000_000), installed("agent", 12_000_000)],
            packed: Packed {
                diff_id: "44".repeat(32),
                sha256,
                unpacked: 20_000_000,
                packed: 9,
                reuse: crate::pack::Reuse::default(),
            },
            codec: Codec::Xz,
            options: Vec::new(),
        }
    }

    fn image(&self) -> Image<'_> {
        Image {
            plan: &self.plan,
            lock: &self.lock,
            installed: &self.installed,
            packed: &self.packed,
            codec: self.codec,
            recipe: "debian",
            options: &self.options,
        }
    }

    fn dockerfile(&self) -> String {
        dockerfile::validate(&self.plan.image).expect("valid");
        dockerfile::render(&self.image()).expect("rendered")
    }

    fn emit(&self, path: &Path) -> Result<Summary> {
        let output = prepare(path, &self.plan)?;
        output.create(self.codec.file_name())?.write_all(b"a tarball")?;
        emit(output, &self.image(), &Ui::new(Level::Quiet))
    }
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

const FILES: [&str; 6] = [".dockerignore", "Dockerfile", "SHA256SUMS", "manifest.json", "mkbase.lock", "rootfs.tar.xz"];

#[test]
fn folder_is_whole_and_its_hashes_are_right() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("new/parent/out");
    let case = Case::new();
    let summary = case.emit(&path).expect("emitted");
    assert_eq!(names(&path), FILES);
    assert_eq!(names(path.parent().expect("a parent")), ["out"], "nothing stays beside it");
    assert_eq!(fs::metadata(&path).expect("stat").permissions().mode() & 0o7777, 0o755);
    for name in FILES {
        let mode = fs::metadata(path.join(name)).expect("stat").permissions().mode();
        assert_eq!(mode & 0o7777, 0o644, "{name}");
    }
    let check = Command::new("sha256sum").args(["--strict", "-c", CHECKSUMS]).current_dir(&path).output();
    match check {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(_) => writeln!(std::io::stderr(), "skipped: sha256sum is not installed").expect("stderr"),
    }
    let sums = fs::read_to_string(path.join(CHECKSUMS)).expect("it is there");
    assert_eq!(sums.lines().count(), FILES.len() - 1);
    assert_eq!(
        Lock::parse(&fs::read_to_string(path.join(LOCK)).expect("a lock"), "test").expect("good").name,
        "debian"
    );
    assert_eq!(summary.tarball, path.join("rootfs.tar.xz"));
    // Elsewhere it is the same, byte by byte.
    let again = dir.path().join("again");
    case.emit(&again).expect("emitted");
    for name in FILES {
        assert_eq!(fs::read(path.join(name)).expect("a file"), fs::read(again.join(name)).expect("a file"), "{name}");
    }
}

#[test]
fn manifest_tells_where_packages_are_from() {
    let case = Case::new();
    let text = manifest::render(&case.image()).expect("rendered");
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let packages = value["packages"].as_array().expect("a list");
    let names: Vec<_> = packages.iter().map(|p| p["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["agent", "bash", "script-made"]);
    assert_eq!(packages[1]["repository"], "main");
    assert_eq!(packages[1]["sha256"], "22".repeat(32));
    assert_eq!(packages[1]["licence_files"][0], "/usr/share/doc/bash/copyright");
    assert_eq!((&packages[1]["licence"], packages[0].get("licence")), (&"GPL-3.0-or-later".into(), None));
    assert!(packages[0]["repository"].is_null(), "an in-house file has no repository");
    assert_eq!(packages[0]["path"], "pool/agent.deb");
    assert!(packages[2]["path"].is_null(), "no lock brought it");
    assert_eq!(value["image"]["diff_id"], format!("sha256:{}", "44".repeat(32)));
    assert_eq!(value["image"]["epoch"], 1_700_000_000);
    // Keys are sorted everywhere: a map that sorts gives the same text.
    let sorted: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    assert_eq!(serde_json::to_string_pretty(&sorted).expect("JSON") + "\n", text);
}

#[test]
fn dockerfile_of_a_plain_image() {
    let text = Case::new().dockerfile();
    assert!(text.starts_with("# debian trixie for armhf, made by mkbase "), "{text}");
    let again = "# Again     mkbase build debian:trixie --arch armhf --variant minbase --lock mkbase.lock";
    assert!(text.lines().any(|line| line == again), "{text}");
    let instructions: Vec<&str> = text.lines().skip_while(|line| line.starts_with('#')).collect();
    assert_eq!(
        instructions,
        [
            "FROM scratch",
            "ADD rootfs.tar.xz /",
            r#"LABEL org.opencontainers.image.created="2023-11-14T22:13:20Z" \"#,
            r#"      org.opencontainers.image.description="debian trixie (minbase), a base image made by mkbase" \"#,
            r#"      org.opencontainers.image.title="debian" \"#,
            r#"      org.opencontainers.image.version="trixie""#,
            r#"ENV LANG="C.UTF-8""#,
            r#"CMD ["bash"]"#,
        ]
    );
}

#[test]
fn dockerfile_of_everything_that_can_be_set() {
    let mut case = Case::new();
    case.codec = Codec::Zstd;
    case.options = ["--set", "system.locale=it's\nFROM x"].map(String::from).into();
    case.plan.image = recipe::Image {
        cmd: vec!["-c".into(), "echo \"$X\"\n\\ü".into()],
        entrypoint: vec!["/bin/sh".into()],
        env: BTreeMap::from([("A".into(), "1 $B \"q\" \\".into()), ("PATH".into(), "/usr/bin:/bin".into())]),
        labels: BTreeMap::from([
            ("org.opencontainers.image.vendor".into(), "Corp & Söhne".into()),
            ("org.opencontainers.image.title".into(), "Other".into()),
        ]),
        user: "app:app".into(),
        workdir: "/srv/my app".into(),
    };
    let text = case.dockerfile();
    for line in [
        " --variant minbase --set 'system.locale=it'\\''s FROM x' --lock mkbase.lock",
        "# hadolint ignore=DL3020\nADD rootfs.tar.zst /",
        r#"ENV A="1 \$B \"q\" "\\"""#,
        r#"ENV PATH="/usr/bin:/bin""#,
        r#"WORKDIR "/srv/my app""#,
        "USER app:app",
        r#"ENTRYPOINT ["/bin/sh"]"#,
        r#"CMD ["-c", "echo \"$X\"\n\u005cü"]"#,
        r#"org.opencontainers.image.vendor="Corp & Söhne""#,
        r#"org.opencontainers.image.title="Other""#,
    ] {
        assert!(text.contains(&format!("{line}\n")) || text.contains(&format!("{line} \\\n")), "{line}\n{text}");
    }
    case.plan.image.user = "root".into();
    assert!(!case.dockerfile().contains("USER"), "root is the default");
    case.plan.name = "evil\nRUN rm".into();
    assert!(!case.dockerfile().lines().any(|line| line.starts_with("RUN")), "a name cannot end a comment");
}

#[test]
fn settings_that_no_dockerfile_can_say_are_usage_errors() {
    let set = |change: &dyn Fn(&mut recipe::Image)| {
        let mut image = recipe::Image::default();
        change(&mut image);
        dockerfile::validate(&image)
    };
    type Change<'a> = &'a dyn Fn(&mut recipe::Image);
    let bad: [(&str, Change<'_>); 11] = [
        ("image.env", &|image| drop(image.env.insert("A B".into(), "1".into()))),
        ("image.env", &|image| drop(image.env.insert(String::new(), "1".into()))),
        ("image.env", &|image| drop(image.env.insert("A=B".into(), "1".into()))),
        ("image.env.A", &|image| drop(image.env.insert("A".into(), "1\n2".into()))),
        ("image.labels.a", &|image| drop(image.labels.insert("a".into(), "\r".into()))),
        ("image.labels", &|image| drop(image.labels.insert("a\"b".into(), "x".into()))),
        ("image.workdir", &|image| image.workdir = "srv".into()),
        ("image.workdir", &|image| image.workdir = "/a\nRUN x".into()),
        ("image.user", &|image| image.user = "app user".into()),
        ("image.user", &|image| image.user = "$USER".into()),
        ("image.cmd", &|image| image.cmd = vec![String::new()]),
    ];
    for (key, change) in bad {
        let error = set(change).expect_err(key);
        assert_eq!(exit_code(&error), Exit::Usage);
        assert!(error.to_string().starts_with(&format!("{key}: ")), "{error}");
    }
    set(&|_| {}).expect("the default is good");
}

#[test]
fn hadolint_finds_nothing() {
    if Command::new("hadolint").arg("--version").output().is_err() {
        writeln!(std::io::stderr(), "skipped: hadolint_finds_nothing: hadolint is not installed").expect("stderr");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    for codec in Codec::ALL {
        let mut case = Case::new();
        case.codec = codec;
        case.plan.image.user = "root".into();
        case.plan.image.workdir = "/srv/a b".into();
        case.plan.image.entrypoint = vec!["/bin/sh".into(), "-c \"x\" \\ $Y".into()];
        case.plan.image.cmd = vec!["C:\\".into(), "\\\"x".into()];
        for value in ["a \"b\" $C \\", "\\", "\\\\\"$", "", "it's"] {
            case.plan.image.env.insert(format!("X{}", value.len()), value.into());
            case.plan.image.labels.insert(format!("x{}", value.len()), value.into());
        }
        let path = dir.path().join("Dockerfile");
        fs::write(&path, case.dockerfile()).expect("written");
        let output = Command::new("hadolint").args(["--no-color", "-t", "style"]).arg(&path).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn summary_and_import_line() {
    let mut case = Case::new();
    case.plan.name = "Corp Base!".into();
    case.plan.image.workdir = "/it's".into();
    let summary = Summary::new(&case.image(), Path::new("out/my dir")).expect("a summary");
    let import = "docker import --platform linux/arm/v7 --change 'ENV LANG=\"C.UTF-8\"' \
                  --change 'WORKDIR \"/it'\\''s\"' --change 'CMD [\"bash\"]' \
                  'out/my dir/rootfs.tar.xz' corp-base:trixie";
    assert_eq!(summary.import, import);
    let mut text = Vec::new();
    summary.write(&mut text, true).expect("written");
    let text = String::from_utf8(text).expect("text");
    for part in ["9 B packed, 20.0 MB unpacked", "3 packages", "12.0 MB  agent\n      7.0 MB  bash", import] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let mut text = Vec::new();
    summary.write(&mut text, false).expect("written");
    assert!(!String::from_utf8(text).expect("text").contains("agent"));
}

#[test]
fn earlier_output_is_replaced_whole_or_not_at_all() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("out");
    let mut case = Case::new();
    case.emit(&path).expect("emitted");
    case.codec = Codec::Gzip;
    case.emit(&path).expect("emitted again");
    assert!(!path.join("rootfs.tar.xz").exists() && path.join("rootfs.tar.gz").exists());
    assert_eq!(names(dir.path()), ["out"]);
    // A build that fails leaves it as it was.
    let before = fs::read(path.join(CHECKSUMS)).expect("it is there");
    let output = prepare(&path, &case.plan).expect("ready");
    output.create("rootfs.tar.gz").expect("a file").write_all(b"half").expect("written");
    assert!(output.staging().exists());
    let error = emit(output, &case.image(), &Ui::new(Level::Quiet)).expect_err("it is cut short");
    assert!(error.to_string().contains("4 bytes"), "{error}");
    assert_eq!(fs::read(path.join(CHECKSUMS)).expect("it is there"), before);
    assert_eq!(names(dir.path()), ["out"]);
    // So does one that finds a note in it at the end.
    let output = prepare(&path, &case.plan).expect("ready");
    output.create("rootfs.tar.gz").expect("a file").write_all(b"a tarball").expect("written");
    fs::write(path.join("notes.txt"), "mine").expect("written");
    emit(output, &case.image(), &Ui::new(Level::Quiet)).expect_err("it is somebody's");
    assert_eq!(fs::read_to_string(path.join("notes.txt")).expect("it is there"), "mine");
    assert_eq!(names(dir.path()), ["out"]);
    // Through a link the folder behind it is replaced.
    fs::remove_file(path.join("notes.txt")).expect("removed");
    symlink("out", dir.path().join("link")).expect("a link");
    case.codec = Codec::Xz;
    case.emit(&dir.path().join("link")).expect("emitted");
    assert!(path.join("rootfs.tar.xz").exists());
    assert_eq!(names(dir.path()), ["link", "out"]);
}

#[test]
fn what_is_somebodys_is_not_replaced() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| -> PathBuf { dir.path().join(name) };
    fs::write(at("file"), "x").expect("a file");
    symlink("nowhere", at("dangling")).expect("a link");
    fs::create_dir(at("home")).expect("a folder");
    fs::write(at("home/thesis"), "x").expect("a file");
    fs::create_dir(at("mixed")).expect("a folder");
    for name in [LOCK, CHECKSUMS, "thesis"] {
        fs::write(at("mixed").join(name), "").expect("a file");
    }
    let case = Case::new();
    for name in ["file", "dangling", "home", "mixed", "home/.."] {
        let error = case.emit(&at(name)).expect_err(name);
        assert_eq!(exit_code(&error), Exit::Usage, "{error:#}");
    }
    for path in ["/", "/proc", "/dev/null", "missing/.."] {
        assert_eq!(exit_code(&prepare(Path::new(path), &case.plan).expect_err(path)), Exit::Usage, "{path}");
    }
    assert_eq!(names(dir.path()), ["dangling", "file", "home", "mixed"]);
    fs::create_dir(at("empty")).expect("a folder");
    case.emit(&at("empty")).expect("an empty folder is nobody's");
}

#[test]
fn failure_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let case = Case::new();
    let output = prepare(&dir.path().join("a/b/out"), &case.plan).expect("ready");
    let staging = output.staging().to_path_buf();
    let name = staging.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(name.starts_with(".out.mkbase-"), "{name}");
    assert_eq!(staging.parent(), Some(&*fs::canonicalize(dir.path().join("a/b")).expect("a folder")));
    drop(output);
    assert!(names(dir.path()).is_empty());
    // Parents that somebody else uses by now stay.
    let output = prepare(&dir.path().join("a/b/out"), &case.plan).expect("ready");
    fs::write(dir.path().join("a/other"), "x").expect("a file");
    drop(output);
    assert_eq!(names(&dir.path().join("a")), ["other"]);
}

#[test]
fn place_that_cannot_be_written_is_known_before_the_build() {
    let case = Case::new();
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::write(dir.path().join("file"), "x").expect("a file");
    let path = dir.path().join("file/out");
    let error = format!("{:#}", prepare(&path, &case.plan).expect_err("its parent is a file"));
    assert!(error.contains("output folder"), "{error}");
    // procfs takes no folders, not even from root.
    let error = format!("{:#}", prepare(Path::new("/proc/self/out"), &case.plan).expect_err("read-only"));
    assert!(error.contains("choose another place with -o"), "{error}");
    if nix::unistd::geteuid().is_root() {
        writeln!(std::io::stderr(), "skipped: a read-only folder: root writes everywhere").expect("stderr");
        return;
    }
    fs::set_permissions(dir.path(), Permissions::from_mode(0o555)).expect("a mode");
    let error = format!("{:#}", prepare(&dir.path().join("out"), &case.plan).expect_err("read-only"));
    assert!(error.contains("choose another place with -o"), "{error}");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("a mode");
}
