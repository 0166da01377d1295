use super::super::pool::{Source, testing};
use super::*;

/// A repository of packages written as `name version; Field: value; ...`.
fn sources(packages: &[&str]) -> Vec<Source> {
    let text: String = packages
        .iter()
        .map(|package| {
            let mut parts = package.split("; ");
            let (name, version) = parts.next().and_then(|p| p.split_once(' ')).expect("name version");
            let fields: String = parts.map(|field| format!("{field}\n")).collect();
            format!("Package: {name}\nVersion: {version}\n{fields}\n")
        })
        .collect();
    vec![testing::source(Some(0), &text)]
}

fn try_solve(packages: &[&str], wanted: &[&str], excluded: &[&str]) -> Result<String> {
    solve_with(packages, wanted, excluded, false)
}

fn solve_with(packages: &[&str], wanted: &[&str], excluded: &[&str], recommends: bool) -> Result<String> {
    let sources = sources(packages);
    let pool = Pool::new(&sources, "amd64", &HashMap::new())?;
    let ids = |names: &[&str]| names.iter().map(|n| pool.find(n).expect(n)).collect::<Vec<_>>();
    let chosen = solve(&pool, &ids(wanted), &ids(excluded), recommends)?;
    Ok(chosen.iter().map(|id| pool.get(*id).package.name()).collect::<Vec<_>>().join(" "))
}

#[test]
fn choices_are_those_of_apt() {
    let cases: [(&[&str], &[&str], &str); 16] = [
        // Depth first, Pre-Depends before Depends.
        (&["a 1; Depends: b, c; Pre-Depends: d", "b 1; Depends: e", "c 1", "d 1", "e 1"], &["a"], "a d b e c"),
        // The first alternative.
        (&["a 1; Depends: x | y", "x 1", "y 1"], &["a"], "a x"),
        // One chosen before is enough.
        (&["a 1; Depends: y, x | y", "x 1", "y 1"], &["a"], "a y"),
        // One that will be chosen later is not.
        (&["a 1; Depends: x | y, y", "x 1", "y 1"], &["a"], "a x y"),
        // What was asked for counts as chosen before everything else.
        (&["a 1; Depends: x | y", "x 1", "y 1"], &["a", "y"], "a y"),
        // An alternative that is not there, or not in that version.
        (&["a 1; Depends: z | x (>= 2) | y", "x 1", "y 1"], &["a"], "a y"),
        // An alternative that cannot be installed, at once and further down.
        (&["a 1; Depends: x | y", "x 1; Depends: z", "y 1"], &["a"], "a y"),
        (&["a 1; Depends: x | y", "x 1; Depends: w", "w 1; Depends: v", "v 1; Depends: z", "y 1"], &["a"], "a y"),
        // The real package before those that provide its name.
        (&["p 1; Provides: x", "a 1; Depends: x", "x 1"], &["a"], "a x"),
        (&["a 1; Depends: x (>= 2)", "p 1; Provides: x (= 3)", "x 1"], &["a"], "a p"),
        // An alternative against something wanted.
        (&["a 1; Depends: x | y", "x 1; Conflicts: b", "b 1", "y 1"], &["a", "b"], "a b y"),
        (&["a 1; Depends: x | y", "x 1", "b 1; Breaks: x (<< 2)", "y 1"], &["a", "b"], "a b y"),
        // Versions that are not hit.
        (&["a 1; Depends: x | y", "x 2", "b 1; Breaks: x (<< 2)", "y 1"], &["a", "b"], "a b x"),
        // A package may conflict with what it provides itself.
        (&["a 1; Provides: v; Conflicts: v; Depends: a"], &["a"], "a"),
        // Where the first choice leads to a conflict only later, it is taken back.
        (&["a 1; Depends: x | y, c", "c 1; Depends: d", "d 1; Conflicts: x", "x 1", "y 1"], &["a"], "a y c d"),
        // A circle.
        (&["a 1; Depends: b", "b 1; Depends: a"], &["a"], "a b"),
    ];
    for (packages, wanted, chosen) in cases {
        assert_eq!(try_solve(packages, wanted, &[]).expect("it can be solved"), chosen, "{packages:?}");
    }
}

