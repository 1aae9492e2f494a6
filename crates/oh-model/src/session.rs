//! The session file: `{id}.json`, written by whoever starts a session, read by `oh-nginx`.
//!
//! The format is the one of the original generator, whose only reader defined it: the id is the
//! stem of the file's name, `vscode_port` is a number, `app_ports` a list of numbers. We add one
//! optional, versioned key, `toolkit`:
//!
//! ```json
//! {
//!   "vscode_port": 40123,
//!   "app_ports": [50001, 50002],
//!   "toolkit": { "schema": 1, "folder": "/home/ubuntu/openhands-workspace/4f1c" }
//! }
//! ```
//!
//! `folder` is opened when the editor's address is visited without a query; `upstream` and
//! `app_upstream` say what becomes of the prefix; `transport` may be `"unix"`, and then there is no
//! `vscode_port`; `owner` is the account that the session belongs to; `user` says, in a file of
//! root's, whose the listeners are. Other keys beside
//! these belong to others and are not looked at; an unknown key inside `toolkit` is a fault.
//! What the file says is an outsider's word: nothing in it is taken on trust, and a value of the
//! wrong kind is refused, never replaced by a default, because a default port is somebody else's.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::Deserialize;
use serde_json::error::Category;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::path::{InRoot, PathFault};
use crate::port::Port;
use crate::upstream::{Target, Upstream};

/// The version of the `toolkit` key that this reader knows.
pub const SCHEMA: u64 = 1;

/// The most applications a session may have: the index in `/apps/{id}-{index}/` has two digits.
pub const APPS_MAX: usize = 100;

/// The longest login name, in bytes, as useradd(8) has it.
const USER_BYTES_MAX: usize = 32;

/// What a session file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFile {
    /// Where the editor listens.
    pub target: Target,
    /// The ports of the applications, on 127.0.0.1, in the order of their index.
    pub apps: Vec<Port>,
    /// What the `toolkit` key says.
    pub ours: Extension,
}

/// What the `toolkit` key of a session file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extension {
    /// The folder to open when the address has no query.
    pub folder: Option<InRoot>,
    /// What becomes of the editor's prefix.
    pub upstream: Option<Upstream>,
    /// What becomes of the applications' prefix.
    pub app_upstream: Option<Upstream>,
    /// The account that the session belongs to, as the login knows it.
    pub owner: Option<Account>,
    /// Whose the listeners on the ports are, where a file of root's says so.
    pub user: Option<UserWord>,
}

/// The longest name of an account, in bytes.
pub const ACCOUNT_BYTES_MAX: usize = 128;

/// The account of a visitor, as an endpoint for logins names it: a name or a mail address,
/// `[A-Za-z0-9._@+-]{1,128}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account(String);

impl Account {
    /// Reads an account.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"._@+-".contains(&b);
        let is_account = (1..=ACCOUNT_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits);
        is_account.then(|| Self(text.into()))
    }

    /// Returns its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A user as a session file names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserWord {
    /// By login name.
    Name(String),
    /// By number.
    Number(u32),
}

impl UserWord {
    fn parse(value: &Value) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        match value {
            Value::Number(number) => number.as_u64()?.try_into().ok().map(Self::Number),
            Value::String(name)
                if (1..=USER_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain) =>
            {
                Some(Self::Name(name.clone()))
            }
            _ => None,
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Name(name) => name.as_str().into(),
            Self::Number(number) => (*number).into(),
        }
    }
}

impl fmt::Display for UserWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => write!(f, "uid {number}"),
        }
    }
}

