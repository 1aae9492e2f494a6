//! Files of variables that a POSIX shell sources and that systemd reads as `EnvironmentFile=`
//! (systemd.exec(5)).
//!
//! What is changed is the text, not a model of it: lines of others stay as they were spelled. Values
//! are written so that both readers take the same. systemd does not know `export`, and a shell
//! hands on only what is exported, so one line that names the keys exports them: systemd passes it
//! over, because it has no `=`. Nothing is executed to learn what a line says: a value that a shell
//! would have to work out counts as another one.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use thiserror::Error;

/// The most characters of a line of a comment.
const COMMENT_CHARACTERS_MAX: usize = 96;

/// A variable as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// Who reads it and what for, one paragraph; it becomes a comment.
    pub comment: String,
}

/// What became of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was there.
    Kept,
    /// It was not there.
    Added,
    /// It had another value: this one, as it was spelled where a shell would have to work it out.
    Changed(String),
    /// It had its value, in a spelling that systemd reads otherwise than a shell.
    Respelled,
}

/// A text that has the variables, and what became of each, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The new text.
    pub text: String,
    /// What became of each variable.
    pub changes: Vec<Change>,
}

/// Says why a text was not changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EditFault {
    /// A quotation does not end.
    #[error("line {line}: a quote is not closed")]
    Unclosed {
        /// Where it begins.
        line: usize,
    },
    /// A line sets one of the variables together with something else.
    #[error("line {line} sets {key} together with something else")]
    Entangled {
        /// The line.
        line: usize,
        /// The variable.
        key: &'static str,
    },
}

/// Returns the value that a shell would have of a key at the end; `None` where none is set, or
/// where it would have to be worked out.
///
/// # Errors
/// [`EditFault::Unclosed`].
pub fn value_of(text: &str, key: &str) -> Result<Option<String>, EditFault> {
    let statements = statements(text)?;
    let last =
        statements.iter().rev().find_map(|one| assignment(one.text).filter(|a| a.key == key));
    Ok(last.and_then(|assignment| assignment.value))
}

/// Gives a text these variables.
///
/// Of several lines that set one the last counts, for both readers. What is there as it should be
/// stays byte for byte; the edited text, edited again, is the same.
///
/// # Errors
/// [`EditFault`].
pub fn edit(text: &str, wanted: &[Variable]) -> Result<Edited, EditFault> {
    let statements = statements(text)?;
    let mut last: Vec<Option<(usize, Assignment<'_>)>> = wanted.iter().map(|_| None).collect();
    let mut exported: Vec<&str> = Vec::new();
    let mut own_export = None;
    for (at, statement) in statements.iter().enumerate() {
        if let Some(found) = assignment(statement.text) {
            let of_key = wanted.iter().zip(&mut last).find(|(one, _)| one.key == found.key);
            if let Some((_, place)) = of_key {
                *place = Some((at, found));
            }
        } else if let Some(names) = export(statement.text) {
            if names.iter().all(|name| wanted.iter().any(|one| one.key == *name)) {
                own_export = Some(at);
            }
            exported.extend(names);
        } else if let Some(key) = entangled(statement.text, wanted) {
            return Err(EditFault::Entangled { line: statement.line, key });
        }
    }
    let changes: Vec<Change> =
        wanted.iter().zip(&last).map(|(one, found)| judged(one, found.as_ref())).collect();
    let exports_all = wanted.iter().all(|one| exported.contains(&one.key));
    let mut lines: Vec<String> = Vec::new();
    for (at, statement) in statements.iter().enumerate() {
        let place = last.iter().position(|one| one.as_ref().is_some_and(|(line, _)| *line == at));
        let renewed = place.and_then(|place| wanted.get(place).zip(changes.get(place)));
        match renewed {
            Some((variable, change)) if *change != Change::Kept => {
                drop_own_comment(&mut lines, variable.key);
                lines.extend(written(variable));
            }
            _ if own_export == Some(at) && !exports_all => lines.push(export_line(wanted)),
            _ => lines.push(statement.text.to_owned()),
        }
    }
    if let Some(end) = lines.last_mut()
        && !end.ends_with('\n')
    {
        end.push('\n');
    }
    let added: Vec<&Variable> = wanted
        .iter()
        .zip(&changes)
        .filter_map(|(one, change)| (*change == Change::Added).then_some(one))
        .collect();
    for variable in added {
        if !lines.is_empty() {
            lines.push("\n".into());
        }
        lines.extend(written(variable));
    }
    if !exports_all && own_export.is_none() {
        lines.push("\n# For shells; systemd passes it over.\n".into());
        lines.push(export_line(wanted));
    }
    let is_as_it_was = exports_all && changes.iter().all(|change| *change == Change::Kept);
    let text = if is_as_it_was { text.to_owned() } else { lines.concat() };
    Ok(Edited { text, changes })
}

/// Writes a value so that a shell and systemd read the same.
pub fn quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@,%".contains(&byte);
    if value.bytes().all(plain) {
        return value.to_owned();
    }
    let mut out = String::from("\"");
    for character in value.chars() {
        if "\"\\$`".contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
    out
}

fn judged(wanted: &Variable, found: Option<&(usize, Assignment<'_>)>) -> Change {
    match found {
        None => Change::Added,
        Some((_, found)) if found.value.as_deref() != Some(wanted.value.as_str()) => {
            Change::Changed(found.value.clone().unwrap_or_else(|| found.spelling.to_string()))
        }
        Some((_, found)) if !found.is_plain => Change::Respelled,
        Some(_) => Change::Kept,
    }
}

/// A line, or several that one quotation joins.
struct Statement<'t> {
    text: &'t str,
    line: usize,
}

/// Where a shell stands within a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    Single,
    Double,
    Comment,
}