#[test]
fn what_dpkg_would_refuse_is_not_chosen() {
    for against in ["Conflicts: x:any", "Breaks: x:any (<< 2)", "Conflicts: v:any", "Conflicts: x:native"] {
        let hostile = format!("a 1; Depends: x | y; {against}");
        let chosen = try_solve(&[&hostile, "x 1; Provides: v", "y 1"], &["a"], &[]).expect("it can be solved");
        assert_eq!(chosen, "a y", "{against}");
    }
    for harmless in ["Conflicts: x:arm64", "Breaks: x:any (<< 1)", "Conflicts: a"] {
        let hostile = format!("a 1; Depends: x | y; {harmless}");
        let chosen = try_solve(&[&hostile, "x 1; Provides: v", "y 1"], &["a"], &[]).expect("it can be solved");
        assert_eq!(chosen, "a x", "{harmless}");
    }
}

#[test]
fn a_choice_that_two_conflicts_leave_open_is_found() {
    // Every greedy way fails: x1 and y1 are each against the first two of z, and z3 is against w1.
    let packages = [
        "a 1; Depends: x1 | x2, y1 | y2, z1 | z2 | z3, w1 | w2",
        "x1 1; Conflicts: z1, w2",
        "x2 1",
        "y1 1; Conflicts: z2, z1",
        "y2 1; Conflicts: z3",
        "z1 1",
        "z2 1",
        "z3 1; Conflicts: w1",
        "w1 1",
        "w2 1",
    ];
    let chosen = try_solve(&packages, &["a"], &[]).expect("it can be solved");
    assert_eq!(chosen, "a x1 y2 z2 w1");
}

#[test]
fn recommendations_are_followed_where_they_can_be() {
    type Case = (&'static [&'static str], &'static [&'static str], &'static [&'static str], &'static str);
    let cases: [Case; 15] = [
        (&["a 1; Recommends: b; Depends: c", "b 1; Recommends: d", "c 1", "d 1"], &["a"], &[], "a c b d"),
        (&["a 1; Recommends: x | y", "x 1", "y 1"], &["a", "y"], &[], "a y"),
        (&["a 1; Recommends: x | y", "y 1"], &["a"], &[], "a y"),
        // Not there, excluded, or not to be installed.
        (&["a 1; Recommends: x, y", "y 1"], &["a"], &[], "a y"),
        (&["a 1; Recommends: x", "x 1"], &["a"], &["x"], "a"),
        (&["a 1; Recommends: x", "x 1; Depends: gone"], &["a"], &[], "a"),
        (&["a 1; Recommends: x", "x 1; Conflicts: b", "b 1"], &["a", "b"], &[], "a b"),
        // In the way of something that is needed, which is met only later.
        (
            &["a 1; Depends: r, c", "r 1; Recommends: x", "x 1", "c 1; Depends: d", "d 1; Breaks: x"],
            &["a"],
            &[],
            "a r c d",
        ),
        // A later one takes back what was chosen before it, as an alternative or as a recommendation, and what came
        // with that.
        (&["a 1; Recommends: r, c", "r 1; Depends: x | y", "x 1", "y 1", "c 1; Conflicts: x"], &["a"], &[], "a r y c"),
        (&["a 1; Recommends: x, c", "x 1; Depends: y", "y 1", "c 1; Conflicts: x"], &["a"], &[], "a c"),
        (&["a 1; Recommends: x, c", "x 1", "c 1; Depends: d", "d 1; Breaks: x"], &["a"], &[], "a c d"),
        // The last of several does.
        (&["a 1; Recommends: x, y, z", "x 1", "y 1; Conflicts: x", "z 1; Conflicts: y, x"], &["a"], &[], "a z"),
        // But not what is needed, at once or further down.
        (&["a 1; Depends: n; Recommends: c", "n 1; Depends: m", "m 1", "c 1; Conflicts: m"], &["a"], &[], "a n m"),
        // Nor for one whose own reason to come is taken back in the end.
        (
            &["a 1; Recommends: x, r, c", "x 1", "r 1; Recommends: p", "p 1; Conflicts: x", "c 1; Conflicts: r"],
            &["a"],
            &[],
            "a x c",
        ),
        // What is needed has the choice, not what is recommended.
        (
            &["a 1; Recommends: x; Depends: b", "b 1; Depends: x | y", "x 1; Conflicts: y", "y 1"],
            &["a"],
            &["x"],
            "a b y",
        ),
    ];
    for (packages, wanted, excluded, chosen) in cases {
        assert_eq!(solve_with(packages, wanted, excluded, true).expect("it can be solved"), chosen, "{packages:?}");
    }
}

