//! As much of a script as a configuration of Vite needs: the words of it, and what an expression comes to. Pure.
//!
//! Nothing is run. What would have to be run is [`Value::Unknown`], and whoever asks says that it is not known.

use std::collections::BTreeMap;

/// The most brackets within each other that are followed; templates have so many of their own.
const DEPTH_MAX: usize = 16;

/// The most constants that are followed: each may be looked through to the end of the script.
const CONSTANTS_MAX: usize = 512;

/// The bytes that a text may have that is put together: constants of constants double each time.
const TEXT_BYTES_MAX: usize = 4096;

/// A word of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    Name(String),
    Text(String),
    /// A template: texts, and between them the words of what is put in.
    Template(Vec<Part>),
    Number(String),
    /// A sign, the longest that there is at its place.
    Sign(&'static str),
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    Words(Vec<Token>),
}

/// A word and the line that it begins on, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) word: Word,
    pub(crate) line: usize,
}

/// What an expression comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Truth(bool),
    Number(String),
    /// `undefined` or `null`.
    Absent,
    /// It would have to be run.
    Unknown,
}

impl Value {
    /// Says whether a condition holds with it; nothing where that is not known.
    pub(crate) fn truth(&self) -> Option<bool> {
        match self {
            Self::Text(text) => Some(!text.is_empty()),
            Self::Truth(truth) => Some(*truth),
            Self::Number(number) => Some(number != "0" && number != "NaN"),
            Self::Absent => Some(false),
            Self::Unknown => None,
        }
    }

    fn written(&self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text.clone()),
            Self::Truth(truth) => Some(truth.to_string()),
            Self::Absent => Some("undefined".to_owned()),
            Self::Unknown => None,
        }
    }
}

/// The signs, the longer ones before those that they begin with.
const SIGNS: &[&str] = &[
    "===", "!==", "...", "=>", "==", "!=", "&&", "||", "??", "?.", "{", "}", "(", ")", "[", "]",
    ",", ":", ";", ".", "?", "!", "=", "+", "-", "*", "/", "<", ">", "|", "&", "%", "^", "~", "@",
    "#",
];

/// Takes a script apart; what is no word of one is left out.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    Reader { rest: text, line: 1, out: Vec::new() }.read(0).out
}

struct Reader<'t> {
    rest: &'t str,
    line: usize,
    out: Vec<Token>,
}

impl<'t> Reader<'t> {
    /// Reads to the end, or behind the bracket that ends what is put into a template.
    fn read(mut self, depth: usize) -> Self {
        let mut open = 0_usize;
        while let Some(one) = self.rest.chars().next() {
            if one.is_whitespace() {
                self.skip(one.len_utf8());
            } else if self.rest.starts_with("//") {
                self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                self.skip(self.rest.find("*/").map_or(self.rest.len(), |end| end + 2));
            } else if one == '"' || one == '\'' {
                self.text(one);
            } else if one == '`' {
                self.template(depth);
            } else if one == '/' && self.begins_expression() {
                self.pattern();
            } else if one.is_ascii_digit() {
                let number = self.while_in(|one| one.is_ascii_alphanumeric() || "._".contains(one));
                self.push(Word::Number(number.replace('_', "")));
            } else if one.is_alphanumeric() || one == '_' || one == '$' {
                let name = self.while_in(|one| one.is_alphanumeric() || one == '_' || one == '$');
                self.push(Word::Name(name));
            } else if let Some(sign) = SIGNS.iter().find(|sign| self.rest.starts_with(**sign)) {
                if depth > 0 && *sign == "}" && open == 0 {
                    self.skip(1);
                    return self;
                }
                match *sign {
                    "{" => open += 1,
                    "}" => open = open.saturating_sub(1),
                    _ => {}
                }
                self.push(Word::Sign(sign));
                self.skip(sign.len());
            } else {
                self.skip(one.len_utf8());
            }
        }
        self
    }

    fn push(&mut self, word: Word) {
        self.out.push(Token { word, line: self.line });
    }

