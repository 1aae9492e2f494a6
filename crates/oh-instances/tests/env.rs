//! The file of variables, written by the built program in a scrubbed environment and read as its
//! readers read it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::PathBuf;
use std::process::Command;

use insta::assert_snapshot;
use tempfile::TempDir;

/// A user that every Debian has beside root.
const OTHER: &str = "daemon";

/// A root with a configuration, and the home of whoever runs the tests in it.
struct Scene {
    folder: TempDir,
    user: User,
}

struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

fn user_where(is_meant: impl Fn(&[&str]) -> bool) -> User {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let fields = lines.find(|fields| fields.len() > 5 && is_meant(fields)).unwrap();
    User {
        name: fields[0].into(),
        uid: fields[2].parse().unwrap(),
        gid: fields[3].parse().unwrap(),
        home: fields[5].trim_start_matches('/').into(),
    }
}

impl Scene {
    fn new(more: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("oh-env-").tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let own = fs::metadata("/proc/self").unwrap().uid().to_string();
        // As root for another user, whose home may be hostile; else for oneself.
        let user = if own == "0" {
            user_where(|fields| fields[0] == OTHER)
        } else {
            user_where(|fields| fields[2] == own)
        };
        let scene = Self { folder, user };
        let etc = scene.at("etc/openhands-toolkit");
        fs::create_dir_all(&etc).unwrap();
        for folder in [scene.at("etc"), etc.clone()] {
            fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        }
        let config = etc.join("config.toml");
        let site = "[toolkit.site]\ndomain = \"oh.example\"\nport = 8443\n";
        fs::write(&config, format!("{site}{more}")).unwrap();
        fs::set_permissions(config, Permissions::from_mode(0o644)).unwrap();
        fs::create_dir_all(scene.home()).unwrap();
        scene.give(&scene.home(), 0o755);
        scene
    }

    fn at(&self, below: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(below)
    }

    fn home(&self) -> PathBuf {
        self.at(&self.user.home)
    }

    fn file(&self) -> PathBuf {
        self.home().join(".openhands_env")
    }

    fn is_root() -> bool {
        fs::metadata("/proc/self").unwrap().uid() == 0
    }

    /// Gives something to the user.
    fn give(&self, path: &PathBuf, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        if Self::is_root() {
            chown(path, Some(self.user.uid), Some(self.user.gid)).unwrap();
        }
    }

    fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
        self.give(&self.file(), 0o640);
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("oh-instances"));
        command.env_clear().current_dir("/").arg("--root").arg(self.at(""));
        command.arg("env").args(["--user", &self.user.name]).args(arguments);
        let output = command.output().unwrap();
        let root = self.at("").display().to_string();
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(root.trim_end_matches('/'), "ROOT")
                .replace(&format!("/{}/", self.user.home), "/HOME/")
                .replace(&format!("={}\n", self.user.name), "=USER\n")
        };
        let code = output.status.code().unwrap();
        Said { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn ran(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{}", said.stdout);
        said.stdout
    }
}

/// The variables of a file as a shell hands them on, one `KEY=VALUE` each.
fn sourced(shell: &str, file: &PathBuf) -> Vec<String> {
    let mut command = Command::new(shell);
    command.env_clear().args(["-c", ". \"$1\" && exec /usr/bin/env -0", shell]).arg(file);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let others = ["PWD=", "SHLVL=", "_=", "OLDPWD="];
    let is_others = |one: &str| others.iter().any(|other| one.starts_with(other));
    let mut found: Vec<String> =
        text.split('\0').filter(|o| !o.is_empty() && !is_others(o)).map(Into::into).collect();
    found.sort();
    found
}

/// The variables of a file by the rules of `EnvironmentFile=` in systemd.exec(5): lines without `=`
/// and comments are passed over, and so are names that are none, such as `export A`.
fn as_systemd(text: &str) -> Vec<String> {
    let mut found = std::collections::BTreeMap::new();
    for line in text.lines() {
        let line = line.trim();
        let Some((key, value)) = line.split_once('=') else { continue };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if line.starts_with(['#', ';']) || !key.bytes().all(is_name) {
            continue;
        }
        let mut out = String::new();
        let (mut quote, mut characters) = (None, value.chars());
        while let Some(character) = characters.next() {
            match (quote, character) {
                (None, '\'' | '"') if out.is_empty() => quote = Some(character),
                (Some(open), close) if open == close => quote = None,
                (Some('"'), '\\') => {
                    let next = characters.next().unwrap();
                    if !"\"\\`$".contains(next) {
                        out.push('\\');
                    }
                    out.push(next);
                }
                (None, '\\') => out.extend(characters.next()),
                (_, other) => out.push(other),
            }
        }
        assert_eq!(quote, None, "{line}");
        found.insert(key.to_owned(), out);
    }
    found.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

#[test]
fn a_file_is_made_for_the_user_alone_and_the_second_run_writes_nothing() {
    let scene = Scene::new("");
    assert_snapshot!(scene.ran(&["--dry-run"]), @r"
    ROOT/HOME/.openhands_env would be made
      added     CLOUD_DOMAIN=oh.example:8443
      added     RUNTIME=local
      added     RUNTIME_USERNAME=USER
      added     SU_TO_USER=false
      added     VSCODE_PORT=8080
      added     RUNTIME_URL=https://oh.example:8443/vscode
      added     RUNTIME_ID=vscode
      added     PERMITTED_CORS_ORIGINS=https://oh.example:8443
      added     port=3000
    ");
    assert!(!scene.file().exists());
    let made = scene.ran(&[]);
    assert!(made.starts_with("ROOT/HOME/.openhands_env made\n"), "{made}");
    let meta = fs::metadata(scene.file()).unwrap();
    let expected = (0o600, scene.user.uid, scene.user.gid);
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), expected);
    let again = scene.ran(&[]);
    assert!(again.starts_with("ROOT/HOME/.openhands_env is as it should be\n"), "{again}");
    assert!(!again.contains("added"), "{again}");
    let after = fs::metadata(scene.file()).unwrap();
    assert_eq!((after.ino(), after.mtime_nsec()), (meta.ino(), meta.mtime_nsec()));
    assert_eq!(fs::read_dir(scene.home()).unwrap().count(), 1, "something is left beside it");
}

