//! Editors that have a record: whose listener they are, and what nginx presents to them.
//!
//! A record is root's, so it is believed before a database and a session file. An editor's key opens a
//! shell of its user: it is presented only where the id, the kind and the place of the route are those
//! of the record, and on a port only while the record's user, and nobody else, was seen to listen there.
//! On a socket the path is made of the id, below a folder that root alone can add to.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};

use super::repositories::named;
use super::{Candidate, Claims, Inputs, Policy};
use crate::instance::{Instance, Subject};
use crate::listening::{Accounts, Listening, Listens, Whose};
use crate::upstream::{Target, Upstream};

/// The records, by folded id.
pub(super) struct Records<'i> {
    by_id: BTreeMap<String, &'i Instance>,
    listening: &'i Listening,
    accounts: &'i Accounts,
}

impl<'i> Records<'i> {
    pub(super) fn of(inputs: &'i Inputs) -> Self {
        let by_id = inputs.instances.iter().map(|instance| (instance.id.folded(), instance));
        Self { by_id: by_id.collect(), listening: &inputs.listening, accounts: &inputs.accounts }
    }

    /// Makes candidates of the repositories that are announced.
    pub(super) fn announced(&self) -> impl Iterator<Item = Candidate> {
        let announced =
            |instance: &&&Instance| instance.subject == Subject::Repository && instance.announced;
        self.by_id.values().filter(announced).map(|instance| Candidate {
            subject: named(instance.id.as_str()),
            folded: instance.id.folded(),
            id: instance.id.as_str().into(),
            target: instance.target,
            upstream: instance.upstream,
            apps: Default::default(),
            app_upstream: Upstream::default(),
            folder: Some(instance.folder.clone()),
            account: None,
            presents: None,
        })
    }

    /// Says whether a record announces what a database does.
    ///
    /// # Errors
    /// What the database says otherwise.
    pub(super) fn outranks(&self, candidate: &Candidate) -> Result<bool, (String, String)> {
        let record = self.record(candidate, Subject::Repository);
        match record.filter(|record| record.announced) {
            None => Ok(false),
            Some(record) if record.target == candidate.target => Ok(true),
            Some(record) => {
                let (said, is) = (candidate.target, record.target);
                let reason = format!("the databases say port {said}, and its record says {is}");
                Err((candidate.subject.clone(), reason))
            }
        }
    }

    /// Says whether a repository may be routed, and completes its route by its record.
    ///
    /// # Errors
    /// What is not routed, and why.
    pub(super) fn judge_repository(
        &self,
        mut candidate: Candidate,
        policy: &Policy,
    ) -> Result<Candidate, (String, String)> {
        let Some(record) = self.record(&candidate, Subject::Repository) else {
            return Ok(candidate);
        };
        if candidate.target == Target::Socket && !policy.sockets {
            let reason = "it listens on a socket, and sessions.sockets is not set".to_string();
            return Err((candidate.subject, reason));
        }
        if let Err(reason) = self.judge_listener(&candidate, record) {
            return Err((candidate.subject, reason));
        }
        if candidate.target == record.target {
            candidate.upstream = record.upstream;
        }
        Ok(self.present(candidate, record))
    }

    /// Completes the route of a session by its record.
    pub(super) fn present_to_session(&self, candidate: Candidate) -> Candidate {
        match self.record(&candidate, Subject::Session) {
            Some(record) => self.present(candidate, record),
            None => candidate,
        }
    }

    /// Says whether the listener of a session's editor is the record's user.
    ///
    /// # Errors
    /// Why it is not routed.
    pub(super) fn judge_session(&self, candidate: &Candidate) -> Result<(), String> {
        match self.record(candidate, Subject::Session) {
            Some(record) if record.target == candidate.target => {
                self.judge_listener(candidate, record)
            }
            _ => Ok(()),
        }
    }

    /// Keeps what belongs to recorded repositories from sessions; a record can be there before the
    /// databases say so.
    pub(super) fn reserve(&self, claims: &mut Claims<'_>) {
        let repositories = self.by_id.iter().filter(|(_, of)| of.subject == Subject::Repository);
        for (folded, instance) in repositories {
            let named = || named(instance.id.as_str());
            claims.ids.entry(folded.clone()).or_insert_with(named);
            claims.labels.entry(folded.clone()).or_insert_with(named);
            if let Some(port) = instance.target.port() {
                claims.ports.entry(port).or_insert_with(named);
            }
        }
    }

