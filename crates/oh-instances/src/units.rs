//! The units of systemd that keep instances as they are wanted: at boot, and every few minutes.
//!
//! Printed, never installed: where units belong and what they may do is the operator's decision.

use std::collections::BTreeSet;
use std::path::Path;

use clap::ValueEnum;
use oh_config::Supervision;
use oh_host::publish::{Host, PublishFault};
use oh_host::users::{Users, is_root};
use oh_model::exit::Exit;
use oh_model::path::InRoot;
use oh_model::unit::{WALLS, command_word, path_word};
use oh_term::{Answer, Common, Failure};
use serde_json::json;

use crate::commands::{Context, context};

/// A unit that can be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unit {
    /// Start what is wanted when the machine has booted: oh-instances-boot.service
    Boot,
    /// One look, for the timer: oh-instances-reconcile.service
    Service,
    /// A look every 5 minutes: oh-instances-reconcile.timer
    Timer,
    /// The folder of session files, made at boot before anybody else can: openhands.conf in
    /// /etc/tmpfiles.d
    Tmpfiles,
}

/// How long one look may take, in seconds: several editors, one after the other.
const LOOK_LIMIT_S: u32 = 900;

/// How long starting all may take, in seconds.
const BOOT_LIMIT_S: u32 = 3600;

/// What the services may do as root: everything that they do themselves is looking, signalling and
/// publishing.
const CAPABILITIES: &str = "\
# Editors are started by systemd (systemd-run), outside of these walls, so they may do what their
# users may. Open stay: other users' processes (signals, environments, sockets), their files, nginx
# (signals, and `nginx -t` as its master), and /proc, which says whose a listener is.
CapabilityBoundingSet=CAP_KILL CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SETUID CAP_SETGID \
CAP_SYS_PTRACE CAP_NET_BIND_SERVICE
";

/// Why there are no walls where the supervisors are children of the service.
const NO_WALLS: &str = "\
# instances.supervision lets supervisors be processes of this service: they have to outlive it, and
# each wall around it would stand around the editors too, and around all that is done in them.
KillMode=process
";

/// The folders that are emptied when the machine starts.
const VOLATILE: [&str; 3] = ["/tmp", "/var/tmp", "/run"];

const TIMER: &str = "[Unit]\nDescription=Look whether editors run as they are wanted\n\n[Timer]\n\
    OnBootSec=5min\nOnUnitActiveSec=5min\nAccuracySec=10s\n\n[Install]\nWantedBy=timers.target\n";

/// Prints a unit that fits this configuration.
pub(crate) fn print(unit: Unit, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    // What could not publish would fail at each look.
    let domain = host.settings.site.require_domain();
    domain.map_err(|fault| Failure::of(PublishFault::Config(fault)))?;
    let text = match unit {
        Unit::Boot => service(&host, common, true)?,
        Unit::Service => service(&host, common, false)?,
        Unit::Timer => TIMER.to_owned(),
        Unit::Tmpfiles => tmpfiles(&host)?,
    };
    Ok(Answer::new(text.clone(), json!({ "unit": text })).notes(warnings))
}

fn service(host: &Host, common: &Common, is_boot: bool) -> Result<String, Failure> {
    let command = command(common)?;
    let what = if is_boot { "Start the editors that are wanted" } else { "Look after editors" };
    let mut lines = vec![
        "[Unit]".to_owned(),
        format!("Description={what}"),
        "After=network.target remote-fs.target nginx.service".into(),
    ];
    if is_boot {
        lines.push("Wants=nginx.service".into());
    } else {
        lines.push("After=oh-instances-boot.service".into());
    }
    lines.extend(["".into(), "[Service]".into(), "Type=oneshot".into()]);
    // What is below a root of an ordinary user's is refused to everybody else.
    if !is_root() && !host.root.is_system() {
        lines.push(format!("User={}", own_name()));
    }
    lines.push(format!("ExecStart={command}"));
    lines.push(format!("TimeoutStartSec={}", if is_boot { BOOT_LIMIT_S } else { LOOK_LIMIT_S }));
    if is_boot {
        // Once a boot: the timer looks after what comes later.
        lines.push("RemainAfterExit=yes".into());
    } else {
        lines.push("# Another command is at work; the next look is soon.".into());
        lines.push(format!("SuccessExitStatus={}", Exit::Locked.code()));
    }
    let mut text = lines.join("\n") + "\n";
    if is_systemd(host) {
        for folder in written(host)? {
            // A folder that is not there yet is made by the first run, outside of any sandbox.
            text.push_str(&format!("ReadWritePaths=-{}\n", path_word(&folder)));
        }
        text.push_str(CAPABILITIES);
        text.push_str(WALLS);
    } else {
        text.push_str(NO_WALLS);
    }
    if is_boot {
        text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
    }
    Ok(text)
}

