use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::dev::dotenv;
use crate::dev::setup::{Checkout, Running, TextFile, VariableFile};

/// A configuration as OpenHands has it: what the proxy leads to is made of variables.
const OF_OPENHANDS: &str = "
export default defineConfig(({ mode }) => {
  const { VITE_BACKEND_HOST = '127.0.0.1:3000', VITE_USE_TLS = 'false', VITE_FRONTEND_PORT = '3001' } =
    loadEnv(mode, process.cwd());
  const WS_URL = `${VITE_USE_TLS === 'true' ? 'wss' : 'ws'}://${VITE_BACKEND_HOST}/`;
  return {
    server: {
      port: Number.parseInt(VITE_FRONTEND_PORT, 10),
      proxy: { '/socket.io': { target: WS_URL, ws: true, changeOrigin: true } },
    },
  };
});";

const WORKS: Seen = Seen { server: Server::Works { is_tls: false }, through: Through::Works };

fn pairs(text: &str) -> Vec<(String, String)> {
    let all = dotenv::assignments(text);
    all.into_iter().map(|one| (one.key, one.value)).collect()
}

fn file(name: &str, text: &str) -> VariableFile {
    VariableFile { name: name.to_owned(), assignments: dotenv::assignments(text) }
}

fn listens(port: u16, address: &str, environment: Option<&str>) -> Option<Listens> {
    let address: IpAddr = address.parse().unwrap();
    let process = Running { pid: 7, environment: environment.map(pairs), ..Running::default() };
    Some(Listens { addresses: vec![SocketAddr::new(address, port)], process: Some(process) })
}

/// Both run, as they should, with what is in frontend/.env.
fn setup(env: &str) -> Setup {
    Setup {
        server_port: 12000,
        vite_port: Some(12001),
        server: listens(12000, "127.0.0.1", Some("")),
        vite: listens(12001, "127.0.0.1", Some("")),
        vite_files: vec![file("frontend/.env", env)],
        vite_config: Some(TextFile {
            name: "frontend/vite.config.ts".to_owned(),
            text: OF_OPENHANDS.to_owned(),
        }),
        checkout: Some(Checkout { has_socket_io: true, has_makefile: true, has_built_page: false }),
        ..Setup::default()
    }
}

fn good() -> Setup {
    setup("VITE_BACKEND_HOST=127.0.0.1:12000\nVITE_FRONTEND_PORT=12001\n")
}

fn shown(setup: &Setup, seen: Seen) -> Vec<String> {
    let line = |one: &Finding| {
        format!("{} {} {}: {}", one.rule.id, one.severity.word(), one.place, one.what)
    };
    judge(setup, seen).iter().map(line).collect()
}

#[test]
fn what_is_as_it_should_be_has_no_finding() {
    assert_eq!(shown(&good(), WORKS), Vec::<String>::new());
}

