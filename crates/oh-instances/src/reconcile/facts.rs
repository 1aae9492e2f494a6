//! What is there: records, what the kernel says of them, and what others are told of them.

use std::collections::{BTreeMap, BTreeSet};

use oh_host::databases::{self, EditFault, Place};
use oh_host::instances::{self, Phase, Record, State};
use oh_host::process::{Glance, Pid, ProcessDir, pids, settle};
use oh_host::publish::{self, Host, PublishFault};
use oh_host::spawn::TOKEN_KEY;
use oh_model::databases::{Lost, PortDocument, RepositoriesDocument};
use oh_model::id::InstanceId;
use oh_model::instance::Subject;
use oh_model::plan::Exclusion;
use oh_model::port::Port;

use super::strays::{self, Stray};
use crate::editor::Places;
use crate::fault::Fault;
use crate::inputs::Database;
use crate::look::{self, Condition, Found};
use crate::report::chain;
use crate::{inputs, ready};

/// The variable of an editor's environment that names a folder of its own.
const FOLDER_KEY: &str = "XDG_RUNTIME_DIR";

/// All that is decided over.
#[derive(Debug)]
pub(crate) struct Facts {
    /// What has a record, sorted by id.
    pub(crate) instances: Vec<Instance>,
    /// What of the databases has none, sorted by id.
    pub(crate) strays: Vec<Stray>,
    /// What could not be read.
    pub(crate) unread: Vec<Exclusion>,
    /// Processes in our folders that no record knows.
    pub(crate) orphans: Vec<(Pid, String)>,
    /// The databases that are to be written anew.
    pub(crate) unfit: Vec<Unfit>,
    /// Whether nginx serves what it should.
    pub(crate) publishing: Publishing,
}

/// A database that the original application could not work with, or that would have it give away
/// ports which are in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) database: Database,
    /// It is torn: nothing else of it is to be done before.
    pub(crate) is_torn: bool,
    /// What is to be written.
    pub(crate) what: String,
    pub(crate) why: String,
}

impl Facts {
    /// Says whether something could not be looked at, so that more may be to do.
    pub(super) fn is_blind(&self) -> bool {
        !self.unread.is_empty()
    }
}

/// An instance, as far as it is decided over.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) ports: Vec<Port>,
    pub(crate) condition: Condition,
    pub(crate) starter: Starter,
    pub(crate) announced: bool,
    /// Whether its supervisor ever said a word that is still there.
    pub(crate) has_state: bool,
    /// Whether its editor answers, and nobody else in its place.
    pub(crate) answers: bool,
    /// Whether a restart was asked for that its supervisor did not hear of.
    pub(crate) is_lagging: bool,
    pub(crate) words: Words,
    /// What carries its token where nothing of it should run.
    pub(crate) left: Vec<Pid>,
}

/// Who is starting an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Starter {
    /// Nobody: the start is whole.
    None,
    Lives(Pid),
    /// Whoever it was was killed.
    Dead,
}

/// How much of what others are told of an instance stands: its session file, or its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Words {
    All,
    /// Something that is ours, and not as it was written.
    Some,
    Nothing,
    /// That cannot be told, or somebody else's words stand in the place of ours.
    Unknown(String),
}

/// Whether nginx serves what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Publishing {
    Settled,
    Due,
    /// That cannot be told; why.
    Unknown(String),
}

/// Both databases; `None` where there is no such file. Of one that is torn, what is whole.
#[derive(Debug, Default)]
pub(crate) struct Databases {
    pub(crate) ports: Option<PortDocument>,
    pub(crate) repositories: Option<RepositoriesDocument>,
    /// What they lack that are torn.
    pub(crate) torn: [Option<Lost>; 2],
    /// Why one of them cannot be used at all.
    pub(crate) unknown: Option<String>,
    /// Whether their folders are there: without, nobody is told anything.
    pub(crate) folders: [bool; 2],
}

/// Looks at everything.
pub(crate) fn gather(host: &Host) -> Result<Facts, Fault> {
    let databases = databases(host);
    let tokens = tokens(host)?;
    let mut unread = Vec::new();
    let mut found = Vec::new();
    let mut instances = Vec::new();
    let mut is_whole = true;
    for id in instances::ids(&host.root)? {
        let looked = look::one(host, &id).and_then(|one| {
            let Some(one) = one else { return Ok(None) };
            let seen = instance(host, &one, &databases, &tokens.by_token)?;
            Ok(Some((one, seen)))
        });
        match looked {
            Ok(None) => {}
            Ok(Some((one, seen))) => {
                found.push(one);
                instances.push(seen);
            }
            // One that cannot be looked at keeps no other from being set right.
            Err(fault) => {
                is_whole = false;
                unread.push(Exclusion { subject: id.to_string(), reason: chain(&fault) });
            }
        }
    }
    if let Some(reason) = databases.unknown.clone() {
        unread.push(Exclusion { subject: "the databases".into(), reason });
    }
    let known: BTreeSet<String> = found
        .iter()
        .flat_map(|one| [one.record.token.clone(), one.record.supervisor_token()])
        .collect();
    // A record that cannot be read may be the one that knows of it.
    let (strays, orphans) = if is_whole {
        let ids: BTreeSet<String> = found.iter().map(|one| one.record.id.folded()).collect();
        let orphans = tokens.ours.into_iter().filter(|(token, ..)| !known.contains(token));
        let orphans = orphans.map(|(_, pid, name)| (pid, name)).collect();
        (strays::gather(host, &databases, &ids)?, orphans)
    } else {
        (Vec::new(), Vec::new())
    };
    let unfit = unfit(host, &databases);
    let publishing = publishing(host, databases.torn.iter().any(Option::is_some));
    Ok(Facts { instances, strays, unread, orphans, unfit, publishing })
}

