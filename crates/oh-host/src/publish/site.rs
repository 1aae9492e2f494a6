//! From settings and what is around to what the layout needs.

use std::collections::BTreeMap;

use oh_config::{Auth as AuthKind, Isolation as IsolationKind, Settings, Site as SiteSettings};
use oh_model::id::ID_BYTES_MAX;
use oh_model::path::{InRoot, RealPath};
use oh_model::port::Port;
use oh_model::routes::Policy;
use oh_nginx_conf::inspect::{Surroundings, key_bytes_max};
use oh_nginx_conf::layout::{Auth, HTTP_PORT, Hosts, Isolation, LoginPages, MAP_BUCKET, Site, Tls};

use super::{Host, PublishFault};
use crate::nginx::Built;
use crate::root::Root;

/// The bucket of a `map` where nobody set one: a cache line.
const MAP_BUCKET_DEFAULT: usize = 64;

/// What a key has beside the id: `apps/` before, `-99` behind.
const KEY_EXTRA_BYTES: usize = "apps/".len() + "-99".len();

/// Takes the path of a program: programs are the machine's, whatever the root.
///
/// # Errors
/// [`PublishFault::Path`].
pub(super) fn program(path: &InRoot) -> Result<RealPath, PublishFault> {
    let path = path.as_str();
    RealPath::parse(path).map_err(|source| PublishFault::Path { path: path.into(), source })
}

/// Turns a path of the configuration into one of this machine.
///
/// # Errors
/// [`PublishFault::Path`] where the two together are too long.
pub fn real(root: &Root, path: &InRoot) -> Result<RealPath, PublishFault> {
    root.real(path).map_err(|source| PublishFault::Path { path: path.to_string(), source })
}

/// Names something below a folder.
pub(super) fn below(folder: &RealPath, name: &str) -> Result<RealPath, PublishFault> {
    let path = || format!("{folder}/{name}");
    folder.join(name).map_err(|source| PublishFault::Path { path: path(), source })
}

/// Works out what the layout needs.
pub(super) fn site(
    host: &Host,
    built: &Built,
    surroundings: &Surroundings,
) -> Result<Site, PublishFault> {
    let settings = &host.settings.site;
    let domain = settings.require_domain().map_err(PublishFault::Config)?;
    let real = |path: &InRoot| real(&host.root, path);
    let tls = match settings.tls_on() {
        false => None,
        true => match (&settings.certificate, &settings.certificate_key) {
            (Some(certificate), Some(key)) => {
                Some(Tls { certificate: real(certificate)?, key: real(key)? })
            }
            // Both are there where there is a domain, and there is one.
            _ => None,
        },
    };
    let auth = match &settings.auth {
        AuthKind::Basic => Auth::Basic { users: real(&settings.users_file)? },
        AuthKind::Request { endpoint, start } => Auth::Request {
            endpoint: endpoint.to_string(),
            pages: start.as_ref().and_then(|start| {
                let (folder, _) = start.as_str().rsplit_once('/')?;
                Some(LoginPages {
                    prefix: format!("{folder}/"),
                    start: start.to_string(),
                    upstream: endpoint.address.to_string(),
                })
            }),
        },
        AuthKind::Editor => Auth::Editor,
        AuthKind::None => Auth::Nobody,
    };
    let mut origins = vec![settings.origin().unwrap_or_default()];
    origins.extend(settings.origins.iter().map(ToString::to_string));
    origins.sort();
    origins.dedup();
    let isolation = match settings.isolation {
        IsolationKind::Path => Isolation::Path,
        IsolationKind::Sandbox => Isolation::Sandbox,
        IsolationKind::Subdomain => Isolation::Hosts(hosts(&host.root, settings, tls.as_ref())?),
    };
    let sockets = host.settings.sessions.sockets.as_ref().map(real).transpose()?;
    let taken = |port: u16| surroundings.listens.iter().any(|listen| listen.port == port);
    let port = settings.port();
    Ok(Site {
        name: domain.to_string(),
        authority: settings.authority().unwrap_or_default(),
        port,
        tls,
        listen: host.settings.nginx.listen.iter().map(ToString::to_string).collect(),
        upstream: settings.upstream.to_string(),
        auth,
        origins,
        isolation,
        sockets,
        generation_port: host.settings.nginx.generation_port,
        nginx: built.version,
        set_map_bucket: surroundings.map_bucket.is_none() && surroundings.map_before_ours.is_none(),
        set_map_max_size: !surroundings.map_max_size && surroundings.map_before_ours.is_none(),
        port_is_exclusive: !taken(port.get()),
        http_is_served: surroundings.listens.iter().any(|listen| {
            listen.port == HTTP_PORT && listen.names.iter().any(|name| *name == domain.to_string())
        }),
    })
}

/// Where sessions have hosts of their own: below their own domain or the site's.
fn hosts(root: &Root, settings: &SiteSettings, site: Option<&Tls>) -> Result<Hosts, PublishFault> {
    let base = settings.sessions_domain().map(ToString::to_string).unwrap_or_default();
    let own = (&settings.sessions_certificate, &settings.sessions_certificate_key);
    let tls = match (site, own) {
        (Some(_), (Some(certificate), Some(key))) => {
            Some(Tls { certificate: real(root, certificate)?, key: real(root, key)? })
        }
        (site, _) => site.cloned(),
    };
    Ok(Hosts { base, tls })
}

/// The one label before the base, where the name is that.
fn label_below(name: &str, base: &str) -> Option<String> {
    let label = name.strip_suffix(base)?.strip_suffix('.')?;
    (!label.contains('.')).then(|| label.to_string())
}

/// Works out what may be routed.
pub(super) fn policy(settings: &Settings, site: &Site, surroundings: &Surroundings) -> Policy {
    let bucket = match (surroundings.map_bucket, site.set_map_bucket) {
        (Some(size), _) => size,
        (None, true) => MAP_BUCKET as usize,
        (None, false) => MAP_BUCKET_DEFAULT,
    };
    let mut reserved = BTreeMap::from([
        (site.generation_port, "where nginx answers its generation"),
        (site.port, "the site's own"),
    ]);
    reserved.extend(Port::new(settings.site.upstream.port().into()).map(|p| (p, "OpenHands")));
    for listen in &surroundings.listens {
        reserved.extend(Port::new(listen.port.into()).map(|port| (port, "another nginx server's")));
    }
    Policy {
        editor_ports: settings.sessions.editor_ports.clone(),
        app_ports: settings.sessions.app_ports.clone(),
        repository_ports: settings.instances.ports,
        reserved,
        id_bytes_max: ID_BYTES_MAX.min(key_bytes_max(bucket).saturating_sub(KEY_EXTRA_BYTES)),
        sockets: site.sockets.is_some(),
        hosts: matches!(site.isolation, Isolation::Hosts(_)),
        site_label: match &site.isolation {
            Isolation::Hosts(hosts) => label_below(&site.name, &hosts.base),
            Isolation::Path | Isolation::Sandbox => None,
        },
        session_upstream: settings.sessions.upstream,
        repository_upstream: settings.instances.upstream,
    }
}
