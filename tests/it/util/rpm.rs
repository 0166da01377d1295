//! Mini Linux, the small RPM distribution of `tests/fixtures/make-rpm-repo.sh`, served from the loopback interface.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use mkbase::codec::Codec;

use super::mkbase::{Place, shared_cache};
use super::server::{Body, Server};
use super::{has_program, sha256};

/// What making it takes.
const PROGRAMS: [&str; 7] = ["apt-get", "dpkg-deb", "rpmbuild", "rpmsign", "createrepo_c", "gpg", "localedef"];
/// Its maker, and what that reads.
const SCRIPT: &str = "tests/fixtures/make-rpm-repo.sh";
const PARTS: &str = "tests/fixtures/rpm";
/// What building with it takes.
const DNF: &str = "dnf";
/// The release of Debian whose programs it has as a rule.
const DEBIAN: &str = "bookworm";

/// Packages, those of [`Mini::broken`] among them, that dnf cannot install or decide on, and what is said of them.
pub const FAILING: [(&str, &[&str]); 8] = [
    ("mini-badpre", &["%pre of mini-badpre failed", "fails on purpose"]),
    ("mini-badpost", &["%post of mini-badpost failed", "mini-badpost fails on purpose", "exit status 3"]),
    ("mini-badposttrans", &["%posttrans of mini-badposttrans failed", "fails on purpose"]),
    ("mini-badusers", &["making the users and groups of mini-badusers failed", "'mini:bad' is no name of an account"]),
    ("mini-badpretrans", &["mini-badpretrans fails on purpose"]),
    ("mini-hello,mini-clash", &["/etc/mini-hello.conf", "mini-clash"]),
    ("mini-hello,mini-enemy", &["mini-enemy", "conflict"]),
    ("mini-unsatisfiable", &["libnosuch.so.1", "mini-unsatisfiable"]),
];

/// The distribution and its server.
pub struct Mini {
    /// Where it was made.
    pub folder: PathBuf,
    /// Serves it.
    pub server: Server,
    /// Its architecture, as rpm names it.
    pub arch: &'static str,
}

/// The distribution for the host's architecture, made at first use; or what is missing to make it.
pub fn mini() -> Result<Mini, String> {
    mini_for(std::env::consts::ARCH)
}

/// The same for another architecture.
pub fn mini_for(arch: &'static str) -> Result<Mini, String> {
    mini_of(DEBIAN, arch)
}

/// The same with the programs of Debian 11, whose rpm has databases of Berkeley DB in `/var/lib/rpm`.
pub fn mini_with_old_rpm() -> Result<Mini, String> {
    mini_of("bullseye", std::env::consts::ARCH)
}

fn mini_of(debian: &'static str, arch: &'static str) -> Result<Mini, String> {
    let missing: Vec<&str> = PROGRAMS.into_iter().chain([DNF]).filter(|name| !has_program(name)).collect();
    if !missing.is_empty() {
        return Err(format!("no {}", missing.join(", ")));
    }
    static MADE: Mutex<BTreeMap<(&str, &str), PathBuf>> = Mutex::new(BTreeMap::new());
    let folder = {
        let mut all = MADE.lock().unwrap_or_else(|e| e.into_inner());
        all.entry((debian, arch)).or_insert_with(|| made(debian, arch)).clone()
    };
    let server = Server::new();
    serve(&server, &folder, "1");
    serve(&server, &folder, "corp");
    serve(&server, &folder, "standin");
    Ok(Mini { folder, server, arch })
}

