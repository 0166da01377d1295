//! The recipe's users, written into the account files as `useradd(8)` would, with nothing left to the clock.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::accounts::{NO_IDS, Table, own};
use crate::error::{did_you_mean, nearest, usage};
use crate::recipe::UserAccount;
use crate::root::{Kind, Root, kind};

/// Ids of people and of system accounts that are given out, Debian Policy 9.2.2; other distributions agree.
const USER_IDS: std::ops::RangeInclusive<u32> = 1000..=59999;
const SYSTEM_IDS: std::ops::RangeInclusive<u32> = 100..=999;
/// Longest name that every tool takes (utmp), and the syntax they share: systemd.io/USER_NAMES, "strict mode".
const NAME_LENGTH: usize = 31;
/// Home of system accounts that have none, Debian Policy 9.2.3.
const NO_HOME: &str = "/nonexistent";
/// Shells that refuse a login, best first.
const NO_LOGIN: [&str; 3] = ["/usr/sbin/nologin", "/sbin/nologin", "/bin/false"];
/// First subordinate id and how many an account gets: SUB_UID_MIN and SUB_UID_COUNT of `login.defs(5)`.
const SUBORDINATE_MIN: u64 = 100_000;
const SUBORDINATE_COUNT: u64 = 65_536;
/// Seconds of a day: dates in shadow are days since 1970.
const DAY: i64 = 86_400;

/// The account files of a tree. Only passwd and group are everywhere.
struct Accounts {
    passwd: Table,
    group: Table,
    shadow: Table,
    gshadow: Table,
    subordinate: [Table; 2],
    defaults: Defaults,
}

/// What `/etc/login.defs` says, see `login.defs(5)`.
struct Defaults {
    home_mode: u32,
    aging: [String; 3],
}

/// An account as it goes into the files.
struct Account<'a> {
    user: &'a UserAccount,
    uid: u32,
    gid: u32,
    home: String,
    shell: String,
}

/// Adds every user. Whatever is wrong with one is a usage error that names its key (`user[1].uid`), and then nothing
/// is written. `epoch` is the day the passwords were last changed, in seconds since 1970.
pub fn add(users: &[UserAccount], epoch: i64, root: &Root) -> Result<()> {
    if users.is_empty() {
        return Ok(());
    }
    let mut accounts = Accounts::read(root)?;
    let mut added = Vec::new();
    for (number, user) in users.iter().enumerate() {
        let key = format!("user[{number}]");
        let account = accounts.decide(user, users, &key, root)?;
        accounts.append(&account, epoch);
        added.push(account);
    }
    for (number, user) in users.iter().enumerate() {
        accounts.join(user, &format!("user[{number}]"))?;
    }
    accounts.write(root)?;
    added.iter().try_for_each(|account| {
        make_home(account, accounts.defaults.home_mode, root)
            .with_context(|| format!("making the home folder {}", account.home))
    })
}

impl Accounts {
    fn read(root: &Root) -> Result<Accounts> {
        let accounts = Accounts {
            passwd: Table::read(root, "etc/passwd")?,
            group: Table::read(root, "etc/group")?,
            shadow: Table::read(root, "etc/shadow")?,
            gshadow: Table::read(root, "etc/gshadow")?,
            subordinate: [Table::read(root, "etc/subuid")?, Table::read(root, "etc/subgid")?],
            defaults: Defaults::read(root)?,
        };
        if !accounts.passwd.is_there() || !accounts.group.is_there() {
            bail!("the image has no /etc/passwd and /etc/group; its variant is too small for users");
        }
        Ok(accounts)
    }

