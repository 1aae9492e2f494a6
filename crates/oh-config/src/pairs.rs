//! The environment and `--set`: pairs whose values are typed by the table of keys.
//!
//! A key with a number takes digits. A key with a text takes the text as it is, without quotes.
//! A key with a list takes a TOML array (`["8080", "8888-8899"]`) or items with commas between
//! (`8080,8888-8899`); an empty text is the empty list.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use toml::de::DeValue;

use crate::fault::{Fault, Notes, Origin, full};
use crate::grammar::{Problem, Shape};
use crate::keys::{self, KEYS, Key};
use crate::literal::Literal;
use crate::parse::{Written, accept, blame};
use crate::text::{plain, quoted};

/// What the names of our variables begin with; `OH_` belongs to OpenHands.
const PREFIX: &str = "OHT_";

/// What the names of variables begin with that only our tests read.
const PREFIX_TESTS: &str = "OHT_TEST_";

/// Reads the pairs of the environment.
pub(crate) fn read_environment(
    pairs: &[(String, String)],
    written: &mut Vec<Written>,
    notes: &mut Notes,
) {
    for (name, value) in pairs {
        if !name.starts_with(PREFIX) || name.starts_with(PREFIX_TESTS) {
            continue;
        }
        let origin = Origin::Environment { name: Arc::from(name.as_str()) };
        let Some(key) = KEYS.iter().find(|key| key.environment_name() == *name) else {
            notes.faults.push(unknown_variable(name, origin));
            continue;
        };
        if key.path == "schema" {
            notes.faults.push(schema_outside(key, origin));
        } else if key.trusted {
            let fault = Fault::new(
                origin,
                &key.full_path(),
                "cannot come from the environment: it decides what is run, read or let in",
            );
            let argument = plain(value);
            let path = key.path;
            notes.faults.push(
                fault.with_hint(format!("write it in the file, or pass --set '{path}={argument}'")),
            );
        } else {
            read_pair(key, value, origin, written, notes);
        }
    }
}

/// Reads the arguments of `--set`.
pub(crate) fn read_sets(sets: &[String], written: &mut Vec<Written>, notes: &mut Notes) {
    for (index, argument) in sets.iter().enumerate() {
        let origin =
            Origin::CommandLine { ordinal: index + 1, argument: Arc::from(argument.as_str()) };
        let Some((name, value)) = argument.split_once('=') else {
            let fault = Fault::new(origin, "", "expected KEY=VALUE");
            notes.faults.push(fault.with_hint("--set site.domain=oh.example"));
            continue;
        };
        let name = name.trim();
        let path = name.strip_prefix("toolkit.").unwrap_or(name);
        match keys::find(path) {
            Some(key) if key.path == "schema" => notes.faults.push(schema_outside(key, origin)),
            Some(key) => read_pair(key, value, origin, written, notes),
            None => notes.faults.push(unknown_path(path, origin)),
        }
    }
}

fn read_pair(
    key: &'static Key,
    value: &str,
    origin: Origin,
    written: &mut Vec<Written>,
    notes: &mut Notes,
) {
    let shape = key.kind.shape();
    let literal = match typed(shape, value) {
        Ok(literal) => literal,
        Err(problems) => {
            let faults = problems.into_iter().map(|problem| blame(key, problem, &origin, &[]));
            notes.faults.extend(faults);
            return;
        }
    };
    let before = notes.faults.len();
    let parsed = accept(key, &literal, &origin, &[], notes);
    if parsed.is_none() && shape == Shape::Text {
        let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        for fault in notes.faults.iter_mut().skip(before) {
            if let Some(unquoted) = unquoted {
                fault.hint = Some(format!("leave the quotation marks out: {}", plain(unquoted)));
            } else if value.is_empty() {
                fault.hint = Some(String::from("leave it out to have the default"));
            }
        }
    }
    written.push(Written { key, literal, origin, items: Vec::new(), parsed });
}

