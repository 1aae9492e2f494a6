use alloc::string::ToString;
use alloc::vec;

use super::*;

fn port(number: u64) -> Port {
    Port::new(number).unwrap()
}

fn range() -> PortRange {
    PortRange::parse("8888-8891").unwrap()
}

fn document(text: &str) -> PortDocument {
    PortDocument::parse(text).unwrap()
}

fn entry(number: u64, pid: u32) -> PortEntry {
    PortEntry {
        port: port(number),
        pid,
        project_name: "actmcp".into(),
        repo_path: "/var/www/github/actmcp".into(),
        started_at: "2026-11-21T14:50:00.000Z".into(),
    }
}

/// As the application wrote it, with more than we know of.
const WRITTEN: &str = r#"{
  "version": 1.0,
  "instances": {
    "old": {
      "port": 8890,
      "pid": 7,
      "projectName": "old",
      "repoPath": "/srv/\u00f6ld",
      "startedAt": "2025-11-17T20:08:00.123Z",
      "theme": {
        "name": "dark",
        "size": 1.50e1
      }
    },
    "broken": 5
  },
  "availablePorts": [
    8888,
    8889,
    8891,
    "8892"
  ],
  "notes": []
}
"#;

#[test]
fn a_first_lease_in_an_empty_database() {
    let mut empty = PortDocument::empty(range());
    assert_eq!(
        empty.render(),
        "{\n  \"instances\": {},\n  \"availablePorts\": [\n    8888,\n    8889,\n    8890,\n    8891\n  ]\n}"
    );
    empty.lease("actmcp", &entry(8889, 12), range());
    assert_eq!(
        empty.render(),
        r#"{
  "instances": {
    "actmcp": {
      "port": 8889,
      "pid": 12,
      "projectName": "actmcp",
      "repoPath": "/var/www/github/actmcp",
      "startedAt": "2026-11-21T14:50:00.000Z"
    }
  },
  "availablePorts": [
    8888,
    8890,
    8891
  ]
}"#
    );
}

#[test]
fn what_an_edit_does_not_mean_stays_as_it_was_spelled() {
    let mut changed = document(WRITTEN);
    changed.lease("old", &PortEntry { pid: 8, ..entry(8890, 8) }, range());
    let expected = WRITTEN
        .replace("\"pid\": 7", "\"pid\": 8")
        .replace("\"projectName\": \"old\"", "\"projectName\": \"actmcp\"")
        .replace("/srv/\\u00f6ld", "/var/www/github/actmcp")
        .replace("2025-11-17T20:08:00.123Z", "2026-11-21T14:50:00.000Z");
    assert_eq!(changed.render(), expected);
}

#[test]
fn an_edit_that_changes_nothing_gives_the_same_bytes() {
    let written = "{ \"instances\":{\"a\":{\"port\":8888,\"pid\":1,\"projectName\":\"\\u0061\",\
                   \"repoPath\":\"/a\",\"startedAt\":\"x\"}},\"availablePorts\":[8891,8890,8889] }";
    let mut same = document(written);
    let known = same.entry("a").unwrap().unwrap();
    same.lease("a", &known, range());
    assert!(!same.release("b", range()));
    assert_eq!(same.render(), written);
    // There and back is nothing either.
    same.lease("c", &entry(8891, 3), range());
    assert_ne!(same.render(), written);
    let mut back = document("{\"instances\":{},\"availablePorts\":[8888,8889,8890,8891]}\n");
    back.lease("c", &entry(8888, 3), range());
    back.release("c", range());
    assert_eq!(back.render(), "{\"instances\":{},\"availablePorts\":[8888,8889,8890,8891]}\n");
}

