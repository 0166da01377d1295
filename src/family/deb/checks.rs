//! The checks of Debian trees: dpkg's database, the files it knows, apt's sources.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use crate::check::{Check, Subject};
use crate::clean::{is_documentation, is_foreign};
use crate::root::Root;
use crate::sandbox::Output;

/// The checks of this family.
pub static CHECKS: &[Check] = &[
    Check {
        name: "dpkg/status",
        sentence: "Every package is wholly installed: nothing half-configured, nothing waiting for a trigger.",
        run: status,
    },
    Check { name: "dpkg/audit", sentence: "dpkg --audit finds nothing to mend.", run: audit },
    Check {
        name: "dpkg/verify",
        sentence: "dpkg --verify finds every file as its package shipped it, but for documentation, languages and \
                   changed conffiles.",
        run: verify,
    },
    Check {
        name: "apt/sources",
        sentence: "The image's apt can read its sources, and the keys they name are there.",
        run: sources,
    },
];

const DPKG: &str = "usr/bin/dpkg";
const APT: &str = "usr/bin/apt-get";

/// The end of what a failed command said.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("it said nothing");
    format!("exit code {}: {}", output.code, last.trim())
}

/// The third word of `Status` (dpkg-query(1)); `config-files` is what a removed package leaves.
fn status(subject: &Subject<'_>) -> Result<Vec<String>> {
    const PATH: &str = "var/lib/dpkg/status";
    let Some(text) = subject.root.read_text_if_there(PATH)? else {
        return Ok(vec![format!("/{PATH} is missing, so no package can be looked up; build the image anew")]);
    };
    let field = |stanza: &str, name: &str| -> Option<String> {
        stanza.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).map(|v| v.trim().to_string())
    };
    let fault = |stanza: &str| {
        let (package, status) = (field(stanza, "Package")?, field(stanza, "Status").unwrap_or_default());
        let words: Vec<&str> = status.split_whitespace().collect();
        match words.as_slice() {
            [_, "ok", "installed" | "config-files" | "not-installed"] => None,
            _ => Some(format!("the package {package} is '{status}'; run dpkg --configure -a in the tree and see why")),
        }
    };
    Ok(text.split("\n\n").filter_map(fault).collect())
}

fn audit(subject: &Subject<'_>) -> Result<Vec<String>> {
    if !subject.root.exists(DPKG) {
        return Ok(Vec::new());
    }
    let output = subject.run(&["dpkg", "--audit"], &[])?;
    let text = String::from_utf8_lossy(&output.stdout);
    // Paragraphs: a sentence, then the packages it is about, indented by one space.
    let packages: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix(' ')?.split_whitespace().next()).collect();
    if !packages.is_empty() {
        let what = text.lines().next().unwrap_or_default().trim_end_matches(':');
        return Ok(vec![format!("dpkg --audit: {what}: {}; reinstall them", packages.join(", "))]);
    }
    if output.code != 0 || !text.trim().is_empty() {
        return Ok(vec![format!(
            "dpkg --audit fails ({}); its database is damaged, build the image anew",
            said(&output)
        )]);
    }
    Ok(Vec::new())
}

/// Whether it is a conffile, and the path, of one line of `dpkg --verify`. The format is rpm's: nine columns of what
/// differs or `missing`, `c` for a conffile, the path.
fn verify_line(line: &str) -> Option<(bool, &Path)> {
    let path = &line[line.find(" /")? + 2..];
    let head = &line[..line.len() - path.len() - 1];
    // A missing file may be followed by why it could not be read.
    let path = path.split(" (").next().unwrap_or(path);
    Some((head.trim_end().ends_with(" c"), Path::new(path)))
}

