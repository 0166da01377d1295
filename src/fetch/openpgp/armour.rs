//! The text forms of OpenPGP (RFC 9580, sections 6 and 7): the cleartext signature framework, and armoured blocks.

use super::SignatureError;

const SIGNED_MESSAGE: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
const SIGNATURE_END: &[u8] = b"-----END PGP SIGNATURE-----";

/// A cleartext-signed message in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cleartext {
    /// The signed lines without escapes and trailing white space, none of which is signed.
    lines: Vec<Vec<u8>>,
    /// The armoured signatures.
    pub signatures: Vec<u8>,
}

impl Cleartext {
    /// Takes a message apart. Anything but white space before or after it is refused: a reader that took the wrong
    /// part of such a file for the signed one could be deceived.
    pub fn parse(message: &[u8]) -> Result<Cleartext, SignatureError> {
        let malformed = |what: &str| Err(SignatureError::Malformed(what.to_owned()));
        let mut lines = message.split(|&b| b == b'\n').map(trimmed).peekable();
        while lines.next_if(|l| l.is_empty()).is_some() {}
        if lines.next() != Some(SIGNED_MESSAGE) {
            return if message.split(|&b| b == b'\n').any(|l| trimmed(l) == SIGNED_MESSAGE) {
                malformed("there is text before the signed message")
            } else {
                Err(SignatureError::Unsigned)
            };
        }
        // Only `Hash` may stand here, since no signature covers it.
        loop {
            match lines.next() {
                Some([]) => break,
                Some(line) if line.starts_with(b"Hash:") => {}
                _ => return malformed("the head of the signed message holds something else than 'Hash'"),
            }
        }
        let mut text = Vec::new();
        loop {
            match lines.next() {
                Some(SIGNATURE) => break,
                Some(line) if line.starts_with(b"- ") => text.push(line[2..].to_vec()),
                // White space after the dash of an escape was cut with the rest: an escaped empty line.
                Some(b"-") => text.push(Vec::new()),
                Some(line) if line.starts_with(b"-") => return malformed("a line begins with '-' and is not escaped"),
                // What ends a line differs between readers.
                Some(line) if line.contains(&b'\r') => return malformed("a line holds a carriage return"),
                Some(line) => text.push(line.to_vec()),
                None => return malformed("the signature is missing; the file may have been cut off"),
            }
        }
        let mut signatures = [SIGNATURE, b"\n"].concat();
        let mut inside = true;
        for line in lines {
            match (inside, line) {
                (true, SIGNATURE_END) => inside = false,
                (false, SIGNATURE) => inside = true,
                (false, []) => continue,
                (false, _) => return malformed("there is text after the signature"),
                (true, _) => {}
            }
            signatures.extend_from_slice(line);
            signatures.push(b'\n');
        }
        if inside {
            return malformed("the signature has no end; the file may have been cut off");
        }
        Ok(Cleartext { lines: text, signatures })
    }

    /// What the signatures are of: lines ended by CR LF, none at the end.
    pub fn signed(&self) -> Vec<u8> {
        self.lines.join(&b"\r\n"[..])
    }

    /// The text for its reader: exactly the signed lines, ended by LF.
    pub fn text(&self) -> Vec<u8> {
        let mut text = self.lines.join(&b'\n');
        text.push(b'\n');
        text
    }
}

/// A line without trailing white space, as GnuPG and RFC 9580, section 7.2, cut it.
fn trimmed(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|b| !matches!(b, b' ' | b'\t' | b'\r')).map_or(0, |i| i + 1);
    &line[..end]
}

/// Whether data is in binary form: every packet begins with a set high bit, no text does.
pub(super) fn is_binary(data: &[u8]) -> bool {
    data.first().is_some_and(|b| b & 0x80 != 0)
}

/// The armoured blocks of one kind (`SIGNATURE`, `PUBLIC KEY BLOCK`). Text around them is left out, as gpg does.
pub(super) fn blocks<'a>(data: &'a [u8], kind: &str) -> Vec<&'a [u8]> {
    let begin = format!("-----BEGIN PGP {kind}-----");
    let end = format!("-----END PGP {kind}-----");
    let mut found = Vec::new();
    let mut start = None;
    let mut at = 0;
    for line in data.split_inclusive(|&b| b == b'\n') {
        let content = trimmed(line.strip_suffix(b"\n").unwrap_or(line));
        if content == begin.as_bytes() {
            start = Some(at);
        }
        at += line.len();
        if content == end.as_bytes()
            && let Some(start) = start.take()
        {
            found.push(&data[start..at]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &str = "-----BEGIN PGP SIGNATURE-----\n\nabcd\n-----END PGP SIGNATURE-----\n";

    fn message(body: &str) -> String {
        format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{body}{END}")
    }

    #[test]
    fn lines_as_they_are_signed() {
        for (body, signed) in [
            ("a\nb\n", "a\r\nb"),
            ("a\r\nb\r\n", "a\r\nb"),
            ("a \t\n\nb\n", "a\r\n\r\nb"),
            ("- -----BEGIN PGP SIGNATURE-----\n- - x\n- From me\n", "-----BEGIN PGP SIGNATURE-----\r\n- x\r\nFrom me"),
            ("- \n", ""),
            ("\u{e4}\n\n", "\u{e4}\r\n"),
        ] {
            let parsed = Cleartext::parse(message(body).as_bytes()).expect(body);
            assert_eq!(String::from_utf8_lossy(&parsed.signed()), signed, "{body}");
            assert_eq!(String::from_utf8_lossy(&parsed.text()), signed.replace('\r', "") + "\n", "{body}");
            assert_eq!(parsed.signatures, END.as_bytes(), "{body}");
        }
        assert!(Cleartext::parse(format!("\n{}\n\n", message("a\n")).as_bytes()).is_ok());
        assert!(Cleartext::parse(message("a\n").replace('\n', "\r\n").as_bytes()).is_ok());
    }

    #[test]
    fn what_is_refused() {
        let good = message("a\n");
        for (case, text) in [
            ("before", format!("x\n{good}")),
            ("after", format!("{good}x\n")),
            ("another message after", format!("{good}{good}")),
            ("an unescaped dash", message("-a\n")),
            ("a carriage return", message("a\rb\n")),
            ("another header", good.replace("Hash: SHA256", "Suite: evil")),
            ("no signature", good.replace(END, "")),
            ("no end", good.replace("-----END PGP SIGNATURE-----", "")),
            ("only a head", "-----BEGIN PGP SIGNED MESSAGE-----".to_owned()),
        ] {
            let error = Cleartext::parse(text.as_bytes()).expect_err(case);
            assert!(matches!(error, SignatureError::Malformed(_)), "{case}: {error}");
        }
        for text in ["", "Suite: x\n", "<html>sign in</html>", "-----BEGIN PGP MESSAGE-----\n"] {
            assert!(matches!(Cleartext::parse(text.as_bytes()), Err(SignatureError::Unsigned)), "{text}");
        }
    }

    #[test]
    fn blocks_in_a_file() {
        let text = format!("a comment\n{END}more\n{END}-----BEGIN PGP SIGNATURE-----\ncut off");
        assert_eq!(blocks(text.as_bytes(), "SIGNATURE"), [END.as_bytes(), END.as_bytes()]);
        assert!(blocks(text.as_bytes(), "PUBLIC KEY BLOCK").is_empty());
    }
}
