//! The command lines of OpenHands and of what its servers start, as the kernel shows them.
//!
//! OpenHands starts the servers of its conversations as children of its own, and each of those starts
//! further ones: kernels of Jupyter, an editor, the terminals of tmux. All of them are programs that
//! others use too, and arguments are what whoever started a process wrote. So what is read here says
//! what a process is meant to be; whether it is OpenHands' is for its folder, its user and its parents
//! to say.
//!
//! As in OpenHands 0.40 to 1.6 (`runtime/impl/local`, `runtime/plugins`) and in its agent server.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use crate::editor_command::EditorCommand;
use crate::port::Port;

/// The module of the server of a conversation, up to 1.6.
const ACTION_SERVER: &str = "openhands.runtime.action_execution_server";

/// The module of the server of a conversation since then.
const AGENT_SERVER: &str = "openhands.agent_server";

/// The modules that are OpenHands itself: its server, and without one its command line, which starts
/// the servers of conversations as well.
const APPS: [&str; 4] =
    ["openhands.server", "openhands.app_server", "openhands.core.main", "openhands.cli"];

/// What serves an application that is named to it.
const WEB_SERVERS: [&str; 2] = ["uvicorn", "gunicorn"];

/// How the sessions of tmux are called that OpenHands makes.
const SESSION: &str = "openhands-";

/// The one place in which OpenHands looks for an editor.
const EDITOR: &str = "/openhands/.openvscode-server/bin/openvscode-server ";

/// How OpenHands starts the server of the kernels.
const KERNEL_GATEWAY: &str = " -m jupyter kernelgateway ";

/// Options of Python without a value.
const PYTHON_FLAGS: &str = "bBdEhiIOPqRsSuvVx";

const SHELLS: [&str; 3] = ["sh", "bash", "dash"];

/// What a process is to OpenHands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// OpenHands itself.
    App,
    /// The server of a conversation, up to 1.6.
    ActionServer {
        /// The folder in which its agent works.
        folder: Option<String>,
        /// Where it listens.
        port: Option<Port>,
    },
    /// The server of a conversation since then; it works in its folder.
    AgentServer {
        /// Where it listens.
        port: Option<Port>,
    },
    /// Kernels of Jupyter, or the server of them.
    Kernels,
    /// The terminals of agents: a server of tmux, which has the arguments of the client that needed it.
    Terminals {
        /// The folder of the first of them.
        folder: Option<String>,
    },
    /// An editor with the options that OpenHands gives to one.
    Editor,
    /// A shell that was given the text with which OpenHands starts kernels or an editor.
    Starter,
    /// A shell, or su(1), without anything that tells it from others: it reads what a
    /// [`Part::Starter`] hands to it.
    Shell,
}

impl Part {
    /// Reads arguments, the program first; `None` for any other program.
    pub fn read(arguments: &[Vec<u8>]) -> Option<Self> {
        // What is no text is no option of OpenHands'.
        let words: Vec<String> =
            arguments.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let first = name(words.first()?);
        if is_python(first) {
            return of_python(words.get(1..)?);
        }
        if first == "tmux" {
            return terminals(words.get(1..)?);
        }
        if first == "openhands-agent-server" {
            return Some(Self::AgentServer { port: port(words.get(1..)?) });
        }
        if is_editor(arguments, &words) {
            return Some(Self::Editor);
        }
        of_shell(&words)
    }
}

