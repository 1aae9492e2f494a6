//! What the real OpenHands 0.62 and the stand-in are both asked, and where they may differ.

use oh_testsuite::transcript::facts::{Body, Exception, Http, Probe};

/// What the front end, checkers and people ask for; nothing of it starts an agent.
pub(crate) const PROBES: &[Probe] = &[
    get("/"),
    get("/index.html"),
    get("/alive"),
    get("/health"),
    get("/ready"),
    with_answer(get("/server_info"), Body::Types),
    get("/api/health"),
    get("/api/options/config"),
    get("/api/conversations"),
    get("/api/settings"),
    with_answer(get("/openapi.json"), Body::Leaves(&["body.info.title", "body.info.version"])),
    get("/nope"),
    get("/api/nope"),
    get("/vscode/abc/"),
    get("/ws"),
    get("/sockets/events/x"),
    get("/assets/nope.js"),
    // Other methods than GET.
    request("HEAD", "/alive", &[]),
    request("HEAD", "/nope", &[]),
    request("POST", "/alive", &[]),
    request("POST", "/nope", &[]),
    request("PUT", "/api/settings", &[]),
    request("DELETE", "/assets/nope.js", &[]),
    request("OPTIONS", "/alive", &[]),
    request("OPTIONS", "/nope", &[]),
    // What a browser asks from another origin.
    request("GET", "/alive", FOREIGN),
    request("GET", "/nope", FOREIGN),
    request("GET", "/alive", LOCAL),
    request("GET", "/alive", &[("Origin", "https://127.0.0.1:8443")]),
    request("GET", "/alive", &[("Origin", "null")]),
    request("OPTIONS", "/api/settings", PREFLIGHT_FOREIGN),
    request("OPTIONS", "/api/settings", PREFLIGHT_LOCAL),
    request("OPTIONS", "/nope", PREFLIGHT_LOCAL),
    // Engine.IO over HTTP.
    get("/socket.io/?EIO=4&transport=polling"),
    get("/socket.io?EIO=4&transport=polling"),
    get("/socket.io/below?EIO=4&transport=polling"),
    get("/socket.io/?EIO=4"),
    get("/socket.io/?EIO=3&transport=polling"),
    get("/socket.io/"),
    get("/socket.io"),
    get("/socket.io/?EIO=4&transport=websocket"),
    get("/socket.io/?EIO=4&transport=carrier-pigeon"),
    get("/socket.io/?EIO=4&transport=polling&sid=nobody"),
    get("/socket.iox/?EIO=4&transport=polling"),
    request("GET", "/socket.io/?EIO=4&transport=polling", FOREIGN),
    request("GET", "/socket.io/?EIO=3&transport=polling", FOREIGN),
    request("POST", "/socket.io/?EIO=4&transport=polling", &[]),
    request("PUT", "/socket.io/?EIO=4&transport=polling", &[]),
    request("HEAD", "/socket.io/?EIO=4&transport=polling", &[]),
    request("OPTIONS", "/socket.io/?EIO=4&transport=polling", FOREIGN),
    // One byte more is not asked: the real server then answers only when somebody polls.
    Probe::Polling { messages: &[64, PAYLOAD_MAX] },
    // WebSockets.
    Probe::Socket { path: "/socket.io/?EIO=4&transport=websocket", sends: &["40", "40/vscode,"] },
    Probe::Socket { path: "/socket.io?EIO=4&transport=websocket", sends: &["40"] },
    Probe::Socket { path: "/socket.io/?EIO=3&transport=websocket", sends: &[] },
    Probe::Socket { path: "/socket.io/?transport=websocket", sends: &[] },
    Probe::Socket { path: "/ws", sends: &[] },
    Probe::Socket { path: "/alive", sends: &[] },
    Probe::Socket { path: "/vscode/abc/", sends: &[] },
];

/// What comes last, because of what it leaves behind in the real server: a conversation (without
/// settings no agent), and a client that has to wait.
pub(crate) const LAST_PROBES: &[Probe] = &[
    Probe::Socket {
        path: "/socket.io/?EIO=4&transport=websocket&conversation_id=unknown",
        sends: &["40"],
    },
    Probe::Burst { path: "/alive" },
];

/// Where the stand-in answers in another way, and why it does.
pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception {
        subject: "GET /api/options/config",
        aspect: "body.POSTHOG_CLIENT_KEY",
        reason: "the account that OpenHands' makers count their users with; a stand-in is no user",
    },
    Exception {
        subject: "a burst of GET /alive",
        aspect: "some are refused with 429",
        reason: "tests ask the stand-in as fast as they can",
    },
];

/// Where our nginx answers instead of the real server behind it.
pub(crate) const WHAT_NGINX_DECIDES: &[Exception] = &[
    Exception { subject: "GET /vscode/abc/", aspect: "*", reason: NO_SESSION },
    Exception { subject: "WebSocket /vscode/abc/", aspect: "*", reason: NO_SESSION },
    Exception {
        subject: "GET /socket.io/?EIO=4&transport=polling Origin: https://elsewhere.example",
        aspect: "*",
        reason: FOREIGN_ORIGIN,
    },
    Exception {
        subject: "GET /socket.io/?EIO=3&transport=polling Origin: https://elsewhere.example",
        aspect: "*",
        reason: FOREIGN_ORIGIN,
    },
    Exception {
        subject: "OPTIONS /socket.io/?EIO=4&transport=polling Origin: https://elsewhere.example",
        aspect: "*",
        reason: FOREIGN_ORIGIN,
    },
];

const NO_SESSION: &str = "below /vscode/ are sessions, and there is none of this id";
const FOREIGN_ORIGIN: &str =
    "OpenHands lets every origin in with credentials, nginx none but its own";

/// `max_http_buffer_size` of the real server.
pub(crate) const PAYLOAD_MAX: usize = 4 * 1024 * 1024;

type Headers = &'static [(&'static str, &'static str)];

const FOREIGN: Headers = &[("Origin", "https://elsewhere.example")];
const LOCAL: Headers = &[("Origin", "http://localhost:3001")];
const PREFLIGHT_FOREIGN: Headers =
    &[("Origin", "https://elsewhere.example"), ("Access-Control-Request-Method", "POST")];
const PREFLIGHT_LOCAL: Headers = &[
    ("Origin", "http://localhost:3001"),
    ("Access-Control-Request-Method", "POST"),
    ("Access-Control-Request-Headers", "content-type"),
];

const fn get(path: &'static str) -> Probe {
    request("GET", path, &[])
}

const fn request(method: &'static str, path: &'static str, headers: Headers) -> Probe {
    Probe::Http(Http { method, path, headers, body: "", answer: Body::Whole })
}

const fn with_answer(probe: Probe, answer: Body) -> Probe {
    match probe {
        Probe::Http(http) => Probe::Http(Http { answer, ..http }),
        other => other,
    }
}
