//! The one table of keys. Loader, schema, example, reference and suggestions are made of it.

use alloc::format;
use alloc::string::String;

use crate::literal::Literal;

/// The newest version of our keys that this build knows.
pub const SCHEMA_VERSION: i64 = 1;

/// Describes one key below `[toolkit]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The path below `toolkit`, such as `site.domain`.
    pub path: &'static str,
    /// What the value may be.
    pub kind: Kind,
    /// The default.
    pub preset: Preset,
    /// Says that the key names a command, a path, a user, a host or a root, or decides who may
    /// come in: the environment cannot set it.
    pub trusted: bool,
    /// What the key is for, one paragraph.
    pub doc: &'static str,
    /// A value in TOML, for a key without a default or with an empty one.
    pub example: Option<&'static str>,
}

impl Key {
    /// Returns the table that the key is in, such as `site`; empty for `[toolkit]` itself.
    pub fn table(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(table, _)| table)
    }

    /// Returns the last part of the path.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// Returns the full path, such as `toolkit.site.domain`.
    pub fn full_path(&self) -> String {
        crate::fault::full(self.path)
    }

    /// Returns the name of the variable that would set the key: `OHT_SITE__DOMAIN`.
    pub fn environment_name(&self) -> String {
        format!("OHT_{}", self.path.replace('.', "__").to_ascii_uppercase())
    }
}

/// Says what a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The version of our keys: a number from 1 up.
    Version,
    /// A number between two, both allowed.
    Integer {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
        /// What is counted.
        unit: &'static str,
    },
    /// A TCP port as a number.
    Port,
    /// A list of TCP ports as numbers.
    Ports,
    /// A range of TCP ports as text.
    PortRange,
    /// A list of such ranges.
    PortRanges,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A host name or an IP address.
    Domain,
    /// An absolute path.
    Path,
    /// An absolute path that may have `{domain}` in it.
    CertificatePath,
    /// An absolute path with one `{id}` in it.
    SessionPath,
    /// An absolute path with one `{repo}` in it.
    RepositoryPath,
    /// An absolute path, or one below the home folder: `~/…`.
    HomePath,
    /// An IP address with a port.
    Endpoint,
    /// An http URL whose host is an IP address.
    HttpUrl,
    /// A list of web origins.
    WebOrigins,
    /// A list of addresses that nginx listens on.
    Listen,
    /// A list of users, by name or number.
    Owners,
    /// A user, by name or number.
    User,
    /// A list of patterns of left-overs.
    Patterns,
}

/// Holds a default in a form that a constant can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// There is none.
    Unset,
    /// A number.
    Integer(i64),
    /// A text.
    Text(&'static str),
    /// A list of texts.
    Texts(&'static [&'static str]),
    /// A list of numbers.
    Integers(&'static [i64]),
}

impl Preset {
    /// Returns the default as a value; `None` where there is none.
    pub fn literal(self) -> Option<Literal> {
        match self {
            Self::Unset => None,
            Self::Integer(number) => Some(Literal::Integer(number)),
            Self::Text(text) => Some(Literal::from(text)),
            Self::Texts(texts) => {
                Some(Literal::List(texts.iter().map(|text| Literal::from(*text)).collect()))
            }
            Self::Integers(numbers) => {
                Some(Literal::List(numbers.iter().copied().map(Literal::Integer).collect()))
            }
        }
    }
}

/// Describes a table below `[toolkit]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// The name; empty for `[toolkit]` itself.
    pub name: &'static str,
    /// What its keys are about.
    pub doc: &'static str,
}

impl Table {
    /// Returns the keys of this table, in the order of the documentation.
    pub fn keys(self) -> impl Iterator<Item = &'static Key> {
        KEYS.iter().filter(move |key| key.table() == self.name)
    }
}

