//! The sandbox where something is not as usual: odd names, no editors, a full disk, a folder that
//! went away, a folder that is not ours.

use super::*;

#[test]
fn what_people_may_paste_has_the_folder_as_one_word() -> Result<()> {
    let sandbox = Deployment::named(With::NoEditor, "it's a box")?;
    let said: Said = sandbox.up_command("human")?.output()?.into();
    let said = said.expect(1)?;
    let commands: Vec<&str> =
        said.stdout.lines().filter_map(|line| Some(line.split_once(":  ")?.1.trim())).collect();
    ensure!(commands.len() == 4, "{}", said.stdout);
    for command in commands {
        let script = format!("set -- {command}; printf '%s\\n' \"$@\"");
        let words = Command::new("/bin/sh").args(["-c", &script]).output()?;
        let words = String::from_utf8(words.stdout)?;
        let dir = sandbox.dir().display().to_string();
        ensure!(words.lines().any(|word| word == dir), "{command}: {words}");
    }
    serves_everything(&sandbox, false)?;
    sandbox.down()?.expect(0).map(drop)
}

#[test]
fn a_folder_that_is_too_long_for_sockets_has_editors_all_the_same() -> Result<()> {
    const NAME: &str =
        "a-folder-whose-name-alone-has-as-many-bytes-as-make-the-paths-of-sockets-too-long";
    let sandbox = Deployment::named(With::Everything, NAME)?;
    let said = sandbox.up()?.expect(0)?;
    let warning = "warning: `code` does not work in terminals of this editor: /";
    ensure!(said.stderr.matches(warning).count() == 2, "{said:?}");
    serves_everything(&sandbox, true)?;
    edits_once(&sandbox)?;
    let record = sandbox.record()?;
    sandbox.down()?.expect(0)?;
    is_gone(&sandbox, &record)
}

#[test]
fn without_editors_only_what_answers_is_listed() -> Result<()> {
    let sandbox = Deployment::new(With::NoEditor)?;
    let result = rest_is_up(sandbox.up()?)?.json()?["result"].clone();
    let missing = json!([
        "the editor of the session",
        "the application of the session",
        "the editor of the repository",
    ]);
    assert_eq!(result["missing"], missing);
    let urls: Vec<&str> = result["links"]
        .as_array()
        .context("no links")?
        .iter()
        .filter_map(|l| l["url"].as_str())
        .collect();
    assert_eq!(urls, [sandbox.url("/")?]);
    let login = sandbox.login()?;
    for url in urls {
        let key = lab::basic(&login.0, &login.1);
        assert_eq!(net::get(url, &[("Authorization", &key)])?.status, 200, "{url}");
    }
    let said: Said = sandbox.up_command("human")?.output()?.into();
    ensure!(!said.stdout.contains("/vscode/"), "{}", said.stdout);
    Ok(())
}

#[test]
fn a_second_run_keeps_the_scheme_without_being_told() -> Result<()> {
    let sandbox = Deployment::new(With::NoEditor)?;
    let said: Said = sandbox.up_command("json")?.arg("--http").output()?.into();
    rest_is_up(said)?;
    let record = sandbox.record()?;
    assert_eq!(record["tls"], false);
    let again = rest_is_up(sandbox.up()?)?.json()?;
    assert_eq!(again["result"]["steps"], json!([]));
    assert_eq!(again["result"]["origin"], json!(sandbox.url("")?));
    assert_eq!(sandbox.record()?, record);
    serves_everything(&sandbox, false)
}

#[test]
fn a_folder_with_a_record_of_somebody_else_is_left_as_it_was() -> Result<()> {
    let sandbox = Deployment::new(With::NoEditor)?;
    fs::create_dir(sandbox.dir())?;
    for (name, text) in [("sandbox.json", "{\"mine\": true}"), ("run", "mine")] {
        fs::write(sandbox.dir().join(name), text)?;
        let before = tree(&sandbox)?;
        for said in [sandbox.up()?, sandbox.down()?] {
            said.expect(2)?;
            assert_eq!(changed(&before, &tree(&sandbox)?), BTreeSet::new());
        }
        fs::remove_file(sandbox.dir().join(name))?;
    }
    // A folder `run` alone is no mark of ours either.
    fs::create_dir_all(sandbox.dir().join("run/mine"))?;
    let before = tree(&sandbox)?;
    sandbox.up()?.expect(2)?;
    assert_eq!(changed(&before, &tree(&sandbox)?), BTreeSet::new());
    Ok(())
}

