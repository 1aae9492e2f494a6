//! The command `oh-cleanup`.
fn main() -> std::process::ExitCode {
    oh_term::run::<oh_cleanup::Cli>(std::env::args_os())
}
