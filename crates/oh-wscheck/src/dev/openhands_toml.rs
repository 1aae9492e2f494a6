//! What OpenHands makes of its config.toml, up to 1.6. Pure.
//!
//! It reads the whole file or nothing of it, takes an unknown key of some tables for a reason not to start, and of
//! others for a line in its log.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

/// How many odd things are told of one file; for each its line is counted.
const ODD_MAX: usize = 32;

/// The keys of `[sandbox]` in OpenHands 0.40 to 1.6.
const SANDBOX: &[&str] = &[
    "additional_networks",
    "api_key",
    "base_container_image",
    "browsergym_eval_env",
    "close_delay",
    "cuda_visible_devices",
    "docker_runtime_kwargs",
    "enable_auto_lint",
    "enable_gpu",
    "force_rebuild_runtime",
    "initialize_plugins",
    "keep_runtime_alive",
    "local_runtime_url",
    "pause_closed_runtimes",
    "platform",
    "remote_runtime_api_timeout",
    "remote_runtime_api_url",
    "remote_runtime_class",
    "remote_runtime_enable_retries",
    "remote_runtime_init_timeout",
    "remote_runtime_resource_factor",
    "rm_all_containers",
    "runtime_binding_address",
    "runtime_container_image",
    "runtime_extra_build_args",
    "runtime_extra_deps",
    "runtime_startup_env_vars",
    "selected_repo",
    "timeout",
    "trusted_dirs",
    "use_host_network",
    "user_id",
    "volumes",
    "vscode_port",
];

/// The same of `[security]`.
const SECURITY: &[&str] = &["confirmation_mode", "security_analyzer"];

/// The same of `[core]`.
const CORE: &[&str] = &[
    "agents",
    "cache_dir",
    "cli",
    "cli_multiline_input",
    "client_wait_timeout",
    "conversation_max_age_seconds",
    "daytona_api_key",
    "daytona_api_url",
    "daytona_target",
    "debug",
    "default_agent",
    "defaults_dict",
    "disable_color",
    "enable_browser",
    "enable_default_condenser",
    "extended",
    "file_store",
    "file_store_path",
    "file_store_web_hook_batch",
    "file_store_web_hook_headers",
    "file_store_web_hook_url",
    "file_uploads_allowed_extensions",
    "file_uploads_max_file_size_mb",
    "file_uploads_restrict_file_types",
    "git_user_email",
    "git_user_name",
    "init_git_in_empty_workspace",
    "jwt_secret",
    "kubernetes",
    "llms",
    "max_budget_per_task",
    "max_concurrent_conversations",
    "max_iterations",
    "mcp",
    "mcp_host",
    "modal_api_token_id",
    "modal_api_token_secret",
    "replay_trajectory_path",
    "run_as_openhands",
    "runloop_api_key",
    "runtime",
    "sandbox",
    "save_screenshots_in_trajectory",
    "save_trajectory_path",
    "search_api_key",
    "security",
    "workspace_base",
    "workspace_mount_path",
    "workspace_mount_path_in_sandbox",
    "workspace_mount_rewrite",
];

/// The tables that somebody reads, with ours among them.
const TABLES: &[&str] = &[
    "agent",
    "cli",
    "condenser",
    "core",
    "extended",
    "kubernetes",
    "llm",
    "mcp",
    "model_routing",
    "sandbox",
    "security",
    "toolkit",
];

/// Something that OpenHands does not take as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Odd {
    /// All of the file is passed over.
    Malformed { line: usize },
    /// The server does not start.
    Fatal { line: usize, table: &'static str, key: String },
    /// The key is passed over.
    UnknownKey { line: usize, key: String },
    /// The table is passed over.
    UnknownTable { line: usize, name: String },
    /// There is no `[core]`.
    NoCore,
}

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) odd: Vec<Odd>,
    /// `runtime` of `[core]`, with its line.
    pub(crate) runtime: Option<(String, usize)>,
    /// `debug` of `[core]`, with its line.
    pub(crate) debug: Option<(bool, usize)>,
}

/// Returns the names of fields in a source of Python that has a class of them.
pub(crate) fn fields(source: &str) -> BTreeSet<&str> {
    let field = |line: &'_ str| Some(line.trim_start().split_once(':')?.0.len());
    source.lines().filter_map(|line| line.trim_start().get(..field(line)?)).collect()
}

