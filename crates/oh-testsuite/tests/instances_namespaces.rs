//! `oh-instances` in a pid namespace whose first process leads no session, as in some containers.

use anyhow::{Result, ensure};
use oh_testsuite::alone::alone_without_session;
use oh_testsuite::instances::Instances;

#[test]
fn an_editor_starts_where_the_group_of_its_starter_is_outside() -> Result<()> {
    alone_without_session("an_editor_starts_where_the_group_of_its_starter_is_outside", || {
        let scene = Instances::new("")?;
        scene.start("hello")?;
        scene.run(&["stop", "hello"])?.expect(0)?;
        ensure!(scene.processes()?.is_empty(), "{:?}", scene.processes()?);
        Ok(())
    })
}
