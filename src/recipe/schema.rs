//! Every key a recipe may have. `docs/recipes.md` describes each; a test keeps the two together.

use super::node::{Node, Value};
use crate::error::{did_you_mean, usage};

/// What a key takes, and how a recipe's value joins that of its parent.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A string.
    Text,
    /// True or false.
    Flag,
    /// A user or group id.
    Id,
    /// Strings; the parent's come first.
    List,
    /// Strings that only make sense together (a command): they replace the parent's.
    Whole,
    /// A pin priority of apt.
    Priority,
    /// Names with a string each, merged by name.
    Map,
    /// Names with an address or several each, merged by name.
    Addresses,
    /// A table.
    Table(&'static [Field]),
    /// Tables in a list.
    Entries {
        /// The key that names an entry. One of the same name as one of the parent's takes its place in the list.
        by: Option<&'static str>,
        /// Whether it replaces that one, or is merged over it.
        whole: bool,
        /// Keys of which an entry has one: where it is merged over another entry, its own takes the place of that
        /// one's.
        one_of: &'static [&'static str],
        /// Keys of an entry.
        fields: &'static [Field],
    },
    /// Tables, each under a name of the recipe's choice.
    Named(&'static [Field]),
    /// Keys of a repository: a path, `{ url, fingerprint }`, or a list of these. Replaces the parent's.
    Keys,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind }
}

/// The keys of a whole recipe.
pub static RECIPE: &[Field] = &[
    field("extends", Kind::Text),
    field("name", Kind::Text),
    field("description", Kind::Text),
    field("family", Kind::Text),
    field("release", Kind::Text),
    field("releases", Kind::List),
    field("aliases", Kind::Map),
    field("arch", Kind::Text),
    field("archs", Kind::Whole),
    field("default_variant", Kind::Text),
    field("check_valid_until", Kind::Flag),
    field("snapshot", Kind::Text),
    field("repository", REPOSITORIES),
    field("mirror", Kind::Table(MIRROR)),
    field("packages", Kind::Table(PACKAGES)),
    field("rpm", Kind::Table(RPM)),
    field("system", Kind::Table(SYSTEM)),
    field("user", USERS),
    field("file", FILES),
    field("script", SCRIPTS),
    field("clean", Kind::Table(SKIP)),
    field("check", Kind::Table(SKIP)),
    field("image", Kind::Table(IMAGE)),
    field("variant", Kind::Named(&OVERLAY)),
    field("on", Kind::Named(ON)),
];

/// The keys of `[variant.NAME]`, which are merged over the rest when it is chosen.
pub const OVERLAY: [Field; 15] = [
    field("description", Kind::Text),
    field("archs", Kind::Whole),
    field("check_valid_until", Kind::Flag),
    field("snapshot", Kind::Text),
    field("repository", REPOSITORIES),
    field("mirror", Kind::Table(MIRROR)),
    field("packages", Kind::Table(PACKAGES)),
    field("rpm", Kind::Table(RPM)),
    field("system", Kind::Table(SYSTEM)),
    field("user", USERS),
    field("file", FILES),
    field("script", SCRIPTS),
    field("clean", Kind::Table(SKIP)),
    field("check", Kind::Table(SKIP)),
    field("image", Kind::Table(IMAGE)),
];

/// The keys of `[on.RELEASE]`, which are merged over the rest when it is chosen: those of a variant, and variants.
static ON: &[Field] = &{
    let mut fields = [field("variant", Kind::Named(&OVERLAY)); OVERLAY.len() + 1];
    fields.split_at_mut(OVERLAY.len()).0.copy_from_slice(&OVERLAY);
    fields
};

const REPOSITORIES: Kind =
    Kind::Entries { by: Some("name"), whole: false, one_of: &["url", "mirrorlist"], fields: REPOSITORY };
const USERS: Kind = Kind::Entries { by: Some("name"), whole: false, one_of: &[], fields: USER };
// The content of one and the mode of another would make a file that nobody wrote.
const FILES: Kind = Kind::Entries { by: Some("path"), whole: true, one_of: &[], fields: FILE };
const SCRIPTS: Kind = Kind::Entries { by: None, whole: true, one_of: &[], fields: SCRIPT };

