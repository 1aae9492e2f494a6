//! Starting the supervisor of an instance, and what of an editor only root can set right.

use std::ffi::OsString;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use oh_config::Supervision;
use oh_host::command;
use oh_host::instances::Record;
use oh_host::process::{Identity, Pid, Processes};
use oh_host::publish::Host;
use oh_host::spawn::{Spawn, Started, spawn};
use oh_host::users::is_root;
use oh_model::instance::Server;
use oh_model::path::RealPath;
use oh_term::Common;
use rustix::fs::{FileType, Mode, OFlags};

use crate::editor::Places;
use crate::fault::Fault;

/// The program that starts transient units.
const SYSTEMD_RUN: &str = "/usr/bin/systemd-run";

/// The program that asks systemd for what systemctl has no word for.
const BUSCTL: &str = "/usr/bin/busctl";

/// systemd's service, object and interface on the bus.
const MANAGER: [&str; 3] =
    ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];

/// How often it is looked whether all processes of an editor are in its unit.
const MOVES_MAX: usize = 10;

/// How long systemd may take to start a unit.
const UNIT_LIMIT: Duration = Duration::from_secs(30);

/// What the supervisor's own environment keeps of ours.
const KEPT_PREFIX: &str = "OHT_";

/// Returns the name of the unit that an instance's supervisor is to be in; `None` for none.
pub(crate) fn unit(host: &Host, id: &str) -> Option<String> {
    let is_systemd = match host.settings.instances.supervision {
        Supervision::Systemd => true,
        Supervision::Process => false,
        Supervision::Auto => is_root() && host.root.is_system() && oh_host::unit::is_systemd(),
    };
    is_systemd.then(|| format!("openhands-editor-{id}.service"))
}

/// Starts the supervisor. Without systemd it is returned, so that its end is noticed at once.
pub(crate) fn supervisor(
    host: &Host,
    record: &Record,
    places: &Places,
    common: &Common,
) -> Result<Option<Started>, Fault> {
    let program = std::env::current_exe()?;
    let program = RealPath::parse(&program.to_string_lossy())?;
    let arguments = arguments(host, record, common)?;
    let environment = environment();
    match &record.unit {
        Some(unit) => {
            start_unit(host, unit, &program, &arguments, &environment)?;
            Ok(None)
        }
        None => {
            let log = RealPath::parse(&format!("{}.supervisor", places.log))?;
            let folder = oh_host::atomic::Meta { mode: 0o700, owner: None };
            let started = spawn(&Spawn {
                program,
                arguments: arguments.into_iter().map(OsString::from).collect(),
                environment: environment
                    .into_iter()
                    .map(|(key, value)| (key.into(), value.into()))
                    .collect(),
                token: record.supervisor_token(),
                folder: RealPath::parse("/")?,
                folders: vec![(log.parent(), folder)],
                log,
                user: None,
                leads_group: true,
            })?;
            Ok(Some(started))
        }
    }
}

fn arguments(host: &Host, record: &Record, common: &Common) -> Result<Vec<String>, Fault> {
    let mut arguments = vec!["supervise".to_owned(), record.id.to_string()];
    // It works in `/`, so paths are absolute; glued, because they may begin with a dash.
    arguments.extend(host.root.base().map(|root| format!("--root={root}")));
    if let Some(config) = &common.config {
        let config = std::path::absolute(config)?;
        arguments.push(format!("--config={}", config.display()));
    }
    arguments.extend(common.sets.iter().map(|set| format!("--set={set}")));
    Ok(arguments)
}

fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(key, _)| key.starts_with(KEPT_PREFIX) && key != oh_host::spawn::TOKEN_KEY)
        .collect()
}

