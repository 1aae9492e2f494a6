use alloc::borrow::ToOwned as _;
use alloc::vec;

use super::*;

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn read(line: &str) -> Option<Part> {
    Part::read(&words(line))
}

fn some_port(number: u64) -> Option<Port> {
    Port::new(number)
}

/// As OpenHands 0.62 starts it.
const STARTED: &str = "/opt/openhands/bin/python -u -m openhands.runtime.action_execution_server 30450 \
                       --working-dir /tmp/openhands_workspace_69b8 --plugins agent_skills jupyter vscode \
                       --username root --user-id 0 --no-enable-browser";

#[test]
fn what_openhands_starts_is_read_as_it_is_started() {
    let folder = || Some("/tmp/openhands_workspace_69b8".to_owned());
    let server = Part::ActionServer { folder: folder(), port: some_port(30450) };
    assert_eq!(read(STARTED), Some(server));
    let glued = STARTED.replace("--working-dir ", "--working-dir=");
    assert_eq!(read(&glued), read(STARTED));
    for agent in [
        "/usr/bin/python3 -m openhands.agent_server --port 8000",
        "/usr/bin/python3.12 -u -m openhands.agent_server.__main__ --host 0.0.0.0 --port=8000",
        "/opt/bin/python /opt/bin/agent-server --port 8000",
        "/usr/local/bin/openhands-agent-server --port 8000",
        "python -m uvicorn openhands.agent_server.api:api --port 8000",
    ] {
        assert_eq!(read(agent), Some(Part::AgentServer { port: some_port(8000) }), "{agent}");
    }
    for kernels in [
        "/opt/bin/python /opt/bin/jupyter-kernelgateway --KernelGatewayApp.ip=0.0.0.0",
        "/opt/bin/python -m jupyter kernelgateway --KernelGatewayApp.port=47888",
        "/opt/bin/python -m ipykernel_launcher -f /root/.local/share/jupyter/runtime/kernel-5d.json",
    ] {
        assert_eq!(read(kernels), Some(Part::Kernels), "{kernels}");
    }
    let terminals = "/usr/bin/tmux new-session -P -F#{session_id} -sopenhands-root-3676 -d -c \
                     /tmp/openhands_workspace_69b8 -x 1000 -y 1000";
    assert_eq!(read(terminals), Some(Part::Terminals { folder: folder() }));
    let named = terminals.replace("tmux ", "tmux -Lopenhands ");
    assert_eq!(read(&named), read(terminals));
    let editor = "--host 0.0.0.0 --connection-token T --port 48269 --disable-workspace-trust";
    for program in [
        "sh /openhands/.openvscode-server/bin/openvscode-server",
        "/openhands/.openvscode-server/node /openhands/.openvscode-server/out/server-main.js",
    ] {
        assert_eq!(read(&alloc::format!("{program} {editor}")), Some(Part::Editor), "{program}");
    }
}

#[test]
fn openhands_itself_is_known_however_it_is_served() {
    for app in [
        "/opt/bin/python -m uvicorn openhands.server.listen:app --host=127.0.0.1 --port=0",
        "/opt/bin/python /opt/bin/uvicorn openhands.server.listen:app --reload",
        "python3 -u -X dev -W ignore -m openhands.server",
        "python -m openhands.app_server.app",
        "python -m uvicorn openhands.app_server.v1:app",
        "/opt/bin/python3 /opt/bin/gunicorn -w 4 openhands.server.listen:app",
        "/opt/bin/python /opt/bin/openhands serve",
        "python -m openhands.core.main -t hello",
        "python -m openhands.cli.entry",
    ] {
        assert_eq!(read(app), Some(Part::App), "{app}");
    }
}

