//! Takes secrets out of what is kept or shown: `<redacted>` stands in their place, and nothing else changes.
//!
//! Some are known exactly: the tokens and keys of the records. The others are known by what stands
//! before them: a name that says so (`PASSWORD=…`, `"apiKey": "…"`, `--token …`), a header, a scheme of
//! authentication, the user of an address (`https://user:…@host`). In doubt a value counts as a secret:
//! evidence with a hole is of more use than one that nobody may show around.
//!
//! It works on bytes, because what was torn is no text. Doing it twice is doing it once.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

/// What stands in the place of a secret.
pub const REDACTED: &[u8] = b"<redacted>";

/// The shortest text that is taken for a secret wherever it stands, in bytes: with a shorter one
/// half of everything would go.
const EXACT_BYTES_MIN: usize = 8;

/// The shortest user without a password in an address that is taken for a token, in bytes: `git@` is
/// none.
const LONE_USER_BYTES_MIN: usize = 20;

/// What is in the name of every variable, flag and member whose value is a secret, folded, with `_` for
/// `-`.
const IN_NAMES: [&str; 6] = ["password", "passwd", "passphrase", "secret", "token", "credential"];

/// How such a name may end too, as a word of its own.
const LAST_WORDS: [&str; 4] = ["key", "tkn", "code_server_session", "authorization"];

/// The words that stand before `key` without a mark between them.
const BEFORE_KEY: [&str; 4] = ["api", "access", "private", "secret"];

/// The names of what only says where a secret is, or that there is none.
const HARMLESS_ENDS: [&str; 3] = ["_file", "_path", "_dir"];
const HARMLESS_STARTS: [&str; 4] = ["without_", "disable_", "no_", "public_"];

/// The headers whose whole value is a secret, folded.
const HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// How nginx's directives end that give a name its value: `proxy_set_header`, `fastcgi_param`.
const DIRECTIVES: [&[u8]; 2] = [b"_header", b"_param"];

/// What ends a value that is in no quotes.
const ENDS: &[u8] = b"\"'`;&,})]";

/// The values of JSON that hide nothing.
const OPEN_VALUES: [&[u8]; 3] = [b"null", b"true", b"false"];

/// Knows what is secret.
#[derive(Debug, Default)]
pub struct Redactor {
    /// Those that are known exactly, the longest first.
    exact: Vec<Vec<u8>>,
}

impl Redactor {
    /// Takes the secrets that are known exactly.
    pub fn of(secrets: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let is_meant =
            |secret: &Vec<u8>| secret.len() >= EXACT_BYTES_MIN && find(REDACTED, secret).is_none();
        let mut exact: Vec<Vec<u8>> = secrets.into_iter().filter(is_meant).collect();
        exact.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        exact.dedup();
        Self { exact }
    }

    /// Returns a text without its secrets.
    pub fn text(&self, text: &[u8]) -> Vec<u8> {
        scanned(&self.without_exact(text), is_line_start)
    }

    /// Returns a text of ours without its secrets.
    pub fn string(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.text(text.as_bytes())).into_owned()
    }

    /// Returns the arguments of a process without their secrets: what is behind the name of a secret
    /// in one word is one to the end of the word, or is the next word.
    pub fn arguments(&self, arguments: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut is_secret = false;
        let mut out = Vec::new();
        for word in arguments {
            let is_flag = word.starts_with(b"-");
            if is_secret && !is_flag {
                out.push(REDACTED.to_vec());
                is_secret = false;
                continue;
            }
            is_secret = is_flag && word.iter().all(|byte| is_of_name(*byte)) && names_secret(word);
            out.push(self.word(word));
        }
        out
    }

    fn word(&self, word: &[u8]) -> Vec<u8> {
        let length = word.iter().take_while(|byte| is_of_name(**byte)).count();
        let (name, rest) = word.split_at(length);
        if names_secret(name) && rest.len() > 1 && rest.first() == Some(&b'=') {
            return [name, b"=", REDACTED].concat();
        }
        self.text(word)
    }

    fn without_exact(&self, text: &[u8]) -> Vec<u8> {
        self.exact.iter().fold(text.to_vec(), |text, secret| without(text, secret))
    }
}

