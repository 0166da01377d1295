//! Package versions and their order (`deb-version(7)`).

use std::cmp::Ordering;

use anyhow::{Result, bail};

/// Compares two versions as dpkg does. Every string has a place in the order, also those that are not valid.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (split(a), split(b));
    compare_digits(a.0, b.0).then_with(|| compare_part(a.1, b.1)).then_with(|| compare_part(a.2, b.2))
}

/// Checks that a version has the form `[epoch:]upstream[-revision]` with the characters dpkg allows.
pub fn validate(version: &str) -> Result<()> {
    let (epoch, upstream, revision) = split(version);
    if version.contains(':') && (epoch.parse::<u32>().is_err() || !epoch.bytes().all(|b| b.is_ascii_digit())) {
        bail!("'{version}' is not a version: the epoch before ':' must be a number");
    }
    if !upstream.starts_with(|c: char| c.is_ascii_digit()) {
        bail!("'{version}' is not a version: the upstream part must begin with a digit");
    }
    let known = |b: u8, more: &[u8]| b.is_ascii_alphanumeric() || b".+~".contains(&b) || more.contains(&b);
    if !upstream.bytes().all(|b| known(b, b"-:")) || !revision.bytes().all(|b| known(b, b"")) {
        bail!("'{version}' is not a version: only letters, digits and . + ~ - : may be in it");
    }
    if version.ends_with('-') {
        bail!("'{version}' is not a version: the revision after '-' is empty");
    }
    Ok(())
}

/// Epoch, upstream version, revision. A missing epoch or revision is the same as `0`, which sorts as the empty string.
fn split(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Compares parts that alternate between text and numbers, beginning with (perhaps empty) text.
fn compare_part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while !(a.is_empty() && b.is_empty()) {
        let (text_a, rest_a) = take(a, |c| !c.is_ascii_digit());
        let (text_b, rest_b) = take(b, |c| !c.is_ascii_digit());
        let (digits_a, next_a) = take(rest_a, |c| c.is_ascii_digit());
        let (digits_b, next_b) = take(rest_b, |c| c.is_ascii_digit());
        let order = compare_text(text_a, text_b).then_with(|| compare_digits(digits_a, digits_b));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (next_a, next_b);
    }
    Ordering::Equal
}

fn take(text: &str, which: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|b| !which(b)).unwrap_or(text.len());
    // Digits are ASCII, so a border between digits and the rest is a border between characters.
    text.split_at(end)
}

/// `~` before the end of the part, the end before letters, letters before everything else.
fn compare_text(a: &str, b: &str) -> Ordering {
    fn weight(byte: Option<u8>) -> i32 {
        match byte {
            None => 0,
            Some(b'~') => -1,
            Some(b) if b.is_ascii_alphabetic() => i32::from(b),
            Some(b) => i32::from(b) + 256,
        }
    }
    (0..a.len().max(b.len()))
        .map(|i| weight(a.as_bytes().get(i).copied()).cmp(&weight(b.as_bytes().get(i).copied())))
        .find(|order| *order != Ordering::Equal)
        .unwrap_or(Ordering::Equal)
}

/// Compares numbers of any length by value.
fn compare_digits(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// From low to high; versions on one line are equal.
    const ORDER: &[&[&str]] = &[
        &["~~"],
        &["~~a"],
        &["~"],
        &["", "0", "0:0", "0-0", "00"],
        &["0+"],
        &["0.0~rc1"],
        &["0.0", "0.0-0"],
        &["1~~"],
        &["1~rc1-1"],
        &["1~rc1-1+b1"],
        &["1~rc2"],
        &["1", "1-0", "01", "0:1"],
        &["1-0.1"],
        &["1-1~bpo12+1"],
        &["1-1"],
        &["1-1+b1"],
        &["1-1+deb12u1"],
        &["1-1+deb12u10"],
        &["1-1.1"],
        &["1-2"],
        &["1-10"],
        &["1a"],
        &["1b"],
        &["1+"],
        &["1+dfsg-1"],
        &["1-2-1"],
        &["1.0"],
        &["1.0.1"],
        &["1.2.3"],
        &["1.10"],
        &["20240101"],
        &["184467440737095516150"],
        &["184467440737095516151"],
        &["1:0"],
        &["1:0.1"],
        &["2:0~"],
        &["2:0"],
    ];

    fn pairs() -> Vec<(&'static str, &'static str, Ordering)> {
        let flat: Vec<(usize, &str)> =
            ORDER.iter().enumerate().flat_map(|(rank, same)| same.iter().map(move |v| (rank, *v))).collect();
        flat.iter().flat_map(|a| flat.iter().map(move |b| (a.1, b.1, a.0.cmp(&b.0)))).collect()
    }

    #[test]
    fn the_whole_table_is_ordered() {
        for (a, b, order) in pairs() {
            assert_eq!(compare(a, b), order, "{a:?} and {b:?}");
        }
    }

    #[test]
    fn dpkg_orders_the_table_so_too() {
        if Command::new("dpkg").arg("--version").output().is_err() {
            eprintln!("skipped: dpkg_orders_the_table_so_too: needs dpkg");
            return;
        }
        // Neighbours suffice: the order is transitive, and a process for each of a thousand pairs takes seconds.
        let flat: Vec<&str> = ORDER.iter().flat_map(|same| same.iter().copied()).collect();
        for pair in flat.windows(2).filter(|pair| pair.iter().all(|v| validate(v).is_ok())) {
            let operator = match compare(pair[0], pair[1]) {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            let status = Command::new("dpkg").args(["--compare-versions", pair[0], operator, pair[1]]).status();
            assert!(status.expect("dpkg runs").success(), "dpkg does not have {} {operator} {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn hostile_strings_have_an_order_too() {
        for (a, b) in [("ä1", "ä2"), ("1-", "1"), (":", "::"), ("1:", "1"), ("-", ""), ("٣", "3"), ("1\u{0}", "1")] {
            assert_eq!(compare(a, b), compare(b, a).reverse(), "{a:?} {b:?}");
            assert_eq!(compare(a, a), Ordering::Equal);
        }
    }

    #[test]
    fn valid_and_not() {
        for good in ["1", "0", "1:2.3-4", "1.0~rc1+dfsg-2+b1", "1-2-3", "2:1:2-1", "7.Z"] {
            assert!(validate(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-1", "1-", ":1", "a:1", "+1:1", "99999999999:1", "1 2", "1_2", "1-2_3", "ä", "1/..", "1:"]
        {
            assert!(validate(bad).is_err(), "{bad}");
        }
    }
}
