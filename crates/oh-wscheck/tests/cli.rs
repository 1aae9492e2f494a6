//! What a person reads where `oh-wscheck` asks nobody; `oh-testsuite` has the servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use insta::assert_snapshot;

fn run(words: &[&str]) -> (i32, String) {
    let mut command = Command::new(cargo_bin!("oh-wscheck"));
    let output = command.env_clear().args(words).args(["--config", "/dev/null"]).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn a_cause_is_explained_without_asking_anybody() {
    let (code, said) = run(&["--explain", "upg-2"]);
    assert_eq!(code, 0);
    assert_snapshot!(said, @r"
    UPG-2  the location drops the headers that the block above sets

    why   One proxy_set_header in a block discards all those of the blocks above it.
    seen  as UPG-1, and the configuration has the lines above the location
    mend  map $http_upgrade $connection_upgrade { default upgrade; '' close; }    # in http { }
          proxy_http_version 1.1;
          proxy_set_header Upgrade $http_upgrade;
          proxy_set_header Connection $connection_upgrade;
    lines found by oh-nginx lint: OH-NGX-101
    ");
    let (code, said) = run(&["--explain", "UPG-99"]);
    assert_eq!(code, 2);
    assert!(
        said.starts_with("error: there is no cause \"UPG-99\"\nhint: there are NET-1, "),
        "{said}"
    );
}

#[test]
fn what_cannot_be_asked_is_refused_with_the_way_out() {
    for (words, said) in [
        (
            &[][..],
            "no address was given, and the configuration has no site.domain\nhint: name it: oh-wscheck https://oh.example",
        ),
        (
            &["oh.example"],
            "\"oh.example\" has no scheme, expected a URL like https://oh.example or ws://127.0.0.1:3000",
        ),
        (&["http://a", "--path", "socket.io/"], "--path \"socket.io/\" does not begin with /"),
        (
            &["http://a", "--path", "/a b"],
            "--path \"/a b\" has what no path has; write it as in a URL",
        ),
        (
            &["http://a", "-H", "no header"],
            "a header that was given is none; write: -H 'Name: value'",
        ),
        (&["http://a", "-o", "a\nb"], "--origin \"a\\nb\" cannot stand in a header"),
        (
            &["http://a", "--resolve", "a:1"],
            "--resolve \"a:1\" is not HOST:PORT:ADDRESS, as in oh.example:443:127.0.0.1",
        ),
        (
            &["http://a", "--proxy", "https://b"],
            "--proxy: only proxies that speak plain HTTP are known",
        ),
        (
            &["https://a", "--cacert", "/nowhere"],
            "--cacert /nowhere cannot be read: No such file or directory (os error 2)",
        ),
        (
            &["https://a", "--cacert", "/dev/null"],
            "--cacert /dev/null: no certificate in PEM: there is none",
        ),
        (
            &["http://a", "--key-file", "/dev/null"],
            "--key-file /dev/null: it has no key, on one line",
        ),
        (&["http://a", "--upstream", "b:1", "--via", "upstream"], "--upstream: "),
        (&["http://a", "--timeout", "0s"], "from 10ms to 1h"),
    ] {
        let (code, found) = run(words);
        assert_eq!(code, 2, "{words:?}: {found}");
        assert!(found.contains(said), "{words:?}: {found}");
    }
}
