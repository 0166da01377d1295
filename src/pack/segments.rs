//! Where the tar is cut into segments, each of which is compressed on its own.
//!
//! A cut is where a folder begins or ends, or the files in it that packages brought, if that is as much as a segment has
//! on average; and within such a stretch before every entry whose name has the lowest hash within reach, before and
//! after. So what an update adds, removes or changes moves no cut beyond that reach, and no segment but the one that a
//! stretch consists of is shorter than it. A segment that becomes too long for the codec is cut at every such length.

use std::os::unix::ffi::OsStrExt;

use sha2::{Digest as _, Sha256};

use super::Compression;
use super::tree::Item;
use crate::codec::Codec;

/// A tar with fewer bytes is small: segments of full length would leave cores without work.
const SMALL: u64 = 32 << 20;

/// How long segments are. The bytes of every image depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// Bytes at most.
    pub longest: usize,
    /// How far cuts are apart at least, but for those that folders make. None where nothing is cut.
    pub reach: Option<u64>,
}

impl Lengths {
    /// Those for a tar of so many bytes.
    pub fn new(compression: Compression, total: u64) -> Lengths {
        let longest = match compression.codec {
            // The dictionary, which from level 7 on doubles with each (`xz(1)`): with smaller segments these levels would
            // only cost memory.
            Codec::Xz if compression.level() > 6 => (8 << 20) << (compression.level() - 6),
            // For Alpine's minirootfs, 8.7 MB, half the length costs 1 %, and lets two cores share the work.
            Codec::Xz | Codec::Zstd if total < SMALL => 4 << 20,
            // The dictionary of level 6, the window of level 19.
            Codec::Xz | Codec::Zstd => 8 << 20,
            // The window is 32 KiB: even much less would cost nothing.
            Codec::Gzip => 1 << 20,
            // Large enough to make a system call cheap, small enough to stay in the cores' caches.
            Codec::None => 512 << 10,
        };
        // With a quarter of the longest segment, a Debian tree of 121 MB becomes 0.4 to 1.9 % larger than in blocks of the
        // full length, as the hashes fall (3.0 % with an eighth), and after the update of one library a ninth of it is
        // compressed again (a tenth with an eighth).
        let reach = (compression.codec != Codec::None).then_some(longest as u64 / 4);
        Lengths { longest, reach }
    }
}

/// For each entry, whether a segment begins with it.
pub fn starts(items: &[Item], reach: u64) -> Vec<bool> {
    let mut starts: Vec<bool> = items.iter().map(|item| item.divides >= reach).collect();
    let mut first = 0;
    while first < items.len() {
        let length = starts[first + 1..].iter().take_while(|start| !**start).count() + 1;
        let stretch: Vec<Mark> = marks(&items[first..first + length]);
        for lowest in lowest(&stretch, reach) {
            starts[first + lowest] = true;
        }
        first += length;
    }
    starts
}

/// An entry of a stretch as far as cutting goes.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Bytes before it.
    at: u64,
    /// Bytes to its end.
    end: u64,
    /// A number that depends on its name alone.
    hash: u64,
}

fn marks(items: &[Item]) -> Vec<Mark> {
    let mut at = 0;
    let mark = |item: &Item| {
        let digest = Sha256::digest(item.path.as_os_str().as_bytes());
        let hash = digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
        let mark = Mark { at, end: at + item.tar_size(), hash };
        at = mark.end;
        mark
    };
    items.iter().map(mark).collect()
}

/// The entries that have no equal or lower hash, and no end of the stretch, within reach of their beginning.
fn lowest(marks: &[Mark], reach: u64) -> Vec<usize> {
    let total = marks.last().map_or(0, |mark| mark.end);
    let before = nearest(marks.iter());
    let mut after = nearest(marks.iter().rev());
    after.reverse();
    let is_lowest = |i: &usize| {
        let at = marks[*i].at;
        at - before[*i].unwrap_or(0) >= reach && after[*i].unwrap_or(total) - at >= reach
    };
    (0..marks.len()).filter(is_lowest).collect()
}

