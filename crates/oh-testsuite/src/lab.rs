//! A laboratory: one folder as the root of `oh-nginx`, a real nginx in it, and back ends that
//! say which port they are on.

use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use crate::net::{self, Answer};
use crate::process::Running;
use crate::{components, wait};

/// How long nginx may take to start.
const START_BOUND: Duration = Duration::from_secs(20);

/// The ports that a laboratory's nginx has.
const QUIET_PORTS: std::ops::RangeInclusive<u16> = 10000..=20999;

/// How many ports are tried.
const QUIET_TRIES: usize = 100;

/// The ports that a repository's editor may have in a laboratory.
const REPOSITORY_PORTS: std::ops::RangeInclusive<u16> = 21000..=21099;

/// A root with an nginx of its own.
#[derive(Debug)]
pub struct Lab {
    folder: TempDir,
    nginx: Option<Running>,
    /// Whom everything runs as, where that is not who runs the tests.
    user: Option<(u32, u32)>,
    /// Where the site is served.
    pub site_port: u16,
    /// Where nginx answers its generation.
    pub generation_port: u16,
    /// Where OpenHands is expected.
    pub upstream_port: u16,
    tls: bool,
}

/// What the back ends and further servers of an older installation listen on.
#[derive(Debug, Clone, Copy)]
pub struct Installation {
    /// The editor of a session.
    pub editor_port: u16,
    /// The application of a session.
    pub app_port: u16,
    /// The editor of a repository.
    pub repository_port: u16,
    /// Plain HTTP of a site that speaks TLS.
    pub http_port: u16,
    /// A server that has nothing to do with it.
    pub other_port: u16,
}