static REPOSITORY: &[Field] = &[
    field("name", Kind::Text),
    field("url", Kind::Text),
    field("mirrorlist", Kind::Text),
    field("suite", Kind::Text),
    field("components", Kind::List),
    field("key", Kind::Keys),
    field("trusted", Kind::Flag),
    field("enabled", Kind::Flag),
    field("releases", Kind::Whole),
    field("archs", Kind::Whole),
    field("check_valid_until", Kind::Flag),
    field("snapshot_url", Kind::Text),
    field("priority", Kind::Priority),
    field("tag", Kind::Text),
    field("build_only", Kind::Flag),
    field("image_key", Kind::Text),
    field("signed_index", Kind::Flag),
];

/// The keys of a key that is downloaded.
pub static REMOTE_KEY: &[Field] = &[field("url", Kind::Text), field("fingerprint", Kind::Text)];

static MIRROR: &[Field] = &[field("build", Kind::Addresses), field("image", Kind::Map)];

static PACKAGES: &[Field] = &[
    field("include", Kind::List),
    field("exclude", Kind::List),
    field("recommends", Kind::Flag),
    field("priorities", Kind::List),
    field("files", Kind::List),
    field("key", Kind::Keys),
    field("trusted", Kind::Flag),
    field("scriptlet_errors", Kind::Text),
];

static RPM: &[Field] = &[
    field("dbpath", Kind::Text),
    field("module_platform_id", Kind::Text),
    field("releasever", Kind::Text),
    field("rebuild_database", Kind::Flag),
    field("language_packs", Kind::Flag),
];

static SYSTEM: &[Field] = &[field("timezone", Kind::Text), field("locale", Kind::Text), field("docs", Kind::Flag)];

static USER: &[Field] = &[
    field("name", Kind::Text),
    field("uid", Kind::Id),
    field("gid", Kind::Id),
    field("groups", Kind::List),
    field("home", Kind::Text),
    field("shell", Kind::Text),
    field("system", Kind::Flag),
];

static FILE: &[Field] = &[
    field("path", Kind::Text),
    field("source", Kind::Text),
    field("content", Kind::Text),
    field("mode", Kind::Text),
    field("owner", Kind::Text),
    field("group", Kind::Text),
];

static SCRIPT: &[Field] = &[field("run", Kind::Text), field("env", Kind::Map)];

static SKIP: &[Field] = &[field("skip", Kind::List)];

static IMAGE: &[Field] = &[
    field("cmd", Kind::Whole),
    field("entrypoint", Kind::Whole),
    field("env", Kind::Map),
    field("labels", Kind::Map),
    field("user", Kind::Text),
    field("workdir", Kind::Text),
];

impl Kind {
    /// What the key takes, as messages and the reference say it.
    pub fn describe(self) -> &'static str {
        match self {
            Kind::Text => "a string",
            Kind::Flag => "true or false",
            Kind::Id => "a number from 0 to 4294967294",
            Kind::List | Kind::Whole => "a list of strings",
            Kind::Priority => "a number from -32768 to 32767, but not 0",
            Kind::Map => "a table of strings",
            Kind::Addresses => "a table of strings or lists of strings",
            Kind::Table(_) => "a table",
            Kind::Entries { .. } => "a list of tables",
            Kind::Named(_) => "a table of tables",
            Kind::Keys => "a path, a table with url and fingerprint, or a list of these",
        }
    }

    /// Whether a value has this type. What is inside tables is not looked at.
    fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (Kind::Text, Value::Text(_)) | (Kind::Flag, Value::Flag(_)) => true,
            // The last id means "none" to chown(2).
            (Kind::Id, Value::Number(id)) => (0..i64::from(u32::MAX)).contains(id),
            (Kind::List | Kind::Whole, Value::List(list)) => list.iter().all(|n| matches!(n.value, Value::Text(_))),
            // apt's own type; it says of 0 that it means nothing.
            (Kind::Priority, Value::Number(number)) => *number != 0 && i16::try_from(*number).is_ok(),
            (Kind::Addresses, Value::Table(table)) => table.values().all(|node| match &node.value {
                Value::Text(_) => true,
                Value::List(list) => !list.is_empty() && list.iter().all(|n| n.text().is_some()),
                _ => false,
            }),
            (Kind::Map, Value::Table(table)) => table.values().all(|n| matches!(n.value, Value::Text(_))),
            (Kind::Table(_), Value::Table(_)) => true,
            (Kind::Entries { .. }, Value::List(list)) => list.iter().all(|n| matches!(n.value, Value::Table(_))),
            (Kind::Named(_), Value::Table(table)) => table.values().all(|n| matches!(n.value, Value::Table(_))),
            (Kind::Keys, Value::Text(_) | Value::Table(_)) => true,
            (Kind::Keys, Value::List(list)) => list.iter().all(|n| matches!(n.value, Value::Text(_) | Value::Table(_))),
            _ => false,
        }
    }
}

