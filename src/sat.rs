//! A small solver for clauses over packages, with conflict-driven clause learning (Marques-Silva and Sakallah, GRASP).
//!
//! A variable is one version of one package. The answer must be that of the distribution's own package manager, so the
//! caller makes every decision, in that one's order. After a conflict everything is forgotten but the clauses: the
//! search that led there is short, and deciding anew keeps the order.

/// A package being installed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Literal(u32);

impl Literal {
    /// The package is installed.
    pub fn yes(variable: u32) -> Literal {
        Literal(variable << 1)
    }

    /// The package is not installed.
    pub fn no(variable: u32) -> Literal {
        Literal(variable << 1 | 1)
    }

    /// The package.
    pub fn variable(self) -> u32 {
        self.0 >> 1
    }

    /// Whether it says that the package is installed.
    pub fn is_yes(self) -> bool {
        self.0 & 1 == 0
    }

    fn negated(self) -> Literal {
        Literal(self.0 ^ 1)
    }
}

/// A clause, by its place.
pub type ClauseId = usize;

#[derive(Debug)]
struct Clause {
    literals: Vec<Literal>,
    /// For a learned clause, those it follows from.
    follows_from: Vec<ClauseId>,
}

#[derive(Debug, Clone, Copy)]
struct Assigned {
    literal: Literal,
    level: u32,
    /// The clause that forced it; none for a decision.
    reason: Option<ClauseId>,
}

/// The state of a search.
#[derive(Debug)]
pub struct Sat {
    clauses: Vec<Clause>,
    /// For each literal, the clauses it is in.
    occurs: Vec<Vec<ClauseId>>,
    values: Vec<Option<Assigned>>,
    trail: Vec<Literal>,
    /// How much of the trail was looked at.
    done: usize,
    level: u32,
    conflict: Option<ClauseId>,
}

/// What [`Sat::conflict`] led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Learned {
    /// A new clause; everything is undecided again.
    Clause,
    /// The clauses contradict each other. These are the ones that do, without learned ones.
    Contradiction(Vec<ClauseId>),
}

impl Sat {
    /// A solver for variables below `variables`.
    pub fn new(variables: usize) -> Sat {
        Sat {
            clauses: Vec::new(),
            occurs: vec![Vec::new(); variables * 2],
            values: vec![None; variables],
            trail: Vec::new(),
            done: 0,
            level: 0,
            conflict: None,
        }
    }

    /// Adds a clause: at least one of the literals holds.
    pub fn add(&mut self, literals: Vec<Literal>) -> ClauseId {
        self.insert(Clause { literals, follows_from: Vec::new() })
    }

    fn insert(&mut self, clause: Clause) -> ClauseId {
        let id = self.clauses.len();
        for literal in &clause.literals {
            self.occurs[literal.0 as usize].push(id);
        }
        self.clauses.push(clause);
        self.look_at(id);
        id
    }

    /// Whether it is installed, if that is known.
    pub fn value(&self, variable: u32) -> Option<bool> {
        self.values[variable as usize].map(|a| a.literal.is_yes())
    }

    /// The decision that settled it, counted from 1 on; 0 where the clauses alone did. None while it is open.
    pub fn settled_by(&self, variable: u32) -> Option<usize> {
        self.values[variable as usize].map(|assigned| assigned.level as usize)
    }

    fn holds(&self, literal: Literal) -> Option<bool> {
        self.value(literal.variable()).map(|value| value == literal.is_yes())
    }

    /// Decides on an open variable.
    pub fn decide(&mut self, literal: Literal) {
        self.level += 1;
        self.assign(literal, None);
    }

    fn assign(&mut self, literal: Literal, reason: Option<ClauseId>) {
        self.values[literal.variable() as usize] = Some(Assigned { literal, level: self.level, reason });
        self.trail.push(literal);
    }

    /// Finds out what a clause means under what is known: nothing, one more literal, or a conflict.
    fn look_at(&mut self, id: ClauseId) {
        let mut open = None;
        for &literal in &self.clauses[id].literals {
            match self.holds(literal) {
                Some(true) => return,
                Some(false) => {}
                None if open.is_some() => return,
                None => open = Some(literal),
            }
        }
        match open {
            Some(literal) => self.assign(literal, Some(id)),
            None => self.conflict = self.conflict.or(Some(id)),
        }
    }

    /// Follows one known literal to what it forces, and gives it. `None`: nothing is left to follow, or there is a
    /// conflict.
    pub fn step(&mut self) -> Option<Literal> {
        if self.conflict.is_some() {
            return None;
        }
        let literal = *self.trail.get(self.done)?;
        self.done += 1;
        let against = literal.negated().0 as usize;
        for i in 0..self.occurs[against].len() {
            self.look_at(self.occurs[against][i]);
            if self.conflict.is_some() {
                break;
            }
        }
        Some(literal)
    }

    /// Whether the clauses cannot all hold under what was decided.
    pub fn in_conflict(&self) -> bool {
        self.conflict.is_some()
    }

    /// Learns from the conflict, which must be there, and begins anew.
    pub fn learn(&mut self) -> Learned {
        let Some(conflict) = self.conflict.take() else { return Learned::Clause };
        let (literals, used) = self.analyze(conflict);
        if literals.is_empty() {
            return Learned::Contradiction(self.base(used));
        }
        self.restart();
        self.insert(Clause { literals, follows_from: used });
        Learned::Clause
    }

