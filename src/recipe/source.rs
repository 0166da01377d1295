//! Where recipes come from: the built-in ones, and files. Every file that a recipe names is read here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::merge::{merge, settle_variant};
use super::node::{Base, Node, Source};
use super::schema::{RECIPE, check};
use crate::error::{did_you_mean, usage};

include!(concat!(env!("OUT_DIR"), "/recipes.rs"));

/// Bytes of a recipe at most: it is written by hand.
const RECIPE_LIMIT: u64 = 1 << 20;

/// What is asked for: a recipe, and perhaps a release of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The recipe.
    pub recipe: Which,
    /// Release or alias after the colon.
    pub release: Option<String>,
}

/// A recipe by what names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Embedded in the program.
    BuiltIn(&'static str),
    /// In a file.
    File(PathBuf),
}

/// Names of the built-in recipes, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    // In folders are those that the program uses itself.
    FILES.iter().filter_map(|(path, _)| path.strip_suffix(".toml")).filter(|name| !name.contains('/'))
}

/// The text of a built-in recipe.
pub fn text(name: &str) -> anyhow::Result<&'static str> {
    let bytes = embedded(&format!("{name}.toml")).ok_or_else(|| unknown(name))?;
    std::str::from_utf8(bytes).map_err(|_| anyhow::anyhow!("the built-in recipe {name} is not UTF-8"))
}

/// Reads `RECIPE[:RELEASE]`. A name without a slash and without `.toml` is a built-in recipe's.
pub fn parse_spec(spec: &str) -> anyhow::Result<Spec> {
    let (recipe, release) = match spec.rsplit_once(':') {
        Some((recipe, release)) if !release.contains('/') && !Path::new(spec).is_file() => (recipe, Some(release)),
        _ => (spec, None),
    };
    if release == Some("") {
        return Err(usage(format!("'{spec}' names no release after the colon")));
    }
    Ok(Spec { recipe: which(recipe)?, release: release.map(str::to_string) })
}

/// Where the lock of `RECIPE[:RELEASE]` is: `corp.lock` beside `corp.toml`, that of a built-in recipe in the working
/// folder.
pub fn lock_path(spec: &str) -> anyhow::Result<PathBuf> {
    Ok(match parse_spec(spec)?.recipe {
        Which::BuiltIn(name) => PathBuf::from(format!("{name}.lock")),
        Which::File(path) if path.extension().is_some_and(|ending| ending == "toml") => path.with_extension("lock"),
        Which::File(path) => {
            let mut path = path.into_os_string();
            path.push(".lock");
            path.into()
        }
    })
}

/// A recipe by name, or by path relative to the working folder.
fn which(recipe: &str) -> anyhow::Result<Which> {
    match names().find(|name| *name == recipe) {
        Some(name) => Ok(Which::BuiltIn(name)),
        None if is_path(recipe) => Ok(Which::File(recipe.into())),
        None => Err(unknown(recipe)),
    }
}

fn is_path(recipe: &str) -> bool {
    recipe.contains('/') || recipe.ends_with(".toml")
}

fn unknown(name: &str) -> anyhow::Error {
    let known: Vec<_> = names().collect();
    let hint = did_you_mean(name, known.iter().copied());
    usage(format!(
        "no recipe is called '{name}'{hint} (built-in: {}; a file is named by a path, as in ./{name}.toml)",
        known.join(", ")
    ))
}

fn embedded(path: &str) -> Option<&'static [u8]> {
    FILES.iter().find(|(name, _)| *name == path).map(|(_, bytes)| *bytes)
}

