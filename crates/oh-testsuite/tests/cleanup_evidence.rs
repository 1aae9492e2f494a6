//! What `oh-cleanup` keeps of a machine before it changes it, and that it changes nothing where it
//! cannot keep that.

#[expect(dead_code, reason = "other tests need all of it")]
#[path = "cleanup/scene.rs"]
mod scene;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use oh_host::entry::digest;
use oh_testsuite::components;
use oh_testsuite::instances::is_root;
use oh_testsuite::lab::Said;
use oh_testsuite::process::Running;
use ruzstd::decoding::StreamingDecoder;
use scene::{PORTS, REPOSITORIES, Scene};
use serde_json::{Value, json};

const EVIDENCE: &str = "var/lib/openhands-toolkit/evidence";
const JOURNALS: &str = "var/lib/openhands-toolkit/journal";
const RECORD: &str = "var/lib/openhands-toolkit/instances/hello.json";

/// How long mounting may take.
const BOUND: Duration = Duration::from_secs(20);

/// How much a disk takes, in bytes: the reserve, and as much again.
const DISK_BYTES: usize = 48 << 20;

/// Has the journals on the same disk.
const JOURNALS_TOO: &str = "mkdir -m 700 \"$2/journal\" && mount --bind \"$2/journal\" \"$3\"";

/// Longer than what is left over has to be old.
const LONG_AGO: Duration = Duration::from_secs(7200);

/// What takes all the room that is left.
const FILLER: &str = "filler";

/// Unpacks an archive: the bytes of each item by its name, without the folder.
fn unpacked(archive: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let run = archive.file_name().and_then(|name| name.to_str()).context("a name")?;
    let run = run.strip_suffix(".tar.zst").context("an archive")?;
    let decoder = StreamingDecoder::new(File::open(archive)?)?;
    let mut items = BTreeMap::new();
    for entry in tar::Archive::new(decoder).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.display().to_string();
        let name = path.strip_prefix(&format!("{run}/")).context("the folder of the run")?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        ensure!(items.insert(name.to_owned(), bytes).is_none(), "{path} is there twice");
    }
    Ok(items)
}

