//! The files that announce sessions, and whether their editors are there.

use oh_host::folder::{self, Limits};
use oh_host::inputs;
use oh_host::instances;
use oh_host::publish::Host;
use oh_host::quarantine::{self, Number};
use oh_host::sockets::SocketFile;
use oh_model::escaped::Name;
use oh_model::id::{InstanceId, SessionId};
use oh_model::path::RealPath;
use oh_model::session::SessionFile;
use oh_model::upstream::Target;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;

use super::generated::Holders;
use super::{Editor, Life, Look, Session};
use crate::fault::Fault;

/// The unit of blocks, in bytes (stat(2)).
const BLOCK_BYTES: u64 = 512;

pub(super) fn gather(look: &mut Look<'_>, editors: &[Editor]) -> Vec<Session> {
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
    // What all editors have open is asked for where somebody listens.
    let mut holders: Option<Holders> = None;
    for entry in folder.entries() {
        let Some(name) = Name::new(entry.name.as_bytes()) else { continue };
        let Ok(Some(thing)) = quarantine::look(&path, &name) else { continue };
        // As left-overs are counted; of one that is gone meanwhile nobody asks.
        let room_bytes =
            std::fs::symlink_metadata(thing.shown()).map_or(0, |meta| meta.blocks() * BLOCK_BYTES);
        let Some(id) = entry.stem().filter(|stem| SessionId::parse(stem).is_ok()) else {
            // It announces nothing, and whoever looks for it finds it named.
            let life = Err("its name is no id of a session, so nothing reads it".to_owned());
            let (id, listening) = (name.to_string(), Vec::new());
            sessions.push(Session { id, thing, room_bytes, port: None, listening, life });
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
        let listening = match (port, &life) {
            (Some(port), Ok(Life::Listens)) => {
                let holders = holders.get_or_insert_with(|| Holders::of(editors));
                holders.on(look, port).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        sessions.push(Session { id: id.to_owned(), thing, room_bytes, port, listening, life });
    }
    sessions
}

/// Returns the sessions on whose editors somebody listens by now, by their things, with who it is: for the
/// last moment, when what was to end has ended.
pub(crate) fn listened(host: &Host) -> Result<BTreeMap<Number, String>, Fault> {
    let mut look = Look::begin(host)?;
    let sessions = gather(&mut look, &[]);
    let told = sessions.into_iter().filter(|session| session.life == Ok(Life::Listens));
    let told = told.map(|session| {
        let why = match session.listening.first() {
            Some(one) => format!("{} listens on its port by now", one.shown),
            None => "its editor listens by now".to_owned(),
        };
        (session.thing.number, why)
    });
    Ok(told.collect())
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt as _;

    use oh_host::settings::{self, Wish};

    use super::*;

    #[test]
    fn who_listens_at_the_last_moment_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let folder = dir.path().join("tmp/openhands-sessions");
        fs::create_dir_all(&folder).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        fs::write(folder.join("one.json"), format!("{{\"vscode_port\": {port}}}")).unwrap();
        let wish = Wish::of(None, Some(dir.path().display().to_string()), Vec::new());
        let host = settings::find(&wish).unwrap().into_host();
        let said: Vec<String> = listened(&host).unwrap().into_values().collect();
        let us = format!("pid {} (", std::process::id());
        assert!(matches!(said.as_slice(), [one] if one.starts_with(&us)), "{said:?}");
        assert!(said.concat().ends_with(" listens on its port by now"), "{said:?}");
        drop(listener);
        assert_eq!(listened(&host).unwrap(), BTreeMap::new());
    }
}
