//! From faults of the host to failures as people read them.

use oh_host::publish::{Host, Now, PublishFault};
use oh_host::settings::{self, Found, SettingsFault, Wish};
use oh_term::{Common, Failure};

/// The prefix of the environment's names that are ours.
const ENVIRONMENT_PREFIX: &str = "OHT_";

/// What a command works with, and what people should know of its configuration.
pub(crate) struct Context {
    /// This machine and the settings.
    pub(crate) host: Host,
    /// What is odd in the configuration, one line each.
    pub(crate) warnings: Vec<String>,
}

/// Finds the configuration that the arguments ask for.
pub(crate) fn find(common: &Common) -> Result<Found, SettingsFault> {
    settings::find(&wish(common))
}

/// Finds the configuration and keeps what the commands work with.
pub(crate) fn context(common: &Common) -> Result<Context, Failure> {
    let found = find(common).map_err(settings_failure)?;
    let warnings = found.loaded.warnings.iter().map(|fault| format!("warning: {fault}")).collect();
    Ok(Context { host: found.into_host(), warnings })
}

fn wish(common: &Common) -> Wish {
    // A name or value that is not UTF-8 is none of ours: our names are ASCII.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
        .collect();
    Wish {
        config: common.config.clone(),
        root: common.root.clone(),
        sets: common.sets.clone(),
        environment,
    }
}

pub(crate) fn settings_failure(fault: SettingsFault) -> Failure {
    let (exit, hint) = (fault.exit(), fault.hint());
    let failure = Failure::new(exit, fault);
    hint.into_iter().fold(failure, Failure::hint)
}

/// Turns a fault of publishing into a failure that says which routes are served now.
pub(crate) fn publish_failure(fault: PublishFault) -> Failure {
    let (exit, hints) = (fault.exit(), fault.hints());
    let state = match fault.now() {
        Now::Unchanged => "nothing was changed; what was served is still served".to_string(),
        Now::PutBack(Some(generation)) => {
            format!("the routes of generation {generation} were put back and are served")
        }
        Now::PutBack(None) => "what was changed was taken back".to_string(),
        Now::Unknown(why) => format!("the routes could not be put back: {why}"),
    };
    let failure = Failure::new(exit, fault).state(state);
    hints.into_iter().fold(failure, Failure::hint)
}
