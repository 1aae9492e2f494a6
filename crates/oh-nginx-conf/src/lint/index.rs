//! What stands in a block, by name: with thousands of locations, no request looks at all of them.

use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::model::{Matcher, Node};

/// The positions of a block's nodes by what requests ask for. Where a name stands twice, the first
/// location counts and the last map, as in nginx.
#[derive(Debug, Default)]
pub(super) struct Index {
    exact: BTreeMap<String, usize>,
    prefixes: BTreeMap<String, usize>,
    patterns: Vec<usize>,
    named: BTreeMap<String, usize>,
    maps: BTreeMap<String, usize>,
    upstreams: BTreeMap<String, usize>,
    by_name: BTreeMap<String, Vec<usize>>,
    script: Vec<usize>,
    access: Vec<usize>,
}

impl Index {
    pub(super) fn of(nodes: &[Node<'_>]) -> Self {
        let mut out = Self::default();
        for (at, node) in nodes.iter().enumerate() {
            match out.by_name.get_mut(node.name) {
                Some(positions) => positions.push(at),
                None => drop(out.by_name.insert(node.name.to_owned(), Vec::from([at]))),
            }
            match node.name {
                "set" | "break" | "return" | "rewrite" | "if" => out.script.push(at),
                "allow" | "deny" => out.access.push(at),
                "location" if node.block.is_some() => out.location(node, at),
                "map" => {
                    let name = node.word(1).strip_prefix('$').unwrap_or_default();
                    out.maps.insert(name.to_owned(), at);
                }
                "upstream" => {
                    out.upstreams.entry(node.word(0).to_owned()).or_insert(at);
                }
                _ => {}
            }
        }
        out
    }

    fn location(&mut self, node: &Node<'_>, at: usize) {
        let (into, key) = match Matcher::of(node) {
            Matcher::Exact(path) => (&mut self.exact, path),
            Matcher::Prefix { path, .. } => (&mut self.prefixes, path),
            Matcher::Named(name) => (&mut self.named, name),
            Matcher::Regex { .. } => return self.patterns.push(at),
        };
        into.entry(key.to_owned()).or_insert(at);
    }

    /// Returns the directives of a name, in their order.
    pub(super) fn all(&self, name: &str) -> &[usize] {
        self.by_name.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the directives of the rewrite module, in their order.
    pub(super) fn script(&self) -> &[usize] {
        &self.script
    }

    /// Returns who is allowed and denied, in their order.
    pub(super) fn access(&self) -> &[usize] {
        &self.access
    }

    /// Finds the location of exactly this path.
    pub(super) fn exact(&self, path: &str) -> Option<usize> {
        self.exact.get(path).copied()
    }

    /// Finds the location of this very prefix.
    pub(super) fn prefix(&self, path: &str) -> Option<usize> {
        self.prefixes.get(path).copied()
    }

    /// Finds the longest prefix of a path.
    pub(super) fn longest(&self, path: &str) -> Option<usize> {
        let ends = (0..=path.len()).rev();
        ends.filter_map(|end| path.get(..end)).find_map(|start| self.prefix(start))
    }

    /// Returns the locations that are patterns, in their order.
    pub(super) fn patterns(&self) -> &[usize] {
        &self.patterns
    }

    /// Finds a location by its name, with the `@`.
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.named.get(name).copied()
    }

    /// Finds the map of a variable, without the `$`.
    pub(super) fn map(&self, variable: &str) -> Option<usize> {
        self.maps.get(variable).copied()
    }

    /// Finds an upstream block.
    pub(super) fn upstream(&self, name: &str) -> Option<usize> {
        self.upstreams.get(name).copied()
    }
}
