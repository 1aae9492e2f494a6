//! Which routes there are: the agreement between sessions, repositories and the port policy.
//!
//! Pure and total: every input ends as routes or as one [`Exclusion`] with its reason. Nobody's
//! bad file takes away another's route. The rules, in order:
//!
//! 1. Repositories come first: they are the operator's own, and their ids and ports stay theirs
//!    while they are idle or cannot be routed. Then sessions, the newest file
//!    first, because ports are used again and session files are left behind: of two files that
//!    name one port, the older one is the left-over.
//! 2. An id is claimed once, ignoring case; the second claimant is refused by name. Sessions
//!    and repositories share `/vscode/{id}/`.
//! 3. A port is claimed once, has to be in the range that the policy allows for its kind, and
//!    must not be reserved (nginx's own, OpenHands').
//!
//! Who listens on a port of a session has to be the user whom the file is from, or it is not
//! routed: see [`crate::listening`]. Where an editor has a record (`instance`), its listener has to be
//! the record's user, and what it asks for is presented to nobody else: see `recorded`.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::id::SessionId;
use crate::instance::{Instance, Key, Server};
use crate::listening::{Accounts, Life, Listening, Listens, Whose};
use crate::path::InRoot;
use crate::plan::Exclusion;
use crate::port::{Port, PortRange, PortSet};
use crate::session::{Account, SessionFile};
use crate::upstream::{Target, Upstream};
use recorded::Records;
use repositories::Repositories;

mod recorded;
mod repositories;

/// The longest part of a host name between two dots, in bytes (RFC 1035, section 2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;

/// How the name of a session file ends.
pub const SESSION_FILE_SUFFIX: &str = ".json";

/// What may be routed.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The ports that an editor of a session may have.
    pub editor_ports: PortSet,
    /// The ports that an application of a session may have.
    pub app_ports: PortSet,
    /// The ports that an editor of a repository may have.
    pub repository_ports: PortRange,
    /// The ports that are never routed, each with what it is for.
    pub reserved: BTreeMap<Port, &'static str>,
    /// The longest id that nginx's map can hold on this machine, in bytes.
    pub id_bytes_max: usize,
    /// Whether there is a folder for the sockets of sessions and repositories.
    pub sockets: bool,
    /// Whether editors and applications have hosts of their own, named after them.
    pub hosts: bool,
    /// The first label of the site itself, where it is one of those hosts.
    pub site_label: Option<String>,
    /// How sessions that do not say are handed on.
    pub session_upstream: Upstream,
    /// How repositories are handed on.
    pub repository_upstream: Upstream,
}

/// A session file as it was found.
#[derive(Debug, Clone)]
pub struct FoundSession {
    /// The file's name, made printable.
    pub name: String,
    /// When the file was last changed, in nanoseconds since the epoch.
    pub modified_ns: i128,
    /// The user that owns it; of no meaning where it was not read.
    pub owner: u32,
    /// Which file it is.
    pub file: FileNumber,
    /// Its text, or why it was not read.
    pub text: Result<String, String>,
}

/// Which file a name led to: no other file of its time has the same two numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileNumber {
    /// The device that it is on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
}

/// Everything that routes are made of.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The session files, in any order.
    pub sessions: Vec<FoundSession>,
    /// The folder of session files, where it does not exist: then there are no sessions, which may
    /// be a surprise.
    pub sessions_absent: Option<String>,
    /// The text of `repositories.json`; `None` where there is no such file.
    pub repositories: Option<Result<String, String>>,
    /// The text of `vscode-ports.json`; `None` where there is no such file.
    pub port_database: Option<Result<String, String>>,
    /// What the records of editors say that are wanted running, in any order; an id has one.
    pub instances: Vec<Instance>,
    /// Who listens on which port.
    pub listening: Listening,
    /// The names of users.
    pub accounts: Accounts,
}

