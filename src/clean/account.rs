//! Accounts: backups of their files, passwords, dates. Formats: passwd(5), shadow(5).

use std::collections::BTreeSet;

use anyhow::Result;

use super::{Cleaner, Step};
use crate::root::Root;

pub(super) const STEPS: &[Step] = &[
    Step {
        name: "account/backups",
        sentence: "The copies that account tools keep of passwd, group, shadow and the like before they change them.",
        run: backups,
    },
    Step {
        name: "account/root",
        sentence: "Any password of root: the account is locked, not without a password.",
        run: |c| lock(c, |entry| entry.is_root && !is_locked(entry.password)),
    },
    Step {
        name: "account/empty",
        sentence: "Empty passwords, with which anybody may log in: such accounts are locked.",
        run: |c| lock(c, |entry| entry.password.is_empty()),
    },
    Step {
        name: "account/dates",
        sentence: "The days on which passwords were changed: the clock of the build, replaced by the epoch.",
        run: dates,
    },
];

const DAY: i64 = 86_400;

/// What no password hashes to, and the sign that there was never one: crypt(5).
const LOCKED: &str = "*";

/// A password field of `/etc/passwd` or `/etc/shadow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry<'t> {
    name: &'t str,
    is_root: bool,
    password: &'t str,
}

/// A fault of a password that an image has, see [`passwords`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Password {
    /// The account.
    pub account: String,
    /// No password is needed; otherwise there is one, which everybody who has the image shares.
    pub empty: bool,
}

/// The accounts that are not locked, each once, sorted by name.
pub fn passwords(root: &Root) -> Result<Vec<Password>> {
    let (passwd, shadow) = read(root)?;
    let roots = roots(&passwd);
    let fields = entries(&passwd, &roots).filter(|e| e.password != "x").chain(entries(&shadow, &roots));
    let mut found: Vec<Password> = fields
        .filter(|entry| !is_locked(entry.password))
        .map(|entry| Password { account: entry.name.to_string(), empty: entry.password.is_empty() })
        .collect();
    found.sort_by(|a, b| (&a.account, !a.empty).cmp(&(&b.account, !b.empty)));
    found.dedup_by(|a, b| a.account == b.account);
    Ok(found)
}

/// `*` and `!` are in no hash; what follows a `!` is the hash that `passwd -u` would bring back.
fn is_locked(password: &str) -> bool {
    password.starts_with('*') || (password.starts_with('!') && !password.contains('$'))
}

/// The text of `/etc/passwd` and of `/etc/shadow`; an absent file is empty.
fn read(root: &Root) -> Result<(String, String)> {
    let text = |path: &str| Ok::<_, anyhow::Error>(root.read_text_if_there(path)?.unwrap_or_default());
    Ok((text("etc/passwd")?, text("etc/shadow")?))
}

/// The names with user id 0.
fn roots(passwd: &str) -> BTreeSet<&str> {
    let mut roots = BTreeSet::from(["root"]);
    for line in passwd.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some("0")) = (fields.next(), fields.nth(1)) {
            roots.insert(name);
        }
    }
    roots
}

/// The lines that are accounts. Comments and NIS lines (`+`, `-`, nsswitch.conf(5)) are none.
fn entries<'t>(text: &'t str, roots: &BTreeSet<&str>) -> impl Iterator<Item = Entry<'t>> {
    text.lines().filter_map(|line| {
        let (name, rest) =
            line.split_once(':').filter(|(name, _)| !name.is_empty() && !name.starts_with(['+', '-', '#']))?;
        Some(Entry { name, is_root: roots.contains(name), password: rest.split(':').next().unwrap_or_default() })
    })
}

fn backups(cleaner: &mut Cleaner<'_>) -> Result<()> {
    for name in ["passwd", "group", "shadow", "gshadow", "subuid", "subgid"] {
        cleaner.remove_unowned(format!("etc/{name}-"))?;
    }
    Ok(())
}

