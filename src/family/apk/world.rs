//! What an image asks for, as the lines of apk's `world` (`apk-world(5)`).

use anyhow::Result;

use super::dependency::{Comparison, Dependency};
use super::pool::{Pool, Relation};
use super::solve::{Wish, display_order};
use crate::customise::timezone::is_utc;
use crate::error::{did_you_mean, usage};
use crate::plan::Plan;

/// The package with the time zones.
const TIME_ZONES: &str = "tzdata";

/// The lines of `world`, sorted as apk sorts them. `files` are in-house packages, as name and checksum; where a name
/// is there twice, what comes later holds.
pub fn lines<'a>(plan: &Plan, files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Vec<String>> {
    let mut lines: Vec<String> = Vec::new();
    if !is_utc(&plan.system.timezone) {
        lines.push(TIME_ZONES.to_owned());
    }
    for text in &plan.packages.include {
        let wish = parse(text, "packages.include")?;
        if wish.conflict {
            return Err(usage(format!("packages.include: '{text}' says what must not be there; put it under exclude")));
        }
        set(&mut lines, wish.to_string());
    }
    for (name, checksum) in files {
        set(&mut lines, format!("{name}><{checksum}"));
    }
    for text in &plan.packages.exclude {
        let wish = parse(text.trim_start_matches('!'), "packages.exclude")?;
        if wish.tag.is_some() {
            return Err(usage(format!(
                "packages.exclude: '{text}' has a tag, and whatever it comes from it is excluded"
            )));
        }
        if lines.iter().any(|line| name_of(line) == wish.name && !line.starts_with('!')) {
            return Err(usage(format!("the package {} is to be installed and excluded at once", wish.name)));
        }
        set(&mut lines, format!("!{wish}"));
    }
    lines.sort_by(|a, b| display_order(name_of(a), name_of(b)));
    Ok(lines)
}

fn parse<'t>(text: &'t str, key: &str) -> Result<Dependency<'t>> {
    let mistake =
        || usage(format!("{key}: '{text}' is not a package; write it as name, name=version, name~version or name@tag"));
    let wish = Dependency::parse_tagged(text).map_err(|_| mistake())?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-,:/[]".contains(c);
    let named = |text: &str| text.chars().all(plain);
    if !named(wish.name) || !wish.tag.is_none_or(named) || wish.is_broken() || wish.comparison == Comparison::CHECKSUM {
        return Err(mistake());
    }
    Ok(wish)
}

fn name_of(line: &str) -> &str {
    Dependency::parse_tagged(line).map_or(line, |wish| wish.name)
}

fn set(lines: &mut Vec<String>, line: String) {
    lines.retain(|known| name_of(known) != name_of(&line));
    lines.push(line);
}

/// The lines as the solver takes them.
pub fn wishes<'a>(lines: &'a [String], pool: &mut Pool<'a>) -> Result<Vec<Wish<'a>>> {
    let mut wishes = Vec::with_capacity(lines.len());
    for line in lines {
        let dependency = Dependency::parse_tagged(line)?;
        let Some(tag) = pool.tag(dependency.tag) else {
            let wanted = dependency.tag.unwrap_or_default();
            return Err(usage(format!(
                "'{line}': no repository has the tag '{wanted}'{}; give it to one with repository.tag",
                did_you_mean(wanted, pool.tags())
            )));
        };
        wishes.push(Wish { relation: Relation { name: pool.name_id(dependency.name), dependency }, tag });
    }
    Ok(wishes)
}

/// Whether the time zone can be had. Nobody wrote its package into a list, so the key that asks for it is named.
pub fn check_time_zone(plan: &Plan, pool: &mut Pool<'_>) -> Result<()> {
    let zone = &plan.system.timezone;
    if is_utc(zone) {
        return Ok(());
    }
    let name = pool.name_id(TIME_ZONES);
    if pool.name(name).providers.is_empty() {
        return Err(usage(format!(
            "system.timezone: '{zone}' needs the package {TIME_ZONES}, which no repository has"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, exit_code};
    use crate::plan::testing::plan;

    fn world(include: &[&str], exclude: &[&str], files: &[(&str, &str)], timezone: &str) -> Result<String> {
        let mut plan = plan();
        plan.packages.include = include.iter().map(ToString::to_string).collect();
        plan.packages.exclude = exclude.iter().map(ToString::to_string).collect();
        plan.system.timezone = timezone.to_owned();
        lines(&plan, files.iter().copied()).map(|lines| lines.join(" "))
    }

    #[test]
    fn lines_are_sorted_and_the_last_of_a_name_holds() {
        for (include, exclude, files, timezone, wanted) in [
            (&["b", "a", "C"][..], &[][..], &[][..], "UTC", "a b C"),
            (&["a", "a=1.0-r0"], &[], &[], "UTC", "a=1.0-r0"),
            (&["a=1.0-r0", "a@edge"], &[], &[], "UTC", "a@edge"),
            (&["a~=1.0"], &["b", "!c>2"], &[], "UTC", "a~1.0 !b !c>2"),
            (
                &["agent", "so:libz.so.1", "/bin/sh"],
                &[],
                &[("agent", "Q1x=")],
                "UTC",
                "/bin/sh agent><Q1x= so:libz.so.1",
            ),
            (&["a"], &[], &[], "Europe/Berlin", "a tzdata"),
        ] {
            assert_eq!(world(include, exclude, files, timezone).expect("it is right"), wanted);
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (include, exclude, message) in [
            (&["!a"][..], &[][..], "packages.include: '!a' says what must not be there"),
            (&["a b"], &[], "packages.include: 'a b' is not a package"),
            (&["a=x"], &[], "'a=x' is not a package"),
            (&["a><Q1x="], &[], "is not a package"),
            (&["a;b"], &[], "is not a package"),
            (&["a@e dge"], &[], "is not a package"),
            (&[""], &[], "is not a package"),
            (&[], &["a@edge"], "packages.exclude: 'a@edge' has a tag"),
            (&["a>1"], &["a"], "the package a is to be installed and excluded at once"),
        ] {
            let error = world(include, exclude, &[], "UTC").expect_err(message);
            assert!(error.to_string().contains(message), "{error}");
            assert_eq!(exit_code(&error), Exit::Usage);
        }
    }
}
