//! Numbers and foreign words as people may read them.

use oh_model::escaped::is_harmless;

/// How many bytes the units of memory have, the largest first.
const MEMORY_UNITS: [(u64, char); 3] = [(1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];

/// Writes an amount of memory: `1.2G`, `312M`.
pub fn bytes(count: u64) -> String {
    let Some((unit, letter)) = MEMORY_UNITS.iter().find(|(unit, _)| count >= *unit) else {
        return format!("{count}B");
    };
    let tenths = u128::from(count) * 10 / u128::from(*unit);
    match tenths {
        0..100 => format!("{}.{}{letter}", tenths / 10, tenths % 10),
        _ => format!("{}{letter}", tenths / 10),
    }
}

/// Writes how much of one processor is used: `0.4%`, `130%`.
pub fn percent(permille: u64) -> String {
    match permille {
        0..100 => format!("{}.{}%", permille / 10, permille % 10),
        _ => format!("{}%", permille / 10),
    }
}

/// Returns how much of one processor so many clock ticks are, in thousandths.
pub fn permille(ticks: u64, ticks_per_second: u64, interval_ms: u64) -> u64 {
    let used_ms = u128::from(ticks) * 1000 / u128::from(ticks_per_second.max(1));
    u64::try_from(used_ms * 1000 / u128::from(interval_ms.max(1))).unwrap_or(u64::MAX)
}

/// Writes so many of something: `1 connection`, `2 connections`.
pub fn several(count: usize, one: &str) -> String {
    let (stem, plural) = match one.strip_suffix('y') {
        Some(stem) => (stem, "ies"),
        None if one.ends_with('s') => (one, "es"),
        None => (one, "s"),
    };
    if count == 1 { format!("1 {one}") } else { format!("{count} {stem}{plural}") }
}

/// Breaks a text between words, so that no line has more than `width` characters as far as the words let it;
/// further lines stand below the first word. `head` stands before it.
pub fn wrapped(head: &str, text: &str, width: usize) -> String {
    let mut out = String::from(head);
    let (indent, mut column) = (head.chars().count(), head.chars().count());
    for (index, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > width {
            out += &format!("\n{}", " ".repeat(indent));
            column = indent;
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += length;
    }
    out.push('\n');
    out
}

/// Escapes what would direct a terminal, or turn what is read around, in somebody else's words;
/// tabs stay.
pub fn escaped(foreign: &str) -> String {
    let mut harmless = String::with_capacity(foreign.len());
    for letter in foreign.chars() {
        if letter == '\t' || is_harmless(letter) {
            harmless.push(letter);
        } else {
            harmless.extend(letter.escape_default());
        }
    }
    harmless
}

/// The same for a text of several lines, which keeps its line breaks: the last net before a terminal.
/// A line break in somebody else's word has to be escaped where that word is put in.
pub fn escaped_lines(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| match line.strip_suffix('\n') {
            Some(line) => escaped(line) + "\n",
            None => escaped(line),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units_and_three_digits_at_most() {
        let shown = [0, 1023, 1024, 10_239, 327_155_712, 1 << 40].map(bytes);
        assert_eq!(shown, ["0B", "1023B", "1.0K", "9.9K", "312M", "1024G"]);
        assert_eq!([0, 4, 99, 100, 1305].map(percent), ["0.0%", "0.4%", "9.9%", "10%", "130%"]);
        assert_eq!(permille(50, 100, 1000), 500);
        assert_eq!(permille(u64::MAX, 0, 0), u64::MAX);
        assert_eq!(
            [0, 1, 2].map(|n| several(n, "process")),
            ["0 processes", "1 process", "2 processes"]
        );
    }

    #[test]
    fn foreign_words_turn_no_text_around() {
        let directs = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        for letter in directs.chain(['\u{200e}', '\u{200f}', '\u{61c}', '\u{2028}', '\u{2029}']) {
            let escape = format!("\\u{{{:x}}}", u32::from(letter));
            assert_eq!(escaped(&format!("a{letter}b")), format!("a{escape}b"));
            let lines = escaped_lines(&format!("a{letter}\n\nb\tc"));
            assert_eq!(lines, format!("a{escape}\n\nb\tc"));
        }
        assert_eq!(escaped_lines("\u{1b}[2J\n"), "\\u{1b}[2J\n");
    }

    #[test]
    fn foreign_words_direct_no_terminal() {
        assert_eq!(
            escaped("a\tb\u{1b}[2J\r\u{7f}\u{9b}ä\u{202e}"),
            "a\tb\\u{1b}[2J\\r\\u{7f}\\u{9b}ä\\u{202e}"
        );
    }
}
