use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec;

use proptest::prelude::*;

use super::super::{
    Document, NewRepository, PortDocument, PortEntry, RepositoriesDocument, RepositoryKind,
};
use super::*;
use crate::port::Port;

/// A port database as the application writes it: twelve instances from a number on.
fn ports(from: usize) -> String {
    let entry = |number: usize| {
        let name = ["repo", "Ünï \\\"q\\\"", "}\\n    },{"][number % 3];
        let extra = if number.is_multiple_of(4) {
            ",\n      \"meta\": {\n        \"inner\": {\n          \"port\": 1\n        }\n      }"
        } else {
            ""
        };
        format!(
            "    \"repo-{number}\": {{\n      \"port\": {},\n      \"pid\": {},\n      \
             \"projectName\": \"{name}\",\n      \"repoPath\": \"/var/www/github/repo-{number}\",\n      \
             \"startedAt\": \"2026-11-21T14:50:{:02}.123Z\"{extra}\n    }}",
            8888 + number,
            4000 + 37 * number,
            number % 60,
        )
    };
    let entries: Vec<String> = (from..from + 12).map(entry).collect();
    format!(
        "{{\n  \"version\": 12,\n  \"instances\": {{\n{}\n  }},\n  \"availablePorts\": [\n    \
         8888,\n    8889\n  ],\n  \"note\": \"end\"\n}}",
        entries.join(",\n")
    )
}

fn repositories(from: usize) -> String {
    let mut document = RepositoriesDocument::empty();
    for number in from..from + 12 {
        document.add(&super::super::NewRepository {
            id: format!("repo-{number}"),
            name: format!("Répo {number}"),
            path: crate::path::InRoot::parse(&format!("/srv/{number}")).unwrap(),
            kind: super::super::RepositoryKind::Git,
            added_at: "2026-11-21T14:50:00.000Z".into(),
        });
    }
    document.render()
}

/// The entries of a whole text: the text of each, by id, and the byte behind its end.
fn entries_of(text: &str) -> BTreeMap<String, (String, usize)> {
    let mut found = BTreeMap::new();
    let mut begin = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let opens = line.starts_with("    \"repo-") || line.starts_with("    {");
        if opens {
            begin = at;
        }
        if line.starts_with("    }") {
            let end = at + 5;
            let entry = text.get(begin..end).unwrap();
            let id = entry.split('"').find(|word| word.starts_with("repo-")).unwrap();
            found.insert(id.into(), (entry.trim().into(), end));
        }
        at += line.len();
    }
    assert_eq!(found.len(), 12);
    found
}

/// The entries of what was saved, by id, as they are written.
fn saved<D: Document>(bytes: &[u8]) -> (BTreeMap<String, String>, Lost) {
    let (document, lost) = D::salvage(bytes);
    let text = document.render();
    assert!(D::parse(&text).is_ok(), "{text}");
    let mut all = BTreeMap::new();
    let mut entry: Option<String> = None;
    for line in text.lines() {
        if line.starts_with("    \"") || line.starts_with("    {") {
            entry = Some(String::new());
        }
        if let Some(entry) = &mut entry {
            entry.push_str(line);
            entry.push('\n');
        }
        if line.starts_with("    }") {
            let whole = entry.take().unwrap();
            let id = whole.split('"').find(|word| word.starts_with("repo-")).unwrap_or("none");
            let whole = whole.trim().trim_end_matches(',');
            all.insert(id.into(), whole.into());
        }
    }
    (all, lost)
}

fn cut_at_every_byte<D: Document>(text: &str) {
    let entries = entries_of(text);
    for cut in 0..text.len() {
        let (found, lost) = saved::<D>(text.as_bytes().get(..cut).unwrap());
        let whole = entries.iter().filter(|(_, (_, end))| *end <= cut);
        let whole = whole.map(|(id, (entry, _))| (id.clone(), entry.clone()));
        assert_eq!(found, whole.collect(), "cut at {cut}: {lost}");
        assert!(lost.bytes <= cut && !lost.at.is_empty(), "{lost:?}");
    }
}

