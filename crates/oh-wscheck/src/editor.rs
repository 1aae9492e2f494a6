//! An editor: that its address leads to it, its files come, and a workbench would be let in.

use oh_model::check::{Check, Verdict};
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_probe::dial::Timed;
use oh_probe::failure::Failure;
use oh_probe::kind::Family;
use oh_probe::vscode::{self, Body, Leads, Observed, Outcome, Proof, Replied, Shaken};
use oh_term::checks::Checked;
use oh_term::text::wrapped;
use oh_term::{Answer, CheckFormat};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use crate::hops::Hop;
use crate::report::{WIDTH, line};
use crate::rungs::{answered, end_text};

/// Asks an editor; nothing where there was no time for it.
pub(crate) async fn look(hop: &Hop, family: Family, until: Instant) -> Option<Box<Observed>> {
    let visitor = hop.visitor();
    let token = hop.token();
    let looking = vscode::look(&hop.way, &visitor, family, token.as_deref());
    timeout_at(until, looking).await.ok().map(Box::new)
}

/// Makes the answer.
pub(crate) fn answer(hop: &Hop, observed: Option<&Observed>, format: CheckFormat) -> Answer {
    let subject = hop.way.target.to_string();
    let Some(observed) = observed else {
        let text = format!("an editor at {subject}: not seen in time\n");
        let mut answer = Answer::new(text, json!({ "connects": false, "is_cut_short": true }));
        answer.plugin_code = Some(Verdict::Failed.plugin_code());
        return answer.exit(Exit::Deadline);
    };
    let proof = vscode::judge(observed);
    let works = matches!(proof.outcome, Outcome::Works | Outcome::OpenToOrigins);
    let is_late = matches!(proof.outcome, Outcome::Silent(Failure::Silent(_)));
    let exit = match (works, is_late) {
        (true, _) => Exit::Ok,
        (false, true) => Exit::Deadline,
        (false, false) => Exit::No,
    };
    let verdict = match &proof.outcome {
        Outcome::Works => Verdict::Passed,
        Outcome::OpenToOrigins => Verdict::Warned,
        _ => Verdict::Failed,
    };
    let said = outcome_text(&proof.outcome);
    let mut checks = checks(observed);
    // Nothing is called an editor's name that has not answered as one.
    let kind = match &proof.outcome {
        Outcome::Silent(_) | Outcome::Elsewhere(_) => "an editor".to_owned(),
        _ => observed.family.to_string(),
    };
    let summary = format!("{kind} at {subject}: {said}");
    let cause = proof.cause.map(|cause| cause.id);
    let proof_check = check("workbench", verdict, None, said);
    checks.push(Check { cause, ..proof_check });
    let checked = Checked {
        tool: "oh-wscheck",
        subject: &subject,
        verdict,
        summary: &summary,
        checks: &checks,
    };
    let human = match format {
        CheckFormat::Human | CheckFormat::Json => human(&summary, &checks, &proof),
        CheckFormat::Jsonl => checked.json_lines(),
        CheckFormat::Junit => checked.junit(),
        CheckFormat::Nagios => checked.nagios(),
        CheckFormat::Prometheus => checked.prometheus(),
    };
    let rungs = checks.iter().map(|check| {
        json!({ "name": check.name, "verdict": check.verdict.word(), "said": check.said, "us": check.took_us })
    });
    let result = json!({
        "summary": summary,
        "connects": works,
        "kind": { "family": observed.family.to_string(), "version": proof.commit },
        "is_open_to_origins": proof.is_open_to_origins,
        "checks": rungs.collect::<Vec<_>>(),
        "cause": proof.cause.map(crate::page::document),
        "notes": proof.notes,
    });
    let mut answer = Answer::new(human, result).exit(exit);
    answer.plugin_code = Some(verdict.plugin_code());
    let is_for_people = matches!(format, CheckFormat::Human | CheckFormat::Json);
    if let Some(cause) = proof.cause.filter(|_| is_for_people) {
        answer =
            answer.hint(Hint::run("more", Command::ours("oh-wscheck", &["--explain", cause.id])));
    }
    answer
}

fn human(summary: &str, checks: &[Check], proof: &Proof) -> String {
    let mut out = format!("{summary}\n\n");
    checks.iter().for_each(|check| out.push_str(&line(check)));
    let has_spoken = !matches!(proof.outcome, Outcome::Silent(_));
    proof
        .notes
        .iter()
        .filter(|_| has_spoken)
        .for_each(|note| out.push_str(&wrapped("       ", note, WIDTH)));
    if let Some(cause) = proof.cause {
        out.push_str(&format!("\ncause  {}  {}\n", cause.id, cause.title));
        out.push_str(&wrapped("       ", cause.why, WIDTH));
        out.push('\n');
        for (index, line) in cause.mend.iter().enumerate() {
            out.push_str(&format!("{}{line}\n", if index == 0 { "mend   " } else { "       " }));
        }
    }
    out
}

