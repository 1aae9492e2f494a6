//! Every site of the laboratory; `wscheck_blocks.rs` has a sample.

#[path = "wscheck_blocks/blocks.rs"]
mod blocks;
#[path = "wscheck_blocks/judge.rs"]
mod judge;
#[path = "wscheck_blocks/raw.rs"]
mod raw;
#[path = "wscheck_blocks/scene.rs"]
mod scene;
#[path = "wscheck_blocks/sites.rs"]
mod sites;

use anyhow::{Result, ensure};
use blocks::{Block, Mend};
use judge::{Tally, judge};
use scene::{Door, Scene};
use sites::{
    BASE_PATH_SITE, Base, IPV6_SITE, NODE_SITE, OWN_SITE, PLAIN_SITE, SUB_PATH_SITE, TLS_SITE,
    TWO_PROXIES,
};

/// What was planted, by its row of the facts where it has one. Not here is what does not show in one ladder: STK-1,
/// TMO-1 of a connection that was open, TMO-2, LIM-1 and LIM-4 need more of them, UPG-5 is about another protocol,
/// and MIX about no network at all.
const ROWS: [&str; 42] = [
    "AUTH-1", "AUTH-2", "GW-1", "GW-2", "GW-3", "GW-4", "GW-5", "H2-1", "KIND-1", "LIM-2", "LIM-3",
    "MASK-1", "NET-1", "NET-2", "ORI-1", "ORI-2", "PATH-1", "PATH-2", "PATH-3", "PATH-4", "PATH-5",
    "SIO-0", "SIO-1", "SIO-2", "SIO-3", "TLS-1", "TLS-10", "TLS-2", "TLS-3", "TLS-4", "TLS-5",
    "TLS-6", "TLS-7", "TLS-8", "TLS-9", "TMO-1", "UPG-1", "UPG-2", "UPG-3", "UPG-4", "UPG-6",
    "UPG-7",
];

/// How many blocks break, and are healed by lines of the linter, or by hand as the cause says.
const HEALED: (usize, usize) = (66, 45);

/// How many break nothing.
const SILENT: usize = 31;

/// All good sites.
const SITES: [&Base; 8] = [
    &PLAIN_SITE,
    &OWN_SITE,
    &NODE_SITE,
    &TLS_SITE,
    &SUB_PATH_SITE,
    &BASE_PATH_SITE,
    &IPV6_SITE,
    &TWO_PROXIES,
];

/// What stands in the place of a line that was taken away.
const TAKEN: &str = "# taken away\n";

/// Lines without which nginx would not start, or would write or listen elsewhere.
const NEEDED: [&str; 6] = ["pid ", "_log ", "listen ", "ssl_certificate", "server 127", "'' close"];

/// What a line is there for, by a part of it: what is said where it is missed, if anything breaks.
const MISSED: [(&str, &[&str]); 6] = [
    ("Upgrade $http_upgrade", &["UPG-1"]),
    ("Connection $connection_upgrade", &["UPG-1", "UPG-3"]),
    ("default upgrade", &["UPG-1", "UPG-3"]),
    ("proxy_set_header Host", &["ORI-1"]),
    ("X-Forwarded-Proto", &["ORI-1"]),
    ("proxy_pass", &["PATH-1", "PATH-2", "PATH-5"]),
];

/// Fewer lines that break something, or that break nothing, would mean that nobody looks.
const MISSED_MIN: usize = 20;

/// Fewer pairs would mean that the changes no longer fit the sites.
const PAIRS_MIN: usize = 400;

#[test]
fn every_block_is_told_and_healed() -> Result<()> {
    let mut scene = Scene::new()?;
    let (mut wrong, mut tally) = (Vec::new(), Tally::default());
    for block in blocks::all() {
        wrong.extend(judge(&mut scene, block, &mut tally)?);
    }
    ensure!(wrong.is_empty(), "{} wrong; {tally:#?}\n{}", wrong.len(), wrong.join("\n"));
    let rows: Vec<_> = tally.rows.iter().copied().filter(|row| !row.is_empty()).collect();
    ensure!(rows == ROWS, "{rows:?}");
    ensure!(!tally.causes.contains("UNK-1"), "{tally:#?}");
    ensure!((tally.healed_by_lines, tally.healed_by_hand) == HEALED, "{tally:#?}");
    ensure!(tally.silent == SILENT, "{tally:#?}");
    Ok(())
}