/// An editor at `/vscode/{id}/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditorRoute {
    /// The id, in the spelling of its owner.
    pub id: String,
    /// Where it listens.
    pub target: Target,
    /// How its address is handed on.
    pub upstream: Upstream,
    /// The folder to open when the address has no query.
    pub folder: Option<InRoot>,
    /// Whose it is.
    pub owner: Owner,
    /// The account that it belongs to, as the login knows it.
    pub account: Option<Account>,
    /// What nginx presents to it, so that visitors need not: where a record has it, and the record's
    /// user was seen to be there.
    pub presents: Option<(Server, Key)>,
}

impl EditorRoute {
    /// Returns the key of its lines in nginx's maps.
    pub fn key(&self) -> String {
        format!("vscode/{}", self.id)
    }
}

/// Whose editor a route leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A repository's.
    Repository,
    /// A session's.
    Session,
}

/// An application at `/apps/{id}-{index}/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRoute {
    /// The id of the session.
    pub id: String,
    /// The position in the session's `app_ports`.
    pub index: usize,
    /// The port on 127.0.0.1.
    pub port: Port,
    /// How its address is handed on.
    pub upstream: Upstream,
    /// The account that it belongs to, as the login knows it.
    pub account: Option<Account>,
}

impl AppRoute {
    /// Returns `{id}-{index}`.
    pub fn name(&self) -> String {
        format!("{}-{}", self.id, self.index)
    }

    /// Returns the key of its lines in nginx's maps.
    pub fn key(&self) -> String {
        format!("apps/{}", self.name())
    }
}

/// The routes, sorted, and what was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// The editors, by id.
    pub editors: Vec<EditorRoute>,
    /// The applications, by id and index.
    pub apps: Vec<AppRoute>,
    /// What is not routed, and why.
    pub exclusions: Vec<Exclusion>,
    /// The session files that name an editor, routed or not, the newest first.
    pub announced: Vec<Announced>,
    /// The ports of editors that have a record, routed or not.
    pub recorded: Vec<Port>,
    /// The ids of repositories, folded, routed or not: no session is routed by one.
    pub repository_ids: BTreeSet<String>,
    /// Why nobody knows who listens, where that is so: then every claim is believed, and no key is
    /// presented on a port.
    pub listening_unknown: Option<String>,
}

/// A session file that names an editor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The file's name: that of an id, so it is printable as it is.
    pub name: String,
    /// Which file it is.
    pub file: FileNumber,
    /// When it was last changed, in nanoseconds since the epoch.
    pub modified_ns: i128,
    /// The port of the editor; a socket has the path of its id and is not asked after.
    pub editor: Option<Port>,
    /// The ports of the applications.
    pub apps: Vec<Port>,
    /// Whose listener the editor has to be.
    pub whose: Whose,
    /// Whether its editor is there.
    pub life: Life,
    /// Whether it could be routed, were it the only session: what the rules refuse is reported, and
    /// its file stays where it is.
    pub claimable: bool,
}

