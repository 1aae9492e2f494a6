//! A start on a full disk: it fails, names the file and the disk, and takes back what it had begun;
//! with room on the disk the next one succeeds.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::components;
use oh_testsuite::instances::{Instances, end, is_root};
use oh_testsuite::lab::Said;
use oh_testsuite::process::Running;
use oh_testsuite::truth::nothing_is_left;
use serde_json::json;

/// How long mounting may take.
const BOUND: Duration = Duration::from_secs(20);

/// How much a disk takes, in bytes.
const DISK_BYTES: usize = 8 << 20;

/// What a small file needs of a disk, in bytes.
const PAGE_BYTES: usize = 4096;

/// What takes all the room that is left.
const FILLER: &str = "filler";

const RECORDS: &str = "var/lib/openhands-toolkit/instances";
const STATES: &str = "run/openhands-toolkit/instances";
const EDITORS: &str = "var/lib/openhands-editors";
const LOGS: &str = "var/log/openhands-editors";

/// A small disk in the place of a folder, for whoever is started in its namespace.
struct Disk<'s> {
    scene: &'s Instances,
    folder: &'static str,
    holder: Running,
}

impl<'s> Disk<'s> {
    fn mount(scene: &'s Instances, folder: &'static str) -> Result<Self> {
        let mode = if folder == EDITORS { "0711" } else { "0700" };
        let options = format!("mode={mode},size={DISK_BYTES}");
        let script = "mount -t tmpfs -o \"$1\" none \"$2\" && echo mounted && exec sleep 1000";
        let mut command = Command::new(components::program("unshare")?);
        command.args(["--mount", "/bin/sh", "-c", script, "sh", &options]);
        let mut holder = Running::start(command.arg(scene.lab.at(folder)))?;
        holder.wait_for_line("mounted", BOUND)?;
        Ok(Self { scene, folder, holder })
    }

    /// Where the folder is for us who are not in the namespace.
    fn at(&self, name: &str) -> PathBuf {
        let inside = self.scene.lab.at(self.folder).display().to_string();
        PathBuf::from(format!("/proc/{}/root{inside}/{name}", self.holder.id()))
    }

    /// Fills it but for so many pages.
    fn fill(&self, free_pages: usize) -> Result<()> {
        let mut filler = File::create(self.at(FILLER))?;
        let mut bytes = 0;
        loop {
            match filler.write(&[0; PAGE_BYTES]) {
                Ok(written) => bytes += written,
                Err(fault) if fault.kind() == ErrorKind::StorageFull => break,
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(filler.set_len(bytes.saturating_sub(free_pages * PAGE_BYTES) as u64)?)
    }

    fn make_room(&self) -> Result<()> {
        Ok(fs::remove_file(self.at(FILLER))?)
    }

    fn run(&self, arguments: &[&str]) -> Result<Said> {
        let tool = self.scene.command(arguments)?;
        let mut command = Command::new(components::program("nsenter")?);
        command.env_clear().arg(format!("--target={}", self.holder.id())).arg("--mount");
        command.arg("--").arg(tool.get_program()).args(tool.get_args());
        Ok(command.output().context("could not run nsenter")?.into())
    }

    /// The names in the folder.
    fn names(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(self.at(""))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// A start fails and takes all back; with room it succeeds. Returns what the first one said.
    fn fails_a_start(&self, free_pages: usize) -> Result<String> {
        self.fill(free_pages)?;
        let start = ["start", "--repo", "/var/www/github/hello"];
        let said = self.run(&start)?.expect(6)?;
        let disk = self.scene.lab.at(self.folder).display().to_string();
        let hint = format!("hint: make room on the disk of {disk}");
        ensure!(said.stderr.contains(&hint), "{said:?}");
        // Outside nothing of the folder is seen, and everything else.
        nothing_is_left(self.scene, "hello").with_context(|| said.stderr.clone())?;
        let names = self.names()?;
        let kept = |name: &String| {
            let is_editors = self.folder == EDITORS && name == "hello";
            let is_log = self.folder == LOGS && name.starts_with("hello.log");
            name == FILLER || is_editors || is_log
        };
        ensure!(names.iter().all(kept), "{names:?}");
        let listed = self.run(&["list"])?.expect(0)?;
        ensure!(listed.stdout.starts_with("no instance is recorded"), "{listed:?}");

        self.make_room()?;
        self.run(&start)?.expect(0)?;
        let listed = self.run(&["list", "--format", "json"])?.expect(0)?.json()?;
        ensure!(listed["result"]["instances"][0]["state"] == json!("running"), "{listed:#}");
        self.run(&["stop", "hello"])?.expect(0)?;
        nothing_is_left(self.scene, "hello")?;
        Ok(said.stderr)
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        // What a start has left here has no record outside.
        let left = self.scene.processes().unwrap_or_default();
        left.into_keys().filter(|pid| *pid != self.holder.id()).for_each(|pid| drop(end(pid)));
    }
}

/// A start on a disk in the place of a folder that is full but for so many pages; it has to say
/// each of these.
fn full(folder: &'static str, free_pages: usize, words: &[&str]) -> Result<()> {
    let scene = Instances::new("stop_grace_s = 5\n")?;
    // The first set makes the login and the folders.
    scene.start("hello")?;
    scene.run(&["stop", "hello"])?.expect(0)?;
    let said = Disk::mount(&scene, folder)?.fails_a_start(free_pages);
    let said = said.with_context(|| format!("{folder}, {free_pages} pages free"))?;
    for words in words {
        ensure!(said.contains(words), "{words}: {said}");
    }
    Ok(())
}

#[test]
fn a_full_disk_of_the_records_is_named_and_nothing_is_begun() -> Result<()> {
    if !is_root()? {
        return Ok(()); // Mounting is root's.
    }
    full(RECORDS, 0, &["instances/hello.json", "No space left on device"])?;
    // Its first record is written, and no later one.
    full(RECORDS, 1, &["instances/hello.json", "No space left on device"])
}

#[test]
fn a_full_disk_of_the_states_is_named_and_the_start_taken_back() -> Result<()> {
    if !is_root()? {
        return Ok(()); // Mounting is root's.
    }
    full(STATES, 0, &["instances/hello.json", "No space left on device"])?;
    full(STATES, 1, &["instances/hello.json", "No space left on device"])
}

#[test]
fn a_full_disk_of_the_editors_is_named_and_the_start_taken_back() -> Result<()> {
    if !is_root()? {
        return Ok(()); // Mounting is root's.
    }
    full(EDITORS, 0, &["hello/code-server.yaml", "No space left on device"])
}

#[test]
fn a_full_disk_of_the_logs_is_named_and_the_start_taken_back() -> Result<()> {
    if !is_root()? {
        return Ok(()); // Mounting is root's.
    }
    // Its editor cannot say why it ends: what is left on the disk does.
    full(LOGS, 0, &["it ended before it answered"])
}
