//! A start is a transaction: reserve, record, supervise, wait, announce, publish, look, commit.
//!
//! The record comes first and says who is starting, so that a start that was killed is found, gone on
//! with by the next start of the same id, or taken back by `reconcile`. A start that fails takes its
//! own inputs back and publishes again. One that runs already is the answer.

mod ports;
mod waiting;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oh_host::instances::{self, Record, Wanted};
use oh_host::lock::{Held, Leases, Share};
use oh_host::process::{Identity, ProcessDir, Sent, Signal};
use oh_host::publish::{self, Host, Published, Reach, Running};
use oh_host::random;
use oh_host::sockets::{BindProbe, bind_probe_everywhere};
use oh_host::users::{Users, is_root};
use oh_model::id::InstanceId;
use oh_model::instance::{Server, Subject};
use oh_model::port::Port;
use oh_model::upstream::{Target, Upstream};

use crate::cli::{StartArguments, SubjectArguments};
use crate::editor::{self, Places};
use crate::fault::{Fault, Refusal};
use crate::look::{self, Condition, Found};
use crate::target::{self, Target as Asked};
use crate::work::Work;
use crate::{inputs, launch, report, stop};

use waiting::get_up;

/// How long to wait for a command that works on the same instance, beyond what it may take itself.
const LOCK_SLACK: Duration = Duration::from_secs(30);

/// How often the state of a new editor is looked at.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a route may take until its editor answers through it.
const REACH_LIMIT: Duration = Duration::from_secs(10);

/// How many ports may be lost to others during one start.
const LOST_PORTS_MAX: usize = 3;

/// What the lock is held for while ports are chosen.
const PURPOSE_CHOOSE: &str = "oh-instances: choosing ports";

/// What a start found or made.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) found: Found,
    /// Whether it ran before.
    pub(crate) ran_before: bool,
    /// The generation that serves it.
    pub(crate) generation: String,
    /// A login that was made for the site.
    pub(crate) login: Option<oh_host::login::Login>,
    /// What people should know.
    pub(crate) notes: Vec<String>,
}

/// Starts what is asked for.
pub(crate) fn start(work: &Work<'_>, asked: &StartArguments) -> Result<Started, Fault> {
    let host = work.host;
    let target = target::target(host, asked)?;
    suits(host, target.subject, asked)?;
    let mut locks = work.locks()?;
    let wait = lock_wait(host);
    let mut world = locks.world(Share::Shared, "oh-instances start", wait)?;
    let mut held = lease(&mut world, &target.id, "oh-instances start", wait)?;
    work.whole(|| start_held(work, &target, asked, &mut held))
}

/// Starts what is asked for, whose lease is held; a port that is lost meanwhile is gone around.
fn start_held(
    work: &Work<'_>,
    target: &Asked,
    asked: &StartArguments,
    held: &mut Held<'_, Leases>,
) -> Result<Started, Fault> {
    let mut lost = Vec::new();
    loop {
        let (record, notes) = prepared(work.host, target, asked, held)?;
        let port = record.target.port().filter(|_| asked.port.is_none());
        match bring_up(work, record, held, notes) {
            // Somebody took it after it was looked at; there are others.
            Err(Fault::Start { source, left, .. } | Fault::Restart { source, left, .. })
                if left.is_empty()
                    && source.is_of_editor()
                    && lost.len() < LOST_PORTS_MAX
                    && port.is_some_and(|port| is_taken(port).unwrap_or(false)) =>
            {
                lost.extend(port);
            }
            done => return done,
        }
    }
}

/// Finds the record to go on with, or makes one.
fn prepared(
    host: &Host,
    target: &Asked,
    asked: &StartArguments,
    held: &mut Held<'_, Leases>,
) -> Result<(Record, Vec<String>), Fault> {
    let Some(found) = look::one(host, &target.id)? else {
        return reserve(host, target, asked, held);
    };
    is_the_same(target, &found.record, asked)?;
    if found.condition == Condition::Stopping {
        // Something is left of a stop that was killed.
        stop::stop_one(host, &target.id, false, held)?;
        return reserve(host, target, asked, held);
    }
    revive(host, found, held)
}

