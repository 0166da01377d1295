//! The digest of a recipe: what an image is to be, whichever files say so and wherever packages come from.

use std::path::Path;

use serde_json::{Value, json};

use crate::hash::sha256;
use crate::plan::Plan;
use crate::recipe::FamilyKind;

/// The digest of a plan. `pins` holds, for each repository, what the recipe pins of its keys; `package_pins` the same
/// for in-house packages.
///
/// The build's mirrors are left out, for they cannot change the content, and so is where files lie: placed files and
/// keys count by content, in-house packages by name (the lock has their hashes).
pub fn digest(plan: &Plan, pins: &[Vec<String>], package_pins: &[String]) -> String {
    let repositories: Vec<Value> = plan
        .repositories
        .iter()
        .zip(pins)
        .map(|(r, pins)| {
            let mut value = json!({
                "name": r.name, "url": r.url, "image_url": r.image_url, "suite": r.suite, "components": r.components,
                "keys": pins, "trusted": r.trusted, "check_valid_until": r.check_valid_until,
                "priority": r.priority, "build_only": r.build_only, "image_key": r.image_key,
            });
            // Digests of recipes without these are older than they.
            if !r.tag.is_empty() {
                value["tag"] = json!(r.tag);
            }
            if let Some(list) = &r.mirrorlist {
                value["mirrorlist"] = json!(list.url);
            }
            value
        })
        .collect();
    let files: Vec<Value> = plan
        .files
        .iter()
        .map(|f| {
            json!({
                "path": f.path, "sha256": sha256(&f.data), "mode": f.mode, "owner": f.owner, "group": f.group,
            })
        })
        .collect();
    let scripts: Vec<Value> = plan.scripts.iter().map(|s| json!({ "run": s.run, "env": s.env })).collect();
    let package_files: Vec<_> =
        plan.packages.files.iter().map(|(_, path)| Path::new(path).file_name().map(|n| n.to_string_lossy())).collect();
    let packages = json!({
        "include": plan.packages.include, "exclude": plan.packages.exclude,
        "recommends": plan.packages.recommends, "priorities": plan.packages.priorities, "files": package_files,
    });
    let mut whole = json!({
        "name": plan.name, "family": plan.family, "release": plan.release, "arch": plan.arch.deb,
        "variant": plan.variant, "repositories": repositories, "packages": packages, "system": plan.system,
        "users": plan.users, "files": files, "scripts": scripts, "clean_skip": plan.clean_skip,
        "check_skip": plan.check_skip, "image": plan.image,
    });
    if plan.family == FamilyKind::Rpm {
        let signed: Vec<_> = plan.repositories.iter().map(|r| r.signed_index).collect();
        whole["rpm"] = json!({
            "dbpath": plan.rpm.dbpath, "module_platform_id": plan.rpm.module_platform_id,
            "releasever": plan.rpm.releasever, "rebuild": plan.rpm.rebuild,
            "language_packs": plan.rpm.language_packs, "signed": signed, "keys": package_pins,
            "trusted": plan.packages.trusted,
        });
    }
    sha256(canonical(&whole))
}

/// JSON with sorted keys and nothing between the tokens. Said here, not left to the library, whose order of keys
/// depends on a feature that any other dependency may switch on.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort();
            let members: Vec<_> =
                keys.iter().map(|key| format!("{}:{}", json!(key), canonical(&map[key.as_str()]))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_json_has_one_form() {
        let value = json!({ "b": [1, { "d": null, "c": "x\"y" }], "a": true });
        assert_eq!(canonical(&value), r#"{"a":true,"b":[1,{"c":"x\"y","d":null}]}"#);
    }
}
