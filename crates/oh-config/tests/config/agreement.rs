//! One table of keys: loader, schema, example and reference say the same.

use oh_config::{KEYS, Key, TABLES, example, reference, schema};
use oh_model::port::{PortRange, PortRangeFault};
use proptest::prelude::*;
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::draft07::accepts;
use super::read;

fn schema_json() -> Value {
    serde_json::from_str(&schema()).unwrap()
}

/// The schema of one key.
fn schema_of(key: &Key) -> Value {
    let mut pointer = "/properties/toolkit".to_owned();
    for part in key.path.split('.') {
        pointer.push_str("/properties/");
        pointer.push_str(part);
    }
    schema_json().pointer(&pointer).unwrap().clone()
}

fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            Value::from(i64::from_str_radix(number.as_str(), number.radix()).unwrap())
        }
        DeValue::Float(number) => Value::from(number.as_str().parse::<f64>().unwrap()),
        DeValue::Boolean(truth) => Value::from(*truth),
        DeValue::Datetime(_) => Value::Null,
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => Value::Object(json_table(table)),
    }
}

fn json_table(table: &DeTable<'_>) -> Map<String, Value> {
    table.iter().map(|(k, v)| (k.get_ref().to_string(), json(v.get_ref()))).collect()
}

/// Asks the schema and the loader about a whole text.
fn verdicts(text: &str) -> (bool, bool) {
    let document = DeTable::parse(text).unwrap();
    let document = Value::Object(json_table(document.get_ref()));
    (accepts(&schema_json(), &document), read(text).is_ok())
}

/// Values of which each key takes some and refuses the others.
const VALUES: &[&str] = &[
    "0",
    "1",
    "99",
    "100",
    "255",
    "256",
    "60000",
    "60001",
    "65535",
    "65536",
    "1000000",
    "1000001",
    "16777216",
    "16777217",
    "-1",
    "0x10",
    "1_000",
    "1.5",
    "1.0",
    "true",
    "2020-01-01",
    "{}",
    "[]",
    "''",
    "'1'",
    "'8899'",
    "'08899'",
    "'8888-8899'",
    "'0'",
    "'65536'",
    "'1-2-3'",
    "'+1'",
    "'a'",
    "'auto'",
    "'on'",
    "'off'",
    "'Off'",
    "'basic'",
    "'editor'",
    "'none'",
    "'oh.example'",
    "'OH.example'",
    "'oh.example.'",
    "'-a.b'",
    "'a_b'",
    "'1.2.3'",
    "'10.0.0.1'",
    "'010.0.0.1'",
    "'256.0.0.1'",
    "'::1'",
    "'::'",
    "'[::1]'",
    "'::ffff:1.2.3.4'",
    "'1:2:3:4:5:6:7:8'",
    "'1:2:3:4:5:6:7::'",
    "'1:2:3:4:5:6:7:8:9'",
    "'::2:3:4:5:6:7:8'",
    "'1::3:4:5:6:7:8:9'",
    "'12345::'",
    "'fe80::1%eth0'",
    "'localhost'",
    "'é.example'",
    "'https://oh.example'",
    "'10.0.0.1:3000'",
    "'[::1]:3000'",
    "'10.0.0.1:03000'",
    "'10.0.0.1:0'",
    "'10.0.0.1:65536'",
    "'10.0.0.1'",
    "'localhost:3000'",
    "'http://10.0.0.1'",
    "'http://10.0.0.1:4180/a-b/c.d~e_f'",
    "'http://[::1]:4180'",
    "'http://[::1]:4180/a?b'",
    "'http://localhost/'",
    "'http://10.0.0.1/$a'",
    "'/'",
    "'/a'",
    "'/a/'",
    "'//a'",
    "'/a//b'",
    "'/./a'",
    "'/a/..'",
    "'/...'",
    "'/.a'",
    "'/..a'",
    "'/a b/é'",
    "\"/a\\nb\"",
    "\"/a\\u0085b\"",
    "'a'",
    "'~/a'",
    "'~/'",
    "'~'",
    "'~a'",
    "'~/../a'",
    "'~//a'",
    "'/a/{domain}/b'",
    "'/{domain}/{domain}'",
    "'/a/{id}'",
    "'/{id}/{id}'",
    "'/.{id}'",
    "'/..{id}'",
    "'/a{repo}.conf'",
    "'/a/{'",
    "'/}{'",
    "'/{x}'",
    "['*']",
    "['*', '*']",
    "['::1']",
    "['[::1]', '10.0.0.2']",
    "['*:80']",
    "['root', '0', '1000', 'a.b-c_d']",
    "['007']",
    "['4294967294']",
    "['4294967295']",
    "['42949672940']",
    "['-a']",
    "['a b']",
    "['1', '3-5', '65535']",
    "['0']",
    "['65536']",
    "[1, 65535]",
    "[0]",
    "[65536]",
    "[1, 1]",
    "[1, 'a']",
    "['https://a.example', 'http://b:1']",
    "['https://a.example/']",
    "['wss://a']",
    "['https://[::1]:8443']",
    "['https://10.0.0.1']",
    "['https://::1']",
    "['https://1.2.3']",
    "['https://a:0']",
    "['https://A']",
    "[['*']]",
    "[{}]",
    "'subdomain'",
    "'strip'",
    "'code-server'",
    "'unix'",
    "'key'",
    "'process'",
    "'ubuntu'",
    "'4294967295'",
    "'a b'",
];