/// A recipe and all it extends, merged and checked against the schema.
pub fn load(recipe: &Which) -> anyhow::Result<Node> {
    let mut merged = load_chain(recipe, &mut Vec::new())?;
    // A recipe of one's own that extends another is an image of its own: it does not go by its parent's name.
    if let (Which::File(path), Some(table)) = (recipe, merged.table_mut())
        && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
        && table.get("name").is_none_or(|name| name.origin.source.name != path.display().to_string())
    {
        let source = Arc::new(Source { name: path.display().to_string(), base: Base::BuiltIn });
        table.insert("name".into(), Node::new_text(stem, super::node::Origin { source, line: 0 }));
    }
    Ok(merged)
}

fn load_chain(recipe: &Which, chain: &mut Vec<(PathBuf, String)>) -> anyhow::Result<Node> {
    let (source, text, identity) = open(recipe)?;
    let again = chain.iter().any(|(seen, _)| *seen == identity);
    chain.push((identity, source.name.clone()));
    if again {
        let names: Vec<_> = chain.iter().map(|(_, name)| name.as_str()).collect();
        return Err(usage(format!("recipes extend each other in a circle: {}", names.join(" -> "))));
    }
    let source = Arc::new(source);
    let mut node = Node::parse(&text, &source)?;
    settle_variant(&mut node)?;
    check(&node, RECIPE)?;
    let Some(extends) = node.table_mut().and_then(|table| table.remove("extends")) else { return Ok(node) };
    let parent = parent(&source.base, &extends)?;
    let mut merged = load_chain(&parent, chain)?;
    merge(&mut merged, node, RECIPE);
    Ok(merged)
}

/// What `extends` names.
fn parent(base: &Base, extends: &Node) -> anyhow::Result<Which> {
    let name = extends.text().unwrap_or_default();
    match (which(name), base) {
        (Ok(Which::File(path)), Base::Folder(folder)) => Ok(Which::File(folder.join(path))),
        (Ok(Which::File(_)), Base::BuiltIn) => Err(extends.refuse("extends", "a built-in recipe extends no file")),
        (Ok(built_in), _) => Ok(built_in),
        (Err(error), _) => Err(extends.refuse("extends", error)),
    }
}

/// Source and text of a recipe, and what tells it from every other.
fn open(recipe: &Which) -> anyhow::Result<(Source, String, PathBuf)> {
    match recipe {
        Which::BuiltIn(name) => {
            let source = Source { name: format!("built-in recipe {name}"), base: Base::BuiltIn };
            Ok((source, text(name)?.to_string(), PathBuf::from(name)))
        }
        Which::File(path) => {
            let shown = path.display().to_string();
            let bytes = read_file(path, RECIPE_LIMIT).map_err(|error| usage(format!("the recipe {shown}: {error}")))?;
            let text = String::from_utf8(bytes).map_err(|error| {
                let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|b| *b == b'\n').count();
                usage(format!("{shown}:{line}: this is not TOML: not UTF-8"))
            })?;
            let identity = path.canonicalize().unwrap_or_else(|_| path.clone());
            let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
            Ok((Source { name: shown, base: Base::Folder(folder) }, text, identity))
        }
    }
}

/// Reads a file that a recipe names, at most `limit` bytes. Any fault is a usage error about `node`.
pub fn read(node: &Node, key: &str, path: &str, limit: u64) -> anyhow::Result<Vec<u8>> {
    match &node.origin.source.base {
        Base::BuiltIn => {
            embedded(path).map(<[u8]>::to_vec).ok_or_else(|| node.refuse(key, format!("no file {path} is built in")))
        }
        Base::Folder(folder) => {
            let file = folder.join(path);
            read_file(&file, limit).map_err(|error| node.refuse(key, format!("{}: {error}", file.display())))
        }
    }
}

