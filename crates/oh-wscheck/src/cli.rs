//! The arguments of `oh-wscheck`.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use oh_model::exit::Exit;
use oh_probe::load::CONNECTIONS_MAX;
use oh_probe::replay::ConversationId;
use oh_term::{Answer, CheckFormat, Common, Failure, Format, Tool, duration};

use crate::dev::{self, DevArguments};
use crate::{check, page};

/// Say why the WebSocket does not connect, and the line that mends it
///
/// Climbs the way of a browser's WebSocket step by step: DNS, TCP, TLS, the upgrade, Engine.IO, Socket.IO. Where
/// that fails, the same is asked of what stands behind the proxy, and of the two together follows the cause. On
/// the machine itself, the line of nginx's configuration is named, and what to write there.
///
/// Nothing is begun on a server: no conversation is joined, no agent started, and what was opened is closed. No
/// redirect is followed.
///
/// Exit codes: 0 it connects, 1 it does not, 2 refused, 3 only deadlines stood in the way, 4 something could not be
/// looked at, 78 configuration, 130 interrupted. With --format nagios: 0 ok, 1 warning, 2 critical, 3 unknown.
#[derive(Debug, Parser)]
#[command(name = "oh-wscheck", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    check: CheckArguments,
    #[command(flatten)]
    common: Common<CheckFormat>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at a development set-up: the server, and Vite in front of it
    ///
    /// Names what is set and where, what nobody reads, what contradicts what, and asks both ports
    /// (wscheck.development_ports) whether the WebSocket works: directly, and through Vite.
    ///
    /// Exit codes: 0 it works, 1 it does not or something was found that is an error, 3 only deadlines
    /// stood in the way, 4 something could not be looked at, 78 configuration, 130 interrupted.
    Dev(DevArguments),
}

/// What is checked, and how it is asked.
#[derive(Debug, PartialEq, Args)]
pub(crate) struct CheckArguments {
    /// The address of the site, as a browser has it; without one, that of the configuration
    #[arg(value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Take it for this kind of server, and do not ask what it is
    #[arg(long, value_name = "KIND", value_enum)]
    pub(crate) kind: Option<KindName>,
    /// Ask these hops, the outermost first, even where the first connects: public, nginx, upstream
    #[arg(long, value_name = "HOPS", value_delimiter = ',', value_enum)]
    pub(crate) via: Vec<HopName>,
    /// What stands behind the proxy; without it, what nginx's configuration or ours says
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Option<String>,
    /// Ask for this path of Socket.IO; without it, socket.io/ below the path of the URL
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// Name this version of Engine.IO
    #[arg(long, value_name = "VERSION", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) eio: u8,
    /// Send this header too; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// Ask as a page of this origin; without it, a page of the site itself
    #[arg(short, long, value_name = "ORIGIN")]
    pub(crate) origin: Option<String>,
    /// Send the key in this file as session_api_key; - is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<String>,
    /// Go on over a certificate that is not trusted; it is told all the same
    #[arg(short = 'k', long)]
    pub(crate) insecure: bool,
    /// Trust the certificates of this file, in PEM, and nobody else
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<String>,
    /// Connect to this address for a name and a port; may be given several times
    #[arg(long, value_name = "HOST:PORT:ADDRESS")]
    pub(crate) resolve: Vec<String>,
    /// Connect through this HTTP proxy
    #[arg(short = 'x', long, value_name = "URL")]
    pub(crate) proxy: Option<String>,
    /// End after this time, whatever was seen until then
    #[arg(short, long, value_name = "TIME", default_value = "30s", value_parser = timeout)]
    pub(crate) timeout: Duration,
    /// Check an editor at this address: its page, a file, a workbench's handshake
    #[arg(long, value_name = "URL", conflicts_with_all = ["url", "kind", "path", "via"])]
    pub(crate) vscode: Option<String>,
    /// Join this conversation of OpenHands V0 twice too, where it runs, and look for a gap in what is sent again
    #[arg(long, value_name = "ID", value_parser = conversation)]
    pub(crate) conversation: Option<ConversationId>,
    /// Ask too whether pages of this origin may read the answers, as a browser would
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) cors: Option<String>,
    /// Hold a connection in silence for this time too, and say what cuts it, e.g. 90s
    #[arg(long, value_name = "TIME", value_parser = soak)]
    pub(crate) soak: Option<Duration>,
    /// Make so many connections at once too, and say which limit they meet; up to 20000
    #[arg(long, value_name = "COUNT", value_parser = connections)]
    pub(crate) load: Option<usize>,
    /// Look too whether all requests of a session of long polling come to the same server
    #[arg(long)]
    pub(crate) sticky: bool,
    /// Show the frames too, without secrets
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Explain a cause, such as UPG-1, and ask nobody
    #[arg(long, value_name = "ID", conflicts_with = "url")]
    pub(crate) explain: Option<String>,
}

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum KindName {
    /// Socket.IO, as OpenHands up to 1.6 has it
    #[value(name = "socketio")]
    SocketIo,
    /// An agent server of OpenHands, at /sockets/events/ below the path of the URL
    AgentServer,
    /// Any WebSocket, at the path of the URL itself
    #[value(name = "websocket")]
    WebSocket,
}

