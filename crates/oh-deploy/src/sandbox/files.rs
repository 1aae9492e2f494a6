//! The files of a sandbox: made where they are missing, never changed once they are there.

use std::path::Path;

use oh_host::atomic::{self, Meta};
use oh_host::command;
use oh_host::disk;
use oh_host::publish::PublishFault;
use oh_host::random;
use oh_host::users::is_root;
use oh_model::hint::Command;
use oh_model::path::RealPath;
use oh_nginx_conf::write::{Text, Word};
use serde_json::json;
use std::time::Duration;

use super::facts::{EditorInstall, Facts};
use super::fault::SandboxFault;
use super::parts::{EDITOR_USER, editor_user};
use super::record::{Home, Record};

/// The id of the repository.
pub(crate) const REPOSITORY: &str = "hello";
/// The folder of the repository.
pub(crate) const REPOSITORY_FOLDER: &str = "var/www/github/hello";
/// The certificate of the site.
pub(crate) const CERTIFICATE: &str = "etc/openhands-toolkit/tls/certificate.pem";
/// The key of the certificate.
const KEY: &str = "etc/openhands-toolkit/tls/key.pem";
/// nginx's pid file.
pub(crate) const PID_FILE: &str = "run/nginx.pid";

/// The program that makes the certificate.
const OPENSSL: &str = "/usr/bin/openssl";
/// The largest file that is compared with the one that is wanted, in bytes.
const PROGRAM_BYTES_MAX: u64 = 64 * 1024;

/// How long making it may take.
const OPENSSL_LIMIT: Duration = Duration::from_secs(60);

/// Folders are for whoever runs alone.
const FOLDER: Meta = Meta { mode: 0o700, owner: None };

/// The folders that programs expect; that of the original application's data says that it is there
/// to be told of repositories.
const FOLDERS: [&str; 6] = [
    "var/log/nginx",
    "var/lib/nginx",
    "etc/nginx/conf.d",
    "etc/openhands-toolkit/tls",
    "run",
    "var/www/ai-desktop/data",
];

/// What `oh-instances` starts: code-server by its own Node.js.
const EDITOR_PROGRAM: &str = "usr/bin/code-server";

/// A file that is not there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its path below the sandbox.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) text: String,
    /// Who may do what with it.
    pub(crate) access: Access,
}

/// Who may do what with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// It is ours alone.
    Ours,
    /// It is the editors' to change.
    OfEditors,
    /// Everybody may run it.
    Program,
}

/// Returns the workspace of a session, below the sandbox.
pub(crate) fn session_folder(session: &str) -> String {
    format!("home/ubuntu/openhands-workspace/{session}")
}

/// Returns the files that are not there.
pub(crate) fn missing(
    home: &Home,
    record: &Record,
    editor: Option<&EditorInstall>,
) -> Result<Vec<Wanted>, SandboxFault> {
    let mut missing = Vec::new();
    for wanted in all(home, record)? {
        if !Path::new(home.at(&wanted.path)?.as_str()).exists() {
            missing.push(wanted);
        }
    }
    if let Some(editor) = editor {
        let wanted = editor_program(editor);
        // Where it leads to may be another installation by now.
        let found = atomic::read_limited(&home.at(&wanted.path)?, PROGRAM_BYTES_MAX)?;
        if found.as_deref() != Some(wanted.text.as_bytes()) {
            missing.push(wanted);
        }
    }
    Ok(missing)
}

fn editor_program(editor: &EditorInstall) -> Wanted {
    let command = Command::other(editor.node.as_str(), &[editor.code_server.as_str()]);
    Wanted {
        path: EDITOR_PROGRAM.into(),
        text: format!("#!/bin/sh\nexec {} \"$@\"\n", command.line(&[])),
        access: Access::Program,
    }
}

/// Writes a file, and the folder that it is in.
pub(crate) fn write(home: &Home, wanted: &Wanted) -> Result<(), SandboxFault> {
    let path = home.at(&wanted.path)?;
    let (owner, folder, file) = match wanted.access {
        Access::Ours => (None, 0o700, 0o600),
        Access::OfEditors => (editor_user(home), 0o700, 0o600),
        Access::Program => (None, 0o755, 0o755),
    };
    atomic::create_dirs(&path.parent(), Meta { mode: folder, owner })?;
    atomic::replace(&path, wanted.text.as_bytes(), Meta { mode: file, owner })?;
    Ok(())
}

/// Makes the folders that programs expect.
pub(crate) fn folders(home: &Home) -> Result<(), SandboxFault> {
    for folder in FOLDERS {
        atomic::create_dirs(&home.at(folder)?, FOLDER)?;
    }
    Ok(())
}