/// The files directly below a folder that a recipe names with `/` at its end, sorted. Names that begin with a dot are
/// left out. Any fault is a usage error about `node`.
pub fn list(node: &Node, key: &str, folder: &str) -> anyhow::Result<Vec<String>> {
    let mut names: Vec<String> = match &node.origin.source.base {
        Base::BuiltIn => {
            let below = FILES.iter().filter_map(|(path, _)| path.strip_prefix(folder));
            below.filter(|name| !name.contains('/')).map(str::to_owned).collect()
        }
        Base::Folder(base) => {
            let path = base.join(folder);
            let fault = |error: &std::io::Error| node.refuse(key, format!("{}: {}", path.display(), describe(error)));
            let entries = std::fs::read_dir(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let entries = entries.map_err(|error| fault(&error))?;
            entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        }
    };
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    if names.is_empty() {
        return Err(node.refuse(key, format!("the folder {folder} holds no file")));
    }
    Ok(names.into_iter().map(|name| format!("{folder}{name}")).collect())
}

/// The absolute path of a file that a recipe names and that is left where it is.
pub fn locate(node: &Node, key: &str, path: &str) -> anyhow::Result<PathBuf> {
    let Base::Folder(folder) = &node.origin.source.base else {
        return Err(node.refuse(key, "a built-in recipe has no files of its own"));
    };
    let file = folder.join(path);
    match std::fs::metadata(&file) {
        Ok(meta) if meta.is_file() => std::path::absolute(&file)
            .map_err(|error| node.refuse(key, format!("{}: {}", file.display(), describe(&error)))),
        Ok(_) => Err(node.refuse(key, format!("{}: this is no ordinary file", file.display()))),
        Err(error) => Err(node.refuse(key, format!("{}: {}", file.display(), describe(&error)))),
    }
}

/// What is wrong with a file, in words.
fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    // Looked at before it is opened: opening a pipe would wait for its other end.
    let meta = std::fs::metadata(path).map_err(|error| describe(&error))?;
    if !meta.is_file() {
        return Err("this is no ordinary file".into());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| describe(&error))?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| describe(&error))?;
    if bytes.len() as u64 > limit {
        return Err(format!("the file is larger than {} MiB", limit >> 20));
    }
    Ok(bytes)
}

fn describe(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        _ => error.to_string(),
    }
}

