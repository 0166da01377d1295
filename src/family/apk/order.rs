//! The order of installation: that in which apk would install exactly these packages.

use anyhow::{Result, bail};

use super::dependency::Dependency;
use super::info::Info;
use super::pool::{Pool, Relation, Source};
use super::solve::{Wish, solve};

/// The packages in the order of installation, as indexes. `world` is what was asked for, one relation each.
pub fn order(packages: &[Info], world: &[String], arch: &str) -> Result<Vec<usize>> {
    let sources = [Source { repository: Some(0), tag: None, packages }];
    let mut pool = Pool::new(&sources, arch)?;
    let mut wishes = Vec::with_capacity(world.len());
    for line in world {
        // There is one of each package left, whatever repository it came from.
        let dependency = Dependency { tag: None, ..Dependency::parse_tagged(line)? };
        wishes.push(Wish { relation: Relation { name: pool.name_id(dependency.name), dependency }, tag: 0 });
    }
    let outcome = solve(&pool, &wishes, |_| false);
    if let Some(name) = outcome.missing.first() {
        bail!("nothing in the lock gives {}, which is needed; make the lock anew", pool.name(*name).name);
    }
    if let Some((package, _)) = outcome.faults.first() {
        bail!("{} does not fit the other packages of the lock; make the lock anew", pool.package(*package).info.name);
    }
    if let Some(left) = (0..packages.len()).find(|package| !outcome.packages.contains(package)) {
        bail!("the lock has {}, and nothing asks for it; make the lock anew", packages[left].name);
    }
    Ok(outcome.packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, depends: &str, install_if: &str) -> Info {
        let text = format!("C:Q1{name}\nP:{name}\nV:1-r0\nA:x86_64\nD:{depends}\ni:{install_if}");
        Info::from_index(&text).expect("it is valid")
    }

    fn names(packages: &[Info], world: &[&str]) -> Result<Vec<String>> {
        let world: Vec<String> = world.iter().map(|line| line.to_string()).collect();
        Ok(order(packages, &world, "x86_64")?.into_iter().map(|at| packages[at].name.clone()).collect())
    }

    #[test]
    fn what_is_needed_comes_first_and_what_comes_by_itself_right_after() {
        let packages = [
            package("a-openrc", "", "a openrc"),
            package("app", "lib !old", ""),
            package("a", "lib", ""),
            package("lib", "app", ""),
            package("openrc", "", ""),
        ];
        let found = names(&packages, &["openrc", "a@edge"]).expect("they fit");
        assert_eq!(found, ["app", "lib", "a", "openrc", "a-openrc"]);
    }

    #[test]
    fn a_lock_that_does_not_fit_is_refused() {
        let packages = [package("a", "b", ""), package("c", "", "")];
        let error = |world: &[&str]| names(&packages, world).expect_err("it does not fit").to_string();
        assert!(error(&["a"]).contains("nothing in the lock gives b"), "{}", error(&["a"]));
        assert!(error(&["c"]).contains("the lock has a, and nothing asks for it"), "{}", error(&["c"]));
        assert!(error(&["c>2", "c"]).contains("c does not fit"), "{}", error(&["c>2"]));
    }
}
