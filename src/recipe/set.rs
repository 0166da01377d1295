//! `--set KEY=VALUE`: every key of a recipe from the command line.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::merge::displace;
use super::node::{Node, Origin, Value};
use super::schema::{Field, Kind, REMOTE_KEY, find, join, unknown};
use crate::error::{did_you_mean, usage};

/// One `--set`, taken apart.
#[derive(Debug, Clone)]
pub struct Setting {
    path: Vec<String>,
    raw: String,
    origin: Origin,
}

impl Setting {
    /// Takes `KEY=VALUE` apart. KEY is a dotted key of TOML, so a part with dots of its own stands in quotes.
    pub fn parse(text: &str, origin_of: impl Fn(&str) -> Origin) -> anyhow::Result<Setting> {
        let (key, raw) = split(text).ok_or_else(|| usage("--set: write KEY=VALUE, as in --set system.timezone=UTC"))?;
        let path = parse_key(key).ok_or_else(|| {
            usage(format!(
                "--set: '{key}' is no key; write it dotted, as in system.timezone or file.\"/etc/motd\".mode"
            ))
        })?;
        let mut setting = Setting { path, raw: raw.to_string(), origin: origin_of(key) };
        // As in a recipe, a string chooses the variant and a table defines some.
        if setting.path == ["variant"] && setting.value(Kind::Text).text().is_some() && !raw.trim().starts_with('{') {
            setting.path = vec!["default_variant".into()];
        }
        Ok(setting)
    }

    /// The top-level key it is about.
    pub fn top(&self) -> &str {
        self.path.first().map_or("", String::as_str)
    }

    /// Sets the value in a recipe. Its type is left to the schema check that follows.
    pub fn apply(&self, recipe: &mut Node, fields: &[Field]) -> anyhow::Result<()> {
        self.set_in_table(recipe, fields, "", &self.path)
    }

    fn fail(&self, message: impl std::fmt::Display) -> anyhow::Error {
        usage(format!("{}: {message}", self.origin))
    }

    fn empty_table(&self) -> Node {
        Node { value: Value::Table(BTreeMap::new()), origin: self.origin.clone() }
    }

    fn set_in_table(&self, node: &mut Node, fields: &[Field], parent: &str, path: &[String]) -> anyhow::Result<()> {
        let Some((name, rest)) = path.split_first() else { return Ok(()) };
        let field = find(fields, name).ok_or_else(|| self.fail(unknown(fields, parent, name)))?;
        let full = join(parent, name);
        let Some(table) = node.table_mut() else {
            return Err(self.fail(format!("{parent} is no table")));
        };
        if rest.is_empty() {
            table.insert(name.clone(), self.value(field.kind));
            return Ok(());
        }
        match field.kind {
            Kind::Table(fields) => {
                let inner = table.entry(name.clone()).or_insert_with(|| self.empty_table());
                self.set_in_table(inner, fields, &full, rest)
            }
            Kind::Map | Kind::Addresses => {
                let inner = table.entry(name.clone()).or_insert_with(|| self.empty_table());
                let kind = if matches!(field.kind, Kind::Map) { Kind::Text } else { Kind::List };
                if let Some(map) = inner.table_mut() {
                    // Names here are not ours and may hold dots, as labels do.
                    map.insert(rest.join("."), self.value(kind));
                }
                Ok(())
            }
            Kind::Named(fields) => {
                let known = table.get_mut(name).and_then(Node::table_mut);
                self.set_named(known, fields, &full, rest)
            }
            Kind::Entries { by, one_of, fields, .. } => {
                let list = table
                    .entry(name.clone())
                    .or_insert_with(|| Node { value: Value::List(Vec::new()), origin: self.origin.clone() });
                self.set_entry(list, by, one_of, fields, &full, rest)
            }
            Kind::Keys => {
                let inner = table.entry(name.clone()).or_insert_with(|| self.empty_table());
                if inner.table().is_none() {
                    *inner = self.empty_table();
                }
                self.set_in_table(inner, REMOTE_KEY, &full, rest)
            }
            kind => Err(self.fail(format!("{full} is {} and has no keys", kind.describe()))),
        }
    }

