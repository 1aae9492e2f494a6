//! What a value means: from a [`Literal`] to a typed value, by the kind of its key.
//!
//! First the shape (a number, a text, a list), then the rule of the kind. A fault names the right
//! spelling wherever there is one.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;

use oh_model::leftover::Pattern;
use oh_model::path::InRoot;
use oh_model::port::{Port, PortRange, PortRangeFault, PortSet};

use crate::keys::Kind;
use crate::literal::Literal;
use crate::network::{self, Domain, HttpUrl, Listen, WebOrigin};
use crate::places::{HomePath, Owner, RepositoryPath, SessionPath};
use crate::text::quoted;

/// The gap of certificate paths.
pub(crate) const DOMAIN_GAP: &str = "{domain}";

/// A value that its rule accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parsed {
    Unset,
    Integer(u64),
    Port(Port),
    Ports(Vec<Port>),
    Range(PortRange),
    Ranges(PortSet),
    Choice(&'static str),
    Domain(Domain),
    Path(InRoot),
    SessionPath(SessionPath),
    RepositoryPath(RepositoryPath),
    HomePath(HomePath),
    Endpoint(SocketAddr),
    HttpUrl(HttpUrl),
    WebOrigins(Vec<WebOrigin>),
    Listen(Vec<Listen>),
    Owners(Vec<Owner>),
    User(Owner),
    Patterns(Vec<Pattern>),
}

/// Says why a value cannot be used; the caller knows where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What is wrong.
    pub(crate) what: String,
    /// The value that was probably meant, or the one item of a list.
    pub(crate) fix: Option<Literal>,
    /// A fact that helps.
    pub(crate) note: Option<String>,
    /// Which item of a list it is about.
    pub(crate) item: Option<usize>,
}

impl Problem {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), fix: None, note: None, item: None }
    }

    fn fix(self, fix: Literal) -> Self {
        Self { fix: Some(fix), ..self }
    }

    fn note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    fn at(self, item: usize) -> Self {
        Self { item: Some(item), ..self }
    }
}

/// The shape of a value in TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Integer,
    Text,
    Integers,
    Texts,
}

impl Shape {
    /// Returns the shape of a list's items; none for what is no list.
    pub(crate) const fn items(self) -> Option<Self> {
        match self {
            Self::Integers => Some(Self::Integer),
            Self::Texts => Some(Self::Text),
            Self::Integer | Self::Text => None,
        }
    }

    pub(crate) const fn noun(self) -> &'static str {
        match self {
            Self::Integer => "a number",
            Self::Text => "a text",
            Self::Integers => "a list of numbers",
            Self::Texts => "a list of texts",
        }
    }
}

impl Kind {
    /// Returns the shape that the value has in TOML.
    pub(crate) const fn shape(self) -> Shape {
        match self {
            Self::Version | Self::Integer { .. } | Self::Port => Shape::Integer,
            Self::Ports => Shape::Integers,
            Self::PortRanges | Self::WebOrigins | Self::Listen | Self::Owners | Self::Patterns => {
                Shape::Texts
            }
            Self::PortRange
            | Self::Choice(_)
            | Self::Domain
            | Self::Path
            | Self::CertificatePath
            | Self::SessionPath
            | Self::RepositoryPath
            | Self::HomePath
            | Self::Endpoint
            | Self::HttpUrl
            | Self::User => Shape::Text,
        }
    }

    /// Returns whether a list of this kind may be empty.
    pub(crate) const fn may_be_empty(self) -> bool {
        !matches!(self, Self::Listen | Self::Owners)
    }

