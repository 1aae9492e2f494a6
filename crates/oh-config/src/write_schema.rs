//! The JSON Schema (draft-07, the newest that editors of TOML understand).
//!
//! It judges one value at a time, as the loader does. Rules about several keys, ranges that are
//! backwards or begin below 1024, and the limit of a path in bytes are the loader's alone. `1.0` is
//! an integer to JSON Schema and none to TOML; unknown keys of a newer version are faults here.

use alloc::format;
use alloc::string::{String, ToString};

use serde_json::{Map, Value as Json, json};

use crate::grammar::Shape;
use crate::keys::{Key, Kind, TABLES, Table};
use crate::network::{NAME_BYTES_MAX, pattern as network};
use crate::places::pattern as places;

/// Writes docs/config.schema.json.
pub fn schema() -> String {
    let mut toolkit = object_of(TABLES.first());
    let tables = TABLES.iter().skip(1);
    let inner = tables.map(|table| (String::from(table.name), object_of(Some(table))));
    if let Some(properties) = toolkit.get_mut("properties").and_then(Json::as_object_mut) {
        properties.extend(inner);
    }
    let document = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "config.toml of the OpenHands toolkit",
        "description": "Other tables than [toolkit] belong to OpenHands.",
        "type": "object",
        "properties": {"toolkit": toolkit},
    });
    format!("{:#}\n", sorted(document))
}

fn object_of(table: Option<&Table>) -> Json {
    let Some(table) = table else { return Json::Null };
    let properties: Map<String, Json> =
        table.keys().map(|key| (String::from(key.name()), property(key))).collect();
    json!({
        "type": "object",
        "description": table.doc,
        "properties": properties,
        "additionalProperties": false,
    })
}

fn property(key: &Key) -> Json {
    let mut property = rule(key.kind);
    if let Some(object) = property.as_object_mut() {
        object.insert("description".to_string(), Json::from(key.doc));
        if let Some(literal) = key.preset.literal() {
            object.insert("default".to_string(), literal.to_json());
        }
    }
    property
}

fn rule(kind: Kind) -> Json {
    match kind {
        Kind::Version => json!({"type": "integer", "minimum": 1}),
        Kind::Integer { min, max, .. } => {
            json!({"type": "integer", "minimum": min, "maximum": max})
        }
        Kind::Port => port(),
        Kind::Choice(words) => json!({"type": "string", "enum": words}),
        Kind::Ports
        | Kind::PortRanges
        | Kind::WebOrigins
        | Kind::Listen
        | Kind::Owners
        | Kind::Patterns => {
            let mut list = json!({"type": "array", "items": item(kind), "uniqueItems": true});
            if let Some(object) = list.as_object_mut().filter(|_| !kind.may_be_empty()) {
                object.insert("minItems".to_string(), Json::from(1));
            }
            list
        }
        Kind::PortRange => text(&range()),
        Kind::User => text(places::OWNER),
        Kind::Domain => json!({"type": "string", "anyOf": [
            {"pattern": anchored(network::NAME), "maxLength": NAME_BYTES_MAX},
            {"pattern": anchored(&network::v4())},
            {"pattern": anchored(&network::v6())},
        ]}),
        Kind::Path => text(&places::path(None)),
        Kind::CertificatePath => text(&places::path(Some("domain"))),
        Kind::SessionPath => path_with("id"),
        Kind::RepositoryPath => path_with("repo"),
        Kind::HomePath => text(&format!("~?{}", places::path(None))),
        Kind::Endpoint => text(&format!("{}:{}", network::bracketed(), network::PORT)),
        Kind::HttpUrl => text(&format!(
            "http://{}(:{})?(/[A-Za-z0-9._~/-]*)?",
            network::bracketed(),
            network::PORT
        )),
    }
}

/// A folder of a pattern, and its last part.
const PART: &str = r"(/[^/*?\[\]{}~$\\]+)";
const PART_WITH_STAR: &str = r"/[^/*?\[\]{}~$\\]*\*?[^/*?\[\]{}~$\\]*";

fn item(kind: Kind) -> Json {
    match kind {
        Kind::PortRanges => text(&range()),
        Kind::Listen => text(&format!("(\\*|{})", network::bracketed())),
        Kind::Owners => text(places::OWNER),
        // The loader knows more: the folders of the system.
        Kind::Patterns => text(&format!("{PART}+{PART_WITH_STAR}")),
        Kind::WebOrigins => {
            let port = network::PORT;
            text(&format!("https?://({}|{})(:{port})?", network::NAME, network::bracketed()))
        }
        _ => match kind.shape() {
            Shape::Integer | Shape::Integers => port(),
            Shape::Text | Shape::Texts => json!({"type": "string"}),
        },
    }
}

fn port() -> Json {
    json!({"type": "integer", "minimum": 1, "maximum": 65535})
}

/// A port or a range; leading zeros are allowed, as in the loader.
fn range() -> String {
    format!("0*{port}(-0*{port})?", port = network::PORT)
}

/// A path in which the gap is exactly once.
fn path_with(gap: &str) -> Json {
    json!({"type": "string", "allOf": [
        {"pattern": anchored(&places::path(Some(gap)))},
        {"pattern": format!("^[^{{}}]*\\{{{gap}\\}}[^{{}}]*$")},
    ]})
}

fn text(pattern: &str) -> Json {
    json!({"type": "string", "pattern": anchored(pattern)})
}

fn anchored(pattern: &str) -> String {
    format!("^{pattern}$")
}

/// Sorts the members of every object, so that the text does not depend on how the JSON library
/// was built.
fn sorted(value: Json) -> Json {
    match value {
        Json::Object(members) => {
            let members: alloc::collections::BTreeMap<_, _> =
                members.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Json::Object(members.into_iter().collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
