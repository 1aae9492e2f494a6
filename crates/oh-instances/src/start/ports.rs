//! Which ports a new instance gets: in the ranges of the configuration, nobody's by record, and
//! nobody's by the kernel.

use std::collections::BTreeMap;

use oh_host::databases::{self, Place};
use oh_host::instances::{self, Record};
use oh_host::publish::Host;
use oh_host::sockets::{self, BindProbe, bind_probe_everywhere};
use oh_model::databases::PortDocument;
use oh_model::id::InstanceId;
use oh_model::instance::Subject;
use oh_model::listening::{Listens, Whose};
use oh_model::port::{Port, PortRange, PortSet};

use rustix::process::geteuid;

use crate::fault::{Fault, Refusal};
use crate::look;

/// How many holders are named when there is no port left.
const NAMED_MAX: usize = 12;

/// The ports of a new instance.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// The editor's; `None` on a socket.
    pub(super) editor: Option<Port>,
    pub(super) apps: Vec<Port>,
    /// Strangers that were met.
    pub(super) notes: Vec<String>,
}

/// What ports are wanted for.
#[derive(Debug)]
pub(super) struct Wanted<'w> {
    pub(super) subject: Subject,
    /// Whether the editor needs none.
    pub(super) is_socket: bool,
    /// The editor's, where it is demanded.
    pub(super) port: Option<u16>,
    /// How many applications there are.
    pub(super) apps: usize,
    /// Whose own record, and whose entry in the databases, keeps nothing from it.
    pub(super) but: Option<&'w InstanceId>,
}

/// Finds the editor that the databases give to an id, where one listens that no record knows.
pub(super) fn of_others(host: &Host, id: &InstanceId) -> Result<Option<Port>, Fault> {
    let owners = oh_host::inputs::owners(host);
    let path = &host.settings.instances.port_database;
    let place = Place { root: &host.root, path, owners: &owners };
    let Ok(Some(database)) = databases::read::<PortDocument>(place) else { return Ok(None) };
    let entry = database.ids().into_iter().find(|known| id.as_str().eq_ignore_ascii_case(known));
    let entry = entry.and_then(|known| database.entry(&known)?.ok());
    match entry {
        Some(entry) if bind_probe_everywhere(entry.port)? == BindProbe::Taken => {
            Ok(Some(entry.port))
        }
        _ => Ok(None),
    }
}

/// Says whether somebody has a port of an instance of which nothing runs. Its applications may
/// have outlived the editor whose terminal started them.
pub(super) fn any_taken(record: &Record) -> Result<bool, Fault> {
    if let Some(port) = record.target.port()
        && bind_probe_everywhere(port)? == BindProbe::Taken
    {
        return Ok(true);
    }
    let listening = sockets::listening();
    let whose = Whose { owner: geteuid().as_raw(), named: Some(record.uid) };
    for port in &record.apps {
        match listening.on(*port, whose) {
            Listens::Own | Listens::Nobody => {}
            Listens::Stranger(_) => return Ok(true),
            Listens::Unknown if bind_probe_everywhere(*port)? == BindProbe::Taken => {
                return Ok(true);
            }
            Listens::Unknown => {}
        }
    }
    Ok(false)
}

/// Chooses; nobody else chooses meanwhile, and the record is written before somebody can.
pub(super) fn choose(host: &Host, wanted: &Wanted<'_>) -> Result<Choice, Fault> {
    let mut taken = recorded(host, wanted)?;
    let mut choice = Choice::default();
    if !wanted.is_socket {
        let (ranges, key) = match wanted.subject {
            Subject::Repository => (vec![host.settings.instances.ports], "instances.ports"),
            Subject::Session => (of_sessions(host), "sessions.editor_ports"),
        };
        let port = match wanted.port {
            Some(number) => demanded(number, &ranges, key, &taken)?,
            None => free(&ranges, &mut taken, &mut choice.notes)?,
        };
        taken.insert(port, "this very start".into());
        choice.editor = Some(port);
    }
    for _ in 0..wanted.apps {
        let PortSet(ranges) = &host.settings.sessions.app_ports;
        let port = free(ranges, &mut taken, &mut choice.notes)?;
        taken.insert(port, "this very start".into());
        choice.apps.push(port);
    }
    Ok(choice)
}

/// The ranges of sessions without the ports of repositories, the largest first: a port such as
/// 8080, alone, is one that other programs expect.
fn of_sessions(host: &Host) -> Vec<PortRange> {
    let PortSet(ranges) = &host.settings.sessions.editor_ports;
    let repositories = host.settings.instances.ports;
    let (mut own, shared): (Vec<_>, Vec<_>) =
        ranges.iter().copied().partition(|range| !range.overlaps(repositories));
    own.sort_by_key(|range| std::cmp::Reverse(range.count()));
    if own.is_empty() { shared } else { own }
}

/// What is recorded of ports, each with whose it is.
fn recorded(host: &Host, wanted: &Wanted<'_>) -> Result<BTreeMap<Port, String>, Fault> {
    let is_own = |id: &str| wanted.but.is_some_and(|own| own.as_str().eq_ignore_ascii_case(id));
    let mut taken = BTreeMap::new();
    for record in instances::records(&host.root)? {
        let record = record?;
        if is_own(record.id.as_str()) {
            continue;
        }
        let holder = format!("the {} {}", record.subject, record.id);
        taken.extend(record.ports().map(|port| (port, holder.clone())));
    }
    if wanted.subject == Subject::Repository {
        let owners = oh_host::inputs::owners(host);
        let path = &host.settings.instances.port_database;
        let place = Place { root: &host.root, path, owners: &owners };
        // A torn one is mended, with a word about it, when it is written.
        if let Ok(Some(database)) = databases::read::<PortDocument>(place) {
            for id in database.ids().into_iter().filter(|id| !is_own(id)) {
                if let Some(Ok(entry)) = database.entry(&id) {
                    let holder = format!("the repository {} of {path}", id.escape_debug());
                    taken.entry(entry.port).or_insert(holder);
                }
            }
        }
    }
    Ok(taken)
}

/// Finds a port that nobody has; strangers that are met are looked for and named once.
fn free(
    ranges: &[PortRange],
    taken: &mut BTreeMap<Port, String>,
    notes: &mut Vec<String>,
) -> Result<Port, Fault> {
    let mut holders = Vec::new();
    for port in ranges.iter().flat_map(|range| range.ports()) {
        if let Some(holder) = taken.get(&port) {
            holders.push(holder.clone());
        } else if bind_probe_everywhere(port)? == BindProbe::Taken {
            let stranger = look::holder(port);
            notes.push(format!("port {port} is taken by {stranger}; another one was given"));
            let holder = format!("port {port}: {stranger}");
            holders.push(holder.clone());
            taken.insert(port, holder);
        } else {
            return Ok(port);
        }
    }
    holders.truncate(NAMED_MAX);
    let range = ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(Refusal::NoPort { range, taken: holders.join("; ") }.into())
}

fn demanded(
    number: u16,
    ranges: &[PortRange],
    key: &'static str,
    taken: &BTreeMap<Port, String>,
) -> Result<Port, Fault> {
    let port = Port::new(number.into()).filter(|port| ranges.iter().any(|r| r.contains(*port)));
    let port = port.ok_or(Refusal::PortOutside { port: number, key })?;
    if let Some(holder) = taken.get(&port) {
        return Err(Refusal::PortTaken { port, holder: holder.clone() }.into());
    }
    if bind_probe_everywhere(port)? == BindProbe::Taken {
        return Err(Refusal::PortTaken { port, holder: look::holder(port) }.into());
    }
    Ok(port)
}