    fn skip(&mut self, length: usize) {
        let (passed, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.line += passed.matches('\n').count();
        self.rest = rest;
    }

    fn while_in(&mut self, is_in: impl Fn(char) -> bool) -> String {
        let length = self.rest.find(|one| !is_in(one)).unwrap_or(self.rest.len());
        let word = self.rest.get(..length).unwrap_or_default().to_owned();
        self.rest = self.rest.get(length..).unwrap_or_default();
        word
    }

    /// Says whether a slash here begins a pattern and is no division.
    fn begins_expression(&self) -> bool {
        match self.out.last().map(|token| &token.word) {
            None => true,
            Some(Word::Sign(sign)) => ![")", "]", "}"].contains(sign),
            Some(Word::Name(name)) => name == "return",
            Some(_) => false,
        }
    }

    /// A pattern ends on its line.
    fn pattern(&mut self) {
        let line = self.rest.split('\n').next().unwrap_or_default();
        let (mut is_escaped, mut in_class) = (false, false);
        let end = line.char_indices().skip(1).find_map(|(at, one)| {
            let ends = one == '/' && !is_escaped && !in_class;
            in_class = !is_escaped && (one == '[' || in_class && one != ']');
            is_escaped = one == '\\' && !is_escaped;
            ends.then_some(at + 1)
        });
        self.push(Word::Name("a pattern".to_owned()));
        self.skip(end.unwrap_or(line.len()));
        self.while_in(|one| one.is_ascii_alphabetic());
    }

    fn text(&mut self, quote: char) {
        let line = self.line;
        let (text, taken) = unescaped(self.rest.get(1..).unwrap_or_default(), |rest| {
            rest.starts_with(quote) || rest.starts_with('\n')
        });
        self.skip(taken + 2);
        self.out.push(Token { word: Word::Text(text), line });
    }

    fn template(&mut self, depth: usize) {
        let line = self.line;
        let mut parts = Vec::new();
        self.skip(1);
        loop {
            let ends = |rest: &str| rest.starts_with('`') || rest.starts_with("${");
            let (text, taken) = unescaped(self.rest, ends);
            self.skip(taken);
            parts.push(Part::Text(text));
            if !self.rest.starts_with("${") || depth >= DEPTH_MAX {
                self.skip(1);
                break;
            }
            self.skip(2);
            let inner =
                Reader { rest: self.rest, line: self.line, out: Vec::new() }.read(depth + 1);
            (self.rest, self.line) = (inner.rest, inner.line);
            parts.push(Part::Words(inner.out));
        }
        self.out.push(Token { word: Word::Template(parts), line });
    }
}

/// Reads a text until it ends; returns it, and how many bytes of the script it took.
fn unescaped(script: &str, ends: impl Fn(&str) -> bool) -> (String, usize) {
    let mut text = String::new();
    let mut letters = script.char_indices();
    while let Some((at, one)) = letters.next() {
        if ends(script.get(at..).unwrap_or_default()) {
            return (text, at);
        }
        match one {
            '\\' => match letters.next().map(|(_, one)| one) {
                Some('n') => text.push('\n'),
                Some('\n') | None => {}
                Some(one) => text.push(one),
            },
            one => text.push(one),
        }
    }
    (text, script.len())
}

/// An entry of an object: its key, the line of it, and the words of its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'t> {
    pub(crate) key: &'t str,
    pub(crate) line: usize,
    /// Empty where it is none (`{ key }`).
    pub(crate) value: &'t [Token],
}

/// An object as it is written.
#[derive(Debug, Default)]
pub(crate) struct Object<'t> {
    pub(crate) entries: Vec<Entry<'t>>,
    /// Something in it would have to be run: `...others`, `[key]: value`.
    pub(crate) has_more: bool,
}

