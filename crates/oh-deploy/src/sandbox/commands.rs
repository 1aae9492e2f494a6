//! The commands that a sandbox tells people: run from the source tree, about this very folder.

use std::path::Path;

use oh_model::hint::{Command, Hint};

/// The tools that people run on a sandbox.
const TOOLS: [&str; 2] = ["oh-nginx", "oh-instances"];

/// Returns the command that runs one of our tools on the sandbox, from the source tree.
pub(crate) fn ours(tool: &str, dir: &str, arguments: &[&str]) -> Command {
    let dir = whole(dir);
    let cargo = ["run", "--quiet", "--package", tool, "--", "--root", dir.as_str()];
    Command::other("cargo", &[cargo.as_slice(), arguments].concat())
}

/// Returns the command that takes the sandbox down.
pub(crate) fn take_down(dir: &str) -> Command {
    let dir = whole(dir);
    Command::other("cargo", &["xtask", "deploy", "--sandbox", "--down", "--dir", dir.as_str()])
}

/// Lets a hint that one of our tools would give go on in the sandbox.
pub(crate) fn in_sandbox(hint: Hint, dir: &str) -> Hint {
    let Hint::Run { lead, command } = &hint else { return hint };
    match command.tool() {
        Some((tool, arguments)) if TOOLS.contains(&tool) => {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            Hint::run(lead, ours(tool, dir, &arguments))
        }
        _ => hint,
    }
}

/// The command is run from another folder, most likely.
fn whole(dir: &str) -> String {
    let path = std::path::absolute(Path::new(dir)).ok();
    path.as_deref().and_then(Path::to_str).unwrap_or(dir).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_blanks_and_quotes_is_one_word() {
        assert_eq!(
            take_down("/srv/it's a box").line(&[]),
            "cargo xtask deploy --sandbox --down --dir '/srv/it'\\''s a box'"
        );
    }

    #[test]
    fn a_hint_of_publishing_goes_on_in_the_sandbox() {
        let hint = Hint::run("mend it, then run", Command::ours("oh-nginx", &["apply"]));
        assert_eq!(
            in_sandbox(hint, "/a b").line(&[]),
            "mend it, then run: cargo run --quiet --package oh-nginx -- --root '/a b' apply"
        );
        let other = Hint::run("", Command::other("rm", &["/x"]));
        assert_eq!(in_sandbox(other.clone(), "/a"), other);
    }
}
