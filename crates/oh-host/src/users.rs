//! Names of users and groups, and sets of owners that are trusted.
//!
//! Reads `/etc/passwd` and `/etc/group` (passwd(5), group(5)) and nothing else: users that come
//! from LDAP, systemd-homed or another source of the C library's name service are unknown here
//! and have to be given by number. A file has no half-known users: a line that is not understood
//! is left out and counted.

use std::collections::{BTreeMap, BTreeSet};

use oh_model::listening::Accounts;
use oh_model::path::RealPath;
use thiserror::Error;

use crate::atomic::{FileFault, read_limited};

/// The most bytes of `/etc/passwd` or `/etc/group` that are read.
pub const ACCOUNTS_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The number of the user's first group.
    pub gid: u32,
    /// The home directory as the line has it.
    pub home: String,
}

/// One line of `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The group's name.
    pub name: String,
    /// The group's number.
    pub gid: u32,
    /// The names of its further members.
    pub members: Vec<String>,
}

/// The users and groups that the two files have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    users: Vec<User>,
    groups: Vec<Group>,
    /// How many lines were not understood and are left out (NIS `+` lines among them).
    pub lines_ignored: usize,
}

impl Users {
    /// Reads the accounts of this machine: `/etc/passwd` and `/etc/group`.
    ///
    /// A `--root` has no accounts of its own: numbers are the kernel's, and it has one set.
    /// A missing file is an empty one.
    ///
    /// # Errors
    /// [`FileFault`] where a file cannot be read.
    pub fn of_machine() -> Result<Self, FileFault> {
        let read = |text: &str| -> Result<String, FileFault> {
            let path = RealPath::parse(text).map_err(|source| FileFault::Path { source })?;
            let bytes = read_limited(&path, ACCOUNTS_BYTES_MAX)?.unwrap_or_default();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Self::parse(&read("/etc/passwd")?, &read("/etc/group")?))
    }

    /// Reads the texts of the two files.
    pub fn parse(passwd: &str, group: &str) -> Self {
        let mut known = Self::default();
        for line in lines(passwd) {
            match user(line) {
                Some(user) => known.users.push(user),
                None => known.lines_ignored += 1,
            }
        }
        for line in lines(group) {
            match self::group(line) {
                Some(group) => known.groups.push(group),
                None => known.lines_ignored += 1,
            }
        }
        known
    }

    /// Returns the user of that name; the first one where there are several.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// Returns the user of that number; the first one where there are several.
    pub fn user_of(&self, uid: u32) -> Option<&User> {
        self.users.iter().find(|user| user.uid == uid)
    }

    /// Returns the group of that name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Returns the group of that number.
    pub fn group_of(&self, gid: u32) -> Option<&Group> {
        self.groups.iter().find(|group| group.gid == gid)
    }

    /// Returns the name of a user for people: `ubuntu`, or `uid 1000` where it has none.
    pub fn shown(&self, uid: u32) -> String {
        self.user_of(uid).map_or_else(|| format!("uid {uid}"), |user| user.name.clone())
    }

    /// Returns the names and numbers, as the agreement about routes takes them.
    pub fn accounts(&self) -> Accounts {
        Accounts::of(self.users.iter().map(|user| (user.name.clone(), user.uid)))
    }

    /// Returns the number of what is a user's name or a number.
    pub fn uid(&self, word: &str) -> Option<u32> {
        self.user(word).map(|user| user.uid).or_else(|| number(word))
    }

    /// Returns the number of what is a group's name or a number.
    pub fn gid(&self, word: &str) -> Option<u32> {
        self.group(word).map(|group| group.gid).or_else(|| number(word))
    }

    /// Returns the group that this user shares with nobody, where the first group is such a one:
    /// it has the user's name, no further members, and is nobody else's first group.
    pub fn private_group(&self, uid: u32) -> Option<u32> {
        let user = self.user_of(uid)?;
        let group = self.group_of(user.gid)?;
        let alone = self.users.iter().all(|other| other.gid != user.gid || other.uid == uid)
            && group.members.iter().all(|member| *member == user.name);
        (group.name == user.name && alone).then_some(group.gid)
    }
}

/// Says that a word names no user that is known here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no user {0:?} in /etc/passwd, and it is no number")]
pub struct UnknownOwner(pub String);

/// Says whether we act as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whose files are believed. Root is always among them: it could write the files of the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnerSet {
    uids: BTreeSet<u32>,
    /// The group that an owner shares with nobody, so that a file which that group may write
    /// is still the owner's alone.
    private_groups: BTreeMap<u32, u32>,
}

impl OwnerSet {
    /// Returns the set of root alone.
    pub fn root() -> Self {
        Self::default()
    }