fn start_unit(
    host: &Host,
    unit: &str,
    program: &RealPath,
    arguments: &[String],
    environment: &[(String, String)],
) -> Result<(), Fault> {
    let settings = &host.settings.instances;
    let limits = &settings.limits;
    let stop_s = stop_seconds(host);
    let mut words = vec![
        format!("--unit={unit}"),
        "--description=VS Code in the browser, of oh-instances".into(),
        // What failed is forgotten, so that its name is free for the next start.
        "--collect".into(),
        "--quiet".into(),
        "--service-type=exec".into(),
        // The supervisor ends its editor; what it misses goes with the group.
        "--property=KillMode=mixed".into(),
        format!("--property=TimeoutStopSec={stop_s}"),
        "--property=Restart=no".into(),
        "--property=OOMPolicy=continue".into(),
        // An editor that runs already may be moved into it.
        "--property=Delegate=yes".into(),
    ];
    words.extend(limits.memory_mib.map(|mib| format!("--property=MemoryMax={mib}M")));
    words.extend(limits.cpu_percent.map(|percent| format!("--property=CPUQuota={percent}%")));
    words.extend(limits.tasks.map(|tasks| format!("--property=TasksMax={tasks}")));
    words.extend(environment.iter().map(|(key, value)| format!("--setenv={key}={value}")));
    words.extend(["--".into(), program.to_string()]);
    // systemd replaces `$NAME` in the arguments of a unit.
    words.extend(arguments.iter().map(|argument| argument.replace('$', "$$")));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // The unit of a forerunner that was killed is there until systemd has ended all of its group.
    end_unit(host, unit)?;
    let output = command::run(&RealPath::parse(SYSTEMD_RUN)?, &words, None, UNIT_LIMIT)?;
    if !output.status.success() {
        return Err(Fault::Systemd(output.stderr.trim().to_owned()));
    }
    Ok(())
}

/// Waits until a unit has ended, and with it all that is in its group; one that is not there has.
pub(crate) fn end_unit(host: &Host, unit: &str) -> Result<(), Fault> {
    Ok(oh_host::unit::end(unit, Duration::from_secs(stop_seconds(host)))?)
}

/// How long systemd gives a supervisor to end its editor.
fn stop_seconds(host: &Host) -> u64 {
    host.settings.instances.stop_grace_s + 10
}

/// Moves an editor that runs into the unit of its new supervisor, with all that it started: the limits
/// of the unit are for them too.
///
/// systemd does it (`AttachProcessesToUnit`, org.freedesktop.systemd1(5)), and knows them by their
/// numbers alone, so they are looked at right before.
pub(crate) fn take_into_unit(unit: &str, editor: &Identity) -> Result<(), Fault> {
    let mut why = "its processes become more faster than they are moved".to_owned();
    for _ in 0..MOVES_MAX {
        if !editor.lives()? {
            return Ok(());
        }
        let mut family = Processes::look()?.descendants_of(editor.pid);
        family.push(editor.pid);
        let outside = family.into_iter().filter(|pid| is_outside(*pid, unit));
        let outside: Vec<String> = outside.map(|pid| pid.to_string()).collect();
        if outside.is_empty() {
            return Ok(());
        }
        let count = outside.len().to_string();
        let mut words = vec!["--quiet", "call"];
        words.extend(MANAGER);
        words.extend(["AttachProcessesToUnit", "ssau", unit, "", &count]);
        words.extend(outside.iter().map(String::as_str));
        let output = command::run(&RealPath::parse(BUSCTL)?, &words, None, UNIT_LIMIT)?;
        // One that ended meanwhile fails all of them; the next look does without it.
        if !output.status.success() {
            why = output.stderr.trim().to_owned();
        }
    }
    Err(Fault::Limits(why))
}

/// Says whether a process that lives is in another control group than that of the unit.
fn is_outside(pid: Pid, unit: &str) -> bool {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
    groups.is_ok_and(|groups| !groups.lines().any(|line| line.ends_with(&format!("/{unit}"))))
}

/// Lets nginx connect to the socket of an editor that has no option for its mode.
///
/// The socket is in a folder of the user's, so it is opened without following links, and changed
/// only if it is a socket of that user.
pub(crate) fn open_socket(record: &Record, places: &Places) -> Result<(), Fault> {
    let (Some((socket, _)), Server::Openvscode) = (&places.socket, record.server) else {
        return Ok(());
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened =
        rustix::fs::open(socket.as_str(), flags, Mode::empty()).map_err(std::io::Error::from)?;
    let stat = rustix::fs::fstat(&opened).map_err(std::io::Error::from)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket || stat.st_uid != record.uid {
        return Err(Fault::NotReady(format!("{socket} is no socket of its own")));
    }
    let itself = format!("/proc/self/fd/{}", opened.as_raw_fd());
    rustix::fs::chmod(itself, Mode::from_raw_mode(0o660)).map_err(std::io::Error::from)?;
    Ok(())
}