#[test]
fn what_runs_of_a_folder_that_went_away_is_ended_or_named() -> Result<()> {
    let sandbox = Deployment::new(With::Everything)?;
    let nothing = sandbox.down()?.expect(0)?;
    ensure!(nothing.stdout.starts_with("nothing to do: there is no "), "{nothing:?}");
    sandbox.up()?.expect(0)?;
    let record = sandbox.record()?;
    let editors = sandbox.editors()?;
    // As a person would.
    ensure!(Command::new("/bin/rm").arg("-rf").arg(sandbox.dir()).status()?.success(), "rm");
    let said: Said = sandbox.down_command()?.args(["--format", "json"]).output()?.into();
    let result = said.expect(1)?.json()?;
    for (editor, supervisor) in editors.values() {
        ensure!(is_dead(*editor) && is_dead(*supervisor), "{editor}, {supervisor}: {result}");
    }
    // What carries our token is ours; nginx wrote its title over it, and is named.
    ensure!(carriers(record["token"].as_str().context("no token")?)?.is_empty(), "{result}");
    let left: Vec<u64> = result["result"]["left"]
        .as_array()
        .context("nothing is named")?
        .iter()
        .filter_map(|one| one["pid"].as_u64())
        .collect();
    let master = record["started"]["nginx"]["pid"].as_u64().context("no pid")?;
    ensure!(left.contains(&master), "{result}");
    ensure!(result["next"][0].as_str().is_some_and(|line| line.contains("kill ")), "{result}");
    for pid in left {
        let pid = i32::try_from(pid)?;
        // The workers of nginx end with it.
        kill_process(Pid::from_raw(pid).context("no pid")?, Signal::TERM).ok();
        wait::until_true("its end", BOUND, || is_dead(pid.unsigned_abs()))?;
    }
    let said = sandbox.down()?.expect(0)?;
    ensure!(said.stdout.starts_with("nothing to do: there is no "), "{said:?}");
    Ok(())
}

/// Runs `up` on a disk of its own, made with these options of tmpfs; all that it starts ends with
/// it.
fn up_on_a_disk(sandbox: &Deployment, options: &str) -> Result<Said> {
    let up = sandbox.up_command("human")?;
    let script = "mount -t tmpfs -o \"$1\" none \"$2\" && shift 2 && exec \"$@\"";
    let mut command = Command::new(components::program("unshare")?);
    command.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "/bin/sh"]);
    command.args(["-c", script, "sh", &format!("mode=0711,{options}")]).arg(sandbox.dir());
    command.arg(up.get_program()).args(up.get_args());
    Ok(command.output().context("could not run unshare")?.into())
}

#[test]
fn a_full_disk_is_named_and_not_only_the_part_that_ended() -> Result<()> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(());
    }
    let sandbox = Deployment::new(With::NoEditor)?;
    fs::create_dir(sandbox.dir())?;
    let sizes = [24, 40, 60, 72].map(|size| format!("size={size}k"));
    // nginx makes folders of its own, so it ends where there is no room for them.
    let files = (36..52).map(|count| format!("size=4m,nr_inodes={count}"));
    let (mut failed, mut parts) = (0, 0);
    for disk in sizes.into_iter().chain(files) {
        let said = up_on_a_disk(&sandbox, &disk)?;
        // Where there was room enough it is up, and says so.
        if said.stdout.is_empty() {
            let named = ["No space left on device", "no space left on the disk of "];
            ensure!(named.iter().any(|words| said.stderr.contains(words)), "{disk}: {said:?}");
            failed += 1;
            let ended = said.stderr.contains(" ended right after its start");
            ensure!(!ended || said.stderr.contains("hint: make room on that disk"), "{said:?}");
            parts += usize::from(ended);
        }
    }
    ensure!(failed > 4 && parts > 0, "{failed} runs failed, and in {parts} a part ended");
    Ok(())
}