    fn set_named(
        &self,
        known: Option<&mut BTreeMap<String, Node>>,
        fields: &[Field],
        parent: &str,
        path: &[String],
    ) -> anyhow::Result<()> {
        let Some((name, rest)) = path.split_first() else { return Ok(()) };
        let mut nothing = BTreeMap::new();
        let known = known.unwrap_or(&mut nothing);
        let hint = did_you_mean(name, known.keys().map(String::as_str));
        let entry = known.get_mut(name).ok_or_else(|| self.fail(format!("the recipe has no {parent}.{name}{hint}")))?;
        self.need_key(parent, name, rest)?;
        self.set_in_table(entry, fields, &join(parent, name), rest)
    }

    fn set_entry(
        &self,
        list: &mut Node,
        by: Option<&str>,
        one_of: &[&str],
        fields: &[Field],
        parent: &str,
        path: &[String],
    ) -> anyhow::Result<()> {
        let (Some((id, rest)), Value::List(entries)) = (path.split_first(), &mut list.value) else {
            return Err(self.fail(format!("{parent} is no list")));
        };
        self.need_key(parent, id, rest)?;
        let names: Vec<String> = match by {
            Some(by) => entries.iter().filter_map(|entry| entry.text_of(by)).map(str::to_string).collect(),
            None => (0..entries.len()).map(|position| position.to_string()).collect(),
        };
        let hint = did_you_mean(id, names.iter().map(String::as_str));
        let entry = names
            .iter()
            .position(|name| name == id)
            .and_then(|position| entries.get_mut(position))
            .ok_or_else(|| self.fail(format!("the recipe has no {parent}.{id}{hint}")))?;
        displace(entry, one_of, |key| rest.len() == 1 && rest[0] == key);
        self.set_in_table(entry, fields, &join(parent, id), rest)
    }

    /// A whole entry is not set at once: the list is, or one key of the entry.
    fn need_key(&self, parent: &str, name: &str, rest: &[String]) -> anyhow::Result<()> {
        if rest.is_empty() {
            return Err(self.fail(format!("{parent}.{name} is a table: name the key of it to set")));
        }
        Ok(())
    }

    /// The value as TOML where that fits the key, else as the plain string it is.
    fn value(&self, kind: Kind) -> Node {
        let plain = || Node::new_text(self.raw.clone(), self.origin.clone());
        match (Node::parse_value(&self.raw, &self.origin), kind) {
            (None, _) => plain(),
            // `--set release=12` means the string, which a recipe would have in quotes.
            (Some(node), Kind::Text) if node.text().is_none() => plain(),
            (Some(node), _) => node,
        }
    }
}

/// Splits at the first `=` outside quotes.
pub fn split(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '=') => return Some((text[..at].trim(), &text[at + 1..])),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

