//! A judge of JSON Schema draft-07, for the keywords that our schema has and no others.
//!
//! A keyword that it does not know makes it panic, so that the schema cannot say more than is
//! tested. <https://json-schema.org/draft-07/json-schema-validation>

use regex::Regex;
use serde_json::Value;

/// Says whether the schema accepts the value.
pub(crate) fn accepts(schema: &Value, value: &Value) -> bool {
    let keywords = schema.as_object().expect("a schema is an object");
    keywords.iter().all(|(keyword, rule)| judge(keyword, rule, schema, value))
}

fn judge(keyword: &str, rule: &Value, schema: &Value, value: &Value) -> bool {
    match keyword {
        "$schema" | "title" | "description" | "default" => true,
        "type" => match rule.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            // A number with a fraction of zero is an integer to JSON Schema; TOML keeps them
            // apart, and so do we.
            "integer" => value.is_i64() || value.is_u64(),
            other => panic!("type {other} is not known"),
        },
        "enum" => rule.as_array().unwrap().contains(value),
        "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
        "maxLength" => {
            value.as_str().is_none_or(|text| text.chars().count() as u64 <= rule.as_u64().unwrap())
        }
        "pattern" => value
            .as_str()
            .is_none_or(|text| Regex::new(rule.as_str().unwrap()).unwrap().is_match(text)),
        "anyOf" => rule.as_array().unwrap().iter().any(|schema| accepts(schema, value)),
        "allOf" => rule.as_array().unwrap().iter().all(|schema| accepts(schema, value)),
        "minItems" => {
            value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap())
        }
        "uniqueItems" => value.as_array().is_none_or(|items| {
            items.iter().enumerate().all(|(at, item)| !items[..at].contains(item))
        }),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|i| accepts(rule, i))),
        "properties" => value.as_object().is_none_or(|members| {
            members.iter().all(|(name, v)| rule.get(name).is_none_or(|rule| accepts(rule, v)))
        }),
        "additionalProperties" => {
            assert_eq!(*rule, Value::Bool(false));
            let known = &schema["properties"];
            value.as_object().is_none_or(|m| m.keys().all(|name| known.get(name).is_some()))
        }
        other => panic!("the keyword {other} is not known"),
    }
}

#[test]
fn the_judge_judges() {
    let schema = serde_json::json!({
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 1, "maximum": 3}},
        "additionalProperties": false,
    });
    for (value, good) in [
        (serde_json::json!({}), true),
        (serde_json::json!({"a": 3}), true),
        (serde_json::json!({"a": 4}), false),
        (serde_json::json!({"a": "3"}), false),
        (serde_json::json!({"b": 1}), false),
        (serde_json::json!([]), false),
    ] {
        assert_eq!(accepts(&schema, &value), good, "{value}");
    }
}
