//! A laboratory with editors: `oh-instances` on a root of its own, with a real code-server.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use oh_config::Transport;
use oh_model::instance::Server;
use serde_json::Value;

use crate::lab::{Lab, Said, password};
use crate::{components, openvscode, wait};

/// Where the configuration of a laboratory is.
const CONFIG: &str = "etc/openhands-toolkit/config.toml";

/// The user of editors where the tests are root's.
pub const USER: &str = "nobody";

/// Where the ranges of laboratories begin, below the ports that the kernel gives to connections.
const RANGES_FIRST: u16 = 22_000;

/// How many ranges there are to draw from.
const RANGES: u64 = 400;

/// How many ports a repository may be given; as many again are for sessions and applications.
const PORTS: u16 = 12;

/// How long a process may take to die, on two busy cores.
const DEATH_BOUND: Duration = Duration::from_secs(60);

/// A root with nginx and `oh-instances`; dropping it stops every instance.
#[derive(Debug)]
pub struct Instances {
    /// The laboratory.
    pub lab: Lab,
    /// The first of the twelve ports of repositories.
    pub first_port: u16,
    /// While it is held, no other laboratory has these ports.
    _range: UnixListener,
}

impl Instances {
    /// Makes a root behind the login in which nginx runs; `more` is further configuration below
    /// `[toolkit.instances]`.
    ///
    /// # Errors
    ///
    /// When a component is missing or a file cannot be written.
    pub fn new(more: &str) -> Result<Self> {
        Self::of(Lab::with_login()?, more)
    }

    /// The same in a laboratory of one's choice.
    ///
    /// # Errors
    ///
    /// As [`Instances::new`].
    pub fn of(lab: Lab, more: &str) -> Result<Self> {
        Self::configured(lab, more, None)
    }

    /// The same of an ordinary user: everything in it is theirs and runs as them. Where the tests
    /// are root's that is [`USER`], and else whoever runs them.
    ///
    /// # Errors
    ///
    /// As [`Instances::new`].
    pub fn of_ordinary_user(more: &str) -> Result<Self> {
        let user = if is_root()? { Some(user_ids()?) } else { None };
        Self::configured(Lab::with_login()?, more, user)
    }

    fn configured(mut lab: Lab, more: &str, owner: Option<(u32, u32)>) -> Result<Self> {
        let (number, range) = draw_range()?;
        let first = RANGES_FIRST + number * 2 * PORTS;
        let (last, of_sessions) = (first + PORTS - 1, first + PORTS);
        let text = fs::read_to_string(lab.at(CONFIG))?;
        let (before, _) =
            text.split_once("[toolkit.sessions]").context("the laboratory has no sessions")?;
        let is_for_others = is_root()? && owner.is_none();
        let user = if is_for_others { format!("user = \"{USER}\"\n") } else { String::new() };
        let program = lab.at("code-server").display().to_string();
        let text = format!(
            "{before}[toolkit.sessions]\n{user}editor_ports = [\"{of_sessions}-{}\"]\n\
             app_ports = [\"{}-{}\"]\n\
             [toolkit.instances]\n{user}ports = \"{first}-{last}\"\nprogram = \"{program}\"\n{more}",
            of_sessions + 5,
            of_sessions + 6,
            of_sessions + 11,
        );
        lab.write(CONFIG, &text)?;
        lab.write(
            "code-server",
            &format!(
                "#!/bin/sh\nexec {} {} \"$@\"\n",
                components::node()?.display(),
                components::code_server()?.display()
            ),
        )?;
        fs::set_permissions(lab.at("code-server"), fs::Permissions::from_mode(0o755))?;
        fs::create_dir_all(lab.at("var/www/github"))?;
        fs::create_dir_all(lab.at("home/ubuntu/openhands-workspace"))?;
        if let Some(owner) = owner {
            lab.give_to(owner)?;
        }
        lab.start_nginx()?;
        Ok(Self { lab, first_port: first, _range: range })
    }