#[test]
fn print_shows_a_whole_file_and_reads_and_writes_none() {
    let scene = Scene::new("");
    scene.write("OPENAI_API_KEY=secret\n");
    let printed = scene.ran(&["--print"]);
    assert_snapshot!(printed, @r#"
    # What OpenHands is started with, by `oh-instances env`; further lines may stand here.

    # CLOUD_DOMAIN: the site that the links of sessions lead to. Read by forks with a cloud runtime,
    #   and looked for by their checks; OpenHands itself does not read it.
    CLOUD_DOMAIN=oh.example:8443

    # RUNTIME: where OpenHands runs what an agent does; local is this machine, as its own user. Read
    #   by OpenHands. The word cloud belongs to forks that bring such a runtime: OpenHands itself
    #   ends with "Runtime cloud not supported".
    RUNTIME=local

    # RUNTIME_USERNAME: the user, besides root and openhands, for whom the VSCode plugin of
    #   OpenHands starts an editor. Without it the plugin starts none for this user.
    RUNTIME_USERNAME=USER

    # SU_TO_USER: whether the VSCode plugin, the Jupyter plugin and shells of OpenHands become that
    #   user by `su`, which asks for a password. OpenHands runs as that user already.
    SU_TO_USER=false

    # VSCODE_PORT: the port on which the VSCode plugin of OpenHands starts its editor. Fixed, so
    #   that a session file can name it; therefore one conversation at a time has an editor. It is
    #   one of sessions.editor_ports. The plugin listens on all addresses: let a firewall close it.
    VSCODE_PORT=8080

    # RUNTIME_URL: what the local runtime of OpenHands makes the editor's address of, which browsers
    #   are sent to. docs/instances.md says how that address is served.
    RUNTIME_URL=https://oh.example:8443/vscode

    # RUNTIME_ID: the first folder of RUNTIME_URL: with it the local runtime says /vscode/vscode/,
    #   and the VSCode plugin lets its editor keep that prefix.
    RUNTIME_ID=vscode

    # PERMITTED_CORS_ORIGINS: the origins whose pages may ask OpenHands. Read by its server; without
    #   it versions up to 1.4 permit localhost, and versions from 1.6 on everybody.
    PERMITTED_CORS_ORIGINS=https://oh.example:8443

    # port: the port on which the server of OpenHands listens, where nginx expects it
    #   (site.upstream). It is lower case.
    port=3000

    # For shells; systemd passes it over.
    export CLOUD_DOMAIN RUNTIME RUNTIME_USERNAME SU_TO_USER VSCODE_PORT RUNTIME_URL RUNTIME_ID PERMITTED_CORS_ORIGINS port
    "#);
    assert_eq!(fs::read_to_string(scene.file()).unwrap(), "OPENAI_API_KEY=secret\n");
}

#[test]
fn lines_of_others_stay_and_the_old_value_of_ours_is_told() {
    let scene = Scene::new("");
    let text = "# mine\nexport OPENAI_API_KEY='a b#c'\nCLOUD_DOMAIN=old.example\n\n\
        export RUNTIME=cloud\nVSCODE_PORT=40123\nNOTE=\"two\nRUNTIME=lines\"\n";
    scene.write(text);
    assert_snapshot!(scene.ran(&[]), @r"
    ROOT/HOME/.openhands_env changed
      changed   CLOUD_DOMAIN=oh.example:8443   (was old.example)
      changed   RUNTIME=local   (was cloud)
      added     RUNTIME_USERNAME=USER
      added     SU_TO_USER=false
      there     VSCODE_PORT=40123
      added     RUNTIME_URL=https://oh.example:8443/vscode
      added     RUNTIME_ID=vscode
      added     PERMITTED_CORS_ORIGINS=https://oh.example:8443
      added     port=3000
      mode      0600 (was 0640)
    ");
    let after = fs::read_to_string(scene.file()).unwrap();
    assert!(
        after.starts_with("# mine\nexport OPENAI_API_KEY='a b#c'\n# CLOUD_DOMAIN: "),
        "{after}"
    );
    assert!(after.contains("\nVSCODE_PORT=40123\nNOTE=\"two\nRUNTIME=lines\"\n"), "{after}");
    assert!(!after.contains("cloud\n"), "{after}");
    assert_eq!(fs::metadata(scene.file()).unwrap().mode() & 0o7777, 0o600);
    let again = scene.ran(&[]);
    assert!(again.starts_with("ROOT/HOME/.openhands_env is as it should be\n"), "{again}");
    assert_eq!(fs::read_to_string(scene.file()).unwrap(), after);
}

#[test]
fn shells_and_systemd_read_the_same_values() {
    let more = "origins = [\"https://a.example\", \"https://b.example:8443\"]\n";
    let scene = Scene::new(more);
    scene.ran(&[]);
    let mut expected = vec![
        "CLOUD_DOMAIN=oh.example:8443".to_owned(),
        "PERMITTED_CORS_ORIGINS=https://oh.example:8443,https://a.example,https://b.example:8443"
            .into(),
        "RUNTIME=local".into(),
        "RUNTIME_ID=vscode".into(),
        "RUNTIME_URL=https://oh.example:8443/vscode".into(),
        format!("RUNTIME_USERNAME={}", scene.user.name),
        "SU_TO_USER=false".into(),
        "VSCODE_PORT=8080".into(),
        "port=3000".into(),
    ];
    expected.sort();
    for shell in ["sh", "dash", "bash"] {
        assert_eq!(sourced(shell, &scene.file()), expected, "{shell}");
    }
    assert_eq!(as_systemd(&fs::read_to_string(scene.file()).unwrap()), expected);
}

#[test]
fn the_address_of_the_editor_is_one_that_is_served() {
    let subdomain = Scene::new("isolation = \"subdomain\"\nsessions_domain = \"s.example\"\n");
    let said = subdomain.ran(&["--dry-run"]);
    assert!(said.contains("RUNTIME_URL=https://openhands.s.example:8443\n"), "{said}");
    assert!(!said.contains("RUNTIME_ID="), "{said}");
    let local = Scene::new("");
    let said = local.run(&["--dry-run", "--set", "site.domain=localhost"]);
    assert_eq!(said.code, 0);
    assert!(!said.stdout.contains("RUNTIME_URL="), "{}", said.stdout);
    assert!(said.stderr.contains("RUNTIME_URL is left out"), "{}", said.stderr);
    let ports = ["--dry-run", "--set", "sessions.editor_ports=[\"8888-8890\"]"];
    let said = local.run(&ports);
    assert_eq!(said.code, 78, "{}{}", said.stdout, said.stderr);
    assert!(said.stderr.contains("VSCODE_PORT"), "{}", said.stderr);
}

#[test]
fn what_cannot_be_understood_or_trusted_is_refused_and_stays() {
    let scene = Scene::new("");
    let refused = |why: &str| {
        let said = scene.run(&[]);
        assert_eq!(said.code, 2, "{}{}", said.stdout, said.stderr);
        assert!(said.stderr.contains(why), "{why}: {}", said.stderr);
        assert!(said.stderr.contains("nothing was changed"), "{}", said.stderr);
    };
    for (text, why) in [
        ("export RUNTIME=cloud DEBUG=1\n", "line 1 sets RUNTIME together with something else"),
        ("A=1\nB='x\n", "line 2: a quote is not closed"),
    ] {
        scene.write(text);
        refused(why);
        assert_eq!(fs::read_to_string(scene.file()).unwrap(), text);
    }
    fs::remove_file(scene.file()).unwrap();
    let precious = scene.at("precious");
    fs::write(&precious, "A=1\n").unwrap();
    symlink(&precious, scene.file()).unwrap();
    refused("it is a symbolic link");
    fs::remove_file(scene.file()).unwrap();
    fs::hard_link(&precious, scene.file()).unwrap();
    scene.give(&scene.file(), 0o600);
    refused("it has 2 names");
    fs::remove_file(scene.file()).unwrap();
    assert_eq!(fs::read_to_string(&precious).unwrap(), "A=1\n");
    fs::set_permissions(scene.home(), Permissions::from_mode(0o777)).unwrap();
    refused("others may put files there");
    assert!(!scene.file().exists());
    let said = scene.run(&["--user", "no-such-user"]);
    assert_eq!(said.code, 2, "{}", said.stderr);
}

#[test]
fn a_site_without_a_name_has_no_file() {
    let scene = Scene::new("");
    fs::write(scene.at("etc/openhands-toolkit/config.toml"), "[toolkit.site]\n").unwrap();
    let said = scene.run(&["--print"]);
    assert_eq!((said.code, said.stdout.as_str()), (78, ""), "{}", said.stderr);
    assert!(said.stderr.contains("site.domain"), "{}", said.stderr);
}
