//! A hundred thousand random session files: every line that they become has the one form, nginx takes
//! the text without a word, and gixy finds nothing in it.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use oh_model::id::InstanceId;
use oh_model::instance::{Instance, KEY_DIGITS, Key, Server, Subject};
use oh_model::listening::Listening;
use oh_model::path::{InRoot, RealPath};
use oh_model::port::{Port, PortRange, PortSet};
use oh_model::routes::{FileNumber, FoundSession, Inputs, Policy, agree};
use oh_model::upstream::{Target, Upstream};
use oh_nginx_conf::layout::{Auth, Hosts, Isolation, Site, Tls, layout};
use oh_nginx_conf::version::NginxVersion;
use oh_testsuite::components;
use oh_testsuite::lab::{Lab, Said};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

/// How many session files one text is made of.
const BATCH: usize = 1000;

/// Each how manieth batch gixy reads: it takes a hundred times as long as nginx.
const GIXY_EACH: usize = 10;

/// What gixy may say: reasons are beside the test of the whole file in `wire.rs`.
const GIXY_MAY_SAY: &[&str] = &["hsts_header"];

/// Makes `batches` texts of [`BATCH`] files each and demands of every one: each data line has the one
/// form, nginx accepts it without a word, and gixy finds nothing.
fn hold(batches: usize) -> Result<()> {
    let lab = Lab::with_tls()?;
    let mut runner = TestRunner::deterministic();
    let (mut good, mut all) = (0, 0);
    for batch in 0..batches {
        let sessions = (0..BATCH)
            .map(|at| found(at).new_tree(&mut runner).map(|tree| tree.current()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|why| anyhow::anyhow!("no file was drawn: {why}"))?;
        let site = site(batch, &lab)?;
        let instances = records(&sessions);
        let there = instances.iter().filter_map(|one| Some((one.target.port()?, one.uid)));
        let listening = Listening::of(there.collect::<Vec<_>>());
        let inputs = Inputs { sessions, instances, listening, ..Inputs::default() };
        let routes = agree(&inputs, &policy(&site)?);
        let keyed = routes.editors.iter().filter(|editor| editor.presents.is_some()).count();
        ensure!(keyed * 10 >= routes.editors.len(), "only {keyed} have keys");
        let folders = |folder: &InRoot| RealPath::parse(folder.as_str()).ok();
        let text = layout(&site, &routes, folders)?.text(7);
        let text = text.reveal();
        let lines = data_lines(text)?;
        ensure!(lines >= routes.editors.len(), "{lines} lines for {}", routes.editors.len());
        good += routes.editors.len();
        all += BATCH;

        lab.write("etc/nginx/conf.d/generated.conf", text)?;
        let config = lab.at("etc/nginx/nginx.conf");
        let nginx = components::program("nginx")?;
        let judged: Said =
            Command::new(nginx).arg("-t").arg("-q").arg("-c").arg(&config).output()?.into();
        ensure!(judged.code == 0 && judged.stderr.is_empty(), "batch {batch}: {}", judged.stderr);
        if batch.is_multiple_of(GIXY_EACH) {
            let mut gixy = Command::new(components::gixy_python()?);
            gixy.args(["-m", "gixy", "-f", "json"]).arg(&config);
            let said: Said = gixy.output().context("could not run gixy")?.into();
            let found = said.json()?;
            let found = found.as_array().with_context(|| format!("no list: {said:?}"))?;
            let of_ours = |file: &str| file.ends_with("generated.conf");
            let ours = found.iter().filter(|one| one["file"].as_str().is_some_and(of_ours));
            let plugins: Vec<_> = ours.filter_map(|one| one["plugin"].as_str()).collect();
            // That it says something shows that it has read the file.
            ensure!(plugins.contains(&"hsts_header"), "{found:#?}");
            ensure!(plugins.iter().all(|plugin| GIXY_MAY_SAY.contains(plugin)), "{found:#?}");
        }
    }
    ensure!(good * 10 >= all * 3, "only {good} of {all} files were good");
    Ok(())
}

/// Records of every other session whose file names a port, each with a key.
fn records(sessions: &[FoundSession]) -> Vec<Instance> {
    let record = |(at, session): (usize, &FoundSession)| {
        let file: serde_json::Value = serde_json::from_str(session.text.as_ref().ok()?).ok()?;
        let digits = format!("{at:016x}");
        Some(Instance {
            id: InstanceId::parse(session.name.strip_suffix(".json")?).ok()?,
            subject: Subject::Session,
            target: Target::Port(Port::new(file["vscode_port"].as_u64()?)?),
            uid: 0,
            folder: InRoot::parse("/srv").ok()?,
            upstream: Upstream::default(),
            server: *Server::ALL.get(at % 4 / 2)?,
            announced: false,
            key: Key::parse(&digits.repeat(KEY_DIGITS / digits.len())),
        })
    };
    sessions.iter().enumerate().step_by(2).filter_map(record).collect()
}

/// A file that is good more often than not, and otherwise anything.
fn found(at: usize) -> impl Strategy<Value = FoundSession> {
    let hostile = prop_oneof![
        Just("default"),
        Just("include"),
        Just("hostnames"),
        Just("volatile"),
        Just("~.*"),
        Just("$host"),
        Just("a;b"),
        Just("a b"),
        Just("a\nb"),
        Just("{"),
        Just("\\"),
        Just("'"),
    ]
    .prop_map(|stem: &str| format!("{stem}.json"));
    let name = prop_oneof![
        12 => "[a-zA-Z0-9][a-zA-Z0-9_-]{0,40}".prop_map(move |stem| format!("{stem}{at}.json")),
        2 => hostile,
        1 => "\\PC{0,70}(\\.json)?",
    ];
    let port = prop_oneof![
        16 => (10_000_u16..65_535).prop_map(|port| port.to_string()),
        1 => prop_oneof![
            Just("true"), Just("22"), Just("-1"), Just("\"8888\""), Just("1e4"), Just("65536"),
            Just("\"80/;return 200 x;#\""), Just("[8888]"),
        ].prop_map(str::to_owned),
    ];
    let extra = prop_oneof![
        4 => Just(String::new()),
        2 => ("[a-z0-9._@+-]{1,20}", prop_oneof![
            Just("strip"), Just("base-path"), Just("strip+prefix"),
        ], "[ -~]{0,20}").prop_map(|(owner, upstream, folder)| {
            let folder = serde_json::Value::from(format!("/{folder}"));
            format!(r#","toolkit":{{"schema":1,"owner":"{owner}","upstream":"{upstream}",
                "app_upstream":"{upstream}","folder":{folder}}}"#)
        }),
        1 => "[ -~]{0,20}".prop_map(|odd| {
            let odd = serde_json::Value::from(odd);
            format!(r#","toolkit":{{"schema":1,"owner":{odd},"upstream":{odd}}}"#)
        }),
    ];
    let text = prop_oneof![
        12 => (port.clone(), port, extra).prop_map(|(editor, app, extra)| {
            format!(r#"{{"vscode_port":{editor},"app_ports":[{app}]{extra}}}"#)
        }),
        1 => "\\PC{0,80}",
    ];
    (name, text, 0_i128..1000).prop_map(|(name, text, modified_ns)| FoundSession {
        name,
        modified_ns,
        owner: 0,
        file: FileNumber::default(),
        text: Ok(text),
    })
}

fn site(batch: usize, lab: &Lab) -> Result<Site> {
    let real = |below: &str| RealPath::parse(&format!("{}/{below}", lab.root()));
    let tls = Tls { certificate: real("etc/tls.pem")?, key: real("etc/tls.key")? };
    let isolation = match batch % 3 {
        0 => Isolation::Path,
        1 => Isolation::Sandbox,
        _ => Isolation::Hosts(Hosts { base: "localhost".into(), tls: Some(tls.clone()) }),
    };
    Ok(Site {
        name: "localhost".into(),
        authority: format!("localhost:{}", lab.site_port),
        port: Port::new(lab.site_port.into()).context("a port")?,
        tls: Some(tls.clone()),
        listen: vec!["127.0.0.1".into()],
        upstream: "127.0.0.1:3000".into(),
        auth: Auth::Nobody,
        origins: vec![format!("https://localhost:{}", lab.site_port)],
        isolation,
        sockets: if batch.is_multiple_of(2) {
            Some(RealPath::parse("/run/sockets")?)
        } else {
            None
        },
        generation_port: Port::new(lab.generation_port.into()).context("a port")?,
        nginx: NginxVersion { major: 1, minor: 22, patch: 1 },
        set_map_bucket: true,
        set_map_max_size: true,
        port_is_exclusive: true,
        http_is_served: false,
    })
}

fn policy(site: &Site) -> Result<Policy> {
    let all = PortRange::parse("1024-65535").context("a range")?;
    Ok(Policy {
        editor_ports: PortSet(vec![all]),
        app_ports: PortSet(vec![all]),
        repository_ports: all,
        reserved: BTreeMap::from([(site.port, "the site")]),
        id_bytes_max: 64,
        sockets: true,
        hosts: matches!(site.isolation, Isolation::Hosts(_)),
        site_label: None,
        session_upstream: Upstream::default(),
        repository_upstream: Upstream::default(),
    })
}

/// Checks every line of the data maps, by the form of the line alone; returns how many there are.
fn data_lines(text: &str) -> Result<usize> {
    let mut map = "";
    let mut count = 0;
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("map ") {
            map = head.split(' ').nth(1).unwrap_or_default();
        } else if line == "}" {
            map = "";
        } else if ["$oh_editor", "$oh_app", "$oh_folder", "$oh_upstream", "$oh_owner", "$oh_key"]
            .contains(&map)
            && line != "    default '';"
        {
            ensure!(fits(map, line), "{map}: {line:?}");
            count += 1;
        }
    }
    Ok(count)
}

/// `    (vscode|apps)/ID VALUE;` with the value that the map has.
fn fits(map: &str, line: &str) -> bool {
    let inner = line.strip_prefix("    ").and_then(|line| line.strip_suffix(';'));
    let Some((key, value)) = inner.and_then(|inner| inner.split_once(' ')) else { return false };
    let all = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    let (editor, app) = (key.strip_prefix("vscode/"), key.strip_prefix("apps/"));
    let id = editor.or(app).is_some_and(|id| all(id, b"_-") && id.len() <= 67);
    let number = value.len() <= 5 && value.bytes().all(|b| b.is_ascii_digit()) && !value.is_empty();
    id && match map {
        "$oh_editor" => editor.is_some() && number,
        "$oh_app" => app.is_some() && number,
        "$oh_folder" => editor.is_some() && value.starts_with('/') && all(value, b"/._-%"),
        "$oh_key" => {
            let words = ["\"code-server-session=", "\"vscode-tkn="];
            let key = words.iter().find_map(|word| value.strip_prefix(word)?.strip_suffix('"'));
            editor.is_some()
                && key.is_some_and(|key| {
                    key.len() == 64 && key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
                })
        }
        "$oh_upstream" => value == "strip" || value == "base-path",
        _ => {
            let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            all(quoted.unwrap_or(value), b"._@+-") && (quoted.is_some() || all(value, b"._-"))
        }
    }
}

#[test]
fn a_hundred_thousand_session_files_become_lines_of_one_form() -> Result<()> {
    hold(100)
}