    /// The same with editors of this kind that listen there; nginx's workers are www-data's.
    ///
    /// # Errors
    ///
    /// As [`Instances::new`], and when the lab's nginx has begun to run.
    pub fn of_kind(lab: Lab, server: Server, transport: Transport, more: &str) -> Result<Self> {
        let nginx = fs::read_to_string(lab.at("etc/nginx/nginx.conf"))?;
        lab.write("etc/nginx/nginx.conf", &format!("user www-data;\n{nginx}"))?;
        let place = match transport {
            Transport::Port => "port",
            Transport::Unix => "unix",
        };
        let kind = format!("server = \"{}\"\ntransport = \"{place}\"\n", server.as_str());
        let instances = Self::of(lab, &format!("{kind}{more}"))?;
        let lab = &instances.lab;
        let text = fs::read_to_string(lab.at(CONFIG))?;
        let (sessions, sockets) = ("[toolkit.sessions]\n", "sockets = \"/run/sockets\"\n");
        let mut text = text.replacen(sessions, &format!("{sessions}{sockets}"), 1);
        if server == Server::Openvscode {
            let entry = openvscode::copy_into(&lab.at("vscode"))?;
            let (node, entry) = (components::node()?, entry.display().to_string());
            let program = lab.at("openvscode-server");
            let script = format!("#!/bin/sh\nexec {} {entry} \"$@\"\n", node.display());
            lab.write("openvscode-server", &script)?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
            let before = lab.at("code-server").display().to_string();
            text = text.replacen(&before, &program.display().to_string(), 1);
        }
        lab.write(CONFIG, &text)?;
        Ok(instances)
    }

    /// Makes a repository with a `README.md`, the editors' user's, and returns its folder as the
    /// toolkit calls it.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn repository(&self, name: &str) -> Result<String> {
        let folder = format!("var/www/github/{name}");
        fs::create_dir_all(self.lab.at(&folder))?;
        self.lab.write(&format!("{folder}/README.md"), "# hello\n")?;
        if is_root()? {
            let user = user_ids()?;
            for path in [folder.clone(), format!("{folder}/README.md")] {
                std::os::unix::fs::chown(self.lab.at(&path), Some(user.0), Some(user.1))?;
            }
        }
        Ok(format!("/{folder}"))
    }

    /// Returns the command `oh-instances` on this root, with nothing of our environment.
    ///
    /// # Errors
    ///
    /// When it is not built.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.lab.built("oh-instances")?;
        command.env_clear().current_dir("/").arg("--root").arg(self.lab.root()).args(arguments);
        Ok(command)
    }

    /// Runs `oh-instances` on this root.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn run(&self, arguments: &[&str]) -> Result<Said> {
        Ok(self.command(arguments)?.output().context("could not run oh-instances")?.into())
    }

    /// Runs it for its JSON document, and demands success.
    ///
    /// # Errors
    ///
    /// With all that it said, where it did not succeed.
    pub fn ask(&self, arguments: &[&str]) -> Result<Value> {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--format", "json"]).collect();
        let said = self.run(&arguments)?.expect(0)?;
        Ok(said.json()?["result"].clone())
    }

    /// Starts a repository of that name and returns the instance.
    ///
    /// # Errors
    ///
    /// When it is not started.
    pub fn start(&self, name: &str) -> Result<Value> {
        let folder = self.repository(name)?;
        Ok(self.ask(&["start", "--repo", &folder])?["instance"].clone())
    }

    /// Makes a login for the site, and returns its password.
    ///
    /// # Errors
    ///
    /// When none can be made.
    pub fn login(&self) -> Result<String> {
        let document = self.lab.run(&["login", "--format", "json"])?.expect(0)?.json()?;
        password(&document).or_else(|_| {
            let shown = document.pointer("/result/password").and_then(Value::as_str);
            Ok(shown.context("no password in the answer")?.to_owned())
        })
    }

    /// Reads a file below the root as JSON.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn json(&self, below: &str) -> Result<Value> {
        let text = fs::read_to_string(self.lab.at(below)).with_context(|| below.to_owned())?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Returns the command lines of all that runs of this root, but for nginx, by pid.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be read.
    pub fn processes(&self) -> Result<BTreeMap<u32, String>> {
        let root = self.lab.root();
        let mut found = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // One that is gone, or not ours to look at, is none of this root.
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            let environment = String::from_utf8_lossy(&read("environ")).into_owned();
            let is_ours = line.contains(&root) || environment.contains(&root);
            if is_ours && !line.contains("nginx") && pid != std::process::id() {
                found.insert(pid, line);
            }
        }
        Ok(found)
    }

    /// Returns the folder of an instance's own things.
    pub fn home(&self, id: &str) -> PathBuf {
        self.lab.at(&format!("var/lib/openhands-editors/{id}"))
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        let stopped = self.run(&["stop", "--all"]);
        if !std::thread::panicking() {
            let left = self.processes().unwrap_or_default();
            assert!(left.is_empty(), "left running: {left:?}; {stopped:?}");
        }
    }
}

