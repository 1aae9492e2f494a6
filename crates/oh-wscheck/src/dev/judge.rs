//! From a set-up, and what was seen of it, to what is wrong. Pure.

use super::openhands_toml::{self, Odd};
use super::proxy::{self, Leads, Passage, Target, ViteConfig};
use super::rule::{self, Rule, Severity};
use super::setup::{Given, KEY, Listens, OF_SERVER, OF_VITE, Origin, Setup, variable};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) rule: &'static Rule,
    pub(crate) severity: Severity,
    /// `file:line`, a variable and where it is set, or a port.
    pub(crate) place: String,
    pub(crate) what: String,
    /// What to do, a line each.
    pub(crate) next: Vec<String>,
}

/// What the two ports answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    pub(crate) server: Server,
    pub(crate) through: Through,
}

/// What the server's port answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Server {
    /// Nobody listens, or nobody was asked.
    #[default]
    Unknown,
    /// The WebSocket works, over TLS or not.
    Works { is_tls: bool },
    /// Somebody speaks, over TLS or not, and the WebSocket does not work.
    Fails { is_tls: bool },
}

impl Server {
    const fn works(self) -> bool {
        matches!(self, Self::Works { .. })
    }

    const fn is_tls(self) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::Works { is_tls } | Self::Fails { is_tls } => Some(is_tls),
        }
    }
}

/// What came through Vite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Through {
    /// Nobody listens, or nobody was asked.
    #[default]
    Unknown,
    Works,
    /// Polls pass, upgrades are not answered.
    PollsAlone,
    /// Vite answers polls by itself, and upgrades not at all.
    Kept,
    /// Vite could not reach its target.
    Unreached,
    /// Something else; the cause that is told of it.
    Other(&'static str),
}

/// Judges, the worst first; of one severity in the order of the rules.
pub(crate) fn judge(setup: &Setup, seen: Seen) -> Vec<Finding> {
    let mut judge = Judge { setup, seen, found: Vec::new() };
    let vite = judge.vite_config();
    judge.proxy(vite.as_ref());
    judge.through();
    judge.page(vite.as_ref());
    judge.flags();
    judge.vite_port(vite.as_ref());
    judge.unread_variables();
    judge.unread_files();
    judge.server();
    judge.config_toml();
    judge.surroundings();
    for (what, why) in &setup.unread {
        judge.add(&rule::UNREAD, Severity::Warning, what, why.clone(), &[]);
    }
    let mut found = judge.found;
    found.sort_by_key(|finding| {
        (finding.severity, rule::ALL.iter().position(|rule| *rule == finding.rule))
    });
    found
}

/// The rules by which the way through Vite is broken.
const OF_THE_WAY: [&Rule; 7] = [
    &rule::NO_ENTRY,
    &rule::NO_WEBSOCKETS,
    &rule::ELSEWHERE,
    &rule::TLS_TO_PLAIN,
    &rule::PLAIN_TO_TLS,
    &rule::NO_HOST_AND_PORT,
    &rule::REWRITTEN,
];

struct Judge<'s> {
    setup: &'s Setup,
    seen: Seen,
    found: Vec<Finding>,
}

