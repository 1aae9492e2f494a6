//! A listener of another user.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::process::Running;
use crate::{components, wait};

/// A user that is not root and that owns nothing else here.
pub const STRANGER: u32 = 61234;

/// How long the listener may take to start.
const BOUND: Duration = Duration::from_secs(30);

/// What it runs: a server that has no answer.
const SCRIPT: &str = "import http.server, sys; http.server.HTTPServer(('127.0.0.1', \
     int(sys.argv[1])), http.server.BaseHTTPRequestHandler).serve_forever()";

/// Lets the stranger listen on a port; the program is Debian's, so that any user can run it.
///
/// # Errors
///
/// As "environment", where we may not become another user.
pub fn strangers_listener(port: u16) -> Result<Running> {
    let mut command = Command::new(components::program("setpriv")?);
    command.args([&format!("--reuid={STRANGER}"), &format!("--regid={STRANGER}")]);
    command.args(["--clear-groups", "/usr/bin/python3", "-c", SCRIPT]).arg(port.to_string());
    command.current_dir("/");
    let running = Running::start(&mut command)?;
    wait::until("the stranger", BOUND, || {
        if running.has_ended()? {
            bail!("environment: no listener as another user (root is needed): {}", running.log());
        }
        Ok(TcpStream::connect(("127.0.0.1", port)).ok().map(drop))
    })?;
    Ok(running)
}
