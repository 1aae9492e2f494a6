//! Which steps lead from what is served to what is wanted: pure, and separate from its checker.

use std::fmt;

use oh_model::hint::{Command, Hint};
use oh_model::path::RealPath;
use oh_model::plan::{Objection, Plan};
use oh_model::port::Port;
use oh_nginx_conf::layout::Generation;
use oh_nginx_conf::served;

use super::PublishFault;
use super::facts::{Facts, Hook, Live, Running};
use super::fault::apply_again;
use crate::process::Pid;

/// A step of publishing. Its text is what people confirm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write the wanted set beside the one in place.
    Stage(Generation),
    /// Prove that the staged set differs from the accepted one in data lines only.
    Prove,
    /// Let nginx judge its whole configuration with the staged set in it.
    Test,
    /// Make a user and a password, because there are none.
    Login(RealPath),
    /// Keep the set that is served, to be able to go back.
    Keep(Generation),
    /// Put the staged set in its place.
    Swap(Generation),
    /// Make nginx's configuration include the set.
    Hook(RealPath),
    /// Ask the master to read its configuration.
    Reload(Pid),
    /// Wait until nginx answers the generation.
    See(Generation),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage(generation) => write!(f, "stage generation {generation}"),
            Self::Prove => f.write_str("prove that only data lines change"),
            Self::Test => f.write_str("test the whole configuration with `nginx -t`"),
            Self::Login(file) => write!(f, "make a login in {file}"),
            Self::Keep(generation) => write!(f, "keep generation {generation} to go back to"),
            Self::Swap(generation) => write!(f, "put generation {generation} in place"),
            Self::Hook(file) => write!(f, "include it from {file}"),
            Self::Reload(pid) => write!(f, "reload the nginx master (pid {pid})"),
            Self::See(generation) => write!(f, "see generation {generation} served"),
        }
    }
}

/// Decides the steps.
///
/// # Errors
/// [`PublishFault::Refused`] where only the operator can decide.
pub fn plan(facts: &Facts) -> Result<Plan<Step>, PublishFault> {
    refuse(facts)?;
    let mut steps = Vec::new();
    let in_place = facts.live.current(&facts.wanted);
    let generation = facts.target();
    if in_place.is_none() {
        steps.push(Step::Stage(generation.clone()));
        steps.push(if provable(facts) { Step::Prove } else { Step::Test });
    }
    if let (Some(found), true) = (&facts.changeable, steps.contains(&Step::Test)) {
        return Err(PublishFault::Refused {
            what: format!(
                "{} {}, so root must not let nginx read it for a test",
                found.path, found.why
            ),
            hint: found.mend.clone().into(),
        });
    }
    if in_place.is_none() {
        // A set that was put in place and never served must not displace the one that is.
        if let Live::Ours(served) = &facts.live
            && !facts.previous_is_served()
        {
            steps.push(Step::Keep(served.generation.clone()));
        }
        steps.push(Step::Swap(generation.clone()));
    }
    if facts.hook != Hook::Ours {
        steps.push(Step::Hook(facts.paths.hook.clone()));
    }
    if let Running::Master { master, answered } = &facts.running
        && (answered.as_ref() != Some(&generation) || facts.hook != Hook::Ours)
    {
        steps.push(Step::Reload(master.pid()));
        steps.push(Step::See(generation));
    }
    // Last, so that a password which is made is a password which is shown: nginx reads the file at
    // each request, and refuses all of them until it is there.
    steps.extend(facts.login_wanted.clone().map(Step::Login));
    Ok(Plan { steps, exclusions: facts.routes.exclusions.clone() })
}

/// Says whether our own reader can prove the change, so that nginx need not judge everything.
///
/// It can where the set in place is untouched and is what nginx serves: then nginx has accepted
/// everything but the data lines.
fn provable(facts: &Facts) -> bool {
    let Live::Ours(live) = &facts.live else { return false };
    matches!(facts.running, Running::Master { .. })
        && live.intact
        && facts.hook == Hook::Ours
        && facts.running.answered() == Some(&live.generation)
        && facts.only_data_changes()
}

