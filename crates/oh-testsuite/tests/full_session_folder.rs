//! Many random folders of session files; `session_folder.rs` says what is demanded.

#[path = "session_folder/world.rs"]
mod world;

#[test]
fn a_naive_reader_the_real_one_and_nginx_agree_on_many_folders() -> anyhow::Result<()> {
    world::agree_on(500)
}
