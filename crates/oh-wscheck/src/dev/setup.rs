//! A development set-up as it was gathered, and what of it counts. Pure.

use std::fmt;
use std::net::SocketAddr;

use super::dotenv::Assignment;

/// The variables of Vite and of the page that OpenHands' front end reads.
pub(crate) const OF_VITE: &[&str] = &[
    "VITE_BACKEND_HOST",
    "VITE_BACKEND_BASE_URL",
    "VITE_FRONTEND_PORT",
    "VITE_USE_TLS",
    "VITE_INSECURE_SKIP_VERIFY",
];

/// The variables that decide how OpenHands' server meets browsers.
pub(crate) const OF_SERVER: &[&str] =
    &["port", "DEBUG", "SERVE_FRONTEND", "PERMITTED_CORS_ORIGINS", "SESSION_API_KEY", "RUNTIME"];

/// The variable whose value nobody is shown.
pub(crate) const KEY: &str = "SESSION_API_KEY";

pub(crate) type Variables = Vec<(String, String)>;

/// Everything that was gathered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    /// The folder, as the kernel names it.
    pub(crate) folder: String,
    /// Where the server is meant to listen, and Vite.
    pub(crate) server_port: u16,
    pub(crate) vite_port: Option<u16>,
    /// Browsers open the page by https.
    pub(crate) page_is_tls: bool,
    /// The environment of this command.
    pub(crate) command: Variables,
    /// What listens on the two ports; nothing where nobody does.
    pub(crate) server: Option<Listens>,
    pub(crate) vite: Option<Listens>,
    /// What Vite reads, the file that counts most first.
    pub(crate) vite_files: Vec<VariableFile>,
    /// Files of variables beside them that look as if Vite read them.
    pub(crate) other_files: Vec<VariableFile>,
    /// What OpenHands' server reads, in the folder of the checkout.
    pub(crate) server_file: Option<VariableFile>,
    pub(crate) vite_config: Option<TextFile>,
    pub(crate) config_toml: Option<TextFile>,
    /// The source of OpenHands' own table of keys of `[sandbox]`.
    pub(crate) sandbox_source: Option<String>,
    /// The folder has the source of OpenHands' server, with or without Socket.IO.
    pub(crate) checkout: Option<Checkout>,
    /// What could not be looked at, and why.
    pub(crate) unread: Vec<(String, String)>,
}

/// The source of OpenHands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Checkout {
    pub(crate) has_socket_io: bool,
    pub(crate) has_makefile: bool,
    pub(crate) has_built_page: bool,
}

/// What listens on a port.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listens {
    pub(crate) addresses: Vec<SocketAddr>,
    /// Nothing where it is not known which process it is.
    pub(crate) process: Option<Running>,
}

/// A process as it was started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) arguments: Vec<String>,
    /// It works in another folder than the one that was looked at: that one.
    pub(crate) elsewhere: Option<String>,
    /// Nothing where we may not read it.
    pub(crate) environment: Option<Variables>,
}

#[derive(Debug, Clone)]
pub(crate) struct VariableFile {
    pub(crate) name: String,
    pub(crate) assignments: Vec<Assignment>,
}

#[derive(Debug, Clone)]
pub(crate) struct TextFile {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// A value, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) value: String,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    File {
        name: String,
        line: usize,
    },
    /// The environment of this command: what runs may have another.
    Command,
    Process {
        what: &'static str,
        pid: u32,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Command => f.write_str("environment"),
            Self::Process { what, pid } => write!(f, "environment of {what} (pid {pid})"),
        }
    }
}

pub(crate) fn variable<'v>(variables: &'v [(String, String)], name: &str) -> Option<&'v str> {
    variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

impl VariableFile {
    /// Of several lines that set a variable the last one counts.
    pub(crate) fn get(&self, name: &str) -> Option<Given> {
        let found = self.assignments.iter().rev().find(|one| one.key == name)?;
        let origin = Origin::File { name: self.name.clone(), line: found.line };
        Some(Given { value: found.value.clone(), origin })
    }
}

impl Listens {
    fn environment(&self) -> Option<(u32, &Variables)> {
        let process = self.process.as_ref()?;
        Some((process.pid, process.environment.as_ref()?))
    }
}

impl Setup {
    /// Returns what Vite has of a variable: its environment counts before its files.
    pub(crate) fn of_vite(&self, name: &str) -> Option<Given> {
        let running = self.vite.as_ref().and_then(Listens::environment);
        let (variables, origin) = match running {
            Some((pid, variables)) => (variables, Origin::Process { what: "Vite", pid }),
            None => (&self.command, Origin::Command),
        };
        let given = variable(variables, name)
            .map(|value| Given { value: value.to_owned(), origin: origin.clone() });
        given.or_else(|| self.vite_files.iter().find_map(|file| file.get(name)))
    }

    /// Returns what the server has of a variable: its environment counts before the file in its folder.
    pub(crate) fn of_server(&self, name: &str) -> Option<Given> {
        let running = self.server.as_ref().and_then(Listens::environment);
        let (variables, origin) = match running {
            Some((pid, variables)) => (variables, Origin::Process { what: "the server", pid }),
            None => (&self.command, Origin::Command),
        };
        let given = variable(variables, name)
            .map(|value| Given { value: value.to_owned(), origin: origin.clone() });
        given.or_else(|| self.server_file.as_ref()?.get(name))
    }

    /// Returns everything that is set and read by somebody, with its name.
    pub(crate) fn set(&self) -> Vec<(&'static str, Given)> {
        let of_vite = OF_VITE.iter().filter_map(|name| Some((*name, self.of_vite(name)?)));
        let of_server = OF_SERVER.iter().filter_map(|name| Some((*name, self.of_server(name)?)));
        let mut all: Vec<_> = of_vite.chain(of_server).collect();
        for (name, given) in &mut all {
            if *name == KEY {
                "<redacted>".clone_into(&mut given.value);
            }
        }
        all
    }
}