#[test]
fn every_entry_that_was_whole_before_the_cut_is_saved_and_none_invented() {
    cut_at_every_byte::<PortDocument>(&ports(0));
    cut_at_every_byte::<RepositoriesDocument>(&repositories(0));
}

/// What our records know of the instance with a number: it runs.
fn known(number: usize) -> (String, PortEntry, NewRepository) {
    let (id, folder) = (format!("repo-{number}"), format!("/var/www/github/repo-{number}"));
    let entry = PortEntry {
        port: Port::new(8888 + number as u64).unwrap(),
        pid: 4000 + 37 * number as u32,
        project_name: id.clone(),
        repo_path: folder.clone(),
        started_at: "2026-11-21T14:50:00.000Z".into(),
    };
    let repository = NewRepository {
        id: id.clone(),
        name: id.clone(),
        path: crate::path::InRoot::parse(&folder).unwrap(),
        kind: RepositoryKind::Folder,
        added_at: "2026-11-21T14:50:00.000Z".into(),
    };
    (id, entry, repository)
}

#[test]
fn wherever_a_database_is_cut_off_what_runs_is_in_it_and_no_port_is_given_away_twice() {
    // Half of the twelve are ours and run; the others are only in the database.
    let ours: Vec<(String, PortEntry)> =
        (0..6).map(|number| known(2 * number)).map(|(id, entry, _)| (id, entry)).collect();
    let whole = ports(0);
    for cut in 0..=whole.len() {
        let (mut document, _) = PortDocument::salvage(whole.as_bytes().get(..cut).unwrap());
        assert!(document.is_anew());
        let before = document.ids();
        document.complete(&ours, range());
        let text = document.render();
        // As the original application reads it.
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        let instances = read["instances"].as_object().unwrap();
        let available = read["availablePorts"].as_array().unwrap();
        for (id, entry) in &ours {
            assert_eq!(instances[id]["port"], entry.port.get(), "{cut}: {text}");
            assert_eq!(instances[id]["pid"], entry.pid, "{cut}: {text}");
            assert_eq!(instances[id]["repoPath"], *entry.repo_path, "{cut}: {text}");
        }
        assert!(before.iter().all(|id| instances.contains_key(id)), "{cut}: {text}");
        let used: Vec<_> = instances.values().map(|entry| entry["port"].clone()).collect();
        let free = range().ports().map(|port| serde_json::Value::from(port.get()));
        let free: Vec<_> = free.filter(|port| !used.contains(port)).collect();
        assert_eq!(*available, free, "{cut}: {text}");
        assert_eq!(document.unfit(range()), None);
        // Again it is nothing, and what was read whole is not spoken of as made anew.
        let mut again = PortDocument::parse(&text).unwrap();
        assert!(!again.is_anew());
        again.complete(&ours, range());
        assert_eq!(again.render(), text, "{cut}");
    }
}

#[test]
fn wherever_the_repositories_are_cut_off_those_of_our_records_are_in_them() {
    let port = |number: usize| Port::new(8888 + number as u64).unwrap();
    // One runs on a port, one on a socket, one does not run.
    let ours = [(known(2).2, Some(Some(port(2)))), (known(7).2, Some(None)), (known(9).2, None)];
    let whole = repositories(0);
    for cut in 0..=whole.len() {
        let (mut document, _) = RepositoriesDocument::salvage(whole.as_bytes().get(..cut).unwrap());
        assert!(document.is_anew());
        let before = document.ids();
        document.complete(&ours);
        let text = document.render();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(read["repositories"].is_array(), "{cut}: {text}");
        assert_eq!(document.state("repo-2"), Some((true, Some(port(2)))), "{cut}: {text}");
        assert_eq!(document.state("repo-7"), Some((true, None)), "{cut}: {text}");
        assert_eq!(document.state("repo-9"), Some((false, None)), "{cut}: {text}");
        let ids = document.ids();
        assert!(before.iter().all(|id| ids.contains(id)), "{cut}: {text}");
        let mut again = RepositoriesDocument::parse(&text).unwrap();
        again.complete(&ours);
        assert_eq!(again.render(), text, "{cut}");
    }
}

