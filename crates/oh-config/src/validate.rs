//! Rules about several keys at once; each fault shows all the places that it is about.
//!
//! A rule looks only at values that are right by themselves, so that one slip is one message.
//! These rules are not in the JSON Schema, which knows one value at a time.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;

use oh_model::path::InRoot;
use oh_model::port::{Port, PortRange, PortSet};

use crate::fault::{Fault, Notes, Origin};
use crate::grammar::Parsed;
use crate::merge::{Merged, Slot};
use crate::network::{Domain, HttpUrl, Listen};
use crate::settings::{Isolation, Tls, scheme, take, tls_on};

/// The most ports that instances may be given: each costs a lease and a probe.
const INSTANCE_PORTS_MAX: usize = 1000;

/// The first port that needs no privilege to listen on.
const PORT_UNPRIVILEGED: u16 = 1024;

/// Checks the rules. `whole` says that the file could be read to its end, so that what is
/// missing is missing.
pub(crate) fn check(merged: &Merged, whole: bool, notes: &mut Notes) {
    let mut rules = Rules { merged, notes };
    rules.port_lists();
    rules.instance_ports();
    rules.single_ports();
    rules.loops();
    rules.login(whole);
    rules.login_start();
    rules.hosts();
    rules.scheme_and_port();
    rules.same_paths();
    rules.folders();
}

struct Rules<'r> {
    merged: &'r Merged,
    notes: &'r mut Notes,
}

/// The files that have to be different ones. A certificate and its key may share a file.
const FILES: &[&str] = &[
    "site.users_file",
    "nginx.program",
    "nginx.config",
    "nginx.hook",
    "nginx.legacy_site",
    "nginx.legacy_generator",
    "instances.program",
    "instances.port_database",
    "instances.repository_database",
];

impl<'r> Rules<'r> {
    fn take<T: crate::settings::Take>(&self, path: &str) -> Option<(T, &'r Slot)> {
        Some((take(self.merged, path)?, self.merged.slot(path)?))
    }

    /// Returns the port of the site, given or not, and where it is given.
    fn site_port(&self) -> Option<(Port, &'r Slot)> {
        let (given, slot) = self.take::<Option<Port>>("site.port")?;
        let tls: Tls = take(self.merged, "site.tls")?;
        let domain: Option<Domain> = take(self.merged, "site.domain")?;
        let default = scheme(tls_on(tls, domain.as_ref())).port_default();
        Some((given.or_else(|| Port::new(default.into()))?, slot))
    }

    /// Notes a fault about two keys: at the one that somebody wrote last, with the other beside.
    fn clash(
        &mut self,
        first: &Slot,
        second: &Slot,
        what: impl FnOnce(&Slot, &Slot) -> String,
        hint: &str,
    ) {
        let (at, other) = if second.value.origin > first.value.origin {
            (second, first)
        } else {
            (first, second)
        };
        let fault = Fault::new(at.value.origin.clone(), &at.value.key.full_path(), what(at, other));
        self.notes
            .faults
            .push(fault.with_also(other.value.origin.clone(), shown(other)).with_hint(hint));
    }

    /// No list of ports names a port twice.
    fn port_lists(&mut self) {
        for path in ["sessions.editor_ports", "sessions.app_ports"] {
            let Some((PortSet(ranges), slot)) = self.take::<PortSet>(path) else { continue };
            for (at, range) in ranges.iter().enumerate() {
                let Some(first) = ranges.iter().take(at).position(|other| other.overlaps(*range))
                else {
                    continue;
                };
                let origin = |item: usize| slot.items.get(item).unwrap_or(&slot.value.origin);
                let earlier = ranges.get(first).map_or_else(String::new, PortRange::to_string);
                let key = slot.value.key.full_path();
                let fault = Fault::new(
                    origin(at).clone(),
                    &format!("{key}[{at}]"),
                    format!("{range} overlaps {earlier}"),
                );
                self.notes.faults.push(
                    fault
                        .with_also(origin(first).clone(), format!("{key}[{first}] = \"{earlier}\""))
                        .with_hint("name each port once"),
                );
            }
        }
    }

