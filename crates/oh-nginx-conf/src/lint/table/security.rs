//! Who may open what.

use super::{Rule, Setting};
use crate::lint::Severity;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "OH-NGX-501",
        title: "nobody asks who you are",
        severity: Severity::Error,
        why: "An editor is a shell on this machine. Where neither nginx nor the editor \
              asks for a login, it is everybody's.",
        failing: &[("        auth_basic OpenHands;\n", "        auth_basic off;\n")],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, code-server 4.139 --auth none",
    },
    Rule {
        id: "OH-NGX-502",
        title: "satisfy any",
        severity: Severity::Warning,
        why: "With satisfy any, who comes from an allowed address needs no login: on a \
              machine behind another proxy, that is everybody.",
        failing: &[(
            "        auth_basic OpenHands;\n",
            concat!(
                "        auth_basic OpenHands;\n",
                "        satisfy any;\n",
                "        allow 127.0.0.1;\n",
            ),
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "nginx, ngx_http_core_module: satisfy",
    },
    Rule {
        id: "OH-NGX-503",
        title: "a session may claim the whole site",
        severity: Severity::Warning,
        why: "code-server sends Service-Worker-Allowed: /. On a site with several \
              sessions, one of them may then answer in a browser for all others.",
        failing: &[(
            concat!(
                "            proxy_pass http://127.0.0.1:8888/;\n",
                "            proxy_hide_header Service-Worker-Allowed;\n",
            ),
            "            proxy_pass http://127.0.0.1:8888/;\n",
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "code-server, routes/index.ts; measured",
    },
    Rule {
        id: "OH-NGX-504",
        title: "cookies of an application hold for the whole site",
        severity: Severity::Warning,
        why: "A cookie with Path=/ is sent to OpenHands and to every other session.",
        failing: &[("            proxy_cookie_path / /apps/code-0/;\n", "")],
        passing: &[],
        setting: Setting::Usual,
        source: "nginx, ngx_http_proxy_module: proxy_cookie_path",
    },
    Rule {
        id: "OH-NGX-505",
        title: "a session directs nginx",
        severity: Severity::Warning,
        why: "X-Accel-Redirect of an answer makes nginx serve another location, also \
              one that is internal.",
        failing: &[(
            "        location ^~ /apps/ {\n",
            concat!(
                "        location /private/ {\n",
                "            internal;\n",
                "            root /srv;\n",
                "        }\n",
                "        location ^~ /apps/ {\n",
            ),
        )],
        passing: &[
            (
                "        location ^~ /apps/ {\n",
                concat!(
                    "        location /private/ {\n",
                    "            internal;\n",
                    "            root /srv;\n",
                    "        }\n",
                    "        location ^~ /apps/ {\n",
                ),
            ),
            (
                "        proxy_http_version 1.1;\n",
                concat!(
                    "        proxy_http_version 1.1;\n",
                    "        proxy_ignore_headers X-Accel-Redirect;\n",
                ),
            ),
        ],
        setting: Setting::Usual,
        source: "nginx, ngx_http_proxy_module: proxy_ignore_headers",
    },
    Rule {
        id: "OH-NGX-506",
        title: "a login that nobody has",
        severity: Severity::Error,
        why: "Without a file of users, auth_basic refuses everybody with 403.",
        failing: &[("        auth_basic_user_file /etc/nginx/openhands.users;\n", "")],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1, code-server 4.139",
    },
    Rule {
        id: "OH-NGX-507",
        title: "foreign pages may open WebSockets",
        severity: Severity::Error,
        why: "Browsers let any page open a WebSocket anywhere, with cookies and login. \
              openvscode-server and OpenHands do not look at the Origin: who visits a \
              hostile page gives his editor away.",
        failing: &[(
            concat!(
                "            if ($refused) { return 403; }\n",
                "            proxy_pass http://127.0.0.1:8889;\n",
            ),
            "            proxy_pass http://127.0.0.1:8889;\n",
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: 101 for a foreign Origin; CVE-2023-26114",
    },
    Rule {
        id: "OH-NGX-508",
        title: "two paths lead to one editor",
        severity: Severity::Warning,
        why: "Two ids with one port: one of them is a session that has ended, and \
              whoever opens it sees somebody else's.",
        failing: &[(
            "        location ^~ /apps/ {\n",
            concat!(
                "        location ^~ /vscode/more/ {\n",
                "            if ($refused) { return 403; }\n",
                "            proxy_pass http://127.0.0.1:8888/;\n",
                "            proxy_hide_header Service-Worker-Allowed;\n",
                "        }\n",
                "        location ^~ /apps/ {\n",
            ),
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "seen in old installations",
    },
    Rule {
        id: "OH-NGX-509",
        title: "the site's own page is refused",
        severity: Severity::Error,
        why: "The list of origins does not have the address by which browsers reach \
              this site.",
        failing: &[(
            "        \"https://oh.example\" 1;\n",
            "        \"https://other.example\" 1;\n",
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "follows from the text",
    },
    Rule {
        id: "OH-NGX-510",
        title: "a port that is no session's",
        severity: Severity::Error,
        why: "A route to ssh, to a database or to OpenHands gives it away under a \
              session's address.",
        failing: &[(
            "            proxy_pass http://127.0.0.1:40123/;\n",
            "            proxy_pass http://127.0.0.1:2375/;\n",
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "ports of services that trust loopback",
    },
    Rule {
        id: "OH-NGX-511",
        title: "a map that routes more than its keys",
        severity: Severity::Error,
        why: "default sends every unknown id to one session; a pattern sends many; a \
              variable as a value lets a client choose where it is led.",
        failing: &[
            (
                "    upstream openhands {\n",
                concat!(
                    "    map $uri $port {\n",
                    "        default 8888;\n",
                    "        /vscode/code/ 8888;\n",
                    "    }\n",
                    "    upstream openhands {\n",
                ),
            ),
            (
                "            proxy_pass http://127.0.0.1:8888/;\n",
                concat!(
                    "            rewrite \"^/vscode/code(/[^\\x00-\\x1f\\x7f]*)\\z\" $1 break;\n",
                    "            proxy_pass http://127.0.0.1:$port;\n",
                ),
            ),
        ],
        passing: &[
            (
                "    upstream openhands {\n",
                concat!(
                    "    map $uri $port {\n",
                    "        default '';\n",
                    "        /vscode/code/ 8888;\n",
                    "    }\n",
                    "    upstream openhands {\n",
                ),
            ),
            (
                "            proxy_pass http://127.0.0.1:8888/;\n",
                concat!(
                    "            rewrite \"^/vscode/code(/[^\\x00-\\x1f\\x7f]*)\\z\" $1 break;\n",
                    "            proxy_pass http://127.0.0.1:$port;\n",
                ),
            ),
        ],
        setting: Setting::Usual,
        source: "measured: nginx -t accepts all of these",
    },
    Rule {
        id: "OH-NGX-512",
        title: "a client splits lines",
        severity: Severity::Error,
        why: "nginx decodes %0d%0a in $uri and in captures. Written into a URI that \
              goes on, or into a Location, it begins a header of the client's own.",
        failing: &[(
            "        location /socket.io/ {\n",
            concat!(
                "        location /old {\n",
                "            return 301 https://oh.example$uri;\n",
                "        }\n",
                "        location /socket.io/ {\n",
            ),
        )],
        passing: &[(
            "        location /socket.io/ {\n",
            concat!(
                "        location /old {\n",
                "            return 301 https://oh.example$request_uri;\n",
                "        }\n",
                "        location /socket.io/ {\n",
            ),
        )],
        setting: Setting::Usual,
        source: "measured: upstream received X-Inj; gixy: http_splitting",
    },
    Rule {
        id: "OH-NGX-513",
        title: "localhost",
        severity: Severity::Warning,
        why: "localhost is 127.0.0.1 and ::1. Sessions listen on the first; on the \
              second any user of the machine may listen, and gets half of the \
              requests.",
        failing: &[(
            "            proxy_pass http://127.0.0.1:8888/;\n",
            "            proxy_pass http://localhost:8888/;\n",
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1",
    },
];
