//! Mutants of the healthy site, and what is demanded of the linter about each.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::clients::{Seen, USABLE};
use crate::site::Site;

/// Lines that are changed: a part of a line, and what takes its place.
const VALUES: &[(&str, &[&str])] = &[
    (
        "Host oh.example:",
        &["Host $host;#", "Host $proxy_host;#", "Host $http_host;#", "Host $host:$server_port;#"],
    ),
    ("Upgrade $upgrade", &["Upgrade ''", "Upgrade $http_upgrade", "Upgrade h2c"]),
    (
        "Connection $connection_upgrade",
        &["Connection ''", "Connection close", "Connection keep-alive", "Connection upgrade"],
    ),
    ("proxy_http_version 1.1", &["proxy_http_version 1.0"]),
    ("proxy_read_timeout 1h", &["proxy_read_timeout 1s", "proxy_read_timeout 2h"]),
    (
        "client_max_body_size 16m",
        &[
            "client_max_body_size 1m",
            "client_max_body_size 100k",
            "client_max_body_size 0",
            "client_max_body_size 5m",
        ],
    ),
    ("absolute_redirect off", &["absolute_redirect on"]),
    ("auth_basic OpenHands", &["auth_basic off", "auth_basic Other"]),
    ("ssl http2;", &["ssl;", "http2;", ";"]),
    ("server_name oh.example", &["server_name _"]),
    ("ECDHE-ECDSA-AES128-GCM-SHA256:", &[""]),
    (":ECDHE-RSA-AES128-GCM-SHA256", &[""]),
    ("TLSv1.2 TLSv1.3", &["TLSv1.2", "TLSv1.3", "TLSv1.1 TLSv1.2 TLSv1.3"]),
    ("X-Forwarded-For $remote_addr", &["X-Forwarded-For $proxy_add_x_forwarded_for"]),
    ("X-Forwarded-Proto $scheme", &["X-Forwarded-Proto http", "X-Forwarded-Proto https"]),
    ("Forwarded ''", &["Forwarded $http_forwarded"]),
    ("default upgrade;", &["default close;", "default Upgrade;"]),
    ("websocket websocket;", &["websocket '';"]),
    ("default 1;", &["default 0;"]),
    ("'' 0;", &["'' 1;"]),
    ("'' 1;", &["'' 0;"]),
    ("\"https://oh.example:", &["\"https://other.example:", "\"http://oh.example:"]),
    ("10 1;", &["10 0;", "00 1;", "11 1;"]),
    ("default 0;", &["default 1;"]),
    (
        "location /socket.io/",
        &[
            "location ^~ /socket.io/",
            "location /socket.io",
            "location = /socket.io/",
            "location /other/",
        ],
    ),
    ("location ^~ /vscode/ ", &["location = /vscode/ ", "location /vscode/ "]),
    (
        "location ^~ /vscode/code/",
        &["location ^~ /vscode/code", "location /vscode/code/", "location = /vscode/code/"],
    ),
    ("location / {", &["location = / {", "location ^~ / {"]),
    (
        "if ($refused) { return 403; }",
        &[
            "if ($refused) { return 404; }",
            "if ($upgrading) { return 403; }",
            "if ($http_upgrade = websocket) { return 403; }",
        ],
    ),
    ("if ($origin_ok = 0)", &["if ($origin_ok = 1)", "if ($origin_ok)", "if ($refused)"]),
    ("return 404;", &["return 200;", "return 301 /;", "return 503;"]),
    (
        "proxy_pass http://openhands;",
        &[
            "proxy_pass http://openhands/;",
            "proxy_pass https://openhands;",
            "proxy_pass http://openhands$uri;",
        ],
    ),
    ("proxy_pass http://127.0.0.1:", &["proxy_pass http://localhost:", "proxy_pass http://[::1]:"]),
    (
        "/;\n            proxy_hide",
        &[
            ";\n            proxy_hide",
            "//;\n            proxy_hide",
            "/x/;\n            proxy_hide",
        ],
    ),
];

/// Lines that are written below a line.
const ADDED: &[(&str, &[&str])] = &[
    ("server_tokens off;", &["underscores_in_headers on;", "keepalive_timeout 5s;"]),
    (
        "auth_basic OpenHands;",
        &[
            "satisfy any; allow 127.0.0.1;",
            "proxy_intercept_errors on; error_page 403 /x;",
            "proxy_buffering off;",
            "proxy_request_buffering off;",
            "location ~* \\.(js|css|svg)$ { root /var/www; }",
            "location ~ \\.php$ { return 404; }",
            "location = /x { return 301 $uri; }",
            "location /x { return 301 $uri; }",
        ],
    ),
    (
        "location /socket.io/ {",
        &[
            "add_header Access-Control-Allow-Origin *;",
            "limit_except GET { deny all; }",
            "proxy_set_header X-Real-IP $remote_addr;",
            "proxy_buffering off;",
            "deny all;",
            "add_header X-Frame-Options DENY;",
        ],
    ),
    (
        "location ^~ /vscode/code/ {",
        &[
            "if ($arg_folder = '') { return 302 /vscode/code/?folder=@FOLDER@; }",
            "if ($args = '') { return 302 /vscode/code/?folder=@FOLDER@; }",
            "proxy_set_header X-Forwarded-Path /vscode/code/;",
            "proxy_buffering off;",
            "auth_basic off;",
            "rewrite ^/vscode/code/(.*)$ /$1 break;",
            "if ($request_method = POST) { return 405; }",
            "proxy_cookie_path / /vscode/code/;",
            "if ($http_origin = '') { return 403; }",
        ],
    ),
];