    /// Checks everything about a user but its groups, and chooses what the recipe leaves open.
    fn decide<'a>(&self, user: &'a UserAccount, all: &[UserAccount], key: &str, root: &Root) -> Result<Account<'a>> {
        let name = &user.name;
        if !is_name(name) {
            return Err(usage(format!(
                "{key}.name: '{name}' is no user name; letters, digits, '-' and '_', not a digit or '-' first, \
                 at most {NAME_LENGTH}"
            )));
        }
        for (table, what) in [(&self.passwd, "user"), (&self.group, "group")] {
            if table.names().any(|n| n == name) {
                return Err(usage(format!("{key}.name: the image already has a {what} '{name}'")));
            }
        }
        let (uid, gid) = self.ids(user, all, key)?;
        let home = match &user.home {
            Some(home) => home.clone(),
            None if user.system => NO_HOME.to_owned(),
            None => format!("/home/{name}"),
        };
        check_path(&home, &format!("{key}.home"))?;
        Ok(Account { user, uid, gid, home, shell: shell(user, key, root)? })
    }

    /// User and group id. Ids that other users of the recipe ask for are not given out.
    fn ids(&self, user: &UserAccount, all: &[UserAccount], key: &str) -> Result<(u32, u32)> {
        for (id, field, table) in [(user.uid, "uid", &self.passwd), (user.gid, "gid", &self.group)] {
            let Some(id) = id else { continue };
            if NO_IDS.contains(&id) {
                return Err(usage(format!("{key}.{field}: {id} means 'no id' to the system; choose another")));
            }
            if let Some(other) = table.name_of(id) {
                return Err(usage(format!("{key}.{field}: {id} belongs to '{other}' in the image; choose another")));
            }
        }
        let asked: BTreeSet<u32> = all.iter().flat_map(|u| [u.uid, u.gid.or(u.uid)]).flatten().collect();
        let free = |id: &u32| {
            let group_is_free = user.gid.is_some() || self.group.name_of(*id).is_none();
            !asked.contains(id) && self.passwd.name_of(*id).is_none() && group_is_free
        };
        let uid = match (user.uid, user.system) {
            (Some(uid), _) => Some(uid),
            (None, false) => USER_IDS.into_iter().find(free),
            (None, true) => SYSTEM_IDS.rev().find(free),
        };
        let Some(uid) = uid else { bail!("{key}.uid: no id is free in the image") };
        let gid = user.gid.unwrap_or(uid);
        if let Some(other) = self.group.name_of(gid) {
            return Err(usage(format!(
                "{key}.uid: {gid} is the id of the group '{other}' in the image; set {key}.gid"
            )));
        }
        Ok((uid, gid))
    }

    fn append(&mut self, account: &Account<'_>, epoch: i64) {
        let Account { user, uid, gid, home, shell } = account;
        let name = &user.name;
        // Day 0 would mean that the password must be changed at the next login, shadow(5).
        let day = epoch.div_euclid(DAY).max(1);
        // Locked. Only people have an age of passwords.
        let (password, aging) =
            if user.system { ("*", ":::".into()) } else { ("!", self.defaults.aging.join(":") + ":") };
        let secret = if self.shadow.is_there() { "x" } else { "*" };
        self.passwd.push(format!("{name}:{secret}:{uid}:{gid}::{home}:{shell}"));
        self.group.push(format!("{name}:x:{gid}:"));
        self.shadow.push(format!("{name}:{password}:{day}:{aging}::"));
        self.gshadow.push(format!("{name}:!::"));
        if !user.system && USER_IDS.contains(uid) {
            for table in &mut self.subordinate {
                let ends = table.numbers(1).zip(table.numbers(2)).map(|(start, count)| start.saturating_add(count));
                let start = ends.max().unwrap_or(0).max(SUBORDINATE_MIN);
                table.push(format!("{name}:{start}:{SUBORDINATE_COUNT}"));
            }
        }
    }

    /// Enters the user into its supplementary groups.
    fn join(&mut self, user: &UserAccount, key: &str) -> Result<()> {
        for (number, group) in user.groups.iter().enumerate() {
            if !self.group.names().any(|n| n == group) {
                return Err(usage(format!(
                    "{key}.groups[{number}]: no group '{group}' in the image{}",
                    did_you_mean(group, self.group.names())
                )));
            }
            if *group != user.name {
                self.group.add_member(group, &user.name);
                self.gshadow.add_member(group, &user.name);
            }
        }
        Ok(())
    }

    fn write(&self, root: &Root) -> Result<()> {
        let Accounts { passwd, group, shadow, gshadow, subordinate: [subuid, subgid], .. } = self;
        [passwd, group, shadow, gshadow, subuid, subgid].into_iter().try_for_each(|table| table.write(root))
    }
}

