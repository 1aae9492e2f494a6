//! Repositories, as the two databases announce them.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Candidate, Claims, Inputs, Policy};
use crate::databases::{DatabaseFault, PortDb, RepositoriesDb, Repository};
use crate::id::RepoId;
use crate::plan::Exclusion;
use crate::port::Port;
use crate::upstream::{Target, Upstream};

/// What the two databases know.
#[derive(Default)]
pub(super) struct Repositories {
    known: Vec<Repository>,
    leases: BTreeMap<String, Result<Port, DatabaseFault>>,
}

impl Repositories {
    pub(super) fn read(inputs: &Inputs, exclusions: &mut Vec<Exclusion>) -> Self {
        let entries = database(
            "repositories.json",
            &inputs.repositories,
            |text| RepositoriesDb::parse(text).map(|db| db.repositories),
            exclusions,
        );
        let mut known = Vec::new();
        for entry in entries.unwrap_or_default() {
            match entry {
                Ok(repository) => known.push(repository),
                Err((id, fault)) => {
                    exclusions.push(Exclusion { subject: named(&id), reason: fault.to_string() });
                }
            }
        }
        let leases = database(
            "vscode-ports.json",
            &inputs.port_database,
            |text| PortDb::parse(text).map(|db| db.instances),
            exclusions,
        );
        match leases {
            // With an unreadable port database nobody knows whose port is whose.
            None if inputs.port_database.is_some() => Self::default(),
            leases => Self { known, leases: leases.unwrap_or_default() },
        }
    }

    /// Joins the two: a repository is routed where exactly one port is its editor's.
    pub(super) fn candidates(
        &self,
        policy: &Policy,
        exclusions: &mut Vec<Exclusion>,
    ) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for repository in &self.known {
            let subject = named(&repository.id);
            match joined(repository, self.leases.get(&repository.id)) {
                Ok(None) => {}
                Ok(Some((id, editor))) => candidates.push(Candidate {
                    subject,
                    folded: id.folded(),
                    id: id.as_str().into(),
                    target: Target::Port(editor),
                    upstream: policy.repository_upstream,
                    apps: Vec::new(),
                    app_upstream: Upstream::default(),
                    folder: Some(repository.path.clone()),
                    account: None,
                    presents: None,
                }),
                Err(reason) => exclusions.push(Exclusion { subject, reason }),
            }
        }
        candidates
    }

    /// Keeps what belongs to repositories from sessions.
    pub(super) fn reserve(&self, claims: &mut Claims<'_>) {
        let ids = self.known.iter().map(|repository| &repository.id).chain(self.leases.keys());
        for id in ids {
            claims.ids.entry(id.to_ascii_lowercase()).or_insert_with(|| named(id));
            claims.labels.entry(id.to_ascii_lowercase()).or_insert_with(|| named(id));
        }
        let said = self.known.iter().filter_map(|repo| Some((&repo.id, repo.running?)));
        let leased = self.leases.iter().filter_map(|(id, port)| Some((id, *port.as_ref().ok()?)));
        for (id, port) in said.chain(leased) {
            claims.ports.entry(port).or_insert_with(|| named(id));
        }
    }
}

pub(super) fn named(repository: &str) -> String {
    format!("repository {}", repository.escape_debug())
}

/// Returns the id and port of a repository whose editor runs.
fn joined(
    repository: &Repository,
    lease: Option<&Result<Port, DatabaseFault>>,
) -> Result<Option<(RepoId, Port)>, String> {
    let port = match (lease, repository.running) {
        (Some(Err(fault)), _) => return Err(format!("in vscode-ports.json {fault}")),
        (Some(Ok(lease)), Some(said)) if *lease != said => {
            return Err(format!(
                "vscode-ports.json says port {lease}, repositories.json says {said}"
            ));
        }
        (Some(Ok(port)), _) => *port,
        (None, Some(port)) => port,
        (None, None) => return Ok(None),
    };
    let id = RepoId::parse(&repository.id).map_err(|fault| fault.to_string())?;
    Ok(Some((id, port)))
}

/// Reads a database; a fault is one exclusion that names the file.
fn database<T>(
    name: &str,
    text: &Option<Result<String, String>>,
    parse: impl Fn(&str) -> Result<T, DatabaseFault>,
    exclusions: &mut Vec<Exclusion>,
) -> Option<T> {
    let parsed = match text.as_ref()? {
        Ok(text) => parse(text).map_err(|fault| fault.to_string()),
        Err(reason) => Err(reason.clone()),
    };
    match parsed {
        Ok(value) => Some(value),
        Err(reason) => {
            exclusions.push(Exclusion { subject: name.into(), reason });
            None
        }
    }
}
