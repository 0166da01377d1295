//! Signed Debian repositories for tests. What is wrong with one is done to it on purpose, after it was made right.

use super::deb::Deb;
use super::key::Key;
use super::server::{Body, Server};
use super::{deb_arch, now, rfc2822, sha256};

/// How the release file is signed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// `InRelease`.
    Inline,
    /// `Release` and `Release.gpg`, no `InRelease`.
    Detached,
    /// `Release` and an `InRelease` that is the same plain text.
    Unsigned,
}

/// A repository of one suite with the component `main`.
pub struct Repo<'a> {
    pub suite: &'static str,
    pub key: &'a Key,
    pub signing: Signing,
    pub by_hash: bool,
    /// Seconds since 1970.
    pub date: i64,
    pub valid_until: Option<i64>,
    /// The index as it is published and signed.
    pub index: Vec<u8>,
    /// Its compressed form, where that is not simply the compressed index.
    pub compressed: Option<Vec<u8>>,
    pub debs: Vec<Deb>,
}

impl<'a> Repo<'a> {
    /// A repository with nothing wrong: signed inline, dated an hour ago, valid for a week, with an index by hash.
    pub fn new(key: &'a Key, debs: Vec<Deb>) -> Repo<'a> {
        // An empty line after every stanza, the last one too: debootstrap misses it else.
        let index = debs.iter().map(|d| format!("{}\n", d.stanza)).collect::<String>().into_bytes();
        Repo {
            suite: "lab",
            key,
            signing: Signing::Inline,
            by_hash: true,
            date: now() - 3600,
            valid_until: Some(now() + 7 * 86_400),
            index,
            compressed: None,
            debs,
        }
    }

    /// Path of the uncompressed index below the address.
    pub fn index_path(&self) -> String {
        format!("/dists/{}/{}", self.suite, self.index_name())
    }

    fn index_name(&self) -> String {
        format!("main/binary-{}/Packages", deb_arch())
    }

    /// The release file's text.
    fn release(&self, compressed: &[u8]) -> String {
        let mut text = format!(
            "Origin: Test\nLabel: Test\nSuite: {0}\nCodename: {0}\nDate: {1}\n",
            self.suite,
            rfc2822(self.date)
        );
        if let Some(until) = self.valid_until {
            text.push_str(&format!("Valid-Until: {}\n", rfc2822(until)));
        }
        if self.by_hash {
            text.push_str("Acquire-By-Hash: yes\n");
        }
        let name = self.index_name();
        text.push_str(&format!("Architectures: {}\nComponents: main\nDescription: packages of a test\n", deb_arch()));
        text.push_str("SHA256:\n");
        text.push_str(&format!(" {} {} {name}\n", sha256(&self.index), self.index.len()));
        text.push_str(&format!(" {} {} {name}.xz\n", sha256(compressed), compressed.len()));
        text
    }

    /// Puts everything on the server.
    pub fn publish(&self, server: &Server) {
        self.publish_at(server, "");
    }

    /// The same below a folder.
    pub fn publish_at(&self, server: &Server, base: &str) {
        let compressed = self.compressed.clone().unwrap_or_else(|| xz(&self.index));
        let release = self.release(&compressed);
        let folder = format!("{base}/dists/{}", self.suite);
        match self.signing {
            Signing::Inline => server.put(format!("{folder}/InRelease"), self.key.sign_inline(&release).into_bytes()),
            Signing::Detached => {
                server.put(format!("{folder}/Release.gpg"), self.key.sign_detached(&release).into_bytes());
                server.put(format!("{folder}/Release"), release.into_bytes());
            }
            Signing::Unsigned => {
                server.put(format!("{folder}/InRelease"), release.clone().into_bytes());
                server.put(format!("{folder}/Release"), release.into_bytes());
            }
        }
        let index = format!("{base}{}", self.index_path());
        let by_hash = index.trim_end_matches("Packages").to_string() + "by-hash/SHA256/";
        for (path, data) in [(index.clone(), &self.index), (format!("{index}.xz"), &compressed)] {
            if self.by_hash {
                server.put(format!("{by_hash}{}", sha256(data)), data.clone());
            } else {
                server.put(path, data.clone());
            }
        }
        for deb in &self.debs {
            server.put_body(format!("{base}/{}", deb.path), deb.bytes.clone());
        }
    }

    /// The files of a flat repository of the same packages, by their names: the index beside the signed release file.
    pub fn flat(&self) -> Vec<(String, Vec<u8>)> {
        let release = format!(
            "Origin: Test\nDate: {}\nSHA256:\n {} {} Packages\n",
            rfc2822(self.date),
            sha256(&self.index),
            self.index.len()
        );
        let mut files = vec![
            ("InRelease".to_string(), self.key.sign_inline(&release).into_bytes()),
            ("Packages".to_string(), self.index.clone()),
        ];
        files.extend(self.debs.iter().map(|deb| (deb.path.clone(), deb.bytes.read())));
        files
    }
}

/// Applies a change to every form of the index that the server has.
pub fn change_index(server: &Server, change: impl Fn(&mut Vec<u8>)) {
    for path in index_paths(server) {
        server.change(&path, &change);
    }
}

/// The paths of every form of the index.
pub fn index_paths(server: &Server) -> Vec<String> {
    let paths: Vec<_> = server.paths().into_iter().filter(|p| p.contains("/binary-")).collect();
    assert!(!paths.is_empty(), "the repository has an index");
    paths
}

/// The text of the release file that a server has, without its signature.
pub fn release_text(server: &Server) -> String {
    let signed = server.body("/dists/lab/InRelease").read();
    let (message, _) = pgp::composed::CleartextSignedMessage::from_armor(&signed[..]).expect("a signed message");
    message.text().to_string()
}

/// The hash of the uncompressed index in a release file.
pub fn index_hash(release: &str) -> String {
    let line = release.lines().find(|l| l.ends_with("/Packages")).expect("the release file lists the index");
    line.split_whitespace().next().expect("a hash").to_string()
}

/// Applies a change to one package.
pub fn change_deb(server: &Server, deb: &Deb, change: impl Fn(&mut Vec<u8>)) {
    server.change(&format!("/{}", deb.path), change);
}

pub fn xz(data: &[u8]) -> Vec<u8> {
    xz_of(data)
}

/// The same of a stream, which may be larger than memory.
pub fn xz_of(mut data: impl std::io::Read) -> Vec<u8> {
    let mut encoder = xz2::write::XzEncoder::new(Vec::new(), 1);
    std::io::copy(&mut data, &mut encoder).expect("compressing in memory");
    encoder.finish().expect("compressing in memory")
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body::Bytes(bytes.into())
    }
}
