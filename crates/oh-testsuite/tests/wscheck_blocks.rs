//! Sites that do not connect, told and healed: a sample of them; `full_wscheck_blocks.rs` has all.
//!
//! A block is a good site with some lines changed: real nginx before real servers. A real socket.io-client says
//! whether it connects. Where it does not, the diagnosis has to name the cause that was planted, and what is printed
//! for that cause has to heal it, as the same client sees it; where it does, nothing may be said.

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

use anyhow::{Context as _, Result, ensure};
use judge::{Tally, judge};
use scene::Scene;

/// What the standard tier looks at: each kind of site, and each way to mend one.
const SAMPLE: [&str; 20] = [
    "as it is",
    "as it is, two proxies",
    "HTTP/1.0",
    "the application refuses by itself",
    "a header of its own for other origins",
    "no Upgrade",
    "no Upgrade, Node",
    "no Upgrade, IPv6",
    "no Upgrade at the inner",
    "nothing of it, and no map",
    "the original's header",
    "no Connection",
    "http2 without ssl",
    "the prefix stripped, TLS",
    "no location, no header and no map",
    "$uri",
    "Host $host",
    "no X-Forwarded-Proto",
    "a certificate without the one between",
    "a server that resets",
];

/// How many of them break nothing.
const SILENT: usize = 5;

#[test]
fn a_sample_of_blocks_is_told_and_healed() -> Result<()> {
    let mut scene = Scene::new()?;
    let (mut wrong, mut tally) = (Vec::new(), Tally::default());
    for about in SAMPLE {
        let block = blocks::all().find(|block| block.about == about).context(about)?;
        wrong.extend(judge(&mut scene, block, &mut tally)?);
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let healed = tally.healed_by_lines + tally.healed_by_hand;
    ensure!(tally.silent == SILENT && healed == SAMPLE.len() - SILENT, "{tally:#?}");
    Ok(())
}
