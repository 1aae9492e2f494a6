//! config.toml out of what an old site says: pure.

use std::collections::BTreeMap;

use oh_config::{Literal, Loaded, Origin, SourceText, Sources, TABLES};
use oh_host::settings::Found;
use oh_nginx_conf::legacy::{Listening, Server};

use super::facts::Facts;
use super::fault::AdoptFault;
use super::record::Receipt;

/// The first line of a configuration file that was made here.
pub(crate) const CONFIG_MARK: &str = "# Written by oh-nginx adopt from what the older site said.";

/// The settings to work with, and the file that says them, where there was none.
#[derive(Debug)]
pub(crate) struct Derived {
    /// The settings.
    pub(crate) loaded: Loaded,
    /// The file to write.
    pub(crate) text: Option<String>,
    /// All that is not a default, as a file: what a later release works with.
    pub(crate) whole: String,
}

/// Works the settings out: those of the file that is there, or those that the old site makes.
///
/// # Errors
/// [`AdoptFault`] where a key cannot be told.
pub(crate) fn derive(facts: &Facts, sources: &Sources, path: &str) -> Result<Derived, AdoptFault> {
    let mut said = said(&facts.loaded);
    if let Some(config) = &facts.config {
        if let Some(value) = facts.loaded.values.iter().find(|value| is_passing(&value.origin)) {
            let (key, literal) = (value.key, value.literal.as_ref());
            let said = literal.map_or_else(String::new, ToString::to_string);
            return Err(AdoptFault::refused(
                format!("{config} is there already, and {} would be forgotten", key.path),
                format!("write {} = {said} under [toolkit.{}] in it", key.name(), key.table()),
            ));
        }
        let whole = render(&said);
        return Ok(Derived { loaded: facts.loaded.clone(), text: None, whole });
    }
    let server = site_of(facts)?;
    for (key, value) in keys(facts, server)? {
        said.entry(key).or_insert(value);
    }
    let text = render(&said);
    let file = SourceText { path: path.into(), text: text.clone() };
    // What comes from the environment or the command line is in the text, and sound.
    let loaded = oh_config::load(&Sources { file: Some(file), ..sources.clone() });
    let loaded = loaded.map_err(AdoptFault::Derived)?;
    Ok(Derived { loaded, text: Some(text.clone()), whole: text })
}

/// Says whether a value is there for this run only.
const fn is_passing(origin: &Origin) -> bool {
    matches!(origin, Origin::Environment { .. } | Origin::CommandLine { .. })
}

/// What somebody said, in whatever layer.
fn said(loaded: &Loaded) -> BTreeMap<&'static str, Literal> {
    let said = loaded.values.iter().filter(|value| value.origin != Origin::Default);
    said.filter_map(|value| Some((value.key.path, value.literal.clone()?))).collect()
}

/// Chooses the server that is the site of OpenHands.
fn site_of(facts: &Facts) -> Result<&Server, AdoptFault> {
    let is_site = |server: &&Server| {
        let generated = facts.file(server.file).is_some_and(|file| facts.is_legacy_site(file));
        (server.has_routes() || generated) && !server.only_redirects()
    };
    let mut sites: Vec<&Server> = facts.servers.iter().filter(is_site).collect();
    if let Some(domain) = &facts.settings().site.domain {
        let name = domain.to_string();
        let fits = |server: &&Server| server.names.contains(&name) || server.takes_any_name();
        let named: Vec<&Server> = sites.iter().copied().filter(fits).collect();
        sites = if named.is_empty() { sites } else { named };
    }
    if let Some(Literal::Integer(port)) = said(&facts.loaded).get("site.port") {
        let fits = |server: &&Server| {
            server.listens.iter().any(|listening| i64::from(listening.port) == *port)
        };
        let there: Vec<&Server> = sites.iter().copied().filter(fits).collect();
        sites = if there.is_empty() { sites } else { there };
    }
    // The same site with and without TLS is one: what speaks TLS is the one that people use.
    if sites.iter().any(|site| site.tls.is_some()) {
        sites.retain(|site| site.tls.is_some());
    }
    match sites.as_slice() {
        [only] => Ok(only),
        [] => Err(AdoptFault::Underivable {
            key: "site.domain",
            why: "no server of nginx leads to editors or applications".into(),
            hint: "--set site.domain=oh.example".into(),
        }),
        [first, second, ..] => {
            let shown = |site: &Server| {
                let path = facts.file(site.file).map_or("", |file| file.path.as_str());
                format!("{} ({path}:{})", site.names.join(" "), site.lines.0)
            };
            Err(AdoptFault::Underivable {
                key: "site.domain",
                why: format!("there are {} and {}", shown(first), shown(second)),
                hint: choice(first),
            })
        }
    }
}

/// How one of several servers is chosen.
fn choice(server: &Server) -> String {
    let name = server.names.iter().find(|name| is_plain_name(name));
    let name = name.map_or("oh.example", String::as_str);
    match main_listening(server) {
        Some(listening) => {
            format!("choose one, e.g. --set site.domain={name} --set site.port={}", listening.port)
        }
        None => format!("choose one, e.g. --set site.domain={name}"),
    }
}