#[test]
fn what_vite_is_told_is_judged_line_by_line() {
    let unreached = Seen { through: Through::Unreached, ..WORKS };
    for (env, seen, expected) in [
        (
            "",
            unreached,
            vec![
                "DEV-3 error frontend/vite.config.ts:9: ws://127.0.0.1:3000/, as VITE_BACKEND_HOST is not set: \
                  port 3000, and the server is meant to be on port 12000",
            ],
        ),
        (
            "A=1\nVITE_BACKEND_HOST=127.0.0.1:3000",
            unreached,
            vec![
                "DEV-3 error VITE_BACKEND_HOST, frontend/.env:2: 127.0.0.1:3000: port 3000, and the server is \
                  meant to be on port 12000",
            ],
        ),
        (
            "VITE_BACKEND_HOST=127.0.0.1:3000",
            WORKS,
            vec![
                "DEV-3 warning VITE_BACKEND_HOST, frontend/.env:1: 127.0.0.1:3000: port 3000, and the server is \
                  meant to be on port 12000",
            ],
        ),
        (
            "VITE_BACKEND_HOST=http://127.0.0.1:12000",
            unreached,
            vec![
                "DEV-6 error VITE_BACKEND_HOST, frontend/.env:1: \"http://127.0.0.1:12000\": it has a scheme",
            ],
        ),
        (
            "VITE_BACKEND_HOST=localhost",
            unreached,
            vec!["DEV-6 error VITE_BACKEND_HOST, frontend/.env:1: \"localhost\": it has no port"],
        ),
        (
            "VITE_BACKEND_HOST=0.0.0.0:12000",
            WORKS,
            vec!["DEV-7 warning VITE_BACKEND_HOST, frontend/.env:1: 0.0.0.0:12000"],
        ),
        (
            "VITE_BACKEND_HOST=oh.example:12000",
            WORKS,
            vec![
                "DEV-3 warning VITE_BACKEND_HOST, frontend/.env:1: oh.example:12000: another machine than the one \
                  that was asked",
            ],
        ),
        (
            "VITE_BACKEND_HOST=127.0.0.1:12000\nVITE_USE_TLS=true",
            unreached,
            vec![
                "DEV-4 error VITE_USE_TLS, frontend/.env:2: wss://127.0.0.1:12000/, and port 12000 speaks plain \
                  HTTP",
            ],
        ),
        (
            "VITE_BACKEND_HOST=127.0.0.1:12000\nVITE_USE_TLS=false",
            Seen { server: Server::Works { is_tls: true }, ..unreached },
            vec![
                "DEV-5 error VITE_USE_TLS, frontend/.env:2: ws://127.0.0.1:12000/, and port 12000 speaks TLS",
            ],
        ),
        (
            "VITE_BACKEND_HOST=127.0.0.1:12000\nVITE_USE_TLS=TRUE",
            WORKS,
            vec!["DEV-14 warning VITE_USE_TLS, frontend/.env:2: TRUE"],
        ),
        (
            "VITE_BACKEND_HOST=127.0.0.1:12000\nVITE_INSECURE_SKIP_VERIFY=true",
            WORKS,
            vec![
                "DEV-15 note VITE_INSECURE_SKIP_VERIFY, frontend/.env:2: true, and VITE_USE_TLS is not",
            ],
        ),
        (
            "VITE_BACKEND_HOST=127.0.0.1:12000\nVITE_USE_TLS=true\nVITE_INSECURE_SKIP_VERIFY=true",
            Seen { server: Server::Works { is_tls: true }, ..WORKS },
            vec!["DEV-25 note VITE_INSECURE_SKIP_VERIFY, frontend/.env:3: true"],
        ),
        (
            "VITE_BACKEND_HOST=127.0.0.1:12000\nVITE_BACKEND_BASE_URL=127.0.0.1:12000",
            WORKS,
            vec!["DEV-8 warning VITE_BACKEND_BASE_URL, frontend/.env:2: 127.0.0.1:12000"],
        ),
        (
            "VITE_BACKEND_HOST=127.0.0.1:12000\nVITE_BACKEND_BASE_URL=localhost:3000",
            WORKS,
            vec![
                "DEV-8 error VITE_BACKEND_BASE_URL, frontend/.env:2: localhost:3000, and the server is meant to be \
                  on port 12000",
            ],
        ),
        (
            "VITE_BACKEND_HOST=127.0.0.1:12000\nVITE_BACKEND_BASE_URL=http://oh.example",
            WORKS,
            vec![
                "DEV-6 error VITE_BACKEND_BASE_URL, frontend/.env:2: \"http://oh.example\": the page puts its own \
                  scheme before it",
            ],
        ),
    ] {
        assert_eq!(shown(&setup(env), seen), expected, "{env}");
    }
}

#[test]
fn the_environment_counts_before_the_files_and_that_of_what_runs_before_ours() {
    let mut setup = good();
    setup.command = pairs("VITE_BACKEND_HOST=127.0.0.1:1");
    assert_eq!(
        shown(&setup, WORKS),
        ["DEV-23 note Vite (pid 7): VITE_BACKEND_HOST is 127.0.0.1:1 here, and not set there"]
    );
    setup.vite = None;
    let seen = Seen { through: Through::Unknown, ..WORKS };
    assert_eq!(
        shown(&setup, seen),
        [
            "DEV-3 error VITE_BACKEND_HOST, environment: 127.0.0.1:1: port 1, and the server is meant to be on port 12000"
        ]
    );
    setup.vite = listens(12001, "127.0.0.1", Some("VITE_BACKEND_HOST=127.0.0.1:2"));
    setup.command = Vec::new();
    let seen = Seen { through: Through::Unreached, ..WORKS };
    assert_eq!(
        shown(&setup, seen),
        [
            "DEV-3 error VITE_BACKEND_HOST, environment of Vite (pid 7): 127.0.0.1:2: port 2, and the server is meant to \
          be on port 12000"
        ]
    );
}

