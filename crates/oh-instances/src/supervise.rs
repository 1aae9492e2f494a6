//! The supervisor of one instance: holds its port, starts its editor, and starts it again.
//!
//! It is a process of its own and outlives the command that started it; under systemd it is the main
//! process of a transient unit, which adds limits and nothing else, so that restarts are decided here
//! in both. What it sees it leaves in the state of the instance; what it does follows from the
//! record, which it reads when it begins and when SIGHUP says that a restart was asked for. SIGTERM
//! ends the editor and then itself. A supervisor that finds its editor running (its forerunner was
//! killed) takes it over by its identity.

mod watch;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oh_host::folder::Memory;
use oh_host::instances::{self, Ending, Phase, Record, STATE_SCHEMA, State, Wanted};
use oh_host::lock::{Held, Leases, Locks};
use oh_host::logs;
use oh_host::process::{Identity, Pid, ProcessDir};
use oh_host::publish::{self, Asked, Host, PublishFault};
use oh_host::signals::Signals;
use oh_host::sockets::{self, BindProbe, bind_probe_everywhere};
use oh_host::spawn;
use oh_host::stop::{self, Target};
use oh_model::exit::Exit;
use oh_model::id::InstanceId;
use oh_model::idleness::Activity;
use oh_model::instance::Server;
use oh_model::listening::{Listens, Whose};
use oh_model::port::Port;
use oh_model::restart::{self, End, Next, Policy};
use oh_term::{Answer, Common, Failure};
use rustix::io::Errno;
use serde_json::json;

use crate::commands::context;
use crate::editor::{self, Places};
use crate::fault::Fault;
use crate::{inputs, ready, view};

use watch::Seen;

/// How long to wait for the leases: a forerunner may be on its way out.
const LEASE_WAIT: Duration = Duration::from_secs(15);

/// How often it is asked whether an editor that was started answers.
const READY_PAUSE: Duration = Duration::from_millis(20);

/// How often the log is looked at.
const TICK: Duration = Duration::from_secs(10);

/// How often it is observed whether the editor is in use.
const OBSERVE_EVERY: Duration = Duration::from_secs(30);

/// How long a port may stay taken after its editor is gone.
const PORT_WAIT: Duration = Duration::from_secs(15);

/// How long to wait for another run that publishes: a stop waits for us meanwhile.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);

/// How many endings are remembered.
const ENDINGS_MAX: usize = 20;

/// Runs the supervisor until it is told to end, or its editor stays ended.
pub(crate) fn answer(id: &str, common: &Common) -> Result<Answer, Failure> {
    let host = context(common)?.host;
    let id = InstanceId::parse(id).map_err(|_| Failure::of(Fault::Unknown(id.into())))?;
    supervise(&host, &id).map_err(Failure::of)?;
    Ok(Answer::new(String::new(), json!({ "id": id.as_str() })).exit(Exit::Ok))
}

fn supervise(host: &Host, id: &InstanceId) -> Result<(), Fault> {
    own_session()?;
    let signals = Signals::listen_with_children()?;
    let record = match instances::read(&host.root, id)? {
        Some(record) if record.wanted == Wanted::Running => record,
        _ => return Err(Fault::Unknown(id.to_string())),
    };
    // What editors leave behind becomes our child, to be reaped, and to be ended with its editor.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(std::io::Error::from)?;
    let mut locks = Locks::open(&host.root, None)?;
    let names = lease_names(&record);
    let purpose = format!("oh-instances: the editor of {id}");
    let held = locks.leases(names.iter().map(String::as_str), &purpose, LEASE_WAIT)?;
    let places = Places::of(host, &record)?;
    let mut run = Run::new(host, record, places, signals, held)?;
    let outcome = run.run();
    if let Err(fault) = &outcome {
        // Nothing lives without somebody who watches it. The first fault is the one to be told.
        drop(run.stop_all());
        run.give_up(crate::report::chain(fault));
    }
    if run.stays_ended()? {
        run.withdraw()?;
    }
    outcome
}

/// Leaves the session of whoever starts us: what ends a terminal, or all that was started in it, must
/// not take us along. Under systemd it is so already.
///
/// We lead a group of our own from the begin, so that a Ctrl-C to whoever starts us is not for us; who
/// leads a group cannot lead a session, so we join that of our parent for the moment in between. A
/// signal of that moment is not for us either.
fn own_session() -> Result<(), Fault> {
    let _not_for_us = Signals::listen()?;
    if let Some(group) = group_of_parent() {
        // Where it is gone, or of another session, we stay what we are.
        rustix::process::setpgid(None, Some(group)).ok();
    }
    match rustix::process::setsid() {
        Ok(_) | Err(Errno::PERM) => Ok(()),
        Err(errno) => Err(std::io::Error::from(errno).into()),
    }
}

