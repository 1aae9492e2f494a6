//! The files that announce sessions, and whether their editors are there.

use oh_host::folder::{self, Limits};
use oh_host::inputs;
use oh_host::instances;
use oh_host::quarantine;
use oh_host::sockets::SocketFile;
use oh_model::escaped::Name;
use oh_model::id::{InstanceId, SessionId};
use oh_model::path::RealPath;
use oh_model::session::SessionFile;
use oh_model::upstream::Target;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;

use super::{Life, Look, Session};

/// The unit of blocks, in bytes (stat(2)).
const BLOCK_BYTES: u64 = 512;

pub(super) fn gather(look: &mut Look<'_>) -> Vec<Session> {
    let settings = &look.host.settings.sessions;
    let Ok(path) = look.host.root.real(&settings.directory) else { return Vec::new() };
    let limits = Limits {
        entries_max: usize::try_from(settings.sessions_max).unwrap_or(usize::MAX),
        file_bytes_max: settings.file_bytes_max,
    };
    let folder = match folder::read_folder(&path, limits, &inputs::owners(look.host)) {
        Ok(folder) => folder,
        Err(fault) => {
            look.miss(path.to_string(), fault.to_string());
            return Vec::new();
        }
    };
    let mut sessions = Vec::new();
    for entry in folder.entries() {
        let Some(name) = Name::new(entry.name.as_bytes()) else { continue };
        let Ok(Some(thing)) = quarantine::look(&path, &name) else { continue };
        // As left-overs are counted; of one that is gone meanwhile nobody asks.
        let room_bytes =
            std::fs::symlink_metadata(thing.shown()).map_or(0, |meta| meta.blocks() * BLOCK_BYTES);
        let Some(id) = entry.stem().filter(|stem| SessionId::parse(stem).is_ok()) else {
            // It announces nothing, and whoever looks for it finds it named.
            let life = Err("its name is no id of a session, so nothing reads it".to_owned());
            sessions.push(Session { id: name.to_string(), thing, room_bytes, port: None, life });
            continue;
        };
        let target = match &entry.verdict {
            Err(refusal) => Err(refusal.to_string()),
            Ok(facts) => SessionFile::parse(&facts.text)
                .map(|file| file.target)
                .map_err(|fault| fault.to_string()),
        };
        let port = target.as_ref().ok().and_then(|target| target.port());
        let life = target.and_then(|target| life(look, id, target, thing.uid));
        sessions.push(Session { id: id.to_owned(), thing, room_bytes, port, life });
    }
    sessions
}

fn life(look: &Look<'_>, id: &str, target: Target, owner: u32) -> Result<Life, String> {
    let listens = match target {
        Target::Port(port) => look.listener(port)?.is_some(),
        Target::Socket => {
            let socket =
                socket(look, id).ok_or("it is on a socket, and there is no folder of them")?;
            let sockets = look.sockets.as_ref().map_err(Clone::clone)?;
            let counts = |uid| look.owners.contains(uid) || uid == owner;
            let file = SocketFile::at(&socket);
            sockets.listening(socket.as_str().as_bytes(), file, counts).next().is_some()
        }
    };
    Ok(if listens { Life::Listens } else { Life::Gone })
}

fn socket(look: &Look<'_>, id: &str) -> Option<RealPath> {
    let folder = look.host.settings.sessions.sockets.as_ref()?;
    instances::socket(&look.host.root, folder, &InstanceId::parse(id).ok()?).ok()
}