    /// The ports of instances are neither privileged nor too many, and nobody else's.
    fn instance_ports(&mut self) {
        let Some((ports, slot)) = self.take::<PortRange>("instances.ports") else { return };
        if let Some((what, right)) = unfit(ports) {
            let fault = Fault::new(slot.value.origin.clone(), &slot.value.key.full_path(), what);
            self.notes.faults.push(fault.with_hint(format!("ports = \"{right}\"")));
            return;
        }
        for (taken, other) in self.ports_taken() {
            if ports.contains(taken) {
                let what = |at: &Slot, _: &Slot| {
                    if core::ptr::eq(at, slot) {
                        format!("{ports} has {taken} in it, which is taken")
                    } else {
                        format!("{taken} is one of the ports of editor instances, {ports}")
                    }
                };
                self.clash(slot, other, what, "keep editor instances clear of it");
            }
        }
    }

    /// Returns the ports of this machine that other keys name.
    fn ports_taken(&self) -> Vec<(Port, &'r Slot)> {
        let mut taken = Vec::new();
        taken.extend(self.take::<Port>("nginx.generation_port"));
        taken.extend(self.site_port());
        taken.extend(self.local_upstream());
        taken
    }

    /// Returns the port of the upstream, where that is on this machine.
    fn local_upstream(&self) -> Option<(Port, &'r Slot)> {
        let (upstream, slot) = self.take::<SocketAddr>("site.upstream")?;
        let local = upstream.ip().is_loopback() || upstream.ip().is_unspecified();
        local.then_some((Port::new(upstream.port().into())?, slot))
    }

    /// The generation port is nobody else's.
    fn single_ports(&mut self) {
        let Some((port, slot)) = self.take::<Port>("nginx.generation_port") else { return };
        for (taken, other) in [self.site_port(), self.local_upstream()].into_iter().flatten() {
            if taken == port {
                let what = |_: &Slot, other: &Slot| {
                    format!("{port} is the port of {} too", other.value.key.full_path())
                };
                self.clash(slot, other, what, "give nginx.generation_port a port of its own");
            }
        }
    }

    /// nginx does not ask itself.
    fn loops(&mut self) {
        let Some((site, site_slot)) = self.site_port() else { return };
        let Some((listen, _)) = self.take::<Vec<Listen>>("nginx.listen") else { return };
        let upstream = self.take::<SocketAddr>("site.upstream");
        let endpoint = self
            .take::<Option<HttpUrl>>("site.auth_request")
            .and_then(|(url, slot)| Some((url?.address, slot)));
        for (address, slot) in upstream.into_iter().chain(endpoint) {
            if address.port() == site.get() && listen.iter().any(|at| at.takes(address.ip())) {
                let what = |_: &Slot, _: &Slot| {
                    format!("nginx would pass requests to itself at {address}")
                };
                let hint = format!(
                    "{} is where OpenHands or its login listens, site.port is where nginx does",
                    slot.value.key.path
                );
                self.clash(slot, site_slot, what, &hint);
            }
        }
    }

    /// A login endpoint and `auth = "request"` come together.
    fn login(&mut self, whole: bool) {
        let (Some(Parsed::Choice(auth)), Some(slot)) =
            (self.merged.parsed("site.auth"), self.merged.slot("site.auth"))
        else {
            return;
        };
        let Some((url, url_slot)) = self.take::<Option<HttpUrl>>("site.auth_request") else {
            return;
        };
        match (*auth, url) {
            ("request", None) if whole => {
                let fault = Fault::new(
                    slot.value.origin.clone(),
                    &slot.value.key.full_path(),
                    "\"request\" needs site.auth_request, which is not set",
                );
                self.notes
                    .faults
                    .push(fault.with_hint("auth_request = \"http://127.0.0.1:4180/oauth2/auth\""));
            }
            ("request", _) | (_, None) => {}
            (auth, Some(_)) => {
                let fault = Fault::new(
                    url_slot.value.origin.clone(),
                    &url_slot.value.key.full_path(),
                    format!("is asked only when site.auth is \"request\", and that is \"{auth}\""),
                );
                let fault = fault.with_also(slot.value.origin.clone(), shown(slot));
                self.notes.faults.push(fault.with_hint("auth = \"request\""));
            }
        }
    }