/// What a run of `oh-nginx` said.
#[derive(Debug)]
pub struct Said {
    /// The exit code; -1 where a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Said {
    /// Returns the JSON document that it answered.
    ///
    /// # Errors
    ///
    /// With all that it said, where that is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON: {self:?}"))
    }

    /// Fails unless the exit code is `code`.
    ///
    /// # Errors
    ///
    /// With all that it said.
    pub fn expect(self, code: i32) -> Result<Self> {
        if self.code != code {
            bail!("exit {} instead of {code}\n{}{}", self.code, self.stdout, self.stderr);
        }
        Ok(self)
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Lab {
    /// Makes a root that serves plain HTTP on 127.0.0.1 without a login; nginx does not run yet.
    ///
    /// # Errors
    ///
    /// When a component is missing or a file cannot be written.
    pub fn plain() -> Result<Self> {
        Self::make(false, "auth = \"none\"\n")
    }

    /// Makes a root that serves plain HTTP on 127.0.0.1 behind the login.
    ///
    /// # Errors
    ///
    /// As [`Lab::plain`].
    pub fn with_login() -> Result<Self> {
        Self::make(false, "")
    }

    /// Makes a root that serves TLS on localhost behind the login.
    ///
    /// # Errors
    ///
    /// As [`Lab::plain`].
    pub fn with_tls() -> Result<Self> {
        Self::make(true, "")
    }

    fn make(tls: bool, site: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("oh-lab-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let lab = Self {
            folder,
            nginx: None,
            user: None,
            site_port: quiet_port()?,
            generation_port: quiet_port()?,
            upstream_port: quiet_port()?,
            tls,
        };
        for below in
            ["etc/nginx/conf.d", "etc/openhands-toolkit", "run", "log", "tmp/openhands-sessions"]
        {
            fs::create_dir_all(lab.at(below))?;
        }
        fs::create_dir_all(lab.at("var/www/ai-desktop/data"))?;
        let root = lab.root();
        let temporary = temporary_paths(&root);
        lab.write(
            "etc/nginx/nginx.conf",
            &format!(
                "pid {root}/run/nginx.pid;\nerror_log {root}/log/error.log;\n\
                 worker_processes 2;\nevents {{ }}\nhttp {{\n  access_log off;\n{temporary}  \
                 include conf.d/*.conf;\n}}\n"
            ),
        )?;
        let domain = if tls {
            lab.certificate()?;
            "domain = \"localhost\"\ncertificate = \"/etc/tls.pem\"\n\
             certificate_key = \"/etc/tls.key\"\n"
        } else {
            "domain = \"127.0.0.1\"\n"
        };
        lab.write(
            "etc/openhands-toolkit/config.toml",
            &format!(
                "[toolkit.site]\n{domain}port = {}\nupstream = \"127.0.0.1:{}\"\n{site}\
                 [toolkit.nginx]\nlisten = [\"127.0.0.1\"]\ngeneration_port = {}\n\
                 [toolkit.sessions]\neditor_ports = [\"1024-65535\"]\n\
                 app_ports = [\"1024-65535\"]\n\
                 [toolkit.instances]\nports = \"{}-{}\"\n",
                lab.site_port,
                lab.upstream_port,
                lab.generation_port,
                REPOSITORY_PORTS.start(),
                REPOSITORY_PORTS.end(),
            ),
        )?;
        Ok(lab)
    }

    fn certificate(&self) -> Result<()> {
        self.certificate_at("etc/tls.pem", "etc/tls.key")
    }

    fn certificate_at(&self, certificate: &str, key: &str) -> Result<()> {
        let made = Command::new(components::program("openssl")?)
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost,DNS:oh.example,IP:127.0.0.1"])
            .arg("-keyout")
            .arg(self.at(key))
            .arg("-out")
            .arg(self.at(certificate))
            .output()
            .context("could not run openssl")?;
        if !made.status.success() {
            bail!("openssl: {}", String::from_utf8_lossy(&made.stderr));
        }
        Ok(())
    }

    /// Makes a root with an older installation from `fixtures/installations`, whose back ends
    /// run; nginx does not run yet. See [`Installation`].
    ///
    /// # Errors
    ///
    /// When a component is missing or a file cannot be written.
    pub fn installation(name: &str) -> Result<(Self, Installation)> {
        let folder = tempfile::Builder::new().prefix("oh-lab-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let tls = ["fork", "certbot"].contains(&name);
        let lab = Self {
            folder,
            nginx: None,
            user: None,
            site_port: quiet_port()?,
            generation_port: quiet_port()?,
            upstream_port: back_end()?,
            tls,
        };
        let installation = Installation {
            editor_port: back_end()?,
            app_port: back_end()?,
            repository_port: repository_back_end()?,
            http_port: quiet_port()?,
            other_port: quiet_port()?,
        };
        for below in ["run", "log", "tmp/openhands-sessions", "var/lib", "etc/nginx/conf.d"] {
            fs::create_dir_all(lab.at(below))?;
        }
        let values = [
            ("@ROOT@", lab.root()),
            ("@SITE_PORT@", lab.site_port.to_string()),
            ("@GENERATION_PORT@", lab.generation_port.to_string()),
            ("@UPSTREAM_PORT@", lab.upstream_port.to_string()),
            ("@EDITOR_PORT@", installation.editor_port.to_string()),
            ("@APP_PORT@", installation.app_port.to_string()),
            ("@REPOSITORY_PORT@", installation.repository_port.to_string()),
            ("@HTTP_PORT@", installation.http_port.to_string()),
            ("@OTHER_PORT@", installation.other_port.to_string()),
        ];
        let from = components::workspace()?.join("fixtures/installations").join(name);
        put_below(&from, lab.folder.path(), &values)?;
        if tls {
            let live = "etc/letsencrypt/live/localhost";
            fs::create_dir_all(lab.at(live))?;
            let (certificate, key) =
                (format!("{live}/fullchain.pem"), format!("{live}/privkey.pem"));
            lab.certificate_at(&certificate, &key)?;
        }
        Ok((lab, installation))
    }

    /// Gives the whole root to another user: from now on everything in it runs as that one, with
    /// copies of the built programs, because that user need not see where those are.
    ///
    /// # Errors
    ///
    /// When that cannot be done; only root can.
    pub fn give_to(&mut self, user: (u32, u32)) -> Result<()> {
        fs::create_dir_all(self.at("usr/bin"))?;
        for name in ["oh-nginx", "oh-instances"] {
            fs::copy(components::built(name)?, self.at("usr/bin").join(name))?;
        }
        self.user = Some(user);
        give_below(self.folder.path(), user)
    }

    /// Returns the command of a built program, as whom everything runs here.
    ///
    /// # Errors
    ///
    /// When it is not built.
    pub fn built(&self, name: &str) -> Result<Command> {
        let Some(user) = self.user else { return Ok(Command::new(components::built(name)?)) };
        Ok(as_user(Command::new(self.at("usr/bin").join(name)), user))
    }

    /// Returns the root as text.
    pub fn root(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// Returns the path of something below the root.
    pub fn at(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Writes a file below the root, with mode 0644 whatever the umask.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, below: &str, text: &str) -> Result<()> {
        let path = self.at(below);
        fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?)
    }

    /// Writes a session file in one step, as a good writer does, so that it is the newest.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn session(&self, id: &str, text: &str) -> Result<()> {
        let folder = self.at("tmp/openhands-sessions");
        let temporary = folder.join(format!(".{id}.tmp"));
        fs::write(&temporary, text)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o644))?;
        Ok(fs::rename(temporary, folder.join(format!("{id}.json")))?)
    }

    /// Removes a session file.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn end_session(&self, id: &str) -> Result<()> {
        Ok(fs::remove_file(self.at(&format!("tmp/openhands-sessions/{id}.json")))?)
    }

    /// Returns the command `oh-nginx` on this root, with nothing of our environment.
    ///
    /// # Errors
    ///
    /// When it is not built.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.built("oh-nginx")?;
        command.env_clear().current_dir("/").arg("--root").arg(self.folder.path()).args(arguments);
        Ok(command)
    }

    /// Runs `oh-nginx` on this root.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn run(&self, arguments: &[&str]) -> Result<Said> {
        Ok(self.command(arguments)?.output().context("could not run oh-nginx")?.into())
    }

    /// Starts nginx and waits until it has read its configuration.
    ///
    /// # Errors
    ///
    /// With its log, when it does not start.
    pub fn start_nginx(&mut self) -> Result<()> {
        let mut command = Command::new(components::program("nginx")?);
        command.arg("-c").arg(self.at("etc/nginx/nginx.conf")).args(["-g", "daemon off;"]);
        if let Some(user) = self.user {
            command = as_user(command, user);
        }
        let nginx = Running::start(&mut command)?;
        let pid_file = self.at("run/nginx.pid");
        let pid = nginx.id().to_string();
        let started = wait::until("the pid file of nginx", START_BOUND, || {
            if nginx.has_ended()? {
                bail!("nginx ended: {}{}", nginx.log(), self.error_log());
            }
            let written = fs::read_to_string(&pid_file).unwrap_or_default();
            Ok((written.trim() == pid).then_some(()))
        });
        self.nginx = Some(nginx);
        started
    }

    /// Returns the nginx that runs.
    ///
    /// # Errors
    ///
    /// When none was started.
    pub fn nginx(&mut self) -> Result<&mut Running> {
        self.nginx.as_mut().context("nginx was not started")
    }

    /// Ends nginx.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub fn stop_nginx(&mut self) -> Result<()> {
        match self.nginx.take() {
            Some(mut nginx) => nginx.stop().map(drop),
            None => Ok(()),
        }
    }

    /// Returns what nginx has logged.
    pub fn error_log(&self) -> String {
        fs::read_to_string(self.at("log/error.log")).unwrap_or_default()
    }

    /// Returns the public address of a path.
    pub fn url(&self, path: &str) -> String {
        let (scheme, host) = if self.tls { ("https", "localhost") } else { ("http", "127.0.0.1") };
        format!("{scheme}://{host}:{}{path}", self.site_port)
    }

    /// Asks for a path with these headers.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        net::get(&self.url(path), headers)
    }

    /// Asks nginx for its generation; `None` where it answers none.
    pub fn generation(&self) -> Option<String> {
        let url = format!("http://127.0.0.1:{}/generation", self.generation_port);
        net::get(&url, &[]).ok().filter(|answer| answer.status == 200).map(|answer| answer.text())
    }

    /// Returns which port's back end answers at `/vscode/{id}/x`, or the status that nginx gave.
    ///
    /// # Errors
    ///
    /// When nginx does not answer.
    pub fn routed(&self, id: &str) -> Result<Result<u16, u16>> {
        let answer = self.get(&format!("/vscode/{id}/x"), &[])?;
        let port = answer.text().split_whitespace().next().and_then(|word| word.parse().ok());
        Ok(match port {
            Some(port) if answer.status == 200 => Ok(port),
            _ => Err(answer.status),
        })
    }
}

