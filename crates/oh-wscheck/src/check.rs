//! The check itself: hop by hop from the outside, as far as it needs.

use std::net::{IpAddr, UdpSocket};

use oh_host::publish::Host;
use oh_host::settings::{self, Wish};
use oh_model::exit::Exit;
use oh_probe::kind::{self, Family, Kind};
use oh_probe::target::TargetHost;
use oh_probe::vscode::Observed;
use oh_term::{Answer, CheckFormat, Common, Failure, Progress};
use tokio::runtime::Builder;
use tokio::time::{Instant, timeout, timeout_at};

use crate::cause::{self, Found};
use crate::cli::{CheckArguments, HopName, KindName};
use crate::climbed::Climbed;
use crate::editor;
use crate::further::{self, Further};
use crate::hops::{self, Hop, Speech};
use crate::nginx::{self, Configuration};
use crate::report;

/// Everything that a run saw, and what follows.
#[derive(Debug)]
pub(crate) struct Seen {
    /// What it is; nothing where that was not asked.
    pub(crate) kind: Option<Kind>,
    /// What was spoken to it.
    pub(crate) speech: Speech,
    /// The hops that were asked, the outermost first, each with what was seen of it.
    pub(crate) hops: Vec<(Hop, Climbed)>,
    /// What was asked beyond it.
    pub(crate) further: Vec<Further>,
    /// Why it does not connect, or what was asked beyond it fails; nothing where neither is so.
    pub(crate) found: Option<Found>,
    /// The configuration of nginx, where it was looked for, or why it could not be read.
    pub(crate) configuration: Option<Result<Configuration, String>>,
    /// The time of the whole was over before the end was reached.
    pub(crate) is_cut_short: bool,
}

impl Seen {
    /// Says whether the outermost hop connects.
    pub(crate) fn connects(&self) -> bool {
        self.hops.first().is_some_and(|(_, climbed)| climbed.connects())
    }
}

/// What was looked at.
enum Looked {
    /// The way to a WebSocket.
    Way(Box<Seen>),
    /// An editor; nothing where there was no time for it.
    Editor(Box<Hop>, Option<Box<Observed>>),
}

