//! nginx as a program: what it was built with, what it would read, its test, its master.
//!
//! Whether systemd started it makes no difference here: `systemctl reload nginx` ends in the
//! same SIGHUP to the same master, after parsing everything once more. The master is found by
//! the pid file that its configuration names, and believed only if that process is this very
//! program and calls itself a master.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use oh_model::path::{PathFault, RealPath};
use oh_nginx_conf::inspect::Tree;
use oh_nginx_conf::secret::without_keys;
use oh_nginx_conf::version::NginxVersion;
use rustix::process::Signal;
use thiserror::Error;

use crate::command::{self, CommandFault, Output};
use crate::process::{Pid, ProcessDir, ProcessFault, Processes, Sent};
use crate::signals::Interrupts;
use crate::users::Users;

/// How long `nginx -V` may take.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// How long `nginx -t` may take: it may look up names.
const TEST_LIMIT: Duration = Duration::from_secs(60);

/// How every title of nginx begins.
const TITLE: &str = "nginx: ";

/// How long a process that is nginx by its program may be without a title.
const TITLE_LIMIT: Duration = Duration::from_secs(1);

/// How long to wait before looking at its title again.
const TITLE_PAUSE: Duration = Duration::from_millis(2);

/// What a master calls itself; the rest of its title is its arguments.
const MASTER_TITLE: &str = "nginx: master process";

/// What a worker calls itself.
const WORKER_TITLE: &str = "nginx: worker process";

/// What a worker calls itself that serves its last connections.
const OLD_WORKER_TITLE: &str = "nginx: worker process is shutting down";

/// An nginx on this machine, by its program and its main configuration file.
#[derive(Debug, Clone)]
pub struct Nginx {
    /// The program.
    pub program: RealPath,
    /// The main configuration file.
    pub config: RealPath,
    /// What ends the program together with us; without it, a signal leaves it to its time limit.
    pub interrupts: Option<Interrupts>,
}

/// What the program says about itself.
#[derive(Debug, Clone)]
pub struct Built {
    /// Its version.
    pub version: NginxVersion,
    /// The folder that relative paths of logs and pid files start from.
    pub prefix: String,
    /// The pid file, where the configuration names none.
    pub pid_file: String,
    /// The error log, where the configuration names none.
    pub error_log: String,
    /// The user of the workers, where the configuration names none.
    pub user: String,
    /// The group of the workers, where it was built with one and the configuration names none.
    pub group: Option<String>,
}

/// Says why nginx could not be asked.
#[derive(Debug, Error)]
pub enum NginxFault {
    /// The program did not run.
    #[error("could not ask nginx")]
    Run(#[from] CommandFault),
    /// What it printed about itself is not understood.
    #[error("{program} -V printed no version of nginx: {printed}")]
    NoVersion {
        /// The program.
        program: RealPath,
        /// The first line that it printed.
        printed: String,
    },
    /// A path that it or its configuration names is none.
    #[error("nginx names a path that cannot be used: {path}")]
    BadPath {
        /// The path.
        path: String,
        /// What is wrong with it.
        source: PathFault,
    },
    /// A process could not be looked at or signalled.
    #[error("could not look at the nginx master")]
    Process(#[from] ProcessFault),
}

impl NginxFault {
    /// Says whether the process in question simply does not exist any more.
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Process(fault) if fault.is_gone())
    }
}

/// How a test of a configuration ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// Whether nginx accepts it.
    pub accepted: bool,
    /// What nginx said, without its closing words: one line for each complaint.
    pub complaints: Vec<String>,
}

impl Nginx {
    /// Asks the program what it is.
    ///
    /// # Errors
    /// [`NginxFault`].
    pub fn built(&self) -> Result<Built, NginxFault> {
        let output = self.run(&["-V"], None, VERSION_LIMIT)?;
        let output = output.by_itself(&self.program)?;
        let version = NginxVersion::parse(&output.stderr).ok_or_else(|| NginxFault::NoVersion {
            program: self.program.clone(),
            printed: output.stderr.lines().next().unwrap_or_default().into(),
        })?;
        let given = |name: &str| {
            let mut words = output.stderr.split_whitespace();
            words.find_map(|word| word.strip_prefix(name)).map(String::from)
        };
        let option = |name: &str, default: &str| given(name).unwrap_or_else(|| default.into());
        let prefix = option("--prefix=", "/usr/local/nginx");
        Ok(Built {
            version,
            pid_file: option("--pid-path=", &format!("{prefix}/logs/nginx.pid")),
            error_log: option("--error-log-path=", &format!("{prefix}/logs/error.log")),
            user: option("--user=", "nobody"),
            group: given("--group="),
            prefix,
        })
    }

