//! Who works in what, runs it, or has it open: one pass over all processes for any number of things.

use std::collections::{BTreeMap, BTreeSet};

use oh_host::folder::FileKind;
use oh_host::mounts::shown_by_kernel;
use oh_host::process::{Pid, ProcessDir, ProcessFault, Processes};
use oh_host::quarantine::Thing;
use oh_host::way::Way;
use oh_model::path::RealPath;

/// Things by where they are: each opened path is looked up once, however many things there are.
#[derive(Debug, Default)]
pub(crate) struct Places<'t> {
    /// By what the kernel calls their folders, and by their names there.
    folders: BTreeMap<Vec<u8>, BTreeMap<&'t [u8], usize>>,
    /// Those that may have something deep in them, by their devices.
    deep: BTreeMap<(u32, u32), Vec<usize>>,
}

/// Who uses things.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Users {
    /// The processes, each with its user, by the place of the thing among those that were asked for.
    pub(crate) of_things: BTreeMap<usize, BTreeMap<Pid, u32>>,
    /// Those that may use a thing, in the same way: the kernel does not tell the path of something on the
    /// same device that they have open.
    pub(crate) perhaps: BTreeMap<usize, BTreeMap<Pid, u32>>,
    /// How many processes did not let us see.
    pub(crate) denied_count: usize,
}

impl<'t> Places<'t> {
    /// Takes things in their order.
    pub(crate) fn of(things: impl IntoIterator<Item = &'t Thing>) -> Self {
        let mut names: BTreeMap<&RealPath, BTreeMap<&[u8], usize>> = BTreeMap::new();
        let mut places = Self::default();
        for (at, thing) in things.into_iter().enumerate() {
            if thing.kind == FileKind::Folder {
                places.deep.entry(thing.number.device).or_default().push(at);
            }
            names.entry(&thing.folder).or_default().insert(thing.name.as_bytes(), at);
        }
        for (folder, names) in names {
            places.folders.entry(in_kernel(folder)).or_default().extend(names);
        }
        places
    }

    /// Returns the things that a path is, or is in.
    fn of_path(&self, path: &[u8]) -> impl Iterator<Item = usize> {
        self.folders.iter().filter_map(|(folder, names)| {
            let below = path.strip_prefix(folder.as_slice())?.strip_prefix(b"/")?;
            let name = below.split(|byte| *byte == b'/').next()?;
            names.get(name).copied()
        })
    }
}

/// The folders in which something of these devices may be, of which the kernel does not tell the path.
fn perhaps<'p>(
    places: &'p Places<'_>,
    untold: &'p BTreeSet<Option<(u32, u32)>>,
) -> impl Iterator<Item = usize> + 'p {
    let all = untold.contains(&None);
    let of = move |device: &(u32, u32)| all || untold.contains(&Some(*device));
    places.deep.iter().filter(move |(device, _)| of(device)).flat_map(|(_, things)| things).copied()
}

/// What the kernel calls a folder, which is what it calls what is open in it: there may be links on the
/// way that people know.
fn in_kernel(folder: &RealPath) -> Vec<u8> {
    let open = Way::to(folder).and_then(|way| way.open());
    let shown = open.ok().and_then(|open| shown_by_kernel(std::os::fd::AsFd::as_fd(&open)).ok());
    let mut shown = shown.unwrap_or_else(|| folder.as_str().into());
    // The top of the tree is nothing but the stroke that is before each name.
    if shown == b"/" {
        shown.clear();
    }
    shown
}

