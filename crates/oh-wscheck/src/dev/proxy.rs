//! What Vite's configuration says of the way to the server. Pure.
//!
//! As in Vite 5 to 7: the first entry whose key the path begins with has the request, a key with `^` is a pattern,
//! and an entry passes WebSockets on where it says `ws: true` or its target is `ws:` or `wss:`.

use super::script::{Entry, Object, Scope, Token, Value, Word, is_name, is_sign, tokens};

/// The path of Socket.IO.
pub(crate) const SOCKET_IO: &str = "/socket.io/";

/// What of a configuration counts here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ViteConfig {
    /// Where Vite listens by itself, where it says so.
    pub(crate) port: Option<u16>,
    /// Whether Vite gives its page over TLS.
    pub(crate) is_tls: bool,
    pub(crate) leads: Leads,
}

/// Where the path of Socket.IO leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leads {
    /// No entry has it; the line of what has the entries.
    Nowhere(Option<usize>),
    Through(Passage),
    /// It would have to be run.
    Unknown {
        line: Option<usize>,
        why: &'static str,
    },
}

/// The entry that has the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Passage {
    pub(crate) key: String,
    pub(crate) line: usize,
    /// Nothing where it would have to be run.
    pub(crate) target: Option<Target>,
    /// The line of the target.
    pub(crate) target_line: usize,
    /// The variable that the target is made of, where it is.
    pub(crate) is_of_variables: bool,
    /// Whether a WebSocket is passed on; nothing where that would have to be run.
    pub(crate) passes_websockets: Option<bool>,
    /// The line that changes the path.
    pub(crate) rewrites: Option<usize>,
}

/// Where an entry leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) text: String,
    pub(crate) is_tls: bool,
    pub(crate) host: String,
    /// Nothing where it is no number.
    pub(crate) port: Option<u16>,
}

impl Target {
    /// Takes a URL apart; `None` where it is none.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_tls = match scheme {
            "https" | "wss" => true,
            "http" | "ws" => false,
            _ => return None,
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = divided(authority);
        let port = port.map_or(Some(if is_tls { 443 } else { 80 }), |port| port.parse().ok());
        Some(Self { text: text.to_owned(), is_tls, host: host.to_owned(), port })
    }

    fn is_websocket(&self) -> bool {
        self.text.starts_with("ws:") || self.text.starts_with("wss:")
    }
}

