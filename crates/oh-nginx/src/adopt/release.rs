//! `oh-nginx release`: the record backwards.

use std::fmt;

use oh_host::atomic::{self, FileFault};
use oh_host::entry::{self, Entry};
use oh_host::lock::Locks;
use oh_host::login;
use oh_host::publish::{self, Host, LOCK_WAIT, Reloaded, real};
use oh_host::root::Root;
use oh_host::settings::SettingsFault;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::path::RealPath;
use oh_model::plan::{Exclusion, Objection, Plan};
use oh_term::{Answer, Common, Failure};

use super::apply::host_of;
use super::fault::{AdoptFault, then};
use super::plan::{Change, Doing};
use super::record::{self, Receipt};
use super::{Consent, report};
use crate::edge::wish;

/// What waits for the lock, in the words of whoever waits for us.
const PURPOSE: &str = "oh-nginx release";

/// The largest file of users that is looked at, in bytes.
const USERS_BYTES_MAX: u64 = 1024 * 1024;

/// A step of giving back. Its text is what people confirm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Remove a file of ours.
    Remove(RealPath),
    /// Make a name what it was.
    Restore(Change),
    /// Let nginx read the old configuration, and look.
    Reload,
    /// Remove the record.
    Forget(RealPath),
    /// Remove a folder that was made, if nothing is in it.
    Folder(RealPath),
}

impl Step {
    /// Says whether it is one of those that nginx has to read.
    pub(super) const fn is_of_files(&self) -> bool {
        matches!(self, Self::Remove(_) | Self::Restore(_))
    }

    /// Says whether it comes when all is well.
    pub(super) const fn is_of_record(&self) -> bool {
        matches!(self, Self::Forget(_) | Self::Folder(_))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remove(path) => write!(f, "remove {path}"),
            Self::Restore(change) => match &change.before {
                Entry::Absent => write!(f, "remove {}", change.path),
                Entry::Link { .. } => write!(f, "put the link {} back", change.path),
                Entry::File { .. } => write!(f, "put {} back as it was", change.path),
            },
            Self::Reload => f.write_str("reload nginx, and see new workers"),
            Self::Forget(folder) => write!(f, "remove the record {folder}"),
            Self::Folder(folder) => write!(f, "remove the folder {folder}, if it is empty"),
        }
    }
}

/// Gives an installation back that was taken over.
pub(crate) fn release(consent: Consent, common: &Common) -> Result<Answer, Failure> {
    let root = root(common)?;
    let failed = AdoptFault::into_failure;
    let Some(receipt) = record::read(&root).map_err(failed)? else {
        if !consent.dry_run && has_leftovers(&root).map_err(failed)? {
            // A run was killed before it changed anything but this; one that lives has the lock.
            let mut locks = Locks::open(&root, None).map_err(|fault| failed(fault.into()))?;
            let _held = locks.publish(PURPOSE, LOCK_WAIT).map_err(|fault| failed(fault.into()))?;
            if record::read(&root).map_err(failed)?.is_none() {
                clear_leftovers(&root).map_err(failed)?;
            }
        }
        return Ok(report::nothing_to_release());
    };
    let host = host_of(&root, &receipt).map_err(failed)?;
    let steps = plan(&host, &receipt).map_err(failed)?;
    let objections = objections(&steps, &receipt, &host);
    if !objections.is_empty() {
        return Err(failed(AdoptFault::Objections(objections)));
    }
    let shown = report::release_plan(&steps);
    if consent.dry_run {
        return Ok(shown);
    }
    oh_term::consent(&shown.human, consent.yes)?;
    let confirmed = steps.confirm();
    let mut locks = Locks::open(&root, None).map_err(|fault| failed(fault.into()))?;
    // A watch would write again what is taken away here.
    let mut watch = locks.watch(PURPOSE).map_err(|fault| failed(fault.into()))?;
    let _held = watch.publish(PURPOSE, LOCK_WAIT).map_err(|fault| failed(fault.into()))?;
    let again = plan(&host, &receipt).map_err(failed)?;
    if !confirmed.covers(&again) {
        let what = "the plan changed after it was confirmed";
        return Err(failed(AdoptFault::refused(what, "run the command again")));
    }
    sweep(&host, &receipt).map_err(failed)?;
    walk(&host, &again)
}

/// Finds the root without the configuration: giving back needs the record alone.
fn root(common: &Common) -> Result<Root, Failure> {
    match wish(common).root {
        None => Ok(Root::system()),
        Some(dir) => Root::below(std::path::Path::new(&dir))
            .map_err(|fault| Failure::of(SettingsFault::from(fault))),
    }
}

