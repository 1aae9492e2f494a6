//! Gathers a development set-up: files of a folder, the environment, and what listens on the ports.
//!
//! It reads and changes nothing. What cannot be read is kept with its reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use oh_host::plain_file;
use oh_host::process::{ProcessDir, ProcessFault};
use oh_host::sockets::{self, Listener};

use super::dotenv;
use super::setup::{
    Checkout, Listens, OF_SERVER, OF_VITE, Running, Setup, TextFile, VariableFile, Variables,
};

/// The bytes that a file of variables may have.
const VARIABLES_BYTES_MAX: u64 = 64 << 10;

/// The bytes that a configuration may have.
const CONFIG_BYTES_MAX: u64 = 256 << 10;

/// What a configuration of Vite may be called, the one that counts first.
const VITE_CONFIGS: [&str; 6] = [
    "vite.config.js",
    "vite.config.mjs",
    "vite.config.ts",
    "vite.config.cjs",
    "vite.config.mts",
    "vite.config.cts",
];

/// Further variables that people set and nobody reads as they mean.
const MISTAKEN: [&str; 6] = [
    "CORS_ALLOWED_ORIGINS",
    "PORT",
    "BACKEND_HOST",
    "BACKEND_PORT",
    "FRONTEND_HOST",
    "FRONTEND_PORT",
];

/// What is looked at.
#[derive(Debug)]
pub(crate) struct Request<'r> {
    pub(crate) folder: &'r Path,
    pub(crate) server_port: u16,
    pub(crate) vite_port: Option<u16>,
    pub(crate) page_is_tls: bool,
    pub(crate) environment: Variables,
}

/// Gathers; says so where there is no such folder.
pub(crate) fn gather(request: &Request<'_>) -> Result<Setup, String> {
    let folder = request.folder;
    let kind = fs::metadata(folder).map_err(|fault| fault.to_string())?;
    if !kind.is_dir() {
        return Err("it is no folder".to_owned());
    }
    // Looked at as the kernel names it, as it names the folders of processes.
    let real = fs::canonicalize(folder).map_err(|fault| fault.to_string())?;
    let mut setup = Setup {
        folder: real.to_string_lossy().into_owned(),
        server_port: request.server_port,
        vite_port: request.vite_port,
        page_is_tls: request.page_is_tls,
        command: known(request.environment.iter().cloned()),
        ..Setup::default()
    };
    let front = ["frontend", "."].into_iter().find(|below| {
        VITE_CONFIGS.iter().any(|name| real.join(below).join(name).symlink_metadata().is_ok())
    });
    let front = front.unwrap_or("frontend");
    listeners(&mut setup, &real, front);
    let mut reader = Reader { folder: &real, unread: Vec::new() };
    let mode = setup.vite.as_ref().and_then(mode_of).unwrap_or_else(|| "development".to_owned());
    let named = |name: &str| if front == "." { name.to_owned() } else { format!("{front}/{name}") };
    let own =
        [format!(".env.{mode}.local"), format!(".env.{mode}"), ".env.local".into(), ".env".into()];
    setup.vite_files = own.iter().filter_map(|name| reader.variables(&named(name))).collect();
    setup.other_files = others(&real.join(front), &own)
        .iter()
        .filter_map(|name| reader.variables(&named(name)))
        .collect();
    setup.vite_config =
        VITE_CONFIGS.iter().find_map(|name| reader.text(&named(name), CONFIG_BYTES_MAX));
    setup.config_toml = reader.text("config.toml", CONFIG_BYTES_MAX);
    if real.join("openhands/server").is_dir() {
        setup.checkout = Some(Checkout {
            has_socket_io: real.join("openhands/server/listen_socket.py").is_file(),
            has_makefile: real.join("Makefile").is_file(),
            has_built_page: real.join("frontend/build").is_dir(),
        });
        setup.sandbox_source = reader
            .text("openhands/core/config/sandbox_config.py", CONFIG_BYTES_MAX)
            .map(|file| file.text);
        // The library that the server reads it with goes up from its own source.
        setup.server_file = if front == "." { None } else { reader.variables(".env") };
    }
    setup.unread.append(&mut reader.unread);
    Ok(setup)
}

/// Returns the names of files of variables for other modes of Vite.
fn others(folder: &Path, own: &[String]) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    // Samples are there to be copied.
    let is_meant = |name: &String| {
        name.starts_with(".env.")
            && !own.contains(name)
            && !["sample", "example", "template", "dist"].iter().any(|end| name.ends_with(end))
    };
    let mut names: Vec<String> = names.filter(is_meant).take(OTHERS_MAX).collect();
    names.sort();
    names
}

