//! Why a WebSocket does not connect: every cause that can be told, with what shows it and what mends it.
//!
//! The causes were planted one by one in front of real servers, and what was seen then is what is looked for. A
//! cause has its name for ever. Which line of a configuration has it is told by the rules of `oh-nginx lint` that
//! it names.

/// A cause.
#[derive(Debug, PartialEq, Eq)]
pub struct Cause {
    /// Its name for ever.
    pub id: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What happens because of it, and why.
    pub why: &'static str,
    /// By what it is told from the others.
    pub seen: &'static str,
    /// The rules of `oh-nginx lint` that find the line.
    pub rules: &'static [&'static str],
    /// What mends it, line by line: of a configuration of nginx, where there are rules.
    pub mend: &'static [&'static str],
}

/// Returns the cause of that name, in whatever case.
pub fn find(id: &str) -> Option<&'static Cause> {
    ALL.iter().copied().find(|cause| cause.id.eq_ignore_ascii_case(id))
}

macro_rules! causes {
    ($($name:ident { $($field:ident: $value:expr),+ $(,)? })+) => {
        $(
            #[expect(missing_docs, reason = "its title says it, and docs are generated of that")]
            pub static $name: Cause = Cause { $($field: $value),+ };
        )+

        /// All of them, from the bottom of the ladder to its top.
        pub static ALL: &[&Cause] = &[$(&$name),+];
    };
}

/// What `$connection_upgrade` needs, once for all servers.
const MAP_LINE: &str =
    "map $http_upgrade $connection_upgrade { default upgrade; '' close; }    # in http { }";

/// What an upgrade needs of nginx, complete with the map, which stands in `http`.
const UPGRADE_LINES: &[&str] = &[
    MAP_LINE,
    "proxy_http_version 1.1;",
    "proxy_set_header Upgrade $http_upgrade;",
    "proxy_set_header Connection $connection_upgrade;",
];

