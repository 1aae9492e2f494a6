//! `cargo xtask bench wscheck`: a check beside other clients of WebSockets, and many connections beside
//! socket.io-client, all against one server of socket.io on Node.
//!
//! - one check: whole processes, to the answer to the request for the namespace and the goodbye. The library alone is
//!   this program, started with `once`; websocat and wscat know nothing of Socket.IO, so what they do ends with the
//!   first frame, or with what was sent.
//! - many: connections a second, from the first to the last that is made, and the client's CPU time for it.
//! - held: the highest mark of the client's memory with so many connections, without what it had before the first.
//!
//! All take turns, so that a machine that slows down slows all of them. `--rounds N` for more or fewer.

mod client;

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use oh_testsuite::bench::{Spread, peak_memory, timed};
use oh_testsuite::process::Running;
use oh_testsuite::{components, net, wait};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How often each is done, where nobody says.
const ROUNDS: usize = 5;

/// How often one check is made in a round.
const CHECKS: usize = 4;

/// How many connections are made, and how many of them at once.
const MANY: usize = 2000;
const AT_ONCE: usize = 64;

/// How many are held.
const HELD: usize = 10_000;

/// How long the server may take to start, and to notice that everybody has gone.
const BOUND: Duration = Duration::from_secs(60);

const SERVER: &str = include_str!("server.js");
const NODE_CLIENT: &str = include_str!("client.js");
const PYTHON_CLIENT: &str = include_str!("client.py");

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => compare(ROUNDS),
        ["--rounds", number] => compare(number.parse().context("a number of rounds")?),
        ["once", url] => client::once(url),
        ["many", url, count, at_once] => client::many(url, count.parse()?, at_once.parse()?),
        _ => bail!("usage: bench-wscheck [--rounds N]"),
    }
}

fn compare(rounds: usize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    // The server has a descriptor for each connection as well.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let server = Server::start()?;
    checks(&mut out, &server, rounds)?;
    many(&mut out, &server, rounds)
}

/// The server, which ends with this.
struct Server {
    _running: Running,
    url: String,
}

impl Server {
    fn start() -> Result<Self> {
        let mut command = node(SERVER)?;
        let mut running = Running::start(&mut command)?;
        let line = running.wait_for_line("running on ", BOUND)?;
        let url = line.split_whitespace().last().context("no address")?.to_owned();
        Ok(Self { _running: running, url })
    }

    /// Waits until nobody is connected.
    fn rest(&self) -> Result<()> {
        wait::until_true("the end of all connections", BOUND, || {
            net::get(&self.url, &[]).is_ok_and(|answer| answer.text() == "0")
        })
    }

    /// Where a client that knows nothing of Socket.IO goes.
    fn socket(&self) -> String {
        format!("{}/socket.io/?EIO=4&transport=websocket", self.url.replacen("http", "ws", 1))
    }
}

fn node(script: &str) -> Result<Command> {
    let mut command = Command::new(components::node()?);
    command.args(["-e", script]).env("NODE_PATH", components::socket_io_modules()?);
    Ok(command)
}

fn ours(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("could not see who we are")?);
    command.args(arguments);
    Ok(command)
}

/// Makes the command of one check.
type Check = fn(&Server) -> Result<Command>;

/// Each client, and how far it goes.
const CHECKERS: [(&str, &str, Check); 6] = [
    ("the library alone", "namespace", |server| ours(&["once", &server.url])),
    ("oh-wscheck", "what it is, polling, namespace", |server| {
        let mut command = Command::new(components::built("oh-wscheck")?);
        command.arg(&server.url).env_clear();
        Ok(command)
    }),
    ("websocat", "first frame", |server| {
        let mut command = Command::new(components::websocat()?);
        command.args(["--one-message", "--unidirectional-reverse"]).arg(server.socket());
        Ok(command)
    }),
    ("wscat", "one frame sent", |server| {
        let mut command = Command::new(components::node()?);
        command.arg(components::wscat()?).args(["--connect", &server.socket()]);
        command.args(["--execute", "40", "--wait", "0"]);
        Ok(command)
    }),
    ("socket.io-client", "namespace", |server| {
        let mut command = node(NODE_CLIENT)?;
        command.args([&server.url, "1", "1"]);
        Ok(command)
    }),
    ("python-socketio", "namespace", |server| {
        let mut command = Command::new(components::python()?);
        command.args(["-c", PYTHON_CLIENT, &server.url]);
        Ok(command)
    }),
];