/// The line of tmpfiles.d(5) for the folder of session files. Where everybody may make it, whoever
/// comes first owns it, and nothing is published any more.
fn tmpfiles(host: &Host) -> Result<String, Failure> {
    let folder = real(host, &host.settings.sessions.directory)?;
    Ok(format!("d {} 0755 root root -\n", path_word(&folder)))
}

/// Who we are, as systemd takes it: a name, or else a number.
fn own_name() -> String {
    let uid = rustix::process::geteuid().as_raw();
    let users = Users::of_machine().unwrap_or_else(|_| Users::parse("", ""));
    users.user_of(uid).map_or_else(|| uid.to_string(), |user| user.name.clone())
}

/// What both services run: `stop` takes the record away, so what was stopped stays so; what gave up or
/// has ended by itself is not started again before the next boot.
fn command(common: &Common) -> Result<String, Failure> {
    let program = std::env::current_exe()
        .map_err(|fault| Failure::new(Exit::CouldNotLook, format!("who we are: {fault}")))?;
    let mut words = vec![program.to_string_lossy().into_owned()];
    for (name, value) in [("--config", &common.config), ("--root", &common.root)] {
        if let Some(value) = value {
            let absolute = std::path::absolute(value).unwrap_or_else(|_| value.into());
            words.extend([name.to_owned(), absolute.to_string_lossy().into_owned()]);
        }
    }
    words.extend(common.sets.iter().flat_map(|set| ["--set".to_owned(), set.clone()]));
    words.extend(["reconcile".to_owned(), "--start".to_owned()]);
    let words: Vec<String> = words.iter().map(|word| command_word(word)).collect();
    Ok(words.join(" "))
}

/// Whether supervisors are in units of their own, when a unit of systemd runs the command as root.
fn is_systemd(host: &Host) -> bool {
    match host.settings.instances.supervision {
        Supervision::Systemd => true,
        Supervision::Process => false,
        Supervision::Auto => host.root.is_system(),
    }
}

/// Returns the folders that a run writes to, sorted.
fn written(host: &Host) -> Result<BTreeSet<String>, Failure> {
    let settings = &host.settings;
    let (nginx, instances) = (&settings.nginx, &settings.instances);
    let mut folders = BTreeSet::new();
    // Locks, states and pid files; logs and temporary files that `nginx -t` opens; records.
    folders.extend(
        ["/run", "/var/lib/nginx", "/var/lib/openhands-toolkit", "/var/log/nginx"]
            .map(ToOwned::to_owned),
    );
    // What `nginx -t` judges is written beside the configuration, whose relative names it keeps.
    let above = [nginx.hook.parent(), nginx.config.parent()];
    let databases = [instances.port_database.parent(), instances.repository_database.parent()];
    let own = [&nginx.directory, &settings.sessions.directory, &instances.directory];
    let more = [&instances.runtime_directory, &instances.log_directory];
    let sockets = settings.sessions.sockets.iter();
    let all = above.iter().chain(&databases).chain(own).chain(more).chain(sockets);
    for folder in all {
        folders.insert(lasting(real(host, folder)?));
    }
    Ok(folders)
}

/// What does not last over a restart of the machine comes after the service, so its folder does it.
fn lasting(folder: String) -> String {
    let volatile = VOLATILE.iter().find(|above| Path::new(&folder).starts_with(above));
    volatile.map_or(folder, |above| (*above).to_owned())
}

fn real(host: &Host, path: &InRoot) -> Result<String, Failure> {
    let real = oh_host::publish::real(&host.root, path).map_err(Failure::of)?;
    Ok(real.to_string())
}