fn checks(observed: &Observed) -> Vec<Check> {
    let mut all =
        vec![of_reply("address", &observed.front), of_reply("version", &observed.version)];
    all.extend(observed.page.as_ref().map(|page| of_reply("page", page)));
    all.extend(observed.token.as_ref().map(|token| of_reply("token", token)));
    if let Some((path, reply)) = &observed.asset {
        let mut check = of_reply("file", reply);
        check.said = format!("{} {path}", check.said);
        all.push(check);
    }
    if let Some(Timed { took, value }) = &observed.handshake {
        let (verdict, said) = match value {
            Ok(shaken) => shaken_text(shaken),
            Err(failure) => (Verdict::Failed, failure.to_string()),
        };
        all.push(check("handshake", verdict, Some(*took), said));
    }
    if let Some(Timed { took, value }) = &observed.hostile {
        let (verdict, said) = match value {
            Ok(answer) if answer.is_open() => {
                (Verdict::Warned, "a page of anybody is let in".to_owned())
            }
            Ok(answer) => (
                Verdict::Passed,
                format!("a page of others is refused: {}", answered(&answer.answer)),
            ),
            Err(failure) => (Verdict::Unknown, failure.to_string()),
        };
        all.push(check("origin", verdict, Some(*took), said));
    }
    all
}

fn of_reply(name: &str, reply: &Replied) -> Check {
    let (verdict, said) = match &reply.value {
        Err(failure) => (Verdict::Failed, failure.to_string()),
        Ok(reply) => {
            let what = match (&reply.leads, &reply.body) {
                (Some(Leads::Within), _) => "redirected below the path".to_owned(),
                (Some(Leads::Outside(to)), _) => format!("redirected to {to}"),
                (None, Body::Workbench(_)) => "a page of VS Code".to_owned(),
                (None, Body::Commit(commit)) => format!("commit {commit}"),
                (None, Body::Unsupported) => "VS Code's own word".to_owned(),
                (None, Body::Other) => reply.media_type.clone().unwrap_or_default(),
            };
            (Verdict::Passed, format!("{} {what}", reply.status).trim_end().to_owned())
        }
    };
    check(name, verdict, Some(reply.took), said)
}

fn shaken_text(shaken: &Shaken) -> (Verdict, String) {
    match shaken {
        Shaken::Signed => (Verdict::Passed, "101, and the server would let us in".to_owned()),
        Shaken::Refused(why) => (Verdict::Failed, format!("refused: {why}")),
        Shaken::Strange(what) => (Verdict::Failed, format!("no VS Code: {what}")),
        Shaken::Quiet(due) => (Verdict::Failed, format!("nothing within {} ms", due.as_millis())),
        Shaken::Ended(end) => (Verdict::Failed, end_text(end)),
        Shaken::NotOpen(answer) => (Verdict::Failed, answered(&answer.answer)),
    }
}

fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Works => "works".to_owned(),
        Outcome::OpenToOrigins => "works, and lets the pages of anybody in".to_owned(),
        Outcome::Silent(failure) => failure.to_string(),
        Outcome::Elsewhere(status) => format!("the address leads to something else ({status})"),
        Outcome::Leaves(to) => format!("it redirects out of its path, to {to}"),
        Outcome::WantsLogin => "it asks for a login, and none was given".to_owned(),
        Outcome::WantsToken => "it wants its token; give it by --key-file".to_owned(),
        Outcome::TokenRefused => "it does not take the token".to_owned(),
        Outcome::OtherHost(host) => format!("its page sends browsers to {host}"),
        Outcome::Asset(path) => format!("its file {path} does not come"),
        Outcome::OwnOrigin => "it refuses its own pages".to_owned(),
        Outcome::NoWebSocket => "its WebSocket does not open".to_owned(),
        Outcome::Refused(why) => format!("it refuses the workbench: {why}"),
        Outcome::NoHandshake => "its WebSocket leads to something else".to_owned(),
    }
}

fn check(name: &str, verdict: Verdict, took: Option<std::time::Duration>, said: String) -> Check {
    let took_us = took.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    let (name, group) = (name.to_owned(), "editor".to_owned());
    Check { name, group, verdict, said, took_us, cause: None }
}
