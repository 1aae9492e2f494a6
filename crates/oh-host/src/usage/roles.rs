//! What the processes of an instance are to the editor, and what goes on in its terminals.
//!
//! The editor's own are known by their arguments and by where they stand in the tree, whatever
//! they call themselves: the kernel's name for all of them is `node` or `MainThread`. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Now, Terminal};
use crate::process::{Pid, ProcessStat};

/// What a process is to the editor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The recorded leader, and what else stands above the server: code-server's first process, a
    /// shim, `su`, `sh`.
    Wrapper,
    /// The process that serves the page.
    Server,
    /// Runs the extensions of one window; may outlive it by hours.
    ExtensionHost,
    /// Holds the terminals.
    PtyHost,
    /// Watches files.
    FileWatcher,
    /// Something else that the editor started: a language server, a search, git.
    Helper,
    /// Leads a terminal's session.
    Shell,
    /// Something that a terminal started, in it or not.
    Job,
}

impl Role {
    /// Returns it as people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wrapper => "wrapper",
            Self::Server => "server",
            Self::ExtensionHost => "extension host",
            Self::PtyHost => "pty host",
            Self::FileWatcher => "file watcher",
            Self::Helper => "helper",
            Self::Shell => "shell",
            Self::Job => "job",
        }
    }
}

/// A process, and what it was started with.
pub(super) struct Known<'a> {
    pub(super) stat: &'a ProcessStat,
    pub(super) arguments: &'a [Vec<u8>],
}

/// How the arguments of VS Code's forks begin that say what each is.
const KIND: &[u8] = b"--type=";
/// The programs of servers, as code-server and VS Code's own start them: always the first argument
/// of node.
const SERVERS: [&[u8]; 2] = [b"/out/node/entry", b"/out/server-main.js"];
/// The names of shells whose arguments are read as sh(1) has them.
const SHELLS: [&str; 13] = [
    "sh", "ash", "bash", "csh", "dash", "elvish", "fish", "ksh", "mksh", "nu", "pwsh", "tcsh",
    "zsh",
];

/// Says what each process is; `leader` is the recorded one, if it lives.
pub(super) fn roles(leader: Option<Pid>, known: &[Known<'_>]) -> BTreeMap<Pid, Role> {
    let by_pid: BTreeMap<Pid, &Known<'_>> = known.iter().map(|one| (one.stat.pid, one)).collect();
    let parent = |one: &Known<'_>| by_pid.get(&one.stat.parent?).copied();
    let own = own_sessions(leader, known, &by_pid);
    // First what a terminal holds: whatever it is called, it is no part of this editor.
    let mut roles: BTreeMap<Pid, Role> = BTreeMap::new();
    for one in known.iter().filter(|one| in_terminal(one.stat, &own)) {
        let leads = one.stat.session == Some(one.stat.pid);
        roles.insert(one.stat.pid, if leads { Role::Shell } else { Role::Job });
    }
    // Then what descends from it, however it has left the terminal.
    let ancestors = |one: &Known<'_>| {
        let mut seen = BTreeSet::new();
        let mut above = Vec::new();
        let mut here = parent(one);
        while let Some(next) = here.filter(|next| seen.insert(next.stat.pid)) {
            above.push(next.stat.pid);
            here = parent(next);
        }
        above
    };
    let of_terminals: BTreeSet<Pid> = roles.keys().copied().collect();
    let mut wrappers = BTreeSet::new();
    for one in known.iter().filter(|one| !of_terminals.contains(&one.stat.pid)) {
        let above = ancestors(one);
        let role = if above.iter().any(|pid| of_terminals.contains(pid)) {
            Role::Job
        } else if let Some(role) = by_arguments(one.arguments) {
            if role == Role::Server {
                wrappers.extend(above);
            }
            role
        } else if Some(one.stat.pid) == leader {
            Role::Wrapper
        } else if above.is_empty() {
            // What started it is gone and it is no part of the editor's: a job that was let go.
            Role::Job
        } else {
            Role::Helper
        };
        roles.insert(one.stat.pid, role);
    }
    for pid in wrappers {
        if roles.get(&pid).is_some_and(|role| matches!(role, Role::Helper | Role::Job)) {
            roles.insert(pid, Role::Wrapper);
        }
    }
    roles
}

