//! What a `Release` must say before anything it lists is believed, and which indexes it has for us.

use anyhow::{Result, bail};

use super::release::{Listed, Release, show_time};
use crate::codec::Codec;
use crate::error::{did_you_mean, usage};
use crate::plan::Repository;

/// Clocks of builders and archives differ by a little; a `Date` this many seconds ahead is still no mistake.
const FUTURE_TOLERANCE: i64 = 10 * 60;

/// An index that is wanted, in every compression that is listed, the preferred one first.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Path without ending, below the `Release`: `main/binary-amd64/Packages`.
    pub path: String,
    /// Compression and what is listed about the file.
    pub files: Vec<(Codec, Listed)>,
    /// Size in bytes when unpacked, if that is listed.
    pub size: Option<u64>,
}

/// Whether it is the suite that was asked for. A signature says only that the archive made it: somebody on the way can
/// put one suite in another's place. `Some` is a doubt to tell people about.
///
/// Archives of one suite are known to leave out `Suite` or `Codename` or to fill in one of them at random; so the
/// names are held against it only where both are given and neither is right.
pub fn check_names(release: &Release, repository: &Repository) -> Result<Option<String>> {
    let asked = repository.suite.as_str();
    if asked.ends_with('/') {
        return Ok(None);
    }
    let same = |name: &Option<String>| name.as_deref() == Some(asked);
    if same(&release.suite) || same(&release.codename) {
        return Ok(None);
    }
    let said = match (&release.codename, &release.suite) {
        (None, None) => return Ok(None),
        (Some(codename), Some(suite)) if !repository.trusted => {
            bail!(
                "its Release is of the suite '{suite}' with the code name '{codename}', '{asked}' was asked for: \
                 correct the suite, or use another mirror"
            );
        }
        (Some(name), _) | (None, Some(name)) => name,
    };
    Ok(Some(format!("repository '{}': its Release calls itself '{said}', '{asked}' was asked for", repository.name)))
}

/// Whether it is neither of the future nor too old. `now` is in seconds since 1970. Gives its date, 0 where a trusted
/// repository has none.
pub fn check_times(release: &Release, repository: &Repository, now: i64) -> Result<i64> {
    let date = match release.date {
        Some(date) => date,
        None if repository.trusted => 0,
        None => bail!("its Release has no Date, and without one an old copy cannot be told from a new one"),
    };
    if date > now + FUTURE_TOLERANCE {
        bail!(
            "its Release is from the future: made {}, and now it is {}; set the clock of this machine, or wait",
            show_time(date),
            show_time(now)
        );
    }
    if let Some(moment) = repository.snapshot {
        if moment > now {
            return Err(usage(format!(
                "the snapshot of {} is still to come: it is {}; choose one that is past",
                show_time(moment),
                show_time(now)
            )));
        }
        if date > moment {
            bail!(
                "its Release is of {}, later than the snapshot of {}: the mirror does not keep snapshots; use another",
                show_time(date),
                show_time(moment)
            );
        }
    }
    if let Some(end) = release.valid_until
        && repository.check_valid_until
        // A snapshot is old on purpose.
        && repository.snapshot.is_none()
        && end < now
    {
        bail!(
            "its Release is expired: made {}, valid until {}, and now it is {}; use a mirror that is up to date, or, \
             for an archive that does not change any more, set check_valid_until = false in the recipe or give \
             --set check_valid_until=false",
            show_time(date),
            show_time(end),
            show_time(now)
        );
    }
    Ok(date)
}

/// The `Packages` files to read for an architecture.
pub fn wanted_indexes(release: &Release, repository: &Repository, arch: &str) -> Result<Vec<Wanted>> {
    if repository.suite.ends_with('/') {
        return Ok(vec![listed(release, "Packages".into()).ok_or_else(|| no_index("Packages"))?]);
    }
    if !release.architectures.is_empty() && !release.architectures.iter().any(|a| a == arch) {
        let hint = did_you_mean(arch, release.architectures.iter().map(String::as_str));
        return Err(usage(format!(
            "its suite {} has no architecture '{arch}'{hint} (it has {})",
            repository.suite,
            release.architectures.join(", ")
        )));
    }
    // Where `all` is named among the architectures, its packages need not be in each one's index. Some archives list
    // an index of it without naming it, and do not even have the file.
    let names_all = release.architectures.is_empty() || release.architectures.iter().any(|a| a == "all");
    let has_all = names_all && !release.all_in_each;
    let mut indexes = Vec::new();
    for component in &repository.components {
        if !release.components.is_empty() && !release.has_component(component) {
            let known: Vec<&str> = release.component_names().collect();
            let hint = did_you_mean(component, known.iter().copied());
            return Err(usage(format!(
                "its suite {} has no component '{component}'{hint} (it has {})",
                repository.suite,
                known.join(", ")
            )));
        }
        let path = format!("{component}/binary-{arch}/Packages");
        let own = listed(release, path.clone());
        let all = has_all.then(|| listed(release, format!("{component}/binary-all/Packages"))).flatten();
        if own.is_none() && all.is_none() {
            return Err(no_index(&path));
        }
        indexes.extend(own.into_iter().chain(all));
    }
    Ok(indexes)
}

fn no_index(path: &str) -> anyhow::Error {
    usage(format!("its Release lists no {path} with a SHA256"))
}

fn listed(release: &Release, path: String) -> Option<Wanted> {
    let find = |codec: Codec| release.files.get(&format!("{path}{}", codec.ending()));
    let files: Vec<_> = Codec::ALL.into_iter().filter_map(|codec| Some((codec, find(codec)?.clone()))).collect();
    let size = find(Codec::None).map(|file| file.size);
    (!files.is_empty()).then_some(Wanted { path, files, size })
}

/// The text of a clear-signed message without looking at the signature (RFC 9580, 7.1), or the text itself if it is
/// not signed. Only for repositories that are trusted whatever they say.
pub fn without_signature(message: &str) -> String {
    let Some(rest) = message.trim_start().strip_prefix("-----BEGIN PGP SIGNED MESSAGE-----") else {
        return message.to_owned();
    };
    let body = rest.lines().skip(1).skip_while(|line| !line.trim().is_empty()).skip(1);
    let body = body.take_while(|line| !line.starts_with("-----BEGIN PGP SIGNATURE-----"));
    body.fold(String::new(), |text, line| text + line.strip_prefix("- ").unwrap_or(line) + "\n")
}

#[cfg(test)]
#[path = "suite_tests.rs"]
mod tests;