/// Says why a session file is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SessionFault {
    /// It ends before its JSON does: half written, most likely.
    #[error("it is not whole, its JSON ends too early: {0}")]
    Torn(String),
    /// It is no JSON.
    #[error("it is not JSON: {0}")]
    Json(String),
    /// It is JSON, and something else than an object.
    #[error("it is not a JSON object: {0}")]
    NotAnObject(String),
    /// A key of ours stands in it twice.
    #[error("it has the key `{0}` twice")]
    KeyTwice(String),
    /// There is no `vscode_port`.
    #[error("it has no `vscode_port`")]
    NoEditor,
    /// There are a `vscode_port` and a socket.
    #[error("it has a `vscode_port` and `toolkit.transport` \"unix\": one editor listens on one")]
    PortBesideSocket,
    /// A value that has to be a port is something else.
    #[error("`{key}` has to be a port (1 to 65535), not {found}")]
    NotAPort {
        /// The key.
        key: &'static str,
        /// What stands there.
        found: String,
    },
    /// `app_ports` is no list.
    #[error("`app_ports` has to be a list of ports, not {0}")]
    NotAList(String),
    /// There are more applications than [`APPS_MAX`].
    #[error("`app_ports` has {0} ports, the most is {APPS_MAX}")]
    TooManyApps(usize),
    /// The same port stands in the file twice.
    #[error("port {0} stands in it twice")]
    PortTwice(Port),
    /// `toolkit` has no `schema`, or one that is not known.
    #[error("`toolkit.schema` has to be {SCHEMA}, not {0}")]
    Schema(String),
    /// `toolkit` has a key that schema 1 does not have.
    #[error("`toolkit.{0}` is not a key of schema {SCHEMA}")]
    UnknownKey(String),
    /// `toolkit.folder` is no path.
    #[error("`toolkit.folder` is no path to open: {0}")]
    Folder(PathFault),
    /// `toolkit.user` is no user.
    #[error("`toolkit.user` has to be a user's name or number, not {0}")]
    User(String),
    /// `toolkit` or a value in it has the wrong kind.
    #[error("`{key}` has to be {wanted}, not {found}")]
    Kind {
        /// The key.
        key: &'static str,
        /// What has to stand there.
        wanted: &'static str,
        /// What stands there.
        found: String,
    },
}

/// The keys as they stand; a typed struct, so that a key given twice is an error.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Raw {
    #[serde(default)]
    vscode_port: Option<Value>,
    #[serde(default)]
    app_ports: Option<Value>,
    #[serde(default)]
    toolkit: Option<Value>,
}

impl SessionFile {
    /// Reads the text of a session file.
    ///
    /// # Errors
    /// [`SessionFault`] for the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, SessionFault> {
        // A struct could be read from a list too, by the order of its fields.
        if text.trim_start().starts_with('[') {
            return Err(SessionFault::NotAnObject("it is a list".into()));
        }
        let raw: Raw = serde_json::from_str(text).map_err(|fault| not_read(&fault))?;
        let (transport, ours) = toolkit(raw.toolkit)?;
        let target = match (raw.vscode_port, transport) {
            (None | Some(Value::Null), Transport::Unix) => Target::Socket,
            (Some(_), Transport::Unix) => return Err(SessionFault::PortBesideSocket),
            (None | Some(Value::Null), Transport::Tcp) => return Err(SessionFault::NoEditor),
            (Some(value), Transport::Tcp) => Target::Port(port("vscode_port", &value)?),
        };
        let apps = match raw.app_ports {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(values)) if values.len() > APPS_MAX => {
                return Err(SessionFault::TooManyApps(values.len()));
            }
            Some(Value::Array(values)) => {
                values.iter().map(|value| port("app_ports", value)).collect::<Result<_, _>>()?
            }
            Some(other) => return Err(SessionFault::NotAList(kind(&other))),
        };
        let file = Self { target, apps, ours };
        match file.port_twice() {
            Some(port) => Err(SessionFault::PortTwice(port)),
            None => Ok(file),
        }
    }

    /// Writes the file as `parse` reads it, with a line break at its end.
    pub fn render(&self) -> String {
        let mut object = Map::new();
        if let Target::Port(port) = self.target {
            object.insert("vscode_port".into(), port.get().into());
        }
        object.insert("app_ports".into(), self.apps.iter().map(|port| port.get()).collect());
        let ours = self.toolkit();
        if !ours.is_empty() {
            let schema = ("schema".into(), SCHEMA.into());
            let ours = core::iter::once(schema).chain(ours).collect::<Map<_, _>>();
            object.insert("toolkit".into(), ours.into());
        }
        let mut text = Value::Object(object).to_string();
        text.push('\n');
        text
    }

    fn toolkit(&self) -> Vec<(String, Value)> {
        let Extension { folder, upstream, app_upstream, owner, user } = &self.ours;
        let unix = matches!(self.target, Target::Socket).then_some("unix");
        let texts = [
            ("folder", folder.as_ref().map(InRoot::as_str)),
            ("upstream", upstream.map(Upstream::as_str)),
            ("app_upstream", app_upstream.map(Upstream::as_str)),
            ("owner", owner.as_ref().map(Account::as_str)),
            ("transport", unix),
        ];
        let texts = texts.into_iter().filter_map(|(key, text)| Some((key.into(), text?.into())));
        texts.chain(user.as_ref().map(|user| ("user".into(), user.to_value()))).collect()
    }

    /// Returns the editor's port, if it has one, and then those of the applications.
    pub fn ports(&self) -> impl Iterator<Item = Port> {
        self.target.port().into_iter().chain(self.apps.iter().copied())
    }

    fn port_twice(&self) -> Option<Port> {
        let mut ports: Vec<Port> = self.ports().collect();
        ports.sort_unstable();
        ports.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }
}

