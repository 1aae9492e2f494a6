//! `oh-nginx config`: the configuration as it is in force.

use oh_config::{Faults, Loaded};
use oh_host::settings::SettingsFault;
use oh_model::exit::Exit;
use oh_term::{Answer, Common, Failure};

use crate::cli::ConfigCommand;
use crate::edge::find;

pub(crate) fn answer(command: &ConfigCommand, common: &Common) -> Result<Answer, Failure> {
    match command {
        ConfigCommand::Show { origin } => {
            let found = find(common).map_err(Failure::of)?;
            let (notes, loaded) = (found.passed_over_warning(), found.loaded);
            let human =
                if *origin { oh_config::show_origin(&loaded) } else { oh_config::show(&loaded) };
            Ok(Answer::new(human, oh_config::show_json(&loaded)).notes(notes))
        }
        ConfigCommand::Check => check(common),
    }
}

fn check(common: &Common) -> Result<Answer, Failure> {
    let (result, notes) = match find(common) {
        Ok(found) => {
            match required(&found.loaded) {
                // The report has the warnings of the file itself.
                Ok(()) => {
                    let notes = found.passed_over_warning().into_iter().collect();
                    (Ok(found.loaded), notes)
                }
                Err(faults) => (Err(faults), found.warnings()),
            }
        }
        Err(SettingsFault::Faults(faults)) => (Err(faults), Vec::new()),
        Err(other) => return Err(Failure::of(other)),
    };
    let exit = if result.is_ok() { Exit::Ok } else { Exit::Config };
    let human = oh_config::report(&result);
    Ok(Answer::new(human, oh_config::report_json(&result)).exit(exit).notes(notes))
}

/// Names what every other command would miss.
fn required(loaded: &Loaded) -> Result<(), Faults> {
    match loaded.settings.site.require_domain() {
        Ok(_) => Ok(()),
        Err(fault) => Err(Faults(vec![*fault])),
    }
}