impl Judge<'_> {
    fn add(
        &mut self,
        rule: &'static Rule,
        severity: Severity,
        place: impl ToString,
        what: impl Into<String>,
        next: &[&str],
    ) {
        let (place, what) = (place.to_string(), what.into());
        let next = next.iter().map(|line| (*line).to_owned()).collect();
        self.found.push(Finding { rule, severity, place, what, next });
    }

    /// What breaks the way through Vite is an error, unless the way was seen to work: then what runs was started
    /// with something else.
    fn of_the_way(&self) -> Severity {
        if self.seen.through == Through::Works { Severity::Warning } else { Severity::Error }
    }

    fn vite_config(&self) -> Option<ViteConfig> {
        let file = self.setup.vite_config.as_ref()?;
        let environment = |name: &str| self.setup.of_vite(name).map(|given| given.value);
        Some(proxy::read(&file.text, &environment))
    }

    fn in_config(&self, line: Option<usize>) -> String {
        let name =
            self.setup.vite_config.as_ref().map_or("Vite's configuration", |file| &file.name);
        line.map_or_else(|| name.to_owned(), |line| format!("{name}:{line}"))
    }

    fn proxy(&mut self, config: Option<&ViteConfig>) {
        let severity = self.of_the_way();
        let server_port = self.setup.server_port;
        match config.map(|config| &config.leads) {
            None => {}
            Some(Leads::Unknown { line, why }) => {
                self.add(&rule::NOT_FOLLOWED, Severity::Note, self.in_config(*line), *why, &[]);
            }
            Some(Leads::Nowhere(line)) => {
                let entry = format!(
                    "\"/socket.io\": {{ target: \"http://127.0.0.1:{server_port}\", ws: true }},"
                );
                let next = ["in server.proxy of Vite's configuration, add:", &entry];
                let what = "no key of server.proxy begins the path /socket.io/";
                self.add(&rule::NO_ENTRY, severity, self.in_config(*line), what, &next);
            }
            Some(Leads::Through(passage)) => self.passage(passage),
        }
    }

    fn passage(&mut self, passage: &Passage) {
        let severity = self.of_the_way();
        if passage.passes_websockets == Some(false) {
            let what = format!("the entry {:?} does not say ws: true", passage.key);
            let place = self.in_config(Some(passage.line));
            self.add(
                &rule::NO_WEBSOCKETS,
                severity,
                place,
                what,
                &["in that entry, add: ws: true,"],
            );
        }
        if let Some(line) = passage.rewrites {
            let what = format!("the entry {:?} has a rewrite", passage.key);
            let next = ["take the rewrite away, or let it give /socket.io/ as it is"];
            // What it makes of the path would have to be run.
            let is_wrong = self.seen.server.works()
                && !matches!(self.seen.through, Through::Works | Through::Unknown);
            let severity = if is_wrong { severity } else { Severity::Note };
            self.add(&rule::REWRITTEN, severity, self.in_config(Some(line)), what, &next);
        }
        let given = self.setup.of_vite("VITE_BACKEND_HOST").filter(|_| passage.is_of_variables);
        if let Some(given) = &given
            && !self.is_host_and_port(given)
        {
            return;
        }
        let Some(target) = &passage.target else {
            let line = Some(passage.target_line);
            let what = "the target of its proxy is worked out by code";
            return self.add(&rule::NOT_FOLLOWED, Severity::Note, self.in_config(line), what, &[]);
        };
        let place = match &given {
            Some(given) => format!("VITE_BACKEND_HOST, {}", given.origin),
            None => self.in_config(Some(passage.target_line)),
        };
        self.target(passage, target, &place, given.as_ref());
    }

    fn target(&mut self, passage: &Passage, target: &Target, place: &str, given: Option<&Given>) {
        let severity = self.of_the_way();
        let server_port = self.setup.server_port;
        let wanted = if passage.is_of_variables {
            format!("VITE_BACKEND_HOST=127.0.0.1:{server_port}    # in .env.local of the front end")
        } else {
            format!("target: \"http://127.0.0.1:{server_port}\",")
        };
        let what = match given {
            Some(given) => given.value.clone(),
            None if passage.is_of_variables => {
                format!("{}, as VITE_BACKEND_HOST is not set", target.text)
            }
            None => target.text.clone(),
        };
        if target.host == "0.0.0.0" || target.host == "::" {
            let next = [wanted.as_str()];
            self.add(&rule::LISTEN_ADDRESS, Severity::Warning, place, what.clone(), &next);
        }
        let is_here = is_this_machine(&target.host);
        if target.port != Some(server_port) {
            let other = target.port.map_or("no port".to_owned(), |port| format!("port {port}"));
            let what =
                format!("{what}: {other}, and the server is meant to be on port {server_port}");
            let meant = match (target.port, self.setup.vite_port) {
                (Some(port), Some(vite)) => {
                    format!(
                        "or where {port} is meant: --set 'wscheck.development_ports=[{port}, {vite}]'"
                    )
                }
                _ => String::new(),
            };
            let next: Vec<&str> =
                [wanted.as_str(), &meant].into_iter().filter(|line| !line.is_empty()).collect();
            self.add(&rule::ELSEWHERE, severity, place, what, &next);
        } else if !is_here {
            let what = format!("{what}: another machine than the one that was asked");
            self.add(&rule::ELSEWHERE, Severity::Warning, place, what, &[&wanted]);
        }
        let tls = self.setup.of_vite("VITE_USE_TLS").filter(|_| passage.is_of_variables);
        let place = tls.map_or(place.to_owned(), |given| format!("VITE_USE_TLS, {}", given.origin));
        match (target.is_tls, self.seen.server.is_tls()) {
            (true, Some(false)) => {
                let what = format!("{}, and port {server_port} speaks plain HTTP", target.text);
                let next = if passage.is_of_variables { "VITE_USE_TLS=false" } else { &wanted };
                self.add(&rule::TLS_TO_PLAIN, severity, place, what, &[next]);
            }
            (true, None) => {
                let what =
                    format!("{}, and no server could be asked whether it has TLS", target.text);
                let next = ["VITE_USE_TLS=false, unless the server is started with --ssl-keyfile"];
                self.add(&rule::TLS_TO_PLAIN, Severity::Warning, place, what, &next);
            }
            (false, Some(true)) => {
                let what = format!("{}, and port {server_port} speaks TLS", target.text);
                let next = if passage.is_of_variables {
                    "VITE_USE_TLS=true"
                } else {
                    "https:// in the target"
                };
                self.add(&rule::PLAIN_TO_TLS, severity, place, what, &[next]);
            }
            _ => {}
        }
    }

    /// Says whether a value is `host:port`, and tells where it is not.
    fn is_host_and_port(&mut self, given: &Given) -> bool {
        let server_port = self.setup.server_port;
        let what = if given.value.contains("://") {
            "it has a scheme"
        } else if given.value.contains('/') {
            "it has a path"
        } else {
            match proxy::divided(&given.value) {
                ("", _) => "it has no host",
                (_, None) => "it has no port",
                (_, Some(port)) if port.parse::<u16>().is_err() => "its port is no number",
                _ => return true,
            }
        };
        let place = format!("VITE_BACKEND_HOST, {}", given.origin);
        let what = format!("{:?}: {what}", given.value);
        let next = format!("VITE_BACKEND_HOST=127.0.0.1:{server_port}");
        self.add(&rule::NO_HOST_AND_PORT, self.of_the_way(), place, what, &[&next]);
        false
    }

    /// What is seen and no text explains.
    fn through(&mut self) {
        let is_explained = self.found.iter().any(|finding| {
            finding.severity == Severity::Error && OF_THE_WAY.contains(&finding.rule)
        });
        let (Some(port), true, false) =
            (self.setup.vite_port, self.seen.server.works(), is_explained)
        else {
            return;
        };
        let place = format!("port {port}");
        let restart = "stop Vite and start it again: what runs was started with something else";
        let (rule, what, next) = match self.seen.through {
            Through::Unknown | Through::Works => return,
            Through::PollsAlone => (
                &rule::NO_WEBSOCKETS,
                "a poll is answered, and an upgrade is not".to_owned(),
                restart,
            ),
            Through::Kept => {
                (&rule::NO_ENTRY, "Vite itself answers the path of Socket.IO".to_owned(), restart)
            }
            Through::Unreached => (
                &rule::ELSEWHERE,
                "Vite cannot connect to its target, or does not trust its certificate".to_owned(),
                if self.seen.server.is_tls() == Some(true) {
                    "VITE_INSECURE_SKIP_VERIFY=true, or for Vite NODE_EXTRA_CA_CERTS=FILE with who signed it"
                } else {
                    "its own output names the target, and what failed"
                },
            ),
            Through::Other(cause) => (
                &rule::NOT_THROUGH,
                format!("{cause} of oh-wscheck"),
                "oh-wscheck --explain names it",
            ),
        };
        self.add(rule, Severity::Error, place, what, &[next]);
    }

    /// What a page asks that goes past Vite.
    fn page(&mut self, config: Option<&ViteConfig>) {
        let Some(given) = self.setup.of_vite("VITE_BACKEND_BASE_URL") else { return };
        if given.value.is_empty() {
            return;
        }
        let server_port = self.setup.server_port;
        let place = format!("VITE_BACKEND_BASE_URL, {}", given.origin);
        let unset = "take it away: the page then asks Vite, which asks the server";
        if given.value.contains("://") || given.value.contains('/') {
            let what = format!("{:?}: the page puts its own scheme before it", given.value);
            return self.add(&rule::NO_HOST_AND_PORT, Severity::Error, place, what, &[unset]);
        }
        let (host, port) = proxy::divided(&given.value);
        if host == "0.0.0.0" || host == "::" {
            self.add(
                &rule::LISTEN_ADDRESS,
                Severity::Warning,
                &place,
                given.value.clone(),
                &[unset],
            );
        }
        let is_tls = self.setup.page_is_tls || config.is_some_and(|config| config.is_tls);
        let port = port.map_or(Some(if is_tls { 443 } else { 80 }), |port| port.parse().ok());
        if is_this_machine(host) && port != Some(server_port) {
            let what =
                format!("{}, and the server is meant to be on port {server_port}", given.value);
            self.add(&rule::PAST_VITE, Severity::Error, &place, what, &[unset]);
        } else {
            self.add(&rule::PAST_VITE, Severity::Warning, &place, given.value.clone(), &[unset]);
        }
        if is_tls && self.seen.server.is_tls() != Some(true) {
            let is_sure = self.seen.server.is_tls() == Some(false);
            let severity = if is_sure { Severity::Error } else { Severity::Warning };
            let what = format!("the page came by https, so it asks wss://{}", given.value);
            self.add(&rule::MIXED, severity, place, what, &[unset]);
        }
    }

    fn flags(&mut self) {
        for name in ["VITE_USE_TLS", "VITE_INSECURE_SKIP_VERIFY"] {
            let Some(given) = self.setup.of_vite(name) else { continue };
            let is_meant =
                matches!(given.value.to_lowercase().as_str(), "true" | "1" | "yes" | "on");
            if is_meant && given.value != "true" {
                let place = format!("{name}, {}", given.origin);
                let next = format!("{name}=true");
                self.add(&rule::NOT_TRUE, Severity::Warning, place, given.value, &[&next]);
            }
        }
        let is_true = |name: &str| self.setup.of_vite(name).filter(|given| given.value == "true");
        if let Some(given) = is_true("VITE_INSECURE_SKIP_VERIFY") {
            let place = format!("VITE_INSECURE_SKIP_VERIFY, {}", given.origin);
            if is_true("VITE_USE_TLS").is_some() {
                let next = "VITE_INSECURE_SKIP_VERIFY=false, where the certificate is one that Node trusts";
                self.add(&rule::ANY_CERTIFICATE, Severity::Note, place, "true", &[next]);
            } else {
                let what = "true, and VITE_USE_TLS is not";
                self.add(&rule::WITHOUT_EFFECT, Severity::Note, place, what, &[]);
            }
        }
    }

    /// Where Vite would listen, while nobody listens where it is looked for.
    fn vite_port(&mut self, config: Option<&ViteConfig>) {
        let (Some(wanted), None) = (self.setup.vite_port, &self.setup.vite) else { return };
        let given = self.setup.of_vite("VITE_FRONTEND_PORT");
        let port = config.and_then(|config| config.port);
        let (place, what) = match (&given, port) {
            (Some(given), _) if given.value.parse() != Ok(wanted) => {
                (format!("VITE_FRONTEND_PORT, {}", given.origin), given.value.clone())
            }
            (None, Some(port)) if port != wanted => (self.in_config(None), format!("port {port}")),
            _ => return,
        };
        let what = format!("{what}, and Vite is meant to be on port {wanted}");
        let next = format!("VITE_FRONTEND_PORT={wanted}, or npm run dev -- --port {wanted}");
        self.add(&rule::OTHER_PORT, Severity::Warning, place, what, &[&next]);
    }

    /// What is set in some place, each place once.
    fn places(&self, name: &str) -> Vec<Given> {
        let mut given: Vec<Given> = Vec::new();
        let mut add = |value: &str, origin: Origin| {
            // The environment is inherited: what has the same value was set once.
            let is_told = given
                .iter()
                .any(|one| one.value == value && !matches!(origin, Origin::File { .. }));
            if !is_told {
                given.push(Given { value: value.to_owned(), origin });
            }
        };
        if let Some(value) = variable(&self.setup.command, name) {
            add(value, Origin::Command);
        }
        for (what, listens) in [("the server", &self.setup.server), ("Vite", &self.setup.vite)] {
            let Some(process) = listens.as_ref().and_then(|one| one.process.as_ref()) else {
                continue;
            };
            let value = process.environment.as_ref().and_then(|all| variable(all, name));
            if let Some(value) = value {
                add(value, Origin::Process { what, pid: process.pid });
            }
        }
        let files = self.setup.vite_files.iter().chain(&self.setup.server_file);
        given.extend(files.filter_map(|file| file.get(name)));
        given
    }

    fn unread_variables(&mut self) {
        let server_port = self.setup.server_port;
        for given in self.places("CORS_ALLOWED_ORIGINS") {
            let place = format!("CORS_ALLOWED_ORIGINS, {}", given.origin);
            let next = [
                "take it away; where REST from other origins is wanted: PERMITTED_CORS_ORIGINS=https://…",
            ];
            self.add(&rule::CORS_UNREAD, Severity::Warning, place, given.value, &next);
        }
        for given in self.places("PORT") {
            let place = format!("PORT, {}", given.origin);
            let next = format!("port={server_port}, or uvicorn … --port {server_port}");
            self.add(&rule::PORT_UNREAD, Severity::Warning, place, given.value, &[&next]);
        }
        let has_makefile = self.setup.checkout.is_some_and(|checkout| checkout.has_makefile);
        for name in ["BACKEND_HOST", "BACKEND_PORT", "FRONTEND_HOST", "FRONTEND_PORT"] {
            for given in self.places(name) {
                let place = format!("{name}, {}", given.origin);
                let is_for_make = has_makefile && !matches!(given.origin, Origin::File { .. });
                let severity = if is_for_make { Severity::Note } else { Severity::Warning };
                let next = "uvicorn … --host ADDRESS --port PORT, npm run dev -- --host ADDRESS --port PORT";
                self.add(&rule::MAKE_ALONE, severity, place, given.value, &[next]);
            }
        }
    }

    /// Variables of Vite's in files that Vite does not read.
    fn unread_files(&mut self) {
        let of_vite = |given: &&super::dotenv::Assignment| given.key.starts_with("VITE_");
        let files = self.setup.other_files.iter().chain(&self.setup.server_file);
        let mut found = Vec::new();
        for file in files {
            let Some(first) = file.assignments.iter().find(of_vite) else { continue };
            found.push((format!("{}:{}", file.name, first.line), first.key.clone()));
        }
        for (place, key) in found {
            let next = "put it into .env.local beside Vite's configuration";
            self.add(&rule::WRONG_FILE, Severity::Warning, place, key, &[next]);
        }
    }

    fn server(&mut self) {
        let serve = self.setup.of_server("SERVE_FRONTEND");
        let serves = serve.as_ref().is_none_or(|given| given.value.to_lowercase() == "true");
        let place = serve.as_ref().map_or("SERVE_FRONTEND, not set".to_owned(), |given| {
            format!("SERVE_FRONTEND, {}", given.origin)
        });
        if let Some(checkout) = self.setup.checkout.filter(|_| serves) {
            let next = ["SERVE_FRONTEND=false for the server, as Vite gives the page"];
            if !checkout.has_built_page && self.setup.server.is_none() {
                let what = "there is no frontend/build";
                self.add(&rule::NO_BUILD, Severity::Error, &place, what, &next);
            } else if checkout.has_built_page && self.setup.vite_port.is_some() {
                let severity = if serve.is_some() { Severity::Warning } else { Severity::Note };
                let what = "frontend/build is there, so both ports have a page";
                self.add(&rule::TWO_PAGES, severity, &place, what, &next);
            }
        } else if serve.is_some() && serves && self.setup.vite_port.is_some() {
            let next = ["SERVE_FRONTEND=false for the server, as Vite gives the page"];
            self.add(&rule::TWO_PAGES, Severity::Warning, &place, "true", &next);
        }
        if let Some(given) = self.setup.of_server("DEBUG") {
            let is_true = matches!(given.value.to_lowercase().as_str(), "true" | "1" | "yes");
            if !given.value.is_empty() && !is_true {
                let place = format!("DEBUG, {}", given.origin);
                let next = ["take it away, or DEBUG=true"];
                self.add(&rule::DEBUG_HALF, Severity::Note, place, given.value, &next);
            }
        }
        if self.setup.checkout.is_some_and(|checkout| !checkout.has_socket_io) {
            let severity = if self.seen.server.works() { Severity::Note } else { Severity::Error };
            let what = "there is no openhands/server/listen_socket.py";
            let next = ["check out 1.6 or older, or ask the agent server of a conversation"];
            self.add(&rule::NO_SOCKET_IO, severity, "openhands/server", what, &next);
        }
        for (what, listens) in [("the server", &self.setup.server), ("Vite", &self.setup.vite)] {
            let Some(listens) = listens else { continue };
            let Some(address) = listens.addresses.iter().find(|one| one.ip().is_unspecified())
            else {
                continue;
            };
            if self.setup.of_server(KEY).is_some_and(|given| !given.value.is_empty()) {
                continue;
            }
            let place = format!("port {}", address.port());
            let what = format!("{what} listens on {}", address.ip());
            let next = [
                "--host 127.0.0.1, and from elsewhere through ssh or a proxy that asks for a login",
            ];
            self.found.push(Finding {
                rule: &rule::OPEN_TO_ALL,
                severity: Severity::Warning,
                place,
                what,
                next: next.map(str::to_owned).into(),
            });
        }
    }

    fn config_toml(&mut self) {
        let Some(file) = &self.setup.config_toml else { return };
        // What reads no config.toml takes none of it for a fault.
        if self.setup.checkout.is_some_and(|checkout| !checkout.has_socket_io) {
            return;
        }
        let source = self.setup.sandbox_source.as_deref().unwrap_or_default();
        let fields = openhands_toml::fields(source);
        let read = openhands_toml::read(&file.text, &fields);
        let runs = self.setup.server.is_some();
        for odd in read.odd {
            let at = |line: usize| format!("{}:{line}", file.name);
            match odd {
                Odd::Malformed { line } => {
                    let next = ["mend that line: the rest of the file counts again then"];
                    let what = "this line is no TOML";
                    self.add(&rule::MALFORMED, Severity::Error, at(line), what, &next);
                }
                Odd::Fatal { line, table, key } => {
                    // One that runs knows it, or was started before the line was written.
                    let severity = if runs { Severity::Warning } else { Severity::Error };
                    let what = format!("[{table}] has the key {key:?}");
                    let next = ["take it away; keys of this toolkit stand in [toolkit] alone"];
                    self.add(&rule::FATAL_KEY, severity, at(line), what, &next);
                }
                Odd::UnknownKey { line, key } => {
                    let what = format!("[core] has the key {key:?}");
                    self.add(&rule::UNKNOWN_KEY, Severity::Warning, at(line), what, &[]);
                }
                Odd::UnknownTable { line, name } => {
                    let what = format!("the table [{name}]");
                    self.add(&rule::UNKNOWN_KEY, Severity::Warning, at(line), what, &[]);
                }
                Odd::NoCore => {
                    let what = "there is no [core]: its keys have their defaults";
                    self.add(&rule::UNKNOWN_KEY, Severity::Note, &file.name, what, &[]);
                }
            }
        }
    }

    /// What runs, beside what stands here.
    fn surroundings(&mut self) {
        let both: [(&'static str, &Option<Listens>, &[&str]); 2] =
            [("the server", &self.setup.server, OF_SERVER), ("Vite", &self.setup.vite, OF_VITE)];
        for (what, listens, names) in both {
            let Some(process) = listens.as_ref().and_then(|one| one.process.as_ref()) else {
                continue;
            };
            let place = format!("{what} (pid {})", process.pid);
            if let Some(folder) = &process.elsewhere {
                let said = format!("it works in {folder}: the files here are not its own");
                let next = format!("oh-wscheck dev {}", oh_model::hint::shell_word(folder));
                self.add(&rule::OTHER_SURROUNDINGS, Severity::Warning, &place, said, &[&next]);
            }
            let Some(environment) = &process.environment else { continue };
            for name in names {
                let here = variable(&self.setup.command, name);
                let Some(here) = here.filter(|here| variable(environment, name) != Some(here))
                else {
                    continue;
                };
                let said = if *name == KEY {
                    format!("{name} is another one here")
                } else {
                    let there = variable(environment, name).unwrap_or("not set");
                    format!("{name} is {here} here, and {there} there")
                };
                let next = ["start it again, where the value here is the one that is meant"];
                self.add(&rule::OTHER_SURROUNDINGS, Severity::Note, &place, said, &next);
            }
        }
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|one| one.is_loopback() || one.is_unspecified())
}

#[cfg(test)]
mod tests;