#[test]
fn the_wrong_reset_is_empty_and_becomes_an_object() {
    let reset = "{\"instances\":[]}";
    let mut reset_by_hand = document(reset);
    assert_eq!(reset_by_hand.ids(), vec![""; 0]);
    assert!(!reset_by_hand.release("a", range()));
    assert_eq!(reset_by_hand.render(), reset);
    reset_by_hand.mend(range());
    let empty = PortDocument::empty(range()).render();
    assert_eq!(reset_by_hand.render(), empty);
    assert_eq!(reset_by_hand.available().unwrap().len(), 4);
}

#[test]
fn a_released_port_is_available_again_once_sorted_and_only_in_the_range() {
    let mut written = document(WRITTEN);
    assert!(written.release("old", range()));
    assert!(written.release("broken", range()));
    let lines = "    8888,\n    8889,\n    8890,\n    8891,\n    \"8892\"\n";
    assert!(written.render().contains(lines), "{}", written.render());
    assert_eq!(written.ids(), vec![""; 0]);

    let all = vec![port(8888), port(8889), port(8890), port(8891)];
    let foreign = r#"{"instances":{"a":{"port":9000}},"availablePorts":[8888]}"#;
    let mut foreign = document(foreign);
    foreign.release("a", range());
    assert_eq!(foreign.available(), Some(all.clone()));

    // Another entry claims it still.
    let twice = r#"{"instances":{"a":{"port":8889},"b":{"port":8889}},"availablePorts":[8891]}"#;
    let mut twice = document(twice);
    assert_eq!(twice.holders(port(8889)), ["a", "b"]);
    twice.release("a", range());
    assert_eq!(twice.available(), Some(vec![port(8888), port(8890), port(8891)]));
    twice.release("b", range());
    assert_eq!(twice.available(), Some(all));
}

#[test]
fn a_new_port_gives_the_former_back() {
    let mut moved = document(WRITTEN);
    moved.lease("old", &entry(8888, 8), range());
    let available: Vec<u16> = moved.available().unwrap().iter().map(|port| port.get()).collect();
    assert_eq!(available, [8889, 8890, 8891]);
}

#[test]
fn missing_available_ports_are_made_of_those_that_nobody_has() {
    for missing in ["", ",\"availablePorts\":null", ",\"availablePorts\":{}"] {
        let text = ["{\"instances\":{\"a\":{\"port\":8889}}", missing, "}"].concat();
        let mut made = document(&text);
        assert_eq!(made.available(), None);
        made.lease("b", &entry(8890, 1), range());
        assert_eq!(made.available(), Some(vec![port(8888), port(8891)]));
    }
}

#[test]
fn mending_brings_back_what_failed_starts_lost() {
    let mut leaked = document("{\"instances\":{\"a\":{\"port\":8889}},\"availablePorts\":[]}");
    leaked.mend(range());
    assert_eq!(leaked.available(), Some(vec![port(8888), port(8890), port(8891)]));
}

#[test]
fn ports_that_are_not_as_they_should_be_are_told_and_mended_once() {
    let of = |available: &str| {
        let text = [
            "{\"instances\":{\"a\":{\"port\":8888},\"b\":{\"port\":\"8890\"}},",
            "\"availablePorts\":",
            available,
            "}",
        ];
        document(&text.concat())
    };
    for (written, why, mended) in [
        ("[8888,8889,8891]", "it has port 8888, which is that of a", "8889 8891"),
        // An editor may run on it, however it is spelled.
        ("[8889,8890,8891]", "it has port 8890, which is that of b", "8889 8891"),
        ("[8889,\"8888\",8891]", "it has port 8888, which is that of a", "8889 8891"),
        ("[8891,8889,8891]", "it has port 8891 twice", "8891 8889"),
        ("[8891]", "it lacks port 8889, which nobody has", "8889 8891"),
        ("[]", "it lacks port 8889, which nobody has", "8889 8891"),
        ("[8889,8891.0]", "it lacks port 8891, which nobody has", "8889 8891"),
        ("{}", "there is no such list", "8889 8891"),
        ("null", "there is no such list", "8889 8891"),
        // What is not of the range is somebody else's.
        ("[9000,8891]", "it lacks port 8889, which nobody has", "8889 8891 9000"),
    ] {
        let mut unfit = of(written);
        assert_eq!(unfit.unfit(range()).as_deref(), Some(why), "{written}");
        unfit.mend(range());
        let available: Vec<String> =
            unfit.available().unwrap().iter().map(|port| port.get().to_string()).collect();
        assert_eq!(available.join(" "), mended, "{written}");
        assert_eq!(unfit.unfit(range()), None, "{}", unfit.render());
    }
    for fit in ["[8889,8891]", "[8891,8889]", "[9000,8891,8889]", "[8889,null,8891,9000,9000]"] {
        let mut same = of(fit);
        assert_eq!(same.unfit(range()), None, "{fit}");
        let written = same.render();
        same.mend(range());
        assert_eq!(same.render(), written);
    }
    let mut reset = document("{\"instances\":[]}");
    assert_eq!(reset.unfit(range()).as_deref(), Some("`instances` is no object"));
    reset.mend(range());
    assert_eq!(reset.unfit(range()), None);
}