fn walk(host: &Host, plan: &Plan<Step>) -> Result<Answer, Failure> {
    let mut reloaded = Reloaded::NoMaster;
    for step in &plan.steps {
        if matches!(step, Step::Reload) {
            reloaded = publish::reload(host).map_err(|fault| stuck(fault.into()))?;
            if let Reloaded::NotSeen(lines) = &reloaded {
                return Err(not_seen(lines));
            }
            continue;
        }
        carry_out(host, step).map_err(stuck)?;
    }
    Ok(report::released(plan, &reloaded))
}

/// The files that were not given back yet are named by the next run.
fn stuck(fault: AdoptFault) -> Failure {
    let failure = Failure::new(Exit::No, fault);
    failure.state("it was given back in part").hint(then("go on with", "release"))
}

fn not_seen(lines: &[String]) -> Failure {
    let why = if lines.is_empty() { "it gave no reason".into() } else { lines.join("\n") };
    let what = format!("nginx was asked to reload and still serves what was taken over\n{why}");
    Failure::new(Exit::No, what)
        .state("every file is what it was before")
        .hint(then("mend what is named above, then run", "release"))
}

/// Decides what is to be done, from what is there now.
///
/// # Errors
/// [`AdoptFault::Refused`] where somebody changed what was taken over since.
pub(super) fn plan(host: &Host, receipt: &Receipt) -> Result<Plan<Step>, AdoptFault> {
    let (mut steps, mut exclusions) = (Vec::new(), Vec::new());
    let mut leave = |path: &RealPath, reason: &str| {
        exclusions.push(Exclusion { subject: path.to_string(), reason: reason.into() });
    };
    let (mut changed, mut hints) = (Vec::new(), Vec::new());
    if receipt.ours_before {
        leave(
            &real(&host.root, &host.settings.nginx.directory)?,
            "stays: our routes were served before",
        );
    } else {
        steps.extend(publish::traces(host)?.into_iter().map(Step::Remove));
        match users(host, receipt)? {
            Users::Ours(path) => steps.push(Step::Remove(path)),
            Users::Others(path) => {
                hints.push(make_room(&path));
                changed.push(format!("{path} has users that were not made here"));
            }
            Users::None => {}
        }
    }
    for change in receipt.changes.iter().rev() {
        let now = entry::look(&change.path)?;
        let path = &change.path;
        if now.is_same(&change.before) {
            continue;
        }
        if now.is_same(&change.after) || now.is_absent() {
            steps.push(Step::Restore(change.clone()));
        } else if change.doing == Doing::Configure {
            leave(path, "stays: it was edited since it was written");
        } else {
            hints.push(make_room(path));
            changed.push(format!("{path} was changed since it was taken over"));
        }
    }
    if !changed.is_empty() {
        hints.push(then("then run", "release"));
        return Err(AdoptFault::Refused { what: changed.join("\n"), hints });
    }
    steps.push(Step::Reload);
    let record = record::folder(&host.root)?;
    let mut folders = Vec::new();
    for folder in receipt.folders.iter().rev() {
        folders.push(real(&host.root, folder)?);
    }
    // As long as there is a record, a run that is killed knows which folders are left.
    let (last, first): (Vec<_>, Vec<_>) =
        folders.into_iter().partition(|folder| is_on_the_way(folder, &record));
    steps.extend(first.into_iter().map(Step::Folder));
    steps.push(Step::Forget(record));
    steps.extend(last.into_iter().map(Step::Folder));
    Ok(Plan { steps, exclusions })
}

fn make_room(path: &RealPath) -> Hint {
    let kept = format!("{path}.kept");
    Hint::run("make room with", Command::other("mv", &[path.as_str(), &kept]))
}

