//! From the command line to the configuration that a command works with.

use oh_host::publish::{Host, PublishFault};
use oh_host::settings::{self, Found, SettingsFault, Wish};
use oh_term::{Common, Failure};

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
    let found = find(common).map_err(Failure::of)?;
    let warnings = found.warnings();
    Ok(Context { host: found.into_host(), warnings })
}

/// Finds the configuration for what will go on publishing: one that no publish could work with is
/// refused now, and not at each look.
pub(crate) fn lasting_context(common: &Common) -> Result<Context, Failure> {
    let context = context(common)?;
    let required = context.host.settings.site.require_domain();
    required.map_err(|fault| Failure::of(PublishFault::Config(fault)))?;
    Ok(context)
}

/// Says what decides which configuration is read.
pub(crate) fn wish(common: &Common) -> Wish {
    Wish::of(common.config.clone(), common.root.clone(), common.sets.clone())
}