/// Says whether a value of this name is a secret.
pub fn names_secret(name: &[u8]) -> bool {
    let name = String::from_utf8_lossy(name);
    let name = name.trim_start_matches('-');
    let is_camel = name.ends_with("Key") && name.len() > 3;
    let folded = name.to_ascii_lowercase().replace('-', "_");
    if HARMLESS_ENDS.iter().any(|end| folded.ends_with(end))
        || HARMLESS_STARTS.iter().any(|start| folded.starts_with(start))
    {
        return false;
    }
    let is_last = |word: &str| match folded.strip_suffix(word) {
        Some(before) => before.is_empty() || before.ends_with('_'),
        None => false,
    };
    let before_key = folded.strip_suffix("key").unwrap_or_default();
    IN_NAMES.iter().any(|part| folded.contains(part))
        || LAST_WORDS.iter().any(|word| is_last(word))
        || BEFORE_KEY.iter().any(|word| before_key.ends_with(word))
        || is_camel
}

/// Goes through a text once, name by name.
fn scanned(text: &[u8], starts: fn(&[u8], usize) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let (mut at, mut copied) = (0, 0);
    while at < text.len() {
        let length = behind(text, at).iter().take_while(|byte| is_of_name(**byte)).count();
        if length == 0 {
            at += 1;
            continue;
        }
        let name = at..at + length;
        at = name.end;
        let Some(secret) = secret_behind(text, &name, starts(text, name.start)) else { continue };
        out.extend_from_slice(text.get(copied..secret.start).unwrap_or_default());
        out.extend_from_slice(REDACTED);
        (at, copied) = (secret.end, secret.end);
    }
    out.extend_from_slice(behind(text, copied));
    out
}

/// Returns where the secret is that a name announces.
fn secret_behind(text: &[u8], name: &Range<usize>, is_at_start: bool) -> Option<Range<usize>> {
    let word = text.get(name.clone()).unwrap_or_default();
    let rest = behind(text, name.end);
    let found = if rest.starts_with(b"://") {
        of_address(text, name.end + 3)
    } else if (is_header(word) || names_secret(word)) && is_of_directive(text, name.start) {
        // What only names a variable hides nothing.
        next_word(text, name.end).filter(|range| text.get(range.start) != Some(&b'$'))
    } else if is_header(word) {
        of_header(text, name)
    } else if word.eq_ignore_ascii_case(b"bearer") && rest.starts_with(b" ") {
        Some(value(text, name.end + blanks(rest), false))
    } else if names_secret(word) {
        let is_flag = word.starts_with(b"-");
        assigned(text, name.end).map_or_else(
            || is_flag.then(|| next_word(text, name.end)).flatten(),
            |at| Some(value(text, at, is_at_start)),
        )
    } else {
        None
    };
    found.filter(|range| !range.is_empty() && !is_open(text, range))
}

/// Returns where the value begins that is given to a name by `=` or `:`; what has others in it is none.
fn assigned(text: &[u8], end: usize) -> Option<usize> {
    let end = end + quote(behind(text, end)).len();
    let end = end + blanks(behind(text, end));
    let rest = behind(text, end);
    let is_given = match rest {
        [b':', next, ..] => !matches!(next, b':' | b'/'),
        [b'=', next, ..] => *next != b'=',
        _ => false,
    };
    let start = end + 1 + blanks(behind(text, end + 1));
    // What has other values in it has names for them.
    (is_given && !matches!(behind(text, start), [b'{' | b'[', ..])).then_some(start)
}

/// Returns the word behind a flag.
fn next_word(text: &[u8], end: usize) -> Option<Range<usize>> {
    let gap = blanks(behind(text, end));
    let is_word = gap > 0 && behind(text, end + gap).first() != Some(&b'-');
    is_word.then(|| value(text, end + gap, false))
}

/// Returns where a value ends: with its quote, and without one with what ends a word. At the start of a
/// line it goes on to the next blank.
fn value(text: &[u8], start: usize, is_at_start: bool) -> Range<usize> {
    let rest = behind(text, start);
    let opening = quote(rest);
    if !opening.is_empty() {
        let start = start + opening.len();
        return start..closing(text, start, opening);
    }
    let is_end = |byte: u8| byte.is_ascii_whitespace() || byte == 0 || ENDS.contains(&byte);
    let ends = |at: usize, byte: u8| match is_at_start {
        true => byte.is_ascii_whitespace() || byte == 0,
        false => is_end(byte) || (byte == b'\\' && rest.get(at + 1) == Some(&b'"')),
    };
    let length = rest.iter().enumerate().position(|(at, byte)| ends(at, *byte));
    start..start + length.unwrap_or(rest.len())
}

