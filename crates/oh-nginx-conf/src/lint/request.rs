//! A request, and what nginx's variables hold during it.
//!
//! Variables are worked out as nginx does: `map` by value and by pattern, captures of locations,
//! `set`. What depends on something else (a cookie, a module, a clock) is unknown, and unknown
//! stays unknown through everything that is made of it.

use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use regex::bytes::{Regex, RegexBuilder};

use super::model::{Config, Node};

/// How deep maps may be made of maps.
const MAPS_DEEP_MAX: usize = 16;

/// The largest program that a pattern may become, in bytes.
const PATTERN_BYTES_MAX: usize = 128 * 1024;

/// The longest value that is worked out, in bytes.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// A request as it reaches nginx.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) scheme: &'static str,
    /// Name and, where it is not the scheme's own, port: what browsers send.
    pub(super) authority: String,
    pub(super) port: u16,
    pub(super) uri: String,
    pub(super) args: String,
    /// Headers beside `Host`, by their names in lower case with `_`.
    pub(super) headers: BTreeMap<&'static str, String>,
}

impl Request {
    pub(super) fn with(&self, headers: &[(&'static str, &str)]) -> Self {
        let mut out = self.clone();
        out.headers.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        out
    }

    pub(super) fn at(&self, uri: &str) -> Self {
        Self { uri: uri.to_owned(), ..self.clone() }
    }

    pub(super) fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }
}

/// What is known of variables at some point of a request.
#[derive(Debug, Clone)]
pub(super) struct Variables<'c> {
    pub(super) config: Config<'c>,
    pub(super) request: Request,
    /// The URI as it is now.
    pub(super) uri: String,
    /// What `set` and captures left; `None` for what cannot be told.
    pub(super) set: BTreeMap<String, Option<String>>,
    /// The address that `proxy_pass` names, for `$proxy_host`.
    pub(super) proxy_host: Option<String>,
}

impl<'c> Variables<'c> {
    pub(super) fn new(config: Config<'c>, request: &Request) -> Self {
        Self {
            config,
            request: request.clone(),
            uri: request.uri.clone(),
            set: BTreeMap::new(),
            proxy_host: None,
        }
    }

    /// Works out a word with its variables; `None` where one of them cannot be told.
    pub(super) fn value(&self, word: &str) -> Option<String> {
        self.deep_value(word, MAPS_DEEP_MAX)
    }

    fn deep_value(&self, word: &str, depth: usize) -> Option<String> {
        let mut out = String::new();
        for part in parts(word) {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Variable(name) => out.push_str(&self.variable(name, depth)?),
            }
            if out.len() > VALUE_BYTES_MAX {
                return None;
            }
        }
        Some(out)
    }

    fn variable(&self, name: &str, depth: usize) -> Option<String> {
        let depth = depth.checked_sub(1)?;
        if let Some(value) = self.set.get(name) {
            return value.clone();
        }
        if let Some(map) = self.config.map(name) {
            return self.mapped(map, depth);
        }
        let request = &self.request;
        if let Some(header) = name.strip_prefix("http_") {
            let found = if header == "host" {
                Some(&request.authority)
            } else {
                request.headers.get(header)
            };
            return Some(found.cloned().unwrap_or_default());
        }
        if let Some(argument) = name.strip_prefix("arg_") {
            let mut pairs = request.args.split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(key, _)| key.eq_ignore_ascii_case(argument));
            return Some(found.map_or("", |(_, value)| value).to_owned());
        }
        let host = || match request.authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => request.authority.as_str(),
        };
        let question = if request.args.is_empty() { "" } else { "?" };
        Some(match name {
            "host" | "server_name" => host().to_owned(),
            "server_port" => format!("{}", request.port),
            "scheme" => request.scheme.to_owned(),
            "https" if request.scheme == "https" => "on".to_owned(),
            "https" => String::new(),
            "uri" | "document_uri" => self.uri.clone(),
            "request_uri" => format!("{}{question}{}", request.uri, request.args),
            "args" | "query_string" => request.args.clone(),
            "is_args" => question.to_owned(),
            "request_method" => request.method.to_owned(),
            "remote_addr" | "binary_remote_addr" | "realip_remote_addr" => CLIENT.to_owned(),
            "server_protocol" => "HTTP/1.1".to_owned(),
            "proxy_host" => self.proxy_host.clone()?,
            "proxy_add_x_forwarded_for" => match request.headers.get("x_forwarded_for") {
                Some(given) => format!("{given}, {CLIENT}"),
                None => CLIENT.to_owned(),
            },
            _ => return None,
        })
    }

    fn mapped(&self, map: &Node<'c>, depth: usize) -> Option<String> {
        let key = self.deep_value(map.word(0), depth)?;
        let mut fallback = Some("");
        let mut patterns = Vec::new();
        for line in map.children() {
            match line.name {
                "default" => fallback = Some(line.word(0)),
                "include" | "volatile" => {}
                // Names of hosts may match by their ends: nobody needs that here.
                "hostnames" => return None,
                name if name.starts_with('~') => patterns.push(line),
                name => {
                    let name = name.strip_prefix('\\').unwrap_or(name);
                    // nginx compares without regard to case.
                    if name.eq_ignore_ascii_case(&key) {
                        return self.deep_value(line.word(0), depth);
                    }
                }
            }
        }
        for line in patterns {
            let (pattern, ignores_case) = match line.name.strip_prefix("~*") {
                Some(pattern) => (pattern, true),
                None => (line.name.strip_prefix('~')?, false),
            };
            if matched(pattern, ignores_case, &key)?.is_some() {
                // Captures of the pattern are not followed into the value.
                return if line.word(0).contains('$') {
                    None
                } else {
                    Some(line.word(0).to_owned())
                };
            }
        }
        self.deep_value(fallback?, depth)
    }

    /// Decides the condition of an `if`.
    pub(super) fn condition(&self, words: &[String]) -> Option<bool> {
        let words = condition_words(words);
        let word = |index: usize| words.get(index).map(String::as_str);
        match (word(0)?, word(1), word(2)) {
            (operand, None, None) => {
                let value = self.value(operand)?;
                Some(!value.is_empty() && value != "0")
            }
            (operand, Some("="), value) => {
                Some(self.value(operand)? == self.value(value.unwrap_or(""))?)
            }
            (operand, Some("!="), value) => {
                Some(self.value(operand)? != self.value(value.unwrap_or(""))?)
            }
            (operand, Some(operator @ ("~" | "~*" | "!~" | "!~*")), Some(pattern)) => {
                let value = self.value(operand)?;
                let found = matched(pattern, operator.ends_with('*'), &value)?.is_some();
                Some(found != operator.starts_with('!'))
            }
            _ => None,
        }
    }
}

