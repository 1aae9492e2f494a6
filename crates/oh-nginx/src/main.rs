//! The command `oh-nginx`.
fn main() -> std::process::ExitCode {
    oh_term::run::<oh_nginx::Cli>(std::env::args_os())
}