/// Decides which routes there are.
pub fn agree(inputs: &Inputs, policy: &Policy) -> Routes {
    let mut claims =
        Claims { policy, ids: BTreeMap::new(), ports: BTreeMap::new(), labels: BTreeMap::new() };
    let mut routes = Routes::default();
    if let Some(folder) = &inputs.sessions_absent {
        routes.exclude("all sessions".into(), format!("there is no folder {folder}"));
    }
    claims.labels.extend(policy.site_label.iter().map(|l| (l.clone(), "the site".to_string())));
    let records = Records::of(inputs);
    routes.recorded.extend(inputs.instances.iter().filter_map(|one| one.target.port()));
    let known = Repositories::read(inputs, &mut routes.exclusions);
    let mut of_repositories: Vec<Candidate> = records.announced().collect();
    for candidate in known.candidates(policy, &mut routes.exclusions) {
        match records.outranks(&candidate) {
            Ok(true) => {}
            Ok(false) => of_repositories.push(candidate),
            Err((subject, reason)) => routes.exclude(subject, reason),
        }
    }
    for candidate in of_repositories {
        let judged = records.judge_repository(candidate, policy);
        match judged.and_then(|candidate| claims.granted(candidate, Owner::Repository)) {
            Ok(candidate) => routes.add(candidate, Owner::Repository),
            Err((subject, reason)) => routes.exclude(subject, reason),
        }
    }
    known.reserve(&mut claims);
    records.reserve(&mut claims);
    routes.repository_ids.extend(claims.ids.keys().cloned());
    if let Listening::Unknown(why) = &inputs.listening {
        routes.listening_unknown = Some(why.clone());
    }
    let alone_there = claims.clone();
    for (session, candidate, whose) in sessions(inputs, policy, &mut routes.exclusions) {
        let alone = inputs.listening.strangers(candidate.ports(), whose, &inputs.accounts);
        let candidate = records.present_to_session(candidate);
        let alone = alone.and_then(|()| records.judge_session(&candidate));
        let claimable = alone_there.judged(&candidate, Owner::Session).is_ok();
        let announced = announced(session, &candidate, whose, &inputs.listening, &claims);
        routes.announced.push(Announced { claimable, ..announced });
        match alone.and_then(|()| claims.claim(&candidate, Owner::Session)) {
            Ok(()) => routes.add(candidate, Owner::Session),
            Err(reason) => routes.exclude(candidate.subject, reason),
        }
    }
    routes.editors.sort_by(|a, b| a.id.cmp(&b.id));
    routes.apps.sort_by(|a, b| (&a.id, a.index).cmp(&(&b.id, b.index)));
    routes.exclusions.sort();
    routes
}

impl Routes {
    fn add(&mut self, candidate: Candidate, owner: Owner) {
        let Candidate { id, target, upstream, apps, app_upstream, folder, account, .. } = candidate;
        let presents = candidate.presents;
        self.apps.extend(apps.into_iter().enumerate().map(|(index, port)| AppRoute {
            id: id.clone(),
            index,
            port,
            upstream: app_upstream,
            account: account.clone(),
        }));
        self.editors.push(EditorRoute { id, target, upstream, folder, owner, account, presents });
    }

    fn exclude(&mut self, subject: String, reason: String) {
        self.exclusions.push(Exclusion { subject, reason });
    }
}

/// Something that asks for routes, with every part of it parsed.
struct Candidate {
    subject: String,
    id: String,
    folded: String,
    target: Target,
    upstream: Upstream,
    apps: Vec<Port>,
    app_upstream: Upstream,
    folder: Option<InRoot>,
    account: Option<Account>,
    presents: Option<(Server, Key)>,
}

impl Candidate {
    fn ports(&self) -> impl Iterator<Item = Port> {
        self.target.port().into_iter().chain(self.apps.iter().copied())
    }

    /// The first labels of its hosts, where it has hosts of its own.
    fn labels(&self) -> impl Iterator<Item = String> {
        let apps = (0..self.apps.len()).map(|index| format!("{}-{index}", self.folded));
        core::iter::once(self.folded.clone()).chain(apps)
    }
}

/// What is taken already, and by whom.
#[derive(Clone)]
struct Claims<'a> {
    policy: &'a Policy,
    ids: BTreeMap<String, String>,
    ports: BTreeMap<Port, String>,
    /// The first labels of host names, where there are hosts.
    labels: BTreeMap<String, String>,
}

