//! Work that may be saved nowhere else: a repository's changes, and what an editor did not save.
//!
//! Nothing is run to find out: git would run whatever a repository's configuration names. That there is
//! a repository is enough to keep it.

use oh_host::survey::Survey;

/// Says what in a thing may be saved nowhere else.
pub(super) fn unsaved(survey: &Survey) -> Option<String> {
    if let Some(unsaved) = &survey.unsaved {
        let shown = oh_term::text::escaped(&unsaved.to_string_lossy());
        return Some(format!("{shown} in it may have files that were changed and not saved"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_saved_nowhere_else_is_named() {
        let of = |unsaved: Option<&str>, repository: Option<&str>| {
            unsaved_of(unsaved, repository).unwrap_or_default()
        };
        assert_eq!(of(None, None), "");
        let said = "User/Backups in it may have files that were changed and not saved";
        assert_eq!(of(Some("User/Backups"), Some("")), said);
        let said = "it is a repository of git, and may have work that is nowhere else";
        assert_eq!(of(None, Some("")), said);
        assert_eq!(of(None, Some("a\nb")), format!("a\\nb in {said}"));
    }

    fn unsaved_of(unsaved: Option<&str>, repository: Option<&str>) -> Option<String> {
        super::unsaved(&Survey {
            unsaved: unsaved.map(Into::into),
            repositories: repository.map(Into::into).into_iter().collect(),
            ..Survey::default()
        })
    }
}
