//! Whether an editor is reached by its route: asked of nginx, on the machine itself.

use std::net::TcpListener;

use anyhow::{Result, ensure};
use oh_host::instances::Record;
use oh_host::publish::{Reach, reach};
use oh_model::id::InstanceId;
use oh_model::instance::{Server, Subject};
use oh_model::upstream::Upstream;
use oh_testsuite::lab::Lab;
use oh_testsuite::net::{self, Request};

use crate::scene::{Editor, SOCKETS, Scene, host, key, on_port, put_record, put_session, record};
use crate::site::{Site, publish};

#[test]
fn an_editor_is_reached_over_ports_sockets_and_its_prefix() -> Result<()> {
    for isolation in ["path", "subdomain"] {
        let scene = Scene::new(&[&format!("site.isolation={isolation}"), SOCKETS])?;
        let code = Editor::code_server(&key("a1"), None)?;
        let open = Editor::openvscode(&key("b2"), Some(&scene.socket("open")?), &[])?;
        let base_path = ["--server-base-path", "/vscode/based"];
        let based = Editor::openvscode(&key("c3"), None, &base_path)?;
        put_session(&scene.lab, &code.record("code")?)?;
        put_session(&scene.lab, &open.record_on_socket("open")?)?;
        let of_based = Record { upstream: Upstream::BasePath, ..based.record("based")? };
        put_session(&scene.lab, &of_based)?;
        scene.apply()?;
        let host = host(&scene.lab, &scene.sets)?;
        let asked = |id: &str, server| -> Result<Reach> {
            Ok(reach(&host, &InstanceId::parse(id)?, server)?)
        };
        for (id, editor) in [("code", &code), ("open", &open), ("based", &based)] {
            assert_eq!(asked(id, editor.server)?, Reach::Reached, "{id}, {isolation}");
        }
        assert_eq!(asked("none", Server::CodeServer)?, Reach::Status(404));
        drop(code);
        assert_eq!(asked("code", Server::CodeServer)?, Reach::Status(502));
    }
    Ok(())
}

#[test]
fn nothing_but_two_questions_is_passed_on_and_nothing_with_them() -> Result<()> {
    let site = Site::of(Lab::with_tls()?, &[SOCKETS])?;
    let editor = record("S", Subject::Session, Server::CodeServer, &key("a1"))?;
    put_record(&site.lab, &on_port(editor, site.editor.port)?)?;
    publish(&site.lab, &site.openhands.address(), &[SOCKETS])?;
    let base = format!("http://127.0.0.1:{}", site.lab.generation_port);
    let headers = [
        ("Cookie", "a=b"),
        ("Authorization", "Basic eDp5"),
        ("X-Any", "thing"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
    ];
    site.received();
    for asked in ["healthz", "version"] {
        let path = format!("/reach/vscode/S/{asked}");
        let answer = net::get(&format!("{base}{path}?a=b"), &headers)?;
        assert_eq!(answer.status, 200);
        let heads = site.editor.received();
        let expected =
            format!("GET /{asked} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(heads, [expected]);
    }
    for path in [
        "/reach/vscode/S/",
        "/reach/vscode/S",
        "/reach/vscode/S/healthz/",
        "/reach/vscode/S/healthz%0a",
        "/reach/vscode/S/login",
        "/reach/vscode/S/proxy/22/version",
        "/reach/vscode/S/../S/healthzz",
        "/reach/vscode/S/x%2Fhealthz",
        "/reach/vscode/none/healthz",
        "/reach/vscode/none/version",
        "/reach/apps/S-0/healthz",
        "/reach/vscode/S-0/healthz",
        "/reach/vscode//healthz",
        "/vscode/S/healthz",
    ] {
        assert_eq!(net::get(&format!("{base}{path}"), &headers)?.status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "FOO"] {
        let url = format!("{base}/reach/vscode/S/healthz");
        let request = Request { method, ..Request::get(&url) };
        assert_eq!(net::send(&request)?.status, 405, "{method}");
    }
    assert_eq!(site.received(), Vec::<String>::new());
    // The site itself has no such address.
    assert_eq!(site.lab.get("/reach/vscode/S/healthz", &[])?.status, 401);
    Ok(())
}

#[test]
fn who_is_not_the_nginx_of_this_configuration_proves_nothing() -> Result<()> {
    let mut lab = Lab::plain()?;
    let asked = |lab: &Lab| -> Result<Reach> {
        Ok(reach(&host(lab, &[])?, &InstanceId::parse("s")?, Server::CodeServer)?)
    };
    assert_eq!(asked(&lab)?, Reach::NoMaster);
    lab.start_nginx()?;
    // nginx does not have the port before it is published.
    ensure!(matches!(asked(&lab)?, Reach::NoAnswer(_)), "{:?}", asked(&lab)?);
    let _stranger = TcpListener::bind(("127.0.0.1", lab.generation_port))?;
    ensure!(matches!(asked(&lab)?, Reach::Stranger(_)), "{:?}", asked(&lab)?);
    Ok(())
}
