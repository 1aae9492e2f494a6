//! What nginx itself refuses.

use super::{Rule, Setting};
use crate::lint::Severity;

pub(super) const RULES: &[Rule] = &[Rule {
    id: "OH-NGX-001",
    title: "nginx refuses it",
    severity: Severity::Error,
    why: "What nginx does not accept is not served: a reload keeps the old \
              configuration, and a restart starts nothing.",
    failing: &[],
    passing: &[],
    setting: Setting::Usual,
    source: "nginx -t",
}];
