//! The configuration that `nginx -t` judges: the operator's own, with the staged set in it.
//!
//! nginx cannot judge one file of a configuration, and the staged set is not where the
//! configuration looks for it. So the files on the way from the main one to our hook are copied,
//! and in the copies the `include` that leads on names the copy or the staged set instead. The
//! line numbers stay, and in what nginx says the copies get their real names back.

use std::collections::BTreeSet;
use std::path::Path;

use oh_model::path::RealPath;
use oh_nginx_conf::inspect::{Tree, splice};
use oh_nginx_conf::write::{Text, Unquotable, Word};

use super::facts::Facts;
use super::fault::StepFault;
use super::{site, staging};
use crate::atomic::{self, FileFault, Meta};

/// The copy of the main file stands beside it, because relative names start from its folder; the
/// dot keeps it out of any pattern.
pub(super) const MAIN_COPY: &str = ".openhands-test.conf";

/// Copies on disk, removed when they are dropped.
#[derive(Debug)]
pub(super) struct Wrapper {
    main: RealPath,
    /// Each copy, and the file that it stands for.
    copies: Vec<(RealPath, String)>,
}

impl Wrapper {
    /// Returns the main file to test.
    pub(super) const fn main(&self) -> &RealPath {
        &self.main
    }

    /// Puts the real names back into what nginx says.
    pub(super) fn translated(&self, lines: Vec<String>) -> Vec<String> {
        let real = |line: String| {
            let replace = |line: String, (copy, original): &(RealPath, String)| {
                line.replace(copy.as_str(), original)
            };
            self.copies.iter().fold(line, replace)
        };
        lines.into_iter().map(real).collect()
    }
}

impl Drop for Wrapper {
    fn drop(&mut self) {
        for (copy, _) in &self.copies {
            // A copy that stays is overwritten by the next test and read by nobody.
            drop(atomic::remove_file(copy));
        }
    }
}

/// Removes what runs that were killed have left: copies, and files that were never put in place.
pub(super) fn sweep(facts: &Facts) -> Result<(), FileFault> {
    let paths = &facts.paths;
    let folders = [&paths.folder, &paths.config.parent(), &paths.hook.parent()];
    for folder in folders.into_iter().collect::<BTreeSet<_>>() {
        if Path::new(folder.as_str()).exists() {
            atomic::sweep(folder)?;
        }
    }
    if let Ok(copy) = paths.config.parent().join(MAIN_COPY) {
        atomic::remove_file(&copy)?;
    }
    Ok(())
}

/// Writes the copies.
pub(super) fn write(facts: &Facts) -> Result<Wrapper, StepFault> {
    let staged = below(&facts.paths.folder, staging::STAGED)?;
    let copy_of = |index: usize| match index {
        0 => below(&facts.paths.config.parent(), MAIN_COPY),
        _ => below(&facts.paths.folder, &format!(".test-{index}.conf")),
    };
    let mut texts = Vec::new();
    let hook = facts.paths.hook.as_str();
    copies(
        &facts.tree,
        0,
        &mut |index, path| {
            Ok(if path == hook { Some(staged.clone()) } else { Some(copy_of(index)?) })
        },
        hook,
        &mut texts,
    )?;
    let mut wrapper = Wrapper { main: copy_of(0)?, copies: Vec::new() };
    for (index, text) in texts {
        let copy = copy_of(index)?;
        let original = facts.tree.files.get(index).map(|file| file.path.clone());
        let original = original.unwrap_or_default();
        wrapper.copies.push((copy.clone(), original.clone()));
        // What is secret in the original is secret in its copy.
        let original = RealPath::parse(&original).ok();
        let meta = match original.map(|original| Meta::of(&original)).transpose()?.flatten() {
            Some(meta) => meta,
            None => Meta { mode: 0o600, owner: None },
        };
        atomic::replace(&copy, text.as_bytes(), meta)?;
    }
    Ok(wrapper)
}

/// Names what stands in a copy for a file: by index and path.
type Stand<'a> = dyn FnMut(usize, &str) -> Result<Option<RealPath>, StepFault> + 'a;

/// Rewrites the files on the way from `index` to the hook; says whether the hook is below it.
fn copies(
    tree: &Tree,
    index: usize,
    stand_in: &mut Stand<'_>,
    hook: &str,
    out: &mut Vec<(usize, String)>,
) -> Result<bool, StepFault> {
    let Some(file) = tree.files.get(index) else { return Ok(false) };
    let mut text = file.text.clone();
    let mut leads = false;
    // From the last include to the first, so that the places of those before stay right.
    for include in file.includes.iter().rev() {
        let mut names = Vec::with_capacity(include.files.len());
        let mut changed = false;
        for below in &include.files {
            let Some(path) = tree.files.get(*below).map(|file| file.path.as_str()) else {
                continue;
            };
            let on_the_way = path == hook || copies(tree, *below, stand_in, hook, out)?;
            let stand = if on_the_way { stand_in(*below, path)? } else { None };
            changed |= stand.is_some();
            names.push(stand.map_or_else(|| path.to_string(), |stand| stand.to_string()));
        }
        if changed {
            let spliced = splice(&text, include.span.clone(), &includes(&names)?);
            text = spliced.ok_or_else(|| StepFault::Proof("an include moved".into()))?;
            leads = true;
        }
    }
    if leads {
        out.push((index, text));
    }
    Ok(leads)
}

/// Writes an `include` for each name, on one line.
fn includes(names: &[String]) -> Result<String, Unquotable> {
    let mut text = Text::default();
    for name in names {
        text.directive("include", &[Word::value(name)?]);
    }
    Ok(text.finish().replace('\n', " "))
}

fn below(folder: &RealPath, name: &str) -> Result<RealPath, StepFault> {
    site::below(folder, name).map_err(|fault| {
        StepFault::File(FileFault::Io {
            doing: "name",
            path: format!("{folder}/{name}"),
            source: std::io::Error::other(fault.to_string()),
        })
    })
}