#[test]
fn starters_are_known_by_the_whole_of_their_text() {
    let starter =
        |text: &str| Part::read(&[b"/bin/sh".to_vec(), b"-c".to_vec(), text.as_bytes().to_vec()]);
    let kernels = "/bin/bash << 'EOF'\ncd /opt/site-packages\n\"/opt/bin/python\" -m jupyter \
                   kernelgateway --KernelGatewayApp.ip=0.0.0.0 --KernelGatewayApp.port=47888\nEOF";
    let editor = "su - root -s /bin/bash << 'EOF'\nsudo chown -R root:root /openhands/.openvscode-server\n\
                  cd /workspace\nexec /openhands/.openvscode-server/bin/openvscode-server --host 0.0.0.0 \
                  --connection-token T --port 48269 --disable-workspace-trust\nEOF";
    for text in [kernels, editor] {
        assert_eq!(starter(text), Some(Part::Starter), "{text}");
    }
    for text in [
        "sleep 300 # /openhands/.openvscode-server/bin/openvscode-server ",
        "vim /openhands/.openvscode-server/bin/openvscode-server ",
        "echo su - root; /openhands/.openvscode-server/bin/openvscode-server x\nEOF",
        "su - root -c '/openhands/.openvscode-server/bin/openvscode-server '",
        "/bin/bash << 'EOF'\nsleep 1\nEOF",
    ] {
        assert_eq!(starter(text), None, "{text}");
    }
    for shell in ["su - root -s /bin/bash", "/bin/bash", "bash", "-bash"] {
        assert_eq!(read(shell), Some(Part::Shell), "{shell}");
    }
}

#[test]
fn what_only_speaks_of_them_is_none_of_them() {
    for other in [
        "vim action_execution_server.py",
        "python action_execution_server.py 30450 --working-dir /tmp/openhands_workspace_1",
        "bash -c python -u -m openhands.runtime.action_execution_server 1 --working-dir /tmp/x",
        "grep -m openhands.runtime.action_execution_server log",
        "python -c import-x -m openhands.runtime.action_execution_server 1",
        "python -m pdb -m openhands.agent_server",
        "python -m openhands.agent_server_tests",
        "python -m openhands.serverless",
        "python -m uvicorn mine:app openhands.serverless:x",
        "python -m openhands.runtime.action_execution_servers 1",
        "python /srv/openhands.py",
        "python openhands serve",
        "pythonx -m openhands.agent_server",
        "/usr/bin/python3",
        "python -m",
        "python -X",
        "python --version",
        "tmux new-session -s mine -c /tmp/openhands_workspace_1",
        "tmux attach -t openhands-root-1",
        "tmux -c openhands-x",
        "ssh host tmux new-session -sopenhands-1",
        "jupyter notebook",
        "python -m jupyter lab kernelgateway",
        "node /usr/lib/code-server/out/node/entry.js --auth none",
        "node /openhands/out/server-main.js --host 127.0.0.1 --connection-token T --disable-workspace-trust",
        "su root -",
        "su - root",
        "bash -l",
        "sudo su - root -s /bin/bash",
    ] {
        assert_eq!(read(other), None, "{other}");
    }
    assert_eq!(Part::read(&[]), None);
    assert_eq!(Part::read(&[Vec::new()]), None);
    assert_eq!(Part::read(&[vec![0xff; 3], vec![0xff]]), None);
}

#[test]
fn hostile_values_are_no_values() {
    let server = |rest: &str| {
        read(&alloc::format!("python -m openhands.runtime.action_execution_server {rest}"))
    };
    for (rest, folder) in [
        ("99999999999999999999", None),
        ("0 --working-dir", None),
        ("-1 --working-dirs /tmp/x", None),
        ("--working-dir --working-dir", Some("--working-dir")),
    ] {
        let folder = folder.map(str::to_owned);
        assert_eq!(server(rest), Some(Part::ActionServer { folder, port: None }), "{rest}");
    }
}

#[test]
fn a_users_systemd_takes_its_orphans_and_nothing_else_does() {
    for (line, takes) in [
        ("/lib/systemd/systemd --user", true),
        ("/usr/lib/systemd/systemd --user --deserialize=33", true),
        ("/sbin/init", false),
        ("/lib/systemd/systemd", false),
        ("systemd-run --user sleep", false),
        ("bash --user systemd", false),
    ] {
        assert_eq!(takes_orphans(&words(line)), takes, "{line}");
    }
    assert!(!takes_orphans(&[]));
}
