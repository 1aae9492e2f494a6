//! The journal of a cleanup: its plan, what it was about to do, and what became of it.
//!
//! Whatever can be undone is written down before it is done, with all that undoing needs. A run that
//! was killed leaves a last line that says what it was about to do; whether it did is seen on the disk.

use std::collections::{BTreeMap, BTreeSet};

use oh_host::boot::BootId;
use oh_host::journal::{self, Journal, JournalFault, Told};
use oh_host::process::Pid;
use oh_host::quarantine::{Number, Place, Thing};
use oh_host::root::Root;
use oh_model::container::{Engine, Listed};
use oh_model::id::InstanceId;
use oh_model::path::{InRoot, RealPath};
use oh_model::run::RunId;
use serde::{Deserialize, Serialize};

use crate::step::Step;

/// Whose journals they are.
pub(crate) const TOOL: &str = "cleanup";

/// How much of all journals a look reads, in bytes: two of the longest that our plans have. Whoever could
/// plant one has no look wait for it, and no memory filled by it.
pub(crate) const LOOK_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// The version of what is written.
pub(crate) const SCHEMA: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    pub(crate) schema: u32,
    pub(crate) tool_version: String,
    pub(crate) boot_id: BootId,
    /// Who ran it: the process and its user.
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    /// Why, as whoever ran it said.
    pub(crate) reason: Option<String>,
    pub(crate) steps: Vec<Step>,
}

/// A further line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Line {
    /// A step is about to be done.
    Begin { step: usize, undo: Undo },
    /// A step was done, or found done.
    Done { step: usize },
    /// A step was not done.
    Failed { step: usize, why: String },
    /// A step was not done: what it was to be done to was looked at and stays as it is.
    Kept { step: usize, why: String },
    /// A step was taken back.
    Undone { step: usize },
    /// What a step had moved is about to be removed for good: from here on it is no whole thing.
    Purging { step: usize },
    /// What a step had moved is gone for good.
    Purged { step: usize },
    /// Whether nginx accepted its configuration when no file of it had been moved yet.
    Judged { accepted: bool },
    /// An undo is about to bring files of nginx back, and whether nginx accepted its configuration before
    /// the first of them was.
    BringingBack { accepted: bool },
    /// The run came to its end.
    End,
}

/// What taking a step back needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Undo {
    /// It cannot be taken back, or needs nothing.
    Nothing,
    /// An instance is wanted running again, as it was before this run or the unfinished one that it goes
    /// on with.
    Wanted(InstanceId),
    /// A thing comes back from its place.
    Moved { thing: Box<Thing>, place: Place },
    /// A container is started again.
    Stopped { engine: Engine, container: Listed },
    /// A database gets its entries back from a copy.
    /// `written` is the digest of what the step writes in its place.
    Copied { path: InRoot, copy: RealPath, sha256: String, written: String },
}

/// What is said of a thing that belongs to an editor.
pub(crate) fn of_editor(what: &str) -> String {
    format!("of {what}")
}

/// What is known of a run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) id: RunId,
    pub(crate) head: Head,
    pub(crate) lines: Vec<Line>,
}

impl Run {
    /// Reads a run.
    pub(crate) fn read(root: &Root, id: &RunId) -> Result<Self, JournalFault> {
        let Told { head, entries } = journal::read(root, TOOL, id)?;
        Ok(Self { id: id.clone(), head, lines: entries })
    }

    /// The same in a look at many; see [`LOOK_BYTES_MAX`].
    pub(crate) fn read_up_to(
        root: &Root,
        id: &RunId,
        left_bytes: &mut u64,
    ) -> Result<Self, JournalFault> {
        let Told { head, entries } = journal::read_up_to(root, TOOL, id, left_bytes)?;
        Ok(Self { id: id.clone(), head, lines: entries })
    }

    /// What can be taken back, in the order in which it was done.
    pub(crate) fn undoable(&self) -> Vec<(usize, &Undo)> {
        let purging = self.purging();
        self.held().into_iter().filter(|(step, _)| !purging.contains(step)).collect()
    }

    /// What is kept of what was done, whole or not, in the order in which it was done.
    pub(crate) fn held(&self) -> Vec<(usize, &Undo)> {
        let gone: BTreeSet<usize> = self
            .lines
            .iter()
            .filter_map(|line| match line {
                Line::Undone { step } | Line::Purged { step } | Line::Kept { step, .. } => {
                    Some(*step)
                }
                _ => None,
            })
            .collect();
        let (mut held, mut known) = (Vec::new(), BTreeMap::new());
        let begun = self.lines.iter().filter_map(|line| match line {
            Line::Begin { undo: Undo::Nothing | Undo::Wanted(_), .. } => None,
            // Whether a step that failed had done anything is seen on the disk.
            Line::Begin { step, undo } => Some((*step, undo)),
            _ => None,
        });
        for (step, undo) in begun.filter(|(step, _)| !gone.contains(step)) {
            // A step that moved another thing than it was to says so behind: that is what is in its place.
            match known.get(&step).and_then(|at: &usize| held.get_mut(*at)) {
                Some(before) => *before = (step, undo),
                None => {
                    known.insert(step, held.len());
                    held.push((step, undo));
                }
            }
        }
        held
    }