/// The key of that name.
pub fn find<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    fields.iter().find(|field| field.name == name)
}

/// `unknown key KEY; did you mean 'X'?`, or else which keys there are.
pub fn unknown(fields: &[Field], parent: &str, name: &str) -> String {
    let names = || fields.iter().map(|field| field.name);
    let hint = match did_you_mean(name, names()) {
        hint if hint.is_empty() => format!("; there are {}", names().collect::<Vec<_>>().join(", ")),
        hint => hint,
    };
    format!("unknown key {}{hint}", join(parent, name))
}

/// Checks keys and types of a recipe or of a part of it. The fault that stands first in the file is the error.
pub fn check(node: &Node, fields: &[Field]) -> anyhow::Result<()> {
    let mut faults = Vec::new();
    check_table(node, fields, "", &mut faults);
    match faults.into_iter().min() {
        Some((_, message)) => Err(usage(message)),
        None => Ok(()),
    }
}

/// A dotted path.
pub fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_string() } else { format!("{parent}.{name}") }
}

/// Line and message of each fault.
type Faults = Vec<(usize, String)>;

fn fault(faults: &mut Faults, node: &Node, message: impl std::fmt::Display) {
    faults.push((node.origin.line, format!("{}: {message}", node.origin)));
}

fn check_table(node: &Node, fields: &[Field], path: &str, faults: &mut Faults) {
    for (name, value) in node.table().into_iter().flatten() {
        match find(fields, name) {
            Some(field) => check_value(value, field.kind, &join(path, name), faults),
            None => fault(faults, value, unknown(fields, path, name)),
        }
    }
}

fn check_value(node: &Node, kind: Kind, path: &str, faults: &mut Faults) {
    if !kind.takes(&node.value) {
        let hint = match (kind, &node.value) {
            (Kind::Text, Value::Number(_)) => "; put it in quotes",
            (Kind::List | Kind::Whole, Value::Text(_)) => "; put it in brackets",
            _ => "",
        };
        let found = match (kind, &node.value) {
            (Kind::Id | Kind::Priority, Value::Number(number)) => number.to_string(),
            (_, Value::List(_)) if matches!(kind, Kind::List | Kind::Whole) => "a list of other things".to_string(),
            (_, value) => value.kind().to_string(),
        };
        return fault(faults, node, format!("{path} must be {}, not {found}{hint}", kind.describe()));
    }
    check_nul(node, path, faults);
    match (kind, &node.value) {
        (Kind::Table(fields), _) => check_table(node, fields, path, faults),
        (Kind::Named(fields), Value::Table(table)) => {
            for (name, value) in table {
                check_table(value, fields, &join(path, name), faults);
            }
        }
        (Kind::Entries { by, fields, .. }, Value::List(list)) => check_entries(list, by, fields, path, faults),
        (Kind::Keys, Value::Table(_)) => check_table(node, REMOTE_KEY, path, faults),
        (Kind::Keys, Value::List(list)) => {
            for key in list {
                check_table(key, REMOTE_KEY, path, faults);
            }
        }
        _ => {}
    }
}

fn check_entries(list: &[Node], by: Option<&str>, fields: &[Field], path: &str, faults: &mut Faults) {
    let mut seen = Vec::new();
    for (position, entry) in list.iter().enumerate() {
        let id = by.and_then(|by| entry.text_of(by));
        let name = id.map_or_else(|| position.to_string(), str::to_string);
        if let Some(by) = by.filter(|by| entry.get(by).is_none()) {
            fault(faults, entry, format!("a [[{path}]] has no {by}"));
        }
        if id.is_some() && seen.contains(&id) {
            fault(faults, entry, format!("{path}.{name} is given twice"));
        }
        seen.push(id);
        check_table(entry, fields, &join(path, &name), faults);
    }
}

