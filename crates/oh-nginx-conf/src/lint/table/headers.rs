//! Headers that go on.

use super::{Rule, Setting};
use crate::lint::Severity;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "OH-NGX-101",
        title: "headers of the block above are lost",
        severity: Severity::Error,
        why: "nginx inherits proxy_set_header all or not at all: one line in a \
              location drops every line above it. A location that adds a header must \
              repeat the whole set.",
        failing: &[(
            "            proxy_pass http://127.0.0.1:8888/;\n",
            concat!(
                "            proxy_pass http://127.0.0.1:8888/;\n",
                "            proxy_set_header X-Forwarded-Path /vscode/code/;\n",
            ),
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "nginx, ngx_http_proxy_module: proxy_set_header; measured: nginx \
                1.22.1, code-server 4.139",
    },
    Rule {
        id: "OH-NGX-102",
        title: "Upgrade is not passed on",
        severity: Severity::Error,
        why: "nginx takes Upgrade off every request. Without it the editor answers \
              404, and Socket.IO 400 \"Invalid websocket upgrade\"; the page itself \
              loads.",
        failing: &[("        proxy_set_header Upgrade $upgrade;\n", "")],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, code-server 4.139",
    },
    Rule {
        id: "OH-NGX-103",
        title: "Connection is not passed on as upgrade",
        severity: Severity::Error,
        why: "nginx sends Connection: close unless it is told. With Upgrade but \
              without Connection: upgrade, uvicorn answers 500 and Node 400.",
        failing: &[(
            "        proxy_set_header Connection $connection_upgrade;\n",
            "        proxy_set_header Connection '';\n",
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, python-socketio, OpenHands 0.62",
    },
    Rule {
        id: "OH-NGX-104",
        title: "HTTP/1.0 to what is behind",
        severity: Severity::Warning,
        why: "An upgrade is HTTP/1.1. nginx before 1.29.7 speaks 1.0 to upstreams \
              unless it is told; uvicorn and Node put up with it, others need not.",
        failing: &[("        proxy_http_version 1.1;\n", "")],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, code-server 4.139",
    },
    Rule {
        id: "OH-NGX-105",
        title: "the site's host does not arrive",
        severity: Severity::Error,
        why: "code-server compares the Origin of a WebSocket with the host it is asked \
              for. nginx sends the upstream's own name unless it is told, and every \
              WebSocket gets 403 (close 1006).",
        failing: &[
            (
                "        proxy_set_header Host oh.example;\n",
                "        proxy_set_header Host $proxy_host;\n",
            ),
            (
                "        proxy_set_header X-Forwarded-Host oh.example;\n",
                "        proxy_set_header X-Forwarded-Host '';\n",
            ),
        ],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, code-server 4.139",
    },
    Rule {
        id: "OH-NGX-106",
        title: "the host loses its port",
        severity: Severity::Error,
        why: "$host has no port. On any port but 80 and 443 the browser's Origin has \
              one, and code-server refuses every WebSocket. Debian's \
              /etc/nginx/proxy_params has said $host since 1.22.1-9+deb12u6.",
        failing: &[
            ("        listen 443 ssl http2;\n", "        listen 8443 ssl http2;\n"),
            ("        \"https://oh.example\" 1;\n", "        \"https://oh.example:8443\" 1;\n"),
            ("X-Forwarded-Port 443;", "X-Forwarded-Port 8443;"),
            (
                "        proxy_set_header Host oh.example;\n",
                "        proxy_set_header Host $host;\n",
            ),
            (
                "        proxy_set_header X-Forwarded-Host oh.example;\n",
                "        proxy_set_header X-Forwarded-Host '';\n",
            ),
        ],
        passing: &[
            ("        listen 443 ssl http2;\n", "        listen 8443 ssl http2;\n"),
            ("        \"https://oh.example\" 1;\n", "        \"https://oh.example:8443\" 1;\n"),
            ("X-Forwarded-Port 443;", "X-Forwarded-Port 8443;"),
            (
                "        proxy_set_header Host oh.example;\n",
                "        proxy_set_header Host oh.example:8443;\n",
            ),
            (
                "        proxy_set_header X-Forwarded-Host oh.example;\n",
                "        proxy_set_header X-Forwarded-Host '';\n",
            ),
        ],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, code-server 4.139",
    },
    Rule {
        id: "OH-NGX-107",
        title: "the host gets a port that browsers do not say",
        severity: Severity::Error,
        why: "Browsers leave out 80 and 443. $host:$server_port writes them, so that \
              no Origin is equal to it.",
        failing: &[
            (
                "        proxy_set_header Host oh.example;\n",
                "        proxy_set_header Host $host:$server_port;\n",
            ),
            (
                "        proxy_set_header X-Forwarded-Host oh.example;\n",
                "        proxy_set_header X-Forwarded-Host '';\n",
            ),
        ],
        passing: &[],
        setting: Setting::Usual,
        source: "coder/code-server issue 6161; measured: nginx 1.22.1, code-server \
                4.139",
    },
    Rule {
        id: "OH-NGX-108",
        title: "a client chooses the host",
        severity: Severity::Warning,
        why: "$http_host is whatever a client writes. Links and checks made from it \
              are the client's. Where the site has one name, that name is the safe \
              value.",
        failing: &[(
            "        proxy_set_header Host oh.example;\n",
            "        proxy_set_header Host $http_host;\n",
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "gixy: host_spoofing",
    },
    Rule {
        id: "OH-NGX-109",
        title: "X-Forwarded-For is appended or passed on",
        severity: Severity::Warning,
        why: "What a client wrote stays in front of its address. OpenHands limits \
              requests by the first address it finds, so that such a client is never \
              limited.",
        failing: &[(
            "X-Forwarded-For $remote_addr;",
            "X-Forwarded-For $proxy_add_x_forwarded_for;",
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: OpenHands 0.62 behind uvicorn",
    },
    Rule {
        id: "OH-NGX-110",
        title: "a client's own forwarding headers are believed",
        severity: Severity::Warning,
        why: "code-server takes the host from Forwarded, then X-Forwarded-Host, then \
              Host; openvscode-server from X-Original-Host first. Who can write them \
              passes the check of the Origin.",
        failing: &[("        proxy_set_header Forwarded '';\n", "")],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, code-server 4.139: 101 for a foreign Origin \
                with Forwarded",
    },
    Rule {
        id: "OH-NGX-112",
        title: "Socket.IO is told the wrong scheme",
        severity: Severity::Warning,
        why: "python-socketio compares the Origin with X-Forwarded-Proto and the host. \
              Behind TLS and without it, a server with its default of allowed origins \
              refuses the site's own page. OpenHands takes any origin.",
        failing: &[("X-Forwarded-Proto $scheme;", "X-Forwarded-Proto http;")],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, python-socketio, OpenHands 0.62",
    },
    Rule {
        id: "OH-NGX-113",
        title: "X-Forwarded-Port is not the site's port",
        severity: Severity::Error,
        why: "openvscode-server puts this port in the place of the one in the address: \
              the browser opens its WebSocket where nobody listens.",
        failing: &[("X-Forwarded-Port 443;", "X-Forwarded-Port 8443;")],
        passing: &[],
        setting: Setting::Usual,
        source: "VS Code, webClientServer.ts",
    },
    Rule {
        id: "OH-NGX-114",
        title: "Access-Control-Allow-Origin twice",
        severity: Severity::Error,
        why: "Socket.IO sends this header itself. With a second one the browser \
              refuses the answer.",
        failing: &[(
            concat!(
                "        location /socket.io/ {\n",
                "            if ($origin_ok = 0) { return 403; }\n",
                "            proxy_pass http://openhands;\n",
            ),
            concat!(
                "        location /socket.io/ {\n",
                "            if ($origin_ok = 0) { return 403; }\n",
                "            proxy_pass http://openhands;\n",
                "            add_header Access-Control-Allow-Origin *;\n",
            ),
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, python-socketio, OpenHands 0.62",
    },
    Rule {
        id: "OH-NGX-115",
        title: "every protocol is passed on",
        severity: Severity::Warning,
        why: "Upgrade: h2c lets a client speak HTTP/2 in plain text with what is \
              behind, past every rule of nginx. Only websocket should go on.",
        failing: &[(
            "        proxy_set_header Upgrade $upgrade;\n",
            "        proxy_set_header Upgrade $http_upgrade;\n",
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1 (h2c smuggling)",
    },
    Rule {
        id: "OH-NGX-116",
        title: "headers with underscores",
        severity: Severity::Warning,
        why: "Programs read X_Forwarded_Host as X-Forwarded-Host. nginx drops such \
              headers unless it is told otherwise, and clears only the ones with \
              hyphens.",
        failing: &[(
            "    server_tokens off;\n",
            concat!("    server_tokens off;\n", "    underscores_in_headers on;\n",),
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "nginx, ngx_http_core_module: underscores_in_headers",
    },
];
