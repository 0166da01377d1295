//! Explanations of what cannot be installed.

use super::super::info::Info;
use super::super::pool::Source;
use super::super::solve::solve;
use super::super::world;
use super::*;
use crate::error::{Exit, exit_code};

const MAIN: &str = "P:a\nV:1-r0\nD:b>=2 c\n\nP:b\nV:1-r0\n\nP:b\nV:2-r0\nD:!d\n\nP:c\nV:1-r0\nD:b\n\nP:d\nV:1-r0\n\n\
                    P:e\nV:1-r0\nD:so:gone\n\nP:f\nV:1-r0\nD:virtual\n\nP:g\nV:1-r0\np:virtual\n\nP:h\nV:1-r0\n\
                    p:virtual x=1\n\nP:i\nV:1-r0\np:x=2\n\nP:j\nV:1-r0\nA:riscv64\n\nP:k\nV:1-r0\nX:new\n\nP:l\n\
                    V:1-r0\nD:m>1\n\nP:n\nV:1-r0\nD:a\n\nP:circle\nV:1-r0\nD:back\n\nP:back\nV:1-r0\nD:circle";
const EDGE: &str = "P:m\nV:2-r0\nI:5\n\nP:a\nV:2-r0\nI:5";

fn packages(text: &str, repository: &str) -> Vec<Info> {
    let one = |(at, paragraph): (usize, &str)| Info::from_index(&format!("C:Q1{repository}{at}\n{paragraph}"));
    text.split("\n\n").enumerate().map(one).collect::<Result<_, _>>().expect("they are valid")
}

fn ask(world: &[&str]) -> Result<usize, Error> {
    let (main, edge) = (packages(MAIN, "main"), packages(EDGE, "edge"));
    let sources = [
        Source { repository: Some(0), tag: None, packages: &main },
        Source { repository: Some(1), tag: Some("edge"), packages: &edge },
    ];
    let world: Vec<String> = world.iter().map(ToString::to_string).collect();
    let mut pool = Pool::new(&sources, "x86_64")?;
    let wishes = world::wishes(&world, &mut pool)?;
    let outcome = solve(&pool, &wishes, |_| false);
    if outcome.is_possible() { Ok(outcome.packages.len()) } else { Err(explain(&pool, &wishes, &outcome)) }
}

#[test]
fn what_is_possible() {
    for (world, count) in [
        (&["a"][..], 3),
        (&["circle"], 2),
        (&["f", "g"], 2),
        (&["l@edge"], 2),
        (&["a@edge"], 1),
        (&["virtual", "h"], 1),
    ] {
        assert_eq!(ask(world).expect("it is possible"), count, "{world:?}");
    }
}

#[test]
fn mistakes_in_what_is_asked_for() {
    for (world, words) in [
        (&["aa"][..], "no repository has the package 'aa'"),
        (&["b>2-r0"], "there is no b>2-r0, only 2-r0, 1-r0"),
        (&["virtual"], "'virtual' is a virtual package; ask for one that provides it: g, h"),
        (&["m"], "m is only in a repository with a tag; ask for it as m@edge"),
        (&["m@egde"], "no repository has the tag 'egde'; did you mean 'edge'?"),
    ] {
        let error = ask(world).expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(exit_code(&error), Exit::Usage, "{error}");
    }
}

#[test]
fn contradictions_lead_back_to_what_is_asked_for() {
    for (world, lines) in [
        (&["e"][..], &["'e' cannot be installed", "e 1-r0 depends on so:gone, which no repository has"][..]),
        (
            &["f"],
            &["'f' cannot be", "f 1-r0 depends on virtual, which several packages provide: ask for one of them (g, h)"],
        ),
        (&["a", "b=1-r0"], &["cannot be installed together: a, b=1-r0", "a 1-r0 depends on b>=2"]),
        (&["a", "!c"], &["together: a, !c", "c is excluded", "a 1-r0 depends on c"]),
        (&["n", "d"], &["cannot be installed together: n, d", "b 2-r0 conflicts with d, and d 1-r0 is needed"]),
        (&["a", "d"], &["together: a, d", "b 2-r0 conflicts with d, and d 1-r0 is needed"]),
        (&["h", "i"], &["together: h, i", "h 1-r0 and i 1-r0 both provide x"]),
        (&["j"], &["'j' cannot be installed", "j 1-r0 is for the architecture riscv64"]),
        (&["k"], &["'k' cannot be installed", "k 1-r0 cannot be installed: it has the field X"]),
        (&["l"], &["'l' cannot be installed", "m 2-r0 is only in the repository with the tag edge"]),
    ] {
        let error = ask(world).expect_err("it is impossible");
        let text = format!("{error:#}");
        assert!(lines.iter().all(|line| text.contains(line)), "{world:?}: {text}");
        assert_eq!(exit_code(&error), Exit::Failed, "{text}");
    }
}
