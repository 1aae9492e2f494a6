//! What editors and OpenHands leave behind: where it lies, by patterns that name one folder each.
//!
//! A pattern is an absolute path with at most one `*`, which stands for any bytes of one name. It is
//! made to be dangerous in as few ways as can be: the folder is named in full, so that nothing else is
//! searched, and where a folder is everybody's or the system's, the name has to begin with enough to
//! be somebody's. Whether a thing that has such a name may be taken is decided by what it is, whose it
//! is and who uses it, and not here.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use core::fmt;

use thiserror::Error;

use crate::path::{InRoot, PathFault};
use crate::port::Port;

/// How many characters a name has to begin with in a folder of the system.
pub const PREFIX_CHARACTERS_MIN: usize = 5;

/// The folders of the system, of which no pattern may name all that is in them.
const SYSTEM_FOLDERS: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/backups",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/mail",
    "/var/opt",
    "/var/spool",
    "/var/tmp",
    "/var/www",
    "/var/www/github",
];

/// The folders that no pattern may lie in, however deep: the system's, and the toolkit's own.
const NEVER: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/run/openhands-toolkit",
    "/sbin",
    "/sys",
    "/usr",
    "/var/backups",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/mail",
    "/var/run",
    "/var/spool",
];

/// Where homes are: nothing is a left-over that is a home, or in a hidden folder of one.
const HOMES: [&str; 2] = ["/home", "/root"];

/// What the names of workspaces begin with, which have a random word behind the id.
const OF_WORKSPACES: &str = "openhands_workspace_";

/// How the names of logs end.
const OF_LOGS: &str = ".log";

/// What the names of left-overs begin with that have an id behind it, the longest first.
const BEFORE_IDS: [&str; 8] = [
    "code-server-extensions-",
    "code-server-userdata-",
    "code-server-config-",
    "openhands-agent-server-",
    OF_WORKSPACES,
    "code-server-",
    "vscode-agent-",
    "",
];

/// Returns the ids, folded, that the name of a left-over may speak of: what is behind the word that it
/// begins with, with and without what applications put behind an id (`-PORT`, `_RANDOM`, `.log`).
pub fn ids(name: &str) -> BTreeSet<String> {
    let rest = behind(name).1;
    let bare = rest.strip_suffix(OF_LOGS).unwrap_or(rest);
    let without_random = bare.rsplit_once('_').map(|(id, _)| id);
    let all = [Some(rest), Some(bare), without_port(bare), without_random];
    let all = all.into_iter().flatten().filter(|id| !id.is_empty());
    all.map(str::to_ascii_lowercase).collect()
}

/// Returns the id, folded, that the name of a left-over most likely speaks of; `None` where it begins with
/// no word that has an id behind it, or has but a port.
pub fn id(name: &str) -> Option<String> {
    let (before, rest) = behind(name);
    let bare = rest.strip_suffix(OF_LOGS).unwrap_or(rest);
    let id = match before {
        "" => None,
        OF_WORKSPACES => bare.rsplit_once('_').map(|(id, _)| id),
        _ => without_port(bare),
    };
    let id = id.unwrap_or(bare);
    (!before.is_empty() && !id.is_empty() && !is_digits(id)).then(|| id.to_ascii_lowercase())
}

/// Returns the port in the name of a left-over of an editor: its last word, or all that is behind what it
/// begins with.
pub fn port(name: &str) -> Option<Port> {
    let (before, rest) = behind(name);
    let bare = rest.strip_suffix(OF_LOGS).unwrap_or(rest);
    let word = bare.rsplit_once('-').map_or(bare, |(_, word)| word);
    let is_told = !before.is_empty() && before != OF_WORKSPACES && is_digits(word);
    is_told.then(|| word.parse::<u64>().ok().and_then(Port::new)).flatten()
}

/// Parts the name of a left-over: what it begins with, and what is behind that.
fn behind(name: &str) -> (&'static str, &str) {
    let parted = BEFORE_IDS.iter().find_map(|before| Some((*before, name.strip_prefix(before)?)));
    parted.unwrap_or(("", name))
}

