//! What must hold of an RPM tree besides the list of every image.

use anyhow::Result;

use super::{database, sqlite};
use crate::check::{Check, Subject};

/// The checks of this family.
pub static CHECKS: &[Check] = &[Check {
    name: "rpm/database",
    sentence: "The RPM database is sound, one file, and every package in it can be read.",
    run: database_is_sound,
}];

fn database_is_sound(subject: &Subject<'_>) -> Result<Vec<String>> {
    let Some(path) = database::find(subject.root) else {
        return Ok(vec!["there is no RPM database".to_owned()]);
    };
    let sound = sqlite::check(subject.root, &path).and_then(|()| database::identities(subject.root));
    Ok(sound.err().map(|error| format!("{error:#}")).into_iter().collect())
}
