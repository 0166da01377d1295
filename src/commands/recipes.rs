//! `mkbase recipes`: the built-in recipes.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use crate::recipe;

/// What the command prints: the list, or one recipe as it is.
pub fn recipes(name: Option<&str>) -> Result<String> {
    match name {
        Some(name) => Ok(recipe::text(name)?.to_string()),
        None => list(),
    }
}

fn list() -> Result<String> {
    let mut out = String::new();
    for name in recipe::names() {
        let table: toml::Table =
            recipe::text(name)?.parse().with_context(|| format!("reading the built-in recipe {name}"))?;
        let text = |key: &str| table.get(key).and_then(toml::Value::as_str).unwrap_or_default();
        writeln!(out, "{name}: {}", text("description"))?;
        let releases: Vec<_> = strings(&table, "releases")
            .map(|release| (starred(release, release == text("release")), aliases(&table, release)))
            .collect();
        rows(&mut out, "releases", releases)?;
        writeln!(out, "    archs     {}", strings(&table, "archs").collect::<Vec<_>>().join(", "))?;
        let variants = table.get("variant").and_then(toml::Value::as_table).into_iter().flatten();
        let variants = variants.map(|(name, value)| {
            let description = value.get("description").and_then(toml::Value::as_str).unwrap_or_default();
            (starred(name, name == text("default_variant")), description.to_string())
        });
        rows(&mut out, "variants", variants)?;
        out.push('\n');
    }
    out.push_str("* is the default. Build one with: mkbase build NAME[:RELEASE] [--variant VARIANT]\n");
    Ok(out)
}

fn starred(text: &str, star: bool) -> String {
    if star { format!("{text}*") } else { text.to_string() }
}

/// Names with what is to be said of each, under a label.
fn rows(out: &mut String, label: &str, rows: impl IntoIterator<Item = (String, String)>) -> Result<()> {
    let mut label = label;
    for (name, what) in rows {
        writeln!(out, "{}", format!("    {label:<9} {name:<11} {what}").trim_end())?;
        label = "";
    }
    Ok(())
}

fn strings<'a>(table: &'a toml::Table, key: &str) -> impl Iterator<Item = &'a str> {
    table.get(key).and_then(toml::Value::as_array).into_iter().flatten().filter_map(toml::Value::as_str)
}

/// The aliases of a release: `13, stable`.
fn aliases(table: &toml::Table, release: &str) -> String {
    let aliases = table.get("aliases").and_then(toml::Value::as_table).into_iter().flatten();
    let names: Vec<_> =
        aliases.filter(|(_, target)| target.as_str() == Some(release)).map(|(alias, _)| alias.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_marks_the_defaults() {
        let list = recipes(None).expect("it lists");
        assert!(list.contains("debian: Debian GNU/Linux\n"), "{list}");
        assert!(list.contains("\n    releases  bullseye    11, oldoldstable\n"), "{list}");
        assert!(list.contains("\n              trixie*     13, stable\n"), "{list}");
        assert!(list.contains(" minbase*    essential, and apt\n"), "{list}");
        assert!(list.contains("ubuntu: "), "{list}");
        assert!(list.lines().all(|line| line.chars().count() <= 100 && !line.ends_with(' ')), "{list}");
    }

    #[test]
    fn one_is_printed_as_it_is() {
        assert!(recipes(Some("debian")).expect("it is built in").contains("\nname        = \"debian\"\n"));
        let error = recipes(Some("debain")).expect_err("there is none");
        assert_eq!(crate::error::exit_code(&error), crate::error::Exit::Usage);
        assert!(error.to_string().contains("did you mean 'debian'?"), "{error}");
    }
}