fn json_of(items: &BTreeMap<String, Vec<u8>>, name: &str) -> Result<Value> {
    Ok(serde_json::from_slice(items.get(name).with_context(|| format!("no {name}"))?)?)
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// What is nobody's and can be moved away, so that there is something to do.
fn leave(scene: &Scene, name: &str) -> Result<()> {
    scene.leave(&format!("tmp/vscode-agent-{name}-8890/data/a"), "a")
}

fn archives(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names: Vec<String> = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    Ok(names.into_iter().filter(|name| name.contains(".tar.zst")).collect())
}

/// A scene in which secrets lie about, and a process that has some in its arguments.
fn with_secrets(scene: &Scene, secret: &str) -> Result<Running> {
    let append = |below: &str, line: &str| -> Result<()> {
        let path = scene.instances.lab.at(below);
        let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
        Ok(writeln!(file, "{line}")?)
    };
    append("log/error.log", &format!("x request: \"GET /vscode/hello/?tkn={secret} HTTP/1.1\""))?;
    append("var/log/openhands-editors/hello.log", &format!("> Authorization: Bearer {secret}"))?;
    append("var/log/openhands-editors/hello.log", &format!("GIT https://u:{secret}@example.org/"))?;
    // Nothing but the record says that this one is secret.
    let record = scene.instances.json(RECORD)?;
    let token = record["token"].as_str().context("a token")?;
    append("var/log/openhands-editors/hello.log", &format!("in the midst of {token} it stands"))?;
    let mut known = scene.instances.json(REPOSITORIES)?;
    known["repositories"][0]["apiKey"] = json!(secret);
    known["repositories"][0]["remote"] = json!(format!("https://u:{secret}@example.org/a.git"));
    fs::write(scene.instances.lab.at(REPOSITORIES), format!("{known:#}"))?;
    let session = json!({ "vscode_port": 1, "session_api_key": secret });
    scene.leave("tmp/openhands-sessions/gone.json", &session.to_string())?;
    let mut program = Command::new(components::node()?);
    program.args(["-e", "console.log('up'); setInterval(() => {}, 1000000)", "--"]);
    program.args(["--password", secret, &format!("--token={secret}")]);
    program.args([&format!("GITHUB_TOKEN={secret}"), "a-plain-word"]);
    let mut running = Running::start(program.env_clear().env("PASSWORD", secret))?;
    running.wait_for_line("up", BOUND)?;
    Ok(running)
}

#[test]
fn the_evidence_of_a_run_is_whole_and_has_no_secrets() -> Result<()> {
    let scene = Scene::new()?;
    let secret = "Zq7_0123456789abcdefZq7";
    scene.instances.start("hello")?;
    let other = with_secrets(&scene, secret)?;
    // A repository whose configuration would have git run something.
    let git = "tmp/vscode-agent-repo-1/data/.git";
    scene.leave(&format!("{git}/HEAD"), &format!("ref: refs/heads/tkn={secret}\n"))?;
    let ran = scene.instances.lab.at("ran").display().to_string();
    scene.leave(&format!("{git}/config"), &format!("[core]\n\tfsmonitor = touch {ran}\n"))?;
    scene.leave(&format!("{git}/index"), "12345")?;
    let record = scene.instances.json(RECORD)?;
    let ports = scene.text(PORTS)?;
    let reason = format!("a test, password={secret}");
    let arguments = ["--all", "--yes", "--reason", &reason, "--format", "json"];
    let said = scene.run(&arguments)?.expect(0)?;
    let told = said.json()?["result"].clone();
    let path =
        PathBuf::from(told["evidence"]["path"].as_str().with_context(|| format!("{said:?}"))?);
    let meta = fs::metadata(&path)?;
    let folder = fs::metadata(scene.instances.lab.at(EVIDENCE))?;
    let modes = (meta.permissions().mode() & 0o7777, folder.permissions().mode() & 0o7777);
    ensure!(modes == (0o600, 0o700), "{modes:?}");
    ensure!(told["evidence"]["bytes"] == json!(meta.len()), "{told:#}");

    let items = unpacked(&path)?;
    let manifest = json_of(&items, "manifest.json")?;
    let listed = manifest["items"].as_array().context("items")?;
    ensure!(told["evidence"]["items"] == json!(listed.len()), "{told:#}");
    ensure!(items.len() == listed.len() + 2, "{:?}", items.keys());
    for item in listed {
        let bytes = items.get(item["name"].as_str().unwrap_or_default()).context("an item")?;
        let is_it = item["bytes"] == json!(bytes.len()) && item["sha256"] == json!(digest(bytes));
        ensure!(is_it, "{item}");
    }
    let sums = String::from_utf8(items["SHA256SUMS"].clone())?;
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").context("a sum")?;
        ensure!(digest(&items[name]) == sum, "{line}");
    }
    ensure!(sums.lines().count() == listed.len() + 1, "{sums}");
    ensure!(manifest["missing"] == json!([]), "{:#}", manifest["missing"]);
    ensure!(manifest["by"]["reason"] == json!("a test, password=<redacted>"), "{manifest:#}");
    ensure!(manifest["run"] == told["run"], "{manifest:#}");

    // What was there is in it.
    let own = other.id().to_string();
    let table = String::from_utf8(items["processes.jsonl"].clone())?;
    let row = table.lines().find(|row| row.contains(&format!("\"pid\":{own},")));
    let row: Value = serde_json::from_str(row.context("the program")?)?;
    let shown = ["--password", "<redacted>", "--token=<redacted>", "GITHUB_TOKEN=<redacted>"];
    let words = row["arguments"].as_array().context("arguments")?;
    ensure!(words.get(4..8) == Some(&shown.map(|word| json!(word))[..]), "{row}");
    ensure!(words.last() == Some(&json!("a-plain-word")), "{row}");
    let editors = String::from_utf8(items["editors.jsonl"].clone())?;
    ensure!(editors.contains("\"variables\":[") && editors.contains("\"PATH\""), "{editors}");
    let database =
        format!("databases/{}", Path::new(PORTS).file_name().context("a name")?.display());
    ensure!(items[&database] == ports.as_bytes(), "{ports}");
    for name in ["nginx/configuration.txt", "sockets/tcp", "logs/hello.log", "instances/hello.json"]
    {
        ensure!(items.get(name).is_some_and(|bytes| !bytes.is_empty()), "{name}");
    }
    for name in ["states/hello.json", "sessions/gone.json", "mountinfo", "meminfo", "disks.jsonl"] {
        ensure!(items.contains_key(name), "{name}");
    }
    let repositories = String::from_utf8(items["repositories.jsonl"].clone())?;
    let row = repositories.lines().find(|row| row.contains("vscode-agent-repo-1/data"));
    let row: Value = serde_json::from_str(row.context("the repository")?)?;
    ensure!(row["head"] == json!("ref: refs/heads/tkn=<redacted>"), "{row}");
    ensure!(row["index"]["bytes"] == json!(5) && !fs::exists(&ran)?, "{row}");
    ensure!(json_of(&items, "plan.json")?["steps"].as_array().is_some_and(|all| !all.is_empty()));

    // And nothing of what is secret.
    let secrets = [Some(secret), record["token"].as_str(), record["key"].as_str()];
    let secrets: Vec<&str> = secrets.into_iter().flatten().collect();
    ensure!(secrets.len() >= 2, "{record:#}");
    for (name, bytes) in &items {
        for one in &secrets {
            ensure!(!contains(bytes, one), "{name}: {}", String::from_utf8_lossy(bytes));
        }
    }
    Ok(())
}

