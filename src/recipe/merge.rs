//! Inheritance: tables merge, lists append, entries of the same name merge, everything else replaces.

use std::collections::BTreeMap;

use super::node::{Node, Value};
use super::schema::{Field, Kind, find};
use crate::error::usage;

/// Merges `child` over `parent`. Both have been checked against `fields`.
pub fn merge(parent: &mut Node, child: Node, fields: &[Field]) {
    match (&mut parent.value, child.value) {
        (Value::Table(table), Value::Table(over)) => merge_tables(table, over, fields),
        (_, value) => *parent = Node { value, origin: child.origin },
    }
}

fn merge_tables(table: &mut BTreeMap<String, Node>, over: BTreeMap<String, Node>, fields: &[Field]) {
    for (name, child) in over {
        match (table.get_mut(&name), find(fields, &name)) {
            (Some(parent), Some(field)) => merge_value(parent, child, field.kind),
            _ => {
                table.insert(name, child);
            }
        }
    }
}

fn merge_value(parent: &mut Node, child: Node, kind: Kind) {
    match kind {
        Kind::Table(fields) => merge(parent, child, fields),
        Kind::Map | Kind::Addresses => merge(parent, child, &[]),
        Kind::Named(fields) => merge_named(parent, child, fields),
        Kind::List => append(parent, child),
        Kind::Entries { by: None, .. } => append(parent, child),
        Kind::Entries { by: Some(by), whole, one_of, fields } => {
            merge_entries(parent, child, by, whole, one_of, fields);
        }
        Kind::Text | Kind::Flag | Kind::Id | Kind::Priority | Kind::Whole | Kind::Keys => *parent = child,
    }
}

fn append(parent: &mut Node, child: Node) {
    match (&mut parent.value, child.value) {
        (Value::List(list), Value::List(more)) => list.extend(more),
        (_, value) => *parent = Node { value, origin: child.origin },
    }
}

fn merge_named(parent: &mut Node, child: Node, fields: &[Field]) {
    let (Value::Table(table), Value::Table(over)) = (&mut parent.value, child.value) else { return };
    for (name, child) in over {
        match table.get_mut(&name) {
            Some(parent) => merge(parent, child, fields),
            None => {
                table.insert(name, child);
            }
        }
    }
}

fn merge_entries(parent: &mut Node, child: Node, by: &str, whole: bool, one_of: &[&str], fields: &[Field]) {
    let (Value::List(list), Value::List(over)) = (&mut parent.value, child.value) else { return };
    for child in over {
        match list.iter_mut().find(|entry| entry.text_of(by) == child.text_of(by)) {
            Some(parent) if whole => *parent = child,
            Some(parent) => {
                displace(parent, one_of, |key| child.get(key).is_some());
                merge(parent, child, fields);
            }
            None => list.push(child),
        }
    }
}

/// Takes those of the keys out of an entry in whose place another of them comes. Where several come, whoever reads the
/// entry refuses them.
pub fn displace(entry: &mut Node, one_of: &[&str], comes: impl Fn(&str) -> bool) {
    if let Some(table) = entry.table_mut().filter(|_| one_of.iter().any(|key| comes(key))) {
        table.retain(|key, _| !one_of.contains(&key.as_str()));
    }
}

