//! Older installations taken over and given back: on a real nginx, with everything hashed.

#[path = "adopt/scene.rs"]
mod scene;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use anyhow::{Result, ensure};
use oh_testsuite::process::Running;
use oh_testsuite::wait;
use scene::Scene;

/// How long a watch may take to look for the first time.
const BOUND: std::time::Duration = std::time::Duration::from_secs(20);

#[test]
fn the_fork_over_tls_comes_and_goes() -> Result<()> {
    let mut scene = Scene::set("fork", &[])?;
    let ports = scene.ports;
    scene.comes_and_goes(&[
        ("/", scene.upstream()),
        ("/vscode/3f1c9a/x", ports.editor_port),
        ("/apps/3f1c9a-0/x", ports.app_port),
    ])
}

#[test]
fn the_fork_over_http_comes_and_goes() -> Result<()> {
    let mut scene = Scene::set("fork-http", &[])?;
    let ports = scene.ports;
    scene.comes_and_goes(&[
        ("/", scene.upstream()),
        ("/vscode/3f1c9a/x", ports.editor_port),
        ("/apps/3f1c9a-0/x", ports.app_port),
    ])
}

#[test]
fn the_desktop_before_its_changes_comes_and_goes() -> Result<()> {
    let mut scene = Scene::set("ai-desktop-before", &["site.domain=127.0.0.1"])?;
    let ports = scene.ports;
    scene.comes_and_goes(&[("/", scene.upstream()), ("/vscode/actmcp/x", ports.repository_port)])
}

#[test]
fn a_site_written_by_hand_with_certbot_comes_and_goes() -> Result<()> {
    let mut scene = Scene::set("certbot", &[])?;
    let ports = scene.ports;
    fs::create_dir_all(scene.lab.at("var/www/html/.well-known/acme-challenge"))?;
    scene.lab.write("var/www/html/.well-known/acme-challenge/token", "proof")?;
    scene.comes_and_goes(&[("/", scene.upstream()), ("/vscode/team/x", ports.editor_port)])
}

#[test]
fn the_layout_of_nginx_org_comes_and_goes() -> Result<()> {
    let mut scene = Scene::set("nginx-org", &["site.auth=basic"])?;
    scene.login = Some(oh_testsuite::lab::basic("kim", "secret"));
    let ports = scene.ports;
    scene.comes_and_goes(&[
        ("/", scene.upstream()),
        ("/vscode/3f1c9a/x", ports.editor_port),
        ("/apps/3f1c9a-0/x", ports.app_port),
    ])
}

#[test]
fn a_server_that_serves_more_stays_beside_ours() -> Result<()> {
    let mut scene = Scene::set("ai-desktop-after", &["site.domain=127.0.0.1"])?;
    scene.lab.start_nginx()?;
    let (before, ports) = (scene.tree()?, scene.ports);
    let said = scene.adopt(&["--dry-run"])?.expect(2)?;
    let place = scene.lab.at("etc/nginx/sites-available/ai-desktop");
    let enabled = scene.lab.at("etc/nginx/sites-enabled/ai-desktop");
    let named = format!("{}:23: location /terminal/", enabled.display());
    ensure!(said.stderr.contains(&named), "{}", said.stderr);
    ensure!(said.stderr.contains("nothing was changed"), "{}", said.stderr);
    ensure!(scene.tree()? == before, "a refusal changed something");
    // Beside it, on another port: only the line of the repositories goes.
    let old = fs::read_to_string(&place)?;
    let port = format!("site.port={}", ports.other_port);
    scene.sets.extend([port, "nginx.listen=127.0.0.1".into()]);
    scene.adopt(&["--yes"])?.expect(0)?;
    let new = fs::read_to_string(&place)?;
    let include = old.lines().position(|line| line.contains("vscode-projects/*.conf"));
    let different: Vec<usize> = (0..old.lines().count())
        .filter(|line| old.lines().nth(*line) != new.lines().nth(*line))
        .collect();
    ensure!(Some(different.clone()) == include.map(|line| vec![line]), "lines {different:?}");
    let terminal = scene.lab.get("/terminal/x", &[])?.text();
    ensure!(terminal.starts_with(&ports.app_port.to_string()), "{terminal}");
    let url = format!("http://127.0.0.1:{}/vscode/actmcp/x", ports.other_port);
    let editor = oh_testsuite::net::get(&url, &[])?.text();
    ensure!(editor.starts_with(&ports.repository_port.to_string()), "{editor}");
    scene.release(&["--yes"])?.expect(0)?;
    scene.is(&before)?;
    let editor = scene.lab.get("/vscode/actmcp/x", &[])?.text();
    ensure!(editor.starts_with(&ports.repository_port.to_string()), "{editor}");
    Ok(())
}

