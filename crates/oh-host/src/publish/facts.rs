//! What publishing knows before it decides: read, never changed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use oh_model::hint::{Command, Hint};
use oh_model::path::{InRoot, RealPath};
use oh_model::port::Port;
use oh_model::routes::{Policy, Routes, agree};
use oh_nginx_conf::inspect::{self, File, Surroundings, Tree};
use oh_nginx_conf::layout::{Auth, Generation, HOOK_MARK, Layout, Site, layout};
use oh_nginx_conf::parse::parse;
use oh_nginx_conf::secret::SetText;
use oh_nginx_conf::served::{self, Served};
use oh_nginx_conf::write::{Text, Unquotable, Word};

use super::{Host, PublishFault, site, staging};
use crate::atomic::{self, Meta};
use crate::folder::Memory;
use crate::http::{self, Get, Target};
use crate::inputs;
use crate::nginx::{self, Built, Master, Nginx};
use crate::sockets::{self, BindProbe, Holding};
use crate::tree::{self, Changeable, Overlay, addable_by_others, changeable_by_others};
use crate::users::{Users, is_root};

/// The largest set that is read back, in bytes: 100,000 routes have 5 MB.
const SET_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How much the generation's listener may answer, in bytes.
const ANSWER_BYTES_MAX: usize = 256;

/// How long the generation's listener may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How many ports are tried for one that is free.
const PORTS_TRIED: u16 = 32;

/// The folders of sockets, by kind of address.
const SOCKET_FOLDERS: [&str; 2] = ["vscode", "apps"];

/// Where the files of publishing are on this machine.
#[derive(Debug, Clone)]
pub struct Paths {
    /// nginx's main configuration file.
    pub config: RealPath,
    /// The folder of our sets.
    pub folder: RealPath,
    /// The set in place.
    pub live: RealPath,
    /// The file in nginx's own folders that includes the set.
    pub hook: RealPath,
}

impl Paths {
    /// Returns where they are.
    ///
    /// # Errors
    /// [`PublishFault::Path`].
    pub(super) fn of(host: &Host) -> Result<Self, PublishFault> {
        let settings = &host.settings.nginx;
        let folder = site::real(&host.root, &settings.directory)?;
        Ok(Self {
            config: site::real(&host.root, &settings.config)?,
            live: site::below(&folder, staging::LIVE)?,
            hook: site::real(&host.root, &settings.hook)?,
            folder,
        })
    }
}

/// The set in place.
#[derive(Debug)]
pub enum Live {
    /// There is none yet.
    Absent,
    /// One of ours.
    Ours(Served),
    /// A file that we did not write, and what is wrong with it.
    Foreign(String),
}

impl Live {
    /// Returns the generation in place, if it is what is wanted, untouched.
    pub fn current(&self, wanted: &Layout) -> Option<Generation> {
        match self {
            Self::Ours(served)
                if served.intact && served.generation.digest == wanted.digest().to_string() =>
            {
                Some(served.generation.clone())
            }
            _ => None,
        }
    }
}

/// The file that includes our set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// There is none yet.
    Absent,
    /// Ours, as we write it.
    Ours,
    /// Ours, but of another version or folder: its text, to put back.
    Outdated(String),
    /// Somebody else's.
    Foreign,
}

/// What runs, and what it answers.
#[derive(Debug)]
pub enum Running {
    /// A master that can be asked to reload.
    Master {
        /// The master.
        master: Master,
        /// The generation that its listener answers.
        answered: Option<Generation>,
    },
    /// No master; workers that lost theirs may still answer.
    Nothing {
        /// The generation that somebody answers.
        answered: Option<Generation>,
    },
}

impl Running {
    /// Returns the generation that is answered.
    pub const fn answered(&self) -> Option<&Generation> {
        match self {
            Self::Master { answered, .. } | Self::Nothing { answered } => answered.as_ref(),
        }
    }
}

