//! The file: from its text to values with positions, and every fault of its own keys.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::SourceText;
use crate::fault::{Fault, Notes, Origin, full};
use crate::grammar::{Parsed, Problem, Shape};
use crate::keys::{self, Key, SCHEMA_VERSION};
use crate::literal::Literal;
use crate::text::{Lines, quoted};

/// The longest list of keys in a hint, in characters.
const HINT_CHARS_MAX: usize = 80;

/// A value that some layer sets.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) key: &'static Key,
    pub(crate) literal: Literal,
    pub(crate) origin: Origin,
    /// The origins of a list's items; empty where the layer has none of its own for them.
    pub(crate) items: Vec<Origin>,
    /// What it means; `None` where it is faulty.
    pub(crate) parsed: Option<Parsed>,
}

/// Reads the file; returns whether all of it could be read, so that a missing key is missing.
pub(crate) fn read_file(
    source: &SourceText,
    written: &mut Vec<Written>,
    notes: &mut Notes,
) -> bool {
    // Editors hide the mark, so it is no column either.
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    let mut reader = Reader {
        text,
        lines: Lines::new(text),
        path: Arc::from(source.path.as_str()),
        newer: false,
        written,
        notes,
    };
    let (tree, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        reader.document(tree.get_ref());
        return true;
    }
    let blanked = crate::syntax::blank(text);
    for fault in &blanked.faults {
        reader.syntax_fault(fault);
    }
    if !blanked.hopeless {
        let (tree, _) = DeTable::parse_recoverable(&blanked.text);
        reader.document(tree.get_ref());
    }
    false
}

struct Reader<'r> {
    text: &'r str,
    lines: Lines<'r>,
    path: Arc<str>,
    /// The file was written for a newer schema than this build knows.
    newer: bool,
    written: &'r mut Vec<Written>,
    notes: &'r mut Notes,
}

