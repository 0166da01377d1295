//! The order of the entries, made so that an update of one package changes few stretches of the tar.
//!
//! - Depth first. GNU tar gives a folder its mode and its time once it goes on outside of it, so that with any other
//!   order folders lose their times, and a user cannot extract an image with folders of mode 0555, as the RPM
//!   distributions have them.
//! - In a folder what has the epoch as its time comes first: the build wrote it, and as the epoch follows the newest
//!   index it differs from build to build. Then the files as packages brought them, those of a package together: they
//!   change together, and are alike. At the end the folders, large ones last, so that what small ones hold is one
//!   stretch with the files before them.
//!
//! The order depends on nothing but names, owners, sizes, and times as they stand in the tar.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::header::kind;
use super::tree::{Clock, Item};

/// A folder that holds so many bytes of the tar is large: about as much as a segment has on average.
const LARGE: u64 = 2 << 20;

/// Where an entry stands among those of its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// It has the epoch.
    Fresh,
    /// It has a time of its own.
    Settled,
    /// A folder.
    Small,
    /// A folder that holds much.
    Large,
}

/// What comes next on the way through the tree.
enum Step {
    Entry(usize),
    /// A place that divides so many bytes from what is before or after them.
    Divide(u64),
}

/// Puts the entries of a tree, given with parents before children and the root first, into their order. Sets which
/// names are links to which, and what the places between entries divide.
pub fn arrange(items: Vec<Item>, owners: &BTreeMap<PathBuf, String>, clock: Clock) -> Vec<Item> {
    let (bytes, mut children) = measure(&items);
    let class = |i: usize| match &items[i] {
        item if item.kind != kind::DIR && clock.is_epoch(item.stat.st_mtime) => Class::Fresh,
        item if item.kind != kind::DIR => Class::Settled,
        _ if bytes[i] < LARGE => Class::Small,
        _ => Class::Large,
    };
    let owner = |path: &Path| owners.get(path).map_or("", String::as_str);
    let mut order = Vec::with_capacity(items.len());
    let mut way = if items.is_empty() { Vec::new() } else { vec![Step::Entry(0)] };
    let mut divides = 0;
    while let Some(step) = way.pop() {
        let current = match step {
            Step::Divide(bytes) => {
                divides = bytes.max(divides);
                continue;
            }
            Step::Entry(current) => current,
        };
        order.push((current, std::mem::take(&mut divides)));
        let mut inside = std::mem::take(&mut children[current]);
        inside.sort_by_cached_key(|i| {
            let (class, path) = (class(*i), items[*i].path.as_path());
            let package = if class == Class::Settled { owner(path) } else { "" };
            (class, package.to_owned(), path.file_name().unwrap_or(OsStr::new("")).as_bytes().to_owned())
        });
        let settled = inside.iter().filter(|i| class(**i) == Class::Settled).map(|i| bytes[*i]).sum();
        let first_settled = inside.iter().position(|i| class(*i) == Class::Settled);
        let fresh = clock.is_epoch(items[current].stat.st_mtime) || first_settled.is_some_and(|first| first > 0);
        // The way is taken from its end.
        for (place, i) in inside.into_iter().enumerate().rev() {
            let folder = items[i].kind == kind::DIR;
            way.extend(folder.then_some(Step::Divide(bytes[i])));
            way.push(Step::Entry(i));
            way.extend(folder.then_some(Step::Divide(bytes[i])));
            if fresh && first_settled == Some(place) {
                way.push(Step::Divide(settled));
            }
        }
    }
    let mut items: Vec<Option<Item>> = items.into_iter().map(Some).collect();
    let mut ordered: Vec<Item> =
        order.into_iter().filter_map(|(i, divides)| items[i].take().map(|item| Item { divides, ..item })).collect();
    link(&mut ordered);
    ordered
}

/// Bytes of each entry in the tar, with all that a folder holds, and the places of each one's children.
fn measure(items: &[Item]) -> (Vec<u64>, Vec<Vec<usize>>) {
    let mut counted = HashSet::new();
    // Of several names of one file all but one are links without content; which, is not known yet.
    let mut size = |item: &Item| match item.inode() {
        Some(inode) if !counted.insert(inode) => 0,
        _ => item.tar_size(),
    };
    let mut bytes: Vec<u64> = items.iter().map(&mut size).collect();
    let mut children = vec![Vec::new(); items.len()];
    let mut folders: HashMap<&Path, usize> = HashMap::new();
    let mut parents = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let parent = item.path.parent().and_then(|path| folders.get(path).copied());
        if let Some(parent) = parent {
            children[parent].push(i);
        }
        parents.push(parent);
        if item.kind == kind::DIR {
            folders.insert(&item.path, i);
        }
    }
    for (i, parent) in parents.into_iter().enumerate().rev() {
        if let Some(parent) = parent {
            bytes[parent] += bytes[i];
        }
    }
    (bytes, children)
}

/// Makes the second and later names of a file links to the first, as a reader needs it.
fn link(items: &mut [Item]) {
    let mut first_names: HashMap<_, PathBuf> = HashMap::new();
    for item in items {
        let Some(inode) = item.inode() else { continue };
        match first_names.get(&inode) {
            Some(first) => (item.kind, item.same_as) = (kind::HARD_LINK, Some(first.clone())),
            None => drop(first_names.insert(inode, item.path.clone())),
        }
    }
}