/// How many files for other modes are read.
const OTHERS_MAX: usize = 16;

struct Reader<'r> {
    folder: &'r Path,
    unread: Vec<(String, String)>,
}

impl Reader<'_> {
    fn text(&mut self, name: &str, bytes_max: u64) -> Option<TextFile> {
        match plain_file::read(&self.folder.join(name), bytes_max) {
            Ok(None) => None,
            Ok(Some(bytes)) => match String::from_utf8(bytes) {
                Ok(text) => Some(TextFile { name: name.to_owned(), text }),
                Err(_) => {
                    self.unread.push((name.to_owned(), "it is no UTF-8".to_owned()));
                    None
                }
            },
            Err(fault) => {
                self.unread.push((name.to_owned(), fault.to_string()));
                None
            }
        }
    }

    fn variables(&mut self, name: &str) -> Option<VariableFile> {
        let file = self.text(name, VARIABLES_BYTES_MAX)?;
        let assignments = dotenv::assignments(&file.text);
        Some(VariableFile { name: file.name, assignments })
    }
}

/// Keeps what is looked at here and nothing else: an environment has secrets of others.
fn known(variables: impl IntoIterator<Item = (String, String)>) -> Variables {
    let is_known =
        |name: &str| [OF_VITE, OF_SERVER, &MISTAKEN].iter().any(|names| names.contains(&name));
    variables.into_iter().filter(|(name, _)| is_known(name)).collect()
}

fn listeners(setup: &mut Setup, folder: &Path, front: &str) {
    let listeners = match sockets::listeners() {
        Ok(listeners) => listeners,
        Err(fault) => return setup.unread.push(("the sockets".to_owned(), fault.to_string())),
    };
    let on = |port: u16| {
        let of_port = listeners.iter().filter(move |one| one.address.port() == port);
        of_port.copied().collect::<Vec<_>>()
    };
    let wanted = [(Some(setup.server_port), "."), (setup.vite_port, front)];
    let mut found = wanted.map(|(port, below)| {
        let of_port = port.map(on).unwrap_or_default();
        listens(&of_port, &folder.join(below), &mut setup.unread)
    });
    [setup.server, setup.vite] = [found[0].take(), found[1].take()];
}

fn listens(
    of_port: &[Listener],
    folder: &Path,
    unread: &mut Vec<(String, String)>,
) -> Option<Listens> {
    let first = of_port.first()?;
    let addresses = of_port.iter().map(|one| one.address).collect();
    let place = format!("the process on port {}", first.address.port());
    let inodes: BTreeSet<u64> = of_port.iter().map(|one| one.inode).collect();
    let holder = sockets::holders(&inodes).into_values().min();
    let opened = holder.map(|pid| {
        let process = ProcessDir::open(pid)?;
        // Its number may have become another's since.
        let is_still = !process.socket_inodes()?.is_disjoint(&inodes);
        if is_still { read(&process, folder) } else { Err(ProcessFault::Gone(pid)) }
    });
    let process = match opened {
        Some(Ok(process)) => Some(process),
        Some(Err(fault)) => {
            unread.push((place, fault.to_string()));
            None
        }
        None => {
            unread.push((place, format!("it belongs to user {}, who alone may see it", first.uid)));
            None
        }
    };
    Some(Listens { addresses, process })
}

fn read(process: &ProcessDir, folder: &Path) -> Result<Running, ProcessFault> {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let arguments = process.present_arguments()?.iter().map(text).collect();
    let working = process.working_folder()?;
    let working = fs::canonicalize(&working).unwrap_or(working);
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
    let elsewhere = (working != folder).then(|| working.to_string_lossy().into_owned());
    let environment = process.environment()?;
    let environment = environment.iter().map(|(name, value)| (text(name), text(value)));
    let environment = Some(known(environment));
    Ok(Running { pid: process.pid().get(), arguments, elsewhere, environment })
}

/// Returns the mode that a running Vite was told.
fn mode_of(listens: &Listens) -> Option<String> {
    let arguments = &listens.process.as_ref()?.arguments;
    let at = arguments
        .iter()
        .position(|word| word == "--mode" || word == "-m" || word.starts_with("--mode="))?;
    let word = arguments.get(at)?;
    let mode = match word.strip_prefix("--mode=") {
        Some(mode) => mode,
        None => arguments.get(at + 1)?,
    };
    // It becomes part of a name of a file.
    let is_plain = mode.bytes().all(|one| one.is_ascii_alphanumeric() || b"-_".contains(&one));
    is_plain.then(|| mode.to_owned())
}
