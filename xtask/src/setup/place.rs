//! The cache folder, and who we are.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::failure::{Environment, say};

/// Where components are kept on this machine.
pub(crate) struct Place {
    /// The folder that holds a link per component.
    pub(crate) cache: PathBuf,
    /// Whether we are root, and so build what others wrote as somebody else.
    pub(super) root: bool,
}

impl Place {
    /// Finds the cache: `OHT_TEST_COMPONENTS`, else root's, else the user's own.
    pub(crate) fn find() -> Result<Place> {
        let root = fs::metadata("/proc/self").context("could not see who we are")?.uid() == 0;
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let cache = if let Some(cache) = variable("OHT_TEST_COMPONENTS") {
            PathBuf::from(cache)
        } else if root {
            PathBuf::from("/var/cache/openhands-toolkit")
        } else if let Some(cache) = variable("XDG_CACHE_HOME") {
            Path::new(&cache).join("openhands-toolkit")
        } else {
            let home = variable("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?;
            Path::new(&home).join(".cache/openhands-toolkit")
        };
        Ok(Place { cache: std::path::absolute(cache)?, root })
    }

    /// Returns Node and the editor's entry point, where both are installed.
    pub(crate) fn editor(&self) -> Option<(PathBuf, PathBuf)> {
        let node = self.cache.join("node/bin/node");
        let entry = self.cache.join("editor/node_modules/code-server/out/node/entry.js");
        (node.is_file() && entry.is_file()).then_some((node, entry))
    }

    /// Makes the cache and keeps others from installing into it at the same time.
    pub(super) fn lock(&self) -> Result<File> {
        let cache = self.cache.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.cache)
            .with_context(|| format!("could not make {cache}"))?;
        let meta = fs::metadata(&self.cache)?;
        if self.root && (meta.uid() != 0 || meta.mode() & 0o022 != 0) {
            let text = format!("{cache} can be written by others than root");
            return Err(Environment(text).into());
        }
        let file = File::create(self.cache.join("lock")).context("could not open the lock")?;
        if file.try_lock().is_err() {
            say("setup: another setup is at work; waiting for it");
            file.lock().context("could not wait for the other setup")?;
        }
        Ok(file)
    }
}