#[test]
fn the_entries_of_the_proxy_are_judged() {
    let silent = Seen { through: Through::PollsAlone, ..WORKS };
    let kept = Seen { through: Through::Kept, ..WORKS };
    let unknown = Seen { through: Through::Other("GW-2"), ..WORKS };
    for (entries, seen, expected) in [
        (
            "'/socket.io': { target: 'http://127.0.0.1:12000' }",
            silent,
            vec![
                "DEV-2 error frontend/vite.config.ts:1: the entry \"/socket.io\" does not say ws: true",
            ],
        ),
        (
            "'/api': 'http://127.0.0.1:12000'",
            kept,
            vec![
                "DEV-1 error frontend/vite.config.ts:1: no key of server.proxy begins the path /socket.io/",
            ],
        ),
        (
            "'/socket.io': { target: 'http://127.0.0.1:3000', ws: true }",
            Seen { through: Through::Unreached, ..WORKS },
            vec![
                "DEV-3 error frontend/vite.config.ts:1: http://127.0.0.1:3000: port 3000, and the server is meant to \
                  be on port 12000",
            ],
        ),
        (
            "'/socket.io': { target: 'https://127.0.0.1:12000', ws: true }",
            Seen { through: Through::Unreached, ..WORKS },
            vec![
                "DEV-4 error frontend/vite.config.ts:1: https://127.0.0.1:12000, and port 12000 speaks plain HTTP",
            ],
        ),
        (
            "'/socket.io': { target: 'ws://127.0.0.1:12000', rewrite: (p) => p.slice(1) }",
            unknown,
            vec!["DEV-26 error frontend/vite.config.ts:1: the entry \"/socket.io\" has a rewrite"],
        ),
        (
            "'/socket.io': { target: 'ws://127.0.0.1:12000', rewrite: (p) => p }",
            WORKS,
            vec!["DEV-26 note frontend/vite.config.ts:1: the entry \"/socket.io\" has a rewrite"],
        ),
        // What the file says is right, and what runs is not.
        (
            "'/socket.io': { target: 'ws://127.0.0.1:12000' }",
            silent,
            vec!["DEV-2 error port 12001: a poll is answered, and an upgrade is not"],
        ),
        (
            "'/socket.io': { target: 'ws://127.0.0.1:12000' }",
            kept,
            vec!["DEV-1 error port 12001: Vite itself answers the path of Socket.IO"],
        ),
        (
            "'/socket.io': { target: 'ws://127.0.0.1:12000' }",
            Seen { through: Through::Unreached, ..WORKS },
            vec![
                "DEV-3 error port 12001: Vite cannot connect to its target, or does not trust its certificate",
            ],
        ),
        (
            "'/socket.io': { target: 'ws://127.0.0.1:12000' }",
            unknown,
            vec!["DEV-29 error port 12001: GW-2 of oh-wscheck"],
        ),
        (
            "...entries",
            WORKS,
            vec!["DEV-28 note frontend/vite.config.ts:1: its proxy is put together by code"],
        ),
        (
            "'/socket.io': { target: where(), ws: true }",
            WORKS,
            vec![
                "DEV-28 note frontend/vite.config.ts:1: the target of its proxy is worked out by code",
            ],
        ),
    ] {
        let mut setup = good();
        let text = format!("export default {{ server: {{ proxy: {{ {entries} }} }} }}");
        setup.vite_config = Some(TextFile { name: "frontend/vite.config.ts".to_owned(), text });
        assert_eq!(shown(&setup, seen), expected, "{entries}");
    }
}

