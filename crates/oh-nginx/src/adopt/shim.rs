//! What stands at the path of the old generator afterwards: a few lines of shell that hand on.

use oh_host::entry::Entry;
use oh_host::root::Root;
use oh_model::path::RealPath;

/// By this line our script is known.
pub(crate) const SHIM_MARK: &str = "Put here by oh-nginx adopt";

/// Who may do what with the script, where there was no file whose mode it could have.
const MODE_DEFAULT: u32 = 0o755;

/// Makes the script that stands in the place of `old`, with its owner and mode.
pub(super) fn shim(
    old: &Entry,
    path: &RealPath,
    program: &str,
    root: &Root,
    config: Option<&str>,
) -> Entry {
    let mut words = vec![quoted(program)];
    if let Some(base) = root.base() {
        words.extend(["--root".to_string(), quoted(base.as_str())]);
    }
    if let Some(config) = config {
        words.extend(["--config".to_string(), quoted(config)]);
    }
    let name = quoted(path.name());
    let text = format!(
        "#!/bin/sh\n\
         # {SHIM_MARK} in the place of an older generator, so that whoever calls it goes on\n\
         # working. `oh-nginx release` puts the older one back.\n\
         echo {name}': handed on to oh-nginx apply' >&2\n\
         exec {} apply\n",
        words.join(" ")
    );
    let (mode, owner) = match old {
        Entry::File { mode, owner, .. } => (*mode, *owner),
        _ => (MODE_DEFAULT, None),
    };
    Entry::File { bytes: text.into_bytes(), mode, owner, modified: None }
}

/// Quotes a word for the shell, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_what_the_shell_reads_as_one_command() {
        let path = RealPath::parse("/usr/local/bin/nginx-config-generator.sh").unwrap();
        let old = Entry::File { bytes: vec![], mode: 0o750, owner: Some((0, 4)), modified: None };
        let new = shim(&old, &path, "/opt/it's/oh-nginx", &Root::system(), None);
        let Entry::File { bytes, mode: 0o750, owner: Some((0, 4)), .. } = new else {
            panic!("{new:?}")
        };
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.lines().last().unwrap(), r"exec '/opt/it'\''s/oh-nginx' apply");
        assert!(text.starts_with("#!/bin/sh\n# Put here by oh-nginx adopt"));
    }
}
