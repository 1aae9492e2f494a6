//! The command `oh-instances`.
fn main() -> std::process::ExitCode {
    oh_term::run::<oh_instances::Cli>(std::env::args_os())
}
