//! From faults of the host to failures as people read them.

use oh_host::command::CommandFault;
use oh_host::folder::FolderFault;
use oh_host::nginx::NginxFault;
use oh_host::publish::{Host, Now, PublishFault};
use oh_host::settings::{self, Found, SettingsFault, Wish};
use oh_term::{Common, Failure, Hint};

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
    let warnings = warnings(&found);
    Ok(Context { host: found.into_host(), warnings })
}

/// Finds the configuration for what will go on publishing: one that no publish could work with is
/// refused now, and not at each look.
pub(crate) fn lasting_context(common: &Common) -> Result<Context, Failure> {
    let context = context(common)?;
    let required = context.host.settings.site.require_domain();
    required.map_err(|fault| publish_failure(PublishFault::Config(fault)))?;
    Ok(context)
}

/// Says what is odd and yet usable, one line each.
pub(crate) fn warnings(found: &Found) -> Vec<String> {
    let odd = found.loaded.warnings.iter().map(|fault| format!("warning: {fault}"));
    passed_over(found).into_iter().chain(odd).collect()
}

/// Names a file that people may think counts.
pub(crate) fn passed_over(found: &Found) -> Option<String> {
    found.passed_over.as_ref().map(|what| format!("warning: {what}"))
}

/// Says what decides which configuration is read.
pub(crate) fn wish(common: &Common) -> Wish {
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

/// Turns a fault of the configuration into a failure.
pub(crate) fn settings_failure(fault: SettingsFault) -> Failure {
    let (exit, hint) = (fault.exit(), fault.hint());
    let failure = match fault {
        SettingsFault::Faults(faults) => {
            let listed: Vec<_> = faults.0.iter().map(oh_config::fault_json).collect();
            let failure = match faults.0.len() {
                1 => Failure::new(exit, SettingsFault::Faults(faults)),
                count => {
                    Failure::new(exit, format!("the configuration has {count} faults\n{faults}"))
                }
            };
            failure.faults(listed)
        }
        fault => Failure::new(exit, fault),
    };
    hint.into_iter().fold(failure, Failure::hint)
}

/// Turns a fault of publishing into a failure that says which routes are served now.
pub(crate) fn publish_failure(fault: PublishFault) -> Failure {
    let (exit, mut hints) = (fault.exit(), fault.hints());
    hints.extend(further_hint(&fault));
    let state = match fault.now() {
        Now::Unchanged => "nothing was changed; what was served is still served".to_string(),
        Now::PutBack(Some(generation)) => {
            format!("the routes of generation {generation} were put back and are served")
        }
        Now::PutBack(None) => "what was changed was taken back".to_string(),
        Now::Unknown(why) => format!("the routes could not be put back: {why}"),
    };
    let failure = match fault {
        // Its hint is among the hints, so it need not stand in the message as well.
        PublishFault::Config(mut fault) => {
            let listed = oh_config::fault_json(&fault);
            fault.hint = None;
            Failure::new(exit, fault).faults([listed])
        }
        fault => Failure::new(exit, fault),
    };
    hints.into_iter().fold(failure.state(state), Failure::hint)
}

/// Names the key that decides, where no command mends it.
fn further_hint(fault: &PublishFault) -> Option<Hint> {
    Some(match fault {
        PublishFault::Nginx(NginxFault::Run(CommandFault::Start { .. })) => {
            "install nginx, or set nginx.program to where it is".into()
        }
        PublishFault::Sessions(FolderFault::NotAFolder { .. }) => {
            "put a real folder there, or set sessions.directory to one".into()
        }
        _ => return None,
    })
}