/// Who asks.
pub(super) const CLIENT: &str = "192.0.2.7";

/// Takes the parentheses off the words of an `if`.
pub(super) fn condition_words(words: &[String]) -> Vec<String> {
    let mut out: Vec<String> = words.to_vec();
    if let Some(first) = out.first_mut() {
        *first = first.strip_prefix('(').unwrap_or(first).to_owned();
    }
    if out.first().is_some_and(String::is_empty) {
        out.remove(0);
    }
    if let Some(last) = out.last_mut() {
        *last = last.strip_suffix(')').unwrap_or(last).to_owned();
    }
    // `= ''` ends as an empty word before the parenthesis: that one is the value.
    if words.last().is_some_and(|word| word == ")") {
        out.pop();
    }
    out
}

/// A part of a word.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Text(&'a str),
    Variable(&'a str),
}

/// Takes a word apart at its variables.
pub(super) fn parts(word: &str) -> Vec<Part<'_>> {
    let mut out = Vec::new();
    let mut rest = word;
    while let Some((text, after)) = rest.split_once('$') {
        if !text.is_empty() {
            out.push(Part::Text(text));
        }
        let (name, tail) = match after.strip_prefix('{').and_then(|after| after.split_once('}')) {
            Some(braced) => braced,
            None => {
                let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                after.split_at_checked(end.unwrap_or(after.len())).unwrap_or((after, ""))
            }
        };
        if name.is_empty() {
            out.push(Part::Text("$"));
        } else {
            out.push(Part::Variable(name));
        }
        rest = tail;
    }
    if !rest.is_empty() {
        out.push(Part::Text(rest));
    }
    out
}

/// Returns the names of the variables in a word.
pub(super) fn variables_in(word: &str) -> Vec<&str> {
    let named = parts(word).into_iter().filter_map(|part| match part {
        Part::Variable(name) => Some(name),
        Part::Text(_) => None,
    });
    named.collect()
}

/// What a pattern captured, by name and by number.
pub(super) type Captures = Vec<(String, String)>;

/// Applies a pattern of nginx's; outer `None` where we cannot follow it.
pub(super) fn matched(pattern: &str, ignores_case: bool, text: &str) -> Option<Option<Captures>> {
    Some(captured(&compiled(pattern, ignores_case)?, text))
}

pub(super) fn captured(regex: &Regex, text: &str) -> Option<Captures> {
    let found = regex.captures(text.as_bytes())?;
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut out = Captures::new();
    for (index, name) in regex.capture_names().enumerate() {
        let value = found.get(index).map(|one| string(one.as_bytes())).unwrap_or_default();
        out.extend(name.map(|name| (name.to_owned(), value.clone())));
        out.push((format!("{index}"), value));
    }
    Some(out)
}

pub(super) fn compiled(pattern: &str, ignores_case: bool) -> Option<Regex> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .case_insensitive(ignores_case)
        .size_limit(PATTERN_BYTES_MAX)
        .build()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_word_is_taken_apart_at_its_variables() {
        use Part::{Text, Variable};
        assert_eq!(
            parts("a$b_1-${c}d"),
            [Text("a"), Variable("b_1"), Text("-"), Variable("c"), Text("d")]
        );
        assert_eq!(parts("$"), [Text("$")]);
        assert_eq!(parts("${"), [Text("$"), Text("{")]);
    }

    #[test]
    fn the_words_of_a_condition_lose_their_parentheses() {
        let words = |text: &[&str]| {
            condition_words(&text.iter().map(ToString::to_string).collect::<Vec<_>>()).join("|")
        };
        assert_eq!(words(&["($a)"]), "$a");
        assert_eq!(words(&["($a", "=", "", ")"]), "$a|=|");
        assert_eq!(words(&["($a", "!=", "b)"]), "$a|!=|b");
        assert_eq!(words(&["(", "$a", "~", "^b", ")"]), "$a|~|^b");
    }
}
