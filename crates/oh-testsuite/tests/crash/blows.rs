//! Blows at a program: at its N-th system call it is killed, or that call fails.
//!
//! Nothing in the product knows of it: strace does it to the real program.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::components;
use oh_testsuite::lab::Said;

/// The calls that change something outside the process, as strace names them.
const CHANGING: &str = "openat,write,pwrite64,ftruncate,fsync,fdatasync,fchmod,fchown,fchownat,mkdirat,renameat,\
                        renameat2,linkat,symlinkat,utimensat,unlinkat,rmdir,pidfd_send_signal,\
                        connect,clone3,clone";

/// What happens at a system call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Blow {
    /// `kill -9` before the call takes effect.
    Kill,
    /// The disk is full.
    NoSpace,
    /// It is not permitted.
    Denied,
}

impl Blow {
    const fn injection(self) -> &'static str {
        match self {
            Self::Kill => "signal=KILL",
            Self::NoSpace => "error=ENOSPC",
            Self::Denied => "error=EACCES",
        }
    }

    /// Says whether the kernel could ever do this at that call.
    pub(crate) fn fits(self, call: &str) -> bool {
        match self {
            Self::Kill => true,
            Self::NoSpace => [
                "openat",
                "write",
                "pwrite64",
                "fsync",
                "fdatasync",
                "mkdirat",
                "linkat",
                "renameat",
            ]
            .contains(&call),
            Self::Denied => ![
                "write",
                "pwrite64",
                "fsync",
                "fdatasync",
                "ftruncate",
                "clone",
                "clone3",
                "connect",
            ]
            .contains(&call),
        }
    }

    /// Runs a tool and strikes at one call of it.
    pub(crate) fn strike(
        self,
        tool: &Command,
        log: &str,
        call: &str,
        number: usize,
    ) -> Result<Said> {
        let inject = format!("inject={call}:{}:when={number}", self.injection());
        strace(tool, log, &["-e", &format!("trace={CHANGING}"), "-e", &inject])
    }
}

/// Runs a tool and returns the calls of it that change something, each with its number among
/// those of its name.
pub(crate) fn calls(tool: &Command, log: &str) -> Result<Vec<(String, usize)>> {
    strace(tool, log, &["-e", &format!("trace={CHANGING}")])?.expect(0)?;
    let log = std::fs::read_to_string(log)?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((name, rest)) = line.split_once('(') else { continue };
        let count = counts.entry(name.into()).or_default();
        *count += 1;
        // Opening to read changes nothing, and what it reads is read again by the next run.
        if name != "openat" || rest.contains("O_CREAT") {
            calls.push((name.to_string(), *count));
        }
    }
    ensure!(calls.len() > 10, "too few calls to be true: {calls:?}");
    Ok(calls)
}

fn strace(tool: &Command, log: &str, options: &[&str]) -> Result<Said> {
    let mut command = Command::new(components::program("strace")?);
    command.env_clear().current_dir("/").args(["-o", log]).args(options).arg("--");
    command.arg(tool.get_program()).args(tool.get_args());
    Ok(command.output().context("could not run strace")?.into())
}
