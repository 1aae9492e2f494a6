//! Finds what `cargo xtask setup` installed, and the programs that cargo built.
//!
//! A thing that is missing is never a reason to skip: it fails as "environment", with the command
//! that mends it.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Returns the folder of the installed components.
///
/// # Errors
///
/// When neither `OHT_TEST_COMPONENTS` nor a home tells where it is.
pub fn cache() -> Result<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = variable("OHT_TEST_COMPONENTS") {
        return Ok(cache);
    }
    if fs::metadata("/proc/self").context("could not see who we are")?.uid() == 0 {
        return Ok(PathBuf::from("/var/cache/openhands-toolkit"));
    }
    let home = || variable("HOME").map(|home| home.join(".cache"));
    let cache = variable("XDG_CACHE_HOME").or_else(home);
    let cache = cache.context("environment: neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join("openhands-toolkit"))
}

/// Returns the Node program that the editor and the JavaScript peers run on.
///
/// # Errors
///
/// As "environment", when it is not installed.
pub fn node() -> Result<PathBuf> {
    cached("node", "bin/node")
}

/// Returns the entry point of code-server, to be run by [`node`].
///
/// # Errors
///
/// As "environment", when it is not installed.
pub fn code_server() -> Result<PathBuf> {
    cached("editor", "node_modules/code-server/out/node/entry.js")
}

/// Returns the folder with `socket.io` and `socket.io-client`, for `NODE_PATH`.
///
/// # Errors
///
/// As "environment", when it is not installed.
pub fn socket_io_modules() -> Result<PathBuf> {
    cached("socket-io", "node_modules")
}

/// Returns the entry point of Vite, to be run by [`node`].
///
/// # Errors
///
/// As "environment", when it is not installed.
pub fn vite() -> Result<PathBuf> {
    cached("vite", "node_modules/vite/bin/vite.js")
}

/// Returns the entry point of pm2, to be run by [`node`].
///
/// # Errors
///
/// As "environment", when it is not installed.
pub fn pm2() -> Result<PathBuf> {
    in_cache("pm2", "node_modules/pm2/bin/pm2", "cargo xtask setup --for bench")
}

/// Returns the program of the fastest remover of trees.
///
/// # Errors
///
/// As "environment", when it is not installed.
pub fn rmz() -> Result<PathBuf> {
    in_cache("rmz", "bin/rmz", "cargo xtask setup --for bench")
}

/// Returns the entry point of wscat, to be run by [`node`].
///
/// # Errors
///
/// As "environment", when it is not installed.
pub fn wscat() -> Result<PathBuf> {
    in_cache("wscat", "node_modules/wscat/bin/wscat", "cargo xtask setup --for bench")
}

/// Returns the program websocat.
///
/// # Errors
///
/// As "environment", when it is not installed.
pub fn websocat() -> Result<PathBuf> {
    in_cache("websocat", "bin/websocat", "cargo xtask setup --for bench")
}

/// Returns a Python that can import socketio, uvicorn, websockets and aiohttp.
///
/// # Errors
///
/// As "environment", when it is not installed.
pub fn python() -> Result<PathBuf> {
    cached("python", "bin/python")
}

/// Returns a Python that runs gixy as `-m gixy`.
///
/// # Errors
///
/// As "environment", when it is not installed.
pub fn gixy_python() -> Result<PathBuf> {
    cached("gixy", "bin/python")
}

/// Returns the root of a Debian 12 with systemd and nginx.
///
/// # Errors
///
/// As "environment", when it is not installed.
pub fn debian_12() -> Result<PathBuf> {
    of_the_full_tier("debian-12")
}

/// Returns the root of a Debian with a real OpenHands 0.62.0 in `/opt/openhands`.
///
/// # Errors
///
/// As "environment", when it is not installed.
pub fn openhands_0_62() -> Result<PathBuf> {
    of_the_full_tier("openhands-0.62")
}

/// Returns the root of a Debian with a real OpenHands 1.11.0 and its agent server in
/// `/opt/openhands`.
///
/// # Errors
///
/// As "environment", when it is not installed.
pub fn openhands_1_11() -> Result<PathBuf> {
    of_the_full_tier("openhands-1.11")
}

/// Returns a program of the machine, such as `nginx`; the system's folders are searched too.
///
/// # Errors
///
/// As "environment", when it is not installed.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    found.with_context(|| format!("environment: {name} is missing; run: cargo xtask setup"))
}

/// Returns a program that cargo built beside this test, such as `oh-nginx`.
///
/// # Errors
///
/// When it is not built.
pub fn built(name: &str) -> Result<PathBuf> {
    let test = env::current_exe().context("could not see which program this is")?;
    let found = test.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    let found = found.into_iter().find(|file| file.is_file());
    found.with_context(|| format!("{name} is not built; run: cargo build --workspace --bins"))
}

/// Returns the root of the workspace.
///
/// # Errors
///
/// When the manifest stands in no workspace, which is a bug here.
pub fn workspace() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    Ok(root.context("this crate stands in no workspace")?.to_path_buf())
}

fn cached(component: &str, file: &str) -> Result<PathBuf> {
    in_cache(component, file, "cargo xtask setup")
}

fn of_the_full_tier(component: &str) -> Result<PathBuf> {
    // Resolved, because what is mounted in it is looked for by its real name.
    let root = in_cache(component, "root", "cargo xtask setup --for full, as root")?;
    root.canonicalize().with_context(|| format!("could not resolve {}", root.display()))
}

fn in_cache(component: &str, file: &str, mend: &str) -> Result<PathBuf> {
    let path = cache()?.join(component).join(file);
    if !path.exists() {
        bail!("environment: {component} is missing ({}); run: {mend}", path.display());
    }
    Ok(path)
}
