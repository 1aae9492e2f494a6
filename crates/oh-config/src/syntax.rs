//! Faults of TOML itself, each one once, and a text without them.
//!
//! The parser recovers, but after one slip it reports the same fault again on every line below,
//! or drops the rest of the file. So the first fault is taken, its statement is blanked (every
//! other byte stays where it is), and the text is parsed again, until nothing is left.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use toml::de::{DeTable, DeValue, Error};

use crate::text::Lines;

/// The most statements that are blanked; a text with more faults is probably no TOML at all.
const FAULTS_MAX: usize = 32;

/// A fault of syntax, by its bytes in the text.
#[derive(Debug)]
pub(crate) struct SyntaxFault {
    pub(crate) at: usize,
    pub(crate) what: String,
    pub(crate) hint: Option<String>,
    /// A second place, and what stands there.
    pub(crate) also: Option<(usize, &'static str)>,
}

/// A text whose faulty statements are blank.
#[derive(Debug)]
pub(crate) struct Blanked {
    pub(crate) text: String,
    pub(crate) faults: Vec<SyntaxFault>,
    /// Says that there were too many faults: what is left means nothing.
    pub(crate) hopeless: bool,
}

/// Blanks the faulty statements of a text, and says what was wrong with them.
pub(crate) fn blank(text: &str) -> Blanked {
    let lines = Lines::new(text);
    let mut blanked = Blanked { text: String::from(text), faults: Vec::new(), hopeless: false };
    let mut rounds = 0;
    loop {
        let (tree, errors) = DeTable::parse_recoverable(&blanked.text);
        let Some(first) = errors.iter().filter(|error| breaks(error)).min_by_key(|e| start(e))
        else {
            // The parser looks a header up when it begins and when it ends, and complains twice.
            let mut places = Vec::new();
            for error in &errors {
                if !places.contains(&start(error)) {
                    places.push(start(error));
                    blanked.faults.push(repeated(error, tree.get_ref(), text));
                }
            }
            return blanked;
        };
        if rounds == FAULTS_MAX {
            let note = format!("more than {FAULTS_MAX} faults of syntax, the rest is not shown");
            let at = start(first);
            blanked.faults.push(SyntaxFault { at, what: note, hint: None, also: None });
            blanked.hopeless = true;
            return blanked;
        }
        rounds += 1;
        let (fault, from, until) = describe(first, tree.get_ref(), &lines);
        let text = blank_lines(&blanked.text, &lines, from, until);
        // An open text whose beginning the parser dropped ends at the same place in every round.
        if !blanked.faults.iter().any(|earlier| earlier.at == fault.at) {
            blanked.faults.push(fault);
        }
        // Where nothing was left to blank, the next round would be this one again.
        if text == blanked.text {
            blanked.hopeless = true;
            return blanked;
        }
        blanked.text = text;
    }
}

/// Says whether an error breaks the structure; a key that is there twice does not, the parser
/// keeps the first and goes on.
fn breaks(error: &Error) -> bool {
    error.message() != "duplicate key" && !error.message().starts_with("cannot extend")
}

fn start(error: &Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

fn repeated(error: &Error, tree: &DeTable<'_>, text: &str) -> SyntaxFault {
    let at = start(error);
    let name = error.span().and_then(|span| text.get(span)).unwrap_or("");
    let mut earlier = Vec::new();
    keys_named(tree, name, at, &mut earlier);
    // Two earlier keys of that name are in different tables; guessing would be lying.
    let also = match earlier.as_slice() {
        [only] => Some((*only, "the first one")),
        _ => None,
    };
    let what = if error.message() == "duplicate key" {
        format!("{} is here for the second time", crate::text::quoted(name))
    } else {
        format!("{} has a value already, and no keys below it", crate::text::quoted(name))
    };
    SyntaxFault { at, what, hint: None, also }
}

fn keys_named(table: &DeTable<'_>, name: &str, before: usize, found: &mut Vec<usize>) {
    for (key, value) in table {
        if key.get_ref() == name && key.span().start < before {
            found.push(key.span().start);
        }
        if let DeValue::Table(inner) = value.get_ref() {
            keys_named(inner, name, before, found);
        }
    }
}

/// Returns the fault, and the lines (the second excluded) that have to be blanked for it.
fn describe(error: &Error, tree: &DeTable<'_>, lines: &Lines<'_>) -> (SyntaxFault, usize, usize) {
    let at = start(error);
    let line = lines.line_of(at);
    let mut fault = SyntaxFault { at, what: String::from(error.message()), hint: None, also: None };

    let opened = enclosing(tree, at).filter(|opened| lines.line_of(*opened) < line);
    if let Some(opened) = opened {
        let from = lines.line_of(opened);
        let ended = lines.rest_is_blank(at);
        if ended || begins_statement(lines.line(line)) {
            // The value was not closed, and the parser ran into the next statement or the end.
            fault.also = (!ended).then_some((at, "what is not part of it"));
            fault.at = opened;
            fault.what = String::from("the value that begins here is not closed");
            return (fault, from, if ended { line + 1 } else { line });
        }
        fault.also = Some((opened, "the value begins here"));
        return (fault, from, line + 1);
    }
    if lines.line(line).trim_start().starts_with('[') {
        // Without its header, the keys of a table would land in the table before it.
        let next = (line + 1..lines.count()).find(|next| is_header(lines.line(*next)));
        return (fault, line, next.unwrap_or(lines.count()));
    }
    let start = lines.start(line);
    if let Some(slip) = slip(lines.line(line), at - start, error.message()) {
        fault.at = start + slip.at;
        fault.what = String::from(slip.what);
        fault.hint = slip.hint;
    }
    (fault, line, line + 1)
}

/// A common slip in a statement of one line, by the byte in that line.
struct Slip {
    at: usize,
    what: &'static str,
    hint: Option<String>,
}

/// Knows the slips about which the parser says little: no value, and a text without quotes.
fn slip(line: &str, at: usize, message: &str) -> Option<Slip> {
    let (key, rest) = line.split_once('=').filter(|_| begins_statement(line))?;
    let key = key.trim();
    let whole = rest.split('#').next().unwrap_or(rest).trim();
    if whole.is_empty() {
        return Some(Slip { at: line.find('=')?, what: "the key has no value", hint: None });
    }
    if !message.starts_with("invalid") && !message.starts_with("string values") {
        return None;
    }
    if message.ends_with("basic string, expected `\"`")
        || message.ends_with("literal string, expected `'`")
    {
        let quote = line.get(key.len()..)?.find(['"', '\''])? + key.len();
        return Some(Slip {
            at: quote,
            what: "the text that begins here is not closed",
            hint: None,
        });
    }
    let (start, word) = word_at(line, at).filter(|(start, _)| *start > key.len())?;
    let in_place = |right: String| {
        Some(if word == whole {
            format!("{key} = {right}")
        } else {
            format!("{right} in its place")
        })
    };
    let lower = word.to_ascii_lowercase();
    if matches!(lower.as_str(), "true" | "false") {
        let hint = in_place(lower);
        return Some(Slip { at: start, what: "true and false are written in lower case", hint });
    }
    if meant_as_text(word) {
        let hint = in_place(format!("\"{word}\""));
        return Some(Slip { at: start, what: "a text needs quotation marks", hint });
    }
    let what = "neither a number nor a text in quotation marks";
    Some(Slip { at: start, what, hint: None })
}

/// Finds the word without quotes or brackets that the byte of the line is in.
fn word_at(line: &str, at: usize) -> Option<(usize, &str)> {
    let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'[]{}=,#\\".contains(c);
    let before = line.get(..at)?;
    let start =
        before.char_indices().rev().find(|(_, c)| ends(*c)).map_or(0, |(i, c)| i + c.len_utf8());
    let word = line.get(start..)?.split(ends).next()?;
    (!word.is_empty()).then_some((start, word))
}

/// Says whether a word was meant as a text: a name, a path, an address, or a range of ports.
fn meant_as_text(word: &str) -> bool {
    let range = word.split_once('-').is_some_and(|(first, last)| {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        digits(first) && digits(last)
    });
    word.starts_with(|c: char| c.is_alphabetic() || "/~*".contains(c))
        || word.contains(':')
        || word.matches('.').count() > 1
        || range
}

/// Finds where the outermost value begins that the byte is in.
fn enclosing(table: &DeTable<'_>, at: usize) -> Option<usize> {
    table
        .values()
        .filter_map(|value| {
            let span = value.span();
            let here = (span.start < at && at <= span.end).then_some(span.start);
            here.or_else(|| value.get_ref().as_table().and_then(|inner| enclosing(inner, at)))
        })
        .min()
}

/// Says whether a line looks like a new statement: a header, or `key =`.
fn begins_statement(line: &str) -> bool {
    let key = |text: &str| {
        let text = text.trim();
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    };
    is_header(line) || line.split_once('=').is_some_and(|(before, _)| key(before))
}

/// Says whether a line looks like the header of a table, and not like a list in a list.
fn is_header(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or(line).trim();
    let inner = line.trim_start_matches('[').trim_end_matches(']').trim();
    line.starts_with('[')
        && line.ends_with(']')
        && inner.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && inner.chars().all(|c| c.is_ascii_alphanumeric() || "_-.\"' ".contains(c))
}

/// Replaces all but the ends of these lines with blanks, byte for byte.
fn blank_lines(text: &str, lines: &Lines<'_>, from: usize, until: usize) -> String {
    let (start, end) = (lines.start(from), lines.start(until));
    let mut blanked = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if (start..end).contains(&at) && !matches!(c, '\n' | '\r') {
            (0..c.len_utf8()).for_each(|_| blanked.push(' '));
        } else if (start..end).contains(&at) && c == '\r' && !text_has_newline_after(text, at) {
            // A lone carriage return is itself a fault.
            blanked.push(' ');
        } else {
            blanked.push(c);
        }
    }
    blanked
}

fn text_has_newline_after(text: &str, at: usize) -> bool {
    text.as_bytes().get(at + 1) == Some(&b'\n')
}