/// Returns where the text in quotes ends; where nobody closes them that is the end of the line.
fn closing(text: &[u8], start: usize, opening: &[u8]) -> usize {
    let mut at = start;
    while let Some(byte) = text.get(at) {
        let rest = behind(text, at);
        if rest.starts_with(opening) || *byte == b'\n' {
            return at;
        }
        at += if *byte == b'\\' && opening.len() == 1 { 2 } else { 1 };
    }
    text.len()
}

/// Returns the value of a header: to its quote, or to the end of the line.
fn of_header(text: &[u8], name: &Range<usize>) -> Option<Range<usize>> {
    let before = text.get(..name.start).unwrap_or_default();
    let line_end = |at: usize| {
        let length = behind(text, at).iter().position(|byte| matches!(byte, b'\n' | b'\r' | 0));
        length.map_or(text.len(), |length| at + length)
    };
    let start = assigned(text, name.end)?;
    if !quote(behind(text, start)).is_empty() {
        return Some(value(text, start, false));
    }
    // `-H 'Cookie: a=b; c=d'`: the quote before the name is the one behind the value.
    let opening = [&b"\\\""[..], b"\"", b"'"].into_iter().find(|quote| before.ends_with(quote));
    let end = opening.map_or(usize::MAX, |quote| closing(text, start, quote));
    Some(start..end.min(line_end(start)))
}

/// Returns the password of an address, or its user where that is long enough for a token.
fn of_address(text: &[u8], start: usize) -> Option<Range<usize>> {
    let rest = behind(text, start);
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"/?#\"'`<\0".contains(byte);
    let mut length = 0;
    while let Some(byte) = rest.get(length) {
        // Our own mark has what would end it.
        if behind(rest, length).starts_with(REDACTED) {
            length += REDACTED.len();
        } else if is_end(byte) {
            break;
        } else {
            length += 1;
        }
    }
    let user = rest.get(..length)?.iter().rposition(|byte| *byte == b'@')?;
    match rest.iter().take(user).position(|byte| *byte == b':') {
        Some(colon) => Some(start + colon + 1..start + user),
        None if user >= LONE_USER_BYTES_MIN => Some(start..start + user),
        None => None,
    }
}

/// Says whether a value is one of those of JSON that hide nothing.
fn is_open(text: &[u8], range: &Range<usize>) -> bool {
    let is_bare = range.start == 0 || quote(behind(text, range.start - 1)).is_empty();
    is_bare && OPEN_VALUES.contains(&text.get(range.clone()).unwrap_or_default())
}

/// Says whether a name is that to which a directive of nginx gives a value.
fn is_of_directive(text: &[u8], name: usize) -> bool {
    let before = text.get(..name).unwrap_or_default();
    if let Some(before) = before.strip_suffix(b"$") {
        return before.ends_with(b"set ");
    }
    let directive = before.trim_ascii_end();
    directive.len() < before.len() && DIRECTIVES.iter().any(|one| directive.ends_with(one))
}

fn is_header(name: &[u8]) -> bool {
    HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header.as_bytes()))
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Says whether a name is the first of its line, where files of variables have theirs.
fn is_line_start(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let before = before.strip_suffix(b"export ").unwrap_or(before);
    before.last().is_none_or(|byte| *byte == b'\n')
}

/// Returns the quote that a text begins with; one in a text of JSON has a backslash.
fn quote(text: &[u8]) -> &[u8] {
    match text {
        [b'\\', b'"', ..] => text.get(..2).unwrap_or_default(),
        [b'"' | b'\'', ..] => text.get(..1).unwrap_or_default(),
        _ => &[],
    }
}

fn blanks(text: &[u8]) -> usize {
    text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

fn behind(text: &[u8], at: usize) -> &[u8] {
    text.get(at..).unwrap_or_default()
}

fn without(text: Vec<u8>, secret: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_slice();
    while let Some(at) = find(rest, secret) {
        let (before, found) = rest.split_at(at);
        out.extend_from_slice(before);
        out.extend_from_slice(REDACTED);
        rest = behind(found, secret.len());
    }
    if out.is_empty() && rest.len() == text.len() {
        return text;
    }
    out.extend_from_slice(rest);
    out
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut from = 0;
    while let Some(at) = behind(text, from).iter().position(|byte| *byte == first) {
        from += at;
        if behind(text, from).starts_with(what) {
            return Some(from);
        }
        from += 1;
    }
    None
}

#[cfg(test)]
mod tests;
