//! Reads our own file back: which generation it is, what it routes, and whether anybody changed
//! it; and proves, without the code that wrote it, that two versions differ in data lines only.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use oh_model::id::SessionId;
use oh_model::instance::{Key, Server};
use oh_model::plan::Digest;
use oh_model::port::Port;
use oh_model::session::Account;
use oh_model::upstream::Upstream;
use thiserror::Error;

use crate::layout::{DATA_MAPS, DataMap, Generation};
use crate::parse::{Directive, SyntaxFault, parse};
use crate::secret::{NOT_SHOWN, without_keys};

/// What our file on disk says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// What the file calls itself.
    pub generation: Generation,
    /// Whether it is byte for byte what was written under that name.
    pub intact: bool,
    /// The port of each editor, by id.
    pub editors: BTreeMap<String, Port>,
    /// The port of each application, by `{id}-{index}`.
    pub apps: BTreeMap<String, Port>,
}

/// Says why a text is not a file of ours.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotOurs {
    /// nginx could not read it either.
    #[error(transparent)]
    Syntax(#[from] SyntaxFault),
    /// It has no generation.
    #[error("it names no generation of ours")]
    NoGeneration,
    /// A line of a map has another form than we write.
    #[error("line {line}: not a line that is written here: {text}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// The directive's words.
        text: String,
    },
}

/// Reads the text of our file.
///
/// # Errors
/// [`NotOurs`] where it is none, or has been made into something else.
pub fn read(text: &str) -> Result<Served, NotOurs> {
    let tree = parse(text)?;
    let line = generation_line(&tree).ok_or(NotOurs::NoGeneration)?;
    let word = line.words.first().map_or("", String::as_str);
    let generation = Generation::parse(word).ok_or(NotOurs::NoGeneration)?;
    let intact = digest_without(text, line, word) == Some(generation.digest.clone());
    Ok(Served {
        generation,
        intact,
        editors: ports(&tree, DataMap::Editor, "vscode/")?,
        apps: ports(&tree, DataMap::App, "apps/")?,
    })
}

/// Proves that `new` differs from `old` in lines of the data maps and in its generation only,
/// and that every data line has the form that cannot mean anything else to nginx.
///
/// # Errors
/// The first difference that is not data, as a fragment of a sentence.
pub fn data_only(old: &str, new: &str) -> Result<(), String> {
    let frame = |text: &str| parse(text).map(frame_of).map_err(|fault| fault.to_string());
    let (old, new_frame) = (frame(old)?, frame(new)?);
    if old != new_frame {
        return Err("more than data lines changed".into());
    }
    let tree = parse(new).map_err(|fault| fault.to_string())?;
    for map in DATA_MAPS {
        // nginx refuses a key that stands twice, whatever its case.
        let mut keys = BTreeSet::new();
        for line in data_lines(&tree, map) {
            check_line(map, line).map_err(|fault| fault.to_string())?;
            if !keys.insert(line.name.to_ascii_lowercase()) {
                return Err(format!("line {}: {} stands twice", line.line, line.name));
            }
        }
    }
    Ok(())
}

fn find_map<'a>(tree: &'a [Directive], target: &str) -> Option<&'a Vec<Directive>> {
    let wanted = |d: &&Directive| d.name == "map" && d.words.get(1).is_some_and(|w| w == target);
    tree.iter().find(wanted)?.block.as_ref()
}

fn generation_line(tree: &[Directive]) -> Option<&Directive> {
    find_map(tree, "$oh_generation")?.iter().find(|line| line.name == "oh")
}

/// Returns the digest of the text without the name of its generation.
fn digest_without(text: &str, line: &Directive, word: &str) -> Option<String> {
    let start = line.span.start + text.get(line.span.clone())?.find(word)?;
    let before = text.get(..start)?;
    let after = text.get(start + word.len()..)?;
    Some(Digest::of([before, after]).to_string())
}

