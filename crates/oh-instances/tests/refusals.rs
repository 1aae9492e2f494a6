//! What is no repository and no session is refused by its reason, before anything is touched.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A root with a configuration, a program and folders of every kind.
fn root() -> TempDir {
    let dir = tempfile::Builder::new().prefix("oh-refusals-").tempdir().unwrap();
    let at = |below: &str| dir.path().join(below);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for folder in [
        "etc/openhands-toolkit",
        "var/www/github/hello",
        "var/www/github/.github",
        "var/www/github/a.b",
        "var/www/ai-desktop/data",
        "usr/share/things",
    ] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    fs::write(at("var/www/github/file"), "").unwrap();
    fs::create_dir(at("var/www/github/secret")).unwrap();
    fs::set_permissions(at("var/www/github/secret"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("hello", at("var/www/github/link")).unwrap();
    symlink("github", at("var/www/linked")).unwrap();
    fs::write(
        at("etc/openhands-toolkit/config.toml"),
        "[toolkit.site]\ndomain = \"127.0.0.1\"\n[toolkit.instances]\nprogram = \"/bin/true\"\n",
    )
    .unwrap();
    let known = r#"{"repositories": [{"id": "a-b", "path": "/var/www/github/a-b", "name": "a-b"},
        {"id": "other", "path": "/var/www/github/hello", "name": "hello"}]}"#;
    fs::write(at("var/www/ai-desktop/data/repositories.json"), known).unwrap();
    dir
}

fn start(root: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(assert_cmd::cargo::cargo_bin!("oh-instances"))
        .env_clear()
        .current_dir("/")
        .arg("--root")
        .arg(root)
        .arg("start")
        .args(arguments)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), stderr)
}

#[test]
fn each_thing_that_is_no_repository_is_refused_by_its_reason() {
    let dir = root();
    let long = format!("/var/www/github/{}", "x".repeat(300));
    for (path, reason) in [
        ("/", "it is a folder of the whole system"),
        ("/var", "it is a folder of the whole system"),
        ("/var/www", "it holds "),
        ("/var/www/github", "it holds all repositories"),
        ("/var/www/ai-desktop/data", "it holds the databases"),
        ("/usr/share/things", "it belongs to the system"),
        ("/var/www/github/none", "No such file or directory"),
        ("/var/www/github/file", "is not a folder"),
        ("/var/www/github/link", "leads through a symbolic link to "),
        ("/var/www/linked/hello", "leads through a symbolic link to "),
        ("/var/www/github/../github/hello", "a path has no `.` or `..` in it"),
        ("/var/www//github/hello", "a path has no empty part"),
        ("/var/www/github/he\nllo", "a path has no control characters"),
        ("/var/www/github/'; reboot; '", "No such file or directory"),
        (&long, "File name too long"),
        ("/var/www/github/.github", "an id begins with a letter or a digit"),
        ("/var/www/github/a.b", "the id a-b is that of /var/www/github/a-b"),
        ("", "cannot be used as a path"),
        // As hints name it, with the root.
        (&dir.path().join("var/www/github/link").display().to_string(), "leads through a symbolic"),
    ] {
        let (code, said) = start(dir.path(), &["--repo", path]);
        assert_eq!(code, 2, "{path:?}: {said}");
        assert!(said.contains(reason), "{path:?}: {said}");
        assert!(said.contains("nothing was changed"), "{path:?}: {said}");
    }
    assert!(!dir.path().join("var/lib").exists(), "something was written");
    assert!(!dir.path().join("run").exists(), "something was written");
}