/// For each entry the place of the last one before it that has no higher hash.
fn nearest<'a>(marks: impl Iterator<Item = &'a Mark>) -> Vec<Option<u64>> {
    // Those that are lower than all since.
    let mut candidates: Vec<Mark> = Vec::new();
    let mut find = |mark: &Mark| {
        while candidates.last().is_some_and(|other| other.hash > mark.hash) {
            candidates.pop();
        }
        let found = candidates.last().map(|other| other.at);
        candidates.push(*mark);
        found
    };
    marks.map(&mut find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_codec() {
        let of = |text: &str, total| Lengths::new(text.parse().expect("a compression"), total);
        for (text, small, large) in [
            ("xz", 4 << 20, 8 << 20),
            ("xz:0", 4 << 20, 8 << 20),
            ("xz:7", 16 << 20, 16 << 20),
            ("xz:9", 64 << 20, 64 << 20),
            ("zstd:19", 4 << 20, 8 << 20),
            ("gzip", 1 << 20, 1 << 20),
        ] {
            assert_eq!(of(text, SMALL - 1), Lengths { longest: small, reach: Some(small as u64 / 4) }, "{text}");
            assert_eq!(of(text, SMALL), Lengths { longest: large, reach: Some(large as u64 / 4) }, "{text}");
        }
        assert_eq!(of("none", SMALL).reach, None);
    }

    const REACH: u64 = 1000;

    /// Entries of sizes and hashes that follow from their numbers.
    fn entries(numbers: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
        numbers.map(|i| (sip(i) % 90 + 1, sip(i + 1_000_000))).collect()
    }

    /// Splitmix64: a number that looks like chance.
    fn sip(i: u64) -> u64 {
        let z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn marks_of(entries: &[(u64, u64)]) -> Vec<Mark> {
        let mut at = 0;
        let mark = |&(size, hash): &(u64, u64)| {
            at += size;
            Mark { at: at - size, end: at, hash }
        };
        entries.iter().map(mark).collect()
    }

    /// The hashes of the entries that cuts are before.
    fn cuts(entries: &[(u64, u64)]) -> Vec<u64> {
        lowest(&marks_of(entries), REACH).into_iter().map(|i| entries[i].1).collect()
    }

    #[test]
    fn the_lowest_within_reach_and_no_other() {
        let all = entries(0..3000);
        let marks = marks_of(&all);
        let total = marks.last().expect("entries").end;
        let by_definition: Vec<usize> = (0..marks.len())
            .filter(|i| {
                let near = |other: &Mark| other.at.abs_diff(marks[*i].at) < REACH;
                let lower = marks.iter().enumerate().any(|(j, m)| j != *i && near(m) && m.hash <= marks[*i].hash);
                !lower && marks[*i].at >= REACH && total - marks[*i].at >= REACH
            })
            .collect();
        assert_eq!(lowest(&marks, REACH), by_definition);
        assert!(by_definition.len() > 30, "{} cuts", by_definition.len());
        for pair in by_definition.windows(2) {
            assert!(marks[pair[1]].at - marks[pair[0]].at >= REACH);
        }
    }

    #[test]
    fn changes_move_no_cut_beyond_their_reach() {
        let all = entries(0..3000);
        let marks = marks_of(&all);
        let before = cuts(&all);
        for place in (50..2950).step_by(97) {
            let near = |hash: &u64| {
                let at =
                    all.iter().position(|(_, other)| other == hash).map(|i| marks[i].at).expect("it is one of them");
                at.abs_diff(marks[place].at) <= REACH + 100
            };
            let far = |cuts: Vec<u64>| cuts.into_iter().filter(|hash| !near(hash)).collect::<Vec<u64>>();
            let kept = far(before.clone());
            let (mut without, mut larger, mut with) = (all.clone(), all.clone(), all.clone());
            without.remove(place);
            larger[place].0 += 50;
            with.insert(place, (40, 0));
            assert_eq!(far(cuts(&without)), kept, "{place} is gone");
            assert_eq!(far(cuts(&larger)), kept, "{place} is larger");
            let new: Vec<u64> = cuts(&with).into_iter().filter(|hash| *hash != 0).collect();
            assert_eq!(far(new), kept, "something is new before {place}");
        }
    }

    #[test]
    fn short_stretches_stay_whole() {
        for entries in [vec![], vec![(5000, 7)], entries(0..10), vec![(900, 2), (900, 1), (50, 3)]] {
            assert!(cuts(&entries).is_empty(), "{entries:?}");
        }
        assert_eq!(cuts(&[(1000, 2), (1000, 1)]), [1]);
        assert!(cuts(&[(1000, 5), (999, 1), (1000, 1)]).is_empty(), "equal hashes");
        assert_eq!(cuts(&[(1000, 5), (1000, 1), (1000, 1)]), [1, 1]);
    }
}
