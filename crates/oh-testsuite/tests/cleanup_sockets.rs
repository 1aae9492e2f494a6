//! `oh-cleanup` and editors that listen on sockets.

#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "other tests need all of it")]
mod scene;

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};

use anyhow::{Context as _, Result, ensure};
use oh_config::Transport;
use oh_model::instance::Server;
use oh_testsuite::alone::alone;
use oh_testsuite::instances::Instances;
use oh_testsuite::lab::Lab;
use scene::Scene;

#[test]
fn a_stranger_on_the_socket_of_an_editor_lives_on() -> Result<()> {
    alone("a_stranger_on_the_socket_of_an_editor_lives_on", || {
        let lab = Lab::with_login()?;
        let kind = (Server::CodeServer, Transport::Unix);
        let instances = Instances::of_kind(lab, kind.0, kind.1, "")?;
        let scene = Scene { instances };
        scene.instances.start("hello")?;
        let folder = scene.instances.lab.at("run/sockets");
        let socket = fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
        let socket = socket.filter(|path| path.is_dir() || path.exists()).last();
        let socket = socket.context("a socket")?;
        let socket = if socket.is_dir() {
            fs::read_dir(&socket)?.next().context("a socket")??.path()
        } else {
            socket
        };
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
