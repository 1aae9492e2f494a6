//! A random folder of session files, good, bad and hostile: a second, naive reader agrees with
//! the real `oh-nginx` on the exact set of routes, every file that is not routed is reported
//! once, and a real nginx accepts and serves the result.

#[path = "session_folder/world.rs"]
mod world;

#[test]
fn a_naive_reader_the_real_one_and_nginx_agree() -> anyhow::Result<()> {
    world::agree_on(50)
}