    /// Describes what a value may be, for people.
    pub(crate) fn noun(self) -> String {
        let fixed = match self {
            Self::Version => "a number from 1",
            Self::Integer { min, max, unit } => {
                return format!("a number of {unit}, {min} to {max}");
            }
            Self::Choice(words) => return format!("one of {}", words_of(words)),
            Self::Port => "a port, 1 to 65535",
            Self::Ports => "a list of ports, each 1 to 65535",
            Self::PortRange => "a range of ports such as \"8888-8899\"",
            Self::PortRanges => "a list of ports and ranges such as [\"8080\", \"8888-8899\"]",
            Self::Domain => "a host name or an IP address such as \"oh.example\"",
            Self::Path => "an absolute path",
            Self::CertificatePath => "an absolute path, {domain} allowed",
            Self::SessionPath => "an absolute path with one {id} in it",
            Self::RepositoryPath => "an absolute path with one {repo} in it",
            Self::HomePath => "an absolute path, or ~/ and a path",
            Self::Endpoint => {
                "an IP address and a port such as \"127.0.0.1:3000\" or \"[::1]:3000\""
            }
            Self::HttpUrl => "a URL such as \"http://127.0.0.1:4180/oauth2/auth\"",
            Self::WebOrigins => "a list of origins such as [\"https://other.example\"]",
            Self::Listen => "a list of addresses: \"*\", \"192.0.2.1\", \"[2001:db8::1]\"",
            Self::Owners => "a list of user names or numbers such as [\"root\", \"1000\"]",
            Self::User => "a user name or number such as \"ubuntu\" or \"1000\"",
            Self::Patterns => "a list of patterns such as [\"/tmp/code-server-*\"]",
        };
        String::from(fixed)
    }

    /// Gives the value its meaning.
    pub(crate) fn read(self, literal: &Literal) -> Result<Parsed, Vec<Problem>> {
        match (self.shape(), literal) {
            (Shape::Integer, Literal::Integer(number)) => self.read_integer(*number).map_err(one),
            (Shape::Text, Literal::Text(text)) => self.read_text(text).map_err(one),
            (Shape::Integers | Shape::Texts, Literal::List(items)) => self.read_list(items),
            (shape, _) => Err(one(misshapen(shape, literal, self))),
        }
    }

    fn read_integer(self, number: i64) -> Result<Parsed, Problem> {
        match self {
            Self::Port => port(number).map(Parsed::Port),
            Self::Integer { min, max, unit } => u64::try_from(number)
                .ok()
                .filter(|_| (min..=max).contains(&number))
                .map(Parsed::Integer)
                .ok_or_else(|| {
                    let nearest = if number < min { min } else { max };
                    Problem::new(format!("{number} is not between {min} and {max} {unit}"))
                        .fix(Literal::Integer(nearest))
                }),
            _ => u64::try_from(number).ok().filter(|n| *n > 0).map(Parsed::Integer).ok_or_else(
                || {
                    Problem::new(format!("{number} is no version, they begin at 1"))
                        .fix(Literal::Integer(crate::SCHEMA_VERSION))
                },
            ),
        }
    }

    fn read_text(self, text: &str) -> Result<Parsed, Problem> {
        if text.is_empty() {
            return Err(Problem::new(format!("is empty, expected {}", self.noun())));
        }
        match self {
            Self::Choice(words) => choice(words, text),
            Self::Domain => domain(text).map(Parsed::Domain),
            Self::PortRange => range(text).map(Parsed::Range),
            Self::CertificatePath => path(text, Some(DOMAIN_GAP)).map(Parsed::Path),
            Self::SessionPath => path(text, Some(SessionPath::GAP)).and_then(|path| {
                SessionPath::new(path)
                    .map(Parsed::SessionPath)
                    .ok_or_else(|| without_gap(text, SessionPath::GAP))
            }),
            Self::RepositoryPath => path(text, Some(RepositoryPath::GAP)).and_then(|path| {
                RepositoryPath::new(path)
                    .map(Parsed::RepositoryPath)
                    .ok_or_else(|| without_gap(text, RepositoryPath::GAP))
            }),
            Self::HomePath => home_path(text).map(Parsed::HomePath),
            Self::Endpoint => endpoint(text).map(Parsed::Endpoint),
            Self::HttpUrl => http_url(text).map(Parsed::HttpUrl),
            Self::User => owner(text).map(Parsed::User),
            _ => path(text, None).map(Parsed::Path),
        }
    }

