//! The answer for programs: the same as for people, and more of it.

use oh_model::check::Check;
use oh_model::redact::Redactor;
use oh_nginx_conf::lint::Finding;
use oh_probe::diagnose::Certainty;
use oh_probe::kind::Kind;
use oh_probe::ladder::Ladder;
use serde_json::{Value, json};

use crate::cause::Found;
use crate::check::Seen;
use crate::climbed::Climbed;
use crate::further::Further;

pub(crate) fn document(seen: &Seen, head: &str, checks: &[Vec<Check>], with_frames: bool) -> Value {
    let hops = seen.hops.iter().zip(checks).map(|((hop, climbed), rungs)| {
        let (deviations, frames) = match climbed {
            Climbed::SocketIo(ladder) => (
                ladder.deviations.iter().map(|one| format!("{one:?}")).collect(),
                if with_frames { frames(ladder) } else { Value::Null },
            ),
            Climbed::Raw(_) => (Vec::new(), Value::Null),
        };
        json!({
            "name": hop.name.word(),
            "target": hop.way.target.to_string(),
            "connects": climbed.connects(),
            "rungs": rungs.iter().map(rung).collect::<Vec<_>>(),
            "deviations": deviations,
            "frames": frames,
        })
    });
    json!({
        "summary": head,
        "connects": seen.connects(),
        "is_cut_short": seen.is_cut_short,
        "kind": seen.kind.as_ref().map(kind),
        "hops": hops.collect::<Vec<_>>(),
        "further": seen.further.iter().map(further).collect::<Vec<_>>(),
        "cause": seen.found.as_ref().map(cause),
        "served_by": served_by(seen),
        "configuration_unread": seen.configuration.as_ref().and_then(|read| read.as_ref().err()),
    })
}

fn kind(kind: &Kind) -> Value {
    json!({
        "family": kind.family.to_string(),
        "version": kind.version,
        "has_fallback": kind.has_fallback,
        "proxy": kind.proxy,
        "evidence": kind.evidence,
    })
}

fn further(further: &Further) -> Value {
    json!({
        "name": further.check.name,
        "verdict": further.check.verdict.word(),
        "said": further.check.said,
        "ms": further.check.took_us.map(ms),
        "lines": further.lines,
        "causes": further.causes.iter().map(|(cause, _)| cause.id).collect::<Vec<_>>(),
        "is_stopped": further.is_stopped,
    })
}

fn rung(rung: &Check) -> Value {
    json!({
        "name": rung.name,
        "verdict": rung.verdict.word(),
        "said": rung.said,
        "ms": rung.took_us.map(ms),
        "cause": rung.cause,
    })
}

fn ms(took_us: u64) -> f64 {
    std::time::Duration::from_micros(took_us).as_secs_f64() * 1000.0
}

fn frames(ladder: &Ladder) -> Value {
    let redactor = Redactor::default();
    let frames = ladder.frames.iter().map(|frame| {
        let after_us = u64::try_from(frame.after.as_micros()).unwrap_or(u64::MAX);
        json!({ "ms": ms(after_us), "is_ours": frame.is_ours, "text": redactor.string(&frame.text) })
    });
    frames.collect()
}

fn served_by(seen: &Seen) -> Value {
    let serving = seen
        .configuration
        .as_ref()
        .and_then(|read| read.as_ref().ok())
        .and_then(|configuration| configuration.serving.as_ref());
    let Some(serving) = serving else { return Value::Null };
    let place = |place: &Option<_>| place.as_ref().map(ToString::to_string);
    let place = |found: &Option<oh_nginx_conf::inspect::Place>| place(found);
    json!({
        "server": place(&serving.server),
        "location": place(&serving.location),
        "upstream": serving.upstream.as_ref().map(|passed| {
            json!({ "scheme": passed.scheme, "address": passed.address, "path": passed.path })
        }),
    })
}

fn cause(found: &Found) -> Value {
    json!({
        "id": found.cause.id,
        "title": found.cause.title,
        "why": found.cause.why,
        "is_certain": found.certainty == Certainty::Certain,
        "hop": found.hop,
        "evidence": found.evidence,
        "mend": found.cause.mend,
        "lines": found.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn finding(finding: &Finding) -> Value {
    let changes = finding.changes.iter().map(|change| {
        json!({
            "instruction": change.instruction(&finding.place),
            "path": change.place.path,
            "line": change.place.line,
            "lines": change.lines,
        })
    });
    json!({
        "rule": finding.rule.id,
        "path": finding.place.path,
        "line": finding.place.line,
        "what": finding.what,
        "is_sure": finding.sure,
        "changes": changes.collect::<Vec<_>>(),
    })
}