fn without_port(text: &str) -> Option<&str> {
    text.rsplit_once('-').filter(|(_, port)| is_digits(port)).map(|(id, _)| id)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Says why a text is no pattern of left-overs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternFault {
    /// It is no path.
    #[error(transparent)]
    Path(#[from] PathFault),
    /// It has a `*` in a folder, or two of them, or another character of a shell's patterns.
    #[error("a pattern has one `*` at most, in its last part, and none of `? [ ] {{ }} ~ $`")]
    Shape,
    /// It lies in a folder of the system in which nothing is left over.
    #[error("nothing in {0} is a left-over")]
    Never(&'static str),
    /// It would take all that is in a folder of the system, or somebody's home.
    #[error(
        "in {0} a name begins with at least {PREFIX_CHARACTERS_MIN} characters before its `*`: others \
         have things there"
    )]
    Wide(String),
}

/// Where left-overs lie.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    folder: InRoot,
    before: String,
    /// What the name ends with behind the `*`; `None` where there is no `*`.
    behind: Option<String>,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternFault`].
    pub fn parse(text: &str) -> Result<Self, PatternFault> {
        let path = InRoot::parse(text)?;
        let (folder, name) = (path.parent(), path.name());
        let odd = ['?', '[', ']', '{', '}', '~', '$', '\\'];
        if folder.as_str().contains('*') || text.contains(odd) || name.is_empty() {
            return Err(PatternFault::Shape);
        }
        let (before, behind) = match name.split_once('*') {
            None => (name, None),
            Some((_, behind)) if behind.contains('*') => return Err(PatternFault::Shape),
            Some((before, behind)) => (before, Some(behind.to_string())),
        };
        let within = |above: &&&str| {
            let below = text.strip_prefix(**above);
            below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
        };
        if let Some(never) = NEVER.iter().find(within) {
            return Err(PatternFault::Never(never));
        }
        let of_homes = HOMES.iter().find(within);
        let is_hidden = text.split('/').any(|part| part.starts_with('.'));
        if let Some(homes) = of_homes.filter(|_| is_hidden || folder.as_str() == "/home") {
            return Err(PatternFault::Never(homes));
        }
        let is_home = folder.parent().as_str() == "/home" || folder.as_str() == "/root";
        let is_shared = is_home || SYSTEM_FOLDERS.contains(&folder.as_str());
        let is_system = SYSTEM_FOLDERS.contains(&text);
        if is_system || (is_shared && before.chars().count() < PREFIX_CHARACTERS_MIN) {
            return Err(PatternFault::Wide(folder.to_string()));
        }
        Ok(Self { folder, before: before.into(), behind })
    }

    /// The folder in which its things lie.
    pub fn folder(&self) -> &InRoot {
        &self.folder
    }

    /// Says whether a name in the folder is one that it names.
    pub fn names(&self, name: &[u8]) -> bool {
        match (&self.behind, name.strip_prefix(self.before.as_bytes())) {
            (_, None) => false,
            (None, Some(rest)) => rest.is_empty(),
            (Some(behind), Some(rest)) => rest.ends_with(behind.as_bytes()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.folder.as_str().trim_end_matches('/'), self.before)?;
        match &self.behind {
            Some(behind) => write!(f, "*{behind}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_one_folder_and_the_names_in_it() {
        for (pattern, folder, named, others) in [
            (
                "/tmp/code-server-*",
                "/tmp",
                ["code-server-userdata-a-8888", "code-server-"].as_slice(),
                ["code-server", "my-code-server-1", "vscode-agent-1"].as_slice(),
            ),
            (
                "/tmp/vscode-ipc-*.sock",
                "/tmp",
                ["vscode-ipc-1.sock"].as_slice(),
                ["vscode-ipc-1.sock.bak", "vscode-ipc-"].as_slice(),
            ),
            (
                "/var/www/vscode-workspaces/*",
                "/var/www/vscode-workspaces",
                ["a", "\n"].as_slice(),
                [].as_slice(),
            ),
            (
                "/tmp/openhands-tmux",
                "/tmp",
                ["openhands-tmux"].as_slice(),
                ["openhands-tmux-1"].as_slice(),
            ),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(parsed.to_string(), pattern);
            assert_eq!(parsed.folder().as_str(), folder);
            for name in named {
                assert!(parsed.names(name.as_bytes()), "{pattern} {name}");
            }
            for name in others {
                assert!(!parsed.names(name.as_bytes()), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn what_would_take_more_than_it_says_is_no_pattern() {
        for dangerous in [
            "",
            "/",
            "/*",
            "*",
            "tmp/code-server-*",
            "./code-server-*",
            "~/code-server-*",
            "$HOME/code-server-*",
            "${TMP}/x",
            "/tmp",
            "/tmp/",
            "/tmp/*",
            "/tmp/c*",
            "/tmp/code*",
            "/tmp/../etc/*",
            "/tmp/./a*",
            "/tmp//code-server-*",
            "/tmp/*/code-server-1",
            "/*/code-server-*",
            "/tmp/code-server-*-*",
            "/tmp/code-server-?",
            "/tmp/code-server-[0-9]",
            "/tmp/{a,b}",
            "/tmp/code-server-\n*",
            "/home/*",
            "/home/ubuntu/*",
            "/home/ubuntu/.c*",
            "/root/*",
            "/root",
            "/etc/nginx/conf.d/*",
            "/etc",
            "/usr/lib/code-server-*",
            "/usr",
            "/usr/local/bin/code-server-*",
            "/var/*",
            "/var/lib/*",
            "/var/www/*",
            "/var/www/github/*",
            "/dev/shm/code-server-*",
            "/proc/1234567",
            "/home/ubuntu",
            "/var/run/openhands-*",
            "/lib32/openhands*",
            "/home/ubuntu/.ssh/*",
            "/root/.ssh/*",
            "/var/lib/dpkg/*",
            "/var/lib/openhands-toolkit",
            "/sys/a",
            "/boot/vmlinuz*",
            "/var/tmp/*",
            "/home",
            "/srv/*",
            "/run/*",
        ] {
            assert!(Pattern::parse(dangerous).is_err(), "{dangerous:?} is taken for a pattern");
        }
    }

    #[test]
    fn a_name_speaks_of_an_id_and_of_no_part_of_one() {
        for (name, of, others) in [
            ("code-server-userdata-Hello-World-8888", "hello-world", ["hello", "world", "8888"]),
            ("code-server-hello-8888", "hello", ["userdata-hello", "8888", "server"]),
            ("vscode-agent-a-1-8888", "a-1", ["a", "1", "agent"]),
            ("openhands_workspace_0123abc_x1y2", "0123abc", ["0123", "x1y2", "workspace"]),
            ("code-server-extensions-8888", "8888", ["extensions", "", "888"]),
            ("3f2c9a", "3f2c9a", ["3f2c", "", "9a"]),
        ] {
            let ids = ids(name);
            assert!(ids.contains(of), "{name}: {ids:?}");
            assert!(!others.iter().any(|other| ids.contains(*other)), "{name}: {ids:?}");
        }
        assert!(ids("code-server-").is_empty());
    }

    #[test]
    fn a_log_speaks_of_the_id_and_the_port_of_its_editor() {
        for (name, of, told, on) in [
            ("code-server-one-8888.log", "one", Some("one"), Some(8888)),
            ("code-server-A.log", "a", Some("a"), None),
            ("code-server-8888.log", "8888", None, Some(8888)),
            ("code-server-userdata-a_b-8889", "a_b", Some("a_b"), Some(8889)),
            ("openhands_workspace_0123abc_8888", "0123abc", Some("0123abc"), None),
            ("code-server-a-99999.log", "a", Some("a"), None),
            ("vscode-agent-a-+8888", "a-+8888", Some("a-+8888"), None),
            ("3f2c-8888", "3f2c", None, None),
        ] {
            assert!(ids(name).contains(of), "{name}: {:?}", ids(name));
            let port = port(name).map(|port| u64::from(port.get()));
            assert_eq!((id(name).as_deref(), port), (told, on), "{name}");
        }
    }

    #[test]
    fn each_fault_says_what_a_pattern_is() {
        let said = |text: &str| Pattern::parse(text).unwrap_err().to_string();
        assert_eq!(said("/usr/lib/x-*"), "nothing in /usr is a left-over");
        assert_eq!(
            said("/tmp/*"),
            "in /tmp a name begins with at least 5 characters before its `*`: others have things there"
        );
        assert_eq!(
            said("/tmp/*/x"),
            "a pattern has one `*` at most, in its last part, and none of `? [ ] { } ~ $`"
        );
        assert_eq!(said("tmp/x"), "a path begins with `/`");
    }
}