/// Divides `host:port`; an address of IPv6 stands in brackets, which are left out.
pub(crate) fn divided(authority: &str) -> (&str, Option<&str>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

/// Reads a configuration; `environment` are the variables that Vite has.
pub(crate) fn read(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> ViteConfig {
    let words = tokens(text);
    let scope = Scope::of(&words, environment);
    let Some(server) = object_of(&words, "server") else {
        let names_a_proxy = words.iter().any(|word| is_name(word, "proxy"));
        let leads = if names_a_proxy {
            Leads::Unknown { line: None, why: "its server is put together by code" }
        } else {
            Leads::Nowhere(None)
        };
        return ViteConfig { port: None, is_tls: false, leads };
    };
    let port = server.get("port").and_then(|entry| match scope.value(entry.value) {
        Value::Number(number) => number.parse().ok(),
        _ => None,
    });
    // An object with a certificate, or a plain `true` (with a plugin that makes one).
    let is_tls = server.get("https").is_some_and(|entry| {
        entry.value.first().is_some_and(|first| is_sign(first, "{"))
            || scope.value(entry.value).truth() == Some(true)
    });
    ViteConfig { port, is_tls, leads: leads(&server, &words, &scope) }
}

fn leads(server: &Object<'_>, words: &[Token], scope: &Scope<'_>) -> Leads {
    let Some(proxy) = server.get("proxy") else {
        if server.has_more {
            return Leads::Unknown { line: None, why: "its server is put together by code" };
        }
        return Leads::Nowhere(None);
    };
    let line = Some(proxy.line);
    let entries = match proxy.value.first().map(|first| &first.word) {
        Some(Word::Name(name)) => constant(words, name),
        None => constant(words, "proxy"),
        Some(_) => Object::read(proxy.value),
    };
    let Some(entries) = entries else {
        return Leads::Unknown { line, why: "its proxy is put together by code" };
    };
    for entry in &entries.entries {
        if let Some(pattern) = entry.key.strip_prefix('^') {
            // A pattern is not followed, unless it begins with letters that are not the path's.
            let plain: String = pattern
                .chars()
                .take_while(|one| one.is_ascii_alphanumeric() || "/-_".contains(*one))
                .collect();
            if SOCKET_IO.starts_with(&plain) {
                return Leads::Unknown {
                    line: Some(entry.line),
                    why: "a pattern may have the path",
                };
            }
        } else if SOCKET_IO.starts_with(entry.key) {
            return Leads::Through(passage(entry, scope));
        }
    }
    if entries.has_more {
        return Leads::Unknown { line, why: "its proxy is put together by code" };
    }
    Leads::Nowhere(line)
}

fn passage(entry: &Entry<'_>, scope: &Scope<'_>) -> Passage {
    let options = Object::read(entry.value);
    let target = options.as_ref().map_or(Some(*entry), |options| options.get("target"));
    let target_line = target.map_or(entry.line, |target| target.line);
    let words = target.map_or(&[][..], |target| target.value);
    let is_of_variables = !matches!(words.first().map(|first| &first.word), Some(Word::Text(_)));
    let target = match scope.value(words) {
        Value::Text(text) => Target::read(&text),
        _ => None,
    };
    let said = options.as_ref().map(|options| match options.get("ws") {
        Some(ws) => scope.value(ws.value).truth(),
        None if options.has_more => None,
        None => Some(false),
    });
    let said = said.unwrap_or(Some(false));
    let is_websocket = target.as_ref().map(Target::is_websocket);
    let passes_websockets = match (said, is_websocket) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    };
    let rewrites =
        options.as_ref().and_then(|options| options.get("rewrite")).map(|entry| entry.line);
    Passage {
        key: entry.key.to_owned(),
        line: entry.line,
        target,
        target_line,
        is_of_variables,
        passes_websockets,
        rewrites,
    }
}

/// How many places of one name are looked at: each may be looked through to the end of the script.
const PLACES_MAX: usize = 16;

/// Returns the object that stands behind `name:`.
fn object_of<'t>(words: &'t [Token], name: &str) -> Option<Object<'t>> {
    let behind = (0..words.len()).filter_map(|at| match words.get(at..)? {
        [key, colon, rest @ ..] => {
            let is_key =
                is_name(key, name) || matches!(&key.word, Word::Text(text) if text == name);
            (is_key && is_sign(colon, ":")).then_some(rest)
        }
        _ => None,
    });
    behind.take(PLACES_MAX).find_map(Object::read)
}

