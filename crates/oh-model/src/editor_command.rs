//! The command line of an editor, as the kernel shows it and as the original application wrote it.
//!
//! Editors are programs of node, so the kernel's name for all of them is `node` or `MainThread`, and
//! only the process that was started first has its options among its arguments; what listens is its
//! child. Arguments are what whoever started a process wrote: they say what it is meant to be, and
//! prove nothing to anybody but that user.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use crate::port::Port;

/// How the folders of settings were named that the original application gave to editors, over its
/// versions; `{port}`, or a name and `-{port}`, are behind.
pub const DATA_FOLDERS: [&str; 3] =
    ["/tmp/code-server-userdata-", "/tmp/code-server-config-", "/tmp/code-server-"];

/// The names of what editors are started as: a script, or what that starts.
const PROGRAMS: [&str; 5] =
    ["code-server", "entry.js", "entry", "openvscode-server", "server-main.js"];

/// What runs a part of an editor, such as its terminals, beside the program itself.
const PARTS: [&str; 1] = ["bootstrap-fork"];

/// Says whether arguments, the program first, are those of a part that an editor starts.
pub fn is_part(arguments: &[Vec<u8>]) -> bool {
    runs_one_of(arguments, &PARTS)
}

/// What runs a script that is named to it as its first argument, in whatever way it is named.
const INTERPRETERS: [&str; 5] = ["node", "nodejs", "sh", "bash", "dash"];

/// Says whether one of these is run, by itself or by an interpreter.
fn runs_one_of(arguments: &[Vec<u8>], names: &[&str]) -> bool {
    let is_one = |word: Option<&Vec<u8>>, names: &[&str]| {
        let name = word.and_then(|word| word.rsplit(|byte| *byte == b'/').next());
        name.is_some_and(|name| names.iter().any(|known| name == known.as_bytes()))
    };
    // Others run scripts too, and look at files; those are named as they were typed.
    let is_absolute = arguments.get(1).is_some_and(|word| word.starts_with(b"/"));
    let is_named = is_absolute || is_one(arguments.first(), &INTERPRETERS);
    is_one(arguments.first(), names) || (is_named && is_one(arguments.get(1), names))
}

/// A command line that is an editor's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditorCommand {
    arguments: Vec<String>,
}

impl EditorCommand {
    /// Reads arguments, the program first; `None` for any other program.
    pub fn read(arguments: &[Vec<u8>]) -> Option<Self> {
        let text = |word: &Vec<u8>| String::from_utf8_lossy(word).into_owned();
        runs_one_of(arguments, &PROGRAMS)
            .then(|| Self { arguments: arguments.iter().map(text).collect() })
    }

    /// Says whether it was told to listen on a port.
    pub fn has_port(&self, port: Port) -> bool {
        self.ports().any(|own| own == port.to_string())
    }

    /// Returns the port that it was told to listen on; `None` where there is none, or several.
    pub fn port(&self) -> Option<Port> {
        let mut ports = self.ports();
        let first = ports.next()?;
        if ports.any(|other| other != first) {
            return None;
        }
        Port::new(first.parse().ok()?)
    }

    /// Says whether it was told to listen on a unix socket.
    pub fn has_socket(&self) -> bool {
        self.values("--socket").chain(self.values("--socket-path")).next().is_some()
    }

    fn ports(&self) -> impl Iterator<Item = &str> {
        let addresses = self.values("--bind-addr");
        let of_addresses = addresses.filter_map(|address| Some(address.rsplit_once(':')?.1));
        of_addresses.chain(self.values("--port"))
    }

    /// Returns the folders that it was given for its own things: settings, extensions, server data.
    pub fn own_folders(&self) -> impl Iterator<Item = &str> {
        let options = ["--user-data-dir", "--extensions-dir", "--server-data-dir"];
        options.into_iter().flat_map(|option| self.values(option))
    }

    /// Says whether its settings are in one of the original application's folders for a port; `base`
    /// is put before them.
    pub fn is_original(&self, base: &str, port: Port) -> bool {
        let port = port.to_string();
        self.values("--user-data-dir").any(|folder| {
            let behind = |start: &&str| folder.strip_prefix(base)?.strip_prefix(*start);
            let rest = DATA_FOLDERS.iter().find_map(behind);
            rest.is_some_and(|rest| {
                !rest.contains('/') && (rest == port || rest.ends_with(&format!("-{port}")))
            })
        })
    }

    /// Says whether it was told to open a path.
    pub fn names(&self, path: &str) -> bool {
        self.arguments.iter().any(|word| word == path)
    }

    /// The values of an option, in both forms.
    fn values(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let arguments = &self.arguments;
        arguments.iter().enumerate().filter_map(move |(at, word)| {
            match word.strip_prefix(name)? {
                "" => arguments.get(at + 1).map(String::as_str),
                glued => glued.strip_prefix('='),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn read(line: &str) -> Option<EditorCommand> {
        let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        EditorCommand::read(&words)
    }

    #[test]
    fn an_editor_is_known_by_what_is_run_and_not_by_what_is_said() {
        for editor in [
            "node /usr/lib/code-server/out/node/entry.js --auth none",
            "/usr/lib/code-server/lib/node /usr/lib/code-server --bind-addr 127.0.0.1:8888",
            "/usr/bin/code-server",
            "node /opt/openvscode/out/server-main.js --port 3000",
        ] {
            assert!(read(editor).is_some(), "{editor}");
        }
        for other in [
            "vim code-server.conf",
            "bash -c sleep 10 #code-server",
            "ssh host code-server",
            "tail -f /tmp/code-server-8888.log",
            "node /srv/app/index.js code-server",
            "vim entry.js",
            "man code-server",
            "sh -c code-server",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(EditorCommand::read(&[]), None);
        assert_eq!(EditorCommand::read(&[vec![0xff]]), None);
    }

    #[test]
    fn its_port_and_its_folders_are_read_in_both_forms() {
        let glued =
            read("node entry.js --bind-addr=127.0.0.1:8888 --user-data-dir=/tmp/a").unwrap();
        let apart =
            read("node entry.js --port 8888 --user-data-dir /tmp/a --extensions-dir /tmp/b");
        let apart = apart.unwrap();
        let port = Port::new(8888).unwrap();
        assert_eq!((glued.port(), apart.port()), (Some(port), Some(port)));
        assert!(glued.has_port(port) && apart.has_port(port));
        assert_eq!(glued.own_folders().collect::<Vec<_>>(), ["/tmp/a"]);
        assert_eq!(apart.own_folders().collect::<Vec<_>>(), ["/tmp/a", "/tmp/b"]);
        let two = read("node entry.js --bind-addr 127.0.0.1:8888 --port 8889").unwrap();
        assert_eq!(two.port(), None);
    }

    #[test]
    fn the_original_applications_folders_have_the_port_in_their_names() {
        let original = |folder: &str| {
            let line = format!("node entry.js --user-data-dir {folder}");
            read(&line).unwrap().is_original("/root", Port::new(8888).unwrap())
        };
        for folder in [
            "/root/tmp/code-server-userdata-hello-8888",
            "/root/tmp/code-server-config-8888",
            "/root/tmp/code-server-hello-8888",
        ] {
            assert!(original(folder), "{folder}");
        }
        for folder in [
            "/tmp/code-server-userdata-hello-8888",
            "/root/tmp/code-server-userdata-hello-8889",
            "/root/tmp/code-server-userdata-hello/x-8888",
            "/root/tmp/code-server-18888",
        ] {
            assert!(!original(folder), "{folder}");
        }
    }
}