/// Says whether these are the arguments of a user's systemd, to which orphans of that user come.
pub fn takes_orphans(arguments: &[Vec<u8>]) -> bool {
    let is_systemd = arguments.first().is_some_and(|word| {
        word.rsplit(|byte| *byte == b'/').next().is_some_and(|name| name == b"systemd")
    });
    is_systemd && arguments.iter().skip(1).any(|word| word == b"--user")
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// `python`, `python3`, `python3.12`.
fn is_python(name: &str) -> bool {
    let version = name.strip_prefix("python");
    version.is_some_and(|rest| rest.chars().all(|one| one.is_ascii_digit() || one == '.'))
}

/// Reads what Python was given: its options, then a module or a script.
fn of_python(words: &[&str]) -> Option<Part> {
    let mut at = 0;
    loop {
        let word = *words.get(at)?;
        match word.strip_prefix('-') {
            Some("m") => return of_module(words.get(at + 1)?, words.get(at + 2..)?),
            Some("X" | "W") => at += 2,
            Some(flags) if is_flags(flags) => at += 1,
            // A script that is installed is named in full; others are files that somebody looks at.
            None if word.starts_with('/') => return of_script(name(word), words.get(at + 1..)?),
            _ => return None,
        }
    }
}

fn is_flags(flags: &str) -> bool {
    !flags.is_empty() && flags.chars().all(|one| PYTHON_FLAGS.contains(one))
}

fn of_module(module: &str, rest: &[&str]) -> Option<Part> {
    let is = |known: &str| {
        module.strip_prefix(known).is_some_and(|below| below.is_empty() || below.starts_with('.'))
    };
    if module == ACTION_SERVER {
        let folder = value(rest, "--working-dir").map(str::to_string);
        let port = rest.first().and_then(|word| Port::new(word.parse().ok()?));
        return Some(Part::ActionServer { folder, port });
    }
    if is(AGENT_SERVER) {
        return Some(Part::AgentServer { port: port(rest) });
    }
    if APPS.into_iter().any(is) {
        return Some(Part::App);
    }
    match module {
        "ipykernel_launcher" | "ipykernel" => Some(Part::Kernels),
        module => of_script(module, rest),
    }
}

fn of_script(script: &str, rest: &[&str]) -> Option<Part> {
    let served = |known: &str| {
        let below = |word: &&str| {
            word.strip_prefix(known).is_some_and(|below| below.starts_with(['.', ':']))
        };
        rest.iter().any(below)
    };
    match script {
        "jupyter-kernelgateway" => Some(Part::Kernels),
        "jupyter" if rest.first() == Some(&"kernelgateway") => Some(Part::Kernels),
        "agent-server" => Some(Part::AgentServer { port: port(rest) }),
        "openhands" => Some(Part::App),
        script if WEB_SERVERS.contains(&script) && APPS.into_iter().any(served) => Some(Part::App),
        script if WEB_SERVERS.contains(&script) && served(AGENT_SERVER) => {
            Some(Part::AgentServer { port: port(rest) })
        }
        _ => None,
    }
}

/// Reads what tmux was given, where it made a session of OpenHands'.
fn terminals(words: &[&str]) -> Option<Part> {
    let at = words.iter().position(|word| *word == "new-session")?;
    let rest = words.get(at + 1..)?;
    let is_openhands = short(rest, "-s").is_some_and(|name| name.starts_with(SESSION));
    is_openhands.then(|| Part::Terminals { folder: short(rest, "-c").map(str::to_string) })
}

/// The value of an option of one letter, in both forms.
fn short<'w>(words: &[&'w str], option: &str) -> Option<&'w str> {
    words.iter().enumerate().find_map(|(at, word)| match word.strip_prefix(option)? {
        "" => words.get(at + 1).copied(),
        glued => Some(glued),
    })
}

/// The value of a long option, in both forms.
fn value<'w>(words: &[&'w str], option: &str) -> Option<&'w str> {
    words.iter().enumerate().find_map(|(at, word)| match word.strip_prefix(option)? {
        "" => words.get(at + 1).copied(),
        glued => glued.strip_prefix('='),
    })
}

fn port(words: &[&str]) -> Option<Port> {
    Port::new(value(words, "--port")?.parse().ok()?)
}

/// Says whether an editor has all the options that OpenHands gives to one.
fn is_editor(arguments: &[Vec<u8>], words: &[&str]) -> bool {
    EditorCommand::read(arguments).is_some()
        && value(words, "--host") == Some("0.0.0.0")
        && value(words, "--connection-token").is_some()
        && words.contains(&"--disable-workspace-trust")
}

fn of_shell(words: &[&str]) -> Option<Part> {
    let first = words.first()?;
    let is_shell = SHELLS.contains(&name(first).trim_start_matches('-'));
    match words {
        [_, "-c", text] if is_shell => {
            let is_fed = text.starts_with("su - ") || text.starts_with("/bin/bash << 'EOF'\n");
            let is_known = text.contains(EDITOR) || text.contains(KERNEL_GATEWAY);
            (is_fed && is_known && text.trim_end().ends_with("\nEOF")).then_some(Part::Starter)
        }
        [_] if is_shell => Some(Part::Shell),
        [su, "-", _, "-s", shell] if name(su) == "su" && *shell == "/bin/bash" => Some(Part::Shell),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