/// Reads a file. `fields` are keys of `[sandbox]` that the OpenHands at hand knows beside those that are known here.
pub(crate) fn read(text: &str, fields: &BTreeSet<&str>) -> Read {
    let (tree, faults) = DeTable::parse_recoverable(text);
    let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
    let mut read = Read::default();
    if let Some(fault) = faults.first() {
        let at = fault.span().map_or(0, |span| span.start);
        read.odd.push(Odd::Malformed { line: line(at) });
        return read;
    }
    let tables = tree.get_ref();
    for (name, value) in tables.iter() {
        let known: Option<(&'static str, &[&str])> = match name.get_ref().as_ref() {
            "sandbox" => Some(("sandbox", SANDBOX)),
            "security" => Some(("security", SECURITY)),
            "core" => None,
            other if TABLES.contains(&other) => continue,
            other if read.odd.len() < ODD_MAX => {
                let line = line(name.span().start);
                read.odd.push(Odd::UnknownTable { line, name: other.to_owned() });
                continue;
            }
            _ => continue,
        };
        let DeValue::Table(table) = value.get_ref() else { continue };
        for (key, value) in table.iter() {
            let (at, key) = (key.span().start, key.get_ref().as_ref());
            let is_known = match known {
                Some(("sandbox", keys)) => keys.contains(&key) || fields.contains(key),
                Some((_, keys)) => keys.contains(&key),
                None => CORE.contains(&key),
            };
            if !is_known && read.odd.len() < ODD_MAX {
                let (line, key) = (line(at), key.to_owned());
                read.odd.push(match known {
                    Some((table, _)) => Odd::Fatal { line, table, key },
                    None => Odd::UnknownKey { line, key },
                });
            }
            match (known, key, value.get_ref()) {
                (None, "runtime", DeValue::String(name)) => {
                    read.runtime = Some((name.clone().into_owned(), line(at)));
                }
                (None, "debug", DeValue::Boolean(debug)) => read.debug = Some((*debug, line(at))),
                _ => {}
            }
        }
    }
    if !tables.contains_key("core") {
        read.odd.push(Odd::NoCore);
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_openhands_makes_of_each_line_is_told() {
        let fatal = |line, table, key: &str| Odd::Fatal { line, table, key: key.to_owned() };
        for (text, expected) in [
            (
                "[core]\ndebug = true\n[sandbox]\ntimeout = 1\n[llm.a]\nx = 1\n[toolkit.site]\na = 1",
                vec![],
            ),
            ("[core]\nx = \n", vec![Odd::Malformed { line: 2 }]),
            ("[core]\na = 1\na = 2\n", vec![Odd::Malformed { line: 3 }]),
            ("[core]\n[sandbox]\nbase_image = 1", vec![fatal(3, "sandbox", "base_image")]),
            ("[core]\n[sandbox.toolkit]\na = 1", vec![fatal(2, "sandbox", "toolkit")]),
            ("[core]\n[sandbox]\nof_mine = 1", vec![]),
            ("[core]\n[security]\nenable = 1", vec![fatal(3, "security", "enable")]),
            ("[core]\ndebugg = 1", vec![Odd::UnknownKey { line: 2, key: "debugg".to_owned() }]),
            ("[core]\n[cors]\na = 1", vec![Odd::UnknownTable { line: 2, name: "cors".to_owned() }]),
            ("[llm]\na = 1", vec![Odd::NoCore]),
        ] {
            assert_eq!(read(text, &BTreeSet::from(["of_mine"])).odd, expected, "{text}");
        }
        let said = read("[core]\nruntime = \"local\"\ndebug = true", &BTreeSet::new());
        assert_eq!((said.runtime, said.debug), (Some(("local".to_owned(), 2)), Some((true, 3))));
    }

    #[test]
    fn of_many_odd_keys_some_are_told() {
        let keys: String = (0..10_000).map(|at| format!("a{at} = 1\n")).collect();
        assert_eq!(read(&format!("[core]\n{keys}"), &BTreeSet::new()).odd.len(), ODD_MAX);
    }

    #[test]
    fn fields_are_read_of_their_source() {
        let source =
            "class S(BaseModel):\n    a: int = 1\n    # b\n    c_d: dict[str, str] = {'e': 'f'}\n";
        let fields = fields(source);
        assert!(
            fields.contains("a") && fields.contains("c_d") && !fields.contains("e"),
            "{fields:?}"
        );
    }

    #[test]
    fn the_tables_are_sorted() {
        for keys in [SANDBOX, SECURITY, CORE, TABLES] {
            assert!(keys.is_sorted());
        }
    }
}
