//! The arguments that every tool has.

use clap::{Args, ValueEnum};

/// Where the configuration is, what overrides it, and how to answer; `F` are the formats that a tool knows.
#[derive(Debug, Clone, Args)]
pub struct Common<F: ValueEnum + Send + Sync + 'static = Format> {
    /// Read this configuration file instead of /etc/openhands-toolkit/config.toml
    ///
    /// With /dev/null the defaults count, and no file is read.
    #[arg(long, value_name = "FILE", global = true, help_heading = "Common options")]
    pub config: Option<String>,
    /// Put every path below this folder: a sandbox, a test, a mounted disk
    #[arg(long, value_name = "DIR", global = true, help_heading = "Common options")]
    pub root: Option<String>,
    /// Override one key of the configuration, e.g. --set site.port=8443
    #[arg(long = "set", value_name = "KEY=VALUE", global = true, help_heading = "Common options")]
    pub sets: Vec<String>,
    /// Choose how the answer is written
    #[arg(
        long,
        value_enum,
        default_value = "human",
        global = true,
        help_heading = "Common options"
    )]
    pub format: F,
}

impl<F: ValueEnum + Send + Sync + 'static> Common<F> {
    /// Returns the arguments that a command has to have to work on the same installation.
    pub fn carried(&self) -> Vec<String> {
        let root = self.root.iter().map(|root| ("--root", root));
        let config = self.config.iter().map(|file| ("--config", file));
        let sets = self.sets.iter().map(|set| ("--set", set));
        root.chain(config).chain(sets).flat_map(|(name, value)| carried(name, value)).collect()
    }
}

/// A value that looks like an option has to be glued to its name.
fn carried(name: &str, value: &str) -> Vec<String> {
    if value.starts_with('-') {
        return vec![format!("{name}={value}")];
    }
    vec![name.into(), value.into()]
}

/// How an answer is written; the exit code is the same in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people
    Human,
    /// One JSON document
    Json,
    /// The same, one line for each value: its way, a tab, and the value as in JSON
    Lines,
}

/// How the answer of a tool is written that checks something; the exit code is the same in each but `nagios`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// Text for people
    Human,
    /// One JSON document
    Json,
    /// One JSON document a line, for each check
    Jsonl,
    /// A report for continuous integration
    Junit,
    /// A plugin's line, and its exit codes: 0 ok, 1 warning, 2 critical, 3 unknown
    Nagios,
    /// Metrics in text, for a textfile collector
    Prometheus,
}

impl From<CheckFormat> for Format {
    /// All but JSON are texts that the tool writes itself.
    fn from(format: CheckFormat) -> Self {
        if format == CheckFormat::Json { Self::Json } else { Self::Human }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        common: Common,
    }

    fn parsed(arguments: &[String]) -> Common {
        let name = std::iter::once("tool".to_owned());
        Line::try_parse_from(name.chain(arguments.iter().cloned())).unwrap().common
    }

    #[test]
    fn what_is_carried_reads_back_as_what_was_given() {
        for given in [
            vec!["--root", "/a b", "--set", "site.port=1", "--config=c.toml", "--set", "b=it's"],
            vec!["--root=-dir", "--config=--", "--format", "json"],
            vec![],
        ] {
            let given = parsed(&given.into_iter().map(String::from).collect::<Vec<_>>());
            let again = parsed(&given.carried());
            assert_eq!(
                (given.root, given.config, given.sets),
                (again.root, again.config, again.sets)
            );
        }
    }
}
