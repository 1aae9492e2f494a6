//! Stops containers: all at once, so that the grace of one is that of all.

use std::collections::BTreeMap;

use oh_host::containers::{self, Turned};
use oh_model::container::{Engine, Listed};
use oh_model::plan::{Outcome, Plan};

use super::meant::Meant;
use super::{Deed, NotDone, Run, chain};
use crate::journal::{Line, Undo};
use crate::step::{Step, StopContainer};

impl Run<'_> {
    /// Stops all containers of a plan.
    pub(super) fn stop_containers(
        &mut self,
        plan: &Plan<Step>,
        meant: &Meant<'_>,
        deeds: &mut BTreeMap<usize, Deed>,
    ) {
        let of_it = plan.steps.iter().enumerate().filter_map(|(number, step)| match step {
            Step::StopContainer(stop) => Some((number, step, stop)),
            _ => None,
        });
        let mut begun = Vec::new();
        for (number, step, stop) in of_it {
            let StopContainer { engine, container } = stop;
            let undo = Undo::Stopped { engine: *engine, container: container.clone() };
            let may = self.may(step, meant);
            match may.and_then(|()| self.begin(number, undo).map_err(NotDone::from)) {
                Ok(()) => begun.push((number, step, stop)),
                Err(not_done) => self.stopped(deeds, number, step, Err(not_done)),
            }
        }
        if begun.is_empty() {
            return;
        }
        self.progress.doing(format!("stop {}", oh_term::text::several(begun.len(), "container")));
        let all: Vec<(Engine, &Listed)> =
            begun.iter().map(|(_, _, stop)| (stop.engine, &stop.container)).collect();
        let came = containers::stop_all(&all, self.grace);
        for ((number, step, _), came) in begun.into_iter().zip(came) {
            let outcome = match came {
                Ok(Turned::Done) => Ok(Outcome::Done),
                Ok(Turned::Already | Turned::Gone) => {
                    // Whoever stopped it does not want it back.
                    let noted = self.journal.note(&Line::Undone { step: number });
                    noted.map(|()| Outcome::AlreadyDone).map_err(NotDone::from)
                }
                Err(fault) => Err(NotDone::said(chain(&*fault))),
            };
            self.stopped(deeds, number, step, outcome);
        }
    }

    fn stopped(
        &mut self,
        deeds: &mut BTreeMap<usize, Deed>,
        number: usize,
        step: &Step,
        outcome: Result<Outcome, NotDone>,
    ) {
        self.ended(number, &outcome);
        deeds.insert(number, Deed { step: step.clone(), outcome, told: None });
    }
}
