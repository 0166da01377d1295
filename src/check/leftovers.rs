//! Nothing of the build: every clean step is asked what it would still do.

use anyhow::Result;

use super::{Check, Subject, show};
use crate::clean::{self, Report, Step};
use crate::ui;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "ssh/host-keys",
        sentence: "There are no host keys of an ssh server.",
        run: |subject| ask(subject, |step| step.name == HOST_KEYS),
    },
    Check {
        name: "id/machine-id",
        sentence: "The machine id is empty or absent.",
        run: |subject| ask(subject, |step| step.name == MACHINE_ID),
    },
    Check {
        name: "clean/leftovers",
        sentence: "No clean step would find anything.",
        run: |subject| ask(subject, |step| ![HOST_KEYS, MACHINE_ID].contains(&step.name)),
    },
];

/// These have checks of their own.
const HOST_KEYS: &str = "ssh/host-keys";
const MACHINE_ID: &str = "id/machine-id";

fn ask(subject: &Subject<'_>, asked: impl Fn(&Step) -> bool) -> Result<Vec<String>> {
    let steps: Vec<&'static Step> = clean::steps(subject.family).into_iter().filter(|step| asked(step)).collect();
    let reports = clean::run(&steps, subject.clean_skip, || subject.dry_cleaner())?;
    Ok(reports.iter().filter(|r| !r.touched.is_empty()).map(message).collect())
}

fn message(report: &Report) -> String {
    const SHOWN: usize = 3;
    let count = report.touched.len();
    let mut paths: Vec<String> = report.touched.iter().take(SHOWN).map(|p| show(p)).collect();
    if count > SHOWN {
        paths.push(format!("and {} more", count - SHOWN));
    }
    let name = report.step.name;
    let size = if report.freed > 0 { format!(" ({})", ui::bytes(report.freed)) } else { String::new() };
    format!("the clean step {name} is not done: {}{size}; let it run, or put it into [clean] skip", paths.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{find, look, look_but, says};
    use super::*;
    use crate::clean::testing::Tree;

    #[test]
    fn leftovers_are_found_and_left_alone() {
        for (check, path) in [
            ("ssh/host-keys", "etc/ssh/ssh_host_rsa_key"),
            ("id/machine-id", "etc/machine-id"),
            ("clean/leftovers", "tmp/x"),
            ("clean/leftovers", "var/log/dpkg.log"),
        ] {
            let mut tree = Tree::new();
            let check = find(CHECKS, check);
            assert_eq!(look(check, &tree, says("")), [""; 0]);
            tree.file(path, "x");
            let faults = look(check, &tree, says(""));
            assert!(faults.len() == 1 && faults[0].contains(path) && faults[0].contains("(1 B)"), "{faults:?}");
            assert_eq!(tree.text(path), "x");
        }
    }

    #[test]
    fn long_lists_are_cut_and_skipped_steps_leave_no_faults() {
        let mut tree = Tree::new();
        (0..5).for_each(|n| {
            tree.file(&format!("tmp/{n}"), "");
        });
        let check = find(CHECKS, "clean/leftovers");
        assert!(look(check, &tree, says(""))[0].contains("/tmp/0, /tmp/1, /tmp/2, and 2 more;"));
        for skip in ["tmp", "tmp/tmp"] {
            assert_eq!(look_but(check, &tree, says(""), &[skip.into()]), [""; 0]);
        }
    }
}