/// The tables, in the order of the documentation.
pub const TABLES: &[Table] = &[
    Table { name: "", doc: "The keys of the toolkit." },
    Table { name: "site", doc: "The public face: its name, TLS, login, and what is behind it." },
    Table { name: "nginx", doc: "The web server and the files of its configuration." },
    Table {
        name: "sessions",
        doc: "OpenHands sessions: where they are announced, whom to believe.",
    },
    Table {
        name: "instances",
        doc: "VS Code editors of repositories, and the records about them.",
    },
    Table { name: "cleanup", doc: "What oh-cleanup takes for a left-over, and how long it waits." },
    Table { name: "verify", doc: "For oh-verify; no keys yet." },
    Table { name: "wscheck", doc: "For oh-wscheck." },
    Table { name: "deploy", doc: "For oh-deploy; no keys yet." },
];

/// Finds a key by its path below `toolkit`.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Finds a table by its name.
pub(crate) fn find_table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

/// A key that the environment may set too.
const fn open(path: &'static str, kind: Kind, preset: Preset, doc: &'static str) -> Key {
    Key { path, kind, preset, trusted: false, doc, example: None }
}

/// A key that only the file and the command line may set.
const fn trusted(path: &'static str, kind: Kind, preset: Preset, doc: &'static str) -> Key {
    Key { path, kind, preset, trusted: true, doc, example: None }
}

const fn with_example(key: Key, example: &'static str) -> Key {
    Key { example: Some(example), ..key }
}

/// The names of what may become of a prefix.
const UPSTREAMS: &[&str] = &["strip+prefix", "strip", "base-path"];

