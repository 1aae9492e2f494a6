//! Takes over: record, changes, publishing; and all of it back where that fails.

use oh_config::{SourceText, Sources};
use oh_host::atomic::{self, Meta};
use oh_host::entry::{self, Entry};
use oh_host::lock::{Held, Locks, Publish};
use oh_host::nginx::Nginx;
use oh_host::publish::{self, Host, LOCK_WAIT, PublishFault, Published, Reloaded, Running, real};
use oh_host::root::Root;
use oh_host::settings::Found;
use oh_host::tree::changeable_by_others;
use oh_host::users::is_root;
use oh_model::path::{InRoot, RealPath};
use oh_model::plan::{Exclusion, Outcome, Plan};
use oh_term::{Answer, Failure};

use super::fault::{AdoptFault, then};
use super::plan::{Change, Doing, Step};
use super::record::{self, Receipt};
use super::{Consent, Prepared, derive, release, report};

/// What waits for the lock, in the words of whoever waits for us.
const PURPOSE: &str = "oh-nginx adopt";

/// Folders on the way are everybody's to read.
const WAY: Meta = Meta { mode: 0o755, owner: None };

/// How a run ended that did not end well.
pub(super) enum End {
    /// By a fault of taking over.
    Adopt(AdoptFault),
    /// By a failure that says all by itself.
    Failure(Failure),
}

impl<F: Into<AdoptFault>> From<F> for End {
    fn from(fault: F) -> Self {
        Self::Adopt(fault.into())
    }
}

/// Carries a plan out that was confirmed, if it is still the one that would be made.
pub(super) fn first(
    prepared: &Prepared,
    again: impl Fn() -> Result<Option<Prepared>, Failure>,
) -> Result<Answer, Failure> {
    let fault = |fault: AdoptFault| fault.into_failure();
    let consent = prepared.plan.confirm();
    let mut locks = Locks::open(&prepared.host.root, None).map_err(|found| fault(found.into()))?;
    // A watch would go on by the settings that it was started with.
    let mut watch = locks.watch(PURPOSE).map_err(|found| fault(found.into()))?;
    let held = watch.publish(PURPOSE, LOCK_WAIT).map_err(|found| fault(found.into()))?;
    let current = again()?.filter(|current| {
        consent.covers(&current.plan) && current.plan.steps == prepared.plan.steps
    });
    let Some(current) = current else {
        let what = "the plan changed after it was confirmed";
        return Err(fault(AdoptFault::refused(what, "run the command again")));
    };
    test_before(&current).map_err(fault)?;
    let receipt = receipt(&current).map_err(fault)?;
    let done = take_over(&current.host, &receipt, &held, false);
    match done {
        Ok(published) => Ok(report::adopted(&current, &published)),
        Err(failed) => Err(put_back(&current.host, &receipt, failed)),
    }
}

/// Goes on where a run was killed, or finds that all is done.
pub(super) fn resume(receipt: &Receipt, found: Found, consent: Consent) -> Result<Answer, End> {
    derive::nothing_new(&found, receipt)?;
    let host = match found.file {
        Some(_) => found.into_host(),
        None => host_of(&found.root, receipt)?,
    };
    let (pending, left) = pending(receipt)?;
    let overlay = super::Draft { changes: pending.clone(), ..super::Draft::default() }.overlay();
    let wanted = publish::gather_over(&host, &overlay)?;
    let publishing = publish::plan(&wanted)?;
    let mut steps: Vec<Step> = pending.iter().cloned().map(Step::Change).collect();
    steps.extend(publishing.steps.iter().cloned().map(Step::Publish));
    let mut exclusions = left;
    exclusions.extend(publishing.exclusions.iter().cloned());
    let plan = Plan { steps, exclusions };
    let shown = report::rest(&plan, &wanted);
    if consent.dry_run || plan.steps.is_empty() {
        return Ok(shown);
    }
    oh_term::consent(&shown.human, consent.yes).map_err(End::Failure)?;
    let mut locks = Locks::open(&host.root, None)?;
    let mut watch = locks.watch(PURPOSE)?;
    let held = watch.publish(PURPOSE, LOCK_WAIT)?;
    // With all of it in place long ago, a fault of today is no reason to give it back.
    let settled = pending.is_empty() && !publish::traces(&host)?.is_empty();
    release::sweep(&host, receipt)?;
    match take_over(&host, receipt, &held, true) {
        Ok(published) => Ok(report::went_on(&plan, &published)),
        Err(failed) => Err(End::Failure(match *failed.source {
            AdoptFault::Publish(fault) if settled => Failure::of(fault),
            source => put_back(&host, receipt, Failed { source: Box::new(source), ..failed }),
        })),
    }
}

