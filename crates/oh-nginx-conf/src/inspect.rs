//! Questions about a configuration that was read, with all its includes, from anybody's files.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::layout::{HOOK_MARK, MARK};
use crate::parse::Directive;

/// A configuration as nginx reads it: files in the order of their inclusion.
///
/// An `include` directive stays in the tree of its file; what it brought in is found by its
/// place (file and byte), so that text can be put in its stead.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// All files; the first is the main one.
    pub files: Vec<File>,
}

/// One file of a configuration.
#[derive(Debug, Clone)]
pub struct File {
    /// Its path, as nginx opened it.
    pub path: String,
    /// Its text.
    pub text: String,
    /// What it says.
    pub directives: Vec<Directive>,
    /// For each `include` in it, in order: where it stands, and which files it brought in.
    pub includes: Vec<Include>,
}

/// An `include` directive and what it brought in.
#[derive(Debug, Clone)]
pub struct Include {
    /// The bytes of the directive in its file.
    pub span: core::ops::Range<usize>,
    /// The pattern, made absolute.
    pub pattern: String,
    /// The files, in the order in which nginx reads them, as indexes into [`Tree::files`].
    pub files: Vec<usize>,
}

/// Where a directive stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
}

impl core::fmt::Display for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}:{}", self.path, self.line)
    }
}

/// A directive on its way past a visitor.
pub struct Visit<'a> {
    /// The blocks around it, outermost first, by name.
    pub blocks: Vec<&'a str>,
    /// The file it stands in.
    pub file: &'a File,
    /// The directive.
    pub directive: &'a Directive,
}

impl Visit<'_> {
    /// Returns where the directive stands.
    pub fn place(&self) -> Place {
        Place { path: self.file.path.clone(), line: self.directive.line }
    }
}

impl Tree {
    /// Shows every directive to the visitor in the order in which nginx reads them, through all
    /// includes.
    pub fn visit<'a>(&'a self, visitor: &mut impl FnMut(&Visit<'a>)) {
        if let Some(main) = self.files.first() {
            self.visit_block(main, &main.directives, &mut Vec::new(), visitor);
        }
    }

    fn visit_block<'a>(
        &'a self,
        file: &'a File,
        directives: &'a [Directive],
        blocks: &mut Vec<&'a str>,
        visitor: &mut impl FnMut(&Visit<'a>),
    ) {
        for directive in directives {
            visitor(&Visit { blocks: blocks.clone(), file, directive });
            if let Some(block) = &directive.block {
                blocks.push(&directive.name);
                self.visit_block(file, block, blocks, visitor);
                blocks.pop();
            }
            let included = file.includes.iter().filter(|inc| inc.span == directive.span);
            for index in included.flat_map(|include| &include.files) {
                if let Some(file) = self.files.get(*index) {
                    self.visit_block(file, &file.directives, blocks, visitor);
                }
            }
        }
    }

    /// Returns the arguments of the first main-level directive of that name; none where there
    /// is no such directive.
    pub fn main_words(&self, name: &str) -> Vec<String> {
        let mut found = None;
        self.visit(&mut |visit| {
            if found.is_none() && visit.blocks.is_empty() && visit.directive.name == name {
                found = Some(visit.directive.words.clone());
            }
        });
        found.unwrap_or_default()
    }

    /// Returns the first argument of the first main-level directive of that name.
    pub fn main_value(&self, name: &str) -> Option<String> {
        self.main_words(name).into_iter().next()
    }
}

/// What stands in the way of, or beside, our file.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The value of an operator's `map_hash_bucket_size` at `http` level.
    pub map_bucket: Option<usize>,
    /// Whether an operator has set `map_hash_max_size` at `http` level.
    pub map_max_size: bool,
    /// The first `map` that nginx reads before our file: from there on both sizes are settled.
    pub map_before_ours: Option<Place>,
    /// An operator's `map_hash_…` directive that nginx reads after our file, whose maps have
    /// settled the sizes by then: its name and place.
    pub map_size_after_ours: Option<(String, Place)>,
    /// Files with our mark that are neither our hook nor our file: of another configuration.
    pub other_files_of_ours: Vec<String>,
    /// The listening sockets of other servers.
    pub listens: Vec<Listen>,
}

/// A `listen` of somebody's server.
#[derive(Debug, Clone)]
pub struct Listen {
    /// The port.
    pub port: u16,
    /// The names of its server.
    pub names: Vec<String>,
    /// Where the server stands.
    pub place: Place,
}

/// Looks at everything that is not `ours`; files that count as ours are given by their path.
pub fn surroundings(tree: &Tree, hook: &str, ours: &str) -> Surroundings {
    let mut found = Surroundings::default();
    let mut past_ours = false;
    tree.visit(&mut |visit| {
        if visit.file.path == ours || visit.file.path == hook {
            past_ours = true;
            return;
        }
        if visit.file.text.contains(MARK) || visit.file.text.contains(HOOK_MARK) {
            if !found.other_files_of_ours.contains(&visit.file.path) {
                found.other_files_of_ours.push(visit.file.path.clone());
            }
            return;
        }
        if visit.blocks.as_slice() != ["http"] {
            return;
        }
        match visit.directive.name.as_str() {
            name @ ("map_hash_bucket_size" | "map_hash_max_size") => {
                if name == "map_hash_max_size" {
                    found.map_max_size = true;
                } else {
                    let size = visit.directive.words.first();
                    found.map_bucket = size.and_then(|word| word.parse().ok());
                }
                if past_ours {
                    found.map_size_after_ours = Some((name.into(), visit.place()));
                }
            }
            "map" if !past_ours && found.map_before_ours.is_none() => {
                found.map_before_ours = Some(visit.place());
            }
            "server" => found.listens.extend(listens(tree, visit)),
            _ => {}
        }
    });
    found
}