impl Reader<'_> {
    fn origin(&self, byte: usize) -> Origin {
        let (line, column) = self.lines.position(byte);
        Origin::File { path: Arc::clone(&self.path), line, column }
    }

    fn syntax_fault(&mut self, fault: &crate::syntax::SyntaxFault) {
        let mut made = Fault::new(self.origin(fault.at), "", fault.what.as_str());
        made.hint.clone_from(&fault.hint);
        if let Some((at, what)) = fault.also {
            made = made.with_also(self.origin(at), what);
        }
        self.notes.faults.push(made);
    }

    /// Reads the one table of the document that is ours.
    fn document(&mut self, root: &DeTable<'_>) {
        let Some(value) = root.get("toolkit") else { return };
        if let Some(table) = self.expect_table("", value) {
            self.newer = table
                .get("schema")
                .and_then(|value| integer(value.get_ref()))
                .is_some_and(|version| version > SCHEMA_VERSION);
            self.table("", table);
        }
    }

    fn table(&mut self, table: &str, entries: &DeTable<'_>) {
        for (name, value) in entries {
            let path = if table.is_empty() {
                String::from(name.get_ref().as_ref())
            } else {
                format!("{table}.{}", name.get_ref())
            };
            // A quoted name with a dot in it is one name, and none of ours.
            let known = !name.get_ref().contains('.');
            if let Some(key) = keys::find(&path).filter(|_| known) {
                self.leaf(key, value);
            } else if let Some(inner) =
                keys::find_table(&path).filter(|_| known && !path.is_empty())
            {
                if let Some(entries) = self.expect_table(inner.name, value) {
                    self.table(inner.name, entries);
                }
            } else {
                self.unknown(table, name.get_ref(), name.span().start);
            }
        }
    }

    fn expect_table<'v, 'i>(
        &mut self,
        table: &str,
        value: &'v Spanned<DeValue<'i>>,
    ) -> Option<&'v DeTable<'i>> {
        if let DeValue::Table(entries) = value.get_ref() {
            return Some(entries);
        }
        let doubled = self.text.get(value.span()).is_some_and(|text| text.starts_with("[["));
        let path = full(table);
        let hint = if doubled {
            format!("[{path}] with single brackets")
        } else {
            format!("[{path}] and its keys below")
        };
        let what = format!("expected a table, found {}", noun(value.get_ref()));
        let origin = self.origin(value.span().start);
        self.notes.faults.push(Fault::new(origin, &path, what).with_hint(hint));
        None
    }

    fn unknown(&mut self, table: &str, name: &str, byte: usize) {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let shown = if name.chars().all(bare) { crate::text::plain(name) } else { quoted(name) };
        let path = if table.is_empty() { shown } else { format!("{table}.{shown}") };
        let fault = Fault::new(self.origin(byte), &full(&path), "unknown key")
            .with_hint(hint_for_unknown(table, name));
        if self.newer {
            self.notes.warnings.push(fault);
        } else {
            self.notes.faults.push(fault);
        }
    }

    fn leaf(&mut self, key: &'static Key, value: &Spanned<DeValue<'_>>) {
        let origin = self.origin(value.span().start);
        let spans = item_spans(value.get_ref());
        let items: Vec<_> = spans.iter().map(|span| self.origin(span.start)).collect();
        let literal = match literal(value.get_ref()) {
            Ok(literal) => literal,
            Err(oddities) => {
                for oddity in &oddities {
                    let fault = self.odd(key, oddity, &origin, &items);
                    self.notes.faults.push(fault);
                }
                self.others(key, value.get_ref(), &origin, &items);
                return;
            }
        };
        if key.path == "schema" && self.newer {
            let what = format!(
                "{literal} is newer than this toolkit, which knows {SCHEMA_VERSION}: unknown keys \
                 are passed over"
            );
            self.notes.warnings.push(Fault::new(origin.clone(), &key.full_path(), what));
        }
        let parsed = accept(key, &literal, &origin, &items, self.notes);
        self.written.push(Written { key, literal, origin, items, parsed });
    }

    /// Checks the items beside odd ones, each by itself.
    fn others(&mut self, key: &Key, value: &DeValue<'_>, origin: &Origin, items: &[Origin]) {
        for (at, item) in value.as_array().into_iter().flatten().enumerate() {
            let Ok(item) = literal(item.get_ref()) else { continue };
            let Err(problems) = key.kind.read(&Literal::List(Vec::from([item]))) else { continue };
            for problem in problems {
                let problem = Problem { item: Some(at), ..problem };
                self.notes.faults.push(blame(key, problem, origin, items));
            }
        }
    }

    /// Describes a value of a type that none of our keys has.
    fn odd(&self, key: &Key, oddity: &Oddity, origin: &Origin, items: &[Origin]) -> Fault {
        let path = key.full_path();
        let shape = key.kind.shape();
        let (shape, origin, path) = match oddity.item {
            Some(at) => (
                shape.items().unwrap_or(shape),
                items.get(at).unwrap_or(origin),
                format!("{path}[{at}]"),
            ),
            None => (shape, origin, path),
        };
        let what = format!("expected {}, found {}", shape.noun(), oddity.noun);
        let fault = Fault::new(origin.clone(), &path, what);
        match (&oddity.whole, shape) {
            (Some(number), Shape::Integer) => fault.with_hint(format!("{} = {number}", key.name())),
            _ => fault.with_hint(key.kind.noun()),
        }
    }
}

/// Gives the value its meaning; on a fault, notes it and returns `None`.
pub(crate) fn accept(
    key: &'static Key,
    literal: &Literal,
    origin: &Origin,
    items: &[Origin],
    notes: &mut Notes,
) -> Option<Parsed> {
    match key.kind.read(literal) {
        Ok(parsed) => Some(parsed),
        Err(problems) => {
            let faults = problems.into_iter().map(|problem| blame(key, problem, origin, items));
            notes.faults.extend(faults);
            None
        }
    }
}