/// The group of our parent; none where it is gone, or its leader is outside of our pid namespace.
fn group_of_parent() -> Option<rustix::process::Pid> {
    let parent = rustix::process::getppid()?.as_raw_nonzero().get();
    let parent = Pid::new(u32::try_from(parent).ok()?)?;
    let group = ProcessDir::open(parent).ok()?.stat().ok()?.group?;
    rustix::process::Pid::from_raw(i32::try_from(group.get()).ok()?)
}

/// What the supervisor holds for as long as it lives: its id, and each of its ports.
pub(crate) fn lease_names(record: &Record) -> Vec<String> {
    let ports = record.ports().map(|port| port.to_string());
    ports.chain([format!("editor-{}", record.id.folded())]).collect()
}

/// A supervisor at work.
struct Run<'h> {
    host: &'h Host,
    held: Held<'h, Leases>,
    record: Record,
    places: Places,
    signals: Signals,
    state: State,
    /// Restarts so far, in milliseconds since `begun`.
    restarts_ms: Vec<u64>,
    begun: Instant,
    was_ready: bool,
    /// When it was last looked after what is done now and then.
    ticked: Instant,
    /// When it was last observed whether the editor is in use.
    observed: Option<Instant>,
    /// Whether the editor was started again without being asked for.
    is_again: bool,
    /// Whether nginx is still to be told of a new key.
    is_unpublished: bool,
}

/// Why an editor is no longer watched.
enum After {
    /// We were told to end.
    Stop,
    /// A restart was asked for.
    Restart,
    /// It ended.
    Ended(Seen),
}

impl<'h> Run<'h> {
    fn new(
        host: &'h Host,
        mut record: Record,
        places: Places,
        signals: Signals,
        held: Held<'h, Leases>,
    ) -> Result<Self, Fault> {
        let before = instances::read_state(&host.root, &record.id)?;
        if record.renews_key()
            && let Some(key) = before.as_ref().and_then(|state| state.key.clone())
        {
            record.key = Some(key);
        }
        let state = State {
            schema: STATE_SCHEMA,
            supervisor: Identity::own()?,
            phase: Phase::Starting,
            editor: before.as_ref().and_then(|state| state.editor.clone()),
            generation: record.generation,
            starts: 0,
            key: record.key.clone().filter(|_| record.renews_key()),
            activity: before.as_ref().and_then(|state| state.activity),
            endings: before.map(|state| state.endings).unwrap_or_default(),
        };
        Ok(Self {
            host,
            held,
            record,
            places,
            signals,
            state,
            restarts_ms: Vec::new(),
            begun: Instant::now(),
            was_ready: false,
            ticked: Instant::now(),
            observed: None,
            is_again: false,
            is_unpublished: false,
        })
    }

