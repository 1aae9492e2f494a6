//! What a run finds: the record, what runs, what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use oh_host::instances;
use oh_host::nginx::Nginx;
use oh_host::process::{self, Identity, ProcessDir, ProcessFault, Processes};
use oh_host::publish::{self, Host};
use oh_host::settings::{self, Wish};
use oh_host::sockets::{self, BindProbe, bind_probe_everywhere};
use oh_host::spawn::TOKEN_KEY;
use oh_model::path::RealPath;
use oh_model::port::Port;
use serde::{Deserialize, Serialize};

use super::editors::{self, Editor, Seen};
use super::fault::SandboxFault;
use super::files::{self, Wanted};
use super::parts::Part;
use super::ready;
use super::record::{Home, Record};
use crate::cli::Up;

/// Who listens where, on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ports {
    pub(crate) site: u16,
    pub(crate) generation: u16,
    pub(crate) openhands: u16,
    /// The application's, once its session has one for it.
    pub(crate) app: Option<u16>,
}

impl Ports {
    /// Finds free ports: the usual ones where they are free.
    fn find(tls: bool) -> Result<Self, SandboxFault> {
        // Below the ports that the kernel gives to connections, within the ranges that the toolkit
        // allows by default, and apart from each other.
        let (site, sites) = if tls { (8443, 100) } else { (8000, 80) };
        Ok(Self {
            site: free("the site", site, sites)?,
            generation: free("nginx's generation", 9180, 100)?,
            openhands: free("OpenHands", 13000, 100)?,
            app: None,
        })
    }

    /// Returns the port of a part; `None` where it has none yet.
    pub(crate) fn of(&self, part: Part) -> Option<u16> {
        match part {
            Part::Openhands => Some(self.openhands),
            Part::App => self.app,
            Part::Nginx => Some(self.site),
        }
    }
}

fn free(purpose: &'static str, first: u16, count: u16) -> Result<u16, SandboxFault> {
    let last = first.saturating_add(count - 1);
    for number in first..=last {
        if let Some(port) = Port::new(number.into())
            // The rests of closed connections are in nobody's way: all parts set SO_REUSEADDR.
            && bind_probe_everywhere(port)? != BindProbe::Taken
        {
            return Ok(number);
        }
    }
    Err(SandboxFault::NoPort { purpose, first, last })
}

/// Where the editor is installed.
#[derive(Debug, Clone)]
pub(crate) struct EditorInstall {
    /// The Node.js.
    pub(crate) node: RealPath,
    /// code-server's entry.js.
    pub(crate) code_server: RealPath,
}

/// What a run finds.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) home: Home,
    /// The record; a new one where `is_new`.
    pub(crate) record: Record,
    pub(crate) is_new: bool,
    pub(crate) stand_in: String,
    pub(crate) editor: Option<EditorInstall>,
    /// The editors that are well.
    pub(crate) editors: BTreeMap<Editor, Seen>,
    pub(crate) nginx: Nginx,
    /// What runs, as it is recorded or was found by its token.
    pub(crate) running: BTreeMap<Part, Identity>,
    /// What of it does not answer yet.
    pub(crate) starting: BTreeSet<Part>,
    /// The files that are not there.
    pub(crate) missing: Vec<Wanted>,
    /// Whether there is no certificate, and one is needed.
    pub(crate) certificate_missing: bool,
    /// Whether what nginx serves is not what it should.
    pub(crate) unpublished: bool,
}

impl Facts {
    /// Returns `https://localhost:8443`.
    pub(crate) fn origin(&self) -> String {
        let port = self.record.ports.site;
        if self.record.tls {
            format!("https://localhost:{port}")
        } else {
            format!("http://127.0.0.1:{port}")
        }
    }

    /// Returns what the session and the repository have below the site's own address.
    pub(crate) fn links(&self) -> [(String, String); 3] {
        let session = &self.record.session;
        [
            (Editor::Session.to_string(), format!("/vscode/{session}/")),
            (Part::App.to_string(), format!("/apps/{session}-0/")),
            (Editor::Repository.to_string(), format!("/vscode/{}/", files::REPOSITORY)),
        ]
    }
}

/// Looks at a sandbox.
pub(crate) fn gather(home: Home, wish: &Up) -> Result<Facts, SandboxFault> {
    let found = home.record()?;
    let is_new = found.is_none();
    let record = match found {
        // Without `--http` nothing is asked for: the sandbox stays what it is.
        Some(record) if wish.http && record.tls => return Err(SandboxFault::OtherScheme),
        Some(record) => record,
        None => Record::new(!wish.http, Ports::find(!wish.http)?)?,
    };
    let host = settings::find(&sandbox_wish(&home))?.into_host();
    let nginx = nginx(&home, &host)?;
    let editor = editor(wish)?;
    let missing = files::missing(&home, &record, editor.as_ref())?;
    let certificate = home.at(files::CERTIFICATE)?;
    // Without a record there is nobody to ask for.
    let editors = if instances::ids(&home.root)?.is_empty() {
        BTreeMap::new()
    } else {
        editors::running(&home, &record)?
    };
    let mut running = running(&home, &record, &nginx)?;
    let session = editors.get(&Editor::Session);
    if session.is_some_and(|seen| seen.app() != record.ports.app) {
        // It is of an earlier session, and nobody is routed to it.
        running.remove(&Part::App);
    }
    let mut starting = BTreeSet::new();
    for (part, identity) in &running {
        let port = record.ports.of(*part);
        if !ready::answers(&home, &nginx, *part, port, identity.pid)? {
            starting.insert(*part);
        }
    }
    let all_is_there = missing.is_empty() && running.contains_key(&Part::Nginx);
    let unpublished = !all_is_there || {
        let facts = publish::gather(&host)?;
        !publish::plan(&facts)?.steps.is_empty()
    };
    Ok(Facts {
        stand_in: wish.stand_in.clone(),
        editor,
        editors,
        certificate_missing: record.tls && !Path::new(certificate.as_str()).exists(),
        record,
        is_new,
        home,
        nginx,
        running,
        starting,
        missing,
        unpublished,
    })
}

