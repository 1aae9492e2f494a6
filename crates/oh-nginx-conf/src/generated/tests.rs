use super::*;
use alloc::vec;
use proptest::prelude::*;

/// The generator that sends on to the repository's folder, as it wrote last.
const LATEST: &str = "# Auto-generated config for My Repo
# Generated at: 2025-11-17T21:22:00.000Z
# Repository: /var/www/github/my-repo
location /vscode/my-repo/ {
    # Automatically open the repository folder on initial access
    # Only redirect if: no folder param AND no query string at all
    set $redirect_needed 0;
    if ($arg_folder = \"\") {
        set $redirect_needed 1;
    }
    if ($args != \"\") {
        set $redirect_needed 0;
    }
    if ($redirect_needed = 1) {
        return 302 $scheme://$http_host/vscode/my-repo/?folder=/var/www/github/my-repo;
    }

    proxy_pass http://localhost:8889/;
    proxy_http_version 1.1;

    # WebSocket support (critical for VS Code)
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection 'upgrade';
    proxy_cache_bypass $http_upgrade;

    # Headers
    proxy_set_header Host $host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;

    # Timeouts for long-running operations
    proxy_read_timeout 86400s;
    proxy_send_timeout 86400s;

    # Allow large file uploads
    client_max_body_size 500M;
}
";

/// Another one, which named ids and not names.
const OTHER: &str = "# Auto-generated config for repository: ab_1
# Generated at: 2025-11-17T21:22:00.000Z
# Port: 8881
# Path: /var/www/github/ab_1

location /vsc/ab_1/ {
    proxy_pass http://127.0.0.1:8881/;
    proxy_http_version 1.1;

    # WebSocket support (CRITICAL for VS Code)
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection 'upgrade';
}
";

fn route(path: &str, id: &str, port: Option<u64>) -> Route {
    Route { path: path.into(), id: id.into(), port: port.and_then(Port::new) }
}

fn of(body: &str) -> String {
    format!("# Auto-generated config for x\n{body}")
}

fn line(text: &str) -> String {
    recognise(text).unwrap_err().to_string()
}

#[test]
fn what_the_generators_wrote_is_theirs() {
    let read = |text| recognise(text).unwrap();
    let whole = |routes| Generated { routes, is_torn: false };
    assert_eq!(read(LATEST), whole(vec![route("/vscode/my-repo/", "my-repo", Some(8889))]));
    assert_eq!(read(OTHER), whole(vec![route("/vsc/ab_1/", "ab_1", Some(8881))]));
    let first = of("location /vscode/x/ {\n    # Automatically open the repository folder\n    \
                    if ($arg_folder = \"\") {\n        return 302 /vscode/x/?folder=/srv/x;\n    }\n    \
                    proxy_pass http://localhost:8888/;\n}\n");
    assert_eq!(read(&first), whole(vec![route("/vscode/x/", "x", Some(8888))]));
    let exact = of("location = /vscode/x { return 301 /vscode/x/; }\n\
                    location ^~ /vscode/x/ { proxy_pass http://127.0.0.1:1; }\n");
    assert_eq!(read(&exact), whole(vec![route("/vscode/x/", "x", Some(1))]));
}

#[test]
fn what_they_wrote_and_nginx_refuses_is_theirs() {
    let blank = LATEST.replace("github/my-repo;", "github/my own repo;");
    assert_eq!(recognise(&blank).unwrap().routes[0].port, Port::new(8889));
    for port in ["undefined", "null", "NaN", "", "0", "65536", "99999999999999999999999"] {
        let text = LATEST.replace("8889", port);
        let read = recognise(&text).unwrap();
        assert_eq!(
            read,
            Generated { routes: vec![route("/vscode/my-repo/", "my-repo", None)], is_torn: false }
        );
    }
}

#[test]
fn what_ends_too_early_is_theirs_as_far_as_it_goes() {
    let torn = |text: &str| {
        let read = recognise(text).unwrap();
        assert!(read.is_torn, "{text}");
        read.routes
    };
    let (before, behind) = LATEST.split_once("8889/;\n").unwrap();
    assert_eq!(torn(before), [route("/vscode/my-repo/", "my-repo", None)]);
    let (middle, _) = behind.split_once("$remote_addr").unwrap();
    let middle = format!("{before}8889/;\n{middle}");
    assert_eq!(torn(&middle), [route("/vscode/my-repo/", "my-repo", Some(8889))]);
    assert_eq!(torn(&format!("{middle}\0\0\0\0")), torn(&middle));
    assert_eq!(torn(&of("loca")), []);
}

