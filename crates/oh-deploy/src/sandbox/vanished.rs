//! A sandbox whose folder was removed while it ran.
//!
//! The record went with the folder. What is left to know them by is what the kernel says of each
//! process (that it works in a folder which was below the one that is gone) together with the
//! token that we gave to what we started. Both together make a process ours. One of them alone
//! does not: nginx, which writes its title over its environment, is named and left alone.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use oh_host::instances::SUPERVISOR_SUFFIX;
use oh_host::process::{self, Pid, ProcessDir, ProcessFault, Processes};
use oh_host::spawn::{TOKEN_CHARACTERS_MIN, TOKEN_KEY};
use oh_host::stop::Target;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_term::Answer;
use serde_json::json;

use super::down::{GRACE, stopped};
use super::fault::SandboxFault;
use super::parts::Part;

/// What the kernel puts behind the path of a folder that is gone.
const GONE: &str = " (deleted)";

/// What still works in a folder that is gone.
#[derive(Debug, Default)]
struct Left {
    /// What carries a token of ours, one for each token.
    ours: BTreeMap<String, Target>,
    /// What does not, by pid, with its title.
    others: Vec<(Pid, String)>,
    /// Whether there are processes that we may not look at.
    partial: bool,
}

/// Ends what is ours of a sandbox whose folder is gone, and names the rest.
pub(super) fn down(dir: &str) -> Result<Answer, SandboxFault> {
    let folder = lost_path(Path::new(dir));
    let found = look(&folder)?;
    let targets: Vec<Target> = found.ours.into_values().collect();
    let stopped = stopped(&targets, GRACE)?;
    // What was stopped may have had others below it.
    let left = look(&folder)?;
    let mut human = match (stopped, left.others.is_empty()) {
        (0, true) if found.partial => {
            format!(
                "nothing to do: there is no {dir}, and no process that you may look at is of it\n"
            )
        }
        (0, true) => format!("nothing to do: there is no {dir}, and no process is of it\n"),
        (0, false) => format!("there is no {dir}, and so no record of what was started in it\n"),
        _ => format!("down: {stopped} processes stopped; there is no {dir} any more\n"),
    };
    let rows: Vec<_> = left
        .others
        .iter()
        .map(|(pid, title)| json!({ "pid": pid.get(), "title": title }))
        .collect();
    let pids: Vec<String> = left.others.iter().map(|(pid, _)| pid.to_string()).collect();
    if !pids.is_empty() {
        human.push_str("left alone, because nothing but their folder says whose they are:\n");
        for (pid, title) in &left.others {
            human.push_str(&format!("  pid {pid}  {title}\n"));
        }
    }
    let result = json!({
        "stopped": stopped,
        "removed": null,
        "left": rows,
        "looked_at_all": !left.partial,
    });
    let answer = Answer::new(human, result);
    if pids.is_empty() {
        return Ok(answer);
    }
    let words: Vec<&str> = pids.iter().map(String::as_str).collect();
    let kill = Hint::run("where they are the sandbox's", Command::other("kill", &words));
    Ok(answer.exit(Exit::No).hint(kill))
}

fn look(folder: &Path) -> Result<Left, ProcessFault> {
    let all = Processes::look()?;
    let own = Pid::own();
    let mut protected = all.ancestors_of(own);
    protected.push(own);
    let mut left = Left { partial: all.partial, ..Left::default() };
    for pid in process::pids()? {
        let looked = ProcessDir::open(pid).and_then(|process| {
            let works_in = process.working_folder()?;
            Ok((works_in, process))
        });
        let (works_in, process) = match looked {
            Ok(looked) => looked,
            Err(fault) if fault.is_gone() => continue,
            // Whose folder we may not see we could not stop either.
            Err(ProcessFault::Denied { .. }) => {
                left.partial = true;
                continue;
            }
            Err(fault) => return Err(fault),
        };
        if protected.contains(&pid) || !was_below(&works_in, folder) {
            continue;
        }
        match ours(&process) {
            Ok(targets) if targets.is_empty() => {
                left.others.push((pid, process.title().unwrap_or_default()));
            }
            Ok(targets) => {
                for target in targets {
                    let token = target.token.clone().unwrap_or_default();
                    left.ours.entry(token).or_insert(target);
                }
            }
            Err(fault) if fault.is_gone() => {}
            Err(fault) => return Err(fault),
        }
    }
    // One that is dead and waits for its parent has no title, and nothing to be looked at for.
    left.others.retain(|(_, title)| !title.is_empty());
    Ok(left)
}

