//! Which of two packages has a path that both ship: `replaces`, `replaces_priority` and the origin decide.

use super::package::Package;

/// Whether the file of the `new` package takes the place of that of `old`; `None` if nothing says so.
pub fn file(old: &Package, new: &Package) -> Option<bool> {
    let names = |a: &Package, b: &Package| {
        a.info.replaces.iter().any(|relation| {
            if relation.name == b.info.name {
                relation.is_met_by(&b.info.version, &b.info.checksum)
            } else {
                relation.conflict
            }
        })
    };
    let old_priority = names(old, new).then_some(old.info.replaces_priority);
    let new_priority = names(new, old).then_some(new.info.replaces_priority);
    if old_priority > new_priority {
        return Some(false);
    }
    if new_priority.is_some() || is_same_origin(old, new) {
        return Some(true);
    }
    None
}

/// Whether the `new` package decides on owner and mode of a folder that `old` has decided on.
pub fn dir(old: &Package, new: &Package) -> bool {
    if old.info.replaces_priority != new.info.replaces_priority {
        return new.info.replaces_priority > old.info.replaces_priority;
    }
    if is_same_origin(old, new) {
        if old.info.origin == old.info.name {
            return false;
        }
        if new.info.origin == new.info.name {
            return true;
        }
    }
    new.info.name < old.info.name
}

fn is_same_origin(a: &Package, b: &Package) -> bool {
    !a.info.origin.is_empty() && a.info.origin == b.info.origin
}
