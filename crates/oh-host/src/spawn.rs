//! Starting a program so that it can be found again, and so that nothing of ours leaks into it.
//!
//! The environment is what the caller lists and nothing else (`PORT` or `VSCODE_IPC_HOOK_CLI` of
//! the caller would change what an editor does), the input is empty, both outputs go to a log
//! file, every descriptor that we have is closed on exec (those too that whoever started us left
//! open), and the child leads a process group of its own. Its identity is written down before
//! anybody may lose sight of it, and a token in its environment is inherited by whatever it starts.
//!
//! Nothing here supervises: [`crate::stop`] ends it, `oh-instances` watches it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use oh_model::path::RealPath;
use rustix::fs::{Mode, OFlags};
use thiserror::Error;

use crate::atomic::{FileFault, Meta, create_dirs};
use crate::folder::FileKind;
use crate::process::{Identity, Pid, ProcessFault};

/// The variable that marks what we started, and what that started.
pub const TOKEN_KEY: &str = "OHT_INSTANCE";
/// The fewest characters of a token: with fewer, a stranger might have it by chance.
pub const TOKEN_CHARACTERS_MIN: usize = 16;

/// What is to be started, and how.
#[derive(Debug, Clone)]
pub struct Spawn {
    /// The program; no search path is used.
    pub program: RealPath,
    /// The arguments after the program's own name.
    pub arguments: Vec<OsString>,
    /// The whole environment, beside [`TOKEN_KEY`].
    pub environment: Vec<(OsString, OsString)>,
    /// The unpredictable text that marks it, at least [`TOKEN_CHARACTERS_MIN`] characters.
    pub token: String,
    /// The folder that it works in, entered with the rights of `user`.
    pub folder: RealPath,
    /// The file that both outputs are appended to; made with mode 0600 where it is missing.
    pub log: RealPath,
    /// The user and group that it runs as, without further groups; `None` is whoever runs.
    pub user: Option<(u32, u32)>,
    /// Whether it leads a process group of its own: then what is typed in our terminal is not for it.
    /// One that makes a session of its own (setsid(2)) has to leave that group before.
    pub leads_group: bool,
    /// Folders that have to exist before, in the order in which they are made.
    pub folders: Vec<(RealPath, Meta)>,
}

/// A program that runs.
#[derive(Debug)]
pub struct Started {
    /// What to write down.
    pub identity: Identity,
    /// The child, which has to be waited for as long as this process lives.
    pub child: Child,
}

impl Started {
    /// Returns how it ended, where it did.
    ///
    /// # Errors
    /// What waitpid(2) says.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Lets go of it: it lives on when this process ends. While this process lives, it stays a
    /// zombie after its end.
    pub fn detach(self) -> Identity {
        self.identity
    }
}

