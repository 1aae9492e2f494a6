//! A configuration as nested blocks with all includes in their places, and what holds in a block.
//!
//! nginx inherits in two ways. Most directives count where they stand nearest. Lists
//! (`proxy_set_header`, `add_header`, `proxy_hide_header` and others) count from the nearest block
//! that has one of them at all: a single line there drops every line above. `if` blocks with a
//! `proxy_pass` are locations of their own that inherit from the one around them.

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::OnceCell;
use core::ops::Range;

use regex::bytes::Regex;

use crate::inspect::{File, Place, Tree};
use crate::parse::Directive;

use super::index::Index;
use super::request::{Captures, captured, compiled};

/// The most directives that are looked at, with those of files that are included several times.
pub(super) const NODES_MAX: usize = 1_000_000;

/// The most patterns of locations: each is compiled once and kept.
const PATTERNS_MAX: usize = 2_000;

/// The most pairs of a location that is judged and a pattern that its requests are compared with.
const PAIRS_MAX: usize = 1_000_000;

/// How deep blocks and includes may be in each other.
pub(super) const DEPTH_MAX: usize = 64;

/// A directive with what its block holds, includes replaced by what they bring.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    pub(super) words: &'a [String],
    pub(super) file: &'a File,
    pub(super) line: usize,
    pub(super) span: Range<usize>,
    pub(super) body: Option<usize>,
    pub(super) block: Option<Vec<Node<'a>>>,
    /// The pattern of a location, once somebody asked.
    pattern: OnceCell<Option<Regex>>,
    index: OnceCell<Index>,
}

/// A configuration as nodes, which borrow of its tree.
#[derive(Debug)]
pub(super) struct Blocks<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    index: OnceCell<Index>,
}

impl<'a> Node<'a> {
    pub(super) fn place(&self) -> Place {
        Place { path: self.file.path.clone(), line: self.line }
    }

    pub(super) fn word(&self, index: usize) -> &'a str {
        self.words.get(index).map_or("", String::as_str)
    }

    pub(super) fn children(&self) -> &[Node<'a>] {
        self.block.as_deref().unwrap_or_default()
    }

    pub(super) fn named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Node<'a>> {
        self.children().iter().filter(move |node| node.name == name)
    }

    /// Applies the pattern of a location; `None` where we cannot follow it.
    pub(super) fn matched(&self, text: &str) -> Option<Option<Captures>> {
        let Matcher::Regex { pattern, ignores_case } = Matcher::of(self) else { return Some(None) };
        let regex = self.pattern.get_or_init(|| compiled(pattern, ignores_case)).as_ref()?;
        Some(captured(regex, text))
    }

    /// Returns the line as it stands, of a directive without a block; else its head.
    pub(super) fn shown(&self) -> String {
        let end = self.body.unwrap_or(self.span.end);
        let text = self.file.text.get(self.span.start..end).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Builds the blocks of a tree; `None` where there are more than [`NODES_MAX`].
pub(super) fn blocks(tree: &Tree) -> Option<Blocks<'_>> {
    let main = tree.files.first()?;
    let mut budget = NODES_MAX;
    let nodes = block(tree, main, &main.directives, 0, &mut budget)?;
    Some(Blocks { nodes, index: OnceCell::new() })
}

fn block<'a>(
    tree: &'a Tree,
    file: &'a File,
    directives: &'a [Directive],
    depth: usize,
    budget: &mut usize,
) -> Option<Vec<Node<'a>>> {
    if depth > DEPTH_MAX {
        return None;
    }
    let mut out = Vec::new();
    for directive in directives {
        *budget = budget.checked_sub(1)?;
        let children = match &directive.block {
            Some(inner) => Some(block(tree, file, inner, depth + 1, budget)?),
            None => None,
        };
        out.push(Node {
            name: &directive.name,
            words: &directive.words,
            file,
            line: directive.line,
            span: directive.span.clone(),
            body: directive.body,
            block: children,
            pattern: OnceCell::new(),
            index: OnceCell::new(),
        });
        let brought = file.includes.iter().filter(|include| include.span == directive.span);
        for file in brought.flat_map(|include| &include.files).filter_map(|at| tree.files.get(*at))
        {
            out.extend(block(tree, file, &file.directives, depth + 1, budget)?);
        }
    }
    Some(out)
}