#[test]
fn what_somebody_has_changed_is_somebodys() {
    for (from, to, said) in [
        (
            "# Auto-generated config for",
            "# VS Code of",
            "it does not begin with `# Auto-generated config for`",
        ),
        (
            "# Headers",
            "# Headers: ask Ann first",
            "line 26 was written by no generator: # Headers: ask Ann first",
        ),
        ("# Headers", "# keep this", "line 26 was written by no generator: # keep this"),
        (
            "proxy_http_version 1.1;",
            "proxy_http_version 1.1; # why",
            "line 19 was written by no generator: proxy_http_version 1.1; # why",
        ),
        (
            "proxy_http_version 1.1",
            "allow 192.0.2.1",
            "line 19 was written by no generator: allow 192.0.2.1",
        ),
        ("86400s;", "1d;", "line 33 was written by no generator: proxy_read_timeout 1d"),
        (
            "'upgrade'",
            "$connection",
            "line 23 was written by no generator: proxy_set_header Connection $connection",
        ),
        (
            "localhost:8889/",
            "192.0.2.1:8889/",
            "line 18 was written by no generator: proxy_pass http://192.0.2.1:8889/",
        ),
        (
            "localhost:8889/",
            "localhost:8889/x/",
            "line 18 was written by no generator: proxy_pass http://localhost:8889/x/",
        ),
        (
            "/vscode/my-repo/ {",
            "/vscode/my.repo/ {",
            "line 4 was written by no generator: location /vscode/my.repo/",
        ),
        (
            "/vscode/my-repo/ {",
            "/vscode/ {",
            "line 4 was written by no generator: location /vscode/",
        ),
        (
            "/vscode/my-repo/ {",
            "/other/my-repo/ {",
            "line 4 was written by no generator: location /other/my-repo/",
        ),
        (
            "/vscode/my-repo/?",
            "/vscode/other/?",
            "line 15 was written by no generator: return 302 $scheme://$http_host/vscode/other/?folder=/var/ww…",
        ),
        ("($args != \"\")", "($args != 1)", "line 11 was written by no generator: if ($args != 1)"),
        ("500M;\n}", "500M;\n}\n}", "line 39: unexpected \"}\""),
        ("github/my-repo;", "github/a;deny all;", "line 15 was written by no generator: deny all"),
        (
            "    proxy_pass http://localhost:8889/;\n",
            "",
            "line 4 was written by no generator: location /vscode/my-repo/",
        ),
    ] {
        let text = LATEST.replacen(from, to, 1);
        assert_ne!(text, LATEST, "{from}");
        assert_eq!(line(&text), said, "{from}");
    }
    let text = of(&"location /vscode/x/ { proxy_pass http://127.0.0.1:1; }\n".repeat(2000));
    assert_eq!(line(&text), "it has more than 65536 bytes");
    // What ends too early, and not as they would have gone on.
    let torn =
        format!("{}\n    allow 192.0.2.1", LATEST.split_once("\n    proxy_cache").unwrap().0);
    assert_eq!(line(&torn), "line 24 was written by no generator: allow 192.0.2.1");
    assert_eq!(
        line(&of("location /vscode/x/ {\n  allow '")),
        "line 3 was written by no generator: allow \\'"
    );
}

proptest! {
    #[test]
    fn whatever_is_left_of_a_file_is_theirs(at in 0..LATEST.len()) {
        let text = LATEST.get(..at).unwrap();
        match recognise(text) {
            Err(fault) => prop_assert!(at < 27, "{at}: {fault}"),
            Ok(read) => {
                prop_assert!(at >= 27);
                prop_assert!(read.is_torn || read.routes.is_empty() || at + 1 == LATEST.len(), "{at}");
                for one in read.routes {
                    prop_assert!(one.port.is_none() || one.port == Port::new(8889));
                    prop_assert_eq!(one.id, "my-repo");
                }
            }
        }
    }

    #[test]
    fn one_foreign_line_makes_a_file_somebodys(
        at in 1..LATEST.lines().count(),
        which in 0..7_usize,
        end in 0..40_usize,
    ) {
        const FOREIGN: [&str; 7] = [
            "allow 192.0.2.1;", "include /etc/x;", "# keep", "auth_basic \"x\";",
            "location /x/ { return 403; }", "rewrite ^ /x;", "proxy_pass http://127.0.0.1:1; deny all;",
        ];
        let mut lines: Vec<&str> = LATEST.lines().collect();
        lines.insert(at, FOREIGN[which]);
        // Torn somewhere behind it, or whole.
        lines.truncate((at + 1 + end).max(at + 2));
        prop_assert!(recognise(&lines.join("\n")).is_err(), "{}", lines.join("\n"));
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a-z;{}'\"\\\\#$ /\\n\u{e9}\0]{0,80}") {
        let _read = recognise(&of(&text));
    }
}
