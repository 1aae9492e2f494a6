//! Who listens on which port of the loopback, and whether that is who should.
//!
//! A port that is used again belongs to somebody else. So a session is routed to a listener only
//! where the listener is the user's whom the session file is from: its owner, whom the file system
//! vouches for, and, in a file of root's, the user that it names too. Where nobody listens there is
//! nobody to mistake: the editor may be starting. Where the kernel would not say, claims are
//! believed and that is told.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

use crate::port::Port;
use crate::session::UserWord;

/// The users whose sockets a connection to 127.0.0.1 would reach, by port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listening {
    /// As the kernel says.
    Known(BTreeMap<Port, BTreeSet<u32>>),
    /// The kernel would not say, and why.
    Unknown(String),
}

impl Default for Listening {
    fn default() -> Self {
        Self::Known(BTreeMap::new())
    }
}

/// Whose listeners a session file speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whose {
    /// The owner of the file.
    pub owner: u32,
    /// The user that a file of root's names.
    pub named: Option<u32>,
}

impl Whose {
    fn is(self, uid: u32) -> bool {
        self.owner == uid || self.named == Some(uid)
    }
}

/// Who listens on a port, as a session sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listens {
    /// Nobody.
    Nobody,
    /// A user of the session, and nobody else.
    Own,
    /// Another user, alone or beside.
    Stranger(u32),
    /// The kernel would not say.
    Unknown,
}

/// Whether the editor of a session is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It listens.
    There,
    /// Nobody listens on its port, or somebody else does.
    Gone,
    /// It cannot be told.
    Unknown,
}

impl Listening {
    /// Gathers pairs of a port and a user that listens there.
    pub fn of(pairs: impl IntoIterator<Item = (Port, u32)>) -> Self {
        let mut ports: BTreeMap<Port, BTreeSet<u32>> = BTreeMap::new();
        for (port, uid) in pairs {
            ports.entry(port).or_default().insert(uid);
        }
        Self::Known(ports)
    }

    /// Keeps what is known of these ports.
    #[must_use]
    pub fn only(&self, wanted: &BTreeSet<Port>) -> Self {
        match self {
            Self::Known(ports) => {
                let of_wanted = ports.iter().filter(|(port, _)| wanted.contains(port));
                Self::Known(of_wanted.map(|(port, uids)| (*port, uids.clone())).collect())
            }
            unknown @ Self::Unknown(_) => unknown.clone(),
        }
    }

    /// Says who listens on a port, as a session sees it.
    pub fn on(&self, port: Port, whose: Whose) -> Listens {
        let ports = match self {
            Self::Known(ports) => ports,
            Self::Unknown(_) => return Listens::Unknown,
        };
        let Some(uids) = ports.get(&port).filter(|uids| !uids.is_empty()) else {
            return Listens::Nobody;
        };
        match uids.iter().find(|uid| !whose.is(**uid)) {
            Some(stranger) => Listens::Stranger(*stranger),
            None => Listens::Own,
        }
    }

    /// Looks for strangers on the ports of a session.
    ///
    /// # Errors
    /// The reason why the session is not routed.
    pub(crate) fn strangers(
        &self,
        mut ports: impl Iterator<Item = Port>,
        whose: Whose,
        accounts: &Accounts,
    ) -> Result<(), String> {
        let found = ports.find_map(|port| match self.on(port, whose) {
            Listens::Stranger(uid) => Some((port, uid)),
            Listens::Nobody | Listens::Own | Listens::Unknown => None,
        });
        let Some((port, uid)) = found else { return Ok(()) };
        let who = accounts.called(uid);
        let expected = match whose.named {
            Some(named) => format!("names {}", accounts.shown(named)),
            None => format!("belongs to {}", accounts.shown(whose.owner)),
        };
        Err(format!(
            "{who} listens on port {port}, and the session's file {expected}: stop that listener, \
             or give the file to who runs it"
        ))
    }
}

