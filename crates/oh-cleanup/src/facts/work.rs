//! Work that may be saved nowhere else: a repository's changes, and what an editor did not save.
//!
//! Nothing is run to find out: git would run whatever a repository's configuration names. That there is
//! a repository is enough to keep it.

use oh_host::survey::Survey;

/// The folder in an editor's settings of what was typed and not saved.
const UNSAVED: &str = "Backups";

/// Says what in a thing may be saved nowhere else.
pub(super) fn unsaved(survey: &Survey) -> Option<String> {
    if survey.names.contains(UNSAVED.as_bytes()) {
        return Some("it may have files that were changed and not saved".to_owned());
    }
    let repository = survey.repositories.first()?;
    let shown = oh_term::text::escaped(&repository.to_string_lossy());
    Some(match shown.as_str() {
        "" => "it is a repository of git, and may have work that is nowhere else".into(),
        below => {
            format!("{below} in it is a repository of git, and may have work that is nowhere else")
        }
    })
}