causes! {
    NAME {
        id: "NET-1",
        title: "the name has no address",
        why: "Nobody can look the name up: it is misspelt, not in DNS yet, or only known inside a network.",
        seen: "the lookup fails",
        rules: &[],
        mend: &["add the name to DNS, or for a try: --resolve NAME:PORT:ADDRESS"],
    }
    REFUSED {
        id: "NET-2",
        title: "nobody listens there",
        why: "The machine answers, and no program has the port.",
        seen: "the connection is refused at once",
        rules: &[],
        mend: &["start what should listen, or name its port; on that machine: ss --listening --tcp --numeric"],
    }
    FIREWALL {
        id: "NET-3",
        title: "the port is not reachable from here",
        why: "Packets to the port vanish. That is what a firewall or a security group does; a port that nobody \
              has is refused at once.",
        seen: "no answer to the connection, and where another hop was asked, that one listens",
        rules: &[],
        mend: &["let the port in: in the security group of the provider, and in the machine's own firewall"],
    }
    UNREACHABLE {
        id: "NET-4",
        title: "there is no way to the address",
        why: "A router, or this machine, says that it knows no way to it, or a firewall says no aloud.",
        seen: "the network says that it cannot be reached",
        rules: &[],
        mend: &["look whether the address is the right one, and of a network that this machine is in (IPv6?)"],
    }
    PROXY {
        id: "NET-5",
        title: "the proxy does not connect",
        why: "The proxy that was to be used refuses the address, or wants a login.",
        seen: "its answer to CONNECT",
        rules: &[],
        mend: &["let the proxy pass CONNECT to that port, or go without it"],
    }
    EXPIRED {
        id: "TLS-1",
        title: "the certificate has expired",
        why: "Browsers refuse it, and say of a WebSocket nothing but that it failed.",
        seen: "its dates",
        rules: &[],
        mend: &["renew it, then let nginx read it: nginx -s reload"],
    }
    NOT_YET {
        id: "TLS-2",
        title: "the certificate is not valid yet",
        why: "It begins later, or a clock is wrong.",
        seen: "its dates, against the clock of this machine",
        rules: &[],
        mend: &["set the clock of both machines (timedatectl), or wait"],
    }
    WRONG_NAME {
        id: "TLS-3",
        title: "the certificate is for other names",
        why: "The server has no certificate for the name that was asked for, or shows that of another site.",
        seen: "its names",
        rules: &[],
        mend: &["name the site in server_name of its server, with a certificate that has the name"],
    }
    SELF_SIGNED {
        id: "TLS-4",
        title: "the certificate is signed by itself",
        why: "Nobody vouches for it. A page can be opened all the same after a warning; its WebSockets cannot.",
        seen: "its issuer is itself",
        rules: &[],
        mend: &["get one that browsers trust; to check with this one: --cacert FILE"],
    }
    INTERMEDIATE {
        id: "TLS-5",
        title: "the server does not send who signed its certificate",
        why: "Some browsers have the certificate between from another site, and others fail.",
        seen: "one certificate was sent, and its issuer is not trusted",
        rules: &[],
        mend: &["ssl_certificate has to be the file with all of them: fullchain.pem, not cert.pem"],
    }
    AUTHORITY {
        id: "TLS-6",
        title: "nobody who is trusted signed the certificate",
        why: "It was signed by an authority of one's own, or by whoever is between.",
        seen: "the end of the chain is not trusted",
        rules: &[],
        mend: &["trust that authority on the clients, or get another; to check with it: --cacert FILE"],
    }
    NO_NAMES {
        id: "TLS-7",
        title: "the certificate has no names",
        why: "Only its subject has one, where no browser looks any more (RFC 9525); curl may take it.",
        seen: "no subject alternative name",
        rules: &[],
        mend: &["make it anew, with -addext subjectAltName=DNS:NAME"],
    }
    HANDSHAKE {
        id: "TLS-8",
        title: "TLS finds nothing that both speak",
        why: "The versions or ciphers do not meet, or no server of nginx has the name.",
        seen: "the alert of the server",
        rules: &["OH-NGX-401", "OH-NGX-402"],
        mend: &["ssl_protocols TLSv1.2 TLSv1.3;"],
    }
    PLAIN_PORT {
        id: "TLS-9",
        title: "the port does not speak TLS",
        why: "https or wss is asked of a port that speaks plain HTTP.",
        seen: "what comes back is no handshake",
        rules: &["OH-NGX-403", "OH-NGX-404", "OH-NGX-405"],
        mend: &["listen 443 ssl;", "ssl_certificate FILE;", "ssl_certificate_key FILE;"],
    }
    CLIENT_CERTIFICATE {
        id: "TLS-10",
        title: "the proxy wants a certificate of the client",
        why: "A browser that has one sends it along; pages of people who have none stay empty too.",
        seen: "the handshake of TLS goes well, and then 400 \"No required SSL certificate was sent\"",
        rules: &[],
        mend: &["leave the path out of ssl_verify_client (optional, and asked where it is wanted), or go without the proxy"],
    }
    HTTP_2 {
        id: "H2-1",
        title: "the port speaks nothing but HTTP/2",
        why: "listen with http2 and without ssl speaks HTTP/2 alone, which browsers do not begin without TLS.",
        seen: "the first bytes are a SETTINGS frame",
        rules: &["OH-NGX-403"],
        mend: &["listen 80;"],
    }
    UPGRADE_LOST {
        id: "UPG-1",
        title: "the proxy does not pass the upgrade on",
        why: "Upgrade and Connection hold for one hop: nginx passes them on only where it is told to. What is \
              behind it sees a plain request, and says so; clients that begin with polling seem connected.",
        seen: "the server says that no upgrade was asked for, and takes one directly, or polling works",
        rules: &["OH-NGX-102", "OH-NGX-103", "OH-NGX-104"],
        mend: UPGRADE_LINES,
    }
    UPGRADE_INHERITED {
        id: "UPG-2",
        title: "the location drops the headers that the block above sets",
        why: "One proxy_set_header in a block discards all those of the blocks above it.",
        seen: "as UPG-1, and the configuration has the lines above the location",
        rules: &["OH-NGX-101"],
        mend: UPGRADE_LINES,
    }
    CONNECTION_LOST {
        id: "UPG-3",
        title: "Connection is not passed on as upgrade",
        why: "Upgrade arrives, and Connection is close: the application is asked for a WebSocket that the server \
              does not take, and the request fails inside it.",
        seen: "500 \"Internal Server Error\" of uvicorn where a poll is answered",
        rules: &["OH-NGX-103"],
        mend: UPGRADE_LINES,
    }
    OLD_HTTP {
        id: "UPG-4",
        title: "what is behind is asked by HTTP/1.0",
        why: "HTTP/1.0 has no upgrade. uvicorn and Node take it all the same; other servers do not have to.",
        seen: "the configuration; no answer tells it, and it works",
        rules: &["OH-NGX-104"],
        mend: &["proxy_http_version 1.1;"],
    }
    UPGRADE_HIDDEN {
        id: "UPG-5",
        title: "the upgrade is answered with a page",
        why: "Without its headers the request is one for a page, and the application has a page for everything.",
        seen: "200 with HTML, and a WebSocket directly",
        rules: &["OH-NGX-102", "OH-NGX-103", "OH-NGX-101"],
        mend: UPGRADE_LINES,
    }
    UPGRADE_FAULTY {
        id: "UPG-7",
        title: "the answer to the upgrade is not that of a WebSocket",
        why: "A browser takes a 101 only with its headers, of which one is computed of the request's key.",
        seen: "101 without a header, or with a key that is not that of the request",
        rules: &[],
        mend: &["look at what stands between: it answers upgrades without having understood them"],
    }
    PREFIX {
        id: "PATH-1",
        title: "the path is changed on the way",
        why: "A proxy_pass with a path strips the prefix, and one without keeps it; Socket.IO gets a path that it \
              does not serve.",
        seen: "polling is answered with a page or 404, and an upgrade is refused without a word, or cut after a second",
        rules: &["OH-NGX-201", "OH-NGX-202", "OH-NGX-203", "OH-NGX-204"],
        mend: &["location /socket.io/ {", "    proxy_pass http://127.0.0.1:3000;    # without a path", "}"],
    }
    NO_LOCATION {
        id: "PATH-2",
        title: "no location leads to Socket.IO",
        why: "The path falls to the files of a page, and is answered with it.",
        seen: "upgrade and polling are answered with a page, and what is behind answers rightly",
        rules: &["OH-NGX-207", "OH-NGX-213", "OH-NGX-214", "OH-NGX-215"],
        mend: &[
            MAP_LINE,
            "location /socket.io/ {",
            "    proxy_pass http://127.0.0.1:3000;",
            "    proxy_http_version 1.1;",
            "    proxy_set_header Host $http_host;",
            "    proxy_set_header X-Forwarded-Proto $scheme;",
            "    proxy_set_header Upgrade $http_upgrade;",
            "    proxy_set_header Connection $connection_upgrade;",
            "}",
        ],
    }
    QUERY {
        id: "PATH-3",
        title: "the query is dropped",
        why: "A proxy_pass with variables passes on what it says and nothing else.",
        seen: "the server says that the version of the protocol is not supported",
        rules: &["OH-NGX-205"],
        mend: &["proxy_pass http://127.0.0.1:3000$request_uri;"],
    }
    REDIRECT {
        id: "PATH-4",
        title: "the path is redirected",
        why: "A WebSocket follows no redirect.",
        seen: "301, 302, 307 or 308",
        rules: &["OH-NGX-206", "OH-NGX-207", "OH-NGX-209"],
        mend: &["use the address that it names: https and not http, and /socket.io/ with its last slash"],
    }
    MISSING {
        id: "PATH-5",
        title: "there is nothing at the path",
        why: "Whoever answers knows the path for nothing.",
        seen: "404",
        rules: &["OH-NGX-204", "OH-NGX-207", "OH-NGX-213", "OH-NGX-215"],
        mend: &["name the path of the server: --path /socket.io/"],
    }
    ORIGIN {
        id: "ORI-1",
        title: "the server does not take the page's origin",
        why: "It compares Origin with the scheme and host that it believes to have; behind a proxy it has to be told.",
        seen: "polling says that the origin is not accepted; without one both work",
        rules: &["OH-NGX-105", "OH-NGX-106", "OH-NGX-107", "OH-NGX-112"],
        mend: &["proxy_set_header Host $http_host;", "proxy_set_header X-Forwarded-Proto $scheme;    # $http_x_forwarded_proto behind another proxy"],
    }
    ORIGIN_TWICE {
        id: "ORI-2",
        title: "Access-Control-Allow-Origin is there twice",
        why: "The application says it, and the proxy adds another; browsers take neither.",
        seen: "two of the header in one answer",
        rules: &["OH-NGX-114"],
        mend: &["take the add_header Access-Control-Allow-Origin away: the application says it"],
    }
    STICKY {
        id: "STK-1",
        title: "requests of one session go to several servers",
        why: "A session of polling lives in one process; the next request finds another.",
        seen: "the session is not known, now and then",
        rules: &["OH-NGX-308"],
        mend: &["ip_hash;    # in upstream { }, or let clients use WebSockets alone"],
    }
    LOGIN {
        id: "AUTH-1",
        title: "the proxy asks for a login",
        why: "A page that is logged in sends it along; another client has none.",
        seen: "401",
        rules: &[],
        mend: &["give the login: -H 'Authorization: …'"],
    }
    FORBIDDEN {
        id: "AUTH-2",
        title: "the proxy forbids it",
        why: "deny, limit_except or a rule of a firewall for the web stands at the path.",
        seen: "403 with a page; the application's own has no word",
        rules: &["OH-NGX-207", "OH-NGX-311", "OH-NGX-509"],
        mend: &["let the path pass for those who may use it: allow, limit_except"],
    }
    BODY {
        id: "LIM-1",
        title: "bodies are limited below what Socket.IO sends",
        why: "Polling posts up to 4 MiB at once; WebSockets are not concerned.",
        seen: "413",
        rules: &["OH-NGX-301"],
        mend: &["client_max_body_size 5m;"],
    }
    LIMITED {
        id: "LIM-2",
        title: "requests or connections are limited",
        why: "A page opens several at once, and opens again what it lost.",
        seen: "429 or 503",
        rules: &["OH-NGX-306"],
        mend: &["leave the path of Socket.IO out of limit_req and limit_conn"],
    }
    CONNECTIONS {
        id: "LIM-3",
        title: "nginx has no connection left",
        why: "A WebSocket has two for its whole life; worker_connections is the sum for a worker.",
        seen: "the connection is made, and reset before a byte has come",
        rules: &["OH-NGX-305"],
        mend: &["worker_connections 8192;    # in events { }", "worker_rlimit_nofile 20000;"],
    }
    BACKLOG {
        id: "LIM-4",
        title: "connections wait before they are accepted",
        why: "The queue of the listening socket is full: the kernel drops the first packet, and it comes again after a \
              second.",
        seen: "many connections take a second and some milliseconds, and the other steps as long as ever",
        rules: &[],
        mend: &["listen … backlog=4096;    # and as much in net.core.somaxconn"],
    }
    DESCRIPTORS {
        id: "LIM-5",
        title: "this machine lets the check open no further connection",
        why: "Each connection is a descriptor, of which a process may have so many.",
        seen: "a connection is not even begun",
        rules: &[],
        mend: &["ulimit -n 20000    # in the shell that runs the check"],
    }
    BACK_END {
        id: "GW-1",
        title: "the proxy cannot reach what is behind it",
        why: "Nobody listens where it asks, or TLS is spoken to what speaks none.",
        seen: "502",
        rules: &["OH-NGX-211", "OH-NGX-216"],
        mend: &["start what is behind, or name its port and scheme in proxy_pass"],
    }
    HUNG {
        id: "GW-2",
        title: "what is behind does not answer",
        why: "It accepts and says nothing: it hangs, or is at work for longer than the proxy waits.",
        seen: "504, or nothing at all",
        rules: &[],
        mend: &["look at what is behind: its log, and whether one request stops all others"],
    }
    TLS_PORT {
        id: "GW-3",
        title: "plain HTTP is spoken to a port of TLS",
        why: "The scheme of the address, or of proxy_pass, is not that of the port.",
        seen: "400 \"The plain HTTP request was sent to HTTPS port\"",
        rules: &[],
        mend: &["proxy_pass https://…;    # or https in the address"],
    }
    NO_HTTP {
        id: "GW-4",
        title: "what listens there gives no answer of HTTP",
        why: "It ends the connection, or says something else: another program has the port, or it breaks at the \
              request.",
        seen: "nothing, half an answer, an answer without end, or what is none",
        rules: &[],
        mend: &["look who has the port, and at its log: ss --listening --tcp --numeric --processes"],
    }
    OF_NGINX {
        id: "GW-5",
        title: "nginx itself fails",
        why: "It has no connection left for what is behind it, goes round in redirects of its own, or cannot read a \
              file that it needs.",
        seen: "500 with a page of nginx, and what is behind answers",
        rules: &["OH-NGX-305"],
        mend: &["look at the error_log of nginx, which says why", "worker_connections 8192;    # where it has none left"],
    }
    MASKED {
        id: "MASK-1",
        title: "the proxy replaces the answer by a page",
        why: "proxy_intercept_errors hides what the server says of an upgrade.",
        seen: "200 with a page where the server itself refuses, and polling works",
        rules: &["OH-NGX-309"],
        mend: &["proxy_intercept_errors off;"],
    }
    REFUSED_UPGRADE {
        id: "SIO-0",
        title: "the application refuses the WebSocket",
        why: "The chain works: an ASGI server says 403 without a word where its application does not accept.",
        seen: "403 without a word, and polling is answered",
        rules: &[],
        mend: &["give what the application wants: a key, or the id of something that there is"],
    }
    NO_ENGINE {
        id: "SIO-3",
        title: "what answers the WebSocket is no Socket.IO",
        why: "The upgrade leads to another program, or to one with another protocol.",
        seen: "the first packet does not come, or is none of Engine.IO",
        rules: &[],
        mend: &["name the path of Socket.IO: --path; or the kind of server"],
    }
    NO_NAMESPACE {
        id: "SIO-2",
        title: "the server does not answer the request for its namespace",
        why: "Its handler waits, or failed: OpenHands does so for a payload that it does not expect, and where a \
              key is wanted and none was given.",
        seen: "Engine.IO opens, and nothing comes then",
        rules: &[],
        mend: &["look at the log of the server; where SESSION_API_KEY is set, give the key"],
    }
    CUT {
        id: "TMO-1",
        title: "the connection is cut while it is silent",
        why: "A proxy ends what has been silent for as long as its time limit; the server's heartbeat comes later.",
        seen: "the end comes without a word, after the same time each time",
        rules: &["OH-NGX-302"],
        mend: &["proxy_read_timeout 3600s;"],
    }
    POLL_CUT {
        id: "TMO-2",
        title: "a poll is answered by the proxy before the server has something to say",
        why: "Long polling waits for the server's heartbeat, and the proxy's time limit comes before.",
        seen: "504 after the same time each time, where a poll is held",
        rules: &["OH-NGX-302"],
        mend: &["proxy_read_timeout 3600s;"],
    }
    NO_SOCKET_IO {
        id: "KIND-1",
        title: "the server has no Socket.IO",
        why: "OpenHands has none since 1.7: pages connect to the agent servers themselves.",
        seen: "polling is answered with a page or 404 by the server itself, and so is an upgrade, if it is not refused",
        rules: &[],
        mend: &[
            "check an agent server instead, or the address of an older OpenHands",
            "where the server has it at another path, name that: --path",
        ],
    }
    NO_WEBSOCKET {
        id: "KIND-2",
        title: "there is no WebSocket at the path",
        why: "The server itself answers upgrades there with a page, or not at all: the path is another, or it is \
              the app server of OpenHands 1.7 and later, whose pages connect to agent servers.",
        seen: "the server itself answers an upgrade with a page, 500 or nothing, and the same without one with a page",
        rules: &[],
        mend: &["name the path of the WebSocket: --path; or the address of an agent server"],
    }
    KEY {
        id: "KEY-1",
        title: "the agent server does not take the key",
        why: "It accepts the WebSocket, waits for its key, and ends it with 4001 where it is another or none.",
        seen: "4001 \"Authentication failed\", or 403 before the upgrade",
        rules: &[],
        mend: &["give the key of that sandbox: it is the session_api_key of GET /api/v1/sandboxes"],
    }
    LEAVES {
        id: "PATH-6",
        title: "a redirect leads out of the prefix",
        why: "An editor redirects within what it believes to be its own; where its prefix was stripped and it was \
              not told, that is the whole site, and nginx's own redirects name the port that it listens on.",
        seen: "the Location of an answer below the prefix",
        rules: &["OH-NGX-206", "OH-NGX-208", "OH-NGX-209", "OH-NGX-217"],
        mend: &[
            "proxy_set_header X-Forwarded-Prefix /vscode/ID;",
            "proxy_redirect / /vscode/ID/;",
            "absolute_redirect off;",
        ],
    }
    EDITOR_FILES {
        id: "EDIT-1",
        title: "the files of the editor do not come",
        why: "The page comes, and its files fall to another location, or are answered with a page.",
        seen: "a file below the prefix that is no style and no script",
        rules: &["OH-NGX-201", "OH-NGX-203", "OH-NGX-206", "OH-NGX-207", "OH-NGX-214"],
        mend: &["location ^~ /vscode/ID/ {    # so that no pattern goes before it", "    proxy_pass http://127.0.0.1:8080/;", "}"],
    }
    TOKEN {
        id: "KEY-2",
        title: "the editor does not take the token, or was given none",
        why: "A server of VS Code opens to its connection token alone, in the first address or in a cookie.",
        seen: "403 for its page, or \"auth mismatch\" in its handshake",
        rules: &[],
        mend: &["give the token of that server: it is in the address that it logs when it starts"],
    }
    OPEN_ORIGIN {
        id: "ORI-3",
        title: "pages of others may open the editor",
        why: "code-server compares Origin with its host, unless it is told to trust all, or a proxy takes Origin \
              away: then every page that its user visits has a shell.",
        seen: "an upgrade from a foreign page is let in",
        rules: &["OH-NGX-507"],
        mend: &["proxy_set_header Origin $http_origin;    # and no --trusted-origins '*'"],
    }
    UNKNOWN {
        id: "UNK-1",
        title: "something that was not met before",
        why: "It does not connect, and nothing that is known looks like this.",
        seen: "none of the others fits",
        rules: &[],
        mend: &["look at the frames: -v"],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_cause_has_its_name_and_says_everything() {
        let ids: BTreeSet<_> = ALL.iter().map(|cause| cause.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for cause in ALL {
            assert!(
                cause.id.split_once('-').is_some_and(|(_, number)| number.parse::<u8>().is_ok())
            );
            for text in [cause.title, cause.why, cause.seen] {
                assert!(!text.is_empty() && !text.contains("  "), "{}: {text}", cause.id);
            }
            assert!(!cause.mend.is_empty(), "{}", cause.id);
            assert_eq!(find(&cause.id.to_lowercase()), Some(*cause));
        }
        assert_eq!(find("UPG-99"), None);
    }

    #[test]
    fn the_rules_of_a_cause_are_rules_of_the_linter() {
        let known: BTreeSet<_> = oh_nginx_conf::lint::rules().map(|rule| rule.id).collect();
        for cause in ALL {
            for rule in cause.rules {
                assert!(known.contains(rule), "{}: {rule}", cause.id);
            }
        }
    }
}