#[test]
fn a_whole_text_is_saved_as_it_is() {
    for text in [ports(3), "{}".into(), "{\"instances\":{\"a\":5},\"b\":[1]}".into()] {
        let (document, lost) = PortDocument::salvage(text.as_bytes());
        assert_eq!(lost, Lost { bytes: 0, at: "its end".into() });
        assert_eq!(document.render(), Node::parse(&text).unwrap().print());
    }
}

#[test]
fn what_was_lost_is_said() {
    let text = ports(0);
    let cut = text.find("\"repo-7\"").unwrap();
    let lost = |bytes: &[u8]| PortDocument::salvage(bytes).1;
    let inside = lost(text.get(..cut + 40).unwrap().as_bytes());
    assert_eq!(inside, Lost { bytes: 40, at: "instances.repo-7".into() });
    assert_eq!(inside.to_string(), "40 bytes, damaged at instances.repo-7");
    assert_eq!(lost(b""), Lost { bytes: 0, at: "its beginning".into() });
    assert_eq!(lost(b"\0\0\0"), Lost { bytes: 3, at: "its beginning".into() });
    let list = repositories(0);
    let cut = list.find("\"repo-7\"").unwrap();
    let (_, lost) = RepositoriesDocument::salvage(list.get(..cut).unwrap().as_bytes());
    assert_eq!(lost.at, "repositories[7]");
}

#[test]
fn keys_of_others_are_saved_too() {
    let text = "{\n  \"version\": 12,\n  \"instances\": {\n    \"a\": {\"port\": 1},\n    \"b\": {";
    let (document, _) = PortDocument::salvage(text.as_bytes());
    assert_eq!(
        document.render(),
        "{\n  \"version\": 12,\n  \"instances\": {\n    \"a\": {\n      \"port\": 1\n    }\n  }\n}"
    );
    // A number that may have been longer is none.
    let (document, lost) = PortDocument::salvage(b"{\"version\": 1");
    assert_eq!((document.render().as_str(), lost.at.as_str()), ("{}", "version"));
}

#[test]
fn a_shorter_text_over_a_longer_one_is_the_shorter_one() {
    let (long, short) = (ports(0), PortDocument::empty(range()).render());
    let torn = [short.as_bytes(), long.as_bytes().get(short.len()..).unwrap()].concat();
    let (document, lost) = PortDocument::salvage(&torn);
    assert_eq!(document.render(), short);
    assert_eq!(lost, Lost { bytes: long.len() - short.len(), at: "its end".into() });
    let rest = repositories(0);
    let short = RepositoriesDocument::empty().render();
    let torn = [short.as_bytes(), rest.as_bytes().get(short.len()..).unwrap()].concat();
    assert_eq!(RepositoriesDocument::salvage(&torn).0.render(), short);
}

/// A writer that died in the middle of a new text over an old one, with no cut in between.
fn overwritten<D: Document>(new: &str, old: &str, step: usize) {
    let (newer, older) = (entries_of(new), entries_of(old));
    for seam in (0..new.len().min(old.len())).step_by(step) {
        let (head, tail) = (new.as_bytes().get(..seam), old.as_bytes().get(seam..));
        let torn = [head.unwrap(), tail.unwrap()].concat();
        let (found, lost) = saved::<D>(&torn);
        for (id, (entry, end)) in &newer {
            assert!(*end > seam || found.get(id) == Some(entry), "{id} at {seam}: {lost}");
        }
        let known = |(id, entry): &(&String, &String)| {
            [&newer, &older].iter().any(|all| all.get(*id).is_some_and(|(one, _)| one == *entry))
        };
        // Only the one in which both texts meet can be another.
        let strangers = found.iter().filter(|one| !known(one)).count();
        assert!(strangers <= 1, "at {seam}: {found:?}");
        // The old entries behind the one in which the texts meet are whole too.
        for (id, (entry, end)) in &older {
            let behind = end - entry.len() > seam + 400;
            assert!(!behind || found.contains_key(id), "{id} at {seam}: {lost}");
        }
    }
}

