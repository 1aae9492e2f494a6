//! What was seen of a hop, whatever was spoken.

use oh_probe::diagnose::{self, Diagnosis};
use oh_probe::dial::Timed;
use oh_probe::failure::Failure;
use oh_probe::http1::Answer;
use oh_probe::ladder::{self, UpgradeAnswer};
use oh_probe::raw;
use oh_probe::reach::Reached;

use crate::hops::{Hop, Speech};

/// What was seen of a hop.
#[derive(Debug)]
pub(crate) enum Climbed {
    SocketIo(ladder::Ladder),
    Raw(raw::Ladder),
}

impl Climbed {
    /// Before anything was seen.
    pub(crate) fn nothing(speech: Speech) -> Self {
        match speech {
            Speech::SocketIo => Self::SocketIo(ladder::Ladder::default()),
            Speech::AgentServer | Speech::Raw => Self::Raw(raw::Ladder::default()),
        }
    }

    /// Climbs a hop; what was seen until then stands here where nobody waits for the end.
    pub(crate) async fn climb(&mut self, hop: &Hop, speech: Speech) {
        match self {
            Self::SocketIo(ladder) => ladder::climb_into(&hop.way, &hop.asked, ladder).await,
            Self::Raw(ladder) => raw::climb_into(&hop.way, &hop.raw(speech), ladder).await,
        }
    }

    pub(crate) const fn reached(&self) -> Option<&Reached> {
        match self {
            Self::SocketIo(ladder) => ladder.reached.as_ref(),
            Self::Raw(ladder) => ladder.reached.as_ref(),
        }
    }

    pub(crate) const fn upgrade(&self) -> Option<&Timed<Result<UpgradeAnswer, Failure>>> {
        match self {
            Self::SocketIo(ladder) => ladder.upgrade.as_ref(),
            Self::Raw(ladder) => ladder.upgrade.as_ref(),
        }
    }

    /// The answer to the same without an upgrade.
    pub(crate) fn plain(&self) -> Option<&Answer> {
        let plain = match self {
            Self::SocketIo(ladder) => ladder.polling.as_ref(),
            Self::Raw(ladder) => ladder.page.as_ref(),
        };
        plain?.value.as_ref().ok()
    }

    pub(crate) fn connects(&self) -> bool {
        match self {
            Self::SocketIo(ladder) => diagnose::connects(ladder),
            Self::Raw(ladder) => raw::connects(ladder),
        }
    }
}

/// Says why the outermost of the hops does not connect.
pub(crate) fn diagnosis(hops: &[(Hop, Climbed)]) -> Option<Diagnosis> {
    let socket_io: Vec<_> = hops
        .iter()
        .filter_map(|(hop, climbed)| match climbed {
            Climbed::SocketIo(ladder) => Some(diagnose::Hop { name: hop.name.word(), ladder }),
            Climbed::Raw(_) => None,
        })
        .collect();
    if socket_io.len() == hops.len() {
        return diagnose::diagnose(&socket_io);
    }
    let raw: Vec<_> = hops
        .iter()
        .filter_map(|(hop, climbed)| match climbed {
            Climbed::Raw(ladder) => Some(raw::Hop { name: hop.name.word(), ladder }),
            Climbed::SocketIo(_) => None,
        })
        .collect();
    raw::diagnose_raw(&raw)
}