fn statements(text: &str) -> Result<Vec<Statement<'_>>, EditFault> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let length = statement_length(rest).ok_or(EditFault::Unclosed { line })?;
        let (statement, after) = rest.split_at(length);
        found.push(Statement { text: statement, line });
        line += statement.matches('\n').count();
        rest = after;
    }
    Ok(found)
}

/// Returns how many bytes the first statement has, with its line break; `None` where a quotation
/// does not end.
fn statement_length(text: &str) -> Option<usize> {
    // systemd takes `;` at the beginning for a comment too.
    let is_comment = text.trim_start_matches([' ', '\t']).starts_with(['#', ';']);
    let mut within = if is_comment { Within::Comment } else { Within::Nothing };
    let (mut is_escaped, mut before) = (false, '\n');
    for (at, character) in text.char_indices() {
        let escaped = core::mem::take(&mut is_escaped);
        within = match (within, character) {
            (Within::Comment, '\n') => return Some(at + 1),
            (Within::Nothing, '\n') if !escaped => return Some(at + 1),
            (Within::Nothing | Within::Double, '\\') if !escaped => {
                is_escaped = true;
                within
            }
            (Within::Nothing, '\'') if !escaped => Within::Single,
            (Within::Nothing, '"') if !escaped => Within::Double,
            (Within::Nothing, '#') if before.is_whitespace() => Within::Comment,
            (Within::Single, '\'') => Within::Nothing,
            (Within::Double, '"') if !escaped => Within::Nothing,
            (within, _) => within,
        };
        before = character;
    }
    matches!(within, Within::Nothing | Within::Comment).then_some(text.len())
}

/// A statement that sets one variable and does nothing else.
struct Assignment<'t> {
    key: &'t str,
    /// `None` where a shell would have to work it out.
    value: Option<String>,
    /// What stands behind the `=`.
    spelling: &'t str,
    /// Whether systemd reads the same.
    is_plain: bool,
}

fn assignment(statement: &str) -> Option<Assignment<'_>> {
    let text = statement.trim_matches([' ', '\t', '\n']);
    let bare = text.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t']));
    let is_exported = bare.is_some();
    let (key, spelling) = bare.unwrap_or(text).trim_start().split_once('=')?;
    if !is_key(key) {
        return None;
    }
    let (value, length) = word(spelling)?;
    let (spelling, rest) = spelling.split_at(length);
    let comment = rest.trim_start_matches([' ', '\t']);
    let is_comment = comment.starts_with('#') && comment.len() < rest.len();
    if !comment.is_empty() && !is_comment {
        return None;
    }
    let is_plain = !is_exported && comment.is_empty() && is_one_piece(spelling);
    Some(Assignment { key, value, spelling, is_plain })
}

