//! What to do next: a fact that decides it, or a command that can be pasted.
//!
//! A command of ours is data until the edge shows it. Only the edge knows which `--root`,
//! `--config` and `--set` the run was given, and a command that lost them would act on another
//! installation than the one that it is about. Everything shown is quoted for a POSIX shell.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// The fact that decides it, or a whole command of another program, as it stands.
    Fact(String),
    /// A command, and the words that lead to it.
    Run {
        /// What comes before the command, without a colon; may be empty.
        lead: &'static str,
        /// The command.
        command: Command,
    },
}

/// A command line, word by word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    words: Vec<String>,
    ours: bool,
}

impl Command {
    /// Names a command of ours: it is shown with the arguments that all of ours have in common.
    pub fn ours(tool: &str, arguments: &[&str]) -> Self {
        Self { ours: true, ..Self::other(tool, arguments) }
    }

    /// Names a command that is shown as it is.
    pub fn other(program: &str, arguments: &[&str]) -> Self {
        let words = core::iter::once(program).chain(arguments.iter().copied());
        Self { words: words.map(ToString::to_string).collect(), ours: false }
    }

    /// Returns the name of the tool and its arguments, where it is one of ours.
    pub fn tool(&self) -> Option<(&str, &[String])> {
        let (tool, arguments) = self.words.split_first()?;
        self.ours.then_some((tool.as_str(), arguments))
    }

    /// Writes it for a shell; a command of ours with the common arguments behind it.
    pub fn line(&self, common: &[String]) -> String {
        let common = if self.ours { common } else { &[] };
        let words: Vec<String> =
            self.words.iter().chain(common).map(|word| shell_word(word)).collect();
        words.join(" ")
    }
}

impl Hint {
    /// Makes a hint of a command and of the words that lead to it.
    pub const fn run(lead: &'static str, command: Command) -> Self {
        Self::Run { lead, command }
    }

    /// Writes it on one line; commands of ours with the common arguments.
    pub fn line(&self, common: &[String]) -> String {
        match self {
            Self::Fact(fact) => fact.clone(),
            Self::Run { lead: "", command } => command.line(common),
            Self::Run { lead, command } => format!("{lead}: {}", command.line(common)),
        }
    }
}

impl From<String> for Hint {
    fn from(fact: String) -> Self {
        Self::Fact(fact)
    }
}

impl From<&str> for Hint {
    fn from(fact: &str) -> Self {
        Self::Fact(fact.into())
    }
}

/// Quotes a word for a command line that can be pasted into a POSIX shell.
pub fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%=,".contains(&byte);
    // Some shells expand a word that begins with `=`.
    if !text.is_empty() && !text.starts_with('=') && text.bytes().all(plain) {
        return text.into();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    /// What a real shell makes of a line: its words.
    fn words_of(line: &str) -> Vec<String> {
        let script = format!("for word in {line}; do printf '%s\\0' \"$word\"; done");
        let output = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_terminator('\0').map(String::from).collect()
    }

    #[test]
    fn a_command_of_ours_goes_on_where_it_was_said() {
        let common = ["--root", "/a b", "--set", "site.domain=oh.example"].map(String::from);
        let ours = Command::ours("oh-nginx", &["apply"]);
        assert_eq!(
            Hint::run("mend it, then run", ours.clone()).line(&common),
            "mend it, then run: oh-nginx apply --root '/a b' --set site.domain=oh.example"
        );
        assert_eq!(Hint::run("", ours).line(&[]), "oh-nginx apply");
        let other = Command::other("nginx", &["-c", "/a b"]);
        assert_eq!(Hint::run("start it", other).line(&common), "start it: nginx -c '/a b'");
        assert_eq!(Hint::from("a fact").line(&common), "a fact");
    }

    #[test]
    fn plain_words_stay_readable() {
        for word in ["/etc/nginx", "site.port=8443", "a@b:c,d+e-f_g%h"] {
            assert_eq!(shell_word(word), word);
        }
        assert_eq!(shell_word("/a b'c;$(x)"), "'/a b'\\''c;$(x)'");
        assert_eq!((shell_word(""), shell_word("=ls")), ("''".into(), "'=ls'".into()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_shell_reads_every_word_as_itself(
            words in prop::collection::vec("[^\0]{0,12}|[ '\"$`\\\\!*~#;&|<>(){}\n=-]{1,8}", 1..6),
        ) {
            let line: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
            prop_assert_eq!(words_of(&line.join(" ")), words);
        }
    }

    #[test]
    fn a_shell_reads_the_words_that_hurt_as_themselves() {
        let words = vec!["", "'", "''", "a'b'c", "$(id)", "`id`", "\\", "\n", "~", "-x", "é \t"];
        let line: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
        assert_eq!(words_of(&line.join(" ")), words);
    }
}