/// Everything that publishing decides by.
#[derive(Debug)]
pub struct Facts {
    /// Where the files are.
    pub paths: Paths,
    /// The nginx.
    pub nginx: Nginx,
    /// What it was built with.
    pub built: Built,
    /// Its whole configuration, with our hook in it even where it is not there yet.
    pub tree: Tree,
    /// What in it is not ours.
    pub surroundings: Surroundings,
    /// Whether its configuration includes the hook, or would.
    pub hook_included: bool,
    /// The hook.
    pub hook: Hook,
    /// What the configuration fixes.
    pub site: Site,
    /// What may be routed.
    pub policy: Policy,
    /// The routes that the inputs give.
    pub routes: Routes,
    /// The set that they make.
    pub wanted: Layout,
    /// The set in place.
    pub live: Live,
    /// Its text; empty where there is none.
    pub live_text: SetText,
    /// The set kept to go back to.
    pub previous: Option<Served>,
    /// What runs.
    pub running: Running,
    /// The file of users, where a login is wanted and nobody has one.
    pub login_wanted: Option<RealPath>,
    /// Who owns a file of users, and who may read it: the workers.
    pub login_meta: Meta,
    /// What of nginx's configuration others can change, where root would have to judge it.
    pub changeable: Option<Changeable>,
    /// Who but root could put a socket where nginx looks for those of sessions.
    pub sockets_addable: Option<Changeable>,
    /// Who has the generation's port, if it is not this nginx.
    pub generation_port_taken: Option<String>,
    /// A port that could be taken instead, where it is taken.
    pub free_port: Option<Port>,
    /// How long to wait for a generation to be seen.
    pub seen_limit: Duration,
}

impl Facts {
    /// Says how nginx is started by hand; what else starts it on a machine is not known here.
    pub fn start_nginx(&self) -> Hint {
        let words = ["-c", self.nginx.config.as_str()];
        let command = Command::other(self.nginx.program.as_str(), &words);
        Hint::run("start nginx, by its service or with", command)
    }

    /// Says whether nginx serves the set that is kept, and not the one in place.
    pub fn previous_is_served(&self) -> bool {
        let previous = self.previous.as_ref().map(|set| &set.generation);
        previous.is_some() && previous == self.running.answered()
    }

    /// Returns the set that nginx serves, where one of ours is served and its file is there.
    pub fn served(&self) -> Option<&Served> {
        let answered = self.running.answered()?;
        let live = match &self.live {
            Live::Ours(served) => Some(served),
            _ => None,
        };
        live.into_iter().chain(&self.previous).find(|set| set.generation == *answered)
    }

    /// Says whether nothing but data would change, measured against the set in place.
    pub fn only_data_changes(&self) -> bool {
        served::data_only(self.live_text.reveal(), self.target_text().reveal()).is_ok()
    }

    /// Returns the generation that the wanted set has, or gets.
    pub fn target(&self) -> Generation {
        let next = || self.wanted.generation(self.highest_generation() + 1);
        self.live.current(&self.wanted).unwrap_or_else(next)
    }

    /// Returns the text of the wanted set under that name.
    pub fn target_text(&self) -> SetText {
        self.wanted.text(self.target().number)
    }

    /// Returns who has to own a set with keys: the user that nginx's master reads it as, where that
    /// is neither root nor we.
    pub(super) fn secrets_owner(&self) -> Option<(u32, u32)> {
        match &self.running {
            Running::Master { master, .. } => master.test_user(),
            Running::Nothing { .. } => None,
        }
    }

    /// Returns the highest number that any set on this machine has.
    fn highest_generation(&self) -> u64 {
        let live = match &self.live {
            Live::Ours(served) => Some(&served.generation),
            _ => None,
        };
        let previous = self.previous.as_ref().map(|set| &set.generation);
        let all = [live, previous, self.running.answered()];
        all.into_iter().flatten().map(|generation| generation.number).max().unwrap_or(0)
    }
}

