//! Editors that have a record: whose listener they are, and what nginx presents to them.
//!
//! A record is root's, so it is believed before a database and a session file. An editor's key opens a
//! shell of its user: it is presented only where the id, the kind and the place of the route are those
//! of the record, and on a port only while the record's user, and nobody else, was seen to listen there.
//! On a socket the path is made of the id, below a folder that root alone can add to.

use alloc::collections::BTreeMap;
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

    /// Makes candidates of the repositories that no database can announce.
    pub(super) fn on_sockets(&self) -> impl Iterator<Item = Candidate> {
        let on_socket = |instance: &&&Instance| {
            instance.subject == Subject::Repository && instance.target == Target::Socket
        };
        self.by_id.values().filter(on_socket).map(|instance| Candidate {
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