fn is_taken(port: Port) -> Result<bool, Fault> {
    Ok(bind_probe_everywhere(port)? == BindProbe::Taken)
}

/// Starts the editor of an instance anew.
pub(crate) fn restart(work: &Work<'_>, id: &InstanceId) -> Result<Started, Fault> {
    let host = work.host;
    let mut locks = work.locks()?;
    let wait = lock_wait(host);
    let mut world = locks.world(Share::Shared, "oh-instances restart", wait)?;
    let mut held = lease(&mut world, id, "oh-instances restart", wait)?;
    let found = look::one(host, id)?.ok_or_else(|| Fault::Unknown(id.to_string()))?;
    work.whole(|| restart_held(work, found, &mut held))
}

/// Starts the editor of an instance anew whose lease is held.
pub(crate) fn restart_held(
    work: &Work<'_>,
    found: Found,
    held: &mut Held<'_, Leases>,
) -> Result<Started, Fault> {
    let host = work.host;
    let id = &found.record.id.clone();
    if found.condition == Condition::Stopping {
        return Err(Fault::Unknown(format!("{id} that is wanted running")));
    }
    let mut record = found.record;
    if record.adopted {
        // Before anything of it is ended: there may be nobody whose editor it could be.
        record = own(host, &record)?;
        stop::end_family(host, &record)?;
    }
    record.generation += 1;
    instances::write(&host.root, &record)?;
    // A supervisor that lives hears of it; one that does not is started, and starts the editor.
    let supervisor = found.state.as_ref().map(|state| &state.supervisor);
    let is_heard = match supervisor {
        Some(supervisor) if supervisor.lives()? => ProcessDir::open(supervisor.pid)
            .and_then(|process| process.signal(Signal::HUP))
            .is_ok_and(|sent| sent == Sent::Delivered),
        _ => false,
    };
    let (record, notes) = if is_heard {
        (record, Vec::new())
    } else {
        stop::end_family(host, &record)?;
        instances::remove_state(&host.root, id)?;
        let gone = Found { record, state: None, condition: Condition::Gone, ..found };
        revive(host, gone, held)?
    };
    let started = bring_up(work, record, held, notes)?;
    Ok(Started { ran_before: false, ..started })
}

/// Makes an instance that was recorded ready to be gone on with: where nothing of it runs, what is
/// left of it is ended, and a port that somebody else has by now is exchanged.
pub(crate) fn revive(
    host: &Host,
    found: Found,
    held: &mut Held<'_, Leases>,
) -> Result<(Record, Vec<String>), Fault> {
    let mut record = found.record;
    let is_over = match &found.condition {
        Condition::Gone => true,
        Condition::Supervised(phase) => phase.is_last(),
        Condition::Unsupervised | Condition::Stopping => false,
    };
    if !is_over {
        return Ok((record, Vec::new()));
    }
    // While it was not served, somebody else may have announced its session.
    inputs::unclaimed(host, &record)?;
    if record.adopted {
        record = own(host, &record)?;
    }
    stop::end_family(host, &record)?;
    instances::remove_state(&host.root, &record.id)?;
    let mut notes = Vec::new();
    if ports::any_taken(&record)? {
        let _chosen = held.databases(["instances"], PURPOSE_CHOOSE, lock_wait(host))?;
        let wanted = ports::Wanted {
            subject: record.subject,
            is_socket: record.target == Target::Socket,
            port: None,
            apps: record.apps.len(),
            but: Some(&record.id),
        };
        let choice = ports::choose(host, &wanted)?;
        record.target = choice.editor.map_or(Target::Socket, Target::Port);
        record.apps = choice.apps;
        notes = choice.notes;
    }
    record.unit = launch::unit(host, &record.id.folded());
    instances::write(&host.root, &record)?;
    Ok((record, notes))
}

