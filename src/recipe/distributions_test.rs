//! The built-in recipes of distributions: every choice that they offer can be made, and what they pin is well-formed.

use std::collections::BTreeSet;

use super::node::Node;
use super::plan;
use super::source::{Which, load, names};
use super::{FamilyKind, Overrides};

/// Releases, variants and names of repositories of a recipe.
struct Offer {
    releases: Vec<String>,
    variants: Vec<String>,
    repositories: Vec<(String, String)>,
}

fn offer(recipe: &Node) -> Offer {
    let releases: Vec<String> = recipe.list_of("releases").iter().filter_map(Node::text).map(str::to_string).collect();
    let names = |node: &Node| -> Vec<String> {
        node.list_of("repository").iter().filter_map(|r| r.text_of("name")).map(str::to_string).collect()
    };
    let mut repositories = Vec::new();
    for release in &releases {
        let own = recipe.get("on").and_then(|on| on.get(release)).map(names).unwrap_or_default();
        repositories.extend(names(recipe).into_iter().chain(own).map(|name| (release.clone(), name)));
    }
    let variants = recipe.entries_of("variant").map(|(name, _)| name.to_string()).collect();
    Offer { releases, variants, repositories }
}

/// What a file of keys holds does not matter here: the key of another distribution stands in for all.
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/keys/debian-archive.asc");

#[test]
fn every_release_has_every_variant_for_every_architecture() {
    let mut plans = 0;
    for name in names() {
        let recipe = load(&Which::BuiltIn(name)).expect(name);
        let Offer { releases, variants, repositories } = offer(&recipe);
        assert!(!releases.is_empty() && !variants.is_empty(), "{name}");
        for release in &releases {
            let archs = recipe.get("on").and_then(|on| on.get(release)).filter(|on| on.get("archs").is_some());
            let archs = archs.unwrap_or(&recipe).list_of("archs").iter().filter_map(Node::text);
            for arch in archs {
                for variant in &variants {
                    let shown = format!("{name}:{release} {variant} {arch}");
                    let of_release = repositories.iter().filter(|(of, _)| of == release);
                    let keys: BTreeSet<String> =
                        of_release.map(|(_, repository)| format!("repository.{repository}.key={KEY}")).collect();
                    let overrides = Overrides {
                        release: Some(release.clone()),
                        arch: Some(arch.to_string()),
                        variant: Some(variant.clone()),
                        sets: keys.into_iter().collect(),
                        ..Overrides::default()
                    };
                    let recipe = load(&Which::BuiltIn(name)).expect(name);
                    let plan = plan::make(recipe, None, &overrides, &|url| panic!("{shown}: {url} is fetched"))
                        .unwrap_or_else(|error| panic!("{shown}: {error:#}"));
                    for repository in &plan.repositories {
                        let url = repository.mirrorlist.as_ref().map_or(&repository.url, |list| &list.url);
                        assert!(url.starts_with("http") && !url.contains(['{', ' ']) && !url.ends_with('/'), "{url}");
                        let spelled = plan.arch.name(plan.family);
                        assert!(plan.family != FamilyKind::Rpm || url.contains(spelled), "{shown}: {url}");
                    }
                    let packages: BTreeSet<_> = plan.packages.include.iter().collect();
                    assert_eq!(packages.len(), plan.packages.include.len(), "{shown}: a package twice");
                    plans += 1;
                }
            }
        }
    }
    assert!(plans > 150, "{plans}");
}

/// Each release of an RPM distribution says where the database is, and pins every key with its whole fingerprint, at an
/// address with TLS.
#[test]
fn keys_are_pinned_by_fingerprint() {
    let mut seen = BTreeSet::new();
    for name in names() {
        let text = super::text(name).expect(name);
        if !text.contains("family          = \"rpm\"") {
            continue;
        }
        for line in text.lines().filter(|line| line.contains("fingerprint = ")) {
            let value = |key: &str| {
                let rest = line.split_once(&format!("{key} = \"")).unwrap_or_else(|| panic!("{name}: {line}")).1;
                rest.split('"').next().unwrap_or_default().to_string()
            };
            let (url, fingerprint) = (value("url"), value("fingerprint"));
            assert!(url.starts_with("https://"), "{name}: {line}");
            let right = fingerprint.len() == 40 && fingerprint.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
            assert!(right, "{name}: {line}");
            seen.insert(fingerprint);
        }
        // Nothing but those keys: no file, no repository that is trusted without any.
        let recipe = load(&Which::BuiltIn(name)).expect(name);
        let Offer { releases, variants, .. } = offer(&recipe);
        for release in releases {
            let overrides = Overrides {
                release: Some(release.clone()),
                arch: Some("x86_64".into()),
                variant: variants.first().cloned(),
                ..Overrides::default()
            };
            let recipe = load(&Which::BuiltIn(name)).expect(name);
            let error = plan::make(recipe, None, &overrides, &|url| anyhow::bail!("asked for {url}"))
                .expect_err("its key is to be had elsewhere");
            assert!(format!("{error:#}").contains("asked for https://"), "{name}:{release}: {error:#}");
        }
    }
    assert!(seen.len() >= 15, "{seen:?}");
}
