//! What the tests share.

use sha2::Digest as _;

pub mod alpine;
pub mod apk;
#[path = "../../../src/family/apk/apk_maker.rs"]
#[allow(dead_code, reason = "the unit tests use more of it")]
pub mod apk_maker;
pub mod deb;
pub mod dnf;
pub mod dnf5;
pub mod key;
pub mod lab;
pub mod mkbase;
pub mod repo;
pub mod rpm;
pub mod server;
pub mod tls;
pub mod tree;

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(data: &[u8]) -> String {
    sha2::Sha256::digest(data).iter().map(|b| format!("{b:02x}")).collect()
}

/// Seconds since 1970.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A time as release files write it.
pub fn rfc2822(time: i64) -> String {
    jiff::Timestamp::from_second(time).expect("a time within range").strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
}

/// The host's architecture as Debian spells it.
pub fn deb_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        "powerpc64" => "ppc64el",
        other => panic!("the tests do not know the architecture {other}"),
    }
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether a program is on the host.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':').any(|folder| std::path::Path::new(folder).join(name).is_file())
}

/// Notes that a test, or a part of one, could not run here: on standard error, and in the file that
/// `scripts/test` counts.
pub fn note_skip(what: &str) {
    eprintln!("skipped: {what}");
    if let Some(file) = std::env::var_os("MKBASE_TEST_SKIPS") {
        use std::io::Write as _;
        let mut file =
            std::fs::OpenOptions::new().append(true).create(true).open(file).expect("the list of skipped tests");
        writeln!(file, "{what}").expect("the list of skipped tests");
    }
}

/// `skip!("users: no test user")` ends the test and says so.
#[macro_export]
macro_rules! skip {
    ($($what:tt)*) => {{
        $crate::util::note_skip(&format!($($what)*));
        return;
    }};
}