/// No path, argument or variable can hold a NUL.
fn check_nul(node: &Node, path: &str, faults: &mut Faults) {
    let has_nul = |node: &Node| node.text().is_some_and(|text| text.contains('\0'));
    let inner = match &node.value {
        Value::List(list) => list.iter().any(has_nul),
        Value::Table(table) => table.iter().any(|(name, value)| {
            let inside = if let Value::List(list) = &value.value { list.iter().any(has_nul) } else { has_nul(value) };
            name.contains('\0') || inside
        }),
        _ => has_nul(node),
    };
    if inner {
        fault(faults, node, format!("{path} holds a NUL character"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::node::{Base, Source};
    use super::*;

    fn fault_of(text: &str) -> String {
        let source = Arc::new(Source { name: "x.toml".into(), base: Base::BuiltIn });
        let node = Node::parse(text, &source).expect("it is TOML");
        check(&node, RECIPE).expect_err("it has a fault").to_string()
    }

    #[test]
    fn unknown_keys_and_wrong_types_name_file_line_and_key() {
        let cases = [
            ("nam = \"x\"", "x.toml:1: unknown key nam; did you mean 'name'?"),
            ("[system]\ntimezon = \"UTC\"", "x.toml:2: unknown key system.timezon; did you mean 'timezone'?"),
            ("[system]\nzzz = 1", "x.toml:2: unknown key system.zzz; there are timezone, locale, docs"),
            ("[system]\ndocs = \"no\"", "x.toml:2: system.docs must be true or false, not a string"),
            ("release = 12", "x.toml:1: release must be a string, not a number; put it in quotes"),
            ("[packages]\ninclude = \"vim\"", "include must be a list of strings, not a string; put it in brackets"),
            ("[packages]\ninclude = [\n1]", "x.toml:2: packages.include must be a list of strings, not a list of"),
            ("[[user]]\nname = \"a\"\nuid = -1", "x.toml:3: user.a.uid must be a number from 0 to 4294967294, not -1"),
            ("[[user]]\nname = \"a\"\nuid = 4294967295", "not 4294967295"),
            ("[[repository]]\nname = \"m\"\nulr = 1", "x.toml:3: unknown key repository.m.ulr; did you mean 'url'?"),
            ("[[repository]]\nurl = \"x\"", "x.toml:1: a [[repository]] has no name"),
            ("[[user]]\nname=\"a\"\n[[user]]\nname=\"a\"", "x.toml:3: user.a is given twice"),
            ("[[script]]\nrum = \"x\"", "x.toml:2: unknown key script.0.rum; did you mean 'run'?"),
            ("[repository]\nname = \"x\"", "repository must be a list of tables, not a table"),
            ("[[repository]]\nname = \"m\"\nkey = { urls = \"x\" }", "unknown key repository.m.key.urls; did you mean"),
            ("[[repository]]\nname = \"m\"\nkey = 1", "repository.m.key must be a path, a table with url"),
            ("[variant.x]\nrelease = \"a\"", "x.toml:2: unknown key variant.x.release"),
            ("[variant.x.packages]\nincluded = []", "unknown key variant.x.packages.included; did you mean 'include'?"),
            ("variant = 3", "x.toml:1: variant must be a table of tables, not a number"),
            ("[image.env]\nA = 1", "x.toml:1: image.env must be a table of strings, not a table"),
            ("name = \"a\\u0000b\"", "x.toml:1: name holds a NUL character"),
            ("b = 1\na = 1", "x.toml:1: unknown key b"),
        ];
        for (text, expected) in cases {
            let message = fault_of(text);
            assert!(message.contains(expected), "{text:?}\n gave {message}\n not  {expected}");
        }
    }

    #[test]
    fn overlays_have_keys_of_the_recipe_only() {
        for overlay in &OVERLAY {
            let top = find(RECIPE, overlay.name).expect("an overlay is merged over the recipe");
            assert_eq!(top.kind.describe(), overlay.kind.describe(), "{}", overlay.name);
        }
    }
}
