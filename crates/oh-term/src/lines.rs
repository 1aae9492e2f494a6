//! The JSON document as lines, for programs that read no JSON: one line for each value, with the way to
//! it, a tab, and the value as JSON writes it. What a line says never depends on the lines around it, and
//! nothing that a value has makes another line.

use serde_json::Value;

/// Writes a document as lines, in its order.
pub(crate) fn lines(document: &Value) -> String {
    let mut text = String::new();
    push(&mut text, &mut String::new(), document);
    text
}

fn push(text: &mut String, way: &mut String, value: &Value) {
    let length = way.len();
    let mut below = |key: &str, value: &Value| {
        if length > 0 {
            way.push('.');
        }
        way.push_str(&key.escape_debug().to_string());
        push(text, way, value);
        way.truncate(length);
    };
    match value {
        Value::Object(all) if !all.is_empty() => {
            all.iter().for_each(|(key, value)| below(key, value));
        }
        Value::Array(all) if !all.is_empty() => {
            all.iter().enumerate().for_each(|(at, value)| below(&at.to_string(), value));
        }
        value => text.push_str(&format!("{way}\t{value}\n")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_value_is_a_line_and_nothing_makes_another() {
        let document = json!({
            "exit": 0,
            "error": null,
            "next": [],
            "result": { "steps": [{ "step": "a\tb\nc", "bytes": 7 }, {}], "is_partial": true },
            "a\tkey\n": "x",
        });
        let mut lines: Vec<String> = lines(&document).lines().map(str::to_owned).collect();
        // Whether keys are sorted is for serde_json to say.
        lines.sort();
        assert_eq!(
            lines,
            [
                "a\\tkey\\n\t\"x\"",
                "error\tnull",
                "exit\t0",
                "next\t[]",
                "result.is_partial\ttrue",
                "result.steps.0.bytes\t7",
                "result.steps.0.step\t\"a\\tb\\nc\"",
                "result.steps.1\t{}",
            ]
        );
    }
}