/// Returns the record of an editor that was taken over as that of one of ours: with the user that a
/// start would choose, and with a key.
fn own(host: &Host, record: &Record) -> Result<Record, Fault> {
    let subject = SubjectArguments { repo: Some(record.folder.to_string()), session: None };
    let name = Some(record.id.to_string());
    let target =
        target::target(host, &StartArguments { subject, name, apps: 0, user: None, port: None })?;
    let settings = &host.settings;
    Ok(Record {
        adopted: false,
        uid: target.user.uid,
        gid: target.user.gid,
        server: settings.instances.server,
        upstream: upstream(host, Subject::Repository).0,
        key: if settings.instances.asks_for_key { Some(editor::new_key()?) } else { None },
        key_is_nginxs: settings.site.auth != oh_config::Auth::Editor,
        ..record.clone()
    })
}

/// How long another command on the same instance may take.
fn lock_wait(host: &Host) -> Duration {
    Duration::from_secs(host.settings.instances.ready_timeout_s) + LOCK_SLACK
}

/// Takes an instance for this command alone.
pub(crate) fn lease<'w>(
    world: &'w mut Held<'_, oh_host::lock::World>,
    id: &InstanceId,
    purpose: &str,
    wait: Duration,
) -> Result<Held<'w, Leases>, Fault> {
    let name = format!("instance-{}", id.folded());
    Ok(world.leases([name.as_str()], &format!("{purpose} {id}"), wait)?)
}

/// Refuses what the configuration cannot serve.
fn suits(host: &Host, subject: Subject, asked: &StartArguments) -> Result<(), Refusal> {
    let settings = &host.settings;
    let (upstream, key) = upstream(host, subject);
    if settings.instances.server == Server::CodeServer && upstream == Upstream::BasePath {
        return Err(Refusal::BasePath { key });
    }
    if settings.instances.supervision == oh_config::Supervision::Systemd && !is_root() {
        return Err(Refusal::UnitOfRoot);
    }
    let program = settings.instances.program.as_str();
    if !std::path::Path::new(program).is_file() {
        return Err(Refusal::NoProgram { program: program.into() });
    }
    if settings.instances.transport == oh_config::Transport::Unix {
        if settings.sessions.sockets.is_none() {
            return Err(Refusal::NoSockets);
        }
        if asked.port.is_some() {
            return Err(Refusal::PortBesideSocket);
        }
    }
    Ok(())
}

fn upstream(host: &Host, subject: Subject) -> (Upstream, &'static str) {
    match subject {
        Subject::Repository => (host.settings.instances.upstream, "instances.upstream"),
        Subject::Session => (host.settings.sessions.upstream, "sessions.upstream"),
    }
}

/// Refuses a start that means another instance than the one that has its id.
fn is_the_same(target: &Asked, record: &Record, asked: &StartArguments) -> Result<(), Refusal> {
    if record.subject != target.subject {
        let subject = record.subject.as_str();
        return Err(Refusal::Subject { id: record.id.clone(), subject });
    }
    if record.folder != target.folder {
        let (id, folder) = (record.id.to_string(), target.folder.clone());
        return Err(Refusal::Collision { id, folder, other: record.folder.clone() });
    }
    // Whoever has the folder by now gets no editor of somebody else's, nor gives him one. What was
    // adopted gets the user of this start once it is started anew.
    if !record.adopted && record.uid != target.user.uid {
        let users = Users::of_machine().unwrap_or_else(|_| Users::parse("", ""));
        let (recorded, meant) = (users.shown(record.uid), users.shown(target.user.uid));
        return Err(Refusal::OtherRecord { id: record.id.clone(), recorded, meant });
    }
    match (asked.port, record.target.port()) {
        (Some(port), Some(own)) if port != own.get() => {
            Err(Refusal::OtherPort { id: record.id.clone(), port: own })
        }
        _ => Ok(()),
    }
}

/// Refuses to open what an editor of another user kept.
fn not_anothers(host: &Host, record: &Record) -> Result<(), Fault> {
    let kept = editor::kept(host, &record.id.folded())?;
    match kept.uid {
        Some(uid) if uid != record.uid => {
            Err(Refusal::Kept { id: record.id.clone(), home: kept.home, uid }.into())
        }
        _ => Ok(()),
    }
}

