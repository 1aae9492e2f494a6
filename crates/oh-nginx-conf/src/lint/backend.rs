//! Where a `proxy_pass` leads.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::model::{Config, Node};
use super::request::{Variables, variables_in};

/// A `proxy_pass`, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backend<'c> {
    pub(super) node: &'c Node<'c>,
    pub(super) scheme: &'c str,
    /// Name or address with its port, as it stands; with variables where there are some.
    pub(super) authority: &'c str,
    /// The path that takes the place of what the location matched; `None` where there is none.
    pub(super) uri: Option<&'c str>,
}

impl<'c> Backend<'c> {
    pub(super) fn of(node: &'c Node<'c>) -> Option<Self> {
        let (scheme, rest) = node.word(0).split_once("://")?;
        // A socket's path ends at a colon.
        let start = if rest.starts_with("unix:") {
            rest.match_indices(':').nth(1).map(|(at, _)| at + 1)
        } else {
            rest.find(['/', '?'])
        };
        let split = start.and_then(|at| rest.split_at_checked(at));
        let (authority, uri) = split.map_or((rest, None), |(a, u)| (a, Some(u)));
        Some(Self { node, scheme, authority, uri: uri.filter(|uri| !uri.is_empty()) })
    }

    pub(super) fn has_variables(self) -> bool {
        !variables_in(self.node.word(0)).is_empty()
    }

    /// Returns what follows the scheme, with its variables worked out.
    fn worked_out(self, variables: &Variables<'_>) -> Option<String> {
        let whole = variables.value(self.node.word(0))?;
        whole.split_once("://").map(|(_, rest)| rest.to_owned())
    }

    /// Returns address and port, with its variables worked out.
    pub(super) fn address(self, variables: &Variables<'_>) -> Option<String> {
        let rest = self.worked_out(variables)?;
        Some(rest.split(['/', '?']).next().unwrap_or_default().to_owned())
    }

    /// Returns the path that variables give, where the whole URI is made of them.
    pub(super) fn variable_uri(self, variables: &Variables<'_>) -> Option<String> {
        let rest = self.worked_out(variables)?;
        rest.find('/').and_then(|at| rest.get(at..)).map(ToOwned::to_owned)
    }

    /// Returns all addresses behind it: those of its upstream block, or its own.
    pub(super) fn addresses(self, config: Config<'_>) -> Vec<String> {
        match config.upstream(self.authority) {
            Some(upstream) => {
                upstream.named("server").map(|node| node.word(0).to_owned()).collect()
            }
            None if self.authority.contains('$') => Vec::new(),
            None => Vec::from([self.authority.to_owned()]),
        }
    }

    /// Returns the port of an address; that of the scheme where it names none.
    pub(super) fn port(self, address: &str) -> Option<u16> {
        if address.starts_with("unix:") || address.contains('$') {
            return None;
        }
        match address.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => port.parse().ok(),
            _ if self.scheme == "https" => Some(443),
            _ => Some(80),
        }
    }
}

/// Writes an address in one way, so that two of them can be compared.
pub(super) fn plain(address: &str) -> String {
    match address.rsplit_once(':') {
        Some(("localhost" | "[::1]", port)) => format!("127.0.0.1:{port}"),
        _ => address.to_owned(),
    }
}
