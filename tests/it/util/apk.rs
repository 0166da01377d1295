//! The repository of genuine Alpine packages that `scripts/test` makes, and small ones of the tests' own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tar::EntryType;

use super::apk_maker::{self, dir, file, gzip, member};
use super::server::{Body, Server};

/// The architecture of the fixture's programs, and of what tests put in it.
pub const ARCH: &str = "x86_64";

/// The folder of the repository; none where `scripts/test` could not make one.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os("MKBASE_TEST_APK").map(PathBuf::from)
}

/// Puts a repository of the folder on a server, as `/NAME/ARCH/…`, for every architecture that it has.
pub fn serve(server: &Server, folder: &Path, name: &str) {
    for arch in folder.join(name).read_dir().expect("the repository").flatten() {
        for entry in arch.path().read_dir().expect("the repository").flatten() {
            let [arch, file] = [arch.file_name(), entry.file_name()].map(|name| name.to_string_lossy().into_owned());
            server.put_body(format!("/{name}/{arch}/{file}"), Body::File(entry.path()));
        }
    }
}

/// A key pair for signatures.
pub struct ApkKey {
    /// Name of the public one.
    pub name: String,
    /// The public one in PEM.
    pub public: String,
    folder: tempfile::TempDir,
}

impl ApkKey {
    /// A new one of this name.
    pub fn new(name: &str) -> ApkKey {
        let folder = tempfile::tempdir().expect("a folder");
        let private = folder.path().join("key");
        openssl(&["genrsa", "-out", private.to_str().expect("text"), "2048"], b"");
        let public = openssl(&["rsa", "-in", private.to_str().expect("text"), "-pubout"], b"");
        ApkKey { name: name.into(), public: String::from_utf8(public).expect("PEM"), folder }
    }

    /// One that all tests may share.
    pub fn shared() -> &'static ApkKey {
        static KEY: OnceLock<ApkKey> = OnceLock::new();
        KEY.get_or_init(|| ApkKey::new("test@example.org-1.rsa.pub"))
    }

    /// A signature of the data before the data. `digest` is `sha1` or `sha256`.
    pub fn sign(&self, digest: &str, data: &[u8]) -> Vec<u8> {
        let key = self.folder.path().join("key");
        let signature = openssl(&["dgst", &format!("-{digest}"), "-sign", key.to_str().expect("text")], data);
        let scheme = if digest == "sha1" { "RSA" } else { "RSA256" };
        let name = format!(".SIGN.{scheme}.{}", self.name);
        [gzip(&member(&name, EntryType::Regular, "", 0o644, &signature, &[])), data.to_vec()].concat()
    }
}

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::null()).spawn().expect("openssl runs");
    child.stdin.take().expect("it is piped").write_all(input).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "openssl {arguments:?}");
    output.stdout
}

/// A small package.
#[derive(Clone)]
pub struct Apk {
    name: String,
    content: apk_maker::Apk,
}

impl Apk {
    /// `name version`, with one file.
    pub fn new(name_and_version: &str) -> Apk {
        let (name, version) = name_and_version.split_once(' ').expect("a name and a version");
        let file = file(&format!("usr/share/{name}"), format!("{version}\n").as_bytes());
        let content = apk_maker::Apk::new(vec![dir("usr"), dir("usr/share"), file]);
        Apk { name: name.into(), content: apk_maker::Apk { version: version.into(), ..content } }
    }

    fn say(mut self, key: &str, values: &str) -> Apk {
        values.split(' ').for_each(|value| self.content.lines.push_str(&format!("{key} = {value}\n")));
        self
    }

    /// What it needs.
    pub fn depends(self, values: &str) -> Apk {
        self.say("depend", values)
    }

    /// What else it goes by.
    pub fn provides(self, values: &str) -> Apk {
        self.say("provides", values)
    }

    /// What makes it come by itself.
    pub fn install_if(mut self, value: &str) -> Apk {
        self.content.lines.push_str(&format!("install_if = {value}\n"));
        self
    }

    /// The package file, signed.
    pub fn bytes(&self, key: &ApkKey) -> Vec<u8> {
        let data = self.content.data_member();
        [key.sign("sha256", &self.content.control_member(&self.name, &data)), data].concat()
    }

    /// Name of its file.
    pub fn file_name(&self) -> String {
        self.content.file_name(&self.name)
    }
}

/// The text of an index.
pub fn index_text(packages: &[Apk], key: &ApkKey) -> String {
    packages.iter().map(|package| package.content.paragraph(&package.name, package.bytes(key).len())).collect()
}

/// Puts a repository on a server, as `/NAME/ARCH/…`, signed with SHA-1 as Alpine's are.
pub fn publish(server: &Server, name: &str, packages: &[Apk], key: &ApkKey, mtime: i64) {
    for package in packages {
        server.put(format!("/{name}/{ARCH}/{}", package.file_name()), package.bytes(key));
    }
    let index = apk_maker::index(&index_text(packages, key), u64::try_from(mtime).expect("a time after 1970"));
    server.put(index_path(name), key.sign("sha1", &index));
}

/// Where the index of a repository is.
pub fn index_path(name: &str) -> String {
    format!("/{name}/{ARCH}/APKINDEX.tar.gz")
}