/// Lets a program run as another user, without further groups.
fn as_user(mut command: Command, (uid, gid): (u32, u32)) -> Command {
    command.uid(uid).gid(gid);
    command
}

/// Makes everything below a folder, and the folder, that user's.
fn give_below(path: &Path, user: (u32, u32)) -> Result<()> {
    std::os::unix::fs::lchown(path, Some(user.0), Some(user.1))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give_below(&entry?.path(), user)?;
        }
    }
    Ok(())
}

/// Copies a folder of the fixtures with its links and modes, and fills in the values.
fn put_below(from: &Path, to: &Path, values: &[(&str, String)]) -> Result<()> {
    let filled =
        |text: String| values.iter().fold(text, |text, (mark, value)| text.replace(mark, value));
    let entries = fs::read_dir(from).with_context(|| format!("no fixture {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fs::create_dir_all(&target)?;
            put_below(&path, &target, values)?;
        } else if kind.is_symlink() {
            let says = fs::read_link(&path)?.display().to_string();
            std::os::unix::fs::symlink(filled(says), target)?;
        } else {
            fs::write(&target, filled(fs::read_to_string(&path)?))?;
            let executable = fs::metadata(&path)?.permissions().mode() & 0o100 != 0;
            // Whatever the umask of whoever checked the fixtures out.
            let mode = if executable { 0o755 } else { 0o644 };
            fs::set_permissions(target, fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

/// Returns the lines that keep the temporary files of an nginx below a root.
pub fn temporary_paths(root: &str) -> String {
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {root}/run/{kind};\n"))
        .concat()
}

/// Returns the value of a Basic `Authorization` header.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Reads the password out of what `oh-nginx apply --format json` answered.
///
/// # Errors
///
/// When there is none.
pub fn password(document: &Value) -> Result<String> {
    let password = document.pointer("/result/login/password").and_then(Value::as_str);
    Ok(password.context("no login was made")?.to_owned())
}

/// A server that answers every request with its own port and the request's first line and
/// headers. It lives as long as the test's process.
///
/// # Errors
///
/// When no port can be had.
pub fn back_end() -> Result<u16> {
    back_end_on(0)
}

/// [`back_end`] on a port of one's choice.
///
/// # Errors
///
/// When the port is taken.
pub fn back_end_on(port: u16) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = String::new();
            let mut lines = BufReader::new(&stream);
            while lines.read_line(&mut head).is_ok_and(|count| count > 2) {}
            let body = format!("{port} {head}");
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            // A client that went away has its answer.
            stream.write_all(answer.as_bytes()).unwrap_or_default();
        }
    });
    Ok(port)
}

/// Finds a free port below those that the kernel gives to connections and to port 0, so that it
/// is still free when nginx takes it. Drawn at random, because other tests draw too.
fn quiet_port() -> Result<u16> {
    for _ in 0..QUIET_TRIES {
        let drawn = RandomState::new().build_hasher().finish();
        let span = u64::from(QUIET_PORTS.end() - QUIET_PORTS.start());
        let port = QUIET_PORTS.start() + u16::try_from(drawn % span)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free in {QUIET_PORTS:?}")
}

/// Finds a port that a repository's editor may have, and puts a back end there.
///
/// # Errors
///
/// When all are taken.
pub fn repository_back_end() -> Result<u16> {
    let mut ports = REPOSITORY_PORTS;
    ports.find_map(|port| back_end_on(port).ok()).context("all repository ports are taken")
}

/// Sets when a file was last changed.
///
/// # Errors
///
/// When the file cannot be opened.
pub fn touch(path: &Path, modified: SystemTime) -> Result<()> {
    Ok(fs::File::options().write(true).open(path)?.set_modified(modified)?)
}