/// Types a value by the shape that its key has.
fn typed(shape: Shape, value: &str) -> Result<Literal, Vec<Problem>> {
    match shape {
        Shape::Text => Ok(Literal::from(value)),
        Shape::Integer => digits(value).map_err(|problem| Vec::from([problem])),
        Shape::Texts | Shape::Integers => list(shape, value),
    }
}

fn digits(value: &str) -> Result<Literal, Problem> {
    let unsigned = value.strip_prefix('-').unwrap_or(value);
    let plain = !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit());
    value.parse().ok().filter(|_| plain).map(Literal::Integer).ok_or_else(|| {
        Problem::new(format!("expected a number in digits, found {}", quoted(value)))
    })
}

fn list(shape: Shape, value: &str) -> Result<Literal, Vec<Problem>> {
    let trimmed = value.trim();
    if trimmed.starts_with('[') && !trimmed.starts_with("[:") && trimmed.ends_with(']') {
        if let Ok(array) = DeValue::parse(trimmed) {
            return crate::parse::literal(array.get_ref())
                .map_err(|oddities| oddities.iter().map(crate::parse::Oddity::problem).collect());
        }
        // An address such as [2001:db8::1] looks like an array and is one item.
        if shape == Shape::Integers || !trimmed.contains(':') || trimmed.contains('"') {
            return Err(Vec::from([Problem::new(format!(
                "{} is no array of TOML",
                quoted(trimmed)
            ))]));
        }
    }
    if trimmed.is_empty() {
        return Ok(Literal::List(Vec::new()));
    }
    let items = trimmed.split(',').map(str::trim);
    let mut list = Vec::new();
    let mut problems = Vec::new();
    for (at, item) in items.enumerate() {
        match if shape == Shape::Integers { digits(item) } else { Ok(Literal::from(item)) } {
            Ok(item) => list.push(item),
            Err(problem) => problems.push(Problem { item: Some(at), ..problem }),
        }
    }
    if problems.is_empty() { Ok(Literal::List(list)) } else { Err(problems) }
}

fn schema_outside(key: &Key, origin: Origin) -> Fault {
    Fault::new(origin, &key.full_path(), "says of a file which keys it has, and belongs into it")
        .with_hint("leave it out here")
}

fn unknown_variable(name: &str, origin: Origin) -> Fault {
    let path = name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_lowercase().replace("__", ".");
    let names: Vec<_> = KEYS.iter().map(Key::environment_name).collect();
    let right = names.iter().find(|known| known.eq_ignore_ascii_case(name)).map(String::as_str);
    let lower: Vec<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let near = || {
        let near = crate::suggest::nearest(name, lower.iter().map(String::as_str))?;
        names.iter().find(|known| known.eq_ignore_ascii_case(near)).map(String::as_str)
    };
    let fault = Fault::new(origin, "", "unknown variable");
    if keys::find_table(&path).is_some() {
        return fault.with_hint(format!("that is a table; its keys are {name}__KEY"));
    }
    match right.or_else(near) {
        Some(known) => fault.with_hint(format!("did you mean {known}")),
        None => fault.with_hint(format!("unset it; {PREFIX}TABLE__KEY sets toolkit.table.key")),
    }
}

fn unknown_path(path: &str, origin: Origin) -> Fault {
    let fault = Fault::new(origin, &full(&plain(path)), "unknown key");
    if keys::find_table(path).is_some() {
        let first = KEYS.iter().find(|key| key.table() == path);
        return match first {
            Some(key) => fault
                .with_hint(format!("that is a table; set one of its keys, such as {}", key.path)),
            None => fault.with_hint("that is a table without keys"),
        };
    }
    let (table, name) = path.rsplit_once('.').unwrap_or(("", path));
    // A misspelt table is more likely with the right key after it than alone.
    let near = crate::suggest::nearest(path, KEYS.iter().map(|key| key.path)).map(String::from);
    match near.or_else(|| crate::suggest::path_for(table, name)) {
        Some(path) => fault.with_hint(format!("did you mean {path}")),
        None => fault,
    }
}
