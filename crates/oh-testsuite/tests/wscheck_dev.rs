//! `oh-wscheck dev` on a real Vite in front of a real server of Socket.IO: what is broken is named, the line that is
//! printed mends it, and a real socket.io-client agrees before and after. Nothing is left of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::instances::{is_root, user_ids};
use oh_testsuite::lab::{Said, temporary_paths};
use oh_testsuite::process::Running;
use oh_testsuite::{components, net, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a program may take to start, or to end.
const BOUND: Duration = Duration::from_secs(60);

/// Answers as OpenHands does, tells how many sessions are open, and speaks TLS where it is given a certificate.
const SERVER: &str = "
import sys, socketio, uvicorn
from urllib.parse import parse_qs
io = socketio.AsyncServer(async_mode='asgi', cors_allowed_origins='*')
@io.event
async def connect(sid, environ):
    print('asked', environ['QUERY_STRING'], flush=True)
    raise socketio.exceptions.ConnectionRefusedError('No conversation_id in query params')
async def page(scope, receive, send):
    if scope['type'] != 'http':
        return
    kind, body = b'text/html', b'<!doctype html><title>OpenHands</title>'
    if scope['path'] == '/open':
        kind, body = b'text/plain', str(sum(not one.closed for one in io.eio.sockets.values())).encode()
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', kind)]})
    await send({'type': 'http.response.body', 'body': body})
tls = dict(ssl_keyfile=sys.argv[1], ssl_certfile=sys.argv[1]) if len(sys.argv) > 1 else {}
uvicorn.run(socketio.ASGIApp(io, other_asgi_app=page), host='127.0.0.1', port=0, **tls)
";

/// Tells whether a page's own client gets to the application.
const CLIENT: &str = "
const io = require('socket.io-client').io(process.argv[1], { transports: ['websocket'], reconnection: false, timeout: 2000 });
const end = (said) => { console.log(said); process.exit(0); };
io.on('connect_error', (error) => end(/No conversation_id/.test(error.message) ? 'reached' : 'not reached'));
io.on('connect', () => end('reached'));
";

/// The front end's configuration as OpenHands has it, with `ENTRIES` in its proxy.
const CONFIG: &str = r#"import { defineConfig, loadEnv } from "vite";

export default defineConfig(({ mode }) => {
  const {
    VITE_BACKEND_HOST = "127.0.0.1:3000",
    VITE_USE_TLS = "false",
    VITE_FRONTEND_PORT = "3001",
    VITE_INSECURE_SKIP_VERIFY = "false",
  } = loadEnv(mode, process.cwd());
  const USE_TLS = VITE_USE_TLS === "true";
  const WS_URL = `${USE_TLS ? "wss" : "ws"}://${VITE_BACKEND_HOST}/`;
  const API_URL = `${USE_TLS ? "https" : "http"}://${VITE_BACKEND_HOST}/`;
  return {
    cacheDir: ".vite",
    server: {
      host: "127.0.0.1",
      port: Number.parseInt(VITE_FRONTEND_PORT, 10),
      strictPort: true,
      proxy: {
        "/api": { target: API_URL },
ENTRIES      },
    },
  };
});
"#;

/// The entry that OpenHands has.
const GOOD: &str = "        \"/socket.io\": {
          target: WS_URL,
          ws: true,
          changeOrigin: true,
          secure: VITE_INSECURE_SKIP_VERIFY !== \"true\",
        },
";

/// A checkout's folder, the server, and Vite once it was started.
struct Set {
    folder: TempDir,
    server: Running,
    server_port: u16,
    vite_port: u16,
    vite: Option<Running>,
    is_tls: bool,
}

impl Set {
    fn new() -> Result<Self> {
        Self::with(&[], false)
    }

