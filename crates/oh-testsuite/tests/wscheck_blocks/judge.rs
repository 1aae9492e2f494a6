//! What is demanded of the diagnosis of a block.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use oh_nginx_conf::lint::Finding;
use oh_probe::cause::{self, Cause};
use oh_probe::diagnose::{
    Certainty, Diagnosis, Hop, connects, diagnose, lines_of, refined, warnings,
};
use oh_probe::ladder::Ladder;
use oh_probe::signature;

use crate::blocks::{Block, Mend};
use crate::scene::{Door, Scene, Seen, Visit, names, tree};

/// How many faults one behind the other may come to light.
const ROUNDS_MAX: usize = 4;

/// How much of an answer is shown, in characters.
const SHOWN_MAX: usize = 80;

/// How often each thing was so.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// The client is connected, and nothing is said.
    pub(crate) silent: usize,
    /// It is not, the cause is named, and the linter's lines heal it.
    pub(crate) healed_by_lines: usize,
    /// It is not, the cause is named, and what it says heals it, done by an operator.
    pub(crate) healed_by_hand: usize,
    /// The causes that were named.
    pub(crate) causes: BTreeSet<&'static str>,
    /// The rows of the facts that were shown.
    pub(crate) rows: BTreeSet<&'static str>,
}

/// Judges one block; what is wrong with what is said about it, if anything.
pub(crate) fn judge(
    scene: &mut Scene,
    block: &Block<'_>,
    tally: &mut Tally,
) -> Result<Option<String>> {
    let wrong = judged(scene, block, tally).with_context(|| block.about.to_owned())?;
    tally.rows.insert(block.row);
    Ok(wrong.map(|wrong| format!("{} ({:?}): {wrong}", block.about, block.causes)))
}

fn judged(scene: &mut Scene, block: &Block<'_>, tally: &mut Tally) -> Result<Option<String>> {
    let mut texts = texts(scene, block)?;
    let mut door = block.door;
    let seen = see(scene, block, &texts, door)?;
    let found = diagnosis(&seen);
    if seen.works() {
        let said = found.as_ref().map(|found| found.cause.id);
        let is_known = block.causes.is_empty() || block.is_pair;
        if !is_known || said.is_some() {
            return Ok(Some(format!("it works, and {said:?} is said\n{}", shown(&seen))));
        }
        let warned = warned(scene, block, &texts, &seen)?;
        if warned != block.warnings && !block.is_pair {
            return Ok(Some(format!("warned of {warned:?}, not of {:?}", block.warnings)));
        }
        tally.silent += 1;
        return Ok(None);
    }
    if block.causes.is_empty() {
        return Ok(Some(format!("it does not work\n{}", shown(&seen))));
    }
    if let Some(wrong) = alone(&seen, block) {
        return Ok(Some(wrong));
    }
    let (mut seen, mut is_by_hand) = (seen, false);
    for round in 0..ROUNDS_MAX {
        let Some(found) = diagnosis(&seen) else {
            return Ok(Some(format!("broken, and nothing is said\n{}", shown(&seen))));
        };
        let at = names(block.base).iter().position(|name| *name == found.hop).context("no hop")?;
        let text = texts.get(at).cloned();
        let known = scene.known(block.base, block.upstream, at.min(block.base.texts.len() - 1))?;
        let tree = text.as_deref().map(tree).transpose()?;
        let cause = tree.as_ref().map_or(found.cause, |tree| refined(found.cause, tree, &known));
        tally.causes.insert(cause.id);
        let is_expected =
            block.causes.contains(&cause.id) && (round > 0 || found.hop == block.hop());
        if !is_expected {
            return Ok(Some(format!("{} at {}\n{}", cause.id, found.hop, shown(&seen))));
        }
        match (block.mend, &tree, &text) {
            (Mend::Lines, Some(tree), Some(text)) => {
                let findings = lines_of(cause, tree, &known);
                if (round == 0 && !names_the_line(block, &findings, text)) || findings.is_empty() {
                    let said: Vec<_> =
                        findings.iter().map(|one| format!("{} {}", one.place, one.what)).collect();
                    return Ok(Some(format!("{}: the lines are {said:#?}", cause.id)));
                }
                texts[at] = applied(text, &findings)?;
            }
            (Mend::Pasted, _, Some(text)) => {
                texts[at] = pasted(scene, block, text, cause)?;
                is_by_hand = true;
            }
            (Mend::By(changes), ..) => {
                texts[block.at] = changed(&texts[block.at], &filled(scene, block, changes)?)?;
                is_by_hand = true;
            }
            (Mend::OwnDoor, ..) => {
                leads_to_the_site(cause, &seen, scene, block)?;
                (door, is_by_hand) = (Door::Own, true);
            }
            (Mend::AtTheServer, ..) => {
                tally.healed_by_hand += 1;
                return Ok((found.hop != "upstream").then(|| "it is not the server".to_owned()));
            }
            (Mend::Lines | Mend::Pasted, ..) => {
                return Ok(Some(format!("{}: no lines at {}", cause.id, found.hop)));
            }
        }
        seen = see(scene, block, &texts, door)?;
        if seen.works() {
            let is_silent = diagnosis(&seen).is_none();
            tally.healed_by_lines += usize::from(!is_by_hand);
            tally.healed_by_hand += usize::from(is_by_hand);
            return Ok((!is_silent).then(|| "healed, and something is said".to_owned()));
        }
    }
    Ok(Some(format!("not healed\n{}\n{}", shown(&seen), texts.join("\n"))))
}