    /// The instances that were wanted running before, each with its step.
    pub(crate) fn wanted(&self) -> Vec<(usize, &InstanceId)> {
        let is_undone = |number: usize| self.lines.contains(&Line::Undone { step: number });
        let begun = self.lines.iter().filter_map(|line| match line {
            Line::Begin { step, undo: Undo::Wanted(id) } => Some((*step, id)),
            // As it was written before there was a word for it.
            Line::Begin { step, undo: Undo::Nothing } => match self.head.steps.get(*step) {
                Some(Step::WantStopped(id)) => Some((*step, id)),
                _ => None,
            },
            _ => None,
        });
        begun.filter(|(step, _)| !is_undone(*step)).collect()
    }

    /// The steps whose things were about to be removed for good, and may be half gone.
    pub(crate) fn purging(&self) -> BTreeSet<usize> {
        let purging = self.lines.iter().filter_map(|line| match line {
            Line::Purging { step } => Some(*step),
            _ => None,
        });
        purging.collect()
    }

    /// How much room the thing of a step has, in bytes; 0 for what is none.
    pub(crate) fn room_of(&self, step: usize) -> u64 {
        match self.head.steps.get(step) {
            Some(Step::Move(step)) => step.bytes,
            _ => 0,
        }
    }

    /// Says whether a step was begun: then it found something to do.
    pub(crate) fn has_begun(&self, number: usize) -> bool {
        self.lines.iter().any(|line| matches!(line, Line::Begin { step, .. } if *step == number))
    }

    /// What it was to take of editors that it stopped, and did not come to, or could not; not what was
    /// looked at and kept, and nothing of an editor that stayed.
    pub(crate) fn left(&self) -> impl Iterator<Item = Number> {
        let (mut settled, mut stayed) = (BTreeSet::new(), BTreeSet::new());
        for line in &self.lines {
            match line {
                Line::Done { step } => _ = settled.insert(*step),
                Line::Kept { step, .. } => {
                    settled.insert(*step);
                    stayed.insert(*step);
                }
                Line::Failed { step, .. } => _ = stayed.insert(*step),
                _ => {}
            }
        }
        let steps = || self.head.steps.iter().enumerate();
        let of_those: BTreeSet<String> = steps()
            .filter(|(number, _)| stayed.contains(number))
            .filter_map(|(_, step)| match step {
                Step::Stop(stop) => Some(of_editor(&stop.what)),
                _ => None,
            })
            .collect();
        let left = steps().filter(move |(number, _)| !settled.contains(number));
        left.filter_map(move |(_, step)| match step {
            Step::Move(step) if step.may_change && !of_those.contains(&step.what) => {
                Some(step.thing.number)
            }
            _ => None,
        })
    }

    /// Says whether it came to its end.
    pub(crate) fn is_over(&self) -> bool {
        self.lines.contains(&Line::End)
    }
}

/// Begins the journal of a run, with room for so many bytes of further lines.
pub(crate) fn begin(root: &Root, head: &Head, room_bytes: u64) -> Result<Journal, JournalFault> {
    Journal::begin(root, TOOL, jiff::Timestamp::now(), room_bytes, |_| journal::line(head))
}

/// Begins it in the room that is kept for a full disk; `None` where there is none.
pub(crate) fn begin_in_spare(root: &Root, head: &Head) -> Result<Option<Journal>, JournalFault> {
    Journal::begin_in_spare(root, TOOL, jiff::Timestamp::now(), |_| journal::line(head))
}