#[test]
fn evidence_is_listed_with_its_run_and_goes_with_it() -> Result<()> {
    let scene = Scene::new()?;
    leave(&scene, "one")?;
    let dry = scene.run(&["--all", "--dry-run"])?.expect(0)?;
    ensure!(!scene.instances.lab.at(EVIDENCE).exists(), "{dry:?}");
    let said = scene.run(&["--all", "--yes"])?.expect(0)?;
    let folder = scene.instances.lab.at(EVIDENCE);
    let name = archives(&folder)?.pop().with_context(|| format!("{said:?}"))?;
    let line = format!("evidence  {}/{name} (", folder.display());
    ensure!(said.stdout.lines().any(|said| said.starts_with(&line)), "{said:?}");
    let reserve = fs::metadata(folder.join("reserve"))?;
    ensure!(reserve.blocks() * 512 >= reserve.len() && reserve.len() == 8 << 20, "{reserve:?}");
    leave(&scene, "two")?;
    let without = scene.run(&["--all", "--yes", "--no-evidence"])?.expect(0)?;
    ensure!(!without.stdout.contains("evidence"), "{without:?}");
    ensure!(archives(&folder)? == [name.clone()], "{without:?}");
    let runs = scene.run(&["runs", "--format", "json"])?.expect(0)?.json()?;
    let runs = runs["result"]["runs"].as_array().cloned().unwrap_or_default();
    ensure!(runs.len() == 2 && runs[1]["evidence"].is_null(), "{runs:#?}");
    let bytes = fs::metadata(folder.join(&name))?.len();
    ensure!(runs[0]["evidence"]["bytes"] == json!(bytes), "{runs:#?}");
    scene.run(&["purge", "--yes", runs[0]["run"].as_str().unwrap_or_default()])?.expect(0)?;
    ensure!(archives(&folder)?.is_empty(), "{:?}", archives(&folder)?);
    Ok(())
}

#[test]
fn evidence_that_others_could_read_is_not_written() -> Result<()> {
    let scene = Scene::new()?;
    leave(&scene, "one")?;
    let folder = scene.instances.lab.at(EVIDENCE);
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    let before = scene.tree("tmp")?;
    let said = scene.run(&["--all", "--yes"])?.expect(6)?;
    ensure!(said.stderr.contains("can be read by others (mode 0755)"), "{said:?}");
    ensure!(said.stderr.contains("nothing was changed"), "{said:?}");
    ensure!(scene.tree("tmp")? == before && archives(&folder)?.is_empty(), "{said:?}");
    Ok(())
}

/// A small disk in the place of the folder of evidence, and of others, for whoever is started in its
/// namespace.
struct Disk<'s> {
    scene: &'s Scene,
    holder: Running,
}

impl<'s> Disk<'s> {
    fn mount(scene: &'s Scene) -> Result<Self> {
        Self::mount_with(scene, &format!("size={DISK_BYTES}"), "true")
    }