/// Makes the host that the record speaks of.
pub(super) fn host_of(root: &Root, receipt: &Receipt) -> Result<Host, AdoptFault> {
    let file = SourceText { path: "receipt.json".into(), text: receipt.config.clone() };
    let loaded = oh_config::load(&Sources { file: Some(file), ..Sources::default() });
    let loaded = loaded.map_err(AdoptFault::Derived)?;
    Ok(Host { root: root.clone(), settings: loaded.settings })
}

/// Lets nginx judge what is there now: a fault that stays would only be found after the changes.
fn test_before(prepared: &Prepared) -> Result<(), AdoptFault> {
    let wanted = &prepared.wanted;
    if is_root() && changeable_by_others(&prepared.facts.tree).is_some() {
        return Ok(());
    }
    let user = match &wanted.running {
        Running::Master { master, .. } => master.test_user(),
        Running::Nothing { .. } => None,
    };
    let nginx: &Nginx = &wanted.nginx;
    let tested = nginx.test(&nginx.config, user).map_err(PublishFault::from)?;
    if tested.accepted {
        return Ok(());
    }
    let overlay = prepared.draft.overlay();
    let stays = tested.complaints.iter().find(|complaint| {
        let place = complaint.split_once(": ").map_or("", |(place, _)| place);
        let path = place.rsplit_once(':').map_or("", |(path, _)| path);
        let resolved = std::fs::canonicalize(path).ok();
        let edited = overlay.contains_key(path)
            || resolved
                .as_deref()
                .and_then(|p| p.to_str())
                .is_some_and(|p| overlay.contains_key(p));
        !edited && wanted.tree.files.iter().any(|file| file.path == path)
    });
    match stays {
        None => Ok(()),
        Some(complaint) => Err(AdoptFault::refused(
            format!("nginx does not accept its configuration as it is: {complaint}"),
            then("mend what is named above, then run", "adopt"),
        )),
    }
}

/// Says what will be kept, after what a killed run has left is gone.
fn receipt(prepared: &Prepared) -> Result<Receipt, AdoptFault> {
    let host = &prepared.host;
    let root = &host.root;
    let users = real(root, &host.settings.site.users_file)?;
    let mut receipt = Receipt {
        config: prepared.whole.clone(),
        changes: prepared.draft.changes.clone(),
        folders: Vec::new(),
        ours_before: !publish::traces(host)?.is_empty(),
        users_before: std::fs::symlink_metadata(users.as_str()).is_ok(),
    };
    release::clear_leftovers(root)?;
    release::sweep(host, &receipt)?;
    receipt.folders = missing_folders(host, &receipt)?;
    Ok(receipt)
}

/// Lists the folders that will have to be made, the deepest last.
fn missing_folders(host: &Host, receipt: &Receipt) -> Result<Vec<InRoot>, AdoptFault> {
    let settings = &host.settings;
    let mut files: Vec<RealPath> =
        receipt.changes.iter().map(|change| change.path.clone()).collect();
    files.push(record::folder(&host.root)?);
    let ours = [&settings.nginx.hook, &settings.site.users_file];
    for path in ours {
        files.push(real(&host.root, path)?);
    }
    files.push(
        real(&host.root, &settings.nginx.directory)?
            .join("routes.conf")
            .map_err(|source| AdoptFault::Path { path: "routes.conf".into(), source })?,
    );
    let mut missing = Vec::new();
    for file in files {
        let mut folder = file.parent();
        while folder.as_str() != "/" && std::fs::symlink_metadata(folder.as_str()).is_err() {
            missing.extend(host.root.inside(&folder));
            folder = folder.parent();
        }
    }
    missing.sort_unstable();
    missing.dedup();
    Ok(missing)
}

/// Where the rest of the way ended.
struct Failed {
    source: Box<AdoptFault>,
    /// Whether nginx has been reloaded meanwhile.
    reloaded: bool,
    /// How many changes may have been made.
    made: usize,
}