/// What the schema takes and the loader refuses, by a rule about more than one value.
const RULES_OF_THE_LOADER: &[(&str, &str)] = &[
    // Ports of somebody else, privileged ones, ranges that are backwards.
    ("instances.ports", "'1'"),
    // Neither an address nor a path clashes with anything here.
];

/// What the loader says of a value that is right and not enough.
const NEEDING_OTHERS: &[&str] =
    &["is asked only when", "is for hosts of sessions", "belongs to site.auth_request"];

#[test]
fn schema_and_loader_judge_every_value_alike() {
    let mut accepted = 0;
    for key in KEYS {
        let schema = schema_of(key);
        for value in VALUES {
            let parsed = DeValue::parse(value).unwrap();
            let by_schema = accepts(&schema, &json(parsed.get_ref()));
            let loaded = read(&format!("toolkit.{} = {value}", key.path));
            if RULES_OF_THE_LOADER.contains(&(key.path, value)) {
                assert!(by_schema && loaded.is_err(), "{} = {value}", key.path);
                continue;
            }
            let by_loader = match &loaded {
                Ok(_) => true,
                // Faultless values that need a second key beside them.
                Err(faults) => faults
                    .0
                    .iter()
                    .all(|fault| NEEDING_OTHERS.iter().any(|needing| fault.what.contains(needing))),
            };
            assert_eq!(
                by_schema,
                by_loader,
                "{} = {value}: the schema says {by_schema}, the loader {:?}",
                key.path,
                loaded.map(|_| ())
            );
            accepted += usize::from(by_schema);
        }
        let some =
            VALUES.iter().any(|v| accepts(&schema, &json(DeValue::parse(v).unwrap().get_ref())));
        assert!(some, "no value of the list suits {}", key.path);
    }
    assert!(accepted > 150, "{accepted} values were accepted at all");
}

#[test]
fn schema_and_loader_judge_tables_alike() {
    for (text, good) in [
        ("", true),
        ("[site]\ndomain = 3", true),
        ("[toolkit]", true),
        ("[toolkit.cleanup]\n[toolkit.verify]\n[toolkit.deploy]", true),
        ("toolkit = 3", false),
        ("[[toolkit]]", false),
        ("[toolkit]\nunknown = 1", false),
        ("[toolkit.unknown]", false),
        ("[toolkit.site]\nunknown = 1", false),
        ("[toolkit.verify]\nunknown = 1", false),
        ("[[toolkit.site]]\nport = 1", false),
        ("toolkit = { 'site.port' = 1 }", false),
        ("[toolkit]\nschema = 2", true),
    ] {
        assert_eq!(verdicts(text), (good, good), "{text}");
    }
    // A newer file is the one case in which the loader is milder: an editor with this schema
    // does well to underline what this version does not know.
    assert_eq!(verdicts("[toolkit]\nschema = 2\nnew = 1"), (false, true));
}

proptest! {
    #[test]
    fn schema_and_loader_agree_on_hosts(text in "[0-9a-g:.]{1,24}|[a-zA-Z0-9.-]{1,12}|([0-9a-f]{0,5}:){2,9}[0-9a-f]{0,5}") {
        agree("site.domain", &text)?;
        agree("site.upstream", &format!("[{text}]:4000"))?;
        agree("site.upstream", &format!("{text}:4000"))?;
    }

    #[test]
    fn schema_and_loader_agree_on_paths(text in "(/|\\.|~|a|\\{id\\}|\\{domain\\}|\\{|\\}|é|\u{7f}){1,9}") {
        for path in ["site.users_file", "site.certificate", "sessions.workspace", "instances.environment_file"] {
            agree(path, &text)?;
        }
    }

    #[test]
    fn schema_and_loader_agree_on_lists(text in "[0-9]{1,10}|[0-9]{1,5}-[0-9]{1,6}|[a-z_.-]{0,34}|https?://[a-z0-9.:\\[\\]]{0,12}") {
        for path in ["sessions.owners", "sessions.app_ports", "site.origins", "nginx.listen"] {
            // Which end of a range is larger is beyond a pattern.
            if !matches!(PortRange::parse(&text), Err(PortRangeFault::Backwards { .. })) {
                agree_on(path, &format!("['{text}']"))?;
            }
        }
    }

    #[test]
    fn schema_and_loader_agree_on_urls(text in "(http://|https://|)(127.0.0.1|\\[::1\\]|::1|a)(:[0-9]{0,6})?[/a-z?$%.~-]{0,6}") {
        let by_schema = accepts(&schema_of(key("site.auth_request")), &Value::from(text.as_str()));
        let by_loader = read(&format!("toolkit.site = {{ auth = 'request', auth_request = '{text}' }}"));
        let by_loader = by_loader.map_or_else(|f| f.0[0].what.contains("itself"), |_| true);
        prop_assert_eq!(by_schema, by_loader, "{}", text);
    }
}

