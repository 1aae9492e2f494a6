use super::super::RepositoriesDb;
use super::*;

/// Entries of two versions of the application, the older one without `vscodeRunning`.
const WRITTEN: &str = r#"{
  "repositories": [
    {
      "id": "actmcp",
      "name": "ActMCP",
      "path": "/var/www/github/ActMCP",
      "type": "git",
      "addedAt": "2025-11-17T20:08:00.123Z",
      "lastOpened": "2025-11-17T20:09:00.000Z",
      "vscodePort": 8888,
      "vscodeRunning": true,
      "branch": "main"
    },
    {
      "id": "old",
      "name": "old",
      "path": "/srv/old",
      "type": "folder",
      "addedAt": "2025-11-01T00:00:00.000Z"
    },
    "what is this"
  ]
}"#;

fn document(text: &str) -> RepositoriesDocument {
    RepositoriesDocument::parse(text).unwrap()
}

fn port(number: u64) -> Port {
    Port::new(number).unwrap()
}

#[test]
fn stopped_says_false_and_has_no_port() {
    let mut written = document(WRITTEN);
    assert!(written.stopped("actmcp"));
    let expected = WRITTEN
        .replace("      \"vscodePort\": 8888,\n", "")
        .replace("\"vscodeRunning\": true", "\"vscodeRunning\": false");
    assert_eq!(written.render(), expected);
    assert_eq!(written.state("actmcp"), Some((false, None)));
    assert!(!written.stopped("nobody"));
}

#[test]
fn running_says_true_and_on_which_port() {
    let mut written = document(WRITTEN);
    assert_eq!(written.state("old"), Some((false, None)));
    assert!(written.running("old", Some(port(8889))));
    let expected = WRITTEN.replace(
        "\"addedAt\": \"2025-11-01T00:00:00.000Z\"\n",
        "\"addedAt\": \"2025-11-01T00:00:00.000Z\",\n      \"vscodePort\": 8889,\n      \
         \"vscodeRunning\": true\n",
    );
    assert_eq!(written.render(), expected);
    assert!(!written.running("nobody", None));
}

#[test]
fn on_a_unix_socket_it_runs_without_a_port() {
    let mut written = document(WRITTEN);
    assert!(written.running("actmcp", None));
    assert_eq!(written.render(), WRITTEN.replace("      \"vscodePort\": 8888,\n", ""));
    assert_eq!(written.state("actmcp"), Some((true, None)));
}

#[test]
fn what_is_so_already_is_written_nowhere() {
    let mut written = document(WRITTEN);
    assert!(written.running("actmcp", Some(port(8888))));
    let known = NewRepository {
        id: "old".into(),
        name: "other".into(),
        path: InRoot::parse("/elsewhere").unwrap(),
        kind: RepositoryKind::Git,
        added_at: String::new(),
    };
    assert!(!written.add(&known));
    assert_eq!(written.render(), WRITTEN);
}

#[test]
fn a_new_repository_is_added_as_the_application_does() {
    let mut empty = RepositoriesDocument::empty();
    assert_eq!(empty.render(), "{\n  \"repositories\": []\n}");
    let new = NewRepository {
        id: "a-b".into(),
        name: "a \"b\"".into(),
        path: InRoot::parse("/srv/a b").unwrap(),
        kind: RepositoryKind::Folder,
        added_at: "2026-11-21T14:50:00.000Z".into(),
    };
    assert!(empty.add(&new));
    assert_eq!(
        empty.render(),
        r#"{
  "repositories": [
    {
      "id": "a-b",
      "name": "a \"b\"",
      "path": "/srv/a b",
      "type": "folder",
      "addedAt": "2026-11-21T14:50:00.000Z",
      "vscodeRunning": false
    }
  ]
}"#
    );
    assert_eq!(RepositoriesDb::parse(&empty.render()).unwrap().repositories.len(), 1);
}

#[test]
fn repositories_are_found_by_id_and_by_folder() {
    let written = document(WRITTEN);
    assert_eq!(written.ids(), ["actmcp", "old"]);
    let path = InRoot::parse("/srv/old").unwrap();
    assert_eq!(written.id_at(&path).as_deref(), Some("old"));
    assert_eq!(written.id_at(&InRoot::parse("/srv").unwrap()), None);
    assert_eq!(written.path_of("actmcp").as_deref(), Some("/var/www/github/ActMCP"));
    assert!(!written.has("what is this"));
}

#[test]
fn another_thing_is_refused_and_not_torn() {
    for text in ["[]", "{}", "{\"repositories\":{}}", "null"] {
        let refused = RepositoriesDocument::parse(text);
        assert!(matches!(refused, Err(DatabaseFault::Kind { .. })), "{text}: {refused:?}");
    }
}
