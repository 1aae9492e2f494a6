//! Hears that something changed in folders: inotify(7), on folders and never on files.
//!
//! An event says "look again" and nothing else: what is there is read anew, so an event too many
//! costs a look and an event too few is made up for by the next one and by a timer. The folder
//! itself is watched; only where it is missing, the nearest one above that exists, for its coming.
//! Before each look it is asked whether the path still leads to the folder that is watched.
//!
//! Does not hear of a folder that others change through a network, and does not say what changed.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use oh_model::path::RealPath;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::folder::FileKind;
use crate::signals::Signals;

/// The bytes of events that are read at once.
const EVENTS_BYTES: usize = 16 * 1024;

/// How often events are read before a look: more than the kernel keeps, so that a flood cannot
/// hold the look up.
const READS_MAX: usize = 1024;

/// How often a folder that comes while we look for it is looked for again.
const DESCENTS_MAX: usize = 64;

/// What may change in a folder.
const INSIDE: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// What brings a folder.
const COMING: WatchFlags = WatchFlags::CREATE.union(WatchFlags::MOVED_TO).union(WatchFlags::ATTRIB);

/// What ends a watch.
const OVER: ReadFlags = ReadFlags::IGNORED
    .union(ReadFlags::UNMOUNT)
    .union(ReadFlags::DELETE_SELF)
    .union(ReadFlags::MOVE_SELF);

/// What makes a file come or go, whole.
const WHOLE: ReadFlags = ReadFlags::CLOSE_WRITE
    .union(ReadFlags::MOVED_FROM)
    .union(ReadFlags::MOVED_TO)
    .union(ReadFlags::DELETE);

/// How soon to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Haste {
    /// Something begins: a file was made and may be written yet, a mode was changed.
    Soon,
    /// Something is whole: look at once.
    Now,
}

/// Which names of a folder count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Those of session files: `*.json` without a dot before.
    Sessions,
    /// These.
    These(Vec<String>),
}

impl Names {
    fn has(&self, name: &[u8]) -> bool {
        match self {
            Self::Sessions => name.ends_with(b".json") && !name.starts_with(b"."),
            Self::These(names) => names.iter().any(|one| one.as_bytes() == name),
        }
    }
}

/// A folder whose changes count.
#[derive(Debug)]
struct Place {
    path: RealPath,
    names: Names,
    /// Whether the path may be a link: where the reader does not follow it, neither do we.
    follow: bool,
    watched: Option<Watched>,
    /// The folder above that is watched for the coming of a name in it.
    above: Option<(i32, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Watched {
    number: i32,
    device: u64,
    inode: u64,
}

/// The folders that are watched.
#[derive(Debug)]
pub struct Watches {
    inotify: OwnedFd,
    places: Vec<Place>,
}

impl Watches {
    /// Begins with no folder.
    ///
    /// # Errors
    /// The system's: there are too many of these already.
    pub fn new() -> std::io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { inotify, places: Vec::new() })
    }

    /// Adds a folder; it is watched from the next [`Watches::refresh`] on.
    pub fn add(&mut self, path: RealPath, names: Names, follow: bool) {
        self.places.push(Place { path, names, follow, watched: None, above: None });
    }

    /// Watches what the paths lead to now; returns why a folder cannot be watched, one line each.
    pub fn refresh(&mut self) -> Vec<String> {
        let mut troubles = Vec::new();
        for index in 0..self.places.len() {
            if let Err((path, errno)) = self.refresh_one(index) {
                troubles.push(format!("{path} cannot be watched: {errno}"));
            }
        }
        troubles
    }

