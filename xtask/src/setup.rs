//! `setup`: what the sandbox, the tests and the benchmarks need, and how this machine gets it.
//!
//! One table names every component. What is missing is said before anything is installed; a
//! second run finds nothing to do and says so in one line. Nothing here starts a service.

use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;
use xshell::Shell;

use crate::failure::{Environment, say};

mod cached;
mod debian;
mod place;
mod root;
mod table;

use cached::Recipe;
use debian::Look;
pub(crate) use place::Place;
use table::COMPONENTS;

/// Who needs a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Need {
    /// A deployment in a folder
    Sandbox,
    /// The tests
    Test,
    /// The full tier of the tests, with all that the tests need
    Full,
    /// The benchmarks
    Bench,
}

/// One thing that a machine may lack.
struct Component {
    /// The Debian package, or the folder in the cache.
    name: &'static str,
    /// What it is for, for the person who is asked to wait.
    purpose: &'static str,
    needed_by: &'static [Need],
    source: Source,
}

/// Where a component comes from, and how to see that it is there.
enum Source {
    /// A Debian package. With `builds`, it is wanted only while one of those is missing.
    Debian { look: Look, builds: &'static [&'static str] },
    /// A folder in our cache, filled from npm, PyPI or Debian.
    Cache(Recipe),
}

impl Component {
    fn is_for(&self, need: Need) -> bool {
        self.needed_by.contains(&need) || need == Need::Full && self.needed_by.contains(&Need::Test)
    }

    fn missing(&self, place: &Place) -> bool {
        match &self.source {
            Source::Debian { look, builds } => {
                (builds.is_empty() || builds.iter().any(|name| cache_lacks(place, name)))
                    && !look.finds(self.name)
            }
            Source::Cache(recipe) => !recipe.present(place, self.name),
        }
    }

    /// Tells whether a sandbox can come up without it: it then has no editor.
    fn only_for_the_editor(&self) -> bool {
        match &self.source {
            Source::Debian { builds, .. } => !builds.is_empty(),
            Source::Cache(_) => true,
        }
    }
}

/// Installs what is missing, after saying what that is.
///
/// # Errors
///
/// `Environment` with the name of the component that could not be installed; a sandbox goes on
/// where only its editor is missing.
pub(crate) fn run(shell: &Shell, need: Need) -> Result<Place> {
    let place = Place::find()?;
    if missing(&place, need).is_empty() {
        say(&format!("setup: nothing to do, all components of the {} are there", noun(need)));
        return Ok(place);
    }
    let _lock = place.lock()?;
    let missing = missing(&place, need);
    announce(&missing, &place, need);
    say("setup: installing them now");

    let packages: Vec<_> = missing
        .iter()
        .filter(|component| matches!(component.source, Source::Debian { .. }))
        .collect();
    if !packages.is_empty() {
        let names: Vec<_> = packages.iter().map(|package| package.name).collect();
        if let Err(error) = debian::install(shell, &place, &names) {
            let editor_only = packages
                .iter()
                .filter(|package| package.missing(&place))
                .all(|package| package.only_for_the_editor());
            without_the_editor(need, editor_only, error)?;
            return Ok(place);
        }
    }
    for component in missing {
        let Source::Cache(recipe) = &component.source else { continue };
        let start = Instant::now();
        if let Err(error) = recipe.install(shell, &place, component.name) {
            let error = error.context(Environment(format!("could not install {}", component.name)));
            without_the_editor(need, true, error)?;
            return Ok(place);
        }
        say(&format!(
            "setup: {} is there ({:.0} s)",
            component.name,
            start.elapsed().as_secs_f64()
        ));
    }
    Ok(place)
}

/// Says what is missing and installs nothing; exit code 1 when something is.
pub(crate) fn announce_only(need: Need) -> Result<u8> {
    let place = Place::find()?;
    let missing = missing(&place, need);
    if missing.is_empty() {
        say(&format!("setup: all components of the {} are there", noun(need)));
        return Ok(0);
    }
    announce(&missing, &place, need);
    Ok(1)
}

fn missing(place: &Place, need: Need) -> Vec<&'static Component> {
    let wanted = COMPONENTS.iter().filter(|component| component.is_for(need));
    wanted.filter(|component| component.missing(place)).collect()
}

fn announce(missing: &[&Component], place: &Place, need: Need) {
    let count = missing.len();
    say(&format!("setup: missing for the {}, {count} in all:", noun(need)));
    for component in missing {
        let from = match component.source {
            Source::Debian { .. } => "Debian",
            Source::Cache(Recipe::Npm { .. }) => "npm",
            Source::Cache(Recipe::Python { .. }) => "PyPI",
            Source::Cache(Recipe::Cargo { .. }) => "cargo",
            Source::Cache(Recipe::Root(_)) => "Debian",
        };
        say(&format!("  {:<16} {from:<7} {}", component.name, component.purpose));
    }
    if missing.iter().any(|component| matches!(component.source, Source::Cache(_))) {
        let cache = place.cache.display();
        say(&format!("setup: what is no package of this machine goes to {cache}"));
    }
}

/// Lets a sandbox go on without its editor, and nothing else.
fn without_the_editor(need: Need, editor_only: bool, error: anyhow::Error) -> Result<()> {
    if need != Need::Sandbox || !editor_only {
        return Err(error);
    }
    say(&format!("setup: {error}"));
    for cause in error.chain().skip(1) {
        say(&format!("  because: {cause}"));
    }
    say("setup: the sandbox comes up without the editor; mend the above and run this again");
    Ok(())
}

fn cache_lacks(place: &Place, name: &str) -> bool {
    COMPONENTS
        .iter()
        .filter(|component| component.name == name)
        .any(|component| matches!(component.source, Source::Cache(_)) && component.missing(place))
}

fn noun(need: Need) -> &'static str {
    match need {
        Need::Sandbox => "sandbox",
        Need::Test => "tests",
        Need::Full => "full tier of the tests",
        Need::Bench => "benchmarks",
    }
}
