//! Publishing when something else is wrong: exactly the old or exactly the new routes are served,
//! the message says which, and the next run converges.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::lab::{Lab, back_end, back_end_on, basic, password, repository_back_end};
use oh_testsuite::wait;
use rustix::process::Signal;

/// How long nginx may take to notice something.
const BOUND: Duration = Duration::from_secs(20);

/// A laboratory whose session `old` is served, and the ports of `old` and `new`.
fn served() -> Result<(Lab, u16, u16)> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    let (old, new) = (back_end()?, back_end()?);
    lab.session("old", &port_only(old))?;
    lab.run(&["apply"])?.expect(0)?;
    ensure!(lab.routed("old")? == Ok(old), "the old session is not served");
    Ok((lab, old, new))
}

fn port_only(port: u16) -> String {
    format!("{{\"vscode_port\":{port}}}")
}

#[test]
fn a_foreign_broken_include_is_named_and_nothing_is_lost() -> Result<()> {
    let (lab, old, new) = served()?;
    lab.write("etc/nginx/conf.d/legacy.conf", "# old\nproxy_pas http://x;\n")?;
    lab.session("new", &port_only(new))?;
    let place = lab.at("etc/nginx/conf.d/legacy.conf");
    let said = lab.run(&["--set", "nginx.seen_timeout_ms=500", "apply"])?.expect(7)?;
    ensure!(
        said.stderr.contains(&format!("{}:2: unknown directive \"proxy_pas\"", place.display())),
        "{}",
        said.stderr
    );
    ensure!(said.stderr.contains("were put back and are served"), "{}", said.stderr);
    ensure!(lab.routed("old")? == Ok(old) && lab.routed("new")? == Err(404), "routes changed");
    // A change that nginx judges first does not even get so far.
    let said = lab.run(&["--set", "site.upstream=127.0.0.1:1", "apply"])?.expect(6)?;
    ensure!(said.stderr.contains("legacy.conf:2: unknown directive"), "{}", said.stderr);
    ensure!(said.stderr.contains("nothing was changed"), "{}", said.stderr);
    fs::remove_file(place)?;
    lab.run(&["apply"])?.expect(0)?;
    ensure!(lab.routed("new")? == Ok(new), "the next run did not converge");
    Ok(())
}

#[test]
fn a_status_tells_served_waiting_and_leaving_routes_apart() -> Result<()> {
    let (mut lab, old, new) = served()?;
    let moved = back_end()?;
    lab.session("moved", &format!("{{\"vscode_port\":{moved},\"app_ports\":[{}]}}", back_end()?))?;
    lab.run(&["apply"])?.expect(0)?;
    let rows = |lab: &Lab, code: i32| -> Result<Vec<String>> {
        let said = lab.run(&["--format", "json", "status"])?.expect(code)?.json()?;
        let routes = said["result"]["routes"].as_array().context("no routes")?;
        let row =
            |one: &serde_json::Value| format!("{} {} {}", one["state"], one["path"], one["port"]);
        Ok(routes.iter().map(|one| row(one).replace('"', "")).collect())
    };
    ensure!(rows(&lab, 0)?.iter().all(|row| row.starts_with("served ")), "{:?}", rows(&lab, 0)?);
    lab.session("new", &port_only(new))?;
    let elsewhere = back_end()?;
    lab.session("moved", &port_only(elsewhere))?;
    lab.end_session("old")?;
    let expected = [
        format!("leaving /vscode/moved/ {moved}"),
        format!("waiting /vscode/moved/ {elsewhere}"),
        format!("waiting /vscode/new/ {new}"),
        format!("leaving /vscode/old/ {old}"),
    ];
    let found = rows(&lab, 1)?;
    ensure!(found[0].starts_with("leaving /apps/moved-0/ "), "{found:?}");
    ensure!(found[1..] == expected, "{found:?}");
    let said = lab.run(&["status"])?.expect(1)?;
    let line = format!("/vscode/old/    127.0.0.1:{old}");
    ensure!(said.stdout.contains(&line) && said.stdout.contains("leaving"), "{}", said.stdout);
    lab.run(&["apply"])?.expect(0)?;
    ensure!(rows(&lab, 0)?.iter().all(|row| row.starts_with("served ")), "{:?}", rows(&lab, 0)?);
    // Without nginx nothing is served, whatever is in its place.
    lab.stop_nginx()?;
    ensure!(rows(&lab, 1)?.iter().all(|row| row.starts_with("waiting ")), "{:?}", rows(&lab, 1)?);
    Ok(())
}

