//! Why the sandbox is not up, or not down.

use oh_host::atomic::FileFault;
use oh_host::command::CommandFault;
use oh_host::disk::DiskFull;
use oh_host::instances::InstanceFault;
use oh_host::lock::LockFault;
use oh_host::process::ProcessFault;
use oh_host::publish::PublishFault;
use oh_host::random::RandomFault;
use oh_host::root::RootFault;
use oh_host::settings::SettingsFault;
use oh_host::sockets::SocketFault;
use oh_host::spawn::SpawnFault;
use oh_host::stop::StopFault;
use oh_model::diagnostic::Diagnostic as _;
use oh_model::exit::Exit;
use oh_model::hint::Hint;
use oh_model::path::PathFault;
use oh_term::Failure;
use thiserror::Error;

use super::commands;
use super::parts::Part;

/// Says why a sandbox is not up, or not down.
#[derive(Debug, Error)]
pub(crate) enum SandboxFault {
    #[error("{dir} has something in it and is no sandbox")]
    NotASandbox { dir: String },
    #[error("{dir} is no path that can be used")]
    Path { dir: String, source: PathFault },
    #[error("could not make the folder {dir}")]
    Make { dir: String, source: std::io::Error },
    #[error("the folder cannot be used")]
    Root(#[from] RootFault),
    #[error("{}", if .0.is_held() { "the sandbox is in use" } else { "the sandbox cannot be locked" })]
    Lock(#[from] LockFault),
    #[error("the record {path} cannot be read: {why}")]
    Record { path: String, why: String },
    #[error("this sandbox serves TLS on localhost, and --http asks for plain HTTP")]
    OtherScheme,
    #[error("a file of the sandbox could not be written or read")]
    File(#[from] FileFault),
    #[error("a folder or file could not be removed: {path}")]
    Remove { path: String, source: std::io::Error },
    #[error("the configuration of the sandbox is wrong")]
    Settings(#[from] SettingsFault),
    #[error("no port is free between {first} and {last} for {purpose}")]
    NoPort { purpose: &'static str, first: u16, last: u16 },
    #[error("the ports cannot be looked at")]
    Sockets(#[from] SocketFault),
    #[error("there is no randomness")]
    Random(#[from] RandomFault),
    #[error("the processes cannot be looked at")]
    Process(#[from] ProcessFault),
    #[error("could not run a program")]
    Command(#[from] CommandFault),
    #[error("openssl made no certificate ({ending}): {said}")]
    Certificate { ending: String, said: String, source: Option<DiskFull> },
    #[error("could not start {part}")]
    Start { part: Part, source: SpawnFault },
    #[error("{part} ended right after its start ({ending}){}", said_last(.said))]
    Ended { part: Part, ending: String, said: String, source: Option<DiskFull> },
    #[error("{part} did not answer on port {port} within {limit_s} s")]
    NotReady { part: Part, port: u16, limit_s: u64, source: Option<DiskFull> },
    #[error("could not {doing}: {why}")]
    Editor { doing: String, why: String },
    #[error("the records of the editors cannot be read")]
    Instances(#[from] InstanceFault),
    #[error("the session has no port for its application")]
    NoAppPort,
    #[error("could not stop what runs in the sandbox")]
    Stop(#[from] StopFault),
    #[error("could not stop: {0}")]
    Survivors(String),
    #[error("could not publish the routes")]
    Publish(#[from] PublishFault),
}

/// A program that could not write has said nothing.
fn said_last(said: &str) -> String {
    if said.trim().is_empty() { String::new() } else { format!(": {said}") }
}

impl SandboxFault {
    /// Turns it into what people read of the sandbox in a folder.
    pub(crate) fn failure(self, dir: &str) -> Failure {
        let (exit, hint) = (self.exit(), self.hint(dir));
        let faults = match &self {
            Self::Settings(SettingsFault::Faults(faults)) => {
                faults.0.iter().map(oh_config::fault_json).collect()
            }
            Self::Publish(PublishFault::Config(fault)) => vec![oh_config::fault_json(fault)],
            _ => Vec::new(),
        };
        hint.into_iter().fold(Failure::new(exit, self).faults(faults), Failure::hint)
    }

    fn exit(&self) -> Exit {
        match self {
            Self::NotASandbox { .. }
            | Self::Record { .. }
            | Self::Path { .. }
            | Self::OtherScheme
            | Self::Root(_) => Exit::Refused,
            Self::Lock(fault) if fault.is_held() => Exit::Locked,
            Self::Settings(fault) => fault.exit(),
            Self::Publish(fault) => fault.exit(),
            Self::Command(_) => Exit::CouldNotLook,
            _ => Exit::No,
        }
    }

    fn hint(&self, dir: &str) -> Option<Hint> {
        match self {
            Self::NotASandbox { .. } | Self::Record { .. } => {
                Some("name another folder with --dir".into())
            }
            Self::OtherScheme => Some(Hint::run(
                "leave --http out, or name another folder with --dir, or first",
                commands::take_down(dir),
            )),
            Self::Publish(fault) => {
                fault.hints().into_iter().next().map(|hint| commands::in_sandbox(hint, dir))
            }
            Self::Settings(fault) => fault.hints().into_iter().next(),
            Self::Root(fault) => fault.hint().map(Hint::from),
            Self::Ended { source: Some(_), .. }
            | Self::NotReady { source: Some(_), .. }
            | Self::Certificate { source: Some(_), .. } => {
                Some("make room on that disk, then run the same command again".into())
            }
            Self::Command(_) => Some("cargo xtask setup --for sandbox".into()),
            _ => None,
        }
    }
}
