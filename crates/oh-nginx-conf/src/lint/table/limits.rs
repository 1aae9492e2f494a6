//! Limits that cut or refuse.

use super::{Rule, Setting};
use crate::lint::Severity;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "OH-NGX-301",
        title: "a body may be too small for Socket.IO",
        severity: Severity::Error,
        why: "OpenHands takes messages of 4 MiB. By polling they are bodies, and nginx \
              refuses bodies of more than 1 MiB unless it is told (413).",
        failing: &[("client_max_body_size 16m;", "client_max_body_size 1m;")],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, python-socketio, OpenHands 0.62",
    },
    Rule {
        id: "OH-NGX-302",
        title: "a silent connection is cut",
        severity: Severity::Error,
        why: "A healthy Socket.IO connection is silent for 25 seconds between two \
              pings. proxy_read_timeout ends it before; held polls get 504.",
        failing: &[("proxy_read_timeout 1h;", "proxy_read_timeout 20s;")],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, python-socketio, OpenHands 0.62",
    },
    Rule {
        id: "OH-NGX-304",
        title: "a reload cuts WebSockets off",
        severity: Severity::Warning,
        why: "Old workers keep their WebSockets until this time is over. VS Code comes \
              back by itself, and people lose what they type meanwhile.",
        failing: &[(
            "worker_processes 2;\n",
            concat!("worker_processes 2;\n", "worker_shutdown_timeout 5s;\n",),
        )],
        passing: &[(
            "worker_processes 2;\n",
            concat!("worker_processes 2;\n", "worker_shutdown_timeout 15m;\n",),
        )],
        setting: Setting::Usual,
        source: "measured: with 5 s all of 20 sockets were closed",
    },
    Rule {
        id: "OH-NGX-305",
        title: "few connections",
        severity: Severity::Note,
        why: "Each WebSocket holds two connections of a worker, and each open editor \
              two WebSockets or more. Where they run out, clients are reset without a \
              word.",
        failing: &[("worker_connections 4096;", "worker_connections 768;")],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: 64 connections carry 31 sessions",
    },
    Rule {
        id: "OH-NGX-306",
        title: "requests are limited",
        severity: Severity::Warning,
        why: "An editor's page asks for hundreds of files at once, and Socket.IO by \
              polling asks all the time: a limit made for people refuses them with \
              503.",
        failing: &[
            (
                "    server_tokens off;\n",
                concat!(
                    "    server_tokens off;\n",
                    "    limit_req_zone $binary_remote_addr zone=one:1m rate=5r/s;\n",
                ),
            ),
            (
                concat!(
                    "        location /socket.io/ {\n",
                    "            if ($origin_ok = 0) { return 403; }\n",
                    "            proxy_pass http://openhands;\n",
                ),
                concat!(
                    "        location /socket.io/ {\n",
                    "            if ($origin_ok = 0) { return 403; }\n",
                    "            proxy_pass http://openhands;\n",
                    "            limit_req zone=one;\n",
                ),
            ),
        ],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, python-socketio, OpenHands 0.62",
    },
    Rule {
        id: "OH-NGX-307",
        title: "reloads close kept connections",
        severity: Severity::Note,
        why: "Since 1.27.4 nginx can leave kept connections a moment when it is \
              reloaded. Without that, a client that just used one gets a reset.",
        failing: &[],
        passing: &[(
            "    server_tokens off;\n",
            concat!("    server_tokens off;\n", "    keepalive_min_timeout 10s;\n",),
        )],
        setting: Setting::NewNginx,
        source: "measured: 78 resets in 10 reloads, and 0 with it",
    },
    Rule {
        id: "OH-NGX-308",
        title: "Socket.IO on several servers",
        severity: Severity::Error,
        why: "A session of Socket.IO by polling lives in one process. Requests that \
              come to another get 400 \"Invalid session\".",
        failing: &[(
            "        server 127.0.0.1:3000;\n",
            concat!("        server 127.0.0.1:3000;\n", "        server 127.0.0.1:3001;\n",),
        )],
        passing: &[(
            "        server 127.0.0.1:3000;\n",
            concat!(
                "        ip_hash;\n",
                "        server 127.0.0.1:3000;\n",
                "        server 127.0.0.1:3001;\n",
            ),
        )],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, python-socketio, OpenHands 0.62",
    },
    Rule {
        id: "OH-NGX-309",
        title: "answers are replaced",
        severity: Severity::Warning,
        why: "With proxy_intercept_errors a refused WebSocket gets a page of nginx \
              instead of the reason.",
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
                "            proxy_intercept_errors on;\n",
                "            error_page 400 403 /index.html;\n",
            ),
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, python-socketio, OpenHands 0.62",
    },
    Rule {
        id: "OH-NGX-310",
        title: "answers are kept",
        severity: Severity::Warning,
        why: "What the editor and Socket.IO answer is for one visitor.",
        failing: &[
            (
                "    server_tokens off;\n",
                concat!(
                    "    server_tokens off;\n",
                    "    proxy_cache_path /var/cache/nginx/one keys_zone=one:1m;\n",
                ),
            ),
            (
                concat!(
                    "        location /socket.io/ {\n",
                    "            if ($origin_ok = 0) { return 403; }\n",
                    "            proxy_pass http://openhands;\n",
                ),
                concat!(
                    "        location /socket.io/ {\n",
                    "            if ($origin_ok = 0) { return 403; }\n",
                    "            proxy_pass http://openhands;\n",
                    "            proxy_cache one;\n",
                ),
            ),
        ],
        passing: &[],
        setting: Setting::Usual,
        source: "nginx, ngx_http_proxy_module: proxy_cache",
    },
    Rule {
        id: "OH-NGX-311",
        title: "methods are refused",
        severity: Severity::Error,
        why: "Socket.IO by polling sends by POST.",
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
                "            limit_except GET { deny all; }\n",
            ),
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, python-socketio, OpenHands 0.62",
    },
];