#[test]
fn each_name_that_is_no_id_is_refused_by_its_reason() {
    let dir = root();
    let long = "x".repeat(300);
    for id in ["", "a/b", "../etc", "a\nb", "'\"", ".", "a b", "-a", "é", &long, "$(reboot)"] {
        let name = format!("--name={id}");
        let (code, said) = start(dir.path(), &["--repo", "/var/www/github/.github", &name]);
        assert_eq!(code, 2, "{id:?}: {said}");
        assert!(said.contains("cannot be an id: an id "), "{id:?}: {said}");
        let (code, said) = start(dir.path(), &[&format!("--session={id}")]);
        assert_eq!(code, 2, "{id:?}: {said}");
        assert!(said.contains("cannot be an id: an id "), "{id:?}: {said}");
        assert!(!said.contains("--name"), "a session has no name: {said}");
    }
    let (code, said) = start(dir.path(), &["--repo", "/var/www/github/hello", "--name", "hello"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("/var/www/github/hello is known as other"), "{said}");
}

#[test]
fn nobody_becomes_root_or_somebody_else_by_accident() {
    let dir = root();
    let is_root = rustix::process::geteuid().is_root();
    let (code, said) = start(dir.path(), &["--repo", "/var/www/github/hello", "--user", "nosuch"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("there is no user \"nosuch\""), "{said}");
    if is_root {
        let (code, said) = start(dir.path(), &["--repo", "/var/www/github/hello"]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("/var/www/github/hello belongs to root"), "{said}");
        let secret = ["--repo", "/var/www/github/secret", "--user", "nobody"];
        let (code, said) = start(dir.path(), &secret);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("user nobody may not read "), "{said}");
    } else {
        let (code, said) = start(dir.path(), &["--repo", "/var/www/github/hello", "--user", "0"]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("only root can start an editor of user "), "{said}");
    }
}

#[test]
fn whoever_may_exchange_a_folder_does_not_choose_whose_editor_it_becomes() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = root();
    let at = |below: &str| dir.path().join(below);
    let (alice, bob) = (1234, 65534);
    fs::create_dir_all(at("srv/alice/bobs")).unwrap();
    chown(at("srv/alice"), Some(alice), Some(alice)).unwrap();
    chown(at("srv/alice/bobs"), Some(bob), Some(bob)).unwrap();
    symlink("bobs", at("srv/alice/link")).unwrap();
    let repo = ["--repo", "/srv/alice/bobs"];
    let refused = |reason: &str| {
        let (code, said) = start(dir.path(), &repo);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("others could put another folder in its place: "), "{said}");
        assert!(said.contains(reason), "{said}");
        assert!(said.contains("name the user with --user"), "{said}");
        assert!(said.contains("nothing was changed"), "{said}");
    };
    // It came as far as to look for nginx, whose configuration there is none of.
    let taken = |arguments: &[&str]| {
        let (code, said) = start(dir.path(), arguments);
        assert_eq!(code, 4, "{said}");
        assert!(said.contains("could not read nginx's configuration"), "{said}");
    };
    refused("srv/alice belongs to uid 1234");
    let (code, said) = start(dir.path(), &["--repo", "/srv/alice/link"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("leads through a symbolic link to "), "{said}");
    // Whom the operator names is not derived from any folder.
    taken(&[repo[0], repo[1], "--user", "65534"]);

    chown(at("srv/alice"), Some(0), Some(0)).unwrap();
    taken(&repo);
    for (mode, is_open) in [(0o777, true), (0o775, false), (0o1777, false)] {
        fs::set_permissions(at("srv/alice"), fs::Permissions::from_mode(mode)).unwrap();
        if is_open { refused("srv/alice has mode 0777") } else { taken(&repo) }
    }
    chown(at("srv/alice"), Some(0), Some(alice)).unwrap();
    fs::set_permissions(at("srv/alice"), fs::Permissions::from_mode(0o775)).unwrap();
    refused("srv/alice has mode 0775");
    // The owner of a folder may exchange it for another of his own.
    chown(at("srv/alice"), Some(bob), Some(bob)).unwrap();
    fs::set_permissions(at("srv/alice"), fs::Permissions::from_mode(0o755)).unwrap();
    taken(&repo);
}

#[test]
fn what_the_configuration_cannot_serve_is_refused() {
    let dir = root();
    let user = if rustix::process::geteuid().is_root() { "nobody" } else { "0" };
    let user = if user == "0" { vec![] } else { vec!["--user", user] };
    for (set, reason) in [
        ("instances.upstream=base-path", "code-server cannot keep its prefix"),
        ("instances.transport=unix", "sessions.sockets names no folder"),
        ("instances.program=/nowhere/at-all", "/nowhere/at-all is missing"),
    ] {
        let mut arguments = vec!["--repo", "/var/www/github/hello", "--set", set];
        arguments.extend(&user);
        let (code, said) = start(dir.path(), &arguments);
        assert_eq!(code, 2, "{set}: {said}");
        assert!(said.contains(reason), "{set}: {said}");
    }
    let mut arguments = vec!["--repo", "/var/www/github/hello", "--port", "22"];
    arguments.extend(&user);
    let (code, said) = start(dir.path(), &arguments);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("port 22 is not one of instances.ports"), "{said}");
}

#[test]
fn what_nobody_could_serve_is_not_begun() {
    let dir = root();
    let is_root = rustix::process::geteuid().is_root();
    let user = if is_root { ["--user", "root"].as_slice() } else { &[] };
    let arguments =
        [["--repo", "/var/www/github/hello", "--name", "other"].as_slice(), user].concat();
    // Its nginx has no configuration that could be read.
    let (code, said) = start(dir.path(), &arguments);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("could not read nginx's configuration"), "{said}");
    assert!(said.contains("nothing was changed"), "{said}");
    let records = dir.path().join("var/lib/openhands-toolkit/instances");
    let left = fs::read_dir(records).map_or(0, Iterator::count);
    assert_eq!(left, 0, "a record is left");
    assert!(!dir.path().join("var/lib/openhands-editors").exists(), "an editor was begun");
}