/// What differs from the healthy site.
pub(crate) struct Mutant {
    pub(crate) text: String,
    /// The changed line, before and after.
    pub(crate) about: String,
}

/// Lines that keep the laboratory's nginx within its folder.
const SCAFFOLD: [&str; 3] = ["pid ", "error_log ", "_temp_path "];

/// Returns every mutant, in the order of lines; those that lead to a folder lead to this one.
pub(crate) fn mutants(healthy: &str, folder: &str) -> Vec<Mutant> {
    let mut out = Vec::new();
    let mut texts = BTreeSet::from([healthy.to_owned()]);
    let lines: Vec<&str> = healthy.split_inclusive('\n').collect();
    let mut start = 0;
    for line in lines {
        let end = start + line.len();
        let shown = line.trim();
        let is_scaffold = SCAFFOLD.iter().any(|part| shown.contains(part));
        if shown.is_empty() || shown.starts_with('#') || is_scaffold {
            start = end;
            continue;
        }
        let mut push = |range: std::ops::Range<usize>, new: &str, about: String| {
            let mut text = healthy.to_owned();
            text.replace_range(range, new);
            if texts.insert(text.clone()) {
                out.push(Mutant { text, about });
            }
        };
        push(start..end, "", format!("without `{shown}`"));
        for (part, others) in VALUES {
            let found = healthy.get(start..).and_then(|rest| rest.find(part)).map(|at| start + at);
            let Some(at) = found.filter(|at| *at < end) else { continue };
            for other in *others {
                let one = other.trim().lines().next().unwrap_or_default();
                push(at..at + part.len(), other, format!("`{shown}` with {one:?}"));
            }
        }
        for (above, added) in ADDED.iter().filter(|(above, _)| shown == *above) {
            for new in *added {
                let line = new.replace("@FOLDER@", folder);
                push(end..end, &format!("{line}\n"), format!("`{new}` below `{above}`"));
            }
        }
        start = end;
    }
    out
}

/// How often each thing was so.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// nginx itself refuses the mutant, and that is said.
    pub(crate) refused: usize,
    /// Clients see no difference, and nothing is called an error.
    pub(crate) harmless: usize,
    /// Clients see a difference, it is named, and the printed lines take it away.
    pub(crate) healed: usize,
    /// The same, but only the operator can decide what to write.
    pub(crate) left_to_the_operator: usize,
    /// What was wrong at first, and is not at a second look.
    pub(crate) looked_again: usize,
    /// What some mutant broke.
    pub(crate) broken: BTreeSet<String>,
}

/// Things by which each client shows that it looks: some mutant breaks each of them.
const LOOKED_AT: [&str; 9] = [
    "socket.io: polling",
    "socket.io: WebSocket",
    "socket.io in the browser: polling",
    "editor: script",
    "editor: service worker of the whole site",
    "a page beside the site: WebSocket of Socket.IO",
    "socket.io: foreign WebSocket",
    "workbench",
    "tls 1.2",
];

/// The most mutants that may need a second look.
const LOOKED_AGAIN_MAX: usize = 4;

/// Demands that every client found something broken, and knew it at once.
pub(crate) fn does_look(tally: &Tally) -> Result<()> {
    ensure!(tally.looked_again <= LOOKED_AGAIN_MAX, "{tally:?}");
    let blind = LOOKED_AT.into_iter().filter(|what| !tally.broken.contains(*what));
    let blind: Vec<&str> = blind.collect();
    ensure!(blind.is_empty(), "nothing breaks {blind:?}: {tally:?}");
    Ok(())
}

/// Demands that a person can work on the healthy site.
pub(crate) fn is_usable(seen: &Seen) -> Result<()> {
    let is_it = |(what, is): &(String, String)| what == "workbench" && is == USABLE;
    ensure!(seen.iter().any(is_it), "{seen:#?}");
    Ok(())
}

/// Judges one mutant; what is wrong with the linter's answer, if anything. What is wrong is looked at
/// once more, as a browser may be late; how often is counted.
pub(crate) fn judge(
    site: &mut Site,
    healthy: &Seen,
    mutant: &Mutant,
    tally: &mut Tally,
) -> Result<Option<String>> {
    if judge_once(site, healthy, mutant, tally)?.is_none() {
        return Ok(None);
    }
    tally.looked_again += 1;
    judge_once(site, healthy, mutant, tally)
}