    /// Resolves the conflict back to the first point that all of it goes through (the first unique implication point),
    /// and on to nothing where no decision took part. Gives the clause and what it follows from.
    fn analyze(&self, conflict: ClauseId) -> (Vec<Literal>, Vec<ClauseId>) {
        let levels = self.clauses[conflict].literals.iter().filter_map(|l| self.assigned(*l)).map(|a| a.level);
        let top = levels.max().unwrap_or(0);
        let mut seen = vec![false; self.values.len()];
        let mut used = Vec::new();
        let mut learned = Vec::new();
        // Literals of the top level that are met but not yet resolved.
        let mut open = 0;
        let mut next = Some(conflict);
        // Levels only grow along the trail: backwards, those of level 0 come last, and they always go.
        for literal in std::iter::once(None).chain(self.trail.iter().rev().map(Some)) {
            if let Some(assigned) = literal.and_then(|l| self.assigned(*l)) {
                if !seen[assigned.literal.variable() as usize] {
                    continue;
                }
                if assigned.level == top && top > 0 {
                    if open == 1 {
                        learned.push(assigned.literal.negated());
                        open = 0;
                        continue;
                    }
                    open -= 1;
                } else if assigned.level > 0 {
                    learned.push(assigned.literal.negated());
                    continue;
                }
                next = assigned.reason;
            }
            let Some(id) = next.take() else { continue };
            used.push(id);
            for assigned in self.clauses[id].literals.iter().filter_map(|l| self.assigned(*l)) {
                let known = std::mem::replace(&mut seen[assigned.literal.variable() as usize], true);
                if !known && assigned.level == top && top > 0 {
                    open += 1;
                }
            }
        }
        (learned, used)
    }

    fn assigned(&self, literal: Literal) -> Option<Assigned> {
        self.values[literal.variable() as usize]
    }

    /// Forgets all that was decided and all that followed from it, and looks at every clause again.
    pub fn restart(&mut self) {
        self.values.fill(None);
        self.trail.clear();
        self.done = 0;
        self.level = 0;
        self.conflict = None;
        for id in 0..self.clauses.len() {
            self.look_at(id);
        }
    }

    /// The clauses that were not learned behind these, sorted.
    fn base(&self, mut from: Vec<ClauseId>) -> Vec<ClauseId> {
        let mut seen = vec![false; self.clauses.len()];
        let mut base = Vec::new();
        while let Some(id) = from.pop() {
            if std::mem::replace(&mut seen[id], true) {
                continue;
            }
            let follows_from = &self.clauses[id].follows_from;
            if follows_from.is_empty() {
                base.push(id);
            }
            from.extend(follows_from);
        }
        base.sort_unstable();
        base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decides "no" on every open variable from the first on until all hold, or says which clauses contradict.
    fn search(variables: u32, clauses: &[&[i32]]) -> Result<Vec<bool>, Vec<ClauseId>> {
        let mut sat = Sat::new(variables as usize);
        for clause in clauses {
            let literal = |n: &i32| if *n > 0 { Literal::yes(n.unsigned_abs()) } else { Literal::no(n.unsigned_abs()) };
            sat.add(clause.iter().map(literal).collect());
        }
        loop {
            while sat.step().is_some() {}
            if sat.in_conflict() {
                match sat.learn() {
                    Learned::Clause => continue,
                    Learned::Contradiction(core) => return Err(core),
                }
            }
            match (0..variables).find(|v| sat.value(*v).is_none()) {
                Some(open) => sat.decide(Literal::no(open)),
                None => return Ok((0..variables).map(|v| sat.value(v) == Some(true)).collect()),
            }
        }
    }

    fn holds(model: &[bool], clause: &[i32]) -> bool {
        clause.iter().any(|n| model[n.unsigned_abs() as usize] == (*n > 0))
    }

    #[test]
    fn the_contradicting_clauses_are_named_and_no_others() {
        // 1 is wanted; 1 needs 2 or 3; 2 needs 4; 4 is not there; 3 conflicts with 1. 5 has no part in it.
        let clauses: [&[i32]; 7] = [&[1], &[5], &[-1, 2, 3], &[-5, 6], &[-2, 4], &[-4], &[-3, -1]];
        assert_eq!(search(7, &clauses), Err(vec![0, 2, 4, 5, 6]));
        assert!(search(7, &clauses[..6]).is_ok());
        assert_eq!(search(1, &[&[]]), Err(vec![0]));
    }

    #[test]
    fn agrees_with_trying_everything() {
        // A fixed linear congruential sequence: the cases are the same in every run.
        let mut state = 12345_u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        const VARIABLES: u32 = 9;
        let (mut solvable, mut contradictory) = (0, 0);
        for _ in 0..2000 {
            let clauses: Vec<Vec<i32>> = (0..20 + random(25))
                .map(|_| {
                    let literal = |n: u64| if n.is_multiple_of(2) { (n / 2 + 1) as i32 } else { -((n / 2 + 1) as i32) };
                    (0..1 + random(4).max(1)).map(|_| literal(random(2 * u64::from(VARIABLES - 1)))).collect()
                })
                .collect();
            let clauses: Vec<&[i32]> = clauses.iter().map(Vec::as_slice).collect();
            let model_of = |set: &[&[i32]]| {
                (0..1_u32 << VARIABLES)
                    .map(|bits| (0..VARIABLES).map(|v| bits >> v & 1 == 1).collect::<Vec<bool>>())
                    .find(|model| set.iter().all(|clause| holds(model, clause)))
            };
            match search(VARIABLES, &clauses) {
                Ok(model) => {
                    solvable += 1;
                    assert!(clauses.iter().all(|clause| holds(&model, clause)), "{clauses:?}");
                }
                Err(core) => {
                    contradictory += 1;
                    let core: Vec<&[i32]> = core.iter().map(|id| clauses[*id]).collect();
                    assert_eq!(model_of(&core), None, "{core:?} of {clauses:?}");
                }
            }
        }
        assert!(solvable > 200 && contradictory > 200, "{solvable} {contradictory}");
    }
}
