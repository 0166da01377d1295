//! The `Dockerfile`, and the same settings for `docker import`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::{DOCKER_WITH_ZSTD, Image, LOCK, quote};
use crate::codec::Codec;
use crate::error::usage;
use crate::plan::Plan;
use crate::recipe;

/// Checks that settings can be said in a Dockerfile. A usage error names the key of the recipe.
pub fn validate(image: &recipe::Image) -> Result<()> {
    for (table, map) in [("env", &image.env), ("labels", &image.labels)] {
        for (key, value) in map {
            let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '=' | '"' | '\'' | '\\' | '$' | '#');
            if key.is_empty() || key.contains(odd) {
                return Err(usage(format!(
                    "image.{table}: {key:?} cannot be a key: use letters, digits, '_', '.' and '-'"
                )));
            }
            single_line(&format!("image.{table}.{key}"), value)?;
        }
    }
    for (key, words) in [("cmd", &image.cmd), ("entrypoint", &image.entrypoint)] {
        if words.iter().any(|word| word.contains('\0')) {
            return Err(usage(format!("image.{key}: an argument cannot hold a NUL byte")));
        }
        if words.first().is_some_and(String::is_empty) {
            return Err(usage(format!("image.{key}: the program's name is empty")));
        }
    }
    single_line("image.workdir", &image.workdir)?;
    if !image.workdir.is_empty() && !image.workdir.starts_with('/') {
        return Err(usage(format!("image.workdir: {:?} is not absolute; begin it with '/'", image.workdir)));
    }
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | ':');
    if !image.user.chars().all(name) || image.user.starts_with(['-', ':']) {
        return Err(usage(format!("image.user: {:?} is no user; give a name or an id, or USER:GROUP", image.user)));
    }
    Ok(())
}

fn single_line(key: &str, value: &str) -> Result<()> {
    if value.contains(['\0', '\n', '\r']) {
        return Err(usage(format!("{key}: a value of several lines cannot be written to a Dockerfile")));
    }
    Ok(())
}

/// The whole file.
pub fn render(image: &Image<'_>) -> Result<String> {
    let plan = image.plan;
    let version = env!("CARGO_PKG_VERSION");
    let tag = quote::shell(&tag(plan));
    let mut out = String::new();
    let head = [
        format!("{} {} for {}, made by mkbase {version}.", plan.name, plan.release, plan.arch.deb),
        String::new(),
        format!("Made of   {} packages, each with its hash in {LOCK}", image.installed.len()),
        format!("Recipe    {}, sha256:{}", image.recipe, plan.digest),
        format!("Again     {}", rebuild(image)),
        // Without it the image would count as one for the machine that docker runs on.
        format!("Build     docker build --platform {} -t {tag} .", platform(plan)),
        format!("Verify    sha256sum -c {}", super::CHECKSUMS),
    ];
    for line in head {
        // Names come from a recipe: none may end the comment.
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        writeln!(out, "{}", format!("# {line}").trim_end())?;
    }
    writeln!(out, "FROM scratch")?;
    if image.codec == Codec::Zstd {
        writeln!(
            out,
            "# Docker Engine {DOCKER_WITH_ZSTD} and newer unpack zstd here; older ones would copy the file."
        )?;
        // The rule's list of archives knows no .zst.
        writeln!(out, "# hadolint ignore=DL3020")?;
    }
    writeln!(out, "ADD {} /", image.codec.file_name())?;
    let labels: Vec<String> = labels(image)?.iter().map(|(key, value)| pair(key, value)).collect();
    writeln!(out, "LABEL {}", labels.join(" \\\n      "))?;
    for line in settings(&plan.image)? {
        writeln!(out, "{line}")?;
    }
    Ok(out)
}