/// Says in which way a text is no object with our keys.
fn not_read(fault: &serde_json::Error) -> SessionFault {
    let said = fault.to_string();
    // serde tells a key that is given twice by its words alone; a test holds it to them.
    let twice = said.strip_prefix("duplicate field `").and_then(|rest| rest.split('`').next());
    match (fault.classify(), twice) {
        (Category::Data, Some(key)) => SessionFault::KeyTwice(key.into()),
        (Category::Data, None) => SessionFault::NotAnObject(said),
        (Category::Eof, _) => SessionFault::Torn(said),
        (Category::Syntax | Category::Io, _) => SessionFault::Json(said),
    }
}

fn port(key: &'static str, value: &Value) -> Result<Port, SessionFault> {
    value
        .as_u64()
        .and_then(Port::new)
        .ok_or_else(|| SessionFault::NotAPort { key, found: shown(value) })
}

/// How an editor is reached.
#[derive(Clone, Copy)]
enum Transport {
    Tcp,
    Unix,
}

/// The keys inside `toolkit`.
const KEYS: [&str; 7] =
    ["schema", "folder", "upstream", "app_upstream", "owner", "transport", "user"];

fn toolkit(value: Option<Value>) -> Result<(Transport, Extension), SessionFault> {
    let object = match value {
        None => return Ok((Transport::Tcp, Extension::default())),
        Some(Value::Object(object)) => object,
        Some(other) => {
            let found = kind(&other);
            return Err(SessionFault::Kind { key: "toolkit", wanted: "an object", found });
        }
    };
    match object.get("schema") {
        Some(value) if value.as_u64() == Some(SCHEMA) => {}
        Some(other) => return Err(SessionFault::Schema(shown(other))),
        None => return Err(SessionFault::Schema("absent".into())),
    }
    if let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(SessionFault::UnknownKey(key.escape_debug().to_string()));
    }
    let folder = match object.get("folder") {
        None => None,
        Some(Value::String(text)) => Some(InRoot::parse(text).map_err(SessionFault::Folder)?),
        Some(other) => {
            let found = kind(other);
            return Err(SessionFault::Kind { key: "toolkit.folder", wanted: "a text", found });
        }
    };
    let upstreams = "\"strip+prefix\", \"strip\" or \"base-path\"";
    let upstream = text_of(&object, "upstream", "toolkit.upstream", upstreams, Upstream::parse)?;
    let app_upstream =
        text_of(&object, "app_upstream", "toolkit.app_upstream", upstreams, Upstream::parse)?;
    let account = "an account ([A-Za-z0-9._@+-]{1,128})";
    let owner = text_of(&object, "owner", "toolkit.owner", account, Account::parse)?;
    let transport =
        text_of(&object, "transport", "toolkit.transport", TRANSPORTS, |text| match text {
            "tcp" => Some(Transport::Tcp),
            "unix" => Some(Transport::Unix),
            _ => None,
        })?;
    let user = object
        .get("user")
        .map(|value| UserWord::parse(value).ok_or_else(|| SessionFault::User(shown(value))));
    let ours = Extension { folder, upstream, app_upstream, owner, user: user.transpose()? };
    Ok((transport.unwrap_or(Transport::Tcp), ours))
}

