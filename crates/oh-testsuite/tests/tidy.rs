//! The rules of the house that a compiler does not hold.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::components;
use oh_testsuite::printed::{PRINTED, commands};

const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".config",
    ".deny.toml",
    ".gitattributes",
    ".github",
    ".gitignore",
    ".rustfmt.toml",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "crates",
    "docs",
    "fixtures",
    "scripts",
    "xtask",
];
const FLOOR_0: &[&str] = &["oh-model", "oh-config", "oh-nginx-conf", "oh-socketio"];
/// A longer file has two subjects, or stands in `LONG_FILES` with its reason.
const FILE_LINES_MAX: usize = 800;
const LONG_FILES: &[(&str, &str)] = &[];
const SCRIPT_LINES_MAX: usize = 49;
/// Lines of a tool's main.rs that are neither empty nor a comment.
const MAIN_LINES_MAX: usize = 8;
/// Folders that every Linux has; a path below another one is a path of one machine.
const COMMON_FOLDERS: &[&str] = &[
    "bin", "boot", "dev", "etc", "home", "lib", "media", "mnt", "opt", "proc", "root", "run",
    "sbin", "srv", "sys", "tmp", "usr", "var",
];

/// Returns the files that are tracked, or would be by `git add`, relative to the root.
fn files() -> Result<Vec<String>> {
    let root = components::workspace()?;
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&root)
        .output()?;
    ensure!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout)?;
    let names = names.split_terminator('\0').filter(|name| root.join(name).is_file());
    Ok(names.map(str::to_owned).collect())
}

fn read(file: &str) -> Result<String> {
    let path = components::workspace()?.join(file);
    let bytes = fs::read(path).with_context(|| format!("could not read {file}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn files_that_end_with(end: &str) -> Result<Vec<String>> {
    Ok(files()?.into_iter().filter(|file| file.ends_with(end)).collect())
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// Tells whether `path::name` is a test function that exists.
fn test_exists(test: &str) -> bool {
    let Some((file, name)) = test.rsplit_once("::") else { return false };
    read(file).is_ok_and(|text| {
        let Some((before, _)) = text.split_once(&format!("fn {name}(")) else { return false };
        let before = before.trim_end();
        let before = before.strip_suffix("async").unwrap_or(before);
        let above = before.trim_end().lines().rev().map(str::trim);
        let mut above = above.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        above.any(|line| matches!(line, "#[test]" | "#[tokio::test]"))
    })
}

#[test]
fn the_top_level_is_the_one_of_the_design() -> Result<()> {
    let is: BTreeSet<String> = files()?
        .iter()
        .filter_map(|file| file.split('/').next().map(str::to_owned))
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()))
        .collect();
    assert_eq!(is, BTreeSet::new());
    Ok(())
}

#[test]
fn the_pages_that_people_look_for_exist() -> Result<()> {
    let files = files()?;
    for page in ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        assert!(files.iter().any(|file| file == page), "{page} is missing");
    }
    Ok(())
}

#[test]
fn folders_are_flat_and_named_as_their_crates() -> Result<()> {
    for manifest in files_that_end_with("Cargo.toml")? {
        let folder = manifest.trim_end_matches("Cargo.toml").trim_end_matches('/');
        let text = read(&manifest)?;
        let name = folder.strip_prefix("crates/").unwrap_or(folder);
        if folder.is_empty() || folder.split('/').any(|part| part == "fuzz") {
            continue;
        }
        assert!(!name.contains('/'), "{manifest} is deeper than crates/");
        assert!(text.contains(&format!("name = \"{name}\"")), "{manifest} is not {name}'s");
    }
    Ok(())
}

#[test]
fn versions_stand_in_the_root_manifest_only() -> Result<()> {
    let mut wrong = Vec::new();
    for manifest in member_manifests()? {
        let mut imports = false;
        for line in read(&manifest)?.lines() {
            if line.starts_with('[') {
                imports = line.contains("dependencies");
            } else if imports && line.contains('=') && !line.trim_start().starts_with('#') {
                let inherited = line.contains("workspace = true");
                wrong.extend((!inherited).then(|| format!("{manifest}: {line}")));
            }
        }
    }
    assert_none("dependencies that do not inherit their version", &wrong);
    Ok(())
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() -> Result<()> {
    for manifest in member_manifests()? {
        assert!(read(&manifest)?.contains("[lints]\nworkspace = true"), "{manifest}");
    }
    Ok(())
}

fn member_manifests() -> Result<Vec<String>> {
    let members = files_that_end_with("/Cargo.toml")?;
    Ok(members.into_iter().filter(|file| !file.contains("/fuzz/")).collect())
}

#[test]
fn floor_0_cannot_reach_the_machine() -> Result<()> {
    for name in FLOOR_0 {
        let file = format!("crates/{name}/src/lib.rs");
        if !files()?.contains(&file) {
            continue; // A room that is not built yet.
        }
        assert!(read(&file)?.lines().any(|line| line == "#![no_std]"), "{file} is not no_std");
    }
    Ok(())
}

#[test]
fn no_lint_is_allowed_without_a_reason() -> Result<()> {
    // Put together, so that this file does not find itself.
    let marks = [concat!("#[", "allow("), concat!("#![", "allow(")];
    let mut wrong = Vec::new();
    for file in files_that_end_with(".rs")? {
        let text = read(&file)?;
        let lines = text.lines().enumerate();
        let found = lines.filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)));
        wrong.extend(found.map(|(number, _)| format!("{file}:{}", number + 1)));
    }
    assert_none("use #[expect(lint, reason = \"…\")]", &wrong);
    Ok(())
}