/// Returns the terminals, in rising order of their sessions.
pub(super) fn terminals(known: &[Known<'_>], roles: &BTreeMap<Pid, Role>) -> Vec<Terminal> {
    let mut sessions: BTreeMap<Pid, Vec<&Known<'_>>> = BTreeMap::new();
    for one in known {
        let of_terminal = matches!(roles.get(&one.stat.pid), Some(Role::Shell | Role::Job));
        if let Some(session) =
            one.stat.session.filter(|_| of_terminal && one.stat.terminal.is_some())
        {
            sessions.entry(session).or_default().push(one);
        }
    }
    let terminals = sessions.into_iter().map(|(session, inside)| {
        let waiting = matches!(&*inside, [one] if waits_for_input(one));
        let mut jobs: Vec<Pid> = inside.iter().map(|one| one.stat.pid).collect();
        jobs.retain(|pid| *pid != session);
        Terminal { session, jobs, now: if waiting { Now::Waiting } else { Now::Busy } }
    });
    terminals.collect()
}

/// The sessions of the editor itself. An instance that was started by hand may have the terminal of
/// whoever started it: that one was not opened in the instance.
fn own_sessions(
    leader: Option<Pid>,
    known: &[Known<'_>],
    by_pid: &BTreeMap<Pid, &Known<'_>>,
) -> BTreeSet<Pid> {
    if let Some(leader) = leader.and_then(|pid| by_pid.get(&pid)) {
        return leader.stat.session.into_iter().collect();
    }
    let orphan = |one: &&Known<'_>| one.stat.parent.is_none_or(|pid| !by_pid.contains_key(&pid));
    let editors = |one: &&Known<'_>| by_arguments(one.arguments).is_some();
    known.iter().filter(orphan).filter(editors).filter_map(|one| one.stat.session).collect()
}

fn in_terminal(stat: &ProcessStat, own: &BTreeSet<Pid>) -> bool {
    stat.terminal.is_some() && stat.session.is_some_and(|session| !own.contains(&session))
}

fn by_arguments(arguments: &[Vec<u8>]) -> Option<Role> {
    let kind = arguments.iter().find_map(|argument| argument.strip_prefix(KIND));
    match kind {
        Some(b"extensionHost") => return Some(Role::ExtensionHost),
        Some(b"ptyHost") => return Some(Role::PtyHost),
        Some(b"fileWatcher") => return Some(Role::FileWatcher),
        _ => {}
    }
    let program = arguments.get(1)?;
    SERVERS.iter().any(|server| program.ends_with(server)).then_some(Role::Server)
}

/// Says whether it is a shell that asks for a command and not one that runs a script; what cannot
/// be told is not waiting.
fn waits_for_input(one: &Known<'_>) -> bool {
    let Known { stat, arguments } = one;
    stat.session == Some(stat.pid)
        && stat.state == 'S'
        && stat.foreground.is_some()
        && stat.foreground == stat.group
        && SHELLS.contains(&stat.name.as_str())
        && is_interactive(&stat.name, arguments.get(1..).unwrap_or_default())
}

fn is_interactive(shell: &str, arguments: &[Vec<u8>]) -> bool {
    if shell == "pwsh" {
        return arguments.is_empty()
            || arguments.iter().any(|one| one.eq_ignore_ascii_case(b"-noexit"));
    }
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix(b"-") {
            // A script.
            None => return false,
            // bash and fish; the value follows.
            Some(b"-init-file" | b"-rcfile" | b"-init-command" | b"C") => {
                arguments.next();
            }
            Some(long) if long.starts_with(b"-command") => return false,
            Some(long) if long.starts_with(b"-") => {}
            Some(letters) if letters.contains(&b'c') => return false,
            Some(_) => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
    }

    /// `pid parent session terminal arguments…`, as a real editor's processes were seen.
    fn roles_of(leader: Option<u32>, lines: &[(u32, u32, u32, u32, &str)]) -> Vec<Role> {
        let pid = |number| Pid::new(number).unwrap();
        let stats: Vec<ProcessStat> = (lines.iter())
            .map(|(number, parent, session, terminal, line)| ProcessStat {
                pid: pid(*number),
                name: line.split(['/', ' ']).next().unwrap_or_default().to_owned(),
                state: 'S',
                parent: Some(pid(*parent)),
                group: Some(pid(*session)),
                session: Some(pid(*session)),
                terminal: Some(*terminal).filter(|terminal| *terminal != 0),
                foreground: Some(pid(*session)),
                start_time_ticks: 1,
                cpu_ticks: 0,
                cpu_ticks_of_children: 0,
                resident_pages: 0,
                threads: 1,
                is_kernel: false,
            })
            .collect();
        let arguments: Vec<Vec<Vec<u8>>> = lines.iter().map(|(.., line)| words(line)).collect();
        let known: Vec<Known<'_>> = (stats.iter().zip(&arguments))
            .map(|(stat, arguments)| Known { stat, arguments })
            .collect();
        roles(leader.map(pid), &known).into_values().collect()
    }

    const EDITOR: [(u32, u32, u32, u32, &str); 11] = [
        (10, 2, 10, 0, "node /opt/code-server/out/node/entry.js --auth none"),
        (11, 10, 10, 0, "node /opt/code-server/out/node/entry"),
        (12, 11, 10, 0, "node /opt/out/bootstrap-fork --type=extensionHost --transformURIs"),
        (13, 11, 10, 0, "node /opt/out/bootstrap-fork --type=fileWatcher"),
        (14, 11, 10, 0, "node /opt/out/bootstrap-fork --type=ptyHost --logsPath /l"),
        (15, 12, 10, 0, "node /opt/jsonServerMain --node-ipc --clientProcessId=12"),
        (16, 14, 16, 34816, "bash --init-file /opt/shellIntegration-bash.sh"),
        (17, 16, 16, 34816, "sleep 300"),
        (18, 16, 18, 0, "sleep 301"),
        // A second editor, started by hand in a terminal of the first.
        (19, 16, 16, 34816, "node /opt/code-server/out/node/entry.js"),
        (20, 19, 16, 34816, "node /opt/code-server/out/node/entry"),
    ];

    #[test]
    fn an_editors_processes_are_told_apart() {
        use Role::{ExtensionHost, FileWatcher, Helper, Job, PtyHost, Server, Shell, Wrapper};
        let all = [
            Wrapper,
            Server,
            ExtensionHost,
            FileWatcher,
            PtyHost,
            Helper,
            Shell,
            Job,
            Job,
            Job,
            Job,
        ];
        assert_eq!(roles_of(Some(10), &EDITOR), all);
        // Its leader is gone: the rest is what it was.
        assert_eq!(roles_of(None, &EDITOR[1..]), all[1..]);
        // Started by hand, it has the terminal of whoever did.
        let by_hand =
            EDITOR.map(|line| if line.2 == 10 { (line.0, line.1, 9, 34817, line.4) } else { line });
        assert_eq!(roles_of(Some(10), &by_hand), all);
        // OpenHands' way: a server below shells.
        let below_shells = [
            (10, 2, 10, 0, "su - root"),
            (11, 10, 10, 0, "sh -c x"),
            (12, 11, 10, 0, "node /opt/out/server-main.js --port 1"),
            (13, 12, 10, 0, "node /opt/out/bootstrap-fork --type=ptyHost"),
        ];
        assert_eq!(roles_of(Some(10), &below_shells), [Wrapper, Wrapper, Server, PtyHost]);
    }

    #[test]
    fn only_a_shell_that_asks_is_interactive() {
        for line in [
            "bash",
            "bash --init-file /opt/vs code-server/shellIntegration-bash.sh",
            "-bash",
            "bash -l",
            "zsh -i",
            "fish --init-command source",
            "sh",
            "pwsh -NoExit -Command x",
        ] {
            let line = line.replace("vs code", "vs-code");
            let words = words(&line);
            let name = line.trim_start_matches('-').split(' ').next().unwrap();
            assert!(is_interactive(name, &words[1..]), "{line}");
        }
        for line in [
            "bash -c x",
            "bash -lc x",
            "sh script",
            "bash --norc script",
            "fish -c x",
            "fish --command=x",
            "zsh -ic x",
            "pwsh -Command x",
            "bash --init-file f script",
        ] {
            let words = words(line);
            let name = line.split(' ').next().unwrap();
            assert!(!is_interactive(name, &words[1..]), "{line}");
        }
    }
}
