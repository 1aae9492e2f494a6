//! Random folders of session files, a naive reader of them, and the comparison of all three.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::lab::{Lab, back_end, touch};
use oh_testsuite::stranger::{STRANGER, strangers_listener};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

/// The ports of back ends that live; good files name them most of the time.
const BACK_ENDS: usize = 64;

/// One name in the folder and what is put there.
#[derive(Debug, Clone)]
struct Entry {
    name: Vec<u8>,
    kind: Kind,
    age_s: u64,
}

#[derive(Debug, Clone)]
enum Kind {
    /// A plain file with this text; `#N` stands for the port of the N-th back end.
    Text(String),
    /// A plain file that everybody may write to.
    Writable(String),
    /// A link to a file that root may read and nobody should.
    Link,
    /// A second name of a file outside.
    HardLink,
    /// A pipe that would hang a careless reader.
    Fifo,
    /// A socket.
    Socket,
    /// A folder.
    Folder,
    /// A gibibyte of nothing.
    Huge,
    /// A file of another user (where we may give files away).
    Foreign,
}

fn good_text() -> impl Strategy<Value = String> {
    (0..BACK_ENDS, proptest::collection::vec(0..BACK_ENDS, 0..3), any::<bool>()).prop_map(
        |(editor, apps, folder)| {
            let apps: Vec<String> = apps.iter().map(|app| format!("#{app}")).collect();
            let ours = r#","toolkit":{"schema":1,"folder":"/srv/a b$x;{}"}"#;
            let ours = if folder { ours } else { "" };
            format!("{{\"vscode_port\":#{editor},\"app_ports\":[{}]{ours}}}", apps.join(","))
        },
    )
}