/// Refuses what could not be published in the end, before anything is begun.
fn servable(host: &Host, record: &Record) -> Result<(), Fault> {
    let facts = publish::check(host)?;
    let is_repositorys = facts.routes.repository_ids.contains(&record.id.folded());
    if record.subject == Subject::Session && is_repositorys {
        let settings = &host.settings.instances;
        let databases = [&settings.repository_database, &settings.port_database].map(Clone::clone);
        return Err(Refusal::OfRepository { id: record.id.clone(), databases }.into());
    }
    match facts.running {
        Running::Master { .. } => Ok(()),
        Running::Nothing { .. } => Err(Refusal::NoNginx { start: facts.start_nginx() }.into()),
    }
}

/// Chooses the ports and writes the record, so that nobody else chooses them.
fn reserve(
    host: &Host,
    target: &Asked,
    asked: &StartArguments,
    held: &mut Held<'_, Leases>,
) -> Result<(Record, Vec<String>), Fault> {
    let settings = &host.settings;
    let _chosen = held.databases(["instances"], PURPOSE_CHOOSE, lock_wait(host))?;
    if target.subject == Subject::Repository
        && let Some(port) = ports::of_others(host, &target.id)?
    {
        let (id, holder) = (target.id.clone(), look::holder(port));
        return Err(Refusal::Unrecorded { id, port, holder }.into());
    }
    let is_socket = settings.instances.transport == oh_config::Transport::Unix;
    if is_socket && target.id.folded() != target.id.as_str() {
        return Err(Refusal::SocketCase { id: target.id.clone() }.into());
    }
    let wanted = ports::Wanted {
        subject: target.subject,
        is_socket,
        port: asked.port,
        apps: asked.apps,
        but: Some(&target.id),
    };
    let choice = ports::choose(host, &wanted)?;
    let (uid, gid) = (target.user.uid, target.user.gid);
    let record = Record {
        id: target.id.clone(),
        subject: target.subject,
        wanted: Wanted::Running,
        server: settings.instances.server,
        target: choice.editor.map_or(Target::Socket, Target::Port),
        apps: choice.apps,
        upstream: upstream(host, target.subject).0,
        folder: target.folder.clone(),
        uid,
        gid,
        token: random::token()?,
        key: if settings.instances.asks_for_key { Some(editor::new_key()?) } else { None },
        key_is_nginxs: settings.site.auth != oh_config::Auth::Editor,
        adopted: false,
        unit: launch::unit(host, &target.id.folded()),
        starter: Some(Identity::own()?),
        announced: false,
        generation: 0,
        created_ms: now_ms(),
    };
    // Before the record: a path that is too long, a session that is somebody else's, a site that
    // could not be served.
    Places::of(host, &record)?;
    inputs::unclaimed(host, &record)?;
    not_anothers(host, &record)?;
    servable(host, &record)?;
    instances::remove_state(&host.root, &record.id)?;
    if let Err(fault) = instances::write(&host.root, &record) {
        // One that the disk did not confirm stands all the same.
        let left = instances::remove(&host.root, &record.id).err();
        let left = left.map(|fault| crate::report::chain(&fault)).into_iter().collect();
        return Err(Fault::Start { id: record.id, source: Box::new(fault.into()), left });
    }
    Ok((record, choice.notes))
}

/// From a record to an editor that is served; where it fails, all of it is taken back.
pub(crate) fn bring_up(
    work: &Work<'_>,
    record: Record,
    held: &mut Held<'_, Leases>,
    mut notes: Vec<String>,
) -> Result<Started, Fault> {
    let id = record.id.clone();
    let was_whole = record.starter.is_none();
    let done = carry_out(work, record, held, &mut notes);
    let source = match done {
        Ok(started) => return Ok(Started { notes, ..started }),
        // It runs as it did; that its route could not be looked after is no reason to end it.
        Err(fault) if was_whole && !fault.is_of_editor() => return Err(fault),
        // Whoever was told to end may have taken its supervisor along before it had a session.
        Err(_) if was_whole && work.go_on().is_err() => return Err(Fault::Interrupted),
        Err(fault) => fault,
    };
    work.progress.doing(format!("take back what was begun of {id}"));
    let left = match work.to_the_end(|| stop::stop_one(work.host, &id, false, held)) {
        Ok(stopped) => stopped.left,
        Err(fault) => vec![crate::report::chain(&fault)],
    };
    let source = Box::new(source);
    Err(if was_whole {
        Fault::Restart { id, source, left }
    } else {
        Fault::Start { id, source, left }
    })
}

