//! Every command line that README.md and docs/ print, and the test that runs it.
//!
//! A test reads the pages and demands that each printed command stands here, and that nothing
//! stands here that no page prints. So a command that is printed is a command that was run.

/// A printed command and the test that runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printed {
    /// The command, exactly as it is printed.
    pub command: &'static str,
    /// The test that runs it, as `path::function`, for example
    /// `crates/oh-testsuite/tests/stand_in.rs::a_signal_ends_it_cleanly`.
    pub test: &'static str,
}

/// The table.
pub const PRINTED: &[Printed] = &[
    Printed {
        command: "cargo xtask deploy --sandbox",
        test: "crates/oh-testsuite/tests/printed.rs::the_sandbox_comes_up_and_goes_down",
    },
    Printed {
        command: "cargo xtask deploy --sandbox --down",
        test: "crates/oh-testsuite/tests/printed.rs::the_sandbox_comes_up_and_goes_down",
    },
    Printed {
        command: "cargo xtask test",
        test: "crates/oh-testsuite/tests/printed.rs::the_tests_are_run_by_the_command_that_says_so",
    },
    Printed {
        command: "oh-nginx config check",
        test: "crates/oh-testsuite/tests/printed.rs::look_plan_and_go",
    },
    Printed {
        command: "oh-nginx plan",
        test: "crates/oh-testsuite/tests/printed.rs::look_plan_and_go",
    },
    Printed {
        command: "oh-nginx apply",
        test: "crates/oh-testsuite/tests/printed.rs::look_plan_and_go",
    },
    Printed {
        command: "oh-nginx lint",
        test: "crates/oh-testsuite/tests/printed.rs::look_plan_and_go",
    },
    Printed {
        command: "oh-nginx lint --explain OH-NGX-101",
        test: "crates/oh-testsuite/tests/printed.rs::look_plan_and_go",
    },
    Printed {
        command: "oh-nginx status",
        test: "crates/oh-testsuite/tests/printed.rs::look_plan_and_go",
    },
    Printed {
        command: "oh-nginx adopt --dry-run",
        test: "crates/oh-testsuite/tests/printed.rs::take_over_and_give_back",
    },
    Printed {
        command: "oh-nginx adopt",
        test: "crates/oh-testsuite/tests/printed.rs::take_over_and_give_back",
    },
    Printed {
        command: "oh-nginx adopt --set site.domain=192.0.2.1",
        test: "crates/oh-testsuite/tests/printed.rs::take_over_and_give_back",
    },
    Printed {
        command: "oh-nginx release --dry-run",
        test: "crates/oh-testsuite/tests/printed.rs::take_over_and_give_back",
    },
    Printed {
        command: "oh-nginx release",
        test: "crates/oh-testsuite/tests/printed.rs::take_over_and_give_back",
    },
    Printed {
        command: "oh-nginx watch --once",
        test: "crates/oh-testsuite/tests/watch.rs::a_timer_retires_as_a_watch_does",
    },
    Printed {
        command: "oh-nginx watch --print-unit service",
        test: "crates/oh-testsuite/tests/watch/units.rs::systemd_understands_the_units",
    },
    Printed {
        command: "oh-nginx watch --print-unit once",
        test: "crates/oh-testsuite/tests/watch/units.rs::systemd_understands_the_units",
    },
    Printed {
        command: "oh-nginx watch --print-unit timer",
        test: "crates/oh-testsuite/tests/watch/units.rs::systemd_understands_the_units",
    },
    Printed {
        command: "oh-nginx watch --print-unit path",
        test: "crates/oh-testsuite/tests/watch/units.rs::systemd_understands_the_units",
    },
    Printed {
        command: "oh-instances start --repo /var/www/github/hello",
        test: "crates/oh-testsuite/tests/instances.rs::a_repository_is_started_once_and_stopped_whole",
    },
    Printed {
        command: "oh-instances start --session 4f1c --apps 2",
        test: "crates/oh-testsuite/tests/instances.rs::a_session_gets_a_workspace_ports_and_a_file",
    },
    Printed {
        command: "oh-instances restart hello",
        test: "crates/oh-testsuite/tests/instances.rs::a_restart_keeps_the_port_and_the_supervisor",
    },
    Printed {
        command: "oh-instances stop hello",
        test: "crates/oh-testsuite/tests/instances.rs::a_repository_is_started_once_and_stopped_whole",
    },
    Printed {
        command: "oh-instances list",
        test: "crates/oh-testsuite/tests/instances_list.rs::two_editors_are_listed_and_one_that_was_killed_is_told_of",
    },
    Printed {
        command: "oh-instances status hello",
        test: "crates/oh-testsuite/tests/instances_list.rs::two_editors_are_listed_and_one_that_was_killed_is_told_of",
    },
    Printed {
        command: "oh-instances logs hello --lines 20",
        test: "crates/oh-testsuite/tests/instances_list.rs::a_log_is_followed_until_its_instance_is_stopped",
    },
    Printed {
        command: "oh-instances stop --idle 1h --warn 5m --dry-run",
        test: "crates/oh-testsuite/tests/instances_list.rs::an_abandoned_editor_is_stopped_and_a_busy_shell_is_spared",
    },
    Printed {
        command: "oh-instances print-unit boot",
        test: "crates/oh-testsuite/tests/instances_units.rs::systemd_understands_the_units",
    },
    Printed {
        command: "oh-instances print-unit service",
        test: "crates/oh-testsuite/tests/instances_units.rs::systemd_understands_the_units",
    },
    Printed {
        command: "oh-instances print-unit timer",
        test: "crates/oh-testsuite/tests/instances_units.rs::systemd_understands_the_units",
    },
    Printed {
        command: "oh-instances print-unit tmpfiles",
        test: "crates/oh-testsuite/tests/instances_units.rs::the_folder_of_session_files_is_made_at_boot",
    },
    Printed {
        command: "oh-instances reconcile --dry-run",
        test: "crates/oh-testsuite/tests/instances_reconcile.rs::an_instance_of_which_nothing_lives_is_retired_or_started_again",
    },
    Printed {
        command: "oh-instances reconcile",
        test: "crates/oh-testsuite/tests/instances_reconcile.rs::an_instance_of_which_nothing_lives_is_retired_or_started_again",
    },
    Printed {
        command: "oh-instances reconcile --start",
        test: "crates/oh-testsuite/tests/instances_reconcile.rs::an_instance_of_which_nothing_lives_is_retired_or_started_again",
    },
    Printed {
        command: "oh-instances env --dry-run",
        test: "crates/oh-testsuite/tests/instances_units.rs::every_reader_takes_the_same_values",
    },
    Printed {
        command: "oh-instances env",
        test: "crates/oh-testsuite/tests/instances_units.rs::every_reader_takes_the_same_values",
    },
    Printed {
        command: "oh-cleanup --dry-run",
        test: "crates/oh-testsuite/tests/cleanup.rs::a_plan_that_is_only_shown_changes_nothing",
    },
    Printed {
        command: "oh-cleanup --all --yes --reason 'port 8888 is stuck'",
        test: "crates/oh-testsuite/tests/cleanup.rs::one_command_ends_in_the_clean_state_and_another_takes_it_back",
    },
    Printed {
        command: "oh-cleanup runs",
        test: "crates/oh-testsuite/tests/cleanup.rs::one_command_ends_in_the_clean_state_and_another_takes_it_back",
    },
    Printed {
        command: "oh-cleanup --containers --dry-run",
        test: "crates/oh-testsuite/tests/full_cleanup_containers.rs::containers_stop_where_they_are_asked_for_and_an_undo_starts_them_again",
    },
    Printed {
        command: "oh-cleanup undo",
        test: "crates/oh-testsuite/tests/cleanup.rs::one_command_ends_in_the_clean_state_and_another_takes_it_back",
    },
    Printed {
        command: "oh-cleanup --all --purge-now",
        test: "crates/oh-testsuite/tests/cleanup.rs::room_that_is_needed_at_once_is_freed_and_the_rest_can_come_back",
    },
    Printed {
        command: "oh-cleanup purge --older-than 7d --yes",
        test: "crates/oh-testsuite/tests/cleanup.rs::what_was_moved_long_ago_is_removed_for_good",
    },
    Printed {
        command: "oh-cleanup plan --all --output plan.json",
        test: "crates/oh-testsuite/tests/cleanup.rs::a_plan_in_a_file_is_carried_out_as_far_as_it_is_still_true",
    },
    Printed {
        command: "oh-cleanup apply plan.json --yes",
        test: "crates/oh-testsuite/tests/cleanup.rs::a_plan_in_a_file_is_carried_out_as_far_as_it_is_still_true",
    },
    Printed {
        command: "oh-wscheck dev",
        test: "crates/oh-testsuite/tests/wscheck_dev.rs::what_works_is_told_with_what_is_set",
    },
    Printed {
        command: "scripts/start-development.sh /srv/OpenHands",
        test: "crates/oh-testsuite/tests/wscheck_dev.rs::the_start_script_starts_both_and_ends_what_it_started",
    },
    Printed {
        command: "oh-wscheck dev /srv/OpenHands",
        test: "crates/oh-testsuite/tests/wscheck_dev.rs::the_start_script_starts_both_and_ends_what_it_started",
    },
    Printed {
        command: "oh-wscheck dev /srv/OpenHands --page https://dev.oh.example",
        test: "crates/oh-testsuite/tests/wscheck_dev.rs::a_page_of_https_is_not_mixed",
    },
    Printed {
        command: "oh-wscheck --explain DEV-4",
        test: "crates/oh-testsuite/tests/wscheck_dev.rs::each_name_of_the_page_is_explained_without_asking_anybody",
    },
    Printed {
        command: "oh-wscheck https://oh.example",
        test: "crates/oh-testsuite/tests/wscheck.rs::people_read_the_rungs_the_cause_and_the_mend",
    },
    Printed {
        command: "oh-wscheck --explain UPG-2",
        test: "crates/oh-wscheck/tests/cli.rs::a_cause_is_explained_without_asking_anybody",
    },
    Printed {
        command: "oh-wscheck --via public,nginx,upstream",
        test: "crates/oh-testsuite/tests/wscheck.rs::the_hops_that_were_asked_for_are_each_seen",
    },
    Printed {
        command: "oh-wscheck --soak 90s",
        test: "crates/oh-testsuite/tests/wscheck.rs::a_limit_of_silence_is_found_with_its_line",
    },
    Printed {
        command: "oh-wscheck --load 500",
        test: "crates/oh-testsuite/tests/wscheck.rs::a_load_meets_the_limit_of_the_proxy",
    },
    Printed {
        command: "oh-wscheck --sticky",
        test: "crates/oh-testsuite/tests/wscheck.rs::a_limit_of_silence_is_found_with_its_line",
    },
    Printed {
        command: "oh-wscheck --conversation 4f1c",
        test: "crates/oh-testsuite/tests/wscheck.rs::a_conversation_that_does_not_run_is_not_joined",
    },
    Printed {
        command: "oh-wscheck --cors https://pages.example",
        test: "crates/oh-testsuite/tests/wscheck.rs::whether_other_pages_may_read_is_said",
    },
    Printed {
        command: "oh-wscheck --vscode https://oh.example/vscode/hello/",
        test: "crates/oh-testsuite/tests/wscheck.rs::an_editor_is_known_and_proved_below_its_path",
    },
    Printed {
        command: "oh-wscheck --format nagios",
        test: "crates/oh-testsuite/tests/wscheck.rs::a_site_that_works_is_said_to_in_each_format",
    },
];

