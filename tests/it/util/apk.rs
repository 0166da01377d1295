//! The repository of genuine Alpine packages that `scripts/test` makes, and small ones of the tests' own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha1::Digest as _;

use super::deb::gzip as compress;
use super::server::{Body, Server};

/// The architecture of all of it.
pub const ARCH: &str = "x86_64";

/// The folder of the repository; none where `scripts/test` could not make one.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os("MKBASE_TEST_APK").map(PathBuf::from)
}

/// Puts a repository of the folder on a server, as `/NAME/ARCH/…`.
pub fn serve(server: &Server, folder: &Path, name: &str) {
    for entry in folder.join(name).join(ARCH).read_dir().expect("the repository").flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        server.put_body(format!("/{name}/{ARCH}/{file}"), Body::File(entry.path()));
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
        [gzip(&member(&format!(".SIGN.{scheme}.{}", self.name), &signature, 0, &[])), data.to_vec()].concat()
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

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).and_then(|()| encoder.finish()).expect("it is memory")
}

fn member(name: &str, data: &[u8], mtime: u64, pax: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_pax_extensions(pax.iter().map(|(name, value)| (*name, value.as_bytes()))).expect("it is memory");
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(if name.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular });
    header.set_size(data.len() as u64);
    header.set_mode(0o755);
    header.set_mtime(mtime);
    header.set_uid(0);
    header.set_gid(0);
    builder.append_data(&mut header, name, data).expect("it is memory");
    let mut bytes = builder.into_inner().expect("it is memory");
    // Without the two blocks of the end.
    bytes.truncate(bytes.len() - 1024);
    bytes
}

/// A small package.
#[derive(Clone)]
pub struct Apk {
    name: String,
    version: String,
    /// Lines of the index and their keys in `.PKGINFO`.
    fields: Vec<(char, &'static str, String)>,
    files: Vec<(String, Vec<u8>)>,
    scripts: Vec<(&'static str, String)>,
}

impl Apk {
    /// `name version`, with one file.
    pub fn new(name_and_version: &str) -> Apk {
        let (name, version) = name_and_version.split_once(' ').expect("a name and a version");
        let file = (format!("usr/share/{name}"), format!("{version}\n").into_bytes());
        Apk { name: name.into(), version: version.into(), fields: Vec::new(), files: vec![file], scripts: Vec::new() }
    }

    /// What it needs.
    pub fn depends(mut self, value: &str) -> Apk {
        self.fields.push(('D', "depend", value.into()));
        self
    }

    /// What else it goes by.
    pub fn provides(mut self, value: &str) -> Apk {
        self.fields.push(('p', "provides", value.into()));
        self
    }

    /// What makes it come by itself.
    pub fn install_if(mut self, value: &str) -> Apk {
        self.fields.push(('i', "install_if", value.into()));
        self
    }

    /// The package file, signed.
    pub fn bytes(&self, key: &ApkKey) -> Vec<u8> {
        let control = self.control();
        [key.sign("sha256", &control), self.data()].concat()
    }

    fn data(&self) -> Vec<u8> {
        let mut tar = [member("usr/", b"", 0, &[]), member("usr/share/", b"", 0, &[])].concat();
        for (path, content) in &self.files {
            let sha1: String = sha1::Sha1::digest(content).iter().map(|b| format!("{b:02x}")).collect();
            tar.extend(member(path, content, 1_700_000_000, &[("APK-TOOLS.checksum.SHA1", &sha1)]));
        }
        tar.extend([0; 1024]);
        compress(&tar)
    }

    fn control(&self) -> Vec<u8> {
        let mut text = format!(
            "pkgname = {}\npkgver = {}\npkgdesc = test\nurl = https://example.org/\narch = {ARCH}\nlicense = MIT\n\
             builddate = 1700000000\nsize = 10\n",
            self.name, self.version
        );
        for (_, key, value) in &self.fields {
            match *key {
                "install_if" => text.push_str(&format!("{key} = {value}\n")),
                _ => value.split(' ').for_each(|word| text.push_str(&format!("{key} = {word}\n"))),
            }
        }
        text.push_str(&format!("datahash = {}\n", super::sha256(&self.data())));
        let mut tar = member(".PKGINFO", text.as_bytes(), 0, &[]);
        for (kind, script) in &self.scripts {
            tar.extend(member(&format!(".{kind}"), script.as_bytes(), 0, &[]));
        }
        gzip(&tar)
    }

    /// `Q1` and the SHA-1 of the control member.
    fn checksum(&self) -> String {
        let output = openssl(&["base64", "-A"], &sha1::Sha1::digest(self.control()));
        format!("Q1{}", String::from_utf8(output).expect("text"))
    }

    fn paragraph(&self, key: &ApkKey) -> String {
        let mut text = format!(
            "C:{}\nP:{}\nV:{}\nA:{ARCH}\nS:{}\nI:10\nT:test\nU:https://example.org/\nL:MIT\nt:1700000000\n",
            self.checksum(),
            self.name,
            self.version,
            self.bytes(key).len()
        );
        for letter in ['D', 'p', 'i'] {
            for (_, _, value) in self.fields.iter().filter(|(field, ..)| *field == letter) {
                text.push_str(&format!("{letter}:{value}\n"));
            }
        }
        text + "\n"
    }

    /// Name of its file.
    pub fn file_name(&self) -> String {
        format!("{}-{}.apk", self.name, self.version)
    }
}

/// The text of an index.
pub fn index_text(packages: &[Apk], key: &ApkKey) -> String {
    packages.iter().map(|package| package.paragraph(key)).collect()
}

/// An index, not signed. `mtime` is in seconds since 1970.
pub fn index(text: &str, mtime: u64) -> Vec<u8> {
    let mut tar =
        [member("DESCRIPTION", b"test", mtime, &[]), member("APKINDEX", text.as_bytes(), mtime, &[])].concat();
    tar.extend([0; 1024]);
    gzip(&tar)
}

/// Puts a repository on a server, as `/NAME/ARCH/…`, signed with SHA-1 as Alpine's are.
pub fn publish(server: &Server, name: &str, packages: &[Apk], key: &ApkKey, mtime: i64) {
    for package in packages {
        server.put(format!("/{name}/{ARCH}/{}", package.file_name()), package.bytes(key));
    }
    let index = index(&index_text(packages, key), mtime as u64);
    server.put(index_path(name), key.sign("sha1", &index));
}

/// Where the index of a repository is.
pub fn index_path(name: &str) -> String {
    format!("/{name}/{ARCH}/APKINDEX.tar.gz")
}