#[test]
fn what_nobody_reads_is_named_where_it_is_set() {
    let mut setup = good();
    setup.command = pairs("CORS_ALLOWED_ORIGINS=*\nPORT=12000\nBACKEND_PORT=12000\n");
    setup.server = listens(12000, "127.0.0.1", Some("CORS_ALLOWED_ORIGINS=*\nPORT=1\n"));
    setup.server_file = Some(file(".env", "BACKEND_HOST=0.0.0.0\nVITE_USE_TLS=false\n"));
    setup.other_files = vec![file("frontend/.env.websocket", "# a\nVITE_USE_TLS=false\n")];
    assert_eq!(
        shown(&setup, WORKS),
        [
            "DEV-10 warning CORS_ALLOWED_ORIGINS, environment: *",
            "DEV-11 warning PORT, environment: 12000",
            "DEV-11 warning PORT, environment of the server (pid 7): 1",
            "DEV-12 warning BACKEND_HOST, .env:1: 0.0.0.0",
            "DEV-13 warning frontend/.env.websocket:2: VITE_USE_TLS",
            "DEV-13 warning .env:2: VITE_USE_TLS",
            "DEV-12 note BACKEND_PORT, environment: 12000",
        ]
    );
}

#[test]
fn the_server_is_judged_by_what_it_was_started_with() {
    let checkout =
        |has_built_page| Checkout { has_socket_io: true, has_makefile: true, has_built_page };
    let nobody = Seen::default();
    let mut setup = good();
    setup.checkout = Some(checkout(true));
    assert_eq!(
        shown(&setup, WORKS),
        ["DEV-17 note SERVE_FRONTEND, not set: frontend/build is there, so both ports have a page"]
    );
    setup.server = listens(12000, "127.0.0.1", Some("SERVE_FRONTEND=true\nDEBUG=false"));
    assert_eq!(
        shown(&setup, WORKS),
        [
            "DEV-17 warning SERVE_FRONTEND, environment of the server (pid 7): frontend/build is there, so both ports \
             have a page",
            "DEV-19 note DEBUG, environment of the server (pid 7): false",
        ]
    );
    setup.server = listens(12000, "127.0.0.1", Some("SERVE_FRONTEND=false\nDEBUG=1"));
    assert_eq!(shown(&setup, WORKS), Vec::<String>::new());
    (setup.server, setup.vite, setup.checkout) = (None, None, Some(checkout(false)));
    assert_eq!(
        shown(&setup, nobody),
        ["DEV-18 error SERVE_FRONTEND, not set: there is no frontend/build"]
    );
    setup.command = pairs("SERVE_FRONTEND=FALSE");
    assert_eq!(shown(&setup, nobody), Vec::<String>::new());

    let mut setup = good();
    setup.server = listens(12000, "0.0.0.0", Some(""));
    setup.vite = listens(12001, "::", Some(""));
    assert_eq!(
        shown(&setup, WORKS),
        [
            "DEV-24 warning port 12000: the server listens on 0.0.0.0",
            "DEV-24 warning port 12001: Vite listens on ::",
        ]
    );
    setup.server = listens(12000, "0.0.0.0", Some("SESSION_API_KEY=a-key"));
    assert_eq!(shown(&setup, WORKS), Vec::<String>::new());
    let set = setup.set();
    let key = set.iter().find(|(name, _)| *name == KEY).unwrap();
    assert_eq!(key.1.value, "<redacted>");

    let mut setup = good();
    setup.checkout = Some(Checkout { has_socket_io: false, ..checkout(false) });
    setup.config_toml = Some(TextFile { name: "config.toml".to_owned(), text: "[".to_owned() });
    assert_eq!(
        shown(&setup, Seen { server: Server::Fails { is_tls: false }, ..nobody }),
        ["DEV-30 error openhands/server: there is no openhands/server/listen_socket.py"]
    );
}