impl Defaults {
    fn read(root: &Root) -> Result<Defaults> {
        let text = root.read_text_if_there("etc/login.defs")?.unwrap_or_default();
        let value = |key: &str| {
            let lines = text.lines().map(str::split_ascii_whitespace);
            lines.filter_map(|mut words| (words.next() == Some(key)).then(|| words.next()).flatten()).next_back()
        };
        // What shadow itself takes where the file is silent.
        let number = |key, default: &str| {
            value(key).filter(|v| v.bytes().all(|b| b.is_ascii_digit())).unwrap_or(default).to_owned()
        };
        let mode = value("HOME_MODE").and_then(|v| u32::from_str_radix(v, 8).ok()).filter(|m| *m <= 0o7777);
        Ok(Defaults {
            home_mode: mode.unwrap_or(0o700),
            aging: [number("PASS_MIN_DAYS", "0"), number("PASS_MAX_DAYS", "99999"), number("PASS_WARN_AGE", "7")],
        })
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && name.len() <= NAME_LENGTH
}

/// A path that can stand in passwd.
fn check_path(path: &str, key: &str) -> Result<()> {
    let fits = path.starts_with('/') && !path.contains(|c: char| c == ':' || c.is_control());
    if !fits || Path::new(path).components().any(|c| c.as_os_str() == "..") {
        return Err(usage(format!("{key}: '{path}' is not an absolute path without ':' and '..'")));
    }
    Ok(())
}

/// The login shell, which must be an executable of the tree.
fn shell(user: &UserAccount, key: &str, root: &Root) -> Result<String> {
    let runs = |path: &str| {
        let stat = root.stat(path)?;
        anyhow::Ok(stat.is_some_and(|s| kind(&s) == Kind::File && s.st_mode & 0o111 != 0))
    };
    let shell = match &user.shell {
        Some(shell) => shell.as_str(),
        None if user.system => {
            for shell in NO_LOGIN {
                if runs(shell)? {
                    return Ok(shell.to_owned());
                }
            }
            NO_LOGIN[0]
        }
        None => "/bin/sh",
    };
    let key = format!("{key}.shell");
    check_path(shell, &key)?;
    if runs(shell)? {
        return Ok(shell.to_owned());
    }
    let mut known = Vec::new();
    for line in root.read_text_if_there("etc/shells")?.unwrap_or_default().lines() {
        if line.starts_with('/') && runs(line)? {
            known.push(line.to_owned());
        }
    }
    let hint = match nearest(shell, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean '{near}'?"),
        None => "add the package that ships it to packages.include".to_owned(),
    };
    Err(usage(format!("{key}: no program {shell} in the image; {hint}")))
}

/// Makes the home folder. One that is there is left alone, as `useradd(8)` does.
fn make_home(account: &Account<'_>, mode: u32, root: &Root) -> Result<()> {
    let Account { user, uid, gid, home, .. } = account;
    if home == NO_HOME || root.stat(home)?.is_some_and(|s| kind(&s) == Kind::Dir) {
        return Ok(());
    }
    let home = Path::new(home);
    if let Some(parent) = home.parent() {
        root.create_dir_all(parent, 0o755)?;
    }
    // A service's folder is data that others may read, and has no use for shell start-up files.
    let mode = if user.system { 0o755 } else { mode };
    root.create_dir(home, mode)?;
    if !user.system {
        copy_skeleton(home, *uid, *gid, root)?;
    }
    own(root, home, *uid, *gid)?;
    root.chmod(home, mode)
}

/// Copies `/etc/skel` with its modes.
fn copy_skeleton(home: &Path, uid: u32, gid: u32, root: &Root) -> Result<()> {
    const SKELETON: &str = "etc/skel";
    for entry in root.walk(SKELETON)? {
        let to = home.join(entry.path.strip_prefix(SKELETON)?);
        let mode = entry.stat.st_mode & 0o7777;
        match entry.kind() {
            Kind::File => root.write(&to, root.read(&entry.path)?, mode)?,
            Kind::Dir => root.create_dir(&to, mode)?,
            Kind::Link => root.symlink(root.read_link(&entry.path)?, &to)?,
            Kind::Other => continue,
        }
        own(root, &to, uid, gid)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