fn nginx(home: &Home, host: &Host) -> Result<Nginx, SandboxFault> {
    Ok(Nginx {
        program: path(host.settings.nginx.program.as_str())?,
        config: home.at("etc/nginx/nginx.conf")?,
        interrupts: None,
    })
}

/// Finds what runs, the recorded and what a killed run could not write down any more.
pub(crate) fn still_running(
    home: &Home,
    record: &Record,
) -> Result<BTreeMap<Part, Identity>, SandboxFault> {
    let host = settings::find(&sandbox_wish(home))?.into_host();
    running(home, record, &nginx(home, &host)?)
}

/// The configuration of a sandbox is its own: nothing from the environment.
pub(crate) fn sandbox_wish(home: &Home) -> Wish {
    Wish { root: Some(home.path.to_string()), ..Wish::default() }
}

fn editor(wish: &Up) -> Result<Option<EditorInstall>, SandboxFault> {
    match (&wish.node, &wish.code_server) {
        (Some(node), Some(code_server)) => {
            Ok(Some(EditorInstall { node: path(node)?, code_server: path(code_server)? }))
        }
        _ => Ok(None),
    }
}

/// Finds what runs: by its recorded identity, or by the token of a run that was killed before it
/// could write the identity down.
fn running(
    home: &Home,
    record: &Record,
    nginx: &Nginx,
) -> Result<BTreeMap<Part, Identity>, SandboxFault> {
    let mut running = BTreeMap::new();
    for part in Part::ALL {
        let recorded = match record.started.get(&part) {
            Some(identity) if lives(identity)? => Some(identity.clone()),
            _ => None,
        };
        let identity = match recorded {
            Some(identity) => Some(identity),
            // nginx writes its title over its environment, but its pid file before.
            None if part == Part::Nginx => match holder(&part_token(record, part))? {
                Some(identity) => Some(identity),
                None => master(home, nginx)?,
            },
            None => holder(&part_token(record, part))?,
        };
        running.extend(identity.map(|identity| (part, identity)));
    }
    Ok(running)
}

/// The token of one part, in the environment of all that it starts.
pub(crate) fn part_token(record: &Record, part: Part) -> String {
    format!("{}-{}", record.token, part.slug())
}

/// Finds the workers of a master that was killed: they go on serving, and carry no token, because
/// nginx writes its title over its environment.
///
/// They are in the master's process group, and a number belongs to one group at a time: where one
/// of the group listens on the site's port, the group is the sandbox's.
pub(crate) fn orphaned_workers(record: &Record) -> Result<Vec<Identity>, SandboxFault> {
    let Some(master) = record.started.get(&Part::Nginx) else { return Ok(Vec::new()) };
    if lives(master)? {
        return Ok(Vec::new());
    }
    let all = Processes::look()?;
    let members = all.stats.iter().filter(|stat| stat.group == Some(master.pid) && !stat.is_dead());
    let members: Vec<ProcessDir> =
        members.filter_map(|stat| ProcessDir::open(stat.pid).ok()).collect();
    match Port::new(record.ports.site.into()) {
        Some(port) if sockets::is_listener_of(port, &members)? => {}
        _ => return Ok(Vec::new()),
    }
    Ok(members.iter().filter_map(|process| process.identity().ok()).collect())
}

fn lives(identity: &Identity) -> Result<bool, ProcessFault> {
    let looked =
        ProcessDir::open(identity.pid).and_then(|dir| Ok(dir.is(identity)? && !dir.is_gone()?));
    match looked {
        Err(fault) if fault.is_gone() => Ok(false),
        looked => looked,
    }
}

fn master(home: &Home, nginx: &Nginx) -> Result<Option<Identity>, SandboxFault> {
    let master = nginx.master(&home.at(files::PID_FILE)?).map_err(publish::PublishFault::from)?;
    Ok(match master {
        Some(master) => Some(master.process().identity()?),
        None => None,
    })
}

/// Finds the leader of the process group that carries a token.
fn holder(token: &str) -> Result<Option<Identity>, ProcessFault> {
    for pid in process::pids()? {
        // What is gone or others' carries no token of ours.
        let Ok(dir) = ProcessDir::open(pid) else { continue };
        let leads = dir.stat().is_ok_and(|stat| stat.group == Some(pid) && !stat.is_dead());
        if leads && dir.environment_has(TOKEN_KEY, token).unwrap_or(false) {
            return dir.identity().map(Some);
        }
    }
    Ok(None)
}

fn path(text: &str) -> Result<RealPath, SandboxFault> {
    RealPath::parse(text).map_err(|source| SandboxFault::Path { dir: text.into(), source })
}