#[test]
fn of_a_text_half_overwritten_nothing_is_invented() {
    overwritten::<PortDocument>(&ports(5), &ports(0), 1);
    overwritten::<PortDocument>(&ports(0), &ports(90), 7);
    overwritten::<RepositoriesDocument>(&repositories(5), &repositories(0), 7);
}

#[test]
fn zeros_in_the_middle_take_only_what_they_cover() {
    let text = ports(0);
    let entries = entries_of(&text);
    for begin in (0..text.len()).step_by(7) {
        let end = (begin + 512).min(text.len());
        let mut bytes = text.clone().into_bytes();
        bytes.get_mut(begin..end).unwrap().fill(0);
        let (found, _) = saved::<PortDocument>(&bytes);
        for (id, (entry, behind)) in &entries {
            let untouched = *behind <= begin || behind - entry.len() - 4 > end;
            let headless = begin < text.find("\"instances\"").unwrap() + 14 && begin > 0;
            let listed = found.get(id).is_some_and(|one| one == entry);
            assert!(!untouched || headless || listed, "{id}, zeros from {begin}");
            assert!(untouched || !listed, "{id}, zeros from {begin}");
        }
        assert!(found.keys().all(|id| entries.contains_key(id)));
    }
}

#[test]
fn an_entry_is_no_key_of_the_root() {
    let torn = "{\n  \"a\": ?\n  \"instances\": {\n    \"b\": {\n  },\n  \"c\": 1\n}";
    let (document, _) = PortDocument::salvage(torn.as_bytes());
    assert_eq!(document.render(), "{\n  \"instances\": {},\n  \"c\": 1\n}");
}

#[test]
fn a_list_of_ports_behind_the_damage_is_not_believed() {
    let text = ports(0).replace("\"pid\": 4000", "\"pid\": ,");
    let (document, _) = PortDocument::salvage(text.as_bytes());
    assert_eq!(document.available(), None);
    assert_eq!(document.ids().len(), 11);
    assert!(document.render().ends_with("  \"note\": \"end\"\n}"));
}

fn range() -> crate::port::PortRange {
    crate::port::PortRange::parse("8888-8899").unwrap()
}

/// Whatever the bytes are, the answer is a database that the application can work with.
fn harmless(bytes: &[u8]) {
    for text in [PortDocument::salvage(bytes).0.render(), {
        let mut ports = PortDocument::salvage(bytes).0;
        ports.mend(range());
        ports.render()
    }] {
        assert!(Node::parse(&text).is_some(), "{text}");
    }
    let (document, lost) = RepositoriesDocument::salvage(bytes);
    assert!(Node::parse(&document.render()).is_some());
    assert!(lost.bytes <= bytes.len());
    if let Ok(text) = core::str::from_utf8(bytes)
        && let Ok(document) = PortDocument::parse(text)
    {
        assert_eq!(document.render(), text);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        harmless(&bytes);
    }

    #[test]
    fn any_text_of_our_alphabet_is_read(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\n", "  ", "\"", "\\", "\"instances\"", "null",
                "\"repositories\"", "\"a\"", "1", "\"port\":8888", "\"pid\":1", "\0", "\u{e9}",
                "\n    \"b\": {", "\n    }", "\n  }", "\n    {", "\n  \"c\": 1,",
            ]),
            0..60,
        )
    ) {
        harmless(words.concat().as_bytes());
    }

    #[test]
    fn any_damage_is_read(
        blows in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
    ) {
        let mut bytes = ports(0).into_bytes();
        for (place, byte) in blows {
            let at = place.index(bytes.len());
            *bytes.get_mut(at).unwrap() = byte;
        }
        harmless(&bytes);
    }
}