/// Makes a fault of a problem: where it is, and how it is mended there.
pub(crate) fn blame(key: &Key, problem: Problem, origin: &Origin, items: &[Origin]) -> Fault {
    let place = problem.item.and_then(|at| items.get(at)).unwrap_or(origin);
    let path = match problem.item {
        Some(at) => format!("{}[{at}]", key.full_path()),
        None => key.full_path(),
    };
    let mend = problem.fix.map(|fix| match (origin, problem.item) {
        (_, Some(_)) => format!("{fix} in its place"),
        (Origin::Environment { name }, None) => format!("{name}={}", fix.to_argument()),
        (Origin::CommandLine { .. }, None) => format!("--set {}={}", key.path, fix.to_argument()),
        (Origin::Default | Origin::File { .. }, None) => format!("{} = {fix}", key.name()),
    });
    let hint = match (mend, problem.note) {
        (Some(mend), Some(note)) => Some(format!("{mend} ({note})")),
        (mend, note) => mend.or(note),
    };
    Fault { hint, ..Fault::new(place.clone(), &path, problem.what) }
}

/// Says what an unknown key may have been, or what there is.
fn hint_for_unknown(table: &str, name: &str) -> String {
    if let Some(path) = crate::suggest::path_for(table, name) {
        let there = path.rsplit_once('.').map_or("", |(there, _)| there);
        return if there == table && !name.contains('.') {
            format!("did you mean {}", path.rsplit('.').next().unwrap_or(&path))
        } else {
            format!("did you mean {}", full(&path))
        };
    }
    let names: Vec<_> = keys::KEYS
        .iter()
        .filter(|key| key.table() == table)
        .map(Key::name)
        .chain(keys::TABLES.iter().map(|t| t.name).filter(|t| table.is_empty() && !t.is_empty()))
        .collect();
    if names.is_empty() {
        return format!("[{}] has no keys yet", full(table));
    }
    let hint = format!("[{}] has {}", full(table), crate::text::join(&names, ", "));
    if hint.chars().count() > HINT_CHARS_MAX {
        return format!("docs/config.md has the keys of [{}]", full(table));
    }
    hint
}

/// A value that is no [`Literal`].
pub(crate) struct Oddity {
    noun: String,
    /// The number, where it is a whole one with a point: `8899.0`.
    whole: Option<i64>,
    item: Option<usize>,
}

impl Oddity {
    /// Makes a problem of it, for a layer without positions.
    pub(crate) fn problem(&self) -> Problem {
        Problem { item: self.item, ..Problem::new(format!("found {} in the list", self.noun)) }
    }
}

/// Reduces a value of TOML to the shapes that our keys have; of a list, every odd item is named.
pub(crate) fn literal(value: &DeValue<'_>) -> Result<Literal, Vec<Oddity>> {
    match value {
        DeValue::Array(items) => {
            let mut list = Vec::with_capacity(items.len());
            let mut oddities = Vec::new();
            for (at, item) in items.iter().enumerate() {
                match scalar(item.get_ref()) {
                    Ok(item) => list.push(item),
                    Err(oddity) => oddities.push(Oddity { item: Some(at), ..oddity }),
                }
            }
            if oddities.is_empty() { Ok(Literal::List(list)) } else { Err(oddities) }
        }
        other => scalar(other).map_err(|oddity| Vec::from([oddity])),
    }
}

fn scalar(value: &DeValue<'_>) -> Result<Literal, Oddity> {
    if let DeValue::String(text) = value {
        return Ok(Literal::Text(String::from(text.as_ref())));
    }
    integer(value).map(Literal::Integer).ok_or_else(|| Oddity {
        noun: noun(value),
        whole: match value {
            DeValue::Float(number) => {
                number.as_str().strip_suffix(".0").and_then(|whole| whole.parse().ok())
            }
            _ => None,
        },
        item: None,
    })
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn noun(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text {}", quoted(text)),
        DeValue::Integer(number) => format!("the number {}", crate::text::plain(number.as_str())),
        DeValue::Float(number) => {
            format!("{}, a number with a point", crate::text::plain(number.as_str()))
        }
        DeValue::Boolean(truth) => format!("{truth}"),
        DeValue::Datetime(_) => String::from("a date or time"),
        DeValue::Array(_) => String::from("a list"),
        DeValue::Table(_) => String::from("a table"),
    }
}

fn item_spans(value: &DeValue<'_>) -> Vec<Range<usize>> {
    value.as_array().map_or_else(Vec::new, |items| items.iter().map(Spanned::span).collect())
}
