//! Old files for nginx: what the generators of the original applications wrote, and who listens where
//! they lead.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd as _;

use oh_host::folder::{self, Refusal, each_name};
use oh_host::process::{Pid, ProcessDir};
use oh_host::publish::Host;
use oh_host::quarantine::{self, Place, Thing};
use oh_host::sockets;
use oh_host::users::{OwnerSet, Users};
use oh_model::escaped::Name;
use oh_model::path::RealPath;
use oh_model::port::Port;
use oh_nginx_conf::generated::{FILE_BYTES_MAX, Generated, recognise};

use super::{Editor, GeneratedFile, Listening, Look};
use crate::apply::chain;

/// How many files are looked at in the folder: with more than that somebody floods it.
const NAMES_MAX: usize = 10_000;

/// The folder of the files, and what their names have before and behind an id; `None` where each of
/// them would be in a folder of its own, as no generator made them.
pub(crate) fn place(host: &Host) -> Option<(RealPath, String, String)> {
    let template = &host.settings.nginx.legacy_repositories;
    let (before, behind) = template.names()?;
    let folder = host.root.real(&template.folder()).ok()?;
    Some((folder, before.to_owned(), behind.to_owned()))
}

pub(super) fn gather(look: &mut Look<'_>, editors: &[Editor]) -> Vec<GeneratedFile> {
    gather_up_to(NAMES_MAX, look, editors)
}

fn gather_up_to(names_max: usize, look: &mut Look<'_>, editors: &[Editor]) -> Vec<GeneratedFile> {
    let Some((folder, before, behind)) = place(look.host) else { return Vec::new() };
    let things = match things(names_max, look, &folder, (&before, &behind)) {
        Ok(things) => things,
        Err(why) => {
            look.miss(folder.to_string(), why);
            return Vec::new();
        }
    };
    let mut holders = Holders::of(editors);
    let mut files = Vec::new();
    for thing in things {
        let content = content(&thing, &look.owners);
        let ports: BTreeSet<Port> =
            content.iter().flat_map(|one| one.routes.iter().filter_map(|one| one.port)).collect();
        let listening = ports.into_iter().map(|port| (port, holders.on(look, port))).collect();
        let name = String::from_utf8_lossy(thing.name.as_bytes()).into_owned();
        let stem = name.strip_prefix(&before).and_then(|rest| rest.strip_suffix(&behind));
        files.push(GeneratedFile {
            stem: stem.unwrap_or_default().to_owned(),
            content,
            listening,
            thing,
        });
    }
    files
}

/// Looks at every name in the folder that could be one of theirs.
fn things(
    names_max: usize,
    look: &mut Look<'_>,
    folder: &RealPath,
    (before, behind): (&str, &str),
) -> Result<Vec<Thing>, String> {
    let open = folder::open_folder(folder, &look.owners).map_err(|fault| chain(&fault))?;
    let Some(open) = open else { return Ok(Vec::new()) };
    let (mut names, mut is_flooded) = (BTreeSet::new(), false);
    let is_one = |name: &[u8]| {
        let is_long = name.len() > before.len() + behind.len() && !name.starts_with(b".");
        is_long && name.starts_with(before.as_bytes()) && name.ends_with(behind.as_bytes())
    };
    // What has another name costs nothing, and hides nothing.
    each_name(open.as_fd(), |name| {
        names.extend(Name::new(name).filter(|_| is_one(name)));
        is_flooded = names.len() > names_max;
        !is_flooded
    })
    .map_err(|errno| format!("it cannot be listed: {errno}"))?;
    if is_flooded {
        look.miss(folder.to_string(), format!("it has more than {names_max} files"));
    }
    let mut things = Vec::new();
    for name in &names {
        match quarantine::look_in(open.as_fd(), folder, name) {
            Ok(thing) => things.extend(thing),
            // One that cannot be looked at hides no other.
            Err(fault) => look.miss(format!("{folder}/{name}"), chain(&fault)),
        }
    }
    Ok(things)
}

/// Reads a file, and says why it is none of a generator's.
fn content(thing: &Thing, owners: &OwnerSet) -> Result<Generated, String> {
    let path = core::str::from_utf8(thing.name.as_bytes()).ok();
    let path = path.and_then(|name| thing.folder.join(name).ok());
    let path = path.ok_or("its name is none that a generator gave")?;
    let limit = FILE_BYTES_MAX as u64;
    let file = match folder::read_owned_file(&path, limit, owners) {
        Ok(file) => file.ok_or("it has gone away")?,
        Err(fault) => {
            return Err(match fault.refusal {
                Refusal::NotAFile(kind) => format!("it is {kind}"),
                Refusal::Owner(uid) => format!("it belongs to uid {uid}, none of cleanup.owners"),
                Refusal::Links(names) => format!("it has {names} names (hard links)"),
                refusal => refusal.to_string(),
            });
        }
    };
    let me = rustix::process::geteuid();
    if !me.is_root() && file.uid != me.as_raw() {
        return Err("it is not ours to move".to_owned());
    }
    if file.file.inode != thing.number.inode || file.size != thing.size_bytes {
        return Err("it is being written".to_owned());
    }
    recognise(&file.text).map_err(|foreign| foreign.to_string())
}

