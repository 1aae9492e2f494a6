//! The command `oh-deploy`.
fn main() -> std::process::ExitCode {
    oh_term::run::<oh_deploy::Cli>(std::env::args_os())
}
