//! What can be found of a development set-up, each with its name for ever. Pure.

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// It does not work because of it.
    Error,
    /// It works, and otherwise than was meant.
    Warning,
    /// It is worth knowing.
    Note,
}

impl Severity {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// What happens because of it, and why.
    pub(crate) why: &'static str,
}

macro_rules! rules {
    ($($name:ident($id:literal, $title:literal, $why:literal);)+) => {
        $(pub(crate) static $name: Rule = Rule { id: $id, title: $title, why: $why };)+

        /// All of them.
        pub(crate) static ALL: &[&Rule] = &[$(&$name),+];
    };
}

rules! {
    NO_ENTRY("DEV-1", "Vite's proxy has no entry for /socket.io",
        "Vite keeps what no entry has for itself: a poll gets the page, and an upgrade gets no answer at all, so the \
         browser waits.");
    NO_WEBSOCKETS("DEV-2", "Vite's proxy passes no WebSocket on",
        "An entry passes upgrades on where it says ws: true, or its target is ws:// or wss://. Without that polls are \
         answered and an upgrade gets no answer at all; the page of OpenHands connects by a WebSocket alone.");
    ELSEWHERE("DEV-3", "Vite's proxy leads elsewhere than to the server",
        "The proxy connects to where its target says, whatever port the server was started with.");
    TLS_TO_PLAIN("DEV-4", "Vite speaks TLS to a server without it",
        "VITE_USE_TLS says how Vite speaks to the server, not how browsers speak to Vite. A server that uvicorn \
         starts has TLS only with --ssl-keyfile.");
    PLAIN_TO_TLS("DEV-5", "Vite speaks plain HTTP to a server of TLS",
        "The server closes what is no handshake.");
    NO_HOST_AND_PORT("DEV-6", "the value is no host and port",
        "It is put behind http:// or ws:// as it is: a scheme in it makes an address that nobody has, and without a \
         port 80 is asked.");
    LISTEN_ADDRESS("DEV-7", "0.0.0.0 is an address to listen on",
        "It stands for all addresses of a machine that listens. Linux takes it for the machine itself where it is \
         connected to; other systems, and browsers, do not.");
    PAST_VITE("DEV-8", "pages go past Vite's proxy",
        "The page takes VITE_BACKEND_BASE_URL for its requests and its WebSocket, with its own scheme. The proxy has \
         no part in it then, and the browser itself has to reach the server, which answers foreign origins only as \
         far as PERMITTED_CORS_ORIGINS lets it.");
    MIXED("DEV-9", "a page of https asks a server without TLS",
        "A page that came by https connects by wss and by nothing else; a server that speaks plain HTTP takes no \
         handshake.");
    CORS_UNREAD("DEV-10", "nobody reads CORS_ALLOWED_ORIGINS",
        "OpenHands takes every origin for Socket.IO, without being asked. For its other paths it reads \
         PERMITTED_CORS_ORIGINS.");
    PORT_UNREAD("DEV-11", "nobody reads PORT",
        "python -m openhands.server reads port, in lower case; uvicorn and Vite take --port.");
    MAKE_ALONE("DEV-12", "make alone reads the variable",
        "BACKEND_HOST, BACKEND_PORT, FRONTEND_HOST and FRONTEND_PORT are variables of OpenHands' Makefile; neither \
         the server nor Vite knows them.");
    WRONG_FILE("DEV-13", "Vite does not read the file",
        "It reads .env, .env.local, .env.MODE and .env.MODE.local of its own folder; the mode of a development \
         server is development.");
    NOT_TRUE("DEV-14", "the value is taken for false",
        "Only the text true counts, in lower case.");
    WITHOUT_EFFECT("DEV-15", "the variable has no effect",
        "There is no certificate to look at where Vite speaks plain HTTP to the server.");
    OTHER_PORT("DEV-16", "Vite listens on another port",
        "A page is looked for where Vite was meant to be.");
    TWO_PAGES("DEV-17", "the server gives a page too",
        "With SERVE_FRONTEND, which is true without being set, the server gives the page that was built last on its \
         own port. What Vite shows is another one.");
    NO_BUILD("DEV-18", "the server does not start without a built page",
        "With SERVE_FRONTEND, which is true without being set, it ends at once where frontend/build is missing.");
    DEBUG_HALF("DEV-19", "DEBUG is taken for true by one half, and for false by the other",
        "OpenHands' own log takes true, 1 and yes for true. The web server of python -m openhands.server takes any \
         text, false too.");
    MALFORMED("DEV-20", "config.toml cannot be read, so nothing of it counts",
        "OpenHands writes one warning and goes on with its defaults: the runtime is docker then.");
    FATAL_KEY("DEV-21", "the server does not start with this key",
        "OpenHands takes no key in [sandbox] and [security] that it does not know.");
    UNKNOWN_KEY("DEV-22", "OpenHands does not know it",
        "It writes a warning and passes it over.");
    OTHER_SURROUNDINGS("DEV-23", "what runs was started with something else",
        "A variable or a file that is changed later counts from the next start on.");
    OPEN_TO_ALL("DEV-24", "whoever reaches the port can use the agent",
        "It listens on every address, and asks for no key. An agent runs commands on this machine.");
    ANY_CERTIFICATE("DEV-25", "nobody looks at the server's certificate",
        "With VITE_INSECURE_SKIP_VERIFY=true Vite takes any.");
    REWRITTEN("DEV-26", "the path of Socket.IO is changed on the way",
        "The server has Socket.IO at /socket.io/ and nowhere else.");
    UNREAD("DEV-27", "a part of the set-up could not be looked at",
        "What it says is not known, so nothing is told of it.");
    NOT_FOLLOWED("DEV-28", "Vite's configuration would have to be run",
        "It is read here and not run, so where it leads is only seen by asking.");
    NOT_THROUGH("DEV-29", "the WebSocket does not come through Vite",
        "The server takes it directly.");
    NO_SOCKET_IO("DEV-30", "this OpenHands has no Socket.IO",
        "Since 1.7 pages connect to the agent servers of their conversations, and config.toml is read by nobody.");
}

/// Returns the rule of that name, in whatever case.
pub(crate) fn find(id: &str) -> Option<&'static Rule> {
    ALL.iter().copied().find(|rule| rule.id.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_rule_has_its_name_and_says_everything() {
        let ids: BTreeSet<_> = ALL.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for (index, rule) in ALL.iter().enumerate() {
            assert_eq!(rule.id, format!("DEV-{}", index + 1));
            for text in [rule.title, rule.why] {
                assert!(!text.is_empty() && !text.contains("  "), "{}: {text}", rule.id);
            }
            assert_eq!(find(&rule.id.to_lowercase()), Some(*rule));
        }
        assert!(oh_probe::cause::ALL.iter().all(|cause| !ids.contains(cause.id)));
    }
}
