//! Which old files for nginx go: those whose routes nothing that stays needs.

use oh_host::process::Pid;
use oh_model::port::Port;
use oh_nginx_conf::generated::Generated;

use super::Made;
use crate::facts::{Editor, Entry, Facts, GeneratedFile, Listening};
use crate::request::Request;
use crate::step::{Database, Move, Step};

impl Made {
    /// Takes the files that go, and says why the others stay.
    pub(super) fn generated(&mut self, facts: &Facts, request: &Request) {
        for file in &facts.generated {
            if !request.of_user(Some(file.thing.uid)) {
                continue;
            }
            match self.unrouted(file, facts, request) {
                Ok(None) => {}
                Ok(Some(what)) => self.unroutes.push(Step::Move(Move {
                    thing: file.thing.clone(),
                    what,
                    bytes: file.thing.size_bytes,
                    is_more: false,
                    may_change: false,
                    is_session: false,
                    is_of_nginx: true,
                })),
                Err(why) => self.exclude(file.thing.shown(), why),
            }
        }
    }

    /// Says what a file that goes is; `None` for one that is not asked for, `Err` why it stays.
    fn unrouted(
        &self,
        file: &GeneratedFile,
        facts: &Facts,
        request: &Request,
    ) -> Result<Option<String>, String> {
        let Generated { routes, is_torn } = match &file.content {
            Ok(generated) => generated,
            // What is none of theirs has no id that could be named.
            Err(_) if !request.ids.is_empty() => return Ok(None),
            Err(why) => return Err(why.clone()),
        };
        let ids: Vec<&str> = match routes.as_slice() {
            [] => vec![file.stem.as_str()],
            routes => routes.iter().map(|route| route.id.as_str()).collect(),
        };
        match ids.iter().filter(|id| request.names(id)).count() {
            0 => return Ok(None),
            named if named < ids.len() => return Err("it has routes of others too".into()),
            _ => {}
        }
        let told: Vec<Option<Port>> = match routes.as_slice() {
            [] => vec![None],
            routes => routes.iter().map(|route| route.port).collect(),
        };
        let mut parts = Vec::new();
        for (at, (id, port)) in ids.iter().zip(told).enumerate() {
            let route = routes.get(at).map(|route| format!("the route {}", route.path));
            let route = route.unwrap_or_else(|| format!("a route of {id} that is not there yet"));
            parts.push(match port {
                Some(port) => {
                    let why = self.port_is_free(file, port, facts)?;
                    format!("{route} to port {port}, {why}")
                }
                None => {
                    self.is_nobodys(id, *is_torn, facts)?;
                    format!("{route}, without a port")
                }
            });
        }
        let torn = if *is_torn { "; it is torn" } else { "" };
        Ok(Some(format!("{}{torn}", parts.join("; "))))
    }

    /// Says why nobody needs a route to a port; `Err` who needs it.
    fn port_is_free(
        &self,
        file: &GeneratedFile,
        port: Port,
        facts: &Facts,
    ) -> Result<&'static str, String> {
        if let Some(what) = self.staying_ports.get(&port) {
            return Err(format!("{what} stays"));
        }
        let is_coming = |entry: &&Entry| entry.is_coming && entry.port == Some(port);
        let nobody = Ok(Vec::new());
        let listening = file.listening.get(&port).unwrap_or(&nobody);
        let listening = listening
            .as_ref()
            .map_err(|why| format!("nobody can tell who listens on port {port}: {why}"))?;
        let ends = |one: &Listening| one.pid.is_some_and(|pid| self.ending.contains(&pid));
        if let Some(stays) = listening.iter().find(|one| !ends(one)) {
            let of_it = |pid: Pid| facts.editors.iter().find(|one| one.pids.contains(&pid));
            let editor: Option<&Editor> = stays.pid.and_then(of_it);
            return Err(match editor {
                Some(editor) => format!("{} stays, and listens on port {port}", editor.what),
                None => format!("{} listens on port {port}", stays.shown),
            });
        }
        match listening.as_slice() {
            [] if self.ended_ports.contains_key(&port) => Ok("whose editor is stopped"),
            [] if facts.entries.iter().any(|entry| is_coming(&entry)) => {
                Err(format!("an editor for port {port} runs, and does not listen yet"))
            }
            [] => Ok("where nobody listens"),
            _ => Ok("whose editor is stopped"),
        }
    }

    /// Looks whether a route may be of an editor that stays, where it tells no port.
    fn is_nobodys(&self, id: &str, is_torn: bool, facts: &Facts) -> Result<(), String> {
        // One that is whole leads nowhere, and never led anywhere.
        if !is_torn {
            return Ok(());
        }
        let folded = id.to_ascii_lowercase();
        if let Some(what) = self.staying_ids.get(&folded) {
            return Err(format!("it is torn, and {what} stays"));
        }
        // nginx may still serve what it was before.
        let of_it =
            |entry: &&Entry| entry.database == Database::Ports && entry.id.eq_ignore_ascii_case(id);
        let known = facts.entries.iter().find(of_it).and_then(|entry| entry.port);
        match known.map(|port| self.staying_ports.get(&port)) {
            Some(None) => Ok(()),
            Some(Some(what)) => Err(format!("it is torn, and {what} stays")),
            None => match self.staying_ports.values().next() {
                Some(what) => Err(format!(
                    "it is torn before its port, and may have been the route to {what}, which stays"
                )),
                None => Ok(()),
            },
        }
    }
}
