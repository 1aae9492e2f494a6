//! OpenHands' own tables are none of our business.

use oh_config::Layer;

use super::read;

const TABLES: &str = include_str!("../../../../fixtures/config/openhands-tables.toml");
const GUIDE: &str = include_str!("../../../../fixtures/config/websocket-guide.toml");

const OURS: &str = "\n[toolkit]\nschema = 1\n[toolkit.site]\ndomain = \"oh.example\"\n";

#[test]
fn their_tables_load_without_complaint() {
    for theirs in [TABLES, GUIDE] {
        let alone = read(theirs).unwrap();
        assert_eq!(alone.warnings, []);
        assert!(alone.values.iter().all(|value| value.origin.layer() == Layer::Default));
    }
}

#[test]
fn ours_load_beside_theirs_wherever_they_stand() {
    for theirs in [TABLES, GUIDE] {
        for text in [format!("{theirs}{OURS}"), format!("{OURS}{theirs}")] {
            let beside = read(&text).unwrap();
            assert_eq!(beside.warnings, []);
            assert_eq!(beside.settings.site.origin().unwrap(), "https://oh.example");
            let line = text.lines().position(|line| line.contains("oh.example")).unwrap() + 1;
            let domain = beside.values.iter().find(|v| v.key.path == "site.domain").unwrap();
            assert_eq!(domain.origin.to_string(), format!("config.toml:{line}:10"));
        }
    }
}
