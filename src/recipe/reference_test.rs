//! Keeps `docs/recipes.md` complete: every key is there, with its type, its default and an example that works.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::merge::settle_variant;
use super::node::{Base, Node, Source, Value};
use super::schema::{Field, Kind, RECIPE, REMOTE_KEY, check, join};

const REFERENCE: &str = include_str!("../../docs/recipes.md");

/// Every key with its kind, by its path.
fn keys(fields: &[Field], parent: &str, out: &mut Vec<(String, Kind)>) {
    for field in fields {
        let path = join(parent, field.name);
        out.push((path.clone(), field.kind));
        match field.kind {
            Kind::Table(fields) | Kind::Entries { fields, .. } => keys(fields, &path, out),
            Kind::Keys => keys(REMOTE_KEY, &path, out),
            // The keys of the recipe once more: described in words.
            Kind::Named(_) => {}
            Kind::Text | Kind::Flag | Kind::Id | Kind::Priority => {}
            Kind::List | Kind::Whole | Kind::Map | Kind::Addresses => {}
        }
    }
}

/// The section of each key: from its heading to the next.
fn sections() -> Vec<(String, &'static str)> {
    let mut out = Vec::new();
    for (position, heading) in REFERENCE.match_indices("\n### `") {
        let rest = &REFERENCE[position + heading.len()..];
        let key = rest.split('`').next().expect("a heading has a key").to_string();
        let body = rest.split("\n#").next().expect("a split has a first part");
        out.push((key, body));
    }
    out
}

fn examples(text: &str) -> impl Iterator<Item = &str> {
    text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().expect("a split has a first part"))
}

fn parse(text: &str) -> Node {
    let source = Arc::new(Source { name: "example".into(), base: Base::BuiltIn });
    let mut node = Node::parse(text, &source).unwrap_or_else(|error| panic!("{text}\n{error}"));
    settle_variant(&mut node).unwrap_or_else(|error| panic!("{text}\n{error}"));
    check(&node, RECIPE).unwrap_or_else(|error| panic!("{text}\n{error}"));
    node
}

/// Whether an example has the key somewhere.
fn has(node: &Node, path: &[&str]) -> bool {
    let Some((key, rest)) = path.split_first() else { return true };
    match &node.value {
        Value::Table(table) => table.get(*key).is_some_and(|node| has(node, rest)),
        Value::List(list) => list.iter().any(|node| has(node, path)),
        _ => false,
    }
}

#[test]
fn every_key_is_described_and_every_described_key_exists() {
    let mut known = Vec::new();
    keys(RECIPE, "", &mut known);
    let known: BTreeSet<_> = known.into_iter().map(|(key, _)| key).collect();
    let sections = sections();
    let described: BTreeSet<_> = sections.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(described.len(), sections.len(), "a key is described twice");
    assert_eq!(described.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "described, but no key");
    assert_eq!(known.difference(&described).collect::<Vec<_>>(), Vec::<&String>::new(), "a key, but not described");
}

#[test]
fn every_key_has_type_default_and_an_example_that_uses_it() {
    let mut known = Vec::new();
    keys(RECIPE, "", &mut known);
    let sections = sections();
    for (key, kind) in known {
        let (_, body) = sections.iter().find(|(name, _)| *name == key).expect("the other test tells");
        assert!(body.contains(&format!("\nType: {}. Default: ", kind.describe())), "{key}: type and default\n{body}");
        let path: Vec<_> = key.split('.').collect();
        assert!(examples(body).any(|example| has(&parse(example), &path)), "{key}: no example uses it");
    }
}

#[test]
fn every_example_is_right() {
    assert!(examples(REFERENCE).map(parse).count() > 60);
}

/// `deny_unknown_fields` of the typed parts and the schema must know the same keys.
#[test]
fn types_and_schema_agree() {
    let keys_of = |key: &str| -> BTreeSet<String> {
        let field = super::schema::find(RECIPE, key).expect("it is a key");
        let (Kind::Table(fields) | Kind::Entries { fields, .. }) = field.kind else { panic!("{key} has keys") };
        fields.iter().map(|field| field.name.to_string()).collect()
    };
    let fields_of = |value: serde_json::Value| -> BTreeSet<String> {
        value.as_object().expect("a struct").keys().cloned().collect()
    };
    let user: super::UserAccount = toml::from_str("name = \"a\"").expect("only a name is needed");
    assert_eq!(keys_of("system"), fields_of(serde_json::json!(super::System::default())));
    assert_eq!(keys_of("image"), fields_of(serde_json::json!(super::Image::default())));
    assert_eq!(keys_of("user"), fields_of(serde_json::json!(user)));
}
