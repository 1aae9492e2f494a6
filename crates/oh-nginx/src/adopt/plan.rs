//! What adopting will do, as a value: which names change, from what to what, and what stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use oh_config::Settings;
use oh_host::entry::{self, Entry};
use oh_host::publish;
use oh_host::tree::{Overlay, changeable_on_the_way};
use oh_host::users::is_root;
use oh_model::path::RealPath;
use oh_model::plan::{Exclusion, Objection, Plan};
use oh_nginx_conf::layout::{HTTP_PORT, HTTPS_PORT};
use oh_nginx_conf::legacy::{self, Beyond, Server};
use oh_nginx_conf::parse::parse;

use super::facts::{Facts, GeneratorKind};
use super::fault::{AdoptFault, Losses};

/// What stands in the place of what was taken out of an operator's file.
const CUT_NOTE: &str = "Taken over by oh-nginx adopt; oh-nginx release puts it back.";

/// A name that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// The name.
    pub(crate) path: RealPath,
    /// What is done to it.
    pub(crate) doing: Doing,
    /// What is there now.
    pub(crate) before: Entry,
    /// What will be there.
    pub(crate) after: Entry,
}

/// What is done to a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doing {
    /// A configuration file is made.
    Configure,
    /// A generator becomes a script of ours.
    Shim,
    /// A link is taken away.
    Unlink,
    /// A file is taken away.
    Remove,
    /// Lines are taken out of a file: from and to.
    Edit(Vec<(usize, usize)>),
}

