//! TOML values that remember where they were written, so that every message can name file and line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::usage;

/// Where the paths in a recipe start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Among the files embedded in the program.
    BuiltIn,
    /// A folder.
    Folder(PathBuf),
}

/// A recipe's text, or an option of the command line.
#[derive(Debug)]
pub struct Source {
    /// How messages call it: a path, a built-in recipe, an option. Never holds a value, which may be a secret.
    pub name: String,
    /// Where its relative paths start.
    pub base: Base,
}

/// A place in a source.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The source.
    pub source: Arc<Source>,
    /// Line from 1; 0 where the source has none.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.source.name),
            line => write!(f, "{}:{line}", self.source.name),
        }
    }
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it was written.
    pub origin: Origin,
}

/// The values a recipe is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// An integer.
    Number(i64),
    /// A boolean.
    Flag(bool),
    /// An array.
    List(Vec<Node>),
    /// A table.
    Table(BTreeMap<String, Node>),
    /// Something that no key takes, by what it is.
    Other(&'static str),
}

impl PartialEq for Node {
    /// Two nodes are equal when their values are, wherever they were written.
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Number(_) => "a number",
            Value::Flag(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(kind) => kind,
        }
    }
}

impl Node {
    /// Reads a TOML document. Broken TOML is a usage error that names file, line and column.
    pub fn parse(text: &str, source: &Arc<Source>) -> anyhow::Result<Node> {
        let table = DeTable::parse(text).map_err(|error| {
            let (line, column) = error.span().map_or((1, 1), |span| position(text, span.start));
            let message = error.message().trim().replace('\n', ", ");
            usage(format!("{}:{line}:{column}: this is not TOML: {message}", source.name))
        })?;
        let lines = Lines::of(text);
        let origin = Origin { source: source.clone(), line: 1 };
        Ok(Node { value: from_table(table.into_inner(), source, &lines), origin })
    }

    /// Reads one TOML value, as on the command line; `None` when it is none.
    pub fn parse_value(text: &str, origin: &Origin) -> Option<Node> {
        let value = DeValue::parse(text).ok()?.into_inner();
        Some(Node { value: from_value(value, &origin.source, &Lines::none()), origin: origin.clone() })
    }

    /// A string that was written at `origin`.
    pub fn new_text(text: impl Into<String>, origin: Origin) -> Node {
        Node { value: Value::Text(text.into()), origin }
    }

    /// The value of a key, when this is a table that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.table().and_then(|table| table.get(key))
    }

    /// The table, when this is one.
    pub fn table(&self) -> Option<&BTreeMap<String, Node>> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The table, when this is one.
    pub fn table_mut(&mut self) -> Option<&mut BTreeMap<String, Node>> {
        match &mut self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The string, when this is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The string under a key.
    pub fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Node::text)
    }

    /// The boolean under a key.
    pub fn flag_of(&self, key: &str) -> Option<bool> {
        match self.get(key)?.value {
            Value::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    /// The elements of the list under a key; none when there is no such list.
    pub fn list_of(&self, key: &str) -> &[Node] {
        match self.get(key).map(|node| &node.value) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }

    /// The entries of the table under a key, by name; none when there is no such table.
    pub fn entries_of(&self, key: &str) -> impl Iterator<Item = (&str, &Node)> {
        self.get(key).and_then(Node::table).into_iter().flatten().map(|(name, node)| (name.as_str(), node))
    }

    /// A usage error about this value: `corp.toml:3: KEY: MESSAGE`.
    pub fn refuse(&self, key: &str, message: impl fmt::Display) -> anyhow::Error {
        usage(format!("{}: {key}: {message}", self.origin))
    }

    /// The plain TOML value, without places.
    pub fn to_toml(&self) -> toml::Value {
        match &self.value {
            Value::Text(text) => toml::Value::String(text.clone()),
            Value::Number(number) => toml::Value::Integer(*number),
            Value::Flag(flag) => toml::Value::Boolean(*flag),
            Value::List(list) => toml::Value::Array(list.iter().map(Node::to_toml).collect()),
            Value::Table(table) => {
                toml::Value::Table(table.iter().map(|(name, node)| (name.clone(), node.to_toml())).collect())
            }
            Value::Other(kind) => toml::Value::String((*kind).to_string()),
        }
    }
}

/// Where lines start, to turn offsets into line numbers.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        Lines(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// For text that has no line numbers.
    fn none() -> Lines {
        Lines(Vec::new())
    }

    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

/// Line and column from 1 of a byte offset; the column counts characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn from_table(table: DeTable<'_>, source: &Arc<Source>, lines: &Lines) -> Value {
    let nodes = table.into_iter().map(|(key, value)| {
        // The key's place, not the value's: a value may start lines below the key.
        let origin = Origin { source: source.clone(), line: lines.line(key.span().start) };
        (key.into_inner().into_owned(), Node { value: from_value(value.into_inner(), source, lines), origin })
    });
    Value::Table(nodes.collect())
}

fn from_value(value: DeValue<'_>, source: &Arc<Source>, lines: &Lines) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Number(number),
            Err(_) => Value::Other("a number out of range"),
        },
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Datetime(_) => Value::Other("a date or time"),
        DeValue::Array(items) => Value::List(
            items
                .into_iter()
                .map(|item: Spanned<DeValue<'_>>| {
                    let origin = Origin { source: source.clone(), line: lines.line(item.span().start) };
                    Node { value: from_value(item.into_inner(), source, lines), origin }
                })
                .collect(),
        ),
        DeValue::Table(table) => from_table(table, source, lines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Arc<Source> {
        Arc::new(Source { name: "x.toml".into(), base: Base::BuiltIn })
    }

    #[test]
    fn values_know_their_line() {
        let text = "a = 1\n[system]\nlocale = \"C\"\n\n[packages]\ninclude = [\n  \"x\",\n  \"y\",\n]\n\
                    [[file]]\npath = \"/\"\n";
        let node = Node::parse(text, &source()).expect("it is TOML");
        let line = |node: Option<&Node>| node.expect("it is there").origin.line;
        assert_eq!(line(node.get("a")), 1);
        assert_eq!(line(node.get("system")), 2);
        assert_eq!(line(node.get("system").and_then(|s| s.get("locale"))), 3);
        let packages = node.get("packages").expect("it is there");
        assert_eq!(packages.list_of("include").iter().map(|n| n.origin.line).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(line(node.list_of("file")[0].get("path")), 11);
        assert_eq!(node.get("a").expect("it is there").origin.to_string(), "x.toml:1");
    }

    #[test]
    fn broken_toml_names_file_line_and_column() {
        for (text, place) in [
            ("a = 1\nb = \n", "x.toml:2:"),
            ("a = 1\na = 2\n", "x.toml:2:1:"),
            ("[a\n", "x.toml:1:"),
            ("\n\nä = \"\n", "x.toml:3:"),
        ] {
            let message = Node::parse(text, &source()).expect_err("it is broken").to_string();
            assert!(message.starts_with(place), "{text:?} gave {message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn odd_values_are_named() {
        let node = Node::parse("a = 1.5\nb = 1979-05-27\nc = 99999999999999999999\nd = 0x1F\ne = 1_000", &source())
            .expect("it is TOML");
        let kind = |key: &str| node.get(key).expect("it is there").value.clone();
        assert_eq!(kind("a"), Value::Other("a number with a fraction"));
        assert_eq!(kind("b"), Value::Other("a date or time"));
        assert_eq!(kind("c"), Value::Other("a number out of range"));
        assert_eq!(kind("d"), Value::Number(31));
        assert_eq!(kind("e"), Value::Number(1000));
    }
}