    /// Starts the server with these variables and nothing else in its environment.
    fn with(environment: &[(&str, &str)], is_tls: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // Vite writes beside its packages, so their folder is one of our own.
        fs::create_dir_all(folder.path().join("frontend/node_modules"))?;
        let package = components::vite()?;
        let package = package.ancestors().nth(2).context("Vite stands in no folder")?;
        symlink(package, folder.path().join("frontend/node_modules/vite"))?;
        fs::write(
            folder.path().join("frontend/index.html"),
            "<!doctype html><title>page</title>\n",
        )?;
        let mut command = Command::new(components::python()?);
        command.args(["-c", SERVER]).current_dir(folder.path()).env_clear();
        command.envs(environment.iter().copied());
        if is_tls {
            let file = folder.path().join("server.pem");
            let mut openssl = Command::new(components::program("openssl")?);
            openssl.args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-subj",
                "/CN=localhost",
            ]);
            openssl.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout"]);
            openssl.arg(&file).arg("-out").arg(folder.path().join("certificate.pem"));
            Said::from(openssl.output()?).expect(0)?;
            let both =
                [fs::read(&file)?, fs::read(folder.path().join("certificate.pem"))?].concat();
            fs::write(&file, both)?;
            command.arg(file);
        }
        let mut server = Running::start(&mut command)?;
        let line = server.wait_for_line("running on http", BOUND)?;
        let port = line.rsplit_once("127.0.0.1:").context("it does not say where it is")?.1;
        let port = port.split(' ').next().unwrap_or_default().parse()?;
        let vite_port = net::free_port()?;
        Ok(Self { folder, server, server_port: port, vite_port, vite: None, is_tls })
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.folder.path().join(name), text)?)
    }

    /// What both have to be told.
    fn env(&self) -> String {
        format!(
            "VITE_BACKEND_HOST=127.0.0.1:{}\nVITE_FRONTEND_PORT={}\n",
            self.server_port, self.vite_port
        )
    }

    /// Starts Vite with these entries in its proxy and these variables in frontend/.env.
    fn serve(&mut self, entries: &str, env: &str) -> Result<()> {
        self.write("frontend/vite.config.mjs", &CONFIG.replace("ENTRIES", entries))?;
        self.write("frontend/.env", env)?;
        self.start_vite()
    }

    fn start_vite(&mut self) -> Result<()> {
        if let Some(mut vite) = self.vite.take() {
            vite.stop()?;
        }
        let mut command = Command::new(components::node()?);
        command.arg(components::vite()?).current_dir(self.folder.path().join("frontend"));
        command.env_clear();
        let mut vite = Running::start(&mut command)?;
        vite.wait_for_line("ready in", BOUND)?;
        self.vite = Some(vite);
        Ok(())
    }

    fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(components::built("oh-wscheck")?);
        let ports = format!("wscheck.development_ports=[{}, {}]", self.server_port, self.vite_port);
        command.arg("dev").args(words).args(["--config", "/dev/null", "--set", &ports]);
        command.current_dir(self.folder.path()).stdin(Stdio::null()).env_clear();
        Ok(command)
    }

    fn run(&self, words: &[&str]) -> Result<Said> {
        Ok(self.command(words)?.output()?.into())
    }

    /// What the tool says as JSON, once a real client says the same.
    fn judged(&self, code: i32) -> Result<Value> {
        let said = self.run(&["--format", "json"])?.expect(code)?;
        let result = said.json()?["result"].clone();
        let url = format!("http://127.0.0.1:{}", self.vite_port);
        let mut client = Command::new(components::node()?);
        client.args(["-e", CLIENT, &url]).env("NODE_PATH", components::socket_io_modules()?);
        let client = Said::from(client.output()?).expect(0)?;
        let is_reached = client.stdout.trim() == "reached";
        ensure!(result["ports"][1]["connects"] == json!(is_reached), "{client:?}: {said:?}");
        Ok(result)
    }

    /// Waits until the server has no session left, and fails where one stays.
    fn is_left_alone(&self) -> Result<()> {
        let scheme = if self.is_tls { "https" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{}/open", self.server_port);
        wait::until("the end of all sessions", Duration::from_secs(10), || {
            Ok((net::get(&url, &[])?.text() == "0").then_some(()))
        })?;
        // Nobody was asked for a conversation.
        let log = self.server.log();
        ensure!(!log.contains("conversation_id="), "{log}");
        Ok(())
    }
}

