//! Control paragraphs (`deb822(5)`) as they stand, relations between packages (`deb-control(5)`), and the order of
//! versions (`deb-version(7)`).

use std::cmp::Ordering;

use anyhow::{Result, bail};

/// One paragraph. Its text is kept as it was, so that what goes to dpkg's database is what the package says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paragraph {
    /// Names and values in their order; a value has its continuation lines with the leading blank.
    fields: Vec<(String, String)>,
}

impl Paragraph {
    /// Reads one paragraph. Comments are not allowed in a package's control file, an empty line ends it.
    pub fn parse(text: &str) -> Result<Paragraph> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in text.lines().skip_while(|l| l.trim().is_empty()).take_while(|l| !l.trim().is_empty()) {
            if line.starts_with([' ', '\t']) {
                let Some((_, value)) = fields.last_mut() else {
                    bail!("a continuation line comes before any field: {line:?}");
                };
                value.push('\n');
                value.push_str(line.trim_end());
                continue;
            }
            let Some((name, value)) = line.split_once(':') else { bail!("a line has no field name: {line:?}") };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
                bail!("not a field name: {name:?}");
            }
            if fields.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)) {
                bail!("the field {name} is there twice");
            }
            fields.push((name.to_string(), value.trim().to_string()));
        }
        Ok(Paragraph { fields })
    }

    /// Every paragraph of a text that has several.
    pub fn parse_all(text: &str) -> Result<Vec<Paragraph>> {
        let mut paragraphs = Vec::new();
        let mut start = 0;
        for (at, line) in lines_with_offsets(text) {
            if line.trim().is_empty() {
                paragraphs.push(&text[start..at]);
                start = at;
            }
        }
        paragraphs.push(&text[start..]);
        paragraphs.into_iter().filter(|p| !p.trim().is_empty()).map(Paragraph::parse).collect()
    }

    /// The value of a field; names compare without case. Absent is empty, as in dpkg.
    pub fn get(&self, name: &str) -> &str {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, v)| v)
    }

    /// The fields in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The relations of one field, such as `Depends`.
    pub fn relations(&self, field: &str) -> Vec<Vec<Relation>> {
        parse_relations(self.get(field))
    }
}

fn lines_with_offsets(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    })
}

/// One alternative of a relation: `name:arch (>= version)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Package name, real or virtual.
    pub name: String,
    /// Operator and version, where given.
    pub version: Option<(String, String)>,
}

impl Relation {
    /// Whether a package of this version satisfies it.
    pub fn accepts(&self, version: &str) -> bool {
        let Some((operator, wanted)) = &self.version else { return true };
        let order = compare_versions(version, wanted);
        match operator.as_str() {
            "<<" => order == Ordering::Less,
            // The old single signs meant what the double ones mean now, with equality.
            "<=" | "<" => order != Ordering::Greater,
            "=" => order == Ordering::Equal,
            ">=" | ">" => order != Ordering::Less,
            ">>" => order == Ordering::Greater,
            _ => false,
        }
    }
}

/// Comma-separated groups of alternatives.
fn parse_relations(value: &str) -> Vec<Vec<Relation>> {
    let group = |text: &str| text.split('|').filter_map(parse_relation).collect::<Vec<_>>();
    value.split(',').map(group).filter(|g| !g.is_empty()).collect()
}

fn parse_relation(text: &str) -> Option<Relation> {
    let text = text.trim();
    let (name, rest) = text.split_at(text.find(|c: char| c.is_whitespace() || c == '(').unwrap_or(text.len()));
    let name = name.split(':').next().filter(|n| !n.is_empty())?.to_string();
    let version = rest.trim().strip_prefix('(').and_then(|r| r.split(')').next()).and_then(|inside| {
        let at = inside.find(|c: char| !"<>= \t".contains(c))?;
        Some((inside[..at].trim().to_string(), inside[at..].trim().to_string()))
    });
    Some(Relation { name, version })
}