/// The same, and where it fails it is left as far as it came.
pub(crate) fn carry_out(
    work: &Work<'_>,
    mut record: Record,
    held: &mut Held<'_, Leases>,
    notes: &mut Vec<String>,
) -> Result<Started, Fault> {
    let host = work.host;
    let places = Places::of(host, &record)?;
    notes.extend(places.warning());
    let begun = Instant::now();
    let up = get_up(work, &mut record, &places)?;
    let mut ran_before = !up.was_launched && record.starter.is_none();
    if let (Some(unit), true) = (&record.unit, up.was_taken_over)
        && let Err(fault) = launch::take_into_unit(unit, &up.editor)
    {
        notes.push(format!("warning: {} has no limits: {}", record.id, report::chain(&fault)));
    }
    if !ran_before {
        let took = begun.elapsed().as_secs_f32();
        work.progress.done("editor", &format!("pid {}  {took:.1} s", up.editor.pid));
    }
    if !record.announced {
        record.announced = true;
        instances::write(&host.root, &record)?;
    }
    let mut supervisor = up.supervisor;
    notes.extend(inputs::announce(host, &record, supervisor, held)?);
    work.go_on()?;
    work.progress.doing("publish its route");
    let mut published = publish::publish_within(held, host, "oh-instances start")?;
    work.keep_login(published.login.take());
    routed(&record, &published)?;
    let mut asked = Instant::now();
    let found = loop {
        let found =
            look::one(host, &record.id)?.ok_or_else(|| Fault::Unknown(record.id.to_string()))?;
        if !found.is_ready() {
            // It was killed since; it comes again in the same place, behind the same route.
            let up = get_up(work, &mut record, &places)?;
            ran_before = false;
            if up.supervisor != supervisor {
                // It has another pid, and its editor may have another key.
                supervisor = up.supervisor;
                notes.extend(inputs::announce(host, &record, supervisor, held)?);
                published = publish::publish_within(held, host, "oh-instances start")?;
                work.keep_login(published.login.take());
                routed(&record, &published)?;
            }
            asked = Instant::now();
            continue;
        }
        match reached(host, &record)? {
            Ok(()) if record.starter.is_none() => break found,
            Ok(()) => {
                record.starter = None;
                instances::write(&host.root, &record)?;
                // Looked at once more: what was killed meanwhile does not run.
            }
            Err(why) if asked.elapsed() >= REACH_LIMIT => return Err(Fault::Unrouted(why)),
            Err(_) => {
                work.go_on()?;
                std::thread::sleep(PAUSE);
            }
        }
    };
    let found = Found { record, is_half_started: false, ..found };
    let generation = published.generation.to_string();
    let login = work.take_login();
    Ok(Started { found, ran_before, generation, login, notes: Vec::new() })
}

/// Makes sure that the instance is among the routes, and that they are served.
fn routed(record: &Record, published: &Published) -> Result<(), Fault> {
    let id = record.id.folded();
    let is_routed =
        published.routes.editors.iter().any(|route| route.id.to_ascii_lowercase() == id);
    if !is_routed {
        let of_it = |subject: &str| subject.to_ascii_lowercase().contains(&id);
        let reason = published.routes.exclusions.iter().find(|excluded| of_it(&excluded.subject));
        let reason = reason.map_or_else(|| "nobody says why".into(), ToString::to_string);
        return Err(Fault::Unrouted(reason));
    }
    if published.seen { Ok(()) } else { Err(Fault::Unserved) }
}

/// Asks the editor through nginx; says why it does not answer where it does not.
fn reached(host: &Host, record: &Record) -> Result<Result<(), String>, Fault> {
    Ok(match publish::reach(host, &record.id, record.server)? {
        Reach::Reached => Ok(()),
        Reach::NoMaster => return Err(Fault::Unserved),
        Reach::Status(status) => Err(format!("nginx answers {status} in its place")),
        Reach::Stranger(who) => Err(format!("{who} has the port of nginx's generation")),
        Reach::NoAnswer(why) => Err(format!("nginx did not answer: {why}")),
    })
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