#[test]
fn two_faults_are_told_one_behind_the_other() -> Result<()> {
    let mut scene = Scene::new()?;
    let (mut wrong, mut tally, mut count) = (Vec::new(), Tally::default(), 0);
    let all: Vec<_> = blocks::all().filter(|block| is_pairable(block)).collect();
    for (at, one) in all.iter().enumerate() {
        for other in all.iter().skip(at + 1).filter(|other| fits(one, other)) {
            let about = format!("{}, and {}", one.about, other.about);
            let changes = [one.changes, other.changes].concat();
            let mut causes = [one.causes, other.causes].concat();
            if causes.iter().filter(|cause| cause.starts_with("UPG-")).count() > 1 {
                // Of two lines that are lost, each for its own reason, neither arrives.
                causes.push("UPG-1");
            }
            let pair = Block {
                about: &about,
                changes: &changes,
                causes: &causes,
                line: "",
                is_pair: true,
                ..**one
            };
            count += 1;
            wrong.extend(judge(&mut scene, &pair, &mut tally)?);
        }
    }
    ensure!(wrong.is_empty(), "{} of {count} wrong\n{}", wrong.len(), wrong.join("\n"));
    ensure!(count >= PAIRS_MIN && tally.healed_by_lines * 2 > count, "{count}: {tally:#?}");
    Ok(())
}

#[test]
fn each_line_of_a_good_site_that_is_missed_is_told() -> Result<()> {
    let mut scene = Scene::new()?;
    let (mut wrong, mut tally) = (Vec::new(), Tally::default());
    for base in SITES {
        for (at, text) in base.texts.iter().enumerate() {
            for line in text.split_inclusive('\n').filter(|line| line.ends_with(";\n")) {
                let is_alone = text.matches(line).count() == 1;
                if !is_alone || NEEDED.iter().any(|word| line.contains(word)) {
                    continue;
                }
                let known = MISSED.iter().find(|(part, _)| line.contains(part));
                let (taken, given) = ([(line, TAKEN)], [(TAKEN, line)]);
                let is_pass = line.contains("proxy_pass");
                let block = Block {
                    at,
                    causes: known.map_or(&[], |(_, causes)| causes),
                    mend: if is_pass { Mend::By(&given) } else { Mend::Lines },
                    is_pair: true,
                    ..Block::good(line, base, &taken)
                };
                wrong.extend(judge(&mut scene, &block, &mut tally)?);
            }
        }
    }
    ensure!(wrong.is_empty(), "{tally:#?}\n{}", wrong.join("\n"));
    ensure!(tally.healed_by_lines >= MISSED_MIN && tally.silent >= MISSED_MIN, "{tally:#?}");
    Ok(())
}

/// Whether a block is a change of lines and nothing else. A page in the place of an answer hides whatever is
/// behind it, so those stand in the table in pairs of their own.
fn is_pairable(block: &Block<'_>) -> bool {
    matches!(block.mend, Mend::Lines)
        && block.door == Door::Own
        && block.held == 0
        && block.query.is_empty()
        && block.upstream == block.base.upstream
        && !block.changes.is_empty()
        && !block.changes.iter().any(|(_, to)| to.contains("error_page"))
}

/// Whether two are of one proxy of one site, one of them breaks it, and neither takes away what the other changes.
fn fits(one: &Block<'_>, other: &Block<'_>) -> bool {
    let is_one_site = one.base.texts == other.base.texts && one.upstream == other.upstream;
    let is_broken = !one.causes.is_empty() || !other.causes.is_empty();
    let mut text = one.base.texts[one.at].to_owned();
    let is_there = |(from, to): &(&str, &str)| {
        let is_there = text.matches(from).count() == 1;
        text = text.replacen(from, to, 1);
        is_there
    };
    let mut changes = one.changes.iter().chain(other.changes);
    is_one_site && one.at == other.at && is_broken && changes.all(is_there)
}