#[test]
fn what_is_written_says_all_ports_that_nobody_has() {
    let text = "{\"instances\":{\"a\":{\"port\":8889}},\"availablePorts\":[8889,8889,9000]}";
    let mut leased = document(text);
    leased.lease("b", &entry(8891, 1), range());
    assert_eq!(leased.available(), Some(vec![port(8888), port(8890), port(9000)]));
    let mut released = document(text);
    released.release("a", range());
    assert_eq!(released.unfit(range()), None);
    assert_eq!(released.available().unwrap().len(), 5);
}

#[test]
fn an_entry_that_cannot_be_read_whole_still_says_its_port() {
    let text = "{\"instances\":{\"a\":{\"port\":8889,\"pid\":7,\"repoPath\":\"/a\"},\"b\":5}}";
    let dead = document(text);
    assert!(dead.entry("a").unwrap().is_err());
    assert_eq!((dead.port_of("a"), dead.pid_of("a")), (Some(port(8889)), Some(7)));
    assert_eq!(dead.path_of("a").as_deref(), Some("/a"));
    assert_eq!((dead.port_of("b"), dead.pid_of("b"), dead.path_of("b")), (None, None, None));
}

#[test]
fn an_entry_that_cannot_be_read_says_why_and_can_be_released_or_leased() {
    let mut written = document(WRITTEN);
    assert_eq!(
        written.entry("broken"),
        Some(Err(DatabaseFault::Kind { key: "port", wanted: "a port (1 to 65535)" }))
    );
    assert_eq!(written.entry("nobody"), None);
    assert_eq!(written.entry("old").unwrap().unwrap().repo_path, "/srv/öld");
    written.lease("broken", &entry(8888, 9), range());
    assert_eq!(written.entry("broken").unwrap().unwrap().pid, 9);
}

#[test]
fn another_thing_than_a_port_database_is_refused_and_not_torn() {
    let wrong = ["[]", "1", "\"a\"", "{\"instances\":null}", "{\"instances\":[1]}"];
    for text in wrong {
        let refused = PortDocument::parse(text);
        assert!(matches!(refused, Err(DatabaseFault::Kind { .. })), "{text}: {refused:?}");
    }
    for text in ["", "{", "{\"instances\":{}", "\0\0", "{}{}"] {
        assert!(matches!(PortDocument::parse(text), Err(DatabaseFault::Json(_))), "{text:?}");
    }
}

#[test]
fn what_is_written_is_read_by_the_reader_of_routes() {
    let mut written = document(WRITTEN);
    written.lease("actmcp", &entry(8891, 12), range());
    let read = super::super::PortDb::parse(&written.render()).unwrap();
    assert_eq!(read.instances["actmcp"], Ok(port(8891)));
    assert_eq!(read.instances["old"], Ok(port(8890)));
}
