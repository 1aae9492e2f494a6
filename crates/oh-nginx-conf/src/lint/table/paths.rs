//! Paths, locations and what they lead to.

use super::{Rule, Setting};
use crate::lint::Severity;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "OH-NGX-201",
        title: "the prefix is not stripped",
        severity: Severity::Error,
        why: "code-server answers at its root: asked for /vscode/id/ it says 404. A \
              proxy_pass that ends with a slash strips what the location matched. An \
              openvscode-server that was started with --server-base-path wants the \
              opposite.",
        failing: &[(
            "            proxy_pass http://127.0.0.1:8888/;\n",
            "            proxy_pass http://127.0.0.1:8888;\n",
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, code-server 4.139: page 404 while the \
                WebSocket still opens",
    },
    Rule {
        id: "OH-NGX-202",
        title: "the prefix is stripped from what wants it",
        severity: Severity::Error,
        why: "An openvscode-server with a base path answers below it only.",
        failing: &[(
            "            proxy_pass http://127.0.0.1:8889;\n",
            "            proxy_pass http://127.0.0.1:8889/;\n",
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "VS Code, --server-base-path",
    },
    Rule {
        id: "OH-NGX-203",
        title: "the path that goes on is put together wrongly",
        severity: Severity::Error,
        why: "nginx replaces exactly what the location matched. Where one of the two \
              ends with a slash and the other does not, slashes are doubled or lost, \
              and the editor redirects out of its prefix.",
        failing: &[(
            "        location ^~ /vscode/code/ {\n",
            "        location ^~ /vscode/code {\n",
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, code-server 4.139: redirect to \
                /vscode/?folder, which is OpenHands",
    },
    Rule {
        id: "OH-NGX-204",
        title: "the path of Socket.IO is changed",
        severity: Severity::Error,
        why: "A slash after the address strips /socket.io/. OpenHands then answers \
              with its page, and WebSockets get 403.",
        failing: &[(
            concat!(
                "        location /socket.io/ {\n",
                "            if ($origin_ok = 0) { return 403; }\n",
                "            proxy_pass http://openhands;\n",
            ),
            concat!(
                "        location /socket.io/ {\n",
                "            if ($origin_ok = 0) { return 403; }\n",
                "            proxy_pass http://openhands/;\n",
            ),
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, python-socketio, OpenHands 0.62",
    },
    Rule {
        id: "OH-NGX-205",
        title: "the query is dropped",
        severity: Severity::Error,
        why: "With variables, proxy_pass names the whole URI and nginx adds no query. \
              Socket.IO then says: unsupported version of the protocols.",
        failing: &[(
            concat!(
                "        location /socket.io/ {\n",
                "            if ($origin_ok = 0) { return 403; }\n",
                "            proxy_pass http://openhands;\n",
            ),
            concat!(
                "        location ~ ^/socket\\.io/([a-z/]*)$ {\n",
                "            if ($origin_ok = 0) { return 403; }\n",
                "            proxy_pass http://openhands/socket.io/$1;\n",
            ),
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, python-socketio, OpenHands 0.62",
    },
    Rule {
        id: "OH-NGX-206",
        title: "a redirect to a folder for every request",
        severity: Severity::Error,
        why: "A condition on the query inside the location of the editor redirects \
              every file without a query, and the WebSocket: the page stays empty.",
        failing: &[(
            "            proxy_pass http://127.0.0.1:8888/;\n",
            concat!(
                "            if ($arg_folder = '') { return 302 /vscode/code/?folder=/srv; }\n",
                "            proxy_pass http://127.0.0.1:8888/;\n",
            ),
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, code-server 4.139: 302 for every script",
    },
    Rule {
        id: "OH-NGX-207",
        title: "nginx answers what the program should",
        severity: Severity::Error,
        why: "A request that the editor or Socket.IO lives by gets an answer of nginx.",
        failing: &[(
            "            proxy_pass http://127.0.0.1:8888/;\n",
            concat!(
                "            if ($request_method = GET) { return 403; }\n",
                "            proxy_pass http://127.0.0.1:8888/;\n",
            ),
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "follows from the text",
    },
    Rule {
        id: "OH-NGX-208",
        title: "openvscode-server is not told its prefix",
        severity: Severity::Error,
        why: "Stripped, openvscode-server believes that it is at the root: ?tkn= \
              redirects to /, which is OpenHands, and its scripts get 404. It reads \
              X-Forwarded-Prefix.",
        failing: &[(
            "            proxy_pass http://127.0.0.1:8889;\n",
            "            proxy_pass http://127.0.0.1:8890/;\n",
        )],
        passing: &[
            (
                "            proxy_pass http://127.0.0.1:8889;\n",
                "            proxy_pass http://127.0.0.1:8890/;\n",
            ),
            ("X-Forwarded-Prefix '';", "X-Forwarded-Prefix /vscode/open;"),
        ],
        setting: Setting::Usual,
        source: "VS Code PR 237411; OpenHands issue 13912",
    },
    Rule {
        id: "OH-NGX-209",
        title: "redirects name the port that nginx listens on",
        severity: Severity::Warning,
        why: "nginx writes its own redirects with the scheme and the port of its \
              socket. Behind a container's port or another proxy that is an address \
              that nobody reaches.",
        failing: &[
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
            ("        absolute_redirect off;\n", ""),
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
        source: "measured: nginx 1.22.1",
    },
    Rule {
        id: "OH-NGX-210",
        title: "an id that is not there shows OpenHands",
        severity: Severity::Error,
        why: "OpenHands answers every path with its page and 200. A session that has \
              ended then looks like a redirect to OpenHands, and no check sees it.",
        failing: &[(
            concat!("        location ^~ /vscode/ {\n", "            return 404;\n", "        }\n",),
            "",
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: OpenHands 0.62",
    },
    Rule {
        id: "OH-NGX-211",
        title: "a location leads nowhere",
        severity: Severity::Error,
        why: "Without a proxy_pass nginx looks for files, and answers 404.",
        failing: &[(
            "        location ^~ /apps/ {\n",
            concat!(
                "        location ^~ /vscode/gone/ {\n",
                "            if ($refused) { return 403; }\n",
                "        }\n",
                "        location ^~ /apps/ {\n",
            ),
        )],
        passing: &[(
            "        location ^~ /apps/ {\n",
            concat!(
                "        location ^~ /vscode/gone/ {\n",
                "            return 404;\n",
                "        }\n",
                "        location ^~ /apps/ {\n",
            ),
        )],
        setting: Setting::Usual,
        source: "nginx, ngx_http_core_module: root",
    },
    Rule {
        id: "OH-NGX-212",
        title: "files of routes that nobody includes",
        severity: Severity::Error,
        why: "A generator that writes into one folder while nginx includes another \
              changes nothing, and says nothing.",
        failing: &[],
        passing: &[(
            concat!("    server {\n", "        listen 443",),
            concat!(
                "    server {\n",
                "        include /etc/nginx/vscode-projects/*.conf;\n",
                "        listen 443",
            ),
        )],
        setting: Setting::LeftOut,
        source: "seen in an installation that wrote to vscode-repos and included \
                vscode-projects",
    },
    Rule {
        id: "OH-NGX-213",
        title: "a location that leads to nothing",
        severity: Severity::Warning,
        why: "OpenHands has no /ws; its WebSocket is /socket.io/. The location comes \
              from an old generator.",
        failing: &[(
            "        location /socket.io/ {\n",
            concat!(
                "        location /ws {\n",
                "            if ($refused) { return 403; }\n",
                "            proxy_pass http://openhands/ws;\n",
                "        }\n",
                "        location /socket.io/ {\n",
            ),
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: OpenHands 0.62 answers 500",
    },
    Rule {
        id: "OH-NGX-214",
        title: "a pattern takes the files of a program",
        severity: Severity::Error,
        why: "Patterns win over prefixes unless the prefix says ^~. A location for \
              files by their ends takes scripts and styles from the editor and from \
              OpenHands, whose pages stay empty.",
        failing: &[(
            "        location ^~ /vscode/code/ {\n",
            concat!(
                "        location ~* \\.(js|css|svg)$ {\n",
                "            root /var/www;\n",
                "        }\n",
                "        location /vscode/code/ {\n",
            ),
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "nginx, ngx_http_core_module: location",
    },
    Rule {
        id: "OH-NGX-215",
        title: "Socket.IO ends at files",
        severity: Severity::Error,
        why: "A site whose root is files answers /socket.io/ with its page, 200, and a \
              WebSocket too.",
        failing: &[(
            concat!(
                "        location / {\n",
                "            if ($refused) { return 403; }\n",
                "            proxy_pass http://openhands;\n",
                "        }\n",
                "        location /socket.io/ {\n",
                "            if ($origin_ok = 0) { return 403; }\n",
                "            proxy_pass http://openhands;\n",
                "        }\n",
            ),
            concat!(
                "        location / {\n",
                "            root /var/www;\n",
                "            try_files $uri /index.html;\n",
                "        }\n",
                "        location /api/ {\n",
                "            if ($refused) { return 403; }\n",
                "            proxy_pass http://openhands;\n",
                "        }\n",
            ),
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "socketio/socket.io issue 3508",
    },
    Rule {
        id: "OH-NGX-216",
        title: "TLS to what speaks plain HTTP",
        severity: Severity::Error,
        why: "OpenHands and the editors speak plain HTTP on the loopback. With https \
              nginx answers 502.",
        failing: &[(
            "            proxy_pass http://127.0.0.1:8888/;\n",
            "            proxy_pass https://127.0.0.1:8888/;\n",
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, python-socketio, OpenHands 0.62",
    },
    Rule {
        id: "OH-NGX-217",
        title: "a rewrite leads out of the location",
        severity: Severity::Error,
        why: "Without break, nginx looks for a location anew with the path that was \
              rewritten: the proxy_pass beside it is never used, and the editor's page \
              is asked of OpenHands.",
        failing: &[(
            "            proxy_pass http://127.0.0.1:8888/;\n",
            concat!(
                "            rewrite ^/vscode/code/(.*) /$1;\n",
                "            proxy_pass http://127.0.0.1:8888;\n",
            ),
        )],
        passing: &[(
            "            proxy_pass http://127.0.0.1:8888/;\n",
            concat!(
                "            rewrite ^/vscode/code/(.*) /$1 break;\n",
                "            proxy_pass http://127.0.0.1:8888;\n",
            ),
        )],
        setting: Setting::Usual,
        source: "nginx, ngx_http_rewrite_module: rewrite",
    },
];
