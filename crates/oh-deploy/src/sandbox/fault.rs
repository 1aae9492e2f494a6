//! Why the sandbox is not up, or not down.

use oh_host::atomic::FileFault;
use oh_host::command::CommandFault;
use oh_host::lock::LockFault;
use oh_host::process::ProcessFault;
use oh_host::publish::PublishFault;
use oh_host::random::RandomFault;
use oh_host::root::RootFault;
use oh_host::settings::SettingsFault;
use oh_host::sockets::SocketFault;
use oh_host::spawn::SpawnFault;
use oh_host::stop::StopFault;
use oh_model::exit::Exit;
use oh_model::path::PathFault;
use oh_term::Failure;
use thiserror::Error;

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
    #[error("the sandbox is in use")]
    Lock(#[from] LockFault),
    #[error("the record {path} cannot be read: {why}")]
    Record { path: String, why: String },
    #[error("this sandbox serves {is}")]
    OtherScheme { is: &'static str },
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
    #[error("could not run openssl")]
    Command(#[from] CommandFault),
    #[error("openssl made no certificate ({ending}): {said}")]
    Certificate { ending: String, said: String },
    #[error("could not start {part}")]
    Start { part: Part, source: SpawnFault },
    #[error("{part} ended right after its start ({ending}): {said}")]
    Ended { part: Part, ending: String, said: String },
    #[error("{part} did not answer on port {port} within {limit_s} s")]
    NotReady { part: Part, port: u16, limit_s: u64 },
    #[error("could not stop what runs in the sandbox")]
    Stop(#[from] StopFault),
    #[error("could not stop: {0}")]
    Survivors(String),
    #[error("could not publish the routes")]
    Publish(#[from] PublishFault),
}

impl SandboxFault {
    /// Turns it into what people read.
    pub(crate) fn failure(self) -> Failure {
        let (exit, hint) = (self.exit(), self.hint());
        let failure = Failure::new(exit, self);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::NotASandbox { .. }
            | Self::Path { .. }
            | Self::OtherScheme { .. }
            | Self::Root(_) => Exit::Refused,
            Self::Lock(fault) if fault.is_held() => Exit::Locked,
            Self::Settings(fault) => fault.exit(),
            Self::Publish(fault) => fault.exit(),
            Self::Command(_) => Exit::CouldNotLook,
            _ => Exit::No,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotASandbox { .. } => Some("name another folder with --dir".into()),
            Self::OtherScheme { .. } => {
                Some("take it down first, or name another folder with --dir".into())
            }
            Self::Publish(fault) => fault.hints().into_iter().next(),
            Self::Settings(fault) => fault.hint(),
            Self::Root(fault) => fault.hint(),
            Self::Command(_) => Some("cargo xtask setup --for sandbox".into()),
            _ => None,
        }
    }
}
