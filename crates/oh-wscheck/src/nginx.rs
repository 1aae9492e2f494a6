//! What this machine's nginx does with the request, as far as its configuration can be read.

use oh_host::lint;
use oh_host::publish::Host;
use oh_nginx_conf::inspect::Tree;
use oh_nginx_conf::lint::{Known, Meant, Serving, serving};
use oh_probe::target::TargetHost;

use crate::hops::Hop;

/// A configuration, and what the request meets in it.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) tree: Tree,
    pub(crate) known: Known,
    /// Nothing where no server has the port.
    pub(crate) serving: Option<Serving>,
}

impl Configuration {
    /// Returns the address that the request is passed on to, where it can be asked.
    pub(crate) fn upstream(&self) -> Option<String> {
        let passed = self.serving.as_ref()?.upstream.as_ref()?;
        let can_be_asked = !passed.address.starts_with("unix:") && !passed.address.contains('$');
        can_be_asked.then(|| format!("{}://{}", passed.scheme, passed.address))
    }
}

/// Reads the configuration and follows the request.
pub(crate) fn read(host: &Host, hop: &Hop) -> Result<Configuration, String> {
    let config = &host.settings.nginx.config;
    let real = host.root.real(config).map_err(|fault| format!("{config}: {fault}"))?;
    let (tree, known) = lint::read(host, &real).map_err(|fault| {
        let source = std::error::Error::source(&fault);
        source.map_or_else(|| fault.to_string(), |source| format!("{fault}: {source}"))
    })?;
    let target = &hop.way.target;
    let name = match &target.host {
        TargetHost::Name(name) => name.clone(),
        TargetHost::Address(_) => target.host.to_string(),
    };
    let query = format!("EIO={}&transport=websocket", hop.asked.engine_version);
    let meant = Meant {
        is_tls: target.is_tls,
        host: &name,
        port: target.port,
        path: &hop.asked.path,
        query: &query,
    };
    let serving = serving(&tree, &meant);
    let known = Known { openhands: openhands(serving.as_ref(), known.openhands), ..known };
    Ok(Configuration { tree, known, serving })
}

/// What the path of Socket.IO leads to is what it is meant for, whatever the settings say.
fn openhands(serving: Option<&Serving>, configured: Option<String>) -> Option<String> {
    let passed = serving.and_then(|serving| serving.upstream.as_ref());
    passed.map(|passed| passed.address.clone()).or(configured)
}