/// The instructions that `docker import --change` takes as well, in the order of a Dockerfile.
pub fn settings(image: &recipe::Image) -> Result<Vec<String>> {
    let mut lines: Vec<String> = image.env.iter().map(|(key, value)| format!("ENV {}", pair(key, value))).collect();
    if !image.workdir.is_empty() {
        let plain = image.workdir.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        let workdir = if plain { image.workdir.clone() } else { quote::dockerfile(&image.workdir) };
        lines.push(format!("WORKDIR {workdir}"));
    }
    // Without the instruction it is root, and linters object to saying so.
    if !matches!(image.user.as_str(), "" | "root" | "0" | "root:root" | "0:0") {
        lines.push(format!("USER {}", image.user));
    }
    for (instruction, words) in [("ENTRYPOINT", &image.entrypoint), ("CMD", &image.cmd)] {
        if !words.is_empty() {
            let words: Vec<String> =
                words.iter().map(|word| quote::json(word)).collect::<Result<_, _>>().context("writing JSON")?;
            lines.push(format!("{instruction} [{}]", words.join(", ")));
        }
    }
    Ok(lines)
}

/// `docker import` for the tarball at `path`, to copy to a shell.
pub fn import(image: &Image<'_>, path: &str) -> Result<String> {
    let plan = image.plan;
    let mut line = String::from("docker import");
    if plan.arch.rust != std::env::consts::ARCH {
        write!(line, " --platform {}", platform(plan))?;
    }
    for setting in settings(&plan.image)? {
        write!(line, " --change {}", quote::shell(&setting))?;
    }
    write!(line, " {} {}", quote::shell(path), quote::shell(&tag(plan)))?;
    Ok(line)
}

/// Operating system, architecture and variant as container tools write them (OCI image-spec, `image-index.md`).
fn platform(plan: &Plan) -> String {
    let variant = if plan.arch.oci_variant.is_empty() { String::new() } else { format!("/{}", plan.arch.oci_variant) };
    format!("linux/{}{variant}", plan.arch.oci)
}

fn pair(key: &str, value: &str) -> String {
    format!("{key}={}", quote::dockerfile(value))
}

/// The labels of the OCI image-spec (`annotations.md`), and the recipe's own, which win.
fn labels(image: &Image<'_>) -> Result<BTreeMap<String, String>> {
    let plan = image.plan;
    let created = jiff::Timestamp::from_second(image.lock.epoch).context("writing the epoch as a date")?;
    let variant = if plan.variant.is_empty() { String::new() } else { format!(" ({})", plan.variant) };
    let spec = [
        ("created", created.to_string()),
        ("title", plan.name.clone()),
        ("version", plan.release.clone()),
        ("description", format!("{} {}{variant}, a base image made by mkbase", plan.name, plan.release)),
    ];
    let mut labels: BTreeMap<String, String> =
        spec.into_iter().map(|(key, value)| (format!("org.opencontainers.image.{key}"), value)).collect();
    labels.extend(plan.image.labels.iter().map(|(key, value)| (key.clone(), value.clone())));
    labels.values_mut().for_each(|value| value.retain(|c| !c.is_control()));
    Ok(labels)
}

/// The command that makes the image again, given in the output folder.
fn rebuild(image: &Image<'_>) -> String {
    let plan = image.plan;
    let mut words = vec!["mkbase".to_string(), "build".into(), format!("{}:{}", image.recipe, plan.release)];
    words.extend(["--arch".into(), plan.arch.deb.into()]);
    if !plan.variant.is_empty() {
        words.extend(["--variant".into(), plan.variant.clone()]);
    }
    words.extend_from_slice(image.options);
    words.extend(["--lock".into(), LOCK.into()]);
    words.iter().map(|word| quote::shell(word)).collect::<Vec<_>>().join(" ")
}

/// `NAME:RELEASE` in the letters that a reference may have (`distribution/reference`).
fn tag(plan: &Plan) -> String {
    let part = |text: &str, upper: bool| -> String {
        let text: String = text
            .chars()
            .map(|c| if upper { c } else { c.to_ascii_lowercase() })
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' })
            .collect();
        text.trim_matches(['-', '.', '_']).to_string()
    };
    let (name, release) = (part(&plan.name, false), part(&plan.release, true));
    let name = if name.is_empty() { "image".to_string() } else { name };
    if release.is_empty() { name } else { format!("{name}:{release}") }
}
