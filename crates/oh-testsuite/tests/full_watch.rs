//! Reloads under load, and what they cost: nobody's request fails, no live WebSocket ends, also
//! past every timeout of the layout, and old workers stay small.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use oh_testsuite::lab::{Lab, back_end};
use oh_testsuite::net::{self, WebSocket};
use oh_testsuite::process::Running;
use oh_testsuite::watching::{BOUND, Watch, generation_number, routed};
use oh_testsuite::{components, wait};

/// By how much time is shortened: an hour is six seconds.
const FACTOR: u32 = 600;

/// How often OpenHands' Socket.IO pings, in seconds; it is what keeps a live WebSocket busy.
const PING_S: f64 = 25.0;

/// How many reloads there are under load.
const RELOADS: u64 = 50;

/// How many WebSockets live through them.
const WEB_SOCKETS: usize = 50;

/// How many WebSockets are held over how many reloads, to weigh old workers.
const HELD: usize = 20;

/// How many routes there are when old workers are weighed.
const ROUTES: usize = 1000;

/// What an old worker may add at most, in KiB of proportional memory.
const OLD_WORKER_KIB_MAX: u64 = 6 * 1024;

/// Starts an application that echoes WebSocket frames; returns its port.
fn application() -> Result<(Running, u16)> {
    let port = net::free_port()?;
    let mut command = Command::new(components::built("oh-stand-in")?);
    command.args(["app", "--listen", &format!("127.0.0.1:{port}"), "--name", "held"]);
    let running = Running::start(&mut command)?;
    wait::until("the application", BOUND, || {
        Ok(std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop))
    })?;
    Ok((running, port))
}

fn port_only(port: u16) -> String {
    format!("{{\"vscode_port\":{port}}}")
}

fn echo(socket: &mut WebSocket, text: &str) -> Result<()> {
    net::send_text(socket, text)?;
    ensure!(net::receive_text(socket)? == text, "another frame came back");
    Ok(())
}

/// Serves a copy of the generated set, by the same nginx, in which every idle timeout is divided by
/// [`FACTOR`]. Returns its port and the longest of these timeouts.
///
/// What a connection may take to be made is left as it is: it is over when a WebSocket is open.
fn shortened(lab: &Lab) -> Result<(u16, Duration)> {
    let text = fs::read_to_string(lab.at("etc/nginx/openhands/routes.conf"))?;
    let (site, generation) = (net::free_port()?, net::free_port()?);
    let mut longest = Duration::ZERO;
    let mut out = String::new();
    // Comments name the file as ours, and how large maps are may be said once.
    let said_already = |line: &str| line.starts_with('#') || line.starts_with("map_hash_");
    for line in text.lines().filter(|line| !said_already(line.trim_start())) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let idle = match words.as_slice() {
            [name, value] if name.ends_with("_timeout") && !name.contains("connect") => {
                Some((*name, seconds(value.trim_end_matches(';'))?))
            }
            _ => None,
        };
        match idle {
            Some((name, long)) => {
                let short = Duration::from_secs(long) / FACTOR;
                longest = longest.max(short);
                out.push_str(&format!("{name} {}ms;\n", short.as_millis()));
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    ensure!(longest > Duration::ZERO, "the layout has no timeout");
    let out = out
        .replace("oh_", "short_")
        .replace(&format!(":{}", lab.site_port), &format!(":{site}"))
        .replace(&format!(":{}", lab.generation_port), &format!(":{generation}"));
    lab.write("etc/nginx/conf.d/50-short.conf", &out)?;
    Ok((site, longest))
}

fn seconds(time: &str) -> Result<u64> {
    if time == "0" {
        return Ok(0);
    }
    let (number, unit) = time.split_at(time.len() - 1);
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => bail!("{time} has an unknown unit"),
    };
    Ok(number.parse::<u64>()? * factor)
}

#[test]
fn fifty_reloads_under_load_lose_nothing_past_every_timeout() -> Result<()> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    let (_application, held) = application()?;
    let loaded = back_end()?;
    lab.session("held", &port_only(held))?;
    lab.session("loaded", &port_only(loaded))?;
    lab.run(&["apply"])?.expect(0)?;
    let (short_port, longest) = shortened(&lab)?;
    lab.session("one-more", &port_only(back_end()?))?;
    lab.run(&["apply"])?.expect(0)?;
    let watch = Watch::start(&lab, &["--set", "nginx.old_workers_max=10000"])?;

    let url = format!("ws://127.0.0.1:{short_port}/vscode/held/ws");
    let open = || net::upgrade(&url, &[])?.open();
    let mut idle = open()?;
    let (stop, echoes) = (AtomicBool::new(false), AtomicU64::new(0));
    let ping = Duration::from_secs_f64(PING_S / f64::from(FACTOR));
    let begun = Instant::now();
    let live = (0..WEB_SOCKETS).map(|_| open()).collect::<Result<Vec<_>>>()?;
    let mut load = Command::new(components::program("wrk")?);
    load.args(["-t1", "-c4", "-d600s", "-H", "Connection: close", &lab.url("/vscode/loaded/x")]);
    let load = Running::start(&mut load)?;

    let before = generation_number(&lab)?;
    let outcome = thread::scope(|scope| -> Result<()> {
        let (stop, echoes) = (&stop, &echoes);
        let pingers: Vec<_> = live
            .into_iter()
            .map(|mut socket| {
                scope.spawn(move || -> Result<()> {
                    while !stop.load(Ordering::Relaxed) {
                        echo(&mut socket, "2")?;
                        echoes.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(ping);
                    }
                    // And after the last reload.
                    echo(&mut socket, "after")
                })
            })
            .collect();
        let reloaded = reload_until(&lab, before + RELOADS, begun, longest * 3);
        stop.store(true, Ordering::Relaxed);
        for pinger in pingers {
            pinger.join().map_err(|_| anyhow::anyhow!("a pinger panicked"))??;
        }
        reloaded
    });
    outcome.with_context(|| watch.log())?;
    // The clock is really shorter: who says nothing for as long as an hour is shut out.
    ensure!(echo(&mut idle, "too late").is_err(), "the shortened timeouts are not in force");
    ensure!(echoes.load(Ordering::Relaxed) > WEB_SOCKETS as u64 * 10, "hardly any frame went");

    load.signal(rustix::process::Signal::INT);
    let mut load = load;
    load.wait(BOUND)?;
    let said = load.log();
    ensure!(said.contains("requests in"), "{said}");
    ensure!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    Ok(())
}

