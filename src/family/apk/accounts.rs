//! Names of owners in packages as numbers of the tree: its own accounts say who a name is, the number of the archive
//! counts only for a name that the tree does not know.

use std::cell::OnceCell;
use std::collections::HashMap;

use anyhow::Result;

use super::stage::{Acl, Entry};
use crate::root::Root;

type Ids = HashMap<Vec<u8>, u32>;

/// The accounts of the tree at one moment.
pub struct Accounts<'a> {
    root: &'a Root,
    users: OnceCell<Ids>,
    groups: OnceCell<Ids>,
}

impl<'a> Accounts<'a> {
    /// They are read when first asked for.
    pub fn new(root: &'a Root) -> Accounts<'a> {
        Accounts { root, users: OnceCell::new(), groups: OnceCell::new() }
    }

    /// Owner, mode and attributes of an entry in this tree.
    pub fn acl(&self, entry: &Entry) -> Result<Acl> {
        let mut acl = entry.acl;
        if let Some(user) = &entry.user {
            acl.uid = self.id(&self.users, "etc/passwd", user)?.unwrap_or(acl.uid);
        }
        if let Some(group) = &entry.group {
            acl.gid = self.id(&self.groups, "etc/group", group)?.unwrap_or(acl.gid);
        }
        Ok(acl)
    }

    fn id(&self, cell: &OnceCell<Ids>, path: &str, name: &[u8]) -> Result<Option<u32>> {
        if cell.get().is_none() {
            let text = self.root.read_text_if_there(path)?.unwrap_or_default();
            let mut ids = Ids::new();
            for line in text.lines() {
                let mut fields = line.split(':');
                let (name, id) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
                if let Ok(id) = id.parse::<u32>()
                    && id != u32::MAX
                {
                    ids.entry(name.as_bytes().to_vec()).or_insert(id);
                }
            }
            cell.get_or_init(|| ids);
        }
        Ok(cell.get().and_then(|ids| ids.get(name)).copied())
    }
}
