//! `oh-nginx config`: the configuration as it is in force.

use oh_host::settings::SettingsFault;
use oh_model::exit::Exit;
use oh_term::{Answer, Common, Failure};

use crate::cli::ConfigCommand;
use crate::edge::{find, settings_failure};

pub(crate) fn answer(command: &ConfigCommand, common: &Common) -> Result<Answer, Failure> {
    match command {
        ConfigCommand::Show { origin } => {
            let loaded = find(common).map_err(settings_failure)?.loaded;
            let human =
                if *origin { oh_config::show_origin(&loaded) } else { oh_config::show(&loaded) };
            Ok(Answer::new(human, oh_config::show_json(&loaded)))
        }
        ConfigCommand::Check => {
            let (result, exit) = match find(common) {
                Ok(found) => (Ok(found.loaded), Exit::Ok),
                Err(SettingsFault::Faults(faults)) => (Err(faults), Exit::Config),
                Err(other) => return Err(settings_failure(other)),
            };
            let human = oh_config::report(&result);
            Ok(Answer::new(human, oh_config::report_json(&result)).exit(exit))
        }
    }
}
