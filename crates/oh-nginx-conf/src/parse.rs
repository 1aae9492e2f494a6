//! Reads nginx configuration, ours and anybody's, into directives with line and place.
//!
//! The rules are those of nginx's own reader (`ngx_conf_read_token`): a word ends at white space,
//! `;` or `{`; a quote counts only where a word begins, and after its end only a blank, `;`, `{`
//! or `)` may stand; `#` starts a comment only where a word could begin; a backslash takes the
//! next character; `${name}` is a variable and its brace no block. The bodies of
//! `*_by_lua_block` are not nginx's syntax and are skipped as `lua` finds their end.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use thiserror::Error;

use crate::lua;

/// How deeply blocks may be nested: nginx itself needs five, and the reader recurses.
pub const DEPTH_MAX: usize = 64;

/// A directive, with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// The first word.
    pub name: String,
    /// The other words, without their quotes.
    pub words: Vec<String>,
    /// What stands between its braces, for a block.
    pub block: Option<Vec<Directive>>,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// Its bytes in the text, with the `;` or the closing brace.
    pub span: Range<usize>,
    /// The byte after its opening brace, for a block.
    pub body: Option<usize>,
}

/// Says where a text is no nginx configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {what}")]
pub struct SyntaxFault {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// Reads a whole file.
///
/// # Errors
/// [`SyntaxFault`] for the first thing that nginx's own reader would refuse.
pub fn parse(text: &str) -> Result<Vec<Directive>, SyntaxFault> {
    let mut reader = Reader { text, at: 0, line: 1 };
    // nginx skips no byte order mark; a file that has one fails at its first directive.
    let directives = reader.block(0)?;
    Ok(directives)
}

/// The most blocks that are closed for a text that ends in their midst.
const CLOSED_MAX: usize = 8;

/// Reads what can be told of a text with a fault: its beginning, up to the last directive that is
/// whole where the text ends too early; nothing where it is wrong elsewhere.
///
/// For telling what a broken file was meant to be, never for proving anything.
pub fn parse_beginning(text: &str) -> Vec<Directive> {
    let ends = text.rfind([';', '{', '}']).and_then(|end| text.get(..=end));
    let Some(whole) = ends else { return Vec::new() };
    let mut tried = String::from(whole);
    for _ in 0..=CLOSED_MAX {
        if let Ok(directives) = parse(&tried) {
            return directives;
        }
        tried.push('}');
    }
    Vec::new()
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

/// What ended a run of words.
enum End {
    Semicolon,
    Open,
    Close,
    File,
}

impl Reader<'_> {
    fn block(&mut self, depth: usize) -> Result<Vec<Directive>, SyntaxFault> {
        if depth > DEPTH_MAX {
            return Err(self.fault("blocks are nested too deeply"));
        }
        let mut directives = Vec::new();
        loop {
            self.blanks();
            let (start, line) = (self.at, self.line);
            let (mut words, end) = self.words()?;
            let name = if words.is_empty() { None } else { Some(words.remove(0)) };
            let body = matches!(end, End::Open).then_some(self.at);
            let block = match (&end, &name) {
                (End::File, None) if depth == 0 => return Ok(directives),
                (End::Close, None) if depth > 0 => return Ok(directives),
                (End::File, None) => {
                    return Err(self.fault("unexpected end of file, expecting \"}\""));
                }
                (End::File, Some(_)) => {
                    return Err(self.fault("unexpected end of file, expecting \";\" or \"}\""));
                }
                (End::Close, _) => return Err(self.fault("unexpected \"}\"")),
                (End::Semicolon, None) => return Err(self.fault("unexpected \";\"")),
                (End::Open, None) => return Err(self.fault("unexpected \"{\"")),
                (End::Semicolon, Some(_)) => None,
                (End::Open, Some(name)) if name.ends_with("_by_lua_block") => {
                    self.skip_lua()?;
                    Some(Vec::new())
                }
                (End::Open, Some(_)) => Some(self.block(depth + 1)?),
            };
            if let Some(name) = name {
                directives.push(Directive { name, words, block, line, span: start..self.at, body });
            }
        }
    }

    /// Reads words up to the next `;`, `{`, `}` or the end, and consumes that.
    fn words(&mut self) -> Result<(Vec<String>, End), SyntaxFault> {
        let mut words = Vec::new();
        loop {
            self.blanks();
            match self.peek() {
                None => return Ok((words, End::File)),
                Some(';') => return Ok((words, self.took(End::Semicolon))),
                Some('{') => return Ok((words, self.took(End::Open))),
                Some('}') => return Ok((words, self.took(End::Close))),
                Some(quote @ ('"' | '\'')) => words.push(self.quoted(quote)?),
                Some(_) => words.push(self.bare()?),
            }
        }
    }

    fn bare(&mut self) -> Result<String, SyntaxFault> {
        let mut word = String::new();
        let mut after_dollar = false;
        while let Some(c) = self.peek() {
            match c {
                '{' if after_dollar => word.push(c),
                ';' | '{' => break,
                c if is_blank(c) => break,
                '\\' => {
                    self.next();
                    self.escaped(&mut word);
                    after_dollar = false;
                    continue;
                }
                c => word.push(c),
            }
            after_dollar = c == '$';
            self.next();
        }
        Ok(word)
    }

    fn quoted(&mut self, quote: char) -> Result<String, SyntaxFault> {
        self.next();
        let mut word = String::new();
        loop {
            match self.next() {
                None => return Err(self.fault("unexpected end of file in a quoted text")),
                Some('\\') => self.escaped(&mut word),
                Some(c) if c == quote => break,
                Some(c) => word.push(c),
            }
        }
        match self.peek() {
            None | Some(';' | '{' | ')') => Ok(word),
            Some(c) if is_blank(c) => Ok(word),
            Some(_) => Err(self.fault("a quoted text is followed by something else")),
        }
    }

    /// Takes what stands after a backslash, as nginx does: known escapes become their character,
    /// any other keeps its backslash.
    fn escaped(&mut self, word: &mut String) {
        match self.next() {
            Some(c @ ('"' | '\'' | '\\')) => word.push(c),
            Some('t') => word.push('\t'),
            Some('r') => word.push('\r'),
            Some('n') => word.push('\n'),
            Some(c) => {
                word.push('\\');
                word.push(c);
            }
            None => word.push('\\'),
        }
    }

    fn blanks(&mut self) {
        while let Some(c) = self.peek() {
            if c == '#' {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.next();
                }
            } else if !is_blank(c) {
                return;
            } else {
                self.next();
            }
        }
    }