/// Draws a range of ports that no other laboratory of this machine has: the name of a socket without
/// a file says so, and goes with whoever holds it.
fn draw_range() -> Result<(u16, UnixListener)> {
    for _ in 0..RANGES {
        let drawn = RandomState::new().build_hasher().finish() % RANGES;
        let name = SocketAddr::from_abstract_name(format!("oh-lab-ports-{drawn}"))?;
        if let Ok(held) = UnixListener::bind_addr(&name) {
            return Ok((u16::try_from(drawn)?, held));
        }
    }
    bail!("no range of ports is free")
}

/// Says whether the tests are root's.
///
/// # Errors
///
/// When it cannot be told.
pub fn is_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self").context("could not see who we are")?.uid() == 0)
}

/// Returns the numbers of the editors' user and group.
///
/// # Errors
///
/// When there is no such user.
pub fn user_ids() -> Result<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd")?;
    let line = passwd.lines().find(|line| line.split(':').next() == Some(USER));
    let mut fields = line.context("there is no user nobody")?.split(':').skip(2);
    let mut number = || -> Result<u32> { Ok(fields.next().context("passwd(5)")?.parse()?) };
    Ok((number()?, number()?))
}

/// Ends a process by its number with SIGKILL; it has to be one that the test knows to be its own.
///
/// # Errors
///
/// When it cannot be signalled.
pub fn kill(pid: u32) -> Result<()> {
    let Some(raw) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
        bail!("{pid} is no pid");
    };
    ensure!(pid > 1, "not the first process");
    Ok(rustix::process::kill_process(raw, rustix::process::Signal::KILL)?)
}

/// Ends a process as [`kill`] does and waits until it is dead: a signal is only on its way.
///
/// # Errors
///
/// When it cannot be signalled, or does not die.
pub fn end(pid: u32) -> Result<()> {
    kill(pid)?;
    dies(pid)
}

/// Ends a process group with SIGKILL and waits until each process of it is dead.
///
/// # Errors
///
/// As [`end`].
pub fn end_group(leader: u32) -> Result<()> {
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that is gone is in no group.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let behind = stat.rsplit_once(") ").map(|(_, behind)| behind).unwrap_or_default();
        let group = behind.split(' ').nth(2).and_then(|group| group.parse().ok());
        if group == Some(leader) {
            members.push(pid);
        }
    }
    ensure!(members.contains(&leader), "{leader} leads no group");
    let raw = rustix::process::Pid::from_raw(i32::try_from(leader)?).context("no pid")?;
    rustix::process::kill_process_group(raw, rustix::process::Signal::KILL)?;
    members.into_iter().try_for_each(dies)
}

/// Waits until a process is dead that got SIGKILL.
fn dies(pid: u32) -> Result<()> {
    wait::until_true(&format!("the end of {pid}"), DEATH_BOUND, || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Its first thread is dead before the others are.
        let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        stat.is_empty() || (stat.contains(") Z ") && threads <= 1)
    })
}