/// Says whether requests can be let through all of it in a time that nobody notices.
pub(super) fn is_judgeable(nodes: &[Node<'_>]) -> bool {
    let mut count = Count::default();
    count.add(nodes);
    count.patterns <= PATTERNS_MAX && count.proxied.saturating_mul(count.patterns) <= PAIRS_MAX
}

#[derive(Default)]
struct Count {
    patterns: usize,
    proxied: usize,
}

impl Count {
    fn add(&mut self, nodes: &[Node<'_>]) {
        for node in nodes {
            let is_location = node.name == "location";
            self.proxied += usize::from(node.name == "proxy_pass");
            let is_pattern = is_location && matches!(Matcher::of(node), Matcher::Regex { .. });
            self.patterns += usize::from(is_pattern || node.name.starts_with('~'));
            self.add(node.children());
        }
    }
}

/// A block on the way from `http` to a location.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level<'c> {
    /// The block itself; `None` for a file that stands for one (a site, a few locations).
    pub(super) head: Option<&'c Node<'c>>,
    /// What it holds.
    pub(super) nodes: &'c [Node<'c>],
    index: &'c OnceCell<Index>,
}

impl<'c> Level<'c> {
    pub(super) fn of(node: &'c Node<'c>) -> Self {
        Self { head: Some(node), nodes: node.children(), index: &node.index }
    }

    pub(super) fn index(self) -> &'c Index {
        self.index.get_or_init(|| Index::of(self.nodes))
    }

    /// Returns the node that an index names.
    pub(super) fn at(self, index: Option<usize>) -> Option<&'c Node<'c>> {
        index.and_then(|at| self.nodes.get(at))
    }

    pub(super) fn all(self, name: &str) -> impl DoubleEndedIterator<Item = &'c Node<'c>> + use<'c> {
        self.those(self.index().all(name))
    }

    /// Returns the nodes that an index lists.
    pub(super) fn those(
        self,
        positions: &'c [usize],
    ) -> impl DoubleEndedIterator<Item = &'c Node<'c>> + use<'c> {
        positions.iter().filter_map(move |at| self.nodes.get(*at))
    }
}

/// A configuration, whole or a part of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Config<'c> {
    pub(super) main: &'c [Node<'c>],
    /// What holds for all servers.
    pub(super) http: Level<'c>,
    /// Whether what stands above a server is in the text.
    pub(super) has_http: bool,
    /// Whether the text is a few locations, to be included in a server.
    pub(super) is_server_part: bool,
}

impl<'c> Config<'c> {
    pub(super) fn of(blocks: &'c Blocks<'c>) -> Self {
        let main = blocks.nodes.as_slice();
        let http = main.iter().find(|node| node.name == "http");
        let has = |name: &str| main.iter().any(|node| node.name == name);
        Self {
            main,
            http: http.map_or(Level { head: None, nodes: main, index: &blocks.index }, Level::of),
            has_http: http.is_some(),
            is_server_part: http.is_none() && !has("server") && has("location"),
        }
    }

    pub(super) fn servers(self) -> Vec<Server<'c>> {
        if self.is_server_part {
            return Vec::from([Server { config: self, level: self.http }]);
        }
        self.http
            .all("server")
            .map(|node| Server { config: self, level: Level::of(node) })
            .collect()
    }

    /// Finds the addresses of an upstream block.
    pub(super) fn upstream(self, name: &str) -> Option<&'c Node<'c>> {
        self.http.at(self.http.index().upstream(name))
    }

    /// Finds the map of a variable, named without its `$`.
    pub(super) fn map(self, variable: &str) -> Option<&'c Node<'c>> {
        self.http.at(self.http.index().map(variable))
    }
}

/// A server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server<'c> {
    pub(super) config: Config<'c>,
    pub(super) level: Level<'c>,
}

impl<'c> Server<'c> {
    pub(super) fn scope(self) -> Scope<'c> {
        let mut levels = Vec::new();
        if !self.config.is_server_part {
            levels.push(self.config.http);
        }
        levels.push(self.level);
        Scope { config: self.config, levels }
    }

    /// Returns every location, and every `if` in one, outermost first.
    pub(super) fn locations(self) -> Vec<Scope<'c>> {
        let mut out = Vec::new();
        below(&self.scope(), &mut out);
        out
    }
}