/// The parts of a dotted TOML key.
fn parse_key(key: &str) -> Option<Vec<String>> {
    if key.contains(['\n', '#']) {
        return None;
    }
    let document = format!("{key} = 0");
    let mut table: DeTable<'_> = DeTable::parse(&document).ok()?.into_inner();
    let mut parts = Vec::new();
    loop {
        let mut entries = table.into_iter();
        let (Some((name, value)), None) = (entries.next(), entries.next()) else { return None };
        parts.push(name.into_inner().into_owned());
        match value.into_inner() {
            DeValue::Table(inner) => table = inner,
            DeValue::Integer(_) => return Some(parts),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::node::{Base, Source};
    use super::super::schema::{RECIPE, check};
    use super::*;

    fn origin(name: &str) -> Origin {
        Origin { source: Arc::new(Source { name: name.to_string(), base: Base::BuiltIn }), line: 0 }
    }

    const RECIPE_TEXT: &str = r#"
name = "x"
[[repository]]
name = "main"
url = "http://example.org/"
[[file]]
path = "/etc/motd"
content = ""
[[script]]
run = "true"
[variant.small]
"#;

    fn set(text: &str) -> anyhow::Result<Node> {
        let mut recipe = Node::parse(RECIPE_TEXT, &origin("x.toml").source).expect("it is TOML");
        let setting = Setting::parse(text, |key| origin(&format!("--set {key}")))?;
        setting.apply(&mut recipe, RECIPE)?;
        check(&recipe, RECIPE)?;
        Ok(recipe)
    }

    #[test]
    fn values_arrive_with_their_type() {
        let cases: [(&str, &[&str], &str); 16] = [
            ("variant=small", &["default_variant"], "\"small\""),
            ("system.timezone=UTC", &["system", "timezone"], "\"UTC\""),
            ("system.timezone=\"UTC\"", &["system", "timezone"], "\"UTC\""),
            ("system.docs=true", &["system", "docs"], "true"),
            ("release=12", &["release"], "\"12\""),
            ("release=", &["release"], "\"\""),
            ("packages.include=[\"vim\", \"git\"]", &["packages", "include"], "[\"vim\", \"git\"]"),
            ("image.labels.org.example.a=b=c", &["image", "labels", "org.example.a"], "\"b=c\""),
            ("image.labels.\"a=b\"=c", &["image", "labels", "a=b"], "\"c\""),
            ("image.env.A=1", &["image", "env", "A"], "\"1\""),
            ("mirror.build.main=http://h/x", &["mirror", "build", "main"], "\"http://h/x\""),
            ("variant.small.system.docs=true", &["variant", "small", "system", "docs"], "true"),
            ("variant.small.description=a b", &["variant", "small", "description"], "\"a b\""),
            ("variant={}", &["variant"], "{}"),
            ("repository=[]", &["repository"], "[]"),
            (" name =y", &["name"], "\"y\""),
        ];
        for (text, path, expected) in cases {
            let recipe = set(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let node = path.iter().try_fold(&recipe, |node, key| node.get(key));
            assert_eq!(node.expect("it is set").to_toml().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn entries_are_addressed_by_name() {
        let recipe = set("repository.main.url=http://other/").expect("it is set");
        assert_eq!(recipe.list_of("repository")[0].text_of("url"), Some("http://other/"));
        let recipe = set("repository.main.key.url=http://other/").expect("it is set");
        assert_eq!(recipe.list_of("repository")[0].get("key").and_then(|k| k.text_of("url")), Some("http://other/"));
        let recipe = set("file.\"/etc/motd\".mode=0600").expect("it is set");
        assert_eq!(recipe.list_of("file")[0].text_of("mode"), Some("0600"));
        let recipe = set("script.0.run=false").expect("it is set");
        assert_eq!(recipe.list_of("script")[0].text_of("run"), Some("false"));
    }

    #[test]
    fn faults_are_named_without_the_value() {
        let cases = [
            ("nonsense", "write KEY=VALUE"),
            ("=x", "is no key"),
            ("a b=x", "is no key"),
            ("systm.docs=secret", "--set systm.docs: unknown key systm; did you mean 'system'?"),
            ("system.timezon=secret", "--set system.timezon: unknown key system.timezon; did you mean 'timezone'?"),
            ("system.docs=secret", "--set system.docs: system.docs must be true or false, not a string"),
            ("system=secret", "--set system: system must be a table, not a string"),
            ("packages.include=secret", "must be a list of strings, not a string"),
            ("name.x=secret", "name is a string and has no keys"),
            ("repository.mian.url=secret", "the recipe has no repository.mian; did you mean 'main'?"),
            ("repository.main=secret", "repository.main is a table: name the key of it to set"),
            ("script.1.run=secret", "the recipe has no script.1"),
            ("variant.smal.system.docs=secret", "the recipe has no variant.smal; did you mean 'small'?"),
            ("on.x.system.docs=secret", "the recipe has no on.x"),
        ];
        for (text, expected) in cases {
            let message = set(text).expect_err(text).to_string();
            assert!(message.contains(expected), "{text:?}\n gave {message}\n not  {expected}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