fn is_on_the_way(folder: &RealPath, to: &RealPath) -> bool {
    to.as_str()
        .strip_prefix(folder.as_str())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Who is in the file of users.
enum Users {
    None,
    Ours(RealPath),
    Others(RealPath),
}

fn users(host: &Host, receipt: &Receipt) -> Result<Users, AdoptFault> {
    if receipt.users_before {
        return Ok(Users::None);
    }
    let path = real(&host.root, &host.settings.site.users_file)?;
    let Some(bytes) = atomic::read_limited(&path, USERS_BYTES_MAX)? else { return Ok(Users::None) };
    let text = String::from_utf8_lossy(&bytes);
    let ours = |line: &str| line.trim().is_empty() || line.split(':').next() == Some(login::USER);
    Ok(if text.lines().all(ours) { Users::Ours(path) } else { Users::Others(path) })
}

/// Distrusts the planner.
fn objections(plan: &Plan<Step>, receipt: &Receipt, host: &Host) -> Vec<Objection> {
    let mut found = Vec::new();
    let settings = &host.settings;
    let ours = [&settings.nginx.directory, &settings.nginx.hook, &settings.site.users_file];
    let ours: Vec<RealPath> = ours.iter().filter_map(|path| real(&host.root, path).ok()).collect();
    let main = real(&host.root, &settings.nginx.config).map(|path| path.parent()).ok();
    for step in &plan.steps {
        match step {
            Step::Remove(path) => {
                let below = ours.iter().any(|own| path == own || path.parent() == *own);
                let copy = path.name().starts_with('.') && main == Some(path.parent());
                if !below && !copy {
                    found.push(Objection(format!("{path} is no file of ours")));
                }
            }
            Step::Restore(change) if !receipt.changes.contains(change) => {
                found.push(Objection(format!("{} is not in the record", change.path)));
            }
            _ => {}
        }
    }
    found
}

/// Does one step.
///
/// # Errors
/// [`AdoptFault`]; the step is as good as not done, and a later run does it again.
pub(super) fn carry_out(host: &Host, step: &Step) -> Result<(), AdoptFault> {
    match step {
        Step::Remove(path) => drop(atomic::remove_file(path)?),
        Step::Restore(change) => {
            // What somebody put there since the plan was made is theirs.
            let now = entry::look(&change.path)?;
            let known = [&change.before, &change.after, &Entry::Absent];
            if !known.iter().any(|entry| now.is_same(entry)) {
                let what = format!("{} was changed meanwhile", change.path);
                return Err(AdoptFault::refused(what, "run the command again"));
            }
            entry::put(&change.path, &change.before)?;
        }
        Step::Reload => {}
        Step::Forget(_) => record::remove(&host.root)?,
        Step::Folder(folder) => remove_empty(folder)?,
    }
    Ok(())
}

/// The folders in which the record is made, the outermost first.
fn folders_of_record(root: &Root) -> Result<[RealPath; 3], AdoptFault> {
    let record = record::folder(root)?;
    Ok([record.parent().parent(), record.parent(), record])
}

/// Removes a folder; one that somebody put something into stays, and one that is gone is gone.
fn remove_empty(folder: &RealPath) -> Result<(), AdoptFault> {
    use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
    match std::fs::remove_dir(folder.as_str()) {
        Err(fault) if !matches!(fault.kind(), DirectoryNotEmpty | NotFound) => {
            let path = folder.to_string();
            Err(FileFault::Io { doing: "remove the folder", path, source: fault }.into())
        }
        _ => Ok(()),
    }
}

/// Says whether a run was killed before it had a receipt, or after it had removed it: there is a
/// record without one, an empty folder of ours, or a file that never got its name.
fn has_leftovers(root: &Root) -> Result<bool, AdoptFault> {
    let names = |folder: &RealPath| {
        let names = std::fs::read_dir(folder.as_str()).into_iter().flatten().flatten();
        names.map(|name| name.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let [above, own, _] = folders_of_record(root)?;
    let temporary = |folder| names(folder).iter().any(|name| atomic::is_temporary(name));
    let empty = std::fs::metadata(own.as_str()).is_ok() && names(&own).is_empty();
    Ok(record::exists(root)? || empty || temporary(&above) || temporary(&own))
}

/// Removes what such a run left.
pub(super) fn clear_leftovers(root: &Root) -> Result<(), AdoptFault> {
    let [above, own, _] = folders_of_record(root)?;
    for folder in [&above, &own] {
        atomic::sweep(folder)?;
    }
    record::remove(root)?;
    remove_empty(&own)
}

/// Removes temporary files of killed runs from every folder that a run works in.
pub(super) fn sweep(host: &Host, receipt: &Receipt) -> Result<(), AdoptFault> {
    let settings = &host.settings;
    let mut folders: Vec<RealPath> =
        receipt.changes.iter().map(|change| change.path.parent()).collect();
    folders.extend(folders_of_record(&host.root)?);
    for path in [&settings.nginx.hook, &settings.site.users_file, &settings.nginx.directory] {
        let real = real(&host.root, path)?;
        folders.extend([real.parent(), real]);
    }
    folders.sort_unstable();
    folders.dedup();
    let above: Vec<RealPath> = folders.iter().map(RealPath::parent).collect();
    folders.extend(above);
    for folder in
        folders.iter().filter(|folder| std::fs::metadata(folder.as_str()).is_ok_and(|m| m.is_dir()))
    {
        atomic::sweep(folder)?;
    }
    Ok(())
}