    /// Takes names and numbers; what is unknown comes back beside the set and is not in it.
    pub fn of_words<'w>(
        words: impl IntoIterator<Item = &'w str>,
        users: &Users,
    ) -> (Self, Vec<UnknownOwner>) {
        let mut set = Self::default();
        let mut unknown = Vec::new();
        for word in words {
            match users.uid(word) {
                Some(uid) => set.add(uid, users),
                None => unknown.push(UnknownOwner(word.to_owned())),
            }
        }
        set.add(0, users);
        (set, unknown)
    }

    /// Takes numbers; no group is known to be private.
    pub fn of_numbers(uids: impl IntoIterator<Item = u32>) -> Self {
        Self { uids: uids.into_iter().collect(), private_groups: BTreeMap::new() }
    }

    /// Says whether files of this user are believed.
    pub fn contains(&self, uid: u32) -> bool {
        uid == 0 || self.uids.contains(&uid)
    }

    /// Says whether the group is one that this owner shares with nobody.
    pub fn is_private_group(&self, uid: u32, gid: u32) -> bool {
        self.private_groups.get(&uid) == Some(&gid)
    }

    /// Returns the numbers of the owners, root among them, in rising order.
    pub fn uids(&self) -> impl Iterator<Item = u32> {
        core::iter::once(0).chain(self.uids.iter().copied().filter(|uid| *uid != 0))
    }

    fn add(&mut self, uid: u32, users: &Users) {
        self.uids.insert(uid);
        if let Some(gid) = users.private_group(uid) {
            self.private_groups.insert(uid, gid);
        }
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
}

fn user(line: &str) -> Option<User> {
    let mut parts = line.split(':');
    let (name, _, uid, gid) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (_, home) = (parts.next()?, parts.next()?);
    if !is_name(name) {
        return None;
    }
    Some(User {
        name: name.to_owned(),
        uid: number(uid)?,
        gid: number(gid)?,
        home: home.to_owned(),
    })
}

fn group(line: &str) -> Option<Group> {
    let mut parts = line.split(':');
    let (name, _, gid) = (parts.next()?, parts.next()?, parts.next()?);
    if !is_name(name) {
        return None;
    }
    let members = parts.next().unwrap_or_default().split(',').filter(|name| !name.is_empty());
    Some(Group {
        name: name.to_owned(),
        gid: number(gid)?,
        members: members.map(str::to_owned).collect(),
    })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(['+', '-'])
}

/// Reads a number that may be an owner's; the largest one means "nobody, leave it" to chown(2).
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        ubuntu:x:1000:1000:,,,:/home/ubuntu:/bin/bash\n\
        eve:x:1001:100::/home/eve:/bin/sh\nshared:x:1002:1002::/:/bin/sh\n\
        +nis::::::\nbroken:x:minus:1::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nubuntu:x:1000:\nusers:x:100:eve\nshared:x:1002:eve\n";

    #[test]
    fn names_and_numbers_are_found_both_ways() {
        let users = Users::parse(PASSWD, GROUP);
        assert_eq!(users.uid("ubuntu"), Some(1000));
        assert_eq!(users.uid("4711"), Some(4711));
        assert_eq!(users.uid("nobody-here"), None);
        assert_eq!(users.uid("4294967295"), None);
        assert_eq!(users.gid("users"), Some(100));
        assert_eq!(users.shown(1001), "eve");
        assert_eq!(users.shown(7), "uid 7");
        assert_eq!(users.user("ubuntu").unwrap().home, "/home/ubuntu");
        assert_eq!(users.lines_ignored, 2);
    }

    #[test]
    fn a_private_group_is_shared_with_nobody() {
        let users = Users::parse(PASSWD, GROUP);
        assert_eq!(users.private_group(1000), Some(1000));
        assert_eq!(users.private_group(1001), None, "users is not the name of eve");
        assert_eq!(users.private_group(1002), None, "eve is a member");
    }

    #[test]
    fn unknown_owners_are_reported_and_the_rest_stands() {
        let users = Users::parse(PASSWD, GROUP);
        let (set, unknown) = OwnerSet::of_words(["ubuntu", "ghost", "1001"], &users);
        assert_eq!(unknown, [UnknownOwner("ghost".into())]);
        assert_eq!(set.uids().collect::<Vec<_>>(), [0, 1000, 1001]);
        assert!(set.contains(0) && set.contains(1000) && !set.contains(1002));
        assert!(set.is_private_group(1000, 1000) && !set.is_private_group(1001, 100));
        assert!(OwnerSet::root().contains(0));
    }

    #[test]
    fn this_machine_has_root() {
        assert_eq!(Users::of_machine().unwrap().uid("root"), Some(0));
    }
}