/// Looks at everything.
///
/// # Errors
/// [`PublishFault`] where something that decides could not be looked at.
pub fn gather(host: &Host) -> Result<Facts, PublishFault> {
    look(host, &Overlay::new(), &mut Memory::default())
}

/// Looks at everything as it will be when nginx's files say what the overlay says.
///
/// # Errors
/// As [`gather`].
pub fn gather_over(host: &Host, overlay: &Overlay) -> Result<Facts, PublishFault> {
    look(host, overlay, &mut Memory::default())
}

/// [`gather`], where session files that did not change since the last time are not read again.
pub(super) fn gather_again(host: &Host, memory: &mut Memory) -> Result<Facts, PublishFault> {
    look(host, &Overlay::new(), memory)
}

/// Returns the group of nginx's workers, where somebody may give files to it: root alone may.
///
/// # Errors
/// [`PublishFault`] where nginx or its configuration cannot be read.
pub fn group_of_workers(host: &Host) -> Result<Option<u32>, PublishFault> {
    let settings = &host.settings.nginx;
    let nginx = Nginx {
        program: site::program(&settings.program)?,
        config: site::real(&host.root, &settings.config)?,
        interrupts: None,
    };
    let (built, tree) = (nginx.built()?, tree::read(&nginx.config)?);
    Ok(login_meta(&tree, &built).owner.map(|(_, group)| group))
}

fn look(host: &Host, overlay: &Overlay, memory: &mut Memory) -> Result<Facts, PublishFault> {
    let settings = &host.settings;
    let real = |path: &InRoot| site::real(&host.root, path);
    let nginx = Nginx {
        program: site::program(&settings.nginx.program)?,
        config: real(&settings.nginx.config)?,
        interrupts: None,
    };
    let paths = Paths::of(host)?;
    let built = nginx.built()?;
    let mut tree = tree::read_over(&nginx.config, overlay)?;
    let hook_included = with_hook(&mut tree, &paths.hook, hook_text(&paths.live)?);
    let surroundings = inspect::surroundings(&tree, paths.hook.as_str(), paths.live.as_str());
    let site = site::site(host, &built, &surroundings)?;
    let policy = site::policy(settings, &site, &surroundings);
    let routes = agree(&inputs::gather(host, memory)?, &policy);
    // A folder whose path is too long below the root is not opened.
    let wanted = layout(&site, &routes, |path| site::real(&host.root, path).ok())?;
    let live_text = text_of(&paths.live)?.unwrap_or_default();
    let live = match served::read(&live_text) {
        _ if live_text.is_empty() => Live::Absent,
        Ok(served) => Live::Ours(served),
        Err(why) => Live::Foreign(why.to_string()),
    };
    let previous = text_of(&site::below(&paths.folder, staging::PREVIOUS)?)?
        .and_then(|text| served::read(&text).ok());
    let port = site.generation_port;
    let (running, generation_port_taken) = running(&nginx, &tree, &built, port)?;
    Ok(Facts {
        hook: hook(&paths)?,
        login_wanted: login_wanted(&site)?,
        login_meta: login_meta(&tree, &built),
        changeable: if judged_by_root(&running) { changeable_by_others(&tree) } else { None },
        sockets_addable: match &site.sockets {
            Some(folder) if is_root() => addable_by_others(folder, &SOCKET_FOLDERS),
            _ => None,
        },
        seen_limit: Duration::from_millis(settings.nginx.seen_timeout_ms),
        paths,
        nginx,
        built,
        tree,
        surroundings,
        hook_included,
        site,
        policy,
        routes,
        wanted,
        live,
        live_text: SetText::new(live_text),
        previous,
        running,
        free_port: generation_port_taken.as_ref().and_then(|_| free_port_after(port)),
        generation_port_taken,
    })
}

