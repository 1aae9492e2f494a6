//! What nginx and the editors say: nginx's configuration as it is loaded, and the ends of the logs.

use std::time::Duration;

use oh_host::command::{self, OUTPUT_BYTES_MAX};
use oh_host::logs;
use oh_host::nginx::{self, Nginx, NginxFault};
use oh_host::publish::Host;
use oh_host::tree::{self, Changeable, changeable_by_others};
use oh_model::path::RealPath;

use super::items::Collector;
use crate::apply::chain;

/// How much of the end of a log is kept, in bytes.
const TAIL_BYTES: u64 = 64 * 1024;

/// How long nginx may take to print its configuration.
const DUMP_LIMIT: Duration = Duration::from_secs(1);

/// How many logs of editors are kept.
const LOGS_MAX: usize = 200;

const CONFIGURATION: &str = "nginx/configuration.txt";
const ERROR_LOG: &str = "nginx/error.log";

/// Takes nginx's configuration and the end of its log.
pub(super) fn of_nginx(collector: &mut Collector, host: &Host) {
    let known = nginx_of(host).and_then(|nginx| {
        let built = nginx.built().map_err(|fault| chain(&fault))?;
        let (tree, _) = tree::read_leniently(&nginx.config);
        Ok((nginx, built, tree))
    });
    let (nginx, built, tree) = match known {
        Ok(known) => known,
        Err(why) => {
            collector.miss(CONFIGURATION, why.clone());
            return collector.miss(ERROR_LOG, why);
        }
    };
    let pid_file = nginx::pid_file(&tree, &built);
    match dump(&nginx, pid_file, changeable_by_others(&tree)) {
        Ok(text) if text.len() as u64 >= OUTPUT_BYTES_MAX => {
            collector.add_head(CONFIGURATION, text.into_bytes());
        }
        Ok(text) => collector.add(CONFIGURATION, text.into_bytes()),
        Err(why) => collector.miss(CONFIGURATION, why),
    }
    match nginx::error_log(&tree, &built) {
        Some(log) => tail(collector, ERROR_LOG, &log),
        None => collector.miss(ERROR_LOG, "nginx writes it to no file"),
    }
}

/// Takes the ends of the editors' logs.
pub(super) fn of_editors(collector: &mut Collector, host: &Host) {
    let folder = match host.root.real(&host.settings.instances.log_directory) {
        Ok(folder) => folder,
        Err(fault) => return collector.miss("logs", fault.to_string()),
    };
    for name in collector.names("logs", &folder, LOGS_MAX) {
        let is_log = name.ends_with(".log") || name.ends_with(".log.supervisor");
        if let Ok(log) = folder.join(&name)
            && is_log
        {
            tail(collector, &format!("logs/{name}"), &log);
        }
    }
}

fn nginx_of(host: &Host) -> Result<Nginx, String> {
    let settings = &host.settings.nginx;
    // Programs are the machine's, whatever the root.
    let program = RealPath::parse(settings.program.as_str()).map_err(|fault| fault.to_string())?;
    let config = host.root.real(&settings.config).map_err(|fault| fault.to_string())?;
    Ok(Nginx { program, config, interrupts: None })
}

/// Lets nginx print its configuration, as whom it runs; root does not let it open what others name.
fn dump(
    nginx: &Nginx,
    pid_file: Result<RealPath, NginxFault>,
    changeable: Option<Changeable>,
) -> Result<String, String> {
    let master = pid_file.and_then(|pid_file| nginx.master(&pid_file));
    let user = master.map_err(|fault| chain(&fault))?.and_then(|master| master.test_user());
    if let Some(Changeable { path, why, .. }) = changeable
        && user.is_none()
        && rustix::process::geteuid().is_root()
    {
        return Err(format!("{path} {why}"));
    }
    let arguments = ["-T", "-q", "-c", nginx.config.as_str()];
    let output = command::run(&nginx.program, &arguments, user, DUMP_LIMIT);
    let output = output.map_err(|fault| chain(&fault))?;
    if !output.status.success() {
        let said = output.stderr.lines().last().unwrap_or_default();
        return Err(format!("nginx refuses it ({}): {said}", output.ending()));
    }
    Ok(output.stdout)
}

fn tail(collector: &mut Collector, name: &str, log: &RealPath) {
    match logs::tail(log, TAIL_BYTES) {
        Ok(text) => collector.add(name, text.into_bytes()),
        Err(fault) => collector.miss(name, fault.to_string()),
    }
}