/// Fills `{release}`, `{arch}`, `{name}`, and `{snapshot}` where there is one. Braces around anything but a lower-case word stay as they are.
pub fn fill(node: &Node, key: &str, values: &BTreeMap<&str, String>) -> anyhow::Result<String> {
    let mut rest = node.text().unwrap_or_default();
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        match after.split_once('}') {
            Some((word, tail)) if !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()) => {
                let value = values.get(word).ok_or_else(|| {
                    if word == "snapshot" {
                        return node.refuse(key, "{snapshot} stands for the recipe's snapshot, and it has none");
                    }
                    let hint = did_you_mean(word, values.keys().copied());
                    let known: Vec<_> = values.keys().map(|name| format!("{{{name}}}")).collect();
                    node.refuse(key, format!("unknown placeholder {{{word}}}{hint} (there are {})", known.join(", ")))
                })?;
                out.push_str(value);
                rest = tail;
            }
            _ => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs() {
        let case = |spec: &str, recipe: Which, release: Option<&str>| {
            let parsed = parse_spec(spec).unwrap_or_else(|error| panic!("{spec}: {error}"));
            assert_eq!(parsed, Spec { recipe, release: release.map(str::to_string) }, "{spec}");
        };
        case("debian", Which::BuiltIn("debian"), None);
        case("debian:12", Which::BuiltIn("debian"), Some("12"));
        case("corp.toml", Which::File("corp.toml".into()), None);
        case("corp.toml:bookworm", Which::File("corp.toml".into()), Some("bookworm"));
        case("./debian", Which::File("./debian".into()), None);
        case("a:b/corp.toml", Which::File("a:b/corp.toml".into()), None);
        case("a:b/corp.toml:sid", Which::File("a:b/corp.toml".into()), Some("sid"));
    }

    #[test]
    fn wrong_specs() {
        for (spec, expected) in [
            ("debain", "no recipe is called 'debain'; did you mean 'debian'?"),
            ("corp", "./corp.toml"),
            ("debian:", "names no release"),
            ("", "no recipe is called ''"),
        ] {
            let message = parse_spec(spec).expect_err(spec).to_string();
            assert!(message.contains(expected), "{spec} gave {message}");
        }
    }

    #[test]
    fn placeholders() {
        let values = BTreeMap::from([("release", "sid".to_string()), ("arch", "arm64".to_string())]);
        let source = Arc::new(Source { name: "x.toml".into(), base: Base::BuiltIn });
        let filled = |text: &str| {
            fill(&Node::new_text(text, super::super::node::Origin { source: source.clone(), line: 3 }), "k", &values)
        };
        for (text, expected) in [
            ("{release}-x/{arch}{arch}", "sid-x/arm64arm64"),
            ("${HOME} {} {A} {\"a\": 1}", "${HOME} {} {A} {\"a\": 1}"),
            ("{release", "{release"),
            ("{{release}}", "{sid}"),
        ] {
            assert_eq!(filled(text).expect(text), expected);
        }
        let message = filled("{relase}").expect_err("it is unknown").to_string();
        assert!(message.contains("x.toml:3: k: unknown placeholder {relase}; did you mean 'release'?"), "{message}");
    }

    #[test]
    fn locks_lie_beside_their_recipes() {
        for (spec, expected) in [
            ("debian", "debian.lock"),
            ("debian:12", "debian.lock"),
            ("corp.toml", "corp.lock"),
            ("a/b.c/corp.toml:stable", "a/b.c/corp.lock"),
            ("./corp", "./corp.lock"),
            ("./corp.lock", "./corp.lock.lock"),
        ] {
            assert_eq!(lock_path(spec).expect(spec), Path::new(expected), "{spec}");
        }
        assert!(lock_path("debain").is_err());
    }

    #[test]
    fn extends_finds_its_parent_beside_the_recipe_and_refuses_circles() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("it is written");
        std::fs::create_dir(folder.path().join("sub")).expect("a folder");
        write("a.toml", "extends = \"sub/b.toml\"\n[packages]\ninclude = [\"a\"]");
        write("sub/b.toml", "extends = \"../c.toml\"\nname = \"b\"\n[packages]\ninclude = [\"b\"]");
        write("c.toml", "extends = \"debian\"\n[packages]\nexclude = [\"c\"]");
        let file = |name: &str| Which::File(folder.path().join(name));
        let merged = load(&file("a.toml")).expect("it loads");
        assert_eq!(merged.text_of("name"), Some("a"), "named after its file, not after its parent");
        assert_eq!(merged.text_of("family"), Some("deb"));
        let packages = merged.get("packages").expect("it has packages");
        assert_eq!(packages.to_toml().to_string(), "{ exclude = [\"c\"], include = [\"b\", \"a\"] }");
        assert_eq!(load(&file("sub/b.toml")).expect("it loads").text_of("name"), Some("b"));

        write("c.toml", "extends = \"./a.toml\"");
        let message = load(&file("a.toml")).expect_err("a circle").to_string();
        assert!(message.contains("in a circle: ") && message.matches("a.toml").count() == 2, "{message}");
        write("d.toml", "\nextends = \"debain\"");
        let message = load(&file("d.toml")).expect_err("unknown").to_string();
        assert!(
            message.contains("d.toml:2: extends: no recipe is called 'debain'; did you mean 'debian'?"),
            "{message}"
        );
        write("e.toml", "extends = \"gone.toml\"");
        assert!(load(&file("e.toml")).expect_err("missing").to_string().contains("there is no such file"));
        std::fs::write(folder.path().join("f.toml"), b"a = 1\n\xff").expect("it is written");
        assert!(load(&file("f.toml")).expect_err("binary").to_string().contains("f.toml:2: this is not TOML"));
        assert!(load(&file("sub")).expect_err("a folder").to_string().contains("no ordinary file"));
    }
}
