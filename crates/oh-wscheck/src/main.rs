//! The command `oh-wscheck`.
fn main() -> std::process::ExitCode {
    oh_term::run::<oh_wscheck::Cli>(std::env::args_os())
}