fn verify(subject: &Subject<'_>) -> Result<Vec<String>> {
    if !subject.root.exists(DPKG) {
        return Ok(Vec::new());
    }
    let output = subject.run(&["dpkg", "--verify"], &[])?;
    // It ends with 1 when something differs, with 2 when it could not look.
    if output.code > 1 {
        return Ok(vec![format!(
            "dpkg --verify fails ({}); its database is damaged, build the image anew",
            said(&output)
        )]);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let fault = |line: &str| {
        let Some((is_conffile, path)) = verify_line(line) else {
            return Some(format!("dpkg --verify says '{}'; see dpkg(1) for what it means", line.trim()));
        };
        // Not every dpkg says `missing` of what is not there: that of Debian 11 says it has another hash.
        let is_missing = matches!(subject.root.lstat(path), Ok(None));
        let is_cleaned = (is_missing && !subject.system.docs && is_documentation(path))
            || (is_missing && is_foreign(path, &subject.system.locale))
            || path.starts_with("var/log");
        let is_meant = (is_conffile && !is_missing) || subject.placed.contains(path);
        let what = if is_missing { "missing" } else { "not as its package shipped it" };
        (!is_cleaned && !is_meant).then(|| format!("/{} is {what}; reinstall the package that owns it", path.display()))
    };
    Ok(text.lines().filter(|l| !l.trim().is_empty()).filter_map(fault).collect())
}

/// Asks apt what it would fetch: it reads every source and its options, neither the network nor the indexes, and
/// writes nothing as long as it has no place for its caches.
const PRINT_URIS: [&str; 7] =
    ["apt-get", "update", "--print-uris", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="];

fn sources(subject: &Subject<'_>) -> Result<Vec<String>> {
    if !subject.root.exists(APT) {
        return Ok(Vec::new());
    }
    let output = subject.run(&PRINT_URIS, &[])?;
    if output.code != 0 {
        return Ok(vec![format!("apt cannot read its sources ({}); correct /etc/apt/sources.list.d", said(&output))]);
    }
    if !output.stdout.starts_with(b"'") {
        return Ok(vec!["apt has no sources, so nothing can be installed or updated; add a [[repository]]".into()]);
    }
    let missing = keys(subject.root)?.into_iter().filter(|key| !subject.root.exists(key));
    Ok(missing
        .map(|key| format!("the key {key} of apt's sources is missing; include the package that ships it"))
        .collect())
}

/// The key files that enabled sources name, sources.list(5). Fingerprints and keys written out are no files.
fn keys(root: &Root) -> Result<BTreeSet<String>> {
    let mut texts = vec![(false, root.read_text_if_there("etc/apt/sources.list")?.unwrap_or_default())];
    for name in root.read_dir("etc/apt/sources.list.d")? {
        let path = Path::new("etc/apt/sources.list.d").join(&name);
        let is_deb822 = path.extension().is_some_and(|e| e == "sources");
        if is_deb822 || path.extension().is_some_and(|e| e == "list") {
            texts.push((is_deb822, root.read_text(path)?));
        }
    }
    let mut values: Vec<&str> = Vec::new();
    for (is_deb822, text) in &texts {
        if *is_deb822 {
            values.extend(deb822_keys(text))
        } else {
            values.extend(text.lines().filter_map(one_line_keys))
        }
    }
    let files = values.iter().flat_map(|v| v.split([',', ' ', '\t'])).filter(|key| key.starts_with('/'));
    Ok(files.map(ToString::to_string).collect())
}

/// The first line of `Signed-By` of every stanza that is not disabled.
fn deb822_keys(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").filter_map(move |stanza| {
        let fields = stanza.lines().filter_map(|l| l.split_once(':'));
        let value = |wanted: &str| {
            fields.clone().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
        };
        if value("Enabled").is_some_and(|v| ["no", "false", "0"].contains(&v)) { None } else { value("Signed-By") }
    })
}

