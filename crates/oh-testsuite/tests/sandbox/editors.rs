//! The editors of a test's sandbox, as `oh-instances` and the kernel have them.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result};
use oh_testsuite::components;
use oh_testsuite::lab::Said;
use serde_json::Value;

use crate::deployment::Deployment;

impl Deployment {
    /// Returns what `oh-instances` says of each editor.
    pub(crate) fn instances(&self) -> Result<Vec<Value>> {
        let mut command = Command::new(components::built("oh-instances")?);
        command.env_clear().args(["list", "--format", "json", "--root"]).arg(self.dir());
        let said: Said = command.output().context("could not run oh-instances")?.into();
        let listed = said.json()?["result"]["instances"].clone();
        Ok(listed.as_array().context("no list")?.clone())
    }

    /// Returns the pids of each editor and of its supervisor, by id.
    pub(crate) fn editors(&self) -> Result<BTreeMap<String, (u32, u32)>> {
        let pid = |instance: &Value, key: &str| -> Result<u32> {
            Ok(u32::try_from(instance[key].as_u64().context("no pid")?)?)
        };
        let each = self.instances()?.into_iter().map(|one| {
            let id = one["id"].as_str().context("no id")?.to_owned();
            Ok((id, (pid(&one, "pid")?, pid(&one, "supervisor_pid")?)))
        });
        each.collect()
    }
}
