//! Why a command did not do what it was asked, and what to do about it.

use std::io;

use oh_host::atomic::FileFault;
use oh_host::command::CommandFault;
use oh_host::databases::EditFault;
use oh_host::folder::FolderFault;
use oh_host::instances::InstanceFault;
use oh_host::lock::LockFault;
use oh_host::process::{Pid, ProcessFault};
use oh_host::publish::PublishFault;
use oh_host::random::RandomFault;
use oh_host::sockets::SocketFault;
use oh_host::spawn::SpawnFault;
use oh_host::stop::StopFault;
use oh_host::usage::UsageFault;
use oh_model::diagnostic::Diagnostic;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::id::{IdFault, InstanceId};
use oh_model::path::{InRoot, PathFault, RealPath};
use oh_model::port::Port;
use thiserror::Error;

/// Says why something is not started: nothing was touched.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error("neither a repository nor a session is named")]
    Nothing,
    #[error("{id:?} cannot be an id: {fault}")]
    Id {
        id: String,
        fault: IdFault,
        /// Whether `--name` would help.
        by_name: bool,
    },
    #[error("{path:?} cannot be used as a path: {source}")]
    Path { path: String, source: PathFault },
    #[error("{path} is not below the root")]
    OutsideRoot { path: String },
    #[error("cannot look at {path}")]
    Look { path: String, source: io::Error },
    #[error("{path} leads through a symbolic link to {real}")]
    Link { path: String, real: String },
    #[error("{path} is not a folder")]
    NoFolder { path: String },
    #[error("{folder} is no repository: {why}")]
    Folder { folder: InRoot, why: String },
    #[error("the id {id} is that of {other}, not of {folder}")]
    Collision { id: String, folder: InRoot, other: InRoot },
    #[error("{folder} is known as {known}")]
    OtherName { folder: InRoot, known: String },
    #[error("the id {id} is that of a {subject} that runs")]
    Subject { id: InstanceId, subject: &'static str },
    #[error("the id {id} is that of a repository")]
    OfRepository { id: InstanceId, databases: [InRoot; 2] },
    #[error("there is no user {user:?} on this machine")]
    NoUser { user: String },
    #[error("the editor would run as root, and whoever comes in would be root")]
    AsRoot,
    #[error("{folder} belongs to root, and an editor of root's would make whoever comes in root")]
    RootsFolder { folder: InRoot },
    #[error(
        "{folder} belongs to {owner}, and others could put another folder in its place: \
         {above} {why}"
    )]
    Exchangeable { folder: InRoot, owner: String, above: String, why: String },
    #[error("{id} is an editor of {recorded}, and this start means one of {meant}")]
    OtherRecord { id: InstanceId, recorded: String, meant: String },
    #[error("only root can start an editor of user {user}")]
    OtherUser { user: String },
    #[error("instances.supervision is \"systemd\", and only root can have a unit")]
    UnitOfRoot,
    #[error("user {user} may not read {folder}")]
    Unreadable { folder: String, user: String },
    #[error("the repositories are not known")]
    Databases(#[source] PublishFault),
    #[error("{home} is kept of an editor of uid {uid}")]
    Kept { id: InstanceId, home: RealPath, uid: u32 },
    #[error("no nginx runs that could serve it")]
    NoNginx { start: Hint },
    #[error("code-server cannot keep its prefix, and {key} is \"base-path\"")]
    BasePath { key: &'static str },
    #[error("instances.transport is \"unix\", and sessions.sockets names no folder")]
    NoSockets,
    #[error("an instance on a socket has no port")]
    PortBesideSocket,
    #[error("{id} has upper-case letters, and sockets are lower case")]
    SocketCase { id: InstanceId },
    #[error("{path} has {count} bytes, and a socket's path has at most {SOCKET_PATH_BYTES_MAX}")]
    SocketPath { path: String, count: usize },
    #[error("{program} is missing")]
    NoProgram { program: String },
    #[error("port {port} is not one of {key}")]
    PortOutside { port: u16, key: &'static str },
    #[error("port {port} is taken by {holder}")]
    PortTaken { port: Port, holder: String },
    #[error("{id} runs already on port {port}, as {holder}, and not by oh-instances")]
    Unrecorded { id: InstanceId, port: Port, holder: String },
    #[error("{id} runs on port {port}")]
    OtherPort { id: InstanceId, port: Port },
    #[error("{path} announces this session already, and not for an editor of oh-instances")]
    SessionFile { path: String },
    #[error("nobody enters the key of {id}: nginx presents it")]
    KeyOfNginx { id: InstanceId },
    #[error("{id} asks for no key")]
    NoKey { id: InstanceId },
    #[error("all ports in use: {range} ({taken})")]
    NoPort { range: String, taken: String },
}

/// The longest path of a unix socket, in bytes, without its NUL (unix(7)).
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Says why a command did not do what it was asked.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    #[error("there is no instance {0}")]
    Unknown(String),
    #[error("{}", if .0.is_held() { "another command is at work" } else { "could not take a lock" })]
    Lock(#[source] LockFault),
    #[error("could not read or write a record")]
    Record(#[from] InstanceFault),
    #[error("could not look at a process")]
    Process(#[from] ProcessFault),
    #[error("could not look at a port")]
    Socket(#[from] SocketFault),
    #[error("could not write a file of the editor")]
    File(#[from] FileFault),
    #[error("the folder of session files is not used")]
    Sessions(#[from] FolderFault),
    #[error("the folder of session files went away while it was written to")]
    NoSessionFolder,
    #[error("a path of the editor cannot be used")]
    Path(#[from] PathFault),
    #[error("no key can be made")]
    Random(#[from] RandomFault),
    #[error("could not start it")]
    Spawn(#[from] SpawnFault),
    #[error("systemd could not be asked")]
    Command(#[from] CommandFault),
    #[error("systemd did not start the unit: {0}")]
    Systemd(String),
    #[error("could not stop it")]
    Stop(#[from] StopFault),
    #[error("a database could not be written")]
    Database(#[from] EditFault),
    #[error("its route could not be published")]
    Publish(#[source] PublishFault),
    #[error("systemd did not move it into its unit: {0}")]
    Limits(String),
    #[error("no nginx runs that could serve it")]
    Unserved,
    #[error("its supervisor ended{}", said_last(.0))]
    Supervisor(String),
    #[error(
        "its supervisor (pid {pid}) said nothing for {limit_s} s{}",
        if *is_stopped { ": it is stopped by a signal" } else { "" }
    )]
    Silent { pid: Pid, limit_s: u64, is_stopped: bool },
    #[error("the editor is not ready: {0}")]
    NotReady(String),
    #[error("could not look at the processes")]
    Usage(#[from] UsageFault),
    #[error("could not write the answer")]
    Answer(#[source] io::Error),
    #[error("could not read {path}")]
    Log { path: RealPath, source: io::Error },
    #[error("could not tell how it is")]
    Io(#[from] io::Error),
    #[error("it is not routed: {0}")]
    Unrouted(String),
    #[error("interrupted")]
    Interrupted,
    /// A restart that failed: it is stopped now.
    #[error("{id} does not run again, and was stopped")]
    Restart {
        id: InstanceId,
        source: Box<Fault>,
        /// What could not be taken back.
        left: Vec<String>,
    },
    /// A start that failed, and what became of what it had done.
    #[error("{id} was not started")]
    Start {
        id: InstanceId,
        source: Box<Fault>,
        /// What could not be taken back.
        left: Vec<String>,
    },
}

/// Who was killed has said nothing.
fn said_last(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

impl From<LockFault> for Fault {
    fn from(fault: LockFault) -> Self {
        if fault.is_interrupted() { Self::Interrupted } else { Self::Lock(fault) }
    }
}

impl From<PublishFault> for Fault {
    fn from(fault: PublishFault) -> Self {
        match fault {
            PublishFault::Lock(fault) if fault.is_interrupted() => Self::Interrupted,
            fault => Self::Publish(fault),
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl Fault {
    /// Says whether it is the editor that does not run, and not something around it.
    pub(crate) const fn is_of_editor(&self) -> bool {
        matches!(self, Self::Spawn(_) | Self::Systemd(_) | Self::Supervisor(_) | Self::NotReady(_))
    }
}

/// Says whether something could not be written because a disk is full, or the user's part of it.
fn is_no_space(fault: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(fault);
    while let Some(fault) = cause {
        let kind = fault.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        cause = fault.source();
    }
    false
}

impl Diagnostic for Fault {
    fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) | Self::Unknown(_) => Exit::Refused,
            Self::Lock(fault) if fault.is_held() => Exit::Locked,
            Self::Publish(fault) => fault.exit(),
            Self::Record(_) | Self::Lock(_) if is_no_space(self) => Exit::Intact,
            Self::Start { left, .. } if !left.is_empty() => Exit::RollbackFailed,
            Self::Start { source, .. } => match source.exit() {
                exit @ (Exit::Refused | Exit::Locked | Exit::Config | Exit::Interrupted) => exit,
                _ => Exit::Intact,
            },
            Self::Record(_)
            | Self::Process(_)
            | Self::Socket(_)
            | Self::Lock(_)
            | Self::Usage(_)
            | Self::Log { .. } => Exit::CouldNotLook,
            Self::Interrupted => Exit::Interrupted,
            _ => Exit::No,
        }
    }

    fn state(&self) -> Option<String> {
        match self {
            Self::Refused(_) | Self::Unknown(_) | Self::Lock(_) => {
                Some("nothing was changed".into())
            }
            Self::Publish(fault) => fault.state(),
            Self::Interrupted => Some("what was begun goes on without this command".into()),
            Self::Restart { left, .. } | Self::Start { left, .. } if !left.is_empty() => {
                Some(format!("not taken back: {}", left.join("; ")))
            }
            Self::Restart { .. } => Some("nothing of it is left but what it keeps".into()),
            Self::Start { .. } => Some("what it had begun was taken back".into()),
            _ => None,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        match self {
            Self::Refused(refusal) => refusal.hint().into_iter().collect(),
            Self::Publish(fault) => fault.hints(),
            Self::Database(fault) => fault.hints(),
            Self::Start { source, left, .. } if left.is_empty() => match &**source {
                Self::Interrupted => Vec::new(),
                source => source.hints(),
            },
            Self::Start { .. } => {
                vec![Hint::run("", Command::ours("oh-instances", &["reconcile"]))]
            }
            Self::Silent { pid, is_stopped: true, .. } => {
                let command = Command::other("kill", &["-CONT", &pid.to_string()]);
                vec![Hint::run("let it go on", command)]
            }
            Self::Interrupted => {
                let reconcile = Command::ours("oh-instances", &["reconcile"]);
                vec![Hint::run("see to what is not done by itself", reconcile)]
            }
            Self::Unserved => vec!["start nginx, then run the same command again".into()],
            Self::Unknown(_) => vec![Hint::run("", Command::ours("oh-instances", &["list"]))],
            _ => Vec::new(),
        }
    }
}

impl Refusal {
    fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::Id { by_name: true, .. } | Self::Collision { .. } => {
                "give it a name of its own with --name".into()
            }
            Self::OfRepository { databases: [repositories, ports], .. } => format!(
                "give the session another id, or take the repository out of {repositories} and {ports}"
            )
            .into(),
            Self::OtherName { known, .. } => {
                format!("leave --name out, or say --name {known}").into()
            }
            Self::Link { real, .. } => format!("name {real} instead").into(),
            Self::AsRoot | Self::RootsFolder { .. } => {
                "name a user with --user, or set instances.user; root itself only by --user root"
                    .into()
            }
            Self::Exchangeable { .. } => {
                "move it to where root and its owner alone may write, or name the user with --user"
                    .into()
            }
            Self::OtherRecord { id, .. } => Hint::run(
                "name the user that it has with --user, or first",
                Command::ours("oh-instances", &["stop", id.as_str()]),
            ),
            Self::Kept { id, .. } => {
                let purge = Command::ours("oh-instances", &["stop", id.as_str(), "--purge"]);
                Hint::run("name that user with --user, or remove what is kept", purge)
            }
            Self::UnitOfRoot => "set instances.supervision to \"auto\" or \"process\"".into(),
            Self::NoNginx { start } => start.clone(),
            Self::Databases(fault) => return fault.hints().into_iter().next(),
            Self::NoProgram { .. } => "install it, or set instances.program to where it is".into(),
            Self::NoSockets => "set sessions.sockets, or instances.transport to \"port\"".into(),
            Self::BasePath { key } => {
                format!("set {key} to \"strip+prefix\", or instances.server to openvscode-server")
                    .into()
            }
            Self::PortTaken { .. } => "leave --port out, and a free one is taken".into(),
            Self::Unrecorded { .. } => Hint::run(
                "take it over, where it is the original application's",
                Command::ours("oh-instances", &["reconcile"]),
            ),
            Self::NoPort { .. } => {
                Hint::run("stop one, for instance of", Command::ours("oh-instances", &["list"]))
            }
            _ => return None,
        })
    }
}
