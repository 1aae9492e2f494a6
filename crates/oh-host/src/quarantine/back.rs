//! Putting things back, many at once: each is looked at right before its rename, and the folders are
//! synced once for all.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use oh_model::path::RealPath;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::{Back, Number, Place, QuarantineFault, Thing, c_name, io, rename, stat, stat_or_none};
use crate::atomic::{self, FileFault};
use crate::way::{Way, WayFault};

/// Puts a thing back from its place to where it was.
///
/// # Errors
/// [`QuarantineFault`]; the thing is in its place, or where it was.
pub fn put_back(thing: &Thing, place: &Place) -> Result<Back, QuarantineFault> {
    let pair = Pair::open(thing, place)?;
    let back = pair.put_back(thing, place)?;
    if back == Back::Moved {
        pair.sync(thing)?;
    }
    Ok(back)
}

/// Puts many things back in this order, each as [`put_back`] does; what keeps one of them keeps no
/// other. Each folder is gone to once and synced once, behind all of them. The answers are in the order
/// of the things.
///
/// # Errors
/// None as a whole. A folder that cannot be used, or not be synced, is the fault of each thing in it;
/// the thing is in its place, or where it was.
pub fn put_back_all(wanted: &[(&Thing, &Place)]) -> Vec<Result<Back, Arc<QuarantineFault>>> {
    let mut pairs: BTreeMap<(&RealPath, &RealPath), Pair> = BTreeMap::new();
    let mut moved: BTreeMap<(&RealPath, &RealPath), Vec<usize>> = BTreeMap::new();
    let mut answers = Vec::with_capacity(wanted.len());
    for (at, (thing, place)) in wanted.iter().enumerate() {
        let key = (&thing.folder, &place.folder);
        let mut one = || {
            let pair = match pairs.entry(key) {
                Entry::Occupied(pair) => pair.into_mut(),
                // Not before: what came back before may be the very folder that this one is in.
                Entry::Vacant(new) => new.insert(Pair::open(thing, place)?),
            };
            pair.put_back(thing, place)
        };
        let answer = one().map_err(Arc::new);
        if matches!(answer, Ok(Back::Moved)) {
            moved.entry(key).or_default().push(at);
        }
        answers.push(answer);
    }
    for (key, at) in moved {
        let Some(first) = at.first().and_then(|at| wanted.get(*at)) else { continue };
        let Some(Err(fault)) = pairs.get(&key).map(|pair| pair.sync(first.0)) else { continue };
        let fault = Arc::new(fault);
        for at in at {
            if let Some(answer) = answers.get_mut(at) {
                *answer = Err(Arc::clone(&fault));
            }
        }
    }
    answers
}

/// The folder of a run in a quarantine, and the one that its things go back to; `None` for one that is
/// gone.
struct Pair {
    store: Option<OwnedFd>,
    to: Option<(OwnedFd, Number)>,
}

impl Pair {
    fn open(thing: &Thing, place: &Place) -> Result<Self, QuarantineFault> {
        let store = match atomic::own_folder(&place.folder) {
            Ok(store) => Some(store),
            Err(FileFault::Way(WayFault::NoFolder { .. })) => None,
            Err(fault) => return Err(fault.into()),
        };
        let to = match Way::to(&thing.folder) {
            Err(WayFault::NoFolder { .. }) => None,
            way => {
                let folder = way?.open()?;
                let above = stat(folder.as_fd(), c"", AtFlags::EMPTY_PATH)
                    .map_err(|errno| io("put back", thing.shown(), errno))?;
                Some((folder, Number::of(&above)))
            }
        };
        Ok(Self { store, to })
    }

    fn put_back(&self, thing: &Thing, place: &Place) -> Result<Back, QuarantineFault> {
        let (name, number) = (c_name(thing.name.as_bytes()), c_name(place.name().as_bytes()));
        let cause = |errno| io("put back", thing.shown(), errno);
        let Some((to, above)) = &self.to else { return Ok(Back::AnotherFolder) };
        let held = match &self.store {
            Some(store) => stat_or_none(store.as_fd(), &number).map_err(cause)?,
            None => None,
        };
        let (Some(store), Some(held)) = (&self.store, held) else {
            let there = stat_or_none(to.as_fd(), &name).map_err(cause)?;
            let is_back = there.is_some_and(|there| Number::of(&there).is_still(thing.number));
            return Ok(if is_back { Back::Already } else { Back::Missing });
        };
        if !Number::of(&held).is_still(thing.number) {
            return Ok(Back::Unrecognised);
        }
        if !above.is_still(thing.folder_number) {
            return Ok(Back::AnotherFolder);
        }
        match rename(store.as_fd(), &number, to.as_fd(), &name) {
            Ok(()) => Ok(Back::Moved),
            Err(Errno::EXIST) => Ok(Back::Occupied),
            Err(errno) => Err(cause(errno)),
        }
    }

    fn sync(&self, thing: &Thing) -> Result<(), QuarantineFault> {
        let to = self.to.iter().map(|(folder, _)| folder);
        for folder in to.chain(&self.store) {
            rustix::fs::fsync(folder).map_err(|errno| io("put back", thing.shown(), errno))?;
        }
        Ok(())
    }
}