    fn record(&self, candidate: &Candidate, subject: Subject) -> Option<&'i Instance> {
        let record = self.by_id.get(&candidate.folded).copied();
        record.filter(|instance| instance.subject == subject)
    }

    fn judge_listener(&self, candidate: &Candidate, record: &Instance) -> Result<(), String> {
        match candidate.target.port() {
            Some(port) => self.listening.stranger_to_record(port, record.uid, self.accounts),
            None => Ok(()),
        }
    }

    fn present(&self, mut candidate: Candidate, record: &Instance) -> Candidate {
        let seen = match candidate.target {
            Target::Socket => true,
            Target::Port(port) => {
                let whose = Whose { owner: record.uid, named: None };
                self.listening.on(port, whose) == Listens::Own
            }
        };
        if seen && candidate.target == record.target {
            candidate.presents = record.key.clone().map(|key| (record.server, key));
        }
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{policy, session};
    use super::super::{FoundSession, agree};
    use super::*;
    use crate::id::InstanceId;
    use crate::instance::{Key, Server};
    use crate::path::InRoot;
    use crate::port::Port;
    use alloc::vec;
    use alloc::vec::Vec;

    const USER: u32 = 1000;
    const STRANGER: u32 = 1001;

    fn port(number: u64) -> Port {
        Port::new(number).unwrap()
    }

    fn record(id: &str, subject: Subject, target: Target) -> Instance {
        Instance {
            id: InstanceId::parse(id).unwrap(),
            subject,
            target,
            uid: USER,
            folder: InRoot::parse("/srv/a").unwrap(),
            upstream: Upstream::BasePath,
            server: Server::CodeServer,
            key: Key::parse(&"0f".repeat(32)),
            announced: target == Target::Socket,
        }
    }

    fn databases(inputs: Inputs, id: &str, number: u64) -> Inputs {
        let text = |head: &str, tail: &str| Some(Ok([head, tail].concat()));
        let repository = alloc::format!(
            r#"[{{"id":"{id}","path":"/srv/a","vscodePort":{number},"vscodeRunning":true}}]}}"#
        );
        let lease = alloc::format!(r#"{{"{id}":{{"port":{number}}}}}}}"#);
        Inputs {
            repositories: text(r#"{"repositories":"#, &repository),
            port_database: text(r#"{"instances":"#, &lease),
            ..inputs
        }
    }

    /// What is routed: the address, where it leads and how, and whether a key is presented.
    fn routed(inputs: &Inputs) -> Vec<(String, Target, Upstream, bool)> {
        let routes = agree(inputs, &policy());
        let editors = routes.editors.into_iter();
        editors.map(|e| (e.id, e.target, e.upstream, e.presents.is_some())).collect()
    }

    fn listening(pairs: &[(u64, u32)]) -> Listening {
        Listening::of(pairs.iter().map(|(number, uid)| (port(*number), *uid)))
    }

    #[test]
    fn an_announced_repository_needs_no_database_and_outranks_it() {
        let place = Target::Port(port(8888));
        let announced = Instance { announced: true, ..record("a", Subject::Repository, place) };
        let listening = listening(&[(8888, USER), (8889, USER)]);
        let instances = vec![announced];
        let alone = Inputs { instances, listening, ..Inputs::default() };
        let route = vec![("a".into(), place, Upstream::BasePath, true)];
        assert_eq!(routed(&alone), route);
        assert_eq!(routed(&databases(alone.clone(), "a", 8888)), route);
        let otherwise = databases(alone, "a", 8889);
        assert_eq!(routed(&otherwise), route);
        let exclusions = agree(&otherwise, &policy()).exclusions;
        assert_eq!(exclusions.len(), 1);
        let reason = "the databases say port 8889, and its record says 8888";
        assert_eq!(exclusions[0].reason, reason);
    }

    #[test]
    fn a_key_is_presented_to_the_records_user_and_to_nobody_else() {
        let place = Target::Port(port(8888));
        let with = |listening| {
            let instances = vec![record("ActMcp", Subject::Repository, place)];
            databases(Inputs { instances, listening, ..Inputs::default() }, "actmcp", 8888)
        };
        let route = |presents| vec![("actmcp".into(), place, Upstream::BasePath, presents)];
        assert_eq!(routed(&with(listening(&[(8888, USER)]))), route(true));
        assert_eq!(routed(&with(Listening::default())), route(false));
        assert_eq!(routed(&with(Listening::Unknown("no netlink".into()))), route(false));
        for strangers in [&[(8888, STRANGER)][..], &[(8888, USER), (8888, STRANGER)]] {
            let inputs = with(listening(strangers));
            assert_eq!(routed(&inputs), []);
            let exclusions = agree(&inputs, &policy()).exclusions;
            assert_eq!(
                exclusions[0].to_string(),
                "repository actmcp: uid 1001 listens on port 8888, and the record of the editor \
                 says uid 1000: stop that listener"
            );
        }
        // Without a record nobody knows whose it should be.
        let stranger = listening(&[(8888, STRANGER)]);
        let unrecorded = Inputs { instances: Vec::new(), ..with(stranger) };
        let as_ever = vec![("actmcp".into(), place, Upstream::StripPrefix, false)];
        assert_eq!(routed(&unrecorded), as_ever);
    }

    #[test]
    fn no_key_goes_to_another_place_kind_or_id() {
        let recorded = Target::Port(port(8888));
        let everywhere = listening(&[(8888, USER), (8889, USER)]);
        let with = |instance: Instance| Inputs {
            instances: vec![instance],
            listening: everywhere.clone(),
            ..Inputs::default()
        };
        let at = |id: &str, number: u64| -> Vec<FoundSession> {
            let text = alloc::format!(r#"{{"vscode_port":{number}}}"#);
            let name = alloc::format!("{id}.json");
            vec![FoundSession { owner: USER, ..session(&name, 1, &text) }]
        };
        let presents = |inputs: &Inputs| routed(inputs).iter().map(|route| route.3).collect();
        let of_session =
            |sessions, instance| -> Vec<bool> { presents(&Inputs { sessions, ..with(instance) }) };
        assert_eq!(of_session(at("s", 8888), record("S", Subject::Session, recorded)), [true]);
        assert_eq!(of_session(at("s", 8889), record("s", Subject::Session, recorded)), [false]);
        assert_eq!(of_session(at("t", 8888), record("s", Subject::Session, recorded)), [false]);
        let socket = record("s", Subject::Session, Target::Socket);
        assert_eq!(of_session(at("s", 8888), socket), [false]);
        let of_repository =
            |number, instance| -> Vec<bool> { presents(&databases(with(instance), "r", number)) };
        let repository = |target| record("r", Subject::Repository, target);
        assert_eq!(of_repository(8888, repository(recorded)), [true]);
        assert_eq!(of_repository(8889, repository(recorded)), [false]);
        assert_eq!(of_repository(8888, record("r", Subject::Session, recorded)), [false]);
        let keyless = Instance { key: None, ..repository(recorded) };
        assert_eq!(of_repository(8888, keyless), [false]);
    }

    #[test]
    fn with_a_record_the_file_alone_does_not_say_whose_a_sessions_editor_is() {
        let place = Target::Port(port(8000));
        let of = |uid| {
            let text = r#"{"vscode_port":8000,"toolkit":{"schema":1,"user":1000}}"#;
            Inputs {
                sessions: vec![session("s.json", 1, text)],
                instances: vec![record("s", Subject::Session, place)],
                listening: listening(&[(8000, uid)]),
                ..Inputs::default()
            }
        };
        assert_eq!(routed(&of(USER)).len(), 1);
        // The file is root's, so without the record root might listen there.
        assert_eq!(routed(&of(0)), []);
    }

    #[test]
    fn a_recorded_repository_on_a_socket_needs_no_database() {
        let instances = vec![record("r", Subject::Repository, Target::Socket)];
        let sessions = vec![session("R.json", 1, r#"{"vscode_port":8000}"#)];
        let inputs = Inputs { instances, sessions, ..Inputs::default() };
        let route = ("r".into(), Target::Socket, Upstream::BasePath, true);
        assert_eq!(routed(&inputs), [route]);
        let without = Policy { sockets: false, ..policy() };
        let routes = agree(&inputs, &without);
        assert!(routes.editors.is_empty());
        let reasons: Vec<String> = routes.exclusions.iter().map(ToString::to_string).collect();
        assert_eq!(
            reasons,
            [
                "repository r: it listens on a socket, and sessions.sockets is not set",
                "session file R.json: the id is taken by repository r",
            ]
        );
    }
}
