//! How the commands wait for others at work.

use std::time::Duration;

use oh_host::lock::{Holder, Locks, Waiting};
use oh_host::root::Root;
use oh_term::{Failure, Progress};

use crate::fault::Fault;

/// How long to wait for others at work, where nobody says: a watch's tick is over by then.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Opens the locks; whoever is waited for is told.
pub(crate) fn locks(root: &Root, progress: &Progress) -> Result<Locks, Failure> {
    let waiting = Patience(progress.clone());
    Locks::waiting(root, None, waiting).map_err(|fault| Failure::of(Fault::Lock(fault)))
}

/// How a command waits for a lock: nothing is begun yet, so a signal ends it at once.
struct Patience(Progress);

impl Waiting for Patience {
    fn tell(&self, holder: &Holder) {
        self.0.waiting(&holder.to_string());
    }
}
