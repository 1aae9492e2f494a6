//! Our side of the comparison: what `oh-wscheck` calls, and nothing around it.

use std::fs;
use std::future::pending;
use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};
use oh_probe::dial::Route;
use oh_probe::ladder::{Asked, hold};
use oh_probe::limits::Limits;
use oh_probe::load::{Load, load};
use oh_probe::reach::Way;
use oh_probe::target::Target;
use rustix::param::clock_ticks_per_second;
use tokio::runtime::Builder;
use tokio::time::Instant;

/// Connects once, to the namespace, and says goodbye.
pub(crate) fn once(url: &str) -> Result<()> {
    let (way, asked) = (way(url)?, asked());
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let (ladder, connection) = hold(&way, &asked).await;
        let connection = connection.with_context(|| format!("not connected: {ladder:?}"))?;
        connection.close(Instant::now() + way.limits.packet).await;
        Ok(())
    })
}

/// Connects so many times, so many at once, holds all, says what it took, and closes: how many, ms, ms of CPU, and KiB
/// before and at most.
pub(crate) fn many(url: &str, connections: usize, concurrency: usize) -> Result<()> {
    let (way, asked) = (way(url)?, asked());
    let plan = Load { concurrency, ..Load::of(connections) };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (base, cpu) = (peak_kib()?, cpu_ms()?);
    let loaded = runtime.block_on(load(&way, &asked, &plan, pending()));
    ensure!(loaded.held_max == connections, "{loaded:#?}");
    let took = loaded.took.as_secs_f64() * 1000.0;
    let cpu = cpu_ms()? - cpu;
    writeln!(std::io::stdout(), "{} {took} {cpu} {base} {}", loaded.held_max, peak_kib()?)?;
    Ok(())
}

fn way(url: &str) -> Result<Way> {
    Ok(Way {
        target: Target::parse(url)?,
        route: Route::default(),
        trust: None,
        takes_any_certificate: false,
        limits: Limits::default(),
    })
}

fn asked() -> Asked {
    Asked {
        path: "/socket.io/".to_owned(),
        query: String::new(),
        engine_version: 4,
        origin: None,
        authority: None,
        headers: Vec::new(),
        keeps_frames: false,
    }
}

/// The highest mark of our memory (`VmHWM`, proc_pid_status(5)).
fn peak_kib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Our CPU time, user and system (fields 14 and 15 of proc_pid_stat(5)).
fn cpu_ms() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("no stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>()?;
    Ok(ticks as f64 * 1000.0 / clock_ticks_per_second() as f64)
}