/// Makes the first line.
pub(crate) fn head(boot_id: BootId, reason: Option<String>, steps: Vec<Step>) -> Head {
    Head {
        schema: SCHEMA,
        tool_version: env!("CARGO_PKG_VERSION").into(),
        boot_id,
        pid: Pid::own().get(),
        uid: rustix::process::geteuid().as_raw(),
        reason,
        steps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(name: &str) -> Undo {
        let path = InRoot::parse(&format!("/data/{name}")).unwrap();
        let copy = RealPath::parse(&format!("/kept/{name}")).unwrap();
        let [sha256, written] = ["0", "1"].map(|digit| digit.repeat(64));
        Undo::Copied { path, copy, sha256, written }
    }

    fn run(lines: Vec<Line>) -> Run {
        let boot_id = BootId::parse("123e4567-e89b-12d3-a456-426614174000").unwrap();
        Run {
            id: RunId::parse("20261120T030211Z").unwrap(),
            head: head(boot_id, None, Vec::new()),
            lines,
        }
    }

    #[test]
    fn what_was_begun_can_be_taken_back_until_it_was() {
        let (a, b, c, d) = (copied("a"), copied("b"), copied("c"), copied("d"));
        let lines = vec![
            Line::Begin { step: 0, undo: Undo::Nothing },
            Line::Done { step: 0 },
            Line::Begin { step: 1, undo: a.clone() },
            Line::Done { step: 1 },
            Line::Begin { step: 2, undo: b.clone() },
            Line::Failed { step: 2, why: "no".into() },
            Line::Begin { step: 3, undo: c },
            Line::Done { step: 3 },
            Line::Purging { step: 3 },
            Line::Purged { step: 3 },
            Line::Begin { step: 5, undo: a.clone() },
            Line::Kept { step: 5, why: "somebody holds its lock".into() },
            // Killed here: it may be done.
            Line::Begin { step: 4, undo: d.clone() },
        ];
        let run = run(lines);
        assert_eq!(run.undoable(), [(1, &a), (2, &b), (4, &d)]);
        assert!(!run.is_over());
        let mut lines = run.lines;
        lines.push(Line::Undone { step: 1 });
        lines.push(Line::End);
        let run = Run { lines, ..super::tests::run(Vec::new()) };
        assert_eq!(run.undoable(), [(2, &b), (4, &d)]);
        assert!(run.is_over());
        // Half gone: nobody takes that for the whole.
        let mut lines = run.lines;
        lines.push(Line::Purging { step: 2 });
        let run = Run { lines, ..super::tests::run(Vec::new()) };
        assert_eq!(run.undoable(), [(4, &d)]);
        assert_eq!(run.held(), [(2, &b), (4, &d)]);
    }

    #[test]
    fn what_an_editor_left_is_left_by_a_run_that_was_to_take_it() {
        use oh_host::folder::FileKind;
        use oh_model::escaped::Name;

        use crate::step::{Kind, Move, Stop};

        let stop = |what: &str| {
            let (what, why) = (what.to_owned(), String::new());
            Step::Stop(Stop {
                what,
                kind: Kind::Editor,
                id: None,
                leaders: Vec::new(),
                processes: 1,
                why,
            })
        };
        let number = |inode| Number { device: (8, 1), inode, born_ns: None };
        let moved = |inode, what: &str, may_change| {
            Step::Move(Move {
                thing: Thing {
                    folder: RealPath::parse("/tmp").unwrap(),
                    folder_number: number(2),
                    name: Name::new(b"a").unwrap(),
                    number: number(inode),
                    kind: FileKind::Folder,
                    uid: 0,
                    modified_ns: 0,
                    size_bytes: 0,
                    is_mount: false,
                },
                what: what.to_owned(),
                bytes: 0,
                is_session: false,
                is_of_nginx: false,
                is_more: false,
                may_change,
            })
        };
        let (ended, stays) = ("an editor on port 8888", "an editor on port 8889");
        let steps = vec![
            stop(ended),
            stop(stays),
            moved(10, &of_editor(ended), true),
            moved(11, &of_editor(stays), true),
            moved(12, "nobody uses it", false),
            moved(13, &of_editor(ended), true),
        ];
        let lines = vec![
            Line::Done { step: 0 },
            Line::Kept { step: 1, why: "somebody works in it".into() },
            Line::Done { step: 5 },
        ];
        let run = run(lines);
        let run = Run { head: Head { steps, ..run.head.clone() }, ..run };
        assert_eq!(run.left().collect::<Vec<_>>(), [number(10)]);
    }

    #[test]
    fn of_a_step_that_was_begun_twice_the_last_counts() {
        let (meant, stranded, next) = (copied("meant"), copied("stranded"), copied("next"));
        let lines = vec![
            Line::Begin { step: 0, undo: meant },
            Line::Failed { step: 0, why: "another thing had its name".into() },
            Line::Begin { step: 0, undo: stranded.clone() },
            Line::Begin { step: 1, undo: next.clone() },
        ];
        let run = run(lines);
        assert_eq!(run.held(), [(0, &stranded), (1, &next)]);
        assert_eq!(run.undoable(), [(0, &stranded), (1, &next)]);
    }

    #[test]
    fn what_was_wanted_is_known_until_it_is_again() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| InstanceId::parse(id).unwrap());
        let lines = vec![
            // As runs of before wrote it.
            Line::Begin { step: 0, undo: Undo::Nothing },
            Line::Begin { step: 1, undo: Undo::Wanted(b.clone()) },
            Line::Begin { step: 2, undo: Undo::Wanted(c.clone()) },
            Line::Undone { step: 1 },
        ];
        let mut run = run(lines);
        run.head.steps = [&a, &b, &c, &d].map(|id| Step::WantStopped(id.clone())).into();
        assert_eq!(run.wanted(), [(0, &a), (2, &c)]);
        assert!(run.held().is_empty());
    }

    #[test]
    fn a_line_reads_back_as_it_was() {
        for line in [
            Line::Begin { step: 1, undo: copied("a") },
            Line::Begin { step: 1, undo: Undo::Wanted(InstanceId::parse("a").unwrap()) },
            Line::Failed { step: 2, why: "no\nroom".into() },
            Line::Judged { accepted: true },
            Line::BringingBack { accepted: false },
            Line::End,
        ] {
            let text = journal::line(&line);
            assert!(!text.contains('\n'), "{text}");
            assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
        }
    }
}