/// Lets sessions come until there are so many generations more and so much time is over.
fn reload_until(lab: &Lab, number: u64, begun: Instant, least: Duration) -> Result<()> {
    let silent = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut arrival = 0;
    loop {
        let now = generation_number(lab)?;
        if now >= number && begun.elapsed() > least {
            return Ok(());
        }
        arrival += 1;
        lab.session(&format!("arrival-{arrival}"), &port_only(silent))?;
        wait::until("the next generation", BOUND, || {
            Ok((generation_number(lab).is_ok_and(|next| next > now)).then_some(()))
        })?;
    }
}

/// Returns the master and its workers, and the proportional memory of them all in KiB.
fn weigh(lab: &mut Lab) -> Result<(BTreeSet<u32>, u64)> {
    let master = lab.nginx()?.id();
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
    let mut pids: BTreeSet<u32> =
        children.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    pids.insert(master);
    let mut total = 0;
    for pid in &pids {
        // A worker that ends while it is weighed weighs nothing.
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        total += line.and_then(|line| line.split_whitespace().next()).map_or(Ok(0), str::parse)?;
    }
    Ok((pids, total))
}

fn old_workers(pids: &BTreeSet<u32>) -> u64 {
    let old = |pid: &&u32| {
        let title = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        title.contains("is shutting down")
    };
    pids.iter().filter(old).count() as u64
}

/// Holds a WebSocket over each of twenty reloads and weighs what remains.
fn weigh_old_workers(reload: impl Fn(&Lab, &str) -> Result<()>, watched: bool) -> Result<()> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    let (_application, port) = application()?;
    lab.session("held", &port_only(port))?;
    for index in 0..ROUTES - 1 {
        lab.session(&format!("{index:032x}"), &port_only(22000 + u16::try_from(index)?))?;
    }
    lab.run(&["apply"])?.expect(0)?;
    let _watch = match watched {
        true => Some(Watch::start(&lab, &["--set", "nginx.old_workers_max=10000"])?),
        false => None,
    };
    let (_, before) = weigh(&mut lab)?;
    let mut sockets = Vec::new();
    for round in 0..HELD {
        let url = format!("ws://127.0.0.1:{}/vscode/held/ws", lab.site_port);
        let mut socket = net::upgrade(&url, &[])?.open()?;
        echo(&mut socket, "held")?;
        sockets.push(socket);
        reload(&lab, &format!("round-{round}"))?;
    }
    let settled = wait::until("old workers without connections to end", BOUND, || {
        let (pids, total) = weigh(&mut lab)?;
        let old = old_workers(&pids);
        Ok((1..=HELD as u64).contains(&old).then_some((old, total)))
    })?;
    for socket in &mut sockets {
        echo(socket, "still held")?;
    }
    let (old, after) = settled;
    let growth = after.saturating_sub(before) / old;
    ensure!(growth < OLD_WORKER_KIB_MAX, "{growth} KiB for each of {old} old workers");
    Ok(())
}

#[test]
fn old_workers_are_small_after_apply() -> Result<()> {
    let by_hand = |lab: &Lab, id: &str| {
        lab.session(id, &port_only(back_end()?))?;
        lab.run(&["apply"])?.expect(0).map(drop)
    };
    weigh_old_workers(by_hand, false)
}

#[test]
fn old_workers_are_small_under_a_watch() -> Result<()> {
    let heard = |lab: &Lab, id: &str| {
        let port = back_end()?;
        lab.session(id, &port_only(port))?;
        routed(lab, id, Ok(port))
    };
    weigh_old_workers(heard, true)
}