/// `variant` is two things to who writes recipes: the chosen one (`variant = "minbase"`) and the tables
/// `[variant.NAME]`. TOML has room for one of them in a file, so a string counts as `default_variant`, the key
/// that a recipe with tables of its own uses.
pub fn settle_variant(recipe: &mut Node) -> anyhow::Result<()> {
    let Some(table) = recipe.table_mut() else { return Ok(()) };
    if table.get("variant").is_none_or(|node| node.text().is_none()) {
        return Ok(());
    }
    if let Some(node) = table.remove("variant") {
        if table.contains_key("default_variant") {
            return Err(usage(format!("{}: variant and default_variant are the same: give one of them", node.origin)));
        }
        table.insert("default_variant".into(), node);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::node::{Base, Source};
    use super::super::schema::{RECIPE, check};
    use super::*;

    fn parse(text: &str) -> Node {
        let source = Arc::new(Source { name: "x.toml".into(), base: Base::BuiltIn });
        let mut node = Node::parse(text, &source).expect("it is TOML");
        settle_variant(&mut node).expect("variant is given once");
        check(&node, RECIPE).expect("it fits the schema");
        node
    }

    #[test]
    fn each_kind_joins_its_own_way() {
        let cases = [
            ("scalars replace", "release = \"1\"", "release = \"2\"", "release = \"2\""),
            (
                "tables merge",
                "[system]\nlocale = \"C\"\ndocs = true",
                "[system]\ndocs = false",
                "[system]\nlocale = \"C\"\ndocs = false",
            ),
            (
                "lists append",
                "[packages]\ninclude = [\"a\"]",
                "[packages]\ninclude = [\"b\"]",
                "[packages]\ninclude = [\"a\", \"b\"]",
            ),
            ("commands replace", "[image]\ncmd = [\"a\"]", "[image]\ncmd = [\"b\"]", "[image]\ncmd = [\"b\"]"),
            (
                "maps merge",
                "[image.env]\nA = \"1\"\nB = \"1\"",
                "[image.env]\nB = \"2\"",
                "[image.env]\nA = \"1\"\nB = \"2\"",
            ),
            (
                "entries of one name merge, others append",
                "[[repository]]\nname = \"m\"\nurl = \"u\"\ncomponents = [\"main\"]",
                "[[repository]]\nname = \"n\"\n[[repository]]\nname = \"m\"\ncomponents = [\"contrib\"]",
                "[[repository]]\nname = \"m\"\nurl = \"u\"\ncomponents = [\"main\", \"contrib\"]\n\
                 [[repository]]\nname = \"n\"",
            ),
            (
                "where a repository is takes the place of where it was",
                "[[repository]]\nname = \"m\"\nmirrorlist = \"l\"\n[[repository]]\nname = \"n\"\nurl = \"u\"",
                "[[repository]]\nname = \"m\"\nurl = \"u\"\n[[repository]]\nname = \"n\"\npriority = 1",
                "[[repository]]\nname = \"m\"\nurl = \"u\"\n[[repository]]\nname = \"n\"\nurl = \"u\"\npriority = 1",
            ),
            (
                "files replace one at the same path",
                "[[file]]\npath = \"/a\"\nsource = \"x\"\nmode = \"0600\"\n[[file]]\npath = \"/b\"",
                "[[file]]\npath = \"/a\"\ncontent = \"y\"",
                "[[file]]\npath = \"/a\"\ncontent = \"y\"\n[[file]]\npath = \"/b\"",
            ),
            (
                "keys replace",
                "[[repository]]\nname = \"m\"\nkey = [\"a\"]",
                "[[repository]]\nname = \"m\"\nkey = [\"b\"]",
                "[[repository]]\nname = \"m\"\nkey = [\"b\"]",
            ),
            (
                "scripts append",
                "[[script]]\nrun = \"a\"",
                "[[script]]\nrun = \"a\"",
                "[[script]]\nrun = \"a\"\n[[script]]\nrun = \"a\"",
            ),
            (
                "variants merge by name",
                "[variant.x]\npackages.include = [\"a\"]",
                "[variant.x]\npackages.include = [\"b\"]\n[variant.y]",
                "[variant.x]\npackages.include = [\"a\", \"b\"]\n[variant.y]",
            ),
            (
                "a string chooses, tables define",
                "[variant.x]\nsystem.docs = true",
                "variant = \"x\"",
                "default_variant = \"x\"\n[variant.x]\nsystem.docs = true",
            ),
        ];
        for (what, parent, child, expected) in cases {
            let mut merged = parse(parent);
            merge(&mut merged, parse(child), RECIPE);
            assert_eq!(merged, parse(expected), "{what}");
        }
    }

    #[test]
    fn variant_cannot_be_chosen_twice() {
        let source = Arc::new(Source { name: "x.toml".into(), base: Base::BuiltIn });
        let mut node = Node::parse("variant = \"a\"\ndefault_variant = \"b\"", &source).expect("it is TOML");
        let message = settle_variant(&mut node).expect_err("it is given twice").to_string();
        assert!(message.starts_with("x.toml:1: variant and default_variant"), "{message}");
    }
}