    /// Lets nginx judge a main configuration file, as the given user.
    ///
    /// This is not free of effects: nginx opens, and so creates, the logs and the pid file that
    /// the text names. Callers give it only text whose files are trusted.
    ///
    /// # Errors
    /// [`NginxFault`] where nginx did not run; a refusal is an answer.
    pub fn test(&self, config: &RealPath, user: Option<(u32, u32)>) -> Result<Tested, NginxFault> {
        let arguments = ["-t", "-c", config.as_str()];
        let output = self.run(&arguments, user, TEST_LIMIT)?;
        let output = output.by_itself(&self.program)?;
        Ok(tested(&output))
    }

    fn run(
        &self,
        arguments: &[&str],
        user: Option<(u32, u32)>,
        limit: Duration,
    ) -> Result<Output, CommandFault> {
        command::run_until(&self.program, arguments, user, limit, self.interrupts.as_ref())
    }

    /// Finds the master of this configuration, if one runs.
    ///
    /// # Errors
    /// [`NginxFault`] where it cannot be told.
    pub fn master(&self, pid_file: &RealPath) -> Result<Option<Master>, NginxFault> {
        let begun = Instant::now();
        loop {
            match self.look_for_master(pid_file)? {
                Looked::Master(master) => return Ok(Some(master)),
                // nginx writes the pid file first and takes its title a moment later.
                Looked::Untitled if begun.elapsed() < TITLE_LIMIT => thread::sleep(TITLE_PAUSE),
                Looked::Untitled | Looked::Another => return Ok(None),
            }
        }
    }

    fn look_for_master(&self, pid_file: &RealPath) -> Result<Looked, NginxFault> {
        let Some(pid) = pid_in(pid_file) else { return Ok(Looked::Another) };
        let looked = ProcessDir::open(pid).and_then(|dir| {
            // Anybody can run the same program and wait for its number to come up in a stale pid
            // file; the file's owner is who wrote it.
            let uid = dir.uid()?;
            if owner_of(pid_file) != Some(uid) || !self.is_program_of(&dir)? {
                return Ok(Looked::Another);
            }
            let title = dir.title()?;
            Ok(match title.starts_with(MASTER_TITLE) {
                true => Looked::Master(Master { uid, dir }),
                false if title.starts_with(TITLE) => Looked::Another,
                false => Looked::Untitled,
            })
        });
        match looked {
            Err(fault) if fault.is_gone() => Ok(Looked::Another),
            looked => Ok(looked?),
        }
    }

    /// Says whether the process runs this program, also after an upgrade replaced the file.
    fn is_program_of(&self, dir: &ProcessDir) -> Result<bool, ProcessFault> {
        let resolved = std::fs::canonicalize(self.program.as_str());
        let resolved = resolved.as_deref().unwrap_or(Path::new(self.program.as_str()));
        let exe = dir.executable()?;
        let exe = exe.to_string_lossy();
        let running = exe.strip_suffix(" (deleted)").unwrap_or(&exe);
        Ok(Path::new(running) == resolved)
    }
}

/// Returns the path of the pid file: what the configuration says, or what was built in.
///
/// # Errors
/// [`NginxFault::BadPath`].
pub fn pid_file(tree: &Tree, built: &Built) -> Result<RealPath, NginxFault> {
    absolute(&tree.main_value("pid").unwrap_or_else(|| built.pid_file.clone()), built)
}

/// Returns the file that nginx logs its errors to; `None` where it logs elsewhere.
pub fn error_log(tree: &Tree, built: &Built) -> Option<RealPath> {
    let path = tree.main_value("error_log").unwrap_or_else(|| built.error_log.clone());
    let elsewhere = path == "stderr" || path.starts_with("syslog:") || path.starts_with("memory:");
    if elsewhere { None } else { absolute(&path, built).ok() }
}

/// Puts the prefix before a relative path.
fn absolute(path: &str, built: &Built) -> Result<RealPath, NginxFault> {
    let whole = if path.starts_with('/') {
        path.to_string()
    } else {
        format!("{}/{path}", built.prefix.trim_end_matches('/'))
    };
    RealPath::parse(&whole).map_err(|source| NginxFault::BadPath { path: whole, source })
}

