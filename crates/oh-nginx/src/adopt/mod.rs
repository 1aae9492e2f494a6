//! `oh-nginx adopt` and `release`: an older installation taken over, and given back.
//!
//! Everything that changes under an operator's names is a [`plan::Change`]: a name, what it is
//! and what it will be. The record of all of them is synced before the first is made, so at any
//! moment each name is the one or the other, a later run can tell which, and both ways end clean:
//! `adopt` goes on, `release` goes back. Our own routes are published as always, by
//! `oh_host::publish`; what that writes is not in the record, because it is known by its marks.
//!
//! What is not here: judging what is served ([`oh_nginx_conf::legacy`] reads it, [`plan`] decides),
//! and changing the sessions, editors or databases of an older installation, which stay in use.

mod apply;
mod callers;
mod derive;
mod facts;
mod fault;
mod plan;
mod record;
mod release;
mod report;
mod shim;

use oh_config::{FILE_DEFAULT, Sources};
use oh_host::entry::{self, Entry};
use oh_host::publish::{self, Host, real};
use oh_host::settings::Found;
use oh_model::path::InRoot;
use oh_model::plan::Plan;
use oh_term::{Answer, Common, Failure};

use crate::edge::{find, wish};
use facts::{Facts, GeneratorKind};
use fault::AdoptFault;
use plan::{Change, Doing, Draft, Step};

pub(crate) use release::release;

/// Who may read a configuration file that was made here: it holds no secret.
const CONFIG_MODE: u32 = 0o644;

/// How far a run may go.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Consent {
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do it without asking
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
}

/// A plan with all that it was made of.
struct Prepared {
    facts: Facts,
    draft: Draft,
    host: Host,
    /// What is in force, as a file.
    whole: String,
    wanted: publish::Facts,
    plan: Plan<Step>,
}

/// Takes an older installation over.
pub(crate) fn adopt(consent: Consent, common: &Common) -> Result<Answer, Failure> {
    let found = find(common).map_err(Failure::of)?;
    let notes = found.warnings();
    take_over(found, consent, common).map(|answer| answer.notes(notes))
}

fn take_over(found: Found, consent: Consent, common: &Common) -> Result<Answer, Failure> {
    let failed = AdoptFault::into_failure;
    if let Some(receipt) = record::read(&found.root).map_err(failed)? {
        return apply::resume(&receipt, found, consent).map_err(failed_or);
    }
    let Some(prepared) = prepare(found, common).map_err(failed)? else {
        return Ok(report::nothing());
    };
    let shown = report::plan(&prepared);
    if consent.dry_run {
        return Ok(shown);
    }
    oh_term::consent(&shown.human, consent.yes)?;
    let again = || {
        let found = find(common).map_err(Failure::of)?;
        prepare(found, common).map_err(AdoptFault::into_failure)
    };
    apply::first(&prepared, again)
}

/// A failure that is one already.
fn failed_or(fault: apply::End) -> Failure {
    match fault {
        apply::End::Adopt(fault) => fault.into_failure(),
        apply::End::Failure(failure) => failure,
    }
}

/// Gathers and plans; `None` where there is nothing of an older installation.
fn prepare(found: Found, common: &Common) -> Result<Option<Prepared>, AdoptFault> {
    let facts = facts::gather(found)?;
    if !is_anything(&facts) {
        return Ok(None);
    }
    let wish = wish(common);
    let sources = Sources { file: None, environment: wish.environment, sets: wish.sets };
    let inside = InRoot::parse(FILE_DEFAULT)
        .map_err(|source| AdoptFault::Path { path: FILE_DEFAULT.into(), source })?;
    let config = real(&facts.root, &inside)?;
    let derived = derive::derive(&facts, &sources, config.as_str())?;
    let settings = derived.loaded.settings;
    let mut draft = plan::draft(&facts, &settings)?;
    if draft.is_empty() {
        return Ok(None);
    }
    let program = program()?;
    // The script is called from anywhere.
    let named = common.config.as_ref().and_then(|path| std::path::absolute(path).ok());
    let named = named.map(|path| path.display().to_string());
    for change in draft.changes.iter_mut().filter(|change| change.doing == Doing::Shim) {
        change.after =
            shim::shim(&change.before, &change.path, &program, &facts.root, named.as_deref());
    }
    if let Some(text) = derived.text {
        let after = Entry::File {
            bytes: text.into_bytes(),
            mode: CONFIG_MODE,
            owner: None,
            modified: None,
        };
        let before = entry::look(&config)?;
        // First, so that whatever calls the script in the old place finds a configuration.
        draft.changes.insert(0, Change { path: config, doing: Doing::Configure, before, after });
    }
    let record = record::folder(&facts.root)?;
    plan::trusted(&draft, &record)?;
    let host = Host { root: facts.root.clone(), settings };
    let wanted = publish::gather_over(&host, &draft.overlay())?;
    plan::routes(&facts, &host.settings, &mut draft, &wanted)?;
    plan::renewal(&facts, &mut draft, &wanted);
    let steps = publish::plan(&wanted)?;
    let plan = plan::plan(&draft, &record, &steps);
    let objections = plan::objections(&plan, &facts);
    if !objections.is_empty() {
        return Err(AdoptFault::Objections(objections));
    }
    Ok(Some(Prepared { facts, draft, host, whole: derived.whole, wanted, plan }))
}

/// Says whether there may be something to take over: with a configuration of ours, also a server
/// that only stands in our way.
fn is_anything(facts: &Facts) -> bool {
    let generator = |kind| matches!(kind, GeneratorKind::Writes | GeneratorKind::Unknown);
    facts.config.is_some() && !facts.servers.is_empty()
        || facts.generators.iter().any(|found| generator(found.kind))
        || facts.servers.iter().any(|server| {
            let file = facts.file(server.file);
            server.has_routes() || file.is_some_and(|file| facts.is_legacy_site(file))
        })
}

/// Returns where this program is: what the script in the old place calls.
fn program() -> Result<String, AdoptFault> {
    let path = std::env::current_exe().ok();
    let path = path.as_deref().and_then(std::path::Path::to_str).map(String::from);
    path.ok_or_else(|| {
        let what = "it cannot be told where this program is, so no script could call it";
        AdoptFault::refused(what, "install oh-nginx under a path in UTF-8")
    })
}
