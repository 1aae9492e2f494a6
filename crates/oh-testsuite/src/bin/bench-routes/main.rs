//! `cargo xtask bench routes`: from a session file to a served route, beside two peers.
//!
//! Served means that every new connection gets the new routes. nginx lets its old workers accept
//! for 100 ms beside the new ones, so all three are measured to the moment when the old ones have
//! stopped; what is beyond that is the tool's own.
//!
//! - ours: the file is written, and `oh-nginx apply` has said that the route is served.
//! - watch: the file is written, and `oh-nginx watch`, which was there before, has it served.
//! - bare: the same tree of files; the generation in it is changed in place without a sync, the
//!   master gets SIGHUP, and the generation is asked for. Nobody can publish with less.
//! - locations: what the shell scripts do: one location per session, the whole file rewritten,
//!   `nginx -t`, `nginx -s reload`, and the route asked for.
//!
//! All take turns, so that a machine that slows down slows all of them. Then come the bursts: a
//! thousand files in a second, and twelve thousand at once. Last comes what of all this is nginx's
//! own work for the configuration.

mod configuration;
mod watched;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::lab::{Lab, back_end};
use oh_testsuite::{components, net, wait};
use rustix::process::{Pid, Signal, kill_process};

use self::watched::Watched;

/// How many sessions there are.
const SIZES: [usize; 4] = [12, 50, 200, 1000];

/// How often each is measured.
const ROUNDS: usize = 15;

/// How long a route may take to be served.
const BOUND: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let port = back_end()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "session file to served route, median of {ROUNDS} arrivals, ms")?;
    writeln!(
        out,
        "| sessions | apply | watch | bare reload-and-look | apply / bare | watch / bare | \
         location per session | locations / watch |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for size in SIZES {
        let mut ours = Ours::new(size, port)?;
        let mut watched = Watched::new(size, port)?;
        let mut bare = Bare::new(size, port)?;
        let mut locations = Locations::new(size, port)?;
        let (mut a, mut b, mut c, mut w) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            a.push(ours.arrival(round)?);
            w.push(watched.arrival(round)?);
            b.push(bare.arrival()?);
            c.push(locations.arrival(round)?);
        }
        let (a, w, b, c) = (median(a), median(w), median(b), median(c));
        let (apply, watch, locations) = (a / b, w / b, c / w);
        writeln!(
            out,
            "| {size} | {a:.1} | {w:.1} | {b:.1} | {apply:.2} | {watch:.2} | {c:.1} | {locations:.2} |"
        )?;
    }
    watched::bursts(&mut out, port)?;
    configuration::table(&mut out, port)
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

/// Each session has an editor and an application, on ports that nobody else claims.
fn session_text(index: usize) -> String {
    format!("{{\"vscode_port\":{},\"app_ports\":[{}]}}", 22000 + index, 42000 + index)
}

/// `oh-nginx` on a laboratory with `size` sessions.
struct Ours {
    lab: Lab,
    port: u16,
}

impl Ours {
    fn new(size: usize, port: u16) -> Result<Self> {
        let mut lab = Lab::plain()?;
        lab.start_nginx()?;
        for index in 0..size {
            lab.session(&format!("{index:032x}"), &session_text(index))?;
        }
        lab.run(&["apply"])?.expect(0)?;
        Ok(Self { lab, port })
    }

    fn arrival(&mut self, round: usize) -> Result<Duration> {
        let id = format!("arrival-{round}");
        // The latest file has the port; the one before it becomes the left-over that it is.
        let text = format!("{{\"vscode_port\":{}}}", self.port);
        let begun = Instant::now();
        self.lab.session(&id, &text)?;
        self.lab.run(&["apply"])?.expect(0)?;
        let took = begun.elapsed();
        ensure!(self.lab.routed(&id)? == Ok(self.port), "{id} is not served");
        self.lab.end_session(&id)?;
        Ok(took)
    }
}

/// The same tree, reloaded with the least that can be done.
struct Bare {
    ours: Ours,
    number: u64,
}

impl Bare {
    fn new(size: usize, port: u16) -> Result<Self> {
        Ok(Self { ours: Ours::new(size, port)?, number: 1_000_000 })
    }

