//! The maps: what a request is, which way it goes, and the lines that sessions and repositories are.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use oh_model::path::{InRoot, RealPath};
use oh_model::routes::{EditorRoute, Routes};
use oh_model::upstream::{Target, Upstream};

use super::{Auth, Isolation, Site};
use crate::write::{Text, Unquotable, Word};

/// A map whose lines come from sessions and repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataMap {
    /// Ports of editors.
    Editor,
    /// Ports of applications.
    App,
    /// Folders that editors open.
    Folder,
    /// How addresses are handed on, where it is not as usual.
    Upstream,
    /// Whose sessions they are, for the endpoint that judges logins.
    Owner,
    /// What editors ask for, as the cookie that nginx presents to them.
    Key,
}

/// All of them, in the order of the file.
pub const DATA_MAPS: [DataMap; 6] = [
    DataMap::Editor,
    DataMap::App,
    DataMap::Folder,
    DataMap::Upstream,
    DataMap::Owner,
    DataMap::Key,
];

impl DataMap {
    /// Returns the variable that the map makes.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Editor => "$oh_editor",
            Self::App => "$oh_app",
            Self::Folder => "$oh_folder",
            Self::Upstream => "$oh_upstream",
            Self::Owner => "$oh_owner",
            Self::Key => "$oh_key",
        }
    }

    /// Returns what the map looks up.
    const fn key(self) -> &'static str {
        match self {
            Self::Editor | Self::Folder => "vscode/$oh_id",
            Self::App => "apps/$oh_id",
            Self::Upstream | Self::Owner | Self::Key => "$oh_kind/$oh_id",
        }
    }
}

