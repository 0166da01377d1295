//! Passwords.

use anyhow::Result;

use super::{Check, Subject};
use crate::clean::passwords;

pub(super) const CHECKS: &[Check] = &[Check {
    name: "account/passwords",
    sentence: "No account has an empty password or one that everybody with the image shares.",
    run: accounts,
}];

/// Any password in a base image is a default password: whoever has the image has its hash, and every container the
/// same one.
fn accounts(subject: &Subject<'_>) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for password in passwords(subject.root)? {
        let name = &password.account;
        let step = match (password.empty, name.as_str()) {
            (true, _) => "account/empty",
            (false, "root") => "account/root",
            (false, _) => "",
        };
        if subject.skips_clean(step) {
            continue;
        }
        faults.push(if password.empty {
            format!("the account {name} has an empty password; lock it: passwd -l {name}")
        } else {
            format!(
                "the account {name} has a password, the same in every container; lock it (usermod -p '*' {name}) and \
                 give each machine its own"
            )
        });
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{look, look_but, says};
    use super::*;
    use crate::clean::testing::Tree;

    #[test]
    fn accounts_must_be_locked() {
        let look = |tree: &Tree| look(&CHECKS[0], tree, says(""));
        let mut tree = Tree::new();
        tree.file("etc/passwd", "root:x:0:0::/:\napp:x:1:1::/:\n")
            .file("etc/shadow", "root:*:1::::::\napp:!:1::::::\n");
        assert_eq!(look(&tree), [""; 0]);
        tree.file("etc/shadow", "root::1::::::\napp:$y$j9T$a$b:1::::::\n");
        let faults = look(&tree);
        assert!(faults[0].contains("app has a password") && faults[1].contains("root has an empty"), "{faults:?}");
        tree.file("etc/shadow", "root:$1$a$b:1::::::\n");
        assert_eq!(look(&tree).len(), 1);
        assert_eq!(look_but(&CHECKS[0], &tree, says(""), &["account/root".into()]), [""; 0]);
    }
}