    /// The same for the journals too.
    fn mount_for_journals(scene: &'s Scene) -> Result<Self> {
        Self::mount_with(scene, &format!("size={DISK_BYTES}"), JOURNALS_TOO)
    }

    /// The same with so few inodes, and another of that kind for what is left over.
    fn mount_without_inodes(scene: &'s Scene) -> Result<Self> {
        let options = format!("size={DISK_BYTES},nr_inodes=64");
        let temporary = "mount -t tmpfs -o size=16m,nr_inodes=64,mode=1777 none \"$4\"";
        Self::mount_with(scene, &options, &format!("{JOURNALS_TOO} && {temporary}"))
    }

    /// The same with room for the journals too, and another for what is left over.
    fn mount_apart(scene: &'s Scene) -> Result<Self> {
        let temporary = "mount -t tmpfs -o mode=1777 none \"$4\"";
        let options = format!("size={DISK_BYTES}");
        Self::mount_with(scene, &options, &format!("{JOURNALS_TOO} && {temporary}"))
    }

    fn mount_with(scene: &'s Scene, options: &str, more: &str) -> Result<Self> {
        let (folder, journals) =
            (scene.instances.lab.at(EVIDENCE), scene.instances.lab.at(JOURNALS));
        for own in [&folder, &journals] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(own)?;
        }
        for above in folder.ancestors().skip(1).take(2) {
            fs::set_permissions(above, fs::Permissions::from_mode(0o755))?;
        }
        let options = format!("mode=0700,{options}");
        let script = format!(
            "mount -t tmpfs -o \"$1\" none \"$2\" && {more} && echo mounted && exec sleep 1000"
        );
        let mut command = Command::new(components::program("unshare")?);
        command.args(["--mount", "/bin/sh", "-c", &script, "sh", &options]);
        command.args([folder, journals, scene.instances.lab.at("tmp")]);
        let mut holder = Running::start(&mut command)?;
        holder.wait_for_line("mounted", BOUND)?;
        Ok(Self { scene, holder })
    }

    /// Where the folder is for us who are not in the namespace.
    fn folder(&self) -> PathBuf {
        self.at(EVIDENCE)
    }

    /// Where anything below the root is for us.
    fn at(&self, below: &str) -> PathBuf {
        let inside = self.scene.instances.lab.at(below).display().to_string();
        PathBuf::from(format!("/proc/{}/root{inside}", self.holder.id()))
    }

    /// Leaves a file behind that nobody has changed for long.
    fn leave(&self, name: &str) -> Result<()> {
        let file = File::create(self.at("tmp").join(name))?;
        Ok(file.set_modified(SystemTime::now() - LONG_AGO)?)
    }

    /// Says what is left of what was left behind.
    fn left(&self) -> Result<Vec<String>> {
        let names = fs::read_dir(self.at("tmp"))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<String>>>()?;
        Ok(names.into_iter().filter(|name| name.starts_with("code-server-")).collect())
    }

    /// Makes files below the root until no more can be made.
    fn fill_with_files(&self, below: &str) -> Result<()> {
        let folder = self.at(below).join(FILLER);
        fs::create_dir(&folder)?;
        for number in 0.. {
            match File::create(folder.join(number.to_string())) {
                Ok(_) => {}
                Err(fault) if fault.kind() == ErrorKind::StorageFull => break,
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(())
    }

    /// Fills it to the last page.
    fn fill(&self) -> Result<()> {
        let mut filler = File::create(self.folder().join(FILLER))?;
        loop {
            match filler.write(&[0; 4096]) {
                Ok(_) => {}
                Err(fault) if fault.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(fault) => return Err(fault.into()),
            }
        }
    }

    fn run(&self, arguments: &[&str]) -> Result<Said> {
        let lab = &self.scene.instances.lab;
        let tool = lab.built("oh-cleanup")?;
        let mut command = Command::new(components::program("nsenter")?);
        command.env_clear().arg(format!("--target={}", self.holder.id())).arg("--mount");
        command.arg("--").arg(tool.get_program()).args(arguments).arg("--root").arg(lab.root());
        Ok(command.output().context("could not run nsenter")?.into())
    }
}

#[test]
fn a_full_disk_keeps_a_run_from_beginning() -> Result<()> {
    if !is_root()? {
        return Ok(()); // Mounting is root's.
    }
    let scene = Scene::new()?;
    let old = scene.historic("old", 1)?;
    leave(&scene, "one")?;
    let disk = Disk::mount(&scene)?;
    disk.fill()?;
    let before = (scene.things("tmp")?, scene.text(PORTS)?, scene.text(REPOSITORIES)?);
    let said = disk.run(&["--all", "--yes"])?.expect(6)?;
    for words in ["No space left on device", "nothing was changed", "--no-evidence", "make room"] {
        ensure!(said.stderr.contains(words), "{words}: {said:?}");
    }
    let now = (scene.things("tmp")?, scene.text(PORTS)?, scene.text(REPOSITORIES)?);
    ensure!(now == before, "{before:?}\n{now:?}");
    ensure!(!old.is_over(), "{said:?}");
    let journals = scene.tree(JOURNALS)?;
    ensure!(journals.lines().count() == 1, "{journals}");
    ensure!(archives(&disk.folder())?.is_empty(), "{said:?}");
    let without = disk.run(&["--all", "--yes", "--no-evidence"])?.expect(0)?;
    ensure!(!scene.tree("tmp")?.contains("agent-one"), "{without:?}");
    ensure!(archives(&disk.folder())?.is_empty(), "{without:?}");
    // Seen from the namespace of this disk, what the editor calls a path is another one's.
    ensure!(without.stdout.contains("it is in namespaces of its own"), "{without:?}");
    ensure!(!old.is_over(), "{without:?}");
    Ok(())
}

#[test]
fn the_reserve_has_room_for_the_evidence_on_a_full_disk() -> Result<()> {
    if !is_root()? {
        return Ok(()); // Mounting is root's.
    }
    let scene = Scene::new()?;
    let disk = Disk::mount(&scene)?;
    leave(&scene, "one")?;
    disk.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(disk.folder().join("reserve").exists());
    disk.fill()?;
    leave(&scene, "two")?;
    let said = disk.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(said.stderr.contains("no room is kept for the evidence of the next run"), "{said:?}");
    let mut kept = archives(&disk.folder())?;
    kept.sort();
    ensure!(kept.len() == 2 && !disk.folder().join("reserve").exists(), "{kept:?}: {said:?}");
    let path = disk.folder().join(&kept[1]);
    ensure!(unpacked(&path)?.contains_key("manifest.json"), "{said:?}");
    let meta = fs::metadata(&path)?;
    ensure!(meta.permissions().mode() & 0o7777 == 0o600 && meta.len() < 8 << 20, "{meta:?}");
    // What is left of the reserve was given back, and another run fills it up again or fails whole.
    fs::remove_file(disk.folder().join(FILLER))?;
    leave(&scene, "three")?;
    disk.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(disk.folder().join("reserve").exists());
    Ok(())
}

#[test]
fn the_reserve_has_room_for_the_journal_too() -> Result<()> {
    if !is_root()? {
        return Ok(()); // Mounting is root's.
    }
    let scene = Scene::new()?;
    let disk = Disk::mount_for_journals(&scene)?;
    disk.fill()?;
    leave(&scene, "one")?;
    let said = disk.run(&["--all", "--yes"])?.expect(6)?;
    ensure!(said.stderr.contains("could not keep a journal"), "{said:?}");
    fs::remove_file(disk.folder().join(FILLER))?;
    disk.run(&["--all", "--yes"])?.expect(0)?;
    disk.fill()?;
    leave(&scene, "two")?;
    let said = disk.run(&["--all", "--yes"])?.expect(0)?;
    let kept = archives(&disk.folder())?;
    ensure!(kept.len() == 2, "{kept:?}: {said:?}");
    for name in kept {
        ensure!(unpacked(&disk.folder().join(&name))?.contains_key("manifest.json"), "{name}");
    }
    Ok(())
}

#[test]
fn a_disk_without_inodes_forbids_no_run() -> Result<()> {
    if !is_root()? {
        return Ok(()); // Mounting is root's.
    }
    let scene = Scene::new()?;
    let disk = Disk::mount_without_inodes(&scene)?;
    disk.leave("code-server-one")?;
    disk.run(&["--temp", "--yes"])?.expect(0)?;
    disk.leave("code-server-two")?;
    disk.fill_with_files(EVIDENCE)?;
    disk.fill_with_files("tmp")?;
    let said = disk.run(&["--temp", "--yes"])?.expect(0)?;
    ensure!(disk.left()?.is_empty(), "{said:?}");
    ensure!(archives(&disk.folder())?.len() == 2, "{said:?}");
    for what in ["journal", "evidence"] {
        let note = format!("no room is kept for the {what} of the next run: the disk has none");
        ensure!(said.stderr.contains(&note), "{said:?}");
    }
    // What is purged makes room for the next.
    let runs = disk.run(&["runs", "--format", "json"])?.expect(0)?.json()?;
    for run in runs["result"]["runs"].as_array().into_iter().flatten() {
        disk.run(&["purge", "--yes", run["run"].as_str().unwrap_or_default()])?.expect(0)?;
    }
    disk.leave("code-server-three")?;
    disk.run(&["--temp", "--yes"])?.expect(0)?;
    ensure!(disk.left()?.is_empty(), "{:?}", disk.left()?);
    Ok(())
}

#[test]
fn a_try_that_fails_keeps_the_room_for_the_next() -> Result<()> {
    if !is_root()? {
        return Ok(()); // Mounting is root's.
    }
    let scene = Scene::new()?;
    let disk = Disk::mount_apart(&scene)?;
    disk.leave("code-server-one")?;
    disk.run(&["--temp", "--yes"])?.expect(0)?;
    fs::remove_file(disk.folder().join("reserve"))?;
    disk.leave("code-server-two")?;
    disk.fill()?;
    for _ in 0..3 {
        let said = disk.run(&["--temp", "--yes"])?.expect(6)?;
        ensure!(said.stderr.contains("could not keep evidence"), "{said:?}");
        ensure!(disk.left()? == ["code-server-two"], "{said:?}");
    }
    disk.run(&["--temp", "--yes", "--no-evidence"])?.expect(0)?;
    ensure!(disk.left()?.is_empty(), "{:?}", disk.left()?);
    Ok(())
}

#[test]
fn a_full_disk_takes_as_much_as_can_be_written_down() -> Result<()> {
    if !is_root()? {
        return Ok(()); // Mounting is root's.
    }
    const LEFT: usize = 4000;
    let scene = Scene::new()?;
    let disk = Disk::mount_apart(&scene)?;
    disk.leave("code-server-one")?;
    disk.run(&["--temp", "--yes"])?.expect(0)?;
    for number in 0..LEFT {
        disk.leave(&format!("code-server-{number:04}"))?;
    }
    disk.fill()?;
    let said = disk.run(&["--temp", "--yes", "--format", "json"])?.expect(1)?;
    let told = said.json()?["result"].clone();
    let steps = told["steps"].as_array().context("steps")?;
    let moved = steps.iter().filter(|step| step["outcome"] == json!("done")).count();
    let left = disk.left()?.len();
    ensure!(steps.len() == LEFT && moved + left == LEFT, "{moved} moved, {left} left");
    ensure!(moved > 1000 && left > 100, "{moved} moved, {left} left");
    let last = steps.last().context("a step")?;
    ensure!(last["why"].as_str().is_some_and(|why| why.contains("purge what was moved")), "{last}");
    disk.run(&["purge", "--yes", told["run"].as_str().unwrap_or_default()])?.expect(0)?;
    disk.run(&["--temp", "--yes"])?.expect(0)?;
    ensure!(disk.left()?.is_empty(), "{:?}", disk.left()?.len());
    Ok(())
}

#[test]
fn what_others_write_does_not_push_the_evidence_out_of_the_reserve() -> Result<()> {
    if !is_root()? {
        return Ok(()); // Mounting is root's.
    }
    let scene = Scene::new()?;
    let disk = Disk::mount(&scene)?;
    leave(&scene, "one")?;
    disk.run(&["--temp", "--yes"])?.expect(0)?;
    let first = archives(&disk.folder())?;
    leave(&scene, "two")?;
    // Letters that no packer makes smaller, in words that are no keys.
    let mut noise = vec![0; 64 * 1024];
    fs::create_dir_all(scene.instances.lab.at("var/log/openhands-editors"))?;
    for number in 0..30 {
        File::open("/dev/urandom")?.read_exact(&mut noise)?;
        for (at, byte) in noise.iter_mut().enumerate() {
            *byte = if at % 9 == 8 { b'\n' } else { b'!' + *byte % 90 };
        }
        let name = format!("var/log/openhands-editors/editor-{number}.log");
        scene.instances.lab.write(&name, &String::from_utf8(noise.clone())?)?;
    }
    // Of the logs there are more than of this; a whole reserve takes longer to fill.
    let reserve = OpenOptions::new().write(true).open(disk.folder().join("reserve"))?;
    reserve.set_len(1 << 20)?;
    disk.fill()?;
    let said = disk.run(&["--temp", "--yes"])?.expect(0)?;
    ensure!(said.stderr.contains("the evidence lacks "), "{said:?}");
    let mut kept = archives(&disk.folder())?;
    // Two runs of one second are told apart by more than their order.
    kept.retain(|name| !first.contains(name));
    let last = kept.pop().with_context(|| format!("{said:?}"))?;
    let path = disk.folder().join(last);
    ensure!(fs::metadata(&path)?.len() <= 1 << 20, "{said:?}");
    let items = unpacked(&path)?;
    for name in ["processes.jsonl", "sockets/tcp", "plan.json", "kept.json"] {
        ensure!(items.get(name).is_some_and(|bytes| !bytes.is_empty()), "{name}");
    }
    let manifest = json_of(&items, "manifest.json")?;
    let missing = manifest["missing"].as_array().context("missing")?;
    let dropped = missing.iter().filter(|one| one["why"] == json!("dropped: no room")).count();
    // Beside them it counts what was cut, where much runs on the machine.
    let told = said.stderr.split_once("lacks ").and_then(|(_, rest)| rest.split(' ').next());
    let told: usize = told.context("a number")?.parse()?;
    ensure!(dropped > 0 && told >= dropped, "{said:?}");
    Ok(())
}

#[test]
fn what_killed_runs_left_unfinished_is_swept() -> Result<()> {
    let scene = Scene::new()?;
    leave(&scene, "one")?;
    scene.run(&["--all", "--yes"])?.expect(0)?;
    let token = "0123456789abcdef0123456789abcdef";
    // Number 1 was not made at time 0.
    let temporary = format!(".oht-1-0-{token}.tmp");
    let stale = [
        format!("{JOURNALS}/.new-{token}"),
        format!("{JOURNALS}/{temporary}"),
        format!("{EVIDENCE}/{temporary}"),
        format!("{EVIDENCE}/20200101T000000Z.tar.zst.part"),
    ];
    let others = [format!("{EVIDENCE}/notes.part"), format!("{JOURNALS}/.new-notes")];
    for below in stale.iter().chain(&others) {
        scene.instances.lab.write(below, "x")?;
    }
    // Looking removes nothing.
    leave(&scene, "two")?;
    scene.run(&["--all", "--dry-run"])?.expect(0)?;
    ensure!(stale.iter().all(|below| scene.instances.lab.at(below).exists()));
    scene.run(&["--all", "--yes"])?.expect(0)?;
    for below in &stale {
        ensure!(!scene.instances.lab.at(below).exists(), "{below}");
    }
    for below in &others {
        ensure!(scene.instances.lab.at(below).exists(), "{below}");
    }
    Ok(())
}

#[test]
fn evidence_that_cannot_be_looked_at_hides_no_run() -> Result<()> {
    let scene = Scene::new()?;
    leave(&scene, "one")?;
    scene.run(&["--all", "--yes"])?.expect(0)?;
    let folder = scene.instances.lab.at(EVIDENCE);
    fs::rename(&folder, folder.with_extension("away"))?;
    fs::write(&folder, "no folder")?;
    let said = scene.run(&["runs"])?.expect(4)?;
    ensure!(said.stdout.contains("1 thing to take back, "), "{said:?}");
    ensure!(said.stdout.contains("evidence: cannot look at "), "{said:?}");
    let runs = scene.run(&["runs", "--format", "json"])?.expect(4)?.json()?;
    let row = &runs["result"]["runs"][0];
    ensure!(row["things"] == json!(1) && row["evidence_fault"].is_string(), "{runs:#}");
    Ok(())
}