    /// What is open to everybody is the login's own folder, and no other's.
    fn login_start(&mut self) {
        let Some((Some(start), slot)) = self.take::<Option<InRoot>>("site.auth_start") else {
            return;
        };
        let Some((url, url_slot)) = self.take::<Option<HttpUrl>>("site.auth_request") else {
            return;
        };
        if url.is_none() {
            let what = |_: &Slot, _: &Slot| "belongs to site.auth_request".into();
            self.clash(
                slot,
                url_slot,
                what,
                "auth_request = \"http://127.0.0.1:4180/oauth2/auth\"",
            );
            return;
        }
        let text = start.as_str();
        let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
        let (folder, _) = text.rsplit_once('/').unwrap_or_default();
        let taken = ["/vscode", "/apps", "/socket.io", "/.oh"];
        let first = folder.split('/').nth(1).map(|first| format!("/{first}"));
        let what = match first {
            None => "needs a folder of its own, or everything would be open",
            Some(first) if taken.contains(&first.as_str()) => {
                "is in a folder that is served otherwise"
            }
            Some(_) if !plain => "has characters that are no plain part of an address",
            Some(_) => return,
        };
        let fault = Fault::new(slot.value.origin.clone(), &slot.value.key.full_path(), what);
        self.notes.faults.push(fault.with_hint("auth_start = \"/oauth2/start\""));
    }

    /// What belongs to hosts of their own is set where there are any, and whole.
    fn hosts(&mut self) {
        let Some((isolation, slot)) = self.take::<Isolation>("site.isolation") else { return };
        let mut set = Vec::new();
        for path in
            ["site.sessions_domain", "site.sessions_certificate", "site.sessions_certificate_key"]
        {
            let Some(other) = self.merged.slot(path) else { return };
            if !matches!(self.merged.parsed(path), Some(Parsed::Unset) | None) {
                set.push(other);
            }
        }
        self.sandbox(isolation, slot);
        if isolation != Isolation::Subdomain {
            for other in set {
                let what = |_: &Slot, _: &Slot| {
                    format!("{} is for hosts of sessions", other.value.key.path)
                };
                self.clash(other, slot, what, "isolation = \"subdomain\"");
            }
            return;
        }
        set.retain(|slot| slot.value.key.path != "site.sessions_domain");
        if let [one] = set.as_slice() {
            let fault = Fault::new(
                one.value.origin.clone(),
                &one.value.key.full_path(),
                "a certificate and its key come together",
            );
            let hint = "set site.sessions_certificate and site.sessions_certificate_key";
            self.notes.faults.push(fault.with_hint(hint));
        }
        let Some((own, own_slot)) = self.take::<Option<Domain>>("site.sessions_domain") else {
            return;
        };
        let Some((domain, domain_slot)) = self.take::<Option<Domain>>("site.domain") else {
            return;
        };
        let (base, base_slot) = match own {
            Some(own) => (Some(own), own_slot),
            None => (domain, domain_slot),
        };
        if let Some(Domain::Address(address)) = base {
            let what =
                |_: &Slot, _: &Slot| format!("{address} is an address and has no hosts below it");
            let hint = "sessions_domain = \"sessions.example\"";
            self.clash(base_slot, slot, what, hint);
        }
    }

    /// A sandbox needs HTTP/2, which needs TLS; and what runs in it gets no login of the visitor.
    fn sandbox(&mut self, isolation: Isolation, slot: &Slot) {
        if isolation != Isolation::Sandbox {
            return;
        }
        let Some((tls, tls_slot)) = self.take::<Tls>("site.tls") else { return };
        let Some((domain, _)) = self.take::<Option<Domain>>("site.domain") else { return };
        if !tls_on(tls, domain.as_ref()) {
            let what = |_: &Slot, _: &Slot| "a sandbox needs TLS".into();
            self.clash(slot, tls_slot, what, "tls = \"on\", or isolation = \"path\"");
        }
        if let (Some(Parsed::Choice("basic" | "request")), Some(auth_slot)) =
            (self.merged.parsed("site.auth"), self.merged.slot("site.auth"))
        {
            let fault = Fault::new(
                slot.value.origin.clone(),
                &slot.value.key.full_path(),
                "browsers send no login from a sandbox: of an application only the page itself is loaded",
            );
            let fault = fault.with_also(auth_slot.value.origin.clone(), shown(auth_slot));
            self.notes.warnings.push(fault);
        }
    }

    /// A port that says the opposite of the scheme is odd, and yet possible.
    fn scheme_and_port(&mut self) {
        let Some((Some(port), slot)) = self.take::<Option<Port>>("site.port") else { return };
        let Some((tls, tls_slot)) = self.take::<Tls>("site.tls") else { return };
        let Some((domain, _)) = self.take::<Option<Domain>>("site.domain") else { return };
        let on = tls_on(tls, domain.as_ref());
        if port.get() == scheme(!on).port_default() {
            let (is, usual) = if on { ("on", "without TLS") } else { ("off", "with TLS") };
            let fault = Fault::new(
                slot.value.origin.clone(),
                &slot.value.key.full_path(),
                format!("TLS is {is}, but {port} is where browsers expect a site {usual}"),
            );
            let fault = fault.with_also(tls_slot.value.origin.clone(), shown(tls_slot));
            self.notes.warnings.push(fault);
        }
    }