/// Makes a certificate that signs itself, for localhost and 127.0.0.1.
///
/// The certificate gets its name last: that it is there means that its key is.
pub(crate) fn certificate(facts: &Facts) -> Result<(), SandboxFault> {
    let home = &facts.home;
    let (certificate, key) = (home.at(CERTIFICATE)?, home.at(KEY)?);
    // An openssl of a run that was killed may still be writing to its own names.
    let run = random::token()?;
    let (new_certificate, new_key) =
        (home.at(&format!("{CERTIFICATE}.{run}"))?, home.at(&format!("{KEY}.{run}"))?);
    let openssl = RealPath::parse(OPENSSL)
        .map_err(|source| SandboxFault::Path { dir: OPENSSL.into(), source })?;
    let arguments = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "365",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout",
        new_key.as_str(),
        "-out",
        new_certificate.as_str(),
    ];
    let output = command::run(&openssl, &arguments, None, OPENSSL_LIMIT)?;
    if !output.status.success() {
        let said = output.stderr.lines().last().unwrap_or_default().into();
        let source = disk::full(&home.path, &output.stderr);
        return Err(SandboxFault::Certificate { ending: output.ending(), said, source });
    }
    for (from, to) in [(new_key, key), (new_certificate, certificate)] {
        std::fs::rename(from.as_str(), to.as_str())
            .map_err(|source| SandboxFault::Make { dir: to.to_string(), source })?;
    }
    Ok(())
}

fn all(home: &Home, record: &Record) -> Result<Vec<Wanted>, SandboxFault> {
    let folder = session_folder(&record.session);
    let file = |path: &str, text: String| Wanted { path: path.into(), text, access: Access::Ours };
    let work = |path: &str, text: &str| Wanted {
        path: path.into(),
        text: text.into(),
        access: Access::OfEditors,
    };
    Ok(vec![
        file("etc/openhands-toolkit/config.toml", config(home, record)?),
        file("etc/nginx/nginx.conf", nginx(home)?),
        work(&format!("{folder}/README.md"), "# The workspace of the session\n"),
        work(&format!("{REPOSITORY_FOLDER}/README.md"), "# The repository hello\n"),
    ])
}

fn config(home: &Home, record: &Record) -> Result<String, SandboxFault> {
    let ports = &record.ports;
    let site = if record.tls {
        format!(
            "domain = \"localhost\"\ncertificate = \"/{CERTIFICATE}\"\n\
             certificate_key = \"/{KEY}\"\n"
        )
    } else {
        "domain = \"127.0.0.1\"\n".into()
    };
    let user = match editor_user(home) {
        Some(_) => format!("user = \"{EDITOR_USER}\"\n"),
        None => String::new(),
    };
    // A string of JSON is one of TOML too.
    let program = json!(home.at(EDITOR_PROGRAM)?.as_str());
    Ok(format!(
        "# The configuration of this sandbox. Paths are below its folder, but for instances.program.\n\
         [toolkit]\nschema = 1\n\n\
         [toolkit.site]\n{site}port = {}\nupstream = \"127.0.0.1:{}\"\n\n\
         [toolkit.nginx]\nlisten = [\"127.0.0.1\"]\ngeneration_port = {}\n\n\
         [toolkit.sessions]\n{user}\n\
         [toolkit.instances]\n{user}program = {program}\nsupervision = \"process\"\n",
        ports.site, ports.openhands, ports.generation,
    ))
}

/// The operator's part of nginx's configuration, as small as it can be.
fn nginx(home: &Home) -> Result<String, SandboxFault> {
    let word = |below: &str| -> Result<Word, SandboxFault> {
        let path = home.at(below)?;
        Ok(Word::value(path.as_str()).map_err(PublishFault::from)?)
    };
    let (pid, error_log) = (word(PID_FILE)?, word("var/log/nginx/error.log")?);
    let (access_log, hooks) = (word("var/log/nginx/access.log")?, word("etc/nginx/conf.d/*.conf")?);
    let temporary = [
        "client_body_temp_path",
        "proxy_temp_path",
        "fastcgi_temp_path",
        "uwsgi_temp_path",
        "scgi_temp_path",
    ];
    let temporary = temporary
        .into_iter()
        .map(|name| Ok((name, word(&format!("var/lib/nginx/{name}"))?)))
        .collect::<Result<Vec<_>, SandboxFault>>()?;
    let mut text = Text::default();
    text.comment("nginx of the sandbox: everything it writes is below the sandbox's folder.");
    if is_root() && editor_user(home).is_none() {
        text.comment("Nobody but root gets to this folder, so the workers are root's too.");
        text.fixed("user", &["root"]);
    }
    text.directive("pid", &[pid]);
    text.directive("error_log", &[error_log]);
    text.block("events", &[], |text| text.fixed("worker_connections", &["1024"]));
    text.block("http", &[], |text| {
        text.directive("access_log", &[access_log]);
        for (name, path) in temporary {
            text.directive(name, &[path]);
        }
        text.directive("include", &[hooks]);
    });
    Ok(text.finish())
}