fn is_key(text: &str) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    text.as_bytes().first().is_some_and(is_first)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Reads one word of a shell: its value, where nothing in it has to be worked out, and its length.
/// `None` where it is more than a word.
fn word(text: &str) -> Option<(Option<String>, usize)> {
    let (mut value, mut is_literal) = (String::new(), true);
    let mut within = Within::Nothing;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (within, character) {
            (Within::Nothing, ' ' | '\t' | '\n') => {
                return Some((is_literal.then_some(value), at));
            }
            (Within::Nothing, ';' | '&' | '|' | '(' | ')' | '<' | '>') => return None,
            (Within::Nothing, '\'') => within = Within::Single,
            (Within::Nothing, '"') => within = Within::Double,
            (Within::Single, '\'') | (Within::Double, '"') => within = Within::Nothing,
            (Within::Nothing | Within::Double, '$' | '`') => {
                is_literal = false;
                value.push(character);
            }
            (Within::Nothing, '~') if value.is_empty() => {
                is_literal = false;
                value.push(character);
            }
            (Within::Nothing | Within::Double, '\\') => {
                let (_, next) = characters.next()?;
                if within == Within::Double && !"\"\\$`\n".contains(next) {
                    value.push('\\');
                }
                if next != '\n' {
                    value.push(next);
                }
            }
            (_, other) => value.push(other),
        }
    }
    Some((is_literal.then_some(value), text.len()))
}

/// Says whether a word is one that systemd reads as a shell does: bare, or in one pair of quotes.
fn is_one_piece(spelling: &str) -> bool {
    let inner = |quote: char| spelling.strip_prefix(quote).and_then(|s| s.strip_suffix(quote));
    match (inner('\''), inner('"')) {
        (Some(inner), _) => !inner.contains(['\'', '\\']),
        (_, Some(_)) => {
            word(spelling).and_then(|(value, _)| value).is_some_and(|v| quoted(&v) == spelling)
        }
        _ => !spelling.contains(['\'', '"', '\\', '$', '`', '#', ';']),
    }
}

/// Returns the names that a statement exports and does not set.
fn export(statement: &str) -> Option<Vec<&str>> {
    let mut words = statement.split_whitespace();
    let is_export = words.next() == Some("export");
    let names: Vec<&str> = words.collect();
    (is_export && !names.is_empty() && names.iter().all(|name| is_key(name))).then_some(names)
}

/// Returns the variable that a statement sets in a way that is not understood here.
fn entangled(statement: &str, wanted: &[Variable]) -> Option<&'static str> {
    if statement.trim_start().starts_with(['#', ';']) {
        return None;
    }
    let sets = |key: &str| {
        let pattern = format!("{key}=");
        statement.match_indices(&pattern).any(|(at, _)| {
            let before = statement.get(..at).unwrap_or_default().chars().next_back();
            !before.is_some_and(|before| before.is_ascii_alphanumeric() || before == '_')
        })
    };
    wanted.iter().map(|one| one.key).find(|key| sets(key))
}

fn written(variable: &Variable) -> Vec<String> {
    let mut lines = vec_of_comment(variable);
    lines.push(format!("{}={}\n", variable.key, quoted(&variable.value)));
    lines
}

fn vec_of_comment(variable: &Variable) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = format!("# {}:", variable.key);
    for word in variable.comment.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > COMMENT_CHARACTERS_MAX {
            lines.push(line + "\n");
            line = "#  ".into();
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push(line + "\n");
    lines
}

/// Takes back the comment that was written above an earlier value.
fn drop_own_comment(lines: &mut Vec<String>, key: &str) {
    let continued = lines.iter().rev().take_while(|line| line.starts_with("#   ")).count();
    let first = lines.len().saturating_sub(continued + 1);
    let head = format!("# {key}: ");
    if lines.get(first).is_some_and(|line| line.starts_with(&head)) {
        lines.truncate(first);
    }
}

