//! What a start is asked for, judged before anything is touched: which id, which folder, which user.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use oh_config::Settings;
use oh_host::folder::FileKind;
use oh_host::publish::Host;
use oh_host::users::{Users, is_root};
use oh_host::way::{Way, WayFault};
use oh_model::databases::RepositoriesDb;
use oh_model::id::{InstanceId, RepoId, SessionId};
use oh_model::instance::Subject;
use oh_model::path::{InRoot, RealPath};

use crate::cli::StartArguments;
use crate::fault::Refusal;

/// What an editor is started for.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) id: InstanceId,
    pub(crate) subject: Subject,
    /// The folder that it opens.
    pub(crate) folder: InRoot,
    pub(crate) user: User,
}

/// Whom an editor runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The login name, where it has one.
    pub(crate) name: Option<String>,
}

/// Folders that hold the system, or everybody's data: nobody's repository.
const SYSTEM: &[&str] = &[
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr",
    "/var/lib", "/var/log",
];

/// Judges what is asked for. The workspace of a session need not exist yet.
pub(crate) fn target(host: &Host, asked: &StartArguments) -> Result<Target, Refusal> {
    let users = Users::of_machine().unwrap_or_else(|_| Users::parse("", ""));
    let demanded = asked.user.as_deref();
    match (&asked.subject.repo, &asked.subject.session) {
        (Some(path), _) => {
            let (folder, real, way) = repository(host, path)?;
            let id = repository_id(host, &folder, asked.name.as_deref())?;
            let configured = host.settings.instances.user.as_ref().map(ToString::to_string);
            let user = match demanded.map(ToOwned::to_owned).or(configured) {
                Some(word) => named(&word, &users)?,
                None if !is_root() => own(&users),
                None => numbered(owner_of(&folder, &way, &users)?, &users),
            };
            permitted(&user, demanded)?;
            readable(&real, &user)?;
            Ok(Target { id, subject: Subject::Repository, folder, user })
        }
        (None, Some(id)) => {
            let session = SessionId::parse(id).map_err(|fault| Refusal::Id {
                id: id.clone(),
                fault,
                by_name: false,
            })?;
            let path = |source| Refusal::Path { path: id.clone(), source };
            let folder = host.settings.sessions.workspace.fill(&session).map_err(path)?;
            let user = match demanded {
                Some(word) => named(word, &users)?,
                None if !is_root() => own(&users),
                None => named(&host.settings.sessions.user.to_string(), &users)?,
            };
            permitted(&user, demanded)?;
            Ok(Target { id: session.into(), subject: Subject::Session, folder, user })
        }
        // clap demands one of them.
        (None, None) => Err(Refusal::Nothing),
    }
}

/// Finds the folder that is meant: absolute paths are below the root, others from here.
fn repository(host: &Host, path: &str) -> Result<(InRoot, RealPath, Way), Refusal> {
    let fault = |source| Refusal::Path { path: path.to_owned(), source };
    let trimmed = match path.trim_end_matches('/') {
        "" if path.starts_with('/') => "/",
        trimmed => trimmed,
    };
    let (folder, real) = if trimmed.starts_with('/') || trimmed.is_empty() {
        let folder = InRoot::parse(trimmed).map_err(fault)?;
        // As hints name it.
        let as_real = RealPath::parse(trimmed).ok().filter(|_| !host.root.is_system());
        match as_real.and_then(|real| Some((host.root.inside(&real)?, real))) {
            Some(below) => below,
            None => (folder.clone(), host.root.real(&folder).map_err(fault)?),
        }
    } else {
        let here = std::env::current_dir().and_then(|here| here.canonicalize());
        let here = here.map_err(|source| Refusal::Look { path: ".".into(), source })?;
        let here = here.to_str().ok_or_else(|| fault(oh_model::path::PathFault::Control))?;
        let below: Vec<&str> = trimmed.split('/').filter(|part| *part != ".").collect();
        let joined = [&[here], below.as_slice()].concat().join("/");
        let real = RealPath::parse(joined.trim_end_matches('/')).map_err(fault)?;
        let folder = host.root.inside(&real);
        (folder.ok_or_else(|| Refusal::OutsideRoot { path: joined.clone() })?, real)
    };
    let way = plain_folder(&folder, &real)?;
    apart(&folder, &host.settings)?;
    Ok((folder, real, way))
}

/// Opens a folder that is reached without a link, so that its name and its owner mean what they say.
pub(crate) fn plain_folder(folder: &InRoot, real: &RealPath) -> Result<Way, Refusal> {
    let path = || folder.to_string();
    let look = |source| Refusal::Look { path: path(), source };
    Way::without_links(real).map_err(|fault| match fault {
        WayFault::NotAFolder { kind: FileKind::Link, .. } => match real_path(real) {
            Ok(real) => Refusal::Link { path: path(), real },
            Err(source) => look(source),
        },
        WayFault::NotAFolder { .. } => Refusal::NoFolder { path: path() },
        WayFault::NoFolder { .. } => look(rustix::io::Errno::NOENT.into()),
        WayFault::Open { source, .. } => look(source),
        fault => look(std::io::Error::other(fault)),
    })
}

fn real_path(real: &RealPath) -> std::io::Result<String> {
    Ok(std::fs::canonicalize(real.as_str())?.display().to_string())
}