/// Puts the hook into the tree where nginx will find it, if it is not there yet; says whether
/// nginx finds it at all.
fn with_hook(tree: &mut Tree, hook: &RealPath, text: String) -> bool {
    if tree.files.iter().any(|file| file.path == hook.as_str()) {
        return true;
    }
    let (index, paths) = (tree.files.len(), paths_of(tree));
    let position = |files: &[usize]| {
        files.partition_point(|file| paths.get(*file).is_some_and(|p| p.as_str() < hook.as_str()))
    };
    let includes = tree.files.iter_mut().flat_map(|file| &mut file.includes);
    let Some(include) = includes.into_iter().find(|include| matches(&include.pattern, hook)) else {
        return false;
    };
    let position = position(&include.files);
    include.files.insert(position, index);
    tree.files.push(File {
        path: hook.to_string(),
        directives: parse(&text).unwrap_or_default(),
        text,
        includes: Vec::new(),
    });
    true
}

fn paths_of(tree: &Tree) -> Vec<String> {
    tree.files.iter().map(|file| file.path.clone()).collect()
}

fn matches(pattern: &str, path: &RealPath) -> bool {
    glob::Pattern::new(pattern).is_ok_and(|pattern| {
        pattern.matches_path_with(
            Path::new(path.as_str()),
            glob::MatchOptions {
                case_sensitive: true,
                require_literal_separator: true,
                require_literal_leading_dot: true,
            },
        )
    })
}

/// What the hook says. The brackets make the name a pattern, so that nginx also starts where the
/// set has been taken away.
///
/// # Errors
/// [`Unquotable`] where nginx text cannot name the folder.
pub(super) fn hook_text(live: &RealPath) -> Result<String, Unquotable> {
    let pattern = Word::value(&format!("{}/routes.con[f]", live.parent()))?;
    let mut text = Text::default();
    text.comment(HOOK_MARK);
    text.directive("include", &[pattern]);
    Ok(text.finish())
}

pub(super) fn hook(paths: &Paths) -> Result<Hook, PublishFault> {
    Ok(match text_of(&paths.hook)? {
        None => Hook::Absent,
        Some(text) if text == hook_text(&paths.live)? => Hook::Ours,
        // Exactly our comment and one include; with a line more it is somebody else's too.
        Some(text) if text.contains(HOOK_MARK) && text.lines().count() == 2 => Hook::Outdated(text),
        Some(_) => Hook::Foreign,
    })
}

fn login_wanted(site: &Site) -> Result<Option<RealPath>, PublishFault> {
    let Auth::Basic { users } = &site.auth else { return Ok(None) };
    let exists = text_of(users)?.is_some_and(|text| !text.trim().is_empty());
    Ok((!exists).then(|| users.clone()))
}

/// Says whether `nginx -t` would run as root: it runs as the master's user.
pub(super) fn judged_by_root(running: &Running) -> bool {
    match running {
        Running::Master { master, .. } => master.test_user().is_none() && is_root(),
        Running::Nothing { .. } => is_root(),
    }
}

/// The workers have to read the file, and nobody else: root's file is their group's to read.
fn login_meta(tree: &Tree, built: &Built) -> Meta {
    let group = match Users::of_machine() {
        Ok(users) if is_root() => workers_group(&tree.main_words("user"), built, &users),
        _ => None,
    };
    Meta { mode: 0o640, owner: group.map(|gid| (0, gid)) }
}

/// The group of nginx's workers: the one that `user` names, or the user's namesake; without a
/// `user`, the one that was built in, or the group that the built-in user has.
fn workers_group(words: &[String], built: &Built, users: &Users) -> Option<u32> {
    match (words, &built.group) {
        ([_, group, ..], _) | ([group], _) | ([], Some(group)) => users.gid(group),
        ([], None) => users.user(&built.user).map(|user| user.gid),
    }
}

