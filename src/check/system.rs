//! A shell, the time zone, the locale.

use std::path::Path;

use anyhow::Result;

use super::{Check, Subject, settings};
use crate::clean::real_target;
use crate::customise::timezone::is_utc;
use crate::sandbox::Output;

pub(super) const CHECKS: &[Check] = &[
    Check { name: "shell/runs", sentence: "/bin/sh runs.", run: shell },
    Check {
        name: "time/zone",
        sentence: "/etc/localtime and /etc/timezone lead to the chosen time zone.",
        run: timezone,
    },
    Check { name: "locale/works", sentence: "The chosen locale works and is the default one.", run: locale },
];

/// The first line that a command said, for a message.
fn first_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing").trim().to_string()
}

fn shell(subject: &Subject<'_>) -> Result<Vec<String>> {
    let output = subject.run(&["/bin/sh", "-c", "echo $((40 + 2))"], &[])?;
    if output.code == 0 && output.stdout == b"42\n" {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "/bin/sh does not run (exit code {}: {}); is a shell installed, and is the image of this machine's architecture?",
        output.code,
        first_line(&output)
    )])
}

/// tzfile(5).
const MAGIC: &[u8] = b"TZif";

fn timezone(subject: &Subject<'_>) -> Result<Vec<String>> {
    const LOCALTIME: &str = "etc/localtime";
    let (root, zone) = (subject.root, subject.system.timezone.as_str());
    let mut faults = Vec::new();
    if let Some(text) = root.read_text_if_there("etc/timezone")?
        && text.trim() != zone
    {
        faults.push(format!("/etc/timezone says '{}', not {zone}; write {zone} into it", text.trim()));
    }
    let wanted = Path::new("usr/share/zoneinfo").join(zone);
    if root.lstat(LOCALTIME)?.is_none() {
        if !is_utc(zone) {
            faults
                .push(format!("/etc/localtime is missing, so it is UTC, not {zone}; link it to /{}", wanted.display()));
        }
        return Ok(faults);
    }
    let Some(target) = real_target(root, Path::new(LOCALTIME))? else {
        faults.push(format!("/etc/localtime leads nowhere; include tzdata, and link it to /{}", wanted.display()));
        return Ok(faults);
    };
    let data = root.read(&target)?;
    let same = if root.exists(&wanted) { root.read(&wanted)? == data } else { target.ends_with(zone) || is_utc(zone) };
    if !data.starts_with(MAGIC) {
        faults.push(format!("/etc/localtime is no time zone file; link it to /{}", wanted.display()));
    } else if !same {
        faults.push(format!("/etc/localtime is /{}, not {zone}; link it to /{}", target.display(), wanted.display()));
    }
    Ok(faults)
}

fn locale(subject: &Subject<'_>) -> Result<Vec<String>> {
    let chosen = subject.system.locale.as_str();
    let mut faults = Vec::new();
    if let Some(default) = settings::locale(subject.root)?
        && default != chosen
    {
        faults.push(format!("the default locale is {default}, not {chosen}; set LANG={chosen} where that one is set"));
    }
    // musl has no such program, and one locale.
    if !subject.root.exists("usr/bin/locale") {
        return Ok(faults);
    }
    let output = subject.run(&["locale", "charmap"], &[("LC_ALL", chosen)])?;
    let charset = String::from_utf8_lossy(&output.stdout).trim().to_string();
    let wanted = chosen.split('@').next().and_then(|l| l.split_once('.')).map(|(_, charset)| charset);
    if output.code != 0 || !output.stderr.is_empty() {
        faults.push(format!(
            "the locale {chosen} does not work: {}; generate it, or choose another",
            first_line(&output)
        ));
    } else if wanted.is_some_and(|wanted| plain(wanted) != plain(&charset)) {
        faults.push(format!("the locale {chosen} has the charset {charset}; generate it anew"));
    }
    Ok(faults)
}

/// A charset name without what spellings differ in.
fn plain(charset: &str) -> String {
    charset.to_lowercase().replace(['-', '_'], "")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{fails, find, look, says};
    use super::*;
    use crate::clean::testing::Tree;

    #[test]
    fn a_shell() {
        let check = find(CHECKS, "shell/runs");
        assert_eq!(look(check, &Tree::new(), says("42\n")), [""; 0]);
        let faults = look(check, &Tree::new(), fails(127, "sh: not found\n"));
        assert!(faults[0].contains("127: sh: not found"), "{faults:?}");
        assert_eq!(look(check, &Tree::new(), says("")).len(), 1);
    }

    #[test]
    fn time_zones() {
        let check = find(CHECKS, "time/zone");
        let tree = || {
            let mut tree = Tree::new();
            tree.file("usr/share/zoneinfo/Etc/UTC", "TZif utc").file("usr/share/zoneinfo/Asia/Tokyo", "TZif tokyo");
            tree
        };
        // Zone, localtime as a link, timezone, a word of each fault.
        let cases: [(&str, &str, &str, &[&str]); 8] = [
            ("Etc/UTC", "", "", &[]),
            ("Asia/Tokyo", "", "", &["missing"]),
            ("Asia/Tokyo", "/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo", &[]),
            ("Asia/Tokyo", "../usr/share/zoneinfo/Asia/Tokyo", "", &[]),
            ("Asia/Tokyo", "/usr/share/zoneinfo/Asia/Tokyo", "Etc/UTC", &["timezone"]),
            ("Asia/Tokyo", "/usr/share/zoneinfo/Etc/UTC", "Asia/Tokyo", &["not Asia/Tokyo"]),
            ("Asia/Tokyo", "/usr/share/zoneinfo/Asia/Kyoto", "", &["nowhere"]),
            ("Asia/Tokyo", "/etc/passwd", "", &["no time zone file"]),
        ];
        for (zone, link, text, words) in cases {
            let mut tree = tree();
            tree.file("etc/passwd", "x").system.timezone = zone.into();
            if !link.is_empty() {
                tree.link(link, "etc/localtime");
            }
            if !text.is_empty() {
                tree.file("etc/timezone", &format!("{text}\n"));
            }
            let faults = look(check, &tree, says(""));
            assert_eq!(faults.len(), words.len(), "{faults:?}");
            assert!(faults.iter().zip(words).all(|(fault, word)| fault.contains(word)), "{faults:?}");
        }
    }

    #[test]
    fn locales() {
        let check = find(CHECKS, "locale/works");
        let mut tree = Tree::new();
        tree.file("usr/bin/locale", "").file("etc/default/locale", "LANG=C.UTF-8\n");
        assert_eq!(look(check, &tree, says("UTF-8\n")), [""; 0]);
        assert!(look(check, &tree, says("ANSI_X3.4-1968\n"))[0].contains("ANSI"));
        let unset = Output { stderr: b"locale: Cannot set LC_ALL\n".to_vec(), ..says("ANSI_X3.4-1968\n") };
        assert!(look(check, &tree, unset)[0].contains("Cannot set"));
        tree.file("etc/default/locale", "LANG=en_US.UTF-8\n");
        assert!(look(check, &tree, says("UTF-8\n"))[0].contains("en_US.UTF-8, not C.UTF-8"));
    }
}