impl Listening {
    /// Looks for others than the user of an editor's record on the editor's port.
    ///
    /// # Errors
    /// The reason why the editor is not routed.
    pub(crate) fn stranger_to_record(
        &self,
        port: Port,
        uid: u32,
        accounts: &Accounts,
    ) -> Result<(), String> {
        let Listens::Stranger(stranger) = self.on(port, Whose { owner: uid, named: None }) else {
            return Ok(());
        };
        Err(format!(
            "{} listens on port {port}, and the record of the editor says {}: stop that listener",
            accounts.called(stranger),
            accounts.shown(uid),
        ))
    }
}

/// The names of users; the first one of a number counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    by_name: BTreeMap<String, u32>,
    by_number: BTreeMap<u32, String>,
}

impl Accounts {
    /// Gathers names and numbers, in the order of passwd(5).
    pub fn of(users: impl IntoIterator<Item = (String, u32)>) -> Self {
        let mut accounts = Self::default();
        for (name, uid) in users {
            accounts.by_number.entry(uid).or_insert_with(|| name.clone());
            accounts.by_name.entry(name).or_insert(uid);
        }
        accounts
    }

    /// Returns the name of a user for people, in quotes because `nobody` is a name too, or
    /// `uid 1000` where it has none.
    pub fn shown(&self, uid: u32) -> String {
        self.by_number.get(&uid).map_or_else(|| format!("uid {uid}"), |name| format!("{name:?}"))
    }

    /// Returns the same where a sentence begins with it.
    fn called(&self, uid: u32) -> String {
        let user = if self.by_number.contains_key(&uid) { "user " } else { "" };
        format!("{user}{}", self.shown(uid))
    }

    /// Returns whose listeners a session file speaks of.
    ///
    /// # Errors
    /// The reason why the file is not used: it is not root's and names another user, or it names
    /// nobody.
    pub(crate) fn whose(&self, owner: u32, said: Option<&UserWord>) -> Result<Whose, String> {
        let uid = match said {
            None => return Ok(Whose { owner, named: None }),
            Some(UserWord::Number(uid)) => *uid,
            Some(UserWord::Name(name)) => *self
                .by_name
                .get(name)
                .ok_or_else(|| format!("`toolkit.user` names {name:?}, who is no user here"))?,
        };
        if owner == 0 || owner == uid {
            return Ok(Whose { owner, named: Some(uid) });
        }
        let whose = self.shown(owner);
        Err(format!("`toolkit.user` counts in files of root only, and this one belongs to {whose}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u64) -> Port {
        Port::new(number).unwrap()
    }

    #[test]
    fn own_is_nobody_else_beside() {
        let listening = Listening::of([(port(1), 5), (port(2), 5), (port(2), 6)]);
        let of = |owner| Whose { owner, named: None };
        assert_eq!(listening.on(port(1), of(5)), Listens::Own);
        assert_eq!(listening.on(port(1), of(6)), Listens::Stranger(5));
        assert_eq!(listening.on(port(2), of(5)), Listens::Stranger(6));
        assert_eq!(listening.on(port(2), Whose { owner: 5, named: Some(6) }), Listens::Own);
        assert_eq!(listening.on(port(3), of(5)), Listens::Nobody);
        assert_eq!(Listening::Unknown("x".into()).on(port(1), of(5)), Listens::Unknown);
    }

    #[test]
    fn a_user_is_named_by_name_or_number() {
        let accounts = Accounts::of([("root".into(), 0), ("toor".into(), 0), ("ann".into(), 7)]);
        assert_eq!((accounts.shown(0), accounts.shown(8)), ("\"root\"".into(), "uid 8".into()));
        let said = |owner, word: UserWord| accounts.whose(owner, Some(&word));
        let whose = |owner, named| Ok(Whose { owner, named });
        assert_eq!(said(0, UserWord::Name("ann".into())), whose(0, Some(7)));
        assert_eq!(said(0, UserWord::Number(9)), whose(0, Some(9)));
        assert_eq!(said(7, UserWord::Name("ann".into())), whose(7, Some(7)));
        assert!(said(7, UserWord::Number(0)).is_err());
        assert_eq!(
            said(0, UserWord::Name("bob".into())),
            Err("`toolkit.user` names \"bob\", who is no user here".into())
        );
        assert_eq!(accounts.whose(7, None), whose(7, None));
    }
}