fn export_line(wanted: &[Variable]) -> String {
    let keys: Vec<&str> = wanted.iter().map(|one| one.key).collect();
    format!("export {}\n", keys.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn variable(key: &'static str, value: &str) -> Variable {
        Variable { key, value: value.into(), comment: "for a test".into() }
    }

    fn two() -> Vec<Variable> {
        vec![variable("RUNTIME", "local"), variable("VSCODE_PORT", "8080")]
    }

    const NEW: &str = "# RUNTIME: for a test\nRUNTIME=local\n\n# VSCODE_PORT: for a test\n\
        VSCODE_PORT=8080\n\n# For shells; systemd passes it over.\nexport RUNTIME VSCODE_PORT\n";

    #[test]
    fn an_empty_text_gets_all_and_stays_so() {
        let first = edit("", &two()).unwrap();
        assert_eq!(first.text, NEW);
        assert_eq!(first.changes, [Change::Added, Change::Added]);
        let second = edit(NEW, &two()).unwrap();
        assert_eq!(second.text, NEW);
        assert_eq!(second.changes, [Change::Kept, Change::Kept]);
    }

    #[test]
    fn lines_of_others_stay_byte_for_byte_and_ours_change_in_place() {
        let text = "\t# mine\nexport LLM_API_KEY='a#b'  # it's secret\n\n  RUNTIME=\"cloud\"\n\
            NOTE=\"two\nRUNTIME=lines\"\nfor x in 1; do :; done\nVSCODE_PORT='8080'\nLAST=1";
        let edited = edit(text, &two()).unwrap();
        assert_eq!(edited.changes, [Change::Changed("cloud".into()), Change::Kept]);
        assert_eq!(
            edited.text,
            "\t# mine\nexport LLM_API_KEY='a#b'  # it's secret\n\n# RUNTIME: for a test\n\
            RUNTIME=local\nNOTE=\"two\nRUNTIME=lines\"\nfor x in 1; do :; done\nVSCODE_PORT='8080'\n\
            LAST=1\n\n# For shells; systemd passes it over.\nexport RUNTIME VSCODE_PORT\n"
        );
        assert_eq!(edit(&edited.text, &two()).unwrap().text, edited.text);
    }

    #[test]
    fn what_only_one_reader_takes_is_spelled_for_both() {
        for line in [
            "export RUNTIME=local\n",
            "RUNTIME=local # here\n",
            "RUNTIME=lo'cal'\n",
            "RUNTIME=lo\\cal\n",
        ] {
            let edited = edit(line, &two()).unwrap();
            assert_eq!(edited.changes, [Change::Respelled, Change::Added], "{line}");
            assert_eq!(edited.text, NEW, "{line}");
        }
    }

    #[test]
    fn the_last_line_counts_and_a_new_value_takes_its_comment_along() {
        let text = NEW.replace("8080", "9").replace("RUNTIME=local\n", "RUNTIME=a\nRUNTIME=$X\n");
        let edited = edit(&text, &two()).unwrap();
        assert_eq!(edited.changes, [Change::Changed("$X".into()), Change::Changed("9".into())]);
        assert_eq!(
            edited.text,
            NEW.replacen(
                "# RUNTIME: for a test\n",
                "# RUNTIME: for a test\nRUNTIME=a\n# RUNTIME: for a test\n",
                1
            )
        );
    }

    #[test]
    fn keys_that_are_new_join_the_line_that_exports_ours() {
        let more = [two(), vec![variable("port", "3000")]].concat();
        let edited = edit(NEW, &more).unwrap();
        assert!(edited.text.contains("\nexport RUNTIME VSCODE_PORT port\n"), "{}", edited.text);
        assert_eq!(edit(&edited.text, &more).unwrap().text, edited.text);
        // A line that exports more than ours is somebody's.
        let text = "export RUNTIME MINE\n";
        let edited = edit(text, &more).unwrap();
        assert!(edited.text.starts_with(text), "{}", edited.text);
        assert!(edited.text.ends_with("\nexport RUNTIME VSCODE_PORT port\n"), "{}", edited.text);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let entangled = |line, key| Err(EditFault::Entangled { line, key });
        for (text, fault) in [
            ("A=1\nB='x\n\n", Err(EditFault::Unclosed { line: 2 })),
            ("A=1\nexport RUNTIME=cloud DEBUG=1\n", entangled(2, "RUNTIME")),
            ("RUNTIME=cloud; VSCODE_PORT=1\n", entangled(1, "RUNTIME")),
            ("[ -t 0 ] && VSCODE_PORT=1\n", entangled(1, "VSCODE_PORT")),
        ] {
            assert_eq!(edit(text, &two()).map(|_| ()), fault, "{text}");
        }
        for text in ["MY_RUNTIME=1; X=2\n", "; RUNTIME=1; A=1\n", "# RUNTIME=1; A=1\n"] {
            assert_eq!(edit(text, &two()).unwrap().changes, [Change::Added, Change::Added]);
        }
    }

    #[test]
    fn a_value_is_the_last_one_of_a_shell() {
        let text = "A=1\nexport A='two words' # x\nB=\"a\\\"\\$\\x\"\nC=$A\nD=\n";
        let values = ["A", "B", "C", "D", "E"].map(|key| value_of(text, key).unwrap());
        let expected = [Some("two words"), Some("a\"$\\x"), None, Some(""), None];
        assert_eq!(values.each_ref().map(Option::as_deref), expected);
    }
}
