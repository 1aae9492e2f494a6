//! When a session is over: its editor has been gone for too long.
//!
//! Pure: the time comes in as milliseconds of a clock that neither jumps nor stands still, and so
//! does what was known before. A session that has never been seen alive ages from when it was seen
//! first; a file that was exchanged or written anew begins again; where nobody can tell whether
//! the editor is there, nothing ages.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::listening::Life;
use crate::port::Port;
use crate::routes::{Announced, FileNumber};

/// A session without its editor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Which file it was.
    pub file: FileNumber,
    /// When the file was last changed, in nanoseconds since the epoch.
    pub modified_ns: i128,
    /// The port that its editor should have.
    pub editor: Port,
    /// Since when it is missing, in milliseconds.
    pub since_ms: u64,
}

/// The sessions without their editors, by the name of the file.
pub type MissingEditors = BTreeMap<String, Missing>;

/// What a look at the sessions leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The sessions whose editors are missing now.
    pub missing: MissingEditors,
    /// Those among them that are over.
    pub over: Vec<Announced>,
}

/// Decides which sessions are over: those whose editor is missing for longer than the limit. What
/// the rules refuse anyway is never over: its owner has to see why.
/// Without a limit none is, ever.
pub fn judge(
    announced: &[Announced],
    before: &MissingEditors,
    now_ms: u64,
    limit_ms: Option<u64>,
) -> Verdict {
    let mut verdict = Verdict::default();
    let Some(limit_ms) = limit_ms else { return verdict };
    let gone = announced.iter().filter(|session| session.life == Life::Gone && session.claimable);
    for (session, editor) in gone.filter_map(|session| Some((session, session.editor?))) {
        let same = |known: &&Missing| {
            known.file == session.file
                && known.modified_ns == session.modified_ns
                && known.editor == editor
                // A time that is still to come was not written by this clock.
                && known.since_ms <= now_ms
        };
        let since_ms = before.get(&session.name).filter(same).map_or(now_ms, |one| one.since_ms);
        if now_ms - since_ms > limit_ms {
            verdict.over.push(session.clone());
        }
        let Announced { file, modified_ns, .. } = *session;
        let missing = Missing { file, modified_ns, editor, since_ms };
        verdict.missing.insert(session.name.clone(), missing);
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listening::Whose;
    use alloc::format;
    use alloc::vec;

    fn session(name: &str, life: Life) -> Announced {
        Announced {
            name: name.into(),
            file: FileNumber { device: 1, inode: 2 },
            modified_ns: 3,
            editor: Port::new(8000),
            apps: Vec::new(),
            whose: Whose { owner: 1000, named: None },
            life,
            claimable: true,
        }
    }

    /// Looks again and again; returns when the session was over.
    fn over_at(looks: &[(u64, Announced)]) -> Option<u64> {
        let mut known = MissingEditors::new();
        looks.iter().find_map(|(now, session)| {
            let verdict = judge(core::slice::from_ref(session), &known, *now, Some(900));
            known = verdict.missing;
            (!verdict.over.is_empty()).then_some(*now)
        })
    }

    #[test]
    fn a_session_is_over_when_its_editor_is_missing_for_longer_than_the_limit() {
        let gone = || session("a.json", Life::Gone);
        let there = || session("a.json", Life::There);
        let unknown = || session("a.json", Life::Unknown);
        let newer = || Announced { modified_ns: 4, ..gone() };
        let other_port = || Announced { editor: Port::new(8001), ..gone() };
        let refused = || Announced { claimable: false, ..gone() };
        let exchanged = || Announced { file: FileNumber { device: 1, inode: 9 }, ..gone() };
        for (what, looks, expected) in [
            ("never seen alive", vec![(100, gone()), (1000, gone()), (1001, gone())], Some(1001)),
            ("alive in between", vec![(0, gone()), (500, there()), (901, gone())], None),
            ("unknown in between", vec![(0, gone()), (500, unknown()), (901, gone())], None),
            ("written anew", vec![(0, gone()), (901, newer())], None),
            ("refused by the rules", vec![(0, refused()), (901, refused())], None),
            ("another port", vec![(0, gone()), (901, other_port())], None),
            ("exchanged", vec![(0, gone()), (901, exchanged())], None),
            ("after a long time alive", vec![(0, there()), (9000, gone()), (9900, gone())], None),
            ("a clock that went back", vec![(5000, gone()), (0, gone()), (900, gone())], None),
        ] {
            assert_eq!(over_at(&looks), expected, "{what}");
        }
    }

    #[test]
    fn without_a_limit_nothing_is_ever_over() {
        let known = judge(&[session("a.json", Life::Gone)], &MissingEditors::new(), 0, Some(1));
        let verdict = judge(&[session("a.json", Life::Gone)], &known.missing, u64::MAX, None);
        assert_eq!(verdict, Verdict::default());
    }

    #[test]
    fn sessions_that_went_are_forgotten() {
        let many: Vec<Announced> =
            (0..5).map(|n| session(&format!("{n}.json"), Life::Gone)).collect();
        let first = judge(&many, &MissingEditors::new(), 0, Some(900));
        assert_eq!(first.missing.len(), 5);
        assert_eq!(judge(&many[..2], &first.missing, 1, Some(900)).missing.len(), 2);
    }
}