/// A step of adopting. Its text is what people confirm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Keep what will change.
    Record(usize, RealPath),
    /// Change a name.
    Change(Change),
    /// Publish our own routes.
    Publish(publish::Step),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(1, folder) => write!(f, "keep what 1 name is now in {folder}"),
            Self::Record(count, folder) => write!(f, "keep what {count} names are now in {folder}"),
            Self::Change(change) => change.fmt(f),
            Self::Publish(step) => step.fmt(f),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.doing {
            Doing::Configure => write!(f, "write {path}"),
            Doing::Shim => write!(f, "make {path} a script that calls oh-nginx apply"),
            Doing::Unlink => write!(f, "take the link {path} away"),
            Doing::Remove => write!(f, "take {path} away"),
            Doing::Edit(lines) => {
                write!(f, "take out of {path} ")?;
                for (index, (first, last)) in lines.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    if first == last {
                        write!(f, "{comma}line {first}")?;
                    } else {
                        write!(f, "{comma}lines {first}-{last}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// What will be done to files, before it is known whether our routes fit.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// The names that change, in order.
    pub(crate) changes: Vec<Change>,
    /// What stays, and what goes without a loss.
    pub(crate) exclusions: Vec<Exclusion>,
    /// The servers that are taken over, by their place in the facts.
    pub(crate) taken: Vec<usize>,
    /// The servers that stay and lose their include lines.
    pub(crate) eased: Vec<usize>,
}

impl Draft {
    /// Says whether there is anything of an older installation to take over.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.iter().all(|change| change.doing == Doing::Configure)
    }

    /// Returns what nginx's files will say.
    pub(crate) fn overlay(&self) -> Overlay {
        let text = |change: &Change| {
            let bytes = change.after.bytes()?;
            Some(String::from_utf8_lossy(bytes).into_owned())
        };
        let of_nginx = |change: &&Change| !matches!(change.doing, Doing::Configure | Doing::Shim);
        let changes = self.changes.iter().filter(of_nginx);
        changes.map(|change| (change.path.to_string(), text(change))).collect()
    }

    fn leave(&mut self, subject: impl ToString, reason: impl ToString) {
        let (subject, reason) = (subject.to_string(), reason.to_string());
        self.exclusions.push(Exclusion { subject, reason });
    }
}

/// The name and port that ours will have.
struct Ours<'a> {
    name: String,
    port: u16,
    settings: &'a Settings,
}

/// Decides what happens to which file; nothing is read but the names that change.
///
/// # Errors
/// [`AdoptFault`] where something would be lost, or cannot be changed safely.
pub(crate) fn draft(facts: &Facts, settings: &Settings) -> Result<Draft, AdoptFault> {
    let domain = settings.site.require_domain().map_err(publish::PublishFault::Config)?;
    let ours = Ours { name: domain.to_string(), port: settings.site.port().get(), settings };
    let mut draft = Draft::default();
    let mut losses = Vec::new();
    for (index, server) in facts.servers.iter().enumerate() {
        losses.extend(judge(facts, &ours, index, server, &mut draft));
    }
    if !losses.is_empty() {
        let name = format!("{}:{}", ours.name, ours.port);
        return Err(AdoptFault::Lost { name, source: Losses(losses) });
    }
    files(facts, &mut draft)?;
    Ok(draft)
}

/// Refuses where root would write among what others can change: they could put something else in
/// the way.
///
/// # Errors
/// [`AdoptFault::Refused`].
pub(crate) fn trusted(draft: &Draft, record: &RealPath) -> Result<(), AdoptFault> {
    let paths = draft.changes.iter().map(|change| &change.path).chain([record]);
    match changeable_on_the_way(paths.map(RealPath::as_str)).filter(|_| is_root()) {
        None => Ok(()),
        Some(found) => {
            let what = format!("{} {}, so root must not write there", found.path, found.why);
            Err(AdoptFault::refused(what, found.mend))
        }
    }
}

/// Decides about one server; returns what would be lost.
fn judge(
    facts: &Facts,
    ours: &Ours<'_>,
    index: usize,
    server: &Server,
    draft: &mut Draft,
) -> Vec<Beyond> {
    let Some(file) = facts.file(server.file) else { return Vec::new() };
    let generated = facts.is_legacy_site(file);
    let legacy = server.has_routes() || generated;
    let on_port = server.listens.iter().any(|listening| listening.port == ours.port);
    let named = server.names.contains(&ours.name) || (legacy && server.takes_any_name());
    let place = format!("{}:{}", file.path, server.lines.0);
    if server.only_redirects() && (legacy || server.names.contains(&ours.name)) {
        if generated && redirects_alike(facts, ours, server) {
            draft.taken.push(index);
        } else {
            let why = if server.challenge.is_some() { "answers certbot" } else { "redirects" };
            draft.leave(place, format!("stays: it {why}, and serves nothing else"));
        }
        return Vec::new();
    }
    if on_port && named {
        let losses = losses(facts, ours, server);
        if losses.is_empty() {
            draft.taken.push(index);
            let gone = server.given_up.iter();
            gone.for_each(|gone| draft.leave(&gone.place, format!("goes: {}", gone.what)));
        }
        return losses;
    }
    if legacy {
        let names =
            if server.names.is_empty() { "any name".into() } else { server.names.join(" ") };
        let ours = format!("{}:{}", ours.name, ours.port);
        let more = if server.includes.is_empty() {
            ""
        } else {
            draft.eased.push(index);
            ", without the files of repositories"
        };
        draft.leave(place, format!("stays: it serves {names}, and oh-nginx serves {ours}{more}"));
    }
    Vec::new()
}

/// Says whether ours sends on in the same way, and certbot does not need the old server.
fn redirects_alike(facts: &Facts, ours: &Ours<'_>, server: &Server) -> bool {
    let renewed = facts.renewals.iter().any(|renewal| {
        renewal.text.contains(&ours.name)
            && matches!(renewal.authenticator.as_str(), "nginx" | "webroot")
    });
    let only_http = server.listens.iter().all(|listening| listening.port == HTTP_PORT);
    let only_name = server.names.iter().all(|name| *name == ours.name);
    ours.settings.site.tls_on()
        && ours.port == HTTPS_PORT
        && only_http
        && only_name
        && server.challenge.is_none()
        && !renewed
}

/// Everything that ours would not serve in the place of this server.
fn losses(facts: &Facts, ours: &Ours<'_>, server: &Server) -> Vec<Beyond> {
    let path = facts.file(server.file).map(|file| file.path.clone()).unwrap_or_default();
    let at = |line: usize, what: String| {
        let place = oh_nginx_conf::inspect::Place { path: path.clone(), line };
        Beyond { place, what }
    };
    let mut found = server.beyond.clone();
    let others = server.names.iter().filter(|name| **name != ours.name && *name != "_");
    found.extend(others.map(|name| at(server.lines.0, format!("it also serves {name}"))));
    let http_goes_on = ours.settings.site.tls_on() && ours.port == HTTPS_PORT;
    for listening in &server.listens {
        let alike = listening.port == HTTP_PORT && http_goes_on;
        if listening.port != ours.port && !alike {
            found.push(at(listening.line, format!("it also listens on port {}", listening.port)));
        }
    }
    if let Some(line) = server.challenge {
        found
            .push(at(line, "it answers certbot: give port 80 a server of its own for that".into()));
    }
    let upstream = ours.settings.site.upstream.to_string();
    if let Some((leads_to, line)) = &server.upstream
        && *leads_to != upstream
    {
        found.push(at(*line, format!("/ leads to {leads_to}, and site.upstream is {upstream}")));
    }
    if server.asks && !asks_alike(facts, ours, server) {
        let users = server.users_file.as_deref().unwrap_or("no file");
        let what = format!("it asks for a password of {users}: set site.users_file to it");
        found.push(at(server.lines.0, what));
    }
    found.sort_by(|one, other| {
        (&one.place.path, one.place.line).cmp(&(&other.place.path, other.place.line))
    });
    found
}

fn asks_alike(facts: &Facts, ours: &Ours<'_>, server: &Server) -> bool {
    let users = publish::real(&facts.root, &ours.settings.site.users_file);
    let main = facts.file(0).map_or("", |file| file.path.as_str());
    let folder = main.rsplit_once('/').map_or("", |(folder, _)| folder);
    let theirs = server
        .users_file
        .as_ref()
        .map(|path| if path.starts_with('/') { path.clone() } else { format!("{folder}/{path}") });
    ours.settings.site.auth == oh_config::Auth::Basic
        && users.is_ok_and(|users| theirs.as_deref() == Some(users.as_str()))
}

/// Makes the changes of files out of what happens to servers and generators.
fn files(facts: &Facts, draft: &mut Draft) -> Result<(), AdoptFault> {
    for generator in &facts.generators {
        match generator.kind {
            GeneratorKind::Writes => draft.changes.push(Change {
                path: generator.path.clone(),
                doing: Doing::Shim,
                before: generator.entry.clone(),
                // Filled in by whoever knows the program.
                after: Entry::Absent,
            }),
            GeneratorKind::Backup => {
                draft.leave(&generator.path, "stays: a copy that nobody calls");
            }
            GeneratorKind::Shim => {}
            GeneratorKind::Unknown => {
                return Err(AdoptFault::refused(
                    format!("{} is no generator that is known here", generator.path),
                    "move it away, or set nginx.legacy_generator to where the generator is",
                ));
            }
        }
    }
    // By the file as nginx opened it: which servers go, and which lines.
    let mut cuts: BTreeMap<usize, Vec<Cut>> = BTreeMap::new();
    for server in draft.taken.iter().filter_map(|index| facts.servers.get(*index)) {
        let cut = Cut { span: server.span.clone(), lines: server.lines };
        cuts.entry(server.file).or_default().push(cut);
    }
    for server in draft.eased.iter().filter_map(|index| facts.servers.get(*index)) {
        for line in &server.includes {
            let cut = Cut { span: line.span.clone(), lines: (line.line, line.line) };
            cuts.entry(line.file).or_default().push(cut);
        }
    }
    let broken: BTreeSet<&str> = facts.faults.iter().filter_map(broken_file).collect();
    for (index, mut cuts) in cuts {
        cuts.sort_by_key(|cut| cut.lines);
        cuts.dedup_by(|one, other| one.span == other.span);
        let change = change(facts, index, &cuts, &broken)?;
        draft.changes.push(change);
    }
    Ok(())
}

/// A directive that goes.
struct Cut {
    span: std::ops::Range<usize>,
    lines: (usize, usize),
}

fn broken_file(fault: &oh_host::tree::TreeFault) -> Option<&str> {
    match fault {
        oh_host::tree::TreeFault::Syntax { path, .. } => Some(path),
        _ => None,
    }
}

/// Takes a file away where nothing of it would be left, and only some lines otherwise.
fn change(
    facts: &Facts,
    index: usize,
    cuts: &[Cut],
    broken: &BTreeSet<&str>,
) -> Result<Change, AdoptFault> {
    let refused = |what: String, hint: &str| Err(AdoptFault::refused(what, hint));
    let Some(file) = facts.file(index) else {
        return refused("a file of nginx is not where it was".into(), "run the command again");
    };
    let path = RealPath::parse(&file.path)
        .map_err(|source| AdoptFault::Path { path: file.path.clone(), source })?;
    let gone = |span: &std::ops::Range<usize>| cuts.iter().any(|cut| cut.span == *span);
    if index != 0 && file.directives.iter().all(|directive| gone(&directive.span)) {
        let before = entry::look(&path)?;
        let is_link = matches!(before, Entry::Link { .. });
        let doing = if is_link { Doing::Unlink } else { Doing::Remove };
        return Ok(Change { path, doing, before, after: Entry::Absent });
    }
    if index == 0 {
        let line = cuts.first().map_or(1, |cut| cut.lines.0);
        return refused(
            format!("{path}:{line} is in nginx's main file, which oh-nginx never writes"),
            "move that server into a file of its own",
        );
    }
    if broken.contains(file.path.as_str()) {
        let hint = "mend it or take the rest out of it";
        return refused(format!("{path} has a fault, and more in it than an old site"), hint);
    }
    // The link stays what it is; the file behind it is edited.
    let resolved = std::fs::canonicalize(path.as_str()).ok();
    let resolved = resolved.as_deref().and_then(std::path::Path::to_str).unwrap_or(&file.path);
    let path = RealPath::parse(resolved)
        .map_err(|source| AdoptFault::Path { path: resolved.into(), source })?;
    let before = entry::look(&path)?;
    let Entry::File { bytes, mode, owner, .. } = &before else {
        return refused(format!("{path} is gone"), "run the command again");
    };
    let spans: Vec<_> = cuts.iter().map(|cut| cut.span.clone()).collect();
    let text = String::from_utf8(bytes.clone()).ok().filter(|text| *text == file.text);
    let Some(text) = text.and_then(|text| legacy::cut(&text, &spans, CUT_NOTE)) else {
        return refused(
            format!("{path} is not UTF-8, so no line of it can be taken out safely"),
            "write its comments in UTF-8",
        );
    };
    let after =
        Entry::File { bytes: text.into_bytes(), mode: *mode, owner: *owner, modified: None };
    let lines = cuts.iter().map(|cut| cut.lines).collect();
    Ok(Change { path, doing: Doing::Edit(lines), before, after })
}

/// Holds the old routes against ours: those that only a program wrote may go, and are named.
///
/// # Errors
/// [`AdoptFault::Lost`] for a route that a person wrote and that ours would not have.
pub(crate) fn routes(
    facts: &Facts,
    settings: &Settings,
    draft: &mut Draft,
    wanted: &publish::Facts,
) -> Result<(), AdoptFault> {
    let editors = wanted.routes.editors.iter();
    let editors = editors.map(|editor| (format!("/vscode/{}/", editor.id), editor.target.port()));
    let apps = wanted.routes.apps.iter();
    let apps = apps.map(|app| (format!("/apps/{}-{}/", app.id, app.index), Some(app.port)));
    // Where one leads to a socket, the port of old is of no interest.
    let ours: BTreeMap<String, Option<u16>> =
        editors.chain(apps).map(|(path, port)| (path, port.map(|port| port.get()))).collect();
    let mut lost = Vec::new();
    let sessions = publish::real(&facts.root, &settings.sessions.directory)?;
    let servers = draft.taken.iter().chain(&draft.eased);
    let servers: Vec<&Server> = servers.filter_map(|index| facts.servers.get(*index)).collect();
    for route in servers.iter().flat_map(|server| &server.routes) {
        let old =
            route.port.map_or_else(|| "an unknown port".into(), |port| format!("port {port}"));
        match (ours.get(&route.path), route.port) {
            (Some(None), _) | (Some(_), None) => {}
            (Some(Some(new)), Some(port)) if *new == port => {}
            (Some(Some(new)), Some(_)) => {
                draft.leave(&route.path, format!("leads to port {new}, no longer to {old}"));
            }
            (None, _) if route.generated => {
                let why = format!("led to {old} by {}; no session or record counts", route.place);
                draft.leave(&route.path, why);
            }
            (None, _) => lost
                .push(Beyond { place: route.place.clone(), what: kept_by(route, &old, &sessions) }),
        }
    }
    if lost.is_empty() {
        return Ok(());
    }
    let name = format!("{}:{}", wanted.site.name, wanted.site.port);
    Err(AdoptFault::Lost { name, source: Losses(lost) })
}

/// Says how a route that a person wrote goes on.
fn kept_by(route: &legacy::Route, old: &str, sessions: &RealPath) -> String {
    let path = &route.path;
    let id = path.strip_prefix("/vscode/").map(|id| id.trim_end_matches('/'));
    match (id, route.port) {
        (Some(id), Some(port)) => format!(
            "{path} leads to {old}; to keep it, write {{\"vscode_port\": {port}}} to \
             {sessions}/{id}.json"
        ),
        _ => format!("{path} leads to {old}, and no session file says so"),
    }
}

/// Says what certbot needs afterwards, where it would be missing.
pub(crate) fn renewal(facts: &Facts, draft: &mut Draft, wanted: &publish::Facts) {
    let name = &wanted.site.name;
    let mut servers = facts.servers.iter().enumerate();
    let http = servers.find_map(|(index, server)| {
        let on_port = server.listens.iter().any(|listening| listening.port == HTTP_PORT);
        let stays = !draft.taken.contains(&index) && on_port && server.names.contains(name);
        let file = facts.file(server.file).filter(|_| stays)?;
        Some(format!("{}:{}", file.path, server.lines.0))
    });
    for renewal in facts.renewals.iter().filter(|renewal| renewal.text.contains(name)) {
        let needs = matches!(renewal.authenticator.as_str(), "nginx" | "webroot");
        let how = &renewal.authenticator;
        match &http {
            Some(place) if needs => {
                draft.leave(&renewal.place, format!("renews by {how}, which {place} answers"));
            }
            None if needs => draft.leave(
                &renewal.place,
                format!(
                    "renews by {how} and finds no server of yours for {name} on port 80: write one \
                     that answers /.well-known/acme-challenge/, or renew by another way"
                ),
            ),
            _ => {}
        }
    }
}

/// Puts the steps together.
pub(crate) fn plan(draft: &Draft, record: &RealPath, wanted: &Plan<publish::Step>) -> Plan<Step> {
    let mut steps = vec![Step::Record(draft.changes.len(), record.clone())];
    steps.extend(draft.changes.iter().cloned().map(Step::Change));
    steps.extend(wanted.steps.iter().cloned().map(Step::Publish));
    let exclusions = draft.exclusions.iter().chain(&wanted.exclusions).cloned().collect();
    Plan { steps, exclusions }
}

/// Distrusts the planner: what must hold of any plan, checked by other means.
pub(crate) fn objections(plan: &Plan<Step>, facts: &Facts) -> Vec<Objection> {
    let mut found = Vec::new();
    let mut object = |text: String| found.push(Objection(text));
    if !matches!(plan.steps.first(), Some(Step::Record(..))) {
        object("something is changed before it is kept".into());
    }
    let mut seen = BTreeSet::new();
    let main = facts.file(0).map(|file| file.path.clone());
    for step in &plan.steps {
        let Step::Change(change) = step else { continue };
        let path = &change.path;
        if facts.root.inside(path).is_none() {
            object(format!("{path} is not below the root"));
        }
        if main.as_deref() == Some(path.as_str()) {
            object(format!("{path} is nginx's main file"));
        }
        if !seen.insert(path.as_str()) {
            object(format!("{path} is changed twice"));
        }
        if change.before.is_same(&change.after) {
            object(format!("{path} is changed into what it is"));
        }
        if let Some(why) = objection_to(change) {
            object(format!("{path} {why}"));
        }
    }
    found
}

fn objection_to(change: &Change) -> Option<&'static str> {
    let text =
        |entry: &Entry| entry.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    match &change.doing {
        Doing::Configure if !change.before.is_absent() => Some("exists and would be overwritten"),
        Doing::Unlink | Doing::Remove if !change.after.is_absent() => Some("would not go"),
        Doing::Edit(_) => {
            let (before, after) = (text(&change.before)?, text(&change.after)?);
            let mut old = before.lines();
            // Every line that stays is one of the old ones, in their order.
            let kept = after.lines().filter(|line| !line.trim_start().ends_with(CUT_NOTE));
            let only_cut = kept.into_iter().all(|line| old.any(|old| old == line));
            if !only_cut {
                return Some("would get lines that it did not have");
            }
            parse(&after).is_err().then_some("would be no nginx configuration any more")
        }
        _ => None,
    }
}
