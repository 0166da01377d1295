//! Where metadata says that files are (`location`), relative to the repository. It may say anything.

use anyhow::{Result, bail};

/// Folders that a package may be above its repository; Amazon's are four above theirs.
const MAX_UP: usize = 16;

/// A path below a repository: relative, and never out of it.
pub fn below(path: &str) -> Result<String> {
    match plain(path) {
        Some(path) => Ok(path),
        None => bail!("its location {path:?} is not a path below the repository"),
    }
}

/// The path of a package. Distributions that keep each package once for many repositories have them beside these:
/// `../../blobstore/HASH/bash.rpm`. Where that leads is for whoever makes an address of it to judge.
pub fn of_package(path: &str) -> Result<String> {
    let mut rest = path;
    let mut up = 0;
    loop {
        if let Some(after) = rest.strip_prefix("../") {
            (rest, up) = (after, up + 1);
        } else if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else {
            break;
        }
    }
    match plain(rest) {
        Some(plain) if up <= MAX_UP => Ok("../".repeat(up) + &plain),
        _ => bail!("its location {path:?} is not a path from the repository"),
    }
}

/// The path without parts that are `.`, if no part of it has a meaning of its own to a server or to a file system.
fn plain(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| *part != ".").collect();
    let is_good = !parts.is_empty() && parts.iter().all(|part| is_plain(part)) && !parts[0].contains(':');
    is_good.then(|| parts.join("/"))
}

fn is_plain(part: &str) -> bool {
    let is_odd = |c: char| c.is_control() || matches!(c, '\\' | '?' | '#');
    // Servers and `file:` addresses decode these, and what comes of it may lead elsewhere.
    let decoded = part.to_ascii_lowercase().replace("%2e", ".");
    let is_hidden = ["%2f", "%5c", "%00"].iter().any(|code| decoded.contains(code));
    !part.is_empty() && !part.contains(is_odd) && !is_hidden && !matches!(decoded.as_str(), "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_a_repository() {
        for (path, expected) in [
            ("Packages/b/bash.rpm", Some("Packages/b/bash.rpm")),
            ("./repodata/./x.xml", Some("repodata/x.xml")),
            ("a%2bb~c^d/..x", Some("a%2bb~c^d/..x")),
            ("x:y", None),
            ("x/y:z", Some("x/y:z")),
            ("", None),
            (".", None),
            ("/etc/passwd", None),
            ("a//b", None),
            ("a/", None),
            ("../x", None),
            ("a/../b", None),
            ("a/%2E%2e/b", None),
            ("a/.%2e/b", None),
            ("a/..%2fb", None),
            ("a%5Cb", None),
            ("a%00", None),
            ("a\\b", None),
            ("a?b", None),
            ("a#b", None),
            ("a\nb", None),
            ("http://h/x", None),
        ] {
            assert_eq!(below(path).ok().as_deref(), expected, "{path:?}");
        }
    }

    #[test]
    fn paths_of_packages() {
        for (path, expected) in [
            ("Packages/bash.rpm", Some("Packages/bash.rpm")),
            ("../../../../blobstore/0123/bash.rpm", Some("../../../../blobstore/0123/bash.rpm")),
            ("./.././../x", Some("../../x")),
            ("../", None),
            ("..", None),
            ("../..", None),
            ("a/../b", None),
            ("../a/../b", None),
            ("../%2e%2e/b", None),
            ("..//b", None),
            ("/../b", None),
            ("../http://h/x", None),
            (&("../".repeat(16) + "x"), Some(&*("../".repeat(16) + "x"))),
            (&("../".repeat(17) + "x"), None),
        ] {
            assert_eq!(of_package(path).ok().as_deref(), expected, "{path:?}");
        }
    }
}
