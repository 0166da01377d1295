//! Quoting for the two languages that the output speaks: Dockerfile and shell.

/// A word of a Dockerfile's `ENV`, `LABEL` or `WORKDIR`: in double quotes, where a backslash takes the meaning from the
/// quote and the dollar. Backslashes themselves stand outside the quotes: Docker reads them in there as well, but
/// hadolint takes `\\"` for a quote that does not end the word. A line break cannot be written at all.
pub fn dockerfile(value: &str) -> String {
    let part = |part: &str| format!("\"{}\"", part.replace('"', r#"\""#).replace('$', r"\$"));
    let parts: Vec<String> = value.split('\\').map(part).collect();
    parts.join(r"\\")
}

/// A string in JSON. Backslashes as their number, again for hadolint, which takes `\\"` for an escaped quote.
pub fn json(value: &str) -> serde_json::Result<String> {
    let mut parts = Vec::new();
    for part in value.split('\\') {
        let quoted = serde_json::to_string(part)?;
        parts.push(quoted[1..quoted.len() - 1].to_string());
    }
    Ok(format!("\"{}\"", parts.join(r"\u005c")))
}

/// A word for a POSIX shell; in quotes only where it needs them.
pub fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_dockerfile() {
        for (value, want) in [
            ("plain", r#""plain""#),
            ("", r#""""#),
            ("two words", r#""two words""#),
            (r#"say "hi""#, r#""say \"hi\"""#),
            (r"C:\dir\", r#""C:"\\"dir"\\"""#),
            (r#"\\" \$"#, r#"""\\""\\"\" "\\"\$""#),
            ("$HOME ${X:-y}", r#""\$HOME \${X:-y}""#),
            ("it's #1 = ünïcödé", r#""it's #1 = ünïcödé""#),
        ] {
            assert_eq!(dockerfile(value), want);
        }
    }

    #[test]
    fn strings_of_json_read_back() {
        for value in ["", "plain", "\"", "\\", "\"\\\"", r"C:\dir\", "a\nb\u{1}", "ü", "$X", r"\u005c"] {
            let text = json(value).expect("JSON");
            assert_eq!(serde_json::from_str::<String>(&text).expect("JSON"), value, "{text}");
            assert!(!text.contains(r"\\"), "{text}");
        }
    }

    #[test]
    fn shell_reads_words_back() {
        for word in ["plain", "", "two words", "it's", r"a\b", "$HOME `id` $(id)", "*", "~", "#x", "a\nb", "ü", "''"] {
            let script = format!("printf %s {}", shell(word));
            let output = std::process::Command::new("sh").arg("-c").arg(script).output().expect("a shell");
            assert_eq!(String::from_utf8(output.stdout).expect("text"), word);
        }
        assert_eq!(shell("out/debian-13/rootfs.tar.xz"), "out/debian-13/rootfs.tar.xz");
    }
}