/// The master process of an nginx.
#[derive(Debug)]
pub struct Master {
    /// The user that it runs as.
    pub uid: u32,
    dir: ProcessDir,
}

/// What the process of a pid file is.
enum Looked {
    /// The master.
    Master(Master),
    /// This program, which has not said yet what it is.
    Untitled,
    /// Something else, or nothing.
    Another,
}

/// The workers of a master.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workers {
    /// Those that accept connections, by pid.
    pub current: Vec<Pid>,
    /// Those that serve their last connections after a reload, by pid.
    pub old: Vec<Pid>,
}

impl Master {
    /// Returns its pid, for messages only: it is signalled through its directory.
    pub const fn pid(&self) -> Pid {
        self.dir.pid()
    }

    /// Asks the master to read its configuration again. That it was asked is all that is known.
    ///
    /// # Errors
    /// [`NginxFault::Process`] where it is gone or not ours to signal.
    pub fn reload(&self) -> Result<(), NginxFault> {
        match self.dir.signal(Signal::HUP)? {
            Sent::Delivered => Ok(()),
            Sent::Gone => Err(ProcessFault::Gone(self.pid()).into()),
        }
    }

    /// Returns the user that `nginx -t` has to run as: the master's, where that is not ours.
    pub fn test_user(&self) -> Option<(u32, u32)> {
        let own = rustix::process::geteuid();
        if !own.is_root() || self.uid == own.as_raw() {
            return None;
        }
        // A user without a name has no group that we know; the number alone takes all rights away.
        let users = Users::of_machine().ok();
        let gid = users.and_then(|users| users.user_of(self.uid).map(|user| user.gid));
        Some((self.uid, gid.unwrap_or(self.uid)))
    }

    /// Looks at the workers.
    ///
    /// # Errors
    /// [`NginxFault::Process`] where /proc cannot be read.
    pub fn workers(&self) -> Result<Workers, NginxFault> {
        let mut workers = Workers::default();
        for pid in self.children()? {
            // A worker that ended while we looked is no worker.
            let title = ProcessDir::open(pid).and_then(|dir| dir.title()).unwrap_or_default();
            if title.starts_with(OLD_WORKER_TITLE) {
                workers.old.push(pid);
            } else if title.starts_with(WORKER_TITLE) {
                workers.current.push(pid);
            }
        }
        Ok(workers)
    }

    /// The kernel's list of children is only to be had where it was built so.
    fn children(&self) -> Result<Vec<Pid>, NginxFault> {
        if let Ok(children) = self.dir.children() {
            return Ok(children);
        }
        let all = Processes::look()?;
        Ok(all.children_of(self.pid()).map(|child| child.pid).collect())
    }

    /// Opens the workers that accept connections now, to watch them go.
    ///
    /// # Errors
    /// [`NginxFault::Process`] where /proc cannot be read.
    pub fn accepting(&self) -> Result<Vec<ProcessDir>, NginxFault> {
        let current = self.workers()?.current;
        Ok(current.into_iter().filter_map(|pid| ProcessDir::open(pid).ok()).collect())
    }

    /// Returns the process itself.
    pub const fn process(&self) -> &ProcessDir {
        &self.dir
    }
}

/// Reads a pid file; an empty one (`nginx -t` leaves such) or a missing one names nobody.
fn pid_in(file: &RealPath) -> Option<Pid> {
    Pid::new(std::fs::read_to_string(file.as_str()).ok()?.trim().parse().ok()?)
}

fn owner_of(file: &RealPath) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::symlink_metadata(file.as_str()).ok().filter(|meta| meta.is_file()).map(|m| m.uid())
}

/// Says whether a worker still accepts connections: it closes its listening sockets right after
/// it has changed its title.
pub fn accepts(worker: &ProcessDir) -> bool {
    worker
        .title()
        .is_ok_and(|title| title.starts_with(WORKER_TITLE) && !title.starts_with(OLD_WORKER_TITLE))
}

/// Keeps what nginx complains about, each complaint once.
fn tested(output: &Output) -> Tested {
    let mut complaints: Vec<String> = Vec::new();
    for line in output.stderr.lines() {
        if let Some(complaint) = complaint(line)
            && !complaints.contains(&complaint)
        {
            complaints.push(complaint);
        }
    }
    Tested { accepted: output.status.success(), complaints }
}