/// Refuses folders that are more than one repository, or not one at all.
pub(crate) fn apart(folder: &InRoot, settings: &Settings) -> Result<(), Refusal> {
    let text = folder.as_str();
    let refused = |why: String| Err(Refusal::Folder { folder: folder.clone(), why });
    if text.matches('/').count() < 2 {
        return refused("it is a folder of the whole system".into());
    }
    if SYSTEM.iter().any(|system| within(text, system)) {
        return refused("it belongs to the system".into());
    }
    let instances = &settings.instances;
    let holders = [
        (settings.sessions.workspace.folder(), "the workspaces of all sessions"),
        (instances.repository.folder(), "all repositories"),
        (instances.port_database.parent(), "the databases"),
        (settings.sessions.directory.clone(), "the session files"),
        (instances.directory.clone(), "what editors keep"),
    ];
    match holders.iter().find(|(holder, _)| within(holder.as_str(), text)) {
        Some((holder, what)) => refused(format!("it holds {what} ({holder})")),
        None => Ok(()),
    }
}

fn within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The id of a repository: the one that it is known by, the one that is given, or one that is made
/// of its name as the original application does.
fn repository_id(host: &Host, folder: &InRoot, name: Option<&str>) -> Result<InstanceId, Refusal> {
    let known = known_repositories(host)?;
    let of_folder = known.iter().find(|(_, path)| path == folder).map(|(id, _)| id.clone());
    let id = match (name, &of_folder) {
        (Some(name), _) => name.to_owned(),
        (None, Some(id)) => id.clone(),
        (None, None) => {
            let name = folder.name();
            let id = RepoId::normalise(name).map_err(|fault| Refusal::Id {
                id: name.into(),
                fault,
                by_name: true,
            })?;
            id.as_str().to_owned()
        }
    };
    let parsed = RepoId::parse(&id).map_err(|fault| Refusal::Id {
        id: id.clone(),
        fault,
        by_name: name.is_none(),
    })?;
    let other = known
        .iter()
        .find(|(known, path)| known.eq_ignore_ascii_case(parsed.as_str()) && path != folder);
    if let Some((_, other)) = other {
        return Err(Refusal::Collision { id, folder: folder.clone(), other: other.clone() });
    }
    if let (Some(name), Some(known)) = (name, of_folder)
        && !known.eq_ignore_ascii_case(name)
    {
        return Err(Refusal::OtherName { folder: folder.clone(), known });
    }
    Ok(parsed.into())
}

fn known_repositories(host: &Host) -> Result<Vec<(String, InRoot)>, Refusal> {
    let inputs = oh_host::inputs::repositories(host).map_err(Refusal::Databases)?;
    // A database that is torn refuses the start later, when it has to be written.
    let known = inputs.and_then(|text| RepositoriesDb::parse(&text).ok()).unwrap_or_default();
    Ok(known.repositories.into_iter().flatten().map(|known| (known.id, known.path)).collect())
}

fn named(word: &str, users: &Users) -> Result<User, Refusal> {
    let uid = users.uid(word).ok_or_else(|| Refusal::NoUser { user: word.to_owned() })?;
    Ok(numbered(uid, users))
}

fn numbered(uid: u32, users: &Users) -> User {
    match users.user_of(uid) {
        Some(user) => User { uid, gid: user.gid, name: Some(user.name.clone()) },
        // A user that is in no file has the group of its own number, as most have.
        None => User { uid, gid: uid, name: None },
    }
}

fn own(users: &Users) -> User {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    User { uid, gid, name: users.user_of(uid).map(|user| user.name.clone()) }
}

/// Only root may take another user's rights, and takes root's own only when told.
fn permitted(user: &User, demanded: Option<&str>) -> Result<(), Refusal> {
    if user.uid == 0 && is_root() && demanded.is_none() {
        return Err(Refusal::AsRoot);
    }
    if !is_root() && user.uid != rustix::process::geteuid().as_raw() {
        return Err(Refusal::OtherUser {
            user: user.name.clone().unwrap_or_else(|| user.uid.to_string()),
        });
    }
    Ok(())
}

/// The owner of a folder, as it was opened. Whoever may exchange a folder on the way would choose whose
/// editor it becomes, so only root, whoever runs and the owner may be able to.
fn owner_of(folder: &InRoot, way: &Way, users: &Users) -> Result<u32, Refusal> {
    let roots = || Refusal::RootsFolder { folder: folder.clone() };
    let (last, above) = way.passed().split_last().ok_or_else(roots)?;
    if last.uid == 0 {
        return Err(roots());
    }
    let trusted = [0, rustix::process::geteuid().as_raw(), last.uid];
    for at in above {
        let why = if !trusted.contains(&at.uid) {
            format!("belongs to {}", users.shown(at.uid))
        } else if at.lets_others_exchange(last.uid, users) {
            format!("has mode {:04o}", at.mode)
        } else {
            continue;
        };
        let (owner, above) = (users.shown(last.uid), at.path.clone());
        return Err(Refusal::Exchangeable { folder: folder.clone(), owner, above, why });
    }
    Ok(last.uid)
}

/// The user has to be let into the folder and to see what is in it.
fn readable(real: &RealPath, user: &User) -> Result<(), Refusal> {
    if user.uid == 0 {
        return Ok(());
    }
    let path = Path::new(real.as_str());
    for (at, folder) in path.ancestors().enumerate() {
        let look = |source| Refusal::Look { path: folder.display().to_string(), source };
        let meta = std::fs::metadata(folder).map_err(look)?;
        let wanted = if at == 0 { 0o5 } else { 0o1 };
        let shift = if meta.uid() == user.uid {
            6
        } else if meta.gid() == user.gid {
            3
        } else {
            0
        };
        if (meta.mode() >> shift) & wanted != wanted {
            return Err(Refusal::Unreadable {
                folder: folder.display().to_string(),
                user: user.name.clone().unwrap_or_else(|| format!("uid {}", user.uid)),
            });
        }
    }
    Ok(())
}
