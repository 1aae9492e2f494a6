//! `oh-cleanup` and editors that listen on sockets.

#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "other tests need all of it")]
mod scene;

use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use oh_config::Transport;
use oh_model::instance::Server;
use oh_testsuite::alone::alone;
use oh_testsuite::instances::Instances;
use oh_testsuite::lab::Lab;
use scene::Scene;

/// Finds a socket below a folder.
fn socket_below(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_socket() => Some(entry.path()),
        Ok(kind) if kind.is_dir() => socket_below(&entry.path()),
        _ => None,
    })
}

#[test]
fn a_stranger_on_the_socket_of_an_editor_lives_on() -> Result<()> {
    alone("a_stranger_on_the_socket_of_an_editor_lives_on", || {
        let lab = Lab::with_login()?;
        let kind = (Server::CodeServer, Transport::Unix);
        let instances = Instances::of_kind(lab, kind.0, kind.1, "")?;
        let scene = Scene { instances };
        scene.instances.start("hello")?;
        let socket = socket_below(&scene.instances.lab.at("run/sockets")).context("a socket")?;
        // Silently, as a second editor would.
        fs::remove_file(&socket)?;
        let stranger = UnixListener::bind(&socket)?;
        let said = scene.run(&["--all", "--yes", "--force-active"])?;
        ensure!(said.stdout.contains("1 editor stopped"), "{said:?}");
        let left = scene.instances.processes()?;
        ensure!(left.is_empty(), "{left:?}: {said:?}");
        // Its own listener waits still, wherever its path is now.
        stranger.set_nonblocking(true)?;
        if socket.exists() {
            UnixStream::connect(&socket)?;
            ensure!(stranger.accept().is_ok(), "{said:?}");
        }
        let waits = stranger.accept().map(drop).map_err(|fault| fault.kind());
        ensure!(waits == Err(std::io::ErrorKind::WouldBlock), "{waits:?}");
        Ok(())
    })
}

#[test]
fn a_name_with_a_line_break_keeps_no_socket() -> Result<()> {
    alone("a_name_with_a_line_break_keeps_no_socket", || {
        let scene = Scene::new()?;
        let dead = scene.instances.lab.at("tmp/vscode-ipc-d.sock");
        drop(UnixListener::bind(&dead)?);
        // A name of no file that writes a line into the kernel's table, as if somebody listened there.
        let line = format!("\n0: 2 0 00010000 1 01 4 {}", dead.display());
        let name = SocketAddr::from_abstract_name(line)?;
        let _forger = UnixListener::bind_addr(&name)?;
        let table = fs::read_to_string("/proc/net/unix")?;
        ensure!(
            table.contains(&format!("\n0: 2 0 00010000 1 01 4 {}\n", dead.display())),
            "{table}"
        );
        let said = scene.run(&["--temp", "--yes", "--older-than", "0s"])?.expect(0)?;
        ensure!(said.stdout.contains("1 thing moved") && !dead.exists(), "{said:?}");
        Ok(())
    })
}