/// `signed-by` of a one-line source: `deb [arch=amd64 signed-by=/key] URI SUITE`.
fn one_line_keys(line: &str) -> Option<&str> {
    let options = line.strip_prefix("deb")?.split_once('[')?.1.split_once(']')?.0;
    options.split_whitespace().find_map(|o| o.strip_prefix("signed-by="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{fails, find, look, says};
    use crate::clean::testing::{Tree, assert_well_formed};

    fn tree() -> Tree {
        let mut tree = Tree::new();
        tree.file(DPKG, "").file(APT, "").file("var/lib/dpkg/status", "");
        tree
    }

    #[test]
    fn names_and_sentences() {
        assert_well_formed(CHECKS.iter().map(|s| (s.name, s.sentence)));
    }

    #[test]
    fn states_of_packages() {
        let check = find(CHECKS, "dpkg/status");
        for (state, faults) in [
            ("install ok installed", 0),
            ("hold ok installed", 0),
            ("deinstall ok config-files", 0),
            ("install ok half-configured", 1),
            ("install ok unpacked", 1),
            ("install ok triggers-pending", 1),
            ("install reinstreq installed", 1),
            ("", 1),
        ] {
            let mut tree = tree();
            let text =
                format!("Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: {state}\nVersion: 1\n\n");
            tree.file("var/lib/dpkg/status", &text);
            assert_eq!(look(check, &tree, says("")).len(), faults, "{state}");
        }
        assert!(look(check, &Tree::new(), says(""))[0].contains("missing"));
    }

    #[test]
    fn audits() {
        let check = find(CHECKS, "dpkg/audit");
        assert_eq!(look(check, &tree(), says("")), [""; 0]);
        let text = "The following packages are only half configured, probably due to problems\nconfiguring them:\n bash  GNU shell\n";
        assert!(look(check, &tree(), says(text))[0].contains("half configured"));
        assert!(look(check, &tree(), says(text))[0].contains(": bash;"));
        assert!(look(check, &tree(), fails(2, "dpkg: error: parsing\n"))[0].contains("exit code 2: dpkg: error"));
    }

    #[test]
    fn files_that_differ() {
        let check = find(CHECKS, "dpkg/verify");
        // Line, whether it is a fault. The file is there only if the tree below has it.
        for (line, is_fault) in [
            ("??5?????? c /etc/default/ssh", false),
            ("missing   c /etc/default/ssh", true),
            ("??5??????   /usr/bin/env", true),
            ("missing     /usr/bin/env", true),
            ("missing     /usr/bin/two words (Permission denied)", true),
            ("missing     /usr/share/doc/a/README", false),
            ("??5??????   /usr/share/doc/a/README", false),
            ("??5??????   /usr/share/doc/a/changed", true),
            ("missing     /usr/share/doc/a/copyright", true),
            ("missing     /usr/share/locale/de/LC_MESSAGES/a.mo", false),
            ("??5??????   /var/log/owned", false),
            ("??5??????   /opt/placed", false),
            ("something else", true),
        ] {
            let mut tree = tree();
            tree.places("opt/placed").file("etc/default/ssh", "").file("usr/share/doc/a/changed", "");
            if line.starts_with("missing   c") {
                tree = self::tree();
            }
            let output = Output { code: 1, ..says(&format!("{line}\n")) };
            assert_eq!(!look(check, &tree, output.clone()).is_empty(), is_fault, "{line}");
            tree.system.docs = true;
            assert_eq!(!look(check, &tree, output).is_empty(), is_fault || line.ends_with("README"), "{line}, docs");
        }
        assert!(look(check, &tree(), fails(2, "cannot read\n"))[0].contains("cannot read"));
    }

    #[test]
    fn sources_of_apt() {
        let check = find(CHECKS, "apt/sources");
        let mut tree = tree();
        tree.file("usr/share/keyrings/a.gpg", "");
        let uris = says("'http://example.org/debian/dists/x/InRelease' example.org_debian_dists_x_InRelease 0\n");
        assert_eq!(look(check, &tree, uris.clone()), [""; 0]);
        let stanza = |key: &str| format!("Types: deb\nURIs: http://example.org\nSigned-By: {key}\n");
        let both = format!("{}\nEnabled: no\n{}", stanza("/usr/share/keyrings/a.gpg"), stanza("/off.gpg"));
        tree.file("etc/apt/sources.list.d/a.sources", &both).file("etc/apt/sources.list.d/a.save", &stanza("/no"));
        tree.file("etc/apt/sources.list", "# deb [signed-by=/no.gpg] x\ndeb http://example.org x main\n");
        assert_eq!(look(check, &tree, uris.clone()), [""; 0]);
        tree.file("etc/apt/sources.list.d/b.sources", &stanza("/b.gpg ABCDEF"));
        tree.file("etc/apt/sources.list.d/c.sources", &stanza("\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n /x"));
        tree.file(
            "etc/apt/sources.list.d/d.list",
            "deb [arch=amd64 signed-by=/d.gpg,/e.gpg] http://example.org x main\n",
        );
        let missing = look(check, &tree, uris);
        let keys = ["/b.gpg", "/d.gpg", "/e.gpg"];
        assert_eq!(missing.len(), keys.len(), "{missing:?}");
        assert!(missing.iter().zip(keys).all(|(fault, key)| fault.contains(key)), "{missing:?}");
        assert!(look(check, &tree, says(""))[0].contains("no sources"));
        let broken = fails(100, "E: Type 'debx' is not known\n");
        assert!(look(check, &tree, broken)[0].contains("Type 'debx'"));
    }
}