fn bad_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(r#"{"vscode_port":true}"#.to_string()),
        Just(r#"{"vscode_port":"8888"}"#.to_string()),
        Just(r#"{"vscode_port":22}"#.to_string()),
        Just(r#"{"vscode_port":-1}"#.to_string()),
        Just(r#"{"vscode_port":65536}"#.to_string()),
        Just(r#"{"vscode_port":"80/;return 200 x;#"}"#.to_string()),
        Just(r#"{"vscode_port":#0,"vscode_port":#1}"#.to_string()),
        Just(r#"{"vscode_port":#0,"app_ports":[#0]}"#.to_string()),
        Just(r#"{"vscode_port":#0,"toolkit":{"schema":2}}"#.to_string()),
        Just(r#"{"vscode_port":#0,"toolkit":{"schema":1,"folder":"../x"}}"#.to_string()),
        Just(r#"{"vscode_port":#0,"#.to_string()),
        Just("#SITE".to_string()),
        // A port that another user listens on, and root's word that it should be so, or not.
        Just(r#"{"vscode_port":#THEIRS}"#.to_string()),
        Just(r##"{"vscode_port":#0,"app_ports":[#THEIRS]}"##.to_string()),
        Just(r#"{"vscode_port":#THEIRS,"toolkit":{"schema":1,"user":61234}}"#.to_string()),
        Just(r#"{"vscode_port":#THEIRS,"toolkit":{"schema":1,"user":1}}"#.to_string()),
        Just(r##"{"vscode_port":#0,"toolkit":{"schema":1,"user":"nobody-here"}}"##.to_string()),
        "\\PC{0,60}",
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        22 => good_text().prop_map(Kind::Text),
        5 => bad_text().prop_map(Kind::Text),
        1 => good_text().prop_map(Kind::Writable),
        1 => Just(Kind::Link),
        1 => Just(Kind::HardLink),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Socket),
        1 => Just(Kind::Folder),
        1 => Just(Kind::Huge),
        1 => Just(Kind::Foreign),
    ]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let json = |stem: String| format!("{stem}.json").into_bytes();
    prop_oneof![
        24 => "[a-z0-9][a-zA-Z0-9_-]{0,40}".prop_map(json),
        2 => "[abAB]{1,2}".prop_map(json),
        1 => prop_oneof![
            Just("default"), Just("include"), Just("~.*"), Just("$host"), Just("hostnames"),
            Just("-x"), Just("a b"), Just("a;b"), Just("a\nb"), Just("{"),
        ].prop_map(move |stem: &str| json(stem.to_string())),
        1 => "[a-z]{65,80}".prop_map(json),
        1 => Just(b"\xff\xfe.json".to_vec()),
        1 => "[a-z]{1,8}(\\.tmp|\\.json\\.bak|)".prop_map(String::into_bytes),
        1 => "\\.[a-z]{1,8}\\.json".prop_map(String::into_bytes),
    ]
}

fn folder() -> impl Strategy<Value = Vec<Entry>> {
    let entry =
        (name(), kind(), 0_u64..1000).prop_map(|(name, kind, age_s)| Entry { name, kind, age_s });
    proptest::collection::vec(entry, 0..25)
}

/// The folder on disk, and the ports that it may name.
struct World {
    lab: Lab,
    ports: Vec<u16>,
    /// The port that [`STRANGER`] listens on.
    theirs: u16,
    begin: SystemTime,
}

impl World {
    fn lay(&self, entries: &[Entry]) -> Result<()> {
        let folder = self.lab.at("tmp/openhands-sessions");
        if folder.exists() {
            let cleared =
                Command::new("rm").args(["--recursive", "--force"]).arg(&folder).status()?;
            ensure!(cleared.success(), "the folder could not be cleared");
        }
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        for (index, entry) in entries.iter().enumerate() {
            let path = folder.join(OsString::from_vec(entry.name.clone()));
            // Two entries may draw one name; the first stays.
            if path.symlink_metadata().is_err() {
                self.put(&path, entry, index).with_context(|| format!("{entry:?}"))?;
            }
        }
        Ok(())
    }

    fn put(&self, path: &Path, entry: &Entry, index: usize) -> Result<()> {
        let plain = |text: &str, mode: u32| -> Result<()> {
            fs::write(path, self.filled(text))?;
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
            // Ages in whole seconds collide on purpose: then the name decides.
            touch(path, self.begin - Duration::from_secs(entry.age_s))
        };
        match &entry.kind {
            Kind::Text(text) => plain(text, 0o644)?,
            Kind::Writable(text) => plain(text, 0o666)?,
            Kind::Link => symlink("/etc/shadow", path)?,
            Kind::HardLink => {
                let outside = self.lab.at(&format!("outside-{index}-{}", entry.age_s));
                fs::write(&outside, self.filled(r##"{"vscode_port":#0}"##))?;
                fs::hard_link(outside, path)?;
            }
            Kind::Fifo => {
                ensure!(Command::new("mkfifo").arg("--").arg(path).status()?.success(), "mkfifo");
            }
            Kind::Socket => {
                // The path of a socket has at most 107 bytes when it is bound, any when it is moved.
                let bound = self.lab.at("s");
                drop(std::os::unix::net::UnixListener::bind(&bound)?);
                fs::rename(bound, path)?;
            }
            Kind::Folder => fs::create_dir(path)?,
            Kind::Huge => fs::File::create(path)?.set_len(1 << 30)?,
            Kind::Foreign => {
                plain(r##"{"vscode_port":#0}"##, 0o644)?;
                if is_root()? {
                    std::os::unix::fs::chown(path, Some(12345), Some(12345))?;
                }
            }
        }
        Ok(())
    }

    fn filled(&self, text: &str) -> String {
        let site = format!("{{\"vscode_port\":{}}}", self.lab.site_port);
        let text = text.replace("#SITE", &site).replace("#THEIRS", &self.theirs.to_string());
        // From the last to the first, so that `#1` does not eat the beginning of `#10`.
        let ports = self.ports.iter().enumerate().rev();
        ports
            .fold(text, |text, (index, port)| text.replace(&format!("#{index}"), &port.to_string()))
    }
}

fn is_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}

/// What the naive reader finds: routes by path, and the names that it refuses.
#[derive(Debug, Default, PartialEq, Eq)]
struct Naive {
    routes: BTreeMap<String, u16>,
    refused: usize,
}

/// Reads the folder as the documentation describes it, with nothing of the product.
fn naive(world: &World) -> Result<Naive> {
    let mut candidates = Vec::new();
    let mut result = Naive::default();
    for entry in fs::read_dir(world.lab.at("tmp/openhands-sessions"))? {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_bytes().starts_with(b".") || !name.as_bytes().ends_with(b".json") {
            continue;
        }
        match naive_file(&entry.path(), &name, world.theirs)? {
            Some((id, ports, modified)) => candidates.push((modified, id, ports)),
            None => result.refused += 1,
        }
    }
    // The newest first; of the same age by name.
    candidates.sort_by(|a, b| {
        b.0.cmp(&a.0).then_with(|| (a.1.clone() + ".json").cmp(&(b.1.clone() + ".json")))
    });
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    let reserved = [world.lab.site_port, world.lab.generation_port, world.lab.upstream_port];
    for (_, id, ports) in candidates {
        let fits = ports.iter().all(|port| *port >= 1024 && !reserved.contains(port))
            && !ids.contains(&id.to_lowercase())
            && ports.iter().all(|port| !taken.contains(port));
        if !fits {
            result.refused += 1;
            continue;
        }
        ids.insert(id.to_lowercase());
        taken.extend(ports.iter().copied());
        for (index, port) in ports.iter().enumerate() {
            let path = match index {
                0 => format!("/vscode/{id}/"),
                _ => format!("/apps/{id}-{}/", index - 1),
            };
            result.routes.insert(path, *port);
        }
    }
    Ok(result)
}

/// Returns id, ports and time of a file that would be routed if nobody else claimed the same.
fn naive_file(
    path: &Path,
    name: &OsStr,
    theirs: u16,
) -> Result<Option<(String, Vec<u16>, SystemTime)>> {
    let meta = fs::symlink_metadata(path)?;
    let kind = meta.file_type();
    let odd = kind.is_symlink() || kind.is_dir() || kind.is_fifo() || kind.is_socket();
    let own = fs::metadata("/proc/self")?.uid();
    if odd || meta.nlink() != 1 || meta.len() > 65536 || meta.mode() & 0o022 != 0 {
        return Ok(None);
    }
    if ![0, own].contains(&meta.uid()) {
        return Ok(None);
    }
    let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".json")) else {
        return Ok(None);
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if stem.len() > 64
        || !stem.chars().all(allowed)
        || stem.starts_with(['-', '_'])
        || stem.is_empty()
    {
        return Ok(None);
    }
    let Ok(text) = String::from_utf8(fs::read(path)?) else { return Ok(None) };
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(&text) else { return Ok(None) };
    if text.matches("\"vscode_port\"").count() > 1 {
        return Ok(None);
    }
    let mut values = vec![object.get("vscode_port").cloned().unwrap_or_default()];
    match object.get("app_ports") {
        None | Some(Value::Null) => {}
        Some(Value::Array(apps)) => values.extend(apps.iter().cloned()),
        Some(_) => return Ok(None),
    }
    let mut ports = Vec::new();
    for value in values {
        match value.as_u64() {
            Some(port @ 1..=65535) => ports.push(u16::try_from(port)?),
            _ => return Ok(None),
        }
    }
    if ports.iter().collect::<BTreeSet<_>>().len() != ports.len() {
        return Ok(None);
    }
    if let Some(ours) = object.get("toolkit") {
        let folder =
            ours.get("folder").map(|folder| folder.as_str().unwrap_or("").starts_with('/'));
        if ours.get("schema") != Some(&Value::from(1)) || folder == Some(false) {
            return Ok(None);
        }
    }
    let user = object.get("toolkit").and_then(|ours| ours.get("user"));
    let strangers = meta.uid() == 0 && user == Some(&Value::from(STRANGER));
    if ports.contains(&theirs) && !strangers || user.is_some_and(|user| !user.is_u64()) {
        return Ok(None);
    }
    Ok(Some((stem.to_owned(), ports, meta.modified()?)))
}

/// Demands that the real program, the naive reader and nginx agree; returns how many of the files
/// were routed and how many were not.
fn agree(world: &World, entries: &[Entry]) -> Result<(usize, usize)> {
    world.lay(entries)?;
    let expected = naive(world)?;
    let document = world.lab.run(&["apply", "--format", "json"])?.expect(0)?.json()?;
    let routes = document.pointer("/result/routes").and_then(Value::as_array).context("routes")?;
    let found: BTreeMap<String, u16> = routes
        .iter()
        .filter_map(|route| {
            let port = u16::try_from(route.get("port")?.as_u64()?).ok()?;
            Some((route.get("path")?.as_str()?.to_owned(), port))
        })
        .collect();
    let refused =
        document.pointer("/result/exclusions").and_then(Value::as_array).context("exclusions")?;
    let subjects: BTreeSet<&str> =
        refused.iter().filter_map(|one| one.get("subject")?.as_str()).collect();
    ensure!(found == expected.routes, "routes {found:?} instead of {:?}", expected.routes);
    ensure!(subjects.len() == refused.len(), "a file is reported twice: {refused:?}");
    ensure!(refused.len() == expected.refused, "{} refused: {refused:?}", expected.refused);
    for (path, port) in &found {
        let answer = world.lab.get(&format!("{path}x"), &[])?;
        let expected = format!("{port} GET /x ");
        if *port == world.theirs {
            // The stranger has no answer, and that is one.
            ensure!(answer.status == 501, "{path} answers {}", answer.status);
            continue;
        }
        ensure!(answer.text().starts_with(&expected), "{path} answers {}", answer.text());
    }
    ensure!(world.lab.routed("nobody-has-this-id")? == Err(404), "an unknown id is no 404");
    let sessions = found.keys().filter(|path| path.starts_with("/vscode/")).count();
    Ok((sessions, refused.len()))
}

/// Lays `folders` random folders and demands agreement on each.
pub(crate) fn agree_on(folders: u32) -> Result<()> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    let ports = (0..BACK_ENDS).map(|_| back_end()).collect::<Result<Vec<_>>>()?;
    let theirs = oh_testsuite::net::free_port()?;
    let _listener = strangers_listener(theirs)?;
    let world = World { lab, ports, theirs, begin: SystemTime::now() };
    let counts = Cell::new((0, 0));
    let config = Config { cases: folders, failure_persistence: None, ..Config::default() };
    let tried = TestRunner::new(config).run(&folder(), |entries| {
        let (routed, refused) =
            agree(&world, &entries).map_err(|fault| TestCaseError::fail(format!("{fault:#}")))?;
        let (good, bad) = counts.get();
        counts.set((good + routed, bad + refused));
        Ok(())
    });
    tried.map_err(|fault| anyhow::anyhow!("{fault}"))?;
    let (good, bad): (usize, usize) = counts.get();
    ensure!(good * 10 >= (good + bad) * 3, "only {good} of {} files were good", good + bad);
    Ok(())
}
