//! One `oh-cleanup --all --yes`, in the terminal of an editor, on a machine on fire: three editors always,
//! twelve in the full tier (`full_cleanup_scene.rs`).

#[path = "cleanup/everything.rs"]
mod everything;
#[path = "cleanup/fire.rs"]
mod fire;
#[path = "cleanup/left.rs"]
#[expect(dead_code, reason = "one that is dead is enough here")]
mod left;
#[path = "cleanup/old_site.rs"]
#[expect(dead_code, reason = "nginx is asked by the tool")]
mod old_site;
#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "other tests need all of it")]
mod scene;

use anyhow::Result;
use oh_testsuite::alone::alone;

#[test]
fn three_editors_on_fire_are_put_out_with_one_command() -> Result<()> {
    alone("three_editors_on_fire_are_put_out_with_one_command", || {
        fire::Fire::set(3, false)?.is_put_out()
    })
}
