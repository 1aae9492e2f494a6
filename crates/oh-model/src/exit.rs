//! Exit codes: the same in every tool and every output format.

/// Says how a run ended; the number is what the shell sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done, healthy, or nothing to do.
    Ok = 0,
    /// The tool worked and the answer is no, or it was done in part.
    No = 1,
    /// Wrong usage, or refused with nothing done.
    Refused = 2,
    /// Only deadlines stood in the way.
    Deadline = 3,
    /// Only could-not-look: a permission or a program is missing.
    CouldNotLook = 4,
    /// A lock is held by somebody else.
    Locked = 5,
    /// The change failed; the previous state is intact.
    Intact = 6,
    /// The change failed, was rolled back, and the rollback was verified.
    RolledBack = 7,
    /// The rollback failed too; the message names the state.
    RollbackFailed = 8,
    /// A bug of ours.
    Bug = 70,
    /// The configuration is wrong.
    Config = 78,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl Exit {
    /// Returns the number that the shell sees.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Returns the code to use where several apply: 8, 7, 6, then 1, then 3, then 4.
    ///
    /// The rest (usage, locks, configuration, bugs, interruption) end a run at once and so
    /// outrank every verdict.
    pub fn worst(self, other: Self) -> Self {
        if self.rank() >= other.rank() { self } else { other }
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::CouldNotLook => 1,
            Self::Deadline => 2,
            Self::No => 3,
            Self::Intact => 4,
            Self::RolledBack => 5,
            Self::RollbackFailed => 6,
            Self::Locked => 7,
            Self::Refused => 8,
            Self::Config => 9,
            Self::Interrupted => 10,
            Self::Bug => 11,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_at_once_rank_as_documented() {
        let documented =
            [Exit::RollbackFailed, Exit::RolledBack, Exit::Intact, Exit::No, Exit::Deadline];
        for pair in documented.windows(2) {
            assert_eq!(pair[0].worst(pair[1]), pair[0]);
            assert_eq!(pair[1].worst(pair[0]), pair[0]);
        }
        assert_eq!(Exit::Deadline.worst(Exit::CouldNotLook), Exit::Deadline);
        assert_eq!(Exit::Ok.worst(Exit::CouldNotLook), Exit::CouldNotLook);
    }
}