/// `MKBASE_TEST_MINI` names one for the host that was made before; else one that an earlier run made with the same
/// script serves.
fn made(debian: &str, arch: &str) -> PathBuf {
    match std::env::var_os("MKBASE_TEST_MINI") {
        Some(folder) if (debian, arch) == (DEBIAN, std::env::consts::ARCH) => return folder.into(),
        _ => {}
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let parts = std::fs::read_dir(source.join(PARTS)).expect("the parts of the script");
    let mut files: Vec<PathBuf> = parts.map(|part| part.expect("a file").path()).chain([source.join(SCRIPT)]).collect();
    files.sort();
    let text: Vec<u8> = files.iter().flat_map(|file| std::fs::read(file).expect("a part of the script")).collect();
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = parent.join(format!("mini-{debian}-{arch}-{}", &sha256(&text)[..16]));
    // Two runs at once make it once.
    let lock = File::create(parent.join("mini.lock")).expect("a lock");
    lock.lock().expect("a lock");
    if !folder.exists() {
        let unfinished = tempfile::tempdir_in(parent).expect("a folder");
        let debs = shared_cache().join("mini-debs");
        let mut made = Command::new(source.join(SCRIPT));
        made.arg(unfinished.path()).env("DEBS", debs).env("RELEASE", debian).env("ARCH", arch);
        let made = made.output().expect("bash runs");
        assert!(made.status.success(), "{SCRIPT}: {}", String::from_utf8_lossy(&made.stderr));
        std::fs::rename(unfinished.keep(), &folder).expect("it is put in place");
    }
    folder
}

/// Puts every file below `name` of the folder on the server, under its path.
fn serve(server: &Server, folder: &Path, name: &str) {
    for entry in std::fs::read_dir(folder.join(name)).expect("a folder of the distribution") {
        let entry = entry.expect("an entry");
        let path = format!("{name}/{}", entry.file_name().to_str().expect("text"));
        if entry.file_type().expect("its type").is_dir() {
            serve(server, folder, &path);
        } else {
            server.put_body(format!("/{path}"), Body::File(entry.path()));
        }
    }
}

impl Mini {
    /// The recipe in the test's folder, with keys beside it, and with more text at its end.
    pub fn recipe(&self, place: &Place, more: &str) -> PathBuf {
        self.write_keys(place);
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mini.toml");
        let text = std::fs::read_to_string(own).expect("the recipe");
        place.write("mini.toml", format!("{text}\n{more}"))
    }

    /// The options that lead to the server; they name the architecture where it is not the host's.
    pub fn mirrors(&self) -> Vec<String> {
        let mirror = |(name, folder): (&str, &str)| {
            ["--mirror".to_owned(), format!("{name}={}{}", self.server.url(), self.path(folder))]
        };
        let mut options: Vec<String> =
            [("baseos", "BaseOS"), ("updates", "updates")].map(mirror).into_iter().flatten().collect();
        if self.arch != std::env::consts::ARCH {
            options.extend(["--arch".to_owned(), self.arch.to_owned()]);
        }
        options
    }

    /// Puts the keys beside the recipe.
    pub fn write_keys(&self, place: &Place) {
        for key in ["RPM-GPG-KEY-mini-1", "RPM-GPG-KEY-corp"] {
            place.write(key, std::fs::read(self.folder.join(key)).expect("a key"));
        }
    }

    /// The text of a repository with the packages that fail.
    pub fn broken(&self) -> String {
        self.repository("broken")
    }

    /// The text of the repository in this folder: its name is that in lower case.
    pub fn repository(&self, folder: &str) -> String {
        let (name, url) = (folder.to_lowercase(), self.server.url() + &self.path(folder));
        format!("[[repository]]\nname = \"{name}\"\nurl = \"{url}\"\nkey = \"RPM-GPG-KEY-mini-1\"\n")
    }

    /// Where a repository is on the server: `BaseOS`, `updates`, `broken`.
    pub fn path(&self, repository: &str) -> String {
        format!("/1/{repository}/{}/os", self.arch)
    }

    /// Puts a file of the distribution's folder on the server in the place of another one.
    pub fn replace(&self, path: &str, with: &str) {
        self.server.put(path, std::fs::read(self.folder.join(with.trim_start_matches('/'))).expect("a file"));
    }

    /// A file of metadata as it was made: `primary`, `filelists`, `comps`, `modules`.
    pub fn metadata(&self, repository: &str, kind: &str) -> String {
        self.metadata_in(&self.path(repository), kind)
    }

    /// The same of the repository in a folder of the distribution.
    fn metadata_in(&self, folder: &str, kind: &str) -> String {
        let files = std::fs::read_dir(self.folder.join(folder.trim_start_matches('/')).join("repodata"));
        let files = files.expect("metadata").map(|entry| entry.expect("a file").path());
        let mut found = files.filter(|path| path.to_string_lossy().contains(&format!("-{kind}.")));
        let path = found.next().unwrap_or_else(|| panic!("{folder} has no {kind}"));
        let packed = std::fs::read(path).expect("metadata");
        let codec = Codec::ALL.into_iter().find(|codec| packed.starts_with(codec.magic())).expect("a compression");
        let mut text = String::new();
        codec.reader(&packed[..], 1).expect("a decoder").read_to_string(&mut text).expect("metadata in text");
        text
    }

    /// Publishes metadata of a repository, unsigned: type, file name and content of each file, made at that time.
    pub fn publish(&self, repository: &str, files: &[(&str, &str, &[u8])], time: i64) {
        self.publish_in(&self.path(repository), files, time);
    }

    fn publish_in(&self, path: &str, files: &[(&str, &str, &[u8])], time: i64) {
        let mut list = "<repomd xmlns=\"http://linux.duke.edu/metadata/repo\">\n".to_owned();
        for (kind, name, bytes) in files {
            list += &format!(
                "<data type=\"{kind}\"><checksum type=\"sha256\">{}</checksum><location href=\"repodata/{name}\"/>\
                 <timestamp>{time}</timestamp><size>{}</size></data>\n",
                sha256(bytes),
                bytes.len()
            );
            self.server.put(format!("{path}/repodata/{name}"), bytes.to_vec());
        }
        self.server.put(format!("{path}/repodata/repomd.xml"), (list + "</repomd>\n").into_bytes());
        let signature = format!("{path}/repodata/repomd.xml.asc");
        if self.server.paths().contains(&signature) {
            self.server.remove(&signature);
        }
    }

    /// Publishes a version of a distribution that is one repository with the packages of these folders, unsigned, and
    /// gives its path. As at Amazon each version has a folder, and the packages lie once beside them all, by their hash.
    pub fn publish_version(&self, version: &str, folders: &[&str], time: i64) -> String {
        let path = format!("/vendor/core/guids/{version}/{}", std::env::consts::ARCH);
        let documents = ["primary", "filelists"].map(|kind| {
            let texts: Vec<(&str, String)> =
                folders.iter().map(|folder| (*folder, self.metadata_in(folder, kind))).collect();
            let (head, _) = texts[0].1.split_once("<package ").expect("a package");
            let end = texts[0].1.trim_end().rsplit('\n').next().expect("a last line");
            let elements = texts.iter().flat_map(|(folder, text)| {
                let elements = text.split("<package ").skip(1).map(|e| e.split("</package>").next().expect("its end"));
                elements.map(|element| format!("<package {}</package>\n", self.beside(folder, element)))
            });
            format!("{head}{}{end}", elements.collect::<String>())
        });
        let [primary, lists] = &documents;
        let files = [("primary", "primary.xml", primary.as_bytes()), ("filelists", "filelists.xml", lists.as_bytes())];
        self.publish_in(&path, &files, time);
        path
    }

    /// Puts the file of a package beside the versions, and its new place into its element of the metadata.
    fn beside(&self, folder: &str, element: &str) -> String {
        let between = |start: &str| element.split(start).nth(1).and_then(|rest| rest.split(['"', '<']).next());
        let Some(href) = between("<location href=\"") else { return element.to_owned() };
        let hash = between("pkgid=\"YES\">").expect("its hash");
        let blob = format!("blobstore/{hash}/{}", href.rsplit('/').next().unwrap_or(href));
        let file = self.folder.join(folder.trim_start_matches('/')).join(href);
        self.server.put_body(format!("/vendor/{blob}"), Body::File(file));
        element.replace(&format!("\"{href}\""), &format!("\"../../../../{blob}\""))
    }

    /// Publishes a repository with this in the place of its `primary.xml`.
    pub fn publish_primary(&self, repository: &str, primary: &str, time: i64) {
        let lists = self.metadata(repository, "filelists");
        let files = [("primary", "primary.xml", primary.as_bytes()), ("filelists", "filelists.xml", lists.as_bytes())];
        self.publish(repository, &files, time);
    }

    /// Publishes a repository that has each of its packages for x86_64 for i686 too, as those of EL and Fedora have many.
    /// No files of these are there.
    pub fn publish_with_i686(&self, repository: &str, time: i64) {
        let primary = self.metadata(repository, "primary");
        let elements = primary.split("<package ").skip(1).map(|rest| rest.split_inclusive("</package>").next());
        let elements = elements.flatten().filter(|element| element.contains("<arch>x86_64</arch>"));
        let others = elements.map(|element| {
            let (before, rest) = element.split_once("pkgid=\"YES\">").expect("its checksum");
            let (checksum, after) = rest.split_at(64);
            let other = format!("<package {before}pkgid=\"YES\">{}{after}\n", sha256(checksum.as_bytes()));
            let other = other.replace(">x86_64<", ">i686<").replace(".x86_64.rpm", ".i686.rpm");
            other.replace("()(64bit)", "").replace("(64bit)", "").replace("(x86-64)", "(x86-32)")
        });
        let (head, tail) = primary.split_at(primary.rfind("</metadata>").expect("its end"));
        let all = format!("{head}{}{tail}", others.collect::<String>());
        let (lists, groups) = (self.metadata(repository, "filelists"), self.metadata("BaseOS", "comps"));
        let files: [(&str, &str, &[u8]); 3] = [
            ("primary", "primary.xml", all.as_bytes()),
            ("filelists", "filelists.xml", lists.as_bytes()),
            ("group", "comps.xml", groups.as_bytes()),
        ];
        self.publish(repository, &files, time);
    }

    /// Publishes a repository with only these of its packages.
    pub fn publish_only(&self, repository: &str, names: &[&str], time: i64) {
        let text = self.metadata(repository, "primary");
        let (head, rest) = text.split_once("<package ").unwrap_or((&text, ""));
        let elements = rest.trim_end().trim_end_matches("</metadata>").split("<package ");
        let kept =
            elements.filter(|element| names.iter().any(|name| element.contains(&format!("<name>{name}</name>"))));
        let kept: String = kept.map(|element| format!("<package {element}")).collect();
        self.publish_primary(repository, &format!("{head}{kept}</metadata>"), time);
    }
}
