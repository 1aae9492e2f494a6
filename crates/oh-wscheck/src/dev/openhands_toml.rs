//! What OpenHands makes of its config.toml, up to 1.6. Pure.
//!
//! It reads the whole file or nothing of it, takes an unknown key of some tables for a reason not to start, and of
//! others for a line in its log.

use toml::de::{DeTable, DeValue};

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

/// Reads a file. `fields` says of a key of `[sandbox]` that is not known here whether the OpenHands at hand knows it.
pub(crate) fn read(text: &str, fields: &dyn Fn(&str) -> bool) -> Read {
    let (tree, faults) = DeTable::parse_recoverable(text);
    let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
    let mut read = Read::default();
    if let Some(fault) = faults.first() {
        let at = fault.span().map_or(0, |span| span.start);
        read.odd.push(Odd::Malformed { line: line(at) });
        return read;
    }
    let mut has_core = false;
    for (name, value) in tree.get_ref().iter() {
        let at = line(name.span().start);
        let known: Option<(&'static str, &[&str])> = match name.get_ref().as_ref() {
            "sandbox" => Some(("sandbox", SANDBOX)),
            "security" => Some(("security", SECURITY)),
            "core" => {
                has_core = true;
                None
            }
            other if TABLES.contains(&other) => continue,
            other => {
                read.odd.push(Odd::UnknownTable { line: at, name: other.to_owned() });
                continue;
            }
        };
        let DeValue::Table(table) = value.get_ref() else { continue };
        for (key, value) in table.iter() {
            let (at, text) = (line(key.span().start), key.get_ref().as_ref());
            match known {
                Some((table, keys))
                    if !keys.contains(&text) && (table != "sandbox" || !fields(text)) =>
                {
                    read.odd.push(Odd::Fatal { line: at, table, key: text.to_owned() });
                }
                None if !CORE.contains(&text) => {
                    read.odd.push(Odd::UnknownKey { line: at, key: text.to_owned() });
                }
                _ => {}
            }
            match (known, text, value.get_ref()) {
                (None, "runtime", DeValue::String(name)) => {
                    read.runtime = Some((name.clone().into_owned(), at));
                }
                (None, "debug", DeValue::Boolean(debug)) => read.debug = Some((*debug, at)),
                _ => {}
            }
        }
    }
    if !has_core {
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
            assert_eq!(read(text, &|key| key == "of_mine").odd, expected, "{text}");
        }
        let said = read("[core]\nruntime = \"local\"\ndebug = true", &|_| false);
        assert_eq!((said.runtime, said.debug), (Some(("local".to_owned(), 2)), Some((true, 3))));
    }

    #[test]
    fn the_tables_are_sorted() {
        for keys in [SANDBOX, SECURITY, CORE, TABLES] {
            assert!(keys.is_sorted());
        }
    }
}
