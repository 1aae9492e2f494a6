//! The causes as a page: one for `--explain`, all of them for docs/diagnosis.md.

use oh_model::exit::Exit;
use oh_probe::cause::{self, Cause};
use oh_term::text::wrapped;
use oh_term::{Answer, Failure};
use serde_json::json;

/// How wide a line for people is, in characters.
const WIDTH: usize = 100;

/// Explains a cause.
pub(crate) fn explained(id: &str) -> Result<Answer, Failure> {
    let Some(cause) = cause::find(id) else {
        let groups: Vec<&str> = cause::ALL.iter().map(|cause| cause.id).collect();
        return Err(Failure::new(Exit::Refused, format!("there is no cause {id:?}"))
            .hint(format!("there are {}", groups.join(", "))));
    };
    let mut human = format!("{}  {}\n\n", cause.id, cause.title);
    for (head, text) in [("why   ", cause.why), ("seen  ", cause.seen)] {
        human.push_str(&wrapped(head, text, WIDTH));
    }
    for (index, line) in cause.mend.iter().enumerate() {
        human.push_str(if index == 0 { "mend  " } else { "      " });
        human.push_str(line);
        human.push('\n');
    }
    if !cause.rules.is_empty() {
        human.push_str(&wrapped("lines ", &format!("found by: {}", linter(cause)), WIDTH));
    }
    Ok(Answer::new(human, document(cause)))
}

/// Says which command finds the lines.
fn linter(cause: &Cause) -> String {
    format!("oh-nginx lint, {}", cause.rules.join(", "))
}

pub(crate) fn document(cause: &Cause) -> serde_json::Value {
    json!({
        "id": cause.id,
        "title": cause.title,
        "why": cause.why,
        "seen": cause.seen,
        "mend": cause.mend,
        "rules": cause.rules,
    })
}

/// Writes all causes as a page in Markdown.
pub fn page() -> String {
    let mut out = String::from(
        "# Why a WebSocket does not connect\n\n\
         The causes that `oh-wscheck` tells, from the bottom of the way to its top. `oh-wscheck --explain ID` prints \
         one. This page is generated from the table that the tool decides by.\n",
    );
    for cause in cause::ALL {
        out.push_str(&format!("\n## {}: {}\n\n{}\n\n", cause.id, cause.title, cause.why));
        out.push_str(&format!("- Seen by: {}.\n", cause.seen));
        if !cause.rules.is_empty() {
            out.push_str(&format!("- The line is found by {}.\n", linter(cause)));
        }
        out.push_str("\n```\n");
        cause.mend.iter().for_each(|line| {
            out.push_str(line);
            out.push('\n');
        });
        out.push_str("```\n");
    }
    out
}