/// Says why nothing was started.
#[derive(Debug, Error)]
pub enum SpawnFault {
    /// The token is too short to be nobody else's.
    #[error("the token has {0} characters, fewer than {TOKEN_CHARACTERS_MIN}")]
    Token(usize),
    /// A variable is listed twice, is ours, or has a name that cannot be one.
    #[error("{0:?} cannot be a variable of the environment")]
    Variable(String),
    /// A folder that it needs cannot be made.
    #[error("cannot prepare a folder for {program}")]
    Folder {
        /// The program.
        program: String,
        /// Why.
        source: FileFault,
    },
    /// The log cannot be opened.
    #[error("cannot open the log {path}")]
    Log {
        /// The log.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// What is at the place of the log is no log of ours.
    #[error("{path} is no log of ours: {why}")]
    LogNotOurs {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The program cannot be started, its folder not entered, or its user not taken.
    #[error("cannot start {program} in {folder}")]
    Start {
        /// The program.
        program: String,
        /// The folder that it should work in.
        folder: String,
        /// What the system said.
        source: io::Error,
    },
    /// It was started, could not be written down, and was killed again.
    #[error("cannot write down who {program} is; it was killed again")]
    Identity {
        /// The program.
        program: String,
        /// Why.
        source: ProcessFault,
    },
}

/// Starts it.
///
/// A program that ends at once is started all the same: [`Started::ended`] tells.
///
/// # Errors
/// [`SpawnFault`]; nothing runs then. Folders and the log that were made stay.
pub fn spawn(wanted: &Spawn) -> Result<Started, SpawnFault> {
    check(wanted)?;
    let program = || wanted.program.to_string();
    for (folder, meta) in &wanted.folders {
        create_dirs(folder, *meta)
            .map_err(|source| SpawnFault::Folder { program: program(), source })?;
    }
    let log = open_log(&wanted.log)?;
    let log_fault = |source| SpawnFault::Log { path: wanted.log.to_string(), source };
    let second = log.try_clone().map_err(log_fault)?;
    let mut command = Command::new(wanted.program.as_str());
    command
        .args(&wanted.arguments)
        .env_clear()
        .envs(wanted.environment.iter().map(|(key, value)| (key, value)))
        .env(TOKEN_KEY, &wanted.token)
        .current_dir(wanted.folder.as_str())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(second);
    if wanted.leads_group {
        command.process_group(0);
    }
    if let Some((uid, gid)) = wanted.user {
        command.uid(uid).gid(gid);
    }
    keep_descriptors();
    let mut child = command.spawn().map_err(|source| SpawnFault::Start {
        program: program(),
        folder: wanted.folder.to_string(),
        source,
    })?;
    let pid = Pid::new(child.id()).unwrap_or(Pid::INIT);
    match Identity::of(pid) {
        Ok(identity) => Ok(Started { identity, child }),
        Err(source) => {
            // Nobody could find it again. It is our child and not reaped: the number is its own.
            drop(child.kill());
            drop(child.wait());
            Err(SpawnFault::Identity { program: program(), source })
        }
    }
}

/// Lets no program that we start have a descriptor but its input and outputs: not what a shell left
/// open for us (`9<FILE`), which its user may not read.
pub(crate) fn keep_descriptors() {
    close_fds::set_fds_cloexec(3, &[]);
}

fn check(wanted: &Spawn) -> Result<(), SpawnFault> {
    if wanted.token.len() < TOKEN_CHARACTERS_MIN {
        return Err(SpawnFault::Token(wanted.token.len()));
    }
    let mut seen = BTreeSet::from([TOKEN_KEY.as_bytes()]);
    for (key, _) in &wanted.environment {
        let bytes = key.as_encoded_bytes();
        let bad = bytes.is_empty() || bytes.iter().any(|byte| matches!(byte, b'=' | 0));
        if bad || !seen.insert(bytes) {
            return Err(SpawnFault::Variable(key.to_string_lossy().into_owned()));
        }
    }
    Ok(())
}

/// Opens the log for appending. It may lie in a folder that the program's user can write to, so
/// what is there has to be a plain file of whoever runs.
fn open_log(path: &RealPath) -> Result<File, SpawnFault> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let fault =
        |errno: rustix::io::Errno| SpawnFault::Log { path: path.to_string(), source: errno.into() };
    let file = rustix::fs::open(path.as_str(), flags, Mode::from_raw_mode(0o600)).map_err(fault)?;
    let stat = rustix::fs::fstat(&file).map_err(fault)?;
    let kind = FileKind::of_mode(stat.st_mode);
    let why = if kind != FileKind::Regular {
        format!("it is {kind}")
    } else if stat.st_uid != rustix::process::geteuid().as_raw() {
        format!("it belongs to uid {}", stat.st_uid)
    } else if stat.st_nlink != 1 {
        format!("it has {} names", stat.st_nlink)
    } else {
        // The flag would be the program's too, and some do not expect it of their output.
        rustix::fs::fcntl_setfl(&file, OFlags::APPEND).map_err(fault)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o600)).map_err(fault)?;
        return Ok(File::from(file));
    };
    Err(SpawnFault::LogNotOurs { path: path.to_string(), why })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::process::ProcessDir;

    fn real(dir: &tempfile::TempDir, name: &str) -> RealPath {
        RealPath::parse(dir.path().join(name).to_str().unwrap()).unwrap()
    }

    fn shell(dir: &tempfile::TempDir, script: &str) -> Spawn {
        Spawn {
            program: RealPath::parse("/bin/sh").unwrap(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("A".into(), "b c".into())],
            token: crate::random::token().unwrap(),
            folder: real(dir, "work"),
            log: real(dir, "log"),
            user: None,
            leads_group: true,
            folders: vec![(real(dir, "work"), Meta { mode: 0o700, owner: None })],
        }
    }

    fn output(dir: &tempfile::TempDir, wanted: &Spawn) -> String {
        let mut started = spawn(wanted).unwrap();
        assert!(started.child.wait().unwrap().success());
        std::fs::read_to_string(dir.path().join("log")).unwrap()
    }

    #[test]
    fn nothing_of_ours_leaks_into_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let ours = File::create(dir.path().join("ours")).unwrap();
        // As one that our parent left open: a copy is not closed on exec.
        let parents = rustix::io::dup(&ours).unwrap();
        let wanted = shell(&dir, "/usr/bin/env; pwd; cat; ls -l /proc/self/fd >&2");
        let text = output(&dir, &wanted);
        let token = format!("{TOKEN_KEY}={}", wanted.token);
        // The shell adds PWD and its like by itself.
        let added = ["PWD=", "SHLVL=", "_=", "OLDPWD="];
        let mut given: Vec<&str> = (text.lines())
            .filter(|line| line.contains('=') && !added.iter().any(|own| line.starts_with(own)))
            .collect();
        given.sort_unstable();
        assert_eq!(given, ["A=b c", token.as_str()], "{text}");
        assert!(text.lines().any(|line| line == wanted.folder.as_str()), "{text}");
        assert!(text.contains("0 -> /dev/null"), "{text}");
        assert!(text.contains(" 1 -> ") && text.contains("/log"), "{text}");
        assert!(!text.contains("/ours"), "{text}");
        drop((ours, parents));
        let mode = |name: &str| dir.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!((mode("log") & 0o7777, mode("work") & 0o7777), (0o600, 0o700));
    }

    #[test]
    fn it_is_written_down_and_leads_its_group() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = shell(&dir, "exec sleep 60");
        let mut started = spawn(&wanted).unwrap();
        let process = ProcessDir::open(started.identity.pid).unwrap();
        assert!(process.is(&started.identity).unwrap());
        assert_eq!(process.stat().unwrap().group, Some(started.identity.pid));
        assert!(process.environment_has(TOKEN_KEY, &wanted.token).unwrap());
        assert!(started.ended().unwrap().is_none());
        started.child.kill().unwrap();
        started.child.wait().unwrap();
        let identity = started.detach();
        assert!(process.is(&identity).unwrap_err().is_gone());
    }

    #[test]
    fn a_log_is_appended_to_and_never_a_trap() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = shell(&dir, "echo one");
        assert_eq!(output(&dir, &wanted), "one\n");
        assert_eq!(output(&dir, &wanted), "one\none\n");
        symlink(dir.path().join("elsewhere"), dir.path().join("link")).unwrap();
        let trapped = Spawn { log: real(&dir, "link"), ..wanted.clone() };
        assert!(matches!(spawn(&trapped), Err(SpawnFault::Log { .. })));
        std::fs::hard_link(dir.path().join("log"), dir.path().join("second")).unwrap();
        assert!(matches!(spawn(&wanted), Err(SpawnFault::LogNotOurs { .. })));
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_runs() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = shell(&dir, "exit 0");
        let short = Spawn { token: "abc".into(), ..wanted.clone() };
        assert!(matches!(spawn(&short), Err(SpawnFault::Token(3))));
        for key in ["", "A=B", TOKEN_KEY] {
            let environment = vec![(key.into(), "x".into())];
            let bad = Spawn { environment, ..wanted.clone() };
            assert!(matches!(spawn(&bad), Err(SpawnFault::Variable(_))), "{key}");
        }
        assert!(!dir.path().join("log").exists());
        let missing = Spawn { program: real(&dir, "none"), ..wanted };
        let fault = spawn(&missing).unwrap_err().to_string();
        assert!(fault.starts_with("cannot start /") && fault.contains("/none in /"), "{fault}");
    }

    #[test]
    fn another_user_is_root_s_to_give() {
        let dir = tempfile::tempdir().unwrap();
        let as_nobody = Spawn {
            user: Some((65534, 65534)),
            folder: RealPath::parse("/").unwrap(),
            ..shell(&dir, "id -u; id -g; id -G")
        };
        if rustix::process::geteuid().is_root() {
            assert_eq!(output(&dir, &as_nobody), "65534\n65534\n65534\n");
        } else if rustix::process::geteuid().as_raw() != 65534 {
            assert!(matches!(spawn(&as_nobody), Err(SpawnFault::Start { .. })));
        } else {
            assert!(output(&dir, &as_nobody).starts_with("65534\n"));
        }
    }
}