    /// Takes all events that wait; says how soon to look, if at all.
    pub fn take(&mut self) -> Option<Haste> {
        let mut haste = None;
        let mut over = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); EVENTS_BYTES];
        let mut reader = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        let mut reads = 0;
        loop {
            if reader.is_buffer_empty() {
                reads += 1;
                if reads > READS_MAX {
                    haste = Some(Haste::Now);
                    break;
                }
            }
            // No event more, or none that can be read: then the timer looks.
            let Ok(event) = reader.next() else { break };
            let name = event.file_name().map(|name| name.to_bytes());
            haste = haste.max(meaning(&self.places, event.wd(), event.events(), name));
            if event.events().intersects(OVER) {
                over.push(event.wd());
            }
        }
        for place in &mut self.places {
            place.watched = place.watched.filter(|watched| !over.contains(&watched.number));
            place.above = place.above.take().filter(|(number, _)| !over.contains(number));
        }
        haste
    }

    /// Waits until a signal or, unless `deaf`, an event comes, or the time is over.
    pub fn wait(&self, signals: &Signals, deaf: bool, time: Duration) {
        let mut both =
            [PollFd::new(signals, PollFlags::IN), PollFd::new(&self.inotify, PollFlags::IN)];
        let listened = if deaf { &mut both[..1] } else { &mut both[..] };
        let time = Timespec::try_from(time).ok();
        // Woken by a signal: its flag is set. Any other fault is found by the next look.
        poll(listened, time.as_ref()).ok();
        signals.settle();
    }

    fn refresh_one(&mut self, index: usize) -> Result<(), (String, Errno)> {
        for _ in 0..DESCENTS_MAX {
            let Some(place) = self.places.get(index) else { return Ok(()) };
            let found = look(&place.path, place.follow);
            let number = |stat: &Stat| (stat.st_dev, stat.st_ino);
            match (&found, place.watched) {
                (Some(stat), Some(watched)) if number(stat) == (watched.device, watched.inode) => {
                    return Ok(());
                }
                _ => {}
            }
            self.release(index);
            let done = if found.is_some() { self.watch(index)? } else { self.watch_above(index)? };
            if done {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Watches the folder itself; says whether it was there.
    fn watch(&mut self, index: usize) -> Result<bool, (String, Errno)> {
        let Some(place) = self.places.get_mut(index) else { return Ok(true) };
        let mut flags = INSIDE | WatchFlags::ONLYDIR | WatchFlags::MASK_ADD;
        if !place.follow {
            flags |= WatchFlags::DONT_FOLLOW;
        }
        let number = match inotify::add_watch(&self.inotify, place.path.as_str(), flags) {
            Ok(number) => number,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            Err(errno) => return Err((place.path.to_string(), errno)),
        };
        // Exchanged since: its going is an event, by which we come here again.
        place.watched = look(&place.path, place.follow).map(|stat| Watched {
            number,
            device: stat.st_dev,
            inode: stat.st_ino,
        });
        Ok(place.watched.is_some())
    }

    /// Watches the nearest folder above that exists; says whether the way down still ends there.
    fn watch_above(&mut self, index: usize) -> Result<bool, (String, Errno)> {
        let Some(place) = self.places.get_mut(index) else { return Ok(true) };
        let mut below = place.path.clone();
        let mut above = below.parent();
        while look(&above, true).is_none() && above.as_str() != "/" {
            below = above;
            above = below.parent();
        }
        let flags = COMING | WatchFlags::ONLYDIR | WatchFlags::MASK_ADD;
        match inotify::add_watch(&self.inotify, above.as_str(), flags) {
            Ok(number) => place.above = Some((number, below.name().to_owned())),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
            Err(errno) => return Err((above.to_string(), errno)),
        }
        // It came between the look and the watch: go down with it.
        Ok(look(&below, place.follow || below != place.path).is_none())
    }

    /// Stops watching for a place what no other place needs.
    fn release(&mut self, index: usize) {
        let Some(place) = self.places.get_mut(index) else { return };
        let own = [place.watched.take().map(|one| one.number), place.above.take().map(|(n, _)| n)];
        for number in own.into_iter().flatten() {
            let needed = self.places.iter().any(|place| {
                place.watched.is_some_and(|one| one.number == number)
                    || place.above.as_ref().is_some_and(|(above, _)| *above == number)
            });
            if !needed {
                // It may be gone by itself.
                inotify::remove_watch(&self.inotify, number).ok();
            }
        }
    }
}

/// Looks at a folder; `None` where there is none.
fn look(path: &RealPath, follow: bool) -> Option<Stat> {
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    let stat = rustix::fs::statat(rustix::fs::CWD, path.as_str(), flags).ok()?;
    (FileKind::of_mode(stat.st_mode) == FileKind::Folder).then_some(stat)
}

/// Says what an event means for the places.
fn meaning(places: &[Place], number: i32, events: ReadFlags, name: Option<&[u8]>) -> Option<Haste> {
    if events.contains(ReadFlags::QUEUE_OVERFLOW) {
        return Some(Haste::Now);
    }
    let of_place = |place: &Place| {
        let of_above = place.above.as_ref().filter(|(above, _)| *above == number);
        if of_above.is_some_and(|(_, coming)| Some(coming.as_bytes()) == name) {
            return Some(Haste::Now);
        }
        if place.watched.is_none_or(|watched| watched.number != number) {
            return None;
        }
        match name {
            _ if events.intersects(OVER) => Some(Haste::Now),
            Some(name) if !place.names.has(name) => None,
            Some(_) if events.intersects(WHOLE) => Some(Haste::Now),
            _ => Some(Haste::Soon),
        }
    };
    places.iter().filter_map(of_place).max()
}

#[cfg(test)]
mod tests;