#[test]
fn excluded_packages_are_gone_around() {
    let packages = ["a 1; Depends: x | y", "x 1", "y 1"];
    assert_eq!(try_solve(&packages, &["a"], &["x"]).expect("it can be solved"), "a y");
    let error = try_solve(&packages, &["a"], &["x", "y"]).expect_err("nothing is left");
    let message = format!("{error:#}");
    assert_eq!(message, "'a' cannot be installed: a 1 depends on x | y: x is excluded: y is excluded");
}

#[test]
fn impossible_wishes_name_the_chain() {
    let cases: [(&[&str], &[&str], &str); 7] = [
        (
            &["a 1; Depends: b | v | x", "b 2; Conflicts: c", "c 1", "p 1; Provides: v; Breaks: c (<< 2)"],
            &["a", "c"],
            "these packages cannot be installed together: a, c: a 1 depends on b | v | x (no repository has x): \
             b 2 conflicts with c, which c 1 is: p 1 breaks c (<< 2), which c 1 is",
        ),
        (
            &["a 1; Depends: b", "b 2; Depends: c (>= 3)", "c 2.9", "u 1"],
            &["u", "a"],
            "'a' cannot be installed: a 1 depends on b: b 2 depends on c (>= 3), but c is only there in version 2.9",
        ),
        (
            &["a 1; Depends: b |\n c"],
            &["a"],
            "'a' cannot be installed: a 1 depends on b | c, but no repository has b and no repository has c",
        ),
        (
            &["a 1; Depends: v (>= 2)", "p 1; Provides: v"],
            &["a"],
            "'a' cannot be installed: a 1 depends on v (>= 2), but what provides v (p 1) does not in that version",
        ),
        (
            &["a 1; Depends: b", "b 1; Conflicts: c", "c 1"],
            &["c", "a"],
            "these packages cannot be installed together: a, c: a 1 depends on b: b 1 conflicts with c, \
             which c 1 is",
        ),
        (
            &["a 1; Breaks: v", "b 1; Provides: v"],
            &["a", "b"],
            "these packages cannot be installed together: a, b: a 1 breaks v, which b 1 provides",
        ),
        (
            &["a 1; Depends: b:arm64", "b 1"],
            &["a"],
            "'a' cannot be installed: a 1 depends on b:arm64, but b 1 is of another architecture",
        ),
    ];
    for (packages, wanted, message) in cases {
        let error = try_solve(packages, wanted, &[]).expect_err(message);
        assert_eq!(format!("{error:#}"), message);
    }
}

#[test]
fn broken_relations_name_the_place() {
    for field in ["Depends: b (", "Conflicts: b | c", "Pre-Depends: |"] {
        let error = try_solve(&[&format!("a 1; {field}"), "b 1", "c 1"], &["a"], &[]).expect_err(field);
        assert!(format!("{error:#}").contains("test, line 1: the relations of a"), "{error:#}");
    }
}