/// Looks at one instance again; `None` where it has no record any more.
pub(crate) fn again(host: &Host, id: &InstanceId) -> Result<Option<Instance>, Fault> {
    let Some(found) = look::one(host, id)? else { return Ok(None) };
    Ok(Some(instance(host, &found, &databases(host), &tokens(host)?.by_token)?))
}

fn instance(
    host: &Host,
    found: &Found,
    databases: &Databases,
    tokens: &BTreeMap<String, Vec<Pid>>,
) -> Result<Instance, Fault> {
    let Found { record, state, condition, .. } = found;
    let starter = match &record.starter {
        None => Starter::None,
        Some(starter) if starter.lives()? => Starter::Lives(starter.pid),
        Some(_) => Starter::Dead,
    };
    let editor = state.as_ref().and_then(|state| state.editor.as_ref());
    let may_answer =
        matches!(condition, Condition::Supervised(Phase::Ready) | Condition::Unsupervised);
    // The others are not asked: nothing depends on their answer.
    let answers = match editor {
        Some(editor) if may_answer && starter == Starter::Dead => {
            ready::answers(record, &Places::of(host, record)?, editor.pid)?
        }
        _ => false,
    };
    let of_token = |token: &str| tokens.get(token).cloned().unwrap_or_default();
    let is_over = match condition {
        Condition::Gone => true,
        Condition::Supervised(phase) => phase.is_last(),
        Condition::Unsupervised | Condition::Stopping => false,
    };
    let left = if is_over {
        [of_token(&record.token), of_token(&record.supervisor_token())].concat()
    } else {
        Vec::new()
    };
    Ok(Instance {
        id: record.id.clone(),
        ports: record.ports().collect(),
        condition: condition.clone(),
        starter,
        announced: record.announced,
        has_state: state.is_some(),
        answers,
        is_lagging: state.as_ref().is_some_and(|state| state.generation != record.generation),
        words: words(host, record, state.as_ref(), databases)?,
        left,
    })
}

fn words(
    host: &Host,
    record: &Record,
    state: Option<&State>,
    databases: &Databases,
) -> Result<Words, Fault> {
    if record.subject == Subject::Session {
        return Ok(match inputs::session_words(host, record)? {
            None => Words::Nothing,
            Some(true) => Words::All,
            Some(false) => Words::Unknown("its session file is somebody else's by now".into()),
        });
    }
    if let Some(why) = &databases.unknown {
        return Ok(Words::Unknown(why.clone()));
    }
    let id = record.id.as_str();
    let mut stands = Vec::new();
    let mut any = false;
    let supervisor = state.map(|state| state.supervisor.pid.get());
    if let (Some(port), [true, _]) = (record.target.port(), databases.folders) {
        let entry = databases.ports.as_ref().and_then(|ports| ports.entry(id));
        // One with another port is of an editor that somebody else started since.
        any |= matches!(&entry, Some(entry) if entry.as_ref().is_ok_and(|one| one.port == port));
        // Whoever writes a torn one anew puts ours into it.
        if databases.torn[0].is_none() {
            stands.push(matches!(entry, Some(Ok(entry)) if entry.port == port
                && entry.repo_path == record.folder.as_str()
                && supervisor.is_none_or(|pid| pid == entry.pid)));
        }
    }
    if databases.folders[1] {
        let state = databases.repositories.as_ref().and_then(|known| known.state(id));
        let is_ours = state == Some((true, record.target.port()));
        any |= is_ours;
        if databases.torn[1].is_none() {
            stands.push(is_ours);
        }
    }
    Ok(match (any, stands.iter().all(|stands| *stands)) {
        // Where nobody is told anything, all that is to be told stands and nothing has to go.
        (false, true) if stands.is_empty() && !record.announced => Words::Nothing,
        (_, true) => Words::All,
        (true, false) => Words::Some,
        (false, false) => Words::Nothing,
    })
}

