//! Keys, ciphers and versions of TLS.

use super::{Rule, Setting};
use crate::lint::Severity;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "OH-NGX-401",
        title: "no cipher for the certificate's key",
        severity: Severity::Error,
        why: "Ciphers that name ECDHE-RSA only cannot serve an ECDSA certificate: \
              every client of TLS 1.2 gets a handshake failure, while TLS 1.3 works.",
        failing: &[(
            "ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256;",
            "ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256;",
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: alert 40",
    },
    Rule {
        id: "OH-NGX-402",
        title: "old versions of TLS",
        severity: Severity::Error,
        why: "TLS 1.0 and 1.1 are broken and no browser speaks them; a server without \
              1.2 and 1.3 is reached by none.",
        failing: &[("ssl_protocols TLSv1.2 TLSv1.3;", "ssl_protocols TLSv1.1 TLSv1.2 TLSv1.3;")],
        passing: &[],
        setting: Setting::Usual,
        source: "RFC 8996",
    },
    Rule {
        id: "OH-NGX-403",
        title: "HTTP/2 in plain text",
        severity: Severity::Error,
        why: "Without ssl, a socket with http2 speaks nothing else: browsers and \
              WebSocket clients get bytes that they do not understand.",
        failing: &[(
            "        listen 443 ssl http2;\n",
            concat!("        listen 443 ssl http2;\n", "        listen 127.0.0.1:8080 http2;\n",),
        )],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: nginx 1.22.1",
    },
    Rule {
        id: "OH-NGX-404",
        title: "a certificate that is not used",
        severity: Severity::Error,
        why: "Without the word ssl the socket speaks plain HTTP, whatever certificate \
              the server has.",
        failing: &[("        listen 443 ssl http2;\n", "        listen 443;\n")],
        passing: &[],
        setting: Setting::Usual,
        source: "nginx, ngx_http_core_module: listen",
    },
    Rule {
        id: "OH-NGX-405",
        title: "no TLS",
        severity: Severity::Warning,
        why: "Without TLS a browser gives the editor no secure context: no service \
              worker, no webviews, no clipboard. And everybody on the way reads along.",
        failing: &[
            ("        listen 443 ssl http2;\n", "        listen 80;\n"),
            (
                concat!(
                    "        ssl_certificate /etc/ssl/oh/fullchain.pem;\n",
                    "        ssl_certificate_key /etc/ssl/oh/privkey.pem;\n",
                ),
                "",
            ),
            ("        \"https://oh.example\" 1;\n", "        \"http://oh.example\" 1;\n"),
            ("X-Forwarded-Port 443;", "X-Forwarded-Port 80;"),
        ],
        passing: &[],
        setting: Setting::Usual,
        source: "measured: Chromium",
    },
];