/// Writes a map of ours, none of whose lines comes from outside.
fn map(text: &mut Text, from: &'static str, to: &'static str, lines: &[[&'static str; 2]]) {
    text.block("map", &[Word::fixed(from), Word::fixed(to)], |text| {
        lines.iter().for_each(|[key, value]| text.entry(&Word::fixed(key), &Word::fixed(value)));
    });
}

/// Below these code-server is a proxy to any port of the machine; its routes ignore case.
const PROXIED: [&str; 2] =
    ["\"~*^/(?:abs)?proxy[/ ]| (?:/vscode/[^/?]*)?/+(?:abs)?proxy(?:[/?]|$)\"", "''"];

/// What is asked, and by whom.
pub(super) fn of_requests(text: &mut Text, site: &Site) -> Result<(), Unquotable> {
    text.comment("Only `Upgrade: websocket` goes on: anything else would smuggle.");
    map(text, "$http_upgrade", "$oh_upgrade", &[["default", "''"], ["websocket", "websocket"]]);
    map(text, "$oh_upgrade", "$oh_connection", &[["default", "upgrade"], ["''", "''"]]);
    text.comment(
        "A foreign Origin may neither upgrade nor change: the browser adds the login by itself.",
    );
    text.comment("No Origin is no browser, or a plain visit.");
    map(text, "$http_upgrade", "$oh_upgrading", &[["default", "1"], ["''", "0"]]);
    let safe = [["default", "1"], ["GET", "0"], ["HEAD", "0"], ["OPTIONS", "0"]];
    map(text, "$request_method", "$oh_changing", &safe);
    let origins: Vec<Word> =
        site.origins.iter().map(|origin| Word::value(origin)).collect::<Result<_, _>>()?;
    text.block("map", &[Word::fixed("$http_origin"), Word::fixed("$oh_origin_ok")], |text| {
        text.entry(&Word::fixed("default"), &Word::fixed("0"));
        text.entry(&Word::fixed("''"), &Word::fixed("1"));
        origins.iter().for_each(|origin| text.entry(origin, &Word::fixed("1")));
    });
    let foreign = [["default", "0"], ["100", "1"], ["010", "1"], ["110", "1"]];
    map(text, "$oh_upgrading$oh_changing$oh_origin_ok", "$oh_refused", &foreign);
    if let Isolation::Sandbox = site.isolation {
        text.comment("What runs in a sandbox has the Origin `null`, and may still ask itself.");
        let foreign = [["default", "0"], ["10", "1"]];
        map(text, "$oh_upgrading$oh_origin_ok", "$oh_app_refused", &foreign);
    }
    if let Auth::Request { pages: Some(_), .. } = &site.auth {
        text.comment("Over plain HTTP browsers do not say what they want: there a GET is a page.");
        let wants = "$oh_upgrading$request_method$http_sec_fetch_mode";
        let pages = [["default", "0"], ["0GETnavigate", "1"], ["0GET", "1"]];
        map(text, wants, "$oh_wants_page", &pages);
    }
    text.comment("An editor gets its key before the visitor's cookies: of two of one name servers");
    text.comment("believe the first. Where it has none, the visitor's cookies are all.");
    let more = [["default", "\"; $http_cookie\""], ["''", "''"]];
    map(text, "$http_cookie", "$oh_more_cookies", &more);
    let cookies = [["default", "$oh_presented$oh_more_cookies"], ["''", "$http_cookie"]];
    map(text, "$oh_presented", "$oh_cookies", &cookies);
    text.comment("Older code-servers hand it on to any port that their own proxy is asked for.");
    text.comment("The address counts as we read it and as it came: some ways hand it on unread.");
    map(text, "\"$oh_rest $request_uri\"", "$oh_presented", &[["default", "$oh_key"], PROXIED]);
    text.comment("The folder is opened once: GET of exactly the root, no query, no upgrade.");
    let at_root = "$request_method$oh_upgrading$is_args$oh_rest";
    map(text, at_root, "$oh_at_root", &[["default", "0"], ["GET0/", "1"]]);
    map(text, "$oh_at_root", "$oh_open", &[["default", "''"], ["1", "$oh_folder"]]);
    Ok(())
}

/// Which editor is reached from the machine itself, and by which address.
pub(super) fn of_reach(text: &mut Text, site: &Site) {
    text.comment("The way of the question whether an editor is reached, from this machine.");
    let absent = if site.sockets.is_some() { "@oh_reach_socket" } else { "@oh_unknown" };
    map(text, "$oh_editor", "$oh_reach_way", &[["default", "@oh_reach"], ["''", absent]]);
    let path = [["default", "$oh_rest"], ["base-path", "/vscode/$oh_id$oh_rest"]];
    map(text, "$oh_upstream", "$oh_reach_path", &path);
}

/// Which location a request for a session goes on to, once its login is known.
pub(super) fn of_ways(text: &mut Text, site: &Site) -> Result<(), Unquotable> {
    let sockets = site.sockets.is_some();
    if let Some(folder) = &site.sockets {
        text.comment("A socket's path is made of what is asked for; no file can say another.");
        let folder = Word::glued(&[folder.as_str(), "/$oh_kind/$oh_id"])?;
        let socket = Word::fixed("$oh_socket_folder/socket");
        for (to, value) in [("$oh_socket_folder", folder), ("$oh_socket", socket)] {
            text.block("map", &[Word::fixed("$oh_kind"), Word::fixed(to)], |text| {
                text.entry(&Word::fixed("default"), &value);
            });
        }
    }
    text.comment("The way of a request for a session, once its login is known: by what is routed,");
    text.comment(
        "and by whether the program behind wants its prefix stripped (the usual) or kept.",
    );
    match &site.isolation {
        Isolation::Path | Isolation::Sandbox => {
            handed(text, "$oh_editor_handed", ["@oh_editor", "@oh_editor_whole"]);
            handed(text, "$oh_app_handed", ["@oh_app", "@oh_app_whole"]);
            let open = [["default", "@oh_open"], ["''", "$oh_editor_handed"]];
            map(text, "$oh_open", "$oh_editor_known", &open);
            if sockets {
                let editors = ["@oh_editor_socket", "@oh_editor_socket_whole"];
                handed(text, "$oh_editor_absent", editors);
                handed(text, "$oh_app_absent", ["@oh_app_socket", "@oh_app_socket_whole"]);
            }
            let absent = |socket| if sockets { socket } else { "@oh_unknown" };
            let editor = [["default", "$oh_editor_known"], ["''", absent("$oh_editor_absent")]];
            map(text, "$oh_editor", "$oh_editor_way", &editor);
            let app = [["default", "$oh_app_handed"], ["''", absent("$oh_app_absent")]];
            map(text, "$oh_app", "$oh_app_way", &app);
            let prefix = [["default", "/$oh_kind/$oh_id"], ["strip", "''"]];
            map(text, "$oh_upstream", "$oh_prefix", &prefix);
        }
        Isolation::Hosts(_) => {
            let absent = |socket| if sockets { socket } else { "@oh_unknown" };
            let moved = |socket| [["default", "@oh_moved"], ["''", absent(socket)]];
            map(text, "$oh_editor", "$oh_editor_way", &moved("@oh_editor_moved"));
            map(text, "$oh_app", "$oh_app_way", &moved("@oh_app_moved"));
            let unless_app = [["default", "vscode"], ["''", "apps"]];
            map(text, "$oh_editor", "$oh_unless_app", &unless_app);
            let kind = [["default", "apps"], ["''", "$oh_unless_app"]];
            map(text, "$oh_app", "$oh_host_kind", &kind);
            let home = "$oh_upstream$oh_at_root";
            let home = |text: &mut Text, to, way| {
                map(text, home, to, &[["default", way], ["base-path1", "@oh_home"]]);
            };
            home(text, "$oh_editor_handed", "@oh_editor");
            home(text, "$oh_app_handed", "@oh_app");
            let open = [["default", "@oh_open"], ["''", "$oh_editor_handed"]];
            map(text, "$oh_open", "$oh_editor_known", &open);
            let host = |socket| [["default", "$oh_editor_known"], ["''", absent(socket)]];
            map(text, "$oh_editor", "$oh_editor_host", &host("@oh_editor_socket"));
            map(text, "$oh_editor", "$oh_app_or_editor", &host("@oh_app_socket"));
            let app = [["default", "$oh_app_handed"], ["''", "$oh_app_or_editor"]];
            map(text, "$oh_app", "$oh_app_host", &app);
            let base = [["default", "/"], ["base-path", "/vscode/$oh_id/"]];
            map(text, "$oh_upstream", "$oh_editor_root", &base);
            text.comment("A host's pages may upgrade and change at that host alone.");
            map(text, "$http_origin", "$oh_no_origin", &[["default", "''"], ["''", "1"]]);
            let refused = [["default", "0"], ["10", "1"], ["01", "1"], ["11", "1"]];
            let asked = "$oh_upgrading$oh_changing$oh_own_origin";
            map(text, asked, "$oh_host_refused", &refused);
        }
    }
    Ok(())
}

fn handed(text: &mut Text, to: &'static str, [stripped, whole]: [&'static str; 2]) {
    map(text, "$oh_upstream", to, &[["default", stripped], ["base-path", whole]]);
}

/// What is routed where: the only lines that sessions and repositories change.
pub(super) fn of_data(
    text: &mut Text,
    routes: &Routes,
    folders: impl Fn(&InRoot) -> Option<RealPath>,
) -> Result<(), Unquotable> {
    let (editors, apps) = (&routes.editors, &routes.apps);
    let editor_port = |editor: &EditorRoute| match editor.target {
        Target::Port(port) => Some((editor.key(), port.to_string())),
        Target::Socket => None,
    };
    data(text, DataMap::Editor, editors.iter().filter_map(editor_port))?;
    data(text, DataMap::App, apps.iter().map(|app| (app.key(), app.port.to_string())))?;
    let folder = |editor: &EditorRoute| {
        let folder = folders(editor.folder.as_ref()?)?;
        Some((editor.key(), percent_encoded(folder.as_str())))
    };
    data(text, DataMap::Folder, editors.iter().filter_map(folder))?;
    let unusual = |key: String, upstream: Upstream| {
        (upstream != Upstream::default()).then(|| (key, upstream.as_str().into()))
    };
    let of_editors = editors.iter().filter_map(|editor| unusual(editor.key(), editor.upstream));
    let of_apps = apps.iter().filter_map(|app| unusual(app.key(), app.upstream));
    data(text, DataMap::Upstream, of_editors.chain(of_apps))?;
    let of_editors = editors.iter().map(|editor| (editor.key(), &editor.account));
    let of_apps = apps.iter().map(|app| (app.key(), &app.account));
    let accounts = of_editors
        .chain(of_apps)
        .filter_map(|(key, account)| Some((key, account.as_ref()?.as_str().to_string())));
    data(text, DataMap::Owner, accounts)?;
    let key = |editor: &EditorRoute| {
        let (server, key) = editor.presents.as_ref()?;
        Some((editor.key(), format!("{}={}", server.key_cookie(), key.reveal())))
    };
    data(text, DataMap::Key, editors.iter().filter_map(key))
}

fn data(
    text: &mut Text,
    map: DataMap,
    lines: impl Iterator<Item = (String, String)>,
) -> Result<(), Unquotable> {
    let lines = lines
        .map(|(key, value)| Ok((Word::glued(&[&key])?, Word::value(&value)?)))
        .collect::<Result<Vec<_>, Unquotable>>()?;
    text.block("map", &[Word::fixed(map.key()), Word::fixed(map.variable())], |text| {
        text.entry(&Word::fixed("default"), &Word::fixed("''"));
        lines.iter().for_each(|(key, value)| text.entry(key, value));
    });
    Ok(())
}

/// Encodes a path for a query: unreserved characters and `/` stay.
fn percent_encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
