//! OpenPGP signatures, verified in-process (RFC 9580, cleartext framework and detached).

use anyhow::Result;

use crate::plan::Key;

/// The certificates that may sign one repository.
#[derive(Debug)]
pub struct Keyring {}

impl Keyring {
    /// Reads certificates, armoured or binary, one or several a file.
    pub fn parse(_keys: &[Key]) -> Result<Keyring> {
        anyhow::bail!("")
    }

    /// The text of a cleartext-signed message, if one of these certificates signed it. Nothing outside the
    /// signature is given.
    pub fn verify_inline(&self, _signed: &[u8]) -> Result<Vec<u8>> {
        anyhow::bail!("")
    }

    /// Whether one of these certificates made the detached signature of `data`.
    pub fn verify_detached(&self, _data: &[u8], _signature: &[u8]) -> Result<()> {
        anyhow::bail!("")
    }
}