fn see(scene: &mut Scene, block: &Block<'_>, texts: &[String], door: Door) -> Result<Seen> {
    scene.see(&Visit {
        base: block.base,
        texts,
        upstream: block.upstream,
        door,
        query: block.query,
        is_silent: block.is_silent,
        held: block.held,
    })
}

fn diagnosis(seen: &Seen) -> Option<Diagnosis> {
    let hops: Vec<_> = seen.hops.iter().map(|(name, ladder)| Hop { name, ladder }).collect();
    diagnose(&hops)
}

/// Who asks at the site alone is told something too, and nothing wrong for certain.
fn alone(seen: &Seen, block: &Block<'_>) -> Option<String> {
    let (name, ladder) = seen.hops.first()?;
    match diagnose(&[Hop { name, ladder }]) {
        None => Some(format!("asked alone, nothing is said\n{}", shown(seen))),
        // That a block above is not inherited is seen in the configuration alone.
        Some(_) if block.causes.contains(&"UPG-2") => None,
        Some(told)
            if told.certainty == Certainty::Certain && !block.causes.contains(&told.cause.id) =>
        {
            Some(format!("asked alone, it is {} for certain\n{}", told.cause.id, shown(seen)))
        }
        Some(_) => None,
    }
}

/// The configurations of a block.
fn texts(scene: &Scene, block: &Block<'_>) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for (at, text) in block.base.texts.iter().enumerate() {
        let changes = if at == block.at { block.changes } else { &[] };
        texts.push(scene.filled(block.base, block.upstream, at, &changed(text, changes)?)?);
    }
    Ok(texts)
}

type Change = (String, String);

fn filled(scene: &Scene, block: &Block<'_>, changes: &[(&str, &str)]) -> Result<Vec<Change>> {
    let fill = |text: &str| scene.filled(block.base, block.upstream, block.at, text);
    changes.iter().map(|(from, to)| Ok((fill(from)?, fill(to)?))).collect()
}

fn changed(text: &str, changes: &[(impl AsRef<str>, impl AsRef<str>)]) -> Result<String> {
    changes.iter().try_fold(text.to_owned(), |text, (from, to)| {
        let (from, to) = (from.as_ref(), to.as_ref());
        ensure!(text.matches(from).count() == 1, "not once in the text: {from:?}\n{text}");
        Ok(text.replacen(from, to, 1))
    })
}

/// What a working site is warned of.
fn warned(
    scene: &Scene,
    block: &Block<'_>,
    texts: &[String],
    seen: &Seen,
) -> Result<Vec<&'static str>> {
    let Some((_, outermost)) = seen.hops.first() else { return Ok(Vec::new()) };
    let mut causes: Vec<&'static Cause> = warnings(outermost);
    let known = scene.known(block.base, block.upstream, 0)?;
    let text = texts.first().context("no proxy")?;
    if !lines_of(&cause::OLD_HTTP, &tree(text)?, &known).is_empty() {
        causes.push(&cause::OLD_HTTP);
    }
    Ok(causes.into_iter().map(|cause| cause.id).collect())
}