/// Returns the commands of a Markdown page: in a `console` block the lines that begin with `$ `,
/// in a `sh` block every line that is no comment. A backslash at the end joins two lines.
pub fn commands(page: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut block: Option<&str> = None;
    let mut continued = false;
    for line in page.lines() {
        let line = line.trim();
        if let Some(info) = line.strip_prefix("```") {
            block = if block.is_some() { None } else { Some(info.trim()) };
            continued = false;
            continue;
        }
        let command = match block {
            Some("console" | "sh") if continued => Some(line),
            Some("console") => line.strip_prefix("$ "),
            Some("sh") if !line.is_empty() && !line.starts_with('#') => Some(line),
            _ => None,
        };
        let Some(command) = command else { continue };
        let (text, more) = match command.strip_suffix('\\') {
            Some(text) => (text.trim_end(), true),
            None => (command, false),
        };
        match found.last_mut().filter(|_| continued) {
            Some(last) => {
                last.push(' ');
                last.push_str(text);
            }
            None => found.push(text.to_owned()),
        }
        continued = more;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_from_the_two_kinds_of_blocks_only() {
        let page = "\
text with $ a
```console
$ oh-nginx plan
2 routes
$ oh-nginx apply \\
    --yes
```
```sh
# a comment
cargo xtask test

```
```toml
$ not = 1
```
- in a list:

  ```console
  $ oh-verify
  ```
";
        let expected = ["oh-nginx plan", "oh-nginx apply --yes", "cargo xtask test", "oh-verify"];
        assert_eq!(commands(page), expected);
    }
}