/// A hop on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum HopName {
    /// The address as it is
    Public,
    /// The same through this machine's own nginx
    Nginx,
    /// What stands behind nginx
    Upstream,
}

impl HopName {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Nginx => "nginx",
            Self::Upstream => "upstream",
        }
    }
}

/// The shortest and the longest time of a run.
const TIMEOUT_MIN: Duration = Duration::from_millis(10);
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration::parse(text)?;
    if !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&timeout) {
        return Err("from 10ms to 1h".to_owned());
    }
    Ok(timeout)
}

/// The longest time that a connection is held.
const SOAK_MAX: Duration = Duration::from_secs(24 * 3600);

fn soak(text: &str) -> Result<Duration, String> {
    let lasting = duration::parse(text)?;
    if !(Duration::from_secs(1)..=SOAK_MAX).contains(&lasting) {
        return Err("from 1s to 24h".to_owned());
    }
    Ok(lasting)
}

fn conversation(text: &str) -> Result<ConversationId, String> {
    let id = ConversationId::parse(text);
    id.ok_or_else(|| "an id has 1 to 128 letters, digits, - and _".to_owned())
}

fn connections(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=CONNECTIONS_MAX).contains(count));
    count.ok_or_else(|| format!("a number from 1 to {CONNECTIONS_MAX}"))
}

impl Cli {
    /// Refuses what stands before a command and belongs to the check: a command would pass it over without a word.
    fn refuse_for_a_command(&self) -> Result<(), Failure> {
        let without = Self::try_parse_from([Self::NAME]);
        if without.is_ok_and(|without| without.check == self.check) {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Refused,
            "what stands before the command belongs to the check of a URL",
        )
        .hint("the command's own options stand behind it: oh-wscheck dev --help"))
    }
}

impl Tool for Cli {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn format(&self) -> Format {
        self.common.format.into()
    }

    fn carried(&self) -> Vec<String> {
        self.common.carried()
    }

    fn is_plugin(&self) -> bool {
        self.common.format == CheckFormat::Nagios
    }

    fn answer(self) -> Result<Answer, Failure> {
        let answer = match (&self.command, &self.check.explain) {
            (Some(Command::Dev(arguments)), _) => {
                self.refuse_for_a_command()?;
                dev::dev(arguments, &self.common)
            }
            (None, Some(id)) => dev::explained(id).map_or_else(|| page::explained(id), Ok),
            (None, None) => check::check(&self.check, &self.common),
        };
        // Whatever is told was said by others.
        answer.map(Answer::escaped)
    }
}