/// Looks at all processes but this one. `counts` says whether a user's use of a thing counts: whoever has
/// nothing to do with its owner keeps nothing of it by looking busy, and loses nothing by a rename.
pub(crate) fn users(
    places: &Places<'_>,
    all: &Processes,
    counts: impl Fn(usize, u32) -> bool,
) -> Users {
    let mut users = Users::default();
    if places.folders.is_empty() {
        return users;
    }
    let me = Pid::own();
    for stat in &all.stats {
        if stat.is_kernel || stat.is_dead() || stat.pid == me {
            continue;
        }
        let looked = || -> Result<(BTreeSet<usize>, BTreeSet<usize>, u32), ProcessFault> {
            let process = ProcessDir::open(stat.pid)?;
            let opened = process.opened()?;
            let used: BTreeSet<usize> =
                opened.paths.iter().flat_map(|path| places.of_path(path)).collect();
            let is_used = |at: &usize| used.contains(at);
            let may = perhaps(places, &opened.untold).filter(|at| !is_used(at)).collect();
            let is_asked = !used.is_empty() || !opened.untold.is_empty();
            let uid = if is_asked { process.uid()? } else { 0 };
            Ok((used, may, uid))
        };
        match looked() {
            Ok((used, may, uid)) => {
                for (seen, of_it) in [(&mut users.of_things, used), (&mut users.perhaps, may)] {
                    for at in of_it.into_iter().filter(|at| counts(*at, uid)) {
                        seen.entry(at).or_default().insert(stat.pid, uid);
                    }
                }
            }
            Err(fault) if fault.is_gone() => {}
            Err(_) => users.denied_count += 1,
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use oh_host::quarantine;
    use oh_model::escaped::Name;

    use super::*;

    #[test]
    fn who_is_in_a_thing_is_found_through_links_too() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("tmp/a/deep")).unwrap();
        fs::create_dir_all(top.join("tmp/ab")).unwrap();
        symlink("tmp", top.join("link")).unwrap();
        let folder = RealPath::parse(top.join("link").to_str().unwrap()).unwrap();
        let look = |name: &str| quarantine::look(&folder, &Name::new(name).unwrap());
        let things = [look("ab").unwrap().unwrap(), look("a").unwrap().unwrap()];
        let mut child =
            Command::new("sleep").arg("60").current_dir(top.join("tmp/a/deep")).spawn().unwrap();
        let pid = Pid::new(child.id()).unwrap();
        let found = users(&Places::of(&things), &Processes::look().unwrap(), |_, _| true);
        child.kill().unwrap();
        child.wait().unwrap();
        let used: Vec<(usize, Vec<Pid>)> = found
            .of_things
            .into_iter()
            .map(|(at, pids)| (at, pids.into_keys().collect()))
            .collect();
        assert_eq!(used, [(1, vec![pid])]);
    }

    #[test]
    fn what_has_a_path_that_is_not_told_may_be_in_folders_of_its_device_and_in_nothing_else() {
        let mut places = Places::default();
        places.deep.insert((8, 1), vec![0, 2]);
        places.deep.insert((0, 40), vec![3]);
        let of = |untold: &[Option<(u32, u32)>]| -> Vec<usize> {
            let untold = untold.iter().copied().collect();
            let mut found: Vec<usize> = perhaps(&places, &untold).collect();
            found.sort_unstable();
            found
        };
        assert_eq!(of(&[]), [] as [usize; 0]);
        assert_eq!(of(&[Some((8, 1))]), [0, 2]);
        assert_eq!(of(&[Some((8, 2))]), [] as [usize; 0]);
        assert_eq!(of(&[None]), [0, 2, 3]);
    }

    #[test]
    fn a_path_is_in_no_thing_whose_name_only_begins_as_it_does() {
        let mut places = Places::default();
        places.folders.insert(b"/tmp".into(), [(b"a".as_slice(), 0), (b"ab", 1)].into());
        places.folders.insert(b"".into(), [(b"tmp".as_slice(), 2)].into());
        let of = |path: &[u8]| places.of_path(path).collect::<Vec<_>>();
        assert_eq!(of(b"/tmp/a/b"), [2, 0]);
        assert_eq!(of(b"/tmp/ab"), [2, 1]);
        assert_eq!(of(b"/tmp/abc"), [2]);
        assert_eq!(of(b"/tmpa"), [] as [usize; 0]);
        assert_eq!(of(b"socket:[1]"), [] as [usize; 0]);
    }
}
