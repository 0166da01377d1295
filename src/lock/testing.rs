//! Locks for tests.

use super::{Lock, LockedPackage, LockedRepository, Role, VERSION};
use crate::recipe::FamilyKind;

/// A lock of Debian without packages.
pub fn lock() -> Lock {
    Lock {
        version: VERSION,
        name: "debian".into(),
        family: FamilyKind::Deb,
        release: "trixie".into(),
        arch: "amd64".into(),
        variant: "minbase".into(),
        recipe: "11".repeat(32),
        epoch: 1_700_000_000,
        repositories: vec![LockedRepository {
            name: "main".into(),
            url: "http://example.org/debian".into(),
            mirrors: Vec::new(),
            mirrorlist: String::new(),
            suite: "trixie".into(),
            date: 1_700_000_000,
            index: "33".repeat(32),
        }],
        modules: Vec::new(),
        packages: Vec::new(),
    }
}

/// A package of its repository.
pub fn package(name: &str, version: &str) -> LockedPackage {
    LockedPackage {
        name: name.into(),
        version: version.into(),
        arch: "amd64".into(),
        size: 5,
        sha256: "22".repeat(32),
        repository: "main".into(),
        path: format!("pool/{name}.deb"),
        checksum: String::new(),
        role: Role::Wanted,
    }
}