/// Names what only the operator can decide.
fn refuse(facts: &Facts) -> Result<(), PublishFault> {
    let refused = |what: String, hint: Hint| Err(PublishFault::Refused { what, hint });
    if let Hook::Foreign = facts.hook {
        return refused(
            format!("{} exists and is not ours", facts.paths.hook),
            "move it away, or set nginx.hook to another name in the same folder".into(),
        );
    }
    if !facts.hook_included {
        return refused(
            format!("{} does not include {}", facts.paths.config, facts.paths.hook),
            format!("add to its http block: include {}/*.conf;", facts.paths.hook.parent()).into(),
        );
    }
    if let Live::Foreign(why) = &facts.live {
        return refused(
            format!("{} is not ours: {why}", facts.paths.live),
            Hint::run("move it away, then run", apply_again()),
        );
    }
    if let Some(other) = facts.surroundings.other_files_of_ours.first() {
        return refused(
            format!("{other} is ours too, of another nginx.hook or nginx.directory"),
            Hint::run("", Command::other("rm", &[other.as_str()])),
        );
    }
    if let Some((name, place)) = &facts.surroundings.map_size_after_ours {
        return refused(
            format!("{place} sets {name} after the maps of {}", facts.paths.hook),
            "move that line before it, or set nginx.hook to a name that sorts behind its file"
                .into(),
        );
    }
    let site = &facts.site;
    let clash = facts.surroundings.listens.iter().find_map(|listen| {
        let ours = listen.names.iter().find(|name| site.serves_names_of(name))?;
        (listen.port == site.port.get()).then_some((&listen.place, ours))
    });
    if let Some((place, name)) = clash {
        return refused(
            format!("{place} has a server for {name}:{} already", site.port),
            "remove that server, or choose another site.domain or site.port".into(),
        );
    }
    if let Some(found) = &facts.sockets_addable {
        return refused(
            format!(
                "{} {}, so others could take an id by a socket of theirs",
                found.path, found.why
            ),
            found.mend.clone().into(),
        );
    }
    if let Some(who) = &facts.generation_port_taken {
        return refused(
            format!("port {} is taken by {who}", site.generation_port),
            another_port(facts.free_port),
        );
    }
    Ok(())
}

/// Names the port that could be taken instead.
fn another_port(free: Option<Port>) -> Hint {
    let Some(port) = free else { return "choose another nginx.generation_port".into() };
    let set = format!("nginx.generation_port={port}");
    Hint::run(
        "choose another nginx.generation_port, and write it into the configuration",
        Command::ours("oh-nginx", &["apply", "--set", &set]),
    )
}

/// Distrusts the planner: what must hold of any plan, checked by other means.
pub fn objections(plan: &Plan<Step>, facts: &Facts) -> Vec<Objection> {
    let mut found = Vec::new();
    let mut object = |text: String| found.push(Objection(text));
    let position = |wanted: fn(&Step) -> bool| plan.steps.iter().position(wanted);
    let swap = position(|step| matches!(step, Step::Swap(_)));
    let stage = position(|step| matches!(step, Step::Stage(_)));
    let judged = position(|step| matches!(step, Step::Prove | Step::Test));
    match (stage, judged, swap) {
        (None, None, None) => {}
        (Some(stage), Some(judged), Some(swap)) if stage < judged && judged < swap => {}
        _ => object("a set is swapped in without being staged and judged".into()),
    }
    let reload = position(|step| matches!(step, Step::Reload(_)));
    let see = position(|step| matches!(step, Step::See(_)));
    if reload.is_some() != see.is_some() || reload > see || swap > reload.or(swap) {
        object("a reload is not looked after".into());
    }
    if let Some(Step::Swap(generation)) = swap.and_then(|at| plan.steps.get(at)) {
        if *generation != facts.target() {
            object(format!("generation {generation} is not the one that is wanted"));
        }
        objections_to_text(facts).into_iter().for_each(&mut object);
    }
    found
}

/// Reads the wanted text back and holds it against the policy, route by route.
fn objections_to_text(facts: &Facts) -> Vec<String> {
    let read = match served::read(facts.target_text().reveal()) {
        Ok(read) if read.intact => read,
        Ok(_) => return vec!["the wanted set does not have the digest it claims".into()],
        Err(fault) => return vec![format!("the wanted set cannot be read back: {fault}")],
    };
    let mut found = Vec::new();
    let policy = &facts.policy;
    for (id, port) in read.editors.iter().chain(&read.apps) {
        if let Some(purpose) = policy.reserved.get(port) {
            found.push(format!("{id} leads to port {port}, which is {purpose}"));
        }
    }
    let by_port = facts.routes.editors.iter().filter(|editor| editor.target.port().is_some());
    let (editors, apps) = (by_port.count(), facts.routes.apps.len());
    if (read.editors.len(), read.apps.len()) != (editors, apps) {
        found.push("the wanted set has other routes than were agreed".into());
    }
    found
}
