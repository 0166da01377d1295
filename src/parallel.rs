//! Work shared between threads.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Result, bail};

/// Does something for each of the items on so many threads, in the order of the items, and gives the results in
/// that order. Of several failures the first in the order is given.
pub fn parallel<T: Send>(jobs: usize, items: &[usize], work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let results: Mutex<Vec<Option<Result<T>>>> = Mutex::new(items.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(turn) else { return };
                    let result = work(*item);
                    if result.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    results.lock().unwrap_or_else(|e| e.into_inner())[turn] = Some(result);
                }
            });
        }
    });
    let mut done = Vec::with_capacity(items.len());
    let mut missing = false;
    for result in results.into_inner().unwrap_or_else(|e| e.into_inner()) {
        match result {
            Some(result) => done.push(result?),
            // Left out because one after it failed.
            None => missing = true,
        }
    }
    if missing {
        bail!("a worker ended early");
    }
    Ok(done)
}

/// Does something with parts of a long list on all cores: `work` is given the place of the first item of its part, and
/// the part. The results are in the order of the list.
pub fn in_parts<T: Sync, R: Send>(items: &[T], work: impl Fn(usize, &[T]) -> R + Sync) -> Vec<R> {
    const PART: usize = 2000;
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let start = next.fetch_add(PART, Ordering::Relaxed);
            let Some(rest) = items.get(start..).filter(|rest| !rest.is_empty()) else { return done };
            done.push((start, work(start, &rest[..rest.len().min(PART)])));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut parts: Vec<(usize, R)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores.min(items.len().div_ceil(PART))).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    parts.sort_by_key(|(start, _)| *start);
    parts.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_in_order_and_leave_nothing_out() {
        for length in [0, 1, 1999, 2000, 2001, 9999] {
            let items: Vec<usize> = (0..length).collect();
            let parts = in_parts(&items, |first, part| {
                assert_eq!(part.first(), Some(&first));
                part.to_vec()
            });
            assert_eq!(parts.concat(), items);
        }
    }

    #[test]
    fn results_are_in_order_and_the_first_failure_counts() {
        for jobs in [0, 1, 3, 100] {
            assert_eq!(parallel(jobs, &[3, 1, 2], |i| Ok(i * 10)).expect("no failure"), [30, 10, 20]);
            let all: Vec<usize> = (0..50).collect();
            let started = AtomicUsize::new(0);
            let error = parallel(jobs, &all, |i| {
                started.fetch_add(1, Ordering::Relaxed);
                if i % 7 == 3 { bail!("item {i}") } else { Ok(()) }
            });
            assert_eq!(error.expect_err("some fail").to_string(), "item 3");
            if jobs <= 1 {
                assert_eq!(started.into_inner(), 4, "the rest is not begun");
            }
        }
        assert_eq!(parallel(2, &[], Ok).expect("nothing to do"), Vec::<usize>::new());
    }
}
