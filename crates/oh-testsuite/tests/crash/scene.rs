//! A laboratory in which a run is struck at each of its system calls.

#[path = "blows.rs"]
mod blows;

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
pub(crate) use blows::Blow;
use oh_testsuite::lab::{Lab, back_end, basic, password};

/// What changes between the old routes and the new ones.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// A session comes: a line of a map.
    Data,
    /// The upstream moves: nginx judges everything.
    Structure,
    /// There was nothing of ours before: a login and the hook are made too.
    First,
}

/// A laboratory in which the old routes are served and the new ones are wanted.
pub(crate) struct Scene {
    lab: Lab,
    change: Change,
    old: u16,
    new: u16,
    other_upstream: u16,
}

impl Scene {
    pub(crate) fn set(change: Change) -> Result<Self> {
        let mut lab =
            if matches!(change, Change::First) { Lab::with_login()? } else { Lab::plain()? };
        lab.start_nginx()?;
        let (old, new, other_upstream) = (back_end()?, back_end()?, back_end()?);
        if !matches!(change, Change::First) {
            lab.session("old", &format!("{{\"vscode_port\":{old}}}"))?;
            lab.run(&["apply"])?.expect(0)?;
        }
        Ok(Self { lab, change, old, new, other_upstream })
    }

    /// Wants the new routes.
    fn want(&self) -> Result<()> {
        self.lab.session("new", &format!("{{\"vscode_port\":{}}}", self.new))
    }

    /// Goes back to the old routes, for the next blow.
    fn reset(&mut self) -> Result<()> {
        self.lab.end_session("new")?;
        if !matches!(self.change, Change::First) {
            self.lab.run(&["apply"])?.expect(0)?;
            return Ok(());
        }
        self.lab.stop_nginx()?;
        let ours = ["routes.conf", "previous.conf", "staged.conf", "users"];
        let ours = ours.map(|name| format!("etc/nginx/openhands/{name}"));
        for below in ours.iter().map(String::as_str).chain(["etc/nginx/conf.d/00-openhands.conf"]) {
            match std::fs::remove_file(self.lab.at(below)) {
                Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => {
                    return Err(fault.into());
                }
                _ => {}
            }
        }
        self.lab.start_nginx()
    }

    fn arguments(&self) -> Vec<String> {
        let set = match self.change {
            Change::Data | Change::First => None,
            Change::Structure => Some(format!("site.upstream=127.0.0.1:{}", self.other_upstream)),
        };
        let mut arguments = vec!["apply".to_string()];
        arguments.extend(set.into_iter().flat_map(|set| ["--set".to_string(), set]));
        arguments
    }

    fn tool(&self) -> Result<Command> {
        let arguments = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.lab.command(&arguments)
    }

    fn log(&self) -> String {
        self.lab.at("log/strace").display().to_string()
    }

    /// Says whether exactly the old or exactly the new routes are served.
    fn serves_old_or_new(&self) -> Result<()> {
        if matches!(self.change, Change::First) {
            // Nothing answers, or all of it does: behind the login, which nobody has yet.
            let answer = self.lab.get("/vscode/new/x", &[]).ok().map(|answer| answer.status);
            ensure!(
                answer.is_none() || [Some(401), Some(403)].contains(&answer),
                "the site answers {answer:?}"
            );
            return Ok(());
        }
        ensure!(self.lab.routed("old")? == Ok(self.old), "the old session is not served");
        let new = self.lab.routed("new")?;
        ensure!(new == Ok(self.new) || new == Err(404), "the new session answers {new:?}");
        Ok(())
    }

    /// Fails unless the new routes are served, to whoever has the password.
    fn serves_new(&self) -> Result<()> {
        if !matches!(self.change, Change::First) {
            let new = self.lab.routed("new")?;
            ensure!(new == Ok(self.new), "the new session is not served, but {new:?}");
            return Ok(());
        }
        // A run that was killed took its password along; there is a way to a new one.
        let made = self.lab.run(&["--format", "json", "login"])?.expect(0)?.json()?;
        let login = basic("openhands", &password(&made)?);
        let answer = self.lab.get("/vscode/new/x", &[("Authorization", &login)])?;
        ensure!(answer.status == 200, "the new session answers {}", answer.status);
        ensure!(answer.text().starts_with(&self.new.to_string()), "somebody else answers");
        Ok(())
    }

    /// Strikes at one call, then demands order.
    fn strike(&mut self, blow: Blow, call: &str, number: usize) -> Result<()> {
        self.want()?;
        let said = blow.strike(&self.tool()?, &self.log(), call, number)?;
        self.serves_old_or_new().with_context(|| format!("after it said {said:?}"))?;
        if matches!(blow, Blow::NoSpace | Blow::Denied) {
            ensure!([0, 1, 2, 4, 6, 7].contains(&said.code), "it ended with {said:?}");
            if said.code == 0 {
                self.serves_new().context("it said that it had succeeded")?;
            }
        }
        let arguments = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.lab.run(&arguments)?.expect(0)?;
        self.serves_new().context("the next run did not converge")?;
        let again = self.lab.run(&arguments)?.expect(0)?;
        ensure!(again.stdout.starts_with("nothing to do"), "not settled: {}", again.stdout);
        self.reset()
    }

    /// Strikes at every call that fits, or at every `stride`-th.
    pub(crate) fn matrix(&mut self, blows: &[Blow], stride: usize) -> Result<usize> {
        self.want()?;
        let calls = blows::calls(&self.tool()?, &self.log())?;
        self.reset()?;
        let mut struck = 0;
        for blow in blows {
            let fitting = calls.iter().filter(|(call, _)| blow.fits(call));
            for (call, number) in fitting.step_by(stride) {
                self.strike(*blow, call, *number)
                    .with_context(|| format!("{blow:?} at {call} number {number}"))?;
                struck += 1;
            }
        }
        Ok(struck)
    }
}