impl<'t> Object<'t> {
    /// Reads the object that the words begin with; `None` where they are none.
    pub(crate) fn read(words: &'t [Token]) -> Option<Self> {
        let inner = words.get(1..balanced(words)?.checked_sub(1)?)?;
        if !is_sign(words.first()?, "{") {
            return None;
        }
        let mut object = Self::default();
        for entry in split(inner, ",") {
            let (Some(first), rest) = (entry.first(), entry.get(1..).unwrap_or_default()) else {
                continue;
            };
            let key = match &first.word {
                Word::Name(key) | Word::Text(key) | Word::Number(key) => key.as_str(),
                _ => {
                    object.has_more = true;
                    continue;
                }
            };
            let value = match rest.first() {
                Some(colon) if is_sign(colon, ":") => rest.get(1..).unwrap_or_default(),
                _ => &[],
            };
            object.entries.push(Entry { key, line: first.line, value });
        }
        Some(object)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry<'t>> {
        // Of two of one name the later counts.
        self.entries.iter().rev().find(|entry| entry.key == key).copied()
    }
}

pub(crate) fn is_sign(token: &Token, sign: &str) -> bool {
    matches!(token.word, Word::Sign(found) if found == sign)
}

pub(crate) fn is_name(token: &Token, name: &str) -> bool {
    matches!(&token.word, Word::Name(found) if found == name)
}

/// The most words between two brackets that are followed.
const BRACKET_WORDS_MAX: usize = 16 << 10;

/// Returns how many words it is to behind the bracket that ends the first one.
pub(crate) fn balanced(words: &[Token]) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in words.iter().enumerate().take(BRACKET_WORDS_MAX) {
        match token.word {
            Word::Sign("{" | "(" | "[") => depth += 1,
            Word::Sign("}" | ")" | "]") => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return (at > 0).then_some(at + 1);
        }
    }
    None
}

/// Divides words at a sign that stands in no bracket.
fn split<'t>(words: &'t [Token], sign: &str) -> Vec<&'t [Token]> {
    let mut depth = 0_usize;
    words
        .split(|token| {
            match token.word {
                Word::Sign("{" | "(" | "[") => depth += 1,
                Word::Sign("}" | ")" | "]") => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && is_sign(token, sign)
        })
        .collect()
}

/// What names stand for.
pub(crate) struct Scope<'e> {
    names: BTreeMap<String, Value>,
    /// The names of objects that hold the environment.
    environments: Vec<String>,
    environment: &'e dyn Fn(&str) -> Option<String>,
}

impl<'e> Scope<'e> {
    /// Follows the constants of a script, in their order.
    pub(crate) fn of(words: &[Token], environment: &'e dyn Fn(&str) -> Option<String>) -> Self {
        let mut scope = Self { names: BTreeMap::new(), environments: Vec::new(), environment };
        let is_declared =
            |token: &Token| ["const", "let", "var"].iter().any(|word| is_name(token, word));
        let declared = words.iter().enumerate().filter(|(_, token)| is_declared(token));
        for (at, _) in declared.take(CONSTANTS_MAX) {
            scope.declare(words.get(at + 1..).unwrap_or_default());
        }
        scope
    }

    fn declare(&mut self, words: &[Token]) {
        let Some(first) = words.first() else { return };
        if let Word::Name(name) = &first.word {
            let rest = words.get(1..).unwrap_or_default();
            let Some(rest) = rest.first().filter(|sign| is_sign(sign, "=")).and(rest.get(1..))
            else {
                return;
            };
            if rest.first().is_some_and(|word| is_name(word, "loadEnv")) {
                self.environments.push(name.clone());
                return;
            }
            let value = self.value(rest);
            self.names.insert(name.clone(), value);
        } else if is_sign(first, "{")
            && let Some(length) = balanced(words)
            && let Some([equals, source, ..]) = words.get(length..)
            && is_sign(equals, "=")
        {
            let is_environment = match &source.word {
                Word::Name(name) => {
                    name == "loadEnv" || name == "process" || self.environments.contains(name)
                }
                _ => false,
            };
            for entry in split(words.get(1..length - 1).unwrap_or_default(), ",") {
                self.take_out(entry, is_environment);
            }
        }
    }