/// Why a run ended before it had an answer.
enum Stopped {
    Interrupted,
    Failed(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

pub(crate) fn check(
    arguments: &CheckArguments,
    common: &Common<CheckFormat>,
) -> Result<Answer, Failure> {
    let wish = Wish::of(common.config.clone(), common.root.clone(), common.sets.clone());
    let found = settings::find(&wish).map_err(Failure::of)?;
    let warnings = found.warnings();
    let host = found.into_host();
    let public = hops::public(arguments, &host.settings)?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|fault| Failure::new(Exit::CouldNotLook, format!("no runtime: {fault}")))?;
    let progress = Progress::start();
    progress.doing("asking");
    let until = Instant::now() + arguments.timeout;
    let answer = runtime.block_on(async {
        let looked = tokio::select! {
            // Whoever interrupts is heard before anything is asked.
            biased;
            _ = tokio::signal::ctrl_c() => return Err(Stopped::Interrupted),
            looked = look(arguments, &host, public, until) => looked?,
        };
        let mut seen = match looked {
            Looked::Way(seen) => *seen,
            Looked::Editor(hop, observed) => {
                return Ok(editor::answer(&hop, observed.as_deref(), common.format));
            }
        };
        if seen.connects() && seen.speech == Speech::SocketIo {
            // What these have begun they end themselves, also where they are interrupted.
            ask_further(arguments, &host, &mut seen, &progress).await?;
        }
        Ok(report::answer(&seen, arguments, common.format))
    });
    drop(progress);
    match answer {
        Ok(answer) => Ok(answer.notes(warnings)),
        Err(Stopped::Failed(failure)) => Err(failure),
        Err(Stopped::Interrupted) => Err(Failure::new(Exit::Interrupted, "interrupted")
            .state("nothing was found out; no connection is left")),
    }
}

/// Asks what was wanted beyond one connection, and finds the cause where it fails.
async fn ask_further(
    arguments: &CheckArguments,
    host: &Host,
    seen: &mut Seen,
    progress: &Progress,
) -> Result<(), Failure> {
    let Some((hop, climbed)) = seen.hops.first() else { return Ok(()) };
    let is_wanted = arguments.soak.is_some()
        || arguments.load.is_some()
        || arguments.sticky
        || arguments.cors.is_some();
    if is_wanted && seen.configuration.is_none() && is_ours(host, hop, climbed) {
        seen.configuration = Some(nginx::read(host, hop));
    }
    let leads_on = seen.configuration.as_ref().and_then(|read| read.as_ref().ok()?.upstream());
    let direct = if arguments.upstream.is_some() || leads_on.is_some() {
        Some(hops::upstream(arguments, &host.settings, leads_on.as_deref(), hop)?)
    } else {
        None
    };
    let say = |what: &str| progress.doing(what);
    let further = further::ask(arguments, hop, direct.as_ref(), say).await;
    seen.further = further;
    if seen.found.is_none() {
        seen.found = cause::beyond(seen);
    }
    Ok(())
}

async fn look(
    arguments: &CheckArguments,
    host: &Host,
    public: Hop,
    until: Instant,
) -> Result<Looked, Failure> {
    let asks = |name: HopName| arguments.via.contains(&name);
    let outermost = if arguments.via.is_empty() || asks(HopName::Public) {
        public
    } else if asks(HopName::Nginx) {
        hops::nginx(&public)
    } else {
        hops::upstream(arguments, &host.settings, None, &public)?
    };
    let kind = kind_of(arguments, &outermost, until).await;
    let family = kind.as_ref().map(|kind| kind.family).filter(|family| family.is_editor());
    // Of an editor that was named as one and does not say what it is, that is seen.
    let named = arguments.vscode.as_ref().map(|_| Family::CodeServer);
    if let Some(family) = family.or(named) {
        let observed = editor::look(&outermost, family, until).await;
        return Ok(Looked::Editor(Box::new(outermost), observed));
    }
    let mut seen = Seen {
        speech: speech(arguments, kind.as_ref()),
        kind,
        hops: Vec::new(),
        further: Vec::new(),
        found: None,
        configuration: None,
        is_cut_short: false,
    };
    let template = outermost.clone();
    climb(outermost, until, &mut seen).await;
    let is_local = seen.hops.first().is_some_and(|(hop, climbed)| is_ours(host, hop, climbed));
    let goes_on = template.name != HopName::Upstream
        && (!arguments.via.is_empty() || !seen.connects() && speaks_http(&seen));
    if goes_on {
        if is_local {
            seen.configuration = Some(nginx::read(host, &template));
        }
        if asks(HopName::Nginx) && template.name == HopName::Public {
            climb(hops::nginx(&template), until, &mut seen).await;
        }
        let leads_on = seen.configuration.as_ref().and_then(|read| read.as_ref().ok()?.upstream());
        let is_known = arguments.upstream.is_some() || leads_on.is_some();
        if asks(HopName::Upstream) || arguments.via.is_empty() && is_known {
            let hop = hops::upstream(arguments, &host.settings, leads_on.as_deref(), &template)?;
            climb(hop, until, &mut seen).await;
        }
    }
    seen.found = cause::find(&seen);
    Ok(Looked::Way(Box::new(seen)))
}

/// Says whether somebody spoke behind the connection: what stands behind is of interest only then.
fn speaks_http(seen: &Seen) -> bool {
    seen.hops.last().is_some_and(|(_, climbed)| climbed.upgrade().is_some())
}

/// Finds out what a server is, unless that was said; nothing where there was no time for it.
async fn kind_of(arguments: &CheckArguments, hop: &Hop, until: Instant) -> Option<Kind> {
    // Whoever names a path or a protocol knows what is there.
    if arguments.kind.is_some() || arguments.path.is_some() {
        return None;
    }
    let visitor = hop.visitor();
    // Who says nothing is not to leave no time for the way itself.
    let rest = until.saturating_duration_since(Instant::now());
    let observed = timeout(rest / 3, kind::look(&hop.way, &visitor)).await.ok()?;
    Some(kind::judge(&observed))
}

/// Chooses what is spoken. Where nobody can tell, it is Socket.IO, of which a faulty way is known best.
fn speech(arguments: &CheckArguments, kind: Option<&Kind>) -> Speech {
    match (arguments.kind, kind.map(|kind| kind.family)) {
        (Some(KindName::AgentServer), _)
        | (None, Some(Family::AgentServer | Family::AgentCanvas)) => Speech::AgentServer,
        (Some(KindName::WebSocket), _) | (None, Some(Family::WebSocket)) => Speech::Raw,
        _ => Speech::SocketIo,
    }
}

/// Climbs a hop, as far as the time of the whole lets it.
async fn climb(hop: Hop, until: Instant, seen: &mut Seen) {
    let mut climbed = Climbed::nothing(seen.speech);
    if timeout_at(until, climbed.climb(&hop, seen.speech)).await.is_err() {
        seen.is_cut_short = true;
    }
    seen.hops.push((hop, climbed));
}

/// Says whether a hop ends on this machine, whose configuration can be read then.
fn is_ours(host: &Host, hop: &Hop, climbed: &Climbed) -> bool {
    let is_site = match (&hop.way.target.host, &host.settings.site.domain) {
        (TargetHost::Name(name), Some(domain)) => name.eq_ignore_ascii_case(&domain.to_string()),
        _ => false,
    };
    let address = climbed.reached().and_then(|reached| reached.tcp.last());
    let is_own = address.is_some_and(|(address, _)| is_own(address.ip()));
    is_site || hop.way.route.proxy.is_none() && is_own
}

/// Says whether an address is one of this machine's: nobody else's can be bound.
fn is_own(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}
