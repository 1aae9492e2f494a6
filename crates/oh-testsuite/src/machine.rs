//! A Debian 12 booted with its own systemd, in namespaces that end with the handle.
//!
//! It has no network but its own loopback, and what is changed in it is in memory, or for one that
//! is booted again in a folder for temporary files: the root that `cargo xtask setup --for full` made
//! stays as it is. It needs root. A test that is killed takes the machine along, and leaves nothing
//! but empty control groups named `oh-machine-…`, and that folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::lab::Said;
use crate::process::Running;
use crate::{components, wait};

/// How long it may take until systemd says that everything is up.
const BOOT_BOUND: Duration = Duration::from_secs(300);

/// How long it may take until a machine that was told so is off.
const OFF_BOUND: Duration = Duration::from_secs(120);

/// How long the kernel may take to empty a control group whose processes were killed.
const CLEAN_BOUND: Duration = Duration::from_secs(10);

/// Where control groups are: version 2 alone, or beside version 1, or the one that systemd uses
/// of version 1.
const CGROUPS: [&str; 3] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];

/// Boots. A /run of its own, because systemd-nspawn leaves folders there.
const BOOT: &str = r#"
root="$1" disk="$2" routes="$3" instances="$4" components="$5"
shift 5
for cgroup in "$@"; do echo 0 >"$cgroup/cgroup.procs"; done
mount -t tmpfs tmpfs /run
ip link set lo up
set -- --directory="$root" --volatile=overlay
if [ -n "$disk" ]; then
  mkdir --parents "$disk/changed" "$disk/work" "$disk/root"
  mount -t overlay -o "lowerdir=$root,upperdir=$disk/changed,workdir=$disk/work" overlay "$disk/root"
  set -- --directory="$disk/root"
fi
exec systemd-nspawn --quiet --register=no --keep-unit --link-journal=no "$@" \
  --machine=oh-machine --hostname=oh-machine --resolv-conf=off \
  --bind-ro="$routes:/usr/local/bin/oh-nginx" --bind-ro="$instances:/usr/local/bin/oh-instances" \
  --bind-ro="$components" --boot --console=read-only
"#;

/// A machine that is up.
#[derive(Debug)]
pub struct Machine {
    running: Running,
    leader: u32,
    cgroups: Vec<PathBuf>,
    /// What is changed in it, where that lasts until it is booted again.
    disk: Option<TempDir>,
}

/// How a machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// systemd stops everything, as before a reboot.
    PowerOff,
    /// Nobody is asked, as where the power fails.
    PowerFailure,
}

impl Machine {
    /// Boots a machine with the built `oh-nginx` and `oh-instances` in it, and what `cargo xtask
    /// setup` has brought at its place, and waits until systemd is content.
    ///
    /// # Errors
    ///
    /// With what it wrote to its console, when it does not come up.
    pub fn boot() -> Result<Machine> {
        let mut machine = Self::start(None)?;
        machine.wait_until("running")?;
        Ok(machine)
    }

    /// The same of a machine that can be booted again, with what was changed in it.
    ///
    /// # Errors
    ///
    /// As [`Machine::boot`].
    pub fn boot_with_disk() -> Result<Machine> {
        let disk = tempfile::Builder::new().prefix("oh-machine-").tempdir()?;
        let mut machine = Self::start(Some(disk))?;
        machine.wait_until("running")?;
        Ok(machine)
    }

    /// Ends the machine, boots it again, and waits until its systemd answers: units may still be
    /// starting.
    ///
    /// # Errors
    ///
    /// With its console, where it does not end or does not come up.
    pub fn boot_again(mut self, end: End) -> Result<Machine> {
        match end {
            // It may be gone before it has answered.
            End::PowerOff => drop(self.run(&["systemctl", "poweroff"])?),
            End::PowerFailure => {
                let leader = i32::try_from(self.leader).ok().and_then(Pid::from_raw);
                kill_process(leader.context("process 1 has no number")?, Signal::KILL)?;
            }
        }
        self.running.wait(OFF_BOUND)?;
        let disk = self.disk.take().context("what was changed in it is gone")?;
        drop(self);
        Self::start(Some(disk))
    }

    fn start(disk: Option<TempDir>) -> Result<Machine> {
        let root = components::debian_12()?;
        let [routes, instances] = ["oh-nginx", "oh-instances"].map(components::built);
        let cgroups = make_cgroups()?;
        let mut command = Command::new(components::program("setpriv")?);
        // Ends with the test, whatever ends the test.
        command.args(["--pdeathsig", "KILL"]).arg(components::program("unshare")?);
        command.args(["--mount", "--propagation", "private", "--net", "--pid", "--fork"]);
        command.args(["--kill-child=KILL", "--mount-proc", "sh", "-euc", BOOT, "sh"]);
        command.arg(root).arg(disk.as_ref().map_or(Path::new(""), TempDir::path));
        command.arg(routes?.canonicalize()?).arg(instances?.canonicalize()?);
        command.arg(components::cache()?.canonicalize()?).args(&cgroups);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        let running = Running::start(&mut command);
        let running = running.inspect_err(|_| remove_cgroups(&cgroups))?;
        let mut machine = Machine { running, leader: 0, cgroups, disk };
        machine.wait_until_it_answers()?;
        Ok(machine)
    }