impl Claims<'_> {
    /// [`Claims::claim`] for who has nothing else to say of the candidate.
    fn granted(
        &mut self,
        candidate: Candidate,
        owner: Owner,
    ) -> Result<Candidate, (String, String)> {
        match self.claim(&candidate, owner) {
            Ok(()) => Ok(candidate),
            Err(reason) => Err((candidate.subject, reason)),
        }
    }

    fn claim(&mut self, candidate: &Candidate, owner: Owner) -> Result<(), String> {
        self.judged(candidate, owner)?;
        let Candidate { subject, folded, .. } = candidate;
        self.ids.insert(folded.clone(), subject.clone());
        self.ports.extend(candidate.ports().map(|port| (port, subject.clone())));
        self.labels.extend(candidate.labels().map(|label| (label, subject.clone())));
        Ok(())
    }

    /// Says whether the claim can be granted, and grants nothing.
    fn judged(&self, candidate: &Candidate, owner: Owner) -> Result<(), String> {
        let Candidate { id, folded, target, apps, .. } = candidate;
        let id_bytes_max = self.policy.id_bytes_max;
        if id.len() > id_bytes_max {
            return Err(format!(
                "its id has {} characters, and nginx's map_hash_bucket_size here allows \
                 {id_bytes_max}",
                id.len()
            ));
        }
        if let Some(holder) = self.ids.get(folded) {
            return Err(format!("the id is taken by {holder}"));
        }
        self.host_names(candidate)?;
        if *target == Target::Socket && id != folded {
            return Err("the id of an editor on a socket has to be lower case".into());
        }
        if let Some(port) = target.port() {
            self.allowed(port, owner)?;
        }
        for port in apps {
            self.allowed_app(*port)?;
        }
        for port in candidate.ports() {
            if let Some(holder) = self.ports.get(&port) {
                return Err(format!("port {port} is taken by {holder}"));
            }
        }
        Ok(())
    }

    /// Says whether the candidate can have hosts of its own, where everybody has.
    fn host_names(&self, candidate: &Candidate) -> Result<(), String> {
        if !self.policy.hosts {
            return Ok(());
        }
        for label in candidate.labels() {
            if label.len() > LABEL_BYTES_MAX {
                return Err(format!(
                    "its host name would begin with {} characters, and the most is \
                     {LABEL_BYTES_MAX}",
                    label.len()
                ));
            }
            if let Some(holder) = self.labels.get(&label) {
                return Err(format!("the host name {label} is taken by {holder}"));
            }
        }
        let keeps_prefix = candidate.upstream == Upstream::BasePath;
        if keeps_prefix && candidate.id != candidate.folded {
            return Err(
                "host names are lower case, so an id with a prefix to keep has to be".into()
            );
        }
        Ok(())
    }

    fn allowed(&self, port: Port, owner: Owner) -> Result<(), String> {
        let (inside, range, key) = match owner {
            Owner::Repository => {
                let range = self.policy.repository_ports;
                (range.contains(port), range.to_string(), "instances.ports")
            }
            Owner::Session => {
                let set = &self.policy.editor_ports;
                (set.contains(port), set.to_string(), "sessions.editor_ports")
            }
        };
        self.judge(port, inside, &range, key)
    }

    fn allowed_app(&self, port: Port) -> Result<(), String> {
        let set = &self.policy.app_ports;
        self.judge(port, set.contains(port), &set.to_string(), "sessions.app_ports")
    }

    fn judge(&self, port: Port, inside: bool, range: &str, key: &str) -> Result<(), String> {
        if let Some(purpose) = self.policy.reserved.get(&port) {
            return Err(format!("port {port} is reserved: {purpose}"));
        }
        if inside {
            return Ok(());
        }
        Err(format!("port {port} is outside {key} ({range})"))
    }
}

/// Says what there is to say of a session file that names an editor.
fn announced(
    session: &FoundSession,
    candidate: &Candidate,
    whose: Whose,
    listening: &Listening,
    claims: &Claims<'_>,
) -> Announced {
    let editor = candidate.target.port();
    let life = |port| match listening.on(port, whose) {
        // A newer file has the port, so what listens there is the other's editor.
        Listens::Own if claims.ports.contains_key(&port) => Life::Gone,
        Listens::Own => Life::There,
        Listens::Nobody | Listens::Stranger(_) => Life::Gone,
        Listens::Unknown => Life::Unknown,
    };
    Announced {
        name: session.name.clone(),
        file: session.file,
        modified_ns: session.modified_ns,
        editor,
        apps: candidate.apps.clone(),
        whose,
        life: editor.map_or(Life::Unknown, life),
        claimable: false,
    }
}