#[test]
fn a_plan_for_an_nginx_that_died_says_so() -> Result<()> {
    let (mut lab, _, _) = served()?;
    ensure!(lab.run(&["plan"])?.expect(0)?.stdout.starts_with("nothing to do"), "not settled");
    lab.stop_nginx()?;
    let said = lab.run(&["plan"])?.expect(1)?;
    ensure!(said.stdout.starts_with("nothing would be changed: 1 editor"), "{}", said.stdout);
    ensure!(said.stdout.contains("no nginx master of this configuration runs"), "{}", said.stdout);
    let main = lab.at("etc/nginx/nginx.conf");
    ensure!(said.stdout.ends_with(&format!("-c {}\n", main.display())), "{}", said.stdout);
    Ok(())
}

#[test]
fn a_first_set_that_nginx_refuses_leaves_nothing() -> Result<()> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    lab.write("etc/nginx/conf.d/legacy.conf", "proxy_pas http://x;\n")?;
    lab.run(&["apply"])?.expect(6)?;
    ensure!(!lab.at("etc/nginx/openhands").exists(), "the folder of the sets is left");
    fs::remove_file(lab.at("etc/nginx/conf.d/legacy.conf"))?;
    lab.run(&["apply"])?.expect(0)?;
    Ok(())
}

#[test]
fn a_reload_that_reports_success_and_does_not_happen_is_put_back() -> Result<()> {
    let (mut lab, old, new) = served()?;
    let zone = |key: &str| format!("limit_req_zone ${key} zone=one:1m rate=1r/s;\n");
    lab.write("etc/nginx/conf.d/zone.conf", &zone("remote_addr"))?;
    lab.stop_nginx()?;
    lab.start_nginx()?;
    // nginx accepts this when asked, and refuses it when it reloads: the zone lives already.
    lab.write("etc/nginx/conf.d/zone.conf", &zone("uri"))?;
    lab.session("new", &port_only(new))?;
    for set in ["site.port=", "site.upstream=127.0.0.1:1"] {
        let own = format!("site.port={}", lab.site_port);
        let set = if set == "site.port=" { own.as_str() } else { set };
        let said = lab.run(&["--set", "nginx.seen_timeout_ms=500", "--set", set, "apply"])?;
        let said = said.expect(7)?;
        ensure!(said.stderr.contains("limit_req"), "the reason is missing: {}", said.stderr);
        ensure!(lab.routed("old")? == Ok(old) && lab.routed("new")? == Err(404), "routes changed");
    }
    lab.write("etc/nginx/conf.d/zone.conf", &zone("remote_addr"))?;
    lab.run(&["apply"])?.expect(0)?;
    ensure!(lab.routed("new")? == Ok(new), "the next run did not converge");
    Ok(())
}

#[test]
fn without_nginx_the_set_waits_in_its_place() -> Result<()> {
    let (mut lab, old, new) = served()?;
    lab.stop_nginx()?;
    lab.session("new", &port_only(new))?;
    let said = lab.run(&["apply"])?.expect(1)?;
    ensure!(said.stdout.contains("in place as generation 2-"), "{}", said.stdout);
    lab.run(&["apply"])?.expect(1)?;
    lab.start_nginx()?;
    ensure!(lab.routed("old")? == Ok(old) && lab.routed("new")? == Ok(new), "not served");
    let said = lab.run(&["apply"])?.expect(0)?;
    ensure!(said.stdout.starts_with("nothing to do"), "{}", said.stdout);
    Ok(())
}

