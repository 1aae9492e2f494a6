//! A plan in a file: made now, read by people, carried out later, and only as far as it is still true.
//!
//! The file is one JSON document with a version. It says for which root and in which boot it was made,
//! what was asked for, and the steps with their digest. Whoever carries it out reads it as he reads a
//! configuration: for root it has to be root's alone, because it names what is to be ended.

use oh_host::boot::BootId;
use oh_host::folder::read_trusted;
use oh_host::publish::Host;
use oh_model::path::RealPath;
use oh_model::plan::Plan;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::request::Request;
use crate::step::Step;

/// The version of the file.
const SCHEMA: u32 = 1;

/// The largest file that is read, in bytes.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A plan as its file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanFile {
    schema: u32,
    /// The folder that every path is below; nothing for the machine itself.
    root: Option<String>,
    boot_id: BootId,
    request: Request,
    steps: Vec<Step>,
    digest: String,
}

impl PlanFile {
    /// Makes the file of a plan.
    pub(crate) fn of(host: &Host, boot_id: BootId, request: &Request, plan: &Plan<Step>) -> Self {
        Self {
            schema: SCHEMA,
            root: base(host),
            boot_id,
            request: request.clone(),
            steps: plan.steps.clone(),
            digest: plan.digest().to_string(),
        }
    }

    /// Returns its text.
    pub(crate) fn render(&self) -> String {
        // Values of ours have no keys that are no text, which is all that could fail.
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        format!("{text}\n")
    }

    /// Reads a file, and makes sure that it speaks of this machine as it runs.
    pub(crate) fn read(
        host: &Host,
        path: &RealPath,
        boot_id: &BootId,
    ) -> Result<(Request, Plan<Step>), Fault> {
        let bad = |why: String| Fault::Plan { path: path.to_string(), why };
        let text = read_trusted(&host.root, path, BYTES_MAX);
        let text = text.map_err(|fault| bad(crate::apply::chain(&fault)))?;
        let text = text.ok_or_else(|| bad("there is no such file".into()))?;
        let file: Self = serde_json::from_str(&text).map_err(|fault| bad(fault.to_string()))?;
        let Self { schema, root, request, steps, digest, .. } = file;
        if schema != SCHEMA {
            return Err(bad(format!("its version is {schema}, and this is {SCHEMA}")));
        }
        if root != base(host) {
            let of = root.unwrap_or_else(|| "/".into());
            return Err(bad(format!("it was made for the root {of}")));
        }
        if file.boot_id != *boot_id {
            return Err(Fault::Stale("before this machine was booted".into()));
        }
        let plan = Plan { steps, exclusions: Vec::new() };
        if plan.digest().to_string() != digest {
            return Err(bad("its steps are not those that its digest is of".into()));
        }
        Ok((request, plan))
    }
}

fn base(host: &Host) -> Option<String> {
    host.root.base().map(ToString::to_string)
}