#[test]
fn config_toml_is_read_as_openhands_reads_it() {
    let mut setup = good();
    let mut judged = |text: &str, runs: bool| {
        setup.config_toml =
            Some(TextFile { name: "config.toml".to_owned(), text: text.to_owned() });
        setup.sandbox_source = Some("class S:\n    of_this_version: int = 1\n".to_owned());
        setup.server = if runs { listens(12000, "127.0.0.1", Some("")) } else { None };
        setup.command = pairs("SERVE_FRONTEND=false");
        let found = shown(&setup, WORKS);
        found.into_iter().filter(|line| !line.starts_with("DEV-23")).collect::<Vec<_>>()
    };
    assert_eq!(judged("[core]\n[sandbox]\nof_this_version = 1\n", false), Vec::<String>::new());
    assert_eq!(
        judged("[core]\na = \n", true),
        ["DEV-20 error config.toml:2: this line is no TOML"]
    );
    assert_eq!(
        judged("[core]\n[sandbox]\ncors = 1\n", false),
        ["DEV-21 error config.toml:3: [sandbox] has the key \"cors\""]
    );
    assert_eq!(
        judged("[core]\n[sandbox]\ncors = 1\n", true),
        ["DEV-21 warning config.toml:3: [sandbox] has the key \"cors\""]
    );
    assert_eq!(
        judged("[core]\ncors = 1\n[websocket]\na = 1\n", true),
        [
            "DEV-22 warning config.toml:2: [core] has the key \"cors\"",
            "DEV-22 warning config.toml:3: the table [websocket]",
        ]
    );
    assert_eq!(
        judged("[llm]\n", true),
        ["DEV-22 note config.toml: there is no [core]: its keys have their defaults"]
    );
}

#[test]
fn a_page_of_https_is_not_mixed_with_a_plain_server() {
    let mut setup =
        setup("VITE_BACKEND_HOST=127.0.0.1:12000\nVITE_BACKEND_BASE_URL=oh.example:12000");
    setup.page_is_tls = true;
    let past = "DEV-8 warning VITE_BACKEND_BASE_URL, frontend/.env:2: oh.example:12000";
    let mixed = |severity: &str| {
        format!(
            "DEV-9 {severity} VITE_BACKEND_BASE_URL, frontend/.env:2: the page came by https, so it asks \
             wss://oh.example:12000"
        )
    };
    assert_eq!(shown(&setup, WORKS), [mixed("error"), past.to_owned()]);
    let unknown = Seen { server: Server::Unknown, ..WORKS };
    assert_eq!(shown(&setup, unknown), [past.to_owned(), mixed("warning")]);
    // Through Vite, whatever it speaks to the server, the page asks where it came from.
    setup.vite_files = good().vite_files;
    assert_eq!(shown(&setup, WORKS), Vec::<String>::new());
}

#[test]
fn vite_is_looked_for_where_it_would_be() {
    let unknown = Seen { through: Through::Unknown, ..WORKS };
    for (env, expected) in [
        ("VITE_FRONTEND_PORT=12001", vec![]),
        (
            "VITE_FRONTEND_PORT=3001",
            vec![
                "DEV-16 warning VITE_FRONTEND_PORT, frontend/.env:2: 3001, and Vite is meant to be on port 12001",
            ],
        ),
        (
            "",
            vec![
                "DEV-16 warning frontend/vite.config.ts: port 3001, and Vite is meant to be on port 12001",
            ],
        ),
    ] {
        let mut setup = setup(&format!("VITE_BACKEND_HOST=127.0.0.1:12000\n{env}"));
        setup.vite = None;
        assert_eq!(shown(&setup, unknown), expected, "{env}");
    }
}

#[test]
fn what_runs_elsewhere_and_what_could_not_be_read_is_told() {
    let mut setup = good();
    if let Some(process) = setup.server.as_mut().and_then(|listens| listens.process.as_mut()) {
        process.elsewhere = Some("/srv/a b".to_owned());
        process.environment = None;
    }
    setup.unread.push(("frontend/.env.local".to_owned(), "it is no plain file".to_owned()));
    let found = judge(&setup, WORKS);
    let told: Vec<_> = found.iter().map(|one| (one.rule.id, one.what.as_str())).collect();
    assert_eq!(
        told,
        [
            ("DEV-23", "it works in /srv/a b: the files here are not its own"),
            ("DEV-27", "it is no plain file"),
        ]
    );
    assert_eq!(found[0].next, ["oh-wscheck dev '/srv/a b'"]);
}