    fn read_list(self, items: &[Literal]) -> Result<Parsed, Vec<Problem>> {
        if items.is_empty() && !self.may_be_empty() {
            return Err(one(Problem::new(format!("is empty, expected {}", self.noun()))));
        }
        let repeated = items.iter().enumerate().filter_map(|(at, item)| {
            let first = items.iter().take(at).any(|earlier| earlier == item);
            first.then(|| Problem::new(format!("{item} is in the list twice")).at(at))
        });
        let mut problems: Vec<_> = repeated.collect();
        let parsed = match self {
            Self::Ports => numbers(items, &mut problems, port).map(Parsed::Ports),
            Self::WebOrigins => texts(items, &mut problems, web_origin).map(Parsed::WebOrigins),
            Self::Listen => texts(items, &mut problems, listen).map(Parsed::Listen),
            Self::Owners => texts(items, &mut problems, owner).map(Parsed::Owners),
            Self::Patterns => texts(items, &mut problems, pattern).map(Parsed::Patterns),
            _ => texts(items, &mut problems, range).map(|ranges| Parsed::Ranges(PortSet(ranges))),
        };
        parsed.filter(|_| problems.is_empty()).ok_or(problems)
    }
}

fn one(problem: Problem) -> Vec<Problem> {
    Vec::from([problem])
}

fn words_of(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    crate::text::join(&words, ", ")
}

/// Reads every item, so that every bad one is named.
fn texts<T>(
    items: &[Literal],
    problems: &mut Vec<Problem>,
    read: fn(&str) -> Result<T, Problem>,
) -> Option<Vec<T>> {
    each(items, problems, |item| match item {
        Literal::Text(text) => read(text),
        other => Err(misshapen_item(Shape::Text, other)),
    })
}

fn numbers<T>(
    items: &[Literal],
    problems: &mut Vec<Problem>,
    read: fn(i64) -> Result<T, Problem>,
) -> Option<Vec<T>> {
    each(items, problems, |item| match item {
        Literal::Integer(number) => read(*number),
        other => Err(misshapen_item(Shape::Integer, other)),
    })
}

fn each<T>(
    items: &[Literal],
    problems: &mut Vec<Problem>,
    read: impl Fn(&Literal) -> Result<T, Problem>,
) -> Option<Vec<T>> {
    let mut good = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        match read(item) {
            Ok(value) => good.push(value),
            Err(problem) => problems.push(problem.at(at)),
        }
    }
    (good.len() == items.len()).then_some(good)
}

/// Says what was found in the place of the right shape, for people.
fn found(literal: &Literal) -> String {
    match literal {
        Literal::Integer(number) => format!("the number {number}"),
        Literal::Text(text) => format!("the text {}", quoted(text)),
        Literal::List(_) => String::from("a list"),
    }
}

fn misshapen(shape: Shape, literal: &Literal, kind: Kind) -> Problem {
    let problem = Problem::new(format!("expected {}, found {}", shape.noun(), found(literal)));
    match shape.items() {
        None => with_reshaped(problem, shape, literal),
        Some(items) => {
            let item =
                if fits(items, literal) { Some(literal.clone()) } else { reshaped(items, literal) };
            match item {
                Some(item) => problem.fix(Literal::List(Vec::from([item]))),
                None => problem.note(kind.noun()),
            }
        }
    }
}

fn misshapen_item(shape: Shape, literal: &Literal) -> Problem {
    let problem = Problem::new(format!("expected {}, found {}", shape.noun(), found(literal)));
    with_reshaped(problem, shape, literal)
}

fn with_reshaped(problem: Problem, shape: Shape, literal: &Literal) -> Problem {
    match reshaped(shape, literal) {
        Some(fix) => problem.fix(fix),
        None => problem,
    }
}

const fn fits(shape: Shape, literal: &Literal) -> bool {
    matches!(
        (shape, literal),
        (Shape::Integer, Literal::Integer(_)) | (Shape::Text, Literal::Text(_))
    )
}