#[test]
fn a_master_killed_with_9_leaves_workers_that_are_told_from_it() -> Result<()> {
    let (mut lab, old, new) = served()?;
    let master = lab.nginx()?.id();
    let pid = i32::try_from(master).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.context("the master has no pid")?;
    // Our own child, not waited for: the number is its own.
    rustix::process::kill_process(pid, Signal::KILL)?;
    wait::until("the end of the master", BOUND, || Ok(lab.nginx()?.has_ended()?.then_some(())))?;
    ensure!(lab.routed("old")? == Ok(old), "its workers serve on");
    lab.session("new", &port_only(new))?;
    lab.run(&["apply"])?.expect(1)?;
    let status = lab.run(&["status"])?.expect(1)?;
    ensure!(status.stdout.contains("only workers that lost theirs"), "{}", status.stdout);
    ensure!(lab.routed("old")? == Ok(old) && lab.routed("new")? == Err(404), "routes changed");
    lab.nginx()?.signal(Signal::KILL);
    wait::until_true("the end of the workers", BOUND, || lab.generation().is_none())?;
    lab.stop_nginx()?;
    lab.start_nginx()?;
    ensure!(lab.routed("new")? == Ok(new), "the new routes are not served after the start");
    lab.run(&["apply"])?.expect(0)?;
    Ok(())
}

#[test]
fn a_stranger_on_the_generations_port_is_not_believed() -> Result<()> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    // It answers whatever it is asked, on the port that nginx should have.
    back_end_on(lab.generation_port)?;
    let said = lab.run(&["apply"])?.expect(2)?;
    // The one that listens is this very process.
    let who = format!("is taken by process {} (", std::process::id());
    ensure!(said.stderr.contains(&who), "{}", said.stderr);
    let what = "that is not the nginx of this configuration";
    ensure!(said.stderr.contains(what), "{}", said.stderr);
    ensure!(said.stderr.contains("choose another nginx.generation_port"), "{}", said.stderr);
    let command = ": oh-nginx apply --set nginx.generation_port=";
    ensure!(said.stderr.contains(command), "{}", said.stderr);
    Ok(())
}

#[test]
fn strangers_beside_the_generations_address_veto_nothing() -> Result<()> {
    let (lab, _, new) = served()?;
    let port = lab.generation_port;
    let _second = TcpListener::bind(("127.0.0.2", port))?;
    let _sixth = TcpListener::bind(("::1", port));
    lab.session("new", &port_only(new))?;
    lab.run(&["apply"])?.expect(0)?;
    ensure!(lab.routed("new")? == Ok(new), "the new session is not served");
    Ok(())
}

#[test]
fn a_torn_database_changes_nothing() -> Result<()> {
    let (lab, old, new) = served()?;
    lab.write("var/www/ai-desktop/data/repositories.json", "{\"repositories\":[{\"id\":\"ne")?;
    lab.session("new", &port_only(new))?;
    let said = lab.run(&["apply"])?.expect(4)?;
    ensure!(said.stderr.contains("repositories.json cannot be used: it is not JSON"), "{said:?}");
    ensure!(said.stderr.contains("nothing was changed"), "{said:?}");
    ensure!(lab.routed("old")? == Ok(old) && lab.routed("new")? == Err(404), "routes changed");
    lab.write("var/www/ai-desktop/data/repositories.json", "{\"repositories\":[]}")?;
    lab.run(&["apply"])?.expect(0)?;
    ensure!(lab.routed("new")? == Ok(new), "the next run did not converge");
    Ok(())
}

#[test]
fn a_login_can_be_made_before_there_is_a_site() -> Result<()> {
    let mut lab = Lab::with_login()?;
    lab.start_nginx()?;
    back_end_on(lab.upstream_port)?;
    let made = password(&lab.run(&["--format", "json", "login"])?.expect(0)?.json()?)?;
    let applied = lab.run(&["--format", "json", "apply"])?.expect(0)?.json()?;
    ensure!(password(&applied).is_err(), "another login was made: {applied}");
    let answer = lab.get("/", &[("Authorization", &basic("openhands", &made))])?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}