fn listens(tree: &Tree, server: &Visit<'_>) -> Vec<Listen> {
    let (mut ports, mut names) = (Vec::new(), Vec::new());
    let mut blocks = Vec::new();
    let block = server.directive.block.as_deref().unwrap_or_default();
    tree.visit_block(server.file, block, &mut blocks, &mut |visit| {
        if !visit.blocks.is_empty() {
            return;
        }
        match visit.directive.name.as_str() {
            "listen" => ports.extend(visit.directive.words.first().and_then(|w| listen_port(w))),
            "server_name" => names.extend(visit.directive.words.iter().cloned()),
            _ => {}
        }
    });
    // A server without `listen` has port 80, as root.
    if ports.is_empty() {
        ports.push(80);
    }
    ports.sort_unstable();
    ports.dedup();
    let place = server.place();
    ports
        .into_iter()
        .map(|port| Listen { port, names: names.clone(), place: place.clone() })
        .collect()
}

/// Reads the port of a `listen`: `443`, `*:443`, `127.0.0.1`, `[::]:80`; none for `unix:`.
pub(crate) fn listen_port(word: &str) -> Option<u16> {
    if word.starts_with("unix:") {
        return None;
    }
    if let Ok(port) = word.parse() {
        return Some(port);
    }
    match word.rsplit_once(':') {
        Some((address, port)) if address.ends_with(']') || !address.contains(':') => {
            port.parse().ok()
        }
        _ => Some(80),
    }
}

/// Returns the longest map key, in bytes, that fits a bucket of the size.
///
/// An element of nginx's hash is a pointer, a 16-bit length and the key, rounded up to a pointer;
/// a bucket ends with one more pointer (`ngx_hash.h`, `NGX_HASH_ELT_SIZE`).
pub const fn key_bytes_max(bucket: usize) -> usize {
    const POINTER: usize = 8;
    const LENGTH: usize = 2;
    let element = bucket.saturating_sub(POINTER) / POINTER * POINTER;
    element.saturating_sub(POINTER + LENGTH)
}

/// Puts `replacement` in the place of some bytes without moving a line.
///
/// The replacement is written on one line; the line breaks of what it replaces follow it, so a
/// fault that nginx finds below still has its own line number.
pub fn splice(text: &str, span: core::ops::Range<usize>, replacement: &str) -> Option<String> {
    let before = text.get(..span.start)?;
    let lines = text.get(span.clone())?.matches('\n').count();
    let after = text.get(span.end..)?;
    let mut out = before.to_string();
    out.push_str(replacement);
    (0..lines).for_each(|_| out.push('\n'));
    out.push_str(after);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;

    #[test]
    fn keys_fit_as_measured_on_real_nginx() {
        assert_eq!(key_bytes_max(64), 46);
        assert_eq!(key_bytes_max(128), 110);
    }

    #[test]
    fn ports_of_listen_are_read_in_every_form() {
        let ports = [
            ("443", Some(443)),
            ("*:8443", Some(8443)),
            ("127.0.0.1:81", Some(81)),
            ("127.0.0.1", Some(80)),
            ("localhost", Some(80)),
            ("[::]:82", Some(82)),
            ("[::1]", Some(80)),
            ("unix:/run/x.sock", None),
        ];
        for (word, port) in ports {
            assert_eq!(listen_port(word), port, "{word}");
        }
    }

    #[test]
    fn a_splice_keeps_the_lines_below() {
        let text = "a;\ninclude\n  x;\nb;\n";
        let span = parse(text).unwrap()[1].span.clone();
        assert_eq!(splice(text, span, "c; d;").unwrap(), "a;\nc; d;\n\nb;\n");
    }

    #[test]
    fn what_is_not_ours_is_seen_with_its_place() {
        let text = "http {\n map $a $b { }\n include ours;\n map_hash_bucket_size 64;\n \
                    server { listen 443 ssl; listen [::]:443; server_name x.example; }\n}\n";
        let directives = parse(text).unwrap();
        let span = directives[0].block.as_ref().unwrap()[1].span.clone();
        let include = Include { span, pattern: "/ours".into(), files: [1].to_vec() };
        let main = File {
            path: "/main".into(),
            text: text.into(),
            directives,
            includes: [include].to_vec(),
        };
        let ours_text = "map $c $d { }";
        let ours = File {
            path: "/ours".into(),
            text: ours_text.into(),
            directives: parse(ours_text).unwrap(),
            includes: Vec::new(),
        };
        let tree = Tree { files: [main, ours].to_vec() };
        let found = surroundings(&tree, "/hook", "/ours");
        let (name, place) = found.map_size_after_ours.unwrap();
        assert_eq!(
            (name.as_str(), place.to_string().as_str()),
            ("map_hash_bucket_size", "/main:4")
        );
        assert_eq!(found.map_before_ours.unwrap().to_string(), "/main:2");
        assert_eq!((found.map_bucket, found.map_max_size), (Some(64), false));
        assert_eq!(found.listens.len(), 1);
        assert_eq!((found.listens[0].port, found.listens[0].place.line), (443, 5));
    }
}