    /// `NAME` or `NAME = "what it is without"`, of the environment.
    fn take_out(&mut self, entry: &[Token], is_environment: bool) {
        let Some(Word::Name(name)) = entry.first().map(|first| &first.word) else { return };
        let without = match entry.get(1) {
            Some(equals) if is_sign(equals, "=") => self.value(entry.get(2..).unwrap_or_default()),
            None => Value::Absent,
            Some(_) => Value::Unknown,
        };
        let value = if is_environment {
            (self.environment)(name).map_or(without, Value::Text)
        } else {
            Value::Unknown
        };
        self.names.insert(name.clone(), value);
    }

    /// Returns what an expression comes to, that the words begin with.
    pub(crate) fn value(&self, words: &[Token]) -> Value {
        Expression { scope: self, words, at: 0, depth: 0 }.choice()
    }

    fn written(&self, parts: &[Part]) -> Value {
        let mut whole = String::new();
        for part in parts {
            let text = match part {
                Part::Text(text) => Some(text.clone()),
                Part::Words(words) => self.value(words).written(),
            };
            match text {
                Some(text) if whole.len() + text.len() <= TEXT_BYTES_MAX => whole.push_str(&text),
                _ => return Value::Unknown,
            }
        }
        Value::Text(whole)
    }
}

struct Expression<'s, 'e, 't> {
    scope: &'s Scope<'e>,
    words: &'t [Token],
    at: usize,
    depth: usize,
}

