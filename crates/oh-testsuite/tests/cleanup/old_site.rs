//! An older site behind the real nginx, with a file for each repository as its generator wrote them.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use oh_testsuite::{net, wait};

use crate::scene::Scene;

pub(crate) const FOLDER: &str = "etc/nginx/vscode-projects";
const SITE: &str = "etc/nginx/conf.d/old-site.conf";

/// How long nginx may take to read its configuration, on two busy cores.
const BOUND: Duration = Duration::from_secs(20);

/// How many workers the nginx of a laboratory has.
const WORKERS: usize = 2;

/// What the generator wrote for a repository.
pub(crate) fn text(id: &str, port: u16, folder: &str) -> String {
    format!(
        "# Auto-generated config for {id}\n# Generated at: 2025-11-17T21:22:00.000Z\n\
         # Repository: {folder}\nlocation /vscode/{id}/ {{\n    \
         # Automatically open the repository folder\n    if ($arg_folder = \"\") {{\n        \
         return 302 /vscode/{id}/?folder={folder};\n    }}\n\n    \
         proxy_pass http://localhost:{port}/;\n    proxy_http_version 1.1;\n\n    \
         # WebSocket support (critical for VS Code)\n    \
         proxy_set_header Upgrade $http_upgrade;\n    proxy_set_header Connection 'upgrade';\n    \
         proxy_cache_bypass $http_upgrade;\n\n    # Headers\n    proxy_set_header Host $host;\n    \
         proxy_set_header X-Forwarded-Proto $scheme;\n\n    \
         # Timeouts for long-running operations\n    proxy_read_timeout 86400s;\n\n    \
         # Allow large file uploads\n    client_max_body_size 500M;\n}}\n"
    )
}

impl Scene {
    /// The port of the old site.
    fn site_port(&self) -> u16 {
        self.instances.first_port + 21
    }

    /// Puts the old site in place, with these lines of its own; nginx has not read it yet.
    pub(crate) fn old_site(&self, lines: &str) -> Result<()> {
        let lab = &self.instances.lab;
        fs::create_dir_all(lab.at(FOLDER))?;
        lab.write(
            SITE,
            &format!(
                "server {{\n    listen 127.0.0.1:{};\n    {lines}\n    \
                 location / {{ return 404; }}\n}}\n",
                self.site_port()
            ),
        )
    }

    /// The line by which the old site has all files of the folder.
    pub(crate) fn include_all(&self) -> String {
        format!("include {}/{FOLDER}/*.conf;", self.instances.lab.root())
    }

    /// Writes a file as the generator did, of a repository whose editor was on a port.
    pub(crate) fn generated(&self, id: &str, port: u16) -> Result<()> {
        let name = format!("{FOLDER}/{id}.conf");
        self.instances.lab.write(&name, &text(id, port, &format!("/var/www/github/{id}")))
    }

    /// Writes anything into that folder.
    pub(crate) fn beside(&self, name: &str, text: &str) -> Result<()> {
        self.instances.lab.write(&format!("{FOLDER}/{name}"), text)
    }

    /// Has nginx read its configuration, and waits until it has and the workers of before are done.
    pub(crate) fn reload(&self, is_read: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        // A worker has its title a moment after it has begun.
        let before = wait::until("the workers of nginx", BOUND, || {
            let now = self.workers()?;
            Ok((now.len() == WORKERS).then_some(now))
        })?;
        let pid = rustix::process::Pid::from_raw(self.master()?.parse()?).context("a pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::HUP)?;
        wait::until("nginx to read its configuration", BOUND, || {
            let now = self.workers()?;
            let are_new = now.is_disjoint(&before) && now.len() == WORKERS;
            Ok((are_new && is_read(self)?).then_some(()))
        })
    }

    /// The status of an address of the old site.
    pub(crate) fn status(&self, path: &str) -> Result<u16> {
        let answer = net::get(&format!("http://127.0.0.1:{}{path}", self.site_port()), &[])?;
        Ok(answer.status)
    }

    /// Says whether the old site has the route: nobody listens behind it, or somebody does.
    pub(crate) fn has_old_route(&self, id: &str) -> Result<bool> {
        Ok(match self.status(&format!("/vscode/{id}/?folder=x")) {
            Ok(404) => false,
            Ok(200 | 302 | 502) => true,
            Ok(other) => bail!("{id} answers {other}"),
            // It does not listen yet.
            Err(_) => false,
        })
    }

    fn master(&self) -> Result<String> {
        let pid = fs::read_to_string(self.instances.lab.at("run/nginx.pid"))?;
        Ok(pid.trim().to_owned())
    }

    /// The workers of nginx that accept: a reload gives others.
    pub(crate) fn workers(&self) -> Result<BTreeSet<String>> {
        let pid = self.master()?;
        let all = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let accepts = |pid: &&str| {
            // One that is gone accepts nobody.
            let title = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            title.starts_with("nginx: worker process") && !title.contains("shutting down")
        };
        Ok(all.split_whitespace().filter(accepts).map(str::to_owned).collect())
    }
}