fn data_lines(tree: &[Directive], map: DataMap) -> impl Iterator<Item = &Directive> {
    let lines = find_map(tree, map.variable()).map(Vec::as_slice).unwrap_or_default();
    lines.iter().filter(|line| line.name != "default")
}

fn ports(
    tree: &[Directive],
    map: DataMap,
    prefix: &str,
) -> Result<BTreeMap<String, Port>, NotOurs> {
    data_lines(tree, map)
        .map(|line| {
            check_line(map, line)?;
            let id = line.name.strip_prefix(prefix);
            let port = line.words.first().and_then(|word| word.parse().ok()).and_then(Port::new);
            id.zip(port)
                .map(|(id, port)| (id.to_string(), port))
                .ok_or_else(|| not_a_line(map, line))
        })
        .collect()
}

/// The grammar of a data line: a prefixed id, and a value of the map's closed alphabet.
fn check_line(map: DataMap, line: &Directive) -> Result<(), NotOurs> {
    let editor = line.name.strip_prefix("vscode/");
    let app = line.name.strip_prefix("apps/").and_then(|key| {
        let (id, index) = key.rsplit_once('-')?;
        let digits = matches!(index.len(), 1 | 2) && index.bytes().all(|b| b.is_ascii_digit());
        digits.then_some(id)
    });
    let id = match map {
        DataMap::Editor | DataMap::Folder | DataMap::Key => editor,
        DataMap::App => app,
        DataMap::Upstream | DataMap::Owner => editor.or(app),
    };
    let value = match line.words.as_slice() {
        [value] if line.block.is_none() => value,
        _ => return Err(not_a_line(map, line)),
    };
    let fits = match map {
        DataMap::Editor | DataMap::App => {
            value.parse().ok().and_then(Port::new).is_some_and(|port| port.to_string() == *value)
        }
        DataMap::Folder => {
            let plain =
                |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b'%');
            value.starts_with('/') && value.bytes().all(plain)
        }
        DataMap::Upstream => Upstream::parse(value).is_some_and(|u| u != Upstream::default()),
        DataMap::Owner => Account::parse(value).is_some(),
        DataMap::Key => value.split_once('=').is_some_and(|(cookie, key)| {
            let known = Server::ALL.iter().any(|server| server.key_cookie() == cookie);
            known && Key::parse(key).is_some()
        }),
    };
    match id.map(SessionId::parse) {
        Some(Ok(_)) if fits => Ok(()),
        _ => Err(not_a_line(map, line)),
    }
}

fn not_a_line(map: DataMap, line: &Directive) -> NotOurs {
    let words = match map {
        // Whatever it is, it may be most of a key.
        DataMap::Key => NOT_SHOWN.to_string(),
        _ => without_keys(&line.words.join(" ")),
    };
    let text = format!("{} {words}", without_keys(&line.name));
    NotOurs::Line { line: line.line, text: text.escape_debug().to_string() }
}

/// The tree without data lines, generation and places, for comparing.
fn frame_of(tree: Vec<Directive>) -> Vec<(String, Vec<String>, Option<usize>)> {
    let mut frame = Vec::new();
    flatten(tree, &mut frame);
    frame
}

fn flatten(tree: Vec<Directive>, frame: &mut Vec<(String, Vec<String>, Option<usize>)>) {
    for directive in tree {
        let target = directive.words.get(1).cloned().unwrap_or_default();
        let block = directive.block.map(|block| {
            let is_map = directive.name == "map";
            let data = is_map && DATA_MAPS.iter().any(|map| map.variable() == target);
            let generation = is_map && target == "$oh_generation";
            block
                .into_iter()
                .filter(|line| !(data && line.name != "default" || generation && line.name == "oh"))
                .collect::<Vec<_>>()
        });
        frame.push((directive.name, directive.words, block.as_ref().map(Vec::len)));
        flatten(block.unwrap_or_default(), frame);
    }
}