    /// Files with different tasks are different files.
    fn same_paths(&mut self) {
        let files: Vec<_> = FILES.iter().filter_map(|path| self.take::<InRoot>(path)).collect();
        for (at, (path, slot)) in files.iter().enumerate() {
            let earlier = files.iter().take(at).find(|(other, _)| other == path);
            if let Some((_, other)) = earlier {
                let what = |_: &Slot, other: &Slot| {
                    format!("{path} is {} too", other.value.key.full_path())
                };
                self.clash(slot, other, what, "give each its own file");
            }
        }
        let (Some((session, slot)), Some((repository, other))) = (
            self.take::<crate::places::SessionPath>("sessions.workspace"),
            self.take::<crate::places::RepositoryPath>("instances.repository"),
        ) else {
            return;
        };
        if session.folder() == repository.folder() {
            let folder = session.folder();
            let what = |_: &Slot, _: &Slot| {
                format!("workspaces of sessions and repositories would share {folder}")
            };
            self.clash(slot, other, what, "cleaning up sessions would touch repositories");
        }
    }

    /// The generated folder is the toolkit's alone, and nobody else writes where nginx reads.
    fn folders(&mut self) {
        let Some((directory, slot)) = self.take::<InRoot>("nginx.directory") else { return };
        let mut strangers: Vec<(InRoot, &Slot)> = ["nginx.program", "nginx.config", "nginx.hook"]
            .iter()
            .chain(&["nginx.legacy_site", "nginx.legacy_generator"])
            .filter_map(|path| self.take(path))
            .collect();
        let legacy = self.take::<crate::places::RepositoryPath>("nginx.legacy_repositories");
        if let Some((template, legacy_slot)) = legacy {
            strangers.push((template.folder(), legacy_slot));
        }
        for (path, other) in strangers {
            if within(&path, &directory) {
                let what = |_: &Slot, _: &Slot| {
                    format!("{path} is in {directory}, the folder of generated files")
                };
                self.clash(slot, other, what, "nginx.directory has to be a folder of its own");
            }
        }

        let Some((sessions, sessions_slot)) = self.take::<InRoot>("sessions.directory") else {
            return;
        };
        if within(&sessions, &directory) {
            let what = |_: &Slot, _: &Slot| {
                format!("{sessions} is in {directory}, the folder of generated files")
            };
            self.clash(slot, sessions_slot, what, "nginx.directory has to be a folder of its own");
        }
        let mine = ["nginx.directory", "nginx.hook", "nginx.program", "site.users_file"];
        for path in mine.iter().chain(&["sessions.sockets"]) {
            let Some((path, other)) = self.take::<InRoot>(path) else { continue };
            if within(&path, &sessions) && path != sessions {
                let what =
                    |_: &Slot, _: &Slot| format!("{path} is in {sessions}, where sessions write");
                self.clash(other, sessions_slot, what, "keep it where only root writes");
            }
        }
    }
}

/// Says what is wrong with a range for instances, and which one is right.
fn unfit(ports: PortRange) -> Option<(String, String)> {
    let (first, count) = (ports.first(), ports.count());
    if first.get() < PORT_UNPRIVILEGED {
        let what = format!("begins at {first}, but below {PORT_UNPRIVILEGED} only root may listen");
        return Some((what, String::from("8888-8899")));
    }
    let last = usize::from(first.get()) + INSTANCE_PORTS_MAX - 1;
    let what = format!("has {count} ports, at most {INSTANCE_PORTS_MAX} are allowed");
    (count > INSTANCE_PORTS_MAX).then(|| (what, format!("{first}-{last}")))
}

/// Says whether a path is the folder or below it.
fn within(path: &InRoot, folder: &InRoot) -> bool {
    path.as_str()
        .strip_prefix(folder.as_str())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Writes a key with its value, for the second place of a fault.
fn shown(slot: &Slot) -> String {
    let key = slot.value.key.full_path();
    match (&slot.value.literal, &slot.value.origin) {
        (Some(literal), _) => format!("{key} = {}", crate::text::plain(&literal.to_string())),
        (None, Origin::Default) if slot.value.key.path == "site.port" => {
            format!("{key} is 443 with TLS, 80 without")
        }
        (None, _) => format!("{key} is not set"),
    }
}
