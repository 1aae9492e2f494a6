//! Debian packages: how to see one, and how to install several.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;
use xshell::{Shell, cmd};

use super::Place;
use crate::failure::Environment;
use crate::workspace::program;

/// How to see that a package's content is there, whoever installed it.
#[derive(Clone, Copy)]
pub(super) enum Look {
    /// A program of this name is found.
    Program(&'static str),
    /// This file exists.
    File(&'static str),
    /// dpkg says that it is installed.
    Package,
}

impl Look {
    /// Tells whether the package's content is there.
    pub(super) fn finds(self, package: &str) -> bool {
        match self {
            Look::Program(name) => program(name).is_some(),
            Look::File(path) => Path::new(path).exists(),
            Look::Package => Command::new("dpkg-query")
                .args(["--show", "--showformat=${db:Status-Status}", package])
                .stderr(Stdio::null())
                .output()
                .is_ok_and(|output| output.stdout == b"installed"),
        }
    }
}

/// Installs packages as root or through sudo.
///
/// # Errors
///
/// `Environment` with the command that a person with more rights would run.
pub(super) fn install(shell: &Shell, place: &Place, packages: &[&str]) -> Result<()> {
    let by_hand = format!("sh scripts/install-packages {}", packages.join(" "));
    if program("apt-get").is_none() {
        let names = packages.join(", ");
        let text = format!("no apt-get here; install by this system's own means: {names}");
        return Err(Environment(text).into());
    }
    let done = if place.root {
        cmd!(shell, "sh scripts/install-packages {packages...}").run()
    } else if sudo_works() {
        cmd!(shell, "sudo --non-interactive sh scripts/install-packages {packages...}").run()
    } else {
        let text =
            format!("packages are missing and sudo asks for a password; run: sudo {by_hand}");
        return Err(Environment(text).into());
    };
    done.map_err(|error| {
        let text =
            format!("could not install {}; see above, or run: {by_hand}", packages.join(" "));
        anyhow::Error::new(error).context(Environment(text))
    })
}

fn sudo_works() -> bool {
    let mut sudo = Command::new("sudo");
    sudo.args(["--non-interactive", "true"]).stdin(Stdio::null()).stderr(Stdio::null());
    sudo.status().is_ok_and(|status| status.success())
}
