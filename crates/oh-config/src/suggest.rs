//! "Did you mean": the nearest right word.

use alloc::string::String;
use alloc::vec::Vec;

/// The most edits between a word and what was probably meant.
const EDITS_MAX: usize = 3;

/// The shortest beginning or part of a word that counts as that word.
const PART_CHARS_MIN: usize = 4;

/// Finds the candidate that is nearest to the word, if any is near enough; the first of equals.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    let length = word.chars().count();
    let allowed = EDITS_MAX.min(length.div_ceil(3));
    candidates
        .filter_map(|candidate| {
            let edits = edits(&word, candidate);
            let near = edits <= allowed && edits < length;
            let part = length >= PART_CHARS_MIN && candidate.contains(word.as_str());
            (near || part).then_some((edits.min(EDITS_MAX + 1), candidate))
        })
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Counts insertions, deletions, replacements and swaps of neighbours that make one word of the
/// other (optimal string alignment).
fn edits(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    // Words of absurd length are not near anything, and would cost their product.
    if from.len().abs_diff(to.len()) > EDITS_MAX {
        return usize::MAX;
    }
    let width = to.len() + 1;
    let mut before = Vec::new();
    let mut above: Vec<usize> = (0..width).collect();
    for (row, a) in from.iter().enumerate() {
        let mut current = Vec::with_capacity(width);
        current.push(row + 1);
        for (column, b) in to.iter().enumerate() {
            let cell = |line: &[usize], at: usize| line.get(at).copied().unwrap_or(usize::MAX / 2);
            let replaced = cell(&above, column) + usize::from(a != b);
            let mut least =
                replaced.min(cell(&above, column + 1) + 1).min(cell(&current, column) + 1);
            let swapped = row > 0
                && column > 0
                && from.get(row - 1) == Some(b)
                && to.get(column - 1) == Some(a);
            if swapped {
                least = least.min(cell(&before, column - 1) + 1);
            }
            current.push(least);
        }
        before = core::mem::replace(&mut above, current);
    }
    above.last().copied().unwrap_or(0)
}

/// Suggests a key or table for an unknown name in `table`; returns its path below `toolkit`.
pub(crate) fn path_for(table: &str, name: &str) -> Option<String> {
    let keys = || crate::keys::KEYS.iter();
    let inside = keys().filter(|key| key.table() == table).map(|key| key.name());
    let tables = crate::keys::TABLES.iter().map(|t| t.name).filter(|t| !t.is_empty());
    if table.is_empty() {
        let tables: Vec<_> = tables.chain(inside).collect();
        if let Some(found) = nearest(name, tables.into_iter()) {
            return Some(String::from(found));
        }
    } else if let Some(found) = nearest(name, inside) {
        return Some(alloc::format!("{table}.{found}"));
    }
    // The right name in the wrong table.
    let leaf = name.rsplit('.').next().unwrap_or(name);
    keys().find(|key| key.name() == leaf).map(|key| String::from(key.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (from, to, count) in [
            ("", "", 0),
            ("ports", "ports", 0),
            ("prots", "ports", 1),
            ("port", "ports", 1),
            ("ngnix", "nginx", 1),
            ("abc", "xyz", 3),
            ("ca", "abc", 3),
        ] {
            assert_eq!(edits(from, to), count, "{from} {to}");
            assert_eq!(edits(to, from), count, "{to} {from}");
        }
        assert_eq!(edits("a", &"a".repeat(10)), usize::MAX);
    }

    #[test]
    fn what_is_near_is_suggested_and_nothing_else() {
        let suggested = |table: &str, name: &str| path_for(table, name);
        assert_eq!(suggested("instances", "prots").as_deref(), Some("instances.ports"));
        assert_eq!(suggested("", "ngnix").as_deref(), Some("nginx"));
        assert_eq!(suggested("nginx", "generation").as_deref(), Some("nginx.generation_port"));
        assert_eq!(suggested("nginx", "generation-port").as_deref(), Some("nginx.generation_port"));
        assert_eq!(suggested("nginx", "domain").as_deref(), Some("site.domain"));
        assert_eq!(suggested("", "domain").as_deref(), Some("site.domain"));
        assert_eq!(suggested("site", "colour"), None);
    }
}
