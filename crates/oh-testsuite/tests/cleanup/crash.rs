//! A cleanup that is struck at one of its system calls: the next one ends in the clean state, and
//! everything can still come back.

#[path = "../crash/blows.rs"]
mod blows;

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
pub(crate) use blows::Blow;
use serde_json::json;

use crate::old_site::FOLDER;
use crate::scene::{PORTS, REPOSITORIES, Running, Scene};

/// The editor that is stopped.
const EDITOR: &str = "old";

/// How many undos may be needed: one for the run that was struck, one for the next.
const UNDOS_MAX: usize = 3;

/// The left-overs, both databases, and old files for nginx.
type State = (String, String, String, String);

/// A machine with left-overs of each kind that no process uses.
pub(crate) struct Struck {
    scene: Scene,
    /// What there was: the left-overs, both databases, and old files for nginx.
    before: State,
}

impl Struck {
    pub(crate) fn set() -> Result<Self> {
        let scene = Scene::new()?;
        // nginx serves our routes, so that the last step is one too.
        scene.instances.start("hello")?;
        scene.instances.run(&["stop", "hello"])?.expect(0)?;
        scene.leave("tmp/code-server-userdata-gone-8890/User/settings.json", "{}")?;
        scene.leave("tmp/vscode-agent-gone-8890/data/a", "a")?;
        scene.leave("tmp/openhands-sessions/gone.json", "{\"vscode_port\": 1}")?;
        scene.enter_dead("gone", scene.instances.first_port + 3)?;
        scene.old_site(&scene.include_all())?;
        scene.generated("gone", scene.instances.first_port + 3)?;
        scene.generated("late", scene.instances.first_port + 4)?;
        scene.reload(|scene| Ok(scene.has_old_route("gone")? && scene.has_old_route("late")?))?;
        let before = Self::state(&scene)?;
        Ok(Self { scene, before })
    }

    fn state(scene: &Scene) -> Result<State> {
        let old = scene.tree(FOLDER)?;
        Ok((scene.tree("tmp")?, scene.text(PORTS)?, scene.text(REPOSITORIES)?, old))
    }

    fn tool(&self) -> Result<Command> {
        let lab = &self.scene.instances.lab;
        let mut command = lab.built("oh-cleanup")?;
        command.args(["--all", "--yes", "--root"]).arg(lab.root()).stdin(Stdio::null());
        Ok(command)
    }

    fn undo(&self) -> Result<Command> {
        let lab = &self.scene.instances.lab;
        let mut command = lab.built("oh-cleanup")?;
        command.args(["undo", "--root"]).arg(lab.root()).stdin(Stdio::null());
        Ok(command)
    }

    /// Kills an undo at every `stride`th call that changes something; returns how often.
    pub(crate) fn matrix_of_an_undo(&self, stride: usize) -> Result<usize> {
        self.scene.run(&["--all", "--yes"])?.expect(0)?;
        let calls = blows::calls(&self.undo()?, &self.log())?;
        self.all_comes_back()?;
        let fitting: Vec<_> = calls.iter().filter(|(call, _)| Blow::Kill.fits(call)).collect();
        let struck = fitting.iter().step_by(stride);
        for (call, number) in struck.clone() {
            self.scene.run(&["--all", "--yes"])?.expect(0)?;
            let said = Blow::Kill.strike(&self.undo()?, &self.log(), call, *number)?;
            let told = || format!("at {call} {number}: {said:?}");
            self.nothing_is_lost().with_context(told)?;
            self.all_comes_back().with_context(told)?;
        }
        Ok(struck.count())
    }

    fn log(&self) -> String {
        self.scene.instances.lab.at("log/strace").display().to_string()
    }

