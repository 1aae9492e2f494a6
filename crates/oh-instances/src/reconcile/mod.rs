//! Sets right what is not as it is wanted: half-done starts and stops, editors without a supervisor,
//! instances of which nothing lives, databases that say something else, editors of nobody's record.
//!
//! What is there is gathered, what is to be done is decided over it by a pure function, and that
//! very value is printed or carried out. Each step looks again under the lease of its instance, so
//! that one on which another command works is left to it. A step that fails keeps no other; a run
//! that is killed is gone on with by the next one. The second of two runs finds nothing to do.

mod apply;
mod facts;
mod plan;
mod report;
mod strays;

use oh_term::{Answer, Common, Failure};

use crate::cli::ReconcileArguments;
use crate::commands::{Context, context};
use crate::room;
use crate::work::Work;

/// Reconciles, or says what would be done.
pub(crate) fn reconcile(asked: &ReconcileArguments, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let facts = facts::gather(&host).map_err(Failure::of)?;
    let plan = plan::plan(&facts, asked.start);
    if asked.dry_run || plan.steps.is_empty() {
        return Ok(report::planned(&plan, asked, facts.is_blind()).notes(warnings));
    }
    plan::objections(&facts, &plan).map_err(report::refused)?;
    let consent = plan.confirm();
    let done = apply::apply(&Work::begin(&host, common)?, &plan, consent, asked.start)?;
    let is_undone = done.deeds.iter().any(|deed| deed.outcome.is_err());
    let hints = if is_undone { room::hints(&host) } else { Vec::new() };
    let answer = report::done(&plan, done, facts.is_blind()).notes(warnings);
    Ok(hints.into_iter().fold(answer, Answer::hint))
}