/// Says why a file is not to go after all: it is not what it was when it was looked at, or somebody
/// listens where it leads. For the last moment, when what was to end has ended.
pub(crate) fn is_not_to_go(host: &Host, was: &Thing) -> Option<String> {
    let now = match quarantine::look(&was.folder, &was.name) {
        Ok(Some(now)) => now,
        // That it is gone, or cannot be looked at, is found where it is to be moved.
        Ok(None) | Err(_) => return None,
    };
    if now != *was {
        return Some("it was changed at that moment, and stays".to_owned());
    }
    let generated = match content(&now, &owners_of(host)) {
        Ok(generated) => generated,
        Err(why) => return Some(why),
    };
    let listeners = match sockets::listeners() {
        Ok(listeners) => listeners,
        Err(fault) => return Some(format!("nobody can tell who listens: {}", chain(&fault))),
    };
    let mut ports = generated.routes.iter().filter_map(|route| route.port);
    let used = ports.find(|port| listeners.iter().any(|one| one.address.port() == port.get()));
    used.map(|port| format!("somebody listens on port {port} by now, so it stays"))
}

/// The addresses that a file routes which is in the quarantine by now.
pub(crate) fn routes_in(host: &Host, place: &Place) -> Vec<String> {
    let path = place.folder.join(&place.number.to_string()).ok();
    let read = |path| folder::read_owned_file(&path, FILE_BYTES_MAX as u64, &owners_of(host)).ok();
    let text = path.and_then(read).flatten().map(|file| file.text);
    let generated = text.and_then(|text| recognise(&text).ok());
    generated.into_iter().flat_map(|one| one.routes).map(|route| route.path).collect()
}

fn owners_of(host: &Host) -> OwnerSet {
    super::owners(host, &Users::of_machine().unwrap_or_else(|_| Users::parse("", "")))
}

/// Who listens, found once.
pub(super) struct Holders {
    /// The processes of editors, by the sockets that they hold.
    editors: BTreeMap<u64, Pid>,
    known: BTreeMap<Port, Result<Vec<Listening>, String>>,
}

impl Holders {
    pub(super) fn of(editors: &[Editor]) -> Self {
        let mut of_editors = BTreeMap::new();
        for pid in editors.iter().flat_map(|editor| &editor.pids) {
            // Of one that is gone or hidden, the socket is somebody's who is not known: it stays.
            let inodes = ProcessDir::open(*pid).and_then(|process| process.socket_inodes());
            of_editors.extend(inodes.into_iter().flatten().map(|inode| (inode, *pid)));
        }
        Self { editors: of_editors, known: BTreeMap::new() }
    }

    /// Says who listens on a port, at whichever address; `Err` where nobody can tell.
    pub(super) fn on(&mut self, look: &Look<'_>, port: Port) -> Result<Vec<Listening>, String> {
        if let Some(known) = self.known.get(&port) {
            return known.clone();
        }
        let found = look.listeners.as_ref().map_err(Clone::clone).map(|listeners| {
            let on_it = listeners.iter().filter(|one| one.address.port() == port.get());
            let told = on_it.map(|one| match self.editors.get(&one.inode) {
                Some(pid) => Listening { pid: Some(*pid), shown: look.shown(*pid, one.uid) },
                None => {
                    let holder = sockets::holder(port, &[]).map(|process| process.pid());
                    let shown = match holder {
                        Some(pid) => look.shown(pid, one.uid),
                        None => format!("user {}", look.users.shown(one.uid)),
                    };
                    Listening { pid: None, shown }
                }
            });
            told.collect()
        });
        self.known.insert(port, found.clone());
        found
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::PermissionsExt as _;

    use oh_host::settings::{self, Wish};

    use super::*;

    const FOLDER: &str = "etc/nginx/vscode-projects";

    /// How many files are too many here.
    const FILES: usize = 20;

    /// What is found beside one good file and these.
    fn found(others: &[&[u8]]) -> (Vec<String>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let folder = dir.path().join(FOLDER);
        fs::create_dir_all(&folder).unwrap();
        let text = "# Auto-generated config for x\n";
        for name in others.iter().chain([&b"good.conf".as_slice()]) {
            fs::write(folder.join(OsStr::from_bytes(name)), text).unwrap();
        }
        let wish = Wish::of(None, Some(dir.path().display().to_string()), Vec::new());
        let host = settings::find(&wish).unwrap().into_host();
        let mut look = Look::begin(&host).unwrap();
        let files = gather_up_to(FILES, &mut look, &[]);
        let shown = files.iter().map(|file| match &file.content {
            Ok(_) => file.thing.name.to_string(),
            Err(why) => format!("{}: {why}", file.thing.name),
        });
        let unseen = look.unseen.iter().map(|one| one.reason.clone());
        (shown.collect(), unseen.collect())
    }

    #[test]
    fn a_name_that_is_none_hides_no_other() {
        let bad = "its name is none that a generator gave";
        let (files, unseen) = found(&[b"\xff.conf", b"a\nb.conf"]);
        let expected =
            [format!("a\\x0ab.conf: {bad}"), "good.conf".into(), format!("\\xff.conf: {bad}")];
        assert_eq!((files.as_slice(), unseen.len()), (expected.as_slice(), 0));
    }

    #[test]
    fn a_flood_of_names_is_told_and_hides_nothing_of_another_name() {
        let names: Vec<String> = (0..=FILES).map(|number| format!("{number}.txt")).collect();
        let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
        assert_eq!(found(&names), (vec!["good.conf".to_owned()], Vec::new()));
        let names: Vec<String> = (0..=FILES).map(|number| format!("{number}.conf")).collect();
        let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
        let (files, unseen) = found(&names);
        assert_eq!(unseen, [format!("it has more than {FILES} files")]);
        assert!(files.len() > FILES, "{}", files.len());
    }
}
