//! The configuration shown: `config show`, `config show --origin`, `config check`.

use alloc::format;
use alloc::string::{String, ToString};

use serde_json::{Map, Value as Json, json};

use crate::Loaded;
use crate::fault::{Fault, Faults, Layer, Origin};
use crate::keys::TABLES;
use crate::literal::Literal;
use crate::merge::Value;

/// Writes the effective values as a file that would have the same effect.
pub fn show(loaded: &Loaded) -> String {
    let mut text = String::new();
    for table in TABLES {
        let mut values =
            loaded.values.iter().filter(|value| value.key.table() == table.name).peekable();
        if values.peek().is_none() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        push_line(&mut text, &format!("[{}]", crate::fault::full(table.name)));
        for value in values {
            push_line(&mut text, &assignment(value));
        }
    }
    text
}

/// Writes each key with its value, where that was written, and what it shadows.
pub fn show_origin(loaded: &Loaded) -> String {
    let mut text = String::new();
    for value in &loaded.values {
        let line = match &value.literal {
            Some(literal) => format!("{} = {literal}", value.key.full_path()),
            None => format!("{} is not set", value.key.full_path()),
        };
        push_line(&mut text, &format!("{line}  ({})", value.origin));
        for shadowed in &value.shadowed {
            push_line(&mut text, &format!("  shadows {}  ({})", shadowed.literal, shadowed.origin));
        }
    }
    text
}

/// Returns what [`show_origin`] writes, as JSON: an array of `{key, value, origin, shadowed}`.
pub fn show_json(loaded: &Loaded) -> Json {
    let shown = |value: &Value| {
        let shadowed: Json = value
            .shadowed
            .iter()
            .map(|s| json!({"value": s.literal.to_json(), "origin": origin_json(&s.origin)}))
            .collect();
        json!({
            "key": value.key.full_path(),
            "value": value.literal.as_ref().map_or(Json::Null, Literal::to_json),
            "origin": origin_json(&value.origin),
            "shadowed": shadowed,
        })
    };
    loaded.values.iter().map(shown).collect()
}

/// Writes the result of `config check`: every fault or warning, then the count.
pub fn report(result: &Result<Loaded, Faults>) -> String {
    let mut text = String::new();
    match result {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                push_line(&mut text, &format!("warning: {warning}"));
            }
            let set = |layer| loaded.values.iter().filter(|v| v.origin.layer() == layer).count();
            let mut line = format!(
                "sound: {} keys, {} from the file, {} from the environment, {} from --set",
                loaded.values.len(),
                set(Layer::File),
                set(Layer::Environment),
                set(Layer::CommandLine)
            );
            if !loaded.warnings.is_empty() {
                line.push_str(&format!(", {}", count(loaded.warnings.len(), "warning")));
            }
            push_line(&mut text, &line);
        }
        Err(faults) => {
            push_line(&mut text, &faults.to_string());
            push_line(&mut text, &count(faults.0.len(), "fault"));
        }
    }
    text
}

/// Returns what [`report`] writes, as JSON: `{sound, faults, warnings}`.
pub fn report_json(result: &Result<Loaded, Faults>) -> Json {
    let list = |faults: &[Fault]| faults.iter().map(fault_json).collect::<Json>();
    match result {
        Ok(loaded) => {
            json!({"sound": true, "faults": [], "warnings": list(&loaded.warnings)})
        }
        Err(faults) => json!({"sound": false, "faults": list(&faults.0), "warnings": []}),
    }
}

fn assignment(value: &Value) -> String {
    match &value.literal {
        Some(literal) => format!("{} = {literal}", value.key.name()),
        None => format!("# {} is not set", value.key.name()),
    }
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn count(number: usize, noun: &str) -> String {
    let mut text = format!("{number} {noun}");
    if number != 1 {
        text.push('s');
    }
    text
}

fn origin_json(origin: &Origin) -> Json {
    let mut object = Map::new();
    let mut put = |name: &str, value: Json| {
        object.insert(String::from(name), value);
    };
    put("layer", Json::from(origin.layer().as_str()));
    match origin {
        Origin::Default => {}
        Origin::File { path, line, column } => {
            put("file", Json::from(path.as_ref()));
            put("line", Json::from(*line));
            put("column", Json::from(*column));
        }
        Origin::Environment { name } => put("variable", Json::from(name.as_ref())),
        Origin::CommandLine { argument, .. } => put("argument", Json::from(argument.as_ref())),
    }
    Json::Object(object)
}

/// Returns a fault as programs get it: `file`, `line` and `column`, or the `variable` or the
/// `argument` that it was written as; `key`, `message` and `hint`; `also` for further places.
pub fn fault_json(fault: &Fault) -> Json {
    let mut object = place_json(&fault.origin);
    let also = fault.also.iter().map(|also| {
        let mut place = place_json(&also.origin);
        place.insert("message".into(), Json::from(also.what.as_str()));
        Json::Object(place)
    });
    object.insert("also".into(), also.collect());
    object.insert("key".into(), Json::from(fault.key.as_str()));
    object.insert("message".into(), Json::from(fault.what.as_str()));
    object.insert("hint".into(), fault.hint.as_deref().map_or(Json::Null, Json::from));
    Json::Object(object)
}

/// Where something is written: always the same keys, null where they say nothing.
fn place_json(origin: &Origin) -> Map<String, Json> {
    let mut place = Map::new();
    for name in ["file", "line", "column", "variable", "argument"] {
        place.insert(name.into(), Json::Null);
    }
    if let Json::Object(origin) = origin_json(origin) {
        place.extend(origin);
    }
    place
}