fn checks(out: &mut impl std::io::Write, server: &Server, rounds: usize) -> Result<()> {
    let mut times = CHECKERS.map(|_| Vec::new());
    for _ in 0..rounds * CHECKS {
        for ((name, _, check), times) in CHECKERS.iter().zip(&mut times) {
            let mut command = check(server)?;
            times.push(timed(command.stdin(Stdio::null())).with_context(|| (*name).to_owned())?);
        }
    }
    writeln!(out, "one check, {} each\n", rounds * CHECKS)?;
    writeln!(out, "| | to | best, ms | median, ms | most memory, MiB |\n|---|---|---|---|---|")?;
    for ((name, end, check), times) in CHECKERS.iter().zip(times) {
        let spread = Spread::of(times);
        let [best, median] = [spread.min, spread.median].map(ms);
        let memory = mib(peak_memory(&mut check(server)?)?);
        writeln!(out, "| {name} | {end} | {best:.1} | {median:.1} | {memory:.1} |")?;
    }
    Ok(())
}

/// What a client says that has made many connections.
struct Made {
    took_ms: f64,
    cpu_ms: f64,
    base_kib: f64,
    peak_kib: f64,
}

impl Made {
    fn by(server: &Server, command: &mut Command, count: usize) -> Result<Self> {
        let output = command.stdin(Stdio::null()).output().context("could not run it")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let numbers: Vec<f64> =
            said.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [made, took_ms, cpu_ms, base_kib, peak_kib] = numbers[..] else { bail!("{said}") };
        ensure!(made == count as f64, "{made} of {count}");
        server.rest()?;
        Ok(Self { took_ms, cpu_ms, base_kib, peak_kib })
    }

    fn row(&self, out: &mut impl std::io::Write, name: &str, count: usize) -> Result<()> {
        let per_second = count as f64 / self.took_ms * 1000.0;
        let each_kib = (self.peak_kib - self.base_kib) / count as f64;
        writeln!(
            out,
            "| {name} | {count} | {per_second:.0} | {:.0} | {:.1} | {:.1} | {each_kib:.1} |",
            self.cpu_ms,
            self.base_kib / 1024.0,
            self.peak_kib / 1024.0,
        )?;
        Ok(())
    }
}

fn many(out: &mut impl std::io::Write, server: &Server, rounds: usize) -> Result<()> {
    let (count, at_once) = (MANY.to_string(), AT_ONCE.to_string());
    let mut made = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        let mut ours = ours(&["many", &server.url, &count, &at_once])?;
        made[0].push(Made::by(server, &mut ours, MANY)?);
        let mut theirs = node(NODE_CLIENT)?;
        theirs.args([&server.url, &count, &at_once]);
        made[1].push(Made::by(server, &mut theirs, MANY)?);
    }
    writeln!(out, "\nmany connections, {AT_ONCE} at once, the median of {rounds} by their time\n")?;
    writeln!(
        out,
        "| | connections | a second | CPU, ms | memory before, MiB | most, MiB | each, KiB |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    let mut medians = Vec::new();
    for (name, mut made) in ["the library alone", "socket.io-client"].into_iter().zip(made) {
        made.sort_by(|one, other| one.took_ms.total_cmp(&other.took_ms));
        let median = made.get(made.len() / 2).context("no round")?;
        median.row(out, name, MANY)?;
        medians.push(median.took_ms);
    }
    let mut held = ours(&["many", &server.url, &HELD.to_string(), &at_once])?;
    Made::by(server, &mut held, HELD)?.row(out, "the library alone, held", HELD)?;
    if let [ours, theirs] = medians[..] {
        writeln!(out, "\nsocket.io-client takes {:.2} times as long", theirs / ours)?;
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
