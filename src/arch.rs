//! Architectures, in the spelling of everyone who has one.

/// One row of the table: the same architecture in every spelling.
#[derive(Debug, PartialEq, Eq)]
pub struct Arch {
    /// Debian (`dpkg-architecture`), and the name mkbase uses itself.
    pub deb: &'static str,
    /// RPM (`basearch`).
    pub rpm: &'static str,
    /// Alpine.
    pub apk: &'static str,
    /// OCI `architecture`.
    pub oci: &'static str,
    /// OCI `variant`, empty where there is none.
    pub oci_variant: &'static str,
    /// Rust `std::env::consts::ARCH`.
    pub rust: &'static str,
    /// `qemu-NAME` of user-mode emulation.
    pub qemu: &'static str,
}
