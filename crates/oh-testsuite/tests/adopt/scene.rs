//! An older installation in a laboratory, and what has to be true of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use oh_testsuite::lab::{Installation, Lab, Said};

/// What is not part of an installation: locks and pid files, gone with the next start of the
/// machine, and nginx's own log.
const EXCEPTED: [&str; 2] = ["run", "log"];

/// A name with its type, mode, owners, time, and content or target.
pub(crate) type Tree = BTreeMap<PathBuf, String>;

/// An older installation, and how it is taken over.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) ports: Installation,
    pub(crate) sets: Vec<String>,
    pub(crate) login: Option<String>,
}

impl Scene {
    pub(crate) fn set(name: &str, sets: &[&str]) -> Result<Self> {
        let (lab, ports) = Lab::installation(name)?;
        let mut all = vec![
            "site.auth=none".to_string(),
            format!("nginx.generation_port={}", lab.generation_port),
            "sessions.editor_ports=1024-65535".into(),
            "sessions.app_ports=1024-65535".into(),
            "instances.ports=21000-21099".into(),
        ];
        all.extend(sets.iter().map(ToString::to_string));
        Ok(Self { lab, ports, sets: all, login: None })
    }

    pub(crate) fn upstream(&self) -> u16 {
        self.lab.upstream_port
    }

    pub(crate) fn adopt(&self, arguments: &[&str]) -> Result<Said> {
        let mut all = vec!["adopt"];
        for set in &self.sets {
            all.extend(["--set", set]);
        }
        all.extend(arguments);
        self.lab.run(&all)
    }

    pub(crate) fn release(&self, arguments: &[&str]) -> Result<Said> {
        self.lab.run(&[&["release"], arguments].concat())
    }

    /// Fails unless each path is answered by the back end on the port.
    pub(crate) fn answers(&self, routes: &[(&str, u16)]) -> Result<()> {
        let headers: Vec<(&str, &str)> =
            self.login.iter().map(|login| ("Authorization", login.as_str())).collect();
        for (path, port) in routes {
            let answer = self.lab.get(path, &headers)?;
            let text = answer.text();
            ensure!(
                answer.status == 200 && text.starts_with(&format!("{port} ")),
                "{path} answers {} {text}",
                answer.status
            );
        }
        Ok(())
    }

    /// Takes over, again, and gives back, on a running nginx; the routes answer all the time.
    pub(crate) fn comes_and_goes(&mut self, routes: &[(&str, u16)]) -> Result<()> {
        self.lab.start_nginx()?;
        let before = self.tree()?;
        self.answers(routes)?;
        self.adopt(&["--dry-run"])?.expect(0)?;
        self.is(&before)?;
        self.adopt(&["--yes"])?.expect(0)?;
        ensure!(self.lab.generation().is_some(), "ours is not served");
        self.answers(routes)?;
        let adopted = self.exact_tree()?;
        let said = self.adopt(&["--yes"])?.expect(0)?;
        ensure!(said.stdout.starts_with("nothing to do"), "{}", said.stdout);
        ensure!(self.exact_tree()? == adopted, "the second run wrote something");
        // What was written is enough for every other command.
        let said = self.lab.run(&["apply"])?.expect(0)?;
        ensure!(said.stdout.starts_with("nothing to do"), "{}", said.stdout);
        let said = self.release(&["--yes"])?.expect(0)?;
        ensure!(said.stdout.contains("new workers of nginx serve it"), "{}", said.stdout);
        self.is(&before)?;
        ensure!(self.lab.generation().is_none(), "ours is still served");
        self.answers(routes)
    }

    /// Fails, with the first difference, unless everything below the root is as it was.
    pub(crate) fn is(&self, before: &Tree) -> Result<()> {
        let now = self.tree()?;
        for (path, line) in before {
            let found = now.get(path);
            ensure!(found == Some(line), "{}: {found:?} instead of {line}", path.display());
        }
        let more: Vec<_> = now.keys().filter(|path| !before.contains_key(*path)).collect();
        ensure!(more.is_empty(), "left behind: {more:?}");
        Ok(())
    }

    /// All names below the root, but for what is excepted.
    pub(crate) fn tree(&self) -> Result<Tree> {
        self.listed(|meta| if meta.is_dir() { 0 } else { meta.mtime_nsec() })
    }

    /// The same with inodes and the times of folders: equal only where nothing was written.
    pub(crate) fn exact_tree(&self) -> Result<Tree> {
        self.listed(|meta| meta.mtime_nsec() ^ i64::from_ne_bytes(meta.ino().to_ne_bytes()))
    }

    fn listed(&self, more: impl Fn(&fs::Metadata) -> i64) -> Result<Tree> {
        let mut found = Tree::new();
        let mut folders = vec![self.lab.at("")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let meta = fs::symlink_metadata(&path)?;
                let excepted = EXCEPTED.iter().any(|name| path == self.lab.at(name));
                let content = content(&path, &meta)?;
                let (uid, gid) = (meta.uid(), meta.gid());
                let line = format!("{:o} {uid}:{gid} {} {content}", meta.mode(), more(&meta));
                if excepted {
                    continue;
                }
                if meta.is_dir() {
                    folders.push(path.clone());
                }
                found.insert(path, line);
            }
        }
        Ok(found)
    }
}

fn content(path: &Path, meta: &fs::Metadata) -> Result<String> {
    Ok(if meta.is_symlink() {
        fs::read_link(path)?.display().to_string()
    } else if meta.is_file() {
        fs::read(path)?.escape_ascii().to_string()
    } else {
        String::new()
    })
}