    fn arrival(&mut self) -> Result<Duration> {
        let lab = &mut self.ours.lab;
        let live = lab.at("etc/nginx/openhands/routes.conf");
        let text = fs::read_to_string(&live)?;
        let old = lab.generation().context("nothing is served")?;
        self.number += 1;
        let new = format!("{}-abc", self.number);
        let text = text.replace(&old, &new);
        let master = pid_of(lab)?;
        let before = workers(lab)?;
        let begun = Instant::now();
        fs::write(&live, text)?;
        kill_process(master, Signal::HUP)?;
        seen(|| lab.generation().as_deref() == Some(new.as_str()))?;
        seen(|| !before.iter().any(|worker| accepts(*worker)))?;
        Ok(begun.elapsed())
    }
}

/// One location for each session, as the scripts wrote them.
struct Locations {
    lab: Lab,
    size: usize,
    port: u16,
}

impl Locations {
    fn new(size: usize, port: u16) -> Result<Self> {
        let mut locations = Self { lab: Lab::plain()?, size, port };
        locations.write(usize::MAX)?;
        locations.lab.start_nginx()?;
        Ok(locations)
    }

    fn write(&mut self, arrival: usize) -> Result<()> {
        let mut text = format!("server {{\n  listen 127.0.0.1:{};\n", self.lab.site_port);
        for index in 0..self.size {
            location(&mut text, &format!("/vscode/{index:032x}/"), 22000 + index)?;
            location(&mut text, &format!("/apps/{index:032x}-0/"), 42000 + index)?;
        }
        location(&mut text, &format!("/vscode/arrival-{arrival}/"), self.port.into())?;
        text.push_str("}\n");
        self.lab.write("etc/nginx/conf.d/sessions.conf", &text)
    }

    fn arrival(&mut self, round: usize) -> Result<Duration> {
        let nginx = components::program("nginx")?;
        let config = self.lab.at("etc/nginx/nginx.conf");
        let before = workers(&mut self.lab)?;
        let begun = Instant::now();
        self.write(round)?;
        for arguments in [["-t", "-q"].as_slice(), ["-s", "reload"].as_slice()] {
            let ran = Command::new(&nginx).arg("-c").arg(&config).args(arguments).output()?;
            ensure!(ran.status.success(), "nginx: {}", String::from_utf8_lossy(&ran.stderr));
        }
        let url = self.lab.url(&format!("/vscode/arrival-{round}/x"));
        seen(|| net::get(&url, &[]).is_ok_and(|answer| answer.status == 200))?;
        seen(|| !before.iter().any(|worker| accepts(*worker)))?;
        Ok(begun.elapsed())
    }
}

fn location(text: &mut String, path: &str, port: usize) -> Result<()> {
    write!(
        text,
        "  location {path} {{\n    proxy_pass http://127.0.0.1:{port}/;\n    \
         proxy_http_version 1.1;\n    proxy_set_header Upgrade $http_upgrade;\n    \
         proxy_set_header Connection \"upgrade\";\n    proxy_set_header Host $host;\n    \
         proxy_set_header X-Forwarded-Path {path};\n    \
         proxy_set_header X-Original-URI $request_uri;\n    proxy_read_timeout 86400;\n  }}\n"
    )?;
    Ok(())
}

fn pid_of(lab: &mut Lab) -> Result<Pid> {
    let number = i32::try_from(lab.nginx()?.id())?;
    Pid::from_raw(number).context("nginx has no pid")
}

/// Returns the workers that accept connections now.
fn workers(lab: &mut Lab) -> Result<Vec<u32>> {
    let master = lab.nginx()?.id();
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
    let pids = children.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>()?;
    Ok(pids.into_iter().filter(|pid| accepts(*pid)).collect())
}

/// Says whether a worker accepts connections: nginx changes its title when it stops.
fn accepts(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|title| {
        title.starts_with("nginx: worker process") && !title.contains("shutting")
    })
}

/// Looks again and again without a pause longer than the thing that is measured.
fn seen(mut holds: impl FnMut() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !holds() {
        if begun.elapsed() > BOUND {
            return wait::until_true("the route", Duration::ZERO, holds);
        }
        std::thread::yield_now();
    }
    Ok(())
}
