//! The units of systemd that run a watch, made of the configuration: systemd.service(5),
//! systemd.exec(5), systemd.timer(5), systemd.path(5).
//!
//! Printed, never installed: where units belong and what they may do is the operator's decision.

use std::collections::BTreeSet;

use clap::ValueEnum;
use oh_host::heartbeat::HEARTBEAT_FILE;
use oh_host::publish::Host;
use oh_model::exit::Exit;
use oh_model::path::InRoot;
use oh_model::unit::{WALLS, command_word, path_word};
use oh_term::{Answer, Common, Failure};
use serde_json::json;

use crate::edge::lasting_context;

/// A unit that can be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unit {
    /// The watch itself: oh-nginx-watch.service
    Service,
    /// One look, for the two below: oh-nginx-once.service
    Once,
    /// A look each minute: oh-nginx-once.timer
    Timer,
    /// A look when the folder of session files changes: oh-nginx-once.path
    Path,
}

/// How long a look may take before systemd takes the watch for hung, in seconds: more than twice
/// the longest wait for a generation.
const WATCHDOG_S: u32 = 180;

/// What a service that publishes may do as root, and no more.
const CAPABILITIES: &str = "\
# nginx is signalled, `nginx -t` runs as its master, files of others are looked at and moved aside.
CapabilityBoundingSet=CAP_KILL CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SETUID CAP_SETGID \
CAP_SYS_PTRACE CAP_NET_BIND_SERVICE
";

/// The folders that are emptied when the machine starts.
const VOLATILE: [&str; 3] = ["/tmp", "/var/tmp", "/run"];

/// Prints a unit that fits this configuration.
pub(crate) fn print(unit: Unit, common: &Common) -> Result<Answer, Failure> {
    let context = lasting_context(common)?;
    let text = match unit {
        Unit::Service => service(&context.host, common, true)?,
        Unit::Once => service(&context.host, common, false)?,
        Unit::Timer => "[Unit]\nDescription=Look for sessions of OpenHands to route\n\n[Timer]\n\
             OnBootSec=10s\nOnUnitActiveSec=60s\nAccuracySec=1s\n\n[Install]\n\
             WantedBy=timers.target\n"
            .into(),
        Unit::Path => {
            let folder = real(&context.host, &context.host.settings.sessions.directory)?;
            format!(
                "[Unit]\nDescription=Sessions of OpenHands come and go\n\n[Path]\n\
                 PathChanged={}\nUnit=oh-nginx-once.service\n\n[Install]\n\
                 WantedBy=paths.target\n",
                path_word(&folder)
            )
        }
    };
    Ok(Answer::new(text.clone(), json!({ "unit": text })).notes(context.warnings))
}

fn service(host: &Host, common: &Common, watches: bool) -> Result<String, Failure> {
    let program = std::env::current_exe()
        .map_err(|fault| Failure::new(Exit::CouldNotLook, format!("who we are: {fault}")))?;
    let mut words = vec![program.to_string_lossy().into_owned()];
    let named = [("--config", &common.config), ("--root", &common.root)];
    for (name, value) in named {
        if let Some(value) = value {
            let absolute = std::path::absolute(value).unwrap_or_else(|_| value.into());
            words.extend([name.to_owned(), absolute.to_string_lossy().into_owned()]);
        }
    }
    words.extend(common.sets.iter().flat_map(|set| ["--set".to_owned(), set.clone()]));
    words.push("watch".into());
    if !watches {
        words.push("--once".into());
    }
    let command: Vec<String> = words.iter().map(|word| command_word(word)).collect();
    let mut text = String::from("[Unit]\nDescription=Route the sessions of OpenHands\n");
    text.push_str("After=network.target nginx.service\n");
    text.push_str("Documentation=man:nginx(8)\n\n[Service]\n");
    let kind = if watches { "notify" } else { "oneshot" };
    let mut line = |text_of: String| {
        text.push_str(&text_of);
        text.push('\n');
    };
    line(format!("Type={kind}"));
    line(format!("ExecStart={}", command.join(" ")));
    if watches {
        line("ExecReload=/bin/kill -HUP $MAINPID".into());
        line(format!("WatchdogSec={WATCHDOG_S}"));
        line("Restart=on-failure".into());
        line("RestartSec=5".into());
        let faulty = [Exit::Refused, Exit::Config].map(|exit| exit.code().to_string()).join(" ");
        line(format!("RestartPreventExitStatus={faulty}"));
    }
    for folder in written(host)? {
        // A folder that is not there yet is made by the first run, outside of any sandbox.
        line(format!("ReadWritePaths=-{}", path_word(&folder)));
    }
    text.push_str(CAPABILITIES);
    text.push_str(WALLS);
    if watches {
        text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
    }
    Ok(text)
}

/// Returns the folders that a run writes to, sorted.
fn written(host: &Host) -> Result<Vec<String>, Failure> {
    let settings = &host.settings;
    let mut folders = BTreeSet::new();
    folders.insert(real(host, &settings.nginx.directory)?);
    folders.insert(parent(&real(host, &settings.nginx.hook)?));
    // What `nginx -t` judges is written beside the configuration, whose relative names it keeps.
    folders.insert(parent(&real(host, &settings.nginx.config)?));
    let sessions = real(host, &settings.sessions.directory)?;
    // What does not last over a restart of the machine comes after the service.
    let volatile = VOLATILE.iter().find(|above| sessions.starts_with(&format!("{above}/")));
    folders.insert(volatile.map_or(sessions, |above| (*above).to_owned()));
    let heartbeat = InRoot::parse(HEARTBEAT_FILE)
        .map_err(|fault| Failure::new(Exit::Bug, format!("{HEARTBEAT_FILE}: {fault}")))?;
    // The pid file and the logs, which `nginx -t` opens.
    let run = parent(&parent(&real(host, &heartbeat)?));
    folders.insert(run);
    folders.insert("/var/log/nginx".into());
    folders.insert("/var/lib/nginx".into());
    Ok(folders.into_iter().collect())
}

fn real(host: &Host, path: &InRoot) -> Result<String, Failure> {
    let real = oh_host::publish::real(&host.root, path).map_err(Failure::of)?;
    Ok(real.to_string())
}

fn parent(path: &str) -> String {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/".into(),
        Some((parent, _)) => parent.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_of_a_name_at_the_top_is_the_top() {
        assert_eq!((parent("/run/a"), parent("/run")), ("/run".into(), "/".into()));
    }
}
