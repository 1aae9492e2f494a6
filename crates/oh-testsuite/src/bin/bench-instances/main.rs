//! `cargo xtask bench instances`: twelve editors ready, seen and stopped, beside pm2 and bare
//! code-server.
//!
//! - ours: `oh-instances start` for each, at once: supervised, recorded, routed, seen through nginx.
//! - pm2: one `pm2 start` of twelve applications, until each answers.
//! - bare: twelve processes of code-server, until each answers. Nobody can be ready with less.
//!
//! All take turns, so that a machine that slows down slows all of them. Listing is measured as whole
//! processes, among five hundred others, beside `pm2 ls` and `ps aux`; stopping of one editor, until
//! its port can be taken again.

mod peers;

use std::io::Write as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use oh_testsuite::bench::{Strangers, timed};
use oh_testsuite::instances::Instances;

use self::peers::{Bare, Pm2};

/// How many editors there are.
const EDITORS: u16 = 12;

/// How often the twelve are brought up by each.
const ROUNDS: usize = 5;

/// How often it is listed.
const LISTS: usize = 15;

/// How many strangers there are while it is listed.
const STRANGERS: usize = 500;

fn main() -> Result<()> {
    let ours = Ours::new()?;
    let mut pm2 = Pm2::new(EDITORS)?;
    let mut bare = Bare::new(EDITORS)?;
    let mut ready = [Vec::new(), Vec::new(), Vec::new()];
    let mut stopped = [Vec::new(), Vec::new(), Vec::new()];
    let mut listed = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        ready[0].push(ours.start()?);
        listed[0].extend(ours.lists()?);
        stopped[0].push(ours.stop_one()?);
        ours.stop_rest()?;
        ready[1].push(pm2.start()?);
        listed[1].extend(lists(|| pm2.list())?);
        stopped[1].push(pm2.stop_one()?);
        pm2.stop_rest()?;
        ready[2].push(bare.start()?);
        listed[2].extend(lists(ps_aux)?);
        stopped[2].push(bare.stop_one()?);
        bare.stop_rest()?;
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "twelve editors, medians of {ROUNDS} rounds (lists: {LISTS} each round), ms")?;
    writeln!(out, "| | oh-instances | pm2 | bare code-server, `ps aux` | ours / bare |")?;
    writeln!(out, "|---|---|---|---|---|")?;
    for (what, times) in [
        ("twelve ready", ready),
        ("listed, among 500 others", listed),
        ("one stopped, its port free", stopped),
    ] {
        let [ours, pm2, bare] = times.map(median);
        let ratio = ours / bare;
        writeln!(out, "| {what} | {ours:.0} | {pm2:.0} | {bare:.0} | {ratio:.2} |")?;
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

/// Measures a list several times, among strangers.
fn lists(list: impl Fn() -> Result<Duration>) -> Result<Vec<Duration>> {
    let _strangers = Strangers::start(STRANGERS)?;
    (0..LISTS).map(|_| list()).collect()
}

fn ps_aux() -> Result<Duration> {
    timed(Command::new("/usr/bin/ps").arg("aux"))
}

/// `oh-instances` with twelve repositories.
struct Ours {
    scene: Instances,
    folders: Vec<String>,
}

impl Ours {
    fn new() -> Result<Self> {
        let scene = Instances::new("")?;
        let folders = (0..EDITORS).map(|number| scene.repository(&format!("editor-{number}")));
        let folders = folders.collect::<Result<Vec<_>>>()?;
        Ok(Self { scene, folders })
    }

    fn start(&self) -> Result<Duration> {
        let begun = Instant::now();
        thread::scope(|scope| -> Result<()> {
            let starts: Vec<_> = (self.folders.iter())
                .map(|folder| scope.spawn(|| self.scene.run(&["start", "--repo", folder])))
                .collect();
            for start in starts {
                let said = start.join().map_err(|_| anyhow::anyhow!("a start panicked"))?;
                said?.expect(0)?;
            }
            Ok(())
        })?;
        Ok(begun.elapsed())
    }

    fn lists(&self) -> Result<Vec<Duration>> {
        lists(|| timed(&mut self.scene.command(&["list"])?))
    }

    fn stop_one(&self) -> Result<Duration> {
        timed(&mut self.scene.command(&["stop", "editor-0"])?)
    }

    fn stop_rest(&self) -> Result<()> {
        self.scene.run(&["stop", "--all"])?.expect(0)?;
        Ok(())
    }
}