const TRANSPORTS: &str = "\"tcp\" or \"unix\"";

/// Reads a text inside `toolkit`, where it is there.
fn text_of<T>(
    object: &Map<String, Value>,
    name: &str,
    key: &'static str,
    wanted: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, SessionFault> {
    let Some(value) = object.get(name) else { return Ok(None) };
    match value.as_str().and_then(read) {
        Some(read) => Ok(Some(read)),
        None => Err(SessionFault::Kind { key, wanted, found: shown(value) }),
    }
}

/// The longest value that a message quotes, in characters.
const QUOTED_CHARS_MAX: usize = 32;

/// Shows a small value as it stands, and of a large one only its kind.
fn shown(value: &Value) -> String {
    let text = value.to_string().escape_debug().to_string();
    let text = text.replace("\\\"", "\"");
    if text.chars().count() <= QUOTED_CHARS_MAX { text } else { kind(value) }
}

fn kind(value: &Value) -> String {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    fn fault(text: &str) -> String {
        SessionFile::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_originals_files_are_read() {
        let file =
            SessionFile::parse(r#"{"vscode_port": 8080, "app_ports": [8081, 8082]}"#).unwrap();
        assert_eq!(file.ports().map(Port::get).collect::<Vec<_>>(), [8080, 8081, 8082]);
        let file = SessionFile::parse(r#"{"vscode_port":8080,"runtime":"cloud"}"#).unwrap();
        assert_eq!((file.apps.len(), file.ours), (0, Extension::default()));
    }

    #[test]
    fn what_the_original_took_for_a_port_is_refused() {
        for (value, found) in [
            ("true", "true"),
            ("\"8888\"", "\"8888\""),
            ("-1", "-1"),
            ("0", "0"),
            ("65536", "65536"),
            ("8888.0", "8888.0"),
            ("[8888]", "[8888]"),
            ("\"80/;return 200 x;#\"", "\"80/;return 200 x;#\""),
        ] {
            assert_eq!(
                fault(&format!("{{\"vscode_port\": {value}}}")),
                format!("`vscode_port` has to be a port (1 to 65535), not {found}")
            );
        }
        assert_eq!(fault("{}"), "it has no `vscode_port`");
        assert_eq!(fault(r#"{"vscode_port": null}"#), "it has no `vscode_port`");
        assert_eq!(
            fault(r#"{"vscode_port": 8080, "app_ports": [8081, "8082"]}"#),
            "`app_ports` has to be a port (1 to 65535), not \"8082\""
        );
        assert_eq!(
            fault(r#"{"vscode_port": 8080, "app_ports": {}}"#),
            "`app_ports` has to be a list of ports, not an object"
        );
        assert_eq!(fault(r#"{"vscode_port":81,"app_ports":[81]}"#), "port 81 stands in it twice");
    }

    #[test]
    fn a_list_is_no_session() {
        assert_eq!(fault("[8080,[8081]]"), "it is not a JSON object: it is a list");
        assert_eq!(fault(" []"), "it is not a JSON object: it is a list");
        assert!(!fault("1").contains("Raw"), "{}", fault("1"));
    }

    #[test]
    fn a_key_twice_is_no_choice_to_make_for_the_reader() {
        for (text, key) in [
            (r#"{"vscode_port":1,"vscode_port":2}"#, "vscode_port"),
            (r#"{"vscode_port":1,"app_ports":[],"app_ports":[]}"#, "app_ports"),
            (r#"{"vscode_port":1,"toolkit":{},"toolkit":{}}"#, "toolkit"),
        ] {
            assert_eq!(fault(text), format!("it has the key `{key}` twice"));
        }
    }

    #[test]
    fn torn_is_told_from_wrong() {
        for torn in ["", " ", "{", r#"{"vscode_port": 40"#, r#"{"vscode_port": 40000"#, "nul"] {
            assert!(fault(torn).starts_with("it is not whole, "), "{torn}: {}", fault(torn));
        }
        for wrong in ["{]", "vscode_port = 1", r#"{"vscode_port": 1,}"#, "{} {}", "{\"a\": .5}"] {
            assert!(fault(wrong).starts_with("it is not JSON: "), "{wrong}: {}", fault(wrong));
        }
        for other in ["1", "null", "\"text\"", "true"] {
            let said = fault(other);
            assert!(said.starts_with("it is not a JSON object: "), "{other}: {said}");
        }
    }

    #[test]
    fn our_extension_is_strict_and_versioned() {
        let with = |ours: &str| format!("{{\"vscode_port\":8080,\"toolkit\":{ours}}}");
        let read = SessionFile::parse(&with(r#"{"schema":1,"folder":"/srv/w"}"#)).unwrap();
        assert_eq!(read.ours.folder, Some(InRoot::parse("/srv/w").unwrap()));
        assert_eq!(
            SessionFile::parse(&with(r#"{"schema":1}"#)).unwrap().ours,
            Extension::default()
        );
        for (ours, expected) in [
            ("[]", "`toolkit` has to be an object, not a list"),
            ("{}", "`toolkit.schema` has to be 1, not absent"),
            (r#"{"schema":2}"#, "`toolkit.schema` has to be 1, not 2"),
            (r#"{"schema":1,"fodler":"/"}"#, "`toolkit.fodler` is not a key of schema 1"),
            (r#"{"schema":1,"folder":1}"#, "`toolkit.folder` has to be a text, not a number"),
            (
                r#"{"schema":1,"folder":"/a/../b"}"#,
                "`toolkit.folder` is no path to open: a path has no `.` or `..` in it",
            ),
            (
                r#"{"schema":1,"user":"a b"}"#,
                "`toolkit.user` has to be a user's name or number, not \"a b\"",
            ),
            (
                r#"{"schema":1,"user":-1}"#,
                "`toolkit.user` has to be a user's name or number, not -1",
            ),
            (
                r#"{"schema":1,"upstream":"stripp"}"#,
                "`toolkit.upstream` has to be \"strip+prefix\", \"strip\" or \"base-path\", not \"stripp\"",
            ),
            (
                r#"{"schema":1,"owner":"a$b"}"#,
                "`toolkit.owner` has to be an account ([A-Za-z0-9._@+-]{1,128}), not \"a$b\"",
            ),
            (
                r#"{"schema":1,"transport":"unix"}"#,
                "it has a `vscode_port` and `toolkit.transport` \"unix\": one editor listens on one",
            ),
        ] {
            assert_eq!(fault(&with(ours)), expected);
        }
    }

    #[test]
    fn a_written_file_reads_back() {
        let ours = Extension {
            folder: Some(InRoot::parse("/home/u/with blank").unwrap()),
            upstream: Some(Upstream::BasePath),
            app_upstream: Some(Upstream::Strip),
            owner: Account::parse("a.b+c@oh.example"),
            user: Some(UserWord::Name("oh-editor".into())),
        };
        let numbered = Extension { user: Some(UserWord::Number(1000)), ..Extension::default() };
        let apps = [50001, 50002].map(|port| Port::new(port).unwrap()).to_vec();
        let target = Target::Port(Port::new(40123).unwrap());
        for (target, ours) in [(target, &ours), (Target::Socket, &ours), (target, &numbered)] {
            let file = SessionFile { target, apps: apps.clone(), ours: ours.clone() };
            assert_eq!(SessionFile::parse(&file.render()), Ok(file));
        }
        let text = r#"{"toolkit":{"schema":1,"transport":"unix"}}"#;
        assert_eq!(SessionFile::parse(text).unwrap().target, Target::Socket);
    }

    #[test]
    fn more_apps_than_indexes_are_refused() {
        let ports: Vec<String> = (0..101).map(|n| (50000 + n).to_string()).collect();
        let text = format!("{{\"vscode_port\":8080,\"app_ports\":[{}]}}", ports.join(","));
        assert_eq!(fault(&text), "`app_ports` has 101 ports, the most is 100");
    }
}