fn lock(cleaner: &mut Cleaner<'_>, is_bad: impl Fn(&Entry<'_>) -> bool) -> Result<()> {
    let (passwd, shadow) = read(cleaner.root)?;
    let roots = roots(&passwd);
    let shadowed: BTreeSet<&str> = entries(&shadow, &roots).map(|e| e.name).collect();
    // `x` sends the reader on to shadow; a field that says anything else is used itself.
    let in_passwd =
        |e: &Entry<'_>| (e.password != "x" && is_bad(e)).then(|| if shadowed.contains(e.name) { "x" } else { LOCKED });
    let in_shadow = |e: &Entry<'_>| is_bad(e).then_some(LOCKED);
    for (path, text, new) in [
        ("etc/passwd", &passwd, &in_passwd as &dyn Fn(&Entry<'_>) -> Option<&'static str>),
        ("etc/shadow", &shadow, &in_shadow),
    ] {
        let changed = edit(text, |line| {
            let entry = entries(line, &roots).next()?;
            let password = new(&entry)?;
            let rest = &line[entry.name.len() + 1 + entry.password.len()..];
            Some(format!("{}:{password}{rest}", entry.name))
        });
        if changed != *text {
            cleaner.write(path, &changed, 0o644)?;
        }
    }
    Ok(())
}

/// Debian bug 857803. A field that is empty or 0 (the password must be changed at once) has a meaning and stays.
fn dates(cleaner: &mut Cleaner<'_>) -> Result<()> {
    let Some(text) = cleaner.root.read_text_if_there("etc/shadow")? else { return Ok(()) };
    let day = (cleaner.epoch.div_euclid(DAY)).max(1).to_string();
    let changed = edit(&text, |line| {
        let mut fields: Vec<&str> = line.split(':').collect();
        let field = fields.get_mut(2)?;
        if field.parse::<i64>().ok()? == 0 {
            return None;
        }
        *field = &day;
        Some(fields.join(":"))
    });
    if changed == text { Ok(()) } else { cleaner.write("etc/shadow", &changed, 0o640) }
}

/// The text with those lines replaced for which there is another one.
fn edit(text: &str, new: impl Fn(&str) -> Option<String>) -> String {
    text.split_inclusive('\n')
        .map(|line| {
            let body = line.strip_suffix('\n').unwrap_or(line);
            new(body).map_or_else(|| line.to_string(), |changed| changed + &line[body.len()..])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::*;

    #[test]
    fn backups_go() {
        let mut tree = Tree::new();
        tree.file("etc/passwd-", "x").file("etc/shadow-", "x").file("etc/passwd", "x");
        assert_eq!(tree.step(STEPS, "account/backups"), ["etc/passwd-", "etc/shadow-"]);
        assert!(tree.has("etc/passwd"));
    }

    #[test]
    fn root_is_locked() {
        // shadow's field before and after; after = before where nothing is to do.
        for (before, after) in [("*", "*"), ("!", "!"), ("!*", "!*"), ("", "*"), ("$6$a$b", "*"), ("!$6$a$b", "*")] {
            let mut tree = Tree::new();
            tree.file("etc/passwd", "root:x:0:0:root:/root:/bin/bash\napp:x:1:1::/:\n");
            tree.file("etc/shadow", &format!("root:{before}:1:0:99999:7:::\napp:$6$x$y:1::::::\n"));
            tree.mode("etc/shadow", 0o640);
            tree.step(STEPS, "account/root");
            let text = format!("root:{after}:1:0:99999:7:::\napp:$6$x$y:1::::::\n");
            assert_eq!((tree.text("etc/shadow"), tree.mode_of("etc/shadow")), (text, 0o640));
        }
    }

    #[test]
    fn a_password_in_passwd_is_no_way_in() {
        let mut tree = Tree::new();
        tree.file("etc/passwd", "root::0:0::/:\ntoor:$1$a$b:0:0::/:\nguest::5:5::/:\n+::::::\n");
        tree.file("etc/shadow", "root:*:1::::::\n");
        tree.step(STEPS, "account/root");
        tree.step(STEPS, "account/empty");
        assert_eq!(tree.text("etc/passwd"), "root:x:0:0::/:\ntoor:*:0:0::/:\nguest:*:5:5::/:\n+::::::\n");
    }

    #[test]
    fn empty_passwords_are_locked_and_others_stay() {
        let mut tree = Tree::new();
        tree.file("etc/shadow", "a::1::::::\nb:$6$x$y:1::::::\nc:*:1::::::");
        tree.step(STEPS, "account/empty");
        assert_eq!(tree.text("etc/shadow"), "a:*:1::::::\nb:$6$x$y:1::::::\nc:*:1::::::");
    }

    #[test]
    fn dates_become_the_epoch() {
        let mut tree = Tree::new();
        tree.file("etc/shadow", "root:*:20779:0:99999:7:::\nnew:!:0::::::\nold:!:::::::\nbroken\n")
            .mode("etc/shadow", 0o600);
        tree.step(STEPS, "account/dates");
        assert_eq!(tree.text("etc/shadow"), "root:*:20:0:99999:7:::\nnew:!:0::::::\nold:!:::::::\nbroken\n");
        assert_eq!(tree.mode_of("etc/shadow"), 0o600);
    }

    #[test]
    fn accounts_that_are_not_locked() {
        let mut tree = Tree::new();
        tree.file("etc/passwd", "root:x:0:0::/:\nopen::1:1::/:\nold:abcdefghijklm:2:2::/:\n");
        tree.file("etc/shadow", "root:$y$j9T$a$b:1::::::\nopen:*:1::::::\nfine:!*:1::::::\n");
        let found = passwords(&tree.root).expect("it reads");
        let found: Vec<(&str, bool)> = found.iter().map(|p| (p.account.as_str(), p.empty)).collect();
        assert_eq!(found, [("old", false), ("open", true), ("root", false)]);
    }
}