/// Reads both databases.
pub(crate) fn databases(host: &Host) -> Databases {
    let settings = &host.settings.instances;
    let owners = oh_host::inputs::owners(host);
    let place = |path| Place { root: &host.root, path, owners: &owners };
    let mut unknown = None;
    let has_folder = |path: &oh_model::path::InRoot| {
        let folder = host.root.real(path).map(|path| path.parent());
        folder.is_ok_and(|folder| std::fs::metadata(folder.as_str()).is_ok())
    };
    let (path, other) = (&settings.port_database, &settings.repository_database);
    let (ports, torn) = kept(databases::read_what_is_whole(place(path)), &mut unknown);
    let (repositories, other) = kept(databases::read_what_is_whole(place(other)), &mut unknown);
    let torn = [torn, other];
    let folders = [&settings.port_database, &settings.repository_database].map(has_folder);
    Databases { ports, repositories, torn, unknown, folders }
}

fn kept<D>(
    read: Result<Option<(D, Option<Lost>)>, EditFault>,
    unknown: &mut Option<String>,
) -> (Option<D>, Option<Lost>) {
    match read {
        Ok(Some((document, lost))) => (Some(document), lost),
        Ok(None) => (None, None),
        Err(fault) => {
            unknown.get_or_insert(chain(&fault));
            (None, None)
        }
    }
}

/// Finds what is to be written anew.
fn unfit(host: &Host, databases: &Databases) -> Vec<Unfit> {
    let settings = &host.settings.instances;
    let [ports, repositories] = &databases.torn;
    let torn = |database, path: &oh_model::path::InRoot, lost: &Lost| Unfit {
        database,
        is_torn: true,
        what: path.to_string(),
        why: format!("it is torn ({lost})"),
    };
    let mut unfit = Vec::new();
    if let Some(lost) = ports {
        unfit.push(torn(Database::Ports, &settings.port_database, lost));
    } else if let Some(why) = databases.ports.as_ref().and_then(|ports| ports.unfit(settings.ports))
    {
        unfit.push(Unfit {
            database: Database::Ports,
            is_torn: false,
            what: format!("availablePorts of {}", settings.port_database),
            why,
        });
    }
    if let Some(lost) = repositories {
        unfit.push(torn(Database::Repositories, &settings.repository_database, lost));
    }
    unfit
}

/// Who carries a token of an instance.
#[derive(Debug, Default)]
struct Tokens {
    by_token: BTreeMap<String, Vec<Pid>>,
    /// Those whose environment names a folder of this root's editors: token, process, name.
    ours: Vec<(String, Pid, String)>,
}

impl Tokens {
    /// Takes what a process carries; false where it may be in the moment of an exec.
    fn take(&mut self, pid: Pid, folder_of_ours: &str) -> bool {
        // One that is gone, or whose environment is not shown to us, is none that we could end.
        let Ok(process) = ProcessDir::open(pid) else { return true };
        let present = |key| match process.present_environment_value(key) {
            Ok(Glance::Seen(value)) => Some(value.unwrap_or_default()),
            Ok(Glance::InExec) => None,
            Err(_) => Some(Vec::new()),
        };
        let (Some(token), Some(folder)) = (present(TOKEN_KEY), present(FOLDER_KEY)) else {
            return false;
        };
        let Some(token) = String::from_utf8(token).ok().filter(|token| !token.is_empty()) else {
            return true;
        };
        if process.is_gone().unwrap_or(true) {
            return true;
        }
        if folder.starts_with(folder_of_ours.as_bytes()) {
            let name = process.stat().map(|stat| stat.name).unwrap_or_default();
            self.ours.push((token.clone(), pid, name));
        }
        self.by_token.entry(token).or_default().push(pid);
        true
    }
}

fn tokens(host: &Host) -> Result<Tokens, Fault> {
    let ours = format!("{}/", host.root.real(&host.settings.instances.runtime_directory)?);
    let mut tokens = Tokens::default();
    settle(pids()?, |pids| {
        Ok::<_, Fault>(pids.into_iter().filter(|pid| !tokens.take(*pid, &ours)).collect())
    })?;
    Ok(tokens)
}

fn publishing(host: &Host, is_torn: bool) -> Publishing {
    let planned = publish::gather(host).and_then(|facts| publish::plan(&facts));
    match planned {
        // A login is made by who is there to read it.
        Ok(plan) if plan.steps.iter().all(|step| matches!(step, publish::Step::Login(_))) => {
            Publishing::Settled
        }
        Ok(_) => Publishing::Due,
        // By then it is written anew.
        Err(PublishFault::Database { is_torn: true, .. }) if is_torn => Publishing::Due,
        Err(fault) => Publishing::Unknown(chain(&fault)),
    }
}

/// Says whether a record has one of these ports.
pub(crate) fn is_recorded(host: &Host, port: Port) -> Result<bool, Fault> {
    for record in instances::records(&host.root)? {
        if record?.ports().any(|own| own == port) {
            return Ok(true);
        }
    }
    Ok(false)
}