/// Says whether a folder is gone that was the given one or below it.
fn was_below(works_in: &Path, folder: &Path) -> bool {
    let text = works_in.to_string_lossy();
    text.strip_suffix(GONE).is_some_and(|path| Path::new(path).starts_with(folder))
}

/// Returns the tokens of what a process was started with, and of what watches it; the first is its
/// own.
fn ours(process: &ProcessDir) -> Result<Vec<Target>, ProcessFault> {
    let value = process.environment_value(TOKEN_KEY)?;
    let Some(token) = value.and_then(|value| String::from_utf8(value).ok()) else {
        return Ok(Vec::new());
    };
    let carriers = |token: String| Target { identity: None, token: Some(token) };
    let itself = Target { identity: Some(process.identity()?), token: Some(token.clone()) };
    Ok(match Mark::of(&token) {
        None => Vec::new(),
        Some(Mark::Part) => vec![itself],
        // Its supervisor, which works elsewhere, would start it again.
        Some(Mark::Editor) => vec![carriers(format!("{token}{SUPERVISOR_SUFFIX}")), itself],
    })
}

/// What a token is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// A part that `oh-deploy` started.
    Part,
    /// An editor that `oh-instances` started.
    Editor,
}

impl Mark {
    fn of(token: &str) -> Option<Self> {
        let is_random = |text: &str| {
            text.len() >= TOKEN_CHARACTERS_MIN && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let is_part = |part: &Part| {
            let random = token.strip_suffix(part.slug()).and_then(|rest| rest.strip_suffix('-'));
            random.is_some_and(is_random)
        };
        if Part::ALL.iter().any(is_part) {
            return Some(Self::Part);
        }
        is_random(token).then_some(Self::Editor)
    }
}

/// Returns the path that the kernel would have for a folder that is gone: links are resolved as
/// far as the way to it still exists.
fn lost_path(dir: &Path) -> PathBuf {
    let whole = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    let mut lost: Vec<&OsStr> = Vec::new();
    let mut here = whole.as_path();
    loop {
        if let Ok(real) = here.canonicalize() {
            return lost.iter().rev().fold(real, |path, name| path.join(name));
        }
        match (here.parent(), here.file_name()) {
            (Some(parent), Some(name)) => {
                lost.push(name);
                here = parent;
            }
            _ => return whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_in_the_very_folder_was_in_it() {
        let folder = Path::new("/srv/box");
        let below = |path: &str| was_below(Path::new(path), folder);
        assert!(below("/srv/box (deleted)") && below("/srv/box/var (deleted)"));
        assert!(!below("/srv/box/var") && !below("/srv/box2/var (deleted)"));
        assert!(!below("/srv (deleted)") && !below("/"));
    }

    #[test]
    fn a_token_is_random_and_that_of_a_part_names_it() {
        let random = "0123456789abcdef0123456789abcdef";
        assert_eq!(Mark::of(&format!("{random}-app")), Some(Mark::Part));
        assert_eq!(Mark::of(&format!("{random}-openhands")), Some(Mark::Part));
        assert_eq!(Mark::of(random), Some(Mark::Editor));
        for wrong in ["app", "-app", "0123-app", "x", "", "0123", &format!("{random}x")] {
            assert_eq!(Mark::of(wrong), None, "{wrong}");
        }
        assert_eq!(Mark::of(&format!("{random}g-app")), None);
    }
}