/// Which of two versions is newer, `deb-version(7)`, "Sorting algorithm".
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let split = |v: &str| -> (u64, String, String) {
        let (epoch, rest) = v.split_once(':').unwrap_or(("0", v));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch.trim().parse().unwrap_or(0), upstream.to_string(), revision.to_string())
    };
    let ((ea, ua, ra), (eb, ub, rb)) = (split(a.trim()), split(b.trim()));
    ea.cmp(&eb).then_with(|| compare_part(ua.as_bytes(), ub.as_bytes())).then_with(|| {
        // No revision is the same as revision 0.
        compare_part(ra.as_bytes(), rb.as_bytes())
    })
}

fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    // A tilde sorts before the end, letters before everything else.
    let weight = |byte: Option<&u8>| match byte {
        None => 0,
        Some(b'~') => -1,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) if c.is_ascii_digit() => 0,
        Some(c) => i32::from(*c) + 256,
    };
    while !a.is_empty() || !b.is_empty() {
        let text = |part: &[u8]| part.first().is_some_and(|c| !c.is_ascii_digit());
        while text(a) || text(b) {
            match weight(a.first()).cmp(&weight(b.first())) {
                Ordering::Equal => (a, b) = (a.get(1..).unwrap_or(&[]), b.get(1..).unwrap_or(&[])),
                other => return other,
            }
        }
        let (digits_a, rest_a) = number(a);
        let (digits_b, rest_b) = number(b);
        match digits_a.len().cmp(&digits_b.len()).then_with(|| digits_a.cmp(digits_b)) {
            Ordering::Equal => (a, b) = (rest_a, rest_b),
            other => return other,
        }
    }
    Ordering::Equal
}

/// The digits at the start without leading zeros, and what follows them.
fn number(part: &[u8]) -> (&[u8], &[u8]) {
    let end = part.iter().position(|c| !c.is_ascii_digit()).unwrap_or(part.len());
    let zeros = part[..end].iter().take_while(|c| **c == b'0').count();
    (&part[zeros..end], &part[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs() {
        let text = "Package: a\nDescription: short\n long\n .\n more\nX-Odd:  value \n\nPackage: b\n";
        let all = Paragraph::parse_all(text).expect("good");
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].get("description"), "short\n long\n .\n more");
        assert_eq!(all[0].get("x-odd"), "value");
        assert_eq!(all[0].get("none"), "");
        assert_eq!(all[1].get("Package"), "b");
        let names: Vec<&str> = all[0].iter().map(|(n, _)| n).collect();
        assert_eq!(names, ["Package", "Description", "X-Odd"]);
        for bad in [" continued: first\n", "no colon\n", "A: 1\na: 2\n", "A b: 1\n", ": 1\n"] {
            assert!(Paragraph::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn relations() {
        let p = Paragraph::parse("Depends: libc6 (>= 2.3), a:any | b(<< 1) , c [amd64] <!x>,,\n").expect("good");
        let groups = p.relations("Depends");
        let names: Vec<Vec<&str>> = groups.iter().map(|g| g.iter().map(|r| r.name.as_str()).collect()).collect();
        assert_eq!(names, [vec!["libc6"], vec!["a", "b"], vec!["c"]]);
        assert!(groups[0][0].accepts("2.3-1") && !groups[0][0].accepts("2.2"));
        assert!(groups[1][1].accepts("0.9") && !groups[1][1].accepts("1"));
        assert!(groups[1][0].accepts("anything"));
    }

    #[test]
    fn versions() {
        for (a, b, order) in [
            ("1.0", "1.0-0", Ordering::Equal),
            ("1.0~rc1", "1.0", Ordering::Less),
            ("1:0.1", "9", Ordering::Greater),
            ("1.10", "1.9", Ordering::Greater),
            ("1.0-1", "1.0-1+b1", Ordering::Less),
            ("1.0a", "1.0+", Ordering::Less),
            ("2.36-9+deb12u3", "2.36-9+deb12u10", Ordering::Less),
            ("1.001", "1.1", Ordering::Equal),
            ("1~~", "1~~a", Ordering::Less),
            ("1.0-1-2", "1.0-2-1", Ordering::Less),
        ] {
            assert_eq!(compare_versions(a, b), order, "{a} {b}");
            assert_eq!(compare_versions(b, a), order.reverse(), "{b} {a}");
        }
    }
}
