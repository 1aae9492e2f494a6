//! Files of variables as Vite and OpenHands read them (the format of the npm package dotenv). Pure.

/// A line that sets a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) key: String,
    /// As a reader has it, without quotes and comment.
    pub(crate) value: String,
    /// The line, from 1.
    pub(crate) line: usize,
}

/// Reads a file; a line that sets nothing is passed over, as every reader of the format does.
pub(crate) fn assignments(text: &str) -> Vec<Assignment> {
    let text = text.trim_start_matches('\u{feff}');
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let head = rest.split('\n').next().unwrap_or_default();
        let mut length = head.len();
        if let Some((key, value)) = divided(head) {
            let begin = head.len() - value.len();
            let value = match rest.get(begin..).and_then(quoted) {
                Some((value, taken)) => {
                    // It may have gone over several lines; what stands behind it on its last is a comment.
                    let behind = rest.get(begin + taken..).unwrap_or_default();
                    length = begin + taken + behind.find('\n').unwrap_or(behind.len());
                    value
                }
                None => value.split('#').next().unwrap_or_default().trim().to_owned(),
            };
            found.push(Assignment { key: key.to_owned(), value, line });
        }
        line += 1 + rest.get(..length).unwrap_or_default().matches('\n').count();
        at += length + 1;
    }
    found
}

/// Returns what stands in a quotation, and how long that is with its quotes; one that does not end is none.
fn quoted(text: &str) -> Option<(String, usize)> {
    let quote = text.chars().next().filter(|one| ['"', '\'', '`'].contains(one))?;
    let inner = text.strip_prefix(quote)?;
    let end = closing(inner, quote)?;
    let value = inner.get(..end)?;
    let value = match quote {
        '"' => value.replace("\\n", "\n").replace("\\r", "\r"),
        _ => value.to_owned(),
    };
    Some((value, end + 2))
}

/// Returns the name and what stands behind its sign.
fn divided(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let is_of_name = |one: char| one.is_ascii_alphanumeric() || "_.-".contains(one);
    let length = line.find(|one| !is_of_name(one))?;
    let (key, rest) = line.split_at_checked(length).filter(|(key, _)| !key.is_empty())?;
    let rest = rest.trim_start_matches([' ', '\t']);
    match rest.strip_prefix(':') {
        Some(value) if value.starts_with([' ', '\t']) => Some((key, value.trim_start())),
        _ => Some((key, rest.strip_prefix('=')?.trim_start())),
    }
}

/// Returns where a quotation ends.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, one)| {
        let ends = one == quote && !is_escaped;
        is_escaped = one == '\\' && !is_escaped;
        ends.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let shown = |one: &Assignment| format!("{}:{}={:?}", one.line, one.key, one.value);
        assignments(text).iter().map(shown).collect()
    }

    #[test]
    fn lines_are_read_as_vite_reads_them() {
        for (text, expected) in [
            ("A=1", vec!["1:A=\"1\""]),
            ("\u{feff}A=1\r\n\n# B=2\n export C = x y # z\n", vec!["1:A=\"1\"", "4:C=\"x y\""]),
            ("A=\"127.0.0.1:3000\" # where", vec!["1:A=\"127.0.0.1:3000\""]),
            ("A='#'\nB=`\"`\nC=", vec!["1:A=\"#\"", "2:B=\"\\\"\"", "3:C=\"\""]),
            ("A=\"1\n2\"\nB=3", vec!["1:A=\"1\\n2\"", "3:B=\"3\""]),
            ("A: 1\nB:2\nno\n=3\n", vec!["1:A=\"1\""]),
            ("A=\"never closed\nB=1", vec!["1:A=\"\\\"never closed\"", "2:B=\"1\""]),
            ("A=\"a\\nb\"\nB='a\\nb'", vec!["1:A=\"a\\nb\"", "2:B=\"a\\\\nb\""]),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn quotations_over_lines_are_counted_once() {
        // Each line begins a quotation, which the next one ends.
        let text = "A=\"\n".repeat(16 * 1024 / 4);
        assert_eq!(assignments(&text).len(), 2048);
    }
}