/// Refuses what is said for one run only and differs from what was taken over with.
///
/// # Errors
/// [`AdoptFault::Refused`].
pub(crate) fn nothing_new(found: &Found, receipt: &Receipt) -> Result<(), AdoptFault> {
    let file = SourceText { path: "receipt.json".into(), text: receipt.config.clone() };
    let known = oh_config::load(&Sources { file: Some(file), ..Sources::default() });
    let known = said(&known.map_err(AdoptFault::Derived)?);
    let passing = found.loaded.values.iter().filter(|value| is_passing(&value.origin));
    for value in passing {
        if value.literal.as_ref() != known.get(value.key.path) {
            return Err(AdoptFault::refused(
                format!("it is taken over already, and {} would be forgotten", value.key.path),
                format!("write it under [toolkit.{}] in config.toml", value.key.table()),
            ));
        }
    }
    Ok(())
}

/// Returns what a server says, key by key; what is the default anyway is left out.
fn keys(facts: &Facts, server: &Server) -> Result<Vec<(&'static str, Literal)>, AdoptFault> {
    let settings = &facts.settings().site;
    let mut keys = Vec::new();
    let domain = match &settings.domain {
        Some(domain) => domain.to_string(),
        None => {
            let name = server.names.iter().find(|name| is_plain_name(name));
            name.cloned().ok_or_else(|| AdoptFault::Underivable {
                key: "site.domain",
                why: "the old site answers any name".into(),
                hint: "say under which name or address people reach it, e.g. \
                       --set site.domain=192.0.2.1"
                    .into(),
            })?
        }
    };
    keys.push(("site.domain", Literal::from(domain.as_str())));
    let listening = main_listening(server);
    let tls = listening.is_some_and(|listening| listening.tls);
    let is_name = domain.parse::<std::net::IpAddr>().is_err();
    if tls != is_name {
        keys.push(("site.tls", Literal::from(if tls { "on" } else { "off" })));
    }
    if let Some(listening) = listening {
        if listening.port != if tls { 443 } else { 80 } {
            keys.push(("site.port", Literal::Integer(listening.port.into())));
        }
        let on_port = server.listens.iter().filter(|other| other.port == listening.port);
        let mut addresses: Vec<&str> = on_port.map(|other| other.address.as_str()).collect();
        addresses.dedup();
        if addresses != ["*"] {
            let list = addresses.into_iter().map(Literal::from).collect();
            keys.push(("nginx.listen", Literal::List(list)));
        }
    }
    if let Some((certificate, key)) = server.tls.as_ref().filter(|_| tls) {
        keys.push(("site.certificate", path_of(facts, "site.certificate", certificate)?));
        keys.push(("site.certificate_key", path_of(facts, "site.certificate_key", key)?));
    }
    if let Some((upstream, _)) = &server.upstream {
        keys.push(("site.upstream", Literal::from(upstream.as_str())));
    }
    if let Some(users) = server.users_file.as_ref().filter(|_| server.asks) {
        keys.push(("site.users_file", path_of(facts, "site.users_file", users)?));
    }
    Ok(keys)
}

/// The port that people use: the one with TLS, or else the first.
fn main_listening(server: &Server) -> Option<&Listening> {
    server.listens.iter().find(|listening| listening.tls).or(server.listens.first())
}

fn is_plain_name(name: &str) -> bool {
    let said = format!("site.domain={name}");
    let sources = Sources { sets: vec![said], ..Sources::default() };
    let loaded = oh_config::load(&sources);
    name != "_" && loaded.is_ok()
}

/// Turns a path of nginx into one of the configuration: relative ones start beside nginx.conf.
fn path_of(facts: &Facts, key: &'static str, path: &str) -> Result<Literal, AdoptFault> {
    let main = facts.file(0).map_or("/etc/nginx/nginx.conf", |file| file.path.as_str());
    let folder = main.rsplit_once('/').map_or("", |(folder, _)| folder);
    let whole = if path.starts_with('/') { path.into() } else { format!("{folder}/{path}") };
    let inside = oh_model::path::RealPath::parse(&whole).ok();
    let inside = inside.and_then(|path| facts.root.inside(&path));
    let inside = inside.ok_or_else(|| AdoptFault::Underivable {
        key,
        why: format!("{whole} is no path below the root"),
        hint: format!("--set {key}=/etc/…"),
    })?;
    Ok(Literal::from(inside.as_str()))
}

fn render(said: &BTreeMap<&'static str, Literal>) -> String {
    let mut text = format!(
        "{CONFIG_MARK}\n# Yours to edit from now on; every key: oh-nginx config show --origin\n"
    );
    for table in TABLES {
        let keys: Vec<_> = table.keys().filter_map(|key| said.get_key_value(key.path)).collect();
        let dot = if table.name.is_empty() { "" } else { "." };
        if !keys.is_empty() || table.name.is_empty() {
            text.push_str(&format!("\n[toolkit{dot}{}]\n", table.name));
        }
        if table.name.is_empty() {
            text.push_str(&format!("schema = {}\n", oh_config::SCHEMA_VERSION));
        }
        for (path, value) in keys.into_iter().filter(|(path, _)| **path != "schema") {
            let name = path.rsplit_once('.').map_or(*path, |(_, name)| name);
            text.push_str(&format!("{name} = {value}\n"));
        }
    }
    text
}