/// Returns the object that a constant is.
fn constant<'t>(words: &'t [Token], name: &str) -> Option<Object<'t>> {
    let behind = (0..words.len()).filter_map(|at| match words.get(at..)? {
        [word, key, rest @ ..] if is_name(word, "const") && is_name(key, name) => {
            let equals = rest.iter().take(8).position(|word| is_sign(word, "="))?;
            rest.get(equals + 1..)
        }
        _ => None,
    });
    behind.take(PLACES_MAX).find_map(Object::read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let environment = |name: &str| match name {
            "VITE_BACKEND_HOST" => Some("127.0.0.1:12000".to_owned()),
            _ => None,
        };
        match read(text, &environment).leads {
            Leads::Nowhere(line) => format!("nowhere, {line:?}"),
            Leads::Unknown { line, why } => format!("unknown, {line:?}: {why}"),
            Leads::Through(passage) => {
                let target = passage.target.map(|target| target.text);
                let target = target.unwrap_or_else(|| "?".to_owned());
                format!(
                    "{}: {target}, {:?}, {:?}",
                    passage.line, passage.passes_websockets, passage.rewrites
                )
            }
        }
    }

    #[test]
    fn the_entry_that_has_the_path_is_found() {
        for (proxy, expected) in [
            ("", "nowhere, Some(1)"),
            ("'/api': 'http://a:1'", "nowhere, Some(1)"),
            ("'/socket.io': 'http://a:1'", "1: http://a:1, Some(false), None"),
            ("'/socket.io': 'ws://a:1'", "1: ws://a:1, Some(true), None"),
            ("'/socket.io': { target: 'http://a:1' }", "1: http://a:1, Some(false), None"),
            ("'/socket.io': { target: 'http://a:1', ws: true }", "1: http://a:1, Some(true), None"),
            ("'/socket.io': { target: 'ws://a:1', ws: false }", "1: ws://a:1, Some(true), None"),
            ("'/socket.io': { target: where(), ws: on }", "1: ?, None, None"),
            ("'/socket.io': { target: where(), ws: true }", "1: ?, Some(true), None"),
            ("'/socket.io': { target: 'http://a:1', ...o }", "1: http://a:1, None, None"),
            ("'/': 'ws://a:1', '/socket.io': 'ws://b:2'", "1: ws://a:1, Some(true), None"),
            (
                "'/socket.io': {\n target: 'ws://a:1',\n rewrite: (p) => p }",
                "1: ws://a:1, Some(true), Some(3)",
            ),
            ("'^/socket': 'ws://a:1'", "unknown, Some(1): a pattern may have the path"),
            ("'^/api/.*': 'http://a:1'", "nowhere, Some(1)"),
            ("...others", "unknown, Some(1): its proxy is put together by code"),
        ] {
            let text = format!("export default {{ server: {{ proxy: {{ {proxy} }} }} }}");
            assert_eq!(shown(&text), expected, "{proxy}");
        }
        for (text, expected) in [
            ("export default {}", "nowhere, None"),
            ("export default { server: { port: 1 } }", "nowhere, None"),
            (
                "export default { server: make(proxy) }",
                "unknown, None: its server is put together by code",
            ),
            (
                "const proxy: P = { '/socket.io': 'ws://a:1' };\nexport default { server: { proxy } }",
                "1: ws://a:1, Some(true), None",
            ),
            (
                "// server: { proxy: { '/socket.io': 'ws://no' } }\nexport default { 'server': { proxy: all() } }",
                "unknown, Some(2): its proxy is put together by code",
            ),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn the_configuration_of_openhands_is_followed_to_the_server() {
        let text = "
export default defineConfig(({ mode }) => {
  const { VITE_BACKEND_HOST = '127.0.0.1:3000', VITE_USE_TLS = 'false', VITE_FRONTEND_PORT = '3001' } =
    loadEnv(mode, process.cwd());
  const PROTOCOL = VITE_USE_TLS === 'true' ? 'wss' : 'ws';
  const WS_URL = `${PROTOCOL}://${VITE_BACKEND_HOST}/`;
  const FE_PORT = Number.parseInt(VITE_FRONTEND_PORT, 10);
  return {
    server: {
      port: FE_PORT,
      host: true,
      proxy: {
        '/api': { target: `http://${VITE_BACKEND_HOST}/`, changeOrigin: true },
        '/socket.io': { target: WS_URL, ws: true, changeOrigin: true },
      },
    },
  };
});";
        assert_eq!(shown(text), "14: ws://127.0.0.1:12000/, Some(true), None");
        assert_eq!(read(text, &|_| None).port, Some(3001));
        let Leads::Through(passage) = read(text, &|_| None).leads else { panic!() };
        assert_eq!(passage.target.unwrap().port, Some(3000));
        assert!(passage.is_of_variables);
    }

    #[test]
    fn targets_are_taken_apart() {
        for (text, expected) in [
            ("http://a:1/b", Some((false, "a", Some(1)))),
            ("wss://[::1]:2/", Some((true, "::1", Some(2)))),
            ("https://a", Some((true, "a", Some(443)))),
            ("ws://a", Some((false, "a", Some(80)))),
            ("http://http://a:1/", Some((false, "http", None))),
            ("a:1", None),
            ("unix:/a", None),
        ] {
            let target = Target::read(text);
            let seen = target.as_ref().map(|one| (one.is_tls, one.host.as_str(), one.port));
            assert_eq!(seen, expected, "{text}");
        }
    }
}