    fn skip_lua(&mut self) -> Result<(), SyntaxFault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let Some(length) = lua::block_length(rest) else {
            // nginx names the line on which the block begins to be read.
            return Err(self.fault("the Lua block is not closed, or a string or comment in it"));
        };
        let end = self.at + length;
        while self.at < end {
            self.next();
        }
        Ok(())
    }

    fn took(&mut self, end: End) -> End {
        self.next();
        end
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    const fn fault(&self, what: &'static str) -> SyntaxFault {
        SyntaxFault { line: self.line, what }
    }
}

/// The blanks of nginx's reader: it knows no others.
const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn told(text: &str) -> String {
        fn tell(directives: &[Directive], out: &mut String) {
            for directive in directives {
                out.push_str(&format!("{}:{}", directive.line, directive.name));
                directive.words.iter().for_each(|word| out.push_str(&format!(" [{word}]")));
                if let Some(block) = &directive.block {
                    out.push_str(" {");
                    tell(block, out);
                    out.truncate(out.trim_end().len());
                    out.push('}');
                }
                out.push(' ');
            }
        }
        let mut out = String::new();
        match parse(text) {
            Ok(directives) => tell(&directives, &mut out),
            Err(fault) => out = fault.to_string(),
        }
        out.trim_end().into()
    }

    #[test]
    fn words_end_where_nginx_ends_them() {
        assert_eq!(told("a b;c  'd e' \"f\\\"g\";"), "1:a [b] 1:c [d e] [f\"g]");
        assert_eq!(told("a b#c; # d;\ne;"), "1:a [b#c] 2:e");
        assert_eq!(told("a ${b}c;"), "1:a [${b}c]");
        assert_eq!(told("a b'c;"), "1:a [b'c]");
        assert_eq!(told("if ($a = '') { b; }"), "1:if [($a] [=] [] [)] {1:b}");
        assert_eq!(told("map $a $b {\n default '';\n}\n"), "1:map [$a] [$b] {2:default []}");
        assert_eq!(told(r"location ~ \.php$ { }"), r"1:location [~] [\.php$] {}");
        assert_eq!(told("content_by_lua_block { if a { b } }x;"), "1:content_by_lua_block {} 1:x");
        assert_eq!(
            told("content_by_lua_block {\n  ngx.say(\"}\") -- }\n}\nx;"),
            "1:content_by_lua_block {} 4:x"
        );
    }

    #[test]
    fn faults_name_their_line() {
        assert_eq!(told("a;\n}"), "line 2: unexpected \"}\"");
        assert_eq!(told("a {\nb;"), "line 2: unexpected end of file, expecting \"}\"");
        assert_eq!(told("a b"), "line 1: unexpected end of file, expecting \";\" or \"}\"");
        assert_eq!(told("a 'b'c;"), "line 1: a quoted text is followed by something else");
        assert_eq!(
            told("a;\ninit_by_lua_block { \"} }"),
            "line 2: the Lua block is not closed, or a string or comment in it"
        );
        assert_eq!(told(";"), "line 1: unexpected \";\"");
        assert_eq!(told(&"a{".repeat(100)), "line 1: blocks are nested too deeply");
    }

    #[test]
    fn of_a_text_that_ends_too_early_the_beginning_is_told() {
        let whole = |text| parse_beginning(text).len();
        assert_eq!(whole("a; server { listen 80; location / { proxy_pass htt"), 2);
        assert_eq!(whole("a; server { listen 80; location / {"), 2);
        assert_eq!(whole("a; } b;"), 0);
        assert_eq!(whole(""), 0);
    }

    #[test]
    fn a_span_is_the_text_of_its_directive() {
        let text = "# c\ninclude  /a/*.conf ; b { c; }";
        let read = parse(text).unwrap();
        let spans: Vec<_> = read.iter().map(|d| text.get(d.span.clone()).unwrap()).collect();
        assert_eq!(spans, ["include  /a/*.conf ;", "b { c; }"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[a-z;{}'\"\\\\#$ \\n\u{e9}]{0,80}") {
            let read = parse(&text);
            prop_assert!(read.is_ok() || read.is_err());
        }
    }
}