#[test]
fn a_new_password_leaves_the_other_users() -> Result<()> {
    let mut lab = Lab::with_login()?;
    lab.start_nginx()?;
    back_end_on(lab.upstream_port)?;
    let first = password(&lab.run(&["--format", "json", "apply"])?.expect(0)?.json()?)?;
    let users = "etc/nginx/openhands/users";
    let text = fs::read_to_string(lab.at(users))?;
    fs::write(lab.at(users), format!("alice:{{PLAIN}}secret\n{text}"))?;
    let second = password(&lab.run(&["--format", "json", "login"])?.expect(0)?.json()?)?;
    let status = |user: &str, password: &str| -> Result<u16> {
        Ok(lab.get("/", &[("Authorization", &basic(user, password))])?.status)
    };
    ensure!(status("alice", "secret")? == 200, "alice is gone");
    ensure!(status("openhands", &second)? == 200, "the new password does not work");
    ensure!(status("openhands", &first)? == 401, "the old password still works");
    Ok(())
}

#[test]
fn a_foreign_origin_gets_no_socket_io_by_polling_either() -> Result<()> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    back_end_on(lab.upstream_port)?;
    lab.run(&["apply"])?.expect(0)?;
    let path = "/socket.io/?EIO=4&transport=polling";
    let own = format!("http://127.0.0.1:{}", lab.site_port);
    for (origin, expected) in [("http://evil.example", 403), ("null", 403), (own.as_str(), 200)] {
        let status = lab.get(path, &[("Origin", origin)])?.status;
        ensure!(status == expected, "{origin} gets {status}");
    }
    ensure!(lab.get(path, &[])?.status == 200, "no Origin is no browser");
    Ok(())
}

#[test]
fn a_server_of_the_operator_with_our_name_is_named() -> Result<()> {
    let mut lab = Lab::plain()?;
    let server =
        format!("server {{ listen 127.0.0.1:{}; server_name 127.0.0.1; }}\n", lab.site_port);
    lab.write("etc/nginx/conf.d/site.conf", &server)?;
    lab.start_nginx()?;
    let said = lab.run(&["apply"])?.expect(2)?;
    ensure!(said.stderr.contains("conf.d/site.conf:1 has a server for"), "{}", said.stderr);
    ensure!(!lab.at("etc/nginx/conf.d/00-openhands.conf").exists(), "something was written");
    Ok(())
}

#[test]
fn root_lets_nginx_judge_nothing_that_others_can_change() -> Result<()> {
    let (lab, old, _) = served()?;
    let own = fs::metadata("/proc/self")?.uid();
    lab.write("etc/nginx/conf.d/shared.conf", "# everybody's\n")?;
    let shared = lab.at("etc/nginx/conf.d/shared.conf");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o666))?;
    let said = lab.run(&["--set", "site.upstream=127.0.0.1:1", "apply"])?;
    if own != 0 {
        said.expect(0)?;
        return Ok(());
    }
    let said = said.expect(2)?;
    ensure!(said.stderr.contains("shared.conf has mode 0666"), "{}", said.stderr);
    ensure!(said.stderr.contains("hint: chmod go-w"), "{}", said.stderr);
    ensure!(lab.routed("old")? == Ok(old), "the old session is not served");
    Ok(())
}

#[test]
fn long_ids_are_routed_where_the_operator_lets_them() -> Result<()> {
    let id = "a".repeat(64);
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    let port = back_end()?;
    lab.session(&id, &port_only(port))?;
    lab.run(&["apply"])?.expect(0)?;
    ensure!(lab.routed(&id)? == Ok(port), "an id of 64 characters is not served");
    // A map of the operator's before ours settles the size of all.
    lab.write("etc/nginx/conf.d/00-before.conf", "map $uri $x { default 1; }\n")?;
    let said = lab.run(&["apply"])?.expect(0)?;
    ensure!(said.stdout.contains("map_hash_bucket_size here allows 38"), "{}", said.stdout);
    // The operator's own size is taken as it is, and not set twice.
    lab.write("etc/nginx/conf.d/00-before.conf", "map_hash_bucket_size 256;\n")?;
    lab.run(&["apply"])?.expect(0)?;
    ensure!(lab.routed(&id)? == Ok(port), "an id of 64 characters is not served");
    lab.write("etc/nginx/conf.d/00-before.conf", "map_hash_max_size 4096;\n")?;
    lab.run(&["apply"])?.expect(0)?;
    // Behind our maps nginx refuses either as a second one, so we say it first.
    for size in ["map_hash_max_size 4096;\n", "map_hash_bucket_size 256;\n"] {
        lab.write("etc/nginx/conf.d/00-before.conf", "")?;
        lab.write("etc/nginx/conf.d/zz-after.conf", size)?;
        let said = lab.run(&["apply"])?.expect(2)?;
        let (name, _) = size.split_once(' ').context("a directive")?;
        ensure!(said.stderr.contains(&format!("zz-after.conf:1 sets {name} after")), "{said:?}");
    }
    ensure!(lab.routed(&id)? == Ok(port), "an id of 64 characters is not served");
    Ok(())
}