/// Every key, table by table, in the order of the documentation.
pub const KEYS: &[Key] = &[
    trusted(
        "schema",
        Kind::Version,
        Preset::Integer(SCHEMA_VERSION),
        "The version of these keys. With a newer number than this toolkit knows, unknown keys are \
         warnings instead of errors. It belongs in the file alone.",
    ),
    with_example(
        open(
            "site.domain",
            Kind::Domain,
            Preset::Unset,
            "The host name, or the IP address, under which people reach the site: lower case, \
             without scheme and without port.",
        ),
        "\"oh.example\"",
    ),
    with_example(
        open(
            "site.port",
            Kind::Port,
            Preset::Unset,
            "The port on which nginx serves the site. Without it: 443 with TLS, 80 without.",
        ),
        "8443",
    ),
    open(
        "site.tls",
        Kind::Choice(&["auto", "on", "off"]),
        Preset::Text("auto"),
        "Whether the site speaks TLS; auto is on for a host name and off for a bare IP address.",
    ),
    trusted(
        "site.certificate",
        Kind::CertificatePath,
        Preset::Text("/etc/letsencrypt/live/{domain}/fullchain.pem"),
        "The certificate chain, in PEM; {domain} stands for site.domain.",
    ),
    trusted(
        "site.certificate_key",
        Kind::CertificatePath,
        Preset::Text("/etc/letsencrypt/live/{domain}/privkey.pem"),
        "The private key of the certificate, in PEM; {domain} stands for site.domain.",
    ),
    trusted(
        "site.upstream",
        Kind::Endpoint,
        Preset::Text("127.0.0.1:3000"),
        "Where OpenHands listens: IP address and port. Not localhost, which is ::1 as well.",
    ),
    trusted(
        "site.auth",
        Kind::Choice(&["basic", "request", "editor", "none"]),
        Preset::Text("basic"),
        "Who asks visitors for a login: basic is a password by nginx, request asks \
         site.auth_request, editor leaves it to the token or password of the editor, none lets \
         everybody in.",
    ),
    with_example(
        trusted(
            "site.auth_request",
            Kind::HttpUrl,
            Preset::Unset,
            "The endpoint that nginx asks about each request when site.auth is \"request\", such \
             as that of oauth2-proxy: an http URL whose host is an IP address.",
        ),
        "\"http://127.0.0.1:4180/oauth2/auth\"",
    ),
    with_example(
        trusted(
            "site.auth_start",
            Kind::Path,
            Preset::Unset,
            "Where browsers without a login are sent, with the address that they asked for behind \
             ?rd=. Everything in its folder is handed to the host of site.auth_request without a \
             login. Without it they get 401.",
        ),
        "\"/oauth2/start\"",
    ),
    trusted(
        "site.users_file",
        Kind::Path,
        Preset::Text("/etc/nginx/openhands/users"),
        "The users and password hashes of site.auth = \"basic\".",
    ),
    with_example(
        trusted(
            "site.origins",
            Kind::WebOrigins,
            Preset::Texts(&[]),
            "Further web origins whose pages may open WebSockets here; the site's own always may.",
        ),
        "[\"https://other.example\"]",
    ),
    trusted(
        "site.isolation",
        Kind::Choice(&["path", "sandbox", "subdomain"]),
        Preset::Text("path"),
        "What keeps sessions, OpenHands and each other apart in a browser. path: nothing, all have \
         the site's origin. sandbox: applications get an origin that nobody else has, and with it no \
         cookies, no storage and no WebSockets. subdomain: every editor and application has a host of \
         its own, {id}.DOMAIN and {id}-{index}.DOMAIN, which wants a wildcard in DNS and in the \
         certificate.",
    ),
    with_example(
        trusted(
            "site.sessions_domain",
            Kind::Domain,
            Preset::Unset,
            "The domain below which the hosts of site.isolation = \"subdomain\" are. Without it: \
             site.domain.",
        ),
        "\"sessions.example\"",
    ),
    with_example(
        trusted(
            "site.sessions_certificate",
            Kind::Path,
            Preset::Unset,
            "The wildcard certificate of those hosts, in PEM with its chain. Without it: \
             site.certificate.",
        ),
        "\"/etc/ssl/sessions.example/chain.pem\"",
    ),
    with_example(
        trusted(
            "site.sessions_certificate_key",
            Kind::Path,
            Preset::Unset,
            "The private key of that certificate, in PEM. Without it: site.certificate_key.",
        ),
        "\"/etc/ssl/sessions.example/key.pem\"",
    ),
    trusted("nginx.program", Kind::Path, Preset::Text("/usr/sbin/nginx"), "The nginx program."),
    trusted(
        "nginx.config",
        Kind::Path,
        Preset::Text("/etc/nginx/nginx.conf"),
        "The main configuration file of nginx; it is read and never written.",
    ),
    trusted(
        "nginx.directory",
        Kind::Path,
        Preset::Text("/etc/nginx/openhands"),
        "The folder of the generated configuration. It belongs to the toolkit alone.",
    ),
    trusted(
        "nginx.hook",
        Kind::Path,
        Preset::Text("/etc/nginx/conf.d/00-openhands.conf"),
        "The file by which nginx comes to include nginx.directory.",
    ),
    trusted(
        "nginx.listen",
        Kind::Listen,
        Preset::Texts(&["*"]),
        "The addresses that nginx listens on: \"*\" for all, IPv4 addresses, IPv6 addresses in \
         brackets.",
    ),
    open(
        "nginx.generation_port",
        Kind::Port,
        Preset::Integer(9180),
        "The port on 127.0.0.1 where nginx answers which generation of the configuration it serves.",
    ),
    open(
        "nginx.seen_timeout_ms",
        Kind::Integer { min: 100, max: 60_000, unit: "milliseconds" },
        Preset::Integer(5000),
        "How long to wait after a reload until nginx serves the new generation.",
    ),
    open(
        "nginx.watch_interval_ms",
        Kind::Integer { min: 10, max: 60_000, unit: "milliseconds" },
        Preset::Integer(250),
        "How long oh-nginx watch lets pass between two reloads at least; the first change after a \
         rest is served at once.",
    ),
    open(
        "nginx.old_workers_max",
        Kind::Integer { min: 0, max: 10_000, unit: "workers" },
        Preset::Integer(16),
        "How many old workers of nginx may linger with their last connections before oh-nginx \
         watch reloads less often, at most every 5 s.",
    ),
    open(
        "nginx.rescan_s",
        Kind::Integer { min: 1, max: 3600, unit: "seconds" },
        Preset::Integer(30),
        "How often oh-nginx watch reads everything again, whether or not it was told of a change.",
    ),
    trusted(
        "nginx.legacy_site",
        Kind::Path,
        Preset::Text("/etc/nginx/sites-available/openhands"),
        "The site file of an older installation.",
    ),
    trusted(
        "nginx.legacy_repositories",
        Kind::RepositoryPath,
        Preset::Text("/etc/nginx/vscode-projects/{repo}.conf"),
        "The file per repository of an older installation; {repo} stands for the repository. oh-cleanup \
         takes those that its generators wrote and nobody needs.",
    ),
    trusted(
        "nginx.legacy_generator",
        Kind::Path,
        Preset::Text("/usr/local/bin/nginx-config-generator.sh"),
        "The script that wrote the files of an older installation.",
    ),
    trusted(
        "sessions.directory",
        Kind::Path,
        Preset::Text("/tmp/openhands-sessions"),
        "The folder in which each session is announced by a file {id}.json.",
    ),
    trusted(
        "sessions.owners",
        Kind::Owners,
        Preset::Texts(&["root", "ubuntu", "openhands"]),
        "The users whose session files count, by name or by number.",
    ),
    open(
        "sessions.sessions_max",
        Kind::Integer { min: 1, max: 1_000_000, unit: "sessions" },
        Preset::Integer(20_000),
        "The most entries that the folder of session files may have; with more, nothing is changed.",
    ),
    open(
        "sessions.file_bytes_max",
        Kind::Integer { min: 256, max: 16_777_216, unit: "bytes" },
        Preset::Integer(65_536),
        "The largest session file that is read.",
    ),
    open(
        "sessions.retire_after_s",
        Kind::Integer { min: 0, max: 31_536_000, unit: "seconds" },
        Preset::Integer(900),
        "How long the editor of a session may be gone before oh-nginx watch moves its file aside; \
         0 is never.",
    ),
    open(
        "sessions.editor_ports",
        Kind::PortRanges,
        Preset::Texts(&["8080", "8888-8899", "35000-49999"]),
        "The ports on which the editor of a session may be.",
    ),
    open(
        "sessions.app_ports",
        Kind::PortRanges,
        Preset::Texts(&["8081-8099", "40000-59999"]),
        "The ports on which an application of a session may be.",
    ),
    open(
        "sessions.upstream",
        Kind::Choice(UPSTREAMS),
        Preset::Text("strip+prefix"),
        "What becomes of the prefix on the way to the editor of a session whose file does not say. \
         strip+prefix: it is stripped and said in X-Forwarded-Prefix (code-server, openvscode-server \
         from 1.97 on). strip: it is stripped. base-path: the address goes on byte by byte \
         (openvscode-server --server-base-path).",
    ),
    with_example(
        trusted(
            "sessions.sockets",
            Kind::Path,
            Preset::Unset,
            "A folder for the sockets of editors and applications: vscode/{id}/socket and \
             apps/{id}-{index}/socket are served as soon as they are there, without a reload. It and \
             the folders vscode and apps in it have to be writable by root alone.",
        ),
        "\"/run/openhands-sessions\"",
    ),
    trusted(
        "sessions.workspace",
        Kind::SessionPath,
        Preset::Text("/home/ubuntu/openhands-workspace/{id}"),
        "The workspace of a session; {id} stands for the session.",
    ),
    trusted(
        "sessions.user",
        Kind::User,
        Preset::Text("ubuntu"),
        "The user whom the editor of a session runs as, where oh-instances is run by root and told \
         nobody else. Anybody else's editors run as themselves.",
    ),
    open(
        "instances.ports",
        Kind::PortRange,
        Preset::Text("8888-8899"),
        "The ports that editor instances are given, one each.",
    ),
    trusted(
        "instances.repository",
        Kind::RepositoryPath,
        Preset::Text("/var/www/github/{repo}"),
        "The folder that an editor instance opens; {repo} stands for the repository.",
    ),
    open(
        "instances.upstream",
        Kind::Choice(UPSTREAMS),
        Preset::Text("strip+prefix"),
        "What becomes of the prefix on the way to the editor of a repository; see sessions.upstream.",
    ),
    trusted(
        "instances.port_database",
        Kind::Path,
        Preset::Text("/var/www/ai-desktop/data/vscode-ports.json"),
        "The record of which repository has which port.",
    ),
    trusted(
        "instances.repository_database",
        Kind::Path,
        Preset::Text("/var/www/ai-desktop/data/repositories.json"),
        "The record of the repositories.",
    ),
    open(
        "instances.server",
        Kind::Choice(&["code-server", "openvscode-server"]),
        Preset::Text("code-server"),
        "Which program serves VS Code: code-server, or one with the options of VS Code's own server.",
    ),
    with_example(
        trusted(
            "instances.program",
            Kind::Path,
            Preset::Unset,
            "That program. Without it: /usr/bin/code-server, or \
             /openhands/.openvscode-server/bin/openvscode-server.",
        ),
        "\"/usr/local/bin/code-server\"",
    ),
    with_example(
        trusted(
            "instances.user",
            Kind::User,
            Preset::Unset,
            "The user whom the editor of a repository runs as, where oh-instances is run by root. \
             Without it: the owner of the repository's folder, unless that is root.",
        ),
        "\"ubuntu\"",
    ),
    open(
        "instances.transport",
        Kind::Choice(&["port", "unix"]),
        Preset::Text("port"),
        "Where editors listen. port: on a port of 127.0.0.1. unix: on a socket in sessions.sockets, \
         without a limit on their number.",
    ),
    trusted(
        "instances.auth",
        Kind::Choice(&["key", "none"]),
        Preset::Text("key"),
        "What editors ask of whoever connects. key: a key of their own, which nginx presents for \
         visitors it has let in; with site.auth = \"editor\" visitors enter it themselves. none: \
         nothing, so every user and program of this machine can use the editor as its user.",
    ),
    trusted(
        "instances.directory",
        Kind::Path,
        Preset::Text("/var/lib/openhands-editors"),
        "The folder of what editors keep: settings, extensions and the like, a folder for each.",
    ),
    trusted(
        "instances.runtime_directory",
        Kind::Path,
        Preset::Text("/run/oh-editors"),
        "The folder of what editors keep while they run: sockets. Its path has to be short.",
    ),
    trusted(
        "instances.log_directory",
        Kind::Path,
        Preset::Text("/var/log/openhands-editors"),
        "The folder of what editors print, a file for each.",
    ),
    open(
        "instances.log_bytes_max",
        Kind::Integer { min: 4096, max: 1_073_741_824, unit: "bytes" },
        Preset::Integer(10_485_760),
        "The size at which the log of an editor is set aside and begun anew.",
    ),
    open(
        "instances.log_files",
        Kind::Integer { min: 0, max: 100, unit: "files" },
        Preset::Integer(3),
        "How many logs that were set aside are kept, of each editor.",
    ),
    open(
        "instances.ready_timeout_s",
        Kind::Integer { min: 1, max: 3600, unit: "seconds" },
        Preset::Integer(60),
        "How long an editor may take until it answers.",
    ),
    open(
        "instances.stop_grace_s",
        Kind::Integer { min: 0, max: 3600, unit: "seconds" },
        Preset::Integer(10),
        "How long an editor has to end by itself before it is killed.",
    ),
    open(
        "instances.restarts_max",
        Kind::Integer { min: 0, max: 1000, unit: "restarts" },
        Preset::Integer(5),
        "How often an editor that ends by a fault is started again within instances.restart_window_s; \
         0 is never.",
    ),
    open(
        "instances.restart_window_s",
        Kind::Integer { min: 1, max: 86_400, unit: "seconds" },
        Preset::Integer(300),
        "The time within which restarts count.",
    ),
    open(
        "instances.memory_max_mib",
        Kind::Integer { min: 0, max: 1_048_576, unit: "MiB" },
        Preset::Integer(0),
        "The most memory of an editor and all that it starts; 0 is no limit. Under systemd only.",
    ),
    open(
        "instances.cpu_max_percent",
        Kind::Integer { min: 0, max: 100_000, unit: "percent of one processor" },
        Preset::Integer(0),
        "The most processor time of an editor and all that it starts; 0 is no limit. Under systemd \
         only.",
    ),
    open(
        "instances.tasks_max",
        Kind::Integer { min: 0, max: 1_000_000, unit: "tasks" },
        Preset::Integer(4096),
        "The most processes and threads of an editor and all that it starts; 0 is no limit. Under \
         systemd only.",
    ),
    open(
        "instances.supervision",
        Kind::Choice(&["auto", "systemd", "process"]),
        Preset::Text("auto"),
        "What holds the supervisor of an editor. systemd: a transient unit, with its limits. process: \
         nothing, it is a process of its own. auto: systemd where it runs, for root and without --root.",
    ),
    trusted(
        "instances.environment_file",
        Kind::HomePath,
        Preset::Text("~/.openhands_env"),
        "The file of variables that OpenHands is started with, which oh-instances env writes: an \
         absolute path, or ~/ for the home folder of the user whom OpenHands runs as.",
    ),
    trusted(
        "cleanup.leftovers",
        Kind::Patterns,
        Preset::Texts(&[
            "/tmp/code-server-*",
            "/tmp/vscode-agent-*",
            "/tmp/vscode-ipc-*.sock",
            "/tmp/vscode-git-*.sock",
            "/tmp/openhands_workspace_*",
            "/tmp/openhands-sandboxes/*",
            "/tmp/openhands-agent-server-*",
            "/tmp/openhands-tmux",
            "/tmp/oh_editor_history_*",
            "/tmp/browser-use-downloads-*",
            "/tmp/conversation-worktrees/*",
            "/var/www/vscode-workspaces/*",
        ]),
        "Where editors and OpenHands leave things behind: absolute paths with one * at most, in the \
         last part. What has such a name is a left-over only where it is a user's of \
         cleanup.owners, and nobody uses it.",
    ),
    trusted(
        "cleanup.owners",
        Kind::Owners,
        Preset::Texts(&["root", "ubuntu", "openhands"]),
        "The users whose editors and left-overs may be cleaned up, by name or by number; \
         instances.user and sessions.user are among them always.",
    ),
    open(
        "cleanup.grace_s",
        Kind::Integer { min: 0, max: 3600, unit: "seconds" },
        Preset::Integer(5),
        "How long a process has to end by itself before it is killed.",
    ),
    open(
        "cleanup.age_min_s",
        Kind::Integer { min: 0, max: 31_536_000, unit: "seconds" },
        Preset::Integer(600),
        "How long nothing may have changed in a left-over of which nobody knows whose it was.",
    ),
    open(
        "cleanup.quarantine_max_mib",
        Kind::Integer { min: 0, max: 1_048_576_000, unit: "MiB" },
        Preset::Integer(10_240),
        "How much room what runs moved away may have before oh-cleanup says so, and oh-cleanup purge \
         without a run removes the oldest; 0 for no limit. Nothing is removed without being asked for.",
    ),
    open(
        "wscheck.development_ports",
        Kind::Ports,
        Preset::Integers(&[12_000, 12_001]),
        "The ports of a development set-up, which oh-wscheck dev looks at: that of OpenHands' server \
         first, then that of Vite. With one port there is no Vite.",
    ),
];