#[test]
fn a_long_file_has_a_reason() -> Result<()> {
    let mut wrong = Vec::new();
    for file in files_that_end_with(".rs")? {
        let lines = read(&file)?.lines().count();
        let reason = LONG_FILES.iter().any(|(long, _)| *long == file);
        wrong.extend((lines > FILE_LINES_MAX && !reason).then(|| format!("{file}: {lines} lines")));
    }
    assert_none("files with more than one subject?", &wrong);
    Ok(())
}

#[test]
fn scripts_are_short() -> Result<()> {
    let scripts = files()?.into_iter();
    for file in scripts.filter(|file| file.starts_with("scripts/") || file.starts_with(".ci/")) {
        let lines = read(&file)?.lines().count();
        assert!(lines <= SCRIPT_LINES_MAX, "{file} has {lines} lines; move it to xtask");
    }
    Ok(())
}

#[test]
fn a_tool_starts_in_a_few_lines() -> Result<()> {
    let mains = files_that_end_with("/src/main.rs")?;
    for file in mains.iter().filter(|file| file.starts_with("crates/")) {
        let text = read(file)?;
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        assert!(lines <= MAIN_LINES_MAX, "{file} has {lines} lines of code");
    }
    Ok(())
}

#[test]
fn nothing_names_the_machine_that_it_was_written_on() -> Result<()> {
    let root = components::workspace()?;
    let mut marks = vec![root.display().to_string()];
    if let Some(Component::Normal(first)) = root.components().nth(1)
        && let Some(first) = first.to_str().filter(|first| !COMMON_FOLDERS.contains(first))
    {
        marks.push(format!("/{first}/"));
    }
    // Put together, so that this file does not find itself.
    for mark in [("://", "registry."), ("--index", "-url"), ("find", "-links")] {
        marks.push([mark.0, mark.1].concat());
    }
    let mut wrong = Vec::new();
    for file in files()? {
        let text = read(&file)?;
        let found = marks.iter().filter(|mark| names(&text, mark));
        wrong.extend(found.map(|mark| format!("{file}: {mark}")));
    }
    assert_none("paths and hosts of one machine", &wrong);
    Ok(())
}

/// Tells whether a text has the mark where no longer path ends with it.
fn names(text: &str, mark: &str) -> bool {
    text.match_indices(mark).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        !mark.starts_with('/')
            || before.is_none_or(|before| !before.is_alphanumeric() && !"._-*})~".contains(before))
    })
}

#[test]
fn a_path_is_named_only_where_it_begins() {
    assert!(names("see /place/main", "/place/"));
    assert!(names("(`/place/main`)", "/place/"));
    assert!(!names("see docs/place/main", "/place/"));
    assert!(!names("{root}/place/main", "/place/"));
}

#[test]
fn every_crate_comes_from_the_public_registry() -> Result<()> {
    let lock = read("Cargo.lock")?;
    let sources = lock.lines().filter(|line| line.starts_with("source = "));
    let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let other: Vec<String> = sources.filter(|line| *line != public).map(str::to_owned).collect();
    assert_none("sources", &other);
    Ok(())
}

#[test]
fn every_invariant_of_the_architecture_has_its_test() -> Result<()> {
    let page = read("docs/ARCHITECTURE.md")?;
    let (_, section) = page.split_once("## Invariants").context("no section of invariants")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let invariants: Vec<String> = section
        .split("\n- ")
        .skip(1)
        .map(|item| item.split("\n\n").next().unwrap_or_default())
        .map(|item| item.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    ensure!(!invariants.is_empty(), "the section lists no invariant");
    let proved = |invariant: &String| {
        let test = invariant.rsplit_once("test: ").map(|(_, test)| test.trim_matches('`'));
        test.is_some_and(test_exists)
    };
    let wrong: Vec<String> = invariants.into_iter().filter(|one| !proved(one)).collect();
    assert_none("invariants that do not end with `test: path::name` of a test", &wrong);
    Ok(())
}

#[test]
fn every_printed_command_is_run_by_a_test() -> Result<()> {
    let pages = files_that_end_with(".md")?.into_iter();
    let pages = pages.filter(|file| file == "README.md" || is_below(file, "docs"));
    let mut printed = BTreeSet::new();
    let mut wrong = Vec::new();
    for page in pages {
        for command in commands(&read(&page)?) {
            let known = PRINTED.iter().any(|known| known.command == command);
            wrong.extend((!known).then(|| format!("{page}: $ {command}")));
            printed.insert(command);
        }
    }
    assert_none("printed, but not in crates/oh-testsuite/src/printed.rs", &wrong);
    let gone = PRINTED.iter().filter(|known| !printed.contains(known.command));
    let gone: Vec<String> = gone.map(|known| known.command.to_owned()).collect();
    assert_none("in the table, but printed by no page", &gone);
    let untested = PRINTED.iter().filter(|known| !test_exists(known.test));
    let untested: Vec<String> = untested.map(|known| known.test.to_owned()).collect();
    assert_none("tests that do not exist", &untested);
    Ok(())
}

fn is_below(file: &str, folder: &str) -> bool {
    PathBuf::from(file).parent().is_some_and(|parent| parent.starts_with(Path::new(folder)))
}

#[test]
fn a_test_is_known_by_its_attribute() {
    let file = "crates/oh-testsuite/tests/tidy.rs";
    assert!(test_exists(&format!("{file}::a_test_is_known_by_its_attribute")));
    let waits = "crates/oh-probe/src/hostile.rs::nobody_listens";
    assert!(test_exists(waits), "{waits} waits for the network");
    assert!(!test_exists(&format!("{file}::is_below")));
    assert!(!test_exists("crates/oh-testsuite/tests/nowhere.rs::scripts_are_short"));
}