/// Turns a line that nginx printed or logged into `file:line: what`; `None` for chatter.
///
/// nginx writes `nginx: [emerg] what in FILE:LINE` to stderr, and the same with a time stamp and
/// its process number where the configuration names a log. It may quote a word of a file: a key is
/// not repeated.
pub fn complaint(line: &str) -> Option<String> {
    let line = without_keys(line);
    let (_, rest) = line.split_once('[')?;
    let (level, rest) = rest.split_once("] ")?;
    let rest = match rest.split_once(": ") {
        Some((number, rest)) if number.contains('#') => rest,
        _ => rest,
    };
    let level = if level == "emerg" { String::new() } else { format!("{level}: ") };
    let said = match rest.rsplit_once(" in ") {
        Some((what, place)) if place.starts_with('/') => format!("{place}: {level}{what}"),
        _ => format!("{level}{rest}"),
    };
    // It quotes words of files that others may write, and terminals obey what they are shown.
    let shown = |letter: char| -> String {
        if letter.is_control() { letter.escape_default().collect() } else { letter.into() }
    };
    Some(said.chars().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian() -> Built {
        Built {
            version: NginxVersion { major: 1, minor: 22, patch: 1 },
            prefix: "/usr/share/nginx".into(),
            pid_file: "/run/nginx.pid".into(),
            error_log: "/var/log/nginx/error.log".into(),
            user: "www-data".into(),
            group: None,
        }
    }

    #[test]
    fn paths_of_a_configuration_start_from_the_prefix() {
        let path = |text| absolute(text, &debian()).map(|path| path.as_str().to_string());
        assert_eq!(path("/run/x.pid").unwrap(), "/run/x.pid");
        assert_eq!(path("logs/x.pid").unwrap(), "/usr/share/nginx/logs/x.pid");
        assert!(path("../x").is_err());
    }

    #[test]
    fn what_nginx_says_becomes_place_and_reason() {
        for (line, expected) in [
            (
                "nginx: [emerg] unknown directive \"foo\" in /etc/nginx/conf.d/zz.conf:1",
                Some("/etc/nginx/conf.d/zz.conf:1: unknown directive \"foo\""),
            ),
            (
                "2026/11/21 05:09:20 [emerg] 4395#4395: bind() to 0.0.0.0:80 failed (98: Address already in use)",
                Some("bind() to 0.0.0.0:80 failed (98: Address already in use)"),
            ),
            (
                "nginx: [warn] conflicting server name \"a\" on 0.0.0.0:80, ignored",
                Some("warn: conflicting server name \"a\" on 0.0.0.0:80, ignored"),
            ),
            (
                "nginx: [emerg] unknown parameter \"vscode-tkn=0f\" in /etc/nginx/routes.conf:2",
                Some("/etc/nginx/routes.conf:2: unknown parameter \"vscode-tkn=<key>\""),
            ),
            ("nginx: configuration file /etc/nginx/nginx.conf test failed", None),
        ] {
            assert_eq!(complaint(line).as_deref(), expected);
        }
    }

    #[test]
    fn a_pid_file_without_a_number_names_nobody() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = RealPath::parse(file.path().to_str().unwrap()).unwrap();
        assert_eq!(pid_in(&path), None);
        std::fs::write(file.path(), "123\n").unwrap();
        assert_eq!(pid_in(&path).map(Pid::get), Some(123));
        std::fs::write(file.path(), "-1\n").unwrap();
        assert_eq!(pid_in(&path), None);
    }

    #[test]
    fn a_master_that_has_no_title_yet_is_waited_for() {
        // Perl, because it can take a title as nginx does.
        let program = RealPath::parse("/usr/bin/perl").unwrap();
        let nginx =
            Nginx { program, config: RealPath::parse("/unused").unwrap(), interrupts: None };
        let pid_file = tempfile::NamedTempFile::new().unwrap();
        let path = RealPath::parse(pid_file.path().to_str().unwrap()).unwrap();
        let found = |title: &str| {
            let script = format!("select undef, undef, undef, 0.2; $0 = '{title}'; sleep 60");
            let mut child =
                std::process::Command::new("/usr/bin/perl").arg("-e").arg(script).spawn().unwrap();
            std::fs::write(pid_file.path(), child.id().to_string()).unwrap();
            let master = nginx.master(&path).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            master.is_some()
        };
        assert!(found("nginx: master process /usr/bin/perl"));
        assert!(!found("nginx: worker process"));
        assert!(!found("something else"));
    }
}
