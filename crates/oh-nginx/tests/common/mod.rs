//! A folder as the root of the built `oh-nginx`, and what a run in a scrubbed environment says.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// How long a run may take.
const BOUND: Duration = Duration::from_secs(60);

/// How many hexadecimal digits the digest of a generation has.
const DIGEST_DIGITS: usize = 12;

/// A root without a running nginx, and an empty folder beside it to run in.
pub(crate) struct Lab {
    folder: TempDir,
}

/// What a run said; [`Lab::run`] makes text of it, without what differs from run to run.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Lab {
    /// Makes a root whose nginx and configuration are sound. The ports are below those that the
    /// kernel gives away and beside those of the test suite's own laboratories.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("oh-cli-").tempdir().unwrap();
        let lab = Self { folder };
        for below in ["", "cwd", "root", "root/run", "root/etc", "root/etc/nginx", "root/log"] {
            lab.folder(below);
        }
        for below in ["etc/nginx/conf.d", "etc/openhands-toolkit", "tmp", "tmp/openhands-sessions"]
        {
            lab.folder(&format!("root/{below}"));
        }
        let root = lab.root();
        lab.write(
            "etc/nginx/nginx.conf",
            &format!(
                "pid {root}/run/nginx.pid;\nerror_log {root}/log/error.log;\nevents {{ }}\n\
                 http {{\n    access_log off;\n    include conf.d/*.conf;\n}}\n"
            ),
        );
        lab.config(
            "[toolkit.site]\ndomain = \"127.0.0.1\"\nport = 22080\nauth = \"none\"\n\
             [toolkit.nginx]\nlisten = [\"127.0.0.1\"]\ngeneration_port = 22082\n",
        );
        lab
    }

    /// Makes a folder beside or below the root, with mode 0755 whatever the umask.
    pub(crate) fn folder(&self, below: &str) {
        let path = self.folder.path().join(below);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn root(&self) -> String {
        self.at("").display().to_string().trim_end_matches('/').to_owned()
    }

    /// Returns the path of something below the root.
    pub(crate) fn at(&self, below: &str) -> PathBuf {
        self.folder.path().join("root").join(below)
    }

    /// Returns the path of something in the folder where `oh-nginx` is run.
    pub(crate) fn here(&self, name: &str) -> PathBuf {
        self.folder.path().join("cwd").join(name)
    }

    /// Writes a file below the root, with mode 0644 whatever the umask.
    pub(crate) fn write(&self, below: &str, text: &str) {
        fs::write(self.at(below), text).unwrap();
        self.mode(below, 0o644);
    }

    /// Writes the configuration file.
    pub(crate) fn config(&self, text: &str) {
        self.write("etc/openhands-toolkit/config.toml", text);
    }

    pub(crate) fn mode(&self, below: &str, mode: u32) {
        fs::set_permissions(self.at(below), Permissions::from_mode(mode)).unwrap();
    }

    /// Returns the command with this root, with nothing of our environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare(arguments);
        command.arg("--root").arg(self.root());
        command
    }

    /// Returns the command without a root.
    pub(crate) fn bare(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("oh-nginx"));
        command.env_clear().current_dir(self.here("")).args(arguments);
        command
    }

    /// Runs for people and for programs and returns what people see; see [`Lab::both`].
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        self.both(|| self.command(arguments)).shown()
    }

    /// Runs a command that changes nothing, for people and for programs: both end with the same
    /// code and say the same on stderr, and the document agrees with the code.
    pub(crate) fn both(&self, command: impl Fn() -> Command) -> Said {
        let before = self.tree();
        let human = self.said(command());
        let mut for_programs = command();
        let json = self.said({
            for_programs.args(["--format", "json"]);
            for_programs
        });
        assert!(self.tree() == before, "a file was changed: {:?}", self.tree().keys());
        assert_eq!((json.code, &json.stderr), (human.code, &human.stderr), "the formats differ");
        let document: Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(document["exit"], human.code);
        assert_eq!(document["tool"], "oh-nginx");
        assert_ne!(document["result"].is_null(), document["error"].is_null(), "{document}");
        human
    }

    /// Runs once and waits, with a bound.
    pub(crate) fn said(&self, command: Command) -> Said {
        let run = assert_cmd::Command::from_std(command).timeout(BOUND).output();
        Said::of(&run.unwrap(), self.folder.path())
    }

    /// All that could have been changed: each file with its mode, inode and content.
    fn tree(&self) -> BTreeMap<PathBuf, (u32, u64, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.folder.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let meta = fs::symlink_metadata(&path).unwrap();
                let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
                if meta.is_dir() && !path.ends_with("run") && !path.ends_with("log") {
                    folders.push(path.clone());
                }
                found.insert(path, (meta.mode(), meta.ino(), content));
            }
        }
        found
    }
}

impl Said {
    fn of(output: &Output, folder: &Path) -> Self {
        let text = |bytes: &[u8]| scrubbed(&String::from_utf8_lossy(bytes), folder);
        Self {
            code: output.status.code().unwrap(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Writes stdout, stderr and the exit code one below the other.
    pub(crate) fn shown(&self) -> String {
        let mark = if self.stderr.is_empty() { "" } else { "--- stderr\n" };
        format!("{}{mark}{}--- exit {}\n", self.stdout, self.stderr, self.code)
    }
}

/// Says whether the tests run as root. Without, nobody can be somebody else, and what only root
/// is refused cannot be seen; those tests then have nothing to say.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Takes out what differs from run to run: the temporary folder, digests, the nginx that is here,
/// and blanks at the ends of lines.
fn scrubbed(text: &str, folder: &Path) -> String {
    let folder = folder.display().to_string();
    let text = text.replace(&format!("{folder}/root"), "{root}").replace(&folder, "{lab}");
    let text = without_digests(&text);
    text.lines().map(|line| without_version(line).trim_end().to_owned() + "\n").collect()
}

/// `1-01c6b6f25568` becomes `1-DIGEST`.
fn without_digests(text: &str) -> String {
    let mut pieces = text.split('-');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let digits = piece.chars().take_while(char::is_ascii_hexdigit).count();
        let rest = piece.get(digits..).unwrap_or_default();
        out.push('-');
        out.push_str(if digits == DIGEST_DIGITS { "DIGEST" } else { "" });
        out.push_str(if digits == DIGEST_DIGITS { rest } else { piece });
    }
    out
}

/// `nginx 1.22.1 does …` becomes `nginx VERSION does …`.
fn without_version(line: &str) -> String {
    match line.split_once("nginx ") {
        Some((before, after))
            if !before.ends_with('-') && after.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            format!("{before}nginx VERSION{rest}")
        }
        _ => line.to_owned(),
    }
}
