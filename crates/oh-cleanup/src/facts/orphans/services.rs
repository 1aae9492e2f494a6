//! What a service of systemd keeps: a server that it runs has no parent but systemd, and would be started
//! again.

use std::collections::BTreeMap;

use oh_host::process::{Pid, ProcessDir};
use oh_host::unit::{self, Standing};
use oh_model::held_by::Service;
use oh_term::text::escaped;

use super::Piece;
use crate::apply::chain;

/// What is known of services; each is asked for once.
pub(super) struct Services {
    /// Whether there is a systemd that could be asked.
    is_systemd: bool,
    /// The one that this very command is of: it holds whatever somebody starts by it, as an ssh(1) without
    /// sessions of its own does, a cron(8), or an agent of a CI. That something is of it too says nothing.
    own: Option<Service>,
    asked: BTreeMap<Service, Result<Standing, String>>,
    /// Why systemd did not answer: one that hangs is not waited for again.
    silent: Option<String>,
}

impl Services {
    pub(super) fn of_machine() -> Self {
        let groups = ProcessDir::open(Pid::own()).and_then(|process| process.control_groups());
        let own = groups.ok().and_then(|groups| Service::of_control_groups(&groups));
        Self { is_systemd: unit::is_systemd(), own, asked: BTreeMap::new(), silent: None }
    }

    /// Says why a service keeps a piece of a family whose first one has no parent but systemd.
    pub(super) fn keeping(&mut self, piece: &Piece, top: &Piece) -> Option<String> {
        let service = piece.service.as_ref().filter(|_| self.is_systemd)?;
        let name = escaped(&service.name);
        if service.is_users {
            // Asking a user's systemd is a login of that user. Where it has ended itself, what it held is
            // the first process's.
            let ended = top.stat.parent == Some(Pid::INIT);
            let why = format!(
                "it is of {name} of its user's systemd, which may start it again: as that user, \
                 systemctl --user stop {name}"
            );
            return (!ended).then_some(why);
        }
        let silent = &mut self.silent;
        let standing = self.asked.entry(service.clone()).or_insert_with(|| match silent {
            Some(why) => Err(why.clone()),
            None => unit::standing(&service.name).map_err(|fault| {
                let why = chain(&fault);
                silent.insert(why).clone()
            }),
        });
        let is_own = self.own.as_ref() == Some(service);
        kept(&name, standing.as_ref().map_err(String::as_str), piece.stat.pid, is_own)
    }
}

fn kept(name: &str, standing: Result<&Standing, &str>, pid: Pid, is_own: bool) -> Option<String> {
    match standing {
        Err(why) => Some(format!("nobody can tell whether {name} runs, which holds it: {why}")),
        Ok(standing) if !standing.is_alive => None,
        Ok(standing) if standing.main == Some(pid) => Some(format!(
            "it is the main process of {name}, which systemd starts again: systemctl stop {name}"
        )),
        Ok(_) if is_own => None,
        Ok(_) => Some(format!("it is of {name}, which runs: systemctl stop {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_keeps_what_it_holds_while_it_runs() {
        let [main, other] = [7, 8].map(|number| Pid::new(number).unwrap());
        let standing = |is_alive| Standing { is_alive, main: Some(main) };
        let (alive, dead) = (standing(true), standing(false));
        let says = |kept: Option<String>, what: &str| kept.is_some_and(|why| why.contains(what));
        assert!(says(kept("a.service", Ok(&alive), main, false), "main process of a.service"));
        assert!(says(
            kept("a.service", Ok(&alive), other, false),
            "it is of a.service, which runs"
        ));
        assert_eq!(kept("a.service", Ok(&dead), other, false), None);
        assert!(says(kept("a.service", Err("no answer"), other, false), "nobody can tell"));
        // What holds this very command holds whatever somebody started by it, but its own main process.
        assert_eq!(kept("a.service", Ok(&alive), other, true), None);
        assert!(says(kept("a.service", Ok(&alive), main, true), "main process"));
    }
}
