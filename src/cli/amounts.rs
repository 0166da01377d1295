//! Times and sizes on the command line.

use std::time::Duration;

use crate::error::did_you_mean;

/// Units of time and their seconds.
const TIMES: [(&str, u64); 5] = [("s", 1), ("min", 60), ("h", 3600), ("d", 86_400), ("w", 7 * 86_400)];
/// Units of size and their bytes. As everywhere in this program, those of one letter are powers of 1000.
const SIZES: [(&str, u64); 9] = [
    ("", 1),
    ("k", 1000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads a time: `12h`, `30d`, `2w`.
pub(super) fn parse_age(text: &str) -> Result<Duration, String> {
    parse(text, &TIMES, "a time, as in 30d").map(Duration::from_secs)
}

/// Reads a number of bytes: `500M`, `5G`, `4GiB`.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.strip_suffix("B").filter(|rest| !rest.ends_with('i')).unwrap_or(text);
    let text = text.strip_suffix('K').map_or_else(|| text.to_string(), |number| format!("{number}k"));
    parse(&text, &SIZES, "a size, as in 5G")
}

fn parse(text: &str, units: &[(&str, u64)], what: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let names = || units.iter().map(|(name, _)| *name).filter(|name| !name.is_empty());
    let known = units.iter().find(|(name, _)| *name == unit.trim_start());
    let Some((_, factor)) = known.filter(|_| digits > 0) else {
        let hint = did_you_mean(unit, names());
        return Err(format!("it must be {what}{hint} (units: {})", names().collect::<Vec<_>>().join(", ")));
    };
    let number: Option<u64> = number.parse().ok();
    number.and_then(|number| number.checked_mul(*factor)).ok_or_else(|| "it is too large".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, expected) in [
            ("30d", Some(30 * 86_400)),
            ("2w", Some(14 * 86_400)),
            ("12 h", Some(12 * 3600)),
            ("5min", Some(300)),
            ("0s", Some(0)),
            ("30", None),
            ("d", None),
            ("", None),
            ("-1d", None),
            ("1.5d", None),
            ("3m", None),
            ("99999999999999999999d", None),
            ("9999999999999999999w", None),
        ] {
            assert_eq!(parse_age(text).ok(), expected.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("123", Some(123)),
            ("500M", Some(500_000_000)),
            ("500MB", Some(500_000_000)),
            ("5G", Some(5_000_000_000)),
            ("4GiB", Some(4 << 30)),
            ("1K", Some(1000)),
            ("1kB", Some(1000)),
            ("7B", Some(7)),
            ("5g", None),
            ("G", None),
            ("", None),
            ("-5G", None),
            ("99999999999T", None),
        ] {
            assert_eq!(parse_size(text).ok(), expected, "{text:?}");
        }
    }
}
