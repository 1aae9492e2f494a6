//! The same with `oh-nginx watch`, which is there already when the file comes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use oh_testsuite::lab::Lab;
use oh_testsuite::watching::{Watch, generation_number, heartbeat, routed};

use super::{accepts, seen, session_text, workers};

/// How long the watch rests before the next arrival: more than its interval.
const REST: Duration = Duration::from_millis(500);

/// How long the thousand files take to come.
const BURST: Duration = Duration::from_secs(1);

/// A watch on a laboratory with `size` sessions.
pub(crate) struct Watched {
    lab: Lab,
    port: u16,
    _watch: Watch,
}

impl Watched {
    pub(crate) fn new(size: usize, port: u16) -> Result<Self> {
        let mut lab = Lab::plain()?;
        lab.start_nginx()?;
        for index in 0..size {
            lab.session(&format!("{index:032x}"), &session_text(index))?;
        }
        let watch = Watch::start(&lab, &["--set", "sessions.sessions_max=20000"])?;
        Ok(Self { lab, port, _watch: watch })
    }

    pub(crate) fn arrival(&mut self, round: usize) -> Result<Duration> {
        thread::sleep(REST);
        let id = format!("arrival-{round}");
        let text = format!("{{\"vscode_port\":{}}}", self.port);
        let before = workers(&mut self.lab)?;
        let old = self.lab.generation();
        let begun = Instant::now();
        self.lab.session(&id, &text)?;
        seen(|| self.lab.generation() != old)?;
        seen(|| !before.iter().any(|worker| accepts(*worker)))?;
        let took = begun.elapsed();
        ensure!(self.lab.routed(&id)? == Ok(self.port), "{id} is not served");
        self.lab.end_session(&id)?;
        routed(&self.lab, &id, Err(404))?;
        Ok(took)
    }
}

/// Writes the table of bursts.
pub(crate) fn bursts(out: &mut impl std::io::Write, port: u16) -> Result<()> {
    writeln!(out, "\nbursts, with oh-nginx watch\n")?;
    writeln!(out, "| files | come within, ms | reloads | all routed, ms after the last file |")?;
    writeln!(out, "|---|---|---|---|")?;
    for (count, span) in [(1000, BURST), (12_000, Duration::ZERO)] {
        let watched = Watched::new(0, port)?;
        thread::sleep(REST);
        let (lab, folder) = (&watched.lab, watched.lab.at("tmp/openhands-sessions"));
        let (before, begun) = (generation_number(lab)?, Instant::now());
        for index in 0..count {
            let path = folder.join(format!("s{index}.json"));
            fs::write(&path, format!("{{\"vscode_port\":{}}}", 22000 + index))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
            let due = span * u32::try_from(index)? / u32::try_from(count)?;
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
        let (came, last) = (begun.elapsed(), Instant::now());
        let all = serde_json::Value::from(count);
        seen(|| heartbeat(lab).is_ok_and(|heartbeat| heartbeat.get("routed") == Some(&all)))?;
        let (took, reloads) = (last.elapsed(), generation_number(lab)? - before);
        let (came, took) = (came.as_millis(), took.as_millis());
        writeln!(out, "| {count} | {came} | {reloads} | {took} |")?;
    }
    Ok(())
}