impl Expression<'_, '_, '_> {
    fn takes(&mut self, signs: &[&str]) -> Option<&'static str> {
        let Word::Sign(sign) = self.words.get(self.at)?.word else { return None };
        signs.contains(&sign).then(|| {
            self.at += 1;
            sign
        })
    }

    fn choice(&mut self) -> Value {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            // What is not read leaves the rest unread, so nothing comes of it.
            self.at = self.words.len();
            return Value::Unknown;
        }
        let condition = self.either();
        let value = if self.takes(&["?"]).is_some() {
            let then = self.choice();
            let is_whole = self.takes(&[":"]).is_some();
            let otherwise = self.choice();
            match condition.truth().filter(|_| is_whole) {
                Some(true) => then,
                Some(false) => otherwise,
                None => Value::Unknown,
            }
        } else {
            condition
        };
        self.depth -= 1;
        value
    }

    fn either(&mut self) -> Value {
        let mut value = self.both();
        while let Some(sign) = self.takes(&["||", "??"]) {
            let other = self.both();
            let is_kept = match sign {
                "??" if value == Value::Unknown => None,
                "??" => Some(value != Value::Absent),
                _ => value.truth(),
            };
            value = match is_kept {
                Some(true) => value,
                Some(false) => other,
                None => Value::Unknown,
            };
        }
        value
    }

    fn both(&mut self) -> Value {
        let mut value = self.same();
        while self.takes(&["&&"]).is_some() {
            let other = self.same();
            value = match value.truth() {
                Some(true) => other,
                Some(false) => value,
                None => Value::Unknown,
            };
        }
        value
    }

    fn same(&mut self) -> Value {
        let mut value = self.sum();
        while let Some(sign) = self.takes(&["===", "==", "!==", "!="]) {
            let other = self.sum();
            value = match (&value, &other) {
                (Value::Unknown, _) | (_, Value::Unknown) => Value::Unknown,
                (one, other) => Value::Truth((one == other) != sign.starts_with('!')),
            };
        }
        value
    }

    fn sum(&mut self) -> Value {
        let mut value = self.one();
        while self.takes(&["+"]).is_some() {
            let other = self.one();
            value = match (&value, &other) {
                (Value::Text(_), _) | (_, Value::Text(_)) => {
                    let whole = value.written().zip(other.written());
                    let whole =
                        whole.filter(|(one, other)| one.len() + other.len() <= TEXT_BYTES_MAX);
                    whole.map_or(Value::Unknown, |(one, other)| Value::Text(one + &other))
                }
                _ => Value::Unknown,
            };
        }
        value
    }

    fn one(&mut self) -> Value {
        let mut negations = 0;
        while self.takes(&["!"]).is_some() {
            negations += 1;
        }
        let mut value = self.primary();
        for _ in 0..negations {
            value = value.truth().map_or(Value::Unknown, |truth| Value::Truth(!truth));
        }
        value
    }

    fn primary(&mut self) -> Value {
        let Some(token) = self.words.get(self.at) else { return Value::Unknown };
        match &token.word {
            Word::Text(text) => {
                self.at += 1;
                self.behind(Value::Text(text.clone()))
            }
            Word::Number(number) => {
                self.at += 1;
                self.behind(Value::Number(number.clone()))
            }
            Word::Template(parts) => {
                self.at += 1;
                let value = self.scope.written(parts);
                self.behind(value)
            }
            Word::Sign("(") => {
                self.at += 1;
                let value = self.choice();
                if self.takes(&[")"]).is_none() {
                    self.at = self.words.len();
                    return Value::Unknown;
                }
                self.behind(value)
            }
            Word::Sign("{" | "[") => {
                let rest = self.words.get(self.at..).unwrap_or_default();
                self.at += balanced(rest).unwrap_or(rest.len());
                self.behind(Value::Unknown)
            }
            Word::Sign(_) => Value::Unknown,
            Word::Name(_) => self.named(),
        }
    }

    /// `name`, `a.b.c`, and the few calls that are known.
    fn named(&mut self) -> Value {
        let mut path: Vec<&str> = Vec::new();
        while let Some(Word::Name(name)) = self.words.get(self.at).map(|token| &token.word) {
            path.push(name);
            self.at += 1;
            if self.takes(&[".", "?."]).is_none() {
                break;
            }
        }
        let value = match path.as_slice() {
            ["true"] => Value::Truth(true),
            ["false"] => Value::Truth(false),
            ["undefined" | "null"] => Value::Absent,
            ["process", "env", name] | ["import", "meta", "env", name] => self.variable(name),
            [object, name] if self.scope.environments.iter().any(|one| one == object) => {
                self.variable(name)
            }
            ["Number", "parseInt"] | ["Number" | "parseInt" | "String"] => {
                if self.takes(&["("]).is_none() {
                    return self.behind(Value::Unknown);
                }
                let value = self.choice();
                if self.takes(&[","]).is_some() {
                    self.choice();
                }
                if self.takes(&[")"]).is_none() {
                    self.at = self.words.len();
                    return Value::Unknown;
                }
                match value {
                    Value::Text(text) if path != ["String"] => {
                        let digits = text.trim().parse::<u32>();
                        Value::Number(digits.map_or("NaN".to_owned(), |number| number.to_string()))
                    }
                    value => value,
                }
            }
            [name] => self.scope.names.get(*name).cloned().unwrap_or(Value::Unknown),
            _ => Value::Unknown,
        };
        self.behind(value)
    }

    fn variable(&self, name: &str) -> Value {
        (self.scope.environment)(name).map_or(Value::Absent, Value::Text)
    }

    /// What is done with a value (a call, a member, an index) would have to be run.
    fn behind(&mut self, mut value: Value) -> Value {
        loop {
            let rest = self.words.get(self.at..).unwrap_or_default();
            match rest.first().map(|token| &token.word) {
                Some(Word::Sign("(" | "[")) => {
                    self.at += balanced(rest).unwrap_or(rest.len());
                    value = Value::Unknown;
                }
                Some(Word::Sign("." | "?.")) => {
                    self.at += 2;
                    value = Value::Unknown;
                }
                // `as const`, `satisfies T` change nothing, and are at the end; an arrow makes a function of it.
                Some(Word::Sign("=>")) => return Value::Unknown,
                _ => return value,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(script: &str) -> Value {
        let words = tokens(script);
        let environment = |name: &str| (name == "HOST").then(|| "127.0.0.1:1".to_owned());
        let scope = Scope::of(&words, &environment);
        let at = words.iter().position(|word| is_name(word, "out")).unwrap();
        scope.value(words.get(at + 2..).unwrap())
    }

    #[test]
    fn expressions_of_configurations_come_to_their_values() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (script, expected) in [
            ("out: 'a' // b", text("a")),
            ("out: /* no */ \"it's\"", text("it's")),
            ("const { HOST = 'x', TLS = 'false' } = loadEnv(mode, process.cwd()); const S = TLS === 'true' ? 'wss' : 'ws';
              out: `${S}://${HOST}/`,", text("ws://127.0.0.1:1/")),
            ("const env = loadEnv(mode, '.'); out: env.HOST ?? 'x'", text("127.0.0.1:1")),
            ("out: process.env.NONE || 'http://' + process.env.HOST", text("http://127.0.0.1:1")),
            ("const P = Number.parseInt('3001', 10); out: P", Value::Number("3001".to_owned())),
            ("out: Number('x')", Value::Number("NaN".to_owned())),
            ("out: !('a' === 'b')", Value::Truth(true)),
            ("out: !!undefined", Value::Truth(false)),
            ("out: 'a'.replace('a', 'b')", Value::Unknown),
            ("out: target()", Value::Unknown),
            ("out: x ? 'a' : 'b'", Value::Unknown),
            ("out: `a${x}`", Value::Unknown),
            ("out: { a: 1 }", Value::Unknown),
            ("out: (path) => path", Value::Unknown),
            ("out: 'a\\'b\\nc'", text("a'b\nc")),
        ] {
            assert_eq!(value(script), expected, "{script}");
        }
    }

    #[test]
    fn objects_are_read_entry_by_entry() {
        let words = tokens("{ a: 1, 'b/c': { d: [1, 2], }, e, ...f, g(x) { return 1 }, h: /}/ }");
        let object = Object::read(&words).unwrap();
        let keys: Vec<_> = object.entries.iter().map(|entry| entry.key).collect();
        assert_eq!(keys, ["a", "b/c", "e", "g", "h"]);
        assert!(object.has_more);
        assert_eq!(Object::read(object.get("b/c").unwrap().value).unwrap().entries.len(), 1);
        assert!(object.get("g").unwrap().value.is_empty());
    }

    #[test]
    fn a_text_that_doubles_does_not_grow_for_ever() {
        let mut script = "const a0 = 'a';".to_owned();
        for at in 1..100 {
            script += &format!("const a{at} = `${{a{}}}${{a{}}}`;", at - 1, at - 1);
        }
        assert_eq!(value(&format!("{script} out: a12.x")), Value::Unknown);
        let Value::Text(text) = value(&format!("{script} out: a12")) else { panic!() };
        assert_eq!(text.len(), 4096);
        assert_eq!(value(&format!("{script} out: a99")), Value::Unknown);
        let sums = script.replace("`${", "").replace("}${", "+").replace("}`", "");
        assert_eq!(value(&format!("{sums} out: a99")), Value::Unknown);
    }

    #[test]
    fn a_hostile_script_costs_little() {
        // Each of these is looked through to its end, or within itself, once for each of its words where nothing
        // limits that: hours.
        for unit in ["const {", "const a = [", "server:{", "const a = `${", "a ? "] {
            let script = unit.repeat((256 << 10) / unit.len());
            let words = tokens(&script);
            let scope = Scope::of(&words, &|_| None);
            scope.value(&words);
            crate::dev::proxy::read(&script, &|_| None);
        }
    }

    #[test]
    fn no_script_ends_the_reader() {
        let deep = format!("const a = {}", "(".repeat(100_000));
        let braces = format!("const a = {}", "`${".repeat(10_000));
        let bangs = format!("const a = {}1", "!".repeat(100_000));
        let consts = "const ".repeat(10_000);
        let torn = [
            "'",
            "`",
            "`${",
            "/*",
            "/",
            "{",
            "const {",
            "const { a = } =",
            "a ? b",
            "\\",
            "é`${é}",
        ];
        for script in [deep.as_str(), &braces, &bangs, &consts].into_iter().chain(torn) {
            let words = tokens(script);
            let scope = Scope::of(&words, &|_| None);
            scope.value(&words);
            Object::read(&words);
        }
    }
}