/// Reads the session files that can be read, the newest first, each with whose listeners it
/// speaks of.
fn sessions<'i>(
    inputs: &'i Inputs,
    policy: &Policy,
    exclusions: &mut Vec<Exclusion>,
) -> Vec<(&'i FoundSession, Candidate, Whose)> {
    let mut ordered: Vec<&FoundSession> = inputs.sessions.iter().collect();
    ordered.sort_by_key(|session| (Reverse(session.modified_ns), session.name.as_str()));
    let mut candidates = Vec::with_capacity(ordered.len());
    for session in ordered {
        match candidate(session, policy, &inputs.accounts) {
            Ok((candidate, whose)) => candidates.push((session, candidate, whose)),
            Err(reason) => exclusions.push(Exclusion { subject: subject_of(session), reason }),
        }
    }
    candidates
}

fn subject_of(session: &FoundSession) -> String {
    format!("session file {}", session.name)
}

fn candidate(
    session: &FoundSession,
    policy: &Policy,
    accounts: &Accounts,
) -> Result<(Candidate, Whose), String> {
    let text = session.text.as_ref().map_err(Clone::clone)?;
    let stem = session
        .name
        .strip_suffix(SESSION_FILE_SUFFIX)
        .ok_or_else(|| format!("its name does not end in {SESSION_FILE_SUFFIX}"))?;
    let id = SessionId::parse(stem).map_err(|fault| fault.to_string())?;
    let file = SessionFile::parse(text).map_err(|fault| fault.to_string())?;
    let whose = accounts.whose(session.owner, file.ours.user.as_ref())?;
    let candidate = Candidate {
        subject: subject_of(session),
        folded: id.folded(),
        id: id.as_str().into(),
        target: file.target,
        upstream: file.ours.upstream.unwrap_or(policy.session_upstream),
        apps: file.apps,
        app_upstream: file.ours.app_upstream.unwrap_or_default(),
        folder: file.ours.folder,
        account: file.ours.owner,
        presents: None,
    };
    Ok((candidate, whose))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    pub(super) fn policy() -> Policy {
        let range = |text| PortRange::parse(text).unwrap();
        Policy {
            editor_ports: PortSet(vec![range("8000-8999")]),
            app_ports: PortSet(vec![range("5000-5999")]),
            repository_ports: range("8888-8899"),
            reserved: BTreeMap::from([(Port::new(8443).unwrap(), "the site")]),
            id_bytes_max: 64,
            sockets: true,
            hosts: false,
            site_label: None,
            session_upstream: Upstream::default(),
            repository_upstream: Upstream::default(),
        }
    }

    pub(super) fn session(name: &str, modified_ns: i128, text: &str) -> FoundSession {
        let (text, file) = (Ok(text.into()), FileNumber::default());
        FoundSession { name: name.into(), modified_ns, owner: 0, file, text }
    }

    pub(super) fn told(inputs: &Inputs) -> (Vec<String>, Vec<String>) {
        let routes = agree(inputs, &policy());
        let editors = routes.editors.iter().map(|e| format!("/vscode/{}/ {}", e.id, e.target));
        let apps = routes.apps.iter().map(|a| format!("/apps/{}-{}/ {}", a.id, a.index, a.port));
        (editors.chain(apps).collect(), routes.exclusions.iter().map(ToString::to_string).collect())
    }

    fn of_sessions(sessions: Vec<FoundSession>) -> (Vec<String>, Vec<String>) {
        told(&Inputs { sessions, ..Inputs::default() })
    }

    #[test]
    fn a_session_gets_its_editor_and_its_applications() {
        let (routes, exclusions) = of_sessions(vec![session(
            "ab.json",
            1,
            r#"{"vscode_port":8000,"app_ports":[5000,5001]}"#,
        )]);
        assert_eq!(routes, ["/vscode/ab/ 8000", "/apps/ab-0/ 5000", "/apps/ab-1/ 5001"]);
        assert!(exclusions.is_empty());
    }

    #[test]
    fn of_two_files_with_one_port_the_older_is_the_left_over() {
        let (routes, exclusions) = of_sessions(vec![
            session("a-old.json", 1, r#"{"vscode_port":8000}"#),
            session("b-new.json", 2, r#"{"vscode_port":8000}"#),
        ]);
        assert_eq!(routes, ["/vscode/b-new/ 8000"]);
        assert_eq!(
            exclusions,
            ["session file a-old.json: port 8000 is taken by session file b-new.json"]
        );
    }

    #[test]
    fn one_bad_file_is_reported_once_and_takes_nothing_from_the_others() {
        let mut unread = session("fifo.json", 1, "");
        unread.text = Err("it is a FIFO".into());
        let (routes, exclusions) = of_sessions(vec![
            session("good.json", 1, r#"{"vscode_port":8000}"#),
            session("ssh.json", 1, r#"{"vscode_port":22}"#),
            session("site.json", 1, r#"{"vscode_port":8443}"#),
            session("GOOD.json", 0, r#"{"vscode_port":8001}"#),
            session("~.*.json", 1, r#"{"vscode_port":8002}"#),
            session("app.json", 1, r#"{"vscode_port":8003,"app_ports":[5000,80]}"#),
            unread,
        ]);
        assert_eq!(routes, ["/vscode/good/ 8000"]);
        assert_eq!(
            exclusions,
            [
                "session file GOOD.json: the id is taken by session file good.json",
                "session file app.json: port 80 is outside sessions.app_ports (5000-5999)",
                "session file fifo.json: it is a FIFO",
                "session file site.json: port 8443 is reserved: the site",
                "session file ssh.json: port 22 is outside sessions.editor_ports (8000-8999)",
                "session file ~.*.json: an id has only letters, digits, `_` and `-`, not '~'",
            ]
        );
    }

    #[test]
    fn a_repository_claims_its_id_before_a_session() {
        let repositories = r#"{"repositories":[
            {"id":"actmcp","path":"/srv/actmcp","vscodePort":8888,"vscodeRunning":true},
            {"id":"idle","path":"/srv/idle","vscodeRunning":false}]}"#;
        let ports = r#"{"instances":{"actmcp":{"port":8888,"pid":1}}}"#;
        let (routes, exclusions) = told(&Inputs {
            sessions: vec![session("ACTMCP.json", 9, r#"{"vscode_port":8000}"#)],
            repositories: Some(Ok(repositories.into())),
            port_database: Some(Ok(ports.into())),
            ..Inputs::default()
        });
        assert_eq!(routes, ["/vscode/actmcp/ 8888"]);
        assert_eq!(exclusions, ["session file ACTMCP.json: the id is taken by repository actmcp"]);
    }

    #[test]
    fn an_idle_or_unroutable_repository_keeps_its_id_and_port_from_sessions() {
        let repositories = r#"{"repositories":[
            {"id":"idle","path":"/srv/idle","vscodeRunning":false},
            {"id":"torn","path":"/srv/torn","vscodePort":8888,"vscodeRunning":true}]}"#;
        let ports = r#"{"instances":{"torn":{"port":8889}}}"#;
        let (routes, exclusions) = told(&Inputs {
            sessions: vec![
                session("idle.json", 1, r#"{"vscode_port":8000}"#),
                session("torn.json", 1, r#"{"vscode_port":8001}"#),
                session("other.json", 1, r#"{"vscode_port":8889}"#),
            ],
            repositories: Some(Ok(repositories.into())),
            port_database: Some(Ok(ports.into())),
            ..Inputs::default()
        });
        assert!(routes.is_empty(), "{routes:?}");
        assert_eq!(
            exclusions,
            [
                "repository torn: vscode-ports.json says port 8889, repositories.json says 8888",
                "session file idle.json: the id is taken by repository idle",
                "session file other.json: port 8889 is taken by repository torn",
                "session file torn.json: the id is taken by repository torn",
            ]
        );
    }

    #[test]
    fn databases_that_disagree_route_nobody_to_a_strangers_port() {
        let repositories = r#"{"repositories":[
            {"id":"a","path":"/srv/a","vscodePort":8888,"vscodeRunning":true},
            {"id":"b","path":"/srv/b","vscodePort":8890,"vscodeRunning":true}]}"#;
        let ports = r#"{"instances":{"a":{"port":8889},"b":{"port":8890}}}"#;
        let with = |port_database| {
            let repositories = Some(Ok(repositories.into()));
            told(&Inputs { repositories, port_database, ..Inputs::default() })
        };
        let (routes, exclusions) = with(Some(Ok(ports.into())));
        assert_eq!(routes, ["/vscode/b/ 8890"]);
        assert_eq!(
            exclusions,
            ["repository a: vscode-ports.json says port 8889, repositories.json says 8888"]
        );
        let (routes, exclusions) = with(Some(Err("it is a symbolic link".into())));
        assert!(routes.is_empty());
        assert_eq!(exclusions, ["vscode-ports.json: it is a symbolic link"]);
        assert_eq!(with(None).0, ["/vscode/a/ 8888", "/vscode/b/ 8890"]);
    }

    #[test]
    fn hosts_of_their_own_are_claimed_once() {
        let policy = Policy { hosts: true, site_label: Some("oh".into()), ..policy() };
        let inputs = Inputs {
            sessions: vec![
                session("abc.json", 3, r#"{"vscode_port":8001,"app_ports":[5001]}"#),
                session("oh.json", 2, r#"{"vscode_port":8005}"#),
                session("Socket.json", 2, r#"{"toolkit":{"schema":1,"transport":"unix"}}"#),
                session("ABC-0.json", 2, r#"{"vscode_port":8002}"#),
                session(&format!("{}.json", "a".repeat(64)), 1, r#"{"vscode_port":8003}"#),
                session(
                    "Kept.json",
                    0,
                    r#"{"vscode_port":8004,"toolkit":{"schema":1,"upstream":"base-path"}}"#,
                ),
            ],
            ..Inputs::default()
        };
        let routes = agree(&inputs, &policy);
        let reasons: Vec<String> = routes.exclusions.iter().map(ToString::to_string).collect();
        assert_eq!(routes.editors.len(), 1);
        for (reason, said) in reasons.iter().zip([
            "the host name abc-0 is taken by session file abc.json",
            "an id with a prefix to keep has to be",
            "the id of an editor on a socket has to be lower case",
            "begin with 64 characters",
            "the host name oh is taken by the site",
        ]) {
            assert!(reason.contains(said), "{reasons:?}");
        }
        assert_eq!(reasons.len(), 5);
    }

    #[test]
    fn what_a_session_says_of_its_programs_is_in_its_routes() {
        let text = r#"{"app_ports":[5001],"toolkit":{"schema":1,"transport":"unix",
            "upstream":"base-path","app_upstream":"strip","owner":"ann@oh.example"}}"#;
        let inputs = Inputs { sessions: vec![session("a.json", 0, text)], ..Inputs::default() };
        let routes = agree(&inputs, &policy());
        let (editor, app) = (&routes.editors[0], &routes.apps[0]);
        assert_eq!((editor.target, editor.upstream), (Target::Socket, Upstream::BasePath));
        assert_eq!((app.port.get(), app.upstream), (5001, Upstream::Strip));
        let accounts = [&editor.account, &app.account];
        assert!(accounts.iter().all(|a| a.as_ref().unwrap().as_str() == "ann@oh.example"));
    }
}

#[cfg(test)]
mod whose;