/// Whether one of the findings stands at the line that the block says has the fault.
fn names_the_line(block: &Block<'_>, findings: &[Finding], text: &str) -> bool {
    block.line.is_empty()
        || findings.iter().any(|finding| {
            let line = text.lines().nth(finding.place.line.saturating_sub(1));
            line.is_some_and(|line| line.contains(block.line))
        })
}

/// Writes all printed lines where they belong.
fn applied(text: &str, findings: &[Finding]) -> Result<String> {
    let changes = findings.iter().flat_map(|finding| &finding.changes);
    let changes: BTreeSet<_> = changes
        .map(|change| (change.span.start, change.span.end, change.lines.join("\n")))
        .collect();
    ensure!(!changes.is_empty(), "nothing to write: {findings:#?}");
    let mut out = text.to_owned();
    let mut last = usize::MAX;
    for (start, end, lines) in changes.into_iter().rev() {
        // Two replacements of one line: the first is enough.
        if end > last {
            continue;
        }
        out.replace_range(start..end, &format!("\n{lines}\n"));
        last = if start == end { last } else { start };
    }
    Ok(out)
}

/// Pastes the lines of a cause: what says so into `http`, and all others above the locations.
fn pasted(scene: &Scene, block: &Block<'_>, text: &str, cause: &Cause) -> Result<String> {
    let server = scene.filled(block.base, block.upstream, block.at, "127.0.0.1:@UPSTREAM@")?;
    let lines = cause.mend.iter().map(|line| line.replace("127.0.0.1:3000", &server));
    let (http, others): (Vec<_>, Vec<_>) = lines.partition(|line| line.contains("# in http { }"));
    let (first, location) = ("http {\n", "        location / {\n");
    changed(
        text,
        &[
            (first, format!("{first}{}\n", http.join("\n"))),
            (location, format!("{}\n{location}", others.join("\n"))),
        ],
    )
}

/// A redirect names the address by which the site works.
fn leads_to_the_site(cause: &Cause, seen: &Seen, scene: &Scene, block: &Block<'_>) -> Result<()> {
    if cause == &cause::REDIRECT {
        let upgrade = seen.hops.first().and_then(|(_, ladder)| ladder.upgrade.as_ref());
        let answer = upgrade.and_then(|upgrade| upgrade.value.as_ref().ok());
        let location = answer.and_then(|upgrade| upgrade.answer.header("Location"));
        let own = scene.filled(block.base, block.upstream, 0, "://oh.example:@PORT@/socket.io/")?;
        ensure!(location.is_some_and(|location| location.contains(&own)), "{location:?}");
    }
    Ok(())
}

/// Shows what was seen, for a person who mends this.
fn shown(seen: &Seen) -> String {
    let beginning = |text: &str| text.chars().take(SHOWN_MAX).collect::<String>();
    let mut out = format!("    client: {}\n", seen.client);
    for (name, ladder) in &seen.hops {
        let Ladder { reached, polling, upgrade, open, connect, .. } = ladder;
        let tcp = reached.as_ref().map(|reached| &reached.tcp);
        let tls = reached.as_ref().and_then(|reached| reached.tls.as_ref());
        let tls = tls.map(|tls| tls.value.as_ref().map(|shaken| &shaken.verdict));
        let upgrade = upgrade.as_ref().map(|upgrade| upgrade.value.as_ref());
        let upgrade = upgrade
            .map(|value| value.map(|it| (signature::of_upgrade(it), beginning(&it.answer.text()))));
        let polling = polling.as_ref().map(|polling| polling.value.as_ref());
        let polling = polling.map(|value| value.map(|it| (it.status, beginning(&it.text()))));
        out += &format!(
            "    {name}: connects {}, tcp {tcp:?}, tls {tls:?}\n      upgrade {upgrade:?}\n      \
             polling {polling:?}\n      open {open:?} connect {connect:?}\n",
            connects(ladder)
        );
    }
    out
}
