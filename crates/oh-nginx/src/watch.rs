//! `oh-nginx watch`: keeps what is served in step with the sessions and repositories.
//!
//! The loop hears, waits and looks; when to look is [`pace`]'s decision, what to tell [`news`]'s,
//! which sessions are over `oh_model::retirement`'s, and all publishing is `oh-host`'s. Nothing
//! that a folder's owner does ends the loop: what fails is told once and tried again.
//!
//! The consent that a watch has is for publishing and for moving the files of dead sessions aside.
//! It makes no login, because what it prints is kept.

mod news;
mod pace;
mod tick;
mod unit;

use std::time::{Duration, Instant};

use oh_host::lock::Locks;
use oh_host::notify::Notifier;
use oh_host::publish::PublishFault;
use oh_host::signals::{End, Signals};
use oh_host::watch::Haste;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_term::{Answer, Common, Failure, say};
use serde_json::json;

use self::pace::Pace;
use self::tick::{Look, Watcher, rhythm};
use crate::edge::{context, lasting_context};
use crate::report;

pub(crate) use self::unit::{Unit, print};

/// What others read who want the lock.
const PURPOSE: &str = "oh-nginx watch";

/// How often it is asked who listens on the ports of sessions.
const GLANCE: Duration = Duration::from_secs(1);

/// How many wakings for nothing there may be within a glance before they are not listened to.
const NOISE_MAX: u32 = 32;

/// How long they are not listened to then.
const NOISE_REST: Duration = Duration::from_millis(50);

/// What the service manager hands to a service.
#[derive(Debug, Default)]
struct Managed {
    socket: Option<String>,
    /// How often it wants to hear that we live.
    watchdog: Option<Duration>,
}

/// Watches until a signal ends it.
pub(crate) fn watch(common: &Common) -> Result<Answer, Failure> {
    let signals = Signals::listen().map_err(|fault| could_not("listen to signals", fault))?;
    let context = lasting_context(common)?;
    let mut locks = Locks::open(&context.host.root, None).map_err(locked)?;
    let mut held = locks.watch(PURPOSE).map_err(locked)?;
    let managed = managed();
    let notifier = Notifier::of(managed.socket.as_deref())
        .map_err(|fault| could_not("speak to the service manager", fault))?;
    context.warnings.iter().for_each(|line| say(line));
    let mut pace = Pace::new(rhythm(&context.host));
    let mut watcher = Watcher::new(context.host, notifier, common.carried())
        .map_err(|fault| could_not("watch folders", fault))?;
    let mut ears = Ears { begun: Instant::now(), noise: 0, deaf_until: Duration::ZERO };
    let (mut glance_at, mut alive_at) = (Duration::ZERO, Duration::ZERO);
    let end = loop {
        if let Some(end) = signals.end() {
            break end;
        }
        if signals.take_hang_up() {
            read_again(common, &mut watcher, &mut pace);
        }
        if let Some(every) = managed.watchdog.filter(|_| ears.now() >= alive_at) {
            watcher.notifier.alive();
            alive_at = ears.now() + every / 2;
        }
        if ears.now() >= glance_at {
            if watcher.listeners_changed() {
                pace.notice(ears.now(), Haste::Now);
            }
            (glance_at, ears.noise) = (ears.now() + GLANCE, 0);
        }
        if let Some(scan) = pace.due(ears.now()) {
            let outcome = watcher.look(&mut held, scan, &signals);
            pace.done(ears.now(), scan, outcome);
            continue;
        }
        ears.listen(&signals, &mut watcher, &mut pace, glance_at);
    };
    watcher.notifier.stopping();
    let (word, exit) = match end {
        End::Terminate => ("SIGTERM", Exit::Ok),
        End::Interrupt => ("SIGINT", Exit::Interrupted),
    };
    let Look { publishes, retired, .. } = watcher.so_far;
    let human = format!(
        "ended by {word} after {} and {}; what is served stays served\n",
        report::several(publishes, "reload"),
        report::several(retired, "retired session"),
    );
    let result = json!({ "ended_by": word, "reloads": publishes, "retired": retired });
    Ok(Answer::new(human, result).exit(exit))
}

/// Looks once, as a timer does; says what `apply` says.
pub(crate) fn once(common: &Common) -> Result<Answer, Failure> {
    let context = context(common)?;
    let mut locks = Locks::open(&context.host.root, None).map_err(locked)?;
    let mut held = locks.watch(PURPOSE).map_err(locked)?;
    let silent = Notifier::of(None).map_err(|fault| could_not("begin", fault))?;
    let mut watcher = Watcher::new(context.host, silent, common.carried())
        .map_err(|fault| could_not("watch folders", fault))?;
    let (published, notes) = watcher.once(&mut held).map_err(Failure::of)?;
    Ok(report::published(&published).notes(context.warnings).notes(notes))
}

/// When to listen to what happens in the folders.
struct Ears {
    begun: Instant,
    noise: u32,
    deaf_until: Duration,
}

impl Ears {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Waits for the next thing to do.
    fn listen(
        &mut self,
        signals: &Signals,
        watcher: &mut Watcher,
        pace: &mut Pace,
        until: Duration,
    ) {
        let now = self.now();
        // What cannot change when it is looked need not wake us; nor does noise, again and again.
        let noisy = now < self.deaf_until;
        let deaf = noisy || pace.is_decided(now);
        let mut time = pace.pause(now).min(until.saturating_sub(now));
        if noisy {
            time = time.min(self.deaf_until - now);
        }
        watcher.watches.wait(signals, deaf, time);
        if deaf {
            return;
        }
        let now = self.now();
        match watcher.watches.take() {
            Some(haste) => pace.notice(now, haste),
            None => self.noise += 1,
        }
        if self.noise > NOISE_MAX {
            (self.noise, self.deaf_until) = (0, now + NOISE_REST);
        }
    }
}

/// Reads the configuration again; a faulty one is told, and the old one stays.
fn read_again(common: &Common, watcher: &mut Watcher, pace: &mut Pace) {
    match lasting_context(common) {
        Ok(context) => {
            context.warnings.iter().for_each(|line| say(line));
            pace.change(rhythm(&context.host));
            match watcher.change(context.host) {
                Ok(()) => say("the configuration was read again"),
                Err(fault) => say(&format!("warning: folders are not watched: {fault}")),
            }
        }
        Err(failure) => {
            say(&failure.text(&common.carried()));
            say("the configuration from before stays in force");
        }
    }
}

fn managed() -> Managed {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let watchdog = number("WATCHDOG_USEC").filter(|every| for_us && *every > 0);
    Managed {
        socket: std::env::var("NOTIFY_SOCKET").ok(),
        watchdog: watchdog.map(Duration::from_micros),
    }
}

fn locked(fault: oh_host::lock::LockFault) -> Failure {
    if !fault.is_held() {
        return Failure::of(PublishFault::from(fault));
    }
    Failure::new(Exit::Locked, fault)
        .state("another watch keeps the routes in step; nothing was done")
        .hint(Hint::run("how it is", Command::ours("oh-nginx", &["status"])))
}

fn could_not(what: &str, fault: std::io::Error) -> Failure {
    Failure::new(Exit::CouldNotLook, format!("could not {what}: {fault}"))
}