/// The ids of what was found, with the severity of each.
fn found(result: &Value) -> Vec<String> {
    let findings = result["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    findings.iter().map(|one| format!("{} {}", text(one, "id"), text(one, "severity"))).collect()
}

fn place(result: &Value) -> &str {
    result["findings"][0]["place"].as_str().unwrap_or_default()
}

fn next(result: &Value, line: usize) -> &str {
    result["findings"][0]["next"][line].as_str().unwrap_or_default()
}

#[test]
fn what_works_is_told_with_what_is_set() -> Result<()> {
    let mut set = Set::new()?;
    set.serve(GOOD, &set.env())?;
    let result = set.judged(0)?;
    ensure!(found(&result).is_empty() && result["works"] == json!(true), "{result:#}");
    let said = set.run(&[])?.expect(0)?;
    ensure!(
        said.stdout.starts_with("the WebSocket works, directly and through Vite\n"),
        "{said:?}"
    );
    ensure!(said.stdout.contains("  frontend/.env:1\n"), "{said:?}");
    ensure!(said.stderr.is_empty(), "{said:?}");
    for (format, begins) in [
        ("nagios", "WS OK - the WebSocket works"),
        ("prometheus", "# HELP oh_wscheck_up"),
        ("junit", "<?xml"),
        ("jsonl", "{"),
    ] {
        let said = set.run(&["--format", format])?.expect(0)?;
        ensure!(said.stdout.starts_with(begins), "{format}: {said:?}");
    }
    set.is_left_alone()
}

#[test]
fn an_entry_without_ws_is_named_and_its_line_mends_it() -> Result<()> {
    let mut set = Set::new()?;
    let entry = "        \"/socket.io\": {\n          target: API_URL,\n          changeOrigin: true,\n        },\n";
    set.serve(entry, &set.env())?;
    let result = set.judged(1)?;
    ensure!(found(&result) == ["DEV-2 error"], "{result:#}");
    let file = set.folder.path().join("frontend/vite.config.mjs");
    let mut lines: Vec<String> = fs::read_to_string(&file)?.lines().map(str::to_owned).collect();
    let at: usize = place(&result).rsplit(':').next().unwrap_or_default().parse()?;
    ensure!(lines[at - 1].contains("\"/socket.io\": {"), "{}", lines[at - 1]);
    let line = next(&result, 0).strip_prefix("in that entry, add: ").context("no line")?;
    lines.insert(at, line.to_owned());
    fs::write(&file, lines.join("\n"))?;
    set.start_vite()?;
    ensure!(found(&set.judged(0)?).is_empty());
    set.is_left_alone()
}

#[test]
fn a_proxy_without_the_entry_is_named_and_its_line_mends_it() -> Result<()> {
    let mut set = Set::new()?;
    set.serve("", &set.env())?;
    let result = set.judged(1)?;
    ensure!(found(&result) == ["DEV-1 error"], "{result:#}");
    let entry = next(&result, 1).to_owned();
    ensure!(entry.starts_with("\"/socket.io\": {"), "{result:#}");
    set.serve(&format!("{entry}\n"), &set.env())?;
    ensure!(found(&set.judged(0)?).is_empty());
    set.is_left_alone()
}

#[test]
fn a_target_that_nobody_has_is_named_and_its_line_mends_it() -> Result<()> {
    let mut set = Set::new()?;
    let nobody = net::free_port()?;
    let env =
        format!("VITE_FRONTEND_PORT={}\nVITE_BACKEND_HOST=127.0.0.1:{nobody}\n", set.vite_port);
    set.serve(GOOD, &env)?;
    let result = set.judged(1)?;
    ensure!(found(&result) == ["DEV-3 error"], "{result:#}");
    ensure!(place(&result) == "VITE_BACKEND_HOST, frontend/.env:2", "{result:#}");
    set.write("frontend/.env.local", next(&result, 0))?;
    set.start_vite()?;
    ensure!(found(&set.judged(0)?).is_empty());
    // Without any variable, the file's own default is somebody else's.
    fs::remove_file(set.folder.path().join("frontend/.env.local"))?;
    set.serve(GOOD, &format!("VITE_FRONTEND_PORT={}\n", set.vite_port))?;
    let result = set.judged(1)?;
    ensure!(found(&result) == ["DEV-3 error"], "{result:#}");
    ensure!(place(&result).starts_with("frontend/vite.config.mjs:"), "{result:#}");
    set.is_left_alone()
}

#[test]
fn tls_to_a_server_without_it_is_named_and_its_line_mends_it() -> Result<()> {
    let mut set = Set::new()?;
    set.serve(GOOD, &format!("{}VITE_USE_TLS=true\n", set.env()))?;
    let result = set.judged(1)?;
    ensure!(found(&result) == ["DEV-4 error"], "{result:#}");
    ensure!(place(&result) == "VITE_USE_TLS, frontend/.env:3", "{result:#}");
    let env = format!("{}{}\n", set.env(), next(&result, 0));
    set.serve(GOOD, &env)?;
    ensure!(found(&set.judged(0)?).is_empty());
    set.is_left_alone()
}

#[test]
fn a_server_of_tls_is_reached_step_by_step() -> Result<()> {
    let mut set = Set::with(&[], true)?;
    set.serve(GOOD, &set.env())?;
    let result = set.judged(1)?;
    ensure!(found(&result) == ["DEV-5 error"], "{result:#}");
    let env = format!("{}{}\n", set.env(), next(&result, 0));
    set.serve(GOOD, &env)?;
    let result = set.judged(1)?;
    ensure!(found(&result) == ["DEV-3 error"], "{result:#}");
    let mend = next(&result, 0).split(',').next().unwrap_or_default();
    ensure!(mend == "VITE_INSECURE_SKIP_VERIFY=true", "{result:#}");
    set.serve(GOOD, &format!("{env}{mend}\n"))?;
    let result = set.judged(0)?;
    ensure!(found(&result) == ["DEV-25 note"], "{result:#}");
    set.is_left_alone()
}

#[test]
fn what_nobody_reads_is_told_of_what_runs_and_no_key_is_shown() -> Result<()> {
    let key = "a-key-that-nobody-is-shown";
    let environment = [("CORS_ALLOWED_ORIGINS", "*"), ("PORT", "12000"), ("SESSION_API_KEY", key)];
    let mut set = Set::with(&environment, false)?;
    let env = format!("{}VITE_INSECURE_SKIP_VERIFY=true\n", set.env());
    set.serve(GOOD, &env)?;
    let result = set.judged(0)?;
    let expected = ["DEV-10 warning", "DEV-11 warning", "DEV-15 note"];
    ensure!(found(&result) == expected, "{result:#}");
    let of_server =
        format!("CORS_ALLOWED_ORIGINS, environment of the server (pid {})", set.server.id());
    ensure!(place(&result) == of_server, "{result:#}");
    for format in ["human", "json", "jsonl", "junit", "nagios", "prometheus"] {
        let said = set.run(&["--format", format])?;
        ensure!(!said.stdout.contains(key) && !said.stderr.contains(key), "{format}: {said:?}");
    }
    // A plugin of Nagios warns where the tool itself ends with 0.
    set.run(&["--format", "nagios"])?.expect(1)?;
    set.is_left_alone()
}

#[test]
fn what_somebody_has_written_begins_no_line_of_ours() -> Result<()> {
    let mut set = Set::new()?;
    set.serve(GOOD, &set.env())?;
    set.write(
        "frontend/.env.local",
        "VITE_BACKEND_BASE_URL=\"a\\nthe WebSocket works\\u001b[2J\"\n",
    )?;
    let said = set.run(&[])?;
    let forged = said.stdout.lines().filter(|line| line.starts_with("the WebSocket works"));
    ensure!(forged.count() == 1 && said.stdout.contains("a\\nthe WebSocket works"), "{said:?}");
    Ok(())
}

#[test]
fn where_nobody_listens_that_is_told() -> Result<()> {
    let mut set = Set::new()?;
    set.serve(GOOD, &set.env())?;
    set.server.stop()?;
    set.write("config.toml", "[core]\nruntime = \n")?;
    let said = set.run(&[])?.expect(1)?;
    for part in [
        "the WebSocket works neither directly nor through Vite; 1 error\n",
        "cause  NET-2  nobody listens there\n",
        "DEV-20  error  config.toml cannot be read, so nothing of it counts\n        config.toml:2",
    ] {
        ensure!(said.stdout.contains(part), "{part}: {said:?}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_looked_at_is_told_and_waited_for_by_nobody() -> Result<()> {
    let mut set = Set::new()?;
    set.serve(GOOD, &set.env())?;
    // Of a file that Vite reads itself, Vite would start anew.
    let pipe = set.folder.path().join("frontend/.env.other");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR)?;
    let said = set.run(&[])?.expect(4)?;
    ensure!(said.stdout.contains("frontend/.env.other  it is no plain file"), "{said:?}");
    let said = set.run(&["nowhere"])?.expect(4)?;
    ensure!(said.stderr.starts_with("error: nowhere cannot be looked at: "), "{said:?}");
    set.is_left_alone()
}

#[test]
fn what_a_command_would_pass_over_is_refused() -> Result<()> {
    let mut command = Command::new(components::built("oh-wscheck")?);
    let said = Said::from(command.args(["--insecure", "--config", "/dev/null", "dev"]).output()?)
        .expect(2)?;
    ensure!(said.stderr.starts_with("error: what stands before the command belongs"), "{said:?}");
    Ok(())
}

/// An ordinary user's config.toml in the current folder is taken for ours elsewhere; here it is OpenHands'.
#[test]
fn a_torn_config_toml_of_openhands_is_told_and_keeps_nobody_from_looking() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let file = folder.path().join("config.toml");
    fs::write(&file, "[core]\nruntime = \n")?;
    let (server, vite) = (net::free_port()?, net::free_port()?);
    let mut command = Command::new(components::built("oh-wscheck")?);
    command.arg("dev");
    command.args(["--set", &format!("wscheck.development_ports=[{server}, {vite}]")]);
    command.current_dir(folder.path());
    if is_root()? {
        let (uid, gid) = user_ids()?;
        chown(&file, Some(uid), Some(gid))?;
        command.uid(uid).gid(gid);
    }
    let said = Said::from(command.output()?).expect(1)?;
    ensure!(said.stdout.contains("DEV-20  error  "), "{said:?}");
    let note = "warning: config.toml of this folder is not taken for a configuration of ours\n";
    // Where the machine has a configuration of ours, that is the one that counts.
    let has_ours = fs::exists("/etc/openhands-toolkit/config.toml")?;
    ensure!(said.stderr == if has_ours { "" } else { note }, "{said:?}");
    Ok(())
}

#[test]
fn a_page_of_https_is_not_mixed() -> Result<()> {
    let mut set = Set::new()?;
    let env = format!("{}VITE_BACKEND_BASE_URL=127.0.0.1:{}\n", set.env(), set.server_port);
    set.serve(GOOD, &env)?;
    ensure!(found(&set.judged(0)?) == ["DEV-8 warning"]);
    let said = set.run(&["--page", "https://oh.example"])?.expect(1)?;
    ensure!(said.stdout.contains("DEV-9  error  "), "{said:?}");
    set.is_left_alone()
}

/// docs/websocket-setup.md.
fn page() -> Result<String> {
    Ok(fs::read_to_string(components::workspace()?.join("docs/websocket-setup.md"))?)
}

#[test]
fn each_name_of_the_page_is_explained_without_asking_anybody() -> Result<()> {
    let explained = |id: &str| -> Result<Said> {
        let mut command = Command::new(components::built("oh-wscheck")?);
        Ok(command.args(["--explain", id, "--config", "/dev/null"]).output()?.into())
    };
    let said = explained("dev-4")?.expect(0)?;
    ensure!(said.stdout.starts_with("DEV-4  Vite speaks TLS to a server without it\n"), "{said:?}");
    let page = page()?;
    let is_id = |text: &&str| {
        text.split_once('-').is_some_and(|(group, number)| {
            let is_group =
                group.bytes().all(|one| one.is_ascii_uppercase() || one.is_ascii_digit());
            is_group && !group.is_empty() && number.parse::<u8>().is_ok()
        })
    };
    let ids: Vec<&str> = page.split('`').filter(is_id).collect();
    ensure!(ids.len() > 30, "{ids:?}");
    for id in ids {
        explained(id)?.expect(0)?;
    }
    Ok(())
}

/// Puts the nginx of the page in front of the server, and asks it as a browser would.
#[test]
fn the_nginx_of_the_page_passes_it_on() -> Result<()> {
    let set = Set::with(&[], true)?;
    let behind = Set::new()?;
    let page = page()?;
    let block = page.split("```nginx\n").nth(1).and_then(|rest| rest.split("```").next());
    let (root, port) = (behind.folder.path().display().to_string(), net::free_port()?);
    // The certificate of the other server, which is for another name, and so is taken as it is.
    let certificate = set.folder.path().join("server.pem").display().to_string();
    let mut block = block.context("the page has no nginx")?.to_owned();
    for (ours, here) in [
        ("443", format!("127.0.0.1:{port}")),
        ("127.0.0.1:3000", format!("127.0.0.1:{}", behind.server_port)),
        ("/etc/letsencrypt/live/oh.example/fullchain.pem", certificate.clone()),
        ("/etc/letsencrypt/live/oh.example/privkey.pem", certificate),
    ] {
        ensure!(block.contains(ours), "{ours} is not on the page");
        block = block.replace(ours, &here);
    }
    let text = format!(
        "pid {root}/nginx.pid;\nerror_log {root}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n{}{block}}}\n",
        temporary_paths(&root)
    );
    fs::create_dir_all(behind.folder.path().join("run"))?;
    behind.write("nginx.conf", &text)?;
    let mut nginx = Command::new(components::program("nginx")?);
    nginx.arg("-c").arg(behind.folder.path().join("nginx.conf")).args(["-g", "daemon off;"]);
    let nginx = Running::start(&mut nginx)?;
    wait::until("nginx", BOUND, || {
        ensure!(!nginx.has_ended()?, "nginx ended: {}", nginx.log());
        Ok(std::net::TcpStream::connect(("127.0.0.1", port)).ok())
    })?;
    let mut command = Command::new(components::built("oh-wscheck")?);
    command.args([&format!("https://oh.example:{port}"), "--insecure", "--config", "/dev/null"]);
    command.args(["--resolve", &format!("oh.example:{port}:127.0.0.1")]);
    let said = Said::from(command.output()?).expect(0)?;
    ensure!(said.stdout.contains("No conversation_id in query params"), "{said:?}");
    behind.is_left_alone()
}

/// The start script with the stand-in and Vite in the place of OpenHands' own commands.
fn script(set: &Set, server_port: u16) -> Result<Command> {
    let quoted = |path: PathBuf| format!("'{}'", path.display());
    let mut command = Command::new(components::workspace()?.join("scripts/start-development.sh"));
    let stand_in = quoted(components::built("oh-stand-in")?);
    let (node, vite) = (quoted(components::node()?), quoted(components::vite()?));
    command.arg(set.folder.path());
    command.env("SERVER_PORT", server_port.to_string()).env("VITE_PORT", set.vite_port.to_string());
    command.env("SERVER_COMMAND", format!("{stand_in} openhands --listen 127.0.0.1:{server_port}"));
    command.env("VITE_COMMAND", format!("{node} {vite}"));
    Ok(command)
}

#[test]
fn the_start_script_starts_both_and_ends_what_it_started() -> Result<()> {
    let mut set = Set::new()?;
    set.write("frontend/vite.config.mjs", &CONFIG.replace("ENTRIES", GOOD))?;
    // A port that is taken is told before anything is started, and whoever has it is left alone.
    let said = Said::from(script(&set, set.server_port)?.output()?).expect(1)?;
    let taken = format!("error: port {} is taken; ", set.server_port);
    ensure!(said.stderr.starts_with(&taken) && said.stdout.is_empty(), "{said:?}");
    set.is_left_alone()?;

    set.server_port = net::free_port()?;
    let mut running = Running::start(&mut script(&set, set.server_port)?)?;
    running.wait_for_line("ready: ", BOUND)?;
    let result = set.judged(0)?;
    ensure!(found(&result).is_empty(), "{result:#}");
    // Its end alone, and not that of its group, is what ends the rest.
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(running.id())?).context("no pid")?,
        rustix::process::Signal::TERM,
    )?;
    let status = running.wait(BOUND)?;
    ensure!(status.code() == Some(130), "{status}: {}", running.log());
    for port in [set.server_port, set.vite_port] {
        ensure!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "{port} is taken");
    }

    // Where one of the two ends, so does the other, and the script says so.
    let mut command = script(&set, set.server_port)?;
    command.env("VITE_COMMAND", "false");
    let said = Said::from(command.output()?).expect(1)?;
    ensure!(said.stderr.contains("error: Vite ended before it listened on port "), "{said:?}");
    ensure!(std::net::TcpStream::connect(("127.0.0.1", set.server_port)).is_err());
    Ok(())
}
