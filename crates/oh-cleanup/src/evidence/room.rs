//! As much of the evidence as a full disk has room for.
//!
//! What is largest goes first, whatever it is: anybody can fill arguments, names and logs, and what they
//! fill is not to push out what others said. What says most of a machine is never dropped, only cut.

use oh_model::run::RunId;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::EvidenceFault;
use super::bundle::archive;
use super::items::{Gathered, Item, Missing};

/// What is cut and not dropped, by its name or the folder that it is in.
const NEVER_DROPPED: [&str; 4] = ["processes.jsonl", "editors.jsonl", "plan.json", "sockets/"];

/// What is left of it at least, in bytes before it is packed.
const LEFT_BYTES_MIN: usize = 16 * 1024;

/// An archive that fits.
pub(super) struct Fitting {
    pub(super) archive: Vec<u8>,
    /// How many items it has.
    pub(super) items: usize,
    /// How many were dropped or cut for it.
    pub(super) shed: usize,
}

/// Takes the largest items out of an archive until it has no more than `room` bytes; `None` where it never
/// has.
pub(super) fn within(
    run: &RunId,
    gathered: Gathered,
    mut packed: Vec<u8>,
    room: u64,
) -> Result<Option<Fitting>, EvidenceFault> {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let mut shedding = Shedding::of(gathered);
    while packed.len() > room {
        let mut over = packed.len() - room;
        while over > 0 {
            let Some(saved) = shedding.shed_largest() else { return Ok(None) };
            over = over.saturating_sub(saved);
        }
        packed = archive(run, &shedding.gathered)?;
    }
    let items = shedding.gathered.items.len();
    let shed = items_shed(&shedding);
    Ok(Some(Fitting { archive: packed, items, shed }))
}

fn items_shed(shedding: &Shedding) -> usize {
    shedding.dropped + shedding.is_shed.iter().filter(|is_shed| **is_shed).count()
}

/// What is gathered, and how much room each item has when it is packed.
struct Shedding {
    gathered: Gathered,
    /// One for each item, in bytes.
    packed: Vec<usize>,
    /// Whether it was cut here.
    is_shed: Vec<bool>,
    dropped: usize,
}

impl Shedding {
    fn of(gathered: Gathered) -> Self {
        let packed: Vec<usize> = gathered.items.iter().map(packed_length).collect();
        let is_shed = vec![false; packed.len()];
        Self { gathered, packed, is_shed, dropped: 0 }
    }

    /// Drops the largest item, or cuts it; returns how much that saves, and `None` where nothing is left
    /// to be taken.
    fn shed_largest(&mut self) -> Option<usize> {
        let items = self.gathered.items.iter().zip(&self.packed).enumerate();
        let left =
            items.filter(|(_, (item, _))| !is_kept(item) || item.bytes.len() > LEFT_BYTES_MIN);
        let (at, _) = left.max_by_key(|(_, (_, packed))| **packed)?;
        let before = *self.packed.get(at)?;
        if is_kept(self.gathered.items.get(at)?) {
            let item = self.gathered.items.get_mut(at)?;
            halve(item);
            let after = packed_length(item);
            *self.packed.get_mut(at)? = after;
            *self.is_shed.get_mut(at)? = true;
            return Some(before.saturating_sub(after));
        }
        let item = self.gathered.items.remove(at);
        self.packed.remove(at);
        self.is_shed.remove(at);
        self.dropped += 1;
        self.gathered.missing.push(Missing { name: item.name, why: "dropped: no room".into() });
        Some(before)
    }
}

fn is_kept(item: &Item) -> bool {
    NEVER_DROPPED
        .iter()
        .any(|name| item.name == *name || name.ends_with('/') && item.name.starts_with(name))
}

/// Leaves the first lines.
fn halve(item: &mut Item) {
    let half = item.bytes.len() / 2;
    let head = item.bytes.get(..half).unwrap_or_default();
    let end = head.iter().rposition(|byte| *byte == b'\n').map_or(half, |end| end + 1);
    item.bytes.truncate(end);
    item.is_cut = true;
}

fn packed_length(item: &Item) -> usize {
    compress_to_vec(item.bytes.as_slice(), CompressionLevel::Fastest).len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Text that does not become smaller than a half.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if state.is_multiple_of(80) { b'\n' } else { b'!' + (state >> 32) as u8 % 90 }
        };
        (0..length).map(|_| byte()).collect()
    }

    fn gathered(items: &[(&str, usize)]) -> Gathered {
        let item = |(name, length): &(&str, usize)| Item {
            name: (*name).into(),
            bytes: noise(*length),
            is_cut: false,
        };
        Gathered {
            at: "2026-11-20T03:02:11Z".parse().unwrap(),
            by: json!({}),
            machine: json!({}),
            items: items.iter().map(item).collect(),
            missing: Vec::new(),
        }
    }

    fn shed(items: &[(&str, usize)], room: usize) -> Option<(Fitting, Vec<String>)> {
        let run = RunId::parse("20261120T030211Z").unwrap();
        let whole = archive(&run, &gathered(items)).unwrap();
        let fitting = within(&run, gathered(items), whole, room as u64).unwrap()?;
        assert!(fitting.archive.len() <= room);
        let decoder = ruzstd::decoding::StreamingDecoder::new(fitting.archive.as_slice()).unwrap();
        let mut names = Vec::new();
        for entry in tar::Archive::new(decoder).entries().unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            names.push(path.rsplit_once("Z/").unwrap().1.to_owned());
        }
        Some((fitting, names))
    }

    #[test]
    fn what_fits_is_whole() {
        let (fitting, names) = shed(&[("a", 1000), ("plan.json", 1000)], 100_000).unwrap();
        assert_eq!((fitting.shed, fitting.items), (0, 2));
        assert_eq!(names, ["manifest.json", "a", "plan.json", "SHA256SUMS"]);
    }

    #[test]
    fn the_largest_go_and_what_says_most_is_only_cut() {
        let all = [
            ("processes.jsonl", 400_000),
            ("sockets/unix", 300_000),
            ("plan.json", 2000),
            ("sessions/huge.json", 500_000),
            ("databases/ports.json", 3000),
            ("logs/hello.log", 50_000),
        ];
        let (fitting, names) = shed(&all, 300_000).unwrap();
        assert_eq!((fitting.shed, fitting.items), (3, 5));
        let left = ["processes.jsonl", "sockets/unix", "plan.json", "databases/ports.json"];
        for name in left.iter().chain(&["logs/hello.log"]) {
            assert!(names.contains(&(*name).to_owned()), "{name}: {names:?}");
        }
        assert!(!names.contains(&"sessions/huge.json".to_owned()), "{names:?}");
    }

    #[test]
    fn where_even_the_least_does_not_fit_there_is_none() {
        assert!(shed(&[("processes.jsonl", 400_000)], 4000).is_none());
        assert!(shed(&[], 10).is_none());
    }

    #[test]
    fn what_is_cut_ends_with_a_line() {
        let mut item = Item { name: "a".into(), bytes: b"one\ntwo\nthree\n".into(), is_cut: false };
        halve(&mut item);
        assert_eq!((item.bytes.as_slice(), item.is_cut), (&b"one\n"[..], true));
        let mut item = Item { name: "a".into(), bytes: b"onetwo".into(), is_cut: false };
        halve(&mut item);
        assert_eq!(item.bytes, b"one");
    }
}