fn below<'c>(scope: &Scope<'c>, out: &mut Vec<Scope<'c>>) {
    let Some(level) = scope.levels.last() else { return };
    for node in level.nodes {
        let is_proxying_if = node.name == "if" && node.named("proxy_pass").next().is_some();
        if node.block.is_some() && (node.name == "location" || is_proxying_if) {
            let inner = scope.inner(node);
            out.push(inner.clone());
            below(&inner, out);
        }
    }
}

/// A block with all blocks around it.
#[derive(Debug, Clone)]
pub(super) struct Scope<'c> {
    pub(super) config: Config<'c>,
    /// Outermost first.
    pub(super) levels: Vec<Level<'c>>,
}

impl<'c> Scope<'c> {
    pub(super) fn inner(&self, node: &'c Node<'c>) -> Self {
        let mut levels = self.levels.clone();
        levels.push(Level::of(node));
        Self { config: self.config, levels }
    }

    /// The innermost block.
    pub(super) fn level(&self) -> Level<'c> {
        self.levels.last().copied().unwrap_or(self.config.http)
    }

    /// Returns where the block begins; the first line of the file for a part of a configuration.
    pub(super) fn head(&self) -> Option<&'c Node<'c>> {
        self.level().head
    }

    /// Returns the directive that counts here.
    pub(super) fn value(&self, name: &str) -> Option<&'c Node<'c>> {
        self.levels.iter().rev().find_map(|level| level.all(name).next_back())
    }

    /// Returns the level whose lines of a list count here.
    pub(super) fn list_level(&self, name: &str) -> Option<Level<'c>> {
        self.levels.iter().rev().find(|level| level.all(name).next().is_some()).copied()
    }

    /// Returns the lines of a list that count here.
    pub(super) fn list(&self, name: &str) -> Vec<&'c Node<'c>> {
        self.list_level(name).map(|level| level.all(name).collect()).unwrap_or_default()
    }

    /// Returns the lines of a list that stand above and do not count here.
    pub(super) fn lost(&self, name: &str) -> Vec<&'c Node<'c>> {
        let mut having = self.levels.iter().rev().filter(|l| l.all(name).next().is_some());
        having.next();
        having.next().map(|level| level.all(name).collect()).unwrap_or_default()
    }

    /// Returns the directive of the innermost block alone, as `proxy_pass` counts.
    pub(super) fn own(&self, name: &str) -> Option<&'c Node<'c>> {
        self.level().all(name).next_back()
    }

    /// Says whether a directive that is missing could stand in a text that we do not have.
    pub(super) const fn may_inherit(&self) -> bool {
        !self.config.has_http
    }

    /// Returns the name of a location: its modifier and its path.
    pub(super) fn location(&self) -> Option<Matcher<'c>> {
        let head =
            self.levels.iter().rev().find_map(|level| level.head.filter(|n| n.name == "location"));
        head.map(Matcher::of)
    }
}

/// How a location is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matcher<'c> {
    Exact(&'c str),
    Prefix { path: &'c str, is_final: bool },
    Regex { pattern: &'c str, ignores_case: bool },
    Named(&'c str),
}

impl<'c> Matcher<'c> {
    pub(super) fn of(location: &Node<'c>) -> Self {
        let (first, second) = (location.word(0), location.word(1));
        let glued = |mark: &str| first.strip_prefix(mark).filter(|rest| !rest.is_empty());
        match first {
            "=" => Self::Exact(second),
            "^~" => Self::Prefix { path: second, is_final: true },
            "~" => Self::Regex { pattern: second, ignores_case: false },
            "~*" => Self::Regex { pattern: second, ignores_case: true },
            _ => match (glued("="), glued("^~"), glued("~*"), glued("~"), first.starts_with('@')) {
                (Some(path), ..) => Self::Exact(path),
                (_, Some(path), ..) => Self::Prefix { path, is_final: true },
                (_, _, Some(pattern), ..) => Self::Regex { pattern, ignores_case: true },
                (_, _, _, Some(pattern), _) => Self::Regex { pattern, ignores_case: false },
                (.., true) => Self::Named(first),
                _ => Self::Prefix { path: first, is_final: false },
            },
        }
    }

    /// The path of a location that is no pattern.
    pub(super) const fn path(self) -> Option<&'c str> {
        match self {
            Self::Exact(path) | Self::Prefix { path, .. } => Some(path),
            Self::Regex { .. } | Self::Named(_) => None,
        }
    }
}
