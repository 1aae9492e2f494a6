//! One cause as a page, for `--explain`.

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
        human.push_str(&wrapped(
            "lines ",
            &format!("found by oh-nginx lint: {}", cause.rules.join(", ")),
            WIDTH,
        ));
    }
    Ok(Answer::new(human, document(cause)))
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
