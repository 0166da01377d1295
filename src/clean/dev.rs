//! The folders on which the kernel's file systems are mounted.

use super::Step;

/// Their content belongs to the machine that runs the image. Packages own nothing in them but folders.
pub(super) const STEPS: &[Step] = &[
    Step {
        name: "dev/dev",
        sentence: "Device nodes: whoever runs the image mounts its own /dev.",
        run: |c| c.remove_content("dev"),
    },
    Step {
        name: "dev/proc",
        sentence: "What was written below /proc while nothing was mounted there.",
        run: |c| c.remove_content("proc"),
    },
    Step {
        name: "dev/sys",
        sentence: "What was written below /sys while nothing was mounted there.",
        run: |c| c.remove_content("sys"),
    },
];

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::STEPS;

    #[test]
    fn they_are_empty_and_stay() {
        for (step, folder) in [("dev/dev", "dev"), ("dev/proc", "proc"), ("dev/sys", "sys")] {
            let mut tree = Tree::new();
            tree.file(&format!("{folder}/null"), "output").link("/proc/self/fd", &format!("{folder}/fd"));
            tree.mode(folder, 0o555).owns(folder);
            // An ordinary user can only empty a folder that it may write.
            if !nix::unistd::geteuid().is_root() {
                tree.mode(folder, 0o755);
            }
            let mode = tree.mode_of(folder);
            assert_eq!(tree.step(STEPS, step).len(), 2);
            assert_eq!(tree.mode_of(folder), mode);
        }
    }
}