fn key(path: &str) -> &'static Key {
    KEYS.iter().find(|key| key.path == path).unwrap()
}

fn agree(path: &str, text: &str) -> Result<(), TestCaseError> {
    agree_on(path, &oh_config::Literal::Text(text.to_owned()).to_string())
}

fn agree_on(path: &str, value: &str) -> Result<(), TestCaseError> {
    let parsed = DeValue::parse(value).unwrap();
    let by_schema = accepts(&schema_of(key(path)), &json(parsed.get_ref()));
    let loaded = read(&format!("toolkit.{path} = {value}"));
    prop_assert_eq!(by_schema, loaded.is_ok(), "{} = {}: {:?}", path, value, loaded.err());
    Ok(())
}

#[test]
fn the_defaults_of_the_schema_are_the_defaults() {
    let loaded = read("").unwrap();
    assert_eq!(loaded.values.len(), KEYS.len());
    for (key, value) in KEYS.iter().zip(&loaded.values) {
        assert_eq!(key, value.key);
        let default = schema_of(key).get("default").cloned();
        assert_eq!(
            default,
            value.literal.as_ref().map(oh_config::Literal::to_json),
            "{}",
            key.path
        );
    }
}

/// The example with its keys in force: the `#` goes where no blank follows it.
fn example_in_force() -> String {
    let live = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with([' ', ':']) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    example().lines().map(live).collect()
}

#[test]
fn the_example_with_its_keys_in_force_changes_nothing() {
    let defaults = read("").unwrap();
    assert_eq!(read(&example()).unwrap().settings, defaults.settings);
    assert_eq!(read(&example()).unwrap().values, defaults.values);

    let in_force = read(&example_in_force()).unwrap();
    assert_eq!(in_force.warnings, []);
    assert_eq!(in_force.settings, defaults.settings);
    for value in &in_force.values {
        let set = value.origin != oh_config::Origin::Default;
        assert_eq!(set, value.literal.is_some(), "{} is in the example", value.key.path);
    }
    assert_eq!(verdicts(&example_in_force()), (true, true));
    assert_eq!(example().lines().next(), Some("#:schema ./config.schema.json"));
    assert_eq!(example().lines().find(|line| line.chars().count() > 100), None);
}

#[test]
fn the_examples_of_keys_are_good() {
    let mut all = String::from("[toolkit.site]\nauth = 'request'\nisolation = 'subdomain'\n");
    let mut table = "site";
    for key in KEYS {
        let without_default =
            key.preset.literal().is_none_or(|l| l == oh_config::Literal::List(vec![]));
        assert_eq!(key.example.is_some(), without_default, "{}", key.path);
        if let Some(value) = key.example {
            let parsed = DeValue::parse(value).unwrap();
            assert!(accepts(&schema_of(key), &json(parsed.get_ref())), "{}", key.path);
            if key.table() != table {
                table = key.table();
                all.push_str(&format!("[toolkit.{table}]\n"));
            }
            all.push_str(&format!("{} = {value}\n", key.name()));
        }
    }
    assert_eq!(read(&all).map(|_| ()), Ok(()));
}

#[test]
fn schema_example_and_reference_have_every_key_once_and_no_other() {
    let schema = schema_json();
    let toolkit = schema.pointer("/properties/toolkit/properties").unwrap();
    let mut in_schema: Vec<String> = Vec::new();
    for (name, inner) in toolkit.as_object().unwrap() {
        match inner.get("properties") {
            Some(keys) => {
                in_schema.extend(keys.as_object().unwrap().keys().map(|k| format!("{name}.{k}")));
            }
            None => in_schema.push(name.clone()),
        }
    }
    let mut known: Vec<_> = KEYS.iter().map(|key| key.path.to_owned()).collect();
    let reference = reference();
    let in_reference: Vec<_> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'))
        .map(str::to_owned)
        .collect();
    assert_eq!(in_reference, known);
    known.sort();
    in_schema.sort();
    assert_eq!(in_schema, known);
    known.dedup();
    assert_eq!(known.len(), KEYS.len());
    for table in TABLES {
        let header = if table.name.is_empty() {
            "[toolkit]".to_owned()
        } else {
            format!("[toolkit.{}]", table.name)
        };
        assert_eq!(example().lines().filter(|line| *line == header).count(), 1);
        assert_eq!(reference.lines().filter(|line| *line == format!("## `{header}`")).count(), 1);
    }
    assert!(KEYS.iter().all(|key| TABLES.iter().any(|table| table.name == key.table())));
    assert!(reference.lines().all(|line| line.chars().count() <= 100));
}