#[test]
fn repositories_are_routed_and_claim_their_id_before_sessions() -> Result<()> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    let (repository, session) = (repository_back_end()?, back_end()?);
    lab.write(
        "var/www/ai-desktop/data/repositories.json",
        &format!(
            r#"{{"repositories":[{{"id":"actmcp","name":"actmcp","path":"/var/www/github/actmcp",
               "type":"git","vscodePort":{repository},"vscodeRunning":true}}]}}"#
        ),
    )?;
    lab.write(
        "var/www/ai-desktop/data/vscode-ports.json",
        &format!(
            r#"{{"instances":{{"actmcp":{{"port":{repository},"pid":1}}}},"availablePorts":[]}}"#
        ),
    )?;
    lab.session("ACTMCP", &port_only(session))?;
    let said = lab.run(&["apply"])?.expect(0)?;
    ensure!(lab.routed("actmcp")? == Ok(repository), "the repository is not served");
    ensure!(said.stdout.contains("the id is taken by repository actmcp"), "{}", said.stdout);
    let answer = lab.get("/vscode/actmcp/", &[])?;
    let location = answer.header("location").unwrap_or_default().to_owned();
    let folder = format!("/vscode/actmcp/?folder={}/var/www/github/actmcp", lab.root());
    ensure!(answer.status == 302 && location == folder, "{} {location}", answer.status);
    Ok(())
}

#[test]
fn two_runs_at_once_and_a_writer_lose_nothing() -> Result<()> {
    /// How many sessions the writer adds.
    const SESSIONS: usize = 30;
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    lab.run(&["apply"])?.expect(0)?;
    let ports = (0..SESSIONS).map(|_| back_end()).collect::<Result<Vec<_>>>()?;
    let written = Mutex::new(Vec::new());
    let done = AtomicBool::new(false);
    let lab = &lab;
    let (written, done) = (&written, &done);
    let publisher = || -> Result<usize> {
        let mut runs = 0;
        loop {
            let last = done.load(Ordering::SeqCst);
            let before: Vec<(String, u16)> = written.lock().map_err(poisoned)?.clone();
            lab.run(&["apply"])?.expect(0)?;
            runs += 1;
            for (id, port) in before {
                let routed = lab.routed(&id)?;
                ensure!(routed == Ok(port), "{id} answers {routed:?} after a run that said 0");
            }
            if last {
                return Ok(runs);
            }
        }
    };
    thread::scope(|scope| -> Result<()> {
        let publishers = [scope.spawn(publisher), scope.spawn(publisher)];
        for (index, port) in ports.iter().enumerate() {
            let id = format!("session-{index}");
            lab.session(&id, &port_only(*port))?;
            written.lock().map_err(poisoned)?.push((id, *port));
            // A writer that is faster than any publisher would be seen as one change.
            lab.run(&["status"])?;
        }
        done.store(true, Ordering::SeqCst);
        for publisher in publishers {
            let runs = publisher.join().map_err(|_| anyhow::anyhow!("a publisher panicked"))??;
            ensure!(runs > 1, "a publisher ran only once");
        }
        Ok(())
    })?;
    let said = lab.run(&["apply"])?.expect(0)?;
    ensure!(
        said.stdout.starts_with(&format!("nothing to do: {SESSIONS} editors")),
        "{}",
        said.stdout
    );
    Ok(())
}

fn poisoned<T>(_: T) -> anyhow::Error {
    anyhow::anyhow!("another thread panicked")
}