fn judge_once(
    site: &mut Site,
    healthy: &Seen,
    mutant: &Mutant,
    tally: &mut Tally,
) -> Result<Option<String>> {
    let result = site.lint(&mutant.text)?;
    if result["nginx"]["answer"] == "refused" {
        tally.refused += 1;
        return Ok((!names(&result, "OH-NGX-001"))
            .then(|| format!("{}: refused and not said", mutant.about)));
    }
    ensure!(result["nginx"]["answer"] == "accepted", "{result}");
    let serves = mutant.text.contains("listen 127.0.0.1");
    // Without its address a server would take port 80 of the machine: nobody reaches the site then.
    let seen =
        if serves { site.seen(&mutant.text, &mutant.about, Some(healthy))? } else { Vec::new() };
    let mut about = format!("{}\n", mutant.about);
    let is_equal = seen == expected(healthy, &seen);
    about += &differences("", healthy, &seen);
    let pairs = seen.iter().zip(expected(healthy, &seen)).filter(|(is, was)| *is != was);
    tally.broken.extend(pairs.map(|((what, _), _)| what.clone()));
    for finding in findings(&result) {
        writeln!(
            about,
            "    {} {} {} {}",
            finding["rule"], finding["severity"], finding["sure"], finding["what"]
        )?;
    }
    let errors =
        findings(&result).filter(|one| one["severity"] == "error" && one["sure"] == true).count();
    if is_equal && serves {
        if errors > 0 {
            return Ok(Some(format!("harmless, and called an error: {about}")));
        }
        tally.harmless += 1;
        return Ok(None);
    }
    if findings(&result).next().is_none() {
        return Ok(Some(format!("broken, and not named: {about}")));
    }
    let has_no_lines =
        findings(&result).any(|one| one["changes"].as_array().is_none_or(Vec::is_empty));
    if has_no_lines || !serves {
        tally.left_to_the_operator += 1;
        return Ok(None); // Only the operator can decide.
    }
    // A second look, for what the first mending brought to light.
    let mended = applied(&mutant.text, &result)?;
    let again = site.lint(&mended)?;
    let mended = applied(&mended, &again)?;
    let is_served = site.lint(&mended)?["nginx"]["answer"] == "accepted";
    let seen =
        if is_served { site.seen(&mended, &mutant.about, Some(healthy))? } else { Vec::new() };
    if seen == expected(healthy, &seen) && is_served {
        tally.healed += 1;
        return Ok(None);
    }
    about += &differences("mended, ", healthy, &seen);
    Ok(Some(format!(
        "not healed by the printed lines (accepted: {is_served}): {about}\n{}",
        changes(&result)
    )))
}

/// What the healthy site shows of the same things; TLS is looked at where it matters.
pub(crate) fn expected(healthy: &Seen, seen: &Seen) -> Seen {
    let known =
        |what: &str| healthy.iter().find(|(name, _)| name == what).map(|(_, is)| is.clone());
    seen.iter()
        .map(|(what, _)| (what.clone(), known(what).unwrap_or_else(|| "true".to_owned())))
        .collect()
}

fn differences(when: &str, healthy: &Seen, seen: &Seen) -> String {
    let expected = expected(healthy, seen);
    let pairs = seen.iter().zip(&expected).filter(|((_, is), (_, was))| is != was);
    pairs.map(|((what, is), (_, was))| format!("    {when}{what}: {is}, not {was}\n")).collect()
}

fn findings(result: &Value) -> impl Iterator<Item = &Value> {
    result["findings"].as_array().into_iter().flatten()
}

fn names(result: &Value, rule: &str) -> bool {
    findings(result).any(|finding| finding["rule"] == rule)
}

fn changes(result: &Value) -> String {
    findings(result).map(|finding| format!("{}\n", finding["changes"])).collect()
}

/// Writes all printed lines where they belong.
fn applied(text: &str, result: &Value) -> Result<String> {
    let mut changes = BTreeSet::new();
    for change in findings(result).flat_map(|one| one["changes"].as_array().into_iter().flatten()) {
        let byte =
            |index: usize| change["bytes"][index].as_u64().and_then(|b| usize::try_from(b).ok());
        let lines = change["lines"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let lines: Vec<&str> = lines.collect();
        changes.insert((
            byte(0).unwrap_or_default(),
            byte(1).unwrap_or_default(),
            lines.join("\n"),
        ));
    }
    let mut out = text.to_owned();
    let mut last = usize::MAX;
    for (start, end, lines) in changes.iter().rev() {
        // Two replacements of one line: the first is enough.
        if *end > last {
            continue;
        }
        ensure!(out.is_char_boundary(*start) && out.is_char_boundary(*end), "{start}..{end}");
        out.replace_range(*start..*end, &format!("\n{lines}\n"));
        last = if start == end { last } else { *start };
    }
    Ok(out)
}