/// Returns the same value in the right shape, where it has one: `"8899"` as `8899`.
fn reshaped(shape: Shape, literal: &Literal) -> Option<Literal> {
    match (shape, literal) {
        (Shape::Integer, Literal::Text(text)) => {
            text.trim().replace('_', "").parse().ok().map(Literal::Integer)
        }
        (Shape::Text, Literal::Integer(number)) => Some(Literal::Text(number.to_string())),
        (_, Literal::List(items)) => match items.as_slice() {
            [item] if fits(shape, item) => Some(item.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn port(number: i64) -> Result<Port, Problem> {
    u64::try_from(number)
        .ok()
        .and_then(Port::new)
        .ok_or_else(|| Problem::new(format!("{number} is no port, they go from 1 to 65535")))
}

fn range(text: &str) -> Result<PortRange, Problem> {
    PortRange::parse(text).map_err(|fault| match fault {
        PortRangeFault::Backwards { first, last } => {
            Problem::new(format!("the range {} is backwards", quoted(text)))
                .fix(Literal::Text(format!("{last}-{first}")))
        }
        PortRangeFault::Syntax => {
            let problem = Problem::new(format!("{} is no range of ports", quoted(text)));
            let plain: String = text
                .chars()
                .filter(|c| !c.is_whitespace())
                .map(|c| if c == '–' || c == ':' { '-' } else { c })
                .collect();
            match PortRange::parse(&plain) {
                Ok(range) => problem.fix(Literal::Text(range.to_string())),
                Err(_) => problem.note("write a port as \"8888\", a range as \"8888-8899\""),
            }
        }
        PortRangeFault::NotAPort => Problem::new(format!(
            "{} has a number that is no port, they go from 1 to 65535",
            quoted(text)
        )),
    })
}

fn choice(words: &'static [&'static str], text: &str) -> Result<Parsed, Problem> {
    if let Some(word) = words.iter().find(|word| **word == text) {
        return Ok(Parsed::Choice(word));
    }
    let problem = Problem::new(format!("{} is not one of {}", quoted(text), words_of(words)));
    Err(match crate::suggest::nearest(text, words.iter().copied()) {
        Some(word) => problem.fix(Literal::from(word)),
        None => problem,
    })
}

fn domain(text: &str) -> Result<Domain, Problem> {
    if let Some(domain) = Domain::read(text) {
        return Ok(domain);
    }
    let shown = quoted(text);
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port))
            if !host.is_empty() && !port.contains(']') && !unbracketed_v6(authority) =>
        {
            (host, Some(port))
        }
        _ => (authority, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let host = host.to_ascii_lowercase();
    let what = if scheme.is_some() {
        format!("{shown} has a scheme, the domain is the host alone")
    } else if port.is_some() {
        format!("{shown} has a port, the domain is the host alone")
    } else if authority.len() < rest.len() {
        format!("{shown} has a path, the domain is the host alone")
    } else if text.starts_with('[') {
        format!("{shown} is in brackets, an IPv6 address stands alone here")
    } else if Domain::read(&text.to_ascii_lowercase()).is_some() {
        format!("{shown} has upper-case letters")
    } else {
        format!("{shown} is neither a host name nor an IP address")
    };
    let problem = Problem::new(what);
    let problem = match Domain::read(&host) {
        Some(domain) => problem.fix(Literal::Text(domain.to_string())),
        None => problem,
    };
    Err(match (port.and_then(network::read_port), scheme) {
        (Some(port), _) => problem.note(format!("the port goes into site.port = {port}")),
        (None, Some("https")) => problem.note("the scheme is site.tls = \"on\""),
        (None, Some("http")) => problem.note("the scheme is site.tls = \"off\""),
        _ => problem,
    })
}

fn unbracketed_v6(text: &str) -> bool {
    !text.starts_with('[') && text.matches(':').count() > 1
}

fn path(text: &str, gap: Option<&str>) -> Result<InRoot, Problem> {
    let without = gap.map_or_else(|| String::from(text), |gap| text.replace(gap, "x"));
    if without.contains(['{', '}']) {
        let problem = Problem::new(format!("{} has braces that mean nothing here", quoted(text)));
        return Err(match gap {
            Some(gap) => problem.note(format!("only {gap} is filled in")),
            None => problem,
        });
    }
    let path = InRoot::parse(text)
        .map_err(|fault| Problem::new(format!("{} is no such path: {fault}", quoted(text))));
    let path = path.map_err(|problem| with_tidied(problem, text))?;
    if path.name().is_empty() {
        return Err(Problem::new("\"/\" is the root folder, expected a path below it"));
    }
    Ok(path)
}

/// Adds the same path without double slashes and without one at its end, where that is a path.
fn with_tidied(problem: Problem, text: &str) -> Problem {
    let parts: Vec<_> = text.split('/').filter(|part| !part.is_empty()).collect();
    let tidied = format!("/{}", crate::text::join(&parts, "/"));
    match InRoot::parse(&tidied) {
        Ok(_) if text.starts_with('/') && !parts.is_empty() => problem.fix(Literal::Text(tidied)),
        _ => problem,
    }
}

fn without_gap(text: &str, gap: &str) -> Problem {
    let problem = Problem::new(format!("{} has to have {gap} in it once", quoted(text)));
    if text.contains(gap) {
        return problem;
    }
    problem.fix(Literal::Text(format!("{text}/{gap}")))
}

fn home_path(text: &str) -> Result<HomePath, Problem> {
    if !text.starts_with("~/") {
        return path(text, None).map(HomePath::Absolute);
    }
    if text.contains(['{', '}']) {
        return Err(Problem::new(format!("{} has braces that mean nothing here", quoted(text))));
    }
    HomePath::read(text)
        .map_err(|fault| Problem::new(format!("{} is no such path: {fault}", quoted(text))))
}

fn endpoint(text: &str) -> Result<SocketAddr, Problem> {
    if let Some(endpoint) = network::read_endpoint(text) {
        return Ok(endpoint);
    }
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    let (host, port) = bare.rsplit_once(':').unwrap_or((bare, ""));
    if host.eq_ignore_ascii_case("localhost") {
        let problem = Problem::new(format!("{} is a name, expected an IP address", quoted(text)))
            .note("localhost is ::1 as well, where nothing may listen");
        return Err(match network::read_port(port) {
            Some(port) => problem.fix(Literal::Text(format!("127.0.0.1:{port}"))),
            None => problem,
        });
    }
    let problem = Problem::new(format!("{} is not an IP address and a port", quoted(text)));
    Err(match network::read_endpoint(bare) {
        Some(endpoint) => problem.fix(Literal::Text(endpoint.to_string())),
        None => problem.note("write \"127.0.0.1:3000\", an IPv6 address as \"[::1]:3000\""),
    })
}

fn http_url(text: &str) -> Result<HttpUrl, Problem> {
    HttpUrl::read(text).ok_or_else(|| {
        let problem = Problem::new(format!("{} is no such URL", quoted(text)));
        let local = text.replacen("://localhost", "://127.0.0.1", 1);
        if local != text && HttpUrl::read(&local).is_some() {
            return problem
                .fix(Literal::Text(local))
                .note("localhost is ::1 as well, where nothing may listen");
        }
        problem.note("http://, an IP address, a port, and a path of letters, digits and ._~-/")
    })
}

fn web_origin(text: &str) -> Result<WebOrigin, Problem> {
    WebOrigin::read(text).ok_or_else(|| {
        let problem = Problem::new(format!("{} is no web origin", quoted(text)));
        let lower = text.to_ascii_lowercase();
        let (scheme, rest) = lower.split_once("://").unwrap_or(("https", &lower));
        let host = rest.split('/').next().unwrap_or(rest);
        let meant = format!("{scheme}://{host}");
        match WebOrigin::read(&meant) {
            Some(_) => problem.fix(Literal::Text(meant)),
            None => problem.note("write scheme://host or scheme://host:port, without a path"),
        }
    })
}

fn listen(text: &str) -> Result<Listen, Problem> {
    Listen::read(text).ok_or_else(|| {
        let problem = Problem::new(format!("{} is no address to listen on", quoted(text)));
        let bracketed = format!("[{text}]");
        match Listen::read(&bracketed) {
            Some(_) => problem.fix(Literal::Text(bracketed)),
            None => problem.note("\"*\", an IPv4 address, or an IPv6 address in brackets; no port"),
        }
    })
}

fn pattern(text: &str) -> Result<Pattern, Problem> {
    Pattern::parse(text)
        .map_err(|fault| Problem::new(format!("{} is no pattern: {fault}", quoted(text))))
}

fn owner(text: &str) -> Result<Owner, Problem> {
    Owner::read(text)
        .ok_or_else(|| Problem::new(format!("{} is no user name or number", quoted(text))))
}