    /// Strikes at every `stride`th call that changes something; returns how often.
    pub(crate) fn matrix(&self, blows: &[Blow], stride: usize) -> Result<usize> {
        let calls = blows::calls(&self.tool()?, &self.log())?;
        self.is_clean()?;
        self.all_comes_back()?;
        let mut count = 0;
        for blow in blows {
            let fitting = calls.iter().filter(|(call, _)| blow.fits(call));
            for (call, number) in fitting.step_by(stride) {
                self.strike(*blow, call, *number)
                    .with_context(|| format!("{blow:?} at {call} {number}"))?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Kills it at every `stride`th call that changes something, while an editor runs that it is to stop,
    /// and whose folders are as young as can be; returns how often.
    pub(crate) fn matrix_with_an_editor(&self, stride: usize) -> Result<usize> {
        let empty = (self.scene.text(PORTS)?, self.scene.text(REPOSITORIES)?);
        let old = self.scene.historic(EDITOR, 1)?;
        let calls = blows::calls(&self.tool()?, &self.log())?;
        self.editor_is_gone(&old, &empty)?;
        let fitting: Vec<_> = calls.iter().filter(|(call, _)| Blow::Kill.fits(call)).collect();
        let struck = fitting.iter().step_by(stride);
        for (call, number) in struck.clone() {
            let old = self.scene.historic(EDITOR, 1)?;
            let said = Blow::Kill.strike(&self.tool()?, &self.log(), call, *number)?;
            let told = || format!("at {call} {number}: {said:?}");
            self.scene.run(&["--all", "--yes"])?.expect(0).with_context(told)?;
            self.editor_is_gone(&old, &empty).with_context(told)?;
        }
        Ok(struck.count())
    }

    /// Demands that nothing of the editor is left, and that its folders can come back; then has it as if
    /// it had never been.
    fn editor_is_gone(&self, old: &Running, empty: &(String, String)) -> Result<()> {
        ensure!(old.is_over(), "the editor runs");
        let names = ["userdata", "extensions"].map(|kind| format!("code-server-{kind}-{EDITOR}-"));
        let left = self.scene.tree("tmp")?;
        ensure!(!names.iter().any(|name| left.contains(name)), "left: {left}");
        self.is_clean()?;
        for _ in 0..UNDOS_MAX {
            let back = self.scene.tree("tmp")?;
            if names.iter().all(|name| back.contains(name)) {
                break;
            }
            self.scene.run(&["undo"])?;
        }
        let back = self.scene.tree("tmp")?;
        ensure!(names.iter().all(|name| back.contains(name)), "not back: {back}");
        for (path, text) in [(PORTS, &empty.0), (REPOSITORIES, &empty.1)] {
            std::fs::write(self.scene.instances.lab.at(path), text)?;
        }
        let again = self.scene.run(&["--temp", "--older-than", "0s", "--yes"])?;
        again.expect(0)?;
        self.scene.run(&["purge", "--older-than", "0s", "--yes"])?.expect(0)?;
        Ok(())
    }

    fn strike(&self, blow: Blow, call: &str, number: usize) -> Result<()> {
        let said = blow.strike(&self.tool()?, &self.log(), call, number)?;
        self.nothing_is_lost().with_context(|| format!("{said:?}"))?;
        let next = self.scene.run(&["--all", "--yes"])?.expect(0);
        next.with_context(|| format!("after {said:?}"))?;
        self.is_clean().with_context(|| format!("{said:?}"))?;
        let again = self.scene.run(&["--all", "--yes"])?.expect(0)?;
        ensure!(again.stdout.starts_with("nothing to do\n"), "{again:?}");
        self.all_comes_back().with_context(|| format!("{said:?}"))
    }

    /// Demands that each left-over is where it was, or in the quarantine.
    fn nothing_is_lost(&self) -> Result<()> {
        let quarantine = self.scene.tree("var/lib/openhands-toolkit/quarantine")?;
        let there = self.scene.tree("tmp")?;
        for name in ["settings.json", "data/a"] {
            ensure!(there.contains(name) || quarantine.contains(name), "{name} is lost");
        }
        // In the quarantine they have numbers for names, and stay the files that they are.
        let there = self.scene.tree(FOLDER)?;
        for line in self.before.3.lines().filter(|line| line.contains(".conf ")) {
            let inode = line.split(' ').nth(3).context("an inode")?;
            let is_it = |line: &str| line.split(' ').nth(3) == Some(inode);
            ensure!(there.lines().chain(quarantine.lines()).any(is_it), "{line} is lost");
        }
        Ok(())
    }

    fn is_clean(&self) -> Result<()> {
        let tree = self.scene.tree("tmp")?;
        ensure!(!tree.contains("gone"), "{tree}");
        let tree = self.scene.tree(FOLDER)?;
        ensure!(!tree.contains(".conf "), "{tree}");
        for id in ["gone", "late"] {
            ensure!(!self.scene.has_old_route(id)?, "nginx has the route of {id}");
        }
        let ports = self.scene.instances.json(PORTS)?;
        ensure!(ports["instances"] == json!({}), "{ports:#}");
        let repositories = self.scene.text(REPOSITORIES)?;
        ensure!(!repositories.contains("\"vscodeRunning\": true"), "{repositories}");
        Ok(())
    }

    /// Takes every run back, the last one first, and demands what was there before them.
    fn all_comes_back(&self) -> Result<()> {
        for _ in 0..UNDOS_MAX {
            let said = self.scene.run(&["undo"])?;
            if said.code == 2 && said.stderr.contains("no run has anything") {
                break;
            }
            said.expect(0)?;
        }
        let now = Self::state(&self.scene)?;
        ensure!(now == self.before, "{now:#?}\n{:#?}", self.before);
        for id in ["gone", "late"] {
            ensure!(self.scene.has_old_route(id)?, "nginx has no route of {id}");
        }
        self.scene.run(&["purge", "--older-than", "0s", "--yes"])?.expect(0)?;
        Ok(())
    }
}
