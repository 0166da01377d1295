//! `snapshot`: an archive as it was at one moment.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::node::Node;

/// How snapshot services write a moment in their addresses.
const FORM: &str = "%Y%m%dT%H%M%SZ";

/// The moment that archives are read at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// As addresses have it: `20261101T000000Z`.
    pub text: String,
    /// In seconds since 1970.
    pub time: i64,
}

/// The snapshot that a recipe asks for. An empty one is none, so that a recipe can do without its parent's.
pub fn of(recipe: &Node) -> anyhow::Result<Option<Snapshot>> {
    let Some(node) = recipe.get("snapshot") else { return Ok(None) };
    match node.text().unwrap_or_default() {
        "" => Ok(None),
        text => parse(text).map(Some).map_err(|error| node.refuse("snapshot", error)),
    }
}

fn parse(text: &str) -> Result<Snapshot, String> {
    let wrong = || format!("'{text}' is no moment: write it as in \"20261101T000000Z\", in universal time");
    let time = DateTime::strptime(FORM, text).and_then(|time| time.to_zoned(TimeZone::UTC)).map_err(|_| wrong())?;
    // The parser takes fewer digits too, and servers do not.
    if time.strftime(FORM).to_string() != text {
        return Err(wrong());
    }
    Ok(Snapshot { text: text.to_string(), time: time.timestamp().as_second() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(parse("20261101T000000Z").map(|s| s.time), Ok(1_793_491_200));
        assert_eq!(parse("19700101T000001Z").map(|s| s.time), Ok(1));
        for text in ["20261101", "2026-11-01T00:00:00Z", "20261301T000000Z", "20261101T000000", "20261101T0000Z", "x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
