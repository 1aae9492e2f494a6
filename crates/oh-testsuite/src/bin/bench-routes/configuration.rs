//! What nginx itself does for its configuration, ours beside one location per session.
//!
//! Of a route's way this is the part that a layout decides. The 100 ms between a reload's new
//! workers and the end of the old ones are not in it.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::components;
use oh_testsuite::lab::Lab;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::{Locations, Ours, ROUNDS, SIZES, accepts, median, pid_of, seen, workers};

/// The size at which nginx's own work is all that counts.
const LARGEST: usize = 5000;

/// How many workers the laboratory's nginx has.
const WORKERS: usize = 2;

/// Writes the table: for each size both layouts, and how many times ours the other costs.
pub(crate) fn table(out: &mut impl Write, port: u16) -> Result<()> {
    writeln!(out, "\nnginx's own work, median of {ROUNDS}, ms; memory after the start, MiB\n")?;
    writeln!(
        out,
        "| sessions | layout | `nginx -t` | its CPU | reload | its CPU | one worker | all of nginx |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for size in SIZES.into_iter().chain([LARGEST]) {
        let mut ours = Layout::new(Ours::new(size, port)?.lab)?;
        let mut locations = Layout::new(Locations::new(size, port)?.lab)?;
        for _ in 0..ROUNDS {
            ours.measure()?;
            locations.measure()?;
        }
        let (ours, locations) = (ours.figures(), locations.figures());
        let times: Vec<f64> = locations.iter().zip(&ours).map(|(a, b)| a / b).collect();
        let rows = [("ours", ours), ("location per session", locations), ("ratio", times)];
        for (layout, figures) in rows {
            let cells: Vec<String> = figures.iter().map(|cell| format!("{cell:.1}")).collect();
            writeln!(out, "| {size} | {layout} | {} |", cells.join(" | "))?;
        }
    }
    Ok(())
}

/// A tree of files with its nginx, and what was measured of it.
struct Layout {
    lab: Lab,
    /// MiB of one worker, and of the master with all workers.
    memory: [f64; 2],
    /// `nginx -t`, its CPU, the reload, its CPU.
    times: [Vec<Duration>; 4],
}

impl Layout {
    fn new(mut lab: Lab) -> Result<Self> {
        // A master that has reloaded keeps what the old configuration took.
        lab.stop_nginx()?;
        lab.start_nginx()?;
        seen(|| workers(&mut lab).is_ok_and(|workers| workers.len() == WORKERS))?;
        let workers = workers(&mut lab)?;
        let mut all = memory(lab.nginx()?.id())?;
        for worker in &workers {
            all += memory(*worker)?;
        }
        let one = memory(*workers.first().context("there is no worker")?)?;
        Ok(Self { lab, memory: [one, all], times: Default::default() })
    }

    fn measure(&mut self) -> Result<()> {
        let [test, test_cpu] = test(&self.lab)?;
        let [reload, reload_cpu] = reload(&mut self.lab)?;
        for (times, time) in self.times.iter_mut().zip([test, test_cpu, reload, reload_cpu]) {
            times.push(time);
        }
        Ok(())
    }

    fn figures(self) -> Vec<f64> {
        self.times.map(median).into_iter().chain(self.memory).collect()
    }
}

/// Returns how long `nginx -t` takes as a whole process, and its CPU time.
fn test(lab: &Lab) -> Result<[Duration; 2]> {
    let mut command = Command::new(components::program("nginx")?);
    command.args(["-t", "-q", "-c"]).arg(lab.at("etc/nginx/nginx.conf"));
    let begun = Instant::now();
    let mut child = command.spawn().context("could not run nginx")?;
    let pid = Pid::from_child(&child);
    // The kernel tells the CPU time of a process that has ended until somebody reaps it.
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    let took = begun.elapsed();
    let cpu = cpu(child.id());
    ensure!(child.wait()?.success(), "nginx refuses its configuration");
    Ok([took, cpu?])
}

/// Returns how long it takes from SIGHUP to a worker with the new configuration, and the
/// master's CPU time until the old workers have stopped.
fn reload(lab: &mut Lab) -> Result<[Duration; 2]> {
    let (master, id, old) = (pid_of(lab)?, lab.nginx()?.id(), workers(lab)?);
    let before = cpu(id)?;
    let begun = Instant::now();
    kill_process(master, Signal::HUP)?;
    seen(|| workers(lab).is_ok_and(|now| now.iter().any(|worker| !old.contains(worker))))?;
    let took = begun.elapsed();
    seen(|| !old.iter().any(|worker| accepts(*worker)))?;
    Ok([took, cpu(id)?.saturating_sub(before)])
}

/// Returns the CPU time of a process, user and system, in the kernel's full resolution.
fn cpu(pid: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let first = text.split_whitespace().next().context("schedstat is empty")?;
    Ok(Duration::from_nanos(first.parse()?))
}

/// Returns the proportional memory of a process in MiB.
fn memory(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("no Pss")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}