/// The rest of the way, with the record in place or about to be.
fn take_over(
    host: &Host,
    receipt: &Receipt,
    held: &Held<'_, Publish>,
    recorded: bool,
) -> Result<Published, Failed> {
    let failed = |source: AdoptFault, made: usize| {
        let source = Box::new(source);
        Failed { source, reloaded: false, made }
    };
    if !recorded {
        record::write(&host.root, receipt).map_err(|source| failed(source, 0))?;
    }
    for (index, change) in receipt.changes.iter().enumerate() {
        put(change, recorded).map_err(|source| match (&source, recorded) {
            // What somebody else changed under our hands is theirs, and not ours to put back.
            (AdoptFault::Refused { .. }, false) => failed(source, index),
            _ => failed(source, receipt.changes.len()),
        })?;
    }
    publish::publish_under(host, held).map_err(|fault| Failed {
        reloaded: matches!(fault, PublishFault::NotSeen { .. } | PublishFault::AfterSwap { .. }),
        source: Box::new(AdoptFault::Publish(fault)),
        made: receipt.changes.len(),
    })
}

/// Makes a change, if the name is still what it was.
fn put(change: &Change, recorded: bool) -> Result<Outcome, AdoptFault> {
    let path = &change.path;
    let now = entry::look(path)?;
    if now.is_same(&change.after) {
        return Ok(Outcome::AlreadyDone);
    }
    if !now.is_same(&change.before) {
        // Somebody changed what was taken over long ago: that is theirs.
        if recorded {
            return Ok(Outcome::AlreadyDone);
        }
        let what = format!("{path} was changed meanwhile");
        return Err(AdoptFault::refused(what, "run the command again"));
    }
    if change.doing == Doing::Configure {
        atomic::create_dirs(&path.parent(), WAY)?;
    }
    entry::put(path, &change.after)?;
    Ok(Outcome::Done)
}

/// Which changes are still to be made, and which names are neither the one nor the other.
fn pending(receipt: &Receipt) -> Result<(Vec<Change>, Vec<Exclusion>), AdoptFault> {
    let (mut pending, mut left) = (Vec::new(), Vec::new());
    for change in &receipt.changes {
        let now = entry::look(&change.path)?;
        if now.is_same(&change.after) {
            continue;
        }
        if now.is_same(&change.before) {
            pending.push(change.clone());
        } else {
            let subject = change.path.to_string();
            let reason = "stays: it was changed since it was taken over".into();
            left.push(Exclusion { subject, reason });
        }
    }
    Ok((pending, left))
}

/// Goes back to what was before, and makes the failure that says how that went.
fn put_back(host: &Host, receipt: &Receipt, failed: Failed) -> Failure {
    let source = failed.source;
    let mut made = receipt.clone();
    made.changes.truncate(failed.made);
    match undo(host, &made, failed.reloaded) {
        Ok(state) => AdoptFault::Undone { source, state }.into_failure(),
        Err(state) => AdoptFault::Stuck { source, state }.into_failure(),
    }
}

/// Returns in which state things are, whether well or not.
fn undo(host: &Host, receipt: &Receipt, reload: bool) -> Result<String, String> {
    let told = |fault: AdoptFault| chain(&fault);
    let steps = release::plan(host, receipt).map_err(told)?;
    for step in steps.steps.iter().filter(|step| step.is_of_files()) {
        release::carry_out(host, step).map_err(told)?;
    }
    let astray = receipt.changes.iter().find(|change| {
        !entry::look(&change.path).is_ok_and(|now: Entry| now.is_same(&change.before))
    });
    if let Some(change) = astray {
        return Err(format!("{} is not what it was", change.path));
    }
    let seen = match if reload { publish::reload(host) } else { Ok(Reloaded::NoMaster) } {
        Ok(Reloaded::Seen) => "every file is what it was, and nginx serves the old routes again",
        Ok(Reloaded::NoMaster) => "every file is what it was; what was served is still served",
        Ok(Reloaded::Refused(lines) | Reloaded::NotSeen(lines)) => {
            let lines = lines.join("; ");
            return Err(format!("every file is what it was, but nginx does not read it: {lines}"));
        }
        Err(fault) => return Err(format!("every file is what it was, but nginx: {fault}")),
    };
    for step in steps.steps.iter().filter(|step| step.is_of_record()) {
        release::carry_out(host, step).map_err(told)?;
    }
    Ok(seen.into())
}

fn chain(fault: &AdoptFault) -> String {
    let mut text = fault.to_string();
    let mut source = std::error::Error::source(fault);
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text.push_str(&format!(": {cause}"));
        }
        source = error.source();
    }
    text
}