    fn run(&mut self) -> Result<(), Fault> {
        let mut taken_over = self.living_editor()?;
        if taken_over.is_some() {
            // From now on it is watched, whether it answers or not.
            self.save()?;
        }
        loop {
            let (editor, is_child) = match taken_over.take() {
                Some(editor) => (editor, false),
                None => match self.start()? {
                    Some(editor) => (editor, true),
                    // Told to end while the port was waited for.
                    None => return self.end(),
                },
            };
            match self.follow(&editor, is_child)? {
                After::Stop => return self.end(),
                After::Restart => {
                    self.stop_all()?;
                    self.restarts_ms.clear();
                    self.is_again = false;
                }
                // The end of a forerunner's editor that was not seen to answer says nothing about ours.
                After::Ended(seen) if !is_child && !self.was_ready => self.remember(&seen),
                After::Ended(seen) => {
                    self.is_again = true;
                    if !self.after(&seen)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Says whether an editor that was served has ended for good, and not by a command of ours,
    /// which goes on from there.
    fn stays_ended(&self) -> Result<bool, Fault> {
        let is_over = self.state.phase.is_last();
        if !self.was_ready || !is_over {
            return Ok(false);
        }
        let record = instances::read(&self.host.root, &self.record.id)?;
        Ok(record.is_some_and(|record| {
            record.wanted == Wanted::Running && record.generation == self.record.generation
        }))
    }

    /// Takes back what others are told: a port that nobody holds any more would be routed to whoever
    /// takes it next.
    fn withdraw(&mut self) -> Result<(), Fault> {
        let noted = match instances::read(&self.host.root, &self.record.id) {
            Ok(Some(record)) => {
                let record = Record { announced: false, ..record };
                instances::write(&self.host.root, &record).map(drop)
            }
            Ok(None) => Ok(()),
            Err(fault) => Err(fault),
        };
        let told = inputs::withdraw(self.host, &self.record, &mut self.held);
        // Whatever could be taken back is not served any more; the first fault is the one to be told.
        let published = self.publish();
        noted?;
        told?;
        Ok(published?)
    }

    fn publish(&mut self) -> Result<(), PublishFault> {
        let purpose = format!("oh-instances: the editor of {}", self.record.id);
        // What a supervisor prints is kept, so no password is made here.
        let asked = Asked { purpose: &purpose, wait: PUBLISH_WAIT, may_make_login: false };
        publish::publish_as_asked(&mut self.held, self.host, asked, &mut Memory::default())?;
        Ok(())
    }

    /// The editor of a forerunner, where it lives.
    fn living_editor(&self) -> Result<Option<Identity>, Fault> {
        Ok(if self.state.editor_lives()? { self.state.editor.clone() } else { None })
    }

    fn start(&mut self) -> Result<Option<Identity>, Fault> {
        self.may_start()?;
        // What an editor that failed has left would keep its port.
        self.stop_all()?;
        if !self.wait_for_ports()? {
            return Ok(None);
        }
        let group = match &self.places.socket {
            Some(_) => publish::group_of_workers(self.host)?,
            None => None,
        };
        if self.record.renews_key() {
            self.record.key = Some(editor::new_key()?);
            self.state.key.clone_from(&self.record.key);
            // Whoever asked for a start publishes by himself, and may be interrupted before: what was
            // served has to be served with its new key.
            self.is_unpublished = self.is_again || self.is_announced()?;
        }
        editor::prepare(self.host, &self.record, &self.places, group)?;
        self.remove_socket()?;
        let started = spawn::spawn(&editor::spawn(self.host, &self.record, &self.places)?)?;
        let identity = started.detach();
        self.state.editor = Some(identity.clone());
        // What is known of the use of an editor goes with it.
        self.state.activity = None;
        self.state.starts += 1;
        self.state.phase = Phase::Starting;
        if let Err(fault) = self.save() {
            // Nobody would know of it.
            self.stop_all()?;
            return Err(fault);
        }
        Ok(Some(identity))
    }

    /// Says whether others were told of it.
    fn is_announced(&self) -> Result<bool, Fault> {
        let record = instances::read(&self.host.root, &self.record.id)?;
        Ok(record.is_some_and(|record| record.announced))
    }

    /// Refuses to start what was taken over as it was found: as root's, or without a key.
    fn may_start(&self) -> Result<(), Fault> {
        let record = &self.record;
        let has_key = record.key.is_some() || !self.host.settings.instances.asks_for_key;
        if !record.adopted || (record.uid != 0 && has_key) {
            return Ok(());
        }
        let what = if record.uid == 0 { "ran as root" } else { "asked for no key" };
        Err(Fault::NotReady(format!(
            "it was taken over, {what} and ended; `oh-instances start --repo {}` starts one that \
             does not",
            record.folder
        )))
    }

    /// Waits until nobody is in the way; false where we were told to end.
    fn wait_for_ports(&mut self) -> Result<bool, Fault> {
        let deadline = Instant::now() + PORT_WAIT;
        let ports: Vec<Port> = self.record.target.port().into_iter().collect();
        for port in ports {
            while bind_probe_everywhere(port)? == BindProbe::Taken {
                // As long as it is waited for a stranger is routed to.
                let whose = Whose { owner: self.record.uid, named: None };
                let listens = sockets::listening().on(port, whose);
                if matches!(listens, Listens::Stranger(_)) || Instant::now() >= deadline {
                    let holder = crate::look::holder(port);
                    return Err(Fault::NotReady(format!("port {port} is taken by {holder}")));
                }
                if self.pause(READY_PAUSE)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// A socket that nobody listens on any more would be in the editor's way.
    fn remove_socket(&self) -> Result<(), Fault> {
        use std::os::unix::fs::FileTypeExt as _;
        let Some((socket, _)) = &self.places.socket else { return Ok(()) };
        let meta = std::fs::symlink_metadata(socket.as_str());
        if meta.is_ok_and(|meta| meta.file_type().is_socket()) {
            oh_host::atomic::remove_file(socket)?;
        }
        Ok(())
    }

    /// Watches an editor until something is to be done.
    fn follow(&mut self, editor: &Identity, is_child: bool) -> Result<After, Fault> {
        let Some(pidfd) = watch::open(editor, is_child)? else {
            return Ok(After::Ended(Seen::unknown()));
        };
        let limit = Duration::from_secs(self.host.settings.instances.ready_timeout_s);
        let begun = Instant::now();
        let mut is_ready = false;
        let mut asked: Option<Instant> = None;
        loop {
            // Whatever else ends meanwhile, it is not asked more often.
            if !is_ready && asked.is_none_or(|at| at.elapsed() >= READY_PAUSE) {
                if ready::answers(&self.record, &self.places, editor.pid)? {
                    // The socket is in a folder of the user's, who may have exchanged it.
                    if let Err(fault) = crate::launch::open_socket(&self.record, &self.places) {
                        self.stop_all()?;
                        return Ok(After::Ended(Seen::failed(crate::report::chain(&fault))));
                    }
                    is_ready = true;
                    self.was_ready = true;
                    self.state.phase = Phase::Ready;
                    self.observe();
                    self.save()?;
                    self.present_key();
                }
                asked = Some(Instant::now());
            }
            if !is_ready && begun.elapsed() >= limit {
                self.stop_all()?;
                let seen = Seen::failed(format!("it did not answer within {} s", limit.as_secs()));
                return Ok(After::Ended(seen));
            }
            let wait = if is_ready { TICK } else { READY_PAUSE };
            if let Some(after) = self.event(&pidfd, editor, is_child, wait)? {
                return Ok(after);
            }
        }
    }

    /// Waits for what happens next; `None` where nothing is to be done.
    fn event(
        &mut self,
        pidfd: &OwnedFd,
        editor: &Identity,
        is_child: bool,
        wait: Duration,
    ) -> Result<Option<After>, Fault> {
        let has_ended = watch::wait(&self.signals, Some(pidfd), wait)?;
        if self.signals.end().is_some() {
            return Ok(Some(After::Stop));
        }
        if self.signals.take_hang_up() && self.restart_is_asked()? {
            return Ok(Some(After::Restart));
        }
        if has_ended {
            return Ok(Some(After::Ended(watch::ending(editor, is_child))));
        }
        if let Some(seen) = watch::reap(Some(editor)) {
            return Ok(Some(After::Ended(seen)));
        }
        if self.ticked.elapsed() >= TICK {
            self.ticked = Instant::now();
            self.look_after();
        }
        Ok(None)
    }

    /// Does what is done now and then.
    fn look_after(&mut self) {
        self.rotate();
        if self.state.phase == Phase::Ready {
            self.present_key();
            if self.observed.is_none_or(|at| at.elapsed() >= OBSERVE_EVERY) {
                self.observe();
                // What is known of its use grows old where it cannot be written; the editor is
                // worth more.
                drop(self.save());
            }
        }
    }

    /// Lets nginx present a new key. Where it does not, visitors are asked for one; it is tried again
    /// at each tick.
    fn present_key(&mut self) {
        if self.is_unpublished {
            self.is_unpublished = self.publish().is_err();
        }
    }

    /// Observes whether the editor is in use, and carries on what is known of it.
    fn observe(&mut self) {
        self.observed = Some(Instant::now());
        // Where nothing can be seen nothing is concluded: what is known grows old, and is not
        // believed any more when somebody asks.
        let Some(seen) = view::observation(&self.record, &self.state, &self.places) else { return };
        self.state.activity = Some(match &self.state.activity {
            Some(known) => known.carry(&seen),
            None => Activity::begin(&seen),
        });
    }

    /// Reads the record again: SIGHUP comes from terminals too, and alone means nothing.
    fn restart_is_asked(&mut self) -> Result<bool, Fault> {
        let asked = match instances::read(&self.host.root, &self.record.id)? {
            Some(record) => record.generation,
            None => return Ok(false),
        };
        let is_new = asked > self.record.generation;
        self.record.generation = asked;
        self.state.generation = asked;
        if is_new {
            self.state.phase = Phase::Starting;
        }
        Ok(is_new)
    }

    /// Decides what comes after an end, and waits where that is a restart; false where it stays.
    fn after(&mut self, seen: &Seen) -> Result<bool, Fault> {
        self.remember(seen);
        let settings = &self.host.settings.instances;
        let policy = Policy {
            restarts_max: usize::try_from(settings.restarts_max).unwrap_or(usize::MAX),
            window_ms: settings.restart_window_s * 1000,
        };
        // code-server ends with 0 even where its own server was killed.
        let is_told = self.record.server != Server::CodeServer;
        let end = End { is_clean: seen.is_clean && is_told, was_ready: self.was_ready };
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut chance = [0; 8];
        oh_host::random::fill(&mut chance)?;
        let chance = u64::from_le_bytes(chance);
        match restart::next(end, &mut self.restarts_ms, now, chance, policy) {
            Next::Again { after_ms } => {
                self.state.phase = Phase::Waiting { until_ms: now_ms().saturating_add(after_ms) };
                self.save()?;
                // Its children do not wait with it.
                self.stop_all()?;
                Ok(!self.wait_to_restart(Duration::from_millis(after_ms))?)
            }
            Next::Ended => {
                self.stop_all()?;
                self.state.phase = Phase::Ended;
                self.save()?;
                Ok(false)
            }
            Next::GivenUp(why) => {
                self.stop_all()?;
                let keys = self.record.key.iter().chain(&self.state.key);
                let said = logs::last_lines(&self.places.log, keys);
                let why = format!("{why} ({}){said}", seen.how);
                self.give_up(why);
                Ok(false)
            }
        }
    }

    /// Writes down how an editor ended.
    fn remember(&mut self, seen: &Seen) {
        self.state.endings.push(Ending { at_ms: now_ms(), how: seen.how.clone() });
        let surplus = self.state.endings.len().saturating_sub(ENDINGS_MAX);
        self.state.endings.drain(..surplus);
        self.state.editor = None;
    }

    /// Waits; true where we were told to end meanwhile.
    fn wait_to_restart(&mut self, pause: Duration) -> Result<bool, Fault> {
        let deadline = Instant::now() + pause;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            if self.pause(left)? {
                self.end()?;
                return Ok(true);
            }
            if self.signals.take_hang_up() && self.restart_is_asked()? {
                self.restarts_ms.clear();
                return Ok(false);
            }
        }
    }

    /// Waits at most so long; true where we were told to end.
    fn pause(&mut self, most: Duration) -> Result<bool, Fault> {
        watch::wait(&self.signals, None, most)?;
        watch::reap(None);
        Ok(self.signals.end().is_some())
    }

    /// Ends everything that belongs to the instance but ourselves, and what has come to us of it.
    fn stop_all(&self) -> Result<(), Fault> {
        let target =
            Target { identity: self.state.editor.clone(), token: Some(self.record.token.clone()) };
        stop::stop_with_children(&target, &self.others()?, self.grace())?;
        watch::reap(None);
        Ok(())
    }

    /// The other instances: one that was started in a terminal of ours has its supervisor below us.
    fn others(&self) -> Result<Vec<Target>, Fault> {
        let records = instances::records(&self.host.root)?.into_iter().flatten();
        let others = records.filter(|record| record.token != self.record.token);
        Ok(others.flat_map(|record| instances::family(&record, None)).collect())
    }

    fn grace(&self) -> Duration {
        Duration::from_secs(self.host.settings.instances.stop_grace_s)
    }

    /// Ends the editor because we were told to end, and says so.
    fn end(&mut self) -> Result<(), Fault> {
        self.stop_all()?;
        self.remember(&Seen::failed("its supervisor was told to end".into()));
        self.state.editor = None;
        self.state.key = None;
        self.state.phase = Phase::Stopped;
        self.save()
    }

    /// Says that nothing more is tried.
    fn give_up(&mut self, why: String) {
        self.state.key = None;
        self.state.phase = Phase::Failed { why };
        // Nobody could be told that it cannot be told; that no supervisor lives is seen.
        drop(self.save());
    }

    /// Leaves its state for others to read, as long as there is a record that it is the state of: the
    /// folder of a whole root may have been removed around us, and is not to come again.
    fn save(&self) -> Result<(), Fault> {
        if matches!(instances::read(&self.host.root, &self.record.id), Ok(None)) {
            return Ok(());
        }
        Ok(instances::write_state(&self.host.root, &self.record.id, &self.state)?)
    }

    fn rotate(&self) {
        let settings = &self.host.settings.instances;
        // A log that cannot be set aside grows on; the editor is worth more.
        drop(logs::rotate(&self.places.log, settings.log_bytes_max, settings.log_files));
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
