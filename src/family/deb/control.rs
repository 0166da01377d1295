//! Paragraphs of fields, as in `control`, `status`, `Packages` and `Release` files (`deb822(5)`, `deb-control(5)`).

use std::fmt;

use anyhow::{Context as _, Result, bail};

/// More fields than this in one paragraph is damage or an attack; the fullest of real paragraphs have about forty.
const MAX_FIELDS: usize = 1024;

/// One paragraph: fields in their order, names compared without case.
///
/// A value is kept as it stands after the colon, without blanks around it. Continuation lines follow its first, each
/// after a newline and with its blanks, so that writing the paragraph gives what was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paragraph {
    fields: Vec<(String, String)>,
}

impl Paragraph {
    /// Reads a text that must hold exactly one paragraph. Errors name the line.
    pub fn parse(text: &str) -> Result<Paragraph> {
        let mut all = Paragraph::parse_all(text)?;
        match all.pop() {
            None => bail!("no fields at all"),
            Some(one) if all.is_empty() => Ok(one),
            Some(_) => bail!("more than one paragraph where one was expected"),
        }
    }

    /// Reads all paragraphs of a text. Errors name the line.
    pub fn parse_all(text: &str) -> Result<Vec<Paragraph>> {
        let mut all = Vec::new();
        let mut current = Paragraph::default();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            // A line of blanks alone also ends a paragraph: dpkg takes it so, and hand-made repositories have them.
            if line.trim().is_empty() {
                if !current.fields.is_empty() {
                    current.end_value();
                    all.push(std::mem::take(&mut current));
                }
            } else if line.starts_with([' ', '\t']) {
                let Some((_, value)) = current.fields.last_mut() else {
                    bail!("line {number}: a continuation line with no field before it");
                };
                value.push('\n');
                value.push_str(line);
            } else {
                current.end_value();
                let (name, value) =
                    field(line).with_context(|| format!("line {number}: not a field: no 'Name: value' in it"))?;
                if current.get(name).is_some() {
                    bail!("line {number}: the field {name} is there twice");
                }
                if current.fields.len() == MAX_FIELDS {
                    bail!("line {number}: more than {MAX_FIELDS} fields in one paragraph");
                }
                current.fields.push((name.to_owned(), value.to_owned()));
            }
        }
        if !current.fields.is_empty() {
            current.end_value();
            all.push(current);
        }
        Ok(all)
    }

    /// Blanks at the end of a value do not count, those at the end of its other lines do: as for dpkg.
    fn end_value(&mut self) {
        if let Some((_, value)) = self.fields.last_mut() {
            value.truncate(value.trim_end().len());
        }
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The value of a field that must be there and not be empty.
    pub fn required(&self, name: &str) -> Result<&str> {
        self.get(name).filter(|value| !value.is_empty()).with_context(|| format!("the field {name} is missing"))
    }

    /// Sets a field: in its place if it is there, else as the last one.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.fields.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, old)) => *old = value,
            None => self.fields.push((name.to_owned(), value)),
        }
    }

    /// Takes a field away and gives its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let at = self.fields.iter().position(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(self.fields.remove(at).1)
    }

    /// Name and value of every field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Display for Paragraph {
    /// The paragraph as text, a line break after each field, no empty line at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.iter() {
            // A value that begins with its first continuation line has nothing after the colon, not even a blank.
            let blank = if value.is_empty() || value.starts_with('\n') { "" } else { " " };
            writeln!(f, "{name}:{blank}{value}")?;
        }
        Ok(())
    }
}

/// Splits `Name: value`. Names are of printable ASCII without blanks and colons, and begin with neither `#` nor `-`.
fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let valid = !name.is_empty() && !name.starts_with(['#', '-']) && name.bytes().all(|b| b.is_ascii_graphic());
    valid.then_some((name, value.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_and_lines() {
        let text =
            "Package: a\nVersion:  1.0 \nConffiles:\n /etc/a 00\n /etc/b 11\nDescription: short \n long\n .\n end\n";
        let paragraph = Paragraph::parse(text).expect("it is valid");
        assert_eq!(paragraph.get("package"), Some("a"));
        assert_eq!(paragraph.get("VERSION"), Some("1.0"));
        assert_eq!(paragraph.get("Conffiles"), Some("\n /etc/a 00\n /etc/b 11"));
        assert_eq!(paragraph.to_string(), text.replace("  1.0 ", " 1.0"));
        assert_eq!(
            paragraph.iter().map(|(n, _)| n).collect::<Vec<_>>(),
            ["Package", "Version", "Conffiles", "Description"]
        );
    }

    #[test]
    fn paragraphs_are_separated_by_empty_lines() {
        let all = Paragraph::parse_all("\n\nA: 1\n \t\n\nA: 2\nB: 3").expect("it is valid");
        assert_eq!(all.len(), 2);
        assert_eq!(all[1].get("b"), Some("3"));
        assert!(Paragraph::parse("A: 1\n\nA: 2\n").is_err());
        assert!(Paragraph::parse("\n").is_err());
    }

    #[test]
    fn bad_ones_name_the_line() {
        for (text, line) in [
            (" continued\n", "line 1"),
            ("A: 1\nno colon here\n", "line 2"),
            ("A: 1\na: 2\n", "line 2"),
            (": empty name\n", "line 1"),
            ("# comment: x\n", "line 1"),
            ("with blank: x\n", "line 1"),
            ("-----BEGIN: x\n", "line 1"),
        ] {
            let error = Paragraph::parse(text).expect_err(text);
            assert!(format!("{error:#}").contains(line), "{text:?} gave {error:#}");
        }
        let many: String = (0..=MAX_FIELDS).map(|n| format!("F{n}: x\n")).collect();
        assert!(Paragraph::parse(&many).is_err());
    }

    #[test]
    fn editing() {
        let mut paragraph = Paragraph::parse("A: 1\nB: 2\n").expect("it is valid");
        paragraph.set("a", "3");
        paragraph.set("C", "");
        assert_eq!(paragraph.remove("b").as_deref(), Some("2"));
        assert_eq!(paragraph.remove("b"), None);
        assert_eq!(paragraph.to_string(), "A: 3\nC:\n");
        assert!(paragraph.required("C").is_err());
        assert_eq!(paragraph.required("A").expect("it is there"), "3");
    }
}
