//! `oh-wscheck dev`: a development set-up of OpenHands, the server and Vite in front of it.
//!
//! It gathers what is set and what runs, asks both ports, and judges the two together (`judge`, which is pure).
//! Nothing is started, stopped or written.

mod ask;
mod dotenv;
mod gather;
mod judge;
mod openhands_toml;
mod proxy;
mod report;
mod rule;
mod script;
mod setup;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use oh_config::FILE_DEFAULT;
use oh_host::settings::{self, Found, Wish};
use oh_host::users;
use oh_model::exit::Exit;
use oh_probe::target::Target;
use oh_term::{Answer, CheckFormat, Common, Failure, Progress};
use tokio::runtime::Builder;
use tokio::time::Instant;

use gather::Request;

pub(crate) use report::explained;

/// What is looked at.
#[derive(Debug, Args)]
pub(crate) struct DevArguments {
    /// The folder in which OpenHands is developed or started; without it, the current one
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// The address at which browsers open the page, where something stands before Vite
    #[arg(long, value_name = "URL")]
    page: Option<String>,
    /// End after this time, whatever was seen until then
    #[arg(short, long, value_name = "TIME", default_value = "30s", value_parser = crate::cli::timeout)]
    timeout: Duration,
}

pub(crate) fn dev(
    arguments: &DevArguments,
    common: &Common<CheckFormat>,
) -> Result<Answer, Failure> {
    let (found, mut notes) = find_settings(common)?;
    // That root takes no config.toml of this folder for ours is no news: it is OpenHands'.
    notes.extend(found.loaded.warnings.iter().map(|fault| format!("warning: {fault}")));
    let host = found.into_host();
    let mut ports = host.settings.wscheck.development_ports.iter().map(|port| port.get());
    let (server_port, vite_port) = (ports.next(), ports.next());
    let server_port = server_port.ok_or_else(|| {
        Failure::new(Exit::Config, "wscheck.development_ports names no port")
            .hint("the server's port comes first, then that of Vite")
    })?;
    let page = arguments.page.as_deref().map(Target::parse).transpose();
    let page = page.map_err(|fault| Failure::new(Exit::Refused, format!("--page: {fault}")))?;
    let folder = arguments.folder.clone().unwrap_or_else(|| PathBuf::from("."));
    let request = Request {
        folder: &folder,
        server_port,
        vite_port,
        page_is_tls: page.is_some_and(|page| page.is_tls),
        environment: std::env::vars_os()
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
            })
            .collect(),
    };
    let setup = gather::gather(&request).map_err(|why| {
        Failure::new(Exit::CouldNotLook, format!("{} cannot be looked at: {why}", folder.display()))
    })?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|fault| Failure::new(Exit::CouldNotLook, format!("no runtime: {fault}")))?;
    let progress = Progress::start();
    progress.doing("asking");
    let asking = runtime.block_on(async {
        tokio::select! {
            asking = ask::ask(&setup, Instant::now() + arguments.timeout) => Some(asking),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    drop(progress);
    let asking = asking.ok_or_else(|| {
        Failure::new(Exit::Interrupted, "interrupted")
            .state("nothing was found out; no connection is left")
    })?;
    let findings = judge::judge(&setup, ask::seen(&asking));
    Ok(report::answer(&setup, &asking, &findings, common.format).notes(notes))
}

/// Finds the settings. Where OpenHands' own config.toml is taken for ours, as it stands in the current folder, and
/// cannot be read, the defaults count: that it cannot be read is one of the things to be told.
fn find_settings(common: &Common<CheckFormat>) -> Result<(Found, Vec<String>), Failure> {
    let wish = Wish::of(common.config.clone(), common.root.clone(), common.sets.clone());
    // Below a root, and for root, nothing of the current folder is taken.
    let is_local = common.config.is_none()
        && common.root.is_none()
        && !users::is_root()
        && Path::new(FILE_DEFAULT).symlink_metadata().is_err();
    match settings::find(&wish) {
        Ok(found) => Ok((found, Vec::new())),
        Err(fault) if is_local => {
            let wish = Wish { config: Some("/dev/null".to_owned()), ..wish };
            let found = settings::find(&wish).map_err(|_| Failure::of(fault))?;
            let note =
                "warning: config.toml of this folder is not taken for a configuration of ours";
            Ok((found, vec![note.to_owned()]))
        }
        Err(fault) => Err(Failure::of(fault)),
    }
}