#[test]
fn a_fault_in_what_is_taken_over_is_mended_and_given_back() -> Result<()> {
    let mut scene = Scene::set("broken", &["site.domain=127.0.0.1"])?;
    let broken = scene.lab.at("etc/nginx/vscode-projects/my-repo.conf");
    let aside = scene.lab.at("etc/nginx/my-repo.aside");
    // nginx has read its configuration before the file came.
    fs::rename(&broken, &aside)?;
    scene.lab.start_nginx()?;
    fs::rename(&aside, &broken)?;
    let before = scene.tree()?;
    let routes = [("/vscode/actmcp/x", scene.ports.repository_port)];
    scene.answers(&routes)?;
    let said = scene.adopt(&["--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("/vscode/my-repo/: led to port 8890"), "{}", said.stdout);
    scene.answers(&routes)?;
    // What nginx refuses is given back as it was, and said.
    let said = scene.release(&["--yes"])?.expect(1)?;
    ensure!(said.stdout.contains("my-repo.conf:3"), "{}", said.stdout);
    scene.is(&before)?;
    scene.answers(&routes)?;
    Ok(())
}

#[test]
fn a_site_that_was_half_written_is_mended() -> Result<()> {
    let mut scene = Scene::set("fork-http", &[])?;
    scene.lab.start_nginx()?;
    let site = scene.lab.at("etc/nginx/sites-available/openhands");
    let text = fs::read_to_string(&site)?;
    let (beginning, _) = text.split_at(text.len() * 3 / 4);
    fs::write(&site, beginning)?;
    let before = scene.tree()?;
    scene.adopt(&["--yes"])?.expect(0)?;
    scene.answers(&[("/vscode/3f1c9a/x", scene.ports.editor_port)])?;
    scene.release(&["--yes"])?;
    scene.is(&before)
}

#[test]
fn a_fault_elsewhere_is_named_and_nothing_is_changed() -> Result<()> {
    for (fault, named) in
        [("proxy_pas x;\n", "unknown directive"), ("server {\n", "unexpected end")]
    {
        let mut scene = Scene::set("fork-http", &[])?;
        scene.lab.start_nginx()?;
        scene.lab.write("etc/nginx/conf.d/zz.conf", fault)?;
        let before = scene.tree()?;
        let said = scene.adopt(&["--yes"])?.expect(2)?;
        ensure!(said.stderr.contains("conf.d/zz.conf:"), "{}", said.stderr);
        ensure!(said.stderr.contains(named), "{}", said.stderr);
        ensure!(said.stderr.contains("nothing was changed"), "{}", said.stderr);
        scene.is(&before)?;
    }
    Ok(())
}

#[test]
fn an_operators_bucket_size_after_ours_is_named() -> Result<()> {
    let mut scene = Scene::set("fork-http", &[])?;
    scene.lab.write("etc/nginx/conf.d/zz.conf", "map_hash_bucket_size 256;\n")?;
    scene.lab.start_nginx()?;
    let before = scene.tree()?;
    let said = scene.adopt(&["--yes"])?.expect(2)?;
    ensure!(said.stderr.contains("conf.d/zz.conf:1 sets map_hash_bucket_size"), "{}", said.stderr);
    scene.is(&before)?;
    // The way out that is named: a hook that sorts behind it.
    scene.sets.push(format!("nginx.hook={}", "/etc/nginx/conf.d/zzz-openhands.conf"));
    scene.adopt(&["--yes"])?.expect(0)?;
    scene.answers(&[("/vscode/3f1c9a/x", scene.ports.editor_port)])?;
    scene.release(&["--yes"])?.expect(0)?;
    scene.is(&before)
}

#[test]
fn a_machine_that_has_nothing_old_is_left_alone() -> Result<()> {
    let mut scene = Scene::set("already-ours", &[])?;
    scene.sets.clear();
    scene.lab.start_nginx()?;
    scene.lab.run(&["apply"])?.expect(0)?;
    let (before, exact) = (scene.tree()?, scene.exact_tree()?);
    for arguments in [&["adopt", "--yes"][..], &["release", "--yes"], &["adopt"], &["release"]] {
        let said = scene.lab.run(arguments)?.expect(0)?;
        ensure!(said.stdout.starts_with("nothing to "), "{}", said.stdout);
    }
    ensure!(scene.exact_tree()? == exact, "something was written");
    scene.is(&before)?;
    scene.answers(&[("/vscode/3f1c9a/x", scene.ports.editor_port)])
}

#[test]
fn the_script_in_the_old_place_publishes() -> Result<()> {
    let mut scene = Scene::set("fork-http", &[])?;
    scene.lab.start_nginx()?;
    scene.adopt(&["--yes"])?.expect(0)?;
    let port = oh_testsuite::lab::back_end()?;
    scene.lab.session("new", &format!("{{\"vscode_port\":{port}}}"))?;
    let generator = scene.lab.at("usr/local/bin/nginx-config-generator.sh");
    let ran = Command::new(&generator).env_clear().output()?;
    let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
    ensure!(ran.status.success(), "{errors}");
    ensure!(errors == "nginx-config-generator.sh: handed on to oh-nginx apply\n", "{errors}");
    scene.answers(&[("/vscode/new/x", port)])?;
    // Its exit code is that of apply.
    scene.lab.stop_nginx()?;
    scene.lab.end_session("new")?;
    let ran = Command::new(&generator).env_clear().output()?;
    ensure!(ran.status.code() == Some(1), "it ends with {:?}", ran.status);
    Ok(())
}

#[test]
fn what_cannot_be_published_is_put_back() -> Result<()> {
    let mut scene = Scene::set("fork-http", &[])?;
    // nginx accepts this when asked, and refuses it when it reloads: the zone lives already.
    let zone = |key: &str| format!("limit_req_zone ${key} zone=one:1m rate=1r/s;\n");
    scene.lab.write("etc/nginx/conf.d/zone.conf", &zone("remote_addr"))?;
    scene.lab.start_nginx()?;
    scene.lab.write("etc/nginx/conf.d/zone.conf", &zone("uri"))?;
    let written = fs::metadata(scene.lab.at("etc/nginx/conf.d/zone.conf"))?.modified()?;
    let before = scene.tree()?;
    let routes = [("/", scene.upstream()), ("/vscode/3f1c9a/x", scene.ports.editor_port)];
    scene.sets.push("nginx.seen_timeout_ms=500".into());
    // The reload from before does not happen either, so it cannot be seen: that is said.
    let said = scene.adopt(&["--yes"])?.expect(8)?;
    ensure!(said.stderr.contains("limit_req"), "{}", said.stderr);
    ensure!(said.stderr.contains("every file is what it was"), "{}", said.stderr);
    scene.answers(&routes)?;
    scene.lab.write("etc/nginx/conf.d/zone.conf", &zone("remote_addr"))?;
    scene.release(&["--yes"])?.expect(0)?;
    scene.lab.write("etc/nginx/conf.d/zone.conf", &zone("uri"))?;
    oh_testsuite::lab::touch(&scene.lab.at("etc/nginx/conf.d/zone.conf"), written)?;
    scene.is(&before)?;
    scene.answers(&routes)?;
    Ok(())
}

#[test]
fn a_fault_after_the_changes_leads_back() -> Result<()> {
    let scene = &mut Scene::set("fork-http", &[])?;
    scene.lab.start_nginx()?;
    // Publishing refuses a folder that others may write to, and finds it when all else is done.
    let folder = scene.lab.at("etc/nginx/openhands");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
    let before = scene.tree()?;
    let said = scene.adopt(&["--yes"])?.expect(7)?;
    ensure!(said.stderr.contains("has mode 0777"), "{}", said.stderr);
    ensure!(said.stderr.contains("every file is what it was"), "{}", said.stderr);
    scene.is(&before)?;
    scene.answers(&[("/", scene.upstream()), ("/vscode/3f1c9a/x", scene.ports.editor_port)])?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    let before = scene.tree()?;
    scene.adopt(&["--yes"])?.expect(0)?;
    scene.release(&["--yes"])?.expect(0)?;
    scene.is(&before)
}

#[test]
fn a_watch_that_lives_is_ended_first() -> Result<()> {
    let mut scene = Scene::set("fork-http", &[])?;
    scene.lab.start_nginx()?;
    scene.adopt(&["--yes"])?.expect(0)?;
    let taken = scene.tree()?;
    let mut watch = Running::start(&mut scene.lab.command(&["watch"])?)?;
    let heartbeat = scene.lab.at("run/openhands-toolkit/watch.json");
    wait::until_true("the first look", BOUND, || heartbeat.exists())?;
    let refused = scene.release(&["--yes"])?.expect(5)?;
    ensure!(
        refused.stderr.contains(&format!("process {} (oh-nginx watch)", watch.id())),
        "{refused:?}"
    );
    ensure!(refused.stderr.contains("systemctl stop oh-nginx-watch"), "{refused:?}");
    scene.is(&taken)?;
    watch.stop()?;
    scene.release(&["--yes"])?.expect(0).map(drop)
}

#[test]
fn what_is_said_to_a_second_run_is_not_forgotten() -> Result<()> {
    let mut scene = Scene::set("fork-http", &[])?;
    scene.lab.start_nginx()?;
    scene.adopt(&["--yes"])?.expect(0)?;
    let taken = scene.tree()?;
    let refused = scene.adopt(&["--yes", "--set", "site.auth=editor"])?.expect(2)?;
    ensure!(refused.stderr.contains("site.auth would be forgotten"), "{refused:?}");
    scene.is(&taken)
}

#[test]
fn one_of_two_servers_of_a_name_is_chosen_by_its_port() -> Result<()> {
    let mut scene = Scene::set("fork-http", &[])?;
    let other = oh_testsuite::net::free_port()?;
    let marked = "# Auto-generated config for oh.test\n";
    let upstream = scene.upstream();
    let server = |port: u16| {
        format!(
            "server {{ listen 127.0.0.1:{port}; server_name oh.test; \
             location / {{ proxy_pass http://127.0.0.1:{upstream}; }} }}\n"
        )
    };
    let site = format!("{marked}{}{}", server(scene.lab.site_port), server(other));
    scene.lab.write("etc/nginx/sites-available/openhands", &site)?;
    scene.lab.start_nginx()?;
    let asked = scene.adopt(&["--dry-run"])?.expect(78)?;
    let choice = format!("--set site.domain=oh.test --set site.port={}", scene.lab.site_port);
    ensure!(asked.stderr.contains(&choice), "{asked:?}");
    scene.sets.extend(["site.domain=oh.test".into(), format!("site.port={}", scene.lab.site_port)]);
    scene.adopt(&["--dry-run"])?.expect(0).map(drop)
}

#[test]
fn what_was_changed_since_is_not_overwritten() -> Result<()> {
    let mut scene = Scene::set("fork", &[])?;
    scene.lab.start_nginx()?;
    let before = scene.tree()?;
    scene.adopt(&["--yes"])?.expect(0)?;
    let site = scene.lab.at("etc/nginx/sites-available/openhands");
    let edited = format!("{}# mine\n", fs::read_to_string(&site)?);
    fs::write(&site, &edited)?;
    let said = scene.release(&["--yes"])?.expect(2)?;
    let path = site.display().to_string();
    ensure!(said.stderr.contains(&format!("{path} was changed since")), "{}", said.stderr);
    ensure!(said.stderr.contains(&format!("mv {path} {path}.kept")), "{}", said.stderr);
    ensure!(fs::read_to_string(&site)? == edited, "it was overwritten");
    // A second adopt leaves it too.
    scene.adopt(&["--yes"])?.expect(0)?;
    ensure!(fs::read_to_string(&site)? == edited, "it was overwritten");
    // The way out that was named.
    fs::rename(&site, format!("{path}.kept"))?;
    scene.release(&["--yes"])?.expect(0)?;
    fs::remove_file(format!("{path}.kept"))?;
    scene.is(&before)
}

#[test]
fn a_configuration_that_was_edited_stays() -> Result<()> {
    let mut scene = Scene::set("fork-http", &[])?;
    scene.lab.start_nginx()?;
    scene.adopt(&["--yes"])?.expect(0)?;
    let config = scene.lab.at("etc/openhands-toolkit/config.toml");
    let edited = format!("{}# mine\n", fs::read_to_string(&config)?);
    fs::write(&config, &edited)?;
    let said = scene.release(&["--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("stays: it was edited"), "{}", said.stdout);
    ensure!(fs::read_to_string(&config)? == edited, "it was overwritten");
    Ok(())
}

#[test]
fn a_login_that_was_made_goes_and_users_of_others_do_not() -> Result<()> {
    let mut scene = Scene::set("fork-http", &["site.auth=basic"])?;
    scene.lab.start_nginx()?;
    let before = scene.tree()?;
    let said = scene.adopt(&["--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("login: user openhands, password "), "{}", said.stdout);
    ensure!(scene.lab.get("/", &[])?.status == 401, "nobody was asked");
    let users = scene.lab.at("etc/nginx/openhands/users");
    let own = fs::read_to_string(&users)?;
    fs::write(&users, format!("{own}kim:{{PLAIN}}secret\n"))?;
    let said = scene.release(&["--yes"])?.expect(2)?;
    ensure!(said.stderr.contains("users has users that were not made here"), "{}", said.stderr);
    fs::write(&users, own)?;
    scene.release(&["--yes"])?.expect(0)?;
    scene.is(&before)
}

#[test]
fn without_a_terminal_and_without_yes_nothing_is_done() -> Result<()> {
    let mut scene = Scene::set("fork-http", &[])?;
    scene.lab.start_nginx()?;
    let before = scene.tree()?;
    let said = scene.adopt(&[])?.expect(2)?;
    ensure!(said.stderr.contains("hint: look with --dry-run, then confirm with --yes"), "{said:?}");
    scene.adopt(&["--dry-run"])?.expect(0)?;
    scene.is(&before)?;
    scene.adopt(&["--yes"])?.expect(0)?;
    let adopted = scene.tree()?;
    scene.release(&[])?.expect(2)?;
    scene.release(&["--dry-run"])?.expect(0)?;
    ensure!(scene.tree()? == adopted, "something was given back");
    Ok(())
}

#[test]
fn modes_owners_and_times_come_back() -> Result<()> {
    let mut scene = Scene::set("fork-http", &[])?;
    let generator = scene.lab.at("usr/local/bin/nginx-config-generator.sh");
    fs::set_permissions(&generator, fs::Permissions::from_mode(0o710))?;
    let root = fs::metadata("/proc/self")?.uid() == 0;
    if root {
        std::os::unix::fs::chown(&generator, Some(0), Some(4))?;
    }
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::new(1_500_000_000, 123_456_789);
    oh_testsuite::lab::touch(&generator, long_ago)?;
    scene.lab.start_nginx()?;
    let before = scene.tree()?;
    scene.adopt(&["--yes"])?.expect(0)?;
    let meta = fs::metadata(&generator)?;
    ensure!(meta.mode() & 0o7777 == 0o710, "the script has mode {:o}", meta.mode());
    ensure!(!root || meta.gid() == 4, "the script has group {}", meta.gid());
    scene.release(&["--yes"])?.expect(0)?;
    scene.is(&before)
}

#[test]
fn without_nginx_it_waits_in_its_place_and_comes_back() -> Result<()> {
    let mut scene = Scene::set("fork-http", &[])?;
    let before = scene.tree()?;
    let said = scene.adopt(&["--yes"])?.expect(1)?;
    ensure!(said.stdout.contains("no nginx master of this configuration runs"), "{}", said.stdout);
    scene.adopt(&["--yes"])?.expect(1)?;
    scene.lab.start_nginx()?;
    let routes = [("/", scene.upstream()), ("/vscode/3f1c9a/x", scene.ports.editor_port)];
    scene.answers(&routes)?;
    scene.adopt(&["--yes"])?.expect(0)?;
    scene.lab.stop_nginx()?;
    let said = scene.release(&["--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("no nginx of this configuration runs"), "{}", said.stdout);
    scene.is(&before)?;
    scene.lab.start_nginx()?;
    scene.answers(&routes)
}

#[test]
fn a_generator_behind_a_link_and_its_link_come_back() -> Result<()> {
    let mut scene = Scene::set("fork-http", &[])?;
    let generator = scene.lab.at("usr/local/bin/nginx-config-generator.sh");
    fs::create_dir(scene.lab.at("opt"))?;
    fs::rename(&generator, scene.lab.at("opt/generate.sh"))?;
    std::os::unix::fs::symlink("../../../opt/generate.sh", &generator)?;
    scene.lab.start_nginx()?;
    let before = scene.tree()?;
    scene.adopt(&["--yes"])?.expect(0)?;
    ensure!(fs::symlink_metadata(&generator)?.is_file(), "the link was followed");
    let behind = fs::read_to_string(scene.lab.at("opt/generate.sh"))?;
    ensure!(behind.contains("Auto-generated"), "what is behind the link was written");
    scene.release(&["--yes"])?.expect(0)?;
    scene.is(&before)
}

#[test]
fn a_record_that_was_changed_is_not_believed() -> Result<()> {
    let mut scene = Scene::set("fork-http", &[])?;
    scene.lab.start_nginx()?;
    scene.adopt(&["--yes"])?.expect(0)?;
    let adopted = scene.tree()?;
    let kept = scene.lab.at("var/lib/openhands-toolkit/adopted/kept/1");
    let text = fs::read(&kept)?;
    fs::write(&kept, "rm -rf /\n")?;
    let said = scene.release(&["--yes"])?.expect(4)?;
    ensure!(said.stderr.contains("kept/1 is missing or was changed"), "{}", said.stderr);
    fs::write(&kept, text)?;
    scene.release(&["--dry-run"])?.expect(0)?;
    let routes = scene.lab.at("etc/nginx/openhands/routes.conf");
    ensure!(adopted.contains_key(&routes) && routes.exists(), "something was given back");
    Ok(())
}

#[test]
fn what_others_can_change_is_refused() -> Result<()> {
    let mut scene = Scene::set("fork-http", &[])?;
    scene.lab.start_nginx()?;
    let generator = scene.lab.at("usr/local/bin/nginx-config-generator.sh");
    if fs::metadata("/proc/self")?.uid() == 0 {
        std::os::unix::fs::chown(&generator, Some(65534), None)?;
        let said = scene.adopt(&["--yes"])?.expect(2)?;
        ensure!(said.stderr.contains("belongs to uid 65534"), "{}", said.stderr);
        ensure!(said.stderr.contains("hint: chown --no-dereference root "), "{}", said.stderr);
        std::os::unix::fs::chown(&generator, Some(0), None)?;
    }
    fs::hard_link(&generator, scene.lab.at("usr/local/bin/other"))?;
    let said = scene.adopt(&["--yes"])?.expect(2)?;
    ensure!(said.stderr.contains("has 2 names (hard links)"), "{}", said.stderr);
    Ok(())
}