pub(super) fn running(
    nginx: &Nginx,
    tree: &Tree,
    built: &Built,
    port: Port,
) -> Result<(Running, Option<String>), PublishFault> {
    let answered = answered_generation(port);
    let Some(master) = nginx.master(&nginx::pid_file(tree, built)?)? else {
        // Workers that lost their master are root's or ours; whoever else answers may say anything.
        let answered = if stranger_listens(port) { None } else { answered };
        return Ok((Running::Nothing { answered }, None));
    };
    let stranger = stranger_on(port, &master);
    let answered = if stranger.is_some() { None } else { answered };
    Ok((Running::Master { master, answered }, stranger))
}

/// Asks, on a fresh connection, which generation is served; `None` where nobody answers one.
pub(super) fn answered_generation(port: Port) -> Option<Generation> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.get()));
    let answer = http::get(&Get {
        target: Target::Tcp(address),
        path: "/generation",
        host: "localhost",
        headers: &[],
        timeout: ANSWER_LIMIT,
        body_bytes_max: ANSWER_BYTES_MAX,
    })
    .ok()?;
    let text = std::str::from_utf8(&answer.body).ok()?;
    (answer.status == 200).then(|| Generation::parse(text.trim()))?
}

/// Says whether somebody listens on the port who is neither root nor we.
fn stranger_listens(port: Port) -> bool {
    let own = rustix::process::geteuid().as_raw();
    match sockets::holding(port, &[]) {
        Ok(Holding::Others { uid }) => uid != 0 && uid != own,
        Ok(Holding::Nobody | Holding::These) => false,
        Err(_) => true,
    }
}

/// Names who listens on the generation's port, if it is not this nginx: anybody may listen on a
/// high port, and would tell us whatever we want to hear.
pub(super) fn stranger_on(port: Port, master: &Master) -> Option<String> {
    // Where it cannot be told whose the port is, the generation alone has to convince.
    match sockets::holding(port, std::slice::from_ref(master.process())).ok()? {
        Holding::Others { uid } => {
            let holder = sockets::holder(port, std::slice::from_ref(master.process()));
            let process = holder.map_or_else(
                || "a process".to_owned(),
                |process| {
                    let name = process.stat().map(|stat| stat.name).unwrap_or_default();
                    format!("process {} ({name:?})", process.pid())
                },
            );
            Some(format!("{process} of uid {uid} that is not the nginx of this configuration"))
        }
        Holding::Nobody | Holding::These => None,
    }
}

/// Returns the next port that nobody has now.
fn free_port_after(taken: Port) -> Option<Port> {
    let after = (1..=PORTS_TRIED).filter_map(|step| taken.get().checked_add(step));
    after.filter_map(|number| Port::new(number.into())).find(|port| {
        sockets::bind_probe_everywhere(*port).is_ok_and(|probe| probe == BindProbe::Free)
    })
}

pub(super) fn text_of(path: &RealPath) -> Result<Option<String>, PublishFault> {
    let bytes = atomic::read_limited(path, SET_BYTES_MAX)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oh_nginx_conf::version::NginxVersion;

    #[test]
    fn the_workers_group_is_found_as_nginx_finds_it() {
        let users = Users::parse(
            "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nwww-data:x:33:33::/:\n",
            "root:x:0:\nwww-data:x:33:\nadm:x:4:\nnogroup:x:65534:\n",
        );
        let mut built = Built {
            version: NginxVersion { major: 1, minor: 22, patch: 1 },
            prefix: "/".into(),
            pid_file: "/run/nginx.pid".into(),
            error_log: "/var/log/nginx/error.log".into(),
            user: "nobody".into(),
            group: None,
        };
        let group = |built: &Built, words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            workers_group(&words, built, &users)
        };
        assert_eq!(group(&built, &["www-data"]), Some(33));
        assert_eq!(group(&built, &["www-data", "adm"]), Some(4));
        assert_eq!(group(&built, &[]), Some(65534));
        built.group = Some("adm".into());
        assert_eq!(group(&built, &[]), Some(4));
    }
}
