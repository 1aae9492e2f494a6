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
use judge::{Tally, judge};
use scene::Scene;

#[test]
fn every_block_is_told_and_healed() -> Result<()> {
    let mut scene = Scene::new()?;
    let (mut wrong, mut tally) = (Vec::new(), Tally::default());
    for block in blocks::all() {
        let began = std::time::Instant::now();
        let w = judge(&mut scene, block, &mut tally).unwrap_or_else(|e| Some(format!("{e:#}")));
        eprintln!(
            "{:6} ms {} {}",
            began.elapsed().as_millis(),
            block.about,
            if w.is_some() { "WRONG" } else { "" }
        );
        wrong.extend(w);
    }
    ensure!(wrong.is_empty(), "{} wrong; {tally:#?}\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
