//! An older installation whose taking over or giving back is struck at its system calls.

#[path = "../crash/blows.rs"]
mod blows;
#[path = "scene.rs"]
#[expect(dead_code, reason = "the other tests ask more of it")]
mod scene;

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
pub(crate) use blows::Blow;
use scene::{Scene, Tree};

/// Which run is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Struck {
    Adopt,
    Release,
}

/// How the next run goes on.
#[derive(Debug, Clone, Copy)]
enum Way {
    On,
    Back,
}

/// The installation, and what it was.
pub(crate) struct Strikes {
    scene: Scene,
    before: Tree,
}

impl Strikes {
    pub(crate) fn set() -> Result<Self> {
        let mut scene = Scene::set("fork-http", &[])?;
        scene.lab.start_nginx()?;
        let before = scene.tree()?;
        Ok(Self { scene, before })
    }

    fn tool(&self, struck: Struck) -> Result<Command> {
        let mut arguments = vec!["adopt", "--yes"];
        if struck == Struck::Release {
            arguments = vec!["release", "--yes"];
        } else {
            self.scene.sets.iter().for_each(|set| arguments.extend(["--set", set.as_str()]));
        }
        self.scene.lab.command(&arguments)
    }

    fn log(&self) -> String {
        self.scene.lab.at("log/strace").display().to_string()
    }

    /// The routes are the same before and after, and are never gone.
    fn serves(&self) -> Result<()> {
        let ports = self.scene.ports;
        self.scene.answers(&[
            ("/", self.scene.upstream()),
            ("/vscode/3f1c9a/x", ports.editor_port),
            ("/apps/3f1c9a-0/x", ports.app_port),
        ])
    }

    fn is_adopted(&self) -> Result<()> {
        let said = self.scene.adopt(&["--yes"])?.expect(0)?;
        ensure!(said.stdout.starts_with("nothing to do: adopted"), "not settled: {}", said.stdout);
        ensure!(self.scene.lab.generation().is_some(), "ours is not served");
        self.serves()
    }

    fn is_given_back(&self) -> Result<()> {
        let said = self.scene.release(&["--yes"])?.expect(0)?;
        ensure!(said.stdout.starts_with("nothing to give back"), "not settled: {}", said.stdout);
        ensure!(self.scene.lab.generation().is_none(), "ours is still served");
        self.scene.is(&self.before)?;
        self.serves()
    }

    /// Strikes at one call, then demands order.
    fn strike(&self, struck: Struck, blow: Blow, call: (&str, usize), way: Way) -> Result<()> {
        if struck == Struck::Release {
            self.scene.adopt(&["--yes"])?.expect(0)?;
        }
        let said = blow.strike(&self.tool(struck)?, &self.log(), call.0, call.1)?;
        if !matches!(blow, Blow::Kill) && fell_on_a_read(&self.log())? {
            self.scene
                .release(&["--yes"])?
                .expect(0)
                .context("release after a read that failed")?;
            return self.is_given_back();
        }
        self.serves().with_context(|| format!("after it said {said:?}"))?;
        if !matches!(blow, Blow::Kill) {
            ensure!([0, 1, 2, 4, 6, 7, 8].contains(&said.code), "it ended with {said:?}");
            if said.code == 0 {
                match struck {
                    Struck::Adopt => self.is_adopted(),
                    Struck::Release => self.is_given_back(),
                }
                .context("it said that it had succeeded")?;
            }
            if said.code == 7 {
                self.scene.is(&self.before).with_context(|| format!("after it said {said:?}"))?;
            }
        }
        if let Way::On = way {
            self.scene.adopt(&["--yes"])?.expect(0).context("the next adopt")?;
            self.is_adopted().context("the next adopt did not converge")?;
        }
        self.scene.release(&["--yes"])?.expect(0).context("the next release")?;
        self.is_given_back().with_context(|| format!("release, after it said {said:?}"))
    }

    /// Strikes at every call that fits, or at every `stride`-th, and goes both ways from there.
    pub(crate) fn matrix(&self, struck: Struck, blows: &[Blow], stride: usize) -> Result<usize> {
        if struck == Struck::Release {
            self.scene.adopt(&["--yes"])?.expect(0)?;
        }
        let calls = blows::calls(&self.tool(struck)?, &self.log())?;
        self.scene.release(&["--yes"])?.expect(0)?;
        let mut count = 0;
        for blow in blows {
            let fitting = calls.iter().filter(|(call, _)| blow.fits(call));
            for (call, number) in fitting.step_by(stride) {
                for way in [Way::On, Way::Back] {
                    self.strike(struck, *blow, (call, *number), way)
                        .with_context(|| format!("{blow:?} at {call} {number}, then {way:?}"))?;
                }
                count += 1;
            }
        }
        Ok(count)
    }
}

/// Says whether the last blow fell on a file that was opened to be read.
///
/// A run may open more files than the one whose calls were counted, because it waits for others; then
/// a blow that was meant for a new file falls on an old one, which no full disk ever does.
fn fell_on_a_read(log: &str) -> Result<bool> {
    let log = std::fs::read_to_string(log)?;
    let struck = log.lines().find(|line| line.ends_with("(INJECTED)"));
    Ok(struck.is_some_and(|line| line.starts_with("openat(") && !line.contains("O_CREAT")))
}