    /// Runs a program in the machine as its root, with nothing of our environment.
    ///
    /// # Errors
    ///
    /// When the machine is gone.
    pub fn run(&self, words: &[&str]) -> Result<Said> {
        let mut command = Command::new(components::program("nsenter")?);
        command.arg(format!("--target={}", self.leader));
        command.args(["--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--root"]);
        command.args(["--wd", "--"]).args(words).env_clear();
        command.env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        Ok(command.output().context("could not run nsenter")?.into())
    }

    /// Returns where a path of the machine is for us.
    pub fn at(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.leader.to_string()).join("root").join(path)
    }

    /// Returns the process ids that are gone when the machine is: the one that we started, and
    /// process 1 of the machine as we see it.
    pub fn processes(&self) -> [u32; 2] {
        [self.running.id(), self.leader]
    }

    /// Returns the control groups that are gone when the machine is.
    pub fn cgroups(&self) -> &[PathBuf] {
        &self.cgroups
    }

    /// Waits until systemd says that the machine is so: `running`, or `degraded` where a unit
    /// failed.
    ///
    /// # Errors
    ///
    /// With its console and the units that failed, where it ends up otherwise.
    pub fn wait_until(&mut self, wanted: &str) -> Result<()> {
        let there = wait::until(&format!("the machine to be {wanted}"), BOOT_BOUND, || {
            ensure!(!self.running.has_ended()?, "it ended");
            let state = self.run(&["systemctl", "is-system-running"])?.stdout;
            let state = state.trim();
            let is_final = ["running", "degraded"].contains(&state);
            ensure!(!is_final || state == wanted, "it is {state}: {}", self.failed_units()?);
            Ok((state == wanted).then_some(()))
        });
        there.with_context(|| format!("the console says:\n{}", self.running.log()))
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let up = wait::until("the machine", BOOT_BOUND, || {
            ensure!(!self.running.has_ended()?, "it ended");
            // We started unshare; it has one child, systemd-nspawn; and that has process 1.
            let Some(leader) = child(self.running.id()).and_then(child) else { return Ok(None) };
            self.leader = leader;
            let state = self.run(&["systemctl", "is-system-running"])?.stdout;
            let is_up = ["starting", "running", "degraded"].contains(&state.trim());
            Ok(is_up.then_some(()))
        });
        up.with_context(|| format!("the console says:\n{}", self.running.log()))
    }

    fn failed_units(&self) -> Result<String> {
        let units = self.run(&["systemctl", "--failed", "--no-legend", "--plain"])?.stdout;
        let journal = ["journalctl", "--no-pager", "--boot", "--priority=warning", "--lines=40"];
        Ok(format!("{units}\n{}", self.run(&journal)?.stdout))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A failing test is already failing; there is nobody to tell.
        drop(self.running.stop());
        remove_cgroups(&self.cgroups);
    }
}

/// Returns the first child of a process.
fn child(process: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Makes a control group in each hierarchy: systemd-nspawn makes its own below, and leaves them.
fn make_cgroups() -> Result<Vec<PathBuf>> {
    let name = tempfile::Builder::new().prefix("oh-machine-").tempdir()?;
    let name = name.path().file_name().context("a folder without a name")?.to_owned();
    let mut made = Vec::new();
    for hierarchy in CGROUPS.map(Path::new) {
        // Version 1 is a folder of hierarchies, and none itself.
        if !hierarchy.join("cgroup.procs").exists() {
            continue;
        }
        let cgroup = hierarchy.join(&name);
        if let Err(error) = fs::create_dir(&cgroup) {
            remove_cgroups(&made);
            let text = format!("environment: could not make {}", cgroup.display());
            return Err(error).context(text);
        }
        made.push(cgroup);
    }
    Ok(made)
}

fn remove_cgroups(cgroups: &[PathBuf]) {
    let gone = || cgroups.iter().all(|cgroup| remove_cgroup(cgroup));
    // An empty control group that stays costs nothing, and a failing test has no better idea.
    drop(wait::until_true("the end of the control groups", CLEAN_BOUND, gone));
}

/// Removes a control group with those below it; false while somebody is in one.
fn remove_cgroup(cgroup: &Path) -> bool {
    let Ok(entries) = fs::read_dir(cgroup) else { return true };
    let mut emptied = true;
    for below in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        emptied &= remove_cgroup(&below);
    }
    emptied && fs::remove_dir(cgroup).is_ok()
}
